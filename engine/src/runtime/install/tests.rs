//! Tests of what is installed, without pip: what pip does is tested with the program.
use super::{
    plugins::{before, plugins_in},
    *,
};
use std::{thread, time::Duration};

const LINUX: Platform<'_> = Platform { os: "linux", arch: "x86_64" };
const WINDOWS: Platform<'_> = Platform { os: "windows", arch: "x86_64" };

fn catalogue() -> Catalogue {
    Catalogue::load(None).unwrap()
}

/// Puts a bundle below `home` whose files are empty; its folder.
fn place(bundle: &RuntimeBundle, home: &Path) -> PathBuf {
    let folder = bundle.folder_in(home);
    fs::create_dir_all(&folder).unwrap();
    for (path, _) in (0..bundle.wheels.len()).flat_map(|number| bundle.files_of(number)) {
        fs::write(folder.join(path.rsplit('/').next().unwrap()), "12345").unwrap();
    }
    fs::write(folder.join(RECORD), record(bundle).unwrap()).unwrap();
    folder
}

/// The bundle of another platform, said to be for this machine.
fn adopted(name: &str, platform: Platform<'_>) -> RuntimeBundle {
    let here = Platform::here();
    let bundle = catalogue().bundle(name, platform).unwrap().clone();
    RuntimeBundle { os: here.os.into(), arch: here.arch.into(), ..bundle }
}

#[test]
fn plugins_are_found_with_what_they_need_first() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(plugins_in(&home.path().join("nothing")), []);
    place(&adopted("cpu", LINUX), home.path()); // no plugin
    let webgpu = adopted("webgpu", WINDOWS);
    let folder = place(&webgpu, home.path());
    let found = plugins_in(home.path());
    let expected = InstalledPlugin {
        bundle: "webgpu".into(),
        provider: "WebGpuExecutionProvider".into(),
        core: "1.24.4".into(),
        library: folder.join("onnxruntime_providers_webgpu.dll"),
        preload: ["dxil.dll", "dxcompiler.dll"].map(|name| folder.join(name)).into(),
    };
    assert_eq!(found, [expected]);
    let error = found[0].load_dependencies().unwrap_err(); // it is no library
    assert!(error.to_string().contains("cannot load `") && error.to_string().contains("dxil.dll"), "{error}");
    fs::remove_file(folder.join("dxil.dll")).unwrap(); // not whole
    assert_eq!(plugins_in(home.path()), []);
}

#[test]
fn of_two_versions_the_newest_counts_and_those_of_other_machines_do_not() {
    let home = tempfile::tempdir().unwrap();
    let versioned = |version: &str| {
        let mut bundle = adopted("webgpu", LINUX);
        bundle.wheels[0].requirement = format!("onnxruntime-ep-webgpu=={version}");
        bundle
    };
    for version in ["0.9.0", "0.10.1", "0.10.0"] {
        place(&versioned(version), home.path());
    }
    place(&RuntimeBundle { os: "plan9".into(), ..versioned("0.11.0") }, home.path());
    let libraries: Vec<_> = plugins_in(home.path()).into_iter().map(|plugin| plugin.library).collect();
    assert_eq!(libraries, [versioned("0.10.1").library_in(home.path())]);
}

#[test]
fn a_core_library_has_its_own_libraries_loaded_first() {
    let home = tempfile::tempdir().unwrap();
    let names = |bundle: &RuntimeBundle| -> Vec<String> {
        let paths = before(&bundle.library_in(home.path())).into_iter();
        paths.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let cuda = adopted("cuda", LINUX);
    assert_eq!(names(&cuda), [""; 0]); // not installed
    let folder = place(&cuda, home.path());
    let order = names(&cuda);
    assert_eq!(order.first().unwrap(), "libcudart.so.13");
    let at = |name: &str| order.iter().position(|other| other == name).unwrap();
    assert!(at("libcublasLt.so.13") < at("libcublas.so.13"), "{order:?}");
    assert!(at("libcublas.so.13") < at("libcudnn.so.9"), "{order:?}");
    assert_eq!(before(&folder.join("libother.so")), [""; 0].map(PathBuf::from));
    let cpu = adopted("cpu", LINUX);
    place(&cpu, home.path());
    assert_eq!(names(&cpu), [""; 0]);
    let directml = adopted("directml", WINDOWS);
    place(&directml, home.path());
    assert_eq!(names(&directml), ["DirectML.dll"]);
}

#[test]
fn states_say_what_is_here_and_for_which_machines_the_rest_is() {
    let home = tempfile::tempdir().unwrap();
    let catalogue = catalogue();
    place(catalogue.bundle("webgpu", LINUX).unwrap(), home.path());
    let states = states_in(&catalogue, home.path(), LINUX).unwrap();
    let state = |name: &str| states.iter().find(|state| state.name == name).unwrap();
    let (webgpu, cuda, mlx) = (state("webgpu"), state("cuda"), state("mlx"));
    assert_eq!(webgpu.installed.as_ref().unwrap().folder, home.path().join("onnxruntime-ep-webgpu-0.4.0"));
    assert!(webgpu.installed.as_ref().unwrap().bytes > 5);
    assert!(webgpu.for_this_machine && cuda.for_this_machine && cuda.installed.is_none());
    assert!(!mlx.for_this_machine && mlx.installed.is_none());
    assert_eq!(mlx.platforms, [Platform { os: "macos", arch: "aarch64" }]);
    assert_eq!(cuda.bundle.platform(), LINUX);
}

#[test]
fn every_version_of_a_bundle_goes_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let cpu = adopted("cpu", LINUX);
    let error = remove_bundle(&cpu, &home.path().join("nothing")).unwrap_err();
    assert_eq!(error.to_string(), "runtime `cpu` is not installed");
    place(&cpu, home.path());
    fs::create_dir(home.path().join("onnxruntime-1.30.0")).unwrap();
    let others = [place(&adopted("cuda", LINUX), home.path()), place(&adopted("webgpu", LINUX), home.path())];
    assert!(remove_bundle(&cpu, home.path()).unwrap() > 5);
    assert!(!home.path().join("onnxruntime-1.30.0").exists() && !cpu.folder_in(home.path()).exists());
    assert!(others.iter().all(|folder| folder.is_dir()));
    assert!(remove_bundle(&cpu, home.path()).is_err());
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}"); // and the lock
}

/// Whoever waits for the lock finds what the other has installed.
#[test]
fn a_second_install_waits_for_the_first_and_uses_what_it_brought() {
    let home = tempfile::tempdir().unwrap();
    let bundle = adopted("webgpu", LINUX);
    let held = lock(home.path(), || panic!("nobody else is here")).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            install_bundle(&bundle, home.path(), &|event| {
                assert!(matches!(event, InstallEvent::Waiting), "{event:?}");
            })
        });
        thread::sleep(Duration::from_millis(100));
        place(&bundle, home.path());
        drop(held);
        assert!(second.join().unwrap().unwrap().was_here);
    });
}

//! Installing ONNX Runtime's libraries, with wheels that the test makes.
use super::support::{petal_without_library, transcript};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// What the test's libraries hold.
const PLUGIN: &[u8] = b"a plugin";
const NEEDED: &[u8] = b"what a plugin needs";

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.map(|byte| format!("{byte:02x}")).concat()
}

/// A folder with two wheels, and a catalogue with one bundle of both.
struct Index {
    folder: tempfile::TempDir,
}

impl Index {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("wheels")).unwrap();
        let index = Self { folder };
        index.wheel("petal-plugin", "1.2", &[("petal_plugin/lib/plugin.bin", PLUGIN)]);
        index.wheel("petal-needed", "3.4", &[("nv/lib/needed.bin", NEEDED), ("nv/lib/other.txt", b"not unpacked")]);
        index.write_catalogue(|text| text);
        index
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wheel_path(&self, name: &str, version: &str) -> PathBuf {
        self.path("wheels").join(format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")))
    }

    fn wheel(&self, name: &str, version: &str, files: &[(&str, &[u8])]) {
        let mut zip = zip::ZipWriter::new(File::create(self.wheel_path(name, version)).unwrap());
        let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        let tags = "Wheel-Version: 1.0\nGenerator: petal\nRoot-Is-Purelib: false\nTag: py3-none-any\n";
        let own = [("METADATA", metadata.as_str()), ("WHEEL", tags), ("RECORD", "")];
        let own = own.map(|(name, text)| (format!("{info}/{name}"), text.as_bytes()));
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes));
        for (name, bytes) in files.chain(own) {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    /// Writes the catalogue as `change` makes it.
    fn write_catalogue(&self, change: impl FnOnce(String) -> String) {
        let hash = |name, version| sha256(&fs::read(self.wheel_path(name, version)).unwrap());
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let text = format!(
            "[[runtime]]\nbundle = \"toy\"\nkind = \"plugin\"\nos = \"{os}\"\narch = \"{arch}\"\nlicence = \"MIT\"\n\
             serves = [\"toy\"]\nneeds = \"a toy\"\nprovider = \"ToyExecutionProvider\"\ncore = \"1.24\"\n\
             library = \"petal_plugin/lib/plugin.bin\"\nlibrary_sha256 = \"{}\"\npreload = [\"needed.bin\"]\n\
             [[runtime.wheel]]\nrequirement = \"petal-plugin==1.2\"\nfile = \"petal_plugin-1.2-py3-none-any.whl\"\n\
             sha256 = \"{}\"\nsize = 1000\nplatform = \"any\"\n\
             [[runtime.wheel]]\nrequirement = \"petal-needed==3.4\"\nfile = \"petal_needed-3.4-py3-none-any.whl\"\n\
             sha256 = \"{}\"\nsize = 2000\nplatform = \"any\"\nfiles = {{ \"nv/lib/needed.bin\" = \"{}\" }}\n",
            sha256(PLUGIN),
            hash("petal-plugin", "1.2"),
            hash("petal-needed", "3.4"),
            sha256(NEEDED),
        );
        fs::write(self.path("catalogue.toml"), change(text)).unwrap();
    }

    /// `petal runtime` with the catalogue, and pip with the wheels.
    fn petal(&self, arguments: &[&str]) -> Command {
        let mut command = petal_without_library(self.folder.path());
        command.arg("runtime").args(arguments).env("PETAL_CATALOGUE", self.path("catalogue.toml"));
        command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", self.path("wheels")).env("PIP_CONFIG_FILE", os_null());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        transcript(&self.petal(arguments).output().unwrap(), self.folder.path())
    }

    fn list(&self) -> Vec<Value> {
        let output = self.petal(&["list", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What lies in the folder of the runtimes, but for the lock.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("home/runtime")).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".lock");
        names.sort_unstable();
        names
    }
}

fn os_null() -> &'static str {
    if cfg!(windows) { "nul" } else { "/dev/null" }
}

#[test]
fn a_bundle_of_several_wheels_is_installed_by_pip_listed_and_removed() {
    let index = Index::new();
    let text = index.run(&["install", "toy"]);
    assert!(text.starts_with("exit code 0"), "{text}");
    for line in ["downloading petal-plugin==1.2 (1.0 kB, 1 of 2)", "petal-needed==3.4 (2.0 kB, 2 of 2)", "a toy"] {
        assert!(text.contains(line), "{text}");
    }
    let folder = index.path("home/runtime/petal-plugin-1.2");
    assert_eq!(fs::read(folder.join("plugin.bin")).unwrap(), PLUGIN);
    assert_eq!(fs::read(folder.join("needed.bin")).unwrap(), NEEDED);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3); // and the record
    assert_eq!(index.left(), ["petal-plugin-1.2"]);

    let toy = &index.list()[0];
    assert_eq!((toy["name"].as_str(), toy["state"].as_str()), (Some("toy"), Some("here")));
    assert_eq!((toy["version"].as_str(), toy["kind"].as_str()), (Some("1.2"), Some("plugin")));
    assert!(toy["bytes"].as_u64() > Some((PLUGIN.len() + NEEDED.len()) as u64), "{toy}");
    assert_eq!(Path::new(toy["library"].as_str().unwrap()), folder.join("plugin.bin"));
    let text = index.run(&["list"]);
    for line in ["toy           1.2 ", "here", "needs a toy", "cuda", "not for this machine", "made for macos aarch64"]
    {
        assert!(text.contains(line), "{text}");
    }

    let text = index.run(&["install", "toy", "--offline", "-q"]);
    assert_eq!(text, "exit code 0\n--- stdout\n--- stderr\n");
    fs::remove_file(folder.join("needed.bin")).unwrap();
    assert_eq!(index.list()[0]["state"], "not here");
    assert!(index.run(&["install", "toy", "--json"]).contains("\"state\":\"here\""));
    assert_eq!(fs::read(folder.join("needed.bin")).unwrap(), NEEDED);

    assert!(index.run(&["remove", "toy"]).contains("removed toy: "));
    assert_eq!(index.left(), [""; 0]);
    assert_eq!(index.list()[0]["state"], "not here");
    insta::assert_snapshot!("runtime_remove_absent", index.run(&["remove", "toy"]));
}

#[test]
fn a_file_that_is_not_the_vetted_one_is_refused_and_nothing_stays() {
    let index = Index::new();
    let refused = |change: &dyn Fn(String) -> String, what: &str| {
        index.write_catalogue(change);
        let text = index.run(&["install", "toy", "-q"]);
        assert!(text.starts_with("exit code 1") && text.contains(what), "{text}");
        assert!(text.contains("hint: "), "{text}");
        assert_eq!(index.left(), [""; 0], "{text}");
    };
    let wheel = sha256(&fs::read(index.wheel_path("petal-needed", "3.4")).unwrap());
    let zeros = "0".repeat(64);
    refused(&|text| text.replace(&wheel, &zeros), "`petal_needed-3.4-py3-none-any.whl` is not the vetted file");
    refused(&|text| text.replace(&sha256(NEEDED), &zeros), "`nv/lib/needed.bin` is not the vetted file");
    refused(&|text| text.replace(&sha256(PLUGIN), &zeros), "`petal_plugin/lib/plugin.bin` is not the vetted file");
    refused(&|text| text.replace("nv/lib/needed.bin", "nv/needed.bin"), "cannot unpack `nv/needed.bin`");
    refused(&|text| text.replace("petal_needed-3.4-py3", "petal_needed-3.4-cp39"), "pip brought another file");
    refused(&|text| text.replace("petal-needed==3.4", "petal-needed==3.5"), "pip could not download");
    refused(&|text| text.replace("petal-plugin==1.2", "../petal-plugin==1.2"), "the odd name `../petal-plugin`");
}

#[test]
fn what_cannot_be_installed_is_explained() {
    let index = Index::new();
    insta::assert_snapshot!("runtime_unknown", index.run(&["install", "toi"]));
    insta::assert_snapshot!("runtime_offline", index.run(&["install", "toy", "--offline"]));
    index.write_catalogue(|text| text.replace(std::env::consts::OS, "plan9"));
    let text = index.run(&["install", "toy"]);
    assert!(text.contains("runtime `toy` is not made for ") && text.contains(", only for plan9 "), "{text}");
    assert!(text.contains("hint: choose one that is made for this machine: "), "{text}");
    index.write_catalogue(|text| text);
    let output = index.petal(&["install", "toy", "-q"]).env("PATH", index.path("wheels")).output().unwrap();
    let text = transcript(&output, index.folder.path());
    assert!(text.contains("cannot install petal-plugin==1.2: there is no Python") || cfg!(windows), "{text}");
}

/// A pip that counts how often it is called, takes its time, and can be told to fail.
#[cfg(unix)]
fn fake_pip(index: &Index) -> String {
    use std::os::unix::fs::PermissionsExt;
    let script = "#!/bin/sh\nfor word; do [ \"$last\" = --dest ] && dest=$word; last=$word; done\n\
                  echo \"$last\" >> calls\n[ -n \"$FAIL\" ] && { echo \"$FAIL\" >&2; exit 1; }\n\
                  sleep 0.3\ncp wheels/*.whl \"$dest\"\n";
    let folder = index.path("bin");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("python3");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", folder.display())
}

#[cfg(unix)]
#[test]
fn two_at_once_download_once() {
    let index = Index::new();
    let path = fake_pip(&index);
    let petals: Vec<_> = (0..3)
        .map(|_| {
            let mut command = index.petal(&["install", "toy"]);
            command.env("PATH", &path).stderr(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = petals.into_iter().map(|petal| petal.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    let told = outputs.iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect::<String>();
    assert!(told.contains("another petal is installing something; waiting"), "{told}");
    assert_eq!(fs::read_to_string(index.path("calls")).unwrap(), "petal-plugin==1.2\npetal-needed==3.4\n");
    assert_eq!(index.left(), ["petal-plugin-1.2"]);
}

#[cfg(unix)]
#[test]
fn why_pip_failed_is_told() {
    let index = Index::new();
    let path = fake_pip(&index);
    for (said, told) in [
        ("/usr/bin/python3: No module named pip", "cannot install petal-plugin==1.2: Python has no pip"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "there is no space left on the disk"),
        ("WARNING: NewConnectionError\nERROR: No matching distribution", "the package index cannot be reached"),
        (
            "ERROR: No matching distribution found",
            "could not download petal-plugin==1.2: No matching distribution found",
        ),
    ] {
        let output = index.petal(&["install", "toy", "-q"]).env("PATH", &path).env("FAIL", said).output().unwrap();
        let text = transcript(&output, index.folder.path());
        assert!(text.starts_with("exit code 1") && text.contains(told) && text.contains("hint: "), "{text}");
        assert_eq!(index.left(), [""; 0]);
    }
}

/// The library in use is the one that a bundle holds, and `auto` does not need more than that.
#[test]
fn a_core_bundle_is_used_as_soon_as_it_is_here() {
    let index = Index::new();
    let library = super::support::library();
    let name = library.file_name().unwrap().to_str().unwrap();
    index.wheel("petal-plugin", "1.2", &[(&format!("lib/{name}"), &fs::read(library).unwrap())]);
    index.write_catalogue(|text| {
        let text =
            text.replace("\"toy\"\nkind = \"plugin\"", "\"cpu\"\nkind = \"core\"").replace("[\"toy\"]", "[\"cpu\"]");
        let hash = sha256(&fs::read(library).unwrap());
        let text = text.replace("petal_plugin/lib/plugin.bin", &format!("lib/{name}")).replace(&sha256(PLUGIN), &hash);
        text.replace("preload = [\"needed.bin\"]\n", "")
    });
    let doctor = |index: &Index| {
        let mut command = petal_without_library(index.folder.path());
        command.arg("doctor").env("PETAL_CATALOGUE", index.path("catalogue.toml"));
        transcript(&command.output().unwrap(), index.folder.path())
    };
    assert!(doctor(&index).contains("ONNX Runtime is not installed"), "{}", doctor(&index));
    let text = index.run(&["install", "cpu"]);
    assert!(text.starts_with("exit code 0"), "{text}");
    let text = doctor(&index);
    assert!(text.starts_with("exit code 0") && text.contains("petal-plugin-1.2"), "{text}");
    // what should be loaded first and cannot be, as NVIDIA's libraries without a driver, does not keep the CPU from working
    let record = index.path("home/runtime/petal-plugin-1.2/petal-bundle.toml");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("library = ", "preload = [\"needed.bin\"]\nlibrary = ")).unwrap();
    let text = doctor(&index);
    assert!(text.starts_with("exit code 0") && text.contains("petal-plugin-1.2"), "{text}");
}

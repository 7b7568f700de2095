//! What several tests need: the program, a model, pictures.
use petal_engine::{LoadOptions, Pipeline, examine_library};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, OnceLock},
};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of a tiny model.
pub(crate) fn model(name: &str) -> String {
    root().join("tests/models").join(name).display().to_string()
}

/// A loaded tiny model.
pub(crate) fn load(name: &str) -> Pipeline {
    let library = Some(library().to_path_buf());
    Pipeline::load(&LoadOptions { model: Some(model(name)), library, ..LoadOptions::default() }, |_| {}).unwrap()
}

/// ONNX Runtime's library: installed by the first test that asks.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    LIBRARY.get_or_init(|| {
        let _one_at_a_time = INSTALLING.lock();
        let options = LoadOptions { model: Some(model("sd1")), ..LoadOptions::default() };
        let pipeline = Pipeline::load(&options, |_| {}).expect("ONNX Runtime is installed with pip by the first test");
        pipeline.library().0.to_path_buf()
    })
}

/// The program in the folder `folder`, with an empty home and the installed library.
pub(crate) fn petal(folder: &Path) -> Command {
    let mut command = petal_without_library(folder);
    command.env("ORT_DYLIB_PATH", library());
    command
}

/// The program in the folder `folder`, with an empty home and no library.
pub(crate) fn petal_without_library(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_petal"));
    command.current_dir(folder).env("PETAL_HOME", folder.join("home")).env("NO_COLOR", "1");
    command.env_remove("ORT_DYLIB_PATH").env_remove("PETAL_CATALOGUE");
    command
}

/// Exit code, standard output and standard error as one text, with the folder's own path taken out.
pub(crate) fn transcript(output: &Output, folder: &Path) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "[FOLDER]");
    let code = output.status.code().map_or("signal".into(), |code| code.to_string());
    format!("exit code {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// Width, height and RGB pixels of a PNG file, which may be grey.
pub(crate) fn read_png(path: &Path) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    pixels.truncate(info.buffer_size());
    match info.color_type {
        png::ColorType::Rgb => {}
        png::ColorType::Grayscale => pixels = pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
        other => panic!("{}: {other:?}", path.display()),
    }
    (info.width, info.height, pixels)
}

#[test]
fn the_library_in_use_is_a_vetted_one() {
    let options = LoadOptions { library: Some(library().to_path_buf()), ..LoadOptions::default() };
    let state = examine_library(&options).unwrap();
    assert!(state.vetted || std::env::var_os("ORT_DYLIB_PATH").is_some(), "{state:?}");
    assert!(state.providers.iter().any(|provider| provider.name == "cpu"));
}

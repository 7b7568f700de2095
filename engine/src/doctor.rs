//! What petal finds on this machine, without loading a model.
use crate::{
    Error, LoadOptions, ProviderChoice, Result,
    models::{Catalogue, ProofKind, sha256_of_file},
    runtime::{
        Provider, Runtime, available,
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
    /// The providers in it.
    pub providers: Vec<&'static Provider>,
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

/// Finds the library that `options` choose and looks into it; installs nothing.
///
/// # Errors
/// [`Error::Library`] if there is none or it cannot be loaded; [`Error::Provider`] if the named provider is not in it.
pub fn examine_library(options: &LoadOptions) -> Result<LibraryState> {
    let choices = ProviderChoice::parse(&options.provider)?;
    let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
    let search = Search { named: options.library.as_deref(), offline: true, wheel: catalogue.runtime() };
    let (path, origin) = library::find(&search)?.ok_or_else(|| {
        Error::library("ONNX Runtime is not installed", "draw a picture: the first run installs it, unless `--offline`")
    })?;
    let sha256 = sha256_of_file(&path)?;
    Runtime::start(&path)?;
    if let [named] = choices[..] {
        named.check_contained()?;
    }
    Ok(LibraryState {
        version: Runtime::version(&path),
        vetted: catalogue.runtimes.iter().any(|wheel| wheel.library_sha256 == sha256),
        providers: available(),
        path,
        origin,
        sha256,
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

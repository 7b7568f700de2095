//! A model, loaded and ready: which files, which library, which device.
use crate::{
    Error, Result,
    conditioner::Conditioner,
    families::{FAMILIES, Family},
    models::{Catalogue, CatalogueModel, Files, GraphFile, ModelConfig, ModelDefaults, ModelName},
    network::Network,
    preview::LatentColours,
    prompt::{TextEncoder, Tokenizer},
    runtime::{
        Cancel, Graph, GraphSource, ProviderChoice, Runtime, Settings,
        library::{self, LibraryOrigin},
    },
    vae::Decoder,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Which model to load, and how to run it.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// A name of the catalogue or a folder of ONNX graphs; without it, the catalogue's first model.
    pub model: Option<String>,
    /// A catalogue of your own, whose models come before the built-in ones.
    pub catalogue: Option<PathBuf>,
    /// The execution provider: `auto`, `cpu`, `cuda:1` ...
    pub provider: String,
    /// Threads inside an operator; by default one for each core.
    pub threads: Option<usize>,
    /// ONNX Runtime's library; by default it is looked for, and installed when there is none.
    pub library: Option<PathBuf>,
    /// Never touch the network.
    pub offline: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { model: None, catalogue: None, provider: "auto".into(), threads: None, library: None, offline: false }
    }
}

/// What loading tells of itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// ONNX Runtime is about to be installed: this requirement, with pip.
    Installing(&'a str),
    /// A provider that `auto` tried did not start.
    Skipped(&'a Error),
}

/// A loaded model, ready to draw requests.
pub struct Pipeline {
    pub(crate) name: ModelName,
    pub(crate) family: &'static Family,
    pub(crate) defaults: ModelDefaults,
    pub(crate) config: ModelConfig,
    pub(crate) colours: LatentColours,
    pub(crate) conditioner: Conditioner,
    pub(crate) network: Network,
    pub(crate) decoder: Decoder,
    pub(crate) cancel: Cancel,
    place: Place,
}

/// Where a pipeline runs.
#[derive(Clone, Debug)]
struct Place {
    provider: ProviderChoice,
    library: PathBuf,
    origin: LibraryOrigin,
    /// The model's folder, if the catalogue does not know it.
    folder: Option<PathBuf>,
    seconds: f64,
}

impl Pipeline {
    /// Finds the model and ONNX Runtime, proves the model's files if it is catalogued, and loads its graphs.
    ///
    /// The first call sets the variable `ORT_DISABLE_TELEMETRY` of this process, before it loads ONNX Runtime.
    ///
    /// # Errors
    /// [`Error::Model`] for files that are missing, differ from the catalogue or are no such model;
    /// [`Error::Library`] without ONNX Runtime; [`Error::Provider`] if the provider cannot start.
    pub fn load(options: &LoadOptions, mut notice: impl FnMut(Notice<'_>)) -> Result<Self> {
        let begun = Instant::now();
        let choices = ProviderChoice::parse(&options.provider)?;
        let catalogue = Catalogue::load(options.catalogue.as_deref())?;
        let (name, entry, files) = catalogue.open(options.model.as_deref())?;
        let family = family_of(entry)?;
        let config = ModelConfig::read(&files)?;
        let (library, origin) = find_library(options, &catalogue, |what| notice(Notice::Installing(what)))?;
        let runtime = Runtime::start(&library)?;
        let cancel = Cancel::new()?;
        let load = |provider| {
            let settings = Settings { provider, threads: options.threads };
            load_graphs(&files, &config, family, |name, source| Graph::load(&runtime, name, source, &settings, &cancel))
        };
        let (provider, (encoder, network, decoder)) =
            first_that_starts(&choices, load, |error| notice(Notice::Skipped(error)))?;
        check_channels(&network, &decoder)?;
        let colours = config.colours.clone().unwrap_or_else(family.colours);
        let folder = options.model.as_deref().filter(|_| entry.is_none());
        let folder = folder.and_then(|folder| fs::canonicalize(folder).ok());
        let place = Place { provider, library, origin, folder, seconds: begun.elapsed().as_secs_f64() };
        let defaults = entry.map(|entry| entry.defaults).unwrap_or_default();
        let conditioner = Conditioner::new(encoder, family);
        Ok(Self { name, family, defaults, config, colours, conditioner, network, decoder, cancel, place })
    }

    /// The model's name: as the catalogue or its folder calls it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.name.name
    }

    /// The provider that runs the graphs, as `cuda:1`.
    #[must_use]
    pub fn provider(&self) -> String {
        self.place.provider.to_string()
    }

    /// The path of ONNX Runtime's library, and how it was found.
    #[must_use]
    pub fn library(&self) -> (&Path, LibraryOrigin) {
        (&self.place.library, self.place.origin)
    }

    /// The model's folder, if the catalogue does not know it and its name alone does not tell it from others.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.place.folder.as_deref()
    }

    /// How long loading took, in seconds.
    #[must_use]
    pub fn load_seconds(&self) -> f64 {
        self.place.seconds
    }

    /// A handle with which another thread stops the running picture.
    #[must_use]
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pipeline").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

/// The family that the catalogue names; a folder that nobody vetted is taken for the first.
fn family_of(entry: Option<&CatalogueModel>) -> Result<&'static Family> {
    let Some(entry) = entry else { return Ok(&FAMILIES[0]) };
    FAMILIES.iter().find(|family| family.name == entry.family).ok_or_else(|| {
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        Error::model(
            format!("model `{}` is of the unknown family `{}`", entry.name, entry.family),
            format!("write one of these into the catalogue: {}", names.join(", ")),
        )
    })
}

/// The library that the options name, or the one that is there, or a new one.
fn find_library(
    options: &LoadOptions,
    catalogue: &Catalogue,
    installing: impl FnOnce(&str),
) -> Result<(PathBuf, LibraryOrigin)> {
    let (named, offline) = (options.library.as_deref(), options.offline);
    let search = library::Search { named, offline, wheel: catalogue.runtime() };
    library::find_or_install(&search, installing)
}

/// Loads with the first of `choices` that starts. Only `auto` gives several; those that the library lacks are passed
/// over, because nobody asked for them.
fn first_that_starts<T>(
    choices: &[ProviderChoice],
    mut load: impl FnMut(ProviderChoice) -> Result<T>,
    mut skipped: impl FnMut(&Error),
) -> Result<(ProviderChoice, T)> {
    let several = choices.len() > 1;
    let mut choices = choices.iter().filter(|choice| !several || choice.check_contained().is_ok()).peekable();
    while let Some(&choice) = choices.next() {
        match load(choice) {
            Err(error @ Error::Provider { .. }) if choices.peek().is_some() => skipped(&error),
            other => return other.map(|loaded| (choice, loaded)),
        }
    }
    Err(Error::request("no provider was named", "use `--ep auto`"))
}

/// The graphs of a model, loaded side by side: loading uses one core a graph.
fn load_graphs(
    files: &Files,
    config: &ModelConfig,
    family: &Family,
    load: impl Fn(&str, &GraphSource) -> Result<Graph> + Sync,
) -> Result<(TextEncoder, Network, Decoder)> {
    let open = |component: &str| {
        let source = match files.graph(component)? {
            GraphFile::Path(path) => GraphSource::File(path),
            GraphFile::Bytes(bytes) => GraphSource::Memory(bytes),
        };
        load(&format!("{component}/model.onnx"), &source)
    };
    let encoder = || TextEncoder::new(Tokenizer::read(files, config.positions)?, open("text_encoder")?);
    let decoder = || {
        let vae = &config.vae;
        let scale = vae.scaling_factor.unwrap_or(family.latent_scale);
        Decoder::new(open("vae_decoder")?, scale, vae.shift_factor.unwrap_or(0.0), vae.downsampling())
    };
    let network = || Network::new(open("unet")?);
    let (network, (encoder, decoder)) = rayon::join(network, || rayon::join(encoder, decoder));
    Ok((encoder?, network?, decoder?))
}

/// Fails unless the network's latents are those that the decoder takes.
fn check_channels(network: &Network, decoder: &Decoder) -> Result<()> {
    let (ours, theirs) = (network.channels(), decoder.format().channels);
    if ours == theirs {
        return Ok(());
    }
    Err(Error::model(
        format!("the network takes latents of {ours} channels, the VAE decoder of {theirs}"),
        "use a text-to-image model whose parts belong together",
    ))
}

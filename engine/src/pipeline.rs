//! A model, loaded and ready: which files, which library, which device.
use crate::{
    Error, Result,
    conditioner::Conditioner,
    families::{FAMILIES, Family},
    loader::Loader,
    models::{Catalogue, CatalogueModel, ModelConfig, ModelDefaults, ModelName},
    network::Network,
    preview::{LatentColours, PreviewWith, Previews},
    prompt::{TextEncoder, Tokenizer},
    runtime::{
        Cancel, ProviderChoice, Runtime, Settings,
        library::{self, LibraryOrigin},
    },
    upscale::Upscaler,
    vae::{Decoder, Encoder, Tiny},
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
    /// Open models of the catalogue that nobody vetted, too.
    pub allow_unvetted: bool,
    /// A tiny autoencoder in place of the model's own: an ONNX file, or a folder that holds one.
    pub taesd: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            model: None,
            catalogue: None,
            provider: "auto".into(),
            threads: None,
            library: None,
            offline: false,
            allow_unvetted: false,
            taesd: None,
        }
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
    /// From pixels to latents; loaded by the first request that draws over a picture.
    pub(crate) encoder: Option<Encoder>,
    /// What makes pictures larger, by the names it was asked for; loaded by the first request that wants it.
    pub(crate) upscalers: Vec<(Option<String>, Upscaler)>,
    /// What decodes roughly and fast.
    pub(crate) tiny: Tiny,
    pub(crate) previews: Previews,
    pub(crate) cancel: Cancel,
    pub(crate) loader: Loader,
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
        let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
        let (name, entry, files) = catalogue.open(options.model.as_deref())?;
        let family = family_of(entry)?;
        let config = ModelConfig::read(&files)?;
        let (library, origin) = find_library(options, &catalogue, |what| notice(Notice::Installing(what)))?;
        let runtime = Runtime::start(&library)?;
        let cancel = Cancel::new()?;
        let defaults = entry.map(|entry| entry.defaults).unwrap_or_default();
        let folder = options.model.as_deref().filter(|_| entry.is_none());
        let folder = folder.and_then(|folder| fs::canonicalize(folder).ok());
        let Some(&first) = choices.first() else {
            return Err(Error::request("no provider was named", "use `--ep auto`"));
        };
        let settings = Settings { provider: first, threads: options.threads };
        let loader = Loader { runtime, settings, cancel: cancel.clone(), files, catalogue: catalogue.clone() };
        let load = |provider| {
            let loader = loader.on(provider);
            load_graphs(&loader, &config, family).map(|graphs| (loader, graphs))
        };
        let (provider, (loader, (text_encoder, network, decoder))) =
            first_that_starts(&choices, load, |error| notice(Notice::Skipped(error)))?;
        let network = network.of_latents(decoder.format().channels)?;
        let colours = config.colours.clone().unwrap_or_else(family.colours);
        let place = Place { provider, library, origin, folder, seconds: begun.elapsed().as_secs_f64() };
        let conditioner = Conditioner::new(text_encoder, family);
        Ok(Self {
            name,
            family,
            defaults,
            config,
            colours,
            conditioner,
            network,
            decoder,
            encoder: None,
            upscalers: Vec::new(),
            tiny: Tiny::new(options.taesd.clone()),
            previews: Previews { with: PreviewWith::default(), every: 1 },
            cancel,
            loader,
            place,
        })
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

    /// The upscaler that `name` means, as [`LoadOptions::model`] does; without a name, the catalogue's first. The last two
    /// stay loaded: a request may name one for its second pass and one for the end.
    pub(crate) fn upscaler(&mut self, name: Option<&str>) -> Result<&mut Upscaler> {
        let known = self.upscalers.iter().position(|(asked, _)| asked.as_deref() == name);
        let loaded = if let Some(place) = known {
            self.upscalers.remove(place)
        } else {
            let (model, file) = self.loader.catalogue.open_upscaler(name)?;
            let graph = self.loader.graph_in(&model.name, file)?;
            (name.map(str::to_owned), Upscaler::new(model, graph, &self.cancel)?)
        };
        self.upscalers.truncate(1);
        self.upscalers.insert(0, loaded);
        Ok(&mut self.upscalers[0].1)
    }

    /// The half of the autoencoder that makes latents of pixels.
    pub(crate) fn encoder(&mut self) -> Result<&mut Encoder> {
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None if self.loader.has("vae_encoder") => {
                Encoder::new(self.loader.graph("vae_encoder")?, self.decoder.format())?
            }
            None => {
                let what = format!("model `{}` has no `vae_encoder`, so it cannot draw over a picture", self.name.name);
                return Err(Error::model(what, "export the model again with its VAE encoder"));
            }
        };
        Ok(self.encoder.insert(encoder))
    }

    /// From now on [`Step::preview`](crate::Step::preview) gives such pictures, of every so many steps and of the last.
    ///
    /// # Errors
    /// [`Error::Request`] if the model has no tiny autoencoder, or its latents have no known colours, or for 0 steps.
    pub fn preview_with(&mut self, with: PreviewWith, every: u32) -> Result<()> {
        match with {
            _ if every == 0 => return Err(Error::request("previews of every 0 steps are none", "use 1 or more")),
            PreviewWith::Tiny => self.tiny.check(&self.loader)?,
            PreviewWith::Projection if self.colours.factors.len() != self.decoder.format().channels => {
                let what = format!("the colours of the latents of `{}` are not known", self.name.name);
                return Err(Error::request(what, "let the autoencoder make previews"));
            }
            PreviewWith::Projection | PreviewWith::Vae => {}
        }
        self.previews = Previews { with, every: every as usize };
        Ok(())
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
pub(crate) fn find_library(
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
pub(crate) fn first_that_starts<T>(
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

/// The graphs of a model that every picture needs, loaded side by side: loading uses one core a graph.
fn load_graphs(loader: &Loader, config: &ModelConfig, family: &Family) -> Result<(TextEncoder, Network, Decoder)> {
    let encoder = || TextEncoder::new(Tokenizer::read(&loader.files, config.positions)?, loader.graph("text_encoder")?);
    let decoder = || {
        let vae = &config.vae;
        let scale = vae.scaling_factor.unwrap_or(family.latent_scale);
        Decoder::new(loader.graph("vae_decoder")?, scale, vae.shift_factor.unwrap_or(0.0), vae.downsampling())
    };
    let network = || Network::new(loader.graph("unet")?);
    let (network, (encoder, decoder)) = rayon::join(network, || rayon::join(encoder, decoder));
    Ok((encoder?, network?, decoder?))
}

//! A model, loaded and ready: which files, which library, which device.
use crate::{
    Error, Result,
    conditioner::Conditioner,
    drawing::LoadedRefiner,
    families::{FAMILIES, Family, find_family},
    loader::Loader,
    models::{Catalogue, CatalogueModel, ModelConfig, ModelDefaults, ModelName},
    network::Network,
    preview::{LatentColours, PreviewWith, Previews},
    prompt::TextEncoders,
    runtime::{
        Assigned, Cancel, PROVIDERS, ProviderChoice, Runtime, Stage, Wishes,
        install::installed_plugins,
        library::{self, LibraryOrigin},
    },
    survey::{Component, Elsewhere, Survey, survey},
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
    /// The execution providers: `auto`, `cpu`, `cuda:1`, or some for parts of the model, `unet=cuda,vae=cpu`. What is
    /// named is used, or loading fails.
    pub provider: String,
    /// Try several providers that are named in their order, the CPU at last, and let ONNX Runtime leave nodes to the CPU.
    pub allow_fallback: bool,
    /// Libraries of plugins, by the names of their providers.
    pub provider_libraries: Vec<(String, PathBuf)>,
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
    /// An autoencoder in place of the model's: a folder that holds its graphs, in folders or not.
    pub vae: Option<PathBuf>,
    /// Text encoders in place of the model's: a folder that holds one, or several in folders named as the model's are.
    pub text_encoder: Option<PathBuf>,
}

impl LoadOptions {
    /// The folders of those parts, in full.
    fn folders(&self) -> [Option<PathBuf>; 2] {
        [&self.vae, &self.text_encoder].map(|part| part.as_ref().and_then(|part| fs::canonicalize(part).ok()))
    }

    /// The parts that are taken from other folders.
    pub(crate) fn elsewhere(&self) -> Elsewhere<'_> {
        Elsewhere { vae: self.vae.as_deref(), text_encoder: self.text_encoder.as_deref() }
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            model: None,
            catalogue: None,
            provider: "auto".into(),
            allow_fallback: false,
            provider_libraries: Vec::new(),
            threads: None,
            library: None,
            offline: false,
            allow_unvetted: false,
            taesd: None,
            vae: None,
            text_encoder: None,
        }
    }
}

/// What loading tells of itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// ONNX Runtime is about to be installed: this requirement, with pip.
    Installing(&'a str),
    /// A provider that was tried did not start, and the next is.
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
    encoder: EncoderHalf,
    /// A network that takes over before the end; loaded by the first request that names one.
    pub(crate) refiner: Option<Box<LoadedRefiner>>,
    /// What makes pictures larger, by the names it was asked for; loaded by the first request that wants it.
    pub(crate) upscalers: Vec<(Option<String>, Upscaler)>,
    /// What decodes roughly and fast.
    pub(crate) tiny: Tiny,
    pub(crate) previews: Previews,
    pub(crate) cancel: Cancel,
    pub(crate) loader: Loader,
    place: Place,
}

/// The half of an autoencoder that makes latents of pixels.
struct EncoderHalf {
    /// Where it is, if the model has it.
    graph: Option<Component>,
    loaded: Option<Encoder>,
}

/// Where a pipeline runs.
#[derive(Clone, Debug)]
struct Place {
    /// What did not start before something did.
    skipped: Vec<String>,
    library: PathBuf,
    origin: LibraryOrigin,
    /// The model's folder, if the catalogue does not know it.
    folder: Option<PathBuf>,
    /// The folders of parts that stand in for the model's own.
    elsewhere: [Option<PathBuf>; 2],
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
        let wishes = Wishes::parse(&options.provider, options.allow_fallback)?;
        let catalogue = Catalogue::load(options.catalogue.as_deref())?.allowing_unvetted(options.allow_unvetted);
        let (name, entry, files) = catalogue.open(options.model.as_deref())?;
        let survey = survey(&files, options.elsewhere())?;
        check_family(entry, survey.family)?;
        let config = survey.config(&files)?;
        let (library, origin) = find_library(options, &catalogue, |what| notice(Notice::Installing(what)))?;
        let runtime = start_runtime(&library, options)?;
        let cancel = Cancel::new()?;
        let defaults = entry.map(|entry| entry.defaults).unwrap_or_default();
        let folder = options.model.as_deref().filter(|_| entry.is_none()).and_then(|it| fs::canonicalize(it).ok());
        let load = |assigned: &Assigned| {
            let (runtime, cancel, catalogue) = (runtime.clone(), cancel.clone(), catalogue.clone());
            let loader = Loader { runtime, assigned: *assigned, threads: options.threads, cancel, catalogue };
            load_graphs(&loader, &config, &survey).map(|graphs| (loader, graphs))
        };
        let mut skipped = Vec::new();
        let (loader, (encoders, network, decoder)) = first_that_starts(&runtime, wishes, load, |error| {
            skipped.push(error.with_causes());
            notice(Notice::Skipped(error));
        })?;
        let network = network.of_latents(decoder.format().channels)?;
        let (elsewhere, seconds) = (options.folders(), begun.elapsed().as_secs_f64());
        let place = Place { skipped, library, origin, folder, elsewhere, seconds };
        let conditioner = Conditioner::new(encoders, survey.family, network.inputs().to_vec(), config.empty_is_zero)?;
        Ok(Self {
            name: options.elsewhere().named_in(name),
            family: survey.family,
            defaults,
            colours: config.colours.clone().unwrap_or_else(survey.family.colours),
            config,
            conditioner,
            network,
            decoder,
            encoder: EncoderHalf { graph: survey.encoder, loaded: None },
            refiner: None,
            upscalers: Vec::new(),
            tiny: Tiny::new(options.taesd.clone(), survey.tiny_decoder),
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

    /// The provider that runs the graphs, as `cuda:1`, or each part's own, as
    /// `text=cpu,unet=cuda,vae=cuda,upscaler=cpu`.
    #[must_use]
    pub fn provider(&self) -> String {
        self.loader.assigned.to_string()
    }

    /// Why providers that were tried before did not start.
    #[must_use]
    pub fn skipped_providers(&self) -> &[String] {
        &self.place.skipped
    }

    /// The version of ONNX Runtime: `1.31.1`.
    #[must_use]
    pub fn runtime_version(&self) -> String {
        self.loader.runtime.version()
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

    /// The folders of the autoencoder and of the text encoders that stand in for the model's own.
    pub(crate) fn elsewhere(&self) -> &[Option<PathBuf>] {
        &self.place.elsewhere
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
            let graph = self.loader.graph_in(Stage::Upscaler, &model.name, file)?;
            (name.map(str::to_owned), Upscaler::new(model, graph, &self.cancel)?)
        };
        self.upscalers.truncate(1);
        self.upscalers.insert(0, loaded);
        Ok(&mut self.upscalers[0].1)
    }

    /// The half of the autoencoder that makes latents of pixels.
    pub(crate) fn encoder(&mut self) -> Result<&mut Encoder> {
        let encoder = match (self.encoder.loaded.take(), &self.encoder.graph) {
            (Some(encoder), _) => encoder,
            (None, Some(graph)) => Encoder::new(self.loader.graph(Stage::Vae, graph)?, self.decoder.format())?,
            (None, None) => {
                let whose = match &self.name.vae {
                    Some(folder) => format!("the autoencoder in `{folder}`"),
                    None => format!("model `{}`", self.name.name),
                };
                let what = format!("{whose} has no `vae_encoder`, so it cannot draw over a picture");
                return Err(Error::model(what, "add the graph, or export the model again with its VAE encoder"));
            }
        };
        Ok(self.encoder.loaded.insert(encoder))
    }

    /// From now on [`Step::preview`](crate::Step::preview) gives such pictures, of every so many steps and of the last.
    ///
    /// # Errors
    /// [`Error::Request`] if the model has no tiny autoencoder, or its latents have no known colours, or for 0 steps.
    pub fn preview_with(&mut self, with: PreviewWith, every: u32) -> Result<()> {
        match with {
            _ if every == 0 => return Err(Error::request("previews of every 0 steps are none", "use 1 or more")),
            PreviewWith::Tiny => self.tiny.check()?,
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

/// Fails if the catalogue names another family than the one that the network is of.
fn check_family(entry: Option<&CatalogueModel>, found: &Family) -> Result<()> {
    let Some(entry) = entry.filter(|entry| entry.family != found.name) else { return Ok(()) };
    let (name, family) = (&entry.name, &entry.family);
    if find_family(family).is_none() {
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        return Err(Error::model(
            format!("model `{name}` is of the unknown family `{family}`"),
            format!("write one of these into the catalogue: {}", names.join(", ")),
        ));
    }
    Err(Error::model(
        format!(
            "model `{name}` is of the family `{family}` in the catalogue, but its network is one of {}",
            found.title
        ),
        format!("write `{}` into the catalogue, or get the model's files again", found.name),
    ))
}

/// The library that the options name, or the one that is there, or a new one.
pub(crate) fn find_library(
    options: &LoadOptions,
    catalogue: &Catalogue,
    installing: impl FnOnce(&str),
) -> Result<(PathBuf, LibraryOrigin)> {
    let (named, offline) = (options.library.as_deref(), options.offline);
    let search = library::Search { named, offline, wheel: catalogue.runtime_for(&options.provider) };
    library::find_or_install(&search, installing)
}

/// ONNX Runtime from `library`, with the plugins that the options name.
pub(crate) fn start_runtime(library: &Path, options: &LoadOptions) -> Result<Runtime> {
    let runtime = Runtime::start(library)?;
    for (name, path) in &options.provider_libraries {
        let [choice] = ProviderChoice::parse(name)?[..] else {
            return Err(Error::request("`auto` is no plugin", "name the provider that the library holds"));
        };
        let path = fs::canonicalize(path).map_err(Error::io("find", path))?;
        runtime.register(choice.provider, &path)?;
    }
    register_installed(&runtime, options)?;
    Ok(runtime)
}

/// Loads the installed plugins of the providers that `--ep` names, unless it was told of others.
fn register_installed(runtime: &Runtime, options: &LoadOptions) -> Result<()> {
    let named = |name: &str| options.provider.split([',', '=']).any(|item| item.split(':').next() == Some(name));
    for plugin in installed_plugins() {
        let provider = PROVIDERS.iter().find(|provider| provider.id == plugin.provider);
        let Some(provider) = provider.filter(|provider| named(provider.name)) else { continue };
        if !options.provider_libraries.iter().any(|(name, _)| name == provider.name) {
            plugin.load_dependencies()?;
            runtime.register(provider, &plugin.library)?;
        }
    }
    Ok(())
}

/// Loads with the first choice that starts, for each part of the work: providers that do not start are told to `skipped`
/// and left out, as far as `wishes` have others.
pub(crate) fn first_that_starts<T>(
    runtime: &Runtime,
    wishes: Wishes,
    mut load: impl FnMut(&Assigned) -> Result<T>,
    mut skipped: impl FnMut(&Error),
) -> Result<T> {
    let wishes = wishes.among(&runtime.providers());
    let mut refused = Vec::new();
    loop {
        let Some(assigned) = wishes.assign(&refused) else {
            return Err(Error::request("no provider was named", "use `--ep auto`"));
        };
        let checked = assigned.each().try_for_each(|(_, choice)| runtime.check(choice));
        match checked.and_then(|()| load(&assigned)) {
            Err(Error::Provider { provider, hint, source }) => {
                let error = Error::Provider { provider: provider.clone(), hint, source };
                refused.extend(assigned.each().map(|(_, choice)| choice).find(|choice| choice.to_string() == provider));
                if wishes.assign(&refused).is_none_or(|next| next == assigned) {
                    return Err(error);
                }
                skipped(&error);
            }
            other => return other,
        }
    }
}

/// The graphs of a model that every picture needs, loaded side by side: loading uses one core a graph.
fn load_graphs(loader: &Loader, config: &ModelConfig, survey: &Survey) -> Result<(TextEncoders, Network, Decoder)> {
    let family = survey.family;
    let decoder = || {
        let (vae, (scale, shift)) = (&config.vae, config.vae.format(family.latents));
        Decoder::new(loader.graph(Stage::Vae, &survey.decoder)?, scale, shift, vae.downsampling())
    };
    let (parts, decoder) = rayon::join(|| loader.network(survey, config.states), decoder);
    let (encoders, network) = parts?;
    Ok((encoders, network, decoder?))
}

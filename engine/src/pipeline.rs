//! From a request to a picture: the job from top to bottom.
use crate::{
    Error, Request, Result,
    conditioning::Conditioning,
    families::{FAMILIES, Family},
    guidance::Guidance,
    image::{Picture, Seconds, Thumbnail},
    models::{Catalogue, CatalogueModel, Files, GraphFile, ModelConfig, ModelDefaults},
    network::Network,
    preview::LatentColours,
    prompt::{TextEncoder, Tokenizer},
    runtime::{
        Cancel, Graph, GraphSource, ProviderChoice, Runtime, Settings,
        library::{self, LibraryOrigin},
    },
    sampling::{Denoiser, Latents, Run, Sampler, Schedule, Strength, TorchNoise, find_schedule, split_combined},
    vae::Decoder,
};
use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

/// The schedule that the model's own `scheduler_config.json` describes.
pub const MODEL_SCHEDULE: &str = "model";
/// The schedule that stable-diffusion-webui chooses for the sampler.
pub const AUTOMATIC_SCHEDULE: &str = "automatic";
/// Steps when neither request nor catalogue say any.
const USUAL_STEPS: u32 = 20;

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

/// What drawing tells of itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A new picture begins: its number from 0, and the number of steps.
    Begin {
        /// Number of the picture.
        picture: u32,
        /// Its steps.
        steps: usize,
    },
    /// The network gave an estimate.
    Step(Step<'a>),
    /// All steps are done; the latents are being decoded.
    Decoding,
}

/// An estimate of the picture.
#[derive(Debug)]
pub struct Step<'a> {
    /// Steps begun so far, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Seconds that the evaluation took.
    pub seconds: f64,
    denoised: &'a Latents,
    colours: &'a LatentColours,
}

impl Step<'_> {
    /// A rough small picture of the estimate; `None` if the model's latents have no known colours.
    #[must_use]
    pub fn preview(&self) -> Option<Thumbnail> {
        self.colours.draw(self.denoised).map(Thumbnail::from_pixels)
    }
}

/// A loaded model, ready to draw requests.
pub struct Pipeline {
    name: String,
    family: &'static Family,
    defaults: ModelDefaults,
    config: ModelConfig,
    colours: LatentColours,
    encoder: TextEncoder,
    network: Network,
    decoder: Decoder,
    cancel: Cancel,
    place: Place,
    /// The prompts of the last picture and what they became.
    conditioned: Option<(String, Option<String>, Conditioning)>,
}

/// One picture on its way.
struct Job {
    request: Request,
    schedule: Schedule,
    conditioning: Conditioning,
    noise: TorchNoise,
}

/// Hears of every event; an error ends the picture.
type Observer<'a> = dyn FnMut(Event<'_>) -> Result<()> + 'a;

/// Where a pipeline runs.
#[derive(Clone, Debug)]
struct Place {
    provider: ProviderChoice,
    library: PathBuf,
    origin: LibraryOrigin,
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
        let place = Place { provider, library, origin, seconds: begun.elapsed().as_secs_f64() };
        let defaults = entry.map(|entry| entry.defaults).unwrap_or_default();
        Ok(Self {
            name,
            family,
            defaults,
            config,
            colours,
            encoder,
            network,
            decoder,
            cancel,
            place,
            conditioned: None,
        })
    }

    /// The model's name: as the catalogue or its folder calls it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.name
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

    /// The request with every value that it leaves open filled in, names in their canonical form.
    ///
    /// # Errors
    /// [`Error::Request`] if a value is out of range or does not suit the model.
    pub fn complete(&self, request: &Request) -> Result<Request> {
        request.check()?;
        let mut whole = request.clone();
        let format = self.decoder.format();
        let own = |latents: u32| latents * format.downsampling as u32;
        let (given_width, given_height) = match &request.latents {
            Some(latents) => self.size_of(latents)?,
            None => self.config.sample_size.map_or((512, 512), |(height, width)| (own(width), own(height))),
        };
        let width = *whole.width.get_or_insert(given_width);
        let height = *whole.height.get_or_insert(given_height);
        for (name, length) in [("width", width), ("height", height)] {
            check_multiple(name, length, format.downsampling as u32)?;
        }
        if request.latents.is_some() && (width, height) != (given_width, given_height) {
            return Err(Error::request(
                format!(
                    "the size is {width}x{height}, but the given latents are those of {given_width}x{given_height}"
                ),
                "leave out the size, or give latents of that size",
            ));
        }
        whole.steps.get_or_insert(self.defaults.steps.unwrap_or(USUAL_STEPS));
        whole.cfg_scale.get_or_insert(self.defaults.cfg_scale.unwrap_or(self.family.cfg_scale));
        let (sampler, schedule) = self.plan(&whole)?;
        whole.sampler = Some(sampler.name.into());
        whole.scheduler = Some(schedule.into());
        whole.check()?;
        self.schedule(&whole)?;
        Ok(whole)
    }

    /// Draws the request's pictures, one after the other; `observe` hears of every step and may stop the run.
    ///
    /// # Errors
    /// [`Error::Request`] as [`complete`](Self::complete); [`Error::Cancelled`] if `observe` or a
    /// [`Cancel`] handle stopped it; [`Error::NotFinite`] if the model gave numbers that are no picture.
    pub fn draw(
        &mut self,
        request: &Request,
        mut observe: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Picture>> {
        let request = self.complete(request)?;
        let mut observe = |event: Event<'_>| match observe(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        };
        let singles = request.singles().enumerate();
        let pictures = singles.map(|(k, single)| self.draw_one(single, k as u32, &mut observe)).collect();
        if self.cancel.is_cancelled() {
            self.cancel.reset(); // asked too late to end a step, perhaps; but asked
            return Err(Error::Cancelled);
        }
        pictures
    }

    /// The stages of one picture, in order.
    fn draw_one(&mut self, request: Request, number: u32, observe: &mut Observer<'_>) -> Result<Picture> {
        let mut seconds = Seconds::default();
        let schedule = self.schedule(&request)?;
        observe(Event::Begin { picture: number, steps: schedule.len() })?;
        let conditioning = timed(&mut seconds.encode, || self.condition(&request))?;
        let mut noise = TorchNoise::new(request.seed);
        let start = self.starting_latents(&request, &schedule, &mut noise)?;
        let mut job = Job { request, schedule, conditioning, noise };
        let latents = {
            let Seconds { denoise, steps, .. } = &mut seconds;
            timed(denoise, || self.denoise(&mut job, start, steps, observe))?
        };
        observe(Event::Decoding)?;
        let pixels = timed(&mut seconds.decode, || self.decoder.decode(&latents))?;
        Ok(Picture {
            width: pixels.width as u32,
            height: pixels.height as u32,
            rgb: pixels.rgb,
            request: job.request,
            model: self.name.clone(),
            provider: self.provider(),
            latents,
            seconds,
        })
    }

    /// The prompts as what the network is given; kept for the next picture.
    fn condition(&mut self, request: &Request) -> Result<Conditioning> {
        let negative = guidance(request).is_on().then(|| request.negative_prompt.clone());
        match &self.conditioned {
            Some((prompt, old, conditioning)) if *prompt == request.prompt && *old == negative => {
                return Ok(conditioning.clone());
            }
            _ => {}
        }
        let conditioning = (self.family.condition)(&mut self.encoder, &request.prompt, negative.as_deref())?;
        self.conditioned = Some((request.prompt.clone(), negative, conditioning.clone()));
        Ok(conditioning)
    }

    /// Noise at the schedule's first level: `[1, channels, height / f, width / f]`.
    fn starting_latents(&self, request: &Request, schedule: &Schedule, noise: &mut TorchNoise) -> Result<Latents> {
        let format = self.decoder.format();
        let axis = |length: Option<u32>| length.unwrap_or_default() as usize / format.downsampling;
        let shape = [1, self.network.channels(), axis(request.height), axis(request.width)];
        let unit = request.latents.clone().unwrap_or_else(|| noise.draw(shape));
        Latents::new(shape, unit.into_values()).map(|unit| unit.scaled(schedule.initial_scale()))
    }

    /// From noise to latents: the sampler asks the network, and the caller hears of it.
    fn denoise(
        &mut self,
        job: &mut Job,
        start: Latents,
        times: &mut Vec<f64>,
        observe: &mut Observer<'_>,
    ) -> Result<Latents> {
        let Job { request, schedule, conditioning, noise } = job;
        let (sampler, _) = self.plan(request)?;
        let (levels, colours) = (&self.config.noise_schedule, &self.colours);
        let timestep = |sigma: f64| schedule.timestep(sigma, levels);
        let mut network = self.network.conditioned(conditioning, guidance(request), timestep)?;
        let mut model = |x: &Latents, sigma: f64| {
            let mut seconds = 0.0;
            let denoised = timed(&mut seconds, || network.denoise(x, sigma))?;
            times.push(seconds);
            let (step, steps) = (schedule.step_at(sigma) + 1, schedule.len());
            if !denoised.is_finite() {
                return Err(Error::NotFinite { stage: format!("the network at step {step} of {steps}") });
            }
            observe(Event::Step(Step { step, steps, seconds, denoised: &denoised, colours }))?;
            Ok(denoised)
        };
        let shape = start.shape();
        let mut fresh = |_: f64, _: f64| noise.draw(shape);
        let mut run = Run { model: &mut model, schedule, noise: &mut fresh, strength: Strength::default() };
        let latents = (sampler.run)(&mut run, start)?;
        Ok(latents.scaled(schedule.final_scale()))
    }

    /// The sampler and the name of the schedule that a request asks for, by whatever name.
    fn plan(&self, request: &Request) -> Result<(&'static Sampler, &'static str)> {
        let (sampler, joined) = match &request.sampler {
            Some(name) => split_combined(name)?,
            None => (self.config.scheduler()?.sampler(), None),
        };
        let schedule = match (request.scheduler.as_deref(), joined) {
            (Some(name), _) if !name.eq_ignore_ascii_case(MODEL_SCHEDULE) => find_schedule(name)?.name,
            (_, Some(kind)) => kind.name,
            _ => MODEL_SCHEDULE,
        };
        Ok((sampler, schedule))
    }

    /// The noise levels of a request.
    fn schedule(&self, request: &Request) -> Result<Schedule> {
        let steps = request.steps.unwrap_or(USUAL_STEPS) as usize;
        let ModelConfig { prediction, noise_schedule, .. } = &self.config;
        match self.plan(request)?.1 {
            MODEL_SCHEDULE => self.config.scheduler()?.schedule(steps),
            name => find_schedule(name)?.schedule(prediction.process(), noise_schedule, steps),
        }
    }

    /// The size in pixels of a picture with these latents.
    fn size_of(&self, latents: &Latents) -> Result<(u32, u32)> {
        let [pictures, channels, height, width] = latents.shape();
        let wanted = self.network.channels();
        if (pictures, channels) != (1, wanted) {
            return Err(Error::request(
                format!("the given latents have the shape {:?}", latents.shape()),
                format!("give latents of shape [1, {wanted}, height, width]"),
            ));
        }
        let pixels = |latents: usize| u32::try_from(latents * self.decoder.format().downsampling).unwrap_or(u32::MAX);
        Ok((pixels(width), pixels(height)))
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
    let network = || Network::new(open("unet")?, config.prediction);
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

fn check_multiple(name: &str, length: u32, factor: u32) -> Result<()> {
    if length.is_multiple_of(factor) {
        return Ok(());
    }
    let below = length / factor * factor;
    let near = if below == 0 { factor.to_string() } else { format!("{below} or {}", below + factor) };
    Err(Error::request(
        format!("{name} is {length}, which is not a multiple of {factor}"),
        format!("use {near}; this model draws {factor} pixels to a latent"),
    ))
}

fn guidance(request: &Request) -> Guidance {
    Guidance::new(request.cfg_scale.unwrap_or(1.0))
}

/// Runs `work` and adds the seconds that it took to `total`.
fn timed<T>(total: &mut f64, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    *total += begun.elapsed().as_secs_f64();
    result
}

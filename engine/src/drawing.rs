//! From a request to a picture: the stages of drawing, from top to bottom.
use crate::{
    Error, Pipeline, Request, Result,
    conditioning::Conditioning,
    guidance::Guidance,
    image::{Picture, Seconds, Thumbnail},
    network::Conditioned,
    plan::Plan,
    preview::LatentColours,
    prompt::{EMPHASES, find_emphasis},
    sampling::{
        BrownianNoise, Denoiser, FirstNoise, FreshNoise, Latents, NoiseSource, Rng, Run, Schedule, Variation, find_rng,
    },
};
use std::{ops::ControlFlow, time::Instant};

/// Steps when neither request nor catalogue say any.
const USUAL_STEPS: u32 = 20;

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
    /// The noise level at which the network was asked.
    pub sigma: f64,
    /// Seconds that the evaluation took.
    pub seconds: f64,
    denoised: &'a Latents,
    colours: &'a LatentColours,
}

impl Step<'_> {
    /// The estimate; [`Pipeline::decode`] makes a picture of it.
    #[must_use]
    pub fn denoised(&self) -> &Latents {
        self.denoised
    }

    /// A rough small picture of the estimate; `None` if the model's latents have no known colours.
    #[must_use]
    pub fn preview(&self) -> Option<Thumbnail> {
        self.colours.draw(self.denoised).map(Thumbnail::from_pixels)
    }
}

/// Hears of every event; an error ends the picture.
type Observer<'a> = dyn FnMut(Event<'_>) -> Result<()> + 'a;

/// One picture on its way.
struct Job {
    request: Request,
    plan: Plan,
    guidance: Guidance,
    prompts: Conditioning,
}

impl Pipeline {
    /// The request with every value that it leaves open filled in, names in their canonical form.
    ///
    /// # Errors
    /// [`Error::Request`] if a value is out of range or does not suit the model.
    pub fn complete(&self, request: &Request) -> Result<Request> {
        request.check()?;
        let mut whole = request.clone();
        self.complete_size(&mut whole)?;
        let steps = request.sigmas.as_ref().map(|levels| levels.iter().filter(|level| **level > 0.0).count() as u32);
        let steps = steps.or(request.steps).or(self.defaults.steps).unwrap_or(USUAL_STEPS);
        whole.steps = Some(steps);
        whole.cfg_scale.get_or_insert(self.defaults.cfg_scale.unwrap_or(self.family.cfg_scale));
        let plan = self.plan(&whole)?;
        whole.sampler = plan.sampler.map(|sampler| sampler.name.into());
        whole.scheduler = plan.scheduler().map(Into::into);
        if let Some(name) = &mut whole.rng {
            *name = find_rng(name)?.name.into();
        }
        if let Some(name) = &mut whole.emphasis {
            let kind = EMPHASES.iter().find(|kind| find_emphasis(name).is_ok_and(|emphasis| emphasis == kind.emphasis));
            *name = kind.map_or(std::mem::take(name), |kind| kind.name.into());
        }
        whole.check()?;
        Ok(whole)
    }

    /// Fills in width and height.
    fn complete_size(&self, request: &mut Request) -> Result<()> {
        let factor = self.decoder.format().downsampling as u32;
        let (own_width, own_height) = match &request.latents {
            Some(latents) => self.size_of(latents)?,
            None => self.config.sample_size.map_or((512, 512), |(height, width)| (width * factor, height * factor)),
        };
        let width = *request.width.get_or_insert(own_width);
        let height = *request.height.get_or_insert(own_height);
        for (name, length) in [
            ("width", Some(width)),
            ("height", Some(height)),
            ("seed resize width", request.seed_resize_width),
            ("seed resize height", request.seed_resize_height),
        ] {
            check_multiple(name, length.unwrap_or(factor), factor)?;
        }
        if request.latents.is_some() && (width, height) != (own_width, own_height) {
            return Err(Error::request(
                format!("the size is {width}x{height}, but the given latents are those of {own_width}x{own_height}"),
                "leave out the size, or give latents of that size",
            ));
        }
        Ok(())
    }

    /// Draws the request's pictures, one after the other; `observe` hears of every step and may stop the run.
    ///
    /// # Errors
    /// [`Error::Request`] as [`complete`](Self::complete); [`Error::Cancelled`] if `observe` or a
    /// [`Cancel`](crate::Cancel) handle stopped it; [`Error::NotFinite`] if the model gave numbers that are no picture.
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
        let plan = self.plan(&request)?;
        let steps = plan.schedule.len();
        observe(Event::Begin { picture: number, steps })?;
        let guidance = guidance(&request, plan.guidance());
        let prompts = timed(&mut seconds.encode, || {
            let negative = guidance.is_ever_on(steps) || plan.uses_negative();
            self.conditioner.conditioning(&request, steps, negative)
        })?;
        let (start, noise) = self.first_noise(&request, &plan.schedule)?;
        let job = Job { request, plan, guidance, prompts };
        let latents = {
            let Seconds { denoise, steps, .. } = &mut seconds;
            timed(denoise, || self.denoise(&job, start, noise, steps, observe))?
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

    /// The picture of `latents`, scaled as [`Step::denoised`] and [`Picture::latents`] are.
    ///
    /// # Errors
    /// [`Error::Request`] if they are not one picture's latents of this model; [`Error::NotFinite`] if the decoder gives
    /// no picture.
    pub fn decode(&mut self, latents: &Latents) -> Result<Thumbnail> {
        self.size_of(latents)?;
        self.decoder.decode(latents).map(Thumbnail::from_pixels)
    }

    /// How `request`, whose size and steps are filled in, is to be drawn.
    fn plan(&self, request: &Request) -> Result<Plan> {
        let [_, _, height, width] = self.shape(request);
        Plan::new(request, &self.config, height * width)
    }

    /// The shape of the latents: `[1, channels, height / f, width / f]`.
    fn shape(&self, request: &Request) -> [usize; 4] {
        let axis = |length: Option<u32>| length.unwrap_or_default() as usize / self.decoder.format().downsampling;
        [1, self.network.channels(), axis(request.height), axis(request.width)]
    }

    /// Noise at the schedule's first level, and the generator of the noise of the steps.
    fn first_noise(&self, request: &Request, schedule: &Schedule) -> Result<(Latents, NoiseSource)> {
        let shape = self.shape(request);
        let rng = rng(request)?;
        let axis = |length: u32| length as usize / self.decoder.format().downsampling;
        let first = FirstNoise {
            rng,
            seed: request.seed,
            variation: Some(Variation { seed: request.variation_seed, strength: request.variation_strength }),
            resized_from: request.seed_resize_width.zip(request.seed_resize_height).map(|(w, h)| [axis(w), axis(h)]),
            ensd: request.ensd,
        };
        let (unit, noise) = match &request.latents {
            Some(given) => (given.clone(), NoiseSource::new(rng, request.seed.wrapping_add(request.ensd))),
            None => first.draw(shape),
        };
        Ok((Latents::new(shape, unit.into_values())?.scaled(schedule.initial_scale()), noise))
    }

    /// From noise to latents: the sampler asks the network, and the caller hears of it.
    fn denoise(
        &mut self,
        job: &Job,
        start: Latents,
        mut noise: NoiseSource,
        times: &mut Vec<f64>,
        observe: &mut Observer<'_>,
    ) -> Result<Latents> {
        let Job { request, plan, guidance, prompts } = job;
        let schedule = &plan.schedule;
        let network = self.network.conditioned(prompts, guidance, schedule, plan.training(&self.config));
        let mut model = Observed { network, schedule, colours: &self.colours, furthest: 1, times, observe };
        let shape = start.shape();
        let mut fresh: Box<dyn FnMut(f64, f64) -> Latents> = match plan.noise {
            FreshNoise::Brownian => {
                let (low, high) = (schedule.lowest(), schedule.start());
                let mut path = BrownianNoise::new(rng(request)?, plan.noise_seed(request.seed), shape, low, high)?;
                Box::new(move |from, to| path.between(from, to))
            }
            FreshNoise::None | FreshNoise::Independent => Box::new(move |_, _| noise.draw(shape)),
        };
        plan.run(&mut Run { model: &mut model, schedule, noise: &mut *fresh, strength: plan.strength }, start)
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

/// The network of a run, whose estimates are timed, checked and told of.
struct Observed<'a, 'o> {
    network: Conditioned<'a>,
    schedule: &'a Schedule,
    colours: &'a LatentColours,
    /// The furthest step so far, from 1: some samplers go back, which is no way to tell of progress.
    furthest: usize,
    times: &'a mut Vec<f64>,
    observe: &'a mut Observer<'o>,
}

impl Observed<'_, '_> {
    /// Tells of the estimate that `ask` gives.
    fn told<T>(
        &mut self,
        sigma: f64,
        ask: impl FnOnce(&mut Conditioned<'_>) -> Result<T>,
        denoised: impl Fn(&T) -> &Latents,
    ) -> Result<T> {
        let mut seconds = 0.0;
        let answer = timed(&mut seconds, || ask(&mut self.network))?;
        self.times.push(seconds);
        let steps = self.schedule.len();
        self.furthest = self.furthest.max(self.schedule.step_at(sigma) + 1).min(steps);
        let step = self.furthest;
        let denoised = denoised(&answer);
        if !denoised.is_finite() {
            return Err(Error::NotFinite { stage: format!("the network at step {step} of {steps}") });
        }
        (self.observe)(Event::Step(Step { step, steps, sigma, seconds, denoised, colours: self.colours }))?;
        Ok(answer)
    }
}

impl Denoiser for Observed<'_, '_> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self.told(sigma, |network| network.denoise(x, sigma), |denoised| denoised)
    }

    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        self.told(sigma, |network| network.denoise_both(x, sigma), |(denoised, _)| denoised)
    }
}

/// Which generator draws the noise of `request`.
fn rng(request: &Request) -> Result<Rng> {
    request.rng.as_deref().map_or(Ok(Rng::default()), |name| find_rng(name).map(|kind| kind.rng))
}

fn guidance(request: &Request, factor: f64) -> Guidance {
    let scales = request.cfg_schedule.clone().unwrap_or_else(|| vec![request.cfg_scale.unwrap_or(1.0)]);
    Guidance {
        scales: scales.into_iter().map(|scale| scale * factor).collect(),
        rescale: request.cfg_rescale,
        interval: (request.guidance_start, request.guidance_end),
    }
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

/// Runs `work` and adds the seconds that it took to `total`.
fn timed<T>(total: &mut f64, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    *total += begun.elapsed().as_secs_f64();
    result
}

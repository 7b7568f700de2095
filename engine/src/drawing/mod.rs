//! From a request to a picture: the stages of drawing, from top to bottom.
mod complete;
mod enlarge;
mod observe;
mod refine;
mod second_pass;
mod start;

use crate::{
    Bitmap, Error, Pipeline, Request, Result,
    conditioning::Conditioning,
    editing::Canvas,
    guidance::Guidance,
    image::{Picture, Seconds},
    masked::masked,
    network::{Conditions, refined},
    plan::Plan,
    preview::PreviewWith,
    prompt::Along,
    sampling::{BrownianNoise, FreshNoise, Latents, NoiseSource, Rng, Run},
    vae::{LatentFormat, Tiles},
};
pub use observe::{Event, Step};
use observe::{Observed, Observer};
pub(crate) use refine::LoadedRefiner;
use refine::Refining;
use second_pass::{First, Second};
use start::{Start, rng};
use std::{ops::ControlFlow, time::Instant};

/// One picture on its way.
struct Job {
    seed: u64,
    rng: Rng,
    plan: Plan,
    guidance: Guidance,
    prompts: Conditioning,
    refining: Option<Refining>,
    /// Steps that are behind it, and steps in all.
    progress: (usize, usize),
    /// In which tiles previews are made.
    tiles: Option<Tiles>,
}

impl Pipeline {
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
    fn draw_one(&mut self, mut request: Request, number: u32, observe: &mut Observer<'_>) -> Result<Picture> {
        let mut seconds = Seconds::default();
        let canvas = Canvas::of(&request, self.grid())?;
        let second = self.prepare_second(&request)?;
        let size = (request.width.unwrap_or_default(), request.height.unwrap_or_default());
        let size = second.as_ref().map_or_else(|| canvas.as_ref().map_or(size, Canvas::size), Second::size);
        self.prepare_upscale(&mut request, size)?;
        let plan = if is_left_out(&request) { None } else { Some(self.plan(&request)?) };
        observe(Event::Begin { picture: number, steps: plan.as_ref().map_or(0, |plan| plan.schedule.len()) })?;
        let first = plan.map(|plan| self.first_pass(&request, plan, canvas.as_ref(), &mut seconds, observe));
        let first = First { latents: first.transpose()?, canvas: canvas.as_ref() };
        let twice = second.is_some();
        let latents = match (second, first.latents) {
            (Some(second), latents) => self.second_pass(second, First { latents, ..first }, &mut seconds, observe)?,
            (None, Some(latents)) => latents,
            (None, None) => return Err(Error::request("nothing is to be drawn", "use a strength above 0")),
        };
        observe(Event::Decoding)?;
        let drawn = timed(&mut seconds.decode, || self.develop(&request, &latents))?;
        let pixels = match canvas {
            Some(canvas) if !twice => canvas.finish(&drawn),
            _ => drawn,
        };
        let pixels = timed(&mut seconds.upscale, || self.enlarged(&request, pixels, observe))?;
        let (model, provider, runtime) = (self.name.clone(), self.provider(), self.runtime_version());
        Ok(Picture { pixels, request, model, provider, runtime, latents, seconds })
    }

    /// From prompts and noise, and the picture that is drawn over, to latents.
    fn first_pass(
        &mut self,
        request: &Request,
        plan: Plan,
        canvas: Option<&Canvas>,
        seconds: &mut Seconds,
        observe: &mut Observer<'_>,
    ) -> Result<Latents> {
        let guidance = guidance(request, plan.guidance());
        let (prompts, refining) = timed(&mut seconds.encode, || {
            let negative = guidance.is_ever_on(plan.schedule.len()) || plan.uses_negative();
            self.prompts(request, &plan, plan.prompt_steps.into(), negative)
        })?;
        let start = timed(&mut seconds.encode, || self.start(request, &plan, canvas))?;
        let progress = (0, plan.schedule.len());
        let (seed, rng, tiles) = (request.seed, rng(request)?, tiles(request));
        let job = Job { seed, rng, plan, guidance, prompts, refining, progress, tiles };
        let Seconds { denoise, steps, .. } = seconds;
        timed(denoise, || self.denoise(&job, start, steps, observe))
    }

    /// What the prompts of a run became, for its network and for the one that takes over.
    fn prompts(
        &mut self,
        request: &Request,
        plan: &Plan,
        along: Along,
        negative: bool,
    ) -> Result<(Conditioning, Option<Refining>)> {
        let prompts = self.conditioner.conditioning(request, along, negative)?;
        Ok((prompts, self.refining(request, plan, along, negative)?))
    }

    /// The picture of `latents`, scaled as [`Step::denoised`] and [`Picture::latents`] are.
    ///
    /// # Errors
    /// [`Error::Request`] if they are not one picture's latents of this model; [`Error::NotFinite`] if the decoder gives
    /// no picture.
    pub fn decode(&mut self, latents: &Latents) -> Result<Bitmap> {
        let (width, height) = self.size_of(latents)?;
        let tiles = self.decoder.needs_tiles(width, height)?.then(Tiles::default);
        self.decoder.decode(latents, tiles)
    }

    /// The pixels of `latents`, by the autoencoder that `request` wants.
    fn develop(&mut self, request: &Request, latents: &Latents) -> Result<Bitmap> {
        let LatentFormat { channels, downsampling, .. } = *self.decoder.format();
        let decoder = match request.vae.as_deref() {
            Some("fast") => self.tiny.decoder(&self.loader, channels, downsampling)?,
            _ => &mut self.decoder,
        };
        decoder.decode(latents, tiles(request))
    }

    /// How `request`, whose size and steps are filled in, is to be drawn.
    fn plan(&self, request: &Request) -> Result<Plan> {
        let [_, _, height, width] = self.shape(request);
        let strength = request.strength.filter(|strength| *strength > 0.0);
        Plan::new(request, &self.config, height * width, strength)
    }

    /// The shape of the latents: `[1, channels, height / f, width / f]`, rounded up to what the network takes together.
    fn shape(&self, request: &Request) -> [usize; 4] {
        let (patch, grid) = (self.family.patch, self.grid() as usize);
        let axis = |length: Option<u32>| (length.unwrap_or_default() as usize).div_ceil(grid) * patch;
        [1, self.decoder.format().channels, axis(request.height), axis(request.width)]
    }

    /// What the sides of a picture are multiples of, in pixels.
    fn grid(&self) -> u32 {
        (self.decoder.format().downsampling * self.family.patch) as u32
    }

    /// From noise to latents: the sampler asks the network, and the caller hears of it.
    fn denoise(
        &mut self,
        job: &Job,
        start: Start,
        times: &mut Vec<f64>,
        observe: &mut Observer<'_>,
    ) -> Result<Latents> {
        let Job { seed, rng, plan, guidance, prompts, refining, progress, tiles } = job;
        let Start { x, steps: mut noise, kept, beside } = start;
        let schedule = &plan.schedule;
        let training = plan.training(&self.config);
        let conditions = Conditions { prompts, guidance, schedule, training, beside: beside.as_ref() };
        let refiner = self.refiner.as_mut().zip(refining.as_ref()).map(|(refiner, refining)| {
            (refiner.network().conditioned(refining.conditions(conditions)), refining.below())
        });
        let network = refined(self.network.conditioned(conditions), refiner);
        let network = masked(network, kept.as_ref(), schedule);
        let LatentFormat { channels, downsampling, .. } = *self.decoder.format();
        let decoder = match self.previews.with {
            PreviewWith::Projection => None,
            PreviewWith::Tiny => Some(self.tiny.decoder(&self.loader, channels, downsampling)?),
            PreviewWith::Vae => Some(&mut self.decoder),
        };
        let previews = (decoder, self.previews.every, *tiles);
        let mut model = Observed {
            network,
            schedule,
            colours: &self.colours,
            previews,
            furthest: 1,
            progress: *progress,
            times,
            observe,
        };
        let shape = x.shape();
        let mut fresh = fresh_noise(plan, (*rng, *seed), shape, &mut noise)?;
        let mut run = Run { model: &mut model, schedule, noise: &mut *fresh, strength: plan.strength };
        let latents = plan.run(&mut run, x)?;
        match &kept {
            Some(kept) => kept.restore(&latents, schedule.len()),
            None => Ok(latents),
        }
    }
}

/// The noise between two levels of a run.
type Fresh<'a> = Box<dyn FnMut(f64, f64) -> Latents + 'a>;

/// What gives the steps of `plan` their noise.
fn fresh_noise<'a>(
    plan: &Plan,
    (rng, seed): (Rng, u64),
    shape: [usize; 4],
    noise: &'a mut NoiseSource,
) -> Result<Fresh<'a>> {
    match plan.noise {
        FreshNoise::Brownian => {
            let (low, high) = plan.ends;
            let mut path = BrownianNoise::new(rng, plan.noise_seed(seed), shape, low, high)?;
            Ok(Box::new(move |from, to| path.between(from, to)))
        }
        FreshNoise::None | FreshNoise::Independent => Ok(Box::new(move |_, _| noise.draw(shape))),
    }
}

/// Whether the first pass is: then the second one draws over the picture that is given.
fn is_left_out(request: &Request) -> bool {
    request.strength.is_some_and(|strength| strength <= 0.0)
}

/// In which tiles the autoencoder works for `request`, which says whether it does.
fn tiles(request: &Request) -> Option<Tiles> {
    let usual = Tiles::default();
    let length = |given: Option<u32>, usual: usize| given.map_or(usual, |pixels| pixels as usize);
    let size = length(request.vae_tile_size, usual.size);
    let tiles = Tiles { size, overlap: length(request.vae_tile_overlap, usual.overlap) };
    (request.vae_tiling.as_deref() == Some("on")).then_some(tiles)
}

fn guidance(request: &Request, factor: f64) -> Guidance {
    let scales = request.cfg_schedule.clone().unwrap_or_else(|| vec![request.cfg_scale.unwrap_or(1.0)]);
    Guidance {
        scales: scales.into_iter().map(|scale| scale * factor).collect(),
        rescale: request.cfg_rescale,
        interval: (request.guidance_start, request.guidance_end),
        picture: request.img_cfg_scale.unwrap_or(1.0),
    }
}

/// Runs `work` and adds the seconds that it took to `total`.
fn timed<T>(total: &mut f64, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    *total += begun.elapsed().as_secs_f64();
    result
}

//! How is a picture drawn a second time, larger?
use super::{
    Job, guidance,
    observe::{Event, Observer},
    start::{Start, rng},
    tiles as vae_tiles, timed,
};
use crate::{
    Bitmap, Error, Filter, Hires, LARGEST_SIDE, Pipeline, Request, Result,
    editing::Canvas,
    image::Seconds,
    network::NetworkKind,
    plan::Plan,
    prompt::Along,
    sampling::{Latents, NoiseSource, find_schedule, split_combined},
    tiles::{Blend, Tiling},
    upscalers::{UPSCALERS, Way, check, find_upscaler},
};
use std::{convert::Infallible, time::Instant};

/// How far tiles overlap, in pixels, where they are large enough for it.
const USUAL_OVERLAP: u32 = 64;

/// A second pass, prepared before the first one begins.
pub(super) struct Second {
    hires: Hires,
    /// What it draws.
    request: Request,
    plan: Plan,
    /// Steps of the first pass, as prompts count them.
    before: usize,
}

impl Second {
    /// The size of its picture.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.request.width.unwrap_or_default(), self.request.height.unwrap_or_default())
    }
}

impl Hires {
    /// The name of its upscaler, and what way of enlarging that is; none for a network.
    fn way(&self) -> (&str, Option<Way>) {
        let name = self.upscaler.as_deref().unwrap_or(UPSCALERS[0].name);
        (name, find_upscaler(name).map(|kind| kind.way))
    }
}

/// What the first pass gave.
pub(super) struct First<'a> {
    /// Its latents; none where it was left out, so that the picture is that of the canvas.
    pub(super) latents: Option<Latents>,
    pub(super) canvas: Option<&'a Canvas>,
}

/// What the second pass draws over.
struct Over {
    original: Latents,
    /// The unit noise that is added to it.
    unit: Latents,
    /// The generator of the noise of the steps.
    noise: NoiseSource,
    /// What is added to the seed of that noise.
    ensd: u64,
}

impl Pipeline {
    /// What the second pass of `request` is, whose sizes and steps are filled in.
    ///
    /// # Errors
    /// [`Error::Request`] if it cannot be drawn.
    pub(super) fn second(&self, request: &Request) -> Result<Option<Second>> {
        let Some(hires) = request.hires.clone() else { return Ok(None) };
        if self.network.kind() == NetworkKind::Edit {
            let what = format!("model `{}` edits pictures; it draws none a second time", self.name.name);
            return Err(Error::request(what, "leave out the second pass, or use `--upscale`"));
        }
        let size = (request.width.unwrap_or_default(), request.height.unwrap_or_default());
        match hires.way() {
            (name, None) => {
                check(name, self.loader.catalogue.upscalers())?;
                self.loader.catalogue.check_upscaler(Some(name))?;
            }
            (_, Some(Way::Latents(_))) if size != self.whole_latents(size) => {
                let what = format!("a picture of {}x{} pixels is no whole number of latents", size.0, size.1);
                return Err(Error::request(what, "enlarge pixels, as with `--hires-upscaler lanczos`"));
            }
            _ => {}
        }
        let size = target(&hires, size, self.grid())?;
        let second = second_request(request, &hires, size);
        let plan = self.plan(&tile_request(&second, &hires))?;
        let before = request.steps.unwrap_or_default() as usize;
        Ok(Some(Second { hires, request: second, plan, before }))
    }

    /// The second pass of `request`, which is complete, with all that it needs loaded: so it fails before the first one.
    pub(super) fn prepare_second(&mut self, request: &Request) -> Result<Option<Second>> {
        let second = self.second(request)?;
        match second.as_ref().map(|second| second.hires.way()) {
            None | Some((_, Some(Way::Latents(_)))) => {}
            Some((_, Some(Way::Pixels(_)))) => drop(self.encoder()?),
            Some((name, None)) => {
                self.upscaler(Some(name))?;
                self.encoder()?;
            }
        }
        Ok(second)
    }

    /// The nearest size that is a whole number of what the network takes together, not above `size`.
    fn whole_latents(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let factor = self.grid();
        (width / factor * factor, height / factor * factor)
    }

    /// The latents of the second pass.
    ///
    /// As in stable-diffusion-webui, its noise is that of the seed at the larger size, and it takes all of its steps.
    pub(super) fn second_pass(
        &mut self,
        second: Second,
        first: First<'_>,
        seconds: &mut Seconds,
        observe: &mut Observer<'_>,
    ) -> Result<Latents> {
        let Second { hires, request, plan, before } = second;
        let shape = self.shape(&request);
        let tiles = tilings(&hires, shape, (self.decoder.format().downsampling, self.family.patch));
        let steps = plan.schedule.len();
        let total = steps * tiles.0.spans().len() * tiles.1.spans().len();
        observe(Event::SecondPass { steps: total })?;
        let over = self.enlarged_latents(&hires, &request, first, observe)?;
        let guidance = guidance(&request, plan.guidance());
        let (prompts, refining) = timed(&mut seconds.encode, || {
            let negative = guidance.is_ever_on(steps) || plan.uses_negative();
            let along = Along { steps: plan.prompt_steps, before: Some(before) };
            self.prompts(&request, &plan, along, negative)
        })?;
        let job = Job {
            seed: request.seed,
            rng: rng(&request)?,
            plan,
            guidance,
            prompts,
            refining,
            progress: (0, total),
            tiles: vae_tiles(&request),
        };
        let begun = Instant::now();
        let latents = self.draw_tiles(job, over, tiles, &mut seconds.steps, observe);
        seconds.denoise += begun.elapsed().as_secs_f64();
        latents
    }

    /// Draws tile by tile, and mixes the latents of the tiles where they overlap. One tile alone goes on with the generator of
    /// the first noise; of several, each has its own.
    fn draw_tiles(
        &mut self,
        mut job: Job,
        Over { original, unit, noise, ensd }: Over,
        (rows, columns): (Tiling, Tiling),
        times: &mut Vec<f64>,
        observe: &mut Observer<'_>,
    ) -> Result<Latents> {
        let ([_, channels, height, width], seed) = (original.shape(), job.seed);
        let mut blend = Blend::new(channels, rows.clone(), columns.clone());
        let mut whole = vec![0.0; channels * height * width];
        let mut noise = Some(noise);
        for (row, down) in rows.spans().iter().enumerate() {
            for (column, across) in columns.spans().iter().enumerate() {
                let number = row * columns.spans().len() + column;
                let cut = |latents: &Latents| latents.cropped(down.start..down.end, across.start..across.end);
                let x = job.plan.start(Some(&cut(&original)), &cut(&unit));
                job.seed = seed.wrapping_add(number as u64);
                job.progress.0 = number * job.plan.schedule.len();
                let steps = noise.take().unwrap_or_else(|| NoiseSource::new(job.rng, job.seed.wrapping_add(ensd)));
                let beside = self.beside_nothing(x.shape())?;
                let drawn = self.denoise(&job, Start { x, steps, kept: None, beside }, times, observe)?;
                blend.add(row, column, drawn.values());
            }
            let Ok(()) = blend.finish(row, |y, values| -> Result<(), Infallible> {
                for (channel, line) in values.chunks_exact(width).enumerate() {
                    let place = (channel * height + y) * width;
                    whole[place..place + width].copy_from_slice(line);
                }
                Ok(())
            });
        }
        Latents::new([1, channels, height, width], whole)
    }

    /// The latents to draw over, the unit noise for them, and the generator of the noise of the steps.
    fn enlarged_latents(
        &mut self,
        hires: &Hires,
        request: &Request,
        first: First<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<Over> {
        let shape = self.shape(request);
        let (original, drawn) = match hires.way() {
            (_, Some(Way::Latents(how))) => {
                let latents = match (first.latents, first.canvas) {
                    (Some(latents), _) => latents,
                    (None, Some(canvas)) => self.encoder()?.encode(&canvas.image, vae_tiles(request))?.latents(None),
                    (None, None) => Latents::zeros(shape), // never: without a picture the first pass is drawn
                };
                (Ok(latents.resized(shape[2], shape[3], how)), false)
            }
            (name, way) => {
                let filter = way.map(|way| if let Way::Pixels(filter) = way { filter } else { Filter::Lanczos });
                let larger = self.enlarged_pixels(request, (name, filter), first, observe)?;
                let encoded = self.encoded(request, &larger)?;
                let drawn = encoded.is_drawn();
                (Err(encoded), drawn)
            }
        };
        let noise = self.first_noise(request, drawn)?;
        let original = original.unwrap_or_else(|encoded| encoded.latents(Some(&noise.encoding(shape))));
        let (unit, noise) = noise.draw(shape);
        Ok(Over { original, unit, noise, ensd: request.ensd })
    }

    /// The first picture in the size of the second: by a filter, or else by the network `name`.
    fn enlarged_pixels(
        &mut self,
        request: &Request,
        (name, filter): (&str, Option<Filter>),
        first: First<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<Bitmap> {
        let picture = self.first_picture(request, first)?;
        let (width, height) = (request.width.unwrap_or(picture.width), request.height.unwrap_or(picture.height));
        let Some(filter) = filter else {
            let upscaler = self.upscaler(Some(name))?;
            let larger = upscaler.enlarge(&picture, None, &mut |done| observe(Event::Upscaling(done)))?;
            return Ok(larger.resized(width, height, Filter::Lanczos));
        };
        Ok(picture.resized(width, height, filter))
    }

    /// The pixels that the first pass led to.
    fn first_picture(&mut self, request: &Request, first: First<'_>) -> Result<Bitmap> {
        let drawn = first.latents.map(|latents| self.develop(request, &latents)).transpose()?;
        let picture = match (drawn, first.canvas) {
            (Some(drawn), Some(canvas)) => canvas.finish(&drawn),
            (Some(drawn), None) => drawn,
            (None, Some(canvas)) => canvas.finish(&canvas.image),
            (None, None) => Bitmap::default(), // never: without a picture the first pass is drawn
        };
        Ok(Bitmap { alpha: None, ..picture }) // its colours are those on white
    }
}

/// What the second pass draws: the request with what `hires` says in place of its own.
fn second_request(request: &Request, hires: &Hires, (width, height): (u32, u32)) -> Request {
    let hires = hires.clone();
    let joined = hires.sampler.as_deref().and_then(|name| split_combined(name).ok()).and_then(|(_, kind)| kind);
    let kind = hires.scheduler.as_deref().and_then(|name| find_schedule(name).ok()).or(joined);
    let renewed = hires.scheduler.is_some() || joined.is_some() || hires.steps.is_some();
    Request {
        width: Some(width),
        height: Some(height),
        steps: hires.steps.or(request.steps),
        sampler: hires.sampler.or(request.sampler.clone()),
        scheduler: hires.scheduler.or(request.scheduler.clone().filter(|_| joined.is_none())),
        rho: request.rho.filter(|_| kind.is_none_or(|kind| kind.rho.is_some())),
        sigmas: request.sigmas.clone().filter(|_| !renewed),
        prompt: hires.prompt.unwrap_or_else(|| request.prompt.clone()),
        negative_prompt: hires.negative_prompt.unwrap_or_else(|| request.negative_prompt.clone()),
        cfg_schedule: request.cfg_schedule.clone().filter(|_| hires.cfg_scale.is_none()),
        cfg_scale: hires.cfg_scale.or(request.cfg_scale),
        strength: Some(hires.strength),
        strength_steps: Some("exact".into()),
        hires: None,
        latents: None,
        ..request.clone()
    }
}

/// The request of one tile: only its size counts, for schedules that depend on it.
fn tile_request(request: &Request, hires: &Hires) -> Request {
    let side = |length: Option<u32>| length.map(|length| length.min(hires.tile.unwrap_or(length)));
    Request { width: side(request.width), height: side(request.height), ..request.clone() }
}

/// The size of the second picture: whole latents, rounded down as in stable-diffusion-webui.
pub(super) fn target(hires: &Hires, (width, height): (u32, u32), factor: u32) -> Result<(u32, u32)> {
    let (w, h) = (f64::from(width), f64::from(height));
    let (wide, high) = match (hires.width, hires.height) {
        (None, None) => (w * hires.scale, h * hires.scale),
        (Some(wide), None) => (wide.into(), f64::from(wide) * h / w),
        (None, Some(high)) => (f64::from(high) * w / h, high.into()),
        (Some(wide), Some(high)) => (wide.into(), high.into()),
    };
    if (wide * h / (high * w)).ln().abs() > 0.03 {
        return Err(Error::request(
            format!("the second pass is {wide}x{high}, the first {width}x{height}: they differ in shape"),
            "give one of `--hires-width` and `--hires-height`; the other follows",
        ));
    }
    let whole = |length: f64| (length as u32) / factor * factor;
    let size = (whole(wide), whole(high));
    if size.0 < factor || size.1 < factor || size.0.max(size.1) > LARGEST_SIDE {
        let what = format!("the second pass is of {}x{} pixels", size.0, size.1);
        return Err(Error::request(what, format!("use a size from {factor} to {LARGEST_SIDE} pixels a side")));
    }
    Ok(size)
}

/// How the latents of a shape are covered by the tiles of `hires`: rows and columns; one tile where it asks for none.
fn tilings(hires: &Hires, [_, _, height, width]: [usize; 4], (factor, patch): (usize, usize)) -> (Tiling, Tiling) {
    let tiling = |length: usize| match hires.tile {
        Some(tile) => {
            let grid = factor * patch;
            let overlap = hires.tile_overlap.unwrap_or(USUAL_OVERLAP.min(tile / 3)) as usize / grid;
            Tiling::new(length / patch, (tile as usize / grid).max(1), overlap, overlap).scaled(patch)
        }
        None => Tiling::new(length, length, 0, 0),
    };
    (tiling(height), tiling(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_stable_diffusion_webui() {
        let of = |hires: Hires| target(&hires, (512, 768), 8).map_err(|error| error.to_string());
        assert_eq!(of(Hires::default()), Ok((1024, 1536)));
        assert_eq!(of(Hires { scale: 1.3, ..Hires::default() }), Ok((664, 992)));
        assert_eq!(of(Hires { width: Some(768), ..Hires::default() }), Ok((768, 1152)));
        assert_eq!(of(Hires { height: Some(1000), ..Hires::default() }), Ok((664, 1000)));
        let square = Hires { width: Some(800), height: Some(800), ..Hires::default() };
        assert_eq!(of(square), Err("the second pass is 800x800, the first 512x768: they differ in shape".into()));
    }

    #[test]
    fn what_the_second_pass_says_takes_the_place_of_the_first() {
        let first = Request {
            prompt: "a".into(),
            steps: Some(20),
            sigmas: Some(vec![3.0]),
            cfg_schedule: Some(vec![1.0]),
            ..Request::default()
        };
        let plain = second_request(&first, &Hires::default(), (8, 8));
        assert_eq!((plain.prompt.as_str(), plain.steps, plain.strength), ("a", Some(20), Some(0.7)));
        assert!(plain.sigmas.is_some() && plain.cfg_schedule.is_some());
        let own = Hires { prompt: Some("b".into()), steps: Some(9), cfg_scale: Some(2.0), ..Hires::default() };
        let own = second_request(&first, &own, (8, 8));
        assert_eq!((own.prompt.as_str(), own.steps, own.cfg_scale), ("b", Some(9), Some(2.0)));
        assert!(own.sigmas.is_none() && own.cfg_schedule.is_none());
    }

    /// `complete` has filled in the schedule of the first pass.
    #[test]
    fn a_schedule_in_the_name_of_a_sampler_takes_the_place_of_the_first() {
        let first = Request { scheduler: Some("polyexponential".into()), rho: Some(3.0), ..Request::default() };
        let of = |sampler: &str| {
            let hires = Hires { sampler: Some(sampler.into()), ..Hires::default() };
            let second = second_request(&first, &hires, (8, 8));
            (second.scheduler, second.rho)
        };
        assert_eq!(of("DPM++ 2M"), (Some("polyexponential".into()), Some(3.0)));
        assert_eq!(of("DPM++ 2M Karras"), (None, Some(3.0)));
        assert_eq!(of("DPM++ 2M Exponential"), (None, None));
    }
}

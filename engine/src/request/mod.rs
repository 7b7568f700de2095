//! What to draw.
mod check;
mod extend;
mod passes;
mod source;

use crate::sampling::Latents;
pub use extend::Extend;
pub use passes::{Hires, Refiner, Upscale};
use serde::{Deserialize, Serialize};
pub use source::{ImageSource, SourceImage};

/// The longest prompt, in bytes.
pub const LONGEST_PROMPT: usize = 64 * 1024;
/// The largest width or height, in pixels.
pub const LARGEST_SIDE: u32 = 16_384;
/// The largest number of steps.
pub const MOST_STEPS: u32 = 10_000;
/// The largest number of pictures of one request.
pub const MOST_PICTURES: u32 = 100_000;

/// What to draw; enough to draw it again.
///
/// A field that is `None` takes the model's own value; [`Pipeline::complete`](crate::Pipeline::complete) fills it in.
///
/// ```
/// let request = petal_engine::Request { prompt: "a dog in space".into(), seed: 7, ..Default::default() };
/// assert_eq!(request.steps, None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// What the picture shows, in stable-diffusion-webui's grammar unless `emphasis` is `none`. At most 64 KiB and
    /// [`MOST_PARTS`](crate::MOST_PARTS) parts joined with `AND`; with the negative prompt at most
    /// [`MOST_CHUNKS`](crate::MOST_CHUNKS) chunks of 75 tokens over all texts that they stand for, each as long as the
    /// longest; may be empty.
    pub prompt: String,
    /// What the picture shall not show. At most 64 KiB; empty by default.
    pub negative_prompt: String,
    /// Width in pixels: a multiple of the model's downsampling, at most 16,384. By default the model's own.
    pub width: Option<u32>,
    /// Height in pixels, like `width`.
    pub height: Option<u32>,
    /// Steps from noise to picture, 1 to 10,000, and no more than the schedule has levels for. By default the model's own, or 20: more change little.
    pub steps: Option<u32>,
    /// How much the prompt counts against the negative prompt, 0 to 100; 1 leaves the negative prompt out. By default
    /// the model's own, or 7.5, which is diffusers' value for SD 1.
    pub cfg_scale: Option<f64>,
    /// What the noise starts from; with `rng` `cpu` its low 32 bits count, as in torch, but for Brownian noise all do. Picture `k` of a batch uses `seed + k`, unless it
    /// is a variation. 0 by default, so that a request without a seed always gives the same picture.
    pub seed: u64,
    /// How to go from noise to picture: a name of [`SAMPLERS`](crate::SAMPLERS). By default what the model's
    /// `scheduler_config.json` names.
    pub sampler: Option<String>,
    /// Through which noise levels: `model`, what the model's `scheduler_config.json` says, by default; `automatic`, what
    /// stable-diffusion-webui chooses for the sampler; or a name of [`SCHEDULES`](crate::SCHEDULES).
    pub scheduler: Option<String>,
    /// Noise levels to go through in place of a schedule's, highest first: positive and falling, a last 0 may be left
    /// out. Their number takes the place of `steps`.
    pub sigmas: Option<Vec<f64>>,
    /// The curvature of the schedules that have one (`karras`, `polyexponential`), above 0, at most 100.
    pub rho: Option<f64>,
    /// How much of its fresh noise a sampler adds, 0 to 10. By default the sampler's own: 1 for ancestral and SDE
    /// samplers, 0 for DDIM.
    pub eta: Option<f64>,
    /// Noise that is added before each step and taken out by it, over the whole run; 0, none, by default, at most 1,000.
    /// For the samplers that churn: `euler`, `heun`, `dpm_2`.
    pub s_churn: f64,
    /// The lowest noise level that is churned; 0 by default.
    pub s_tmin: f64,
    /// The highest noise level that is churned; by default any.
    pub s_tmax: Option<f64>,
    /// What all fresh noise is multiplied by, 0 to 10; 1 by default.
    pub s_noise: f64,
    /// Which generator draws the noise: a name of [`RNGS`](crate::RNGS). `cpu` by default, torch's on the CPU.
    ///
    /// Over an init image, `cpu` first draws the latents that the autoencoder leaves to chance, then the first noise, as
    /// diffusers does; `nv` begins with the first noise and takes the most likely latents, because
    /// stable-diffusion-webui draws them from a generator that no seed sets.
    pub rng: Option<String>,
    /// The seed of other noise, which is mixed in by `variation_strength`; picture `k` of a batch of variations uses
    /// `variation_seed + k`.
    pub variation_seed: u64,
    /// How much of the other noise, 0 (none, the default) to 1 (nothing else).
    pub variation_strength: f64,
    /// Width in pixels of the picture whose noise is kept in the middle of this one's; with
    /// [`seed_resize_height`](Self::seed_resize_height), or not at all.
    pub seed_resize_width: Option<u32>,
    /// Height in pixels, like `seed_resize_width`.
    pub seed_resize_height: Option<u32>,
    /// What is added to the seed for the noise of the steps, which then begins anew (ENSD, "eta noise seed delta");
    /// with 0, the default, it continues after the first noise. Of no effect for samplers whose steps draw none, as in
    /// stable-diffusion-webui, which writes it into their files too.
    pub ensd: u64,
    /// What brackets in prompts mean: a name of [`EMPHASES`](crate::EMPHASES). `original` by default.
    pub emphasis: Option<String>,
    /// At which layer from its end the text encoder stops: 1, the default, uses all, 2 leaves the last one out.
    pub clip_skip: u32,
    /// How far guidance is scaled back to the contrast of the positive side alone, 0 (not, the default) to 1 (Lin et al.
    /// 2023).
    pub cfg_rescale: f64,
    /// The part of the run after which guidance begins, 0 (the default) to 1 (Kynkäänniemi et al. 2024).
    pub guidance_start: f64,
    /// The part of the run after which guidance ends, 0 to 1 (the default).
    pub guidance_end: f64,
    /// Guidance along the run in place of `cfg_scale`, as values spread evenly from the first step to the last, linear
    /// between them.
    pub cfg_schedule: Option<Vec<f64>>,
    /// The number of pictures, 1 to 100,000.
    pub batch_count: u32,
    /// The picture to draw over (image to image). Without `width` and `height` the new picture is as large.
    pub init_image: Option<ImageSource>,
    /// How much of the init image is drawn anew, 0 to 1: 1 keeps next to nothing of it; 0, all of it, only makes sense
    /// with `hires`. By default 0.8, and 1 with a mask, new margins or a network that edits, as in diffusers.
    pub strength: Option<f64>,
    /// How many steps a strength means: `diffusers`, the last `steps · strength` of the schedule's steps, by default;
    /// `webui`, one more, of at most 0.999 of them; `exact`, as many as `steps` says, of a longer schedule.
    pub strength_steps: Option<String>,
    /// How an init image comes to the size of the picture: `crop` (fill the frame, cut off the rest) by default,
    /// `stretch`, or `fill` (show all of it, continue its border).
    pub resize_mode: Option<String>,
    /// Which part of the init image is drawn anew: white is, black is not, grey later than white.
    pub mask: Option<ImageSource>,
    /// Whether black is drawn anew, not white.
    pub mask_invert: bool,
    /// How far the edge of the mask is softened, in pixels: the standard deviation of a Gaussian; 4 by default, at most 64.
    pub mask_blur: f64,
    /// What is under the mask to begin with: `original`, `fill` (colours from around it), `noise` or `nothing`. By default
    /// `original`, but noise alone where the strength is 1.
    pub inpaint_fill: Option<String>,
    /// Whether only the surroundings of the mask are drawn, at the full size, and put back.
    pub only_masked: bool,
    /// How far those surroundings reach beyond the mask, in pixels of the init image; 32 by default.
    pub mask_padding: u32,
    /// Margins that are added to the init image and drawn.
    pub extend: Option<Extend>,
    /// How much the init image counts for a network that edits pictures (instruct-pix2pix), 0 to 100; of no effect where
    /// guidance by the prompt is off. By default 1.5, diffusers' value.
    pub img_cfg_scale: Option<f64>,
    /// Guidance that the network was taught, for networks that take it as an input (FLUX.1 dev, LCM), 0 to 100. By default
    /// diffusers' value: 3.5 for FLUX.1, 8.5 for LCM.
    pub guidance: Option<f64>,
    /// Width and height of the picture that training would have had before it was cropped, for SDXL; by default those of
    /// this picture. Low values give a blurred one.
    pub original_size: Option<[u32; 2]>,
    /// Left and top of that crop, for SDXL; by default 0, which centres what is drawn.
    pub crop: Option<[u32; 2]>,
    /// Width and height that the crop was brought to, for SDXL; by default those of this picture.
    pub target_size: Option<[u32; 2]>,
    /// How well a picture of this kind would be rated, for the refiner of SDXL, 0 to 10; 6 by default.
    pub aesthetic_score: Option<f64>,
    /// The same of a picture of the negative side; 2.5 by default.
    pub negative_aesthetic_score: Option<f64>,
    /// A second network that takes over before the end.
    pub refiner: Option<Refiner>,
    /// A second pass over the picture, enlarged.
    pub hires: Option<Hires>,
    /// Enlarging the finished picture with a network made for it.
    pub upscale: Option<Upscale>,
    /// Which autoencoder makes pixels: `model`, by default, or `fast`, a tiny one that is nearly as good.
    pub vae: Option<String>,
    /// Whether the autoencoder works in tiles, which takes less memory: `auto` by default, for pictures so large that it
    /// would take much; `on`; `off`.
    pub vae_tiling: Option<String>,
    /// The side of such a tile, in pixels of the picture. By default the autoencoder's own size.
    pub vae_tile_size: Option<u32>,
    /// How far neighbouring tiles overlap, in pixels of the picture, at most a third of them. Of no effect where the
    /// autoencoder's graph can be cut at its group norms, which most can: then it works in strips that are exact.
    pub vae_tile_overlap: Option<u32>,
    /// Noise to start from in place of the seed's: unit variance, `[1, channels, height / f, width / f]`.
    #[serde(skip)]
    pub latents: Option<Latents>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            width: None,
            height: None,
            steps: None,
            cfg_scale: None,
            seed: 0,
            sampler: None,
            scheduler: None,
            sigmas: None,
            rho: None,
            eta: None,
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: None,
            s_noise: 1.0,
            rng: None,
            variation_seed: 0,
            variation_strength: 0.0,
            seed_resize_width: None,
            seed_resize_height: None,
            ensd: 0,
            emphasis: None,
            clip_skip: 1,
            cfg_rescale: 0.0,
            guidance_start: 0.0,
            guidance_end: 1.0,
            cfg_schedule: None,
            batch_count: 1,
            init_image: None,
            strength: None,
            strength_steps: None,
            resize_mode: None,
            mask: None,
            mask_invert: false,
            mask_blur: 4.0,
            inpaint_fill: None,
            only_masked: false,
            mask_padding: 32,
            extend: None,
            img_cfg_scale: None,
            guidance: None,
            original_size: None,
            crop: None,
            target_size: None,
            aesthetic_score: None,
            negative_aesthetic_score: None,
            refiner: None,
            hires: None,
            upscale: None,
            vae: None,
            vae_tiling: None,
            vae_tile_size: None,
            vae_tile_overlap: None,
            latents: None,
        }
    }
}

impl Request {
    /// The request for each single picture, with its own seed: seeds count up, or, as in stable-diffusion-webui, the
    /// variation seeds where there are variations.
    pub fn singles(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.batch_count).map(|number| self.single(number))
    }

    /// The request for the picture `number`, from 0; see [`singles`](Self::singles).
    #[must_use]
    pub fn single(&self, number: u32) -> Self {
        let (varies, number) = (self.variation_strength > 0.0, u64::from(number));
        Self {
            batch_count: 1,
            seed: self.seed.wrapping_add(if varies { 0 } else { number }),
            variation_seed: self.variation_seed.wrapping_add(if varies { number } else { 0 }),
            ..self.clone()
        }
    }

    /// The request with the pictures that it brings read from their files.
    ///
    /// # Errors
    /// [`Error::Request`](crate::Error::Request) and [`Error::Io`](crate::Error::Io) for a file that cannot be read as a
    /// picture.
    pub fn with_images(&self) -> crate::Result<Self> {
        let mut whole = self.clone();
        whole.init_image = self.init_image.as_ref().map(|image| image.loaded("-i")).transpose()?;
        whole.mask = self.mask.as_ref().map(|mask| mask.loaded("--mask")).transpose()?;
        Ok(whole)
    }

    /// The request as JSON, without the fields that have their default value.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let fields = |request: &Self| match serde_json::to_value(request) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(), // never: a request is a struct of plain values
        };
        let usual = fields(&Self::default());
        fields(self).into_iter().filter(|(name, value)| usual.get(name) != Some(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        let ok = Request::default();
        ok.check().unwrap();
        for (request, words) in vec![
            (Request { steps: Some(0), ..ok.clone() }, "steps is 0"),
            (Request { steps: Some(10_001), ..ok.clone() }, "steps is 10001"),
            (Request { width: Some(0), ..ok.clone() }, "width is 0"),
            (Request { height: Some(1 << 20), ..ok.clone() }, "height is 1048576"),
            (Request { cfg_scale: Some(f64::NAN), ..ok.clone() }, "guidance is NaN"),
            (Request { cfg_scale: Some(-1.0), ..ok.clone() }, "guidance is -1"),
            (Request { sampler: Some("eulr".into()), ..ok.clone() }, "unknown sampler `eulr`"),
            (Request { scheduler: Some("karas".into()), ..ok.clone() }, "unknown schedule `karas`"),
            (Request { s_noise: f64::INFINITY, ..ok.clone() }, "s_noise is inf"),
            (Request { rho: Some(0.0), ..ok.clone() }, "rho is 0"),
            (Request { variation_strength: 1.5, ..ok.clone() }, "variation strength is 1.5"),
            (Request { guidance_end: -0.5, ..ok.clone() }, "guidance end is -0.5"),
            (Request { clip_skip: 0, ..ok.clone() }, "clip skip is 0"),
            (Request { seed_resize_width: Some(64), ..ok.clone() }, "seed resize has one length of two"),
            (Request { cfg_schedule: Some(vec![]), ..ok.clone() }, "the guidance schedule has 0 numbers"),
            (Request { cfg_schedule: Some(vec![7.0, -1.0]), ..ok.clone() }, "the guidance schedule has -1"),
            (Request { batch_count: 0, ..ok.clone() }, "batch count is 0"),
            (Request { prompt: "x".repeat(1 << 20), ..ok.clone() }, "the prompt has more than 65536 bytes"),
        ] {
            let error = request.check().unwrap_err();
            assert_eq!(error.to_string(), words);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn single_pictures_count_their_seeds_up() {
        let request = Request { seed: u64::MAX, batch_count: 3, ..Request::default() };
        let seeds: Vec<_> = request.singles().map(|single| (single.seed, single.batch_count)).collect();
        assert_eq!(seeds, [(u64::MAX, 1), (0, 1), (1, 1)]);
        let request = Request { variation_seed: 5, variation_strength: 0.1, ..request };
        let seeds: Vec<_> = request.singles().map(|single| (single.seed, single.variation_seed)).collect();
        assert_eq!(seeds, [(u64::MAX, 5), (u64::MAX, 6), (u64::MAX, 7)]);
    }

    #[test]
    fn json_brings_a_request_back() {
        let request =
            Request { prompt: "ünï, \"x\"\n".into(), steps: Some(3), cfg_scale: Some(0.1), ..Request::default() };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        assert_eq!(serde_json::from_value::<Request>(request.to_json()).unwrap(), request);
        assert_eq!(request.to_json().as_object().unwrap().keys().collect::<Vec<_>>(), ["prompt", "steps", "cfg_scale"]);
        assert!(serde_json::from_str::<Request>("{\"stepz\": 3}").is_err());
    }
}

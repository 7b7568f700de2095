//! What to draw.
use crate::{
    AUTOMATIC_SCHEDULE, Error, MODEL_SCHEDULE, Result,
    prompt::find_emphasis,
    sampling::{Latents, Process, Schedule, find_rng, find_schedule, split_combined},
};
use serde::{Deserialize, Serialize};

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
            latents: None,
        }
    }
}

impl Request {
    /// The request for each single picture, with its own seed: seeds count up, or, as in stable-diffusion-webui, the
    /// variation seeds where there are variations.
    pub fn singles(&self) -> impl Iterator<Item = Self> + '_ {
        let varies = self.variation_strength > 0.0;
        (0..u64::from(self.batch_count)).map(move |k| Self {
            batch_count: 1,
            seed: self.seed.wrapping_add(if varies { 0 } else { k }),
            variation_seed: self.variation_seed.wrapping_add(if varies { k } else { 0 }),
            ..self.clone()
        })
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

    /// Fails if a value is out of its range, whatever the model.
    pub fn check(&self) -> Result<()> {
        check_prompt("prompt", &self.prompt)?;
        check_prompt("negative prompt", &self.negative_prompt)?;
        check_range("width", self.width, 1, LARGEST_SIDE)?;
        check_range("height", self.height, 1, LARGEST_SIDE)?;
        check_range("steps", self.steps, 1, MOST_STEPS)?;
        check_range("batch count", Some(self.batch_count), 1, MOST_PICTURES)?;
        if self.latents.is_some() && self.batch_count > 1 {
            return Err(Error::request("the given latents are those of one picture", "draw one picture at a time"));
        }
        if let Some(name) = &self.sampler {
            split_combined(name)?;
        }
        if let Some(name) = self.scheduler.as_deref().filter(|name| !is_derived(name)) {
            find_schedule(name)?;
        }
        if let Some(name) = &self.rng {
            find_rng(name)?;
        }
        if let Some(name) = &self.emphasis {
            find_emphasis(name)?;
        }
        self.check_numbers()?;
        self.check_lists()
    }

    /// Fails if a number is out of its range.
    fn check_numbers(&self) -> Result<()> {
        let numbers = [
            ("guidance", "cfg-scale", self.cfg_scale, 0.0, 100.0),
            ("rho", "rho", self.rho, f64::MIN_POSITIVE, 100.0),
            ("eta", "eta", self.eta, 0.0, 10.0),
            ("s_churn", "s-churn", Some(self.s_churn), 0.0, 1000.0),
            ("s_tmin", "s-tmin", Some(self.s_tmin), 0.0, 1e6),
            ("s_tmax", "s-tmax", self.s_tmax, 0.0, 1e6),
            ("s_noise", "s-noise", Some(self.s_noise), 0.0, 10.0),
            ("variation strength", "variation-strength", Some(self.variation_strength), 0.0, 1.0),
            ("guidance rescale", "cfg-rescale", Some(self.cfg_rescale), 0.0, 1.0),
            ("guidance start", "guidance-start", Some(self.guidance_start), 0.0, 1.0),
            ("guidance end", "guidance-end", Some(self.guidance_end), 0.0, 1.0),
        ];
        for (name, flag, value, least, most) in numbers {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                let range =
                    if least > 0.0 { format!("above 0, at most {most}") } else { format!("from {least} to {most}") };
                return Err(Error::request(format!("{name} is {value}"), format!("use a `--{flag}` {range}")));
            }
        }
        if self.guidance_start >= self.guidance_end {
            let what = format!("guidance begins at {} and ends at {}", self.guidance_start, self.guidance_end);
            return Err(Error::request(what, "let it end after it begins, or use `--cfg-scale 1` for none"));
        }
        if self.variation_seed != 0 && self.variation_strength <= 0.0 {
            let what = "a variation seed is given without a strength";
            return Err(Error::request(what, "add `--variation-strength`, above 0 and at most 1"));
        }
        check_range("clip skip", Some(self.clip_skip), 1, 100)?;
        check_range("seed resize width", self.seed_resize_width, 1, LARGEST_SIDE)?;
        check_range("seed resize height", self.seed_resize_height, 1, LARGEST_SIDE)?;
        if self.seed_resize_width.is_some() != self.seed_resize_height.is_some() {
            return Err(Error::request("seed resize has one length of two", "give width and height, or neither"));
        }
        Ok(())
    }

    /// Fails if a list is empty, too long, or has a number out of its range.
    fn check_lists(&self) -> Result<()> {
        if self.sigmas.is_some() && (self.scheduler.is_some() || self.rho.is_some()) {
            return Err(Error::request("noise levels are given, and a schedule as well", "give one of the two"));
        }
        if let Some(levels) = &self.sigmas {
            Schedule::explicit(Process::VarianceExploding, levels.clone())?;
        }
        match &self.cfg_schedule {
            Some(scales) if scales.is_empty() || scales.len() > MOST_STEPS as usize => {
                let hint = format!("give 1 to {MOST_STEPS} numbers");
                Err(Error::request(format!("the guidance schedule has {} numbers", scales.len()), hint))
            }
            Some(scales) => match scales.iter().find(|scale| !(0.0..=100.0).contains(*scale)) {
                Some(scale) => {
                    Err(Error::request(format!("the guidance schedule has {scale}"), "use numbers from 0 to 100"))
                }
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// Whether `name` means the schedule that the model or the sampler chooses.
fn is_derived(name: &str) -> bool {
    [MODEL_SCHEDULE, AUTOMATIC_SCHEDULE].iter().any(|derived| name.eq_ignore_ascii_case(derived))
}

fn check_prompt(name: &str, prompt: &str) -> Result<()> {
    if prompt.len() <= LONGEST_PROMPT {
        return Ok(());
    }
    Err(Error::request(format!("the {name} has more than {LONGEST_PROMPT} bytes"), "write a shorter one"))
}

fn check_range(name: &str, value: Option<u32>, least: u32, most: u32) -> Result<()> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(Error::request(format!("{name} is {value}"), format!("use a number from {least} to {most}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        let ok = Request::default();
        ok.check().unwrap();
        for (request, words) in [
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

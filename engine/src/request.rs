//! What to draw.
use crate::{
    Error, MODEL_SCHEDULE, Result,
    sampling::{Latents, find_schedule, split_combined},
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
    /// What the picture shows. At most 64 KiB; may be empty.
    pub prompt: String,
    /// What the picture shall not show. At most 64 KiB; empty by default.
    pub negative_prompt: String,
    /// Width in pixels: a multiple of the model's downsampling, at most 16,384. By default the model's own.
    pub width: Option<u32>,
    /// Height in pixels, like `width`.
    pub height: Option<u32>,
    /// Steps from noise to picture, 1 to 10,000. By default the model's own, or 20: more change little.
    pub steps: Option<u32>,
    /// How much the prompt counts against the negative prompt, 0 to 100; 1 leaves the negative prompt out. By default
    /// the model's own, or 7.5, which is diffusers' value for SD 1.
    pub cfg_scale: Option<f64>,
    /// What the noise starts from; its low 32 bits count, as in torch. Picture `k` of a batch uses `seed + k`. 0 by
    /// default, so that a request without a seed always gives the same picture.
    pub seed: u64,
    /// How to go from noise to picture: a name of [`SAMPLERS`](crate::SAMPLERS). By default what the model's
    /// `scheduler_config.json` names.
    pub sampler: Option<String>,
    /// Through which noise levels: `model`, or a name of [`SCHEDULES`](crate::SCHEDULES). By default `model`, what the
    /// model's `scheduler_config.json` says.
    pub scheduler: Option<String>,
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
            batch_count: 1,
            latents: None,
        }
    }
}

impl Request {
    /// The request for each single picture, with its own seed.
    pub fn singles(&self) -> impl Iterator<Item = Self> + '_ {
        (0..u64::from(self.batch_count)).map(|k| Self {
            batch_count: 1,
            seed: self.seed.wrapping_add(k),
            ..self.clone()
        })
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
        if let Some(name) = self.scheduler.as_deref().filter(|name| !name.eq_ignore_ascii_case(MODEL_SCHEDULE)) {
            find_schedule(name)?;
        }
        match self.cfg_scale {
            Some(scale) if !(0.0..=100.0).contains(&scale) => {
                Err(Error::request(format!("guidance is {scale}"), "use a `--cfg-scale` from 0 to 100"))
            }
            _ => Ok(()),
        }
    }
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
    }

    #[test]
    fn json_brings_a_request_back() {
        let request =
            Request { prompt: "ünï, \"x\"\n".into(), steps: Some(3), cfg_scale: Some(0.1), ..Request::default() };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        assert!(serde_json::from_str::<Request>("{\"stepz\": 3}").is_err());
    }
}

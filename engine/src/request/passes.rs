//! What happens to a picture after it was drawn once?
use super::{
    LARGEST_SIDE, MOST_STEPS,
    check::{check_number, check_prompt, check_range, is_derived},
};
use crate::{
    Error, Result,
    sampling::{find_schedule, split_combined},
};
use serde::{Deserialize, Serialize};

/// A second pass: the picture is enlarged, then drawn over (stable-diffusion-webui's "hires fix").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hires {
    /// How much larger the second picture is, 1 to 8; 2 by default. Not where a size is given.
    pub scale: f64,
    /// Width in pixels in place of `scale`; with `height`, or alone, then in proportion.
    pub width: Option<u32>,
    /// Height in pixels, like `width`.
    pub height: Option<u32>,
    /// How the picture is enlarged: a name from `petal list upscalers`. `latent` by default.
    pub upscaler: Option<String>,
    /// Steps of the second pass, all of them taken; by default as many as the first has.
    pub steps: Option<u32>,
    /// How much is drawn anew, above 0, at most 1; 0.7 by default.
    pub strength: f64,
    /// Another sampler than that of the first pass.
    pub sampler: Option<String>,
    /// Another schedule than that of the first pass.
    pub scheduler: Option<String>,
    /// Another prompt than that of the first pass.
    pub prompt: Option<String>,
    /// Another negative prompt than that of the first pass.
    pub negative_prompt: Option<String>,
    /// Another guidance than that of the first pass.
    pub cfg_scale: Option<f64>,
    /// The side of a tile in pixels, where the second pass goes over the picture tile by tile.
    pub tile: Option<u32>,
    /// How far tiles overlap, in pixels, at most a third of them. By default 64, or a third of smaller tiles.
    pub tile_overlap: Option<u32>,
}

impl Default for Hires {
    fn default() -> Self {
        Self {
            scale: 2.0,
            width: None,
            height: None,
            upscaler: None,
            steps: None,
            strength: 0.7,
            sampler: None,
            scheduler: None,
            prompt: None,
            negative_prompt: None,
            cfg_scale: None,
            tile: None,
            tile_overlap: None,
        }
    }
}

impl Hires {
    /// Fails if a value is out of its range.
    pub(super) fn check(&self) -> Result<()> {
        check_number("the second pass's scale", "hires-scale", Some(self.scale), (1.0, 8.0))?;
        check_range("the second pass's width", self.width, 1, LARGEST_SIDE)?;
        check_range("the second pass's height", self.height, 1, LARGEST_SIDE)?;
        check_range("the second pass's steps", self.steps, 1, MOST_STEPS)?;
        let above_zero = (f64::MIN_POSITIVE, 1.0);
        check_number("the second pass's strength", "hires-denoising-strength", Some(self.strength), above_zero)?;
        check_number("the second pass's guidance", "hires-cfg-scale", self.cfg_scale, (0.0, 100.0))?;
        check_range("the second pass's tile", self.tile, 64, LARGEST_SIDE)?;
        check_prompt("second pass's prompt", self.prompt.as_deref().unwrap_or_default())?;
        check_prompt("second pass's negative prompt", self.negative_prompt.as_deref().unwrap_or_default())?;
        if let Some(name) = &self.sampler {
            split_combined(name)?;
        }
        if let Some(name) = self.scheduler.as_deref().filter(|name| !is_derived(name)) {
            find_schedule(name)?;
        }
        match (self.tile, self.tile_overlap) {
            (None, Some(_)) => {
                let what = "an overlap is given without tiles";
                return Err(Error::request(what, "add the size of the tiles with `--hires-tile`"));
            }
            (Some(tile), Some(overlap)) if overlap > tile / 3 => {
                let what = format!("the second pass's tiles of {tile} overlap by {overlap}, more than a third");
                return Err(Error::request(what, format!("use a `--hires-tile-overlap` of at most {}", tile / 3)));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A second network that takes over before the end: the refiner of SDXL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refiner {
    /// The model whose network it is: a name of the catalogue or a folder.
    pub model: String,
    /// The part of the noise levels of training after which it takes over, 0 to 1, as `denoising_end` of diffusers; 0.8
    /// by default.
    pub switch_at: f64,
}

impl Default for Refiner {
    fn default() -> Self {
        Self { model: String::new(), switch_at: 0.8 }
    }
}

impl Refiner {
    /// Fails if a value is out of its range.
    pub(super) fn check(&self) -> Result<()> {
        if self.model.is_empty() {
            return Err(Error::request("the refiner has no model", "name one with `--refiner`"));
        }
        check_number("the part before the refiner", "refiner-switch-at", Some(self.switch_at), (0.0, 1.0))
    }
}

/// Enlarging a finished picture with a network made for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upscale {
    /// The network: a name of the catalogue, a folder or an ONNX file. By default the one that comes with petal.
    pub model: Option<String>,
    /// How much larger, 1 to 16; by default what the network does at once.
    pub scale: Option<f64>,
}

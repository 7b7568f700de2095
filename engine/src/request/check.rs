//! Are the values of a request within their ranges, whatever the model?
use super::{Hires, ImageSource, LARGEST_SIDE, LONGEST_PROMPT, MOST_PICTURES, MOST_STEPS, Refiner, Request};
use crate::{
    AUTOMATIC_SCHEDULE, Error, MODEL_SCHEDULE, Result,
    error::unknown,
    find_strength_steps,
    prompt::find_emphasis,
    sampling::{Process, Schedule, find_rng, find_schedule, split_combined},
};

/// What `resize_mode` may be.
const RESIZE_MODES: [&str; 3] = ["crop", "stretch", "fill"];
/// What `inpaint_fill` may be.
const INPAINT_FILLS: [&str; 4] = ["original", "fill", "noise", "nothing"];
/// What `vae` may be.
const VAES: [&str; 2] = ["model", "fast"];
/// What `vae_tiling` may be.
const VAE_TILINGS: [&str; 3] = ["auto", "on", "off"];

impl Request {
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
        self.check_lists()?;
        self.check_editing()?;
        self.hires.as_ref().map_or(Ok(()), Hires::check)?;
        self.refiner.as_ref().map_or(Ok(()), Refiner::check)?;
        self.check_autoencoder()
    }

    /// Fails if a value of image to image or inpainting is out of its range, or stands there without what it is about.
    fn check_editing(&self) -> Result<()> {
        if let Some(name) = &self.strength_steps {
            find_strength_steps(name)?;
        }
        check_name("resize mode", self.resize_mode.as_deref(), &RESIZE_MODES)?;
        check_name("inpaint fill", self.inpaint_fill.as_deref(), &INPAINT_FILLS)?;
        check_number("strength", "strength", self.strength, (0.0, 1.0))?;
        check_number("mask blur", "mask-blur", Some(self.mask_blur), (0.0, 64.0))?;
        check_number("image guidance", "img-cfg-scale", self.img_cfg_scale, (0.0, 100.0))?;
        check_range("mask padding", Some(self.mask_padding), 0, LARGEST_SIDE)?;
        self.extend.as_ref().map_or(Ok(()), super::Extend::check)?;
        if self.strength.is_some_and(|strength| strength <= 0.0) && self.hires.is_none() {
            return Err(Error::request(
                "strength 0 draws nothing",
                "use a `--strength` above 0, or add `--hires` to draw over the enlarged picture alone",
            ));
        }
        self.check_company()?;
        let masked = self.mask.is_some() || self.extend.is_some();
        if masked && self.hires.is_some() {
            return Err(Error::request(
                "a second pass draws over all of a picture, and a mask keeps a part of it",
                "leave out one of the two, or use `--upscale`",
            ));
        }
        if self.init_image == Some(ImageSource::Alpha) {
            return Err(Error::request("`alpha` is a mask, not an image", "name an image with `-i`"));
        }
        Ok(())
    }

    /// Fails if a value stands there without the picture or the mask that it is about.
    fn check_company(&self) -> Result<()> {
        let usual = Self::default();
        let about_images = [
            ("a mask", self.mask.is_some()),
            ("an extension", self.extend.is_some()),
            ("a strength", self.strength.is_some() || self.strength_steps.is_some()),
            ("a resize mode", self.resize_mode.is_some()),
            ("an image guidance", self.img_cfg_scale.is_some()),
        ];
        if let Some((what, _)) = about_images.iter().find(|(_, given)| *given && self.init_image.is_none()) {
            return Err(Error::request(format!("{what} is given without an image"), "add the image with `-i`"));
        }
        let about_masks = [
            ("an inpaint fill", self.inpaint_fill.is_some()),
            ("`only_masked`", self.only_masked),
            ("`mask_invert`", self.mask_invert && self.mask.is_none()),
            ("a mask blur", (self.mask_blur - usual.mask_blur).abs() > f64::EPSILON),
            ("a mask padding", self.mask_padding != usual.mask_padding),
        ];
        let masked = self.mask.is_some() || self.extend.is_some();
        if let Some((what, _)) = about_masks.iter().find(|(_, given)| *given && !masked) {
            return Err(Error::request(format!("{what} is given without a mask"), "add the mask with `--mask`"));
        }
        Ok(())
    }

    /// Fails if a value about autoencoders is not one of those that there are.
    fn check_autoencoder(&self) -> Result<()> {
        check_name("autoencoder", self.vae.as_deref(), &VAES)?;
        check_name("VAE tiling", self.vae_tiling.as_deref(), &VAE_TILINGS)?;
        check_range("VAE tile size", self.vae_tile_size, 64, LARGEST_SIDE)?;
        check_range("VAE tile overlap", self.vae_tile_overlap, 0, self.vae_tile_size.unwrap_or(LARGEST_SIDE) / 3)?;
        let sized = self.vae_tile_size.or(self.vae_tile_overlap).is_some();
        if sized && self.vae_tiling.as_deref() == Some("off") {
            return Err(Error::request("the size of tiles is given, but there shall be none", "use `--vae-tiling on`"));
        }
        if let Some(scale) = self.upscale.as_ref().and_then(|upscale| upscale.scale) {
            check_number("enlargement", "upscale-by", Some(scale), (1.0, 16.0))?;
        }
        Ok(())
    }

    /// Fails if a number is out of its range.
    fn check_numbers(&self) -> Result<()> {
        let numbers = [
            ("guidance", "cfg-scale", self.cfg_scale, 0.0, 100.0),
            ("guidance that a network was taught", "guidance", self.guidance, 0.0, 100.0),
            ("aesthetic score", "aesthetic-score", self.aesthetic_score, 0.0, 10.0),
            ("negative aesthetic score", "negative-aesthetic-score", self.negative_aesthetic_score, 0.0, 10.0),
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
            check_number(name, flag, value, (least, most))?;
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
        for (name, pair, least) in
            [("original size", self.original_size, 1), ("crop", self.crop, 0), ("target size", self.target_size, 1)]
        {
            pair.into_iter().flatten().try_for_each(|length| check_range(name, Some(length), least, LARGEST_SIDE))?;
        }
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
pub(super) fn is_derived(name: &str) -> bool {
    [MODEL_SCHEDULE, AUTOMATIC_SCHEDULE].iter().any(|derived| name.eq_ignore_ascii_case(derived))
}

pub(super) fn check_prompt(name: &str, prompt: &str) -> Result<()> {
    if prompt.len() <= LONGEST_PROMPT {
        return Ok(());
    }
    Err(Error::request(format!("the {name} has more than {LONGEST_PROMPT} bytes"), "write a shorter one"))
}

pub(super) fn check_range(name: &str, value: Option<u32>, least: u32, most: u32) -> Result<()> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(Error::request(format!("{name} is {value}"), format!("use a number from {least} to {most}")))
        }
        _ => Ok(()),
    }
}

/// Fails if a number is out of its range; one above 0 stands for the least number of all.
pub(super) fn check_number(name: &str, flag: &str, value: Option<f64>, (least, most): (f64, f64)) -> Result<()> {
    match value.filter(|value| !(least..=most).contains(value)) {
        None => Ok(()),
        Some(value) => {
            let above = least > 0.0 && least < 1e-9;
            let range = if above { format!("above 0, at most {most}") } else { format!("from {least} to {most}") };
            Err(Error::request(format!("{name} is {value}"), format!("use a `--{flag}` {range}")))
        }
    }
}

/// Fails if a name is none of `names`.
pub(super) fn check_name(kind: &str, name: Option<&str>, names: &[&str]) -> Result<()> {
    match name.filter(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(unknown(kind, name, names.iter().copied())),
    }
}

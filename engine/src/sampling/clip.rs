//! How far a clean estimate may reach: clipping and dynamic thresholding, for models of pixels.
use super::{Denoiser, Latents, Run};
use crate::Result;

/// How clean estimates are clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::sampling) enum Clip {
    /// Not at all.
    None,
    /// To `-range..=range`: `clip_sample` and `clip_sample_range` of diffusers.
    Range(f64),
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3): `thresholding` of diffusers.
    Dynamic {
        /// `dynamic_thresholding_ratio`: the share of values, 0 to 1, that stays below the threshold.
        ratio: f64,
        /// `sample_max_value`: the highest threshold, 1 or more.
        max: f64,
    },
}

impl Clip {
    /// `x` clipped, each image by itself.
    pub(in crate::sampling) fn apply(self, mut x: Latents) -> Latents {
        let size = x.shape()[1..].iter().product::<usize>().max(1);
        for image in x.values_mut().chunks_mut(size) {
            let (range, divisor) = match self {
                Self::None => continue,
                Self::Range(range) => (range, 1.0),
                Self::Dynamic { ratio, max } => {
                    let threshold = quantile(image, ratio).max(1.0).min(max);
                    (threshold, threshold)
                }
            };
            for value in image {
                *value = (f64::from(*value).max(-range).min(range) / divisor) as f32;
            }
        }
        x
    }
}

/// What `ratio` of the absolute `values` stay below, between two of them by interpolation (`torch.quantile`).
fn quantile(values: &[f32], ratio: f64) -> f64 {
    let mut sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    sizes.sort_unstable_by(f32::total_cmp);
    let place = ratio.clamp(0.0, 1.0) * (sizes.len() - 1) as f64;
    let (low, high) = (f64::from(sizes[place.floor() as usize]), f64::from(sizes[place.ceil() as usize]));
    low + (high - low) * place.fract()
}

/// A denoiser whose estimates are clipped.
struct Clipped<'a> {
    model: &'a mut dyn Denoiser,
    clip: Clip,
}

impl Denoiser for Clipped<'_> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        self.model.denoise(x, sigma).map(|denoised| self.clip.apply(denoised))
    }

    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        let (denoised, negative) = self.model.denoise_both(x, sigma)?;
        Ok((self.clip.apply(denoised), self.clip.apply(negative)))
    }
}

impl Run<'_> {
    /// Runs `sampler` on `x` with clipped estimates.
    pub(in crate::sampling) fn clipped(
        &mut self,
        clip: Clip,
        x: Latents,
        sampler: impl FnOnce(&mut Run<'_>, Latents) -> Result<Latents>,
    ) -> Result<Latents> {
        let mut model = Clipped { model: &mut *self.model, clip };
        let Self { schedule, noise, strength, .. } = self;
        sampler(&mut Run { model: &mut model, schedule, noise: &mut **noise, strength: *strength }, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latents(values: &[f32]) -> Latents {
        Latents::new([2, 1, 1, values.len() / 2], values.to_vec()).unwrap()
    }

    #[test]
    fn a_range_cuts_both_ends() {
        let x = latents(&[-3.0, 0.5, 2.0, 1.0]);
        assert_eq!(Clip::Range(1.5).apply(x.clone()).values(), [-1.5, 0.5, 1.5, 1.0]);
        assert_eq!(Clip::None.apply(x.clone()), x);
    }

    /// The first image's threshold is 3, between its two largest values; the second's would be below 1.
    #[test]
    fn dynamic_thresholds_are_each_images_own() {
        let x = latents(&[-4.0, 2.0, 0.0, 0.5, -0.25, 0.75]);
        let clip = |max| Clip::Dynamic { ratio: 0.75, max };
        assert_eq!(clip(9.0).apply(x.clone()).values(), [-1.0, 2.0 / 3.0, 0.0, 0.5, -0.25, 0.75]);
        assert_eq!(clip(2.0).apply(x).values(), [-1.0, 1.0, 0.0, 0.5, -0.25, 0.75]);
    }
}

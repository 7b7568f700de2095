//! How does a part of a picture stay as it is while the rest is drawn?
use crate::{
    Result,
    sampling::{Denoiser, Latents, Schedule},
};

/// A picture of which a part is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Its latents, `[1, channels, height, width]`.
    pub(crate) original: Latents,
    /// How much of each latent is drawn anew, `height * width` values of 0 (nothing) to 1.
    pub(crate) mask: Vec<f32>,
    /// The unit noise that the run began with, of the shape of `original`.
    pub(crate) noise: Latents,
}

impl Kept {
    /// `x` with `kept(i)` in place of all latents whose mask is below `free`.
    fn replaced(&self, x: &Latents, free: f32, kept: impl Fn(usize) -> f32) -> Result<Latents> {
        let area = self.mask.len().max(1);
        let values = x.values().iter().enumerate();
        Latents::new(x.shape(), values.map(|(i, x)| if self.mask[i % area] < free { kept(i) } else { *x }).collect())
    }

    /// `x` as the network is to see it at `sigma`: what is not free yet is the original with the noise of that level.
    ///
    /// A latent of mask value `m` is free from the step on at which the run has `1 - m` of its steps behind it
    /// ("Differential Diffusion", Levin & Fried 2023, algorithm 2). What is 1 is free at once, what is 0 never: with
    /// nothing between this is `StableDiffusionInpaintPipeline` of diffusers for ordinary networks.
    fn shown(&self, x: &Latents, sigma: f64, schedule: &Schedule) -> Result<Latents> {
        let alpha = schedule.process().alpha(sigma) as f32;
        let (original, noise) = (self.original.values(), self.noise.values());
        let free = threshold(schedule.step_at(sigma), schedule.len());
        self.replaced(x, free, |i| alpha * original[i] + sigma as f32 * noise[i])
    }

    /// `estimate` at `sigma` with the original in place of all that is not free at the next step either, so that the
    /// sampler comes to what is kept until then with its noise, as it was shown.
    fn answered(&self, estimate: &Latents, sigma: f64, schedule: &Schedule) -> Result<Latents> {
        let original = self.original.values();
        self.replaced(estimate, threshold(schedule.step_at(sigma) + 1, schedule.len()), |i| original[i])
    }

    /// The result of a run of `steps` steps with the original in place of all that was never free.
    pub(crate) fn restore(&self, latents: &Latents, steps: usize) -> Result<Latents> {
        let original = self.original.values();
        self.replaced(latents, threshold(steps, steps), |i| original[i])
    }
}

/// The lowest mask value that is free at `step`, counted from 0, of `steps`; above 0 also when all are done.
fn threshold(step: usize, steps: usize) -> f32 {
    let last = steps.max(1) - 1;
    (1.0 - step.min(last) as f64 / steps.max(1) as f64) as f32
}

/// A denoiser to which all that is kept looks as it is.
///
/// Samplers weigh latents one by one, so that what becomes of others does not matter: they are replaced before each
/// look. With a mask of black and white that equals replacing them after each step, as diffusers does, for every
/// sampler; greys are equal to diffusers' for samplers without memory and fresh noise. The first look is at what the run
/// starts from, which may be noise alone.
pub(crate) struct Masked<'a, D> {
    inner: D,
    kept: Option<&'a Kept>,
    schedule: &'a Schedule,
    begun: bool,
}

/// `inner`, to which what is `kept` looks as it is; without that, `inner` as it is.
pub(crate) fn masked<'a, D: Denoiser>(inner: D, kept: Option<&'a Kept>, schedule: &'a Schedule) -> Masked<'a, D> {
    Masked { inner, kept, schedule, begun: false }
}

impl<D> Masked<'_, D> {
    /// What the network is shown in place of `x`; nothing else at the first look.
    fn shown(&mut self, x: &Latents, sigma: f64) -> Result<Option<Latents>> {
        let first = !std::mem::replace(&mut self.begun, true);
        self.kept.filter(|_| !first).map(|kept| kept.shown(x, sigma, self.schedule)).transpose()
    }
}

impl<D: Denoiser> Denoiser for Masked<'_, D> {
    fn denoise(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        let shown = self.shown(x, sigma)?;
        let estimate = self.inner.denoise(shown.as_ref().unwrap_or(x), sigma)?;
        match self.kept {
            Some(kept) => kept.answered(&estimate, sigma, self.schedule),
            None => Ok(estimate),
        }
    }

    fn denoise_both(&mut self, x: &Latents, sigma: f64) -> Result<(Latents, Latents)> {
        let shown = self.shown(x, sigma)?;
        let (estimate, negative) = self.inner.denoise_both(shown.as_ref().unwrap_or(x), sigma)?;
        match self.kept {
            Some(kept) => {
                let answered = |estimate| kept.answered(estimate, sigma, self.schedule);
                Ok((answered(&estimate)?, answered(&negative)?))
            }
            None => Ok((estimate, negative)),
        }
    }
}

/// What is under the mask to begin with, where it is neither the original nor made of its colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LatentFill {
    /// Unit noise, to which the run adds its own.
    Noise,
    /// Zeros, which are about grey.
    Nothing,
}

impl LatentFill {
    /// The fill that `name` means; none for those that are made of pixels.
    pub(crate) fn of(name: Option<&str>) -> Option<Self> {
        match name? {
            "noise" => Some(Self::Noise),
            "nothing" => Some(Self::Nothing),
            _ => None,
        }
    }

    /// The original with the fill as far as the mask says: `inpainting_fill` of stable-diffusion-webui, whose noise is
    /// that of the run, too.
    pub(crate) fn apply(self, kept: &Kept) -> Result<Latents> {
        let Kept { original, mask, noise } = kept;
        let area = mask.len().max(1);
        let pairs = original.values().iter().zip(noise.values()).enumerate();
        let filled = pairs.map(|(i, (original, noise))| {
            let (share, fill) = (mask[i % area], if self == Self::Noise { *noise } else { 0.0 });
            original * (1.0 - share) + fill * share
        });
        Latents::new(original.shape(), filled.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Process;

    fn row(values: &[f32]) -> Latents {
        Latents::new([1, 1, 1, values.len()], values.to_vec()).unwrap()
    }

    fn kept(mask: &[f32]) -> Kept {
        let row_of = |value: f32| row(&vec![value; mask.len()]);
        Kept { original: row_of(2.0), mask: mask.to_vec(), noise: row_of(1.0) }
    }

    /// What the network sees of latents that are -1 everywhere, at each of `sigmas`.
    fn seen(process: Process, mask: &[f32], sigmas: &[f64]) -> Vec<Vec<f32>> {
        let (kept, schedule) = (kept(mask), Schedule::new(process, sigmas.to_vec()));
        let mut looks = Vec::new();
        let mut model = masked(
            |x: &Latents, _: f64| {
                looks.push(x.values().to_vec());
                Ok(x.clone())
            },
            Some(&kept),
            &schedule,
        );
        let x = row(&vec![-1.0; mask.len()]);
        for sigma in sigmas {
            model.denoise(&x, *sigma).unwrap();
        }
        looks
    }

    #[test]
    fn what_is_black_is_the_original_with_the_noise_of_the_level() {
        let looks = seen(Process::VarianceExploding, &[0.0, 1.0], &[8.0, 4.0, 2.0]);
        assert_eq!(looks, [[-1.0, -1.0], [6.0, -1.0], [4.0, -1.0]]);
        let looks = seen(Process::RectifiedFlow, &[0.0, 1.0], &[1.0, 0.5]);
        assert_eq!(looks, [[-1.0, -1.0], [1.5, -1.0]]);
    }

    /// `masks = map > thresholds` of diffusers' differential pipelines, where `map` is 1 - m.
    #[test]
    fn greys_are_free_from_their_step_on() {
        let mask = [0.0, 0.2, 0.25, 0.5, 0.74, 0.75, 1.0];
        let looks = seen(Process::VarianceExploding, &mask, &[8.0, 4.0, 2.0, 1.0]);
        let free: Vec<Vec<usize>> = looks.iter().map(|x| (0..7).filter(|i| x[*i] < 0.0).collect()).collect();
        assert_eq!(free[1..], [vec![5, 6], vec![3, 4, 5, 6], vec![2, 3, 4, 5, 6]]);
        let end = kept(&mask).restore(&row(&[-1.0; 7]), 4).unwrap();
        assert_eq!(end.values(), [2.0, 2.0, -1.0, -1.0, -1.0, -1.0, -1.0]);
    }

    /// Euler's steps through estimates that are the original keep it and its noise, until what is grey is free.
    #[test]
    fn what_is_kept_is_answered_with_the_original() {
        let mask = [0.0, 0.5, 1.0];
        let (kept, schedule) = (kept(&mask), Schedule::new(Process::VarianceExploding, vec![8.0, 4.0, 2.0, 1.0]));
        let answers = [8.0, 4.0, 2.0, 1.0].map(|sigma| kept.answered(&row(&[-1.0; 3]), sigma, &schedule).unwrap());
        let answers: Vec<&[f32]> = answers.iter().map(Latents::values).collect();
        assert_eq!(answers, [[2.0, 2.0, -1.0], [2.0, -1.0, -1.0], [2.0, -1.0, -1.0], [2.0, -1.0, -1.0]]);
    }

    /// The last level of some schedules is above 0, and what is black stays even there.
    #[test]
    fn black_is_never_free() {
        let kept = kept(&[0.0]);
        let schedule = Schedule::new(Process::VarianceExploding, vec![2.0, 1.0]);
        for sigma in [1.0, 1e-3] {
            assert!(kept.shown(&row(&[-1.0]), sigma, &schedule).unwrap().values()[0] >= 2.0);
        }
        assert_eq!(kept.restore(&row(&[-1.0]), 2).unwrap(), kept.original);
    }

    #[test]
    fn a_fill_takes_the_place_of_what_is_masked() {
        let kept = kept(&[0.0, 0.5, 1.0]);
        assert_eq!(LatentFill::Noise.apply(&kept).unwrap().values(), [2.0, 1.5, 1.0]);
        assert_eq!(LatentFill::Nothing.apply(&kept).unwrap().values(), [2.0, 1.0, 0.0]);
        assert_eq!(LatentFill::of(Some("original")), None);
    }
}

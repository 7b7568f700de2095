//! The noise levels a network was trained on, and the timesteps it knows them by.
use crate::{Error, Result};
use std::f64::consts::FRAC_PI_2;

/// The most timesteps that a network may have been trained with; the usual number is 1,000.
const MOST_TIMESTEPS: usize = 100_000;

/// The noise level of every training timestep, lowest first.
///
/// The level of a timestep is `sqrt((1 − ᾱ) / ᾱ)`, where `ᾱ` is the product of `1 − beta` up to that timestep (Ho et
/// al. 2020). The tables are computed in 32 bits where diffusers does so, because `1 − ᾱ` loses digits there and the
/// lowest levels would otherwise differ by 4e-5.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    sigmas: Vec<f64>,
}

impl NoiseSchedule {
    /// The schedule that `beta_schedule` in a model's `scheduler_config.json` names.
    pub fn named(beta_schedule: &str, start: f64, end: f64, timesteps: usize) -> Result<Self> {
        if !(2..=MOST_TIMESTEPS).contains(&timesteps) {
            return Err(Error::model(
                format!("the model was trained on {timesteps} timesteps"),
                format!("check `num_train_timesteps`; petal takes 2 to {MOST_TIMESTEPS}"),
            ));
        }
        match beta_schedule {
            "linear" => Self::linear(start, end, timesteps),
            "scaled_linear" => Self::scaled_linear(start, end, timesteps),
            "squaredcos_cap_v2" => Self::squaredcos_cap_v2(timesteps),
            _ => Err(Error::model(
                format!("beta schedule `{beta_schedule}` is not supported"),
                "use a model whose beta schedule is one of: linear, scaled_linear, squaredcos_cap_v2",
            )),
        }
    }

    /// Betas that grow linearly from `start` to `end` (Ho et al. 2020).
    pub fn linear(start: f64, end: f64, timesteps: usize) -> Result<Self> {
        Self::trained(&linspace_f32(start as f32, end as f32, timesteps))
    }

    /// Betas whose square root grows linearly (latent diffusion; SD 1, SD 2, SDXL).
    pub fn scaled_linear(start: f64, end: f64, timesteps: usize) -> Result<Self> {
        let roots = linspace_f32(start.sqrt() as f32, end.sqrt() as f32, timesteps);
        Self::trained(&roots.iter().map(|root| root * root).collect::<Vec<_>>())
    }

    /// The cosine schedule of Nichol & Dhariwal (2021), equation 17, with betas of at most 0.999.
    pub fn squaredcos_cap_v2(timesteps: usize) -> Result<Self> {
        let signal = |i: usize| ((i as f64 / timesteps as f64 + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
        let betas = (0..timesteps).map(|i| (1.0 - signal(i + 1) / signal(i)).min(0.999) as f32);
        Self::trained(&betas.collect::<Vec<_>>())
    }

    /// Betas as they are given, one per training timestep; two or more, each above 0 and below 1.
    pub fn trained(betas: &[f32]) -> Result<Self> {
        if betas.len() < 2 || betas.iter().any(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            return Err(Error::model(
                "the model's betas are not two or more numbers between 0 and 1",
                "check `beta_start`, `beta_end` and `num_train_timesteps` in `scheduler_config.json`",
            ));
        }
        let mut product = 1.0; // torch accumulates in 64 bits and rounds each product
        let sigmas = betas.iter().map(|beta| {
            product *= f64::from(1.0 - beta);
            let kept = product as f32;
            f64::from(((1.0 - kept) / kept).sqrt())
        });
        let sigmas: Vec<f64> = sigmas.collect();
        if sigmas.iter().all(|sigma| sigma.is_finite() && *sigma > 0.0) && sigmas.windows(2).all(|w| w[0] < w[1]) {
            return Ok(Self { sigmas });
        }
        Err(Error::model(
            "the model's betas do not make noise levels that rise and stay finite",
            "check `beta_start`, `beta_end` and `num_train_timesteps` in `scheduler_config.json`",
        ))
    }

    /// The levels as they are given, lowest first.
    #[cfg(test)]
    pub(super) fn from_sigmas(sigmas: Vec<f64>) -> Self {
        Self { sigmas }
    }

    /// The number of training timesteps.
    #[must_use]
    pub fn timesteps(&self) -> usize {
        self.sigmas.len()
    }

    /// The lowest and highest noise level.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        (self.sigmas[0], self.sigmas[self.sigmas.len() - 1])
    }

    /// The timestep for `sigma`, between two training timesteps by interpolation in log sigma (k-diffusion).
    ///
    /// Levels out of range get the first or last timestep. Where a run knows its own timesteps, ask
    /// [`Schedule::timestep`](super::Schedule::timestep) instead.
    #[must_use]
    pub fn timestep(&self, sigma: f64) -> f64 {
        let high = self.sigmas.partition_point(|&s| s <= sigma).clamp(1, self.sigmas.len() - 1);
        let (low_log, high_log) = (self.sigmas[high - 1].ln(), self.sigmas[high].ln());
        (high - 1) as f64 + ((sigma.ln() - low_log) / (high_log - low_log)).clamp(0.0, 1.0)
    }

    /// The noise level at `timestep`, between two training timesteps by interpolation in log sigma (k-diffusion).
    #[must_use]
    pub fn sigma(&self, timestep: f64) -> f64 {
        let (low, high, weight) = self.neighbours(timestep);
        ((1.0 - weight) * low.ln() + weight * high.ln()).exp()
    }

    /// The noise level at `timestep`, between two training timesteps by interpolation in sigma (`numpy.interp` in
    /// diffusers).
    #[must_use]
    pub fn sigma_linear(&self, timestep: f64) -> f64 {
        let (low, high, weight) = self.neighbours(timestep);
        low + (high - low) * weight
    }

    /// The levels of the training timesteps around `timestep`, and how far it is from the first to the second.
    fn neighbours(&self, timestep: f64) -> (f64, f64, f64) {
        let last = self.sigmas.len() - 1;
        let timestep = timestep.clamp(0.0, last as f64);
        let low = timestep as usize;
        (self.sigmas[low], self.sigmas[(low + 1).min(last)], timestep.fract())
    }
}

/// `torch.linspace` in 32 bits, which counts from both ends towards the middle.
fn linspace_f32(start: f32, end: f32, n: usize) -> Vec<f32> {
    let step = (end - start) / (n.max(2) - 1) as f32;
    (0..n).map(|i| if i < n / 2 { start + step * i as f32 } else { end - step * (n - 1 - i) as f32 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestep_and_sigma_are_inverse() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap();
        for timestep in [0.0, 0.25, 1.0, 500.5, 998.75, 999.0] {
            assert!((schedule.timestep(schedule.sigma(timestep)) - timestep).abs() < 1e-9, "{timestep}");
        }
        assert!(schedule.timestep(1e-9).abs() < 1e-9);
        assert!((schedule.timestep(1e9) - 999.0).abs() < 1e-9);
    }

    #[test]
    fn the_two_interpolations_meet_at_training_timesteps_and_differ_between() {
        let schedule = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap();
        assert!((schedule.sigma(7.0) - schedule.sigma_linear(7.0)).abs() < 1e-12);
        assert!(schedule.sigma(0.5) < schedule.sigma_linear(0.5));
        assert!((schedule.sigma_linear(2000.0) - schedule.range().1).abs() < 1e-12);
    }

    #[test]
    fn betas_out_of_range_are_the_models_fault() {
        for result in [
            NoiseSchedule::trained(&[0.1]),
            NoiseSchedule::trained(&[0.1, 1.0]),
            NoiseSchedule::trained(&[f32::NAN, 0.1]),
            NoiseSchedule::linear(0.1, 0.2, 0),
            NoiseSchedule::named("sigmoid", 0.1, 0.2, 1000),
        ] {
            assert!(matches!(result, Err(Error::Model { .. })), "{result:?}");
        }
    }
}

//! The noise levels a network was trained on, and the timesteps it knows them by.
use super::Process;
use crate::{Error, Result};
use std::f64::consts::FRAC_PI_2;

/// The most timesteps that a network may have been trained with; the usual number is 1,000.
const MOST_TIMESTEPS: usize = 100_000;

/// What is left of the signal at the last timestep where betas are rescaled to leave none: 2^-24, the smallest 16-bit
/// number, as in diffusers' `EulerDiscreteScheduler`.
const LEAST_SIGNAL: f32 = 5.960_464_5e-8;

/// A finite level for "no signal at all", where diffusers divides by 0 or avoids it: alpha is 1e-10, and 32-bit
/// arithmetic cannot tell it from 0.
pub(super) const NO_SIGNAL: f64 = 1e10;

/// The noise level of every training timestep, lowest first.
///
/// Of a network trained with betas, the level of a timestep is `sqrt((1 − ᾱ) / ᾱ)`, where `ᾱ` is the product of
/// `1 − beta` up to that timestep (Ho et al. 2020). The tables are computed in 32 bits where diffusers does so, because
/// `1 − ᾱ` loses digits there and the lowest levels would otherwise differ by 4e-5. Of a rectified flow, the levels are
/// even but for a shift, and a level is known by its share of the number of timesteps.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    process: Process,
    sigmas: Vec<f64>,
}

/// `beta_schedule`: how noise grows with the timesteps of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BetaSchedule {
    /// `linear` (Ho et al. 2020).
    Linear,
    /// `scaled_linear`: the square root grows linearly (latent diffusion; SD 1, SD 2, SDXL).
    ScaledLinear,
    /// `squaredcos_cap_v2` (Nichol & Dhariwal 2021, equation 17), with betas of at most 0.999.
    Cosine,
    /// `exp`: the signal falls as `exp(−12 t)`.
    Exponential,
    /// `laplace`: half the log signal-to-noise ratio has a Laplace distribution (Hang & Gu 2024).
    Laplace,
    /// `sigmoid`: betas grow along a sigmoid (Xu et al. 2022).
    Sigmoid,
}

/// What is done about the last timestep, where some signal is left by most beta schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalSignal {
    /// It stays.
    Kept,
    /// Betas are rescaled (Lin et al. 2023, algorithm 1), and 2^-24 is left.
    Least,
    /// Betas are rescaled and nothing is left: the level is 1e10, in place of an infinite one.
    None,
}

impl BetaSchedule {
    /// The betas of `timesteps` training timesteps, from `start` to `end` where the schedule has ends.
    pub fn betas(self, start: f64, end: f64, timesteps: usize) -> Result<Vec<f32>> {
        if !(2..=MOST_TIMESTEPS).contains(&timesteps) {
            return Err(Error::model(
                format!("the model was trained on {timesteps} timesteps"),
                format!("check `num_train_timesteps`; petal takes 2 to {MOST_TIMESTEPS}"),
            ));
        }
        Ok(match self {
            Self::Linear => linspace_f32(start as f32, end as f32, timesteps),
            Self::ScaledLinear => {
                let roots = linspace_f32(start.sqrt() as f32, end.sqrt() as f32, timesteps);
                roots.iter().map(|root| root * root).collect()
            }
            Self::Cosine => from_signal(timesteps, |t| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2)),
            Self::Exponential => from_signal(timesteps, |t| (-12.0 * t).exp()),
            Self::Laplace => from_signal(timesteps, laplace),
            Self::Sigmoid => linspace_f32(-6.0, 6.0, timesteps)
                .iter()
                .map(|x| 1.0 / (1.0 + (-x).exp()) * (end - start) as f32 + start as f32)
                .collect(),
        })
    }
}

/// `betas_for_alpha_bar` of diffusers: betas that leave `signal(t)` of the signal at `t`, 0 to 1, and at most 0.999.
fn from_signal(timesteps: usize, signal: impl Fn(f64) -> f64) -> Vec<f32> {
    let left = |i: usize| signal(i as f64 / timesteps as f64);
    (0..timesteps).map(|i| (1.0 - left(i + 1) / left(i)).min(0.999) as f32).collect()
}

/// `alpha_transform_type="laplace"` of diffusers.
fn laplace(t: f64) -> f64 {
    let side = if t > 0.5 { -1.0 } else { 1.0 };
    let snr = (-0.5 * side * (1.0 - 2.0 * (0.5 - t).abs() + 1e-6).ln()).exp();
    (snr / (1.0 + snr)).sqrt()
}

impl NoiseSchedule {
    /// Betas whose square root grows linearly (latent diffusion; SD 1, SD 2, SDXL).
    pub fn scaled_linear(start: f64, end: f64, timesteps: usize) -> Result<Self> {
        Self::trained(&BetaSchedule::ScaledLinear.betas(start, end, timesteps)?, TerminalSignal::Kept)
    }

    /// Betas as they are given, one per training timestep; two or more, each above 0 and below 1.
    pub fn trained(betas: &[f32], terminal: TerminalSignal) -> Result<Self> {
        if betas.len() < 2 || betas.iter().any(|beta| !(*beta > 0.0 && *beta < 1.0)) {
            return Err(Error::model(
                "the model's betas are not two or more numbers between 0 and 1",
                "check `beta_start`, `beta_end` and `num_train_timesteps` in `scheduler_config.json`",
            ));
        }
        let mut signal = if terminal == TerminalSignal::Kept {
            running_product(betas.iter().map(|beta| 1.0 - beta))
        } else {
            without_terminal_signal(betas)
        };
        if let (TerminalSignal::Least, Some(last)) = (terminal, signal.last_mut()) {
            *last = LEAST_SIGNAL;
        }
        let level = |kept: &f32| if *kept > 0.0 { f64::from(((1.0 - kept) / kept).sqrt()) } else { NO_SIGNAL };
        let sigmas: Vec<f64> = signal.iter().map(level).collect();
        // what is left at the last timestep may be more than a steep schedule leaves before it
        let last = sigmas.len() - usize::from(terminal == TerminalSignal::Least);
        let rises = sigmas[..last].windows(2).all(|pair| pair[0] < pair[1]);
        if rises && sigmas[0] > 0.0 && sigmas[sigmas.len() - 2] < NO_SIGNAL {
            return Ok(Self { process: Process::VarianceExploding, sigmas });
        }
        Err(Error::model(
            "the model's betas do not make noise levels that rise and stay finite",
            "check `beta_start`, `beta_end` and `num_train_timesteps` in `scheduler_config.json`",
        ))
    }

    /// The levels of a rectified flow: `shift · u / (1 + (shift − 1) · u)` with `u` = 1/n, 2/n ... 1 (Esser et al. 2024,
    /// equation 23); `shift` is above 0.
    pub fn rectified_flow(timesteps: usize, shift: f64) -> Result<Self> {
        if !((2..=MOST_TIMESTEPS).contains(&timesteps) && shift > 0.0 && shift.is_finite()) {
            return Err(Error::model(
                format!("the model was trained on {timesteps} timesteps with a shift of {shift}"),
                format!("check `num_train_timesteps` (2 to {MOST_TIMESTEPS}) and the shift (above 0)"),
            ));
        }
        let level = |u: f64| shift * u / (1.0 + (shift - 1.0) * u);
        let sigmas = (1..=timesteps).map(|i| level(i as f64 / timesteps as f64)).collect();
        Ok(Self { process: Process::RectifiedFlow, sigmas })
    }

    /// The levels as they are given, lowest first.
    #[cfg(test)]
    pub(super) fn from_sigmas(sigmas: Vec<f64>) -> Self {
        Self { process: Process::VarianceExploding, sigmas }
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

    /// The noise levels, lowest first.
    pub(super) fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// By which timestep a network knows `sigma`.
    ///
    /// With betas: between two training timesteps by interpolation in log sigma (k-diffusion); levels out of range get
    /// the first or last timestep. Rectified flow: sigma times the number of timesteps. Where a run knows its own
    /// timesteps, ask [`Schedule::timestep`](super::Schedule::timestep) instead.
    #[must_use]
    pub fn timestep(&self, sigma: f64) -> f64 {
        if self.process == Process::RectifiedFlow {
            return sigma * self.sigmas.len() as f64;
        }
        let high = self.sigmas.partition_point(|&s| s <= sigma).clamp(1, self.sigmas.len() - 1);
        let (low_log, high_log) = (self.sigmas[high - 1].ln(), self.sigmas[high].ln());
        (high - 1) as f64 + ((sigma.ln() - low_log) / (high_log - low_log)).clamp(0.0, 1.0)
    }

    /// The noise level at `place` among those of training, 0 to `timesteps() - 1`, between two of them by interpolation
    /// in log sigma (k-diffusion). With betas, the place is the timestep.
    #[must_use]
    pub fn sigma(&self, place: f64) -> f64 {
        let (low, high, weight) = self.neighbours(place);
        ((1.0 - weight) * low.ln() + weight * high.ln()).exp()
    }

    /// The noise level at `place`, between two by interpolation in sigma (`numpy.interp` in diffusers).
    #[must_use]
    pub fn sigma_linear(&self, place: f64) -> f64 {
        let (low, high, weight) = self.neighbours(place);
        low + (high - low) * weight
    }

    /// The levels around `place`, and how far it is from the first to the second.
    fn neighbours(&self, place: f64) -> (f64, f64, f64) {
        let last = self.sigmas.len() - 1;
        let place = place.clamp(0.0, last as f64);
        let low = place as usize;
        (self.sigmas[low], self.sigmas[(low + 1).min(last)], place.fract())
    }
}

/// `torch.cumprod` in 32 bits, which accumulates in 64 and rounds each product.
fn running_product(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    let products = factors.scan(1.0_f64, |product, factor| {
        *product *= f64::from(factor);
        Some(*product as f32)
    });
    products.collect()
}

/// The share of signal at each timestep once `betas` are rescaled to leave none at the last: Lin et al. (2023),
/// algorithm 1, in 32 bits as diffusers computes it.
fn without_terminal_signal(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = running_product(betas.iter().map(|beta| 1.0 - beta)).iter().map(|kept| kept.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretch = first / (first - last);
    let signal: Vec<f32> = roots.iter().map(|root| ((root - last) * stretch).powi(2)).collect();
    let ratios = std::iter::once(signal[0]).chain(signal.windows(2).map(|pair| pair[1] / pair[0]));
    running_product(ratios.map(|ratio| 1.0 - (1.0 - ratio))) // there by way of betas, which rounds
}

/// `torch.linspace` in 32 bits, which counts from both ends towards the middle and rounds once.
pub(super) fn linspace_f32(start: f32, end: f32, n: usize) -> Vec<f32> {
    let step = f64::from((end - start) / (n.max(2) - 1) as f32);
    let place = |i: usize| {
        if i < n / 2 { f64::from(start) + step * i as f64 } else { f64::from(end) - step * (n - 1 - i) as f64 }
    };
    (0..n).map(|i| place(i) as f32).collect()
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
    fn a_flow_knows_its_levels_by_their_share() {
        let schedule = NoiseSchedule::rectified_flow(1000, 3.0).unwrap();
        assert!((schedule.timestep(0.25) - 250.0).abs() < 1e-9);
        assert!((schedule.sigma(499.0) - 0.75).abs() < 1e-12); // 3 · 0.5 / (1 + 2 · 0.5)
        assert!((schedule.range().1 - 1.0).abs() < 1e-12);
        assert!(NoiseSchedule::rectified_flow(1000, 0.0).is_err());
    }

    #[test]
    fn rescaled_betas_leave_no_signal_at_the_last_timestep() {
        let betas = BetaSchedule::ScaledLinear.betas(0.00085, 0.012, 1000).unwrap();
        let levels = |terminal| NoiseSchedule::trained(&betas, terminal).unwrap();
        assert!((levels(TerminalSignal::Least).range().1 - 4096.0).abs() < 1e-2);
        assert!((levels(TerminalSignal::None).range().1 / NO_SIGNAL - 1.0).abs() < 1e-12);
        assert!((levels(TerminalSignal::None).range().0 / levels(TerminalSignal::Kept).range().0 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn betas_out_of_range_are_the_models_fault() {
        let trained = |betas: &[f32]| NoiseSchedule::trained(betas, TerminalSignal::Kept);
        for result in [
            trained(&[0.1]),
            trained(&[0.1, 1.0]),
            trained(&[f32::NAN, 0.1]),
            NoiseSchedule::scaled_linear(0.1, 0.2, 0),
            NoiseSchedule::scaled_linear(0.5, 0.9, 1000),
        ] {
            assert!(matches!(result, Err(Error::Model { .. })), "{result:?}");
        }
    }
}

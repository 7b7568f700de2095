//! Which noise levels a run goes through.
mod beta;
mod curves;

use super::{NoiseSchedule, Process};
use crate::{Error, Result, error::unknown};
pub(super) use curves::*;

/// The most levels that may be given one by one.
const MOST_LEVELS: usize = 1000;

/// The highest level that may be given for a variance-exploding model; some hundred times what any was trained on.
const HIGHEST_LEVEL: f64 = 1e6;
/// The lowest noise level above 0 that can be given: 32-bit latents hold no less noise.
const LOWEST_LEVEL: f64 = 1e-5;

/// Noise levels of one run, highest first.
///
/// Most end in 0; `kl_optimal`, and what a model's `scheduler_config.json` asks for, may end at the lowest training
/// level ([`end`](Self::end)).
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    process: Process,
    sigmas: Vec<f64>,
    timesteps: Option<Vec<f64>>, // one for each level but the last
    scaling: Scaling,
}

/// In which units a run's latents begin and end, seen from variance-exploding coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scaling {
    /// Noise is multiplied by sigma, the result is left as it is (k-diffusion).
    Sigma,
    /// The start has unit variance once the input is scaled; the result is left as it is.
    UnitStart,
    /// Latents have unit variance throughout; so has the result.
    UnitVariance,
}

impl Schedule {
    /// A run through `sigmas`, which must fall, to 0.
    #[must_use]
    pub fn new(process: Process, mut sigmas: Vec<f64>) -> Self {
        sigmas.push(0.0);
        Self::with_timesteps(process, sigmas, None, Scaling::Sigma)
    }

    /// A run through levels that are given one by one, highest first; a final 0 is added where it is missing.
    ///
    /// Up to 1,000 levels, at least one of them above 0. Each must be lower than the one before, and none above 1e6,
    /// or above 1 for rectified flow.
    pub fn explicit(process: Process, mut sigmas: Vec<f64>) -> Result<Self> {
        let highest = match process {
            Process::VarianceExploding => HIGHEST_LEVEL,
            Process::RectifiedFlow => 1.0,
        };
        let fault = |what: String| Err(Error::request(what, "give noise levels that fall, such as 14.6, 3.2, 0.8, 0"));
        if let Some(place) = sigmas.iter().position(|sigma| !(0.0..=highest).contains(sigma)) {
            let (sigma, place) = (sigmas[place], place + 1);
            return fault(format!("sigma `{sigma}` at place {place} is not a number from 0 to {highest}"));
        }
        if let Some(place) = sigmas.windows(2).position(|pair| pair[0] <= pair[1]) {
            let (before, sigma, place) = (sigmas[place], sigmas[place + 1], place + 2);
            return fault(format!("sigma `{sigma}` at place {place} is not lower than `{before}` before it"));
        }
        if let Some(sigma) = sigmas.iter().find(|sigma| (f64::MIN_POSITIVE..LOWEST_LEVEL).contains(*sigma)) {
            return fault(format!("sigma `{sigma:e}` is above 0 but below {LOWEST_LEVEL}"));
        }
        if sigmas.first().is_none_or(|highest| *highest <= 0.0) {
            return fault("no sigma is above 0".into());
        }
        if sigmas.len() > MOST_LEVELS {
            let count = sigmas.len();
            return fault(format!("{count} sigmas are given, but {MOST_LEVELS} are the most"));
        }
        if sigmas.last().is_some_and(|lowest| *lowest > 0.0) {
            sigmas.push(0.0);
        }
        Ok(Self::with_timesteps(process, sigmas, None, Scaling::Sigma))
    }

    /// A run through `sigmas`, the end included, known to the network by `timesteps`.
    pub(super) fn with_timesteps(
        process: Process,
        sigmas: Vec<f64>,
        timesteps: Option<Vec<f64>>,
        scaling: Scaling,
    ) -> Self {
        debug_assert!(sigmas.windows(2).all(|w| w[0] >= w[1]), "sigmas must fall: {sigmas:?}");
        Self { process, sigmas, timesteps, scaling }
    }

    /// The rest of the run after its first `steps` steps, which must be fewer than there are; image to image takes it.
    #[must_use]
    pub fn after(&self, steps: usize) -> Self {
        let rest = |list: &Vec<f64>| list[steps.min(self.len())..].to_vec();
        Self { sigmas: rest(&self.sigmas), timesteps: self.timesteps.as_ref().map(rest), ..self.clone() }
    }

    /// The noising process.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process
    }

    /// All noise levels, the last included.
    #[must_use]
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// Pairs of neighbouring noise levels, `(from, to)`. Steps of no length are left out: they change nothing.
    pub fn steps(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.sigmas.windows(2).map(|w| (w[0], w[1])).filter(|(from, to)| from > to)
    }

    /// The timesteps of all levels but the last, where the run has its own.
    pub(super) fn timesteps(&self) -> Option<&[f64]> {
        self.timesteps.as_deref()
    }

    /// The number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sigmas.len() - 1
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest noise level.
    #[must_use]
    pub fn start(&self) -> f64 {
        self.sigmas[0]
    }

    /// The lowest noise level; mostly 0.
    #[must_use]
    pub fn end(&self) -> f64 {
        self.sigmas[self.len()]
    }

    /// The lowest noise level above 0.
    #[must_use]
    pub fn lowest(&self) -> f64 {
        self.sigmas.iter().rev().copied().find(|sigma| *sigma > 0.0).unwrap_or(self.start())
    }

    /// The same run without its next-to-last level, which some samplers leave out in stable-diffusion-webui.
    #[must_use]
    pub(crate) fn without_next_to_last(mut self) -> Self {
        if self.len() > 1 {
            self.sigmas.remove(self.len() - 1);
        }
        self
    }

    /// What unit noise is multiplied by to start from noise alone.
    ///
    /// Schedules by name: [`start`](Self::start), as in k-diffusion. Schedules from a model's `scheduler_config.json`:
    /// diffusers' `init_noise_sigma`, which is `sqrt(start² + 1)` for `leading` spacing, else `start`; always
    /// `sqrt(start² + 1)` for the classes that keep unit variance (DDIM, PNDM, DPM-Solver, LCM); and 1 for rectified
    /// flow. To start from an image instead, add `start` of noise to `alpha(start)` of the image.
    #[must_use]
    pub fn initial_scale(&self) -> f64 {
        match self.scaling {
            Scaling::Sigma => self.start(),
            _ if self.process == Process::RectifiedFlow => 1.0,
            Scaling::UnitStart | Scaling::UnitVariance => self.start().hypot(1.0),
        }
    }

    /// What the last latents are multiplied by to give the result; 1 except for runs that keep unit variance and do
    /// not end in 0, as in DDIM and PNDM with `set_alpha_to_one` off.
    #[must_use]
    pub fn final_scale(&self) -> f64 {
        match self.scaling {
            Scaling::Sigma | Scaling::UnitStart => 1.0,
            Scaling::UnitVariance if self.process == Process::RectifiedFlow => 1.0,
            Scaling::UnitVariance => 1.0 / self.end().hypot(1.0),
        }
    }

    /// The timestep by which the network knows `sigma`: the run's own where `sigma` is one of its levels and it has
    /// timesteps, else that of `noise_schedule`.
    #[must_use]
    pub fn timestep(&self, sigma: f64, noise_schedule: &NoiseSchedule) -> f64 {
        let level = self.sigmas.iter().position(|s| s.total_cmp(&sigma).is_eq());
        let known = self.timesteps.as_ref().zip(level).and_then(|(timesteps, i)| timesteps.get(i));
        known.copied().unwrap_or_else(|| noise_schedule.timestep(sigma))
    }

    /// How many steps are behind a run that is at `sigma`.
    #[must_use]
    pub fn step_at(&self, sigma: f64) -> usize {
        self.sigmas.partition_point(|&s| s >= sigma).saturating_sub(1)
    }
}

/// A way to choose the noise levels of a run.
///
/// A schedule with a label of stable-diffusion-webui has its levels, too. Where `ComfyUI` gives the same name to other
/// levels, those are a schedule of their own, whose name ends in `_comfyui`.
#[derive(Debug)]
pub struct ScheduleKind {
    /// The name used on the command line and in files.
    pub name: &'static str,
    /// The name in stable-diffusion-webui, where it has the schedule; written into files.
    pub label: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// One line for `--help`.
    pub about: &'static str,
    /// How strongly levels are drawn to one end, where that can be chosen: its usual value.
    pub rho: Option<f64>,
    /// Whether a final 0 follows [`sigmas`](Self::sigmas).
    pub to_zero: bool,
    /// Whether latents keep unit variance, which decides how strong the first noise is.
    pub keeps_variance: bool,
    /// The noise levels for a number of steps and a rho (of no effect where [`rho`](Self::rho) is `None`), highest
    /// first, without a final 0. Mostly as many as there are steps; some kinds give more or fewer, as their origins do.
    pub sigmas: fn(&NoiseSchedule, usize, f64) -> Vec<f64>,
}

/// What most schedules have in common.
const KIND: ScheduleKind = ScheduleKind {
    name: "",
    label: "",
    aliases: &[],
    about: "",
    rho: None,
    to_zero: true,
    keeps_variance: false,
    sigmas: curves::normal,
};

/// Every schedule. To add one, write a function in `curves.rs` and a line here.
#[rustfmt::skip]
pub const SCHEDULES: &[ScheduleKind] = &[
    ScheduleKind { name: "normal", label: "Normal", aliases: &["uniform", "discrete"], about: "even in timesteps, down to the first", sigmas: curves::normal, ..KIND },
    ScheduleKind { name: "karras", label: "Karras", rho: Some(7.0), about: "Karras et al. (2022): more steps at low noise", sigmas: curves::karras, ..KIND },
    ScheduleKind { name: "exponential", label: "Exponential", about: "even in the logarithm of sigma", sigmas: curves::exponential, ..KIND },
    ScheduleKind { name: "polyexponential", label: "Polyexponential", rho: Some(1.0), about: "a power of an even ramp in the logarithm of sigma", sigmas: curves::polyexponential, ..KIND },
    ScheduleKind { name: "sgm_uniform", label: "SGM Uniform", aliases: &["SGMUniform"], about: "even in timesteps, one interval short of the first; for few steps", sigmas: curves::sgm_uniform, ..KIND },
    ScheduleKind { name: "simple", label: "Simple", about: "even in timesteps, from the last, rounded to training timesteps", sigmas: curves::simple, ..KIND },
    ScheduleKind { name: "ddim_uniform", label: "DDIM", aliases: &["ddim", "DDIM Uniform"], about: "whole intervals from the second training timestep; the number of steps may differ", sigmas: curves::ddim_uniform, ..KIND },
    ScheduleKind { name: "timesteps", label: "Timesteps", about: "stable-diffusion-webui's own for DDIM and PLMS: whole intervals from the second training timestep, one step less", to_zero: false, keeps_variance: true, sigmas: curves::timesteps, ..KIND },
    ScheduleKind { name: "beta", label: "Beta", about: "quantiles of a beta distribution, in sigma: many steps at both ends", sigmas: curves::beta, ..KIND },
    ScheduleKind { name: "beta_comfyui", label: "Beta (ComfyUI)", about: "quantiles of a beta distribution, in timesteps, as Lee et al. (2024) have it", sigmas: curves::beta_comfyui, ..KIND },
    ScheduleKind { name: "kl_optimal", label: "KL Optimal", about: "even in the arc tangent of sigma; ends at the lowest training level", to_zero: false, sigmas: curves::kl_optimal, ..KIND },
    ScheduleKind { name: "kl_optimal_comfyui", label: "KL Optimal (ComfyUI)", about: "even in the arc tangent of sigma, then none", sigmas: curves::kl_optimal_comfyui, ..KIND },
    ScheduleKind { name: "linear_quadratic", label: "Linear Quadratic", about: "linear in sigma at high noise, then quadratic", sigmas: curves::linear_quadratic, ..KIND },
    ScheduleKind { name: "align_your_steps", label: "Align Your Steps", aliases: &["ays"], about: "Sabour et al. (2024): found for Stable Diffusion 1.5, for about 10 steps", sigmas: curves::align_your_steps, ..KIND },
    ScheduleKind { name: "turbo", label: "Turbo", about: "even in timesteps, from the last; for models distilled to few steps", sigmas: curves::turbo, ..KIND },
];

impl ScheduleKind {
    /// The schedule of `steps` steps through the levels of `noise_schedule`.
    ///
    /// `steps` is 1 or more, and no more than there are training timesteps. `rho` is above 0 and at most 100, and only
    /// for kinds that have one ([`rho`](Self::rho), which is what `None` means). Levels that a rho makes equal count
    /// once, so that [`Schedule::len`] is the number of steps that are taken.
    pub fn schedule(
        &self,
        process: Process,
        noise_schedule: &NoiseSchedule,
        steps: usize,
        rho: Option<f64>,
    ) -> Result<Schedule> {
        check_steps(steps, noise_schedule.timesteps())?;
        let mut sigmas = (self.sigmas)(noise_schedule, steps, self.checked_rho(rho)?);
        sigmas.dedup();
        if self.to_zero {
            sigmas.push(0.0);
        }
        let scaling = if self.keeps_variance { Scaling::UnitVariance } else { Scaling::Sigma };
        Ok(Schedule::with_timesteps(process, sigmas, None, scaling))
    }

    /// `rho`, or the usual one; a number without effect where there is none.
    fn checked_rho(&self, rho: Option<f64>) -> Result<f64> {
        match (rho, self.rho) {
            (None, usual) => Ok(usual.unwrap_or(1.0)),
            (Some(rho), Some(_)) if rho > 0.0 && rho <= 100.0 => Ok(rho),
            (Some(rho), Some(usual)) => Err(Error::request(
                format!("rho `{rho}` is out of range"),
                format!("use a rho above 0 and up to 100; `{}` has {usual} by default", self.name),
            )),
            (Some(rho), None) => {
                let others = SCHEDULES.iter().filter(|kind| kind.rho.is_some()).map(|kind| kind.name);
                Err(Error::request(
                    format!("schedule `{}` has no rho, but `{rho}` is asked for", self.name),
                    format!("leave out rho, or use a schedule that has one: {}", others.collect::<Vec<_>>().join(", ")),
                ))
            }
        }
    }

    /// All names of this schedule.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.label, self.name].into_iter().chain(self.aliases.iter().copied())
    }
}

/// The schedule that `name` (a name, label or alias, in any case) means.
pub fn find_schedule(name: &str) -> Result<&'static ScheduleKind> {
    let found = SCHEDULES.iter().find(|kind| kind.names().any(|n| n.eq_ignore_ascii_case(name)));
    found.ok_or_else(|| unknown("schedule", name, SCHEDULES.iter().map(|kind| kind.name)))
}

/// Fails unless `steps` is between 1 and `most`.
pub(super) fn check_steps(steps: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&steps) {
        return Ok(());
    }
    Err(Error::request(format!("steps {steps} is out of range"), format!("use 1 to {most} steps")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> NoiseSchedule {
        NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap()
    }

    fn kind(name: &str) -> &'static ScheduleKind {
        find_schedule(name).unwrap()
    }

    #[test]
    fn every_schedule_falls_for_every_number_of_steps() {
        let noise = noise();
        for kind in SCHEDULES {
            for steps in [1, 2, 3, 4, 20, 61, 999, 1000] {
                let schedule = kind.schedule(Process::VarianceExploding, &noise, steps, None).unwrap();
                let what = format!("{} {steps}", kind.name);
                assert!(schedule.sigmas().is_sorted_by(|a, b| a > b), "{what}");
                assert_eq!(schedule.steps().count(), schedule.len(), "{what}");
                assert!(schedule.start() < noise.range().1 * (1.0 + 1e-4), "{what}");
                assert!(schedule.end() >= 0.0 && schedule.end() < noise.sigma(1.0) * (1.0 + 1e-9), "{what}");
                if !["ddim_uniform", "timesteps", "beta_comfyui"].contains(&kind.name) {
                    assert_eq!(schedule.len(), steps, "{what}");
                }
                if !["ddim_uniform", "timesteps", "align_your_steps"].contains(&kind.name) {
                    assert!((schedule.start() / noise.range().1 - 1.0).abs() < 1e-9, "{what}");
                }
            }
        }
    }

    /// The smallest models have two timesteps.
    #[test]
    fn schedules_follow_the_number_of_training_timesteps() {
        for timesteps in [2, 10, 37] {
            let noise = NoiseSchedule::scaled_linear(0.00085, 0.012, timesteps).unwrap();
            for kind in SCHEDULES {
                for steps in 1..=timesteps {
                    let schedule = kind.schedule(Process::VarianceExploding, &noise, steps, None).unwrap();
                    assert!(schedule.sigmas().is_sorted_by(|a, b| a > b), "{} {steps}", kind.name);
                    assert!(!schedule.is_empty(), "{} {steps}", kind.name);
                }
            }
        }
    }

    #[test]
    fn steps_out_of_range_are_refused() {
        for steps in [0, 1001] {
            let error = SCHEDULES[0].schedule(Process::VarianceExploding, &noise(), steps, None).unwrap_err();
            assert_eq!(error.to_string(), format!("steps {steps} is out of range"));
            assert_eq!(error.hint().as_deref(), Some("use 1 to 1000 steps"));
        }
    }

    #[test]
    fn rho_bends_the_schedules_that_have_one() {
        let noise = noise();
        let levels = |kind: &ScheduleKind, rho| kind.schedule(Process::VarianceExploding, &noise, 20, rho);
        for kind in SCHEDULES {
            let usual = levels(kind, None).unwrap();
            if let Some(rho) = kind.rho {
                assert_eq!(levels(kind, Some(rho)).unwrap(), usual, "{}", kind.name);
                let (more, less) = (levels(kind, Some(2.0 * rho)).unwrap(), levels(kind, Some(0.5 * rho)).unwrap());
                assert!(more.sigmas()[10] < usual.sigmas()[10], "{}", kind.name);
                assert!(less.sigmas()[10] > usual.sigmas()[10], "{}", kind.name);
            } else {
                let error = levels(kind, Some(2.0)).unwrap_err().to_string();
                assert_eq!(error, format!("schedule `{}` has no rho, but `2` is asked for", kind.name));
            }
        }
        let hint = levels(kind("simple"), Some(2.0)).unwrap_err().hint().unwrap();
        assert_eq!(hint, "leave out rho, or use a schedule that has one: karras, polyexponential");
    }

    #[test]
    fn any_rho_in_range_gives_levels_that_fall() {
        for kind in SCHEDULES.iter().filter(|kind| kind.rho.is_some()) {
            for rho in [f64::MIN_POSITIVE, 1e-9, 0.01, 0.5, 1.0, 33.0, 100.0] {
                for steps in [1, 2, 20, 1000] {
                    let schedule = kind.schedule(Process::VarianceExploding, &noise(), steps, Some(rho)).unwrap();
                    assert!(schedule.sigmas().is_sorted_by(|a, b| a > b), "{} {rho} {steps}", kind.name);
                    assert_eq!(schedule.steps().count(), schedule.len(), "{} {rho} {steps}", kind.name);
                }
            }
            for rho in [0.0, -1.0, 100.1, f64::NAN, f64::INFINITY] {
                let error = kind.schedule(Process::VarianceExploding, &noise(), 20, Some(rho)).unwrap_err();
                assert_eq!(error.to_string(), format!("rho `{rho}` is out of range"));
            }
        }
    }

    #[test]
    fn levels_given_one_by_one_end_in_0() {
        let explicit = |sigmas: &[f64]| Schedule::explicit(Process::VarianceExploding, sigmas.to_vec()).unwrap();
        for sigmas in [vec![14.6, 3.0, 0.5], vec![14.6, 3.0, 0.5, 0.0]] {
            let schedule = explicit(&sigmas);
            assert_eq!(schedule, Schedule::new(Process::VarianceExploding, vec![14.6, 3.0, 0.5]));
            assert_eq!(schedule.len(), 3);
        }
        assert_eq!(explicit(&[2.0]).len(), 1);
        let thousand: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(explicit(&thousand).len(), 1000);
    }

    #[test]
    fn levels_that_no_run_can_go_through_are_refused_by_place() {
        let error = |process, sigmas: &[f64]| Schedule::explicit(process, sigmas.to_vec()).unwrap_err().to_string();
        let thousand_and_one: Vec<f64> = (1..=1001).rev().map(f64::from).collect();
        for (sigmas, want) in [
            (&[][..], "no sigma is above 0"),
            (&[0.0], "no sigma is above 0"),
            (&[3.0, f64::NAN, -1.0], "sigma `NaN` at place 2 is not a number from 0 to 1000000"),
            (&[f64::INFINITY, 1.0], "sigma `inf` at place 1 is not a number from 0 to 1000000"),
            (&[2.0, 1.0, -0.5], "sigma `-0.5` at place 3 is not a number from 0 to 1000000"),
            (&[5.0, 2.0, 3.0, 4.0], "sigma `3` at place 3 is not lower than `2` before it"),
            (&[5.0, 0.0, 0.0], "sigma `0` at place 3 is not lower than `0` before it"),
            (&thousand_and_one, "1001 sigmas are given, but 1000 are the most"),
        ] {
            assert_eq!(error(Process::VarianceExploding, sigmas), want);
        }
        let flow = error(Process::RectifiedFlow, &[1.5, 0.5]);
        assert_eq!(flow, "sigma `1.5` at place 1 is not a number from 0 to 1");
    }

    #[test]
    fn schedules_are_found_by_any_name() {
        for (name, want) in [
            ("KARRAS", "karras"),
            ("SGM Uniform", "sgm_uniform"),
            ("discrete", "normal"),
            ("uniform", "normal"),
            ("ddim", "ddim_uniform"),
            ("ays", "align_your_steps"),
            ("kl optimal", "kl_optimal"),
        ] {
            assert_eq!(find_schedule(name).unwrap().name, want);
        }
        let error = find_schedule("karas").unwrap_err();
        assert_eq!(error.to_string(), "unknown schedule `karas`");
        assert!(error.hint().unwrap().starts_with("use `karras`, or another of: normal, karras,"));
    }

    #[test]
    fn no_two_schedules_share_a_name() {
        for (i, kind) in SCHEDULES.iter().enumerate() {
            for name in kind.names() {
                let first = SCHEDULES.iter().position(|kind| kind.names().any(|n| n.eq_ignore_ascii_case(name)));
                assert_eq!(first, Some(i), "{name}");
                assert!(!name.is_empty() && !["model", "automatic"].contains(&name));
            }
        }
    }

    #[test]
    fn steps_behind_count_up_between_levels() {
        let schedule = Schedule::new(Process::VarianceExploding, vec![4.0, 2.0, 1.0]);
        let behind = [4.0, 3.0, 2.0, 1.5, 1.0, 0.5].map(|sigma| schedule.step_at(sigma));
        assert_eq!(behind, [0, 0, 1, 1, 2, 2]);
    }
}

//! Which noise levels a run goes through.
use super::{NoiseSchedule, Process};
use crate::{Error, Result, error::unknown};

/// Noise levels of one run, highest first.
///
/// Schedules by name end in 0; what a model's `scheduler_config.json` asks for may end at the lowest training level
/// ([`end`](Self::end)).
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

    /// What unit noise is multiplied by to start from noise alone.
    ///
    /// Schedules by name: [`start`](Self::start), as in k-diffusion. Schedules from a model's `scheduler_config.json`:
    /// diffusers' `init_noise_sigma`, which is `sqrt(start² + 1)` for `leading` spacing, else `start`; and always
    /// `sqrt(start² + 1)` for the classes that keep unit variance (DDIM, PNDM, DPM-Solver, LCM). To start from an
    /// image instead, add `start` of noise to `alpha(start)` of the image.
    #[must_use]
    pub fn initial_scale(&self) -> f64 {
        match self.scaling {
            Scaling::Sigma => self.start(),
            Scaling::UnitStart | Scaling::UnitVariance => self.start().hypot(1.0),
        }
    }

    /// What the last latents are multiplied by to give the result; 1 except for runs that keep unit variance and do
    /// not end in 0, as in DDIM and PNDM with `set_alpha_to_one` off.
    #[must_use]
    pub fn final_scale(&self) -> f64 {
        match self.scaling {
            Scaling::Sigma | Scaling::UnitStart => 1.0,
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
#[derive(Debug)]
pub struct ScheduleKind {
    /// The name used on the command line and in files.
    pub name: &'static str,
    /// The name in stable-diffusion-webui.
    pub label: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// One line for `--help`.
    pub about: &'static str,
    /// The noise levels for a number of steps, highest first, without the final 0.
    pub sigmas: fn(&NoiseSchedule, usize) -> Vec<f64>,
}

/// Every schedule. To add one, write a function below and a line here.
#[rustfmt::skip]
pub const SCHEDULES: &[ScheduleKind] = &[
    ScheduleKind { name: "normal", label: "Normal", aliases: &["uniform", "discrete"], about: "even in timesteps, down to the first", sigmas: normal },
    ScheduleKind { name: "karras", label: "Karras", aliases: &[], about: "Karras et al. (2022): more steps at low noise", sigmas: karras },
    ScheduleKind { name: "exponential", label: "Exponential", aliases: &[], about: "even in the logarithm of sigma", sigmas: exponential },
    ScheduleKind { name: "sgm_uniform", label: "SGM Uniform", aliases: &["SGMUniform"], about: "even in timesteps, one interval short of the first; for few steps", sigmas: sgm_uniform },
    ScheduleKind { name: "simple", label: "Simple", aliases: &[], about: "even in timesteps, from the last, rounded to training timesteps", sigmas: simple },
];

impl ScheduleKind {
    /// The schedule of `steps` steps through the levels of `noise_schedule`; 1 step or more, and no more than there
    /// are training timesteps.
    pub fn schedule(&self, process: Process, noise_schedule: &NoiseSchedule, steps: usize) -> Result<Schedule> {
        check_steps(steps, noise_schedule.timesteps())?;
        Ok(Schedule::new(process, (self.sigmas)(noise_schedule, steps)))
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

/// `n` evenly spaced numbers from `a` to `b`, to the last bit as `numpy.linspace` computes them; of one number, `a`.
pub(super) fn linspace(a: f64, b: f64, n: usize) -> impl Iterator<Item = f64> {
    let step = (b - a) / (n.max(2) - 1) as f64;
    (0..n).map(move |i| if i > 0 && i == n - 1 { b } else { i as f64 * step + a })
}

/// Karras et al. (2022), equation 5, with rho 7.
pub(super) fn karras_between(max: f64, min: f64, n: usize) -> Vec<f64> {
    let rho = 7.0_f64;
    linspace(max.powf(1.0 / rho), min.powf(1.0 / rho), n).map(|root| root.powf(rho).clamp(min, max)).collect()
}

/// Evenly spaced in log sigma.
pub(super) fn exponential_between(max: f64, min: f64, n: usize) -> Vec<f64> {
    linspace(max.ln(), min.ln(), n).map(|log| log.exp().clamp(min, max)).collect()
}

/// `get_sigmas` of k-diffusion, `normal_scheduler` of `ComfyUI`.
fn normal(noise: &NoiseSchedule, steps: usize) -> Vec<f64> {
    linspace((noise.timesteps() - 1) as f64, 0.0, steps).map(|timestep| noise.sigma(timestep)).collect()
}

/// `get_sigmas_karras` of k-diffusion.
fn karras(noise: &NoiseSchedule, steps: usize) -> Vec<f64> {
    let (min, max) = noise.range();
    karras_between(max, min, steps)
}

/// `get_sigmas_exponential` of k-diffusion.
fn exponential(noise: &NoiseSchedule, steps: usize) -> Vec<f64> {
    let (min, max) = noise.range();
    exponential_between(max, min, steps)
}

/// `normal_scheduler` of `ComfyUI` with `sgm`: as `normal`, with the first timestep left out.
fn sgm_uniform(noise: &NoiseSchedule, steps: usize) -> Vec<f64> {
    let timesteps = linspace((noise.timesteps() - 1) as f64, 0.0, steps + 1).take(steps);
    timesteps.map(|timestep| noise.sigma(timestep)).collect()
}

/// `simple_scheduler` of `ComfyUI`: every `timesteps / steps`-th training level, from the highest.
fn simple(noise: &NoiseSchedule, steps: usize) -> Vec<f64> {
    let last = noise.timesteps() - 1;
    let stride = noise.timesteps() as f64 / steps as f64;
    (0..steps).map(|i| noise.sigma((last - (i as f64 * stride) as usize) as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> NoiseSchedule {
        NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).unwrap()
    }

    #[test]
    fn every_schedule_falls_for_every_number_of_steps() {
        let noise = noise();
        for kind in SCHEDULES {
            for steps in [1, 2, 3, 20, 61, 999, 1000] {
                let schedule = kind.schedule(Process::VarianceExploding, &noise, steps).unwrap();
                assert_eq!(schedule.len(), steps, "{}", kind.name);
                assert!((schedule.start() / noise.range().1 - 1.0).abs() < 1e-9, "{}", kind.name);
                assert_eq!(schedule.steps().count(), steps, "{}", kind.name);
            }
        }
    }

    #[test]
    fn steps_out_of_range_are_refused() {
        for steps in [0, 1001] {
            let error = SCHEDULES[0].schedule(Process::VarianceExploding, &noise(), steps).unwrap_err();
            assert_eq!(error.to_string(), format!("steps {steps} is out of range"));
            assert_eq!(error.hint().as_deref(), Some("use 1 to 1000 steps"));
        }
    }

    #[test]
    fn schedules_are_found_by_any_name() {
        for (name, want) in [("KARRAS", "karras"), ("SGM Uniform", "sgm_uniform"), ("discrete", "normal")] {
            assert_eq!(find_schedule(name).unwrap().name, want);
        }
        let error = find_schedule("karas").unwrap_err();
        assert_eq!(error.to_string(), "unknown schedule `karas`");
        assert!(error.hint().unwrap().starts_with("use `karras`, or another of: normal, karras,"));
    }

    #[test]
    fn no_two_schedules_share_a_name() {
        let mut names: Vec<String> = SCHEDULES
            .iter()
            .flat_map(|kind| std::iter::once(kind.name).chain(kind.aliases.iter().copied()))
            .map(str::to_lowercase)
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn steps_behind_count_up_between_levels() {
        let schedule = Schedule::new(Process::VarianceExploding, vec![4.0, 2.0, 1.0]);
        let behind = [4.0, 3.0, 2.0, 1.5, 1.0, 0.5].map(|sigma| schedule.step_at(sigma));
        assert_eq!(behind, [0, 0, 1, 1, 2, 2]);
    }
}

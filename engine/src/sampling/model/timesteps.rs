//! Which timesteps does a run of a model's own scheduler ask the network for? `set_timesteps` of diffusers, by family.
use super::{ModelScheduler, SchedulerClass, options::Spacing};
use crate::sampling::schedules::linspace;

impl ModelScheduler {
    /// The timesteps of a run of `steps` steps before any curve of noise levels replaces them, highest first.
    pub(super) fn spaced(&self, steps: usize) -> Vec<f64> {
        use SchedulerClass::{DpmSolverSde, DpmSolverSinglestep, Lcm, Tcd};
        let trained = self.options.num_train_timesteps;
        match self.class {
            Lcm | Tcd => self.distilled(steps),
            DpmSolverSinglestep => solver_linspace(self.clipped_end(), steps),
            _ if self.solves() => self.solver_timesteps(steps),
            class => match self.options.spacing {
                Spacing::Leading => self.leading(trained / steps, 0..steps),
                Spacing::Trailing => trailing(trained, trained, steps),
                Spacing::Linspace => {
                    let mut ramp: Vec<f64> = linspace(0.0, (trained - 1) as f64, steps)
                        .map(|t| match class {
                            _ if class.keeps_variance() => t.round_ties_even(),
                            DpmSolverSde => t,
                            _ => f64::from(t as f32),
                        })
                        .collect();
                    ramp.reverse();
                    ramp
                }
            },
        }
    }

    /// Whether the class spreads one timestep more than it uses, and leaves out the lowest.
    pub(super) fn solves(&self) -> bool {
        use SchedulerClass::{Deis, DpmSolverMultistep, DpmSolverSinglestep, SaSolver, UniPc};
        matches!(self.class, DpmSolverMultistep | DpmSolverSinglestep | UniPc | Deis | SaSolver)
    }

    fn solver_timesteps(&self, steps: usize) -> Vec<f64> {
        let end = self.clipped_end();
        match self.options.spacing {
            Spacing::Linspace => solver_linspace(end, steps),
            Spacing::Leading => self.leading(end / (steps + 1), 1..steps + 1),
            Spacing::Trailing => trailing(self.options.num_train_timesteps, end, steps),
        }
    }

    /// One more than the last timestep of a run, by `lambda_min_clipped`.
    fn clipped_end(&self) -> usize {
        let lowest = self.options.lambda_min_clipped;
        let levels = self.training.sigmas();
        levels.len() - levels.iter().filter(|sigma| -sigma.ln() < lowest).count()
    }

    /// Whole strides from the first training timestep, and an offset; the highest may lie beyond the last.
    fn leading(&self, stride: usize, counts: std::ops::Range<usize>) -> Vec<f64> {
        counts.rev().map(|i| (i * stride + self.options.steps_offset) as f64).collect()
    }

    /// Evenly chosen from the timesteps that the network was distilled for (Luo et al. 2023).
    ///
    /// `TCDScheduler` takes all training timesteps where there is no such number.
    fn distilled(&self, steps: usize) -> Vec<f64> {
        let trained = self.options.num_train_timesteps;
        let original = self.distilled_steps();
        let interval = trained / original;
        let taken = self.taken_steps();
        let stride = taken as f64 / steps as f64;
        (0..steps).map(|i| ((taken - (i as f64 * stride) as usize) * interval) as f64 - 1.0).collect()
    }

    /// How many of the timesteps that a distilled network knows a run is spread over.
    pub(super) fn taken_steps(&self) -> usize {
        (self.distilled_steps() as f64 * self.share) as usize
    }

    /// How many timesteps a distilled network knows.
    pub(super) fn distilled_steps(&self) -> usize {
        self.options.original_inference_steps.unwrap_or(self.options.num_train_timesteps)
    }
}

fn solver_linspace(end: usize, steps: usize) -> Vec<f64> {
    let mut ramp: Vec<f64> = linspace(0.0, end as f64 - 1.0, steps + 1).map(f64::round_ties_even).skip(1).collect();
    ramp.reverse();
    ramp
}

/// Even intervals down from `end`, as `numpy.arange` counts them.
///
/// For some numbers of steps, 61 the least, rounding makes `numpy.arange` add the timestep −1; here it does not.
fn trailing(trained: usize, end: usize, steps: usize) -> Vec<f64> {
    let interval = trained as f64 / steps as f64;
    let count = ((end as f64 / interval).ceil() as usize).min(steps);
    let stride = (end as f64 - interval) - end as f64;
    (0..count).map(|i| (end as f64 + i as f64 * stride).round_ties_even() - 1.0).collect()
}

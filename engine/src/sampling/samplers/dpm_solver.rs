//! DPM-Solver as diffusers does it: which past estimates make a step, of which order, for the ODE and for the SDE.
use super::{
    Latents, Run,
    estimates::{Form, Fresh, Past, Start, lambda, numbered},
};
use crate::Result;

/// `algorithm_type`: which integral is solved, and for which equation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sampling) enum Algorithm {
    /// `dpmsolver`: of the noise estimate (Lu et al. 2022). A run must not end at no noise.
    DpmSolver,
    /// `dpmsolver++`: of the clean estimate (Lu et al. 2022b).
    DpmSolverPlusPlus,
    /// `sde-dpmsolver`: of the noise estimate, for the SDE. A run must not end at no noise; order 1 or 2.
    SdeDpmSolver,
    /// `sde-dpmsolver++`: of the clean estimate, for the SDE.
    SdeDpmSolverPlusPlus,
}

/// The options of `DPMSolverMultistepScheduler` and `DPMSolverSinglestepScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sampling) struct DpmSolver {
    /// `solver_order`: 1, 2 or 3.
    pub(in crate::sampling) order: usize,
    /// `algorithm_type`.
    pub(in crate::sampling) algorithm: Algorithm,
    /// Whether `solver_type` is `heun` and not `midpoint`.
    pub(in crate::sampling) heun: bool,
    /// `lower_order_final`, as it is in the configuration.
    pub(in crate::sampling) lower_order_final: bool,
    /// `euler_at_final`, of the multistep class.
    pub(in crate::sampling) euler_at_final: bool,
    /// How many steps of the whole run were left out at its start, as in image to image; else 0.
    pub(in crate::sampling) skipped: usize,
}

/// DPM-Solver++(2S) of Lu et al. (2022b), algorithm 1, as `DPMSolverSinglestepScheduler` does it by default.
pub(super) fn dpmpp_2s(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    let solver = DpmSolver {
        order: 2,
        algorithm: Algorithm::DpmSolverPlusPlus,
        heun: false,
        lower_order_final: false,
        euler_at_final: false,
        skipped: 0,
    };
    dpm_solver_singlestep(run, x, &solver)
}

impl Algorithm {
    fn form(self) -> Form {
        match self {
            Self::DpmSolver | Self::SdeDpmSolver => Form::Noise,
            Self::DpmSolverPlusPlus | Self::SdeDpmSolverPlusPlus => Form::Clean,
        }
    }

    /// The noise of a step, where the SDE is solved.
    fn fresh(self, run: &mut Run<'_>, from: f64, to: f64) -> Fresh {
        match self {
            Self::DpmSolver | Self::DpmSolverPlusPlus => Fresh::NONE,
            Self::SdeDpmSolver | Self::SdeDpmSolverPlusPlus => Fresh::drawn(run, from, to, run.strength.eta),
        }
    }

    /// What the first and second derivative of the estimates weigh in a step of `h` in lambda, against the estimate.
    ///
    /// The second one is that of diffusers 0.42.1: where it solves the SDE, its 1/2 has the wrong sign.
    fn derivative_weights(self, h: f64, eta: f64) -> (f64, f64) {
        match self.form() {
            Form::Noise => {
                let growth = h.exp_m1();
                ((growth / h - 1.0) / growth, ((growth - h) / (h * h) - 0.5) / growth)
            }
            Form::Clean => {
                let h = h * (1.0 + eta);
                let (decay, half) = ((-h).exp_m1(), if self == Self::DpmSolverPlusPlus { 0.5 } else { -0.5 });
                (-(1.0 + decay / h) / decay, ((decay + h) / (h * h) - half) / decay)
            }
        }
    }
}

impl DpmSolver {
    /// As [`Algorithm::derivative_weights`]; a step of order 2 has its own first weight with `midpoint`.
    fn weights(&self, order: usize, h: f64, eta: f64) -> (f64, f64) {
        let (first, second) = self.algorithm.derivative_weights(h, eta);
        (if order == 2 && !self.heun { 0.5 } else { first }, second)
    }

    /// The order of step `i` of `steps`, all counted from the start of this run (`step` of the multistep class).
    fn multistep_order(&self, i: usize, steps: usize, to: f64) -> usize {
        let short = self.lower_order_final && steps + self.skipped < 15;
        match steps - i {
            1 if self.euler_at_final || short || to == 0.0 => 1,
            2 if short => self.order.min(2),
            _ => self.order,
        }
    }

    /// The order of step `i` of `steps`, all counted from the start of the whole run (`get_order_list` of the
    /// singlestep class).
    fn singlestep_order(&self, i: usize, steps: usize, to: f64) -> usize {
        let lowered = self.lower_order_final && steps.is_multiple_of(self.order);
        if i + 1 == steps && (lowered || to == 0.0) { 1 } else { i % self.order + 1 }
    }
}

/// `DPMSolverMultistepScheduler` of diffusers.
///
/// The algorithms for the SDE take `eta` from the run's strength; diffusers has 1.
pub(in crate::sampling) fn dpm_solver_multistep(
    run: &mut Run<'_>,
    mut x: Latents,
    options: &DpmSolver,
) -> Result<Latents> {
    let (schedule, form, mut past) = (run.schedule, options.algorithm.form(), Past::default());
    let process = schedule.process();
    for (i, from, to) in numbered(schedule) {
        let start = Start { denoised: run.model.denoise(&x, from)?, x, sigma: from };
        let fresh = options.algorithm.fresh(run, from, to);
        let order = options.multistep_order(i, schedule.len(), to).min(past.len() + 1);
        let h = lambda(process, to) - lambda(process, from);
        // how far each past level is from the one after it, in steps
        let lambdas: Vec<f64> =
            std::iter::once(from).chain(past.sigmas()).map(|sigma| lambda(process, sigma)).collect();
        let r: Vec<f64> = lambdas.windows(2).map(|pair| (pair[0] - pair[1]) / h).collect();
        let (first, second) = options.weights(order, h, fresh.eta);
        let weights = match order {
            1 => vec![],
            2 => vec![-first / r[0]],
            _ => {
                let recent = (first * (1.0 + r[0] / (r[0] + r[1])) + second / (r[0] + r[1])) / r[0];
                let earlier = -(first * r[0] + second) / (r[0] + r[1]) / r[1];
                vec![earlier - recent, -earlier]
            }
        };
        x = form.step(process, &start, &past.weighted(&weights), to, &fresh);
        past.push(from, form.estimate(process, &start), options.order - 1);
    }
    Ok(x)
}

/// `DPMSolverSinglestepScheduler` of diffusers: steps of order 1, 2, 3, 1, … of which those after the first of a group
/// go back to its start.
///
/// The algorithms for the SDE take `eta` from the run's strength; diffusers has 1.
pub(in crate::sampling) fn dpm_solver_singlestep(
    run: &mut Run<'_>,
    mut x: Latents,
    options: &DpmSolver,
) -> Result<Latents> {
    let (schedule, form, mut past) = (run.schedule, options.algorithm.form(), Past::default());
    let process = schedule.process();
    let mut group: Option<Start> = None;
    for (i, from, to) in numbered(schedule) {
        let here = Start { denoised: run.model.denoise(&x, from)?, x, sigma: from };
        past.push(from, form.estimate(process, &here), options.order);
        let fresh = options.algorithm.fresh(run, from, to);
        let place = i + options.skipped;
        let order = options.singlestep_order(place, schedule.len() + options.skipped, to).min(past.len());
        let start = match group.take() {
            Some(start) if order > 1 => start,
            _ => here,
        };
        let begin = lambda(process, start.sigma);
        let h = lambda(process, to) - begin;
        let r = |i: usize| (lambda(process, past.sigma(i)) - begin) / h;
        let (first, second) = options.weights(order, h, fresh.eta);
        let weights = match order {
            1 => vec![],
            3 if options.heun => {
                let (r0, r1) = (r(0), r(1));
                vec![(2.0 * second - first * r1) / (r0 - r1) / r0, (first * r0 - 2.0 * second) / (r0 - r1) / r1]
            }
            _ => vec![first / r(0)],
        };
        x = form.step(process, &start, &past.weighted(&weights), to, &fresh);
        group = Some(start);
    }
    Ok(x)
}

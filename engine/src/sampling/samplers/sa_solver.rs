//! SA-Solver (Xue et al. 2023): stochastic Adams methods, a predictor and a corrector that share their noise.
use super::{
    Latents, Run,
    estimates::{Form, Fresh, Past, Start, adams_weights, lambda},
};
use crate::{Result, sampling::Process};

/// The options of `SASolverScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sampling) struct SaSolver {
    /// `predictor_order`: 1 to 4.
    pub(in crate::sampling) predictor_order: usize,
    /// `corrector_order`: 1 to 4.
    pub(in crate::sampling) corrector_order: usize,
    /// Whether `algorithm_type` is `data_prediction` and not `noise_prediction`.
    pub(in crate::sampling) data_prediction: bool,
    /// `lower_order_final`.
    pub(in crate::sampling) lower_order_final: bool,
    /// `tau_func` of each step's timestep: how stochastic the step is. diffusers' default is 1 for timesteps 200 to
    /// 800, both included, else 0.
    pub(in crate::sampling) tau: Vec<f64>,
}

/// `SASolverScheduler` of diffusers, with its defaults; noise is added where Stable Diffusion's timesteps are 200 to
/// 800, or the noise level of rectified flow is 0.2 to 0.8.
pub(super) fn sa_solver(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    let range = match run.schedule.process() {
        Process::VarianceExploding => 0.5716..=5.1111,
        Process::RectifiedFlow => 0.2..=0.8,
    };
    let tau = run.schedule.sigmas().iter().map(|sigma| if range.contains(sigma) { run.strength.eta } else { 0.0 });
    let options = SaSolver {
        predictor_order: 2,
        corrector_order: 2,
        data_prediction: true,
        lower_order_final: true,
        tau: tau.collect(),
    };
    sa_solver_with(run, x, &options)
}

impl SaSolver {
    fn form(&self) -> Form {
        if self.data_prediction { Form::Clean } else { Form::Noise }
    }

    /// The weights of estimates whose lambdas are `nodes`, less that of the step's end, in a step of `h` and `tau`.
    ///
    /// For two clean estimates diffusers changes them by a term of order 3; its corrector's differs (the code of the
    /// paper's authors has the same).
    fn weights(&self, tau: f64, h: f64, nodes: &[f64], corrects: bool) -> Vec<f64> {
        let rate = if self.data_prediction { 1.0 + tau * tau } else { -1.0 };
        let mut weights = adams_weights(rate, h, nodes);
        if self.data_prediction && nodes.len() == 2 {
            let decay = (-rate * h).exp_m1();
            let integral = (rate * h + decay) / (rate * rate);
            let bend = if corrects { h / 2.0 - integral / h } else { (h * h / 2.0 - integral) / (nodes[0] - nodes[1]) };
            weights[0] -= rate * bend / decay;
            weights[1] += rate * bend / decay;
        }
        weights
    }
}

/// The step before the one that is taken.
struct Last {
    start: Start,
    fresh: Fresh,
    tau: f64,
    corrector_order: usize,
}

impl Last {
    /// `start`, which this step led to, with this step taken again by what the network said of it.
    fn corrected(&self, process: Process, options: &SaSolver, past: &Past, start: Start) -> Start {
        let (form, end) = (options.form(), lambda(process, start.sigma));
        let estimate = form.estimate(process, &start);
        let levels = [start.sigma, self.start.sigma].into_iter().chain(past.sigmas()).take(self.corrector_order);
        let nodes: Vec<f64> = levels.map(|sigma| lambda(process, sigma) - end).collect();
        let h = end - lambda(process, self.start.sigma);
        let weights = options.weights(self.tau, h, &nodes, true);
        let mut others = past.weighted(weights.get(2..).unwrap_or_default());
        others.push((weights[0], &estimate));
        let x = form.step(process, &self.start, &others, start.sigma, &self.fresh);
        form.restarted(process, start, x)
    }
}

/// `SASolverScheduler` of diffusers.
pub(in crate::sampling) fn sa_solver_with(run: &mut Run<'_>, mut x: Latents, options: &SaSolver) -> Result<Latents> {
    let (schedule, form, mut past) = (run.schedule, options.form(), Past::default());
    let process = schedule.process();
    let most_past = options.predictor_order.max(options.corrector_order);
    let mut last: Option<Last> = None;
    for (i, (from, to)) in schedule.sigmas().windows(2).map(|levels| (levels[0], levels[1])).enumerate() {
        let mut start = Start { denoised: run.model.denoise(&x, from)?, x, sigma: from };
        if let Some(last) = last.take() {
            start = last.corrected(process, options, &past, start);
            past.push(last.start.sigma, form.estimate(process, &last.start), most_past);
        }
        if to >= from {
            x = start.x; // a step of no length still corrects
            continue;
        }
        let tau = options.tau[i];
        let fresh = Fresh::drawn(run, from, to, tau * tau);
        let left = if options.lower_order_final { schedule.len() - i } else { usize::MAX - 1 };
        let order = if to == 0.0 { 1 } else { options.predictor_order.min(left) };
        let end = lambda(process, to);
        let levels = std::iter::once(from).chain(past.sigmas()).take(order);
        let nodes: Vec<f64> = levels.map(|sigma| lambda(process, sigma) - end).collect();
        let weights = options.weights(tau, -nodes[0], &nodes, false);
        x = form.step(process, &start, &past.weighted(&weights[1..]), to, &fresh);
        let corrector_order = options.corrector_order.min(left + 1).min(past.len() + 2);
        last = Some(Last { start, fresh, tau, corrector_order });
    }
    Ok(x)
}

//! How does a step follow from several estimates? For the solvers that combine either clean or noise estimates.
use super::{Latents, Run, Schedule, combine};
use crate::sampling::Process;
use std::collections::VecDeque;

/// What a solver remembers and combines; the other one is then implied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Estimates of the clean latents: an exponential integrator in lambda (Lu et al. 2022b).
    Clean,
    /// Estimates of the noise, `(x − alpha·clean) / sigma` (Lu et al. 2022).
    Noise,
}

/// Where a step starts.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) x: Latents,
    /// The clean estimate for `x`.
    pub(super) denoised: Latents,
    pub(super) sigma: f64,
}

/// The fresh noise of a step of the reverse SDE.
#[derive(Debug)]
pub(super) struct Fresh {
    /// How stochastic the step is: 0 for the ODE, 1 for the SDE; `tau²` of SA-Solver.
    pub(super) eta: f64,
    noise: Option<(f64, Latents)>, // its factor and itself
}

impl Fresh {
    /// No noise: the step is one of the ODE.
    pub(super) const NONE: Self = Self { eta: 0.0, noise: None };

    /// Noise for a step from `from` to `to`, drawn even where it will not be used, as diffusers does.
    pub(super) fn drawn(run: &mut Run<'_>, from: f64, to: f64, eta: f64) -> Self {
        Self { eta, noise: Some((run.strength.s_noise, (run.noise)(from, to))) }
    }
}

/// Earlier steps, newest first: their levels and estimates.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<(f64, Latents)>);

impl Past {
    /// Remembers `estimate`, and no more than `most` in all.
    pub(super) fn push(&mut self, sigma: f64, estimate: Latents, most: usize) {
        self.0.push_front((sigma, estimate));
        self.0.truncate(most);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The noise level of step `i`, counted from the newest.
    pub(super) fn sigma(&self, i: usize) -> f64 {
        self.0[i].0
    }

    /// The levels of all steps, newest first.
    pub(super) fn sigmas(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().map(|(sigma, _)| *sigma)
    }

    /// The estimates, newest first, with their `weights`.
    pub(super) fn weighted(&self, weights: &[f64]) -> Vec<(f64, &Latents)> {
        weights.iter().copied().zip(self.0.iter().map(|(_, estimate)| estimate)).collect()
    }
}

impl Form {
    /// What this form remembers of `start`.
    pub(super) fn estimate(self, process: Process, start: &Start) -> Latents {
        match self {
            Self::Clean => start.denoised.clone(),
            Self::Noise => {
                let (alpha, sigma) = (process.alpha(start.sigma), start.sigma);
                combine(&[(1.0 / sigma, &start.x), (-alpha / sigma, &start.denoised)])
            }
        }
    }

    /// `start` with `x` in place of its latents and the same estimate in this form: a corrected start.
    pub(super) fn restarted(self, process: Process, start: Start, x: Latents) -> Start {
        let denoised = match self {
            Self::Clean => start.denoised,
            Self::Noise => {
                let gain = 1.0 / process.alpha(start.sigma);
                combine(&[(1.0, &start.denoised), (gain, &x), (-gain, &start.x)])
            }
        };
        Start { x, denoised, sigma: start.sigma }
    }

    /// A step to `to` along a mixture of estimates: `others` with their weights, and that of `start` with what is
    /// missing to 1.
    ///
    /// With `h` the step in lambda and `eta` that of `fresh`, the mixture `m` and unit noise `z`:
    ///
    /// - clean: `to/from·exp(−eta·h)·x + alpha(to)·(1 − exp(−(1 + eta)·h))·m + to·sqrt(1 − exp(−2·eta·h))·z`
    /// - noise: `alpha(to)/alpha(from)·x − (1 + eta)·to·(exp(h) − 1)·m + to·sqrt(eta·(exp(2·h) − 1))·z`
    pub(super) fn step(
        self,
        process: Process,
        start: &Start,
        others: &[(f64, &Latents)],
        to: f64,
        fresh: &Fresh,
    ) -> Latents {
        let (from, eta) = (start.sigma, fresh.eta);
        let (alpha, alpha_to) = (process.alpha(from), process.alpha(to));
        let own = 1.0 - others.iter().map(|(weight, _)| weight).sum::<f64>();
        let (keep, gain, other_gain, up) = match self {
            Self::Clean => {
                let up = sde_noise(process.lambda(to) - process.lambda(from), to, eta);
                let keep = (to * to - up * up).max(0.0).sqrt() / from;
                let gain = alpha_to - alpha * keep;
                (keep, own * gain, gain, up)
            }
            Self::Noise => {
                let (ratio, taken) = (alpha_to / alpha, (1.0 + eta) * own);
                let keep = if others.is_empty() && eta <= 0.0 { 0.0 } else { ratio * (1.0 - taken) };
                let start_level = ratio * from; // the noise that is left of the start's when only alpha grows
                let up = (eta * (start_level * start_level - to * to).max(0.0)).sqrt();
                let gain = taken * (alpha_to - to * alpha / from);
                (keep + taken * to / from, gain, -(1.0 + eta) * (start_level - to), up)
            }
        };
        let mut terms = vec![(keep, &start.x), (gain, &start.denoised)];
        terms.extend(others.iter().map(|(weight, estimate)| (other_gain * weight, *estimate)));
        terms.extend(fresh.noise.iter().filter(|_| up > 0.0).map(|(factor, noise)| (up * factor, noise)));
        combine(&terms)
    }
}

/// Half the log signal-to-noise ratio at `sigma`; that of nearly pure noise where there is no signal, as `UniPC` of
/// diffusers has it, so that differences stay finite.
pub(super) fn lambda(process: Process, sigma: f64) -> f64 {
    let lambda = process.lambda(sigma);
    if lambda.is_infinite() && lambda < 0.0 { process.lambda(1.0 - 1e-6) } else { lambda }
}

/// How much noise the reverse SDE adds over a step of `h` in lambda that ends at `to`, where clean estimates are
/// combined; for `eta` 1 that of the posterior of Ho et al. (2020), equation 7.
pub(super) fn sde_noise(h: f64, to: f64, eta: f64) -> f64 {
    if to > 0.0 && eta > 0.0 { to * (-(-2.0 * eta * h).exp_m1()).sqrt() } else { 0.0 }
}

/// The steps of `schedule` that have a length: their number from 0, and the levels they go from and to.
pub(super) fn numbered(schedule: &Schedule) -> impl Iterator<Item = (usize, f64, f64)> + '_ {
    let pairs = schedule.sigmas().windows(2).enumerate();
    pairs.map(|(i, levels)| (i, levels[0], levels[1])).filter(|(_, from, to)| from > to)
}

/// The coefficients, constant first, of the Lagrange polynomial of `nodes` that is 1 at node `j`.
pub(super) fn lagrange(nodes: &[f64], j: usize) -> Vec<f64> {
    let mut polynomial = vec![1.0];
    for (_, node) in nodes.iter().enumerate().filter(|(i, _)| *i != j) {
        let scale = nodes[j] - node;
        polynomial.push(0.0);
        for i in (0..polynomial.len()).rev() {
            let lower = if i > 0 { polynomial[i - 1] } else { 0.0 };
            polynomial[i] = (lower - node * polynomial[i]) / scale;
        }
    }
    polynomial
}

/// The share of each estimate in an Adams step of `h` in lambda: the integral of its Lagrange polynomial under
/// `exp(rate·u)` for `u` from `−h` to 0, over the integral without the polynomial.
///
/// `nodes` are the lambdas of the estimates, less that of the step's end. The rate is `1 + eta` for clean estimates
/// and −1 for noise estimates.
pub(super) fn adams_weights(rate: f64, h: f64, nodes: &[f64]) -> Vec<f64> {
    if nodes.len() == 1 {
        return vec![1.0];
    }
    let moments: Vec<f64> = (0..nodes.len()).map(|n| moment(rate, h, n)).collect();
    let integral = |j| lagrange(nodes, j).iter().zip(&moments).map(|(c, m)| c * m).sum::<f64>() / moments[0];
    (0..nodes.len()).map(integral).collect()
}

/// The integral of `u^n·exp(rate·u)` for `u` from `−h` to 0.
fn moment(rate: f64, h: f64, n: usize) -> f64 {
    let power = |n: usize| (-h).powi(n as i32);
    if (rate * h).abs() < 1.0 {
        // the power series, because the recurrence loses digits here
        let (mut term, mut sum) = (-power(n + 1), 0.0);
        for k in 0..20 {
            sum += term / (n + k + 1) as f64;
            term *= -rate * h / (k + 1) as f64;
        }
        return sum;
    }
    let first = -(-rate * h).exp_m1() / rate;
    (1..=n).fold(first, |last, i| -(power(i) * (-rate * h).exp() + i as f64 * last) / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lagrange_polynomials_are_1_at_their_node_and_0_at_the_others() {
        let nodes = [0.0, -0.7, -1.1, -3.0];
        for j in 0..4 {
            let polynomial = lagrange(&nodes, j);
            for (i, node) in nodes.iter().enumerate() {
                let value = polynomial.iter().rev().fold(0.0, |sum, c| sum * node + c);
                assert!((value - if i == j { 1.0 } else { 0.0 }).abs() < 1e-12);
            }
        }
    }

    /// Both ways to compute a moment are Simpson's rule with many intervals.
    #[test]
    fn moments_are_integrals() {
        for (rate, h) in [(1.0, 0.3), (2.0, 4.0), (-1.0, 0.9), (-1.0, 2.5)] {
            for n in 0..4 {
                let f = |i: usize| {
                    let u = -h * i as f64 / 1000.0;
                    u.powi(n) * (rate * u).exp()
                };
                let weight = |i: usize| if i.is_multiple_of(1000) { 1.0 } else { [2.0, 4.0][i % 2] };
                let simpson = (0..=1000).map(|i| weight(i) * f(i)).sum::<f64>() * h / 3000.0;
                let got = moment(rate, h, n as usize);
                assert!((got / simpson - 1.0).abs() < 1e-9, "{rate} {h} {n}: {got} {simpson}");
            }
        }
    }
}

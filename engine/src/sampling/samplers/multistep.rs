//! Samplers that remember the slopes of past steps: Adams–Bashforth in sigma.
use super::{Latents, Run};
use crate::{Result, sampling::latents::combine};
use std::collections::VecDeque;

/// `sample_lms` of k-diffusion: Adams–Bashforth for uneven steps, order 4.
pub(super) fn lms(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut slopes: VecDeque<(f64, Latents)> = VecDeque::new(); // newest first
    for (from, to) in run.schedule.steps() {
        slopes.push_front((from, run.slope(&x, from)?));
        slopes.truncate(4);
        let nodes: Vec<f64> = slopes.iter().map(|(sigma, _)| *sigma).collect();
        let mut terms = vec![(1.0, &x)];
        terms.extend(slopes.iter().enumerate().map(|(j, (_, slope))| (lagrange_integral(&nodes, j, from, to), slope)));
        x = combine(&terms);
    }
    Ok(x)
}

/// The integral from `a` to `b` of the Lagrange polynomial of `nodes` that is 1 at node `j` (exact to degree 5).
fn lagrange_integral(nodes: &[f64], j: usize, a: f64, b: f64) -> f64 {
    let basis = |t: f64| {
        nodes.iter().enumerate().filter(|(k, _)| *k != j).map(|(_, n)| (t - n) / (nodes[j] - n)).product::<f64>()
    };
    let (middle, half, r) = (f64::midpoint(a, b), (b - a) / 2.0, 0.6_f64.sqrt());
    half * (5.0 * basis(middle - half * r) + 8.0 * basis(middle) + 5.0 * basis(middle + half * r)) / 9.0
}

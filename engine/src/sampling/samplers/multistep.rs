//! Samplers that remember the slopes of past steps: Adams–Bashforth in sigma.
use super::{Latents, Run};
use crate::{Result, sampling::latents::combine};
use std::collections::VecDeque;

/// `sample_lms` of k-diffusion: Adams–Bashforth for uneven steps, order 4.
pub(super) fn lms(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    lms_after(run, x, &[])
}

/// `LMSDiscreteScheduler` of diffusers, whose run begins after the levels `before`: they count for the weights of the
/// estimates, although nothing was estimated there.
pub(in crate::sampling) fn lms_after(run: &mut Run<'_>, mut x: Latents, before: &[f64]) -> Result<Latents> {
    const ORDER: usize = 4;
    let mut nodes: VecDeque<f64> = before.iter().rev().take(ORDER).copied().collect(); // newest first
    let mut slopes: VecDeque<Latents> = VecDeque::new();
    for (from, to) in run.schedule.steps() {
        slopes.push_front(run.slope(&x, from)?);
        nodes.push_front(from);
        slopes.truncate(ORDER);
        nodes.truncate(ORDER);
        let mut terms = vec![(1.0, &x)];
        let nodes = nodes.make_contiguous();
        terms.extend(slopes.iter().enumerate().map(|(j, slope)| (lagrange_integral(nodes, j, from, to), slope)));
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

//! Samplers that remember the slopes of past steps: Adams–Bashforth in sigma and in timesteps.
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

/// `step_plms` of diffusers' PNDM: Adams–Bashforth weights for even timesteps (Liu et al. 2022, equation 12), begun
/// with a step of Heun's.
pub(super) fn plms(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut slopes: VecDeque<Latents> = VecDeque::new(); // newest first
    for (from, to) in run.schedule.steps() {
        let slope = run.slope(&x, from)?;
        slopes.push_front(slope);
        slopes.truncate(4);
        let weights: &[f64] = match slopes.len() {
            1 if run.schedule.len() > 1 && to > 0.0 => {
                let guess = combine(&[(1.0, &x), (to - from, &slopes[0])]);
                let corrected = run.slope(&guess, to)?;
                x = combine(&[(1.0, &x), ((to - from) / 2.0, &slopes[0]), ((to - from) / 2.0, &corrected)]);
                continue;
            }
            1 => &[1.0],
            2 => &[1.5, -0.5],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let moves = weights.iter().zip(&slopes).map(|(weight, slope)| (weight * (to - from), slope));
        x = combine(&std::iter::once((1.0, &x)).chain(moves).collect::<Vec<_>>());
    }
    Ok(x)
}

//! Improved pseudo linear multistep methods: Adams–Bashforth of order 4 in sigma (Zhang & Chen 2023, section 3).
use super::{Latents, Run};
use crate::{Result, sampling::latents::combine};
use std::collections::VecDeque;

/// `sample_ipndm` of `ComfyUI`: the weights are those of even steps.
pub(super) fn ipndm(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    adams_bashforth(run, x, |steps| match steps.len() {
        1 => vec![1.0],
        2 => vec![1.5, -0.5],
        3 => vec![23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
        _ => vec![55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
    })
}

/// `sample_ipndm_v` of `ComfyUI`: the weights follow the lengths of the steps.
pub(super) fn ipndm_v(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    adams_bashforth(run, x, uneven_weights)
}

/// Moves `x` along the mean of the newest slopes, weighted by `weights` of the lengths of the newest steps (the coming
/// one first); a last step to 0 follows the newest slope alone.
fn adams_bashforth(run: &mut Run<'_>, mut x: Latents, weights: fn(&[f64]) -> Vec<f64>) -> Result<Latents> {
    let mut past: VecDeque<(f64, Latents)> = VecDeque::new(); // step lengths and slopes, newest first
    for (from, to) in run.schedule.steps() {
        past.push_front((to - from, run.slope(&x, from)?));
        past.truncate(if to > 0.0 { 4 } else { 1 });
        let steps: Vec<f64> = past.iter().map(|(step, _)| *step).collect();
        let slopes = past.iter().map(|(_, slope)| slope);
        let moves = weights(&steps).into_iter().map(|weight| weight * (to - from)).zip(slopes);
        x = combine(&std::iter::once((1.0, &x)).chain(moves).collect::<Vec<_>>());
    }
    Ok(x)
}

/// The weights of the newest slopes for the lengths of the newest steps.
///
/// Those of Adams and Bashforth for two slopes, and for three after even steps. Else they are `ComfyUI`'s, which are
/// those that the authors published: they give the second and third difference another share, and make the method one
/// of order 3 where steps are even or shrink evenly.
fn uneven_weights(steps: &[f64]) -> Vec<f64> {
    let length = |range: std::ops::Range<usize>| steps[range].iter().sum::<f64>();
    let mut weights = vec![1.0];
    let mut add = |differences: &[f64], share: f64| {
        weights.resize(differences.len(), 0.0);
        weights.iter_mut().zip(differences).for_each(|(weight, difference)| *weight += share * difference);
    };
    if let [h, h1, ..] = *steps {
        add(&[1.0, -1.0], h / h1 / 2.0);
    }
    if let [h, h1, h2, ..] = *steps {
        let grown = h * length(0..2) / (h1 * length(1..3));
        let second = (1.0 - h / (3.0 * length(0..2)) * grown) / 2.0;
        add(&[1.0, -1.0 - h1 / h2, h1 / h2], second);
    }
    if let [h, h1, h2, h3] = *steps {
        let grown = h * length(0..2) * length(0..3) / (h1 * length(1..3) * length(1..4));
        let third =
            (1.0 - h / (3.0 * length(0..2))) / 2.0 + (1.0 - h / (2.0 * length(0..2))) * h / (6.0 * length(0..3));
        let (near, far) = (h1 / h2, h1 * length(1..3) / (h2 * length(2..4)));
        add(&[1.0, -1.0 - near - far, near + far * (1.0 + h2 / h3), -far * near], third * grown);
    }
    weights
}

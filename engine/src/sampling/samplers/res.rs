//! Multistep solvers of the ODE and of reverse SDEs: RES (Zhang et al. 2023) and ER-SDE (Cui et al. 2023).
use super::{
    Latents, Run,
    dpmpp::{heun, within_flow},
};
use crate::Result;
use std::collections::VecDeque;

pub(super) fn res_multistep(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    res_multistep_with(run, x, 0.0)
}

pub(super) fn res_multistep_ancestral(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    res_multistep_with(run, x, run.strength.eta)
}

/// `res_multistep` of `ComfyUI`: the multistep method of order 2 of Zhang et al. (2023), in lambda.
fn res_multistep_with(run: &mut Run<'_>, mut x: Latents, eta: f64) -> Result<Latents> {
    let process = run.schedule.process();
    let mut last: Option<(f64, Latents)> = None; // the previous step's length, without its noise, and estimate
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let up = process.ancestral_noise(from, to, eta);
        let down = run.level_below(to, up);
        let h = process.lambda(down) - process.lambda(from);
        x = match &last {
            Some((h_last, old)) if down > 0.0 => {
                let bend = h / h_last * heun(h);
                run.step(&x, &[(1.0 + bend, &denoised), (-bend, old)], from, to, up)
            }
            _ => run.step(&x, &[(1.0, &denoised)], from, to, up),
        };
        last = Some((h, denoised));
    }
    Ok(x)
}

/// `sample_er_sde` of `ComfyUI`: ER-SDE-Solver-3 of Cui et al. (2023), algorithm 3, in `sigma / alpha`.
pub(super) fn er_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    let mut past: VecDeque<(f64, Latents)> = VecDeque::new(); // levels and estimates, newest first
    for (from, to) in run.schedule.steps() {
        past.push_front(((-within_flow(process, process.lambda(from))).exp(), run.model.denoise(&x, from)?));
        past.truncate(3);
        if to > 0.0 {
            let level = (-process.lambda(to)).exp();
            let levels: Vec<f64> = past.iter().map(|(level, _)| *level).collect();
            let kept = er_scale(level) / er_scale(levels[0]);
            let weights = er_weights(&levels, level).map(|weight| weight / (1.0 - kept));
            let mixture: Vec<_> = weights.into_iter().zip(past.iter().map(|(_, old)| old)).collect();
            let up = process.alpha(to) * (level.powi(2) - (levels[0] * kept).powi(2)).max(0.0).sqrt();
            x = run.step(&x, &mixture, from, to, up);
        } else {
            x = run.step(&x, &[(1.0, &past[0].1)], from, to, 0.0);
        }
    }
    Ok(x)
}

/// The noise scaling function of ER-SDE 5: equation 13 of Cui et al. (2023).
fn er_scale(level: f64) -> f64 {
    level * (level.powf(0.3).exp() + 10.0)
}

/// The weights of the newest estimates in a step to the level `to`; they add up to `1 − er_scale(to) / er_scale(from)`.
fn er_weights(levels: &[f64], to: f64) -> [f64; 3] {
    const POINTS: usize = 200; // of the sums that stand for integrals
    let (from, scale) = (levels[0], er_scale(to));
    let mut weights = [1.0 - scale / er_scale(from), 0.0, 0.0];
    let length = (from - to) / POINTS as f64;
    let (mut integral, mut moment) = (0.0, 0.0);
    for i in 0..POINTS {
        let level = to + i as f64 * length;
        integral += length / er_scale(level);
        moment += length * (level - from) / er_scale(level);
    }
    if let [_, second, ..] = *levels {
        let first = (to - from + integral * scale) / (from - second); // of the difference of two estimates
        weights = [weights[0] + first, -first, 0.0];
    }
    if let [_, second, third] = *levels {
        let bend = 2.0 * ((to - from).powi(2) / 2.0 + moment * scale) / (from - third); // of that of two slopes
        let (newer, older) = (bend / (from - second), bend / (second - third));
        weights = [weights[0] + newer, weights[1] - newer - older, older];
    }
    weights
}

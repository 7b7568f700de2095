//! Samplers that follow the slope of one estimate, or correct it with others: Euler's and Heun's methods.
use super::{Latents, Run};
use crate::{Result, sampling::latents::combine};
use std::f64::consts::SQRT_2;

/// Karras et al. (2022), algorithm 2 with Euler steps (`sample_euler` of k-diffusion); without churn, in other
/// coordinates, DDIM with eta 0 (Song et al. 2021).
pub(super) fn euler(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let from = run.churn(&mut x, from);
        let denoised = run.model.denoise(&x, from)?;
        x = run.step(&x, &[(1.0, &denoised)], from, to, 0.0);
    }
    Ok(x)
}

/// `sample_euler_ancestral` of k-diffusion.
pub(super) fn euler_ancestral(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let up = run.schedule.process().ancestral_noise(from, to, run.strength.eta);
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

/// Karras et al. (2022), algorithm 2 (`sample_heun` of k-diffusion); the last step to 0 is Euler's.
pub(super) fn heun(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let from = run.churn(&mut x, from);
        x = heun_step(run, &x, from, to)?;
    }
    Ok(x)
}

/// A step along the mean of the slopes at both ends; Euler's where it ends in 0.
pub(super) fn heun_step(run: &mut Run<'_>, x: &Latents, from: f64, to: f64) -> Result<Latents> {
    let denoised = run.model.denoise(x, from)?;
    let guess = run.step(x, &[(1.0, &denoised)], from, to, 0.0);
    if to <= 0.0 {
        return Ok(guess);
    }
    let corrected = run.model.denoise(&guess, to)?;
    let (here, there) = ((to - from) / from / 2.0, (to - from) / to / 2.0); // half of each slope
    Ok(combine(&[(1.0 + here, x), (-here, &denoised), (there, &guess), (-there, &corrected)]))
}

/// `sample_heunpp2` of `ComfyUI`: a step along the weighted slopes of its start and of the next two levels. A later
/// slope weighs as much as its level is of the run's highest, so the method is of order 1 and Euler's at the end.
pub(super) fn heunpp2(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let steps: Vec<(f64, f64)> = run.schedule.steps().collect();
    let (start, end) = (run.schedule.start(), run.schedule.end());
    for (i, &(level, to)) in steps.iter().enumerate() {
        let from = run.churn(&mut x, level);
        let mut slopes = vec![run.slope(&x, from)?];
        let following: Vec<f64> = steps[i..].iter().map(|(_, to)| *to).filter(|to| *to > end).take(2).collect();
        let (mut guess, mut at) = (x.clone(), from);
        for (newest, sigma) in following.iter().enumerate() {
            guess = combine(&[(1.0, &guess), (sigma - at, &slopes[newest])]);
            slopes.push(run.slope(&guess, *sigma)?);
            at = *sigma;
        }
        let parts = slopes.len() as f64;
        let mut weights: Vec<f64> = following.iter().map(|sigma| sigma / (parts * start)).collect();
        weights.insert(0, 1.0 - weights.iter().sum::<f64>());
        let moves = weights.iter().zip(&slopes).map(|(weight, slope)| ((to - from) * weight, slope));
        x = combine(&std::iter::once((1.0, &x)).chain(moves).collect::<Vec<_>>());
    }
    Ok(x)
}

/// `sample_gradient_estimation` of `ComfyUI` with `ge_gamma` 2: Euler's method along twice the slope less the last one
/// (Permenter & Yuan 2024), of order 1.
pub(super) fn gradient_estimation(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut last: Option<Latents> = None;
    for (from, to) in run.schedule.steps() {
        let slope = run.slope(&x, from)?;
        x = match &last {
            Some(last) if to > 0.0 => combine(&[(1.0, &x), (2.0 * (to - from), &slope), (from - to, last)]),
            _ => combine(&[(1.0, &x), (to - from, &slope)]),
        };
        last = Some(slope);
    }
    Ok(x)
}

impl Run<'_> {
    /// Adds the noise of Karras et al. (2022), algorithm 2, to `x` at `from`, and returns the level it is then at.
    ///
    /// As in k-diffusion, noise is drawn for every step of a run that churns, also below `s_tmin` and above `s_tmax`.
    pub(super) fn churn(&mut self, x: &mut Latents, from: f64) -> f64 {
        let strength = self.strength;
        if strength.s_churn <= 0.0 {
            return from;
        }
        let gamma = (strength.s_churn / self.schedule.len() as f64).min(SQRT_2 - 1.0);
        let highest = self.schedule.process().sigma(f64::NEG_INFINITY);
        let to = (from * (1.0 + gamma)).min(highest).max(from);
        let raised = self.raise(x, from, to);
        if !(strength.s_tmin..=strength.s_tmax).contains(&from) {
            return from;
        }
        *x = raised;
        to
    }

    /// `x` with the fresh noise that takes it from the noise level `from` up to `to`.
    pub(super) fn raise(&mut self, x: &Latents, from: f64, to: f64) -> Latents {
        let process = self.schedule.process();
        let noise = (self.noise)(from, to);
        let keep = if to > from { process.alpha(to) / process.alpha(from) } else { 1.0 };
        let up = (to * to - (keep * from).powi(2)).max(0.0).sqrt();
        combine(&[(keep, x), (up * self.strength.s_noise, &noise)])
    }
}

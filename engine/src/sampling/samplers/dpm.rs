//! DPM-Solver of Lu et al. (2022): the midpoint method in log sigma, and steps of order 1 to 3 that are chosen once
//! (`dpm_fast`) or by their error (`dpm_adaptive`).
use super::{Latents, Run, euler::euler};
use crate::{
    Result,
    sampling::{latents::combine, schedules::exponential_between},
};

pub(super) fn dpm_2(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let from = run.churn(&mut x, from);
        x = dpm_2_step(run, &x, from, to, 0.0)?;
    }
    Ok(x)
}

pub(super) fn dpm_2_ancestral(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        x = dpm_2_step(run, &x, from, to, run.strength.eta)?;
    }
    Ok(x)
}

/// A step of `sample_dpm_2` and `sample_dpm_2_ancestral` of k-diffusion: DPM-Solver-2 of Lu et al. (2022).
fn dpm_2_step(run: &mut Run<'_>, x: &Latents, from: f64, to: f64, eta: f64) -> Result<Latents> {
    let denoised = run.model.denoise(x, from)?;
    let up = run.schedule.process().ancestral_noise(from, to, eta);
    let down = run.level_below(to, up);
    if down <= 0.0 {
        return Ok(run.step(x, &[(1.0, &denoised)], from, to, up));
    }
    let middle = (from * down).sqrt();
    let guess = run.step(x, &[(1.0, &denoised)], from, middle, 0.0);
    let r = from / middle; // the whole step follows the slope at the middle
    let second = run.model.denoise(&guess, middle)?;
    Ok(run.step(x, &[(1.0 - r, &denoised), (r, &second)], from, to, up))
}

/// `sample_dpm_fast` of k-diffusion: as many evaluations as the run has steps, most of them in threes, over even steps
/// in log sigma from the highest to the lowest level above 0, where it ends.
pub(super) fn dpm_fast(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let (high, low) = ends(run);
    if high <= low {
        return euler(run, x); // nothing lies between
    }
    let evaluations = run.schedule.len();
    let count = evaluations / 3 + 1;
    let levels = exponential_between(high, low, count + 1);
    for (i, level) in levels.windows(2).enumerate() {
        let (from, to) = (level[0], level[1]);
        let order = match (count - i, evaluations % 3) {
            (1, 0) => 1,
            (2, 0) => 2,
            (1, rest) => rest,
            _ => 3,
        };
        let (down, up) = descend(run, from, to, low);
        let answers = Answers::ask(run, &x, from, down, order)?;
        x = run.step(&x, &answers.estimate(order), from, to, up);
    }
    Ok(x)
}

/// `sample_dpm_adaptive` of k-diffusion with its defaults: DPM-Solver-23, whose step grows and shrinks with the
/// difference of the two, from the highest to the lowest level above 0, where it ends.
///
/// The difference is measured over the whole batch, so that its images share their steps.
pub(super) fn dpm_adaptive(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let (high, low) = ends(run);
    if high <= low {
        return euler(run, x);
    }
    let order = if run.strength.eta > 0.0 { 1.5 } else { 3.0 }; // of the error, for the controller
    let (mut h, mut time, end) = (0.05, -high.ln(), -low.ln());
    let mut last = x.clone();
    while time < end - 1e-5 {
        let next = (time + h).min(end);
        let (from, to) = ((-time).exp(), (-next).exp());
        let (down, up) = descend(run, from, to, low);
        let answers = Answers::ask(run, &x, from, down, 3)?;
        let coarse = run.step(&x, &answers.estimate(2), from, down, 0.0);
        let factor = 1.0 + ((1.0 / (answers.difference(&coarse, &last) + 1e-8)).powf(1.0 / order) - 1.0).atan();
        if factor >= 0.81 {
            x = run.step(&x, &answers.estimate(3), from, to, up);
            (last, time) = (coarse, next);
        }
        h *= factor;
    }
    Ok(x)
}

/// The highest and the lowest level above 0.
fn ends(run: &Run<'_>) -> (f64, f64) {
    let low = run.schedule.sigmas().iter().rev().find(|sigma| **sigma > 0.0);
    (run.schedule.start(), low.copied().unwrap_or(run.schedule.start()))
}

/// Where an ancestral step from `from` to `to` goes down to, at least `low`, and the noise it then adds.
fn descend(run: &Run<'_>, from: f64, to: f64, low: f64) -> (f64, f64) {
    let process = run.schedule.process();
    if run.strength.eta <= 0.0 {
        return (to, 0.0);
    }
    let up = process.ancestral_noise(from, to, run.strength.eta);
    let down = run.level_below(to, up).max(low);
    let kept = down * process.alpha(to) / process.alpha(down);
    (down, (to * to - kept * kept).max(0.0).sqrt())
}

/// What a step asks: the estimate at its start, and by how much the slopes at its later stages differ from the first.
///
/// The latents have dropped out of these differences, so that they are small numbers and not differences of large ones.
struct Answers {
    denoised: Latents,
    bends: Vec<Latents>,
    from: f64,
    to: f64,
}

impl Answers {
    const R1: [f64; 4] = [0.0, 0.0, 0.5, 1.0 / 3.0]; // where the second slope is asked, by order
    const R2: f64 = 2.0 / 3.0; // where the third is

    /// Algorithms 1 and 2 of Lu et al. (2022).
    fn ask(run: &mut Run<'_>, x: &Latents, from: f64, to: f64, order: usize) -> Result<Self> {
        let h = (from / to).ln();
        let denoised = run.model.denoise(x, from)?;
        let mut bends = Vec::new();
        if order > 1 {
            let s = from * (-Self::R1[order] * h).exp();
            let guess = run.step(x, &[(1.0, &denoised)], from, s, 0.0);
            bends.push(combine(&[(1.0 / s, &denoised), (-1.0 / s, &run.model.denoise(&guess, s)?)]));
        }
        if order > 2 {
            let s = from * (-Self::R2 * h).exp();
            let share = s / (from - s) * (Self::R2 / Self::R1[order]) * curvature(Self::R2 * h);
            let guess = run.step(x, &[(1.0, &denoised), (-from * share, &bends[0])], from, s, 0.0);
            let second = run.model.denoise(&guess, s)?;
            bends.push(combine(&[(1.0 / s, &denoised), (-1.0 / s, &second), ((s - from) / s * share, &bends[0])]));
        }
        Ok(Self { denoised, bends, from, to })
    }

    /// How much of the last difference goes into a step of `order`.
    fn share(&self, order: usize) -> f64 {
        let h = (self.from / self.to).ln();
        match order {
            2 => 1.0 / (2.0 * Self::R1[self.bends.len() + 1]),
            _ => curvature(h) / Self::R2 / h.exp_m1(),
        }
    }

    /// The estimate that takes a step of `order` to where its slopes do.
    fn estimate(&self, order: usize) -> Vec<(f64, &Latents)> {
        let bend = self.bends[..order - 1].last().map(|bend| (-self.from * self.share(order), bend));
        std::iter::once((1.0, &self.denoised)).chain(bend).collect()
    }

    /// How far steps of order 2 and 3 end apart, in units of what is tolerated: 5 % of each number, or 0.0078 where it
    /// is small. Of a network that gives no numbers, 1, so that the run ends.
    fn difference(&self, coarse: &Latents, last: &Latents) -> f64 {
        let step = self.to - self.from;
        let apart = combine(&[(step * self.share(2), &self.bends[0]), (-step * self.share(3), &self.bends[1])]);
        let pairs = apart.values().iter().zip(coarse.values()).zip(last.values());
        let squares = pairs.map(|((apart, a), b)| f64::from(apart / (0.05 * a.abs().max(b.abs())).max(0.0078)).powi(2));
        let mean = squares.sum::<f64>() / coarse.values().len() as f64;
        if mean.is_finite() { mean.sqrt() } else { 1.0 }
    }
}

/// `(e^h − 1) / h − 1`.
fn curvature(h: f64) -> f64 {
    h.exp_m1() / h - 1.0
}

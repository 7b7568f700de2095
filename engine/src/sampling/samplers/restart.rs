//! Restart sampling of Xu et al. (2023): Heun's method that goes back up to a noise level and comes down again.
use super::{Latents, Run, euler::heun_step};
use crate::{
    Result,
    sampling::{Schedule, schedules::karras_between},
};

/// `restart_sampler` of stable-diffusion-webui with its own choice of restarts.
pub(super) fn restart(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut at = run.schedule.start();
    for (from, to) in steps(run.schedule) {
        if from > at {
            x = run.raise(&x, at, from);
        }
        x = heun_step(run, &x, from, to)?;
        at = to;
    }
    Ok(x)
}

/// The steps of a run, restarts included. From 20 steps on, 9 of them go from 2 to 0.1 once more, from 36 on a quarter
/// of them do so twice; the others then follow Karras et al. (2022), from the run's next-to-last level to 0.
fn steps(schedule: &Schedule) -> Vec<(f64, f64)> {
    let count = schedule.len();
    let (length, times) = match count {
        ..20 => return schedule.steps().collect(),
        20..36 => (9, 1),
        _ => (count / 4, 2),
    };
    let level = |ratio: f64| schedule.process().sigma(-ratio.ln()); // sigma / alpha is `ratio` there
    let mut levels = karras_between(schedule.start(), schedule.sigmas()[count - 1], count - length * times, 7.0);
    levels.push(0.0);
    let (low, high) = (nearest(&levels, level(0.1)), nearest(&levels, level(2.0)));
    let again = karras_between(levels[high], levels[low], length + 1, 7.0);
    let pairs = |levels: &[f64]| levels.windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>();
    let mut steps = pairs(&levels[..=low]);
    if high < low {
        (0..times).for_each(|_| steps.extend(pairs(&again)));
    }
    steps.extend(pairs(&levels[low..]));
    steps.retain(|(from, to)| from > to);
    steps
}

/// The place of the level that is nearest to `level`; the first of equals.
fn nearest(levels: &[f64], level: f64) -> usize {
    let distance = |i: &usize| (levels[*i] - level).abs();
    (0..levels.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or_default()
}

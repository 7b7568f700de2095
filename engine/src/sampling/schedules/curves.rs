//! How are the noise levels of a schedule computed?
//!
//! The first functions lay levels between two given ones, whatever the model. The others are the rows of
//! [`SCHEDULES`](super::SCHEDULES): they take the levels a network was trained on, a number of steps (1 to the number
//! of training timesteps) and rho, and give the levels of a run, highest first, without a final 0.
use super::{NoiseSchedule, beta::quantile};

/// `n` evenly spaced numbers from `a` to `b`, to the last bit as `numpy.linspace` computes them; of one number, `a`.
pub(in crate::sampling) fn linspace(a: f64, b: f64, n: usize) -> impl Iterator<Item = f64> {
    let step = (b - a) / (n.max(2) - 1) as f64;
    (0..n).map(move |i| if i > 0 && i == n - 1 { b } else { i as f64 * step + a })
}

/// Karras et al. (2022), equation 5: even in the `rho`-th root of sigma; `rho` is 7 there.
pub(in crate::sampling) fn karras_between(max: f64, min: f64, n: usize, rho: f64) -> Vec<f64> {
    let lowest = (min / max).powf(1.0 / rho); // a share of the highest: roots of a small rho overflow
    linspace(1.0, lowest, n).map(|root| (max * root.powf(rho)).clamp(min, max)).collect()
}

/// Even in log sigma.
///
/// So is `use_lu_lambdas` of diffusers, whose rho of 1 makes it even in half the log signal-to-noise ratio.
pub(in crate::sampling) fn exponential_between(max: f64, min: f64, n: usize) -> Vec<f64> {
    polyexponential_between(max, min, n, 1.0)
}

/// The `rho`-th power of an even ramp in log sigma: `get_sigmas_polyexponential` of k-diffusion.
pub(in crate::sampling) fn polyexponential_between(max: f64, min: f64, n: usize, rho: f64) -> Vec<f64> {
    let (low, high) = (min.ln(), max.ln());
    linspace(1.0, 0.0, n).map(|share| (share.powf(rho) * (high - low) + low).exp().clamp(min, max)).collect()
}

/// Quantiles of the beta distribution, in sigma: `_convert_to_beta` of diffusers, after Lee et al. (2024).
///
/// `alpha` and `beta` are from 0.1 to 10; both are 0.6 in diffusers and stable-diffusion-webui.
pub(in crate::sampling) fn beta_between(max: f64, min: f64, n: usize, alpha: f64, beta: f64) -> Vec<f64> {
    let quantiles = linspace(0.0, 1.0, n).map(|share| quantile(1.0 - share, alpha, beta));
    quantiles.map(|quantile| min + quantile * (max - min)).collect()
}

/// Even in the arc tangent of sigma, which is optimal for data of unit variance: Sabour et al. (2024), theorem 3.1.
fn arctan_between(max: f64, min: f64, n: usize) -> Vec<f64> {
    linspace(max.atan(), min.atan(), n).map(|angle| angle.tan().clamp(min, max)).collect()
}

/// `n` levels on the line through `table` in log sigma.
fn log_linear(table: &[f64], n: usize) -> Vec<f64> {
    let last = table.len() - 1;
    let level = |place: f64| {
        let low = (place as usize).min(last - 1);
        let weight = place - low as f64;
        ((1.0 - weight) * table[low].ln() + weight * table[low + 1].ln()).exp()
    };
    // counted from the low end, as the origin does: its one level is the lowest
    let mut levels: Vec<f64> = linspace(last as f64, 0.0, n).map(level).collect();
    levels.reverse();
    levels
}

/// `get_sigmas` of k-diffusion; `normal_scheduler` of stable-diffusion-webui and `ComfyUI`, whose ends are the same.
pub(super) fn normal(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    linspace((noise.timesteps() - 1) as f64, 0.0, steps).map(|timestep| noise.sigma(timestep)).collect()
}

/// `get_sigmas_karras` of k-diffusion.
pub(super) fn karras(noise: &NoiseSchedule, steps: usize, rho: f64) -> Vec<f64> {
    let (min, max) = noise.range();
    karras_between(max, min, steps, rho)
}

/// `get_sigmas_exponential` of k-diffusion.
pub(super) fn exponential(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let (min, max) = noise.range();
    exponential_between(max, min, steps)
}

/// `get_sigmas_polyexponential` of k-diffusion.
pub(super) fn polyexponential(noise: &NoiseSchedule, steps: usize, rho: f64) -> Vec<f64> {
    let (min, max) = noise.range();
    polyexponential_between(max, min, steps, rho)
}

/// `sgm_uniform` of stable-diffusion-webui, `normal_scheduler` of `ComfyUI` with `sgm`: as `normal` with one timestep
/// more, and without the last.
pub(super) fn sgm_uniform(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let timesteps = linspace((noise.timesteps() - 1) as f64, 0.0, steps + 1).take(steps);
    timesteps.map(|timestep| noise.sigma(timestep)).collect()
}

/// `simple_scheduler` of stable-diffusion-webui and `ComfyUI`: every `timesteps / steps`-th training level, from the
/// highest.
pub(super) fn simple(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let last = noise.timesteps() - 1;
    let stride = noise.timesteps() as f64 / steps as f64;
    (0..steps).map(|i| noise.sigma((last - (i as f64 * stride) as usize) as f64)).collect()
}

/// The timesteps of stable-diffusion-webui's samplers of the kind of DDIM: every `timesteps / steps`-th training level from
/// the second one, in whole intervals. The lowest is where the run ends, so there is one step less than asked for; one
/// step ends at the lowest training level.
pub(super) fn timesteps(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let trained = noise.timesteps();
    let stride = (trained / steps).max(1);
    let level = |timestep: usize| noise.sigma((timestep + 1).min(trained - 1) as f64);
    let mut levels: Vec<f64> = (0..trained).step_by(stride).map(level).collect();
    levels.dedup();
    levels.reverse();
    if levels.len() == 1 {
        levels.push(noise.range().0);
    }
    levels
}

/// `ddim_scheduler` of stable-diffusion-webui and `ComfyUI`: every `timesteps / steps`-th training level, in whole
/// numbers, from the second lowest; where that does not divide, more levels than `steps` (31 of 30).
pub(super) fn ddim_uniform(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let stride = (noise.timesteps() / steps).max(1);
    let mut levels: Vec<f64> = (1..noise.timesteps()).step_by(stride).map(|t| noise.sigma(t as f64)).collect();
    levels.reverse();
    levels
}

/// `beta_scheduler` of stable-diffusion-webui, `use_beta_sigmas` of diffusers.
pub(super) fn beta(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let (min, max) = noise.range();
    beta_between(max, min, steps, 0.6, 0.6)
}

/// `beta_scheduler` of `ComfyUI`: as Lee et al. (2024) have it, the quantiles are timesteps. They are rounded, and of
/// many steps several fall on one level, which counts once.
pub(super) fn beta_comfyui(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let last = (noise.timesteps() - 1) as f64;
    let mut timesteps: Vec<f64> = linspace(0.0, 1.0, steps + 1)
        .take(steps)
        .map(|share| quantile(1.0 - share, 0.6, 0.6) * last)
        // the median lies halfway between two timesteps: without its last digits, it is rounded as there
        .map(|timestep| ((timestep * 1e9).round() / 1e9).round_ties_even())
        .collect();
    timesteps.dedup();
    timesteps.into_iter().map(|timestep| noise.sigma(timestep)).collect()
}

/// `kl_optimal` of stable-diffusion-webui, which ends at the lowest training level: one level more than `steps`.
pub(super) fn kl_optimal(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let (min, max) = noise.range();
    arctan_between(max, min, steps + 1)
}

/// `kl_optimal_scheduler` of `ComfyUI`, and of stable-diffusion.cpp.
pub(super) fn kl_optimal_comfyui(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let (min, max) = noise.range();
    arctan_between(max, min, steps)
}

/// `linear_quadratic_schedule` of `ComfyUI`, from Mochi: what is denoised grows linearly to 1/40 in half of the steps,
/// then along the parabola that goes on in the same direction and ends at 1.
pub(super) fn linear_quadratic(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let (threshold, max) = (0.025, noise.range().1);
    let linear = (steps / 2) as f64;
    if steps == 1 {
        return vec![max];
    }
    let slope = threshold / linear;
    let bend = (1.0 - slope * steps as f64) / (steps as f64 - linear).powi(2);
    let denoised = (0..steps).map(|i| i as f64 * slope + bend * (i as f64 - linear).max(0.0).powi(2));
    denoised.map(|share| (1.0 - share) * max).collect()
}

/// The levels of Sabour et al. (2024) for Stable Diffusion 1.5.
const STABLE_DIFFUSION: [f64; 11] = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029];

/// `get_align_your_steps_sigmas` of stable-diffusion-webui: from the table's first level to its last, then 0. (Others
/// put the 0 in place of the last level; and of one step webui has only the lowest.)
pub(super) fn align_your_steps(_: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    log_linear(&STABLE_DIFFUSION, steps)
}

/// `turbo_scheduler` of Forge: even timesteps from the last, the `trailing` spacing of diffusers.
pub(super) fn turbo(noise: &NoiseSchedule, steps: usize, _: f64) -> Vec<f64> {
    let stride = (noise.timesteps() as f64 / steps as f64) as f32; // 32 bits, as there: they decide which way to round
    let timesteps = (1..=steps).rev().map(|i| (i as f32 * stride - 1.0).round_ties_even());
    timesteps.map(|timestep| noise.sigma(f64::from(timestep))).collect()
}

//! DPM-Solver++ of Lu et al. (2022b), for the ODE and for the SDE.
use super::{Latents, Run};
use crate::{Result, sampling::Process};
use std::collections::VecDeque;

/// `lambda`, but in a rectified flow at least that of 0.01 % into it: pure noise, where a flow may begin, has negative
/// infinity. `ComfyUI` does the same.
pub(super) fn within_flow(process: Process, lambda: f64) -> f64 {
    const EARLIEST: f64 = -9.210_240_366_975_85; // ln(0.0001 / 0.9999)
    match process {
        Process::RectifiedFlow => lambda.max(EARLIEST),
        Process::VarianceExploding => lambda,
    }
}

/// `sample_dpmpp_2s_ancestral` of k-diffusion: DPM-Solver++(2S) of Lu et al. (2022b), algorithm 1.
pub(super) fn dpmpp_2s_ancestral(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        let up = process.ancestral_noise(from, to, run.strength.eta);
        let down = run.level_below(to, up);
        if down > 0.0 {
            let middle = process.sigma(within_flow(process, f64::midpoint(process.lambda(from), process.lambda(down))));
            let guess = run.step(&x, &[(1.0, &denoised)], from, middle, 0.0);
            denoised = run.model.denoise(&guess, middle)?;
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

/// `sample_dpmpp_sde` of k-diffusion, with `r` 1/2; `DPMSolverSDEScheduler` of diffusers.
pub(super) fn dpmpp_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    let eta = run.strength.eta;
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        if to > 0.0 {
            let middle = process.sigma(f64::midpoint(within_flow(process, process.lambda(from)), process.lambda(to)));
            let up = ddim_noise(process, from, middle, eta);
            let guess = step_at_clock(run, &x, &denoised, (from, middle), up, clock_levels(from, to, 0.5));
            denoised = run.model.denoise(&guess, middle)?;
        }
        let up = ddim_noise(process, from, to, eta);
        x = step_at_clock(run, &x, &denoised, (from, to), up, clock_levels(from, to, 1.0));
    }
    Ok(x)
}

/// A step whose fresh noise is asked for between the levels `asked`.
fn step_at_clock(
    run: &mut Run<'_>,
    x: &Latents,
    denoised: &Latents,
    (from, to): (f64, f64),
    up: f64,
    asked: (f64, f64),
) -> Latents {
    let noise = (up > 0.0).then(|| (run.noise)(asked.0, asked.1));
    run.step_with(x, &[(1.0, denoised)], from, to, up, noise.as_ref())
}

/// The levels between which the two references ask for noise on the first `part` of a step: they go through 32-bit
/// logarithms, and a Brownian path is sensitive to the last digits.
fn clock_levels(from: f64, to: f64, part: f32) -> (f64, f64) {
    let (start, end) = (-(from as f32).ln(), -(to as f32).ln());
    let level = |clock: f32| f64::from((-clock).exp());
    (level(start), level(start + (end - start) * part))
}

/// The noise of an ancestral step in variance-exploding coordinates, where all levels are `sigma / alpha`: equation 16
/// of DDIM (Song et al. 2021).
pub(super) fn ddim_noise(process: Process, from: f64, to: f64, eta: f64) -> f64 {
    let ratio = |sigma: f64| sigma / process.alpha(sigma);
    process.alpha(to) * Process::VarianceExploding.ancestral_noise(ratio(from), ratio(to), eta)
}

pub(super) fn dpmpp_2m(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, 0.0, midpoint)
}

pub(super) fn dpmpp_2m_sde(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, run.strength.eta, midpoint)
}

pub(super) fn dpmpp_2m_sde_heun(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, run.strength.eta, heun)
}

/// `solver_type` of k-diffusion: how much of the last estimates' slope goes into a step of `h` in lambda (times
/// `1 + eta`).
fn midpoint(_: f64) -> f64 {
    0.5
}

pub(super) fn heun(h: f64) -> f64 {
    1.0 / -(-h).exp_m1() - 1.0 / h
}

/// DPM-Solver++(2M) of Lu et al. (2022b), algorithm 2; with `eta`, `sample_dpmpp_2m_sde` of k-diffusion.
fn dpmpp_2m_with(run: &mut Run<'_>, mut x: Latents, eta: f64, solver_type: fn(f64) -> f64) -> Result<Latents> {
    let process = run.schedule.process();
    let mut last: Option<(f64, Latents)> = None; // the previous step's length and estimate
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let start = process.lambda(from);
        let h = process.lambda(to) - if eta > 0.0 { within_flow(process, start) } else { start };
        x = match &last {
            Some((h_last, old)) if to > 0.0 => {
                let bend = h / h_last * solver_type(h * (1.0 + eta));
                run.step(&x, &[(1.0 + bend, &denoised), (-bend, old)], from, to, sde_noise(h, to, eta))
            }
            _ => run.step(&x, &[(1.0, &denoised)], from, to, sde_noise(h, to, eta)),
        };
        last = Some((h, denoised));
    }
    Ok(x)
}

/// How much noise the reverse SDE adds over a step of `h` in lambda that ends at `to`.
fn sde_noise(h: f64, to: f64, eta: f64) -> f64 {
    if to > 0.0 && eta > 0.0 { to * (-(-2.0 * eta * h).exp_m1()).sqrt() } else { 0.0 }
}

/// `sample_dpmpp_3m_sde` of k-diffusion.
pub(super) fn dpmpp_3m_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    let mut past: VecDeque<(f64, Latents)> = VecDeque::new(); // step lengths and estimates, newest first
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let h = process.lambda(to) - within_flow(process, process.lambda(from));
        let h_eta = h * (run.strength.eta + 1.0);
        let (phi_1, phi_2) = (-(-h_eta).exp_m1(), (-h_eta).exp_m1() / h_eta + 1.0);
        let phi_3 = phi_2 / h_eta - 0.5;
        // weights of the three newest estimates
        let weights = match (past.front(), past.get(1)) {
            (Some((h_1, _)), Some((h_2, _))) if to > 0.0 => {
                let (r0, r1) = (h_1 / h, h_2 / h);
                let (first, second) = (1.0 / r0, 1.0 / r1); // divided differences
                let (a, b) =
                    (phi_2 * (1.0 + r0 / (r0 + r1)) - phi_3 / (r0 + r1), -phi_2 * r0 / (r0 + r1) + phi_3 / (r0 + r1));
                [phi_1 + a * first, -a * first + b * second, -b * second]
            }
            (Some((h_1, _)), None) if to > 0.0 => [phi_1 + phi_2 * h / h_1, -phi_2 * h / h_1, 0.0],
            _ => [phi_1, 0.0, 0.0],
        };
        let estimates = std::iter::once(&denoised).chain(past.iter().map(|(_, old)| old));
        let mixture: Vec<_> = weights.iter().map(|w| w / phi_1).zip(estimates).collect();
        x = run.step(&x, &mixture, from, to, sde_noise(h, to, run.strength.eta));
        past.push_front((h, denoised));
        past.truncate(2);
    }
    Ok(x)
}

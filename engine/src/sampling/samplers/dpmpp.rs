//! DPM-Solver++ of Lu et al. (2022b), for the ODE and for the SDE.
use super::{Latents, Run};
use crate::Result;
use std::collections::VecDeque;

/// `sample_dpmpp_2s_ancestral` of k-diffusion: DPM-Solver++(2S) of Lu et al. (2022b), algorithm 1.
pub(super) fn dpmpp_2s_ancestral(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        let up = process.ancestral_noise(from, to, run.strength.eta);
        let down = (to * to - up * up).sqrt();
        if down > 0.0 {
            let middle = process.sigma(f64::midpoint(process.lambda(from), process.lambda(down)));
            let guess = run.step(&x, &[(1.0, &denoised)], from, middle, 0.0);
            denoised = run.model.denoise(&guess, middle)?;
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

/// `sample_dpmpp_sde` of k-diffusion, with `r` 1/2.
pub(super) fn dpmpp_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        if to > 0.0 {
            let middle = process.sigma(f64::midpoint(process.lambda(from), process.lambda(to)));
            let guess = run.step(
                &x,
                &[(1.0, &denoised)],
                from,
                middle,
                process.ancestral_noise(from, middle, run.strength.eta),
            );
            denoised = run.model.denoise(&guess, middle)?;
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, process.ancestral_noise(from, to, run.strength.eta));
    }
    Ok(x)
}

pub(super) fn dpmpp_2m(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, 0.0)
}

pub(super) fn dpmpp_2m_sde(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpmpp_2m_with(run, x, run.strength.eta)
}

/// DPM-Solver++(2M) of Lu et al. (2022b), algorithm 2; with `eta`, `sample_dpmpp_2m_sde` of k-diffusion (midpoint).
fn dpmpp_2m_with(run: &mut Run<'_>, mut x: Latents, eta: f64) -> Result<Latents> {
    let process = run.schedule.process();
    // the last step is of first order where it ends in 0 or the run is short (diffusers' `lower_order_final`)
    let lowest = if run.schedule.len() < 15 { run.schedule.end() } else { 0.0 };
    let mut last: Option<(f64, Latents)> = None; // the previous step's length and estimate
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let h = process.lambda(to) - process.lambda(from);
        x = match &last {
            Some((h_last, old)) if to > lowest => {
                let bend = h / h_last / 2.0;
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
    if to > 0.0 { to * (-(-2.0 * eta * h).exp_m1()).sqrt() } else { 0.0 }
}

/// `sample_dpmpp_3m_sde` of k-diffusion.
pub(super) fn dpmpp_3m_sde(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let process = run.schedule.process();
    let mut past: VecDeque<(f64, Latents)> = VecDeque::new(); // step lengths and estimates, newest first
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let h = process.lambda(to) - process.lambda(from);
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

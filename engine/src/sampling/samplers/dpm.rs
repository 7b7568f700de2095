//! DPM-Solver-2 of Lu et al. (2022): the midpoint method in log sigma.
use super::{Latents, Run};
use crate::{Result, sampling::latents::combine};

pub(super) fn dpm_2(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpm_2_with(run, x, 0.0)
}

pub(super) fn dpm_2_ancestral(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    dpm_2_with(run, x, run.strength.eta)
}

/// `sample_dpm_2` and `sample_dpm_2_ancestral` of k-diffusion: DPM-Solver-2 of Lu et al. (2022).
fn dpm_2_with(run: &mut Run<'_>, mut x: Latents, eta: f64) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let mut denoised = run.model.denoise(&x, from)?;
        let up = run.schedule.process().ancestral_noise(from, to, eta);
        let down = (to * to - up * up).sqrt();
        if down > 0.0 {
            let middle = (from * down).sqrt();
            let guess = run.step(&x, &[(1.0, &denoised)], from, middle, 0.0);
            let r = from / middle;
            denoised = combine(&[(1.0, &x), (-r, &guess), (r, &run.model.denoise(&guess, middle)?)]);
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, up);
    }
    Ok(x)
}

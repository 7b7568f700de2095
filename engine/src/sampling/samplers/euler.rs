//! Samplers that follow the slope of one estimate, or correct it with a second: Euler's and Heun's methods.
use super::{Latents, Run};
use crate::{Result, sampling::latents::combine};

/// Karras et al. (2022), algorithm 2 without churn; in other coordinates DDIM with eta 0 (Song et al. 2021).
pub(super) fn euler(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
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

/// Karras et al. (2022), algorithm 1; the last step to 0 is Euler's.
pub(super) fn heun(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        let guess = run.step(&x, &[(1.0, &denoised)], from, to, 0.0);
        if to > 0.0 {
            let corrected = run.model.denoise(&guess, to)?;
            let (here, there) = ((to - from) / from / 2.0, (to - from) / to / 2.0); // half of each slope
            x = combine(&[(1.0 + here, &x), (-here, &denoised), (there, &guess), (-there, &corrected)]);
        } else {
            x = guess;
        }
    }
    Ok(x)
}

//! CFG++ of Chung et al. (2024): the guided estimate, with the noise of the estimate for the negative prompt alone.
use super::{Latents, Run, dpmpp::ddim_noise};
use crate::Result;

/// `sample_euler_cfg_pp` of `ComfyUI`: algorithm 2 of Chung et al. (2024).
pub(super) fn euler_cfg_pp(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    cfg_pp(run, x, 0.0)
}

/// `sample_euler_ancestral_cfg_pp` of `ComfyUI`; `ddim_cfgpp` of stable-diffusion-webui takes the same step.
pub(super) fn euler_ancestral_cfg_pp(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    cfg_pp(run, x, run.strength.eta)
}

/// `alpha(to)·denoised + down·noise + up·fresh noise`, where `noise = (x − alpha(from)·negative) / from`.
fn cfg_pp(run: &mut Run<'_>, mut x: Latents, eta: f64) -> Result<Latents> {
    let process = run.schedule.process();
    for (from, to) in run.schedule.steps() {
        let (denoised, negative) = run.model.denoise_both(&x, from)?;
        let up = ddim_noise(process, from, to, eta);
        let turn = process.alpha(from) * (to * to - up * up).max(0.0).sqrt() / from;
        let whole = process.alpha(to) - turn; // what a step gives the estimate where there is but one
        x = run.step(&x, &[(process.alpha(to) / whole, &denoised), (-turn / whole, &negative)], from, to, up);
    }
    Ok(x)
}

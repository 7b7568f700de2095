//! Samplers for networks distilled to need few steps.
use super::{Latents, Run};
use crate::Result;

/// Multistep consistency sampling (Song et al. 2023, algorithm 1): all noise of a step is fresh.
pub(super) fn lcm(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        x = run.step(&x, &[(1.0, &denoised)], from, to, to);
    }
    Ok(x)
}

//! Samplers for networks distilled to need few steps.
use super::{Latents, Run, combine, estimates::numbered};
use crate::{
    Result,
    sampling::{NoiseSchedule, Process},
};

/// Multistep consistency sampling (Song et al. 2023, algorithm 1): all noise of a step is fresh.
///
/// For rectified flow this is also `FlowMatchEulerDiscreteScheduler` of diffusers with `stochastic_sampling`.
pub(in crate::sampling) fn lcm(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let denoised = run.model.denoise(&x, from)?;
        x = run.step(&x, &[(1.0, &denoised)], from, to, to);
    }
    Ok(x)
}

/// `LCMScheduler` of diffusers, whose estimate keeps `c_skip` of the latents (Luo et al. 2023, with 0.5 as the data's
/// deviation); clip with [`Run::clipped`].
///
/// Where the schedule has no timesteps, nothing is kept.
pub(in crate::sampling) fn lcm_with(run: &mut Run<'_>, mut x: Latents, timestep_scaling: f64) -> Result<Latents> {
    const DATA: f64 = 0.5;
    for (i, from, to) in numbered(run.schedule) {
        let mut denoised = run.model.denoise(&x, from)?;
        if let Some(timesteps) = run.schedule.timesteps() {
            let scaled = timesteps[i] * timestep_scaling;
            let length = scaled.hypot(DATA);
            let skip = (DATA / length).powi(2) / from.hypot(1.0);
            denoised = combine(&[(scaled / length, &denoised), (skip, &x)]);
        }
        x = run.step(&x, &[(1.0, &denoised)], from, to, to);
    }
    Ok(x)
}

/// `TCDScheduler` of diffusers, over the training levels of Stable Diffusion.
pub(super) fn tcd(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    let levels = NoiseSchedule::scaled_linear(0.00085, 0.012, 1000)?;
    tcd_with(run, x, &levels)
}

/// `TCDScheduler` of diffusers (Zheng et al. 2024): each step goes lower than it must, to timestep
/// `floor((1 − gamma)·t)`, then up again with fresh noise.
///
/// `gamma` of the paper, `eta` of diffusers, is that of the run's strength: 0 to 1, 0.3 by default. `levels` are those
/// of the training timesteps. With rectified flow, whose timesteps are its levels, it is `(1 − gamma)·to`.
pub(in crate::sampling) fn tcd_with(run: &mut Run<'_>, mut x: Latents, levels: &NoiseSchedule) -> Result<Latents> {
    let process = run.schedule.process();
    for (i, from, to) in numbered(run.schedule) {
        let denoised = run.model.denoise(&x, from)?;
        let known = run.schedule.timesteps().and_then(|timesteps| timesteps.get(i + 1)).copied();
        let share = 1.0 - run.strength.eta;
        let low = match process {
            _ if i + 1 == run.schedule.len() || run.strength.eta <= 0.0 => to,
            Process::RectifiedFlow => share * to,
            Process::VarianceExploding => {
                levels.sigma((share * known.unwrap_or_else(|| levels.timestep(to))).floor()).min(to)
            }
        };
        let kept = low * process.alpha(to) / process.alpha(low); // the noise that is left of it at `to`
        x = run.step(&x, &[(1.0, &denoised)], from, to, (to * to - kept * kept).max(0.0).sqrt());
    }
    Ok(x)
}

//! The first two samplers of unit-variance models: DDPM (Ho et al. 2020) and DDIM (Song et al. 2021).
use super::{
    Latents, Run, combine,
    estimates::{numbered, sde_noise},
};
use crate::{Result, sampling::clip::Clip};

/// The options of `DDIMScheduler`; its `eta` is that of the run's strength.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sampling) struct Ddim {
    /// How the clean estimate is clipped. The noise estimate is not, so this is not the same as a clipped denoiser.
    pub(in crate::sampling) clip: Clip,
    /// The level each step ends at, that of timestep `t − num_train_timesteps // steps`, where for some step it is not
    /// the level the next one starts at (`linspace` and `trailing`); else empty. The last is the schedule's end.
    pub(in crate::sampling) ends: Vec<f64>,
}

/// `DDIMScheduler` of diffusers, without clipping.
pub(super) fn ddim(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    ddim_with(run, x, &Ddim { clip: Clip::None, ends: vec![] })
}

/// `DDIMScheduler` of diffusers: the noise of a step is `eta` of that of the reverse SDE.
pub(in crate::sampling) fn ddim_with(run: &mut Run<'_>, mut x: Latents, options: &Ddim) -> Result<Latents> {
    let process = run.schedule.process();
    for (i, from, next) in numbered(run.schedule) {
        let to = options.ends.get(i).copied().unwrap_or(next);
        let denoised = run.model.denoise(&x, from)?;
        let up = run.strength.eta * sde_noise(process.lambda(to) - process.lambda(from), to, 1.0);
        let keep = (to * to - up * up).max(0.0).sqrt() / from;
        let clipped = options.clip.apply(denoised.clone());
        let noise = (run.strength.eta > 0.0).then(|| (run.noise)(from, to));
        let mut terms = vec![(keep, &x), (-keep * process.alpha(from), &denoised), (process.alpha(to), &clipped)];
        terms.extend(noise.iter().map(|noise| (up * run.strength.s_noise, noise)));
        x = relabelled(combine(&terms), to, next);
    }
    Ok(x)
}

/// `x` at level `sigma`, as diffusers' unit-variance latents are when they are taken to be at level `known_as`.
pub(super) fn relabelled(x: Latents, sigma: f64, known_as: f64) -> Latents {
    if sigma.total_cmp(&known_as).is_eq() { x } else { x.scaled(known_as.hypot(1.0) / sigma.hypot(1.0)) }
}

/// `variance_type` of `DDPMScheduler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sampling) enum Variance {
    /// `fixed_small` and `fixed_small_log`: of the posterior given the clean latents.
    Small,
    /// `fixed_large`, and what `fixed_large_log` means (where diffusers 0.42.1 takes the root of a negative logarithm):
    /// `1 − alpha` of the step.
    Large,
}

/// `DDPMScheduler` of diffusers, without clipping.
pub(super) fn ddpm(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    ddpm_with(run, x, Variance::Small)
}

/// `DDPMScheduler` of diffusers (Ho et al. 2020, algorithm 2); clip with [`Run::clipped`].
///
/// A run with `Variance::Large` that has timesteps adds noise on its last step too, unless that is timestep 0.
pub(in crate::sampling) fn ddpm_with(run: &mut Run<'_>, mut x: Latents, variance: Variance) -> Result<Latents> {
    let process = run.schedule.process();
    for (i, from, to) in numbered(run.schedule) {
        let denoised = run.model.denoise(&x, from)?;
        let small = sde_noise(process.lambda(to) - process.lambda(from), to, 1.0);
        let keep = (to * to - small * small).max(0.0).sqrt() / from;
        let up = match variance {
            Variance::Small => small,
            Variance::Large if run.schedule.timesteps().is_none_or(|timesteps| timesteps[i] > 0.0) => {
                let ratio = to.hypot(1.0) / from.hypot(1.0);
                ratio * (from * from - to * to).sqrt()
            }
            Variance::Large => 0.0,
        };
        let noise = (up > 0.0).then(|| (run.noise)(from, to));
        let mut terms = vec![(keep, &x), (process.alpha(to) - process.alpha(from) * keep, &denoised)];
        terms.extend(noise.iter().map(|noise| (up * run.strength.s_noise, noise)));
        x = combine(&terms);
    }
    Ok(x)
}

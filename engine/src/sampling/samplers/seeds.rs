//! Exponential solvers that ask several times a step and walk through the noise between: SEEDS (Gonzalez et al. 2023).
use super::{
    Latents, Run,
    dpmpp::{heun, within_flow},
};
use crate::{Result, sampling::latents::combine};

/// `sample_seeds_2` of `ComfyUI`, with `r` 1/2 and its `phi_1`.
pub(super) fn seeds_2(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    two_stages(run, x, 0.5, run.strength.eta, |_| 0.5)
}

/// `sample_exp_heun_2_x0` of `ComfyUI`: Heun's method for exponential integrators, which is SEEDS-2 with `r` 1, its
/// `phi_2` and no noise.
pub(super) fn exp_heun_2_x0(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    two_stages(run, x, 1.0, 0.0, heun)
}

/// `sample_exp_heun_2_x0_sde` of `ComfyUI`.
pub(super) fn exp_heun_2_x0_sde(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    two_stages(run, x, 1.0, run.strength.eta, heun)
}

/// The single-step method of order 2 of Zhang et al. (2023), as stable-diffusion.cpp has it: SEEDS-2 with its `phi_2`
/// and no noise.
pub(super) fn res_2s(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    two_stages(run, x, 0.5, 0.0, heun)
}

/// `sample_seeds_2` of `ComfyUI`: the second estimate is asked after a share `r` of a step, and its difference from the
/// first counts `phi / r`, given the step's length.
fn two_stages(run: &mut Run<'_>, mut x: Latents, r: f64, eta: f64, phi: fn(f64) -> f64) -> Result<Latents> {
    for (from, to) in run.schedule.steps() {
        let first = run.model.denoise(&x, from)?;
        if to <= 0.0 {
            x = run.step(&x, &[(1.0, &first)], from, to, 0.0);
            continue;
        }
        let mut walk = Walk::new(run, from, to, eta);
        let guess = walk.stage(run, &x, &[(1.0, &first)], r);
        let second = run.model.denoise(&guess, walk.level(run, r))?;
        let share = phi(walk.h * (1.0 + eta)) / r;
        x = walk.stage(run, &x, &[(1.0 - share, &first), (share, &second)], 1.0);
    }
    Ok(x)
}

/// `sample_seeds_3` of `ComfyUI`: estimates after 1/3 and 2/3 of a step.
pub(super) fn seeds_3(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    const R: [f64; 2] = [1.0 / 3.0, 2.0 / 3.0];
    let eta = run.strength.eta;
    for (from, to) in run.schedule.steps() {
        let first = run.model.denoise(&x, from)?;
        if to <= 0.0 {
            x = run.step(&x, &[(1.0, &first)], from, to, 0.0);
            continue;
        }
        let mut walk = Walk::new(run, from, to, eta);
        let length = walk.h * (1.0 + eta);
        let guess = walk.stage(run, &x, &[(1.0, &first)], R[0]);
        let second = run.model.denoise(&guess, walk.level(run, R[0]))?;
        let share = R[1] / R[0] * heun(R[1] * length);
        let guess = walk.stage(run, &x, &[(1.0 - share, &first), (share, &second)], R[1]);
        let third = run.model.denoise(&guess, walk.level(run, R[1]))?;
        let share = heun(length) / R[1];
        x = walk.stage(run, &x, &[(1.0 - share, &first), (share, &third)], 1.0);
    }
    Ok(x)
}

/// A step of length `h` in lambda, and the noise of the reverse SDE from its start to its latest stage.
struct Walk {
    from: f64,
    to: f64,
    start: f64, // lambda
    h: f64,
    eta: f64,
    share: f64, // of the step that the noise covers
    noise: Option<Latents>,
}

impl Walk {
    fn new(run: &Run<'_>, from: f64, to: f64, eta: f64) -> Self {
        let process = run.schedule.process();
        let start = within_flow(process, process.lambda(from));
        Self { from, to, start, h: process.lambda(to) - start, eta, share: 0.0, noise: None }
    }

    /// The level at a share `r` of the step.
    fn level(&self, run: &Run<'_>, r: f64) -> f64 {
        match r {
            ..=0.0 => self.from,
            1.0.. => self.to,
            _ => run.schedule.process().sigma(self.start + r * self.h),
        }
    }

    /// Moves `x` from the step's start to a share `r` of it. The noise continues that of the stage before.
    fn stage(&mut self, run: &mut Run<'_>, x: &Latents, estimate: &[(f64, &Latents)], r: f64) -> Latents {
        let (last, to) = (self.level(run, self.share), self.level(run, r));
        if self.eta > 0.0 {
            let (old, new) = (self.share * self.h * self.eta, r * self.h * self.eta);
            let size = |length: f64| (-(-2.0 * length).exp_m1()).sqrt();
            let fresh = (run.noise)(last, to);
            // both of unit variance
            self.noise = Some(match &self.noise {
                Some(noise) => {
                    let kept = (old - new).exp() * size(old) / size(new);
                    combine(&[(kept, noise), (size(new - old) / size(new), &fresh)])
                }
                None => fresh,
            });
            self.share = r;
            return run.step_with(x, estimate, self.from, to, to * size(new), self.noise.as_ref());
        }
        run.step_with(x, estimate, self.from, to, 0.0, None)
    }
}

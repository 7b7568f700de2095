//! PNDM (Liu et al. 2022): Runge–Kutta and Adams–Bashforth methods along noise estimates, even in timesteps.
use super::{Latents, Run, combine, ddim::relabelled, estimates::numbered};
use crate::Result;
use std::collections::VecDeque;

/// The options of `PNDMScheduler`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sampling) struct Pndm {
    /// Whether `prediction_type` is `v_prediction`: past outputs are then combined before they become noise estimates.
    pub(in crate::sampling) velocity: bool,
    /// Of each of the first three steps without `skip_prk_steps`, the levels of its Runge-Kutta stages: those of
    /// timesteps `t − half`, `m` and `m − half`, where `half = num_train_timesteps // steps // 2` and
    /// `m = next t + half`. Empty with `skip_prk_steps`.
    pub(in crate::sampling) runge_kutta: Vec<[f64; 3]>,
    /// The level each step ends at, that of timestep `t − num_train_timesteps // steps`, where for some step it is not
    /// the level the next one starts at (`linspace` and `trailing`); else empty. The last is the schedule's end.
    pub(in crate::sampling) ends: Vec<f64>,
    /// With `skip_prk_steps`, the level of the second timestep `+ num_train_timesteps // steps`, where it is not the
    /// schedule's first.
    pub(in crate::sampling) restart: Option<f64>,
    /// With `skip_prk_steps`, where the run begins in the list of timesteps.
    pub(in crate::sampling) begin: Begin,
}

/// Where a run begins in the list of timesteps of `PNDMScheduler`, which names the second one twice: Heun's method ends
/// there and the next step starts there.
///
/// In image to image diffusers cuts off the start of that list, and still takes the first two that are left for the
/// first step, which then is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sampling) enum Begin {
    /// At the first timestep.
    #[default]
    First,
    /// At the second: the first step ends where it starts.
    Twice,
    /// Later: the first step ends at the second level of the run, and is taken for the third.
    Later,
}

impl Pndm {
    /// What the network is remembered to have said at `sigma`: a noise estimate or `v`.
    fn output(&self, run: &mut Run<'_>, x: &Latents, sigma: f64) -> Result<Latents> {
        let denoised = run.model.denoise(x, sigma)?;
        let length = sigma.hypot(1.0);
        Ok(if self.velocity {
            combine(&[(1.0 / (sigma * length), x), (-length / sigma, &denoised)])
        } else {
            combine(&[(1.0 / sigma, x), (-1.0 / sigma, &denoised)])
        })
    }

    /// `x` moved from one level to another along a sum of outputs.
    fn moved(&self, x: &Latents, outputs: &[(f64, &Latents)], from: f64, to: f64) -> Latents {
        let (length, far) = (from.hypot(1.0), to - from);
        let (own, gain) = if self.velocity { (from / (length * length), 1.0 / length) } else { (0.0, 1.0) };
        let outputs = outputs.iter().map(|(weight, output)| (far * gain * weight, *output));
        combine(&std::iter::once((1.0 + far * own, x)).chain(outputs).collect::<Vec<_>>())
    }

    /// A step of the classical Runge-Kutta method, whose first output is `first`.
    fn runge_kutta(&self, run: &mut Run<'_>, x: &Latents, first: &Latents, levels: [f64; 5]) -> Result<Latents> {
        let [from, early, middle, late, to] = levels;
        let guess = relabelled(self.moved(x, &[(1.0, first)], from, early), early, middle);
        let second = self.output(run, &guess, middle)?;
        let guess = self.moved(x, &[(1.0, &second)], from, middle);
        let third = self.output(run, &guess, middle)?;
        let guess = relabelled(self.moved(x, &[(1.0, &third)], from, late), late, to);
        let fourth = self.output(run, &guess, to)?;
        let (outer, inner) = (1.0 / 6.0, 1.0 / 3.0);
        Ok(self.moved(x, &[(outer, first), (inner, &second), (inner, &third), (outer, &fourth)], from, to))
    }

    /// A step of Heun's method, whose first output is `first`, to the level where the next step starts.
    fn heun(&self, run: &mut Run<'_>, x: &Latents, first: &Latents, end: f64) -> Result<Latents> {
        let level = |i: usize| run.schedule.sigmas()[i.min(run.schedule.len())];
        let (from, to, next) = match self.begin {
            Begin::First => (level(0), level(1), level(1)),
            Begin::Twice => (level(0), level(0), level(1)),
            Begin::Later => (level(0), level(1), level(2)),
        };
        let guess = relabelled(self.moved(x, &[(1.0, first)], from, end), end, to);
        let second = self.output(run, &guess, to)?;
        let restart = self.restart.unwrap_or(from);
        let again = relabelled(x.clone(), from, restart);
        Ok(relabelled(self.moved(&again, &[(0.5, first), (0.5, &second)], restart, to), to, next))
    }
}

/// `PNDMScheduler` of diffusers with `skip_prk_steps`, for networks that predict noise.
pub(super) fn plms(run: &mut Run<'_>, x: Latents) -> Result<Latents> {
    pndm(run, x, &Pndm::default())
}

/// `PNDMScheduler` of diffusers: Adams–Bashforth weights for even timesteps (Liu et al. 2022, equation 12), begun with
/// three Runge-Kutta steps or one of Heun's.
pub(in crate::sampling) fn pndm(run: &mut Run<'_>, mut x: Latents, options: &Pndm) -> Result<Latents> {
    let mut outputs: VecDeque<Latents> = VecDeque::new(); // newest first
    let (heun, skipped) = match options.begin {
        Begin::First => (run.schedule.len() > 1, None),
        Begin::Twice => (true, None),
        Begin::Later => (true, Some(1)), // the step that the first one was taken for
    };
    for (i, from, next) in numbered(run.schedule).filter(|(i, ..)| Some(*i) != skipped) {
        let end = options.ends.get(i).copied().unwrap_or(next);
        outputs.push_front(options.output(run, &x, from)?);
        outputs.truncate(4);
        x = match options.runge_kutta.get(i) {
            Some([early, middle, late]) if next > 0.0 => {
                options.runge_kutta(run, &x, &outputs[0], [from, *early, *middle, *late, next])?
            }
            None if i == 0 && heun => options.heun(run, &x, &outputs[0], end)?,
            _ => {
                let sum: Vec<_> = ADAMS[outputs.len() - 1].iter().copied().zip(&outputs).collect();
                relabelled(options.moved(&x, &sum, from, end), end, next)
            }
        };
    }
    Ok(x)
}

/// The weights of Adams and Bashforth for even steps: of one estimate, two, three and four, newest first.
const ADAMS: [&[f64]; 4] = [
    &[1.0],
    &[1.5, -0.5],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// `IPNDMScheduler` of diffusers, for networks that predict `v`.
///
/// Its levels are `betas / alphas` of the class, 0 last; the first is infinite there, and here any number above 1e8.
/// There the class divides by 1e-8 in place of its `alphas`, and so loses the estimate.
pub(in crate::sampling) fn ipndm(run: &mut Run<'_>, mut x: Latents) -> Result<Latents> {
    let mut estimates: VecDeque<Latents> = VecDeque::new(); // of the noise, newest first
    for (_, from, to) in numbered(run.schedule) {
        let denoised = run.model.denoise(&x, from)?;
        estimates.push_front(combine(&[(1.0 / from, &x), (-1.0 / from, &denoised)]));
        estimates.truncate(4);
        let weights = ADAMS[estimates.len() - 1];
        let gain = if from > 1e8 { 0.0 } else { weights[0] * (1.0 - to / from) };
        let mut terms = vec![(1.0 - weights[0] + weights[0] * to / from, &x), (gain, &denoised)];
        terms.extend(weights[1..].iter().zip(estimates.iter().skip(1)).map(|(w, past)| (w * (to - from), past)));
        x = combine(&terms);
    }
    Ok(x)
}

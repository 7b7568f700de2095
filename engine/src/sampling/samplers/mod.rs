//! How do we go from one noise level to the next? Each sampler is one function, listed once in [`SAMPLERS`].
mod cfg_pp;
pub(super) mod consistency;
pub(super) mod ddim;
pub(super) mod deis;
mod dpm;
pub(super) mod dpm_solver;
mod dpmpp;
mod estimates;
mod euler;
mod ipndm;
mod multistep;
pub(super) mod pndm;
mod res;
mod restart;
pub(super) mod sa_solver;
mod seeds;
mod table;
pub(super) mod unipc;

use super::{Denoiser, Latents, SCHEDULES, Schedule, ScheduleKind, latents::combine};
use crate::{Result, error::unknown};

pub(super) use multistep::lms_after;
pub use table::SAMPLERS;

/// A way to go from noise to latents.
#[derive(Debug)]
pub struct Sampler {
    /// The name used on the command line and in files; that of k-diffusion and `ComfyUI`.
    pub name: &'static str,
    /// The name in stable-diffusion-webui.
    pub label: &'static str,
    /// Other names for it: short names, those of stable-diffusion.cpp and `InvokeAI`.
    pub aliases: &'static [&'static str],
    /// One line for `--help`.
    pub about: &'static str,
    /// The schedule that `automatic` means for it, as in stable-diffusion-webui.
    pub automatic: &'static str,
    /// Whether schedules by name lose their next-to-last level, as in stable-diffusion-webui.
    pub drops_next_to_last: bool,
    /// The fresh noise that it adds.
    pub noise: FreshNoise,
    /// How much of the fresh noise it adds by default: its `eta`; `None` where it has none.
    pub eta: Option<f64>,
    /// Whether it churns: `s_churn`, `s_tmin` and `s_tmax` have an effect.
    pub churns: bool,
    /// Whether it asks for the negative side by itself ([`Denoiser::denoise_both`]), even without guidance.
    pub uses_negative: bool,
    /// What the guidance scale is multiplied by: stable-diffusion-webui does so for one sampler.
    pub guidance: f64,
    /// The class of diffusers that does the same; with `--scheduler model`, its timesteps are used.
    pub class: Option<&'static str>,
    /// What must be set in the class's configuration for it to do the same, as name and value.
    pub class_options: &'static [(&'static str, &'static str)],
    /// The sampler itself.
    pub run: fn(&mut Run<'_>, Latents) -> Result<Latents>,
}

/// Where a sampler's fresh noise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshNoise {
    /// It adds none.
    None,
    /// Each draw continues the generator that drew the first noise.
    Independent,
    /// Increments of one Brownian path over noise levels, so that the noise does not depend on the steps.
    Brownian,
}

impl Sampler {
    /// All names of this sampler.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.label, self.name].into_iter().chain(self.aliases.iter().copied()).chain(self.sole_class())
    }

    /// The class of diffusers, where it needs no options to be this sampler.
    fn sole_class(&self) -> Option<&'static str> {
        self.class.filter(|_| self.class_options.is_empty())
    }

    fn find(name: &str) -> Option<&'static Self> {
        let is = |known: &str| {
            known.eq_ignore_ascii_case(name)
                || known.strip_suffix("Scheduler").is_some_and(|class| class.eq_ignore_ascii_case(name))
        };
        SAMPLERS.iter().find(|sampler| sampler.names().any(is))
    }
}

/// The sampler that `name` (a name, label or alias, in any case) means.
pub fn find_sampler(name: &str) -> Result<&'static Sampler> {
    Sampler::find(name).ok_or_else(|| unknown("sampler", name, SAMPLERS.iter().map(|sampler| sampler.name)))
}

/// The sampler that `name` means, and the schedule where `name` ends in one: the old combined names of
/// stable-diffusion-webui, like `DPM++ 2M Karras` or `k_dpmpp_2m_ka`, and those of `InvokeAI`, like `dpmpp_2m_k`.
///
/// A name that is a sampler's is never split; else the longest sampler's name at its start counts.
pub fn split_combined(name: &str) -> Result<(&'static Sampler, Option<&'static ScheduleKind>)> {
    if let Some(sampler) = Sampler::find(name) {
        return Ok((sampler, None));
    }
    let split = name.match_indices([' ', '_']).rev().find_map(|(i, _)| {
        let (start, end) = (&name[..i], &name[i + 1..]);
        Some((Sampler::find(start)?, Some(schedule_of_suffix(end)?)))
    });
    split.map_or_else(|| find_sampler(name).map(|sampler| (sampler, None)), Ok)
}

/// The schedule that the end of a combined name means: any of its names, or the short ones of the `k_` aliases.
fn schedule_of_suffix(suffix: &str) -> Option<&'static ScheduleKind> {
    const SHORT: [(&str, &str); 4] =
        [("k", "karras"), ("ka", "karras"), ("exp", "exponential"), ("poly", "polyexponential")];
    let short = SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(suffix));
    let name = short.map_or(suffix, |(_, name)| name);
    SCHEDULES.iter().find(|kind| kind.names().any(|n| n.eq_ignore_ascii_case(name)))
}

/// What a sampler may use: the model, the noise levels and fresh noise.
pub struct Run<'a> {
    /// The model.
    pub model: &'a mut dyn Denoiser,
    /// The noise levels.
    pub schedule: &'a Schedule,
    /// Draws unit noise for the interval between two noise levels.
    pub noise: &'a mut dyn FnMut(f64, f64) -> Latents,
    /// How much fresh noise.
    pub strength: Strength,
}

/// How much fresh noise a sampler adds; the names are those of k-diffusion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// Of the noise that a sampler adds by its own formula: 1 is the full amount, 0 is none.
    pub eta: f64,
    /// Noise that is added before a step and taken out by it, over the whole run (Karras et al. 2022, algorithm 2).
    pub s_churn: f64,
    /// The lowest noise level that is churned.
    pub s_tmin: f64,
    /// The highest noise level that is churned; may be infinite.
    pub s_tmax: f64,
    /// What all fresh noise is multiplied by.
    pub s_noise: f64,
}

impl Default for Strength {
    fn default() -> Self {
        Self { eta: 1.0, s_churn: 0.0, s_tmin: 0.0, s_tmax: f64::INFINITY, s_noise: 1.0 }
    }
}

impl Run<'_> {
    /// The step almost every sampler is made of.
    ///
    /// Moves `x` towards `estimate` (weighted estimates of the clean latents; the weights add up to 1), then adds
    /// `up` of fresh noise: `keep·x + (α(to) − α(from)·keep)·estimate + up·s_noise·noise`, where
    /// `keep = sqrt(to² − up²) / from`.
    fn step(&mut self, x: &Latents, estimate: &[(f64, &Latents)], from: f64, to: f64, up: f64) -> Latents {
        let noise = if up > 0.0 { Some((self.noise)(from, to)) } else { None };
        self.step_with(x, estimate, from, to, up, noise.as_ref())
    }

    /// A [`step`](Self::step) with unit `noise` that is already there.
    fn step_with(
        &self,
        x: &Latents,
        estimate: &[(f64, &Latents)],
        from: f64,
        to: f64,
        up: f64,
        noise: Option<&Latents>,
    ) -> Latents {
        let process = self.schedule.process();
        let keep = (to * to - up * up).max(0.0).sqrt() / from;
        let gain = process.alpha(to) - process.alpha(from) * keep;
        let moved = std::iter::once((keep, x)).chain(estimate.iter().map(|(weight, d)| (gain * weight, *d)));
        combine(&moved.chain(noise.map(|noise| (up * self.strength.s_noise, noise))).collect::<Vec<_>>())
    }

    /// The level of the process with the ratio of data to noise that a step to `to` leaves before its fresh noise `up`.
    fn level_below(&self, to: f64, up: f64) -> f64 {
        let process = self.schedule.process();
        process.sigma((process.alpha(to) / (to * to - up * up).max(0.0).sqrt()).ln())
    }

    /// The slope `dx / dsigma = (x − clean) / sigma` of the probability-flow ODE, the same for both processes.
    fn slope(&mut self, x: &Latents, sigma: f64) -> Result<Latents> {
        let denoised = self.model.denoise(x, sigma)?;
        Ok(combine(&[(1.0 / sigma, x), (-1.0 / sigma, &denoised)]))
    }
}

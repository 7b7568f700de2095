//! Turning noise into latents.
//!
//! Four things vary independently, and each has one home:
//!
//! | what | question it answers | file |
//! |---|---|---|
//! | [`Process`] | how was clean data mixed with noise? | `process.rs` |
//! | [`Prediction`] | what does the network's output mean? | `prediction.rs` |
//! | [`Schedule`] | through which noise levels do we go? | `schedules/` |
//! | [`Sampler`] | how do we go from one level to the next? | `samplers/` |
//!
//! They meet in [`Run`], which asks a [`Denoiser`] and knows nothing about graphs or devices. [`ModelScheduler`] is
//! what a model's own `scheduler_config.json` chooses among them; [`NoiseSchedule`] are the levels it was trained on.

mod clip;
mod denoiser;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_convergence;
#[cfg(test)]
mod golden_orders;
#[cfg(test)]
mod golden_samplers;
#[cfg(test)]
mod golden_solvers;
mod latents;
mod model;
mod noise;
mod noise_schedule;
mod prediction;
mod process;
mod resize;
mod samplers;
mod schedules;
#[cfg(test)]
mod tests;

pub use denoiser::Denoiser;
pub use latents::Latents;
pub(crate) use latents::combine;
pub(crate) use model::{CLASSES, SchedulerOptions, Spacing, VarianceType, Word};
pub use model::{ModelScheduler, SchedulerClass};
pub use noise::{
    BrownianNoise, FirstNoise, NoiseSource, PhiloxNoise, RNGS, Rng, RngKind, TorchNoise, Variation, find_rng, slerp,
};
pub use noise_schedule::{BetaSchedule, NoiseSchedule, TerminalSignal};
pub use prediction::Prediction;
pub use process::Process;
pub use resize::Interpolation;
pub use samplers::{FreshNoise, Run, SAMPLERS, Sampler, Strength, find_sampler, split_combined};
pub use schedules::{SCHEDULES, Schedule, ScheduleKind, find_schedule};

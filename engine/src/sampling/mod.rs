//! Turning noise into latents.
//!
//! Four things vary independently, and each has one home:
//!
//! | what | question it answers | file |
//! |---|---|---|
//! | [`Process`] | how was clean data mixed with noise? | `process.rs` |
//! | [`Prediction`] | what does the network's output mean? | `prediction.rs` |
//! | [`Schedule`] | through which noise levels do we go? | `schedules.rs` |
//! | [`Sampler`] | how do we go from one level to the next? | `samplers/` |
//!
//! They meet in [`Run`], which asks a [`Denoiser`] and knows nothing about graphs or devices. [`ModelScheduler`] is
//! what a model's own `scheduler_config.json` chooses among them; [`NoiseSchedule`] are the levels it was trained on.

mod denoiser;
#[cfg(test)]
mod golden;
mod latents;
mod model_schedule;
mod noise;
mod noise_schedule;
mod prediction;
mod process;
mod samplers;
mod schedules;
#[cfg(test)]
mod tests;

pub use denoiser::Denoiser;
pub use latents::Latents;
pub use model_schedule::{FinalSigma, ModelScheduler, SchedulerClass, SigmaCurve, Spacing};
pub use noise::TorchNoise;
pub use noise_schedule::NoiseSchedule;
pub use prediction::Prediction;
pub use process::Process;
pub use samplers::{FreshNoise, Run, SAMPLERS, Sampler, Strength, find_sampler, split_combined};
pub use schedules::{SCHEDULES, Schedule, ScheduleKind, find_schedule};

//! Stable Diffusion inference on ONNX Runtime.
//!
//! A [`Pipeline`] is a loaded model; a [`Request`] says what to draw; a [`Picture`] is the result.
//!
//! ```
//! use petal_engine::{Event, LoadOptions, Pipeline, Request};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("dog.png");
//! let mut pipeline = Pipeline::load(&LoadOptions::default(), |_| {})?;
//! let request = Request { prompt: "a dog in space".into(), seed: 7, steps: Some(4), ..Request::default() };
//! let pictures = pipeline.draw(&request, |event| {
//!     if let Event::Step(step) = event {
//!         eprintln!("step {} of {}", step.step, step.steps);
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! pictures[0].save(&path, true)?;
//! # assert!(path.is_file());
//! # Ok(())
//! # }
//! ```
//!
//! The command-line program `petal` is a thin layer over this crate.
mod conditioning;
mod doctor;
mod error;
mod families;
mod guidance;
mod image;
mod latents_file;
mod models;
mod network;
mod pipeline;
mod preview;
mod prompt;
mod request;
mod runtime;
pub mod sampling;
mod vae;

pub use doctor::{LibraryState, ModelState, examine_library, examine_model};
pub use error::{Error, Result};
pub use image::{Infotext, Picture, Seconds, Thumbnail, read_infotext};
pub use models::{
    Catalogue, CatalogueModel, ModelDefaults, RuntimeWheel, check_writable, data_folder, write_atomically,
    write_new_atomically,
};
pub use pipeline::{AUTOMATIC_SCHEDULE, Event, LoadOptions, MODEL_SCHEDULE, Notice, Pipeline, Step};
pub use request::{LARGEST_SIDE, LONGEST_PROMPT, MOST_PICTURES, MOST_STEPS, Request};
pub use runtime::{Cancel, LibraryOrigin, PROVIDERS, Provider, ProviderChoice};
pub use sampling::{Latents, SAMPLERS, SCHEDULES, Sampler, ScheduleKind, find_sampler, find_schedule};

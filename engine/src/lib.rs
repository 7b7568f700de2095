//! Stable Diffusion inference on ONNX Runtime.
//!
//! A [`Pipeline`] is a loaded model; a [`Request`] says what to draw; a [`Picture`] is the result.
//!
//! ```
//! use petal_engine::{EncodeOptions, Event, LoadOptions, Pipeline, Request};
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
//! pictures[0].save(&path, &EncodeOptions::default())?;
//! # assert!(path.is_file());
//! # Ok(())
//! # }
//! ```
//!
//! The command-line program `petal` is a thin layer over this crate.
mod axis;
mod bitmap;
mod conditioner;
mod conditioning;
mod doctor;
mod drawing;
mod dry_run;
mod editing;
mod error;
mod families;
mod grid;
mod guidance;
mod hub;
mod image;
mod inspect;
mod latents_file;
mod loader;
mod masked;
mod models;
mod network;
mod pipeline;
mod plan;
mod preview;
mod prompt;
mod queue;
mod request;
mod resample;
mod role;
mod runtime;
pub mod sampling;
mod strength;
mod survey;
mod tiles;
mod trace;
mod upscale;
mod upscalers;
mod vae;

pub use axis::{Axis, LONGEST_AXIS};
pub use bitmap::Bitmap;
pub use doctor::{
    GraphPlacement, Hardware, LibraryState, ModelState, PluginState, ProviderShare, Ran, Trial, examine_hardware,
    examine_library, examine_model, examine_placement, try_providers,
};
pub use drawing::{Event, Step};
pub use dry_run::{TokenizedPart, TokenizedText, noise_levels, tokens};
pub use error::{Error, Result};
pub use grid::{Grid, GridCell};
pub use hub::{
    Patience, PullEvent, PullOptions, Pulled, PulledFile, PulledFrom, Token, pull as pull_model, remove as remove_model,
};
pub use image::{
    AnimationFormat, Cell, CellPixels, Comparison, EncodeOptions, FileFormat, FileText, Infotext, Origin, Picture,
    PngRows, Seconds, Sheet, SheetRow, USUAL_QUALITY, encode_bitmap, enlarged_texts, picture_size, read_grid,
    read_infotext, read_texts,
};
pub use inspect::{
    AxisReport, FileReport, GraphReport, Inspected, ModelReport, PartReport, PortReport, Problem, ProviderReport,
    WeightsReport, inspect_model,
};
pub use models::{
    BundleKind, Catalogue, CatalogueModel, ModelDefaults, ModelFile, ModelKind, ModelName, ModelPresence, NewModel,
    Platform, RuntimeBundle, RuntimeWheel, Vetting, add_model, check_writable, data_folder, write_atomically,
    write_atomically_with, write_new_atomically,
};
pub use pipeline::{LoadOptions, Notice, Pipeline};
pub use plan::{AUTOMATIC_SCHEDULE, MODEL_SCHEDULE};
pub use preview::PreviewWith;
pub use prompt::{EMPHASES, Emphasis, EmphasisKind, MOST_CHUNKS, MOST_PARTS, PromptToken, find_emphasis};
pub use queue::{Ended, Fingerprint, Finished, Job, Jobs, LONGEST_JOB_FILE, MOST_JOBS, Report, ReportEntry};
pub use request::{
    Extend, Hires, ImageSource, LARGEST_SIDE, LONGEST_PROMPT, MOST_PICTURES, MOST_STEPS, Refiner, Request, SourceImage,
    Upscale,
};
pub use resample::Filter;
pub use runtime::install::{
    InstallEvent, InstalledPlugin, InstalledRuntime, RuntimeState, install as install_runtime, installed_plugins,
    remove as remove_runtime, states as runtimes,
};
pub use runtime::{Cancel, LibraryOrigin, PROVIDERS, Provider, ProviderChoice};
pub use sampling::{Latents, RNGS, SAMPLERS, SCHEDULES, Sampler, ScheduleKind, find_rng, find_sampler, find_schedule};
pub use strength::{STRENGTH_STEPS, StrengthSteps, find_strength_steps};
pub use trace::{Trace, TraceFiles, TraceWith};
pub use upscale::{MOST_TIMES, TileDone, Tiles, Upscaler};
pub use upscalers::{UPSCALERS, UpscalerKind, find_upscaler};

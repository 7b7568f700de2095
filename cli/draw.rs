//! `petal draw`: from a prompt to a file.
use crate::{
    args::{Draw, Results},
    display::Display,
    output::Output,
    report::{self, Failure, Progress},
    trace::Tracing,
};
use petal_engine::{
    Cancel, EncodeOptions, Event, FileFormat, Latents, LoadOptions, Notice, Picture, Pipeline, Request, USUAL_QUALITY,
};
use serde_json::{Value, json};
use std::{
    io::Read,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

/// How to stop the running picture, once there is one.
static RUNNING: OnceLock<Cancel> = OnceLock::new();

pub(crate) fn run(arguments: &Draw) -> Result<(), Failure> {
    let latents = arguments.latents.as_deref().map(Latents::read).transpose()?;
    let request = Request { latents, ..arguments.request(read_prompt(arguments.prompt())?) };
    draw_all(&request, &arguments.results, &arguments.load.options())
}

/// Draws every picture of a request, one after the other, each into its file.
pub(crate) fn draw_all(request: &Request, results: &Results, options: &LoadOptions) -> Result<(), Failure> {
    request.check()?;
    let output = check_outputs(results, request)?;
    let tracing = Tracing::new(results, &output, request.batch_count)?;
    let mut pipeline = load(options, results.quiet)?;
    let request = pipeline.complete(request)?;
    if !results.no_metadata {
        output.format().check_metadata(&request)?;
    }
    if !results.quiet {
        report::note(&format!("{} on {}, seed {}", pipeline.model(), pipeline.provider(), request.seed));
    }
    for single in request.singles() {
        let mut trace = tracing.as_ref().map(|tracing| tracing.begin(&pipeline)).transpose()?;
        let title = format!("{} on {}", pipeline.model(), pipeline.provider());
        let progress = if results.quiet { Progress::hidden() } else { Progress::new(&title) };
        let display = results.show.and_then(Display::new);
        let picture = draw_one(&mut pipeline, &single, (progress, display), |event| {
            if let Some(trace) = &mut trace {
                trace.hear(event);
            }
        })?;
        let written = save(&picture, &output, results)?;
        // the picture is safe by now, should its trace fail
        let traced = match (&tracing, trace) {
            (Some(tracing), Some(trace)) => tracing.save(trace, &mut pipeline, &picture)?,
            _ => Vec::new(),
        };
        tell(&picture, &pipeline, (written.as_deref(), &traced), results)?;
    }
    Ok(())
}

/// A pipeline that signals stop.
pub(crate) fn load(options: &LoadOptions, quiet: bool) -> Result<Pipeline, Failure> {
    stop_on_signals();
    let pipeline = Pipeline::load(options, |notice| match notice {
        Notice::Installing(what) if !quiet => report::note(&format!("installing {what} with pip (once)")),
        Notice::Skipped(error) => report::warning(error),
        _ => {}
    })?;
    let _ = RUNNING.set(pipeline.cancel_handle()); // set once: there is one pipeline
    Ok(pipeline)
}

/// Fails before any work is done if the results cannot be written.
fn check_outputs(results: &Results, request: &Request) -> Result<Output, Failure> {
    let output = Output::new(results.output.as_deref(), request.batch_count)?;
    if results.json && matches!(output, Output::Stdout) {
        return Err(Failure::usage(
            "`--json` and the picture cannot both go to standard output",
            "name a file with `-o`",
        ));
    }
    if results.quality.is_some() && output.format() != FileFormat::Jpeg {
        return Err(Failure::usage(
            "`--quality` is for JPEG; other formats lose nothing",
            "name a .jpg file with `-o`",
        ));
    }
    if let Some(path) = &results.save_latents {
        Latents::check_target(path)?;
        if request.batch_count > 1 {
            let hint = "draw one picture at a time";
            return Err(Failure::usage("`--save-latents` names one file for several pictures", hint));
        }
    }
    Ok(output)
}

/// The prompt as typed, or from standard input if it is `-`.
pub(crate) fn read_prompt(typed: &str) -> Result<String, Failure> {
    if typed != "-" {
        return Ok(typed.to_owned());
    }
    let limit = petal_engine::LONGEST_PROMPT as u64 + 5; // enough to notice too much, cut anywhere
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("cannot read the prompt: {error}"), "give UTF-8 text"))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
        // too long, and cut within a character; what is wrong is the length
        Err(error) if error.as_bytes().len() as u64 == limit => {
            Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
        }
        Err(_) => Err(Failure::usage("the prompt is not UTF-8", "give UTF-8 text")),
    }
}

/// Draws one picture, and shows how far it is.
pub(crate) fn draw_one(
    pipeline: &mut Pipeline,
    request: &Request,
    (mut progress, mut display): (Progress, Option<Display>),
    mut hear: impl FnMut(&Event<'_>),
) -> Result<Picture, Failure> {
    let mut pictures = pipeline.draw(request, |event| {
        progress.tell(&event);
        hear(&event);
        if let (Some(display), Event::Step(step)) = (&mut display, &event) {
            step.preview().inspect(|preview| progress.aside(|| display.update(preview)));
        }
        ControlFlow::Continue(())
    })?;
    drop(progress);
    let picture = pictures.remove(0); // one request, one picture
    if let Some(display) = &mut display {
        display.finish(&picture.thumbnail(512));
    }
    Ok(picture)
}

/// Writes the picture; where, unless to standard output.
fn save(picture: &Picture, output: &Output, results: &Results) -> Result<Option<PathBuf>, Failure> {
    let options = EncodeOptions { metadata: !results.no_metadata, quality: results.quality.unwrap_or(USUAL_QUALITY) };
    let written = output.write(&picture.request, &picture.encode(output.format(), &options)?)?;
    if let Some(path) = &results.save_latents {
        picture.latents.write(path)?;
    }
    Ok(written)
}

/// Prints where the picture is, and the files of its trace.
fn tell(
    picture: &Picture,
    pipeline: &Pipeline,
    (written, traced): (Option<&Path>, &[PathBuf]),
    results: &Results,
) -> Result<(), Failure> {
    if !results.quiet && !traced.is_empty() {
        let names: Vec<_> = traced.iter().map(|path| path.display().to_string()).collect();
        report::note(&format!("steps in {}", names.join(" and ")));
    }
    match written {
        None => Ok(()),
        Some(path) if results.json => report::line(&describe(picture, pipeline, path, traced).to_string()),
        Some(path) => report::path(path),
    }
}

/// What `--json` says of a picture.
fn describe(picture: &Picture, pipeline: &Pipeline, path: &Path, traced: &[PathBuf]) -> Value {
    let seconds = &picture.seconds;
    let mut told = json!({
        "path": path.to_string_lossy(),
        "seed": picture.request.seed,
        "width": picture.width,
        "height": picture.height,
        "model": picture.model.name,
        "provider": picture.provider,
        "library": pipeline.library().0.to_string_lossy(),
        "request": picture.request,
        "seconds": {
            "load": pipeline.load_seconds(),
            "encode": seconds.encode,
            "denoise": seconds.denoise,
            "decode": seconds.decode,
        },
        "step_seconds": seconds.steps,
    });
    if !traced.is_empty() {
        told["trace"] = traced.iter().map(|path| path.to_string_lossy()).collect();
    }
    told
}

/// Stops the picture at the first signal, the program at the second, or at the first when no picture is running.
fn stop_on_signals() {
    let stop = || match RUNNING.get() {
        Some(cancel) if !cancel.is_cancelled() => cancel.cancel(),
        _ => process::exit(report::CANCELLED.into()),
    };
    let _ = ctrlc::set_handler(stop); // without a handler the system's own still ends the program
}

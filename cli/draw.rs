//! `petal draw`: from a prompt to a file.
use crate::{
    args::{Draw, Results},
    display::Display,
    input,
    output::Output,
    preview::Preview,
    queue,
    report::{self, Failure, Progress, QueueProgress},
    trace::Tracing,
};
use petal_engine::{
    Cancel, EncodeOptions, Event, FileFormat, Latents, LoadOptions, Notice, Picture, Pipeline, Request,
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
    if let Some(file) = &arguments.prompt_file {
        return queue::run(arguments, file);
    }
    let latents = arguments.latents.as_deref().map(Latents::read).transpose()?;
    let typed = arguments.prompt();
    let mut request = Request { latents, ..arguments.request(String::new()) };
    input::read_pictures(&mut request, (typed == "-").then_some("the prompt"))?;
    request.prompt = read_prompt(typed)?;
    draw_all(&request, &arguments.results, &arguments.changes.options(arguments.load.options()))
}

/// Draws every picture of a request, one after the other, each into its file.
pub(crate) fn draw_all(request: &Request, results: &Results, options: &LoadOptions) -> Result<(), Failure> {
    request.check()?;
    let output = check_outputs(results, request.batch_count)?;
    let tracing = Tracing::new(results, &output, request.batch_count)?;
    let mut pipeline = load(options, results.quiet)?;
    let request = pipeline.complete(request)?;
    output.check(&request, results)?;
    if !results.quiet {
        report::note(&format!("{} on {}, seed {}", pipeline.model(), pipeline.provider(), request.seed));
    }
    let mut preview = Preview::new(results, &mut pipeline)?;
    let teller = Teller { loaded: Loaded::of(&pipeline), output, results };
    if request.batch_count > 1 && tracing.is_none() && results.show.is_none() && preview.is_none() {
        return draw_queued(&mut pipeline, &request, &teller);
    }
    for (single, number) in request.singles().zip(1..) {
        let mut trace = tracing.as_ref().map(|tracing| tracing.begin(&pipeline)).transpose()?;
        let title = format!("{} on {}", pipeline.model(), pipeline.provider());
        let progress = if results.quiet { Progress::hidden() } else { Progress::new(&title) };
        let display = results.show.and_then(Display::new);
        let picture = draw_one(&mut pipeline, &single, (progress, display), |event| {
            if let Some(trace) = &mut trace {
                trace.hear(event);
            }
            if let Some(preview) = &mut preview {
                preview.hear(event);
            }
        })?;
        let written = teller.save(number, &picture)?;
        // the picture is safe by now, should its trace fail
        let traced = match (&tracing, trace) {
            (Some(tracing), Some(trace)) => tracing.save(trace, &mut pipeline, &picture)?,
            _ => Vec::new(),
        };
        teller.tell(&picture, written.as_deref(), &traced)?;
    }
    Ok(())
}

/// Draws every picture of a request, and writes each while the next is drawn; the first fault ends it.
fn draw_queued(pipeline: &mut Pipeline, request: &Request, teller: &Teller<'_>) -> Result<(), Failure> {
    let title = format!("{} on {}", pipeline.model(), pipeline.provider());
    let progress = QueueProgress::new(&title, request.batch_count.into(), teller.results.quiet);
    let mut result = Ok(());
    let watch = |_: &u32, event: Event<'_>| {
        progress.tell(&event);
        ControlFlow::Continue(())
    };
    pipeline.draw_queue((1..).zip(request.singles()), watch, |number, picture| {
        result = picture.map_err(Failure::from).and_then(|picture| {
            let written = teller.save(number, &picture)?;
            progress.aside(|| teller.tell(&picture, written.as_deref(), &[]))
        });
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result
}

/// A pipeline that signals stop.
pub(crate) fn load(options: &LoadOptions, quiet: bool) -> Result<Pipeline, Failure> {
    stop_on_signals();
    let pipeline = Pipeline::load(options, |notice| tell_loading(&notice, quiet))?;
    runs(pipeline.cancel_handle());
    Ok(pipeline)
}

/// Says what loading tells of itself.
pub(crate) fn tell_loading(notice: &Notice<'_>, quiet: bool) {
    match notice {
        Notice::Installing(what) if !quiet => report::note(&format!("installing {what} with pip (once)")),
        Notice::Skipped(error) => report::warning(error),
        _ => {}
    }
}

/// From now on a signal stops this work.
pub(crate) fn runs(cancel: Cancel) {
    let _ = RUNNING.set(cancel); // set once: a command loads one model
}

/// Fails before any work is done if the results, so many pictures, cannot be written.
pub(crate) fn check_outputs(results: &Results, pictures: u32) -> Result<Output, Failure> {
    let output = Output::new(results.output.as_deref(), pictures, results.files.format.map(Into::into))?;
    if results.json && matches!(output, Output::Stdout(_)) {
        return Err(Failure::usage(
            "`--json` and the picture cannot both go to standard output",
            "name a file with `-o`",
        ));
    }
    check_quality(results.files.quality, output.format())?;
    if let Some(path) = &results.save_latents {
        Latents::check_target(path)?;
        if pictures > 1 {
            let hint = "draw one picture at a time";
            return Err(Failure::usage("`--save-latents` names one file for several pictures", hint));
        }
    }
    Ok(output)
}

/// Fails if a quality is given for files that lose nothing.
pub(crate) fn check_quality(quality: Option<u8>, format: FileFormat) -> Result<(), Failure> {
    match quality {
        Some(_) if format == FileFormat::Png => Err(Failure::usage(
            "`--quality` is for JPEG and WebP; PNG loses nothing",
            "name a .jpg or .webp file with `-o`, or choose `--format jpg` or `--format webp`",
        )),
        _ => Ok(()),
    }
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

/// How files are written.
pub(crate) fn encode_options(results: &Results) -> EncodeOptions {
    EncodeOptions { metadata: !results.no_metadata, quality: results.files.quality }
}

/// Where the pictures of a request go, and what is told of them.
struct Teller<'a> {
    loaded: Loaded,
    output: Output,
    results: &'a Results,
}

impl Teller<'_> {
    /// Writes the picture; where, unless to standard output.
    fn save(&self, number: u32, picture: &Picture) -> Result<Option<PathBuf>, Failure> {
        let bytes = picture.encode(self.output.format(), &encode_options(self.results))?;
        let written = self.output.write(number, &picture.request, &bytes)?;
        if let Some(path) = &self.results.save_latents {
            picture.latents.write(path)?;
        }
        Ok(written)
    }

    /// Prints where the picture is, and the files of its trace.
    fn tell(&self, picture: &Picture, written: Option<&Path>, traced: &[PathBuf]) -> Result<(), Failure> {
        if !self.results.quiet && !traced.is_empty() {
            let names: Vec<_> = traced.iter().map(|path| path.display().to_string()).collect();
            report::note(&format!("steps in {}", names.join(" and ")));
        }
        match written {
            None => Ok(()),
            Some(path) if self.results.json => {
                let mut told = self.loaded.describe(picture, path);
                if !traced.is_empty() {
                    told["trace"] = traced.iter().map(|path| path.to_string_lossy()).collect();
                }
                report::line(&told.to_string())
            }
            Some(path) => report::path(path),
        }
    }
}

/// What `--json` says of a loaded pipeline.
pub(crate) struct Loaded {
    library: String,
    skipped: Vec<String>,
    seconds: f64,
}

impl Loaded {
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        Self {
            library: pipeline.library().0.to_string_lossy().into_owned(),
            skipped: pipeline.skipped_providers().to_vec(),
            seconds: pipeline.load_seconds(),
        }
    }

    /// What `--json` says of a picture.
    pub(crate) fn describe(&self, picture: &Picture, path: &Path) -> Value {
        let seconds = &picture.seconds;
        json!({
            "path": path.to_string_lossy(),
            "seed": picture.request.seed,
            "width": picture.pixels.width,
            "height": picture.pixels.height,
            "model": picture.model.name,
            "provider": picture.provider,
            "providers_skipped": self.skipped,
            "onnxruntime": picture.runtime,
            "library": self.library,
            "request": picture.request,
            "seconds": {
                "load": self.seconds,
                "encode": seconds.encode,
                "denoise": seconds.denoise,
                "decode": seconds.decode,
                "upscale": seconds.upscale,
            },
            "step_seconds": seconds.steps,
        })
    }
}

/// Stops the picture at the first signal, the program at the second, or at the first when no picture is running.
pub(crate) fn stop_on_signals() {
    let stop = || match RUNNING.get() {
        Some(cancel) if !cancel.is_cancelled() => cancel.cancel(),
        _ => process::exit(report::CANCELLED.into()),
    };
    let _ = ctrlc::set_handler(stop); // without a handler the system's own still ends the program
}

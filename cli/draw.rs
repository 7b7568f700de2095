//! `petal draw`: from a prompt to a file.
use crate::{
    args::Draw,
    display::Display,
    output::Output,
    report::{self, Failure, Progress},
};
use petal_engine::{Cancel, Event, Latents, Notice, Picture, Pipeline, Request};
use serde_json::{Value, json};
use std::{io::Read, ops::ControlFlow, path::Path, process, sync::OnceLock};

/// How to stop the running picture, once there is one.
static RUNNING: OnceLock<Cancel> = OnceLock::new();

pub(crate) fn run(arguments: &Draw) -> Result<(), Failure> {
    let request = read_request(arguments)?;
    request.check()?;
    let output = check_outputs(arguments, &request)?;
    stop_on_signals();
    let mut pipeline = Pipeline::load(&arguments.load.options(), |notice| match notice {
        Notice::Installing(what) if !arguments.quiet => report::note(&format!("installing {what} with pip (once)")),
        Notice::Skipped(error) => report::warning(error),
        _ => {}
    })?;
    let _ = RUNNING.set(pipeline.cancel_handle()); // set once: there is one pipeline
    let request = pipeline.complete(&request)?;
    if !arguments.quiet {
        report::note(&format!("{} on {}, seed {}", pipeline.model(), pipeline.provider(), request.seed));
    }
    for single in request.singles() {
        let picture = draw_one(&mut pipeline, &single, arguments)?;
        save(&picture, &pipeline, &output, arguments)?;
    }
    Ok(())
}

/// Fails before any work is done if the results cannot be written.
fn check_outputs(arguments: &Draw, request: &Request) -> Result<Output, Failure> {
    let output = Output::new(arguments.output.as_deref(), request.batch_count)?;
    if arguments.json && matches!(output, Output::Stdout) {
        return Err(Failure::usage(
            "`--json` and the picture cannot both go to standard output",
            "name a file with `-o`",
        ));
    }
    if let Some(path) = &arguments.save_latents {
        Latents::check_target(path)?;
        if request.batch_count > 1 {
            let hint = "draw one picture at a time";
            return Err(Failure::usage("`--save-latents` names one file for several pictures", hint));
        }
    }
    Ok(output)
}

/// The request that the arguments make, with the prompt and latents that they point to.
fn read_request(arguments: &Draw) -> Result<Request, Failure> {
    let mut prompt = arguments.prompt().to_owned();
    if prompt == "-" {
        let limit = petal_engine::LONGEST_PROMPT as u64 + 5; // enough to notice too much, cut anywhere
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Failure::usage(format!("cannot read the prompt: {error}"), "give UTF-8 text"))?;
        prompt = match String::from_utf8(bytes) {
            Ok(text) => text.trim_end_matches(['\n', '\r']).to_owned(),
            // too long, and cut within a character; what is wrong is the length
            Err(error) if error.as_bytes().len() as u64 == limit => {
                String::from_utf8_lossy(error.as_bytes()).into_owned()
            }
            Err(_) => return Err(Failure::usage("the prompt is not UTF-8", "give UTF-8 text")),
        };
    }
    let latents = arguments.latents.as_deref().map(Latents::read).transpose()?;
    Ok(Request { latents, ..arguments.request(prompt) })
}

fn draw_one(pipeline: &mut Pipeline, request: &Request, arguments: &Draw) -> Result<Picture, Failure> {
    let mut progress =
        if arguments.quiet { Progress::hidden() } else { Progress::new(pipeline.model(), &pipeline.provider()) };
    let mut display = arguments.show.and_then(Display::new);
    let mut pictures = pipeline.draw(request, |event| {
        progress.tell(&event);
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

fn save(picture: &Picture, pipeline: &Pipeline, output: &Output, arguments: &Draw) -> Result<(), Failure> {
    let written = output.write(&picture.request, &picture.to_png(!arguments.no_metadata)?)?;
    if let Some(path) = &arguments.save_latents {
        picture.latents.write(path)?;
    }
    match written {
        None => Ok(()),
        Some(path) if arguments.json => report::line(&describe(picture, pipeline, &path).to_string()),
        Some(path) => report::path(&path),
    }
}

/// What `--json` says of a picture.
fn describe(picture: &Picture, pipeline: &Pipeline, path: &Path) -> Value {
    let seconds = &picture.seconds;
    json!({
        "path": path.to_string_lossy(),
        "seed": picture.request.seed,
        "width": picture.width,
        "height": picture.height,
        "model": picture.model,
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
    })
}

/// Stops the picture at the first signal, the program at the second, or at the first when no picture is running.
fn stop_on_signals() {
    let stop = || match RUNNING.get() {
        Some(cancel) if !cancel.is_cancelled() => cancel.cancel(),
        _ => process::exit(report::CANCELLED.into()),
    };
    let _ = ctrlc::set_handler(stop); // without a handler the system's own still ends the program
}

//! `petal verify`: are a picture's pixels those that its file describes?
use crate::{
    args::Verify,
    draw, input, redraw,
    report::{self, Failure, Progress},
};
use petal_engine::{Comparison, ImageSource, Infotext, LoadOptions, ModelName, Pipeline, Request};
use serde_json::{Value, json};
use std::ops::ControlFlow;

pub(crate) fn run(arguments: &Verify) -> Result<(), Failure> {
    let info = redraw::read(&arguments.image)?;
    let mut request = redraw::request(&info, arguments.latents.as_deref())?;
    let mut pictures =
        Request { init_image: arguments.init_img.clone(), mask: arguments.mask.clone(), ..Request::default() };
    input::read_pictures(&mut pictures, None)?;
    for (name, field, given) in
        [("init-img", &mut request.init_image, &pictures.init_image), ("mask", &mut request.mask, &pictures.mask)]
    {
        let Some(given) = given else { continue };
        let given = given.loaded(&format!("--{name}"))?;
        if let Some(known) = field.as_ref().and_then(ImageSource::sha256).filter(|known| given.sha256() != Some(known))
        {
            let what = format!("the picture of `--{name}` is not the one that was drawn over (SHA-256 {known})");
            return Err(Failure::usage(what, "give the one that was named when the picture was drawn"));
        }
        *field = Some(given);
    }
    request.check()?;
    let options = redraw::options(
        &info,
        LoadOptions { vae: arguments.vae.clone(), ..arguments.load.options() },
        &arguments.image,
    )?;
    redraw::tell_left_out(&info, arguments.quiet);
    let mut pipeline = draw::load(&options, arguments.quiet)?;
    let picture = draw_silently(&mut pipeline, &request, arguments.quiet)?;
    tell_other_model(&info, &picture.model, arguments.quiet);
    let comparison = picture.compare(&arguments.image, info.quality())?;
    if let Some(format) = comparison.lossy.filter(|_| comparison.quality.is_none() && !arguments.quiet) {
        let what = "does not keep pixels exactly, and the file does not say its quality";
        report::note(&format!("{} {what}", format.name()));
    }
    let text = if arguments.json { describe(&comparison, &picture.model).to_string() } else { sentence(&comparison) };
    report::line(&text)?;
    if comparison.is_identical() { Ok(()) } else { Err(Failure::Told) }
}

fn draw_silently(pipeline: &mut Pipeline, request: &Request, quiet: bool) -> Result<petal_engine::Picture, Failure> {
    let mut progress = if quiet {
        Progress::hidden()
    } else {
        Progress::new(&format!("{} on {}", pipeline.model(), pipeline.provider()))
    };
    let mut pictures = pipeline.draw(request, |event| {
        progress.tell(&event);
        ControlFlow::Continue(())
    })?;
    Ok(pictures.remove(0)) // a file's request is one picture
}

/// Says when the file names another network than the one that drew.
fn tell_other_model(info: &Infotext, model: &ModelName, quiet: bool) {
    let (Some(theirs), Some(ours)) = (info.field("Model hash"), &model.hash) else { return };
    if !quiet && info.whole.is_some() && !ours.starts_with(theirs) {
        report::note(&format!("the file was drawn by a network whose hash begins with {theirs}, this one is {ours}"));
    }
}

/// The result for people.
fn sentence(comparison: &Comparison) -> String {
    let Comparison { file, picture, different, largest, lossy, quality } = comparison;
    let pixels = u64::from(file.0) * u64::from(file.1);
    let way = lossy.zip(*quality);
    let after =
        way.map(|(format, quality)| format!(" after {} of quality {quality}", format.name())).unwrap_or_default();
    if comparison.is_identical() {
        format!("identical{after}")
    } else if file != picture {
        format!("different: {}x{} in the file, {}x{} drawn again", file.0, file.1, picture.0, picture.1)
    } else {
        format!("different{after}: {different} of {pixels} pixels, by at most {largest} of 255")
    }
}

/// The result as JSON.
fn describe(comparison: &Comparison, model: &ModelName) -> Value {
    let Comparison { file, picture, different, largest, lossy, quality } = comparison;
    json!({
        "identical": comparison.is_identical(),
        "width": file.0,
        "height": file.1,
        "redrawn_width": picture.0,
        "redrawn_height": picture.1,
        "pixels": u64::from(file.0) * u64::from(file.1),
        "different": different,
        "largest": largest,
        "lossy": lossy.is_some(),
        "quality": quality,
        "model": model.name,
    })
}

//! Graphs that are not what they should be are refused before the first step, by name.
use super::{
    reference::json,
    support::{copy_folder, library, model, root},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use petal_engine::{Error, Event, ImageSource, LoadOptions, Pipeline, Request};
use serde_json::Value;
use std::{
    fs,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Written by `scripts/wrong_exports.py`, which says what is wrong with each.
#[test]
fn wrong_exports_are_refused_before_the_first_step() {
    let index = json("tests/models/wrong/wrong.json");
    let exports = index["exports"].as_array().unwrap();
    assert!(exports.len() >= 60);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model");
    copy_folder(Path::new(&model("sd1")), &copy);
    let mut faults = Vec::new();
    for export in exports {
        let component = export["component"].as_str().unwrap();
        let path = copy.join(component).join("model.onnx");
        let good = fs::read(&path).unwrap();
        fs::write(&path, BASE64_STANDARD.decode(export["graph"].as_str().unwrap()).unwrap()).unwrap();
        let answer = catch_unwind(AssertUnwindSafe(|| try_to_draw(&copy, component == "vae_encoder")));
        fs::write(&path, good).unwrap();
        if let Err(fault) = judge(export, answer.unwrap_or_else(|_| Err(("a panic".into(), None)))) {
            faults.push(format!("{component}, {}: {fault}", export["wrong"].as_str().unwrap()));
        }
    }
    let count = format!("{} of {} wrong exports", faults.len(), exports.len());
    assert!(faults.is_empty(), "{count}:\n{}", faults.join("\n"));
    try_to_draw(&copy, true).map_err(|(state, _)| state).unwrap_or_else(|state| panic!("the model itself: {state}"));
}

/// How far it came and what stopped it.
type Refusal = (String, Option<Error>);

/// Draws two steps, over a picture if the encoder is needed.
fn try_to_draw(copy: &Path, over: bool) -> Result<(), Refusal> {
    let options = LoadOptions {
        model: Some(copy.display().to_string()),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    let mut pipeline = Pipeline::load(&options, |_| {}).map_err(|error| ("loading".into(), Some(error)))?;
    let request = Request {
        prompt: "a dog".into(),
        steps: Some(2),
        width: Some(64),
        height: Some(64),
        init_image: over.then(|| ImageSource::File(root().join("tests/images/img2img/init.png"))),
        ..Request::default()
    };
    let mut steps = 0;
    let drawn = pipeline.draw(&request, |event| {
        steps += usize::from(matches!(event, Event::Step(_)));
        ControlFlow::Continue(())
    });
    drawn.map(|_| ()).map_err(|error| (format!("drawing, {steps} steps"), Some(error)))
}

/// Whether the refusal is a fault of the model, came in time, and names what is wrong and what to do.
fn judge(export: &Value, answer: Result<(), Refusal>) -> Result<(), String> {
    let (state, error) = match answer {
        Ok(()) => return Err("a picture was drawn".into()),
        Err((state, None)) => return Err(state),
        Err((state, Some(error))) => (state, error),
    };
    let text = error.to_string();
    let told = format!("{state}: {}", error.with_causes());
    let names: Vec<_> = export["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    if !matches!(error, Error::Model { .. }) {
        return Err(format!("not called a fault of the model: {told}"));
    }
    if !names.iter().any(|name| text.contains(name)) {
        return Err(format!("{} is not named: {told}", names.join(" or ")));
    }
    if !["loading", "drawing, 0 steps"].contains(&&*state) {
        return Err(format!("too late: {told}"));
    }
    match error.hint() {
        Some(hint) if hint.starts_with(|c: char| c.is_ascii_lowercase()) => Ok(()),
        hint => Err(format!("hint {hint:?}: {told}")),
    }
}

//! Pictures compared with those that diffusers draws from the same weights.
use super::support::{copy_folder, library, model, read_png, root};
use petal_engine::{Latents, LoadOptions, Pipeline, Request};
use serde_json::Value;
use std::{fs, ops::ControlFlow, path::Path};

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// The tiny model of a reference picture, with the scheduler that drew it as its own.
fn load_as(reference: &Value, folder: &Path) -> Pipeline {
    let copy = folder.join("model");
    copy_folder(Path::new(&model(reference["model"].as_str().unwrap())), &copy);
    fs::write(copy.join("scheduler/scheduler_config.json"), reference["config"].to_string()).unwrap();
    let options = LoadOptions {
        model: Some(copy.display().to_string()),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    Pipeline::load(&options, |_| {}).unwrap()
}

/// The request of a reference picture; what its entry does not say is common to all.
fn request_of(common: &Value, reference: &Value) -> Request {
    let say = |name: &str| reference.get(name).unwrap_or(&common[name]);
    let number = |name: &str| say(name).as_u64().map(|number| number as u32);
    let latents = reference["latents"].as_str();
    Request {
        prompt: common["prompt"].as_str().unwrap().into(),
        negative_prompt: common["negative_prompt"].as_str().unwrap().into(),
        width: number("width"),
        height: number("height"),
        cfg_scale: say("guidance_scale").as_f64(),
        steps: number("steps"),
        seed: say("seed").as_u64().unwrap_or_default(),
        clip_skip: number("clip_skip").unwrap_or(1),
        latents: latents.map(|file| Latents::read(root().join("tests/images").join(file)).unwrap()),
        ..Request::default()
    }
}

/// Draws every reference picture of an index; `topic` is its name in the table of comparisons.
fn compare(topic: &str, folder: &str, index: &Value, lists: &[&str]) {
    let references: Vec<&Value> = lists.iter().flat_map(|list| index[*list].as_array().unwrap()).collect();
    assert!(!references.is_empty());
    let mut faults = Vec::new();
    for reference in references {
        let file = reference["file"].as_str().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let picture = load_as(reference, copy.path())
            .draw(&request_of(&index["request"], reference), |_| ControlFlow::Continue(()))
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .remove(0);
        let (width, height, pixels) = read_png(&root().join(folder).join(file));
        assert_eq!((picture.width, picture.height), (width, height), "{file}");
        let worst = pixels.iter().zip(&picture.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("fidelity: {topic} {} {worst}", file.trim_end_matches(".png"));
        if worst > 2 {
            faults.push(format!("{file}: {worst}/255"));
        }
    }
    assert!(faults.is_empty(), "further than 2/255 from diffusers:\n{}", faults.join("\n"));
}

/// With `--scheduler model`, a folder draws what diffusers draws from the same weights and noise.
#[test]
fn pictures_equal_those_of_diffusers() {
    compare("pictures", "tests/images", &json("tests/images/index.json"), &["pictures", "skipping"]);
}

/// Every sampler of diffusers, from a seed alone: first noise and the noise of the steps come from the same generator.
#[test]
fn every_sampler_of_diffusers_draws_its_picture_from_a_seed() {
    compare("seeds", "tests/images/seeds", &json("tests/images/seeds/seeds.json"), &["pictures"]);
}

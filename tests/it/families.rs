//! Pictures of every family compared with those that diffusers draws from the same weights.
use super::{
    inpaint::worst_under,
    reference::json,
    support::{copy_folder, library, model, read_png, root},
};
use petal_engine::{Bitmap, ImageSource, LoadOptions, Pipeline, Refiner, Request};
use serde_json::Value;
use std::{fs, ops::ControlFlow, path::Path};

const FOLDER: &str = "tests/images/families";

/// The tiny model of a reference picture, with the scheduler that drew it as its own, and without the parts that it was
/// drawn without.
fn load(reference: &Value, folder: &Path) -> Pipeline {
    let copy = folder.join("model");
    copy_folder(Path::new(&model(reference["model"].as_str().unwrap())), &copy);
    fs::write(copy.join("scheduler/scheduler_config.json"), reference["config"].to_string()).unwrap();
    for part in reference["without"].as_array().into_iter().flatten() {
        fs::remove_dir_all(copy.join(part.as_str().unwrap())).unwrap();
    }
    let options = LoadOptions {
        model: Some(copy.display().to_string()),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    Pipeline::load(&options, |_| {}).unwrap_or_else(|error| panic!("{}: {error}", reference["file"]))
}

/// The request of a reference picture, whose entry has the names of diffusers' arguments; what it does not say is common
/// to all.
fn request_of(common: &Value, reference: &Value) -> Request {
    let say = |name: &str| reference.get(name).unwrap_or(&common[name]);
    let number = |name: &str| say(name).as_u64().map(|number| number as u32);
    let picture = |name: &str| say(name).as_str().map(|file| ImageSource::File(root().join(FOLDER).join(file)));
    // height before width, top before left there
    let pair = |name: &str| say(name).as_array().map(|pair| [1, 0].map(|i| pair[i].as_u64().unwrap() as u32));
    let is_taught = ["Flux", "LatentConsistency"].iter().any(|class| say("class").as_str().unwrap().starts_with(class));
    let (cfg_scale, guidance) = match say("guidance_scale").as_f64() {
        scale if is_taught => (say("true_cfg_scale").as_f64(), scale),
        scale => (scale, None),
    };
    let mask = picture("mask_image");
    Request {
        prompt: say("prompt").as_str().unwrap().into(),
        negative_prompt: say("negative_prompt").as_str().unwrap_or_default().into(),
        width: number("width"),
        height: number("height"),
        steps: number("steps"),
        seed: say("seed").as_u64().unwrap(),
        cfg_scale,
        guidance,
        clip_skip: number("clip_skip").unwrap_or(1),
        mask_blur: if mask.is_some() { 0.0 } else { Request::default().mask_blur },
        init_image: picture("init_image"),
        mask,
        strength: say("strength").as_f64(),
        original_size: pair("original_size"),
        crop: pair("crops_coords_top_left"),
        target_size: pair("target_size"),
        aesthetic_score: say("aesthetic_score").as_f64(),
        negative_aesthetic_score: say("negative_aesthetic_score").as_f64(),
        refiner: say("refiner")["model"]
            .as_str()
            .map(|name| Refiner { model: model(name), switch_at: say("denoising_end").as_f64().unwrap() }),
        ..Request::default()
    }
}

/// A model by its folder draws what diffusers draws from the same weights and seed: text to image, image to image,
/// inpainting.
#[test]
fn pictures_of_every_family_equal_those_of_diffusers() {
    let index = json(&format!("{FOLDER}/index.json"));
    let references = index["pictures"].as_array().unwrap();
    let wanted = std::env::var("PETAL_FAMILY").unwrap_or_default();
    let mut faults = Vec::new();
    for reference in references.iter().filter(|each| each["file"].as_str().unwrap().contains(&wanted)) {
        let file = reference["file"].as_str().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let drawn =
            load(reference, copy.path()).draw(&request_of(&index["request"], reference), |_| ControlFlow::Continue(()));
        let picture = match drawn {
            Ok(mut pictures) => pictures.remove(0),
            Err(error) => {
                faults.push(format!("{file}: {error}"));
                continue;
            }
        };
        let read = |file: &str| {
            let (width, height, rgb) = read_png(&root().join(FOLDER).join(file));
            Bitmap::opaque(width, height, rgb)
        };
        let wanted = read(file);
        assert_eq!(picture.pixels.size(), wanted.size(), "{file}");
        let mask = reference["mask_image"].as_str().map(|mask| read(mask).rgb);
        let before = reference["init_image"].as_str().map_or_else(|| wanted.clone(), read);
        let worst = worst_under(mask.as_deref(), &picture.pixels, &before, &wanted, file);
        println!("fidelity: families {} {worst}", file.trim_end_matches(".png"));
        if worst > 2 {
            faults.push(format!("{file}: {worst}/255"));
        }
    }
    assert!(faults.is_empty(), "further than 2/255 from diffusers:\n{}", faults.join("\n"));
}

//! Pictures compared with those that diffusers draws from the same weights.
use super::support::{copy_folder, library, model, read_png, root};
use petal_engine::{Bitmap, Filter, ImageSource, Latents, LoadOptions, Pipeline, Request};
use serde_json::Value;
use std::{fs, ops::ControlFlow, path::Path};

pub(crate) fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// The tiny model of a reference picture, with the scheduler that drew it as its own.
pub(crate) fn load_as(reference: &Value, folder: &Path) -> Pipeline {
    let copy = folder.join("model");
    copy_folder(Path::new(&model(reference["model"].as_str().unwrap())), &copy);
    fs::write(copy.join("scheduler/scheduler_config.json"), reference["config"].to_string()).unwrap();
    if let Some(encoder) = reference["encoder"].as_str() {
        let encoder = root().join("tests/images/img2img").join(encoder);
        fs::copy(encoder, copy.join("vae_encoder/model.onnx")).unwrap();
    }
    let options = LoadOptions {
        model: Some(copy.display().to_string()),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    Pipeline::load(&options, |_| {}).unwrap()
}

/// The request of a reference picture; what its entry does not say is common to all.
pub(crate) fn request_of(folder: &Path, common: &Value, reference: &Value) -> Request {
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
        latents: latents.map(|file| Latents::read(folder.join(file)).unwrap()),
        init_image: say("init_image").as_str().map(|file| ImageSource::File(folder.join(file))),
        strength: say("strength").as_f64(),
        vae: say("vae").as_str().map(Into::into),
        hires: serde_json::from_value(say("hires").clone()).unwrap(),
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
            .draw(&request_of(&root().join(folder), &index["request"], reference), |_| ControlFlow::Continue(()))
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .remove(0);
        let (width, height, pixels) = read_png(&root().join(folder).join(file));
        assert_eq!(picture.pixels.size(), (width, height), "{file}");
        let worst = pixels.iter().zip(&picture.pixels.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
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

/// With `--vae fast`, a tiny autoencoder decodes as diffusers' `AutoencoderTiny` does.
#[test]
fn tiny_autoencoders_decode_as_in_diffusers() {
    compare("tiny", "tests/images/tiny", &json("tests/images/tiny/index.json"), &["pictures"]);
}

/// Every sampler of diffusers, from a seed alone: first noise and the noise of the steps come from the same generator.
#[test]
fn every_sampler_of_diffusers_draws_its_picture_from_a_seed() {
    compare("seeds", "tests/images/seeds", &json("tests/images/seeds/seeds.json"), &["pictures"]);
}

/// Image to image from a seed alone, for every sampler of diffusers: what the autoencoder draws, the first noise and the
/// noise of the steps come from the same generator, and the same steps are left out.
#[test]
fn pictures_drawn_over_another_equal_those_of_diffusers() {
    compare("img2img", "tests/images/img2img", &json("tests/images/img2img/img2img.json"), &["pictures"]);
}

/// A second pass from a seed alone: what is enlarged, the noise of the larger size and the steps are those of the same
/// pipelines of diffusers, put together as stable-diffusion-webui does.
#[test]
fn pictures_drawn_twice_equal_those_of_diffusers() {
    compare("hires", "tests/images/hires", &json("tests/images/hires/hires.json"), &["pictures"]);
}

/// Pixels in other sizes are Pillow's, up to rounding, also where hard edges are cut off between rows and columns.
#[test]
fn pixels_in_other_sizes_are_those_of_pillow() {
    let golden = &json("tests/golden/resize.json")["pixels"];
    let values = |value: &Value| -> Vec<u8> {
        value.as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as u8).collect()
    };
    let rgb = values(&golden["values"]).into_iter().flat_map(|value| [value; 3]).collect();
    let picture = Bitmap::opaque(6, 5, rgb);
    let results = golden["results"].as_array().unwrap();
    assert_eq!(results.len(), 18);
    for case in results {
        let filter = match case["filter"].as_str().unwrap() {
            "BILINEAR" => Filter::Bilinear,
            "BICUBIC" => Filter::Bicubic,
            _ => Filter::Lanczos,
        };
        let [width, height] = [0, 1].map(|axis| case["size"][axis].as_u64().unwrap() as u32);
        let resized = picture.resized(width, height, filter).rgb;
        let wanted = values(&case["values"]);
        assert_eq!(resized.len(), wanted.len() * 3);
        let worst = wanted.iter().enumerate().map(|(at, value)| value.abs_diff(resized[at * 3])).max().unwrap();
        println!("fidelity: pixels {filter:?}-{width}x{height} {worst}");
        assert_eq!(worst, 0, "{case}");
    }
    let golden = &golden["transparent"];
    let of = |size: (u32, u32), rgba: &[u8]| Bitmap {
        alpha: Some(rgba.iter().skip(3).step_by(4).copied().collect()),
        ..Bitmap::opaque(size.0, size.1, rgba.chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect())
    };
    let picture = of((23, 17), &values(&golden["values"]));
    let results = golden["results"].as_array().unwrap();
    assert_eq!(results.len(), 16);
    for case in results {
        let filter = match case["filter"].as_str().unwrap() {
            "NEAREST" => Filter::Nearest,
            "BILINEAR" => Filter::Bilinear,
            "BICUBIC" => Filter::Bicubic,
            _ => Filter::Lanczos,
        };
        let [width, height] = [0, 1].map(|axis| case["size"][axis].as_u64().unwrap() as u32);
        assert!(
            picture.resized(width, height, filter) == of((width, height), &values(&case["values"])),
            "{filter:?} {width}x{height}"
        );
        println!("fidelity: pixels {filter:?}-transparent-{width}x{height} 0");
    }
}

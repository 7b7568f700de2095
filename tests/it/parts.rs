//! Parts of models that lie elsewhere, and what only some kinds of models take.
use super::support::{copy_folder, library, model, petal, root};
use petal_engine::{Bitmap, EncodeOptions, Error, FileFormat, ImageSource, LoadOptions, Pipeline, Refiner, Request};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{fs, ops::ControlFlow, path::Path};

fn options(name: &str) -> LoadOptions {
    LoadOptions { model: Some(model(name)), library: Some(library().into()), ..LoadOptions::default() }
}

fn draw_with(options: &LoadOptions, request: &Request) -> petal_engine::Result<Bitmap> {
    let request = Request { steps: Some(2), width: Some(32), height: Some(32), seed: 7, ..request.clone() };
    Ok(Pipeline::load(options, |_| {})?.draw(&request, |_| ControlFlow::Continue(()))?.remove(0).pixels)
}

fn draw(name: &str, request: &Request) -> petal_engine::Result<Bitmap> {
    draw_with(&options(name), request)
}

fn dog() -> Request {
    Request { prompt: "a dog in space".into(), negative_prompt: "blurry".into(), ..Request::default() }
}

/// A copy of a tiny model without some of its folders.
fn without(name: &str, folders: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(Path::new(&model(name)), copy.path());
    for folder in folders {
        fs::remove_dir_all(copy.path().join(folder)).unwrap();
    }
    copy
}

#[test]
fn an_autoencoder_may_lie_elsewhere() {
    let rest = without("sd1", &["vae_decoder", "vae_encoder"]);
    let of = |vae: &str| LoadOptions {
        model: Some(rest.path().display().to_string()),
        vae: Some(root().join("tests/models").join(vae)),
        ..options("sd1")
    };
    let whole = draw("sd1", &dog()).unwrap();
    for place in ["sd1", "sd1/vae_decoder", "sd1/vae_decoder/model.onnx"] {
        assert_eq!(draw_with(&of(place), &dog()).unwrap(), whole, "{place}");
    }
    assert_ne!(draw_with(&of("sd2-v"), &dog()).unwrap(), whole);
    let error = draw_with(&of("sd1/unet"), &dog()).unwrap_err();
    assert!(error.to_string().contains("there is no `vae_decoder/model.onnx`"), "{error}");
    let error = draw_with(&of("sd3"), &dog()).unwrap_err();
    assert!(error.to_string().contains("channels"), "{error}");
}

#[test]
fn text_encoders_may_lie_elsewhere() {
    let whole = draw("sd1", &dog()).unwrap();
    let rest = without("sd1", &["text_encoder"]);
    let of = |name: &str, place: &Path| LoadOptions {
        model: Some(rest.path().display().to_string()),
        text_encoder: Some(place.into()),
        ..options(name)
    };
    let encoder = root().join("tests/models/sd1");
    for place in ["", "text_encoder", "text_encoder/model.onnx"] {
        assert_eq!(draw_with(&of("sd1", &encoder.join(place)), &dog()).unwrap(), whole, "{place}");
    }
    assert_ne!(draw_with(&of("sd1", &root().join("tests/models/sd2-v")), &dog()).unwrap(), whole);
    // one of two, by the name of its folder
    let second = LoadOptions { text_encoder: Some(without("sdxl", &["text_encoder"]).keep()), ..options("sdxl") };
    assert_eq!(draw_with(&second, &dog()).unwrap(), draw("sdxl", &dog()).unwrap());
    fs::remove_dir_all(second.text_encoder.unwrap()).unwrap();
}

/// SD 3 draws without T5, and with one that is added.
#[test]
fn t5_may_lie_elsewhere() {
    let whole = draw("sd3", &dog()).unwrap();
    let rest = without("sd3", &["text_encoder_3", "tokenizer_3"]);
    let added = without("sd3", &["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"]);
    let alone = LoadOptions { model: Some(rest.path().display().to_string()), ..options("sd3") };
    assert_ne!(draw_with(&alone, &dog()).unwrap(), whole);
    let joined = LoadOptions { text_encoder: Some(added.path().into()), ..alone };
    assert_eq!(draw_with(&joined, &dog()).unwrap(), whole);
    // the folder of the graph alone, its tokenizer in the model
    let with_tokenizer = without("sd3", &["text_encoder_3"]);
    let joined = LoadOptions {
        model: Some(with_tokenizer.path().display().to_string()),
        text_encoder: Some(added.path().join("text_encoder_3")),
        ..options("sd3")
    };
    assert_eq!(draw_with(&joined, &dog()).unwrap(), whole);
}

/// A queue and a grid go on where they stopped only with the same parts.
#[test]
fn parts_from_elsewhere_are_part_of_what_made_a_picture() {
    let request = dog();
    let finger = |options: &LoadOptions| {
        let pipeline = Pipeline::load(options, |_| {}).unwrap();
        pipeline.fingerprint(FileFormat::Png, &EncodeOptions::default()).hash(&pipeline.complete(&request).unwrap())
    };
    let other = root().join("tests/models/sd2-v");
    let plain = finger(&options("sd1"));
    assert_ne!(finger(&LoadOptions { vae: Some(other.clone()), ..options("sd1") }), plain);
    assert_ne!(finger(&LoadOptions { text_encoder: Some(other), ..options("sd1") }), plain);
    assert_eq!(finger(&options("sd1")), plain);
}

#[test]
fn a_picture_says_that_a_part_came_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| petal(folder.path()).args(arguments).output().unwrap();
    let (sd1, sd2) = (model("sd1"), model("sd2-v"));
    let drawn = run(&["a dog", "--steps", "2", "-m", &sd1, "--vae", &sd2, "-q", "-o", "a.png"]);
    assert!(drawn.status.success());
    let told = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let verified = run(&["verify", "a.png", "-m", &sd1]);
    assert!(!verified.status.success() && told(&verified).contains("a part from `sd2-v`: name it with `--vae DIR`"));
    assert!(run(&["verify", "a.png", "-m", &sd1, "--vae", &sd2]).status.success());
    assert!(String::from_utf8_lossy(&run(&["inspect", "a.png"]).stdout).contains("sd2-v"));
}

#[test]
fn refiners_are_of_the_kind_of_the_model() {
    let with = |name: &str, refiner: &str| Request {
        refiner: Some(Refiner { model: model(refiner), switch_at: 0.5 }),
        steps: Some(4),
        ..if name == "sdxl" { dog() } else { Request { prompt: "a dog".into(), ..Request::default() } }
    };
    let plain = draw("sdxl", &dog()).unwrap();
    let refined = draw("sdxl", &with("sdxl", "sdxl-refiner")).unwrap();
    assert_ne!(refined, plain);
    let scored = Request { aesthetic_score: Some(9.0), ..with("sdxl", "sdxl-refiner") };
    assert_ne!(draw("sdxl", &scored).unwrap(), refined);
    let scored = Request { aesthetic_score: Some(9.0), ..with("sdxl", "sdxl") };
    let guided = Request { guidance: Some(2.0), ..with("sdxl", "sdxl-refiner") };
    for untaken in [scored, guided] {
        assert!(draw("sdxl", &untaken).unwrap_err().to_string().contains("neither the model nor its refiner takes"));
    }
    for (name, refiner) in [("sd1", "sd1-inpaint"), ("sd1", "sd1-lcm"), ("sd1-lcm", "sd1"), ("sdxl", "sd1")] {
        let error = draw(name, &with(name, refiner)).unwrap_err();
        assert!(error.to_string().contains("are of different kinds"), "{name} {refiner}: {error}");
    }
}

/// The least strength at which a latent consistency model takes its steps.
#[test]
fn a_strength_that_leaves_too_few_steps_is_named() {
    let picture = ImageSource::File(root().join("tests/images/families/init.png"));
    let request = Request { init_image: Some(picture), strength: Some(0.01), ..dog() };
    let error = draw("sd1-lcm", &request).unwrap_err().to_string();
    assert_eq!(error, "a strength of 0.01 leaves 0 steps of this model, not 2");
}

#[test]
fn petal_takes_parts_from_elsewhere() {
    let rest = without("sd1", &["vae_decoder", "vae_encoder", "text_encoder"]);
    let folder = tempfile::tempdir().unwrap();
    let draw = |more: &[&str]| {
        let file = folder.path().join("a.png");
        let mut command = petal(folder.path());
        command.args(["a dog", "--steps", "2", "-W", "32", "-H", "32", "-q", "-o"]);
        let output = command.arg(&file).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        super::support::read_png(&file)
    };
    let elsewhere = model("sd1");
    let rest = rest.path().display().to_string();
    assert_eq!(draw(&["-m", &rest, "--vae", &elsewhere, "--text-encoder", &elsewhere]), draw(&["-m", &elsewhere]));
}

#[test]
fn every_field_for_some_kinds_of_models_has_an_effect() {
    let sdxl = draw("sdxl", &dog()).unwrap();
    for request in [
        Request { original_size: Some([640, 480]), ..dog() },
        Request { crop: Some([64, 0]), ..dog() },
        Request { crop: Some([0, 64]), ..dog() },
        Request { target_size: Some([640, 480]), ..dog() },
    ] {
        assert_ne!(draw("sdxl", &request).unwrap(), sdxl, "{request:?}");
    }
    // SDXL takes the last state but one by itself
    assert_eq!(draw("sdxl", &Request { clip_skip: 2, ..dog() }).unwrap(), sdxl);
    let flux = draw("flux-dev", &dog()).unwrap();
    assert_ne!(draw("flux-dev", &Request { guidance: Some(8.0), ..dog() }).unwrap(), flux);
    assert_ne!(draw("flux-dev", &Request { cfg_scale: Some(3.0), ..dog() }).unwrap(), flux);
    assert_eq!(draw("flux-dev", &Request { negative_prompt: "x".into(), ..dog() }).unwrap(), flux);
}

#[test]
fn what_a_network_does_not_take_is_refused() {
    for (name, request, words) in [
        ("sd1", Request { guidance: Some(3.5), ..dog() }, "guidance that a network was taught"),
        ("flux-schnell", Request { guidance: Some(3.5), ..dog() }, "guidance that a network was taught"),
        ("sd1", Request { crop: Some([0, 0]), ..dog() }, "a crop"),
        ("sd3", Request { original_size: Some([64, 64]), ..dog() }, "an original size"),
        ("sdxl", Request { aesthetic_score: Some(6.0), ..dog() }, "an aesthetic score"),
        ("sdxl", Request { clip_skip: 9, ..dog() }, "clip skip is 9"),
        ("flux-dev", Request { clip_skip: 2, ..dog() }, "a clip skip is given, but FLUX.1 takes no state"),
    ] {
        let error = draw(name, &request).unwrap_err();
        assert!(matches!(error, Error::Request { .. }) && error.to_string().contains(words), "{name}: {error}");
        assert!(error.hint().is_some());
    }
}

/// Sides are multiples of 8 for a UNet's latents, of 16 where a transformer takes two by two of them.
#[test]
fn sizes_suit_the_network() {
    // the tiny autoencoders make 2 pixels of a latent
    for (name, width, grid) in [("sdxl", 34, None), ("sd3", 34, Some(4)), ("flux-dev", 38, Some(4))] {
        let pipeline = Pipeline::load(&options(name), |_| {}).unwrap();
        let answer = pipeline.complete(&Request { width: Some(width), height: Some(32), ..dog() });
        match grid {
            None => assert!(answer.is_ok(), "{name}"),
            Some(grid) => {
                let error = answer.unwrap_err().to_string();
                assert!(error.contains(&format!("width is {width}, which is not a multiple of {grid}")), "{error}");
            }
        }
    }
}

/// Texts of a transformer are not filled up: each side of guidance is as long as its own words.
#[test]
fn long_prompts_are_drawn_by_every_family() {
    let long = "a dog in space, a cat on the moon, the quick brown fox jumps over the lazy dog, ".repeat(6);
    for name in ["sd1", "sdxl", "sd3", "flux-dev"] {
        let of = |prompt: &str| draw(name, &Request { prompt: prompt.into(), cfg_scale: Some(2.0), ..dog() }).unwrap();
        let (whole, cut) = (of(&long), of(&long[..long.len() - 40]));
        assert_ne!(whole, cut, "{name}: the end of a long prompt has no say");
        assert_ne!(of("[a dog:a cat on the moon, a cat on the moon:1]"), whole, "{name}");
    }
    let error = draw("sd3", &Request { prompt: "dog ".repeat(9000), ..dog() }).unwrap_err();
    assert!(matches!(error, Error::Request { .. }), "{error}");
}

#[test]
fn a_catalogue_names_the_family_that_the_network_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = folder.path().join("models.toml");
    let write = |family: &str| {
        let entry = format!(
            "[[model]]\nname = 'tiny'\nfamily = '{family}'\nabout = 'x'\nlicence = 'MIT'\nsource = 'x'\npath = '{}'\n\
             [model.files]\n{}",
            model("sdxl"),
            hashes(Path::new(&model("sdxl")), ""),
        );
        fs::write(&catalogue, entry).unwrap();
        let options = LoadOptions { model: Some("tiny".into()), catalogue: Some(catalogue.clone()), ..options("sdxl") };
        draw_with(&options, &dog())
    };
    assert_eq!(write("sdxl").unwrap(), draw("sdxl", &dog()).unwrap());
    let error = write("sd").unwrap_err().to_string();
    assert!(
        error.contains("of the family `sd` in the catalogue, but its network is one of Stable Diffusion XL"),
        "{error}"
    );
    assert!(write("sdx").unwrap_err().to_string().contains("unknown family `sdx`"));
}

/// The lines of a catalogue for the files below `folder`.
fn hashes(folder: &Path, place: &str) -> String {
    let line = |entry: fs::DirEntry| {
        let name = format!("{place}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            return hashes(&entry.path(), &format!("{name}/"));
        }
        let digest: [u8; 32] = Sha256::digest(fs::read(entry.path()).unwrap()).into();
        format!("'{name}' = '{}'\n", digest.map(|byte| format!("{byte:02x}")).concat())
    };
    fs::read_dir(folder).unwrap().map(|entry| line(entry.unwrap())).collect()
}

#[test]
fn tokens_of_t5_are_shown_beside_those_of_clip() {
    let folder = tempfile::tempdir().unwrap();
    let output = petal(folder.path()).args(["tokens", "a (dog:1.5)", "--json", "-m", &model("sd3")]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = &json[0]["texts"][0];
    let weights = |tokens: &Value| -> Vec<f64> {
        tokens.as_array().unwrap().iter().map(|token| token["weight"].as_f64().unwrap()).collect()
    };
    assert!(weights(&text["chunks"][0]).contains(&1.5) && weights(&text["t5"]).contains(&1.5), "{json}");
}

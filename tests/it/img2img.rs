//! Image to image: where a run begins, how many steps it takes, and with which random numbers.
use super::support::{copy_folder, library, load, model, root};
use petal_engine::{
    ImageSource, Latents, LoadOptions, Pipeline, Request, Result, noise_levels,
    sampling::{FirstNoise, Rng},
};
use std::{fs, ops::ControlFlow, path::Path};

/// Three steps of five over the picture of the comparisons with diffusers.
fn request() -> Request {
    Request {
        prompt: "a cat".into(),
        steps: Some(5),
        cfg_scale: Some(1.0),
        seed: 3,
        strength: Some(0.6),
        init_image: Some(ImageSource::File(root().join("tests/images/img2img/init.png"))),
        ..Request::default()
    }
}

fn draw(pipeline: &mut Pipeline, request: &Request) -> Result<Vec<u8>> {
    Ok(pipeline.draw(request, |_| ControlFlow::Continue(()))?.remove(0).pixels.rgb)
}

fn levels(request: &Request) -> Result<Vec<f64>> {
    noise_levels(&LoadOptions { model: Some(model("sd1")), ..LoadOptions::default() }, request)
}

/// The same weights without config files, and with 16-bit tensors.
#[test]
fn every_export_of_an_encoder_gives_the_same_picture() {
    let plain = draw(&mut load("sd1"), &request()).unwrap();
    for (name, bound) in [("sd1-old", 0), ("sd1-fp16", 2)] {
        let other = draw(&mut load(name), &request()).unwrap();
        let worst = other.iter().zip(&plain).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("fidelity: img2img exports, {name} {worst}");
        assert!(worst <= bound, "{name}: {worst}/255");
    }
}

/// `sigmas[steps - t_enc - 1:]` of stable-diffusion-webui, and what diffusers and the exact count take instead: the last
/// levels of a whole schedule. Numbers of steps computed by hand from the formulas of both programs.
#[test]
fn a_strength_takes_the_end_of_a_schedule() {
    for (steps, strength, kind, of, taken) in [
        (20, 0.75, "webui", 20, 16),
        (20, 0.3, "webui", 20, 7),
        (20, 1.0, "webui", 20, 20),
        (20, 0.01, "webui", 20, 1),
        (30, 0.55, "webui", 30, 17),
        (20, 0.75, "diffusers", 20, 15),
        (20, 1.0, "diffusers", 20, 20),
        (100, 0.29, "diffusers", 100, 28),
        (20, 0.75, "exact", 26, 20),
        (7, 0.5, "exact", 14, 7),
    ] {
        for scheduler in ["karras", "automatic", "model"] {
            let whole = Request {
                sampler: Some("euler".into()),
                scheduler: Some(scheduler.into()),
                steps: Some(of),
                ..Request::default()
            };
            let late = Request {
                steps: Some(steps),
                strength: Some(strength),
                strength_steps: Some(kind.into()),
                init_image: request().init_image,
                ..whole.clone()
            };
            let (whole, late) = (levels(&whole).unwrap(), levels(&late).unwrap());
            assert_eq!(late.len(), taken + 1, "{steps} {strength} {kind} {scheduler}");
            assert_eq!(late, whole[whole.len() - taken - 1..], "{steps} {strength} {kind} {scheduler}");
        }
    }
}

/// Levels that are given are cut off at their start, too, but cannot be made more.
#[test]
fn given_levels_have_an_end_as_well() {
    let given = Request { steps: None, sigmas: Some(vec![10.0, 5.0, 2.0, 1.0, 0.5]), ..request() };
    assert_eq!(levels(&given).unwrap(), [2.0, 1.0, 0.5, 0.0]);
    let error = levels(&Request { strength_steps: Some("exact".into()), ..given }).unwrap_err();
    assert_eq!(error.to_string(), "noise levels are given, and `exact` needs more of them for a strength of 0.6");
}

/// The least strength that is named takes a step; with PNDM's list of timesteps, which has one more, as well.
#[test]
fn a_strength_that_takes_no_step_is_an_error() {
    for sampler in [None, Some("euler"), Some("plms"), Some("lms")] {
        let weak = Request { sampler: sampler.map(Into::into), strength: Some(0.19), ..request() };
        let error = draw(&mut load("sd1"), &weak).unwrap_err();
        assert_eq!(error.to_string(), "a strength of 0.19 leaves none of 5 steps", "{sampler:?}");
        let hint = error.hint().unwrap();
        assert_eq!(hint, "use a strength of at least 0.2, or another number of steps");
        assert!(draw(&mut load("sd1"), &Request { strength: Some(0.2), ..weak }).is_ok());
    }
    let long = Request { strength: Some(0.004), strength_steps: Some("exact".into()), ..request() };
    let error = levels(&long).unwrap_err();
    assert_eq!(error.to_string(), "5 steps at a strength of 0.004 are the end of 1250, which are too many");
    assert_eq!(error.hint().unwrap(), "use a strength of at least 0.006, or another number of steps");
}

/// diffusers draws the autoencoder's latents first, stable-diffusion-webui the noise: its latents have no seed.
#[test]
fn the_first_noise_is_where_its_program_has_it() {
    let mut pipeline = load("sd1");
    for (name, rng, encoded) in [("cpu", Rng::Cpu, true), ("nv", Rng::Nv, false)] {
        let request = Request { sampler: Some("euler".into()), rng: Some(name.into()), ..request() };
        let noise = |encoded| FirstNoise { rng, seed: 3, encoded, ..FirstNoise::default() }.draw([1, 4, 12, 16]).0;
        let mut with = |latents: Option<Latents>| draw(&mut pipeline, &Request { latents, ..request.clone() }).unwrap();
        let own = with(None);
        assert!(own == with(Some(noise(encoded))), "{name}");
        assert!(own != with(Some(noise(!encoded))), "{name}");
    }
}

#[test]
fn a_model_without_an_encoder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("decodes-only");
    copy_folder(Path::new(&model("sd1")), &copy);
    fs::remove_dir_all(copy.join("vae_encoder")).unwrap();
    let (model, library) = (Some(copy.display().to_string()), Some(library().into()));
    let mut pipeline = Pipeline::load(&LoadOptions { model, library, ..LoadOptions::default() }, |_| {}).unwrap();
    let plain = Request { init_image: None, strength: None, ..request() };
    assert!(draw(&mut pipeline, &plain).is_ok(), "text to image needs none");
    let error = draw(&mut pipeline, &request()).unwrap_err();
    assert_eq!(error.to_string(), "model `decodes-only` has no `vae_encoder`, so it cannot draw over a picture");
    assert_eq!(error.hint().unwrap(), "add the graph, or export the model again with its VAE encoder");
}

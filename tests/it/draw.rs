//! From a prompt to a picture, compared with diffusers.
use super::support::{copy_folder, library, load, model, petal, read_png, root};
use petal_engine::{Error, Event, Latents, LoadOptions, Pipeline, Request};
use serde_json::Value;
use std::{fs, ops::ControlFlow, path::Path, time::Duration};

fn index() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("tests/images/index.json")).unwrap()).unwrap()
}

/// The tiny model of a reference picture, with the scheduler that drew it as its own.
fn load_as(reference: &Value, folder: &Path) -> Pipeline {
    let copy = folder.join("model");
    copy_folder(Path::new(&model(reference["model"].as_str().unwrap())), &copy);
    let mut config = reference["config"].clone();
    config["_class_name"] = reference["scheduler"].clone();
    fs::write(copy.join("scheduler/scheduler_config.json"), config.to_string()).unwrap();
    let options = LoadOptions {
        model: Some(copy.display().to_string()),
        library: Some(library().into()),
        ..LoadOptions::default()
    };
    Pipeline::load(&options, |_| {}).unwrap()
}

/// The request of every reference picture.
fn request_of(index: &Value, reference: &Value) -> Request {
    let number = |value: &Value| value.as_u64().map(|number| number as u32);
    let common = &index["request"];
    let latents = reference["latents"].as_str();
    Request {
        prompt: common["prompt"].as_str().unwrap().into(),
        negative_prompt: common["negative_prompt"].as_str().unwrap().into(),
        width: number(&common["width"]),
        height: number(&common["height"]),
        cfg_scale: common["guidance_scale"].as_f64(),
        steps: number(&reference["steps"]),
        seed: reference["seed"].as_u64().unwrap_or_default(),
        latents: latents.map(|file| Latents::read(root().join("tests/images").join(file)).unwrap()),
        ..Request::default()
    }
}

/// With `--scheduler model`, a folder draws what diffusers draws from the same weights and noise.
#[test]
fn pictures_equal_those_of_diffusers() {
    let index = index();
    let mut faults = Vec::new();
    for reference in index["pictures"].as_array().unwrap() {
        let file = reference["file"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let picture = load_as(reference, folder.path())
            .draw(&request_of(&index, reference), |_| ControlFlow::Continue(()))
            .unwrap()
            .remove(0);
        let (width, height, pixels) = read_png(&root().join("tests/images").join(file));
        assert_eq!((picture.width, picture.height), (width, height), "{file}");
        let worst = pixels.iter().zip(&picture.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{file}: {worst}/255");
        if worst > 2 {
            faults.push(format!("{file}: {worst}/255"));
        }
    }
    assert!(faults.is_empty(), "further than 2/255 from diffusers:\n{}", faults.join("\n"));
}

/// The same weights in other conventions: 32-bit ids, a rank-1 timestep, no config files; 16-bit tensors. Without
/// guidance, which would blow up the rounding of 16 bits in a network of random weights.
#[test]
fn every_export_of_the_same_weights_draws_the_same_picture() {
    let request = Request {
        prompt: "a cat".into(),
        steps: Some(4),
        cfg_scale: Some(1.0),
        seed: 3,
        width: Some(64),
        height: Some(64),
        ..Request::default()
    };
    let draw = |name: &str| load(name).draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).rgb;
    let plain = draw("sd1");
    for (name, bound) in [("sd1-old", 0), ("sd1-fp16", 2)] {
        let worst = draw(name).iter().zip(&plain).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        println!("{name}: {worst}/255");
        assert!(worst <= bound, "{name}: {worst}/255");
    }
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let request =
        Request { prompt: "a cat".into(), steps: Some(2), sampler: Some("euler_a".into()), ..Request::default() };
    let mut pipeline = load("sd1");
    let mut draw = || pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).to_png(true).unwrap();
    let first = draw();
    for _ in 1..20 {
        assert!(draw() == first);
    }
    assert!(load("sd1").draw(&request, |_| ControlFlow::Continue(())).unwrap()[0].to_png(true).unwrap() == first);
}

#[test]
fn a_batch_equals_single_pictures() {
    let mut pipeline = load("sd1");
    let request = Request { prompt: "a cat".into(), steps: Some(2), seed: 5, batch_count: 4, ..Request::default() };
    let batch = pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(batch.len(), 4);
    for (k, picture) in batch.iter().enumerate() {
        let single = Request { seed: 5 + k as u64, batch_count: 1, ..request.clone() };
        let alone = pipeline.draw(&single, |_| ControlFlow::Continue(())).unwrap().remove(0);
        assert!(alone.rgb == picture.rgb && alone.request == picture.request);
        assert_eq!(batch.iter().filter(|other| other.rgb == picture.rgb).count(), 1);
    }
}

/// No option without effect: every field of the request changes the pixels or the number of pictures.
#[test]
fn every_field_of_a_request_counts() {
    let mut pipeline = load("sd1");
    let base =
        Request { prompt: "a dog".into(), negative_prompt: "a cat".into(), steps: Some(3), ..Request::default() };
    let mut draw = |request: &Request| pipeline.draw(request, |_| ControlFlow::Continue(())).unwrap();
    let plain = draw(&base);
    let other_noise = Latents::new([1, 4, 16, 16], (0..1024).map(|i| (i as f32).sin()).collect()).unwrap();
    for (name, request) in [
        ("prompt", Request { prompt: "a rocket".into(), ..base.clone() }),
        ("negative_prompt", Request { negative_prompt: "a rocket".into(), ..base.clone() }),
        ("width", Request { width: Some(32), ..base.clone() }),
        ("height", Request { height: Some(32), ..base.clone() }),
        ("steps", Request { steps: Some(4), ..base.clone() }),
        ("cfg_scale", Request { cfg_scale: Some(2.0), ..base.clone() }),
        ("seed", Request { seed: 1, ..base.clone() }),
        ("sampler", Request { sampler: Some("heun".into()), ..base.clone() }),
        ("scheduler", Request { scheduler: Some("karras".into()), ..base.clone() }),
        ("batch_count", Request { batch_count: 2, ..base.clone() }),
        ("latents", Request { latents: Some(other_noise), ..base.clone() }),
    ] {
        let pictures = draw(&request);
        assert!(pictures.len() != plain.len() || pictures[0].rgb != plain[0].rgb, "{name} has no effect");
    }
}

#[test]
fn a_long_prompt_counts_to_its_end() {
    let mut pipeline = load("sd1");
    let mut draw = |prompt: String| {
        let request = Request { prompt, steps: Some(2), ..Request::default() };
        pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).rgb
    };
    let long = "a dog in space ".repeat(100);
    assert!(draw(long.clone()) != draw(long + "with a cat"));
}

#[test]
fn every_sampler_and_schedule_draws() {
    let mut pipeline = load("sd1");
    for sampler in petal_engine::SAMPLERS {
        for schedule in petal_engine::SCHEDULES {
            let request = Request {
                steps: Some(3),
                sampler: Some(sampler.name.into()),
                scheduler: Some(schedule.name.into()),
                ..Request::default()
            };
            let pictures = pipeline.draw(&request, |_| ControlFlow::Continue(()));
            assert!(pictures.is_ok(), "{} {}: {pictures:?}", sampler.name, schedule.name);
        }
    }
}

#[test]
fn observers_see_every_step_and_can_stop() {
    let mut pipeline = load("sd1");
    let request = Request { steps: Some(5), sampler: Some("euler".into()), ..Request::default() };
    let mut steps = Vec::new();
    let result = pipeline.draw(&request, |event| {
        if let Event::Step(step) = event {
            assert!(step.preview().is_some() && step.steps == 5);
            steps.push(step.step);
        }
        if steps.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(steps, [1, 2, 3]);
    assert!(pipeline.draw(&request, |_| ControlFlow::Continue(())).is_ok(), "a stopped pipeline draws again");
}

/// A cancel ends the evaluation that is running: its step is never heard of.
#[test]
fn another_thread_stops_inside_a_step() {
    let mut pipeline = load("sd1");
    let cancel = pipeline.cancel_handle();
    let request = Request {
        steps: Some(900),
        sampler: Some("euler".into()),
        width: Some(320),
        height: Some(320),
        ..Request::default()
    };
    let (mut last, mut stopper) = (0, None);
    let result = pipeline.draw(&request, |event| {
        if let Event::Step(step) = event {
            last = step.step;
            if step.step == 2 {
                let (cancel, wait) = (cancel.clone(), Duration::from_secs_f64(step.seconds / 10.0));
                stopper = Some(std::thread::spawn(move || {
                    std::thread::sleep(wait);
                    cancel.cancel();
                }));
            }
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(last, 2, "the step that ran went on to its end");
    assert!(stopper.unwrap().join().is_ok() && !cancel.is_cancelled());
}

/// The README's first command: the model that is part of the program, nothing else.
#[test]
fn the_model_that_comes_with_petal_draws() {
    let folder = tempfile::tempdir().unwrap();
    let output = petal(folder.path()).args(["a dog in space", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a-dog-in-space-0.png\n");
    let (width, height, pixels) = read_png(&folder.path().join("a-dog-in-space-0.png"));
    assert!(width == height && width >= 64);
    let (least, most) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
    assert!(most - least > 100, "the picture is flat");
    // processors round differently, so not to the last bit
    let (_, _, shown) = read_png(&root().join("tests/images/readme/a-dog-in-space-0.png"));
    let distance: u64 = pixels.iter().zip(&shown).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(distance <= pixels.len() as u64, "it is not the README's picture");
}

#[test]
fn latents_go_in_and_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    let run = |arguments: &[&str]| {
        let output =
            petal(folder.path()).args(["x", "-q", "--steps", "2", "-m", &tiny]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["-s", "7", "-W", "64", "-H", "48", "-o", "seed.png", "--save-latents", "seed.safetensors"]);
    let noise = root().join("tests/images/latents.npy"); // torch.randn with seed 7
    run(&["--latents", noise.to_str().unwrap(), "-o", "given.png", "--save-latents", "given.npy"]);
    // torch's vectorised logarithm and cosine differ from ours in their last bits
    let read = |name: &str| Latents::read(folder.path().join(name)).unwrap().into_values();
    let worst = read("seed.safetensors").iter().zip(read("given.npy")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-2, "{worst}");
    let pixels = |name: &str| read_png(&folder.path().join(name)).2;
    assert!(pixels("seed.png").iter().zip(pixels("given.png")).all(|(a, b)| a.abs_diff(b) <= 1));
}

#[test]
fn json_says_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["x", "-m", &model("sd1"), "--steps", "2", "-b", "2", "--json", "-o", "a.png", "--ep", "cpu"];
    let output = petal(folder.path()).args(arguments).output().unwrap();
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (k, line) in lines.iter().enumerate() {
        assert!(folder.path().join(line["path"].as_str().unwrap()).is_file());
        assert_eq!((line["seed"].as_u64(), line["provider"].as_str()), (Some(k as u64), Some("cpu")));
        assert!(
            line["seconds"]["denoise"].as_f64().unwrap() > 0.0 && !line["step_seconds"].as_array().unwrap().is_empty()
        );
    }
}

#[test]
fn standard_output_takes_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let output = petal(folder.path()).args(["x", "-m", &model("sd1"), "--steps", "1", "-o", "-"]).output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"\x89PNG\r\n"));
}

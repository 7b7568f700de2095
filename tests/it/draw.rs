//! From a prompt to a picture: what holds for every request.
use super::support::{load, model, petal, read_png, root};
use petal_engine::{Error, Event, Latents, PreviewWith, Request};
use serde_json::Value;
use std::{ops::ControlFlow, time::Duration};

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
    let draw = |name: &str| load(name).draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).pixels.rgb;
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
        assert!(alone.pixels.rgb == picture.pixels.rgb && alone.request == picture.request);
        assert_eq!(batch.iter().filter(|other| other.pixels.rgb == picture.pixels.rgb).count(), 1);
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
    for (name, request) in vec![
        ("prompt", Request { prompt: "a rocket".into(), ..base.clone() }),
        ("negative_prompt", Request { negative_prompt: "a rocket".into(), ..base.clone() }),
        ("width", Request { width: Some(32), ..base.clone() }),
        ("height", Request { height: Some(32), ..base.clone() }),
        ("steps", Request { steps: Some(4), ..base.clone() }),
        ("cfg_scale", Request { cfg_scale: Some(2.0), ..base.clone() }),
        ("seed", Request { seed: 1, ..base.clone() }),
        ("sampler", Request { sampler: Some("heun".into()), ..base.clone() }),
        ("scheduler", Request { scheduler: Some("karras".into()), ..base.clone() }),
        ("sigmas", Request { sigmas: Some(vec![10.0, 2.0, 0.5]), ..base.clone() }),
        ("rng", Request { rng: Some("nv".into()), ..base.clone() }),
        ("variation_strength", Request { variation_strength: 0.3, ..base.clone() }),
        ("seed_resize", Request { seed_resize_width: Some(32), seed_resize_height: Some(48), ..base.clone() }),
        ("emphasis", Request { prompt: "a (dog)".into(), emphasis: Some("none".into()), ..base.clone() }),
        ("clip_skip", Request { clip_skip: 2, ..base.clone() }),
        ("cfg_rescale", Request { cfg_rescale: 0.7, ..base.clone() }),
        ("guidance_start", Request { guidance_start: 0.5, ..base.clone() }),
        ("guidance_end", Request { guidance_end: 0.5, ..base.clone() }),
        ("cfg_schedule", Request { cfg_schedule: Some(vec![9.0, 2.0]), ..base.clone() }),
        ("batch_count", Request { batch_count: 2, ..base.clone() }),
        ("latents", Request { latents: Some(other_noise), ..base.clone() }),
    ] {
        let pictures = draw(&request);
        assert!(pictures.len() != plain.len() || pictures[0].pixels.rgb != plain[0].pixels.rgb, "{name} has no effect");
    }
}

/// Every so many steps and at the end a preview is there; the model's own autoencoder makes it as large as the picture.
#[test]
fn previews_are_made_as_asked_for() {
    let mut pipeline = load("sd1");
    let euler = (Some("euler".into()), Some("normal".into()));
    let request = Request { prompt: "a dog".into(), steps: Some(5), ..Request::default() };
    let request = Request { sampler: euler.0, scheduler: euler.1, ..request };
    for (with, side) in [(PreviewWith::Projection, 16), (PreviewWith::Tiny, 64), (PreviewWith::Vae, 64)] {
        pipeline.preview_with(with, 2).unwrap();
        let mut seen = Vec::new();
        let mut last = None;
        let picture = pipeline
            .draw(&request, |event| {
                if let Event::Step(step) = event
                    && let Some(preview) = step.preview()
                {
                    seen.push((step.step, preview.size()));
                    last = Some(preview);
                }
                ControlFlow::Continue(())
            })
            .unwrap()
            .remove(0);
        seen.dedup();
        assert_eq!(seen, [2, 4, 5].map(|step| (step, (side, side))), "{with:?}");
        assert_eq!(
            last == Some(picture.pixels),
            with == PreviewWith::Vae,
            "{with:?}: the last estimate is the picture"
        );
    }
}

/// Fields that matter only together with others.
#[test]
fn every_field_of_a_pair_counts() {
    let mut pipeline = load("sd1");
    let base = Request { prompt: "a dog".into(), steps: Some(4), ..Request::default() };
    let with = |sampler: &str| Request { sampler: Some(sampler.into()), ..base.clone() };
    let karras = Request { scheduler: Some("karras".into()), ..with("euler") };
    let churn = Request { s_churn: 2.0, ..karras.clone() };
    let varied = Request { variation_strength: 0.3, ..base.clone() };
    for (name, plain, other) in vec![
        ("rho", karras.clone(), Request { rho: Some(3.0), ..karras.clone() }),
        ("eta", with("euler_a"), Request { eta: Some(0.5), ..with("euler_a") }),
        ("s_noise", with("euler_a"), Request { s_noise: 0.9, ..with("euler_a") }),
        ("ensd", with("euler_a"), Request { ensd: 31337, ..with("euler_a") }),
        ("s_churn", karras.clone(), churn.clone()),
        ("s_tmin", churn.clone(), Request { s_tmin: 5.0, ..churn.clone() }),
        ("s_tmax", churn.clone(), Request { s_tmax: Some(5.0), ..churn.clone() }),
        ("variation_seed", varied.clone(), Request { variation_seed: 9, ..varied.clone() }),
        ("emphasis", Request { prompt: "a (dog:1.5)".into(), ..base.clone() }, {
            Request { prompt: "a (dog:1.5)".into(), emphasis: Some("no_norm".into()), ..base.clone() }
        }),
    ] {
        let mut draw =
            |request: &Request| pipeline.draw(request, |_| ControlFlow::Continue(())).unwrap().remove(0).pixels.rgb;
        assert!(draw(&plain) != draw(&other), "{name} has no effect");
    }
}

/// With every sampler, through the model's levels and through those of its own, an option is refused or it counts.
#[test]
fn no_option_is_ignored() {
    let mut pipeline = load("sd1");
    let mut draw =
        |request: &Request| pipeline.draw(request, |_| ControlFlow::Continue(())).map(|mut all| all.remove(0));
    for sampler in petal_engine::SAMPLERS {
        for scheduler in ["model", "automatic"] {
            let base = Request {
                prompt: "a dog".into(),
                steps: Some(24),
                width: Some(16),
                height: Some(16),
                sampler: Some(sampler.name.into()),
                scheduler: Some(scheduler.into()),
                ..Request::default()
            };
            let plain = draw(&base).unwrap();
            let eta = if sampler.eta == Some(0.0) { 0.8 } else { 0.4 };
            for (name, request) in [
                ("eta", Request { eta: Some(eta), ..base.clone() }),
                ("s_noise", Request { s_noise: 0.5, ..base.clone() }),
                ("s_churn", Request { s_churn: 4.0, ..base.clone() }),
                ("s_tmin", Request { s_tmin: 1.0, ..base.clone() }),
                ("rho", Request { rho: Some(3.0), ..base.clone() }),
            ] {
                // these choose their own levels between the ends of the schedule, as `petal list samplers` says
                if name == "rho" && ["restart", "dpm_fast", "dpm_adaptive"].contains(&sampler.name) {
                    continue;
                }
                match draw(&request) {
                    Ok(picture) => {
                        assert!(picture.latents != plain.latents, "{} {scheduler}: {name} is ignored", sampler.name);
                    }
                    Err(error) => assert!(matches!(error, Error::Request { .. }), "{error:?}"),
                }
            }
        }
    }
}

/// What a sampler does not have is refused, not ignored.
#[test]
fn an_option_without_effect_is_an_error() {
    let pipeline = load("sd1");
    let with = |sampler: &str| Request { sampler: Some(sampler.into()), ..Request::default() };
    for (request, words) in [
        (Request { eta: Some(0.5), ..with("dpmpp_2m") }, "sampler `dpmpp_2m` has no `eta`"),
        (Request { s_churn: 1.0, ..with("euler_a") }, "sampler `euler_ancestral` has no `s_churn`"),
        (Request { s_noise: 1.1, ..with("lms") }, "sampler `lms` has no fresh noise here for `s_noise`"),
        (Request { s_tmin: 1.0, ..with("euler") }, "`s_tmin` or `s_tmax` is given without `s_churn`"),
        (Request { variation_seed: 1, ..with("euler") }, "a variation seed is given without a strength"),
        (Request { guidance_start: 1.0, ..with("euler") }, "guidance begins at 1 and ends at 1"),
        (
            Request { scheduler: Some("exponential".into()), ..with("DPM++ 2M Karras") },
            "the sampler's name holds the schedule `karras`, but `exponential` is given as well",
        ),
        (Request { rho: Some(2.0), ..with("euler") }, "rho is given without a schedule that has one"),
        (
            Request { sigmas: Some(vec![3.0, 1.0]), ..with("DPM++ 2M Karras") },
            "noise levels are given, and the schedule `karras` as well",
        ),
    ] {
        let error = pipeline.complete(&request).unwrap_err();
        assert!(matches!(error, Error::Request { .. }), "{error:?}");
        assert_eq!(error.to_string(), words);
    }
}

/// A completed request is complete, and draws what the open one draws.
#[test]
fn completing_changes_nothing() {
    for model in ["sd1", "sd2-v"] {
        let mut pipeline = load(model);
        for sampler in petal_engine::SAMPLERS.iter().map(|sampler| Some(sampler.name)).chain([None]) {
            let open = Request { prompt: "a dog".into(), steps: Some(4), ..Request::default() };
            let open = Request { sampler: sampler.map(Into::into), ..open };
            let whole = pipeline.complete(&open).unwrap();
            assert_eq!(pipeline.complete(&whole).unwrap(), whole);
            let mut draw = |request: &Request| pipeline.draw(request, |_| ControlFlow::Continue(())).unwrap().remove(0);
            assert!(draw(&open).pixels.rgb == draw(&whole).pixels.rgb, "{model} {sampler:?}");
        }
    }
}

/// Emphasis, composition, schedules of words: each part of the grammar reaches the picture.
#[test]
fn the_grammar_of_prompts_counts() {
    let mut pipeline = load("sd1");
    let mut draw = |prompt: &str| {
        let request = Request { prompt: prompt.into(), steps: Some(4), ..Request::default() };
        pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).pixels.rgb
    };
    let plain = draw("a dog in space");
    assert!(plain == draw("a dog in space:1.0"));
    assert!(draw("a dog AND a cat") == draw("a dog :1 AND a cat:1"));
    for (one, other) in [
        ("a dog in space", "a (dog) in space"),
        ("a dog in space", "a [dog] in space"),
        ("a dog in space", "a dog BREAK in space"),
        ("a dog in space", "a dog in space AND a cat"),
        ("a dog AND a cat", "a dog AND a cat :0.5"),
        ("a dog in space", "a [dog:cat:0.5] in space"),
        ("a dog in space", "a [dog|cat] in space"),
        ("a dog in space", "a dog in space:1.2"),
    ] {
        assert!(draw(one) != draw(other), "{other}");
    }
    assert!(draw("a [dog:cat:4] in space") == plain, "after the last step nothing changes");
    // parts count without guidance, too
    let mut draw = |prompt: &str| {
        let request = Request { prompt: prompt.into(), steps: Some(4), cfg_scale: Some(1.0), ..Request::default() };
        pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).pixels.rgb
    };
    assert!(draw("a dog AND a cat") != draw("a dog") && draw("a dog :0.5") != draw("a dog"));
    assert!(draw("a dog AND a cat :9") != draw("a dog AND a cat"));
}

/// Small prompts that stand for many long texts: the network would be given all of them at once.
#[test]
fn prompts_that_would_fill_the_memory_are_refused() {
    let mut pipeline = load("sd1");
    let mut refusal = |prompt: &str, negative: &str| {
        let (prompt, negative_prompt) = (prompt.into(), negative.into());
        let request = Request { prompt, negative_prompt, steps: Some(1), ..Request::default() };
        pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    let long = "BREAK ".repeat(100);
    assert!(refusal(&"a AND ".repeat(100), "").contains("101 parts"));
    assert!(refusal(&(long.clone() + &"AND a ".repeat(20)), "").contains("chunks"));
    assert!(refusal(&"AND a ".repeat(20), &long).contains("chunks"), "the negative prompt is one of the texts");
}

#[test]
fn a_long_prompt_counts_to_its_end() {
    let mut pipeline = load("sd1");
    let mut draw = |prompt: String| {
        let request = Request { prompt, steps: Some(2), ..Request::default() };
        pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0).pixels.rgb
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

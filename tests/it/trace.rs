//! `--trace`: what a picture looked like on its way.
use super::support::{library, load, model, petal, read_png, transcript};
use petal_engine::{Event, Request};
use serde_json::Value;
use std::{fs, io::BufReader, ops::ControlFlow, path::Path};

/// Runs petal in `folder`; the whole transcript.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = petal(folder).args(arguments).output().unwrap();
    let text = transcript(&output, folder).replace(&library().display().to_string(), "[LIBRARY]");
    text.replace(&model("sd1"), "[TINY]")
}

/// Draws with the tiny model; the transcript.
fn draw(folder: &Path, arguments: &[&str]) -> String {
    let text = run(folder, &[&["a dog", "-m", &model("sd1"), "-s", "7"], arguments].concat());
    assert!(text.starts_with("exit code 0"), "{text}");
    text
}

/// The pictures of an animated PNG file, the one for other programs first.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = png::Decoder::new(BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let number = reader.info().animation_control().unwrap().num_frames + 1;
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let next = |_| {
        reader.next_frame(&mut pixels).unwrap();
        pixels.clone()
    };
    (0..number).map(next).collect()
}

/// A picture of 64 pixels a side, each pixel made two by two.
fn doubled(rgb: &[u8]) -> Vec<u8> {
    let row = |row: &[u8]| row.chunks(3).flat_map(|pixel| pixel.repeat(2)).collect::<Vec<u8>>().repeat(2);
    rgb.chunks(64 * 3).flat_map(row).collect()
}

/// How often `picture`, of 128 pixels a side, is in `sheet`.
fn count(sheet: &(u32, u32, Vec<u8>), picture: &[u8]) -> usize {
    let (width, height) = (sheet.0 as usize, sheet.1 as usize);
    let same = |x: usize, y: usize| {
        (0..128).all(|row| sheet.2[((y + row) * width + x) * 3..][..384] == picture[row * 384..][..384])
    };
    (0..=height - 128).map(|y| (0..=width - 128).filter(|x| same(*x, y)).count()).sum()
}

#[test]
fn sheet_and_animation_show_every_step_and_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let text = draw(
        folder.path(),
        &["--steps", "4", "--sampler", "euler", "--scheduler", "karras", "--trace", "steps.png", "-o", "a.png"],
    );
    insta::assert_snapshot!("trace_is_told", text);
    let frames = frames(&folder.path().join("steps.apng"));
    let mut pipeline = load("sd1");
    let (sampler, scheduler) = (Some("euler".into()), Some("karras".into()));
    let request = Request { prompt: "a dog".into(), seed: 7, steps: Some(4), sampler, scheduler, ..Request::default() };
    let mut estimates = Vec::new();
    let picture = pipeline.draw(&request, |event| {
        if let Event::Step(step) = event {
            estimates.push(step.denoised().clone());
        }
        ControlFlow::Continue(())
    });
    let picture = doubled(&picture.unwrap()[0].pixels.rgb);
    let mut wanted = vec![picture.clone()];
    wanted.extend(estimates.iter().map(|latents| doubled(&pipeline.decode(latents).unwrap().rgb)));
    wanted.push(picture);
    assert!(frames == wanted, "{} frames", frames.len());
    let sheet = read_png(&folder.path().join("steps.png"));
    assert!(frames.iter().all(|frame| count(&sheet, frame) >= 1));
    assert_eq!(count(&sheet, &frames[1]), 1);
}

/// Two questions a step are one picture: the answer to the last one at the step's own noise level.
#[test]
fn samplers_that_ask_twice_have_one_picture_a_step() {
    for sampler in ["heun", "dpm_2"] {
        let folder = tempfile::tempdir().unwrap();
        draw(
            folder.path(),
            &["--steps", "3", "--sampler", sampler, "--scheduler", "karras", "--trace", "t.png", "-o", "a.png"],
        );
        assert_eq!(frames(&folder.path().join("t.apng")).len(), 1 + 3 + 1, "{sampler}");
    }
}

/// A name of an animation is that and nothing else.
#[test]
fn animations_can_be_had_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["t.gif", "u.apng", "t.png"] {
        draw(folder.path(), &["--steps", "2", "--trace", name, "-o", "a.png", "-q"]);
    }
    assert!(fs::read(folder.path().join("u.apng")).unwrap() == fs::read(folder.path().join("t.apng")).unwrap());
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.png", "t.apng", "t.gif", "t.png", "u.apng"]);

    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(fs::File::open(folder.path().join("t.gif")).unwrap()).unwrap();
    let exact = &frames(&folder.path().join("t.apng"))[1..];
    for wanted in exact {
        let seen = decoder.read_next_frame().unwrap().unwrap();
        let seen: Vec<u8> = seen.buffer.chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
        let away = |other: &[u8]| seen.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        assert!(away(wanted) < 16 * wanted.len() as u64, "{}", away(wanted)); // 256 colours are near all others
        assert!(exact.iter().all(|other| away(wanted) <= away(other)));
    }
    assert!(exact.len() == 3 && decoder.read_next_frame().unwrap().is_none());
}

#[test]
fn pictures_of_a_batch_have_traces_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = draw(folder.path(), &["--steps", "2", "--trace", "t.png", "-b", "2", "-o", "a.png", "--json"]);
    let json: Value = serde_json::from_str(text.lines().nth(3).unwrap()).unwrap();
    assert_eq!(json["trace"], serde_json::json!(["t-2.png", "t-2.apng"]));
    assert!(frames(&folder.path().join("t-1.apng")) != frames(&folder.path().join("t-2.apng")));
    for name in ["t-1.png", "t-2.png"] {
        read_png(&folder.path().join(name));
    }
    assert!(!folder.path().join("t.png").exists());
}

#[test]
fn redraw_traces_and_the_picture_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path(), &["--steps", "2", "-o", "a.png"]);
    let arguments = ["redraw", "a.png", "-m", &model("sd1"), "-q", "-o", "b.png", "--trace", "t.png"];
    assert_eq!(run(folder.path(), &arguments), "exit code 0\n--- stdout\nb.png\n--- stderr\n");
    assert!(fs::read(folder.path().join("a.png")).unwrap() == fs::read(folder.path().join("b.png")).unwrap());
    assert_eq!(frames(&folder.path().join("t.apng")).len(), 4);
}

/// The quick way shows a pixel for each latent, made as large as the picture.
#[test]
fn previews_are_squares_of_one_colour() {
    let folder = tempfile::tempdir().unwrap();
    let quick = ["--steps", "2", "--trace", "t.png", "--trace-with", "preview", "-o", "a.png"];
    draw(folder.path(), &quick);
    let frames = frames(&folder.path().join("t.apng"));
    let request = Request { steps: Some(1), ..Request::default() };
    let pictures = load("sd1").draw(&request, |_| ControlFlow::Continue(())).unwrap();
    let side = 128 / pictures[0].latents.shape()[3];
    let pixel = |frame: &[u8], x: usize, y: usize| frame[(y * 128 + x) * 3..][..3].to_vec();
    for frame in &frames[1..3] {
        let squares =
            (0..128).all(|y| (0..128).all(|x| pixel(frame, x, y) == pixel(frame, x / side * side, y / side * side)));
        assert!(squares && frame != &frames[0]);
    }
}

#[test]
fn what_cannot_be_traced_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    for (name, arguments) in [
        ("trace_other_format", &["--trace", "t.jpg"][..]),
        ("trace_over_picture", &["--trace", "a.png", "-o", "a.png"]),
        ("trace_no_folder", &["--trace", "no/t.png"]),
        ("trace_with_alone", &["--trace-with", "preview"]),
    ] {
        insta::assert_snapshot!(name, run(folder.path(), &[&["a dog", "-m", &tiny][..], arguments].concat()));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

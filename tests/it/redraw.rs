//! `petal redraw` and `petal verify`, as users see them.
use super::support::{library, model, petal, read_png, root, transcript};
use petal_engine::read_infotext;
use serde_json::Value;
use std::{fs, path::Path};

/// Runs petal in `folder`; the whole transcript.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = petal(folder).args(arguments).output().unwrap();
    let text = transcript(&output, folder).replace(&library().display().to_string(), "[LIBRARY]");
    text.replace(&model("sd1"), "[TINY]").replace(&root().display().to_string(), "[ROOT]")
}

/// Draws a small picture into `folder`, as `name`.
fn draw(folder: &Path, name: &str, more: &[&str]) {
    let common = ["a dog", "-m", &model("sd1"), "--steps", "2", "-s", "7", "-q", "-o", name];
    let text = run(folder, &[&common, more].concat());
    assert!(text.starts_with("exit code 0"), "{text}");
}

fn foreign(name: &str) -> String {
    root().join("tests/images/foreign").join(name).display().to_string()
}

#[test]
fn a_redrawn_picture_is_the_same_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    for (name, more, words) in [
        ("a.png", &["-W", "48"][..], "identical\n"),
        ("a.webp", &["--sampler", "euler_a"], "identical\n"),
        ("a.jpg", &["--quality", "60"], "identical after JPEG of quality 60\n"),
        ("b.webp", &["--quality", "70"], "identical after WebP of quality 70\n"),
    ] {
        draw(folder.path(), name, more);
        let again = format!("b{name}");
        let text = run(folder.path(), &["redraw", name, "-m", &tiny, "-q", "-o", &again, more[0], more[1]]);
        assert!(text.starts_with("exit code 0"), "{text}");
        assert!(fs::read(folder.path().join(name)).unwrap() == fs::read(folder.path().join(&again)).unwrap());
        let text = run(folder.path(), &["verify", name, "-m", &tiny, "-q"]);
        assert_eq!(text, format!("exit code 0\n--- stdout\n{words}--- stderr\n"));
    }
}

/// A model of the catalogue needs no name, and the file says which network it is.
#[test]
fn a_picture_of_a_catalogued_model_knows_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let text = run(folder.path(), &["a dog", "--steps", "1", "-q", "-o", "a.png"]);
    assert!(text.starts_with("exit code 0"), "{text}");
    let info = read_infotext(folder.path().join("a.png")).unwrap().unwrap();
    let catalogue = petal_engine::Catalogue::load(None).unwrap();
    let model = &catalogue.models[0];
    assert_eq!(info.model(), Some(model.name.as_str()));
    assert_eq!(info.field("Model hash"), Some(&model.files["unet/model.onnx"][..10]));
    let text = run(folder.path(), &["verify", "a.png", "-q"]);
    assert_eq!(text, "exit code 0\n--- stdout\nidentical\n--- stderr\n");
}

#[test]
fn a_changed_pixel_is_found() {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path(), "a.png", &[]);
    let path = folder.path().join("a.png");
    let (width, height, mut pixels) = read_png(&path);
    pixels[100] ^= 4;
    let text = pixels_with_text_of(&path, (width, height), &pixels);
    fs::write(&path, text).unwrap();
    let text = run(folder.path(), &["verify", "a.png", "-m", &model("sd1"), "-q"]);
    assert_eq!(text, "exit code 1\n--- stdout\ndifferent: 1 of 4096 pixels, by at most 4 of 255\n--- stderr\n");
    let text = run(folder.path(), &["verify", "a.png", "-m", &model("sd1"), "--json"]);
    let json: Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
    assert_eq!((&json["identical"], &json["different"], &json["largest"]), (&false.into(), &1.into(), &4.into()));
    let half = &pixels[..pixels.len() / 2];
    fs::write(&path, pixels_with_text_of(&path, (width, height / 2), half)).unwrap();
    let text = run(folder.path(), &["verify", "a.png", "-m", &model("sd1"), "-q"]);
    assert!(text.contains("different: 64x32 in the file, 64x64 drawn again"), "{text}");
}

/// A PNG file of these pixels that says what the file at `path` says.
fn pixels_with_text_of(path: &Path, size: (u32, u32), pixels: &[u8]) -> Vec<u8> {
    let reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let text = reader.info().uncompressed_latin1_text[0].text.clone();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_text_chunk("parameters".into(), text).unwrap();
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    bytes
}

#[test]
fn what_is_changed_is_drawn_otherwise_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    draw(folder.path(), "a.png", &["-n", "blur"]);
    let arguments = ["redraw", "a.png", "-m", &model("sd1"), "-p", "a cat", "-s", "8", "-b", "2", "-o", "b.webp", "-q"];
    let text = run(folder.path(), &arguments);
    assert!(text.starts_with("exit code 0"), "{text}");
    let request = |name: &str| read_infotext(folder.path().join(name)).unwrap().unwrap().request().unwrap();
    let before = request("a.png");
    for (name, seed) in [("b-1.webp", 8), ("b-2.webp", 9)] {
        let wanted = petal_engine::Request { prompt: "a cat".into(), seed, ..before.clone() };
        assert_eq!(request(name), wanted);
    }
}

#[test]
fn pictures_of_other_programs_are_redrawn_and_what_they_lack_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    let small = ["-m", &tiny, "-W", "64", "-H", "64", "--steps", "2", "--clip-skip", "1", "-o", "a.png"];
    let text = run(folder.path(), &[&["redraw", &foreign("webui-newer.webp")][..], &small].concat());
    insta::assert_snapshot!("redraw_of_another_program", text);
    let request = read_infotext(folder.path().join("a.png")).unwrap().unwrap().request().unwrap();
    assert_eq!((request.prompt.as_str(), request.seed, request.eta), ("太空中的狗 🚀 ", 42, Some(0.5)));
}

#[test]
fn inspect_shows_whose_words_a_file_uses() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["webui-newer.jpg", "comfyui.png", "comfyui-two-samplers.png", "invokeai.png"] {
        let text = run(folder.path(), &["inspect", &foreign(name)]);
        insta::assert_snapshot!(format!("inspect_{}", name.replace(['.', '-'], "_")), text);
    }
    let text = run(folder.path(), &["inspect", &foreign("webui-plain.gif"), "--json"]);
    insta::assert_snapshot!("inspect_json", text);
}

#[test]
fn what_cannot_be_redrawn_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    draw(folder.path(), "a.png", &[]);
    draw(folder.path(), "bare.jpg", &["--no-metadata"]);
    for (name, arguments) in [
        ("redraw_without_words", &["redraw", "bare.jpg"][..]),
        ("verify_without_words", &["verify", "bare.jpg"]),
        ("redraw_unknown_model", &["redraw", "a.png"]),
        ("redraw_no_model", &["redraw", &foreign("webui-combined.png")]),
        ("redraw_unclear", &["redraw", &foreign("comfyui-two-samplers.png"), "-m", &tiny]),
        ("redraw_no_file", &["redraw", "no.png"]),
        ("redraw_no_noise", &["redraw", "a.png", "-m", &tiny, "--latents", &foreign("../latents.npy")]),
        ("quality_of_png", &["redraw", "a.png", "-m", &tiny, "--quality", "90", "-o", "b.png"]),
        ("quality_out_of_range", &["redraw", "a.png", "-m", &tiny, "--quality", "0", "-o", "b.jpg"]),
    ] {
        insta::assert_snapshot!(name, run(folder.path(), arguments));
    }
}

/// What the file says and the new choice has not is left out and told; what a flag says is not.
#[test]
fn values_that_a_new_sampler_lacks_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = model("sd1");
    draw(folder.path(), "a.png", &["--sampler", "Euler a", "--eta", "0.5", "--scheduler", "karras", "--rho", "5"]);
    let redraw = ["redraw", "a.png", "-m", &tiny, "-o", "b.png"];
    let text = run(folder.path(), &[&redraw[..], &["--sampler", "DPM++ 2M Exponential"]].concat());
    assert!(text.starts_with("exit code 0"), "{text}");
    assert!(text.contains("left out of the file's values, which the new choice has not: eta, rho"), "{text}");
    let request = read_infotext(folder.path().join("b.png")).unwrap().unwrap().request().unwrap();
    assert_eq!((request.eta, request.rho, request.scheduler.as_deref()), (None, None, Some("exponential")));
    let text = run(folder.path(), &[&redraw[..], &["--sampler", "euler", "--eta", "0.5"]].concat());
    assert!(text.starts_with("exit code 2") && text.contains("sampler `euler` has no `eta`"), "{text}");
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [
        ["--cfg-scale", "3", "--cfg-schedule", "3,2"],
        ["--steps", "3", "--sigmas", "3,2"],
        ["--scheduler", "karras", "--sigmas", "3,2"],
    ] {
        let text = run(folder.path(), &[&["a dog"][..], &flags].concat());
        assert!(text.starts_with("exit code 2") && text.contains("cannot be used with"), "{text}");
    }
    for (flag, words) in [("--eta", "eta is -5"), ("--steps", "`-5`"), ("--cfg-rescale", "guidance rescale is -5")] {
        let text = run(folder.path(), &["a dog", flag, "-5"]);
        assert!(text.starts_with("exit code 2") && !text.contains("unexpected argument"), "{text}");
        assert!(text.replace("'-5'", "`-5`").contains(words), "{text}");
    }
}

/// Given noise is not in the file: only with it can the picture be drawn again.
#[test]
fn a_picture_of_given_noise_needs_its_noise() {
    let folder = tempfile::tempdir().unwrap();
    let (tiny, noise) = (model("sd1"), root().join("tests/images/latents.npy").display().to_string());
    draw(folder.path(), "a.png", &["--latents", &noise]);
    insta::assert_snapshot!("redraw_given_noise", run(folder.path(), &["redraw", "a.png", "-m", &tiny]));
    let text = run(folder.path(), &["verify", "a.png", "-m", &tiny, "-q", "--latents", &noise]);
    assert_eq!(text, "exit code 0\n--- stdout\nidentical\n--- stderr\n");
    let other = run(folder.path(), &["a", "-m", &tiny, "-q", "--steps", "1", "--save-latents", "b.npy", "-o", "b.png"]);
    assert!(other.starts_with("exit code 0"), "{other}");
    let text = run(folder.path(), &["verify", "a.png", "-m", &tiny, "-q", "--latents", "b.npy"]);
    assert!(text.starts_with("exit code 2") && text.contains("not the noise of the picture"), "{text}");
}

/// Whatever a file holds, nothing of it reaches the terminal as a command.
#[test]
fn names_in_files_cannot_command_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let text = "a\nSteps: 1, Sampler: \u{1b}[31mx, Seed: 1, Model: \u{1b}[2J";
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.add_text_chunk("parameters".into(), text.into()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    fs::write(folder.path().join("a.png"), bytes).unwrap();
    for arguments in [&["redraw", "a.png"][..], &["redraw", "a.png", "-m", &model("sd1")], &["inspect", "a.png"]] {
        let text = run(folder.path(), arguments);
        assert!(text.contains("\\u{1b}[") && !text.contains('\u{1b}'), "{text}");
    }
}

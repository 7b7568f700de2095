//! Pictures drawn a second time, larger: latents or pixels enlarged, whole or in tiles.
use super::support::{library, load, model, petal, root, transcript};
use petal_engine::{Bitmap, Event, Hires, ImageSource, LoadOptions, Picture, Pipeline, Request, read_infotext};
use std::{fs, ops::ControlFlow, path::Path};

/// A small picture in two passes of two steps each.
fn small(hires: Hires) -> Request {
    Request {
        prompt: "a dog".into(),
        width: Some(32),
        height: Some(24),
        steps: Some(2),
        cfg_scale: Some(2.0),
        hires: Some(hires),
        ..Request::default()
    }
}

fn draw(pipeline: &mut Pipeline, request: &Request) -> Picture {
    pipeline.draw(request, |_| ControlFlow::Continue(())).unwrap().remove(0)
}

fn refused(pipeline: &mut Pipeline, request: &Request) -> String {
    let error = pipeline.draw(request, |event| panic!("{event:?}, though it is to be refused")).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error.to_string()
}

/// What `petal` says in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = petal(folder).args(arguments).output().unwrap();
    let text = transcript(&output, folder).replace(&library().display().to_string(), "[LIBRARY]");
    text.replace(&model("sd1"), "[TINY]").replace(&root().display().to_string(), "[ROOT]")
}

/// A smooth picture: a slope of each colour.
fn slope(width: u32, height: u32) -> Bitmap {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb =
        pixels.flat_map(|(x, y)| [60 + x * 120 / width, 180 - y * 120 / height, 90 + (x + y) * 60 / (width + height)]);
    Bitmap::opaque(width, height, rgb.map(|value| value as u8).collect())
}

fn pixels(picture: Bitmap) -> ImageSource {
    picture.into()
}

#[test]
fn sizes_follow_from_scale_width_or_height() {
    let mut pipeline = load("sd1");
    for (hires, size) in [
        (Hires::default(), (64, 48)),
        (Hires { scale: 1.3, ..Hires::default() }, (40, 28)),
        (Hires { width: Some(48), ..Hires::default() }, (48, 36)),
        (Hires { height: Some(48), scale: 5.0, ..Hires::default() }, (64, 48)),
        (Hires { width: Some(64), height: Some(48), ..Hires::default() }, (64, 48)),
        (Hires { upscaler: Some("Lanczos".into()), scale: 1.3, ..Hires::default() }, (40, 28)),
    ] {
        assert_eq!(draw(&mut pipeline, &small(hires.clone())).pixels.size(), size, "{hires:?}");
    }
}

#[test]
fn every_field_has_an_effect() {
    let mut pipeline = load("sd1");
    let usual = draw(&mut pipeline, &small(Hires::default()));
    let named = |name: &str| Some(name.to_owned());
    for hires in [
        Hires { upscaler: named("latent_bicubic"), ..Hires::default() },
        Hires { upscaler: named("latent_bicubic_antialiased"), ..Hires::default() },
        Hires { upscaler: named("latent_nearest"), ..Hires::default() },
        Hires { upscaler: named("nearest"), ..Hires::default() },
        Hires { upscaler: named("lanczos"), ..Hires::default() },
        Hires { steps: Some(3), ..Hires::default() },
        Hires { strength: 0.5, ..Hires::default() },
        Hires { sampler: named("dpmpp_2m"), ..Hires::default() },
        Hires { scheduler: named("karras"), ..Hires::default() },
        Hires { prompt: named("a cat"), ..Hires::default() },
        Hires { negative_prompt: named("blurry"), ..Hires::default() },
        Hires { cfg_scale: Some(4.0), ..Hires::default() },
    ] {
        let other = draw(&mut pipeline, &small(hires.clone()));
        assert_eq!(other.pixels.size(), usual.pixels.size());
        assert!(other.pixels != usual.pixels, "{hires:?}");
    }
    let label = Hires { upscaler: named("Latent"), ..Hires::default() };
    let label = draw(&mut pipeline, &small(label));
    assert_eq!(label.pixels, usual.pixels);
    assert_eq!(label.request.hires.unwrap().upscaler, named("latent"));
    // the first pass is what it would be alone: what is left of it at the least strength shows it
    let alone = draw(&mut pipeline, &Request { hires: None, ..small(Hires::default()) });
    assert_eq!(alone.pixels.size(), (32, 24));
}

/// Tiles have an effect, and so has their overlap; one tile is no tile.
#[test]
fn one_tile_is_the_whole_and_more_are_not() {
    let mut pipeline = load("sd1");
    for (upscaler, sampler) in [("latent", "euler_a"), ("lanczos", "euler_a"), ("latent", "dpmpp_2m_sde")] {
        let tiled = |tile: Option<u32>, tile_overlap: Option<u32>| {
            let hires = Hires { upscaler: Some(upscaler.into()), scale: 4.0, tile, tile_overlap, ..Hires::default() };
            Request { sampler: Some(sampler.into()), ..small(hires) }
        };
        let whole = draw(&mut pipeline, &tiled(None, None));
        assert_eq!(whole.pixels.size(), (128, 96));
        assert!(draw(&mut pipeline, &tiled(Some(128), None)).pixels == whole.pixels, "{upscaler}, {sampler}");
        let pieces = draw(&mut pipeline, &tiled(Some(64), Some(20)));
        assert!(pieces.pixels != whole.pixels);
        assert!(draw(&mut pipeline, &tiled(Some(64), Some(12))).pixels != pieces.pixels);
    }
}

/// What lies between two neighbouring columns or rows: the sum of the differences.
fn steps_between(picture: &Bitmap, down: bool) -> Vec<f64> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let at = |x: usize, y: usize, c: usize| f64::from(picture.rgb[(y * width + x) * 3 + c]);
    let (length, across) = if down { (height, width) } else { (width, height) };
    let between = |line: usize| {
        let pairs = (0..across).flat_map(|other| (0..3).map(move |c| (other, c)));
        let step = |(other, c)| {
            if down { at(other, line + 1, c) - at(other, line, c) } else { at(line + 1, other, c) - at(line, other, c) }
        };
        pairs.map(step).map(f64::abs).sum::<f64>() / (across * 3) as f64
    };
    (0..length - 1).map(between).collect()
}

/// "SD upscale": a picture is enlarged and drawn over in tiles, without a first pass. Where two tiles of 64 pixels meet in
/// the middle of 128, no seam is to be seen, however much is drawn anew; without overlap it is the largest step of all.
#[test]
fn tiles_over_a_picture_leave_no_seam() {
    let options = LoadOptions { library: Some(library().into()), ..LoadOptions::default() };
    let mut pipeline = Pipeline::load(&options, |_| {}).unwrap();
    let [with, without] = [21, 0].map(|overlap| {
        let tile_overlap = Some(overlap);
        let upscaler = Some("lanczos".into());
        let hires = Hires { upscaler, steps: Some(4), strength: 0.9, tile: Some(64), tile_overlap, ..Hires::default() };
        let (init_image, strength) = (Some(pixels(slope(80, 64))), Some(0.0));
        let request = Request { init_image, strength, width: None, height: None, ..small(hires) };
        let drawn = draw(&mut pipeline, &Request { sampler: Some("euler".into()), cfg_scale: Some(1.0), ..request });
        assert_eq!(drawn.pixels.size(), (160, 128));
        let steps = steps_between(&drawn.pixels, true);
        let mut sorted = steps.clone();
        sorted.sort_by(f64::total_cmp);
        let (usual, seam) = (sorted[sorted.len() / 2], steps[63]);
        println!("overlap {overlap}: {seam:.2} across the middle, {usual:.2} elsewhere");
        seam / usual
    });
    assert!(with < 2.0 && without > 3.0, "{with:.2} and {without:.2}");
}

#[test]
fn progress_is_told_pass_by_pass() {
    let mut pipeline = load("sd1");
    let hires = Hires { steps: Some(3), scale: 4.0, tile: Some(96), tile_overlap: Some(16), ..Hires::default() };
    let mut told = String::new();
    let mut hear = |event: Event<'_>| {
        let word = match event {
            Event::Begin { steps, .. } => format!("begin {steps}\n"),
            Event::Step(step) => format!("{}/{} ", step.step, step.steps),
            Event::SecondPass { steps } => format!("\nagain {steps}\n"),
            Event::Decoding => "\ndecoding".into(),
            _ => "?".into(),
        };
        told.push_str(&word);
        ControlFlow::Continue(())
    };
    let request = Request { sampler: Some("euler".into()), ..small(hires) };
    pipeline.draw(&request, &mut hear).unwrap();
    assert_eq!(told, "begin 2\n1/2 2/2 \nagain 6\n1/6 2/6 3/6 4/6 5/6 6/6 \ndecoding");
}

#[test]
fn a_second_pass_can_be_stopped_and_the_next_picture_is_whole() {
    let mut pipeline = load("sd1");
    let request = small(Hires::default());
    let stopped = pipeline.draw(&request, |event| match event {
        Event::SecondPass { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(petal_engine::Error::Cancelled)));
    assert_eq!(draw(&mut pipeline, &request).pixels, draw(&mut load("sd1"), &request).pixels);
}

#[test]
fn what_cannot_be_drawn_twice_is_refused_before_it_is_begun() {
    let mut pipeline = load("sd1");
    let usual = small(Hires::default());
    let over = |size: (u32, u32), hires: Hires| {
        let init_image = Some(pixels(slope(size.0, size.1)));
        Request { init_image, width: None, height: None, ..small(hires) }
    };
    let lanczos = Hires { upscaler: Some("lanczos".into()), ..Hires::default() };
    let masked = Request {
        mask: Some(pixels(Bitmap::opaque(32, 24, vec![255; 32 * 24 * 3]))),
        ..over((32, 24), Hires::default())
    };
    let wrong = |upscaler: &str| small(Hires { upscaler: Some(upscaler.into()), ..Hires::default() });
    let shaped = small(Hires { width: Some(64), height: Some(64), ..Hires::default() });
    let far = small(Hires { scale: 8.0, ..Hires::default() });
    let far = Request { width: Some(16384), height: Some(16384), ..far };
    let strength = small(Hires { strength: 0.0, ..Hires::default() });
    let tile = small(Hires { tile: Some(64), tile_overlap: Some(40), ..Hires::default() });
    for (request, what) in [
        (masked, "a second pass draws over all of a picture, and a mask keeps a part of it"),
        (over((33, 24), Hires::default()), "a picture of 33x24 pixels is no whole number of latents"),
        (wrong("lanczo"), "unknown upscaler `lanczo`"),
        (wrong("petal-mini"), "unknown upscaler `petal-mini`"),
        (shaped, "the second pass is 64x64, the first 32x24: they differ in shape"),
        (far, "the second pass is of 131072x131072 pixels"),
        (strength, "the second pass's strength is 0"),
        (tile, "the second pass's tiles of 64 overlap by 40, more than a third"),
        (Request { strength: Some(0.0), ..usual.clone() }, "a strength is given without an image"),
        (Request { strength: Some(0.0), hires: None, ..over((32, 24), Hires::default()) }, "strength 0 draws nothing"),
    ] {
        assert_eq!(refused(&mut pipeline, &request), what);
    }
    let odd = draw(&mut pipeline, &over((33, 25), lanczos));
    assert_eq!(odd.pixels.size(), (64, 48), "pixels need not be whole latents");
    let edit = Request { init_image: Some(pixels(slope(32, 24))), ..usual };
    let words = refused(&mut load("sd1-edit"), &edit);
    assert!(words.ends_with("edits pictures; it draws none a second time"), "{words}");
}

/// An inpainting network is shown an empty picture in the second pass.
#[test]
fn an_inpainting_network_draws_twice() {
    let mut pipeline = load("sd1-inpaint");
    let twice = draw(&mut pipeline, &small(Hires::default()));
    assert_eq!(twice.pixels.size(), (64, 48));
    assert!(twice.latents.is_finite());
}

/// Files, and the flags that they are drawn with.
const DRAWN_TWICE: [(&str, &str); 8] = [
    ("plain.png", "-W 32 -H 24 --hires"),
    ("pixels.webp", "-W 32 -H 24 --hires-upscaler Lanczos --hires-scale 1.5"),
    ("network.png", "-W 32 -H 24 --hires-upscaler realesr-animevideov3-x4 --hires-steps 3"),
    ("own.png", "-W 32 -H 24 --hires-width 64 --hires-prompt cat:,1 --hires-sampler euler_a"),
    ("guided.png", "-W 32 -H 24 --hires-negative-prompt= --hires-cfg-scale 3 --hires-scheduler karras"),
    ("tiled.png", "-W 64 -H 32 --hires-tile 64 --hires-tile-overlap 16 --sampler euler_a"),
    ("over.png", "-i slope.png --strength 0.5 --hires --hires-strength 0.4"),
    ("upscaled.png", "-i slope.png --strength 0 --hires-upscaler lanczos --hires-tile 64 --hires-tile-overlap 16"),
];

#[test]
fn two_passes_are_written_down_redrawn_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let tiny = model("sd1");
    slope_file(path);
    let common = ["-m", &tiny, "--steps", "2", "-s", "7", "-q"];
    for (name, more) in DRAWN_TWICE {
        let more: Vec<&str> = more.split(' ').collect();
        let text = run(path, &[&["a dog, small", "-o", name][..], &common, &more].concat());
        assert_eq!(text, format!("exit code 0\n--- stdout\n{name}\n--- stderr\n"));
        let given: &[&str] = if more[0] == "-i" { &more[..2] } else { &[] };
        let text = run(path, &[&["verify", name, "-m", &tiny, "-q"][..], given].concat());
        assert_eq!(text, "exit code 0\n--- stdout\nidentical\n--- stderr\n", "{name}");
        if !["own.png", "upscaled.png"].contains(&name) {
            continue;
        }
        let again = format!("again-{name}");
        let text = run(path, &[&["redraw", name, "-m", &tiny, "-q", "-o", &again][..], given].concat());
        assert!(text.starts_with("exit code 0"), "{text}");
        assert!(fs::read(path.join(name)).unwrap() == fs::read(path.join(again)).unwrap(), "{name}");
    }
    let said = read_infotext(path.join("network.png")).unwrap().unwrap();
    assert_eq!((said.field("Size"), said.field("Hires upscale")), (Some("32x24"), Some("2")));
    assert_eq!((said.field("Hires steps"), said.field("Denoising strength")), (Some("3"), Some("0.7")));
    assert_eq!(said.field("Hires upscaler"), Some("realesr-animevideov3-x4"));
}

fn slope_file(folder: &Path) {
    let bytes = petal_engine::encode_bitmap(&slope(48, 32), petal_engine::FileFormat::Png, None, &[]).unwrap();
    fs::write(folder.join("slope.png"), bytes).unwrap();
}

/// Every flag of the second pass asks for one by itself.
#[test]
fn the_command_tells_of_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let common = ["a dog", "-m", &model("sd1"), "-W", "32", "-H", "24", "--steps", "2", "-s", "7"];
    let more = ["--hires-steps", "3", "--trace", "steps.png", "--sampler", "euler", "-o", "a.png"];
    insta::assert_snapshot!("hires_is_told", run(path, &[&common[..], &more].concat()));
    let reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path.join("steps.apng")).unwrap()));
    let frames = reader.read_info().unwrap().info().animation_control().unwrap().num_frames;
    assert_eq!(frames, 2 + 3 + 1, "the steps of both passes, and the picture");
    insta::assert_snapshot!("hires_upscalers", run(path, &["list", "upscalers"]));
    let common = [&common[..], &["-q", "-o", "b.png"]].concat();
    for (name, more) in [
        ("hires_unknown_upscaler", &["--hires-upscaler", "latnt"][..]),
        ("hires_not_installed", &["--hires-upscaler", "realesrgan-x4plus"]),
        ("hires_other_shape", &["--hires-width", "64", "--hires-height", "64"]),
        ("hires_too_large", &["--hires-scale", "9"]),
    ] {
        insta::assert_snapshot!(name, run(path, &[&common[..], more].concat()));
    }
    assert!(!path.join("b.png").exists());
}

#[test]
fn a_grid_goes_along_scales() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let common = ["a dog", "-m", &model("sd1"), "-W", "32", "-H", "24", "--steps", "2", "-s", "7", "-q"];
    let text =
        run(path, &[&["grid", "--x", "hires.scale=1.5,2", "--keep-cells", "-o", "grid.png"], &common[..]].concat());
    assert!(text.starts_with("exit code 0"), "{text}");
    let mut sizes: Vec<_> = fs::read_dir(path.join("grid.cells"))
        .unwrap()
        .map(|cell| Bitmap::read(cell.unwrap().path()).unwrap().size())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(48, 36), (64, 48)]);
}

/// In the second pass fractions go on from 1, whole numbers from the steps of the first.
#[test]
fn the_second_pass_reads_prompts_where_the_first_ended() {
    let mut pipeline = load("sd1");
    let mut of = |prompt: &str| {
        let hires = Hires { prompt: Some(prompt.into()), ..Hires::default() };
        draw(&mut pipeline, &Request { steps: Some(3), ..small(hires) }).pixels
    };
    let (boat, cat) = (of("a boat"), of("a cat"));
    assert!(boat != cat);
    assert!(of("a [boat:cat:0.5]") == cat && of("a [boat:cat:3]") == cat);
    assert!(of("a [boat:cat:2.0]") == boat && of("a [boat:cat:6]") == boat);
    let between = of("a [boat:cat:1.5]");
    assert!(between != boat && between != cat);
}

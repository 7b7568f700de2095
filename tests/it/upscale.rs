//! Larger pictures: in tiles as whole, by any network made for it, from the command line.
use super::support::{library, model, petal, root, transcript};
use petal_engine::{Bitmap, Error, FileFormat, LoadOptions, Tiles, Upscaler, encode_bitmap, read_infotext};
use std::{
    fs,
    io::Write,
    ops::ControlFlow,
    path::Path,
    process::{Output, Stdio},
};

/// The upscaler that comes with petal.
const BUNDLED: &str = "realesr-animevideov3-x4";

fn tiny(name: &str) -> String {
    model(&format!("upscalers/{name}.onnx"))
}

fn load(name: &str) -> Upscaler {
    try_load(name).unwrap()
}

fn try_load(name: &str) -> petal_engine::Result<Upscaler> {
    let options = LoadOptions { model: Some(name.into()), library: Some(library().into()), ..LoadOptions::default() };
    Upscaler::load(&options, |_| {})
}

/// Slopes, hard edges and noise.
fn picture(width: u32, height: u32) -> Bitmap {
    let mut noise = 7_u32;
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let edge = if (x / 13 + y / 9) % 2 == 0 { 90 } else { 0 };
        [(x * 3 % 160 + edge) as u8, (y * 2 % 160 + edge) as u8, (noise >> 26) as u8 + edge as u8]
    });
    Bitmap::opaque(width, height, pixels.collect())
}

fn upscale(upscaler: &mut Upscaler, picture: &Bitmap, scale: Option<f64>) -> Bitmap {
    upscaler.upscale(picture, scale, |_| ControlFlow::Continue(())).unwrap()
}

fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// Tiles with the overlap that is usual leave no seam: the tiled picture is the whole one, everywhere.
#[test]
fn tiles_give_what_the_whole_picture_gives() {
    for name in [BUNDLED, &tiny("rrdb")] {
        let mut upscaler = load(name);
        for (width, height) in [(210, 160), (145, 3), (125, 331)] {
            let picture = picture(width, height);
            upscaler.tiles = Tiles { side: 8192, overlap: 0 };
            let whole = upscale(&mut upscaler, &picture, None);
            upscaler.tiles = Tiles { side: 144, overlap: Tiles::default().overlap };
            let mut tiles = 0;
            let count = |done: petal_engine::TileDone| {
                tiles = done.tiles;
                ControlFlow::Continue(())
            };
            let pieced = upscaler.upscale(&picture, None, count).unwrap();
            assert!(tiles > 1);
            assert_eq!(pieced.size(), (width * 4, height * 4));
            let largest = largest_difference(&pieced.rgb, &whole.rgb);
            println!("{name}: {width}x{height} in {tiles} tiles differs by {largest}/255");
            assert!(largest <= 1, "{name}: {width}x{height} differs by {largest}");
        }
    }
}

/// Without overlap there are seams, so the test above can fail: with their borders these pixels are three tiles exactly.
#[test]
fn seams_would_be_seen() {
    let mut upscaler = load(&tiny("rrdb"));
    let picture = picture(124, 28);
    let whole = upscale(&mut upscaler, &picture, None);
    upscaler.tiles = Tiles { side: 48, overlap: 0 };
    assert!(largest_difference(&upscale(&mut upscaler, &picture, None).rgb, &whole.rgb) > 4);
}

/// Blending is continuous: across a row of tiles, a plain picture stays plain.
#[test]
fn a_plain_picture_has_no_seam() {
    for name in [BUNDLED, &tiny("rrdb")] {
        let mut upscaler = load(name);
        upscaler.tiles = Tiles { side: 144, overlap: 48 };
        let plain = Bitmap::opaque(200, 30, [200, 90, 30].repeat(6000));
        let row = &upscale(&mut upscaler, &plain, None).rgb[800 * 60 * 3..800 * 61 * 3];
        // away from what the network makes of the picture's own edge
        let inner = &row[4 * 24 * 3..4 * 176 * 3];
        for (at, pixel) in inner.chunks_exact(3).enumerate().skip(4) {
            let before = &inner[(at - 4) * 3..];
            assert!(pixel.iter().zip(before).all(|(a, b)| a.abs_diff(*b) <= 1), "{name}: at {at}");
        }
    }
}

#[test]
fn alpha_is_kept() {
    let mut upscaler = load(&tiny("rrdb"));
    let alpha: Vec<u8> = (0..40 * 40).map(|at| if at % 40 < 20 { 0 } else { 255 }).collect();
    let cut = Bitmap { alpha: Some(alpha), ..picture(40, 40) };
    let larger = upscale(&mut load(BUNDLED), &cut, None);
    let alpha = larger.alpha.unwrap();
    assert_eq!(alpha.len(), 160 * 160);
    let row = &alpha[80 * 160..81 * 160];
    assert!(row[..72].iter().all(|a| *a <= 4) && row[88..].iter().all(|a| *a >= 251), "{row:?}");
    assert_eq!(larger.rgb, upscale(&mut load(BUNDLED), &picture(40, 40), None).rgb);
    // what is equally opaque everywhere stays so
    let glass = Bitmap { alpha: Some(vec![77; 1600]), ..picture(40, 40) };
    assert!(upscale(&mut upscaler, &glass, None).alpha.unwrap().iter().all(|alpha| *alpha == 77));
    assert!(upscale(&mut upscaler, &picture(40, 40), None).alpha.is_none());
}

#[test]
fn the_smallest_pictures_become_larger() {
    let mut upscaler = load(&tiny("rrdb"));
    for (width, height) in [(1, 1), (1, 7), (6, 1), (257, 2)] {
        assert_eq!(upscale(&mut upscaler, &picture(width, height), None).size(), (width * 4, height * 4));
    }
}

/// A graph of one size, in 16 bits, with names of its own; and one that takes multiples of 8 alone.
#[test]
fn graphs_of_other_forms_are_learnt() {
    for name in ["fixed", "windowed"] {
        let mut upscaler = load(&tiny(name));
        assert_eq!(upscaler.scale(), 2);
        for (width, height) in [(5, 3), (13, 21), (77, 50)] {
            assert_eq!(upscale(&mut upscaler, &picture(width, height), None).size(), (width * 2, height * 2), "{name}");
        }
    }
    // what the windowed graph does needs no windows, so that other tiles give the same
    let mut upscaler = load(&tiny("windowed"));
    let whole = upscale(&mut upscaler, &picture(90, 50), None);
    upscaler.tiles = Tiles { side: 64, overlap: 20 };
    assert!(largest_difference(&upscale(&mut upscaler, &picture(90, 50), None).rgb, &whole.rgb) <= 1);
}

#[test]
fn other_scales_than_the_networks_are_reached() {
    let mut upscaler = load(&tiny("rrdb"));
    let picture = picture(20, 13);
    let four = upscale(&mut upscaler, &picture, Some(4.0));
    assert_eq!(four, upscale(&mut upscaler, &picture, None));
    for (scale, size) in [(2.0, (40, 26)), (3.0, (60, 39)), (1.0, (20, 13)), (1.5, (30, 20)), (8.0, (160, 104))] {
        let larger = upscale(&mut upscaler, &picture, Some(scale));
        assert_eq!(larger.size(), size, "{scale}");
    }
    let half = four.resized(40, 26, petal_engine::Filter::Lanczos);
    assert_eq!(upscale(&mut upscaler, &picture, Some(2.0)), half);
    let twice = upscale(&mut upscaler, &four, None);
    assert_eq!(upscale(&mut upscaler, &picture, Some(16.0)), twice);
    for scale in [0.5, 17.0, f64::NAN] {
        let error = upscaler.upscale(&picture, Some(scale), |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, Error::Request { .. }), "{error}");
    }
}

#[test]
fn what_is_no_upscaler_is_named() {
    let unet = root().join("tests/models/sd1/unet/model.onnx").display().to_string();
    for name in [tiny("mean"), unet] {
        let error = try_load(&name).unwrap_err();
        assert!(matches!(error, Error::Model { .. }) && error.to_string().contains("is no upscaler"), "{error}");
    }
    assert!(try_load("petal-mini").unwrap_err().to_string().contains("draws pictures"));
}

#[test]
fn it_can_be_stopped_and_goes_on_afterwards() {
    let mut upscaler = load(&tiny("rrdb"));
    let stopped = upscaler.upscale(&picture(20, 20), None, |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let handle = upscaler.cancel_handle();
    let stopped = upscaler.upscale(&picture(700, 20), None, |_| {
        handle.cancel();
        ControlFlow::Continue(())
    });
    assert!(matches!(stopped, Err(Error::Cancelled)));
    assert_eq!(upscale(&mut upscaler, &picture(5, 5), None).size(), (20, 20));
}

/// Runs petal in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    petal(folder).args(arguments).output().unwrap()
}

fn text(folder: &Path, arguments: &[&str]) -> String {
    transcript(&run(folder, arguments), folder).replace(&model("upscalers"), "[UPSCALERS]")
}

#[test]
fn the_command_keeps_what_the_file_says_and_adds_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(run(path, &["a dog", "--steps", "1", "-s", "7", "-q", "-o", "dog.png"]).status.success());
    let drawn = read_infotext(path.join("dog.png")).unwrap().unwrap();
    assert_eq!(text(path, &["upscale", "dog.png", "-q"]), "exit code 0\n--- stdout\ndog-x4.png\n--- stderr\n");
    let larger = Bitmap::read(path.join("dog-x4.png")).unwrap();
    let (width, height) = Bitmap::read(path.join("dog.png")).unwrap().size();
    assert_eq!(larger.size(), (4 * width, 4 * height));
    // row by row or at once, through a file or a pipe, it is the same picture
    assert_eq!(larger, upscale(&mut load(BUNDLED), &Bitmap::read(path.join("dog.png")).unwrap(), None));
    let said = read_infotext(path.join("dog-x4.png")).unwrap().unwrap();
    assert_eq!((&said.prompt, &said.whole), (&drawn.prompt, &drawn.whole));
    assert_eq!(said.field("Postprocess upscale by"), Some("4"));
    assert_eq!(said.field("Postprocess upscaler"), Some(BUNDLED));
    let again = text(path, &["upscale", "dog.png", "-q"]);
    assert!(again.contains("dog-x4-2.png"), "nothing is overwritten: {again}");
    fs::create_dir(path.join("more")).unwrap();
    let webp = text(path, &["upscale", "dog.png", "-q", "-o", "more/", "--format", "webp", "--quality", "80"]);
    assert_eq!(webp, "exit code 0\n--- stdout\nmore/dog-x4.webp\n--- stderr\n");
    assert_eq!(Bitmap::read(path.join("more/dog-x4.webp")).unwrap().size(), larger.size());
    let jpeg = text(path, &["upscale", "dog.png", "-x", "3", "-q", "-o", "a.jpg", "--quality", "90"]);
    assert!(jpeg.starts_with("exit code 0"), "{jpeg}");
    assert_eq!(read_infotext(path.join("a.jpg")).unwrap().unwrap().field("Postprocess upscale by"), Some("3"));
    assert_eq!(Bitmap::read(path.join("a.jpg")).unwrap().size(), (3 * width, 3 * height));
}

#[test]
fn it_stands_in_a_pipe_and_takes_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let bytes = encode_bitmap(&picture(9, 7), FileFormat::Png, None, &[]).unwrap();
    let mut child = petal(path)
        .args(["upscale", "-", "-q", "-m", &tiny("rrdb"), "-o", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    fs::write(path.join("piped.png"), output.stdout).unwrap();
    assert_eq!(Bitmap::read(path.join("piped.png")).unwrap().size(), (36, 28));
    fs::create_dir(path.join("out")).unwrap();
    for name in ["a.png", "b.png"] {
        fs::write(path.join(name), &bytes).unwrap();
    }
    let many = text(path, &["upscale", "a.png", "b.png", "-m", &tiny("rrdb"), "-x", "2", "-q", "-o", "out"]);
    assert_eq!(many, "exit code 0\n--- stdout\nout/a-x2.png\nout/b-x2.png\n--- stderr\n");
    let json = run(path, &["upscale", "a.png", "-m", &tiny("rrdb"), "-q", "--json", "-o", "a.webp"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["width"], &json["scale"], &json["path"]), (&36.into(), &4.0.into(), &"a.webp".into()));
}

#[test]
fn wrong_commands_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.png"), encode_bitmap(&picture(9, 7), FileFormat::Png, None, &[]).unwrap()).unwrap();
    let mean = tiny("mean");
    for (name, arguments) in [
        ("upscale_onto_itself", &["upscale", "a.png", "-o", "./a.png"][..]),
        ("upscale_with_a_drawing_model", &["upscale", "a.png", "-m", "petal-mini"]),
        ("upscale_draw_with_an_upscaler", &["a dog", "-m", BUNDLED]),
        ("upscale_no_upscaler", &["upscale", "a.png", "-m", &mean]),
        ("upscale_too_much", &["upscale", "a.png", "-x", "99", "-q"]),
        ("upscale_unknown", &["upscale", "a.png", "-m", "realesrgan"]),
        ("upscale_not_installed", &["upscale", "a.png", "-m", "realesrgan-x4plus"]),
        ("upscale_wide_overlap", &["upscale", "a.png", "--tile", "64", "--tile-overlap", "32"]),
        ("upscale_many_to_one", &["upscale", "a.png", "a.png", "-o", "b.png"]),
        ("upscale_list", &["list", "models"]),
    ] {
        insta::assert_snapshot!(name, text(path, arguments));
    }
}

/// Drawing with `--upscale` is drawing and then enlarging, and the file says both.
#[test]
fn drawn_pictures_are_enlarged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let draw = ["a dog", "--steps", "2", "-s", "7", "-q", "-m"];
    let (sd1, rrdb) = (model("sd1"), tiny("rrdb"));
    let small = [&draw[..], &[&sd1, "-o", "small.png"]].concat();
    let named = format!("--upscale={rrdb}");
    let large = [&draw[..], &[&sd1, &named, "--upscale-by", "3", "-o", "large.png"]].concat();
    for arguments in [&small, &large] {
        let output = run(path, arguments);
        assert!(output.status.success(), "{}", transcript(&output, path));
    }
    let small = Bitmap::read(path.join("small.png")).unwrap();
    let larger = upscale(&mut load(&rrdb), &small, Some(3.0));
    assert_eq!(Bitmap::read(path.join("large.png")).unwrap(), larger);
    let said = read_infotext(path.join("large.png")).unwrap().unwrap();
    assert_eq!((said.field("Size"), said.field("Postprocess upscale by")), (Some("64x64"), Some("3")));
    let again = text(path, &["verify", "large.png", "-m", &sd1, "-q"]);
    assert_eq!(again, "exit code 0\n--- stdout\nidentical\n--- stderr\n");
    let usual = run(path, &[&draw[..], &[&sd1, "--upscale", "-o", "usual.png"]].concat());
    assert!(usual.status.success(), "{}", transcript(&usual, path));
    let said = read_infotext(path.join("usual.png")).unwrap().unwrap();
    assert_eq!(said.field("Postprocess upscaler"), Some(BUNDLED));
    let wrong = text(path, &[&draw[..], &[&sd1, "--upscale=petal-mini"]].concat());
    assert!(wrong.contains("draws pictures, it does not make them larger"), "{wrong}");
}

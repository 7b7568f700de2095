//! The autoencoder in tiles: the same picture in less memory.
use super::support::{library, load, model, root};
use petal_engine::{Bitmap, LoadOptions, Pipeline, Request};
use std::ops::ControlFlow;

fn demo() -> Pipeline {
    let library = Some(library().to_path_buf());
    Pipeline::load(&LoadOptions { library, ..LoadOptions::default() }, |_| {}).unwrap()
}

fn draw(pipeline: &mut Pipeline, request: &Request) -> Bitmap {
    pipeline.draw(request, |_| ControlFlow::Continue(())).unwrap().remove(0).pixels
}

/// The largest difference of two pictures, in 1/255.
fn worst(one: &Bitmap, other: &Bitmap) -> u8 {
    assert_eq!((one.width, one.height), (other.width, other.height));
    one.rgb.iter().zip(&other.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn tiling(request: &Request, how: &str) -> Request {
    Request { vae_tiling: Some(how.into()), vae_tile_size: (how == "on").then_some(64), ..request.clone() }
}

/// The trained decoder, of 15 group norms, and random ones with attention, in 32 and 16 bits and in an older export.
#[test]
fn decoding_in_tiles_gives_the_whole_picture() {
    let request = |width, height| Request {
        prompt: "a red apple".into(),
        steps: Some(1),
        width: Some(width),
        height: Some(height),
        ..Request::default()
    };
    for (name, sizes, bound) in [
        ("petal-mini", [(192, 192), (384, 256), (320, 448)], 1),
        ("sd1", [(192, 128), (96, 256), (64, 64)], 1),
        ("sd1-old", [(192, 128), (96, 256), (64, 64)], 1),
        ("sd1-fp16", [(192, 128), (96, 256), (64, 64)], 1),
    ] {
        let mut pipeline = if name == "petal-mini" { demo() } else { load(name) };
        for (width, height) in sizes {
            let request = request(width, height);
            let whole = draw(&mut pipeline, &tiling(&request, "off"));
            let tiled = draw(&mut pipeline, &tiling(&request, "on"));
            let worst = worst(&whole, &tiled);
            println!("decode, {name}, {width}x{height}: {worst}/255");
            assert!(worst <= bound, "{name}, {width}x{height}: {worst}/255");
        }
    }
}

/// A picture drawn over, a little: what differs is the encoder's and the decoder's.
#[test]
fn encoding_in_tiles_gives_the_same_picture() {
    let wave = |place: usize| ((place as f64 / 37.0).sin() * 90.0 + (place as f64 / 4001.0).cos() * 30.0 + 128.0) as u8;
    for (name, mut pipeline) in [("petal-mini", demo()), ("sd1", load("sd1"))] {
        for (width, height) in [(192, 192), (256, 384), (448, 320)] {
            let image = Bitmap::opaque(width, height, (0..(width * height * 3) as usize).map(wave).collect());
            let request = Request {
                init_image: Some(image.into()),
                strength: Some(0.1),
                steps: Some(10),
                width: Some(width),
                height: Some(height),
                cfg_scale: Some(1.0),
                ..Request::default()
            };
            let whole = draw(&mut pipeline, &tiling(&request, "off"));
            let tiled = draw(&mut pipeline, &tiling(&request, "on"));
            let worst = worst(&whole, &tiled);
            println!("encode and decode, {name}, {width}x{height}: {worst}/255");
            assert!(worst <= 2, "{name}, {width}x{height}: {worst}/255");
        }
    }
}

/// Without a tiny autoencoder, `--vae fast` is an error that says where to get one.
#[test]
fn fast_needs_a_tiny_autoencoder() {
    let request = Request { vae: Some("fast".into()), steps: Some(1), ..Request::default() };
    let error = load("sd2-v").complete(&request).unwrap_err();
    assert!(error.to_string().contains("`--vae fast`") && error.hint().unwrap().contains("--taesd"), "{error}");
    let taesd = Some(root().join("tests/models/sd1/vae_tiny_decoder"));
    let (model, library) = (Some(model("sd2-v")), Some(library().to_path_buf()));
    let options = LoadOptions { model, library, taesd, ..LoadOptions::default() };
    let mut named = Pipeline::load(&options, |_| {}).unwrap();
    let fast = draw(&mut named, &request);
    assert_ne!(fast.rgb, draw(&mut named, &Request { vae: None, ..request }).rgb);
}

/// The choice follows from the request alone, and stands in it.
#[test]
fn large_pictures_are_made_in_tiles() {
    let pipeline = demo();
    for (side, tiling) in [(64, None), (768, None), (1024, None), (8192, Some("on"))] {
        for asked in [None, Some("auto".to_owned())] {
            let request = Request { width: Some(side), height: Some(side), vae_tiling: asked, ..Request::default() };
            let whole = pipeline.complete(&request).unwrap();
            assert_eq!(whole.vae_tiling.as_deref(), tiling, "{side}");
            assert_eq!(whole.vae_tile_size.is_some(), tiling.is_some());
            assert_eq!(pipeline.complete(&whole).unwrap(), whole);
        }
    }
}

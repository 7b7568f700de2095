//! Pictures that are drawn over others, compared with those of diffusers' inpainting and editing pipelines.
use super::{
    reference::{self, json, load_as},
    support::{load, model, petal, read_png, root},
};
use petal_engine::{Bitmap, ImageSource, Request};
use serde_json::Value;
use std::ops::ControlFlow;

const FOLDER: &str = "tests/images/editing";

/// A picture of the folder.
fn read(file: &str) -> Bitmap {
    let (width, height, rgb) = read_png(&root().join(FOLDER).join(file));
    Bitmap::opaque(width, height, rgb)
}

fn source(file: &str) -> ImageSource {
    ImageSource::File(root().join(FOLDER).join(file))
}

/// The request of a reference picture, with the names of diffusers.
fn request_of(common: &Value, reference: &Value) -> Request {
    let padding = reference["padding_mask_crop"].as_u64();
    Request {
        mask: reference["mask"].as_str().map(source),
        mask_blur: if reference["mask"].is_string() { 0.0 } else { 4.0 },
        img_cfg_scale: reference["image_guidance_scale"].as_f64(),
        only_masked: padding.is_some(),
        mask_padding: padding.map_or(32, |pixels| pixels as u32),
        ..reference::request_of(&root().join(FOLDER), common, reference)
    }
}

/// Under the mask each is as near to diffusers as other pictures are; outside, where diffusers gives back what the
/// autoencoder made of the picture, it is the picture.
#[test]
fn what_is_under_the_mask_equals_diffusers_and_the_rest_the_picture() {
    let index = json("tests/images/editing/index.json");
    let references = index["pictures"].as_array().unwrap();
    let (mut faults, mut drawn_over) = (Vec::new(), 0);
    for reference in references {
        let file = reference["file"].as_str().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let picture = load_as(reference, copy.path())
            .draw(&request_of(&index["request"], reference), |_| ControlFlow::Continue(()))
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .remove(0);
        let (wanted, before) = (read(file), read("picture.png"));
        let mask = reference["mask"].as_str().map(|mask| read(mask).rgb);
        assert_eq!(picture.pixels.size(), wanted.size(), "{file}");
        let is_white = |grey: &&u8| **grey == u8::MAX;
        drawn_over += mask.as_ref().map_or(wanted.rgb.len(), |mask| mask.iter().filter(is_white).count());
        let worst = worst_under(mask.as_deref(), &picture.pixels, &before, &wanted, file);
        println!("fidelity: editing {} {worst}", file.trim_end_matches(".png"));
        if worst > 2 {
            faults.push(format!("{file}: {worst}/255"));
        }
    }
    assert!(drawn_over > references.len() * 100, "the masks are all but black");
    assert!(faults.is_empty(), "too far from diffusers:\n{}", faults.join("\n"));
}

/// The largest difference from what is `wanted` under the mask, as far as it says; outside of it, `picture` must be what
/// was there `before`.
pub(crate) fn worst_under(mask: Option<&[u8]>, picture: &Bitmap, before: &Bitmap, wanted: &Bitmap, file: &str) -> u8 {
    let mut worst = 0;
    for (i, found) in picture.rgb.iter().enumerate() {
        match mask.map_or(255, |mask| mask[i]) {
            0 => assert_eq!(*found, before.rgb[i], "{file}: byte {i} is outside the mask"),
            255 => worst = worst.max(found.abs_diff(wanted.rgb[i])),
            grey => {
                let mixture =
                    f64::from(before.rgb[i]) * f64::from(255 - grey) + f64::from(wanted.rgb[i]) * f64::from(grey);
                worst = worst.max(found.abs_diff((mixture / 255.0).round() as u8));
            }
        }
    }
    worst
}

fn draw(model: &str, request: &Request) -> petal_engine::Result<Bitmap> {
    Ok(load(model).draw(request, |_| ControlFlow::Continue(()))?.remove(0).pixels)
}

#[test]
fn a_network_that_edits_needs_a_picture() {
    let error = draw("sd1-edit", &Request { steps: Some(2), ..Request::default() }).unwrap_err();
    assert_eq!(error.to_string(), "the model edits pictures, but none is given");
    assert_eq!(error.hint().as_deref(), Some("name one with `-i`"));
}

/// Without a picture or a mask, an inpainting network is shown that all is masked.
#[test]
fn an_inpainting_network_draws_without_a_mask_too() {
    let plain = Request { steps: Some(4), width: Some(48), height: Some(32), ..Request::default() };
    let over = Request { init_image: Some(source("picture.png")), ..plain.clone() };
    let masked = Request { mask: Some(source("mask.png")), mask_blur: 0.0, ..over.clone() };
    let pictures: Vec<_> = [plain, over, masked].iter().map(|request| draw("sd1-inpaint", request).unwrap()).collect();
    assert_eq!(pictures[0].size(), (48, 32));
    assert!(pictures[0] != pictures[1] && pictures[1] != pictures[2]);
}

/// How much the picture counts, and what is under the mask, change what is drawn.
#[test]
fn every_option_of_editing_has_an_effect() {
    let request = Request { steps: Some(4), init_image: Some(source("picture.png")), ..Request::default() };
    let scaled = |scale| draw("sd1-edit", &Request { img_cfg_scale: scale, ..request.clone() }).unwrap();
    assert_eq!(scaled(None), scaled(Some(1.5)));
    assert!(scaled(Some(0.5)) != scaled(None));
    let masked = Request { mask: Some(source("mask.png")), ..request };
    let fills = [None, Some("original"), Some("fill"), Some("noise"), Some("nothing")];
    let filled = |fill: Option<&str>| Request { inpaint_fill: fill.map(Into::into), ..masked.clone() };
    let pictures: Vec<_> = fills.into_iter().map(|fill| draw("sd1", &filled(fill)).unwrap()).collect();
    for (i, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..i].contains(picture), "{:?}", fills[i]);
    }
}

/// From the command line, with a network of each kind.
#[test]
fn petal_inpaints() {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| root().join(FOLDER).join(file).display().to_string();
    for name in ["sd1", "sd1-inpaint", "sd1-edit"] {
        let (picture, mask, model) = (path("picture.png"), path("mask.png"), model(name));
        let arguments = ["a dog", "-i", &picture, "--mask", &mask, "--mask-blur", "0", "-m", &model, "--steps", "3"];
        let output = petal(folder.path()).args(arguments).args(["-o", "out.png", "-q"]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let (_, _, pixels) = read_png(&folder.path().join("out.png"));
        let (before, mask) = (read("picture.png").rgb, read("mask.png").rgb);
        let kept = (0..mask.len()).filter(|i| mask[*i] == 0);
        assert!(kept.clone().count() > 1000 && kept.clone().all(|i| pixels[i] == before[i]), "{name}");
        assert!((0..mask.len()).any(|i| pixels[i] != before[i]), "{name}");
    }
}

//! Numbers of diffusers and Pillow, written by `scripts/golden_editing.py`.
use super::*;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/editing.json")).unwrap()
}

fn bytes(values: &Value) -> Vec<u8> {
    let digits = values.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn size(entry: &Value) -> (u32, u32) {
    let side = |at: usize| entry["size"][at].as_u64().unwrap() as u32;
    (side(0), side(1))
}

fn picture(entry: &Value) -> Bitmap {
    Bitmap::opaque(size(entry).0, size(entry).1, bytes(&entry["values"]))
}

fn mask(entry: &Value) -> Mask {
    Mask { values: bytes(&entry["values"]), ..Mask::plain(size(entry), 0) }
}

/// The largest and the mean difference.
fn differences(ours: &[u8], theirs: &[u8]) -> (u8, f64) {
    assert_eq!(ours.len(), theirs.len());
    let all: Vec<u8> = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).collect();
    (all.iter().copied().max().unwrap(), all.iter().map(|d| f64::from(*d)).sum::<f64>() / all.len() as f64)
}

/// Apart from the margins of `fill`, which diffusers makes of several of the outermost pixels, petal of the last, and from
/// what is so near to a border of `crop` that diffusers mixes pixels into it that it then cuts off.
#[test]
fn pictures_come_to_a_size_as_in_diffusers() {
    let golden = golden();
    let image = picture(&golden["picture"]);
    for case in golden["resized"].as_array().unwrap() {
        let name = case["mode"].as_str().unwrap();
        let mode = ResizeMode::of(Some(if name == "default" { "stretch" } else { name }));
        let (width, height) = size(case);
        let compared = match mode {
            ResizeMode::Stretch => Region::whole((width, height)),
            ResizeMode::Fill => fitted(image.size(), (width, height)),
            ResizeMode::Crop => Region { left: 9, top: 9, width: width - 18, height: height - 18 },
        };
        let part =
            |picture: &Bitmap| cropped(picture, (compared.left, compared.top), (compared.width, compared.height)).rgb;
        let ours = mode.frame(&image, (width, height), Filter::Lanczos);
        let (most, _) = differences(&part(&ours), &part(&picture(case)));
        assert!(most <= 2, "{name} {width}x{height}: {most}");
    }
}

/// Pillow's `GaussianBlur` is three boxes, each of which continues the border anew.
#[test]
fn masks_are_blurred_by_a_gaussian_and_much_as_in_pillow() {
    let golden = golden();
    let (width, height) = size(&golden["hard"]);
    let inner = |values: Vec<u8>| {
        let mask = Mask { values, ..Mask::plain((width, height), 0) };
        mask.after(|mask| cropped(mask, (8, 8), (width - 16, height - 16))).values
    };
    for case in golden["blurred"].as_array().unwrap() {
        let deviation = case["deviation"].as_f64().unwrap();
        let ours = mask(&golden["hard"]).blurred(deviation);
        let (most, _) = differences(&ours.values, &bytes(&case["gaussian"]));
        assert!(most <= 1, "{deviation}: {most}");
        let (most, mean) = differences(&inner(ours.values), &inner(bytes(&case["pillow"])));
        assert!(most <= 5 && mean < 2.0, "{deviation}: {most}, {mean} on average");
    }
}

#[test]
fn what_was_drawn_goes_back_as_in_diffusers() {
    let golden = golden();
    let (before, drawn, overlaid) = (picture(&golden["picture"]), picture(&golden["drawn"]), &golden["overlaid"]);
    let whole = Region::whole(before.size());
    let canvas = |mask: Mask, region: Region| Canvas {
        image: Bitmap::default(),
        mask: None,
        before: before.clone(),
        replaced: Some(mask),
        region,
        shown: Region::whole((region.width, region.height)),
        opaque: false,
    };
    let after = canvas(mask(&golden["soft"]), whole).finish(&drawn);
    assert!(differences(&after.rgb, &bytes(&overlaid["whole"])).0 <= 1);
    let region = Region { left: 3, top: 2, width: 12, height: 10 };
    let inside = Mask { values: bytes(&overlaid["inside"]), ..Mask::plain(before.size(), 0) };
    let after = canvas(inside, region).finish(&cropped(&drawn, (0, 0), (12, 10)));
    assert!(differences(&after.rgb, &bytes(&overlaid["part"])).0 <= 1);
}

#[test]
fn networks_are_given_the_mask_of_diffusers() {
    for case in golden()["nearest"].as_array().unwrap() {
        let latent: Vec<f32> = case["latent"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        assert_eq!(mask(case).nearest(case["factor"].as_u64().unwrap() as u32), latent);
    }
}

//! What pictures say of themselves.
use super::{
    dice::Dice,
    support::{load, model, petal, root},
};
use petal_engine::{EncodeOptions, FileFormat, Picture, Pipeline, Request, read_infotext};
use serde_json::Value;
use std::{fs, ops::ControlFlow};

const SUFFIXES: [&str; 3] = ["png", "webp", "jpg"];

fn draw(pipeline: &mut Pipeline, request: &Request) -> Picture {
    pipeline.draw(request, |_| ControlFlow::Continue(())).unwrap().remove(0)
}

#[test]
fn a_picture_brings_its_request_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = load("sd1");
    for (number, prompt) in
        ["plain", "a, b: c\n\"d\"", "太空中的狗 🚀", "Negative prompt: x\nSteps: 1, A: b, C: d", ""].iter().enumerate()
    {
        let request = Request {
            prompt: (*prompt).into(),
            negative_prompt: "x\ny".into(),
            steps: Some(2),
            cfg_scale: Some(3.25),
            seed: u64::MAX,
            sampler: Some("DPM++ 2M Karras".into()),
            ..Request::default()
        };
        let picture = draw(&mut pipeline, &request);
        for suffix in SUFFIXES {
            let path = folder.path().join(format!("{number}.{suffix}"));
            picture.save(&path, &EncodeOptions::default()).unwrap();
            let info = read_infotext(&path).unwrap().unwrap();
            assert_eq!(info.request().unwrap(), picture.request, "{prompt}");
            assert_eq!((info.prompt.as_str(), info.left_out().len()), (*prompt, 0));
            assert_eq!(info.field("Sampler"), Some("DPM++ 2M"));
            assert_eq!(info.field("Schedule type"), Some("Karras"));
            let fields = ["Steps", "CFG scale", "Size", "Model"].map(|name| info.field(name));
            assert_eq!(fields, [Some("2"), Some("3.25"), Some("64x64"), Some("sd1")]);
            assert_eq!(info.quality(), (suffix == "jpg").then_some(95));
        }
    }
}

/// Any request comes back from any format, to the last bit of its numbers.
#[test]
fn random_requests_come_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let small = Request { steps: Some(1), width: Some(8), height: Some(8), ..Request::default() };
    let picture = draw(&mut load("sd1"), &small);
    let mut dice = Dice(1);
    for _ in 0..300 {
        let picture = Picture { request: dice.request(), ..picture.clone() };
        for suffix in SUFFIXES {
            let path = folder.path().join("x").with_extension(suffix);
            picture.save(&path, &EncodeOptions::default()).unwrap();
            let info = read_infotext(&path).unwrap().unwrap();
            assert_eq!(info.request().unwrap(), picture.request, "{suffix}");
        }
    }
}

/// What a file says draws its pixels again.
#[test]
fn random_requests_are_redrawn_to_the_same_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let (mut pipeline, mut dice) = (load("sd1"), Dice(2));
    let (mut drawn, mut refused) = (0, 0);
    while drawn < 100 {
        let Ok(request) = pipeline.complete(&dice.request()) else {
            refused += 1; // a combination that this model has not
            assert!(refused < 1000, "only {drawn} of {} requests can be drawn", drawn + refused);
            continue;
        };
        let picture = draw(&mut pipeline, &request);
        let path = folder.path().join("x").with_extension(SUFFIXES[drawn % 3]);
        picture.save(&path, &EncodeOptions { quality: Some(30 + drawn as u8 % 70), metadata: true }).unwrap();
        let info = read_infotext(&path).unwrap().unwrap();
        let again = draw(&mut pipeline, &info.request().unwrap());
        let differing = again.pixels.rgb.iter().zip(&picture.pixels.rgb).filter(|(a, b)| a != b).count();
        println!("fidelity: redraw random-request {differing}");
        assert_eq!(differing, 0, "{request:?}");
        let comparison = again.compare(&path, info.quality()).unwrap();
        assert!(comparison.is_identical(), "{comparison:?}, {request:?}");
        drawn += 1;
    }
}

/// The pictures of other programs mean what `scripts/golden_infotext.py`, which wrote them, says.
#[test]
fn pictures_of_other_programs_are_understood() {
    let folder = root().join("tests/images/foreign");
    let index: Value = serde_json::from_str(&fs::read_to_string(folder.join("index.json")).unwrap()).unwrap();
    for wanted in index["pictures"].as_array().unwrap() {
        let file = wanted["file"].as_str().unwrap();
        let info = read_infotext(folder.join(file)).unwrap().unwrap();
        assert_eq!(info.origin.to_string(), wanted["origin"].as_str().unwrap(), "{file}");
        if let Some(pairs) = wanted["pairs"].as_array() {
            let found: Vec<_> = info.fields.iter().map(|(name, value)| serde_json::json!([name, value])).collect();
            assert_eq!(&found, pairs, "{file}");
        }
        match info.request() {
            Ok(request) => assert_eq!(as_sorted(&request.to_json()), as_sorted(&wanted["request"]), "{file}"),
            Err(_) => assert!(wanted["request"].is_null(), "{file}"),
        }
        assert_eq!(serde_json::json!(info.left_out()), wanted["left_out"], "{file}");
    }
}

/// Cut or changed anywhere, the files of others give words, nothing or an error, never a panic.
#[test]
fn damaged_files_of_other_programs_do_no_harm() {
    let (folder, mut dice) = (tempfile::tempdir().unwrap(), Dice(3));
    let path = folder.path().join("x");
    let mut understood = 0;
    for file in fs::read_dir(root().join("tests/images/foreign")).unwrap() {
        let good = fs::read(file.unwrap().path()).unwrap();
        for number in 0..200 {
            let mut bad = good.clone();
            if number % 4 == 0 {
                bad.truncate(dice.below(good.len() as u64) as usize);
            }
            for _ in 0..dice.below(4) {
                let place = dice.below(bad.len().max(1) as u64) as usize;
                bad.iter_mut().skip(place).take(1).for_each(|byte| *byte = dice.next() as u8);
            }
            fs::write(&path, bad).unwrap();
            if let Ok(Some(info)) = read_infotext(&path) {
                let _ = (info.request(), info.left_out());
                understood += 1;
            }
        }
    }
    assert!(understood > 100, "{understood}: the damage was too great to show anything");
}

/// The fields of an object by name, whatever their order.
fn as_sorted(object: &Value) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = object.as_object().unwrap().iter().collect();
    fields.sort_by_key(|(name, _)| name.as_str());
    fields
}

#[test]
fn no_metadata_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for suffix in SUFFIXES {
        let path = folder.path().join("a").with_extension(suffix);
        let arguments = ["secret words", "-m", &model("sd1"), "--steps", "1", "--no-metadata", "-q", "-o"];
        assert!(petal(folder.path()).args(arguments).arg(&path).output().unwrap().status.success());
        let bytes = fs::read(&path).unwrap();
        let secret = |window: &[u8]| window == b"secret" || window == b"s\0e\0c\0";
        assert!(!bytes.windows(6).any(secret));
        assert_eq!(read_infotext(&path).unwrap(), None);
    }
}

/// A JPEG file has no room for long prompts; that is said before anything is drawn.
#[test]
fn what_a_jpeg_file_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let long = Request { prompt: "x".repeat(20_000), width: Some(8), height: Some(8), ..Request::default() };
    assert!(FileFormat::Jpeg.check_metadata(&long).unwrap_err().to_string().contains("too long"));
    FileFormat::WebP.check_metadata(&long).unwrap();
    let picture = draw(&mut load("sd1"), &Request { steps: Some(1), ..long });
    picture.encode(FileFormat::Jpeg, &EncodeOptions::default()).unwrap_err();
    picture.encode(FileFormat::Jpeg, &EncodeOptions { metadata: false, quality: Some(0) }).unwrap_err();
    for suffix in ["png", "webp"] {
        let path = folder.path().join("x").with_extension(suffix);
        picture.save(&path, &EncodeOptions::default()).unwrap();
        assert_eq!(read_infotext(&path).unwrap().unwrap().request().unwrap(), picture.request);
    }
}

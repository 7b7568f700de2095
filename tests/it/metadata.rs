//! What pictures say of themselves.
use super::support::{load, model, petal};
use petal_engine::{Request, read_infotext};
use std::ops::ControlFlow;

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
        let picture = pipeline.draw(&request, |_| ControlFlow::Continue(())).unwrap().remove(0);
        let path = folder.path().join(format!("{number}.png"));
        picture.save(&path, true).unwrap();
        let info = read_infotext(&path).unwrap().unwrap();
        assert_eq!(info.request.as_ref(), Some(&picture.request), "{prompt}");
        assert_eq!(info.prompt, *prompt);
        let field = |name: &str| info.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(field("Sampler"), Some("DPM++ 2M"));
        assert_eq!(field("Schedule type"), Some("Karras"));
        assert_eq!((field("Steps"), field("CFG scale"), field("Size")), (Some("2"), Some("3.25"), Some("64x64")));
    }
}

#[test]
fn no_metadata_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["secret words", "-m", &model("sd1"), "--steps", "1", "-o", "a.png", "--no-metadata", "-q"];
    assert!(petal(folder.path()).args(arguments).output().unwrap().status.success());
    let bytes = std::fs::read(folder.path().join("a.png")).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    assert_eq!(read_infotext(folder.path().join("a.png")).unwrap(), None);
}

//! `petal inspect` on graphs and models, as users see it.
use super::support::{copy_folder, model, petal, petal_without_library, root, transcript};
use serde_json::Value;
use std::{fs, path::Path};

/// What petal, without ONNX Runtime, says of `what` in `folder`.
fn inspect(folder: &Path, arguments: &[&str]) -> String {
    let output = petal_without_library(folder).arg("inspect").args(arguments).output().unwrap();
    transcript(&output, folder).replace(&root().display().to_string(), "[ROOT]")
}

/// As JSON.
fn json(folder: &Path, what: &str) -> Value {
    let output = petal_without_library(folder).args(["inspect", "--json", what]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A field of Protocol Buffers that holds bytes, of which there are fewer than 2^14.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8);
    [&[number << 3 | 2, low, high], bytes].concat()
}

fn node(domain: &str, op: &str) -> Vec<u8> {
    field(1, &[field(1, b"x"), field(2, b"y"), field(4, op.as_bytes()), field(7, domain.as_bytes())].concat())
}

/// A port of float32 with axes that are numbers (below 128) or names.
fn port(list: u8, name: &str, axes: &[&str]) -> Vec<u8> {
    let axis = |axis: &&str| match axis.parse::<u8>() {
        Ok(length) => field(1, &[8, length]),
        Err(_) => field(1, &field(2, axis.as_bytes())),
    };
    let shape: Vec<u8> = axes.iter().flat_map(axis).collect();
    let kind = field(1, &[vec![8, 1], field(2, &shape)].concat());
    field(list, &[field(1, name.as_bytes()), field(2, &kind)].concat())
}

fn opset(domain: &str, version: u8) -> Vec<u8> {
    field(8, &[field(1, domain.as_bytes()), vec![16, version]].concat())
}

/// A UNet with the operators that ONNX Runtime's optimiser of transformers writes for CUDA.
fn cuda_unet() -> Vec<u8> {
    let ms = "com.microsoft";
    let graph = [
        [node(ms, "GroupNorm"), node(ms, "GroupNorm"), node(ms, "NhwcConv"), node("", "MatMul")].concat(),
        port(11, "sample", &["B", "4", "H", "W"]),
        port(11, "timestep", &["1"]),
        port(11, "encoder_hidden_states", &["B", "77", "16"]),
        port(12, "latent", &["B", "4", "H", "W"]),
    ];
    [vec![8, 8], field(2, b"hand"), field(7, &graph.concat()), opset("", 18), opset(ms, 1)].concat()
}

#[test]
fn models_are_described() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sd1", "sd2-v", "sd1-inpaint"] {
        insta::assert_snapshot!(format!("inspect_{name}"), inspect(folder.path(), &[&model(name)]));
    }
    insta::assert_snapshot!("inspect_graph", inspect(folder.path(), &[&model("clip/fused.onnx")]));
    insta::assert_snapshot!("inspect_upscaler", inspect(folder.path(), &["realesr-animevideov3-x4"]));
}

#[test]
fn a_model_of_the_catalogue_has_the_hashes_of_the_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let found = json(folder.path(), "petal-mini");
    let catalogue = petal_engine::Catalogue::load(None).unwrap();
    let graphs = found["graphs"].as_array().unwrap();
    assert_eq!(graphs.len(), 4);
    for file in graphs.iter().map(|graph| &graph["files"][0]) {
        let name = file["name"].as_str().unwrap();
        assert_eq!(file["sha256"], catalogue.models[0].files[name].as_str(), "{name}");
    }
    assert_eq!((&found["family"], &found["cfg_scale"]), (&"sd".into(), &3.0.into()));
    let text = inspect(folder.path(), &["petal-mini", "--no-hashes"]);
    assert!(text.starts_with("exit code 0") && !text.contains("SHA-256"), "{text}");
}

/// The numbers are those of `onnx` 1.23.2 for the same file.
#[test]
fn json_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let found = json(folder.path(), &model("sd1/unet/model.onnx"));
    assert_eq!(found["role"], "unet");
    assert_eq!(found["inputs"][0]["shape"], serde_json::json!(["batch_size", 4, "height", "width"]));
    assert_eq!(
        (&found["inputs"][1]["type"], &found["inputs"][1]["shape"]),
        (&"float32".into(), &serde_json::json!([]))
    );
    assert_eq!((&found["ir_version"], &found["opsets"]["ai.onnx"]), (&8.into(), &18.into()));
    assert_eq!((&found["weights"]["tensors"], &found["operators"]["ai.onnx"]["MatMul"]), (&229.into(), &56.into()));
    assert_eq!(found["cannot_run_on"], serde_json::json!([]));
    assert_eq!(found["files"][1]["name"], "model.onnx_data");
}

#[test]
fn operators_for_cuda_are_said_before_a_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cuda.onnx"), cuda_unet()).unwrap();
    insta::assert_snapshot!("inspect_cuda", inspect(folder.path(), &["cuda.onnx"]));
    copy_folder(Path::new(&model("sd1")), &folder.path().join("model"));
    fs::write(folder.path().join("model/unet/model.onnx"), cuda_unet()).unwrap();
    let output = petal(folder.path()).args(["a dog", "-m", "./model", "--ep", "cpu", "-q"]).output().unwrap();
    insta::assert_snapshot!("draw_cuda", transcript(&output, folder.path()));
}

#[test]
fn what_is_wrong_with_files_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    copy_folder(Path::new(&model("sd1")), &path("no-weights"));
    fs::remove_file(path("no-weights/unet/model.onnx_data")).unwrap();
    copy_folder(Path::new(&model("sd1")), &path("no-decoder"));
    fs::remove_dir_all(path("no-decoder/vae_decoder")).unwrap();
    copy_folder(Path::new(&model("sd1")), &path("no-scheduler"));
    fs::remove_dir_all(path("no-scheduler/scheduler")).unwrap();
    copy_folder(Path::new(&model("sd1")), &path("two-encoders"));
    copy_folder(&path("two-encoders/text_encoder"), &path("two-encoders/clip_a"));
    fs::rename(path("two-encoders/text_encoder"), path("two-encoders/clip_b")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("text.onnx"), "not a graph").unwrap();
    fs::write(path("pointer.onnx"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
    let whole = fs::read(model("sd1/unet/model.onnx")).unwrap();
    fs::write(path("half.onnx"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path("lone.onnx"), &whole).unwrap();
    for what in ["empty", "text.onnx", "pointer.onnx", "half.onnx", "petal-mimi", "no/such.onnx"] {
        insta::assert_snapshot!(format!("inspect_{}", what.replace(['/', '.'], "_")), inspect(folder.path(), &[what]));
    }
    for (what, words) in [
        ("lone.onnx", "`lone.onnx` has its weights in `model.onnx_data`, which is missing"),
        ("no-weights", "`unet/model.onnx` has its weights in `model.onnx_data`, which is missing"),
        ("no-decoder", "there is no `vae_decoder/model.onnx`"),
        ("no-scheduler", "there is no `scheduler/scheduler_config.json`"),
        ("two-encoders", "the model has 2 text encoders"),
    ] {
        let text = inspect(folder.path(), &[what, "--no-hashes"]);
        assert!(text.starts_with("exit code 1") && text.contains(words), "{text}");
    }
}

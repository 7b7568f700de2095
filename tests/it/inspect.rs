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

/// A field of Protocol Buffers that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(bytes.len()), bytes.to_vec()].concat()
}

/// A field that holds a number.
fn number(field: u8, value: usize) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn varint(value: usize) -> Vec<u8> {
    if value < 0x80 { vec![value as u8] } else { [vec![value as u8 | 0x80], varint(value >> 7)].concat() }
}

fn node(domain: &str, op: &str) -> Vec<u8> {
    field(1, &[field(1, b"x"), field(2, b"y"), field(4, op.as_bytes()), field(7, domain.as_bytes())].concat())
}

/// A port of float32 with axes that are numbers or names.
fn port(list: u8, name: &str, axes: &[&str]) -> Vec<u8> {
    let dimension = |text: &&str| match text.parse::<usize>() {
        Ok(length) => field(1, &number(1, length)),
        Err(_) => field(1, &field(2, text.as_bytes())),
    };
    let shape: Vec<u8> = axes.iter().flat_map(dimension).collect();
    let kind = field(1, &[number(1, 1), field(2, &shape)].concat());
    field(list, &[field(1, name.as_bytes()), field(2, &kind)].concat())
}

fn opset(domain: &str, version: usize) -> Vec<u8> {
    field(8, &[field(1, domain.as_bytes()), number(2, version)].concat())
}

/// A weight of two numbers of this type in another file.
fn weight(data_type: usize, location: &str) -> Vec<u8> {
    let place = [field(1, b"location"), field(2, location.as_bytes())].concat();
    field(5, &[number(1, 2), number(2, data_type), field(8, b"w"), field(13, &place)].concat())
}

/// A file with this graph and with these sets of operators.
fn file(graph: &[u8], opsets: &[(&str, usize)]) -> Vec<u8> {
    let opsets: Vec<u8> = opsets.iter().flat_map(|(domain, version)| opset(domain, *version)).collect();
    [number(1, 8), field(2, b"hand"), field(7, graph), opsets].concat()
}

/// Writes a graph with these ports, each a name and its axes, into `folder`.
fn write(folder: &Path, name: &str, ports: &str) {
    let (inputs, outputs) = ports.split_once("->").unwrap();
    let list = |field: u8, ports: &str| -> Vec<u8> {
        let words = ports.split(';').map(|text| text.trim().split_once(' ').unwrap());
        words.flat_map(|(name, axes)| port(field, name, &axes.split(',').collect::<Vec<_>>())).collect()
    };
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, file(&[list(11, inputs), list(12, outputs)].concat(), &[("", 18)])).unwrap();
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
    file(&graph.concat(), &[("", 18), (ms, 1)])
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

/// As `-m` does: what a name means does not depend on the folder that one is in.
#[test]
fn a_name_of_the_catalogue_goes_before_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(Path::new(&model("sdxl")), &folder.path().join("petal-mini"));
    assert_eq!(json(folder.path(), "petal-mini")["family"], "sd");
    assert_eq!(json(folder.path(), "./petal-mini")["family"], "sdxl");
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

const CLIP: &str = "input_ids b,s -> last_hidden_state b,s,768; pooler_output b,768; hidden_states.0 b,s,768";
const CLIP_768: &str = "input_ids b,s -> text_embeds b,768; last_hidden_state b,s,768";
const PROJECTED: &str = "input_ids b,s -> text_embeds b,s; last_hidden_state b,s,1280; hidden_states.0 b,s,1280";
const T5: &str = "input_ids b,s -> text_embeddings b,s,4096";
const DECODER: &str = "latent b,4,h,w -> images b,3,h,w";
const BASE: &str = "sample b,4,h,w; timestep 1; encoder_hidden_states b,s,2048; text_embeds b,1280; time_ids b,6 -> \
                    out_sample b,4,h,w";
const REFINER: &str = "sample b,4,h,w; timestep 1; encoder_hidden_states b,s,1280; text_embeds b,1280; time_ids b,5 -> \
                       out_sample b,4,h,w";
const SD3: &str = "hidden_states b,16,h,w; encoder_hidden_states b,s,4096; pooled_projections b,2048; timestep b -> \
                   latent b,16,h,w";
const FLUX: &str = "hidden_states b,n,64; encoder_hidden_states b,s,4096; pooled_projections b,768; timestep b; \
                    img_ids n,3; txt_ids s,3 -> latent b,n,64";

/// Models of other families: name, family, and each part with its file and its ports.
type Parts = &'static [(&'static str, &'static str, &'static str)];
const MODELS: &[(&str, &str, Parts)] = &[
    (
        "sdxl",
        "sdxl",
        &[
            ("network", "unet/model.onnx", BASE),
            ("text encoder", "text_encoder/model.onnx", CLIP),
            ("second text encoder", "text_encoder_2/model.onnx", PROJECTED),
            ("VAE decoder", "vae_decoder/model.onnx", DECODER),
        ],
    ),
    (
        "refiner",
        "sdxl",
        &[
            ("network", "unetxl/model.onnx", REFINER),
            ("text encoder", "clip2/model.onnx", PROJECTED),
            ("VAE decoder", "vae/model.onnx", DECODER),
        ],
    ),
    (
        "sd3",
        "sd3",
        &[
            ("network", "transformer/model.onnx", SD3),
            ("text encoder", "a/model.onnx", CLIP_768),
            ("second text encoder", "b/model.onnx", PROJECTED),
            ("third text encoder", "c/model.onnx", T5),
            ("VAE decoder", "vae_decoder/model.onnx", DECODER),
        ],
    ),
    (
        "flux",
        "flux",
        &[
            ("network", "transformer.opt/bf16/model.onnx", FLUX),
            ("text encoder", "clip.opt/model.onnx", CLIP),
            ("second text encoder", "t5.opt/model.onnx", T5),
            ("VAE decoder", "vae.opt/model.onnx", DECODER),
        ],
    ),
];

/// The graphs of a family are known by their ports: folders are named as three exporters name them.
#[test]
fn parts_of_other_families_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for (name, family, graphs) in MODELS {
        for (_, file, ports) in *graphs {
            write(&folder.path().join(name), file, ports);
        }
        let found = json(folder.path(), name);
        assert_eq!(found["family"], *family, "{name}");
        let parts: Vec<_> =
            found["parts"].as_array().unwrap().iter().map(|part| (&part["part"], &part["graph"])).collect();
        let wanted: Vec<_> = graphs.iter().map(|(part, file, _)| (Value::from(*part), Value::from(*file))).collect();
        assert_eq!(parts, wanted.iter().map(|(part, file)| (part, file)).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn weights_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("short.bin"), "abc").unwrap();
    let multiplies = field(1, &[field(1, b"w"), field(4, b"MatMul")].concat());
    for (location, data_type, words) in [
        ("short.bin", 1, "`short.bin` of `m.onnx` has 3 bytes, of 8 that the weights take"),
        ("../short.bin", 1, "`m.onnx` has its weights in `../short.bin`, which is not in its folder"),
        ("none.bin", 1, "`m.onnx` has its weights in `none.bin`, which is missing"),
        ("short.bin", 16, "MatMul of bfloat16 (1); use `--ep cuda`, or"),
    ] {
        let graph = [multiplies.clone(), weight(data_type, location)].concat();
        fs::write(folder.path().join("m.onnx"), file(&graph, &[("", 18)])).unwrap();
        let text = inspect(folder.path(), &["m.onnx"]);
        assert!(text.starts_with("exit code 1") && text.contains(words), "{text}");
    }
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

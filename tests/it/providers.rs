//! Does petal run where it was told to, and does `petal doctor` say what is there?
use super::support::{model, petal, transcript};
use std::process::Output;

/// petal in a folder of its own: what it did, and the whole transcript.
fn run(arguments: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = petal(folder.path()).args(arguments).args(["-m", &model("sd1")]).output().unwrap();
    let text = transcript(&output, folder.path()).replace(&model("sd1"), "[TINY]");
    (output, text)
}

#[test]
fn a_named_provider_that_is_not_there_ends_the_command() {
    for (arguments, library, remedy) in [
        (["--ep", "cuda"], "onnxruntime_providers_cuda", "petal runtime install cuda"),
        (["--ep", "unet=webgpu,vae=cpu"], "onnxruntime_providers_webgpu", "petal runtime install webgpu"),
        (["--ep", "cpu,upscaler=mlx"], "onnxruntime_providers_mlx", "petal runtime install mlx"),
    ] {
        let (output, text) = run(&[&["a dog", "-o", "x.png", "--steps", "1"][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(library) && text.contains(remedy) && text.contains("--allow-fallback"), "{text}");
    }
}

#[test]
fn only_a_flag_lets_the_cpu_stand_in_and_everybody_hears_of_it() {
    let (output, text) = run(&["a dog", "--ep", "cuda", "--allow-fallback", "--steps", "1", "-o", "x.png", "--json"]);
    assert!(output.status.success() && text.contains("warning: provider `cuda` cannot start"), "{text}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["provider"], "cpu");
    assert!(told["providers_skipped"][0].as_str().unwrap().contains("`cuda`"), "{told}");
    assert!(told["onnxruntime"].as_str().unwrap().starts_with("1."), "{told}");
}

/// Several names are an order of preference, which is a way to fall back.
#[test]
fn an_order_of_providers_needs_the_flag() {
    let (output, text) = run(&["a dog", "--ep", "cuda:0,cpu", "--steps", "1", "-o", "x.png"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("`--ep cuda:0,cpu` names several providers") && text.contains("--allow-fallback"), "{text}");
    let (output, text) = run(&["a dog", "--ep", "cuda:0,cpu", "--allow-fallback", "--steps", "1", "-o", "x.png"]);
    assert!(output.status.success() && text.contains("sd1 on cpu"), "{text}");
}

#[test]
fn a_picture_says_what_drew_it() {
    let folder = tempfile::tempdir().unwrap();
    let draw = ["a dog", "-m", &model("sd1"), "--ep", "text=cpu,unet=cpu", "--steps", "1", "-o", "x.png"];
    let output = petal(folder.path()).args(draw).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output, folder.path()));
    let output = petal(folder.path()).args(["inspect", "x.png"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("cpu on ONNX Runtime 1."), "{text}");
}

#[test]
fn a_file_that_is_no_plugin_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("no.so"), "no library").unwrap();
    let draw = ["a dog", "--ep", "webgpu", "--ep-library", "webgpu=no.so", "-m", &model("sd1")];
    let output = petal(folder.path()).args(draw).output().unwrap();
    let text = transcript(&output, folder.path());
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot load the plugin `webgpu` from") && text.contains("no.so"), "{text}");
}

/// What is the same on every machine of this kind is as it was; numbers, paths and hardware are taken out.
#[test]
fn doctor_tells_what_is_here() {
    let (output, text) = run(&["doctor"]);
    assert!(output.status.success(), "{text}");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(?m)^(petal|system|processor|NVIDIA|Vulkan|library|providers) +.*$", "$1 [...]");
    settings.add_filter(r"(?m)^ +(version|SHA-256|/|not there:) ?.*\n", "");
    settings.add_filter(r"\d\.\d+ s \(\d+\.\d+ s at first\)", "[TIME]");
    settings.add_filter(r"(\w+) \d+ of \d+ nodes, \d+ of \d+ that do work", "$1 [ALL]");
    settings.add_filter(r"(?m) {2,}", "  ");
    settings.bind(|| insta::assert_snapshot!("doctor", text));
}

#[test]
fn doctor_has_it_as_json() {
    let (output, text) = run(&["doctor", "--json", "--ep", "cuda:1"]);
    assert_eq!(output.status.code(), Some(1), "a named provider does not start\n{text}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["sound"], false);
    assert!(told["hardware"]["cores"].as_u64() > Some(0), "{told}");
    let cpu = &told["providers"][0];
    assert_eq!((cpu["provider"].as_str(), cpu["difference"].as_f64()), (Some("cpu"), Some(0.0)));
    let cuda = &told["providers"][1];
    assert!(cuda["provider"] == "cuda:1" && cuda["error"]["what"].as_str().unwrap().contains("cannot start"), "{told}");
    let absent = told["library"]["absent"].as_array().unwrap();
    assert!(absent.iter().any(|it| it["remedy"] == "run `petal runtime install cuda`"), "{told}");
}

/// On the CPU every node is the CPU's, in each graph of the model.
#[test]
fn doctor_says_where_each_graph_runs() {
    let (output, text) = run(&["doctor", "--json"]);
    assert!(output.status.success(), "{text}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let graphs = told["placement"].as_array().unwrap();
    let names: Vec<_> = graphs.iter().map(|graph| graph["graph"].as_str().unwrap()).collect();
    let wanted = ["text_encoder/model.onnx", "unet/model.onnx", "vae_decoder/model.onnx", "vae_encoder/model.onnx"];
    assert_eq!(names, wanted);
    for graph in graphs {
        let shares = graph["shares"].as_array().unwrap();
        assert!(shares.len() == 1 && shares[0]["provider"] == "cpu", "{graph}");
        let working = shares[0]["working"].as_u64();
        assert!(working > Some(0) && working <= shares[0]["nodes"].as_u64(), "{graph}");
    }
}

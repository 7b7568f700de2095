//! What users see when something is wrong: whole commands with exit code, standard output and standard error.
use super::support::{copy_folder, model, petal, petal_without_library, transcript};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs petal in a folder of its own and gives the whole transcript.
fn run(arguments: &[&str], prepare: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let output = petal(folder.path()).args(arguments).output().unwrap();
    transcript(&output, folder.path()).replace(&model("sd1"), "[TINY]")
}

fn tiny(arguments: &[&str]) -> String {
    run(&[arguments, &["-m", &model("sd1"), "-q"]].concat(), |_| {})
}

/// A copy of the tiny model in `model`, with one of its files changed.
fn with_file(file: &str, content: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) -> String {
    run(&["a dog", "-m", "./model", "-q"], |folder| {
        let copy = folder.join("model");
        copy_folder(Path::new(&model("sd1")), &copy);
        let path = copy.join(file);
        match content(fs::read(&path).unwrap()) {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    })
}

#[test]
fn unknown_names_bring_the_nearest_and_all() {
    insta::assert_snapshot!("unknown_sampler", tiny(&["a dog", "--sampler", "eulr"]));
    insta::assert_snapshot!("unknown_schedule", tiny(&["a dog", "--scheduler", "karas"]));
    insta::assert_snapshot!("unknown_provider", tiny(&["a dog", "--ep", "cudda"]));
    insta::assert_snapshot!("unknown_model", run(&["a dog", "-m", "petal-mni"], |_| {}));
}

#[test]
fn an_absent_provider_is_an_error() {
    insta::assert_snapshot!("absent_provider", tiny(&["a dog", "--ep", "cuda"]));
}

#[test]
fn values_out_of_range_are_named() {
    insta::assert_snapshot!("odd_width", tiny(&["a dog", "-W", "63"]));
    insta::assert_snapshot!("no_height", tiny(&["a dog", "-H", "0"]));
    insta::assert_snapshot!("huge_width", tiny(&["a dog", "-W", "4000000000"]));
    insta::assert_snapshot!("no_steps", tiny(&["a dog", "--steps", "0"]));
    insta::assert_snapshot!("many_steps", tiny(&["a dog", "--steps", "10001"]));
    insta::assert_snapshot!("nan_guidance", tiny(&["a dog", "--cfg-scale", "nan"]));
    insta::assert_snapshot!("text_steps", tiny(&["a dog", "--steps", "many"]));
}

#[test]
fn odd_prompts_are_no_problem() {
    for prompt in ["", "((((((", "[[[:::", "]])", "\u{202e}\u{0301}", "<|endoftext|>", &"(".repeat(60_000)] {
        let text = tiny(&[prompt, "--steps", "1", "-o", "x.png"]);
        assert!(text.starts_with("exit code 0"), "{text}");
    }
}

#[test]
fn a_prompt_of_a_megabyte_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = folder.path().join("prompt.txt");
    fs::write(&prompt, "dog ".repeat(1 << 18)).unwrap();
    let mut command = petal(folder.path());
    let output = command.args(["-", "-m", &model("sd1")]).stdin(fs::File::open(prompt).unwrap()).output().unwrap();
    insta::assert_snapshot!(transcript(&output, folder.path()));
}

#[cfg(unix)]
#[test]
fn a_prompt_that_is_not_utf_8_is_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let output = petal(folder.path()).arg(OsStr::from_bytes(b"a dog \xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("invalid UTF-8"));
}

#[test]
fn broken_models_are_explained() {
    let none = |_: Vec<u8>| None;
    insta::assert_snapshot!("no_folder", run(&["a dog", "-m", "./nothing"], |_| {}));
    insta::assert_snapshot!("no_graph", with_file("unet/model.onnx", none));
    insta::assert_snapshot!("no_scheduler", with_file("scheduler/scheduler_config.json", none));
    insta::assert_snapshot!("no_vocabulary", with_file("tokenizer/vocab.json", none));
    insta::assert_snapshot!("odd_json", with_file("vae_decoder/config.json", |_| Some(b"{".to_vec())));
    insta::assert_snapshot!("garbage_graph", with_file("vae_decoder/model.onnx", |_| Some(b"not a graph".to_vec())));
    insta::assert_snapshot!(
        "truncated_graph",
        with_file("unet/model.onnx", |bytes| Some(bytes[..bytes.len() / 2].to_vec()))
    );
    let renamed = |from: &'static [u8], to: &'static [u8]| {
        move |bytes: Vec<u8>| {
            let mut bytes = bytes;
            while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
                bytes[at..at + from.len()].copy_from_slice(to);
            }
            Some(bytes)
        }
    };
    insta::assert_snapshot!("renamed_input", with_file("unet/model.onnx", renamed(b"timestep", b"timestap")));
}

#[test]
fn nothing_is_drawn_when_it_cannot_be_saved() {
    insta::assert_snapshot!("missing_folder", tiny(&["a dog", "-o", "no/such/dog.png"]));
    insta::assert_snapshot!("odd_suffix", tiny(&["a dog", "-o", "dog.bmp"]));
    for latents in ["x.bin", "no/such/x.npy"] {
        let text = tiny(&["a dog", "--steps", "900", "-W", "512", "-H", "512", "--save-latents", latents]);
        assert!(!text.starts_with("exit code 0") && text.contains("hint:"), "{text}");
    }
    let text = tiny(&["a dog", "--json", "-o", "-"]);
    assert!(text.starts_with("exit code 2"), "{text}");
}

/// Every write to `/dev/full` fails for want of space.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = petal(folder.path());
    command.args(["x", "-m", &model("sd1"), "--steps", "1", "-q", "-o", "-"]);
    let output = command
        .stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    insta::assert_snapshot!(transcript(&output, folder.path()));
}

/// A limit on the size of files is a disk that is full after 4 KiB: no picture, no leftover.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_leaves_no_partial_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let mut inner = petal(folder.path());
    inner.args(["x", "-m", &model("sd1"), "--steps", "1", "-q", "-o", "x.png"]);
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.current_dir(folder.path()).envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let text = transcript(&output, folder.path());
    assert!(text.starts_with("exit code 1") && text.contains("cannot write `x.png`"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{text}");
}

#[test]
fn offline_without_a_library_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = petal_without_library(folder.path()).args(["a dog", "--offline"]).output().unwrap();
    insta::assert_snapshot!(transcript(&output, folder.path()));
    let output = petal_without_library(folder.path()).args(["a dog", "--onnxruntime", "no.so"]).output().unwrap();
    let text = transcript(&output, folder.path());
    assert!(text.starts_with("exit code 1") && text.contains("there is no library at `no.so`"), "{text}");
}

/// Waits until the process with this number has loaded ONNX Runtime, before which it has set up what stops it.
#[cfg(target_os = "linux")]
fn wait_until_it_listens(process: u32) {
    for _ in 0..300 {
        std::thread::sleep(Duration::from_millis(100));
        let maps = fs::read_to_string(format!("/proc/{process}/maps"));
        if maps.is_ok_and(|maps| maps.contains("onnxruntime")) {
            break;
        }
    }
    std::thread::sleep(Duration::from_secs(1)); // into the first steps, most likely
}

/// Ctrl-C ends within a step, with code 130 and no file.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = petal(folder.path());
    command.args(["x", "-m", &model("sd1"), "--steps", "900", "-W", "256", "-H", "256", "-q"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_it_listens(child.id());
    assert!(child.try_wait().unwrap().is_none(), "the picture was done too soon to be stopped");
    let stopped = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn inspect_explains_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), b"not a picture").unwrap();
    for (image, words) in [("a.png", "is not a picture that can be read"), ("no.png", "cannot open `no.png`")] {
        let output = petal(folder.path()).args(["inspect", image]).output().unwrap();
        let text = transcript(&output, folder.path());
        assert!(!output.status.success() && text.contains(words) && text.contains("hint:"), "{text}");
    }
}

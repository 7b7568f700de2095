//! `petal models`, as people and scripts use it.
use super::{
    super::support::{copy_folder, model, petal},
    Bench, COMMIT, noise, read_all,
    server::Reply,
    sha256,
};
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The program at a bench: its catalogue, its hub, no other cache.
fn at(bench: &Bench) -> Command {
    let mut command = petal(bench.folder.path());
    command.env("PETAL_CATALOGUE", bench.catalogue()).env("HF_ENDPOINT", &bench.hub.address);
    command.env("HF_HUB_CACHE", bench.folder.path().join("no cache"));
    command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE").env_remove("SSL_CERT_FILE");
    command
}

/// Exit code, and standard output and error together.
fn run(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    told(&at(bench).args(arguments).output().unwrap())
}

fn told(output: &Output) -> (i32, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// Fails unless the command ends with `code` and says all of `words`; what it said.
fn expect(bench: &Bench, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let (got, said) = run(bench, arguments);
    assert_eq!(got, code, "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no {word}: {said}");
    }
    said
}

/// Waits until `done` is true, or fails.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pulled_model_draws() {
    let bench = Bench::tiny();
    let draw = ["x", "-m", "tiny", "--steps", "1", "-W", "64", "-H", "64", "-o", "x.png"];
    expect(&bench, &draw, 1, &["not installed", "hint: run `petal models pull tiny`"]);
    let said = expect(&bench, &["models", "pull", "tiny", "--json"], 0, &[COMMIT]);
    let files = bench.files.len();
    assert!(said.matches("\"from\":\"hub\"").count() == files && said.lines().count() == 1, "{said}");
    assert!(bench.is_whole());
    expect(&bench, &draw, 0, &["x.png"]);
    bench.hub.asked();
    expect(&bench, &["models", "pull", "tiny"], 0, &["0 downloaded", &format!("{files} were here"), "vetted"]);
    assert!(bench.hub.asked().is_empty());
    let (code, said) = run(&bench, &["models", "pull", "tiny", "-q"]);
    assert_eq!((code, &*said), (0, ""));
}

#[test]
fn two_programs_pull_one_model_once() {
    let bench = Bench::new([("unet/model.onnx", noise(30_000, 1)), ("a.json", b"{}".to_vec())]);
    bench.hub.answers(|_| Reply { drip: Some(Duration::from_millis(60)), ..Reply::default() });
    let start = || at(&bench).args(["models", "pull", "tiny"]).stderr(Stdio::piped()).spawn().unwrap();
    let outputs = [start(), start()].map(|child| told(&child.wait_with_output().unwrap()));
    assert!(outputs.iter().all(|(code, _)| *code == 0), "{outputs:?}");
    assert!(bench.is_whole());
    assert_eq!(bench.hub.asked().len(), 2, "each file is asked for once");
    let waited = outputs.iter().filter(|(_, said)| said.contains("another petal is at it")).count();
    let came = outputs.iter().filter(|(_, said)| said.contains("2 downloaded")).count();
    assert_eq!((waited, came), (1, 1), "{outputs:?}");
}

#[cfg(unix)]
#[test]
fn a_killed_pull_leaves_nothing_wrong_and_goes_on() {
    let name = "unet/model.onnx";
    let bench = Bench::new([(name, noise(100_000, 2))]);
    let part = bench.model().join("unet/model.onnx.petal-part");
    let length = || fs::metadata(&part).map_or(0, |data| data.len());
    bench.hub.answers(|_| Reply { drip: Some(Duration::from_millis(10)), ..Reply::default() });
    for kill in 1..=3_u64 {
        let mut child = at(&bench).args(["models", "pull", "tiny", "-q"]).spawn().unwrap();
        wait_until("the part does not grow", || length() >= kill * 10_000);
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        bench.check_nothing_wrong();
        assert!(!bench.model().join(name).exists() && length() < 100_000);
    }
    let here = length();
    bench.hub.answers(|_| Reply::default()).asked();
    expect(&bench, &["models", "list"], 0, &["tiny", "not here"]);
    expect(&bench, &["models", "pull", "tiny"], 0, &["1 downloaded"]);
    let from: Vec<_> = bench.hub.asked().iter().map(|asked| asked.from).collect();
    assert_eq!(from, [Some(here as usize)]);
    assert!(bench.is_whole());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_pull_that_goes_on_later() {
    let bench = Bench::new([("a.onnx", noise(100_000, 3))]);
    bench.hub.answers(|_| Reply { drip: Some(Duration::from_millis(10)), ..Reply::default() });
    let mut child = at(&bench).args(["models", "pull", "tiny", "-q"]).spawn().unwrap();
    let part = bench.model().join("a.onnx.petal-part");
    wait_until("the part does not grow", || fs::metadata(&part).is_ok_and(|data| data.len() > 5000));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    bench.hub.answers(|_| Reply::default()).asked();
    expect(&bench, &["models", "pull", "tiny"], 0, &[]);
    assert!(bench.is_whole() && bench.hub.asked()[0].from.is_some());
}

/// A limit on the size of files is a disk that is full after 8 KiB.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_leaves_no_wrong_file() {
    let bench = Bench::new([("a.onnx", noise(100_000, 4))]);
    let inner = at(&bench);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(["models", "pull", "tiny"]).current_dir(bench.folder.path());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (code, said) = told(&command.output().unwrap());
    assert!(code == 1 && said.contains("cannot write") && said.contains("File too large"), "{said}");
    bench.check_nothing_wrong();
    assert!(!bench.model().join("a.onnx").exists());
    expect(&bench, &["models", "pull", "tiny"], 0, &[]);
    assert!(bench.is_whole());
}

#[test]
fn offline_and_a_closed_model_are_explained() {
    let bench = Bench::new([("a.onnx", noise(100, 5))]);
    expect(&bench, &["models", "pull", "tiny", "--offline"], 1, &["offline", "`a.onnx`", "hint: pull it without"]);
    let (code, said) = told(&at(&bench).env("HF_HUB_OFFLINE", "1").args(["models", "pull", "tiny"]).output().unwrap());
    assert!(code == 1 && said.contains("offline"), "{said}");
    assert!(bench.hub.asked().is_empty());
    bench.hub.answers(|_| Reply { status: Some(401), ..Reply::default() });
    expect(&bench, &["models", "pull", "tiny"], 1, &["not open to everybody", "set `HF_TOKEN`"]);
    let pull = |token| told(&at(&bench).env("HF_TOKEN", token).args(["models", "pull", "tiny"]).output().unwrap());
    let (code, said) = pull("hf_secret");
    assert!(code == 1 && said.contains("check that `HF_TOKEN`") && !said.contains("hf_secret"), "{said}");
    let (code, said) = pull("two words");
    assert!(code == 2 && said.contains("`HF_TOKEN` is not a token") && !said.contains("two"), "{said}");
}

#[test]
fn trust_on_first_use_is_shown_and_kept() {
    let bench = Bench::tiny();
    bench.write_catalogue(false, "main");
    let draw = ["x", "-m", "tiny", "--steps", "1", "-W", "64", "-H", "64", "-o", "x.png"];
    expect(&bench, &draw, 1, &["not installed", "petal models pull tiny --allow-unvetted"]);
    expect(&bench, &["models", "pull", "tiny"], 1, &["not vetted", "--allow-unvetted"]);
    expect(&bench, &["models", "list"], 0, &["not here, unvetted"]);
    expect(&bench, &["models", "pull", "tiny", "--allow-unvetted"], 0, &["their hashes are kept"]);
    let hash = sha256(&bench.files["unet/model.onnx"]);
    expect(&bench, &["models", "show", "tiny"], 0, &["trust on first use", &hash, "org/tiny at main"]);
    expect(&bench, &["models", "show", "tiny", "--json"], 0, &["\"vetting\":\"first use\"", &hash]);
    expect(&bench, &["doctor", "-m", "tiny"], 0, &["not vetted", "as they were when they were first downloaded"]);
    expect(&bench, &draw, 0, &["x.png"]);
    fs::write(bench.model().join("unet/config.json"), "{}").unwrap();
    expect(&bench, &draw, 1, &["unet/config.json", "not the downloaded file"]);
}

#[test]
fn a_model_put_there_by_hand_needs_leave_if_nobody_vetted_it() {
    let bench = Bench::tiny();
    bench.write_catalogue(false, "main");
    copy_folder(Path::new(&model("sd1")), &bench.model());
    let draw = ["x", "-m", "tiny", "--steps", "1", "-W", "64", "-H", "64", "-o", "x.png"];
    expect(&bench, &draw, 1, &["not vetted", "`--allow-unvetted`"]);
    expect(&bench, &[&draw[..], &["--allow-unvetted"]].concat(), 0, &["x.png"]);
}

#[test]
fn rm_takes_away_what_pull_put_there_and_nothing_else() {
    let bench = Bench::new([("unet/model.onnx", noise(100, 6)), ("a.json", b"{}".to_vec())]);
    expect(&bench, &["models", "rm", "tiny"], 2, &["petal did not put model `tiny` here"]);
    fs::create_dir_all(bench.model()).unwrap();
    fs::write(bench.model().join("a.json"), "{}").unwrap(); // by hand, before
    expect(&bench, &["models", "pull", "tiny"], 0, &["1 downloaded", "1 were here"]);
    fs::write(bench.model().join("unet/notes.txt"), "mine").unwrap();
    expect(&bench, &["models", "rm", "tiny"], 0, &["removed tiny: 1 files"]);
    assert_eq!(read_all(&bench.model()).into_keys().collect::<Vec<_>>(), ["a.json", "unet/notes.txt"]);
    expect(&bench, &["models", "rm", "petal-mini"], 2, &["part of petal and cannot be removed"]);
    fs::remove_dir_all(bench.model()).unwrap();
    expect(&bench, &["models", "pull", "tiny"], 0, &[]);
    expect(&bench, &["models", "rm", "tiny"], 0, &["removed tiny: 2 files"]);
    assert!(!bench.model().exists());
}

#[test]
fn a_pull_that_brought_nothing_leaves_nothing() {
    let bench = Bench::new([("unet/model.onnx", noise(100, 9))]);
    bench.hub.answers(|_| Reply { status: Some(404), ..Reply::default() });
    expect(&bench, &["models", "pull", "tiny"], 1, &["there is no such file"]);
    assert!(!bench.model().exists());
    // neither does one that nobody vetted, whose files nobody knows
    fs::write(bench.catalogue(), super::entry("main")).unwrap();
    expect(&bench, &["models", "pull", "tiny"], 1, &["not vetted"]);
    expect(&bench, &["models", "pull", "tiny", "--allow-unvetted"], 1, &["answered 404"]);
    assert!(!bench.model().exists());
    expect(&bench, &["models", "list"], 0, &["not here, unvetted"]);
    // nor is an empty folder of an earlier one a part of the model
    fs::create_dir(bench.model()).unwrap();
    expect(&bench, &["models", "list"], 0, &["not here, unvetted"]);
    expect(&bench, &["models", "rm", "tiny"], 0, &["removed tiny"]);
    assert!(!bench.model().exists());
}

#[test]
fn rm_leaves_a_model_alone_that_is_being_pulled() {
    let bench = Bench::new([("a.json", b"{}".to_vec()), ("unet/model.onnx", noise(60_000, 8))]);
    bench.hub.answers(|asked| {
        let drip = asked.path.ends_with("model.onnx").then_some(Duration::from_millis(40));
        Reply { drip, ..Reply::default() }
    });
    let pull = at(&bench).args(["models", "pull", "tiny"]).stderr(Stdio::piped()).spawn().unwrap();
    let part = bench.model().join("unet/model.onnx.petal-part");
    wait_until("the part does not grow", || fs::metadata(&part).is_ok_and(|data| data.len() > 2000));
    expect(&bench, &["models", "rm", "tiny"], 2, &["another petal is at model `tiny`", "hint: wait until it is done"]);
    let (code, said) = told(&pull.wait_with_output().unwrap());
    assert!(code == 0 && bench.is_whole(), "{said}");
    expect(&bench, &["models", "list"], 0, &["here"]);
    expect(&bench, &["models", "rm", "tiny"], 0, &["removed tiny: 2 files"]);
    assert!(!bench.model().exists());
}

#[test]
fn an_added_folder_is_a_model_by_name() {
    let bench = Bench::new([]);
    let folder = bench.folder.path().join("my model");
    copy_folder(Path::new(&model("sd1")), &folder);
    let draw = ["x", "-m", "mine", "--steps", "1", "-W", "64", "-H", "64", "-o", "x.png"];
    let add = ["models", "add", "my model", "--name", "mine", "--licence", "MIT"];
    expect(&bench, &add, 0, &["added mine", "family sd"]);
    expect(&bench, &add, 2, &["there is a model `mine` already"]);
    expect(&bench, &["models", "add", "my model", "--name", "petal-mini"], 2, &["already"]);
    expect(&bench, &["models", "add", "my model", "--name", "a/b"], 2, &["cannot be the name"]);
    expect(&bench, &["models", "add", "my model", "--name", " "], 2, &["cannot be the name"]);
    for family in ["sdxl", "bogus"] {
        let add = ["models", "add", "my model", "--name", "other", "--family", family];
        expect(&bench, &add, 2, &["is of family `sd`, not", "hint: leave `--family` out"]);
    }
    expect(&bench, &["models", "add", "nothing"], 1, &["cannot open `nothing`"]);
    expect(&bench, &["models", "list"], 0, &["mine", "here"]);
    expect(&bench, &["models", "show", "mine"], 0, &["vetted: the catalogue has", "MIT", "my model"]);
    expect(&bench, &draw, 0, &["x.png"]);
    let graph = folder.join("unet/config.json");
    fs::write(&graph, "{}").unwrap();
    expect(&bench, &draw, 1, &["unet/config.json", "not the vetted file"]);
    let text = fs::read_to_string(bench.folder.path().join("home/catalogue.toml")).unwrap();
    assert!(text.contains("[[model]]") && !text.contains('#'), "{text}");
    expect(&bench, &["models", "rm", "mine"], 0, &[]);
    expect(&bench, &draw, 2, &["unknown model `mine`"]);
    assert!(graph.is_file(), "the folder is the user's");
}

#[test]
fn the_list_says_what_is_here() {
    let bench = Bench::new([("a.onnx", noise(100, 7))]);
    let said = expect(&bench, &["models", "list"], 0, &["petal-mini", "bundled", "tiny", "not here"]);
    assert!(said.lines().next().unwrap().starts_with("tiny"), "{said}");
    expect(&bench, &["models", "pull", "tiny"], 0, &[]);
    expect(&bench, &["models", "list", "--json"], 0, &["\"name\":\"tiny\"", "\"bytes\":100,\"state\":\"here\""]);
    expect(&bench, &["models", "show", "petal-mini"], 0, &["part of petal", "unet/model.onnx"]);
    expect(&bench, &["models", "show", "tinny"], 2, &["unknown model `tinny`", "use `tiny`"]);
}

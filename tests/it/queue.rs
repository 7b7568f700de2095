//! Many jobs: `petal draw --prompt-file`, and the engine's queue.
use super::support::{library, load, model, petal, transcript};
use petal_engine::{Error, Event, Picture, Request};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread::sleep,
    time::Duration,
};

/// `petal draw --prompt-file FILE` with the tiny model, in `folder`.
fn draw(folder: &Path, file: &str, arguments: &[&str]) -> Command {
    let mut command = petal(folder);
    command.args(["draw", "--prompt-file", file, "-m", &model("sd1")]).args(arguments);
    command
}

/// Runs a command; the whole transcript.
fn told(command: &mut Command, folder: &Path) -> String {
    let text = transcript(&command.output().unwrap(), folder);
    text.replace(&library().display().to_string(), "[LIBRARY]").replace(&model("sd1"), "[TINY]")
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The files in `folder` whose names end in .png, sorted.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|suffix| suffix == "png")).collect();
    files.sort();
    files
}

#[test]
fn a_queue_goes_on_after_a_failure_and_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let parts = vec!["a dog"; 200].join(" AND "); // more parts than can be drawn, which is seen when it is encoded
    fs::write(place.join("jobs.txt"), format!("\u{feff}a dog\r\n# a remark\r\n{parts}\r\n\r\na cat\r\n")).unwrap();
    fs::create_dir(place.join("x-3.png")).unwrap();
    let text = told(&mut draw(place, "jobs.txt", &["--steps", "1", "-s", "7", "-o", "x.png"]), place);
    insta::assert_snapshot!("queue_failures", text);
    let report = lines(&place.join("jobs.txt.report.jsonl"));
    let told: Vec<_> =
        report.iter().map(|line| [&line["line"], &line["picture"], &line["status"], &line["seed"]]).collect();
    assert_eq!(json!(told), json!([[1, 1, "done", 7], [3, 1, "failed", 7], [5, 1, "failed", 7]]));
    assert_eq!((&report[0]["path"], &report[1]["path"]), (&json!("x-1.png"), &Value::Null));
    assert!(report[1]["error"].as_str().unwrap().contains("parts") && report[1]["hint"].is_string());
    assert!(report.iter().all(|line| line["hash"].as_str().unwrap().len() == 64 && line["seconds"].is_number()));

    // with the obstacle out of the way, the last one is drawn, and only that
    fs::remove_dir(place.join("x-3.png")).unwrap();
    let output = draw(place, "jobs.txt", &["--steps", "1", "-s", "7", "-o", "x.png", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let said: Vec<_> = said.iter().map(|line| [&line["line"], &line["status"], &line["path"]]).collect();
    assert_eq!(json!(said), json!([[1, "skipped", "x-1.png"], [3, "failed", null], [5, "done", "x-3.png"]]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 done, 1 failed, 1 skipped"));
}

#[test]
fn every_fault_is_told_before_anything_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let jobs =
        b"{\"prompt\": \"a dog\"}\n{\"prompt\": \"a cat\", \"stepz\": 3}\n\n{\"steps\": 0}\n{\"prompt\": \"\xff\"}\n{";
    fs::write(folder.path().join("jobs.jsonl"), jobs).unwrap();
    insta::assert_snapshot!("queue_faults", told(&mut draw(folder.path(), "jobs.jsonl", &[]), folder.path()));
    // what only the model knows to be wrong
    fs::write(folder.path().join("jobs.jsonl"), "{\"width\": 64}\n{\"width\": 63}\n{\"init_image\": \"no.png\"}\n")
        .unwrap();
    insta::assert_snapshot!("queue_model_faults", told(&mut draw(folder.path(), "jobs.jsonl", &[]), folder.path()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_a_queue_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("jobs.txt"), "a dog\n").unwrap();
    fs::write(folder.path().join("empty.txt"), "# nothing\n").unwrap();
    for (file, arguments, words) in [
        ("jobs.txt", &["-o", "-"][..], "standard output takes one picture"),
        ("empty.txt", &[], "`empty.txt` has no jobs"),
        ("no.txt", &[], "cannot open `no.txt`"),
        ("jobs.txt", &["--report", "jobs.txt"], "`jobs.txt` is not the report of a queue"),
        ("jobs.txt", &["--report", "no/report.jsonl"], "cannot write into `no`"),
        ("jobs.txt", &["a dog"], "cannot be used with"),
        ("jobs.txt", &["--latents", "x.npy"], "cannot be used with"),
    ] {
        let text = told(&mut draw(folder.path(), file, arguments), folder.path());
        assert!(!text.starts_with("exit code 0") && text.contains(words), "{text}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// A file from standard input, flags as defaults, a job's own values first, the same job twice.
#[test]
fn jobs_come_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = draw(folder.path(), "-", &["--steps", "2", "-s", "3", "-W", "32", "--report", "r.jsonl", "-q"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let jobs = "{\"prompt\": \"A dog!\", \"batch_count\": 2}\n{\"prompt\": \"a cat\", \"steps\": 1}\n\
                {\"prompt\": \"a cat\", \"steps\": 1}\n{\"prompt\": \"a cat\"}\n";
    child.stdin.take().unwrap().write_all(jobs.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let files: Vec<_> = output.stdout.lines().map(Result::unwrap).collect();
    let stems: Vec<_> = files.iter().map(|name| &name[..name.len() - 16]).collect();
    assert_eq!(stems, ["a-dog-3-", "a-dog-4-", "a-cat-3-", "a-cat-3-"]);
    let requests = files.iter().map(|file| petal_engine::read_infotext(folder.path().join(file)).unwrap());
    let requests: Vec<_> = requests.map(|info| info.unwrap().request().unwrap()).collect();
    let values: Vec<_> = requests.iter().map(|request| (request.steps, request.seed, request.width)).collect();
    let of = |steps, seed| (Some(steps), seed, Some(32));
    assert_eq!(values, [of(2, 3), of(2, 4), of(1, 3), of(2, 3)]);
    assert_eq!(lines(&folder.path().join("r.jsonl")).len(), 4);
}

/// What is killed loses at most the pictures on their way, and the same command draws the rest, to the same bytes.
#[cfg(unix)]
#[test]
fn a_killed_queue_goes_on() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let job = |k| format!("{{\"prompt\": \"dog {k}\", \"batch_count\": {}}}", 1 + k % 2);
    let jobs = (0..30).map(job).collect::<Vec<_>>().join("\n");
    for place in [folder.path(), other.path()] {
        fs::write(place.join("jobs.jsonl"), &jobs).unwrap();
    }
    let arguments = ["--steps", "3", "--json"];
    let mut child = draw(folder.path(), "jobs.jsonl", &arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    (0..7).for_each(|_| drop(told.next().unwrap().unwrap()));
    child.kill().unwrap(); // with signal 9
    child.wait().unwrap();
    let path = folder.path().join("jobs.jsonl.report.jsonl");
    let done = lines(&path).len();
    assert!((7..40).contains(&done), "{done}");
    let there = pictures(folder.path()).len();
    assert!(there == done || there == done + 1, "{there} files, {done} reported");
    let mut report = fs::OpenOptions::new().append(true).open(&path).unwrap();
    report.write_all(b"{\"line\":9,\"pict").unwrap(); // cut short

    let output = draw(folder.path(), "jobs.jsonl", &arguments).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output, folder.path()));
    let said: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let skipped = said.iter().filter(|line| line["status"] == "skipped").count();
    assert_eq!((said.len(), skipped), (45, done));
    let places: Vec<_> = said.iter().map(|line| (line["line"].as_u64(), line["picture"].as_u64())).collect();
    assert!(places.is_sorted(), "{places:?}");
    let report = lines(&path);
    let hashes: HashSet<_> = report.iter().map(|line| line["hash"].as_str().unwrap()).collect();
    assert_eq!((report.len(), hashes.len()), (45, 45));

    assert!(draw(other.path(), "jobs.jsonl", &arguments).output().unwrap().status.success());
    let (ours, theirs) = (pictures(folder.path()), pictures(other.path()));
    assert_eq!((ours.len(), theirs.len()), (45, 45));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.file_name(), theirs.file_name());
        assert!(fs::read(ours).unwrap() == fs::read(theirs).unwrap(), "{}", ours.display());
    }
}

/// Ctrl-C gives up the running picture, says so in the report, and keeps what was done.
#[cfg(unix)]
#[test]
fn a_stopped_queue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("jobs.jsonl"), "{\"steps\": 1}\n{\"steps\": 900}\n{\"steps\": 1}\n").unwrap();
    let mut command = draw(folder.path(), "jobs.jsonl", &["--json", "-W", "256", "-H", "256"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    told.next().unwrap().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 done, 0 failed, 0 skipped") && said.contains("the same command goes on"), "{said}");
    let report = lines(&folder.path().join("jobs.jsonl.report.jsonl"));
    let statuses: Vec<_> = report.iter().map(|line| &line["status"]).collect();
    assert_eq!(json!(statuses), json!(["done", "cancelled"]));
}

/// Pictures of 256 x 256: if each left its pixels behind, 50 of them would take 9 MiB, and with their latents 12.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = (0..62).map(|k| format!("dog {k}")).collect::<Vec<_>>().join("\n");
    fs::write(folder.path().join("jobs.txt"), jobs).unwrap();
    let mut command =
        draw(folder.path(), "jobs.txt", &["--steps", "1", "-W", "256", "-H", "256", "--cfg-scale", "1", "-q"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let resident = || -> f64 {
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    };
    let mut measured = Vec::new();
    for (line, number) in BufReader::new(child.stdout.take().unwrap()).lines().zip(1..) {
        line.unwrap();
        if number == 10 || number == 60 {
            measured.push(resident());
        }
    }
    assert!(child.wait().unwrap().success());
    println!("after 10 and 60 pictures: {measured:.1?} MiB");
    assert!(measured[1] - measured[0] < 6.0, "{measured:?} MiB");
}

/// Pictures are found from the file's folder, and a job whose picture changed is drawn again.
#[test]
fn jobs_are_known_by_the_pictures_that_they_bring() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    fs::create_dir(place.join("jobs")).unwrap();
    let common = ["-m", &model("sd1"), "--steps", "2", "-W", "64", "-H", "64", "-q"];
    let paint = |prompt: &str| {
        let text = told(petal(place).args([prompt, "-o", "jobs/in.png"]).args(common), place);
        assert!(text.starts_with("exit code 0"), "{text}");
    };
    paint("a dog");
    let jobs = "{\"init_image\": \"in.png\", \"batch_count\": 2}\n{\"prompt\": \"a cat\"}\n";
    fs::write(place.join("jobs/jobs.jsonl"), jobs).unwrap();
    let run = || {
        let mut command = petal(place);
        command.args(["draw", "--prompt-file", "jobs/jobs.jsonl", "--json"]).args(common);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", transcript(&output, place));
        let said = output.stdout.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        said.map(|line| line["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(run(), ["done"; 3]);
    assert_eq!(run(), ["skipped"; 3]);
    paint("a cat");
    assert_eq!(run(), ["done", "done", "skipped"]);
}

#[test]
fn a_batch_is_written_as_single_pictures_are() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let common = ["a dog", "--steps", "2", "-m", &model("sd1"), "-o"];
        let text = told(petal(folder.path()).args([&common[..], arguments].concat()), folder.path());
        assert!(text.starts_with("exit code 0"), "{text}");
    };
    run(&["x.png", "-b", "3", "-s", "5"]);
    for (batch, seed) in [("x-1.png", "5"), ("x-2.png", "6"), ("x-3.png", "7")] {
        run(&["y.png", "-s", seed]);
        assert!(fs::read(folder.path().join(batch)).unwrap() == fs::read(folder.path().join("y.png")).unwrap());
    }
}

fn request(seed: u64) -> Request {
    Request { prompt: "a dog".into(), steps: Some(1), seed, ..Request::default() }
}

/// A slow finish holds the drawing up: one picture is finished, one waits, one has been drawn.
#[test]
fn pictures_are_finished_in_order_and_few_wait() {
    let mut pipeline = load("sd1");
    let (begun, finished, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut seeds = Vec::new();
    let watch = |_: &u64, event: Event<'_>| {
        if let Event::Begin { .. } = event {
            let ahead = begun.fetch_add(1, Ordering::SeqCst) + 1 - finished.load(Ordering::SeqCst);
            most.fetch_max(ahead, Ordering::SeqCst);
        }
        ControlFlow::Continue(())
    };
    pipeline.draw_queue((0..12).map(|seed| (seed, request(seed))), watch, |seed, picture| {
        sleep(Duration::from_millis(100)); // longer than drawing takes
        assert_eq!(picture.unwrap().request.seed, seed);
        seeds.push(seed);
        finished.fetch_add(1, Ordering::SeqCst);
        ControlFlow::Continue(())
    });
    assert_eq!(seeds, (0..12).collect::<Vec<_>>());
    assert_eq!(most.into_inner(), 3, "one is finished, one waits, one is drawn");
}

#[test]
fn a_queue_ends_when_it_is_told_to() {
    let mut pipeline = load("sd1");
    let mut heard = Vec::new();
    let mut run = |tasks: Vec<Request>, stop_at: u64, cancel_at: u64| {
        let watch = |seed: &u64, _: Event<'_>| {
            if *seed == cancel_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        heard.clear();
        let tasks = tasks.into_iter().map(|request| (request.seed, request));
        pipeline.draw_queue(tasks, watch, |seed, picture: petal_engine::Result<Picture>| {
            heard.push((seed, picture.map(|_| ()).map_err(|error| matches!(error, Error::Cancelled))));
            if seed == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        heard.clone()
    };
    let none = 99;
    let wrong = Request { batch_count: 2, ..request(1) };
    let tasks = || vec![request(0), wrong.clone(), request(2), request(3)];
    assert_eq!(run(tasks(), none, none), [(0, Ok(())), (1, Err(false)), (2, Ok(())), (3, Ok(()))]);
    assert_eq!(run(tasks(), 1, none), [(0, Ok(())), (1, Err(false))]);
    assert_eq!(run(tasks(), none, 2), [(0, Ok(())), (1, Err(false)), (2, Err(true))]);
    assert_eq!(run(tasks(), none, none).len(), 4, "the pipeline draws again");
}

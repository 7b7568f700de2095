//! Bad lines, bad hubs and bad disks.
use super::{
    Bench, COMMIT, Dice, Hub, address, entry, noise, read_all,
    server::{Asked, Reply},
    sha256, token,
};
use petal_engine::{Error, PullOptions, PulledFrom};
use std::{fs, sync::Mutex, time::Duration};

const FILE: &str = "unet/model.onnx";

fn one_file(length: usize) -> Bench {
    Bench::new([(FILE, noise(length, 1))])
}

/// A hub that answers the first request for each file as `first` says, later ones as they should be.
fn once(first: Reply) -> impl Fn(&Asked) -> Reply {
    move |asked| if asked.nth == 0 { first.clone() } else { Reply::default() }
}

/// A random fault of a file of so many bytes.
fn any_fault(dice: &mut Dice, length: usize) -> Reply {
    let (at, reply) = (dice.below(length), Reply::default());
    match dice.below(10) {
        0..3 => Reply { cut: Some(at), ..reply },
        3 | 4 => Reply { flip: Some(at), ..reply },
        5 => Reply { flip: Some(at), cut: Some(dice.below(length)), ..reply },
        6 => Reply { whole: true, cut: Some(at), ..reply },
        7 => Reply { start: Some(at), cut: Some(dice.below(length)), ..reply },
        8 => {
            Reply { status: Some([429, 500, 503][dice.below(3)]), headers: vec![("Retry-After", "0".into())], ..reply }
        }
        _ => Reply { claim: Some(length + 1 + at), ..reply },
    }
}

#[test]
fn two_hundred_downloads_cut_or_corrupted_anywhere_end_well() {
    let bench = one_file(50_000);
    let length = bench.files[FILE].len();
    let (mut asked, mut resumed) = (0, 0);
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let faults: Vec<Reply> = (0..=dice.below(3)).map(|_| any_fault(&mut dice, length)).collect();
        bench.hub.answers(move |asked| faults.get(asked.nth).cloned().unwrap_or_default());
        // killed or given up in the middle: what an earlier run left is met as it is
        let pulled = bench.pull().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(bench.is_whole(), "seed {seed}");
        assert_eq!((pulled.files.len(), pulled.files[0].from), (1, PulledFrom::Hub));
        let requests = bench.hub.asked();
        asked += requests.len();
        resumed += requests.iter().filter(|asked| asked.from.is_some()).count();
        fs::remove_dir_all(bench.model()).unwrap();
    }
    println!("200 downloads: {asked} requests, {resumed} of them for the rest of a file");
    assert!(asked > 400 && resumed > 100, "{asked} requests, {resumed} resumed");
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let bench = one_file(100_000);
    bench.hub.answers(once(Reply { cut: Some(60_000), ..Reply::default() }));
    bench.pull().unwrap();
    let from: Vec<_> = bench.hub.asked().iter().map(|asked| asked.from).collect();
    assert_eq!(from, [None, Some(60_000)]);
    assert!(bench.is_whole());
}

#[test]
fn a_hub_without_ranges_begins_again() {
    let bench = one_file(100_000);
    bench.hub.answers(|asked| Reply { whole: true, cut: (asked.nth == 0).then_some(60_000), ..Reply::default() });
    bench.pull().unwrap();
    assert!(bench.is_whole() && bench.hub.asked().len() == 2);
}

/// The rest of another file is not put behind the first part, though its hash would show it.
#[test]
fn a_part_that_does_not_fit_is_not_used() {
    for odd in [
        Reply { start: Some(1), ..Reply::default() },
        Reply { headers: vec![("X-Linked-ETag", "\"other\"".into())], ..Reply::default() },
    ] {
        let bench = one_file(100_000);
        bench.hub.answers(move |asked| match asked.nth {
            0 => Reply { cut: Some(60_000), ..Reply::default() },
            1 => odd.clone(),
            _ => Reply::default(),
        });
        bench.pull().unwrap();
        let from: Vec<_> = bench.hub.asked().iter().map(|asked| asked.from).collect();
        assert_eq!(from, [None, Some(60_000), None]);
        assert!(bench.is_whole());
    }
}

#[test]
fn lengths_that_are_lies_are_found_out() {
    let bench = one_file(1000);
    // too long: the end of the file shows it
    bench.hub.answers(once(Reply { claim: Some(2000), ..Reply::default() }));
    bench.pull().unwrap();
    assert!(bench.is_whole());
    fs::remove_dir_all(bench.model()).unwrap();
    // too short: the hash shows it
    bench.hub.answers(|_| Reply { claim: Some(500), cut: Some(500), ..Reply::default() });
    let told = bench.fault(&bench.options());
    assert!(told.contains("is not the right file") && told.contains(&sha256(&bench.files[FILE])), "{told}");
    // another one than the hub itself says
    bench.hub.answers(|_| Reply { headers: vec![("X-Linked-Size", "1001".into())], ..Reply::default() });
    let told = bench.fault(&bench.options());
    assert!(told.contains("wrong size") && told.contains("1000") && told.contains("1001"), "{told}");
}

#[test]
fn a_file_that_stays_wrong_is_refused_with_both_hashes() {
    let bench = one_file(1000);
    bench.hub.answers(|_| Reply { flip: Some(500), ..Reply::default() });
    let told = bench.fault(&bench.options());
    let mut wrong = bench.files[FILE].clone();
    wrong[500] ^= 0x55;
    assert!(told.contains(&sha256(&wrong)) && told.contains(&sha256(&bench.files[FILE])), "{told}");
    assert_eq!(bench.hub.asked().len(), 2, "the same wrong file twice is enough");
    assert!(read_all(&bench.model()).is_empty());
}

#[test]
fn answers_that_help_nobody_are_explained() {
    let bench = one_file(1000);
    let status = |status, code: &'static str| {
        let headers = if code.is_empty() { Vec::new() } else { vec![("X-Error-Code", code.to_owned())] };
        bench.hub.answers(move |_| Reply { status: Some(status), headers: headers.clone(), ..Reply::default() });
        bench.hub.asked();
    };
    for (number, code, words) in [
        (401, "GatedRepo", "set `HF_TOKEN` to a token of your account"),
        (403, "", "accept the model's licence"),
        (401, "RepoNotFound", "there is no such repository"),
        (404, "EntryNotFound", "there is no such file"),
        (404, "RevisionNotFound", "there is no such revision"),
        (418, "", "does not understand"),
    ] {
        status(number, code);
        let told = bench.fault(&bench.options());
        assert!(told.contains(words) && told.contains(&number.to_string()), "{number} {code}: {told}");
        assert_eq!(bench.hub.asked().len(), 1, "{number} will be the same the next time");
    }
    status(401, "GatedRepo");
    let told = bench.fault(&PullOptions { token: token("hf_secret"), ..bench.options() });
    assert!(told.contains("check that `HF_TOKEN`") && !told.contains("hf_secret"), "{told}");
    status(503, "");
    let told = bench.fault(&bench.options());
    assert!(told.contains("answered 503") && told.contains("goes on where it stopped"), "{told}");
    assert_eq!(bench.hub.asked().len(), 7);
    bench.hub.answers(|_| Reply {
        status: Some(429),
        headers: vec![("Retry-After", "999".into())],
        ..Reply::default()
    });
    let told = bench.fault(&bench.options());
    assert!(told.contains("999 seconds") && told.contains("HF_TOKEN"), "{told}");
    let gone = PullOptions { endpoint: "http://127.0.0.1:1".into(), ..bench.options() };
    assert!(bench.fault(&gone).contains("cannot get `unet/model.onnx` from `http://127.0.0.1:1`"));
    let odd = PullOptions { endpoint: "hub".into(), ..bench.options() };
    assert!(bench.fault(&odd).contains("HF_ENDPOINT"));
}

#[test]
fn a_silent_hub_is_asked_again() {
    let bench = one_file(1000);
    bench.hub.answers(once(Reply { silence: Some(Duration::from_secs(2)), ..Reply::default() }));
    bench.pull().unwrap();
    assert!(bench.is_whole() && bench.hub.asked().len() == 2);
}

#[test]
fn a_token_goes_to_the_hub_alone() {
    let bench = one_file(1000);
    let file = (bench.files[FILE].clone(), "other".to_owned());
    let store = Hub::new([("/store?signed=1".to_owned(), file)]);
    let to = format!("{}/store?signed=1", store.address);
    let rooted = address("moved");
    bench.hub.answers(move |asked| {
        let moved = asked.path.ends_with("moved");
        let (status, place) = if moved { (302, to.clone()) } else { (307, rooted.clone()) };
        Reply { status: Some(status), headers: vec![("Location", place)], ..Reply::default() }
    });
    store.answers(once(Reply { cut: Some(400), ..Reply::default() }));
    bench.pull_with(&PullOptions { token: token("hf_secret"), ..bench.options() }).unwrap();
    assert!(bench.is_whole());
    let (at_hub, at_store) = (bench.hub.asked(), store.asked());
    assert_eq!((at_hub.len(), at_store.len()), (4, 2));
    assert!(at_hub.iter().all(|asked| asked.token.as_deref() == Some("Bearer hf_secret")), "{at_hub:?}");
    assert!(at_store.iter().all(|asked| asked.token.is_none()), "{at_store:?}");
    assert_eq!(at_store[1].from, Some(400));
}

#[test]
fn redirects_end() {
    let bench = one_file(1000);
    let itself = address(FILE);
    bench.hub.answers(move |_| Reply {
        status: Some(302),
        headers: vec![("Location", itself.clone())],
        ..Reply::default()
    });
    assert!(bench.fault(&bench.options()).contains("more than 8 redirects"));
}

#[test]
fn several_files_come_at_once() {
    let bench = Bench::new(["a", "b", "c", "d", "e"].map(|name| (name, noise(3000, 2))));
    bench.hub.answers(|_| Reply { drip: Some(Duration::from_millis(50)), ..Reply::default() });
    bench.pull().unwrap();
    assert!(bench.is_whole() && bench.hub.most_at_once() > 1, "{}", bench.hub.most_at_once());
}

#[test]
fn a_file_that_fails_ends_the_others() {
    let bench = Bench::new(["a", "b", "c", "d", "e"].map(|name| (name, noise(10_000, 2))));
    bench.hub.answers(|asked| Reply {
        status: asked.path.ends_with("/a").then_some(404),
        drip: Some(Duration::from_millis(50)),
        ..Reply::default()
    });
    let told = bench.fault(&bench.options());
    assert!(told.contains("404"), "{told}");
    assert!(bench.hub.asked().len() < 5, "the fifth file is not begun");
}

#[test]
fn what_nobody_vetted_needs_leave_and_is_proven_from_then_on() {
    let bench = Bench::new([(FILE, noise(1000, 3)), ("model_index.json", b"{}".to_vec())]);
    bench.write_catalogue(false, "main");
    let told = bench.fault(&bench.options());
    assert!(told.contains("not vetted") && told.contains("--allow-unvetted"), "{told}");
    assert!(bench.hub.asked().is_empty(), "nothing is asked for without leave");
    let allowed = PullOptions { allow_unvetted: true, ..bench.options() };
    // the hub's own hash finds a broken file even so
    bench.hub.answers(|asked| {
        let flip = (asked.path.ends_with("model.onnx") && asked.nth == 0).then_some(9);
        Reply { flip, ..Reply::default() }
    });
    let pulled = bench.pull_with(&allowed).unwrap();
    assert!(bench.is_whole() && !pulled.vetted && pulled.commit == COMMIT);
    // what came first stays right, though the hub and its hashes change
    fs::write(bench.model().join(FILE), "changed").unwrap();
    let again = bench.pull().unwrap();
    assert!(bench.is_whole() && again.files.iter().any(|file| file.from == PulledFrom::Here));
    bench.hub.answers(|_| Reply { flip: Some(9), untagged: true, ..Reply::default() });
    fs::write(bench.model().join(FILE), "changed").unwrap();
    assert!(bench.pull_with(&allowed).unwrap_err().to_string().contains("is not the right file"));
}

#[test]
fn another_revision_replaces_what_was_pulled() {
    let bench = Bench::new([(FILE, noise(1000, 8)), ("unet/weights.pb", noise(1000, 9))]);
    bench.pull().unwrap();
    fs::write(bench.model().join("notes.txt"), "mine").unwrap();
    let hash = sha256(&bench.files[FILE]);
    fs::write(bench.catalogue(), entry("main") + &format!("\"{FILE}\" = \"{hash}\"\n")).unwrap();
    let pulled = bench.pull().unwrap();
    assert_eq!((pulled.files.len(), pulled.files[0].from), (1, PulledFrom::Here));
    let left: Vec<_> = read_all(&bench.model()).into_keys().collect();
    assert_eq!(left, ["notes.txt", FILE]);
}

#[test]
fn the_hub_says_which_files_there_are() {
    let bench = Bench::new([(FILE, noise(1000, 4)), ("tokenizer/vocab.json", b"{}".to_vec())]);
    fs::write(bench.catalogue(), entry("main")).unwrap();
    let pulled = bench.pull_with(&PullOptions { allow_unvetted: true, ..bench.options() }).unwrap();
    assert!(bench.is_whole(), "no other form of the weights");
    assert_eq!((pulled.files.len(), bench.hub.asked().len()), (2, 3));
    // offline, the record knows them
    bench.pull_with(&PullOptions { offline: true, ..bench.options() }).unwrap();
    assert!(bench.hub.asked().is_empty());
}

#[test]
fn no_list_of_files_leads_out_of_the_folder() {
    let bench = Bench::new([(FILE, noise(10, 5))]);
    let hash = sha256(b"x");
    fs::write(bench.catalogue(), entry(COMMIT) + &format!("\"../evil\" = \"{hash}\"\n")).unwrap();
    assert!(bench.fault(&bench.options()).contains("leads elsewhere"));
    assert!(bench.hub.asked().is_empty() && !bench.folder.path().join("evil").exists());
}

#[test]
fn offline_names_what_is_missing_and_asks_nobody() {
    let bench = Bench::new([(FILE, noise(1000, 6)), ("model_index.json", b"{}".to_vec())]);
    fs::create_dir_all(bench.model()).unwrap();
    fs::write(bench.model().join("model_index.json"), "{}").unwrap();
    let told = bench.fault(&PullOptions { offline: true, ..bench.options() });
    assert!(told.contains("offline") && told.contains("`unet/model.onnx`") && !told.contains("index"), "{told}");
    assert!(bench.hub.asked().is_empty());
}

/// A file of the hub's own cache is shared, not copied, and nothing is written into it.
#[cfg(unix)]
#[test]
fn what_another_cache_has_is_not_downloaded() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let bench = Bench::new([(FILE, noise(1000, 7)), ("a.json", b"{}".to_vec()), ("b.json", b"[]".to_vec())]);
    let cache = bench.folder.path().join("cache");
    let repo = cache.join("models--org--tiny");
    let snapshot = repo.join("snapshots").join(COMMIT);
    fs::create_dir_all(repo.join("blobs")).unwrap();
    fs::create_dir_all(snapshot.join("unet")).unwrap();
    let blob = repo.join("blobs").join(sha256(&bench.files[FILE]));
    fs::write(&blob, &bench.files[FILE]).unwrap();
    symlink(&blob, snapshot.join(FILE)).unwrap();
    fs::write(snapshot.join("a.json"), "[1]").unwrap(); // not what it should be
    let options = PullOptions { cache: Some(cache), ..bench.options() };
    let pulled = bench.pull_with(&options).unwrap();
    assert!(bench.is_whole());
    let from: Vec<_> = pulled.files.iter().map(|file| file.from).collect();
    assert_eq!(from, [PulledFrom::Hub, PulledFrom::Hub, PulledFrom::Cache]);
    assert_eq!(fs::metadata(&blob).unwrap().ino(), fs::metadata(bench.model().join(FILE)).unwrap().ino());
    assert_eq!(fs::read_to_string(snapshot.join("a.json")).unwrap(), "[1]");
    // a blob that rotted is not taken, and stays as it is
    fs::remove_dir_all(bench.model()).unwrap();
    fs::write(&blob, "rotten").unwrap();
    let pulled = bench.pull_with(&options).unwrap();
    assert!(bench.is_whole() && pulled.files.iter().all(|file| file.from == PulledFrom::Hub));
    assert_eq!(fs::read_to_string(&blob).unwrap(), "rotten");
    // offline, a branch is what the cache remembers
    fs::write(&blob, &bench.files[FILE]).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    bench.write_catalogue(true, "main");
    fs::remove_file(bench.model().join(FILE)).unwrap();
    bench.hub.asked();
    bench.pull_with(&PullOptions { offline: true, ..options }).unwrap();
    assert!(bench.is_whole() && bench.hub.asked().is_empty());
}

#[test]
fn a_model_without_a_repository_or_in_petal_itself_is_not_pulled() {
    let bench = one_file(10);
    let catalogue = petal_engine::Catalogue::load(None).unwrap();
    for (name, words) in [("petal-mini", "part of petal"), ("realesrgan-x4plus", "in no repository")] {
        let error = petal_engine::pull_model(catalogue.model(name).unwrap(), &bench.options(), &|_| {}).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let unknown = catalogue.model("tinny").unwrap_err();
    assert!(matches!(unknown, Error::Request { .. }) && unknown.to_string().contains("unknown model `tinny`"));
}

#[test]
fn what_happens_is_told() {
    let bench = one_file(1000);
    bench.hub.answers(once(Reply { cut: Some(400), ..Reply::default() }));
    let catalogue = petal_engine::Catalogue::load(Some(&bench.catalogue())).unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |event: petal_engine::PullEvent<'_>| told.lock().unwrap().push(format!("{event:?}"));
    petal_engine::pull_model(catalogue.model("tiny").unwrap(), &bench.options(), &tell).unwrap();
    let told = told.into_inner().unwrap().join("\n");
    for words in ["Begin { files: 1", "done: 400, total: Some(1000)", "Retry", "done: 1000", "Done"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

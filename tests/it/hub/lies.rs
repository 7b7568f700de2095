//! Hubs that mean harm.
use super::{Bench, entry, noise, read_all, server::Reply};
use petal_engine::{Catalogue, PullEvent, PullOptions, pull_model};
use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

const FILE: &str = "unet/model.onnx";

/// A model whose files only the hub knows, and leave to pull it.
fn listed_by_the_hub(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> (Bench, PullOptions) {
    let bench = Bench::new(files);
    fs::write(bench.catalogue(), entry("main")).unwrap();
    let options = PullOptions { allow_unvetted: true, ..bench.options() };
    (bench, options)
}

/// The hub says that the list of files is `list`.
fn lists(bench: &Bench, list: &str) {
    let list = list.to_owned();
    bench.hub.answers(move |asked| {
        let body = asked.path.starts_with("/api/").then(|| list.clone().into_bytes());
        Reply { body, ..Reply::default() }
    });
}

/// What a hub calls a commit, or a hash, is looked for in the cache of its tools: it must not lead out of there.
#[test]
fn no_file_of_this_machine_gets_into_a_model() {
    let (bench, options) = listed_by_the_hub([("unet/config.json", b"{}".to_vec())]);
    let secret = bench.folder.path().join("secret");
    fs::create_dir_all(secret.join("unet")).unwrap();
    fs::write(secret.join("unet/config.json"), "mine").unwrap();
    let options = PullOptions { cache: Some(bench.folder.path().join("cache")), ..options };
    let secret = secret.display().to_string();
    for sha in [&*secret, "../../../secret", "main", "", &"0g".repeat(20)] {
        lists(&bench, &format!("{{\"sha\": \"{sha}\", \"siblings\": [{{\"rfilename\": \"unet/config.json\"}}]}}"));
        let told = bench.fault(&options);
        assert!(told.contains("which is no commit") && told.contains("HF_ENDPOINT"), "{sha}: {told}");
        assert!(read_all(&bench.model()).is_empty());
    }
    // a path of as many letters as a hash has
    let blob = format!("{}/{secret}/unet/config.json", "/".repeat(64));
    let blob = &blob[blob.len() - 64.min(blob.len())..];
    let list = format!(
        "{{\"sha\": \"{}\", \"siblings\": [{{\"rfilename\": \"unet/config.json\", \"blobId\": \"{blob}\"}}]}}",
        super::COMMIT
    );
    lists(&bench, &list);
    bench.pull_with(&options).unwrap();
    assert_eq!(fs::read_to_string(bench.model().join("unet/config.json")).unwrap(), "{}");
}

#[test]
fn secrets_are_neither_told_nor_sent_in_the_open() {
    let bench = Bench::new([(FILE, noise(10, 1))]);
    let endpoint = bench.hub.address.replace("http://", "http://user:hidden@");
    let told = bench.fault(&PullOptions { endpoint, ..bench.options() });
    assert!(told.contains("is not the address of a hub") && !told.contains("hidden"), "{told}");
    for endpoint in ["http://127.hub.invalid", "http://hub.invalid"] {
        let token = super::token("hf_secret");
        let told = bench.fault(&PullOptions { endpoint: endpoint.into(), token, ..bench.options() });
        assert!(told.contains("open connection") && told.contains("take `HF_TOKEN` away"), "{told}");
        assert!(!told.contains("hf_secret"), "{told}");
    }
    assert!(bench.hub.asked().is_empty());
}

#[test]
fn a_list_without_end_is_refused() {
    let (bench, options) = listed_by_the_hub([(FILE, noise(10, 1))]);
    let files: Vec<_> = (0..2001).map(|n| format!("{{\"rfilename\": \"unet/model.onnx.{n}\"}}")).collect();
    lists(&bench, &format!("{{\"sha\": \"{}\", \"siblings\": [{}]}}", super::COMMIT, files.join(",")));
    let told = bench.fault(&options);
    assert!(told.contains("2001 files") && told.contains("model's entry"), "{told}");
    assert_eq!(bench.hub.asked().len(), 1, "no file of it is asked for");
}

/// Who asks for a commit gets no other.
#[test]
fn a_hub_does_not_choose_another_commit() {
    let (bench, options) = listed_by_the_hub([(FILE, noise(10, 1))]);
    fs::write(bench.catalogue(), entry(super::COMMIT)).unwrap();
    lists(&bench, &format!("{{\"sha\": \"{}\", \"siblings\": [{{\"rfilename\": \"{FILE}\"}}]}}", "f".repeat(40)));
    assert!(bench.fault(&options).contains("in place of"));
    lists(&bench, &format!("{{\"sha\": \"{}\", \"siblings\": [{{\"rfilename\": \"{FILE}\"}}]}}", super::COMMIT));
    bench.pull_with(&options).unwrap();
    assert!(bench.is_whole());
}

/// The error of a pull, and the most bytes that were written of a file.
fn written(bench: &Bench, options: &PullOptions) -> (String, u64) {
    let most = AtomicU64::new(0);
    let tell = |event: PullEvent<'_>| {
        if let PullEvent::Progress { done, .. } = event {
            most.fetch_max(done, Ordering::SeqCst);
        }
    };
    let catalogue = Catalogue::load(Some(&bench.catalogue())).unwrap();
    let error = pull_model(catalogue.model("tiny").unwrap(), options, &tell).unwrap_err();
    (format!("{error} | {}", error.hint().unwrap_or_default()), most.load(Ordering::SeqCst))
}

#[test]
fn a_body_without_a_length_ends_where_the_file_should() {
    let (bench, options) = listed_by_the_hub([(FILE, noise(1000, 2))]);
    bench.hub.answers(|asked| {
        let body = asked.path.ends_with(FILE).then(|| noise(500_000, 3));
        Reply { unsized_body: body.is_some(), body, ..Reply::default() }
    });
    let (told, most) = written(&bench, &options);
    assert!(told.contains("more than the 1000 bytes") && most <= 1000, "{most}: {told}");
    assert!(read_all(&bench.model()).is_empty());
    // a vetted model: its hash is known, its length is not
    bench.write_catalogue(true, super::COMMIT);
    let (told, most) = written(&bench, &PullOptions { most_untold: 100_000, ..options.clone() });
    assert!(told.contains("more than the 100000 bytes") && most <= 100_000, "{most}: {told}");
    assert!(read_all(&bench.model()).is_empty());
    // a right file without a length is one
    bench.hub.answers(|_| Reply { unsized_body: true, ..Reply::default() });
    bench.pull_with(&options).unwrap();
    assert!(bench.is_whole());
}

//! Models come from a hub whole and proven, or not at all, whatever the line does.
mod command;
mod faults;
mod lies;
mod server;

use petal_engine::{Catalogue, Patience, PullOptions, Pulled, Result, Token};
use server::Hub;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The commit of every model here.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A folder with a catalogue of one model, `tiny`, and the hub that has it.
struct Bench {
    folder: tempfile::TempDir,
    hub: Hub,
    files: BTreeMap<String, Vec<u8>>,
}

impl Bench {
    fn new(files: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        Self::of(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
    }

    /// The tiny model that draws.
    fn tiny() -> Self {
        let folder = PathBuf::from(super::support::model("sd1"));
        Self::of(read_all(&folder))
    }

    fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let served = files.iter().map(|(name, bytes)| (address(name), (bytes.clone(), sha256(bytes))));
        let list = files.iter().map(|(name, bytes)| {
            let lfs = format!("{{\"sha256\": \"{}\", \"size\": {}}}", sha256(bytes), bytes.len());
            format!("{{\"rfilename\": \"{name}\", \"size\": {}, \"lfs\": {lfs}}}", bytes.len())
        });
        let others = "{\"rfilename\": \"unet/model.safetensors\", \"size\": 5}".to_owned();
        let list: Vec<_> = list.chain([others]).collect();
        let list = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", list.join(", "));
        let lists = ["main", COMMIT].map(|revision| {
            let path = format!("/api/models/org/tiny/revision/{revision}?blobs=true");
            (path, (list.clone().into_bytes(), "list".to_owned()))
        });
        let hub = Hub::new(served.chain(lists).collect::<Vec<_>>());
        let bench = Self { folder: tempfile::tempdir().unwrap(), hub, files };
        bench.write_catalogue(true, COMMIT);
        bench
    }

    /// Writes the catalogue, with or without hashes.
    fn write_catalogue(&self, vetted: bool, revision: &str) {
        let mut text = entry(revision);
        for (name, bytes) in &self.files {
            writeln!(text, "\"{name}\" = \"{}\"", if vetted { sha256(bytes) } else { String::new() }).unwrap();
        }
        fs::write(self.catalogue(), text).unwrap();
    }

    fn catalogue(&self) -> PathBuf {
        self.folder.path().join("models.toml")
    }

    /// Where the model will lie.
    fn model(&self) -> PathBuf {
        self.folder.path().join("tiny")
    }

    fn options(&self) -> PullOptions {
        let patience = Patience { tries: 6, wait: Duration::from_millis(1), idle: Duration::from_millis(300) };
        let endpoint = self.hub.address.clone();
        PullOptions {
            endpoint,
            token: None,
            offline: false,
            allow_unvetted: false,
            cache: None,
            most_untold: 1 << 20,
            patience,
        }
    }

    fn pull(&self) -> Result<Pulled> {
        self.pull_with(&self.options())
    }

    fn pull_with(&self, options: &PullOptions) -> Result<Pulled> {
        let catalogue = Catalogue::load(Some(&self.catalogue()))?;
        petal_engine::pull_model(catalogue.model("tiny")?, options, &|_| {})
    }

    /// Whether exactly the model's files are in its folder.
    fn is_whole(&self) -> bool {
        read_all(&self.model()) == self.files
    }

    /// Fails if a file has its name without being the right one.
    fn check_nothing_wrong(&self) {
        for (name, bytes) in read_all(&self.model()) {
            assert!(name.contains(".petal-") || self.files[&name] == bytes, "{name}");
        }
    }

    /// What of the message and the hint of a failing pull there is.
    fn fault(&self, options: &PullOptions) -> String {
        let error = self.pull_with(options).unwrap_err();
        self.check_nothing_wrong();
        format!("{error} | {}", error.hint().unwrap_or_default())
    }
}

/// The entry of the model, its list of files still empty.
fn entry(revision: &str) -> String {
    format!(
        "[[model]]\nname = \"tiny\"\nfamily = \"sd\"\nabout = \"x\"\nlicence = \"MIT\"\nsource = \"a test\"\n\
         repo = \"org/tiny\"\nrevision = \"{revision}\"\npath = \"tiny\"\n[model.files]\n"
    )
}

/// Where the hub has a file.
fn address(name: &str) -> String {
    format!("/org/tiny/resolve/{COMMIT}/{name}")
}

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.map(|byte| format!("{byte:02x}")).concat()
}

/// Every file below a folder, by its path there.
fn read_all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(std::result::Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(read_all(&entry.path()).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Bytes without a pattern.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..length).map(|_| dice.below(256) as u8).collect()
}

/// A small generator of numbers: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % end as u64) as usize
    }
}

fn token(text: &str) -> Option<Token> {
    Token::new(text)
}

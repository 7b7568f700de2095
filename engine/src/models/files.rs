//! The files of a model: which one is opened, and proof that it is the vetted one.
use super::{bundled::BundledFiles, layout::is_graph};
use crate::{Error, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

/// How many folders deep the graphs of a model lie, as in `transformer.opt/bf16/model.onnx`.
const DEEPEST: usize = 3;

/// The files of one model, by their paths in its folder (`unet/config.json`).
#[derive(Clone, Debug)]
pub(crate) struct Files {
    origin: Origin,
    /// What every file is proven against, if anything.
    proof: Option<Proof>,
}

/// What the files of a model are proven against.
#[derive(Clone, Debug)]
struct Proof {
    kind: ProofKind,
    /// The SHA-256 of every file.
    hashes: BTreeMap<String, String>,
}

/// Who says what the files of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofKind {
    /// The catalogue: somebody vetted them.
    Catalogue,
    /// The first download: nobody vetted them, but they have not changed since.
    FirstUse,
    /// Nobody, but for the hashes that the catalogue has all the same: the user allowed it.
    Allowed,
}

impl ProofKind {
    fn holder(self) -> &'static str {
        match self {
            Self::Catalogue | Self::Allowed => "the catalogue has",
            Self::FirstUse => "at the first download it was",
        }
    }
}

#[derive(Clone, Debug)]
enum Origin {
    Folder(PathBuf),
    Bundled(BundledFiles),
}

/// A graph's bytes, proven if the model is vetted.
#[derive(Debug)]
pub(crate) enum GraphFile {
    /// A file, weights inside or beside it.
    Path(PathBuf),
    /// Part of the program.
    Bytes(&'static [u8]),
}

impl Files {
    /// The files of a folder that nobody vetted.
    pub(crate) fn folder(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self { origin: Origin::Folder(path.into()), proof: None });
        }
        let what = if path.exists() {
            format!("model `{}` is a file, not a folder", path.display())
        } else {
            format!("there is no model folder `{}`", path.display())
        };
        Err(Error::model(what, "give a folder of ONNX graphs, or a name from `petal list models`"))
    }

    /// The files of a folder, each of which must have its hash.
    pub(crate) fn proven(path: &Path, kind: ProofKind, hashes: BTreeMap<String, String>) -> Self {
        Self { origin: Origin::Folder(path.into()), proof: Some(Proof { kind, hashes }) }
    }

    /// Files that are part of the program.
    pub(crate) fn bundled(files: BundledFiles, hashes: BTreeMap<String, String>) -> Self {
        Self { origin: Origin::Bundled(files), proof: Some(Proof { kind: ProofKind::Catalogue, hashes }) }
    }

    /// Where the files are, for people.
    pub(crate) fn place(&self) -> String {
        match &self.origin {
            Origin::Folder(path) => path.display().to_string(),
            Origin::Bundled(_) => "part of petal".into(),
        }
    }

    /// What every file is proven against, if anything.
    pub(crate) fn proof(&self) -> Option<ProofKind> {
        self.proof.as_ref().map(|proof| proof.kind).filter(|kind| *kind != ProofKind::Allowed)
    }

    /// Whether there is a file `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        match &self.origin {
            Origin::Folder(path) => path.join(name).is_file(),
            Origin::Bundled(files) => files.iter().any(|(file, _)| *file == name),
        }
    }

    /// The bytes of the file `name`, proven if the model is vetted.
    pub(crate) fn read(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        let bytes = match &self.origin {
            Origin::Folder(folder) => {
                let path = folder.join(name);
                Cow::Owned(fs::read(&path).map_err(Error::io("read", path))?)
            }
            Origin::Bundled(_) => Cow::Borrowed(self.bundled_bytes(name)?),
        };
        self.prove(name, || Ok(sha256(&bytes)))?;
        Ok(bytes)
    }

    /// The text of the file `name`; `None` when there is no such file.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        let listed = self.proof.as_ref().is_some_and(|proof| proof.hashes.contains_key(name));
        if !self.has(name) && !listed {
            return Ok(None);
        }
        let bytes = self.read(name)?;
        String::from_utf8(bytes.into_owned())
            .map(Some)
            .map_err(|_| self.fault(&format!("`{name}` is not UTF-8 text"), "export the model again"))
    }

    /// The graphs of the model, three folders deep at most, in the order of their names.
    pub(crate) fn graphs(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = match (&self.origin, &self.proof) {
            (Origin::Folder(folder), proof) => {
                let mut names = files_below(folder, Path::new(""), DEEPEST)?;
                names.extend(proof.iter().flat_map(|proof| proof.hashes.keys()).cloned());
                names
            }
            (Origin::Bundled(files), _) => files.iter().map(|(name, _)| (*name).to_owned()).collect(),
        };
        names.retain(|name| is_graph(name));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The graph in the file `name`, with everything beside it proven.
    pub(crate) fn graph_at(&self, name: &str) -> Result<GraphFile> {
        self.prove_component(name.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        self.unproven(name)
    }

    /// The graph in the file `name`, to look at, not to run.
    pub(crate) fn unproven(&self, name: &str) -> Result<GraphFile> {
        match &self.origin {
            Origin::Folder(path) => Ok(GraphFile::Path(path.join(name))),
            Origin::Bundled(_) => Ok(GraphFile::Bytes(self.bundled_bytes(name)?)),
        }
    }

    /// The graph of the component in the folder `component`, or of a model that is one graph (an empty name), with
    /// everything beside it proven.
    pub(crate) fn graph(&self, component: &str) -> Result<GraphFile> {
        let single = component.is_empty();
        let name = if single { "model.onnx".to_owned() } else { format!("{component}/model.onnx") };
        if !self.has(&name) {
            let hint = if single {
                "give a folder with a `model.onnx`, as scripts/upscaler.py writes it, or the ONNX file itself"
            } else {
                "give a folder with text_encoder, unet and vae_decoder, as scripts/export.py or optimum-onnx writes it"
            };
            return Err(self.fault(&format!("there is no `{name}`"), hint));
        }
        self.graph_at(&name)
    }

    /// Proves every file below `component` of a vetted model, several at a time: those of the catalogue and those that
    /// are there, since a graph may read any file beside it.
    fn prove_component(&self, component: &str) -> Result<()> {
        let Some(Proof { hashes, .. }) = &self.proof else { return Ok(()) };
        let inside = |name: &&String| Path::new(name.as_str()).starts_with(component);
        let mut names: BTreeSet<String> = hashes.keys().filter(inside).cloned().collect();
        if let Origin::Folder(folder) = &self.origin {
            names.extend(files_below(folder, Path::new(component), usize::MAX)?);
        }
        names.par_iter().try_for_each(|name| match &self.origin {
            Origin::Folder(folder) => self.prove(name, || sha256_of_file(&folder.join(name))),
            Origin::Bundled(_) => {
                let bytes = self.bundled_bytes(name)?;
                self.prove(name, || Ok(sha256(bytes)))
            }
        })
    }

    /// Proves every file of a vetted model; how many there were.
    pub(crate) fn prove_all(&self) -> Result<usize> {
        self.prove_component("")?;
        Ok(self.proof.as_ref().map_or(0, |proof| proof.hashes.len()))
    }

    /// Fails unless the file `name` has the hash that the catalogue has. Does nothing for a model that nobody vetted.
    fn prove(&self, name: &str, hash: impl FnOnce() -> Result<String>) -> Result<()> {
        let Some(Proof { kind, hashes }) = &self.proof else { return Ok(()) };
        let Some(wanted) = hashes.get(name) else {
            return match kind {
                ProofKind::Catalogue => {
                    Err(self
                        .fault(&format!("`{name}` is not in the catalogue"), "remove it, or add it with its SHA-256"))
                }
                ProofKind::FirstUse => Err(self.fault(&format!("`{name}` was not downloaded with it"), "remove it")),
                ProofKind::Allowed => Ok(()),
            };
        };
        let got = hash()?;
        if got == *wanted {
            return Ok(());
        }
        let file = if *kind == ProofKind::FirstUse { "downloaded" } else { "vetted" };
        let holder = kind.holder();
        let what = format!("`{name}` is not the {file} file: its SHA-256 is {got}, {holder} {wanted}");
        Err(self.fault(&what, "get the file again from its source; do not use a file that changed"))
    }

    fn bundled_bytes(&self, name: &str) -> Result<&'static [u8]> {
        let Origin::Bundled(files) = &self.origin else { return Err(self.fault("it is not part of petal", "")) };
        let file = files.iter().find(|(file, _)| *file == name);
        file.map(|(_, bytes)| *bytes).ok_or_else(|| self.fault(&format!("there is no `{name}`"), "reinstall petal"))
    }

    fn fault(&self, what: &str, hint: &str) -> Error {
        Error::model(format!("model in `{}`: {what}", self.place()), hint)
    }
}

/// Whether reading ends: not so of a pipe or a device. A link that leads nowhere is one that names what is missing.
fn is_readable(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |found| found.is_file())
}

/// The files below `part` of `folder`, so many folders deep, by their paths in `folder` as catalogues write them, with
/// forward slashes. A link back to a folder that it lies in is not followed: what is there has a path already.
pub(crate) fn files_below(folder: &Path, part: &Path, depth: usize) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(folder, part, depth, &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// Adds the files below `part` to `found`. `above` are the folders on the way, links resolved.
fn walk(folder: &Path, part: &Path, depth: usize, above: &mut Vec<PathBuf>, found: &mut Vec<String>) -> Result<()> {
    let place = folder.join(part);
    let real = fs::canonicalize(&place).map_err(Error::io("read", &place))?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for entry in fs::read_dir(&place).map_err(Error::io("read", &place))? {
        let entry = entry.map_err(Error::io("read", &place))?;
        let path = part.join(entry.file_name());
        let whole = folder.join(&path);
        if whole.is_dir() {
            if depth > 0 {
                walk(folder, &path, depth - 1, above, found)?;
            }
        } else if is_readable(&whole) {
            found.push(path.to_string_lossy().replace('\\', "/"));
        }
    }
    above.pop();
    Ok(())
}

/// The SHA-256 of `bytes`, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, in hexadecimal, read in pieces.
pub(crate) fn sha256_of_file(path: &Path) -> Result<String> {
    let read = || -> io::Result<String> {
        let (mut file, mut hash, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(hexadecimal(&hash.finalize())),
                length => hash.update(&piece[..length]),
            }
        }
    };
    read().map_err(Error::io("read", path))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing into a String cannot fail
        text
    })
}

/// Where petal keeps what it installs: `PETAL_HOME`, or `petal` in the user's data folder.
pub fn data_folder() -> Result<PathBuf> {
    if let Some(path) = env::var_os("PETAL_HOME").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    dirs::data_dir().map(|folder| folder.join("petal")).ok_or_else(|| {
        Error::request("this user has no home folder", "set `PETAL_HOME` to a folder that petal may write to")
    })
}

/// Writes a file that appears whole or not at all: to a temporary name beside it, flushed, then renamed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    if path.exists() && !path.is_file() {
        return Err(Error::request(
            format!("`{}` is not a regular file", path.display()),
            "name another file; petal replaces files, not folders or devices",
        ));
    }
    let file = filled_file(path, bytes)?;
    file.persist(path).map_err(|error| Error::Io { doing: "write", path: path.into(), source: error.error })?;
    Ok(())
}

/// Like [`write_atomically`], for a file that `write` makes piece by piece.
pub fn write_atomically_with(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let mut file = temporary_file(path.parent().unwrap_or(Path::new("")))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::Io { doing: "write", path: path.into(), source: error.error })?;
    Ok(())
}

/// Like [`write_atomically`], but replaces nothing: whether the name was free.
pub fn write_new_atomically(path: &Path, bytes: &[u8]) -> Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let file = filled_file(path, bytes)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::Io { doing: "write", path: path.into(), source: error.error }),
    }
}

/// Fails unless files can be made in `folder`; an empty path is the current folder.
pub fn check_writable(folder: &Path) -> Result<()> {
    temporary_file(folder).map(drop)
}

/// A file beside `path` that holds `bytes`, on the disk.
fn filled_file(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let mut file = temporary_file(path.parent().unwrap_or(Path::new("")))?;
    let write = |file: &mut File| file.write_all(bytes).and_then(|()| file.sync_all());
    write(file.as_file_mut()).map_err(Error::io("write", path))?;
    Ok(file)
}

/// A file with an odd name in `folder`, gone when it is dropped.
fn temporary_file(folder: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::metadata(folder).map_err(Error::io("write into", folder))?; // says more plainly that there is no such folder
    let mut builder = tempfile::Builder::new();
    builder.prefix(".petal-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less what the umask takes away
    builder.tempfile_in(folder).map_err(Error::io("write into", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(name: &str, bytes: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("unet")).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
        folder
    }

    #[test]
    fn one_wrong_byte_is_refused_with_both_hashes() {
        let folder = folder_with("unet/model.onnx", b"graph");
        let hashes = BTreeMap::from([("unet/model.onnx".to_owned(), sha256(b"graph"))]);
        let files = Files::proven(folder.path(), ProofKind::Catalogue, hashes.clone());
        assert_eq!(files.prove_all().unwrap(), 1);
        fs::write(folder.path().join("unet/model.onnx"), b"grapi").unwrap();
        for error in [files.graph("unet").unwrap_err(), files.read("unet/model.onnx").unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("unet/model.onnx") && text.contains(&sha256(b"graph")), "{text}");
            assert!(text.contains(&sha256(b"grapi")), "{text}");
        }
    }

    #[test]
    fn a_vetted_model_reads_no_file_that_the_catalogue_lacks() {
        let folder = folder_with("extra.json", b"{}");
        let files = Files::proven(folder.path(), ProofKind::Catalogue, BTreeMap::new());
        assert!(files.read("extra.json").unwrap_err().to_string().contains("not in the catalogue"));
        let folder = folder_with("unet/model.onnx", b"graph");
        let files = Files::proven(folder.path(), ProofKind::Catalogue, BTreeMap::new());
        assert!(files.graph("unet").unwrap_err().to_string().contains("not in the catalogue"));
    }

    #[test]
    fn a_vetted_model_lacks_no_file_that_the_catalogue_lists() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::proven(
            folder.path(),
            ProofKind::Catalogue,
            BTreeMap::from([("preview.json".to_owned(), sha256(b"{}"))]),
        );
        assert!(matches!(files.text("preview.json"), Err(Error::Io { .. })));
        assert_eq!(files.text("other.json").unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_round_are_not_followed() {
        use std::os::unix::fs::symlink;
        let folder = folder_with("unet/model.onnx", b"graph");
        symlink(folder.path(), folder.path().join("unet/back")).unwrap();
        symlink(".", folder.path().join("unet/itself")).unwrap();
        assert_eq!(files_below(folder.path(), Path::new(""), usize::MAX).unwrap(), ["unet/model.onnx"]);
        // a link elsewhere is, as in the caches of other tools
        let other = folder_with("unet/config.json", b"{}");
        symlink(other.path().join("unet"), folder.path().join("vae")).unwrap();
        let mut names = files_below(folder.path(), Path::new(""), usize::MAX).unwrap();
        names.sort();
        assert_eq!(names, ["unet/model.onnx", "vae/config.json"]);
        // two folders with links to each other
        symlink(folder.path(), other.path().join("unet/round")).unwrap();
        names = files_below(folder.path(), Path::new(""), usize::MAX).unwrap();
        names.sort();
        assert_eq!(names, ["unet/model.onnx", "vae/config.json"]);
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-4, example "abc"
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn writing_replaces_whole_files_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for bytes in [b"one".as_slice(), b"two"] {
            write_atomically(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert!(!write_new_atomically(&path, b"three").unwrap());
        assert!(write_new_atomically(&folder.path().join("b.png"), b"three").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let missing = folder.path().join("no/a.png");
        assert!(matches!(write_atomically(&missing, b"x"), Err(Error::Io { .. })));
    }
}

//! Which files of a model are here, which lie in another cache, and which must be downloaded?
use super::{
    PullEvent, PullOptions,
    cache::HubCache,
    client::{Client, Fault},
    is_commit,
    listing::{Listing, check_path},
    part::{self, Expected, LINK, with_suffix},
    remove::remove_empty,
    transfer::Transfer,
};
use crate::{
    CatalogueModel, Error, Result,
    hub::address::escape,
    models::{Record, beside, check_name, sha256_of_file},
};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// How many files come at once: enough to fill a line that one connection does not, few enough for any hub.
const AT_ONCE: usize = 4;

/// A model that is here.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its folder.
    pub folder: PathBuf,
    /// The commit of its repository, where it has to be known.
    pub commit: String,
    /// Whether the catalogue has the hash of every file; if not, the files are proven against this download from now on.
    pub vetted: bool,
    /// Its files.
    pub files: Vec<PulledFile>,
}

/// A file that is here and proven.
#[derive(Clone, Debug)]
pub struct PulledFile {
    /// Its path in the folder.
    pub name: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// Where it came from.
    pub from: PulledFrom,
}

/// Where a file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PulledFrom {
    /// It was here before.
    Here,
    /// The cache of the hub's own tools had it.
    Cache,
    /// It was downloaded.
    Hub,
}

impl PulledFrom {
    /// A word for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Cache => "cache",
            Self::Hub => "hub",
        }
    }
}

/// Brings every file of a model of the catalogue here, each proven before it takes its name.
///
/// A download that was interrupted, in whatever way, goes on where it stopped. Several processes may pull the same model:
/// one does it, the others wait.
///
/// # Errors
/// [`Error::Model`] for a model without a repository, one that nobody vetted unless that is allowed, a file that the hub
/// does not give or that is not what it should be; [`Error::Io`] for a disk that takes no more.
pub fn pull(model: &CatalogueModel, options: &PullOptions, tell: &(dyn Fn(PullEvent<'_>) + Sync)) -> Result<Pulled> {
    let repo = check_entry(model)?;
    let folder = model.folder()?;
    // the folder itself is made when the first file comes
    let home = folder.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(home).map_err(Error::io("create", home))?;
    let _lock = lock(&folder, || tell(PullEvent::Waiting))?;
    let last = Record::read(&folder)?.unwrap_or_default();
    let pulled = last.pulled.clone();
    let before = if last.is_of(model) { last } else { Record::default() };
    if !model.is_vetted() && !options.allow_unvetted && before.files.is_empty() {
        return Err(Error::model(
            format!("model `{}` is not vetted: the catalogue lacks hashes of its files", model.name),
            format!(
                "read about it at {}, then run `petal models pull {} --allow-unvetted`; its hashes are kept, and later loads \
                 are proven against them",
                model.source, model.name
            ),
        ));
    }
    let client = Client::new(&options.endpoint, options.token.clone(), options.patience.idle)?;
    let source = Source { repo, model, client, options, cache: options.cache.clone().map(HubCache::new) };
    let (commit, wanted) = source.plan(&before)?;
    let record = Record { repo: repo.into(), revision: model.revision().into(), commit, pulled, ..before };
    let job = Job { source: &source, folder: &folder, wanted: &wanted, tell, record: Mutex::new(record) };
    let files = job.run().inspect_err(|_| {
        let files: Vec<_> = wanted.keys().map(|name| folder.join(name)).collect();
        remove_empty(&folder, files.iter().map(PathBuf::as_path));
    })?;
    let record = job.record.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Pulled { folder, commit: record.commit, vetted: model.is_vetted(), files })
}

/// The repository of an entry that can be pulled.
fn check_entry(model: &CatalogueModel) -> Result<&str> {
    check_name(&model.name)?;
    if model.bundled {
        let what = format!("model `{}` is part of petal", model.name);
        return Err(Error::request(what, format!("draw with it: `petal PROMPT -m {}`", model.name)));
    }
    let Some(repo) = &model.repo else {
        let what = format!("model `{}` is in no repository that petal knows", model.name);
        return Err(Error::model(what, format!("put its files into its folder; they come from {}", model.source)));
    };
    model.files.keys().try_for_each(|name| check_path(name))?;
    Ok(repo)
}

/// The lock of the model in `folder`: held by one process at a time, let go even by one that is killed.
fn lock(folder: &Path, waiting: impl FnOnce()) -> Result<File> {
    if let Some(file) = try_lock(folder)? {
        return Ok(file);
    }
    waiting();
    let (path, file) = lock_file(folder)?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

/// The lock of the model in `folder`, unless another process holds it.
pub(super) fn try_lock(folder: &Path) -> Result<Option<File>> {
    let (path, file) = lock_file(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

fn lock_file(folder: &Path) -> Result<(PathBuf, File)> {
    let path = beside(folder, "lock");
    let file = File::create(&path).map_err(Error::io("write", &path))?;
    Ok((path, file))
}

/// Where the files of a model come from.
struct Source<'a> {
    repo: &'a str,
    model: &'a CatalogueModel,
    client: Client,
    options: &'a PullOptions,
    cache: Option<HubCache>,
}

impl Source<'_> {
    /// The commit, and what is known of every file.
    fn plan(&self, before: &Record) -> Result<(String, BTreeMap<String, Expected>)> {
        let revision = self.model.revision();
        let known = |hash: &String| Some(hash.clone()).filter(|hash| !hash.is_empty());
        let listed = self.model.files.iter().map(|(name, hash)| (name.clone(), known(hash)));
        let trusted = before.files.keys().filter(|_| self.model.files.is_empty() && before.complete);
        let names = listed.chain(trusted.map(|name| (name.clone(), None)));
        let mut wanted: BTreeMap<String, Expected> =
            names.map(|(name, sha256)| (name, Expected { sha256, ..Expected::default() })).collect();
        let mut commit = if is_commit(revision) { revision.to_owned() } else { before.commit.clone() };
        if self.options.offline {
            let cached = self.cache.as_ref().filter(|_| commit.is_empty());
            commit = cached.and_then(|cache| cache.commit(self.repo, revision)).unwrap_or(commit);
        } else if commit.is_empty() || wanted.is_empty() {
            let listing = self.list(if commit.is_empty() { revision } else { &commit })?;
            commit.clone_from(&listing.commit);
            // the hub's own hashes and sizes are worth knowing for what the entry lists, too
            wanted = listing.expectations(wanted)?;
        }
        if wanted.is_empty() {
            return Err(self.nothing());
        }
        wanted.keys().try_for_each(|name| check_path(name))?;
        // what was downloaded before is what was trusted
        for (name, expected) in &mut wanted {
            expected.sha256 = expected.sha256.take().or_else(|| before.files.get(name).cloned());
        }
        Ok((commit, wanted))
    }

    /// The error for a model of which no file is known.
    fn nothing(&self) -> Error {
        let Self { repo, model, options, .. } = self;
        let what = if options.offline {
            format!("only the hub knows which files `{}` has, and petal is offline", model.name)
        } else {
            format!("`{repo}` has no ONNX model at revision `{}`", model.revision())
        };
        Error::model(what, "pull it without `--offline`, or list its files in the model's entry")
    }

    /// The hub's list of files, asked for until it comes.
    fn list(&self, revision: &str) -> Result<Listing> {
        let patience = &self.options.patience;
        let mut failures = 0;
        loop {
            match Listing::ask(&self.client, self.repo, revision) {
                Ok(listing) => return Ok(listing),
                Err(Fault::Lasting(error)) => return Err(error),
                Err(Fault::Passing(what, _)) if failures == patience.tries => {
                    let what =
                        format!("cannot get the files of `{}` from `{}`: {what}", self.repo, self.client.endpoint());
                    return Err(Error::model(what, "check the network, and run the command again"));
                }
                Err(Fault::Passing(_, wait)) => {
                    failures += 1;
                    thread::sleep(wait.unwrap_or_else(|| patience.wait_after(failures)));
                }
            }
        }
    }
}

/// One pull.
struct Job<'a> {
    source: &'a Source<'a>,
    folder: &'a Path,
    wanted: &'a BTreeMap<String, Expected>,
    tell: &'a (dyn Fn(PullEvent<'_>) + Sync),
    record: Mutex<Record>,
}

impl Job<'_> {
    fn run(&self) -> Result<Vec<PulledFile>> {
        let sizes: Option<Vec<u64>> = self.wanted.values().map(|expected| expected.size).collect();
        let bytes = sizes.map(|sizes| sizes.iter().sum()).or(self.source.model.size);
        (self.tell)(PullEvent::Begin { files: self.wanted.len(), bytes });
        let names: Vec<(&String, &Expected)> = self.wanted.iter().collect();
        let found: Vec<_> =
            names.par_iter().map(|(name, expected)| self.find(name, expected)).collect::<Result<_>>()?;
        let mut files: Vec<PulledFile> = found.iter().flatten().cloned().collect();
        let missing: Vec<_> =
            names.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(name, _)| *name).collect();
        if self.source.options.offline && !missing.is_empty() {
            let list: Vec<_> = missing.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(Error::model(
                format!("petal is offline, and model `{}` lacks {}", self.source.model.name, list.join(", ")),
                "pull it without `--offline` and without `HF_HUB_OFFLINE`",
            ));
        }
        files.extend(self.download(&missing)?);
        files.sort_by(|one, other| one.name.cmp(&other.name));
        self.sweep()?;
        self.note(|record| {
            record.complete = true;
            record.files = files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect();
        })?;
        Ok(files)
    }

    /// Removes what an earlier revision had and this one has not: a graph may read any file beside it.
    fn sweep(&self) -> Result<()> {
        let pulled = self.record.lock().unwrap_or_else(PoisonError::into_inner).pulled.clone();
        for name in pulled.iter().filter(|name| !self.wanted.contains_key(*name)) {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", path)(error)),
                _ => self.note(|record| record.pulled.retain(|other| other != name))?,
            }
        }
        Ok(())
    }

    /// The file `name` if it is here, or can be taken from another cache.
    fn find(&self, name: &str, expected: &Expected) -> Result<Option<PulledFile>> {
        let target = self.folder.join(name);
        if let Some(wanted) = expected.sha256.as_ref().filter(|_| target.is_file())
            && sha256_of_file(&target)? == *wanted
        {
            return self.arrived(name, wanted.clone(), PulledFrom::Here).map(Some);
        }
        let Some(path) = self.cached(name, expected) else { return Ok(None) };
        let said = expected.said.clone().or_else(|| HubCache::hash_of(&path));
        let expected = Expected { said, ..expected.clone() };
        match take_from_cache(&path, &target, &expected)? {
            Some(hash) => self.arrived(name, hash, PulledFrom::Cache).map(Some),
            None => Ok(None),
        }
    }

    fn cached(&self, name: &str, expected: &Expected) -> Option<PathBuf> {
        let commit = self.record.lock().unwrap_or_else(PoisonError::into_inner).commit.clone();
        let hash = expected.sha256.as_ref().or(expected.said.as_ref());
        self.source.cache.as_ref()?.find(self.source.repo, &commit, name, hash.map(String::as_str))
    }

    /// Downloads files, several at once. The first that fails for good ends the others.
    fn download(&self, missing: &[(&String, &Expected)]) -> Result<Vec<PulledFile>> {
        let (next, stop, first) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let Source { client, options, .. } = self.source;
        let transfer = Transfer { client, options, tell: self.tell, stop: &stop };
        let work = || {
            let mut files = Vec::new();
            while let Some((name, expected)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.bring(&transfer, name, expected) {
                    Ok(file) => files.push(file),
                    Err(error) => {
                        // in this order: what stops the others is the reason, not that they were stopped
                        first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        stop.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            }
            files
        };
        let files: Vec<PulledFile> = thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE.min(missing.len())).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        });
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if files.len() < missing.len() => Err(Error::model("a download stopped", "run the command again")),
            None => Ok(files),
        }
    }

    fn bring(&self, transfer: &Transfer<'_>, name: &str, expected: &Expected) -> Result<PulledFile> {
        let commit = self.record.lock().unwrap_or_else(PoisonError::into_inner).commit.clone();
        let path =
            format!("/{}/resolve/{}/{}", escape(self.source.repo, true), escape(&commit, false), escape(name, true));
        let (hash, _) = transfer.bring(name, &path, expected, &self.folder.join(name))?;
        self.arrived(name, hash, PulledFrom::Hub)
    }

    /// Notes that a file is here.
    fn arrived(&self, name: &str, sha256: String, from: PulledFrom) -> Result<PulledFile> {
        let target = self.folder.join(name);
        let bytes = fs::metadata(&target).map_err(Error::io("read", &target))?.len();
        self.note(|record| {
            record.files.insert(name.to_owned(), sha256.clone());
            if from != PulledFrom::Here {
                record.pulled.insert(name.to_owned());
            }
        })?;
        (self.tell)(PullEvent::Progress { file: name, done: bytes, total: Some(bytes) });
        (self.tell)(PullEvent::Done { file: name });
        Ok(PulledFile { name: name.to_owned(), sha256, bytes, from })
    }

    /// Changes the record, and writes it if that made a difference.
    fn note(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let before = record.clone();
        change(&mut record);
        if *record == before { Ok(()) } else { record.write(self.folder) }
    }
}

/// Takes a file from another cache, proven, as a link or a copy; its SHA-256. None if it is not the right one.
fn take_from_cache(path: &Path, target: &Path, expected: &Expected) -> Result<Option<String>> {
    let folder = target.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let link = with_suffix(target, LINK);
    let _ = fs::remove_file(&link); // of an earlier run, if it is there
    let source = fs::canonicalize(path).map_err(Error::io("read", path))?;
    if fs::hard_link(&source, &link).is_err() {
        fs::copy(&source, &link).map_err(Error::io("write", &link))?;
    }
    let mut file = File::open(&link).map_err(Error::io("read", &link))?;
    let length = file.metadata().map_err(Error::io("read", &link))?.len();
    let checked = part::check(&mut file, length, expected.sha256.as_ref(), expected.said.as_ref());
    let (hash, right) = checked.map_err(Error::io("read", &link))?;
    drop(file);
    if right {
        part::take_name(&link, target)?;
        return Ok(Some(hash));
    }
    fs::remove_file(&link).map_err(Error::io("remove", link))?;
    Ok(None)
}

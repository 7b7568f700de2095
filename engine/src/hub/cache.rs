//! The cache of the hub's own tools: what it holds need not be downloaded.
use std::{
    env,
    path::{Path, PathBuf},
};

/// A cache in the form that `huggingface_hub` has: `models--org--name` with `blobs`, `refs` and `snapshots`.
#[derive(Clone, Debug)]
pub(super) struct HubCache(PathBuf);

impl HubCache {
    /// The cache in the folder `folder`.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where the variables `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` put it, or else `.cache` in the home folder.
    pub(super) fn usual_folder() -> Option<PathBuf> {
        let variable = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        variable("HF_HUB_CACHE")
            .or_else(|| Some(variable("HF_HOME")?.join("hub")))
            .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| Some(dirs::home_dir()?.join(".cache/huggingface/hub")))
    }

    fn repo(&self, repo: &str) -> PathBuf {
        self.0.join(format!("models--{}", repo.replace('/', "--")))
    }

    /// The commit that `revision` was when it was last asked for.
    pub(super) fn commit(&self, repo: &str, revision: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.repo(repo).join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| super::is_commit(commit))
    }

    /// Where the file `name` of a commit may lie, or the one with this SHA-256.
    pub(super) fn find(&self, repo: &str, commit: &str, name: &str, sha256: Option<&str>) -> Option<PathBuf> {
        let repo = self.repo(repo);
        // what a hub or an entry says becomes a part of a path only if it cannot lead out of the cache
        let named = super::is_commit(commit).then(|| repo.join("snapshots").join(commit).join(name));
        let stored = sha256.filter(|hash| super::is_hash(hash)).map(|hash| repo.join("blobs").join(hash));
        [named, stored].into_iter().flatten().find(|path| path.is_file())
    }

    /// The hash by which the cache calls the file at `path`: that of its blob.
    pub(super) fn hash_of(path: &Path) -> Option<String> {
        let blob = std::fs::canonicalize(path).ok()?;
        let name = blob.file_name()?.to_string_lossy().into_owned();
        super::is_hash(&name).then_some(name)
    }
}

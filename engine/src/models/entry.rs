//! Where are the files of a model of the catalogue, are they all there, and who says what they should be?
use super::{
    CatalogueModel, Files, ModelKind, ModelName, Part, bundled,
    files::{ProofKind, files_below},
    layout::is_graph,
    record::Record,
};
use crate::{Error, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The flag that lets a model in which nobody vetted.
const ALLOW: &str = "--allow-unvetted";

/// How much of a model is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPresence {
    /// It is part of petal.
    Bundled,
    /// All of it is here.
    Here,
    /// Some of its files are here.
    Partly,
    /// Nothing of it is here.
    Absent,
}

/// Who says what a model's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vetting {
    /// Somebody vetted them: the catalogue has their hashes.
    Vetted,
    /// Nobody did; they are proven against what was downloaded first.
    FirstUse,
    /// Nobody did.
    Unvetted,
}

/// One file of a model.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Its path in the model's folder.
    pub name: String,
    /// Its SHA-256, if the catalogue or the first download says it.
    pub sha256: Option<String>,
    /// Its bytes, if it is here.
    pub bytes: Option<u64>,
}

impl CatalogueModel {
    /// The commit, branch or tag of its repository.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Whether the catalogue has the hash of every file.
    #[must_use]
    pub fn is_vetted(&self) -> bool {
        !self.files.is_empty() && self.files.values().all(|hash| !hash.is_empty())
    }

    /// The folder that holds its files, or will hold them.
    pub fn folder(&self) -> Result<PathBuf> {
        match &self.path {
            Some(path) => Ok(path.clone()),
            None => Ok(super::data_folder()?.join("models").join(&self.name)),
        }
    }

    /// Who says what its files are.
    #[must_use]
    pub fn vetting(&self) -> Vetting {
        match self.trusted() {
            _ if self.is_vetted() => Vetting::Vetted,
            Ok(Some(_)) => Vetting::FirstUse,
            _ => Vetting::Unvetted,
        }
    }

    /// How much of it is on this machine.
    #[must_use]
    pub fn presence(&self) -> ModelPresence {
        if self.bundled {
            return ModelPresence::Bundled;
        }
        let Ok(folder) = self.folder() else { return ModelPresence::Absent };
        let names: Vec<String> = match self.trusted() {
            Ok(Some(record)) => record.files.into_keys().collect(),
            _ => self.files.keys().cloned().collect(),
        };
        let here = names.iter().filter(|name| folder.join(name).is_file()).count();
        match here {
            _ if !folder.is_dir() => ModelPresence::Absent,
            0 if names.is_empty() && has_no_files(&folder) => ModelPresence::Absent,
            // nobody knows what there should be
            0 if names.is_empty() => {
                if self.repo.is_some() {
                    ModelPresence::Partly
                } else {
                    ModelPresence::Here
                }
            }
            0 => ModelPresence::Absent,
            some if some < names.len() => ModelPresence::Partly,
            _ => ModelPresence::Here,
        }
    }

    /// Whether the model can be used now.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        matches!(self.presence(), ModelPresence::Bundled | ModelPresence::Here)
    }

    /// Its files, with what is known of each.
    pub fn file_list(&self) -> Result<Vec<ModelFile>> {
        if let Some(files) = self.bundled.then(|| bundled::files(&self.name)).flatten() {
            let file = |(name, bytes): &(&str, &[u8])| ModelFile {
                name: (*name).to_owned(),
                sha256: self.files.get(*name).cloned(),
                bytes: Some(bytes.len() as u64),
            };
            return Ok(files.iter().map(file).collect());
        }
        let folder = self.folder()?;
        let mut hashes = Record::read(&folder)?.map(|record| record.files).unwrap_or_default();
        for (name, hash) in &self.files {
            if !hash.is_empty() || !hashes.contains_key(name) {
                hashes.insert(name.clone(), hash.clone());
            }
        }
        let file = |(name, hash): (String, String)| ModelFile {
            bytes: fs::metadata(folder.join(&name)).ok().map(|data| data.len()),
            sha256: Some(hash).filter(|hash| !hash.is_empty()),
            name,
        };
        Ok(hashes.into_iter().map(file).collect())
    }

    /// What was downloaded for it, if all of it was.
    fn trusted(&self) -> Result<Option<Record>> {
        Ok(Record::read(&self.folder()?)?.filter(|record| record.complete))
    }

    /// Its name, with the hash of its network.
    pub(super) fn known_as(&self) -> ModelName {
        let is_network = |name: &&String| Part::by_folder(name) == Some(Part::Network) && is_graph(name);
        let network = match self.kind() {
            ModelKind::Upscaler => "model.onnx",
            ModelKind::Drawing => self.files.keys().find(is_network).map_or("unet/model.onnx", String::as_str),
        };
        let hash = match self.files.get(network) {
            Some(hash) if !hash.is_empty() => Some(hash.clone()),
            _ => self.trusted().ok().flatten().and_then(|record| record.files.get(network).cloned()),
        };
        ModelName { name: self.name.clone(), hash, ..ModelName::default() }
    }

    /// Its files, each of which must have the hash that the catalogue has, or had when it was downloaded. Files whose hash
    /// nobody knows only if that is `allowed`.
    pub(super) fn opened(&self, allowed: bool) -> Result<Files> {
        if self.bundled {
            let files = bundled::files(&self.name).ok_or_else(|| {
                let what = format!("model `{}` is not part of petal, but the catalogue says so", self.name);
                Error::model(what, "remove `bundled` from its entry")
            })?;
            return Ok(Files::bundled(files, self.files.clone()));
        }
        let folder = self.folder()?;
        // a list that only the hub has may be short of nothing
        let known = !(allowed && self.files.is_empty());
        if !folder.is_dir() || (self.repo.is_some() && known && !self.is_installed()) {
            return Err(self.is_missing());
        }
        if self.is_vetted() {
            return Ok(Files::proven(&folder, ProofKind::Catalogue, self.files.clone()));
        }
        let vetted = self.files.iter().filter(|(_, hash)| !hash.is_empty());
        let vetted = vetted.map(|(name, hash)| (name.clone(), hash.clone()));
        if let Some(record) = self.trusted()? {
            let hashes = record.files.into_iter().chain(vetted).collect();
            return Ok(Files::proven(&folder, ProofKind::FirstUse, hashes));
        }
        if !allowed {
            let what = format!("model `{}` is not vetted: the catalogue lacks hashes of its files", self.name);
            return Err(Error::model(what, format!("allow what nobody vetted with `{ALLOW}`, or add the hashes")));
        }
        Ok(Files::proven(&folder, ProofKind::Allowed, vetted.collect()))
    }

    /// The error for a model whose files are not all here.
    fn is_missing(&self) -> Error {
        let folder = self.folder().unwrap_or_default();
        let what = format!("model `{}` is not installed in `{}`", self.name, folder.display());
        let hint = match &self.repo {
            None => format!("put its files there; they come from {}", self.source),
            Some(_) if self.is_vetted() => format!("run `petal models pull {}`", self.name),
            Some(_) => format!(
                "run `petal models pull {} {ALLOW}`; nobody vetted its files, which come from {}",
                self.name, self.source
            ),
        };
        Error::model(what, hint)
    }
}

/// Whether there is no file in `folder` and the folders of a model in it.
fn has_no_files(folder: &Path) -> bool {
    files_below(folder, Path::new(""), 1).is_ok_and(|names| names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalogue;

    /// A catalogue in `folder` of one model with a repository, the hash of whose network is `hash`.
    fn catalogue(folder: &Path, hash: &str) -> Catalogue {
        let entry = format!(
            "[[model]]\nname = 'x'\nfamily = 'sd'\nabout = 'x'\nlicence = 'MIT'\nsource = 'a hub'\nrepo = 'a/b'\n\
             path = 'x'\n[model.files]\n'unet/model.onnx' = '{hash}'\n'a.json' = '{}'\n",
            super::super::sha256(b"{}"),
        );
        fs::write(folder.join("catalogue.toml"), entry).unwrap();
        Catalogue::load(Some(&folder.join("catalogue.toml"))).unwrap()
    }

    fn fill(folder: &Path) {
        fs::create_dir_all(folder.join("x/unet")).unwrap();
        fs::write(folder.join("x/unet/model.onnx"), "graph").unwrap();
        fs::write(folder.join("x/a.json"), "{}").unwrap();
    }

    #[test]
    fn what_is_not_here_names_the_command_that_brings_it() {
        let folder = tempfile::tempdir().unwrap();
        for (hash, hint) in [(&*"0".repeat(64), "run `petal models pull x`"), ("", "pull x --allow-unvetted`")] {
            let error = catalogue(folder.path(), hash).open(Some("x")).unwrap_err();
            assert!(error.to_string().contains("not installed") && error.hint().unwrap().contains(hint), "{error:?}");
        }
        fs::create_dir_all(folder.path().join("x")).unwrap();
        fs::write(folder.path().join("x/a.json"), "{}").unwrap();
        let catalogue = catalogue(folder.path(), "");
        assert_eq!(catalogue.model("x").unwrap().presence(), ModelPresence::Partly);
        assert!(catalogue.open(Some("x")).unwrap_err().to_string().contains("not installed"));
    }

    #[test]
    fn files_without_a_hash_are_opened_only_if_that_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let catalogue = catalogue(folder.path(), "");
        let error = catalogue.open(Some("x")).unwrap_err();
        assert!(error.to_string().contains("not vetted") && error.hint().unwrap().contains(ALLOW), "{error:?}");
        let allowed = catalogue.allowing_unvetted(true);
        let files = allowed.open(Some("x")).unwrap().2;
        assert_eq!((files.proof(), files.graph("unet").is_ok()), (None, true));
        assert_eq!(files.text("a.json").unwrap().unwrap(), "{}");
        fs::write(folder.path().join("x/a.json"), "[]").unwrap();
        assert!(files.text("a.json").unwrap_err().to_string().contains("not the vetted file"));
    }

    #[test]
    fn what_was_downloaded_first_must_not_change() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let catalogue = catalogue(folder.path(), "");
        let hash = super::super::sha256(b"graph");
        let files = [("unet/model.onnx".to_owned(), hash.clone())].into();
        let record = Record { complete: true, files, ..Record::default() };
        record.write(&folder.path().join("x")).unwrap();
        let (name, _, files) = catalogue.open(Some("x")).unwrap();
        assert_eq!((name.hash, files.proof()), (Some(hash), Some(ProofKind::FirstUse)));
        assert_eq!(catalogue.model("x").unwrap().vetting(), Vetting::FirstUse);
        assert_eq!(files.prove_all().unwrap(), 2);
        fs::write(folder.path().join("x/unet/model.onnx"), "grapi").unwrap();
        let error = files.graph("unet").unwrap_err().to_string();
        assert!(error.contains("not the downloaded file") && error.contains("at the first download"), "{error}");
        fs::write(folder.path().join("x/unet/weights.pb"), "").unwrap();
        fs::write(folder.path().join("x/unet/model.onnx"), "graph").unwrap();
        assert!(files.graph("unet").unwrap_err().to_string().contains("was not downloaded"));
    }
}

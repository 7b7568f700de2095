//! What was downloaded for a model, written beside its folder: which files, and their hashes at that time.
use super::{CatalogueModel, write_atomically};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// What a pull put into a model's folder.
///
/// Later loads of a model that nobody vetted are proven against it: what was trusted once must not change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The repository.
    pub(crate) repo: String,
    /// The revision that the catalogue names.
    pub(crate) revision: String,
    /// The commit that this revision was at that time.
    pub(crate) commit: String,
    /// Whether every file of the model is here.
    pub(crate) complete: bool,
    /// The files that the pull itself put there.
    pub(crate) pulled: BTreeSet<String>,
    /// The SHA-256 of every file, by its path in the folder.
    pub(crate) files: BTreeMap<String, String>,
}

impl Record {
    /// The record of the model in `folder`, if there is one.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = beside(folder, "record.toml");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io("read", &path))?,
        };
        toml::from_str(&text).map(Some).map_err(|error| {
            let what = format!("`{}` is not a record of a download: {}", path.display(), error.to_string().trim());
            Error::model(what, "remove it, and pull the model again")
        })
    }

    /// Writes the record of the model in `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let text =
            toml::to_string(self).map_err(|error| Error::model(format!("cannot write a record: {error}"), ""))?;
        write_atomically(&beside(folder, "record.toml"), text.as_bytes())
    }

    /// Removes the record of the model in `folder`.
    pub(crate) fn remove(folder: &Path) -> Result<()> {
        let path = beside(folder, "record.toml");
        fs::remove_file(&path).map_err(Error::io("remove", path))
    }

    /// Whether it is of the repository and revision that the catalogue names.
    pub(crate) fn is_of(&self, model: &CatalogueModel) -> bool {
        model.repo.as_ref() == Some(&self.repo) && model.revision() == self.revision
    }
}

/// The path of a file that belongs to the model in `folder` but lies beside it: everything inside is the model's.
pub(crate) fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("v1.5");
        assert_eq!(Record::read(&model).unwrap(), None);
        let record = Record {
            repo: "org/name".into(),
            revision: "onnx".into(),
            commit: "0".repeat(40),
            complete: true,
            pulled: ["unet/model.onnx".to_owned()].into(),
            files: [("unet/model.onnx".to_owned(), "f".repeat(64))].into(),
        };
        record.write(&model).unwrap();
        assert_eq!(Record::read(&model).unwrap(), Some(record));
        assert!(folder.path().join(".v1.5.record.toml").is_file());
        fs::write(folder.path().join(".v1.5.record.toml"), "repo = 1").unwrap();
        assert!(Record::read(&model).unwrap_err().to_string().contains("is not a record"));
        Record::remove(&model).unwrap();
        assert_eq!(Record::read(&model).unwrap(), None);
    }
}

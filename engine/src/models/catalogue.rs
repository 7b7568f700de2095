//! The catalogue of models and libraries: `models.toml`.
use super::{Files, GraphFile, RuntimeBundle, own};
use crate::{Error, Result, error::unknown};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The catalogue that comes with petal.
const BUILT_IN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models.toml"));

/// The family of models that do not draw but make pictures larger.
pub(super) const UPSCALER: &str = "upscaler";

/// Models and ONNX Runtime libraries, each file with its SHA-256, or a model without, which nobody vetted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The models; the first is the default.
    #[serde(default, rename = "model", skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<CatalogueModel>,
    /// The libraries, one entry for each kind of machine.
    #[serde(default, rename = "runtime", skip_serializing_if = "Vec::is_empty")]
    pub runtimes: Vec<RuntimeBundle>,
    /// Whether models that nobody vetted may be opened.
    #[serde(skip)]
    allow_unvetted: bool,
}

/// A model, vetted if every file has its SHA-256.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// The repository on a model hub that has the files, as `organisation/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The commit of that repository, or a branch or tag; by default `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How many bytes the files have, about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The folder that holds it, relative to the catalogue file. Without it: `models/NAME` in petal's data folder, or for
    /// a model without `repo` in a catalogue of your own, the folder `NAME` beside the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Whether it is part of the program itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bundled: bool,
    /// What to draw with when the request does not say.
    #[serde(default, skip_serializing_if = "ModelDefaults::is_empty")]
    pub defaults: ModelDefaults,
    /// The SHA-256 of every file, by its path in the folder. A file whose hash is empty makes the model one that nobody
    /// vetted, and so does an empty list: a pull then asks the hub which files there are.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// What a model is called, and which one it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelName {
    /// The name, as the catalogue or its folder calls it.
    pub name: String,
    /// The SHA-256 of its network's graph, if the catalogue knows it.
    pub hash: Option<String>,
    /// The folder of the autoencoder that stands in for its own, as people call it.
    pub vae: Option<String>,
    /// The folder of the text encoders that stand in for its own.
    pub text_encoder: Option<String>,
}

/// What to draw with when the request does not say.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDefaults {
    /// Steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Guidance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cfg_scale: Option<f64>,
}

impl ModelDefaults {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Catalogue {
    /// The catalogue that comes with petal, after the models of `extra`, if one is named, and before those that the user
    /// added: what was added changes no default. A model that the user added hides one of petal's of the same name.
    pub fn load(extra: Option<&Path>) -> Result<Self> {
        let mut catalogue = extra.map(Self::read).transpose()?.unwrap_or_default();
        let added = own::read()?;
        let mut built_in = Self::parse(BUILT_IN, Path::new("models.toml"))?;
        built_in.models.retain(|model| added.models.iter().all(|other| other.name != model.name));
        for part in [built_in, added] {
            catalogue.models.extend(part.models);
            catalogue.runtimes.extend(part.runtimes);
        }
        Ok(catalogue)
    }

    /// The same, from which models may be opened that nobody vetted, if `allowed`.
    #[must_use]
    pub fn allowing_unvetted(self, allowed: bool) -> Self {
        Self { allow_unvetted: allowed, ..self }
    }

    /// The catalogue in the file `path`, its folders seen from there.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let mut catalogue = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for model in &mut catalogue.models {
            let beside = model.repo.is_none().then(|| PathBuf::from(&model.name));
            model.path = model.path.take().or(beside).map(|path| folder.join(path));
        }
        Ok(catalogue)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let hint = "see petal's own models.toml for the form of an entry";
            Error::model(format!("`{}` is not a catalogue: {}", path.display(), error.to_string().trim()), hint)
        })
    }

    /// The model that is called `name`, whatever it is for.
    pub fn model(&self, name: &str) -> Result<&CatalogueModel> {
        let found = self.models.iter().find(|model| model.name == name);
        found.ok_or_else(|| unknown("model", name, self.models.iter().map(|model| model.name.as_str())))
    }

    /// The names of the upscalers.
    pub(crate) fn upscalers(&self) -> impl Iterator<Item = String> {
        self.models.iter().filter(|model| model.kind() == ModelKind::Upscaler).map(|model| model.name.clone())
    }

    /// The models of one kind, the first of which is the default.
    pub fn of_kind(&self, kind: ModelKind) -> impl Iterator<Item = &CatalogueModel> {
        self.models.iter().filter(move |model| model.kind() == kind)
    }

    /// The model to draw with that is called `name` in the catalogue, or the one in the folder `name`; without a name, the
    /// first.
    pub(crate) fn open(&self, name: Option<&str>) -> Result<(ModelName, Option<&CatalogueModel>, Files)> {
        match self.find(ModelKind::Drawing, name)? {
            Found::Entry(model) => Ok((model.known_as(), Some(model), model.opened(self.allow_unvetted)?)),
            Found::Path(path) => {
                let files = Files::folder(path)?;
                Ok((ModelName { name: folder_name(path), ..ModelName::default() }, None, files))
            }
        }
    }

    /// The graph of the upscaler that is called `name` in the catalogue, or of the folder or ONNX file `name`; without a
    /// name, the first.
    pub(crate) fn open_upscaler(&self, name: Option<&str>) -> Result<(ModelName, GraphFile)> {
        match self.find(ModelKind::Upscaler, name)? {
            Found::Entry(model) => Ok((model.known_as(), model.opened(self.allow_unvetted)?.graph("")?)),
            Found::Path(path) if path.is_file() => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                Ok((ModelName { name, ..ModelName::default() }, GraphFile::Path(path.into())))
            }
            Found::Path(path) => {
                let graph = Files::folder(path)?.graph("")?;
                Ok((ModelName { name: folder_name(path), ..ModelName::default() }, graph))
            }
        }
    }

    /// Fails unless [`open_upscaler`](Self::open_upscaler) finds something under `name`; what that is, is not looked at.
    pub(crate) fn check_upscaler(&self, name: Option<&str>) -> Result<()> {
        match self.find(ModelKind::Upscaler, name)? {
            Found::Entry(model) => model.opened(self.allow_unvetted).map(drop),
            Found::Path(_) => Ok(()),
        }
    }

    /// The model of a kind that `name` means.
    fn find<'a, 'n>(&'a self, kind: ModelKind, name: Option<&'n str>) -> Result<Found<'a, 'n>> {
        let Some(name) = name else {
            let nothing = || Error::model(format!("the catalogue has no {}", kind.noun()), "name one");
            return self.of_kind(kind).next().map(Found::Entry).ok_or_else(nothing);
        };
        if let Some(model) = self.models.iter().find(|model| model.name == name) {
            return if model.kind() == kind { Ok(Found::Entry(model)) } else { Err(kind.refuses(name)) };
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
    Entry(&'a CatalogueModel),
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
}

/// The last part of a path, by which a model in a folder is called.
pub(crate) fn folder_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_has_a_default_model() {
        let catalogue = Catalogue::load(None).unwrap();
        assert!(catalogue.models[0].bundled);
    }

    #[test]
    fn the_bundled_files_are_those_of_the_catalogue() {
        let catalogue = Catalogue::load(None).unwrap();
        let mut size = 0;
        for model in catalogue.models.iter().filter(|model| model.bundled) {
            let files = crate::models::bundled::files(&model.name).unwrap();
            let mut bundled: Vec<_> = files.iter().map(|(name, _)| *name).collect();
            bundled.sort_unstable();
            assert_eq!(bundled, model.files.keys().map(String::as_str).collect::<Vec<_>>());
            size += files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            assert_eq!(model.opened(false).unwrap().prove_all().unwrap(), files.len(), "{}", model.name);
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

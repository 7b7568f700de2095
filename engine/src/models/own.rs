//! The models that the user added: `catalogue.toml` in petal's data folder.
use super::{
    Catalogue, CatalogueModel, ModelDefaults, data_folder,
    files::{files_below, sha256_of_file},
    record::beside,
    write_atomically,
};
use crate::{Error, Result};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The file, in the data folder.
const FILE: &str = "catalogue.toml";

/// A folder of files that becomes a model of the user's catalogue.
#[derive(Clone, Debug, Default)]
pub struct NewModel {
    /// The folder.
    pub folder: PathBuf,
    /// The model's name; by default the folder's.
    pub name: Option<String>,
    /// Its family; by default what its files say.
    pub family: Option<String>,
    /// Its licence; by default `unknown`.
    pub licence: Option<String>,
}

/// The models that the user added; none where there is no data folder.
pub(super) fn read() -> Result<Catalogue> {
    let path = data_folder().map(|folder| folder.join(FILE));
    match path {
        Ok(path) if path.is_file() => Catalogue::read(&path),
        _ => Ok(Catalogue::default()),
    }
}

/// Hashes every file of a folder, and adds it to the user's catalogue as a model.
///
/// # Errors
/// [`Error::Request`] for a name that `known` has, or that cannot be one; [`Error::Model`] for a folder that is no model;
/// [`Error::Io`].
pub fn add_model(new: &NewModel, known: &Catalogue) -> Result<CatalogueModel> {
    let folder = fs::canonicalize(&new.folder).map_err(Error::io("open", &new.folder))?;
    let name = match &new.name {
        Some(name) => name.clone(),
        None => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    check_name(&name)?;
    if known.models.iter().any(|model| model.name == name) {
        let what = format!("there is a model `{name}` already");
        return Err(Error::request(what, "choose another name with `--name`, or remove it with `petal models rm`"));
    }
    let family = new.family.clone().map_or_else(|| family_of(&folder), Ok)?;
    let files = hashes(&folder)?;
    let size = files.keys().filter_map(|name| fs::metadata(folder.join(name)).ok()).map(|data| data.len()).sum();
    let model = CatalogueModel {
        name,
        family,
        about: "added by you".into(),
        licence: new.licence.clone().unwrap_or_else(|| "unknown".into()),
        source: folder.display().to_string(),
        repo: None,
        revision: None,
        size: Some(size),
        path: Some(folder),
        bundled: false,
        defaults: ModelDefaults::default(),
        files,
    };
    change(|models| {
        if models.iter().any(|other| other.name == model.name) {
            return Err(Error::request(format!("there is a model `{}` already", model.name), "choose another name"));
        }
        models.push(model.clone());
        Ok(())
    })?;
    Ok(model)
}

/// Takes a model out of the user's catalogue; its files stay. Whether it was there.
pub(crate) fn remove_added(name: &str) -> Result<bool> {
    if !read()?.models.iter().any(|model| model.name == name) {
        return Ok(false);
    }
    change(|models| {
        models.retain(|model| model.name != name);
        Ok(())
    })?;
    Ok(true)
}

/// Changes the user's catalogue, one process at a time.
fn change(change: impl FnOnce(&mut Vec<CatalogueModel>) -> Result<()>) -> Result<()> {
    let home = data_folder()?;
    fs::create_dir_all(&home).map_err(Error::io("create", &home))?;
    let path = home.join(FILE);
    let lock_path = beside(&path, "lock");
    let lock = File::create(&lock_path).map_err(Error::io("write", &lock_path))?;
    lock.lock().map_err(Error::io("lock", &lock_path))?;
    let mut catalogue = read()?;
    change(&mut catalogue.models)?;
    let text = toml::to_string(&catalogue).map_err(|error| {
        Error::model(format!("cannot write `{}`: {error}", path.display()), "choose plain names of files and folders")
    })?;
    write_atomically(&path, text.as_bytes())
}

/// Fails for a name that cannot be a folder's, or is read as a path.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.starts_with(['.', '-']) || name.contains(odd) {
        let hint = "choose letters, digits, `-`, `_` and `.`, beginning with none of `-` and `.`";
        return Err(Error::request(format!("`{name}` cannot be the name of a model"), hint));
    }
    Ok(())
}

/// The family that the files of `folder` show.
fn family_of(folder: &Path) -> Result<String> {
    if folder.join("model.onnx").is_file() {
        return Ok("upscaler".into());
    }
    let text = fs::read_to_string(folder.join("model_index.json")).unwrap_or_default();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let class = index.get("_class_name").and_then(serde_json::Value::as_str).unwrap_or_default();
    // the most special first: each of these names has the last one in it, but for Flux
    let families = [("StableDiffusionXL", "sdxl"), ("StableDiffusion3", "sd3"), ("Flux", "flux")];
    let found = families.iter().find(|(part, _)| class.contains(part)).map(|(_, family)| *family);
    let plain = folder.join("unet").is_dir() && !folder.join("text_encoder_2").is_dir();
    found.or_else(|| plain.then_some("sd")).map(str::to_owned).ok_or_else(|| {
        let what = format!("`{}` does not say of which family it is", folder.display());
        Error::model(what, "name it with `--family`: sd, sdxl, sd3, flux or upscaler")
    })
}

/// The SHA-256 of every file below `folder`.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>> {
    let names = files_below(folder, Path::new(""), usize::MAX)?;
    if !names.iter().any(|name| Path::new(name).extension().is_some_and(|suffix| suffix == "onnx")) {
        let what = format!("there is no ONNX file in `{}`", folder.display());
        return Err(Error::model(what, "give a folder of ONNX graphs, as scripts/export.py or optimum-onnx writes it"));
    }
    names.into_par_iter().map(|name| sha256_of_file(&folder.join(&name)).map(|hash| (name, hash))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders() {
        for name in ["sd-v1.5", "a", "ä b"] {
            check_name(name).unwrap();
        }
        for name in ["", ".", "..", ".x", "-x", "a/b", "a\\b", "c:", "a\nb"] {
            assert!(check_name(name).unwrap_err().hint().is_some(), "{name:?}");
        }
    }

    #[test]
    fn families_are_read_from_the_pipeline_or_from_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        assert!(family_of(folder.path()).unwrap_err().hint().unwrap().contains("--family"));
        fs::create_dir(folder.path().join("unet")).unwrap();
        assert_eq!(family_of(folder.path()).unwrap(), "sd");
        for (class, family) in [
            ("StableDiffusionPipeline", "sd"),
            ("ORTStableDiffusionXLPipeline", "sdxl"),
            ("StableDiffusion3Pipeline", "sd3"),
            ("FluxPipeline", "flux"),
        ] {
            fs::write(folder.path().join("model_index.json"), format!("{{\"_class_name\": \"{class}\"}}")).unwrap();
            assert_eq!(family_of(folder.path()).unwrap(), family);
        }
        fs::write(folder.path().join("model.onnx"), "").unwrap();
        assert_eq!(family_of(folder.path()).unwrap(), "upscaler");
    }

    #[test]
    fn a_generated_catalogue_is_read_as_it_was_written() {
        let text = "[[model]]\nname = 'x'\nfamily = 'sd'\nabout = 'x'\nlicence = 'MIT'\nsource = 'x'\npath = '/x y'\n\
                    defaults = { steps = 4 }\n[model.files]\n'a b/\"c\".json' = '0'\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, text).unwrap();
        let first = Catalogue::read(&path).unwrap();
        fs::write(&path, toml::to_string(&first).unwrap()).unwrap();
        let second = Catalogue::read(&path).unwrap();
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }
}

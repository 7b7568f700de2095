//! The models that the user added: `catalogue.toml` in petal's data folder.
use super::{
    Catalogue, CatalogueModel, Files, ModelDefaults,
    catalogue::UPSCALER,
    data_folder,
    files::{files_below, sha256_of_file},
    record::beside,
    write_atomically,
};
use crate::{
    Error, Result,
    survey::{Elsewhere, survey},
};
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
    /// Its family, which must be the one that its graphs say.
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
/// [`Error::Request`] for a name that `known` has, or that cannot be one, and for a family that the model is not of;
/// [`Error::Model`] for a folder that is no model; [`Error::Io`].
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
    let family = family_of(&folder, new.family.as_deref())?;
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
    if !is_plain(name) || name.starts_with(['.', '-', ' ']) {
        let hint = "choose letters, digits, `-`, `_` and `.`, beginning with none of `-` and `.`";
        return Err(Error::request(format!("`{name}` cannot be the name of a model"), hint));
    }
    Ok(())
}

/// Whether `part` is the name of one file or folder on every system, and nothing else.
pub(crate) fn is_plain(part: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*');
    // Windows takes these for devices, whatever follows behind a full stop
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let number = ["COM", "LPT"].iter().find_map(|kind| stem.strip_prefix(kind));
    let is_device = ["CON", "PRN", "AUX", "NUL"].contains(&&*stem)
        || number.is_some_and(|number| number.len() == 1 && number.bytes().all(|digit| digit.is_ascii_digit()));
    !part.is_empty() && !part.ends_with(['.', ' ']) && !part.contains(odd) && !is_device
}

/// The family of the model in `folder`, as its graphs say; what the user `named` must be the same.
fn family_of(folder: &Path, named: Option<&str>) -> Result<String> {
    let may_upscale = folder.join("model.onnx").is_file();
    if may_upscale && named == Some(UPSCALER) {
        return Ok(UPSCALER.into());
    }
    let found = match survey(&Files::folder(folder)?, Elsewhere::default()) {
        Ok(survey) => survey.family.name,
        Err(_) if may_upscale => UPSCALER,
        Err(error) => return Err(error),
    };
    match named {
        Some(named) if named != found => {
            let what = format!("the model in `{}` is of family `{found}`, not `{named}`", folder.display());
            Err(Error::request(what, format!("leave `--family` out, or name `{found}`")))
        }
        _ => Ok(found.into()),
    }
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
        for name in ["sd-v1.5", "a", "ä b", "console", "com", "lpt10"] {
            check_name(name).unwrap();
        }
        for name in [
            "", ".", "..", ".x", "-x", "a/b", "a\\b", "c:", "a\nb", " ", " a", "a ", "a.", "a?", "con", "Aux.v1",
            "LPT1",
        ] {
            assert!(check_name(name).unwrap_err().hint().is_some(), "{name:?}");
        }
    }

    #[test]
    fn the_graphs_say_of_which_family_a_model_is() {
        let tiny = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models").join(name);
        for (name, family) in [("sd1", "sd"), ("sdxl", "sdxl"), ("sd3", "sd3"), ("flux-dev", "flux")] {
            assert_eq!(family_of(&tiny(name), None).unwrap(), family);
            assert_eq!(family_of(&tiny(name), Some(family)).unwrap(), family);
        }
        for (name, wrong) in [("sdxl", "sd"), ("sd1", "bogus"), ("sd1", "upscaler"), ("sd1", "")] {
            let error = family_of(&tiny(name), Some(wrong)).unwrap_err();
            assert!(error.to_string().contains(&format!("not `{wrong}`")) && error.hint().is_some(), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(family_of(folder.path(), None).is_err() && family_of(folder.path(), Some("sd")).is_err());
        fs::write(folder.path().join("model.onnx"), "").unwrap();
        assert_eq!(family_of(folder.path(), None).unwrap(), "upscaler");
        assert_eq!(family_of(folder.path(), Some("upscaler")).unwrap(), "upscaler");
        assert!(family_of(folder.path(), Some("sd")).unwrap_err().to_string().contains("of family `upscaler`"));
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

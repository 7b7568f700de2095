//! What of a model did petal put here, and can go?
use super::{
    part::{LINK, NOTE, PART},
    pull::lock,
};
use crate::{
    CatalogueModel, Error, Result,
    models::{Record, files_below, remove_added},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Removes what a pull put into a model's folder, or takes a model that the user added out of the user's catalogue, whose
/// files stay. How many files went.
///
/// # Errors
/// [`Error::Request`] for a model that is part of petal, or that petal did not put there; [`Error::Io`].
pub fn remove(model: &CatalogueModel) -> Result<usize> {
    if model.bundled {
        let what = format!("model `{}` is part of petal and cannot be removed", model.name);
        return Err(Error::request(what, "name another model"));
    }
    let folder = model.folder()?;
    let added = remove_added(&model.name)?;
    if !folder.parent().is_some_and(Path::is_dir) {
        return if added { Ok(0) } else { Err(not_ours(model, &folder)) };
    }
    let Some(record) = Record::read(&folder)? else {
        let parts = if model.repo.is_some() { left_behind(&folder)? } else { Vec::new() };
        if parts.is_empty() && !added {
            return Err(not_ours(model, &folder));
        }
        return clear(&folder, &parts, model);
    };
    let _lock = lock(&folder, || {})?;
    let mut files: Vec<PathBuf> = record.pulled.iter().map(|name| folder.join(name)).collect();
    files.extend(left_behind(&folder)?);
    let removed = clear(&folder, &files, model)?;
    Record::remove(&folder)?;
    Ok(removed)
}

fn not_ours(model: &CatalogueModel, folder: &Path) -> Error {
    Error::request(
        format!("petal did not put model `{}` here", model.name),
        format!("remove `{}` yourself, if it is there", folder.display()),
    )
}

/// What an interrupted pull left of files.
fn left_behind(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let names = files_below(folder, Path::new(""), usize::MAX)?.into_iter();
    let ours = names.filter(|name| [PART, NOTE, LINK].iter().any(|suffix| name.ends_with(suffix)));
    Ok(ours.map(|name| folder.join(name)).collect())
}

/// Removes files, and the folders that are empty then; how many files there were.
fn clear(folder: &Path, files: &[PathBuf], model: &CatalogueModel) -> Result<usize> {
    let mut removed = 0;
    for path in files {
        match fs::remove_file(path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", path)(error)),
        }
    }
    if model.repo.is_none() {
        return Ok(removed);
    }
    for path in files {
        let inside = path.ancestors().skip(1).take_while(|parent| parent.starts_with(folder));
        inside.take_while(|parent| fs::remove_dir(parent).is_ok()).for_each(drop);
    }
    Ok(removed)
}

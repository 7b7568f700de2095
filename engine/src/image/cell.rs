//! Where do the pixels of a sheet's cell come from, row by row?
use crate::{Bitmap, Error, Result};
use png::{BitDepth, ColorType, Decoder, DecodingError, Reader};
use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

/// One picture of a [`Sheet`](super::Sheet).
#[derive(Clone, Debug)]
pub struct Cell {
    /// What stands below it; may be empty.
    pub label: String,
    /// What it shows.
    pub pixels: CellPixels,
}

/// The pixels of a cell.
#[derive(Clone, Debug)]
pub enum CellPixels {
    /// They are in memory.
    Memory(Bitmap),
    /// They are in a PNG file of 8-bit RGB, which is read row by row.
    File(PathBuf),
}

/// Gives one row of pixels after the other, each of `width * 3` bytes.
pub(super) enum Rows<'a> {
    Memory(std::slice::ChunksExact<'a, u8>),
    File(&'a Path, Box<Reader<BufReader<File>>>),
}

impl CellPixels {
    /// Width and height in pixels.
    pub(super) fn size(&self) -> Result<(usize, usize)> {
        match self {
            Self::Memory(picture) => Ok((picture.width as usize, picture.height as usize)),
            Self::File(path) => {
                let reader = open(path)?;
                Ok((reader.info().width as usize, reader.info().height as usize))
            }
        }
    }

    pub(super) fn rows(&self) -> Result<Rows<'_>> {
        Ok(match self {
            Self::Memory(picture) => Rows::Memory(picture.rgb.chunks_exact((picture.width as usize * 3).max(1))),
            Self::File(path) => Rows::File(path, Box::new(open(path)?)),
        })
    }
}

impl Rows<'_> {
    /// Writes the next row into `row`, which is as long as one.
    pub(super) fn next_into(&mut self, row: &mut [u8]) -> Result<()> {
        match self {
            Self::Memory(rows) => {
                if let Some(next) = rows.next() {
                    row.copy_from_slice(next);
                }
                Ok(())
            }
            Self::File(path, reader) => match reader.next_row() {
                Ok(Some(next)) if next.data().len() == row.len() => {
                    row.copy_from_slice(next.data());
                    Ok(())
                }
                Ok(_) => Err(unreadable(path, "it ends too early")),
                Err(DecodingError::IoError(source)) => Err(Error::io("read", path)(source)),
                Err(error) => Err(unreadable(path, &error.to_string())),
            },
        }
    }
}

/// A reader that stands before the first row.
fn open(path: &Path) -> Result<Reader<BufReader<File>>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let reader = Decoder::new(BufReader::new(file)).read_info().map_err(|error| match error {
        DecodingError::IoError(source) => Error::io("read", path)(source),
        other => unreadable(path, &other.to_string()),
    })?;
    match (reader.output_color_type(), reader.info().interlaced) {
        ((ColorType::Rgb, BitDepth::Eight), false) => Ok(reader),
        _ => Err(unreadable(path, "it is not 8-bit RGB without interlacing")),
    }
}

fn unreadable(path: &Path, why: &str) -> Error {
    let what = format!("the cell `{}` cannot be read: {why}", path.display());
    Error::request(what, "delete it and draw it again")
}

//! How is a PNG file written row by row, so that its pixels are never all in memory?
use super::{FileText, png::add_text};
use crate::{Bitmap, Error, Result};
use png::{BitDepth, ColorType, Encoder, EncodingError, StreamWriter, Writer};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// A PNG file of 8-bit RGB or RGBA that is being written.
pub struct PngRows {
    rows: StreamWriter<'static, File>,
    /// What messages call the file.
    path: PathBuf,
}

impl PngRows {
    /// Begins at the place where `file` stands, which messages call `path`, a picture of width and height `size`, with `texts`
    /// under their keywords.
    pub fn new(file: &File, path: &Path, size: (u32, u32), alpha: bool, texts: &[FileText]) -> Result<Self> {
        let file = file.try_clone().map_err(Error::io("write", path))?;
        let rows = begin(file, size, alpha, texts).and_then(Writer::into_stream_writer);
        Ok(Self { rows: rows.map_err(|error| fault(path, error))?, path: path.into() })
    }

    /// Writes the next row: three bytes for each pixel, or four.
    pub fn row(&mut self, pixels: &[u8]) -> Result<()> {
        self.rows.write_all(pixels).map_err(Error::io("write", &self.path))
    }

    /// Ends the file.
    pub fn finish(self) -> Result<()> {
        self.rows.finish().map_err(|error| fault(&self.path, error))
    }
}

impl std::fmt::Debug for PngRows {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PngRows").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The bytes of a PNG file.
pub(super) fn encode(pixels: &Bitmap, texts: &[FileText]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encode = |bytes: &mut Vec<u8>| {
        let mut writer = begin(bytes, pixels.size(), pixels.alpha.is_some(), texts)?;
        match pixels.rgba() {
            None => writer.write_image_data(&pixels.rgb)?,
            Some(rgba) => writer.write_image_data(&rgba)?,
        }
        writer.finish()
    };
    encode(&mut bytes).map_err(|error| fault(Path::new("picture.png"), error))?;
    Ok(bytes)
}

fn begin<W: Write>(out: W, size: (u32, u32), alpha: bool, texts: &[FileText]) -> Result<Writer<W>, EncodingError> {
    let mut encoder = Encoder::new(out, size.0, size.1);
    encoder.set_color(if alpha { ColorType::Rgba } else { ColorType::Rgb });
    encoder.set_depth(BitDepth::Eight);
    for (keyword, text) in texts {
        add_text(&mut encoder, keyword, text)?;
    }
    encoder.write_header()
}

fn fault(path: &Path, error: EncodingError) -> Error {
    match error {
        EncodingError::IoError(source) => Error::Io { doing: "write", path: path.into(), source },
        other => Error::request(format!("the picture is no PNG: {other}"), "choose another size"),
    }
}

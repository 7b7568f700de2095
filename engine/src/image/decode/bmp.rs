//! How is a BMP file decoded?
use super::{
    Fault, Header, colour,
    colour::{Conversion, Ink, Samples},
};
use crate::Bitmap;
use image::{ColorType, ImageDecoder, ImageError, codecs::bmp::BmpDecoder};
use std::io::{BufRead, Seek};

/// A file whose header was read.
pub(super) struct Opened<R: BufRead + Seek>(BmpDecoder<R>);

impl<R: BufRead + Seek> Opened<R> {
    pub(super) fn new(file: R) -> Result<Self, Fault> {
        Ok(Self(BmpDecoder::new(file)?))
    }

    pub(super) fn header(&self) -> Header {
        Header { size: self.0.dimensions(), orientation: 1, profile: false }
    }

    /// The picture; its colours are taken for those of sRGB.
    pub(super) fn decode(self) -> Result<Bitmap, Fault> {
        let size = self.0.dimensions();
        let (ink, alpha) = match self.0.color_type() {
            ColorType::L8 => (Ink::Grey, false),
            ColorType::Rgba8 => (Ink::Rgb, true),
            _ => (Ink::Rgb, false),
        };
        let conversion = Conversion::new(Samples { ink, alpha, wide: false }, None)?;
        let mut pixels = vec![0; self.0.total_bytes() as usize];
        self.0.read_image(&mut pixels)?;
        colour::picture(pixels, size, conversion)
    }
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::IoError(source) => source.into(),
            other => Self::refused(format!("it is damaged: {other}"), "save it again, or give another file"),
        }
    }
}

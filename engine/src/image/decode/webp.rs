//! How is a WebP file decoded?
use super::{
    Fault, Header, colour,
    colour::{Conversion, Ink, Samples},
    limits,
};
use crate::{Bitmap, image::exif};
use image_webp::{DecodingError, WebPDecoder};
use std::io::{BufRead, Seek};

/// Bytes that each pixel takes while it is decoded, by kind of file: what is given back, and what the crate keeps beside.
const ANIMATED: u64 = 14;
const LOSSY: u64 = 5;
const LOSSY_WITH_ALPHA: u64 = 11;
const LOSSLESS: u64 = 7;
const LOSSLESS_WITH_ALPHA: u64 = 5;

/// A file whose header was read.
pub(super) struct Opened<R> {
    decoder: WebPDecoder<R>,
    length: u64,
}

impl<R: BufRead + Seek> Opened<R> {
    pub(super) fn new(file: R, length: u64) -> Result<Self, Fault> {
        let mut decoder = WebPDecoder::new(file)?;
        decoder.set_memory_limit(limits::LONGEST_PROFILE);
        Ok(Self { decoder, length })
    }

    pub(super) fn is_lossy(&mut self) -> bool {
        self.decoder.is_lossy()
    }

    pub(super) fn header(&mut self) -> Result<Header, Fault> {
        let exif = self.decoder.exif_metadata()?;
        let orientation = exif.and_then(|data| exif::orientation(&data)).unwrap_or(1);
        Ok(Header { size: self.decoder.dimensions(), orientation, profile: false })
    }

    /// The picture, not yet upright; of an animation, the first.
    pub(super) fn decode(mut self) -> Result<Bitmap, Fault> {
        let (size, alpha) = (self.decoder.dimensions(), self.decoder.has_alpha());
        let each = match (self.decoder.is_animated(), self.decoder.is_lossy(), alpha) {
            (true, ..) => ANIMATED,
            (_, true, false) => LOSSY,
            (_, true, true) => LOSSY_WITH_ALPHA,
            (_, false, false) => LOSSLESS,
            (_, false, true) => LOSSLESS_WITH_ALPHA,
        };
        let area = u64::from(size.0) * u64::from(size.1);
        limits::check_memory(size, 3 + u64::from(alpha), each * area + self.length)?;
        let profile = self.decoder.icc_profile()?.map(|bytes| colour::profile(&bytes)).transpose()?;
        let conversion = Conversion::new(Samples { ink: Ink::Rgb, alpha, wide: false }, profile.as_ref())?;
        let mut pixels = vec![0; area as usize * (3 + usize::from(alpha))];
        self.decoder.read_image(&mut pixels)?;
        colour::picture(pixels, size, conversion)
    }
}

impl From<DecodingError> for Fault {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::IoError(source) => source.into(),
            DecodingError::MemoryLimitExceeded => {
                Self::refused("its metadata is longer than 4 MiB", "save it without its metadata")
            }
            other => Self::refused(format!("it is damaged: {other}"), "save it again, or give another file"),
        }
    }
}

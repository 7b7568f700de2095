//! Are the pixels of a picture those of a file?
use super::{EncodeOptions, FileFormat, Picture, decode::lossy_format, picture_size};
use crate::{Bitmap, Result};
use std::{borrow::Cow, io::Cursor, path::Path};

/// How a picture differs from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Width and height of the file's picture.
    pub file: (u32, u32),
    /// Width and height of the other.
    pub picture: (u32, u32),
    /// How many pixels differ; all, if the sizes do.
    pub different: u64,
    /// The largest difference of a colour, of 255.
    pub largest: u8,
    /// The file's format, if it is one that does not keep pixels as they are.
    pub lossy: Option<FileFormat>,
    /// The quality at which the picture was made such a file first, as the file was.
    pub quality: Option<u8>,
}

impl Comparison {
    /// Whether every pixel is the same.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.different == 0
    }
}

impl Picture {
    /// Compares the pixels with those of the file at `path`. `quality` is that of a JPEG or WebP file which petal wrote:
    /// then what is compared is the picture after it went the same way.
    pub fn compare(&self, path: impl AsRef<Path>, quality: Option<u8>) -> Result<Comparison> {
        let path = path.as_ref();
        let (file, picture) = (picture_size(path)?, self.pixels.size());
        let lossy = lossy_format(path)?;
        let way = lossy.zip(quality);
        let (mut different, mut largest) = (u64::from(file.0) * u64::from(file.1), u8::MAX);
        if file == picture {
            // only now: a small file that claims to be a huge picture takes no memory
            let theirs = Bitmap::read(path)?;
            let reencoded = way.map(|(format, quality)| self.through(format, quality)).transpose()?;
            (different, largest) = differences(&theirs, reencoded.as_ref().unwrap_or(&self.pixels));
        }
        Ok(Comparison { file, picture, different, largest, lossy, quality: way.map(|(_, quality)| quality) })
    }

    /// The pixels after they were a file of `format`.
    fn through(&self, format: FileFormat, quality: u8) -> Result<Bitmap> {
        let bytes = self.encode(format, &EncodeOptions { metadata: false, quality: Some(quality) })?;
        Bitmap::decode(Cursor::new(bytes))
    }
}

/// How many pixels differ, and the largest difference of a colour, or of opacity where both have it; what is opaque is
/// compared with what is seen of the other on white.
fn differences(a: &Bitmap, b: &Bitmap) -> (u64, u8) {
    let (a, b, depth) = match (a.rgba(), b.rgba()) {
        (Some(a), Some(b)) => (Cow::Owned(a), Cow::Owned(b), 4),
        _ => (a.on_white(), b.on_white(), 3),
    };
    let pairs = a.chunks_exact(depth).zip(b.chunks_exact(depth));
    let pixels = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0));
    pixels.fold((0, 0), |(different, largest), pixel| (different + u64::from(pixel > 0), largest.max(pixel)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_counted_once_and_the_largest_difference_is_found() {
        let picture = |rgb: [u8; 6], alpha: Option<[u8; 2]>| Bitmap {
            alpha: alpha.map(|alpha| alpha.to_vec()),
            ..Bitmap::opaque(2, 1, rgb.to_vec())
        };
        let plain = picture([1, 2, 3, 4, 5, 6], None);
        assert_eq!(differences(&plain, &plain), (0, 0));
        assert_eq!(differences(&picture([1, 9, 5, 4, 5, 5], None), &plain), (2, 7));
        let clear = picture([1, 2, 3, 4, 5, 6], Some([255, 0]));
        assert_eq!(differences(&clear, &picture([1, 2, 3, 4, 5, 6], Some([250, 0]))), (1, 5));
        assert_eq!(differences(&picture([1, 2, 3, 255, 255, 255], None), &clear), (0, 0));
    }
}

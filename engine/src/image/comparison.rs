//! Are the pixels of a picture those of a file?
use super::{EncodeOptions, FileFormat, Picture};
use crate::{Error, Result};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Seek},
    path::Path,
};

/// The memory that decoding may take beside the pixels.
const ROOM: u64 = 64 << 20;

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
    /// Whether the file is one that does not keep pixels as they are.
    pub lossy: bool,
    /// The quality at which the picture was made a JPEG file first, as the file was.
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
    /// Compares the pixels with those of the file at `path`. `quality` is that of a JPEG file which petal wrote: then
    /// what is compared is the picture after it went the same way.
    pub fn compare(&self, path: impl AsRef<Path>, quality: Option<u8>) -> Result<Comparison> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("open", path))?;
        let picture = (self.width, self.height);
        let theirs = decode(BufReader::new(file), picture).map_err(|why| {
            Error::request(
                format!("`{}` is not a picture that can be read: {why}", path.display()),
                "give another file",
            )
        })?;
        let lossy = theirs.format == ImageFormat::Jpeg;
        let quality = quality.filter(|_| lossy);
        let (mut different, mut largest) = (u64::from(theirs.size.0) * u64::from(theirs.size.1), u8::MAX);
        if let Some(pixels) = theirs.image {
            let reencoded = quality.map(|quality| self.through_jpeg(quality)).transpose()?;
            (different, largest) = differences(&pixels, reencoded.as_deref().unwrap_or(&self.rgb));
        }
        Ok(Comparison { file: theirs.size, picture, different, largest, lossy, quality })
    }

    /// The pixels after they were a JPEG file.
    fn through_jpeg(&self, quality: u8) -> Result<Vec<u8>> {
        let bytes = self.encode(FileFormat::Jpeg, &EncodeOptions { metadata: false, quality })?;
        let decoded = decode(Cursor::new(bytes), (self.width, self.height))
            .map_err(|why| Error::request(format!("the picture is no JPEG: {why}"), "use another quality"))?;
        Ok(decoded.image.map(RgbImage::into_raw).unwrap_or_default())
    }
}

/// How many pixels differ, and the largest difference of a colour.
fn differences(a: &[u8], b: &[u8]) -> (u64, u8) {
    let pairs = a.chunks_exact(3).zip(b.chunks_exact(3));
    let pixels = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0));
    pixels.fold((0, 0), |(different, largest), pixel| (different + u64::from(pixel > 0), largest.max(pixel)))
}

/// What a file is.
pub(super) struct Decoded {
    format: ImageFormat,
    size: (u32, u32),
    /// Its pixels, if the size is the wanted one.
    image: Option<RgbImage>,
}

/// What a file is, or what is wrong with it. Pixels are decoded if the size is `wanted`: so a small file that claims to
/// be a huge picture takes no memory.
pub(super) fn decode(file: impl BufRead + Seek, wanted: (u32, u32)) -> Result<Decoded, String> {
    let mut reader = ImageReader::new(file).with_guessed_format().map_err(|error| error.to_string())?;
    let format = reader.format().ok_or("its format is not known")?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * u64::from(wanted.0) * u64::from(wanted.1) + ROOM);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let size = decoder.dimensions();
    if size != wanted {
        return Ok(Decoded { format, size, image: None });
    }
    let image = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    Ok(Decoded { format, size, image: Some(image.into_rgb8()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{jpeg, png, webp};

    #[test]
    fn pixels_are_counted_once_and_the_largest_difference_is_found() {
        assert_eq!(differences(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]), (0, 0));
        assert_eq!(differences(&[1, 2, 3, 4, 5, 6], &[1, 9, 5, 4, 5, 5]), (2, 7));
    }

    #[test]
    fn every_format_is_decoded_and_other_sizes_are_not() {
        let (size, rgb) = ((4, 2), [9; 24]);
        for file in [png::encode(size, &rgb, None), jpeg::encode(size, &rgb, 100, None), webp::encode(size, &rgb, None)]
        {
            let file = file.unwrap();
            let Decoded { format, size: found, image } = decode(Cursor::new(&file), size).unwrap();
            assert_eq!((found, image.unwrap().as_raw().as_slice()), (size, rgb.as_slice()), "{format:?}");
            let Decoded { size: found, image, .. } = decode(Cursor::new(&file), (2, 4)).unwrap();
            assert_eq!((found, image), (size, None), "{format:?}");
        }
    }
}

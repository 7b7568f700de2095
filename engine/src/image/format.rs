//! In which file formats are pictures written?
use super::{FileText, PARAMETERS, Picture, exif, fields::Said, infotext, jpeg, rows, webp};
use crate::{Bitmap, Error, ImageSource, Request, Result, models::ModelName};
use std::path::Path;

/// The quality of JPEG files by default: 95 of 100, at which losses are hard to see.
pub const USUAL_QUALITY: u8 = 95;

/// A file format for pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// PNG: the pixels as they are.
    #[default]
    Png,
    /// JPEG: smaller, the pixels nearly as they are.
    Jpeg,
    /// WebP: without a quality in its form that keeps the pixels as they are, with one nearly so, and smaller.
    WebP,
}

/// How a picture is made a file.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Whether what drew it is written inside; it is by default.
    pub metadata: bool,
    /// The quality of JPEG, 1 to 100, by default [`USUAL_QUALITY`], and of WebP, which loses nothing by default. PNG never
    /// does.
    pub quality: Option<u8>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { metadata: true, quality: None }
    }
}

impl FileFormat {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }

    /// The quality at which a file of this format is written; none if it loses nothing.
    fn quality(self, asked: Option<u8>) -> Result<Option<u8>> {
        if let Some(quality) = asked.filter(|quality| !(1..=100).contains(quality)) {
            return Err(Error::request(format!("quality is {quality}"), "use a number from 1 to 100"));
        }
        Ok(match self {
            Self::Png => None,
            Self::Jpeg => asked.or(Some(USUAL_QUALITY)),
            Self::WebP => asked,
        })
    }

    /// The format of a file's suffix.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// The suffix of such files, without a dot.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// Fails, before anything is drawn, if a file of this format cannot hold what a picture of the complete `request`
    /// says of itself.
    pub fn check_metadata(self, request: &Request) -> Result<()> {
        let model = ModelName { name: "x".repeat(255), ..ModelName::default() }; // as long as any
        let size = (request.width.unwrap_or_default(), request.height.unwrap_or_default());
        let (drawn_on, quality) = ("x".repeat(127), Some((Self::Jpeg, USUAL_QUALITY)));
        let said = Said { request, size, model: &model, drawn_on: &drawn_on, quality };
        match self {
            Self::Jpeg if !jpeg::holds(&exif::write(&infotext::write(&said))) => Err(jpeg::too_long()),
            _ => Ok(()),
        }
    }

    /// Fails, before anything is drawn, if a file of this format cannot hold as many pixels as a picture of the complete
    /// `request` has; where only the network that enlarges it knows how many, writing it fails.
    pub fn check_pixels(self, request: &Request) -> Result<()> {
        let drawn_over = request.init_image.as_ref().and_then(ImageSource::bitmap).filter(|_| request.only_masked);
        let size = match drawn_over {
            Some(image) => request.extend.unwrap_or_default().around(image.size()),
            None => (request.width.unwrap_or(1), request.height.unwrap_or(1)),
        };
        let (mut width, mut height) = (f64::from(size.0), f64::from(size.1));
        if let Some(hires) = &request.hires {
            let scale = match (hires.width, hires.height) {
                (Some(wide), _) => f64::from(wide) / width,
                (None, Some(high)) => f64::from(high) / height,
                (None, None) => hires.scale,
            };
            (width, height) = (width * scale, height * scale);
        }
        let scale = request.upscale.as_ref().and_then(|upscale| upscale.scale).unwrap_or(1.0);
        self.check_size(((width * scale) as u32, (height * scale) as u32))
    }

    /// Fails if a picture of the size `size` is too large for this format.
    pub fn check_size(self, (width, height): (u32, u32)) -> Result<()> {
        let longest = match self {
            Self::Png => 0x7FFF_FFFF,
            Self::Jpeg => 65_535,
            Self::WebP => 16_383,
        };
        if width.max(height) <= longest {
            return Ok(());
        }
        let what =
            format!("the picture has {width}x{height} pixels, and a {} file holds {longest} a side", self.name());
        Err(Error::request(what, "write a .png file, or make it smaller"))
    }
}

impl Picture {
    /// The picture as a file of `format`.
    ///
    /// # Errors
    /// [`Error::Request`] for a quality that is none, and for what the format cannot hold.
    pub fn encode(&self, format: FileFormat, options: &EncodeOptions) -> Result<Vec<u8>> {
        let EncodeOptions { metadata, quality } = *options;
        let (size, request) = (self.pixels.size(), &self.request);
        // what is enlarged afterwards was drawn in the request's size
        let drawn = request.width.zip(request.height).filter(|_| request.upscale.is_some()).unwrap_or(size);
        let kept = format.quality(quality)?.map(|quality| (format, quality));
        let drawn_on = format!("{} on ONNX Runtime {}", self.provider, self.runtime);
        let said = Said { request, size: drawn, model: &self.model, drawn_on: &drawn_on, quality: kept };
        let text = metadata.then(|| (PARAMETERS.to_owned(), infotext::write(&said)));
        encode_bitmap(&self.pixels, format, quality, text.as_slice())
    }
}

/// Pixels as a file of `format`, with `texts` of other files under their keywords; JPEG and WebP, which have place for one,
/// hold the first. What is transparent stays so in PNG and WebP; in JPEG, which has no such thing, it lies on white.
///
/// # Errors
/// [`Error::Request`] for a quality that is none, and for what the format cannot hold.
pub fn encode_bitmap(pixels: &Bitmap, format: FileFormat, quality: Option<u8>, texts: &[FileText]) -> Result<Vec<u8>> {
    let quality = format.quality(quality)?;
    format.check_size(pixels.size())?;
    let text = texts.first().map(|(_, text)| text.as_str());
    match (format, quality) {
        (FileFormat::Jpeg, quality) => {
            jpeg::encode(pixels.size(), &pixels.on_white(), quality.unwrap_or(USUAL_QUALITY), text)
        }
        (FileFormat::WebP, Some(quality)) => webp::encode_lossy(pixels, quality, text),
        (FileFormat::WebP, None) => webp::encode(pixels, text),
        (FileFormat::Png, _) => rows::encode(pixels, texts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hires, Upscale};
    use std::io::Cursor;

    #[test]
    fn transparency_is_kept_or_lies_on_white() {
        let rgb: Vec<u8> = (0..64).flat_map(|pixel| [4 * pixel, 100, 255 - 4 * pixel]).collect();
        let alpha = (0..64).map(|pixel| if pixel < 32 { 0 } else { 4 * pixel }).collect();
        let picture = Bitmap { alpha: Some(alpha), ..Bitmap::opaque(8, 8, rgb) };
        for format in [FileFormat::Png, FileFormat::WebP] {
            let bytes = encode_bitmap(&picture, format, None, &[]).unwrap();
            assert_eq!(Bitmap::decode(Cursor::new(bytes)).unwrap(), picture, "{format:?}");
        }
        let bytes = encode_bitmap(&picture, FileFormat::Jpeg, Some(100), &[]).unwrap();
        let flat = Bitmap::decode(Cursor::new(bytes)).unwrap();
        assert!(flat.alpha.is_none() && flat.rgb[..32 * 3].iter().all(|value| *value > 240), "{:?}", flat.rgb);
        assert!(flat.rgb[63 * 3].abs_diff(252) < 8 && flat.rgb[63 * 3 + 2].abs_diff(3) < 16, "{:?}", flat.rgb);
    }

    /// Real pictures, at which another encoder wrote streams that nobody could read.
    #[test]
    fn webp_of_a_quality_is_near_and_small() {
        let text = ("parameters".to_owned(), "a wave, größer".to_owned());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images/readme");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let files: Vec<_> = files.filter(|file| !file.ends_with("mask.png")).collect();
        assert!(files.len() > 9);
        for (number, file) in files.iter().enumerate() {
            let mut picture = Bitmap::read(file).unwrap();
            if number % 2 == 1 {
                picture.alpha = Some((0..picture.rgb.len() / 3).map(|place| (place / 7) as u8).collect());
            }
            let encode =
                |quality| encode_bitmap(&picture, FileFormat::WebP, quality, std::slice::from_ref(&text)).unwrap();
            let mut before = (f64::MAX, 0);
            for quality in [1, 40, 75, 100] {
                let bytes = encode(Some(quality));
                let read = Bitmap::decode(Cursor::new(&bytes)).unwrap();
                assert_eq!((read.size(), &read.alpha), (picture.size(), &picture.alpha));
                assert_eq!(webp::read(&mut Cursor::new(&bytes)).unwrap()[0].1, text.1);
                let off = picture.rgb.iter().zip(&read.rgb).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
                let error = (off.sum::<f64>() / picture.rgb.len() as f64).sqrt();
                assert!(error < before.0 && bytes.len() > before.1, "{}, {quality}: {error}", file.display());
                before = (error, bytes.len());
            }
            assert!(before.0 < 8.0 && before.1 < encode(None).len(), "{}: {before:?}", file.display());
        }
        for (width, height) in [(8, 8), (8, 300), (17, 16)] {
            let picture = Bitmap::opaque(width, height, vec![200; (width * height * 3) as usize]);
            let bytes = encode_bitmap(&picture, FileFormat::WebP, Some(90), &[]).unwrap();
            assert_eq!(Bitmap::decode(Cursor::new(bytes)).unwrap().size(), (width, height));
        }
        encode_bitmap(&Bitmap::opaque(8, 8, vec![0; 192]), FileFormat::WebP, Some(0), &[]).unwrap_err();
    }

    #[test]
    fn what_a_format_cannot_hold_is_known_before() {
        let upscale = |scale| Some(Upscale { model: None, scale });
        let request = |width, height| Request { width: Some(width), height: Some(height), ..Request::default() };
        let plain = request(8192, 64);
        for format in [FileFormat::Png, FileFormat::Jpeg, FileFormat::WebP] {
            format.check_pixels(&plain).unwrap();
            format.check_pixels(&Request { upscale: upscale(None), ..plain.clone() }).unwrap();
        }
        FileFormat::WebP.check_pixels(&Request { upscale: upscale(Some(2.0)), ..plain.clone() }).unwrap_err();
        FileFormat::Jpeg.check_pixels(&Request { upscale: upscale(Some(7.5)), ..plain.clone() }).unwrap();
        FileFormat::Jpeg.check_pixels(&Request { upscale: upscale(Some(8.0)), ..plain.clone() }).unwrap_err();
        for hires in [Hires::default(), Hires { width: Some(16_384), ..Hires::default() }] {
            let twice = Request { hires: Some(hires), ..plain.clone() };
            FileFormat::Jpeg.check_pixels(&twice).unwrap();
            let error = FileFormat::WebP.check_pixels(&twice).unwrap_err().to_string();
            assert_eq!(error, "the picture has 16384x128 pixels, and a WebP file holds 16383 a side");
            FileFormat::Png.check_pixels(&Request { upscale: upscale(Some(16.0)), ..twice }).unwrap();
        }
        let high = Bitmap::opaque(1, 16_384, vec![0; 3 * 16_384]);
        encode_bitmap(&high, FileFormat::WebP, Some(95), &[]).unwrap_err();
        encode_bitmap(&high, FileFormat::Jpeg, None, &[]).unwrap();
    }
}

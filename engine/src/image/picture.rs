//! A finished picture.
use super::{EncodeOptions, FileFormat};
use crate::{
    Error, Request, Result,
    models::{ModelName, write_atomically},
    sampling::Latents,
    vae::Pixels,
};
use image::{RgbImage, imageops};
use serde::Serialize;
use std::path::Path;

/// A finished picture and how it came to be.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The pixels: red, green, blue, 8 bits each, row by row.
    pub rgb: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What was drawn, every field filled in, for this picture alone.
    pub request: Request,
    /// The model.
    pub model: ModelName,
    /// The provider that drew it.
    pub provider: String,
    /// The final latents, scaled as the network sees them (what diffusers gives for `output_type="latent"`).
    pub latents: Latents,
    /// How long it took.
    pub seconds: Seconds,
}

/// How long the stages of a picture took, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Turning the prompt into embeddings; 0 when they were still there from the picture before.
    pub encode: f64,
    /// All steps together.
    pub denoise: f64,
    /// Turning latents into pixels.
    pub decode: f64,
    /// Each evaluation of the network.
    pub steps: Vec<f64>,
}

/// A small picture, for terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// The pixels: red, green, blue, 8 bits each, row by row.
    pub rgb: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Picture {
    /// The picture as a PNG file; with `metadata`, what drew it is written inside.
    pub fn to_png(&self, metadata: bool) -> Result<Vec<u8>> {
        self.encode(FileFormat::Png, &EncodeOptions { metadata, ..EncodeOptions::default() })
    }

    /// Writes the picture as a file that appears whole or not at all, in the format of its suffix: `.png`, `.jpg`,
    /// `.jpeg` or `.webp`.
    pub fn save(&self, path: impl AsRef<Path>, options: &EncodeOptions) -> Result<()> {
        let path = path.as_ref();
        let format = FileFormat::of(path).ok_or_else(|| {
            Error::request(
                format!("`{}` has no suffix of a picture", path.display()),
                "name a file that ends in .png, .jpg or .webp",
            )
        })?;
        write_atomically(path, &self.encode(format, options)?)
    }

    /// The picture, made to fit into a square of `side` pixels; never enlarged.
    #[must_use]
    pub fn thumbnail(&self, side: u32) -> Thumbnail {
        let whole = Thumbnail { rgb: self.rgb.clone(), width: self.width, height: self.height };
        whole.fit(side)
    }
}

impl Thumbnail {
    pub(crate) fn from_pixels(pixels: Pixels) -> Self {
        Self { width: pixels.width as u32, height: pixels.height as u32, rgb: pixels.rgb }
    }

    /// The same picture, each pixel a square of `times` pixels; with 0 or 1 as it is.
    #[must_use]
    pub fn enlarged(self, times: u32) -> Self {
        if times < 2 {
            return self;
        }
        let n = times as usize;
        let rows = self.rgb.chunks_exact((self.width as usize * 3).max(1));
        let wide = rows.map(|row| row.chunks_exact(3).flat_map(|pixel| pixel.repeat(n)).collect::<Vec<u8>>());
        let rgb = wide.flat_map(|row| row.repeat(n)).collect();
        Self { rgb, width: self.width * times, height: self.height * times }
    }

    /// The same picture, made to fit into a square of `side` pixels; never enlarged.
    #[must_use]
    pub fn fit(self, side: u32) -> Self {
        let longest = self.width.max(self.height).max(1);
        if longest <= side {
            return self;
        }
        let scaled = |length: u32| (length * side / longest).max(1);
        let (width, height) = (scaled(self.width), scaled(self.height));
        match RgbImage::from_raw(self.width, self.height, self.rgb) {
            Some(image) => {
                let small = imageops::resize(&image, width, height, imageops::FilterType::Triangle);
                Self { rgb: small.into_raw(), width, height }
            }
            None => Self { rgb: Vec::new(), width: 0, height: 0 }, // fewer pixels than width * height: nothing to show
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let picture = Thumbnail { rgb: vec![1, 2, 3, 4, 5, 6], width: 2, height: 1 };
        let row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        assert_eq!(picture.clone().enlarged(2), Thumbnail { rgb: row.repeat(2), width: 4, height: 2 });
        assert_eq!(picture.clone().enlarged(0), picture);
    }
}

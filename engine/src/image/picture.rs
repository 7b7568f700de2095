//! A finished picture.
use super::metadata;
use crate::{Request, Result, models::write_atomically, sampling::Latents, vae::Pixels};
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
    /// The model's name.
    pub model: String,
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
        let text = metadata.then(|| metadata::infotext(self)).transpose()?;
        metadata::encode_png(self.width, self.height, &self.rgb, text.as_deref())
    }

    /// Writes the picture as a PNG file that appears whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>, metadata: bool) -> Result<()> {
        write_atomically(path.as_ref(), &self.to_png(metadata)?)
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

//! A finished picture.
use super::{EncodeOptions, FileFormat};
use crate::{
    Bitmap, Error, Request, Result,
    models::{ModelName, write_atomically},
    sampling::Latents,
};
use serde::Serialize;
use std::path::Path;

/// A finished picture and how it came to be.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The pixels.
    pub pixels: Bitmap,
    /// What was drawn, every field filled in, for this picture alone.
    pub request: Request,
    /// The model.
    pub model: ModelName,
    /// The provider that drew it.
    pub provider: String,
    /// The version of ONNX Runtime that drew it: `1.31.1`.
    pub runtime: String,
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
    /// Making the finished picture larger.
    pub upscale: f64,
    /// Each evaluation of the network.
    pub steps: Vec<f64>,
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
    pub fn thumbnail(&self, side: u32) -> Bitmap {
        self.pixels.clone().fit(side)
    }
}

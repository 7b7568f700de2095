//! In which file formats are pictures written?
use super::{Picture, exif, fields::Said, infotext, jpeg, png, webp};
use crate::{Error, Request, Result, models::ModelName};
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
    /// WebP, in its form without loss: the pixels as they are.
    WebP,
}

/// How a picture is made a file.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Whether what drew it is written inside; it is by default.
    pub metadata: bool,
    /// The quality of JPEG, 1 to 100, by default [`USUAL_QUALITY`]; the other formats lose nothing.
    pub quality: u8,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { metadata: true, quality: USUAL_QUALITY }
    }
}

impl FileFormat {
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

    /// Fails, before anything is drawn, if a file of this format cannot hold what a picture of the complete `request`
    /// says of itself.
    pub fn check_metadata(self, request: &Request) -> Result<()> {
        let model = ModelName { name: "x".repeat(255), hash: None }; // as long as any
        let size = (request.width.unwrap_or_default(), request.height.unwrap_or_default());
        let said = Said { request, size, model: &model, quality: Some(USUAL_QUALITY) };
        match self {
            Self::Jpeg if !jpeg::holds(&exif::write(&infotext::write(&said))) => Err(jpeg::too_long()),
            _ => Ok(()),
        }
    }
}

impl Picture {
    /// The picture as a file of `format`.
    ///
    /// # Errors
    /// [`Error::Request`] for a quality that is none, and for what the format cannot hold.
    pub fn encode(&self, format: FileFormat, options: &EncodeOptions) -> Result<Vec<u8>> {
        let EncodeOptions { metadata, quality } = *options;
        if !(1..=100).contains(&quality) {
            return Err(Error::request(format!("quality is {quality}"), "use a number from 1 to 100"));
        }
        let size = (self.width, self.height);
        let said = Said {
            request: &self.request,
            size,
            model: &self.model,
            quality: (format == FileFormat::Jpeg).then_some(quality),
        };
        let text = metadata.then(|| infotext::write(&said));
        match format {
            FileFormat::Png => png::encode(size, &self.rgb, text.as_deref()),
            FileFormat::Jpeg => jpeg::encode(size, &self.rgb, quality, text.as_deref()),
            FileFormat::WebP => webp::encode(size, &self.rgb, text.as_deref()),
        }
    }
}

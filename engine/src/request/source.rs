//! Where does a picture come from that a request brings?
use crate::{Bitmap, Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, path::PathBuf, sync::Arc};

/// The word for [`ImageSource::Alpha`].
const ALPHA: &str = "alpha";

/// A picture that a request brings.
///
/// In JSON a path, `"alpha"`, or, where it is known but not there, `{"sha256": "..."}`.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSource {
    /// A file, read when the request is drawn.
    File(PathBuf),
    /// Pixels in memory; JSON keeps their hash alone.
    Pixels(Arc<SourceImage>),
    /// Pixels of this hash, which are not there: a file says so of what it was drawn over.
    Hash(String),
    /// As a mask, the transparent part of the init image.
    Alpha,
}

/// Pixels, and the hash by which they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceImage {
    bitmap: Bitmap,
    sha256: String,
}

impl SourceImage {
    /// The pixels.
    #[must_use]
    pub fn bitmap(&self) -> &Bitmap {
        &self.bitmap
    }

    /// The SHA-256 of `WIDTHxHEIGHT:`, the colours and, where there is one, the transparency.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl From<Bitmap> for ImageSource {
    fn from(bitmap: Bitmap) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{}x{}:", bitmap.width, bitmap.height));
        hash.update(&bitmap.rgb);
        hash.update(bitmap.alpha.as_deref().unwrap_or_default());
        let mut sha256 = String::new();
        for byte in hash.finalize() {
            let _ = write!(sha256, "{byte:02x}"); // writing into a String cannot fail
        }
        Self::Pixels(Arc::new(SourceImage { bitmap, sha256 }))
    }
}

impl ImageSource {
    /// The source with its pixels: a file is read. `flag` is what names such a picture on the command line.
    ///
    /// # Errors
    /// [`Error::Request`] if the file holds no picture, or only the hash is known.
    pub fn loaded(&self, flag: &str) -> Result<Self> {
        match self {
            Self::File(path) => Ok(Bitmap::read(path)?.into()),
            Self::Pixels(_) | Self::Alpha => Ok(self.clone()),
            Self::Hash(hash) => Err(Error::request(
                format!("the picture was drawn over one that the file does not hold (SHA-256 {hash})"),
                format!("give it with `{flag}`"),
            )),
        }
    }

    /// The pixels, where they are there.
    #[must_use]
    pub fn bitmap(&self) -> Option<&Bitmap> {
        match self {
            Self::Pixels(image) => Some(image.bitmap()),
            Self::File(_) | Self::Hash(_) | Self::Alpha => None,
        }
    }

    /// The hash of the pixels, where it is known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Pixels(image) => Some(image.sha256()),
            Self::Hash(hash) => Some(hash),
            Self::File(_) | Self::Alpha => None,
        }
    }
}

impl std::str::FromStr for ImageSource {
    type Err = std::convert::Infallible;

    /// `alpha`, or a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == ALPHA { Self::Alpha } else { Self::File(text.into()) })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    Text(String),
    Known { sha256: String },
}

impl Serialize for ImageSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = match self {
            Self::File(path) => Json::Text(path.to_string_lossy().into_owned()),
            Self::Alpha => Json::Text(ALPHA.into()),
            Self::Pixels(image) => Json::Known { sha256: image.sha256.clone() },
            Self::Hash(sha256) => Json::Known { sha256: sha256.clone() },
        };
        json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ImageSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer).map_err(|_| de::Error::custom("expected a path, or a SHA-256"))? {
            Json::Known { sha256 } => Ok(Self::Hash(sha256)),
            Json::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_paths_and_hashes() {
        let pixels = ImageSource::from(Bitmap::opaque(1, 1, vec![1, 2, 3]));
        let hash = pixels.sha256().unwrap().to_owned();
        assert_eq!(hash.len(), 64);
        for (source, back) in [
            (ImageSource::File("a/b.png".into()), ImageSource::File("a/b.png".into())),
            (ImageSource::Alpha, ImageSource::Alpha),
            (pixels, ImageSource::Hash(hash.clone())),
        ] {
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<ImageSource>(&json).unwrap(), back, "{json}");
        }
        assert!(ImageSource::Hash(hash).loaded("-i").unwrap_err().hint().unwrap().contains("`-i`"));
    }

    #[test]
    fn other_pixels_have_another_hash() {
        let hash = |bitmap: Bitmap| ImageSource::from(bitmap).sha256().unwrap().to_owned();
        let plain = Bitmap::opaque(1, 2, vec![0; 6]);
        let others = [Bitmap::opaque(2, 1, vec![0; 6]), Bitmap { alpha: Some(vec![255; 2]), ..plain.clone() }];
        assert!(others.into_iter().all(|other| hash(other) != hash(plain.clone())));
    }
}

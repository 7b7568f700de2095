//! Where does a WebP file keep its text, and how is one written?
use super::{LONGEST_TEXT, Text, exif};
use crate::{Bitmap, Error, Result};
use image::{ExtendedColorType, ImageEncoder, codecs::webp::WebPEncoder};
use std::{
    fmt::Display,
    io::{self, Read, Seek, SeekFrom},
};
use webp_lossy::{ColorType, EncoderParams, WebPEncoder as LossyEncoder};

/// A WebP file of `quality` (1 to 100), of 8-bit RGB or RGBA, with `text` as EXIF's `UserComment`.
pub(super) fn encode_lossy(pixels: &Bitmap, quality: u8, text: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = LossyEncoder::new(&mut bytes);
    let mut how = EncoderParams::default();
    (how.use_lossy, how.lossy_quality) = (true, quality);
    encoder.set_params(how);
    if let Some(text) = text {
        encoder.set_exif_metadata(exif::write(text));
    }
    let Bitmap { width, height, .. } = *pixels;
    let written = match pixels.rgba() {
        None => encoder.encode(&pixels.rgb, width, height, ColorType::Rgb8),
        Some(rgba) => encoder.encode(&rgba, width, height, ColorType::Rgba8),
    };
    written.map_err(no_webp)?;
    Ok(bytes)
}

fn no_webp(why: impl Display) -> Error {
    Error::request(format!("the picture is no WebP: {why}"), "write a .png file")
}

/// A WebP file without loss, of 8-bit RGB or RGBA, with `text` as EXIF's `UserComment`.
pub(super) fn encode(pixels: &Bitmap, text: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut bytes);
    let Bitmap { width, height, .. } = *pixels;
    let encode = || {
        if let Some(text) = text {
            encoder.set_exif_metadata(exif::write(text)).map_err(|error| error.to_string())?;
        }
        let written = match pixels.rgba() {
            None => encoder.write_image(&pixels.rgb, width, height, ExtendedColorType::Rgb8),
            Some(rgba) => encoder.write_image(&rgba, width, height, ExtendedColorType::Rgba8),
        };
        written.map_err(|error| error.to_string())
    };
    encode().map_err(no_webp)?;
    Ok(bytes)
}

/// The texts of a WebP file: those of its `EXIF` chunks.
pub(super) fn read(file: &mut (impl Read + Seek)) -> io::Result<Vec<Text>> {
    let mut texts = Vec::new();
    file.seek(SeekFrom::Start(12))?; // RIFF, a length, WEBP
    let mut head = [0; 8];
    while texts.len() <= 3 {
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let [name @ .., a, b, c, d] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let even = i64::from(length) + i64::from(length % 2);
        if name != *b"EXIF" || length as usize > 2 * LONGEST_TEXT {
            file.seek(SeekFrom::Current(even))?;
            continue;
        }
        let mut data = Vec::new();
        file.take(length.into()).read_to_end(&mut data)?; // grows with what is there, not with what is claimed
        file.seek(SeekFrom::Current(even - i64::from(length)))?;
        texts.extend(exif::read(&data));
    }
    Ok(texts)
}

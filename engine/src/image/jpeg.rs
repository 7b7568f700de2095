//! Where does a JPEG file keep its text, and how is one written?
use super::{LONGEST_TEXT, Text, exif};
use crate::{Error, Result};
use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder};
use std::io::{self, Read, Seek, SeekFrom};

/// The bytes that a segment holds at most, its length left out.
const LARGEST_SEGMENT: usize = 65_533;
/// What stands before EXIF data in its segment.
const EXIF: &[u8] = b"Exif\0\0";

/// Whether `exif` data fits into a file.
pub(super) fn holds(exif: &[u8]) -> bool {
    exif.len() + EXIF.len() <= LARGEST_SEGMENT
}

/// A JPEG file of 8-bit RGB at `quality` (1 to 100), with `text` as EXIF's `UserComment`.
pub(super) fn encode(size: (u32, u32), rgb: &[u8], quality: u8, text: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    if let Some(text) = text {
        let exif = exif::write(text);
        if !holds(&exif) {
            return Err(too_long());
        }
        encoder.set_exif_metadata(exif).map_err(|error| failed(&error.to_string()))?;
    }
    encoder.write_image(rgb, size.0, size.1, ExtendedColorType::Rgb8).map_err(|error| failed(&error.to_string()))?;
    Ok(bytes)
}

/// The error for texts that no JPEG file holds.
pub(super) fn too_long() -> Error {
    Error::request(
        "the prompts are too long for the metadata of a JPEG file, which holds 64 KiB",
        "write a .png or .webp file, or use `--no-metadata`",
    )
}

fn failed(why: &str) -> Error {
    Error::request(format!("the picture is no JPEG: {why}"), "choose another size or a .png file")
}

/// The texts of a JPEG file: those of its EXIF data, and its comments. Reading stops at the pixels.
pub(super) fn read(file: &mut (impl Read + Seek)) -> io::Result<Vec<Text>> {
    let mut texts = Vec::new();
    file.seek(SeekFrom::Start(2))?;
    while let Some(marker) = next_marker(file)? {
        if matches!(marker, 0x01 | 0xD0..=0xD7) {
            continue; // markers without a segment
        }
        if matches!(marker, 0xD9 | 0xDA) {
            break; // the end, or the pixels
        }
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let length = u16::from_be_bytes(length).saturating_sub(2);
        if !matches!(marker, 0xE1 | 0xFE) || texts.len() > 3 {
            file.seek(SeekFrom::Current(length.into()))?;
            continue;
        }
        let mut segment = vec![0; length.into()];
        file.read_exact(&mut segment)?;
        if marker == 0xFE && segment.len() <= LONGEST_TEXT {
            texts.push(("comment", String::from_utf8_lossy(&segment).into_owned()));
        } else if segment.starts_with(EXIF) {
            texts.extend(exif::read(&segment));
        }
    }
    Ok(texts)
}

/// The next marker; none where there should be one and is not.
fn next_marker(file: &mut impl Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    if byte[0] != 0xFF {
        return Ok(None);
    }
    while byte[0] == 0xFF {
        file.read_exact(&mut byte)?; // any number of these may stand before a marker
    }
    Ok(Some(byte[0]))
}

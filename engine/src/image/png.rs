//! Where does a PNG file keep its text?
use super::{GRID, LONGEST_TEXT, PARAMETERS, Text, exif};
use png::{Decoder, DecodingError, Encoder, EncodingError, Limits};
use std::io::{BufRead, Seek, Write};

/// The keywords under which pictures say what made them.
const KEYWORDS: [&str; 6] = [PARAMETERS, "prompt", "invokeai_metadata", "sd-metadata", "Dream", GRID];

/// Puts a text under a keyword, as Pillow does: `tEXt` holds Latin-1 only.
pub(super) fn add_text(encoder: &mut Encoder<'_, impl Write>, keyword: &str, text: &str) -> Result<(), EncodingError> {
    if text.chars().all(|c| u32::from(c) < 256) {
        encoder.add_text_chunk(keyword.into(), text.into())
    } else {
        encoder.add_itxt_chunk(keyword.into(), text.into())
    }
}

/// The texts of a PNG file, before or after the pixels; packed text is unpacked to a limit.
pub(super) fn read(file: impl BufRead + Seek) -> Result<Vec<Text>, DecodingError> {
    let mut decoder = Decoder::new_with_limits(file, Limits { bytes: 64 << 20 });
    decoder.set_ignore_iccp_chunk(true); // it may unpack to a thousand times its size
    let mut reader = decoder.read_info()?;
    reader.finish()?;
    let info = reader.info();
    let mut texts = Vec::new();
    for keyword in KEYWORDS {
        if let Some(chunk) = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == keyword) {
            texts.push((keyword, chunk.text.clone()));
        } else if let Some(chunk) = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == keyword) {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(LONGEST_TEXT)?;
            texts.push((keyword, chunk.get_text()?));
        } else if let Some(chunk) = info.utf8_text.iter().find(|chunk| chunk.keyword == keyword) {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(LONGEST_TEXT)?;
            texts.push((keyword, chunk.get_text()?));
        }
    }
    texts.extend(info.exif_metadata.iter().flat_map(|data| exif::read(data)));
    Ok(texts)
}

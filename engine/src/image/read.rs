//! What does a file say of itself, whatever its format and whoever wrote it?
use super::{GRID, Infotext, PARAMETERS, Text, comfyui, gif, infotext, invokeai, jpeg, png, webp};
use crate::{Error, Result};
use ::png::DecodingError;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// The keyword under which stable-diffusion-webui says what was done to a picture that it did not draw.
const POSTPROCESSING: &str = "postprocessing";

/// Why a file cannot be read.
enum Fault {
    Unknown,
    Png(DecodingError),
    Io(io::Error),
}

/// What the PNG, JPEG, WebP or GIF file at `path` says of itself; `None` if it says nothing.
pub fn read_infotext(path: impl AsRef<Path>) -> Result<Option<Infotext>> {
    texts_of(path.as_ref()).map(|texts| understand(&texts))
}

/// What the file at `path` says of itself if it is a grid of pictures, as [`Grid::describe`](crate::Grid::describe)
/// gives it.
pub fn read_grid(path: impl AsRef<Path>) -> Result<Option<serde_json::Value>> {
    let texts = texts_of(path.as_ref())?;
    let text = texts.iter().find(|(keyword, _)| *keyword == GRID).map(|(_, text)| text);
    Ok(text.and_then(|text| serde_json::from_str(text).ok()))
}

/// A text that stands in a picture's file, after the keyword that it stands under.
pub type FileText = (String, String);

/// The texts of the PNG, JPEG, WebP or GIF file at `path` as they are, whoever wrote them.
pub fn read_texts(path: impl AsRef<Path>) -> Result<Vec<FileText>> {
    Ok(texts_of(path.as_ref())?.into_iter().map(|(keyword, text)| (keyword.to_owned(), text)).collect())
}

/// The `texts` of a file for a picture that was made `scale` times larger by `upscaler` afterwards. They say so in the words
/// of stable-diffusion-webui: at the end of its own text, or else, as its tab for extras does, under the keyword `postprocessing`.
#[must_use]
pub fn enlarged_texts(mut texts: Vec<FileText>, scale: f64, upscaler: &str) -> Vec<FileText> {
    let pairs = format!("Postprocess upscale by: {scale}, Postprocess upscaler: {}", infotext::quote(upscaler));
    match texts.iter_mut().find(|(keyword, _)| keyword == PARAMETERS) {
        Some((_, text)) => {
            let between = if Infotext::parse(text).fields.is_empty() { "\n" } else { ", " };
            *text = [text.trim_end(), between, &pairs].concat();
        }
        None => texts.push((POSTPROCESSING.to_owned(), pairs)),
    }
    texts
}

/// The texts of the file at `path`.
fn texts_of(path: &Path) -> Result<Vec<Text>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let hint = "give a PNG, JPEG, WebP or GIF file";
    texts(BufReader::new(file)).map_err(|fault| match fault {
        Fault::Io(source) | Fault::Png(DecodingError::IoError(source)) => {
            Error::Io { doing: "read", path: path.into(), source }
        }
        Fault::Unknown => Error::request(format!("`{}` is not a picture that can be read", path.display()), hint),
        Fault::Png(error) => {
            Error::request(format!("`{}` is not a PNG file that can be read: {error}", path.display()), hint)
        }
    })
}

/// The texts of a file whose format its first bytes tell.
fn texts(mut file: impl BufRead + Seek) -> Result<Vec<Text>, Fault> {
    let mut start = Vec::new();
    file.by_ref().take(12).read_to_end(&mut start).map_err(Fault::Io)?;
    file.seek(SeekFrom::Start(0)).map_err(Fault::Io)?;
    match start.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => png::read(file).map_err(Fault::Png),
        [0xFF, 0xD8, 0xFF, ..] => jpeg::read(&mut file).map_err(Fault::Io),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => webp::read(&mut file).map_err(Fault::Io),
        [b'G', b'I', b'F', b'8', ..] => gif::read(&mut file).map_err(Fault::Io),
        _ => Err(Fault::Unknown),
    }
}

/// The first of the texts that is understood: of one file, the more telling ones first.
fn understand(texts: &[Text]) -> Option<Infotext> {
    let under = |keyword: &str| texts.iter().find(|(key, _)| *key == keyword).map(|(_, text)| text.as_str());
    under(PARAMETERS)
        .map(Infotext::parse)
        .or_else(|| under("prompt").and_then(comfyui::read))
        .or_else(|| under("invokeai_metadata").and_then(invokeai::read))
        .or_else(|| under("sd-metadata").and_then(invokeai::read_version_2))
        .or_else(|| under("Dream").and_then(invokeai::read_dream))
        .or_else(|| under("comment").map(Infotext::parse).filter(|info| !info.fields.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Bitmap,
        image::{FileFormat, encode_bitmap, infotext::Origin},
    };
    use std::io::Cursor;

    fn written(format: FileFormat, texts: &[FileText]) -> Vec<u8> {
        encode_bitmap(&Bitmap::opaque(4, 2, vec![7; 24]), format, Some(90), texts).unwrap()
    }

    /// A file of each format that says `text`.
    fn files(text: &str) -> [Vec<u8>; 4] {
        let encoded = |format| written(format, &[(PARAMETERS.to_owned(), text.to_owned())]);
        let comment: Vec<u8> =
            text.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8], part].concat()).collect();
        let colours = [0x80, 0, 0, 1, 2, 3, 4, 5, 6];
        [
            encoded(FileFormat::Png),
            encoded(FileFormat::Jpeg),
            encoded(FileFormat::WebP),
            [
                b"GIF89a\x01\0\x01\0",
                colours.as_slice(),
                &[0x21, 0xFE],
                &comment,
                b"\0\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;",
            ]
            .concat(),
        ]
    }

    fn read(bytes: &[u8]) -> Option<Infotext> {
        texts(Cursor::new(bytes)).ok().and_then(|texts| understand(&texts))
    }

    #[test]
    fn every_format_brings_the_text_back() {
        for text in ["a, é\nSteps: 1, Sampler: x, Seed: 3", "犬 🚀\nSteps: 1, Sampler: x, Seed: 3"] {
            for file in files(text) {
                assert_eq!(read(&file), Some(Infotext::parse(text)), "{:?}", &file[..4]);
            }
        }
        for format in [FileFormat::Png, FileFormat::Jpeg, FileFormat::WebP] {
            assert_eq!(read(&written(format, &[])), None);
        }
    }

    /// Cut anywhere, or with any bit changed, a file gives a text, nothing or an error, and never a panic.
    #[test]
    fn damaged_files_do_no_harm() {
        for file in files("a dog, 犬\nSteps: 1, Sampler: x, Seed: 3") {
            for length in 0..file.len() {
                let _ = read(&file[..length]);
            }
            for bit in 0..file.len() * 8 {
                let mut bad = file.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let _ = read(&bad);
            }
        }
    }

    /// Packed text that unpacks to far more than itself is refused.
    #[test]
    fn bombs_are_refused() {
        let mut bytes = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(::png::ColorType::Rgb);
        encoder.add_ztxt_chunk(PARAMETERS.into(), "a".repeat(16 << 20)).unwrap();
        encoder.write_header().unwrap().write_image_data(&[0; 3]).unwrap();
        assert!(bytes.len() < 200_000, "{}", bytes.len());
        let Err(Fault::Png(error)) = texts(Cursor::new(bytes)) else { panic!("it was unpacked") };
        assert!(error.to_string().contains("space"), "{error}");
    }

    /// A length that a WebP or JPEG file claims, and does not have, is not believed.
    #[test]
    fn claimed_lengths_are_not_believed() {
        let riff = |name: &[u8], length: u32| [b"RIFF\xFF\xFF\xFF\xFFWEBP", name, &length.to_le_bytes(), b"x"].concat();
        for bytes in [
            riff(b"EXIF", u32::MAX),
            riff(b"EXIF", 4_000_000),
            riff(b"ABCD", u32::MAX),
            b"\xFF\xD8\xFF\xE1\xFF\xFFExif\0\0".to_vec(),
        ] {
            assert_eq!(read(&bytes), None);
        }
    }

    #[test]
    fn enlarged_pictures_say_what_they_said_and_by_what_they_were_enlarged() {
        let own = ("parameters".to_owned(), "a\nSteps: 1, Sampler: x, Seed: 3".to_owned());
        let texts = enlarged_texts(vec![own], 2.5, "a, b");
        assert_eq!(texts.len(), 1);
        let info = Infotext::parse(&texts[0].1);
        assert_eq!((info.prompt.as_str(), info.field("Seed")), ("a", Some("3")));
        assert_eq!(
            (info.field("Postprocess upscale by"), info.field("Postprocess upscaler")),
            (Some("2.5"), Some("a, b"))
        );
        assert!(info.left_out().iter().any(|name| name.starts_with("Postprocess upscaler")), "{:?}", info.left_out());
        let texts = enlarged_texts(vec![("prompt".to_owned(), "{}".to_owned())], 4.0, "m");
        let wanted = "Postprocess upscale by: 4, Postprocess upscaler: m".to_owned();
        assert_eq!(texts, [("prompt".to_owned(), "{}".to_owned()), ("postprocessing".to_owned(), wanted)]);
    }

    #[test]
    fn files_of_others_are_told_apart() {
        let texts = [("prompt", r#"{"1": {"class_type": "X", "inputs": {}}}"#.to_owned())];
        assert_eq!(understand(&texts).unwrap().origin, Origin::ComfyUi);
        assert_eq!(understand(&[("Dream", "\"a\" -s 1".to_owned())]).unwrap().origin, Origin::InvokeAi);
        assert_eq!(understand(&[("comment", "drawn by hand".to_owned())]), None);
    }
}

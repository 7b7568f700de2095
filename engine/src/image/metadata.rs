//! What a picture says of itself: the text that stable-diffusion-webui writes into PNG files, both ways.
//!
//! The text is the prompt, a line `Negative prompt: ...`, and a last line of `Name: value` pairs. A value that holds a
//! comma, a colon or a line break is a JSON string. petal adds one pair, `petal`, with the whole request as JSON, for
//! what the other pairs cannot hold.
use super::Picture;
use crate::{
    Error, Request, Result,
    models::sha256,
    sampling::{Latents, find_sampler, find_schedule},
};
use std::{fs::File, io::BufReader, path::Path};

/// The PNG keyword under which stable-diffusion-webui keeps its text.
const KEYWORD: &str = "parameters";
/// The longest text that is read from a picture, in bytes, once unpacked.
const LONGEST_TEXT: usize = 2 << 20;

/// What a picture says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Infotext {
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative_prompt: String,
    /// The other pairs, in their order, unquoted; without petal's own.
    pub fields: Vec<(String, String)>,
    /// The whole request, if petal drew the picture.
    pub request: Option<Request>,
}

/// The text for `picture`.
pub(crate) fn infotext(picture: &Picture) -> Result<String> {
    let request = &picture.request;
    let mut lines = vec![request.prompt.clone()];
    if !request.negative_prompt.is_empty() {
        lines.push(format!("Negative prompt: {}", request.negative_prompt));
    }
    let pairs: Vec<_> = pairs(picture)?.into_iter().map(|(name, value)| format!("{name}: {}", quote(&value))).collect();
    lines.push(pairs.join(", "));
    Ok(lines.join("\n"))
}

/// The pairs of the last line, in stable-diffusion-webui's order.
fn pairs(picture: &Picture) -> Result<Vec<(&'static str, String)>> {
    let request = &picture.request;
    let mut pairs = Vec::new();
    let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
    add("Steps", request.steps.map(|steps| steps.to_string()));
    add("Sampler", request.sampler.as_deref().map(find_sampler).transpose()?.map(|sampler| sampler.label.into()));
    let named = request.scheduler.as_deref().filter(|name| *name != crate::MODEL_SCHEDULE);
    add("Schedule type", named.map(find_schedule).transpose()?.map(|schedule| schedule.label.into()));
    add("CFG scale", request.cfg_scale.map(|scale| scale.to_string()));
    add("Seed", Some(request.seed.to_string()));
    add("Starting noise", request.latents.as_ref().map(noise_hash));
    add("Size", Some(format!("{}x{}", picture.width, picture.height)));
    add("Model", Some(picture.model.clone()));
    add("RNG", Some("CPU".into()));
    add("Version", Some(format!("petal {}", env!("CARGO_PKG_VERSION"))));
    add("petal", Some(request.to_json().to_string()));
    Ok(pairs)
}

/// What tells given noise from the seed's: the SHA-256 of its numbers as 32-bit floats.
fn noise_hash(noise: &Latents) -> String {
    let bytes: Vec<u8> = noise.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    format!("given, SHA-256 {}", sha256(&bytes))
}

/// A value as the last line holds it.
fn quote(value: &str) -> String {
    let plain = !value.contains([',', ':', '\n']) && !value.starts_with('"') && value.trim() == value;
    if plain { value.into() } else { serde_json::Value::from(value).to_string() }
}

impl Infotext {
    /// Reads the text. Nothing is an error: what is not a pair belongs to the prompt.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut body, mut fields) = match text.trim().rsplit_once('\n') {
            Some((body, last)) => (body, scan_pairs(last)),
            None => ("", scan_pairs(text.trim())),
        };
        if fields.len() < 3 {
            (body, fields) = (text.trim(), Vec::new());
        }
        let mut info = Self::default();
        let mut negative = false;
        for line in body.lines().map(str::trim) {
            let rest = line.strip_prefix("Negative prompt:");
            negative |= rest.is_some();
            let side = if negative { &mut info.negative_prompt } else { &mut info.prompt };
            if !side.is_empty() {
                side.push('\n');
            }
            side.push_str(rest.map_or(line, str::trim));
        }
        let (own, others) = fields.into_iter().partition::<Vec<_>, _>(|(name, _)| name == "petal");
        info.fields = others;
        info.request = own.first().and_then(|(_, json)| serde_json::from_str(json).ok());
        if let Some(request) = &info.request {
            (info.prompt, info.negative_prompt) = (request.prompt.clone(), request.negative_prompt.clone());
        }
        info
    }
}

/// The pairs of a line: `Name: value, Name: "quoted value", ...`.
fn scan_pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line;
    while let Some((name, after)) = rest.split_once(':') {
        // text between the last comma and the colon is the name; anything before it belongs to no pair
        let name = name.rsplit(',').next().unwrap_or(name).trim();
        let after = after.trim_start();
        let plain = || {
            let end = after.find(',').unwrap_or(after.len());
            (after[..end].trim().to_owned(), end)
        };
        let (value, length) = quoted(after).unwrap_or_else(plain);
        let tail = after[length..].trim_start();
        let is_name = |c: char| c.is_alphanumeric() || " _-/".contains(c);
        if name.chars().count() > 1 && name.chars().all(is_name) {
            pairs.push((name.to_owned(), value));
        }
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    pairs
}

/// The JSON string at the start of `text`, and how many bytes it takes.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut values = serde_json::Deserializer::from_str(text.starts_with('"').then_some(text)?).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

/// A PNG file of 8-bit RGB, with `text` under stable-diffusion-webui's keyword.
pub(crate) fn encode_png(width: u32, height: u32, rgb: &[u8], text: Option<&str>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encode = |bytes: &mut Vec<u8>| -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        match text {
            // what Pillow does: tEXt holds Latin-1 only
            Some(text) if text.chars().all(|c| u32::from(c) < 256) => {
                encoder.add_text_chunk(KEYWORD.into(), text.into())?;
            }
            Some(text) => encoder.add_itxt_chunk(KEYWORD.into(), text.into())?,
            None => {}
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(rgb)?;
        writer.finish()
    };
    encode(&mut bytes)
        .map_err(|error| Error::request(format!("the picture is no PNG: {error}"), "choose another size"))?;
    Ok(bytes)
}

/// What the PNG file at `path` says of itself; `None` if it says nothing.
pub fn read_infotext(path: impl AsRef<Path>) -> Result<Option<Infotext>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io("open", path))?;
    let text = read_text(BufReader::new(file)).map_err(|error| match error {
        png::DecodingError::IoError(source) => Error::Io { doing: "read", path: path.into(), source },
        other => Error::request(
            format!("`{}` is not a PNG file that can be read: {other}", path.display()),
            "give a PNG file that petal or stable-diffusion-webui wrote",
        ),
    })?;
    Ok(text.map(|text| Infotext::parse(&text)))
}

/// The text under stable-diffusion-webui's keyword, before or after the pixels; packed text is unpacked to a limit.
fn read_text(file: impl std::io::BufRead + std::io::Seek) -> Result<Option<String>, png::DecodingError> {
    let mut reader = png::Decoder::new_with_limits(file, png::Limits { bytes: 64 << 20 }).read_info()?;
    reader.finish()?;
    let info = reader.info();
    if let Some(chunk) = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == KEYWORD) {
        return Ok(Some(chunk.text.clone()));
    }
    if let Some(chunk) = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == KEYWORD) {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(LONGEST_TEXT)?;
        return chunk.get_text().map(Some);
    }
    let Some(chunk) = info.utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD) else { return Ok(None) };
    let mut chunk = chunk.clone();
    chunk.decompress_text_with_limit(LONGEST_TEXT)?;
    chunk.get_text().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of stable-diffusion-webui's reader.
    #[test]
    fn reads_what_stable_diffusion_webui_writes() {
        let info = Infotext::parse(
            "girl with an artist's beret, (coquettish), detailed\n\
             Negative prompt: ugly, [blurry], bad anatomy\nmessy drawing\n\
             Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b",
        );
        assert_eq!(info.prompt, "girl with an artist's beret, (coquettish), detailed");
        assert_eq!(info.negative_prompt, "ugly, [blurry], bad anatomy\nmessy drawing");
        let fields: Vec<_> = info.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted =
            [("Steps", "20"), ("Sampler", "Euler a"), ("CFG scale", "7"), ("Seed", "965400086"), ("Size", "512x512")];
        assert_eq!(fields[..5], wanted);
        assert_eq!(fields[5], ("Model hash", "45dee52b"));
    }

    #[test]
    fn a_text_without_pairs_is_a_prompt() {
        let info = Infotext::parse("a dog: big, brown\nin space");
        assert_eq!((info.prompt.as_str(), info.fields.len()), ("a dog: big, brown\nin space", 0));
        assert_eq!(Infotext::parse(""), Infotext::default());
    }

    #[test]
    fn quotes_bring_odd_values_back() {
        for value in ["plain", "a, b: c", "line\nbreak", "\"", "back\\slash, \"q\"", " spaced ", "ü, 中"] {
            let line = format!("Steps: 1, Odd name: {}, Seed: 2", quote(value));
            assert_eq!(scan_pairs(&line)[1], ("Odd name".into(), value.into()), "{line}");
        }
    }

    #[test]
    fn broken_texts_do_no_harm() {
        for text in ["::::", ",,,:,", "\"", "a: \"open, b: 1, c: 2", "Steps: , : , :", "a:b\n\n\n", "\u{0}: \u{0}, :"] {
            let _ = Infotext::parse(text);
        }
    }

    #[test]
    fn png_brings_the_text_back_in_both_chunks() {
        for text in ["Latin-1: é, one", "more: 犬, 🚀", ""] {
            let png = encode_png(2, 1, &[0, 1, 2, 3, 4, 5], Some(text)).unwrap();
            assert_eq!(read_text(std::io::Cursor::new(png)).unwrap().as_deref(), Some(text));
        }
        let png = encode_png(1, 1, &[0, 1, 2], None).unwrap();
        assert_eq!(read_text(std::io::Cursor::new(png)).unwrap(), None);
    }
}

//! From words to the numbers that a CLIP text encoder knows.
use crate::{Error, Result, models::Files};
use serde::Deserialize;
use std::collections::HashMap;
use tokenizers::{
    AddedToken, Tokenizer as Inner,
    models::bpe::BPE,
    normalizers::{Lowercase, NFC, NormalizerWrapper, Replace, Sequence as Normalizers, replace::ReplacePattern},
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence as PreTokenizers,
        split::{Split, SplitPattern},
    },
    tokenizer::normalizer::SplitDelimiterBehavior,
};

/// How CLIP cuts a text into words (Radford et al. 2021, the reference code's pattern).
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A tokenizer of the CLIP kind, with the special tokens and chunk length of its model.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    inner: Inner,
    start: u32,
    end: u32,
    pad: u32,
    /// Tokens in a chunk, start and end included: 77 for SD.
    length: usize,
    comma: Option<u32>,
    /// The byte that each letter of the vocabulary stands for.
    bytes: HashMap<char, u8>,
}

/// The files of a model's tokenizer folder.
#[derive(Debug, Default)]
struct TokenizerFiles {
    /// Its name.
    folder: String,
    tokenizer: Option<String>,
    vocab: Option<String>,
    merges: Option<String>,
    config: Option<String>,
    special: Option<String>,
}

/// What `tokenizer_config.json` and `special_tokens_map.json` may say.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    bos_token: Option<Special>,
    eos_token: Option<Special>,
    pad_token: Option<Special>,
    unk_token: Option<Special>,
    model_max_length: Option<f64>, // some files have 1e30 for "no limit"
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Object { content: String },
}

impl Special {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

impl Tokenizer {
    /// Reads the tokenizer in a model's `folder`; `positions` is how many tokens its text encoder takes, where it says so.
    pub(crate) fn read(files: &Files, folder: &str, positions: Option<usize>) -> Result<Self> {
        let text = |name: &str| files.text(&format!("{folder}/{name}"));
        let files = TokenizerFiles {
            folder: folder.into(),
            tokenizer: text("tokenizer.json")?,
            vocab: text("vocab.json")?,
            merges: text("merges.txt")?,
            config: text("tokenizer_config.json")?,
            special: text("special_tokens_map.json")?,
        };
        Self::new(&files, positions)
    }

    /// Builds the tokenizer; `positions` is how many tokens the text encoder takes, where it says so.
    fn new(files: &TokenizerFiles, positions: Option<usize>) -> Result<Self> {
        let mut settings = parse::<Settings>("tokenizer_config.json", files.config.as_deref())?;
        let special = parse::<Settings>("special_tokens_map.json", files.special.as_deref())?;
        let token = |ours: Option<Special>, other: Option<Special>, usual: &str| {
            ours.or(other).map_or_else(|| usual.to_owned(), Special::text)
        };
        let start = token(settings.bos_token.take(), special.bos_token, "<|startoftext|>");
        let end = token(settings.eos_token.take(), special.eos_token, "<|endoftext|>");
        let pad = token(settings.pad_token.take(), special.pad_token, &end);
        let unknown = token(settings.unk_token.take(), special.unk_token, &end);
        let mut inner = match (&files.tokenizer, &files.vocab, &files.merges) {
            (_, Some(vocab), Some(merges)) => clip(vocab, merges, &unknown)?,
            (Some(json), _, _) => json.parse::<Inner>().map_err(|error| broken("tokenizer.json", &error))?,
            _ => return Err(missing(&files.folder)),
        };
        let id = |text: &str| {
            inner.token_to_id(text).ok_or_else(|| broken("vocab.json", &format!("the token `{text}` is missing")))
        };
        let ids = (id(&start)?, id(&end)?, id(&pad)?);
        // A prompt may name a special token; it must not fall apart into pieces.
        let specials = [start, end, pad].map(|text| AddedToken::from(text, true));
        inner.add_special_tokens(specials).map_err(|error| broken("tokenizer", &error))?;
        inner.with_padding(None).with_truncation(None).map_err(|error| broken("tokenizer", &error))?;
        let (start, end, pad) = ids;
        let limit = settings.model_max_length.filter(|length| *length < 1e9).map(|length| length as usize);
        let length = positions.or(limit).filter(|length| (3..=65_536).contains(length)).ok_or_else(|| {
            let why = "neither `model_max_length` nor `max_position_embeddings` of the text encoder is 3 to 65536";
            broken("tokenizer_config.json", &why)
        })?;
        let comma = inner.token_to_id(",</w>");
        Ok(Self { inner, start, end, pad, length, comma, bytes: byte_letters() })
    }

    /// The tokens of `text`, without start, end and padding.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| {
            Error::request(format!("the prompt cannot be cut into tokens: {error}"), "write it in other words")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(super) fn frame(&self, ids: &[u32]) -> Vec<i64> {
        let framed = std::iter::once(self.start).chain(ids.iter().copied()).chain([self.end]);
        let padded = framed.chain(std::iter::repeat(self.pad)).take(self.length);
        padded.map(i64::from).collect()
    }

    /// A chunk as stable-diffusion-webui has it: what follows the first end is padding, also where a prompt names the
    /// end itself and the padding is another token.
    pub(super) fn frame_to_first_end(&self, ids: &[u32]) -> Vec<i64> {
        let mut framed = self.frame(ids);
        if self.pad != self.end {
            let end = framed.iter().position(|id| *id == i64::from(self.end)).unwrap_or(framed.len() - 1);
            framed[end + 1..].fill(self.pad.into());
        }
        framed
    }

    /// How many tokens of a prompt fit in a chunk: 75 for SD.
    pub(super) fn room(&self) -> usize {
        self.length - 2
    }

    /// The token of a comma that ends a word, where the vocabulary has one.
    pub(super) fn comma(&self) -> Option<u32> {
        self.comma
    }

    /// What the token `id` stands for, with a space at its end if it ends a word. Control characters and bytes that are
    /// no text alone are written `\u{1b}` and `\xf0`, so that it can be shown anywhere.
    pub(crate) fn text_of(&self, id: u32) -> String {
        let spelling = self.inner.id_to_token(id).unwrap_or_default();
        let (word, space) = spelling.strip_suffix("</w>").map_or((&*spelling, ""), |word| (word, " "));
        let bytes: Option<Vec<u8>> = word.chars().map(|c| self.bytes.get(&c).copied()).collect();
        let mut text = String::new();
        for chunk in bytes.unwrap_or_else(|| word.as_bytes().to_vec()).utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
            }
            text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
        text + space
    }
}

/// The letters that vocabularies write for bytes: a printable one for itself, the others from U+0100 on (Radford et al.
/// 2019, the reference code's `bytes_to_unicode`).
fn byte_letters() -> HashMap<char, u8> {
    let is_printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let (printable, others): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(is_printable);
    let own = printable.into_iter().map(|byte| (char::from(byte), byte));
    own.chain(('\u{100}'..).zip(others)).collect()
}

/// A CLIP tokenizer from its vocabulary and merges.
fn clip(vocab: &str, merges: &str, unknown: &str) -> Result<Inner> {
    let vocab: HashMap<String, u32> = serde_json::from_str(vocab).map_err(|error| broken("vocab.json", &error))?;
    let lines = merges.lines().filter(|line| !line.starts_with("#version") && !line.trim().is_empty());
    let pairs = lines.map(|line| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.trim_end().to_owned())));
    let pairs: Option<Vec<_>> = pairs.collect();
    let pairs = pairs.ok_or_else(|| broken("merges.txt", &"a line is not two words"))?;
    let model = BPE::builder()
        .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), pairs)
        .unk_token(unknown.to_owned())
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix("</w>".into())
        .build()
        .map_err(|error| broken("merges.txt", &error))?;
    let spaces =
        Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(|error| broken("tokenizer", &error))?;
    let normalizer = Normalizers::new(vec![
        NormalizerWrapper::NFC(NFC),
        NormalizerWrapper::Replace(spaces),
        NormalizerWrapper::Lowercase(Lowercase),
    ]);
    let words = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Removed, true)
        .map_err(|error| broken("tokenizer", &error))?;
    let splitter = PreTokenizers::new(vec![
        PreTokenizerWrapper::Split(words),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ]);
    let mut inner = Inner::new(model);
    inner.with_normalizer(Some(normalizer)).map_err(|error| broken("tokenizer", &error))?;
    inner.with_pre_tokenizer(Some(splitter));
    Ok(inner)
}

fn parse<T: Default + serde::de::DeserializeOwned>(name: &str, text: Option<&str>) -> Result<T> {
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text).map_err(|error| broken(name, &error)))
}

fn broken(name: &str, why: &dyn std::fmt::Display) -> Error {
    Error::model(format!("the tokenizer's `{name}` cannot be used: {why}"), "export or download the model again")
}

fn missing(folder: &str) -> Error {
    Error::model(
        "the model has no tokenizer",
        format!("put vocab.json and merges.txt, or tokenizer.json, into its `{folder}` folder"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::{fs, path::Path};

    fn tiny() -> Tokenizer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1");
        Tokenizer::read(&Files::folder(&root).unwrap(), "tokenizer", None).unwrap()
    }

    /// Against transformers' CLIPTokenizer: see `made_by` in the file.
    #[test]
    fn tokens_are_those_of_transformers() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tokens.json");
        let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let tokenizer = tiny();
        let results = golden["results"].as_array().unwrap();
        assert!(results.len() > 100);
        for result in results {
            let text = result["text"].as_str().unwrap();
            let wanted: Vec<u32> = serde_json::from_value(result["ids"].clone()).unwrap();
            let ours = [&[tokenizer.start], &*tokenizer.ids(text).unwrap(), &[tokenizer.end]].concat();
            assert_eq!(ours, wanted, "{text:?}");
        }
    }

    /// SD 2 pads with `!`. diffusers keeps what a prompt says after `<|endoftext|>`, stable-diffusion-webui does not.
    #[test]
    fn padding_follows_the_first_end() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1/tokenizer");
        let read = |name: &str| Some(fs::read_to_string(root.join(name)).unwrap());
        let config = Some(r#"{"pad_token": "!"}"#.to_owned());
        let files =
            TokenizerFiles { vocab: read("vocab.json"), merges: read("merges.txt"), config, ..Default::default() };
        let tokenizer = Tokenizer::new(&files, Some(8)).unwrap();
        let ids = tokenizer.ids("1<|endoftext|>2").unwrap();
        let [one, _, two] = ids[..] else { panic!("three tokens") };
        let (start, end, pad) = (tokenizer.start, tokenizer.end, tokenizer.pad);
        assert_ne!(end, pad);
        assert_eq!(tokenizer.frame(&ids), [start, one, end, two, end, pad, pad, pad].map(i64::from));
        assert_eq!(tokenizer.frame_to_first_end(&ids), [start, one, end, pad, pad, pad, pad, pad].map(i64::from));
        let full = [one; 6];
        assert_eq!(tokenizer.frame_to_first_end(&full), tokenizer.frame(&full));
    }

    #[test]
    fn tokens_can_be_shown() {
        let tokenizer = tiny();
        let shown = |text: &str| tokenizer.ids(text).unwrap().into_iter().map(|id| tokenizer.text_of(id)).collect();
        let joined = |text: &str| -> String { shown(text) };
        assert_eq!(joined("A dog, café"), "a dog , caf\\xc3\\xa9 ");
        assert_eq!(joined("<|endoftext|>"), "<|endoftext|>");
        assert_eq!(joined("\u{1b}[2J"), "\\u{1b}[ 2 j ");
        assert_eq!(tokenizer.text_of(u32::MAX), "");
    }

    #[test]
    fn broken_files_are_the_models_fault() {
        let some = |text: &str| Some(text.to_owned());
        for (files, words) in [
            (TokenizerFiles::default(), "has no tokenizer"),
            (TokenizerFiles { vocab: some("["), merges: some(""), ..Default::default() }, "vocab.json"),
            (TokenizerFiles { vocab: some("{}"), merges: some("onlyone"), ..Default::default() }, "merges.txt"),
            (TokenizerFiles { tokenizer: some("{"), ..Default::default() }, "tokenizer.json"),
            (TokenizerFiles { vocab: some(r#"{"a": 0}"#), merges: some(""), ..Default::default() }, "<|startoftext|>"),
        ] {
            let error = Tokenizer::new(&files, Some(77)).unwrap_err();
            assert!(matches!(error, Error::Model { .. }) && error.to_string().contains(words), "{error}");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1");
        for positions in [0, 1, 2, usize::MAX] {
            assert!(
                Tokenizer::read(&Files::folder(&root).unwrap(), "tokenizer", Some(positions)).is_err(),
                "{positions}"
            );
        }
    }
}

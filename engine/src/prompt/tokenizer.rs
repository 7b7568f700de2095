//! From words to the numbers that a CLIP text encoder knows.
use crate::{Error, Result, models::Files};
use serde::Deserialize;
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
}

/// The files of a model's tokenizer folder.
#[derive(Debug, Default)]
struct TokenizerFiles {
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
    /// Reads the tokenizer of a model; `positions` is how many tokens the text encoder takes, where it says so.
    pub(crate) fn read(files: &Files, positions: Option<usize>) -> Result<Self> {
        let text = |name: &str| files.text(&format!("tokenizer/{name}"));
        let files = TokenizerFiles {
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
            _ => return Err(missing()),
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
        Ok(Self { inner, start, end, pad, length })
    }

    /// The tokens of `text`, without start, end and padding.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| {
            Error::request(format!("the prompt cannot be cut into tokens: {error}"), "write it in other words")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of `text` in chunks as the text encoder takes them: start, tokens, end, padding. At least one chunk,
    /// and at least `least` of them.
    pub(crate) fn chunks(&self, text: &str, least: usize) -> Result<Vec<Vec<i64>>> {
        let ids = self.ids(text)?;
        let mut pieces: Vec<&[u32]> = ids.chunks(self.length - 2).collect();
        pieces.resize(pieces.len().max(least).max(1), &[]);
        Ok(pieces.into_iter().map(|piece| self.frame(piece)).collect())
    }

    fn frame(&self, ids: &[u32]) -> Vec<i64> {
        let framed = std::iter::once(self.start).chain(ids.iter().copied()).chain([self.end]);
        let padded = framed.chain(std::iter::repeat(self.pad)).take(self.length);
        padded.map(i64::from).collect()
    }

    /// How many chunks `text` fills.
    pub(crate) fn chunk_count(&self, text: &str) -> Result<usize> {
        Ok(self.ids(text)?.len().div_ceil(self.length - 2).max(1))
    }
}

/// A CLIP tokenizer from its vocabulary and merges.
fn clip(vocab: &str, merges: &str, unknown: &str) -> Result<Inner> {
    let vocab: std::collections::HashMap<String, u32> =
        serde_json::from_str(vocab).map_err(|error| broken("vocab.json", &error))?;
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

fn missing() -> Error {
    Error::model(
        "the model has no tokenizer",
        "put vocab.json and merges.txt, or tokenizer.json, into its `tokenizer` folder",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::{fs, path::Path};

    fn tiny() -> Tokenizer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/sd1");
        Tokenizer::read(&Files::folder(&root).unwrap(), None).unwrap()
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

    #[test]
    fn chunks_have_the_length_that_the_model_takes() {
        let tokenizer = tiny();
        let (start, end, pad) = (tokenizer.start.into(), tokenizer.end.into(), i64::from(tokenizer.pad));
        let empty = tokenizer.chunks("", 1).unwrap();
        assert_eq!(empty[0][..3], [start, end, pad]);
        let long = tokenizer.chunks(&"1 ".repeat(76), 1).unwrap(); // one token each
        assert_eq!(long.len(), 2);
        assert!(long.iter().all(|chunk| chunk.len() == 77));
        assert_eq!((long[0][76], long[1][2]), (end, end));
        assert_eq!(tokenizer.chunks("a", 3).unwrap().len(), 3);
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
            assert!(Tokenizer::read(&Files::folder(&root).unwrap(), Some(positions)).is_err(), "{positions}");
        }
    }
}

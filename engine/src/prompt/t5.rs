//! From words to the numbers that a T5 text encoder knows.
//!
//! As transformers 5 does it, whichever file there is: it reads the vocabulary and the table of characters, and cuts a
//! text at whitespace itself. What `spiece.model` says of whitespace, and the steps of `tokenizer.json`, do not count.
use super::{
    charsmap,
    spiece::{Settings, Vocabulary, broken},
};
use crate::{Error, Result, models::Files};
use tokenizers::{
    Tokenizer as Inner,
    models::unigram::Unigram,
    pre_tokenizers::{
        PreTokenizerWrapper,
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence as PreTokenizers,
        whitespace::WhitespaceSplit,
    },
};

/// What sentencepiece writes for a space.
const SPACE: char = '\u{2581}';
/// The piece that stands for unknown ones. transformers takes this id whatever the file says.
const UNKNOWN: usize = 2;

/// A tokenizer of the T5 kind, with the special tokens of its model.
#[derive(Debug)]
pub(crate) struct T5Tokenizer {
    inner: Inner,
    end: u32,
    pad: u32,
}

impl T5Tokenizer {
    /// Reads the tokenizer in the folder `folder` of a model, such as `tokenizer_3`: its `tokenizer.json`, or, where
    /// there is none, its `spiece.model`.
    pub(crate) fn read(files: &Files, folder: &str) -> Result<Self> {
        let name = |file: &str| format!("{folder}/{file}");
        let (config, special) = (name("tokenizer_config.json"), name("special_tokens_map.json"));
        let (config_text, special_text) = (files.text(&config)?, files.text(&special)?);
        let settings = Settings::read((&config, config_text.as_deref()), (&special, special_text.as_deref()))?;
        let (fast, spiece) = (name("tokenizer.json"), name("spiece.model"));
        if let Some(text) = files.text(&fast)? {
            return Self::new(&fast, Vocabulary::from_json(&fast, &text)?, &settings);
        }
        if !files.has(&spiece) {
            return Err(Error::model(
                format!("the model has no tokenizer in its folder `{folder}`"),
                format!("put tokenizer.json, or spiece.model, into its `{folder}` folder"),
            ));
        }
        Self::new(&spiece, Vocabulary::from_spiece(&spiece, &files.read(&spiece)?, &settings)?, &settings)
    }

    /// Builds the tokenizer; `name` is the file of its vocabulary.
    fn new(name: &str, mut vocabulary: Vocabulary, settings: &Settings) -> Result<Self> {
        let fault = |error: tokenizers::Error| broken(name, &error);
        let tokens = settings.tokens(&vocabulary);
        let pieces = std::mem::take(&mut vocabulary.pieces);
        let mut inner = Inner::new(Unigram::from(pieces, Some(UNKNOWN), false).map_err(fault)?);
        if let Some(table) = &vocabulary.charsmap {
            let normalizer = charsmap::normalizer(table).map_err(|why| broken(name, &why))?;
            inner.with_normalizer(Some(normalizer)).map_err(fault)?;
        }
        inner.with_pre_tokenizer(Some(PreTokenizers::new(vec![
            PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit),
            PreTokenizerWrapper::Metaspace(Metaspace::new(SPACE, PrependScheme::Always, true)),
        ])));
        let id = |role: &str| {
            let text = settings.role(role);
            inner.token_to_id(text).ok_or_else(|| broken(name, &format!("the token `{text}` is missing")))
        };
        let (end, pad) = (id("eos_token")?, id("pad_token")?);
        inner.add_tokens(tokens).map_err(fault)?;
        Ok(Self { inner, end, pad })
    }

    /// The tokens of `text`, without the end and padding.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| {
            Error::request(format!("the prompt cannot be cut into tokens: {error}"), "write it in other words")
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The token that ends a text: `</s>`.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// The token that fills a text up: `<pad>`.
    pub(crate) fn pad(&self) -> u32 {
        self.pad
    }

    /// What the token `id` stands for, with a space at its start if it starts a word. Control characters are written
    /// `\u{1b}`, so that it can be shown anywhere.
    pub(crate) fn text_of(&self, id: u32) -> String {
        let mut text = String::new();
        for c in self.inner.id_to_token(id).unwrap_or_default().chars() {
            match c {
                SPACE => text.push(' '),
                _ if c.is_control() => text.extend(c.escape_default()),
                _ => text.push(c),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn tiny() -> Files {
        Files::folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/t5")).unwrap()
    }

    /// A tokenizer from files that are not on the disk.
    fn from_spiece(bytes: &[u8], config: &str) -> Result<T5Tokenizer> {
        let settings = Settings::read(("config", Some(config)), ("special", None))?;
        T5Tokenizer::new("t/spiece.model", Vocabulary::from_spiece("t/spiece.model", bytes, &settings)?, &settings)
    }

    fn from_json(text: &str) -> Result<T5Tokenizer> {
        T5Tokenizer::new("t/tokenizer.json", Vocabulary::from_json("t/tokenizer.json", text)?, &Settings::default())
    }

    #[test]
    fn files_say_end_and_padding() {
        let [spiece, json] = ["tokenizer_2", "tokenizer_3"].map(|name| T5Tokenizer::read(&tiny(), name).unwrap());
        for tokenizer in [&spiece, &json] {
            assert_eq!((tokenizer.pad(), tokenizer.end()), (0, 1));
            assert_eq!(tokenizer.ids("<pad></s><unk>").unwrap(), [0, 1, 2]);
            assert_eq!(tokenizer.ids("<extra_id_0> <extra_id_99>").unwrap(), [619, 520]);
            assert!(tokenizer.ids(" \n\t").unwrap().is_empty());
        }
    }

    #[test]
    fn tokens_can_be_shown() {
        let tokenizer = T5Tokenizer::read(&tiny(), "tokenizer_2").unwrap();
        let shown = |text: &str| -> String {
            tokenizer.ids(text).unwrap().into_iter().map(|id| tokenizer.text_of(id)).collect()
        };
        assert_eq!(shown("A photograph of\n\na  cat,</s>夜"), " A photograph of a cat,</s> 夜");
        assert_eq!(shown("\u{1b}"), " <unk>");
        assert_eq!(tokenizer.text_of(u32::MAX), "");
        let pieces = r#"["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["\u001b", -1]"#;
        let odd = from_json(&format!(r#"{{"model": {{"vocab": [{pieces}]}}}}"#)).unwrap();
        assert_eq!((odd.ids("\u{1b}").unwrap(), odd.text_of(3)), (vec![2, 3], "\\u{1b}".into()));
    }

    /// Golden numbers cover what usual files say; here is what they may say beside it.
    #[test]
    fn configs_name_tokens() {
        let bytes = tiny().read("tokenizer_2/spiece.model").unwrap();
        let ids = |config: &str, text: &str| from_spiece(&bytes, config).unwrap().ids(text).unwrap();
        assert_eq!(ids(r#"{"extra_ids": 2}"#, "<extra_id_0><extra_id_1>"), [521, 520]);
        let listed = r#"{"extra_special_tokens": [], "additional_special_tokens": ["<x>", {"content": "<y>"}]}"#;
        assert_eq!(ids(listed, "<y><x>"), [621, 620]);
        assert_eq!(ids(r#"{"extra_special_tokens": {}, "eos_token": {"content": "<pad>"}}"#, "<pad>"), [0]);
        let added = r#"{"added_tokens_decoder": {"10": {"content": "b"}, "9": {"content": "a", "special": true}}}"#;
        assert!(ids(added, "x a").len() > 1);
        let other = from_spiece(&bytes, r#"{"eos_token": "<pad>", "pad_token": "</s>"}"#).unwrap();
        assert_eq!((other.end(), other.pad()), (0, 1));
        from_spiece(&bytes, r#"{"model_max_length": 1e30}"#).unwrap();
    }

    fn is_the_models_fault(error: &Error, words: &str) {
        assert!(matches!(error, Error::Model { .. }) && error.to_string().contains(words), "{error}");
    }

    #[test]
    fn unfit_files_are_the_models_fault() {
        let bytes = tiny().read("tokenizer_2/spiece.model").unwrap();
        let bpe = [&*bytes, &[0x12, 2, 0x18, 2]].concat(); // a trainer of type 2
        let piece = |length: usize| {
            let text = "x".repeat(length);
            let digits = |length: usize| [length as u8 & 0x7f | 0x80, (length >> 7) as u8];
            [&[0x0a][..], &digits(length + 3), &[0x0a], &digits(length), text.as_bytes()].concat()
        };
        for (bytes, words) in [
            (vec![], "`</s>` is missing"),
            (vec![0xff; 40], "t/spiece.model"),
            (bpe, "type 2"),
            ([0x0a, 0].repeat(40), "`</s>` is missing"),
            ([0x0a, 0].repeat(1 << 20), "1048676 pieces"),
            (vec![0; (32 << 20) + 1], "33554433 bytes"),
            ([&*bytes, &piece(1025)].concat(), "1025 bytes"),
            ([0x0a, 3, 0x0a, 1, 0xff].repeat(3), "UTF-8"),
        ] {
            is_the_models_fault(&from_spiece(&bytes, "{}").unwrap_err(), words);
        }
        assert!(from_spiece(&[&*bytes, &piece(1024)].concat(), "{}").is_ok());
        for config in ["[", r#"{"extra_ids": 10001}"#, r#"{"extra_ids": -1}"#, r#"{"eos_token": 1}"#] {
            is_the_models_fault(&from_spiece(&bytes, config).unwrap_err(), "`config`");
        }
        is_the_models_fault(&from_spiece(&bytes, r#"{"eos_token": "<end>"}"#).unwrap_err(), "`<end>` is missing");
        for text in ["", "{}", r#"{"model": {"type": "BPE", "vocab": {"a": 0}}}"#, r#"{"model": {"vocab": []}}"#] {
            is_the_models_fault(&from_json(text).unwrap_err(), "t/tokenizer.json");
        }
    }

    #[test]
    fn a_folder_without_files_is_the_models_fault() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::folder(folder.path()).unwrap();
        is_the_models_fault(&T5Tokenizer::read(&files, "tokenizer_3").unwrap_err(), "folder `tokenizer_3`");
        fs::create_dir(folder.path().join("tokenizer_3")).unwrap();
        for (name, words) in [("spiece.model", "`tokenizer_3/spiece.model`"), ("tokenizer.json", "UTF-8")] {
            fs::write(folder.path().join("tokenizer_3").join(name), b"\xff\xfe").unwrap();
            is_the_models_fault(&T5Tokenizer::read(&files, "tokenizer_3").unwrap_err(), words);
        }
    }

    /// A damaged file is refused, or makes another tokenizer that takes every text.
    fn survives(tokenizer: Result<T5Tokenizer>, name: &str, text: &str) -> bool {
        match tokenizer {
            Ok(tokenizer) => {
                tokenizer.ids(text).unwrap();
                true
            }
            Err(error) => {
                is_the_models_fault(&error, name);
                false
            }
        }
    }

    #[test]
    fn damaged_files_never_end_the_program() {
        let text: String = ('\0'..'\u{3100}').chain('\u{fb00}'..'\u{ff60}').collect();
        let text = format!("e\u{301} <user></s> {text} cat");
        let spiece = tiny().read("tokenizer_2/spiece.model").unwrap();
        let json = tiny().text("tokenizer_3/tokenizer.json").unwrap().unwrap();
        let mut sound = [0, 0];
        for place in (0..spiece.len()).step_by(23) {
            let mut flipped = spiece.to_vec();
            flipped[place] ^= 0xff;
            sound[0] += usize::from(survives(from_spiece(&flipped, "{}"), "t/spiece.model", &text));
            survives(from_spiece(&spiece[..place], "{}"), "t/spiece.model", &text);
        }
        for place in (0..json.len()).step_by(61).filter(|place| json.is_char_boundary(*place)) {
            let rest = json[place..].chars().next().map_or("", |c| &json[place + c.len_utf8()..]);
            let changed = format!("{}7{rest}", &json[..place]);
            sound[1] += usize::from(survives(from_json(&changed), "t/tokenizer.json", &text));
            survives(from_json(&json[..place]), "t/tokenizer.json", &text);
        }
        assert!(sound.iter().all(|count| *count > 100), "{sound:?}");
    }
}

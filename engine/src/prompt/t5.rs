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
    limit: Option<usize>,
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
        Ok(Self { inner, end, pad, limit: settings.limit })
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

    /// How many tokens the model takes, the end included, if its files say so: 512 for T5.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
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

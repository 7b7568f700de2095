//! What do the files of a sentencepiece tokenizer say: `spiece.model`, `tokenizer.json` and the small ones beside them?
use crate::{Error, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use prost::Message;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};
use tokenizers::AddedToken;

/// The largest file that is read: that of mT5, the largest vocabulary of the kind, has 4 MB, and 16 MB as JSON.
const LARGEST: usize = 32 << 20;
/// More pieces than any vocabulary has; mT5 has a quarter of a million.
const MOST_PIECES: usize = 1 << 20;
/// The longest piece in bytes: sentencepiece's have 16 characters, but for those that somebody names.
const LONGEST_PIECE: usize = 1024;
/// More `<extra_id_N>` than any model has; T5 has 100.
const MOST_EXTRA_IDS: usize = 10_000;

/// A vocabulary, with what turns a text into its characters.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Each with the logarithm of its probability; ids are places.
    pub(super) pieces: Vec<(String, f64)>,
    /// sentencepiece's table of characters and what they become.
    pub(super) charsmap: Option<Vec<u8>>,
    /// The tokens of `tokenizer.json` that are tokens wherever they stand in a text.
    added: Vec<AddedToken>,
    /// The control pieces and those that somebody named, of `spiece.model`.
    named: Option<Vec<AddedToken>>,
}

/// `ModelProto` of sentencepiece. What it says of whitespace and of the unknown piece is not read, because
/// transformers does not ask for it either.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

/// `SentencePiece`.
#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(float, tag = "2")]
    score: f32,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

/// `SentencePiece.Type`.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// `TrainerSpec`.
#[derive(Clone, PartialEq, Message)]
struct Trainer {
    /// `ModelType`; unigram where the file does not say.
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

/// `TrainerSpec.ModelType`.
const UNIGRAM: i32 = 1;

/// `NormalizerSpec`.
#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", tag = "2")]
    charsmap: Vec<u8>,
}

/// What of `tokenizer.json` transformers' `T5Tokenizer` reads: it makes its own normalizer and pre-tokenizer.
#[derive(Deserialize)]
struct Fast {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    model: Unigram,
}

#[derive(Deserialize)]
struct Unigram {
    vocab: Vec<(String, f64)>,
}

/// An added token as files write it.
#[derive(Clone, Debug, Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    special: Option<bool>,
}

impl Added {
    /// The token; whether it is special where the file does not say.
    fn token(self, special: bool) -> AddedToken {
        let special = self.special.unwrap_or(special);
        AddedToken::from(self.content, special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!special))
    }
}

/// A special token of `tokenizer_config.json` or `special_tokens_map.json`.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Object(Added),
}

impl Special {
    fn token(self) -> AddedToken {
        match self {
            Self::Text(text) => AddedToken::from(text, true),
            Self::Object(token) => token.token(true),
        }
    }
}

/// `tokenizer_config.json`, and `special_tokens_map.json` where the former does not list the added tokens.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The added tokens by their ids, if the file lists them.
    added: Option<Vec<AddedToken>>,
    /// Tokens that have a role, such as `eos_token`.
    roles: BTreeMap<&'static str, AddedToken>,
    /// Other special tokens, if the file lists them.
    others: Option<Vec<AddedToken>>,
    /// Those of `special_tokens_map.json`, beside the extra ids.
    usual: Option<Vec<AddedToken>>,
    /// How many `<extra_id_N>` there are.
    extra_ids: usize,
}

/// The tokens of T5 that have a role.
pub(super) const USUAL: [(&str, &str); 3] = [("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];

/// The roles of special tokens, in the order in which transformers adds them.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Settings {
    /// What the files say, each with its name.
    pub(super) fn read(config: (&str, Option<&str>), special: (&str, Option<&str>)) -> Result<Self> {
        let map = |(name, text): (&str, Option<&str>)| -> Result<Map<String, Value>> {
            text.map_or_else(|| Ok(Map::new()), |text| serde_json::from_str(text).map_err(|error| broken(name, &error)))
        };
        let (config_name, special_name) = (config.0, special.0);
        let (config, mut special) = (map(config)?, map(special)?);
        let added: Option<BTreeMap<String, Added>> = field(config_name, &config, "added_tokens_decoder")?;
        let added = added.map(|added| {
            let mut added: Vec<_> = added.into_iter().map(|(id, token)| (id.parse::<u64>().ok(), token)).collect();
            added.sort_by_key(|(id, _)| *id);
            added.into_iter().map(|(_, token)| token.token(false)).collect()
        });
        if added.is_some() {
            special.clear();
        }
        let mut roles = BTreeMap::new();
        for role in ROLES {
            let token: Option<Special> = match field(special_name, &special, role)? {
                None => field(config_name, &config, role)?,
                token => token,
            };
            roles.extend(token.map(|token| (role, token.token())));
        }
        let list = |name: &str, map: &Map<String, Value>, key: &str| -> Result<Option<Vec<AddedToken>>> {
            if !map.get(key).is_some_and(Value::is_array) {
                return Ok(None); // newer files have an object where there are no such tokens
            }
            let tokens: Option<Vec<Special>> = field(name, map, key)?;
            Ok(tokens.map(|tokens| tokens.into_iter().map(Special::token).collect()))
        };
        let extra = list(config_name, &config, "extra_special_tokens")?;
        let additional = list(config_name, &config, "additional_special_tokens")?;
        let (filled, empty) = if extra.as_ref().is_some_and(Vec::is_empty) { (None, extra) } else { (extra, None) };
        let others = filled.or(additional).or(empty);
        let usual = list(special_name, &special, "additional_special_tokens")?;
        let extra_ids = field(config_name, &config, "extra_ids")?.unwrap_or(100);
        if extra_ids > MOST_EXTRA_IDS {
            return Err(broken(config_name, &format!("`extra_ids` is {extra_ids}, more than {MOST_EXTRA_IDS}")));
        }
        Ok(Self { added, roles, others, usual, extra_ids })
    }

    /// The token that has the role `role`, one of [`USUAL`]'s.
    pub(super) fn role(&self, role: &str) -> &str {
        let usual = USUAL.iter().find(|(name, _)| *name == role).map_or("", |(_, text)| *text);
        self.roles.get(role).map_or(usual, |token| &token.content)
    }

    /// Every token that is one wherever it stands in a text, in transformers' order: those that the files list, those
    /// that have a role, all other special ones.
    pub(super) fn tokens(&self, vocabulary: &Vocabulary) -> Vec<AddedToken> {
        let mut tokens = self.added.as_ref().unwrap_or(&vocabulary.added).clone();
        let listed: BTreeSet<String> = tokens.iter().map(|token| token.content.clone()).collect();
        let usual = USUAL.map(|(role, text)| (role, AddedToken::from(text, true)));
        let mut roles = BTreeMap::from(usual);
        roles.extend(self.roles.iter().map(|(role, token)| (*role, token.clone())));
        let named = ROLES.iter().filter_map(|role| roles.remove(role));
        let others = self.others.clone().unwrap_or_else(|| self.usual_others(vocabulary));
        tokens.extend(named.chain(others).filter(|token| !listed.contains(&token.content)));
        tokens
    }

    /// The special tokens without a role where `tokenizer_config.json` does not list them.
    fn usual_others(&self, vocabulary: &Vocabulary) -> Vec<AddedToken> {
        let mut others = vocabulary.named.as_ref().or(self.usual.as_ref()).cloned().unwrap_or_default();
        if !others.iter().any(|token| token.content.contains("<extra_id_")) {
            others.extend((0..self.extra_ids).map(|number| AddedToken::from(extra_id(number), true)));
        }
        others
    }
}

fn extra_id(number: usize) -> String {
    format!("<extra_id_{number}>")
}

impl Vocabulary {
    /// The vocabulary in the bytes of the file `name`, a `spiece.model`, with the extra ids behind it.
    pub(super) fn from_spiece(name: &str, bytes: &[u8], settings: &Settings) -> Result<Self> {
        check_size(name, bytes.len())?;
        let Model { pieces, trainer, normalizer } = Model::decode(bytes).map_err(|error| broken(name, &error))?;
        if let Some(kind) = trainer.and_then(|trainer| trainer.kind).filter(|kind| *kind != UNIGRAM) {
            return Err(broken(name, &format!("it is a model of type {kind}, not a unigram model (1)")));
        }
        let is_named = |piece: &&Piece| matches!(piece.kind, Some(CONTROL | USER_DEFINED));
        let named = |piece: &Piece| AddedToken::from(&*piece.text, piece.kind == Some(CONTROL)).normalized(false);
        let named = Some(pieces.iter().filter(is_named).map(named).collect());
        let charsmap = normalizer.map(|normalizer| normalizer.charsmap).filter(|charsmap| !charsmap.is_empty());
        let pieces = pieces.into_iter().map(|piece| (piece.text, f64::from(piece.score)));
        let extra_ids = (0..settings.extra_ids).rev().map(|number| (extra_id(number), 0.0));
        Self { pieces: pieces.chain(extra_ids).collect(), charsmap, added: Vec::new(), named }.checked(name)
    }

    /// The vocabulary in the text of the file `name`, a `tokenizer.json`.
    pub(super) fn from_json(name: &str, text: &str) -> Result<Self> {
        check_size(name, text.len())?;
        let file: Fast = serde_json::from_str(text).map_err(|error| broken(name, &error))?;
        let charsmap = file.normalizer.as_ref().and_then(charsmap_in_base64);
        let charsmap = charsmap.map(|text| BASE64.decode(text)).transpose().map_err(|error| broken(name, &error))?;
        let added = file.added_tokens.into_iter().map(|token| token.token(false)).collect();
        Self { pieces: file.model.vocab, charsmap, added, named: None }.checked(name)
    }

    fn checked(self, name: &str) -> Result<Self> {
        if self.pieces.len() > MOST_PIECES {
            return Err(broken(name, &format!("it has {} pieces, more than {MOST_PIECES}", self.pieces.len())));
        }
        let added = self.added.iter().chain(self.named.iter().flatten()).map(|token| &token.content);
        if let Some(text) =
            self.pieces.iter().map(|(text, _)| text).chain(added).find(|text| text.len() > LONGEST_PIECE)
        {
            return Err(broken(name, &format!("a piece has {} bytes, more than {LONGEST_PIECE}", text.len())));
        }
        Ok(self)
    }
}

/// The table of characters of a `tokenizer.json`: that of its normalizer, or of the first in its list that has one.
fn charsmap_in_base64(normalizer: &Value) -> Option<&str> {
    let list = normalizer["normalizers"].as_array().map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    let mut tables = list.iter().filter(|normalizer| normalizer["type"] == "Precompiled");
    tables.find_map(|normalizer| normalizer["precompiled_charsmap"].as_str())
}

fn check_size(name: &str, size: usize) -> Result<()> {
    if size <= LARGEST {
        return Ok(());
    }
    Err(broken(name, &format!("it has {size} bytes, more than {LARGEST}")))
}

/// The field `key` of the file `name`, if it is there and not null.
fn field<T: serde::de::DeserializeOwned>(name: &str, map: &Map<String, Value>, key: &str) -> Result<Option<T>> {
    let value = map.get(key).filter(|value| !value.is_null()).cloned();
    value.map(serde_json::from_value).transpose().map_err(|error| broken(name, &format!("`{key}`: {error}")))
}

/// The fault `why` of the file `name`.
pub(super) fn broken(name: &str, why: &dyn Display) -> Error {
    Error::model(format!("the tokenizer's `{name}` cannot be used: {why}"), "export or download the model again")
}

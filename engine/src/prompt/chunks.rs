//! Which tokens, of which weights, does a text encoder get at a time?
//!
//! The rules are those of stable-diffusion-webui's `tokenize_line`.
use super::{
    Tokenizer,
    attention::{Fragment, weighted},
    emphasis::Emphasis,
};
use crate::{Error, Result};

/// How many tokens after a comma move to the next chunk rather than be torn from those that follow them: the default of
/// stable-diffusion-webui's `comma_padding_backtrack`.
const COMMA_REACH: usize = 20;

/// The largest number of chunks of the prompts of a request: of all texts that they stand for along the run, each as long
/// as the longest. Each is an evaluation of the text encoder, and all are kept.
pub const MOST_CHUNKS: usize = 1000;

/// What a text encoder is given at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// Start, tokens, end, padding: as many as the encoder takes, 77 for SD.
    pub(crate) ids: Vec<i64>,
    /// One for each of `ids`: 1 for start, end and padding.
    pub(crate) weights: Vec<f32>,
    /// How many of `ids` are of the prompt; the first is `ids[1]`.
    pub(crate) used: usize,
}

/// A token of a prompt, to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// What it stands for, with a space at its end if it ends a word.
    pub text: String,
    /// What its embedding is multiplied by.
    pub weight: f32,
}

impl Chunk {
    fn new(tokenizer: &Tokenizer, tokens: &[(u32, f32)]) -> Self {
        let ids: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
        let ids = tokenizer.frame_to_first_end(&ids);
        let mut weights = vec![1.0; ids.len()];
        weights[1..].iter_mut().zip(tokens).for_each(|(weight, (_, given))| *weight = *given);
        Self { ids, weights, used: tokens.len() }
    }

    /// The tokens of the prompt in it, without start, end and padding.
    pub(crate) fn tokens(&self, tokenizer: &Tokenizer) -> Vec<PromptToken> {
        let tokens = self.ids.iter().zip(&self.weights).skip(1).take(self.used);
        let tokens = tokens.map(|(id, weight)| (*id as u32, *weight));
        tokens.map(|(id, weight)| PromptToken { id, text: tokenizer.text_of(id), weight }).collect()
    }
}

/// The chunks of `text`, at least one.
///
/// Each fragment of one weight is cut into tokens alone. A `BREAK` ends the chunk, an empty one too. Where a full chunk
/// has a comma among its last 20 tokens, what follows that comma goes to the next chunk.
pub(crate) fn chunks(tokenizer: &Tokenizer, text: &str, emphasis: Emphasis) -> Result<Vec<Chunk>> {
    let fragments = match emphasis {
        Emphasis::None => vec![Fragment::Words { text: text.into(), weight: 1.0 }],
        _ => weighted(text),
    };
    let mut packer = Packer { tokenizer, chunks: Vec::new(), tokens: Vec::new(), comma: None };
    for fragment in fragments {
        match fragment {
            Fragment::Break => packer.finish(),
            Fragment::Words { text, weight } => {
                let weight = (weight as f32).clamp(f32::MIN, f32::MAX);
                tokenizer.ids(&text)?.into_iter().for_each(|id| packer.push(id, weight));
            }
        }
    }
    if !packer.tokens.is_empty() || packer.chunks.is_empty() {
        packer.finish();
    }
    Ok(packer.chunks)
}

/// Fails if `texts`, each filled up to the longest of them, have more than [`MOST_CHUNKS`] chunks together.
pub(crate) fn check_chunks<'a>(
    tokenizer: &Tokenizer,
    texts: impl Iterator<Item = &'a String> + Clone,
    emphasis: Emphasis,
) -> Result<()> {
    let count = texts.clone().count();
    let mut longest = 1;
    for text in texts {
        if count * longest > MOST_CHUNKS {
            break;
        }
        longest = longest.max(chunks(tokenizer, text, emphasis)?.len());
    }
    if count * longest <= MOST_CHUNKS {
        return Ok(());
    }
    let what = format!("the prompts have {} chunks or more, over all texts that they stand for", count * longest);
    let hint = format!(
        "write shorter prompts with fewer alternatives: at most {MOST_CHUNKS}, each text as long as the longest"
    );
    Err(Error::request(what, hint))
}

/// Gives all of `texts` the same number of chunks, by empty ones at the end.
pub(crate) fn equalise(tokenizer: &Tokenizer, texts: &mut [Vec<Chunk>]) {
    let count = texts.iter().map(Vec::len).max().unwrap_or(0);
    for chunks in texts {
        chunks.resize_with(count, || Chunk::new(tokenizer, &[]));
    }
}

struct Packer<'a> {
    tokenizer: &'a Tokenizer,
    chunks: Vec<Chunk>,
    /// The tokens of the chunk that is being filled.
    tokens: Vec<(u32, f32)>,
    /// Where its last comma is.
    comma: Option<usize>,
}

impl Packer<'_> {
    fn push(&mut self, id: u32, weight: f32) {
        let room = self.tokenizer.room();
        let full = self.tokens.len() == room;
        if self.tokenizer.comma() == Some(id) {
            self.comma = Some(self.tokens.len());
        } else if let Some(comma) = self.comma.filter(|comma| full && room - comma <= COMMA_REACH) {
            let moved = self.tokens.split_off(comma + 1);
            self.finish();
            self.tokens = moved;
        }
        if self.tokens.len() == room {
            self.finish();
        }
        self.tokens.push((id, weight));
    }

    fn finish(&mut self) {
        let tokens = std::mem::take(&mut self.tokens);
        self.comma = None;
        self.chunks.push(Chunk::new(self.tokenizer, &tokens));
    }
}

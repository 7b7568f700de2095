//! From words to embeddings.
mod attention;
mod characters;
mod charsmap;
mod chunks;
mod clip_skip;
mod compose;
mod emphasis;
mod encoder;
mod encoders;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_t5;
mod schedule;
mod spiece;
mod t5;
mod t5_encoder;
#[cfg(test)]
mod tests;
mod tokenizer;

pub(crate) use chunks::{Chunk, check_chunks, chunks};
pub use chunks::{MOST_CHUNKS, PromptToken};
pub use compose::MOST_PARTS;
pub(crate) use compose::{Part, Prompt};
pub use emphasis::{EMPHASES, Emphasis, EmphasisKind, find_emphasis};
pub(crate) use encoder::{Encoded, Reading, Taken, TextEncoder};
pub(crate) use encoders::TextEncoders;
pub(crate) use schedule::{Along, Texts};
pub(crate) use t5::T5Tokenizer;
pub(crate) use t5_encoder::{T5Encoder, t5_tokens};
pub(crate) use tokenizer::Tokenizer;

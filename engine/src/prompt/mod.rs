//! From words to embeddings.
mod attention;
mod characters;
mod charsmap;
mod chunks;
mod clip_skip;
mod compose;
mod emphasis;
mod encoder;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_t5;
mod schedule;
mod spiece;
#[cfg_attr(not(test), expect(dead_code, reason = "for the families that have such an encoder"))]
mod t5;
#[cfg(test)]
mod tests;
mod tokenizer;

pub(crate) use chunks::{Chunk, check_chunks, chunks};
pub use chunks::{MOST_CHUNKS, PromptToken};
pub use compose::MOST_PARTS;
pub(crate) use compose::{Part, Prompt};
pub use emphasis::{EMPHASES, Emphasis, EmphasisKind, find_emphasis};
pub(crate) use encoder::{Reading, TextEncoder};
pub(crate) use schedule::{Along, Texts};
pub(crate) use tokenizer::Tokenizer;

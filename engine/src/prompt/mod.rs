//! From words to embeddings.
mod encoder;
mod tokenizer;

pub(crate) use encoder::TextEncoder;
pub(crate) use tokenizer::Tokenizer;

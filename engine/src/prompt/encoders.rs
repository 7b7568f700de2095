//! The text encoders of a model, side by side.
use super::{Emphasis, T5Encoder, TextEncoder};
use crate::Result;

/// The text encoders of a model.
pub(crate) struct TextEncoders {
    /// Those of the CLIP kind, in their order.
    pub(crate) clip: Vec<TextEncoder>,
    /// T5, for the families that have it.
    pub(crate) t5: Option<T5Encoder>,
    /// How many tokens T5 is given at least.
    pub(crate) t5_tokens: usize,
    /// The width of the states that the network takes, where it says.
    pub(crate) taken: Option<usize>,
}

impl TextEncoders {
    /// Fails if `texts` have more chunks than a request may have.
    pub(crate) fn check<'a>(&self, texts: impl Iterator<Item = &'a String> + Clone, emphasis: Emphasis) -> Result<()> {
        self.clip.first().map_or(Ok(()), |encoder| encoder.check(texts, emphasis))
    }
}

//! What a network is given beside latents and timestep.
use crate::runtime::Tensor;

/// Named tensors a network is given, for the negative and the positive side.
#[derive(Clone, Debug)]
pub(crate) struct Conditioning {
    /// Each tensor's first axis holds the sides: `[negative, positive]` with guidance, else `[positive]`.
    pub(crate) tensors: Vec<(&'static str, Tensor)>,
}

//! What distinguishes one kind of model from another: constants, and the few steps that differ.
mod sd;

use crate::{
    Result,
    conditioning::Embedding,
    preview::LatentColours,
    prompt::{Reading, TextEncoder},
};

/// The text encoder, the texts, how often each occurs, and how they are read.
type Encode = fn(&mut TextEncoder, &[String], &[usize], Reading) -> Result<Vec<Embedding>>;

/// A kind of model.
pub(crate) struct Family {
    /// The name in catalogues and in metadata.
    pub(crate) name: &'static str,
    /// The scale of the latents when the model's own `vae_decoder/config.json` is missing.
    pub(crate) latent_scale: f64,
    /// Guidance when neither request nor catalogue say any.
    pub(crate) cfg_scale: f64,
    /// The colours of latents when the model brings no `preview.json`.
    pub(crate) colours: fn() -> LatentColours,
    /// Turns texts, which belong together and stand for `counts` equal ones each, each into what the network is given.
    pub(crate) encode: Encode,
}

/// Every family. To add one, write a file beside this one and a line here.
pub(crate) const FAMILIES: &[Family] = &[sd::FAMILY];

//! Between pixels and latents: the two halves of an autoencoder.
mod decoder;
mod encoder;
mod in_tiles;
mod peak;
mod planes;
mod stages;
mod tiling;
mod tiny;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::{Encoded, Encoder};
pub(crate) use tiling::Tiles;
pub(crate) use tiny::Tiny;

/// What latents mean to the autoencoder: `scaled = (latents - shift) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LatentFormat {
    /// Channels.
    pub(crate) channels: usize,
    /// What the autoencoder's latents were multiplied by, so that the network sees unit variance.
    pub(crate) scale: f64,
    /// What was taken from them before.
    pub(crate) shift: f64,
    /// Pixels to a latent, along each side.
    pub(crate) downsampling: usize,
}

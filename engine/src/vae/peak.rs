//! How much memory does an autoencoder take for a whole picture?
use super::stages::stages;
use crate::runtime::onnx::Structure;

/// Pictures of no more pixels are never made in tiles, unless that is asked for.
pub(super) const ALWAYS_WHOLE: u64 = 768 * 768;
/// Above this many bytes for a whole picture, tiles are used.
pub(super) const MOST_MEMORY: f64 = 5.0 * (1_u64 << 30) as f64;
/// How many planes of the widest layer's size there are at once: measured with ONNX Runtime 1.31.1 on the CPU, SD 1's decoder
/// takes 1,426 MiB at 512x512 and 4,489 at 1024x1024, which is 405 and 4.0 planes.
const PLANES: f64 = 4.0;
/// Values to a latent in the widest layer of SD's autoencoder (256 to a pixel, 64 pixels to a latent), for graphs in which
/// petal finds no stages.
const USUAL_VALUES: f64 = 256.0 * 64.0;

/// How the memory of a decoder grows with its latents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// Values to a latent, in the widest layer.
    values: f64,
    /// Whether attention stores a score for each pair of latents.
    scores: bool,
}

impl Peak {
    pub(super) fn of(graph: &Structure, input: &str, output: &str) -> Self {
        let Some(stages) = stages(graph, input, output) else { return Self { values: USUAL_VALUES, scores: true } };
        let mut area = 1.0; // positions to a latent
        let mut values = 0.0_f64;
        for stage in &stages {
            values = values.max(stage.widest * area);
            area *= stage.grows * stage.grows;
        }
        Self { values, scores: stages.iter().any(|stage| stage.scores) }
    }

    /// Bytes for so many latents, beside the weights.
    pub(super) fn bytes(&self, latents: f64) -> f64 {
        let planes = 4.0 * PLANES * self.values * latents;
        let scores = if self.scores { 4.0 * 2.0 * latents * latents } else { 0.0 };
        planes.max(scores)
    }
}

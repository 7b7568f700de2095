//! Stable Diffusion 1 and 2: one CLIP text encoder, a UNet, latents of four channels.
use super::Family;
use crate::{
    Result,
    conditioning::Embedding,
    preview::LatentColours,
    prompt::{Reading, TextEncoder},
};

pub(super) const FAMILY: Family = Family {
    name: "sd",
    // Rombach et al. 2022, `scale_factor` of the reference configuration of SD 1 and SD 2
    latent_scale: 0.18215,
    // the default of diffusers' StableDiffusionPipeline
    cfg_scale: 7.5,
    colours,
    encode,
};

/// A linear fit of pixels to latents of SD 1, from the thread "Decoding latents to RGB without upscaling" (keturn, 2022),
/// moved from -1..1 to 0..1.
fn colours() -> LatentColours {
    let factors = [[0.298, 0.207, 0.208], [0.187, 0.286, 0.173], [-0.158, 0.189, 0.264], [-0.184, -0.271, -0.473]];
    LatentColours { factors: factors.map(|row: [f32; 3]| row.map(|factor| factor / 2.0)).to_vec(), bias: [0.5; 3] }
}

fn encode(encoder: &mut TextEncoder, texts: &[String], counts: &[usize], reading: Reading) -> Result<Vec<Embedding>> {
    let states = encoder.encode(texts, counts, reading)?.into_iter();
    Ok(states.map(|states| Embedding { tensors: vec![("encoder_hidden_states", states)] }).collect())
}

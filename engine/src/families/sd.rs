//! Stable Diffusion 1 and 2, and what was distilled from them: one CLIP text encoder, a UNet, latents of four channels.
use super::{Asked, EncoderKind, Family, Usual, has, width_of};
use crate::{
    Result,
    conditioning::Embedding,
    network::{Form, STATES},
    preview::LatentColours,
    prompt::{Reading, Taken, TextEncoders},
    runtime::Tensor,
};

/// The input of a network that was taught guidance (Luo et al. 2023, "Latent Consistency Models").
pub(super) const TAUGHT_GUIDANCE: &str = "timestep_cond";

/// How every UNet takes what it is given, whoever exported it.
pub(super) const UNET: Form = Form {
    latents: &["sample"],
    output: &["out_sample", "noise_pred", "latent"],
    packed: false,
    timestep_each: false,
    time_scale: 1.0,
    required: &[STATES],
    optional: &[TAUGHT_GUIDANCE],
    widths: &[],
};

pub(super) const FAMILY: Family = Family {
    name: "sd",
    title: "Stable Diffusion 1 and 2",
    model: |inputs| match width_of(inputs, STATES) {
        Some(768) => "SD 1",
        Some(1024) => "SD 2",
        _ => "SD 1 or 2",
    },
    is: |inputs| has(inputs, "sample") && has(inputs, STATES),
    form: &UNET,
    encoders: &[EncoderKind::Clip],
    needed: 1,
    // Rombach et al. 2022, `scale_factor` of the reference configuration of SD 1 and SD 2
    latents: (0.18215, 0.0),
    patch: 1,
    usual: Usual { cfg_scale: 7.5, guidance: 8.5, strength: (0.8, 1.0), side: 64, even_levels: false },
    colours,
    skips_layers: true,
    fills_texts: true,
    empty_is_zero: false,
    t5_tokens: |_| 0,
    width: |encoders| encoders.clip[0].width(),
    encode,
    beside,
};

/// A linear fit of pixels to latents of SD 1, from the thread "Decoding latents to RGB without upscaling" (keturn, 2022),
/// moved from -1..1 to 0..1.
fn colours() -> LatentColours {
    let factors = [[0.298, 0.207, 0.208], [0.187, 0.286, 0.173], [-0.158, 0.189, 0.264], [-0.184, -0.271, -0.473]];
    LatentColours { factors: factors.map(|row: [f32; 3]| row.map(|factor| factor / 2.0)).to_vec(), bias: [0.5; 3] }
}

fn encode(encoders: &mut TextEncoders, texts: &[String], counts: &[usize], reading: Reading) -> Result<Vec<Embedding>> {
    let states = encoders.clip[0].encode(texts, counts, reading, Taken::Final)?.into_iter();
    Ok(states.map(|text| Embedding { tensors: vec![(STATES, text.states)] }).collect())
}

/// Guidance for networks that were taught it.
pub(super) fn beside(asked: &Asked<'_>) -> Vec<(&'static str, Tensor)> {
    if !asked.has(TAUGHT_GUIDANCE) {
        return Vec::new();
    }
    let width = asked.width(TAUGHT_GUIDANCE).unwrap_or(256);
    vec![(TAUGHT_GUIDANCE, guidance_embedding(asked.request.guidance.unwrap_or(FAMILY.usual.guidance), width))]
}

/// `get_guidance_scale_embedding` of diffusers: sines and cosines of a thousand times the scale above 1.
fn guidance_embedding(scale: f64, width: usize) -> Tensor {
    let half = width / 2;
    let rate = (10_000_f64.ln() / (half.max(2) - 1) as f64) as f32;
    let angles: Vec<f32> = (0..half).map(|k| (scale - 1.0) as f32 * 1000.0 * (k as f32 * -rate).exp()).collect();
    let mut values: Vec<f32> = angles.iter().map(|angle| angle.sin()).collect();
    values.extend(angles.iter().map(|angle| angle.cos()));
    values.resize(width, 0.0);
    Tensor::floats([1, width], values)
}

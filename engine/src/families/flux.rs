//! FLUX.1 (Black Forest Labs 2024): a CLIP text encoder for the text as a whole, T5 for its tokens, a transformer that takes
//! two by two latents as a token.
use super::{
    Asked, EncoderKind, Family, Usual, has,
    sd3::{OUTPUTS, POOLED},
};
use crate::{
    Error, Result,
    conditioning::Embedding,
    network::{Form, STATES},
    preview::LatentColours,
    prompt::{Reading, T5Encoder, TextEncoders},
    runtime::Tensor,
};

/// The input of networks that were taught guidance: FLUX.1 dev.
pub(super) const GUIDANCE: &str = "guidance";
/// Tokens of T5 at least: `max_sequence_length` of diffusers.
const T5_TOKENS: usize = 512;
/// The same for FLUX.1 schnell, which was not taught guidance: `max_length` of Black Forest Labs' own code.
const T5_TOKENS_SCHNELL: usize = 256;

const FORM: Form = Form {
    latents: &["hidden_states"],
    output: OUTPUTS,
    packed: true,
    timestep_each: true,
    time_scale: 1e-3,
    required: &[STATES, POOLED, "img_ids", "txt_ids"],
    optional: &[GUIDANCE],
    widths: &[],
};

pub(super) const FAMILY: Family = Family {
    name: "flux",
    title: "FLUX.1",
    model: |_| "FLUX.1",
    is: |inputs| has(inputs, "hidden_states") && has(inputs, "img_ids"),
    form: &FORM,
    encoders: &[EncoderKind::Clip, EncoderKind::T5],
    needed: 2,
    // `vae/config.json` of the published models
    latents: (0.3611, 0.1159),
    patch: 2,
    usual: Usual { cfg_scale: 1.0, guidance: 3.5, strength: (0.6, 0.6), side: 128, even_levels: true },
    colours: || LatentColours { factors: Vec::new(), bias: [0.5; 3] },
    skips_layers: false,
    fills_texts: false,
    empty_is_zero: false,
    t5_tokens: |inputs| if has(inputs, GUIDANCE) { T5_TOKENS } else { T5_TOKENS_SCHNELL },
    width: |encoders| encoders.t5.as_ref().and_then(T5Encoder::width),
    encode,
    beside,
};

fn encode(encoders: &mut TextEncoders, texts: &[String], counts: &[usize], reading: Reading) -> Result<Vec<Embedding>> {
    let Some(t5) = &mut encoders.t5 else {
        return Err(Error::model("the model has no T5 text encoder", "export the model with both text encoders"));
    };
    let states = t5.encode(texts, counts, reading, encoders.t5_tokens)?;
    let clip = &mut encoders.clip[0];
    let texts = texts.iter().zip(states).map(|(text, states)| {
        let pooled = clip.pooled(text, reading.emphasis)?;
        Ok(Embedding { tensors: vec![(STATES, states), (POOLED, pooled)] })
    });
    texts.collect()
}

fn beside(asked: &Asked<'_>) -> Vec<(&'static str, Tensor)> {
    let guidance = asked.request.guidance.unwrap_or(FAMILY.usual.guidance) as f32;
    if asked.has(GUIDANCE) { vec![(GUIDANCE, Tensor::floats([1], vec![guidance]))] } else { Vec::new() }
}

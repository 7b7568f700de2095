//! Stable Diffusion 3 and 3.5 (Esser et al. 2024): two CLIP text encoders, T5 where it is there, a transformer, latents of
//! sixteen channels.
use super::{EncoderKind, Family, Usual, has, sdxl::side_by_side};
use crate::{
    Error, Result,
    conditioning::Embedding,
    network::{Form, STATES},
    preview::LatentColours,
    prompt::{Reading, T5Encoder, Taken, TextEncoders},
    runtime::Tensor,
};

/// What stands for the text as a whole.
pub(super) const POOLED: &str = "pooled_projections";
/// Tokens of T5 at least, zeros where it is missing: `max_sequence_length` of diffusers.
const T5_TOKENS: usize = 256;

/// The outputs of transformers, whoever exported them.
pub(super) const OUTPUTS: &[&str] = &["out_hidden_states", "out_sample", "latent", "sample"];

const FORM: Form = Form {
    latents: &["hidden_states"],
    output: OUTPUTS,
    packed: false,
    timestep_each: true,
    time_scale: 1.0,
    required: &[STATES, POOLED],
    optional: &[],
    widths: &[],
};

pub(super) const FAMILY: Family = Family {
    name: "sd3",
    title: "Stable Diffusion 3",
    model: |_| "SD 3",
    is: |inputs| has(inputs, "hidden_states") && has(inputs, POOLED),
    form: &FORM,
    encoders: &[EncoderKind::Clip, EncoderKind::Clip, EncoderKind::T5],
    needed: 2,
    // `vae/config.json` of the published model
    latents: (1.5305, 0.0609),
    patch: 2,
    usual: Usual { cfg_scale: 7.0, guidance: 1.0, strength: (0.6, 0.6), side: 128, even_levels: false },
    colours: || LatentColours { factors: Vec::new(), bias: [0.5; 3] },
    skips_layers: true,
    fills_texts: false,
    empty_is_zero: false,
    t5_tokens: |_| T5_TOKENS,
    width: |encoders| encoders.t5.as_ref().and_then(T5Encoder::width),
    encode,
    beside: |_| Vec::new(),
};

/// The states of both CLIPs side by side, in the width of T5's, and those of T5 after them.
fn encode(encoders: &mut TextEncoders, texts: &[String], counts: &[usize], reading: Reading) -> Result<Vec<Embedding>> {
    let sides = encoders.clip.iter_mut().map(|encoder| encoder.encode(texts, counts, reading, Taken::Penultimate));
    let mut sides = sides.collect::<Result<Vec<_>>>()?.into_iter();
    let (Some(first), Some(second)) = (sides.next(), sides.next()) else { return Err(encoders.clip[0].lacks_pooled()) };
    let t5 = if let Some(t5) = &mut encoders.t5 {
        t5.encode(texts, counts, reading, T5_TOKENS)?
    } else {
        let width = encoders.taken.ok_or_else(no_width)?;
        vec![Tensor::floats([1, T5_TOKENS, width], vec![0.0; T5_TOKENS * width]); texts.len()]
    };
    let pooled_of = |pooled: Option<Tensor>, place: usize| pooled.ok_or_else(|| encoders.clip[place].lacks_pooled());
    let texts = first.into_iter().zip(second).zip(t5).map(|((first, second), t5)| {
        let pooled = side_by_side(vec![pooled_of(first.pooled, 0)?, pooled_of(second.pooled, 1)?])?;
        let states = one_after_other(side_by_side(vec![first.states, second.states])?, t5)?;
        Ok(Embedding { tensors: vec![(STATES, states), (POOLED, pooled)] })
    });
    texts.collect()
}

/// The tokens of `narrow`, with zeros to the width of `wide`, and those of `wide` after them.
fn one_after_other(narrow: Tensor, wide: Tensor) -> Result<Tensor> {
    let ([_, first, from], [_, second, width]) = (&narrow.shape[..], &wide.shape[..]) else { return Err(no_width()) };
    let (first, from, second, width) = (*first, *from, *second, *width);
    if from > width {
        return Err(Error::model(
            format!("the CLIP text encoders give states {from} wide, more than the {width} of T5"),
            "use text encoders of one model",
        ));
    }
    let mut values = Vec::with_capacity((first + second) * width);
    for token in narrow.into_floats().chunks(from.max(1)) {
        values.extend_from_slice(token);
        values.resize(values.len() + width - from, 0.0);
    }
    values.extend(wide.into_floats());
    Ok(Tensor::floats([1, first + second, width], values))
}

fn no_width() -> Error {
    Error::model(
        "the model has no T5, and its network does not say how wide the states of texts are",
        "add the third text encoder, or `joint_attention_dim` to the network's `config.json`",
    )
}

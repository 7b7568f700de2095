//! Stable Diffusion XL (Podell et al. 2023), its refiner and what was distilled from them: two CLIP text encoders, or the
//! second alone, and a UNet that knows the size and the crop of the picture.
use super::{Asked, EncoderKind, Family, Usual, has, sd, takes_score};
use crate::{
    Error, Result,
    conditioning::Embedding,
    network::{Form, STATES},
    preview::LatentColours,
    prompt::{Encoded, Reading, Taken, TextEncoder, TextEncoders},
    runtime::{Tensor, Values},
};

/// What stands for the text as a whole.
const POOLED: &str = "text_embeds";
/// Sizes and crop, or sizes, crop and score.
pub(super) const SIZES: &str = "time_ids";
/// How many numbers [`SIZES`] has for the refiner, which takes a score in place of the target size.
pub(super) const REFINER: usize = 5;
/// How well pictures were rated that the refiner is to draw, and not to draw: the defaults of diffusers.
const SCORES: (f64, f64) = (6.0, 2.5);

/// How many numbers it has otherwise.
const BASE: usize = 6;

const FORM: Form = Form { required: &[STATES, POOLED, SIZES], widths: &[(SIZES, &[REFINER, BASE])], ..sd::UNET };

pub(super) const FAMILY: Family = Family {
    name: "sdxl",
    title: "Stable Diffusion XL",
    model: |inputs| if takes_score(inputs) { "SDXL's refiner" } else { "SDXL" },
    is: |inputs| has(inputs, "sample") && (has(inputs, SIZES) || has(inputs, POOLED)),
    form: &FORM,
    encoders: &[EncoderKind::Clip, EncoderKind::Clip],
    needed: 1, // the refiner has the second alone
    // `vae/config.json` of the published model
    latents: (0.13025, 0.0),
    patch: 1,
    usual: Usual { cfg_scale: 5.0, guidance: 8.5, strength: (0.3, 0.9999), side: 128, even_levels: false },
    colours,
    skips_layers: true,
    fills_texts: true,
    empty_is_zero: true,
    t5_tokens: |_| 0,
    width: |encoders| encoders.clip.iter().map(TextEncoder::width).sum(),
    encode,
    beside,
};

/// A linear fit of pixels to latents of SDXL, from "Explaining the SDXL latent space" (Timothy Alexis Vass, 2023), moved
/// from 0..255 to 0..1.
fn colours() -> LatentColours {
    let factors: [[f32; 3]; 4] = [[60.0, 60.0, 60.0], [-60.0, -5.0, 10.0], [25.0, 15.0, -5.0], [-70.0, -50.0, -35.0]];
    let bias = [150.0_f32, 140.0, 130.0].map(|value| value / 255.0);
    LatentColours { factors: factors.map(|row| row.map(|factor| factor / 255.0)).to_vec(), bias }
}

fn encode(encoders: &mut TextEncoders, texts: &[String], counts: &[usize], reading: Reading) -> Result<Vec<Embedding>> {
    let sides = encoders.clip.iter_mut().map(|encoder| encoder.encode(texts, counts, reading, Taken::Penultimate));
    let sides = sides.collect::<Result<Vec<_>>>()?;
    let lacking = || encoders.clip[encoders.clip.len() - 1].lacks_pooled();
    (0..texts.len())
        .map(|text| {
            let of_text: Vec<Encoded> = sides.iter().map(|side| side[text].clone()).collect();
            let pooled = of_text.last().and_then(|last| last.pooled.clone()).ok_or_else(lacking)?;
            let states = side_by_side(of_text.into_iter().map(|each| each.states).collect())?;
            Ok(Embedding { tensors: vec![(STATES, states), (POOLED, pooled)] })
        })
        .collect()
}

/// Tensors of one number of rows, joined along their last axis.
pub(super) fn side_by_side(parts: Vec<Tensor>) -> Result<Tensor> {
    let rows = |tensor: &Tensor| tensor.shape[..tensor.shape.len() - 1].to_vec();
    let Some(first) = parts.first() else { return Ok(Tensor::floats([1, 0, 0], Vec::new())) };
    let mut shape = rows(first);
    if parts.iter().any(|part| rows(part) != shape) {
        let shapes: Vec<_> = parts.iter().map(Tensor::shape_text).collect();
        return Err(Error::model(
            format!("the text encoders give a text states of different lengths: {}", shapes.join(", ")),
            "use text encoders that take as many tokens each, with their own tokenizers",
        ));
    }
    let count: usize = shape.iter().product();
    let widths: Vec<usize> = parts.iter().map(|part| part.shape[part.shape.len() - 1]).collect();
    let parts: Vec<Vec<f32>> = parts.into_iter().map(Tensor::into_floats).collect();
    let row_of =
        |row: usize| parts.iter().zip(&widths).flat_map(move |(part, width)| &part[row * width..(row + 1) * width]);
    let values = (0..count).flat_map(row_of).copied().collect();
    shape.push(widths.iter().sum());
    Ok(Tensor { shape, values: Values::Float(values) })
}

/// Sizes as pairs of height and width, the crop as top and left: `_get_add_time_ids` of diffusers.
fn beside(asked: &Asked<'_>) -> Vec<(&'static str, Tensor)> {
    let request = asked.request;
    let size = [request.width.unwrap_or_default(), request.height.unwrap_or_default()];
    let turned = |[first, second]: [u32; 2]| [f64::from(second), f64::from(first)];
    let mut numbers =
        [turned(request.original_size.unwrap_or(size)), turned(request.crop.unwrap_or_default())].concat();
    if asked.width(SIZES) == Some(REFINER) {
        let (positive, negative) = (request.aesthetic_score, request.negative_aesthetic_score);
        numbers.push(if asked.negative { negative.unwrap_or(SCORES.1) } else { positive.unwrap_or(SCORES.0) });
    } else {
        numbers.extend(turned(request.target_size.unwrap_or(size)));
    }
    let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
    let mut tensors = sd::beside(asked);
    tensors.push((SIZES, Tensor::floats([1, numbers.len()], numbers)));
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn states_lie_side_by_side() {
        let joined = side_by_side(vec![
            Tensor::floats([1, 2, 1], vec![1.0, 2.0]),
            Tensor::floats([1, 2, 2], vec![3.0, 4.0, 5.0, 6.0]),
        ]);
        assert_eq!(joined.unwrap(), Tensor::floats([1, 2, 3], vec![1.0, 3.0, 4.0, 2.0, 5.0, 6.0]));
        let uneven = side_by_side(vec![Tensor::floats([1, 2, 1], vec![0.0; 2]), Tensor::floats([1, 1, 1], vec![0.0])]);
        assert!(uneven.unwrap_err().to_string().contains("[1, 2, 1], [1, 1, 1]"));
    }

    #[test]
    fn sizes_are_height_before_width() {
        let request = Request { width: Some(640), height: Some(480), crop: Some([3, 5]), ..Request::default() };
        let tensors = beside(&Asked { request: &request, negative: false, inputs: &[] });
        assert_eq!(tensors, [(SIZES, Tensor::floats([1, 6], vec![480.0, 640.0, 5.0, 3.0, 480.0, 640.0]))]);
    }
}

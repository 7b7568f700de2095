//! What a network is given beside latents and timestep, at each step of a run.
use crate::{
    Error, Result,
    runtime::{Tensor, Values},
};
use std::sync::Arc;

/// What one text became: named tensors, each for one picture (its first axis is 1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embedding {
    pub(crate) tensors: Vec<(&'static str, Tensor)>,
}

/// One side of guidance along a run: which of the run's texts each step looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Side {
    /// How much the side counts among several.
    pub(crate) weight: f64,
    /// The text of each step.
    pub(crate) texts: Vec<usize>,
}

impl Side {
    fn text_at(&self, step: usize) -> usize {
        self.texts[step.min(self.texts.len() - 1)]
    }
}

/// The prompts of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conditioning {
    /// What each text of the run became.
    pub(crate) texts: Vec<Arc<Embedding>>,
    /// What no words became: it makes texts of different length equally long. There is one where they are not, for
    /// families whose texts are filled up.
    pub(crate) filler: Option<Arc<Embedding>>,
    /// The negative side; there is none where it never has a say.
    pub(crate) negative: Option<Side>,
    /// The positive sides, one or more.
    pub(crate) positives: Vec<Side>,
}

impl Embedding {
    /// Whether both have tensors of the same shapes.
    pub(crate) fn is_as_long_as(&self, other: &Self) -> bool {
        let shapes = |embedding: &Self| embedding.tensors.iter().map(|(_, tensor)| tensor.shape.clone()).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = (shapes(self), shapes(other));
        ours == theirs
    }
}

impl Conditioning {
    /// The texts that a step looks at: the negative one first where it is `wanted`, then the positive ones.
    pub(crate) fn rows(&self, step: usize, negative_wanted: bool) -> Vec<usize> {
        let negative = self.negative.iter().filter(|_| negative_wanted);
        negative.chain(&self.positives).map(|side| side.text_at(step)).collect()
    }

    /// Whether the positive sides are one side of weight 1, so that without guidance the negative one cancels out.
    pub(crate) fn is_simple(&self) -> bool {
        matches!(&self.positives[..], [side] if (side.weight - 1.0).abs() < f64::EPSILON)
    }

    /// Whether two texts can be stacked.
    pub(crate) fn fit_together(&self, one: usize, other: usize) -> bool {
        self.filler.is_some() || self.texts[one].is_as_long_as(&self.texts[other])
    }

    /// The tensors for the network, the texts `rows` along their first axis, the shorter ones filled up.
    pub(crate) fn stack(&self, rows: &[usize]) -> Result<Vec<(&'static str, Tensor)>> {
        let Some(first) = rows.first().and_then(|row| self.texts.get(*row)) else { return Ok(Vec::new()) };
        let names = first.tensors.iter().map(|(name, _)| *name);
        names.enumerate().map(|(i, name)| Ok((name, self.stack_one(i, rows)?))).collect()
    }

    fn stack_one(&self, tensor: usize, rows: &[usize]) -> Result<Tensor> {
        let parts: Vec<&Tensor> = rows.iter().map(|row| &self.texts[*row].tensors[tensor].1).collect();
        let filler = self.filler.as_ref().map(|filler| &filler.tensors[tensor].1);
        let mut shape = parts.iter().map(|part| &part.shape).max().cloned().unwrap_or_default();
        let mut values = Vec::new();
        for part in parts {
            let part = fill(part, filler, &shape)?;
            values.extend(part);
        }
        shape[0] = rows.len();
        Ok(Tensor::floats(shape, values))
    }
}

/// The numbers of `part`, followed by those of `filler` until they have `shape`.
fn fill(part: &Tensor, filler: Option<&Tensor>, shape: &[usize]) -> Result<Vec<f32>> {
    let Values::Float(own) = &part.values else { return Err(odd(part)) };
    let wanted: usize = shape.iter().product();
    match wanted.checked_sub(own.len()) {
        Some(0) => Ok(own.clone()),
        Some(missing) => match filler.map(|filler| &filler.values) {
            Some(Values::Float(more)) if !more.is_empty() && missing.is_multiple_of(more.len()) => {
                Ok(own.iter().chain(more.iter().cycle().take(missing)).copied().collect())
            }
            _ => Err(odd(part)),
        },
        None => Err(odd(part)),
    }
}

fn odd(part: &Tensor) -> Error {
    Error::model(
        format!("the text encoder gives texts shapes that cannot be joined, such as {}", part.shape_text()),
        "use an export whose text encoder gives one embedding a token",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(chunks: usize, value: f32) -> Arc<Embedding> {
        let states = Tensor::floats([1, 2 * chunks, 1], vec![value; 2 * chunks]);
        Arc::new(Embedding { tensors: vec![("states", states), ("pooled", Tensor::floats([1, 1], vec![value]))] })
    }

    #[test]
    fn the_shorter_text_is_filled_with_no_words() {
        let side = |weight, texts: &[usize]| Side { weight, texts: texts.to_vec() };
        let conditioning = Conditioning {
            texts: vec![embedding(1, 1.0), embedding(3, 2.0), embedding(1, 3.0)],
            filler: Some(embedding(1, 0.0)),
            negative: Some(side(1.0, &[0])),
            positives: vec![side(1.0, &[1, 2])],
        };
        assert!(conditioning.is_simple());
        assert_eq!((conditioning.rows(0, true), conditioning.rows(9, false)), (vec![0, 1], vec![2]));
        let stacked = conditioning.stack(&[0, 1]).unwrap();
        let long = Tensor::floats([2, 6, 1], [[1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [2.0; 6]].concat());
        assert_eq!(stacked, [("states", long), ("pooled", Tensor::floats([2, 1], vec![1.0, 2.0]))]);
        let short = conditioning.stack(&[0, 2]).unwrap();
        assert_eq!(short[0].1.shape, [2, 2, 1]);
    }
}

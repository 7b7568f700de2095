//! Numbers on their way into or out of a graph.

/// Numbers with a shape. The graph's own input decides in which type they travel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// The length of each axis; empty for a scalar.
    pub(crate) shape: Vec<usize>,
    /// The numbers, last axis fastest.
    pub(crate) values: Values,
}

/// What a tensor holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    /// Real numbers.
    Float(Vec<f32>),
    /// Whole numbers: token ids, sizes.
    Int(Vec<i64>),
}

impl Tensor {
    /// Real numbers of the given shape.
    pub(crate) fn floats(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self { shape: shape.into(), values: Values::Float(values) }
    }

    /// Whole numbers of the given shape.
    pub(crate) fn ints(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Self {
        Self { shape: shape.into(), values: Values::Int(values) }
    }

    /// Makes every number 0.
    pub(crate) fn clear(&mut self) {
        match &mut self.values {
            Values::Float(values) => values.fill(0.0),
            Values::Int(values) => values.fill(0),
        }
    }

    /// The numbers as `f32`.
    pub(crate) fn into_floats(self) -> Vec<f32> {
        match self.values {
            Values::Float(values) => values,
            Values::Int(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// The numbers as `i64`, rounded to the nearest.
    pub(crate) fn into_ints(self) -> Vec<i64> {
        match self.values {
            Values::Float(values) => values.into_iter().map(|value| value.round() as i64).collect(),
            Values::Int(values) => values,
        }
    }

    /// The shape as messages print it: `[2, 4, 64, 64]`.
    pub(crate) fn shape_text(&self) -> String {
        format!("{:?}", self.shape)
    }
}

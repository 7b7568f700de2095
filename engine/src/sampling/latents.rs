//! Latents: the small pictures that a network denoises.
use crate::{Error, Result};
use ndarray::Array4;

/// A batch of latent images, `[batch, channels, height, width]`, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents(Array4<f32>);

impl Latents {
    /// Latents of `shape` with `values` in row-major order; their number must be the product of `shape`.
    pub fn new(shape: [usize; 4], values: Vec<f32>) -> Result<Self> {
        let (wanted, got) = (shape.iter().product::<usize>(), values.len());
        let array = Array4::from_shape_vec(shape, values).map_err(|_| {
            Error::request(
                format!("{got} values do not make latents of shape {shape:?}"),
                format!("give {wanted} values: batch × channels × height × width"),
            )
        })?;
        Ok(Self::from_array(array))
    }

    /// Latents with the values of `array`.
    pub(crate) fn from_array(array: Array4<f32>) -> Self {
        Self(if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() })
    }

    /// The values as an array, always in row-major order.
    pub(crate) fn array(&self) -> &Array4<f32> {
        &self.0
    }

    /// Latents of `shape` that are 0 everywhere.
    #[must_use]
    pub fn zeros(shape: [usize; 4]) -> Self {
        Self(Array4::zeros(shape))
    }

    /// `[batch, channels, height, width]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.0.dim().into()
    }

    /// All values, in row-major order.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the order is row-major by construction")]
    pub fn values(&self) -> &[f32] {
        self.array().as_slice().expect("latents are in row-major order")
    }

    /// All values, in row-major order.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.0.into_raw_vec_and_offset().0
    }

    /// Every value times `factor`.
    #[must_use]
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        combine(&[(factor, self)])
    }

    /// Whether no value is infinite or NaN.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.values().iter().all(|value| value.is_finite())
    }

    /// All values, in row-major order, to be changed.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.0.as_slice_mut().expect("latents are in row-major order")
    }
}

/// The weighted sum of `terms`, in one pass; the terms must agree in shape, and there must be one at least.
#[must_use]
pub(crate) fn combine(terms: &[(f64, &Latents)]) -> Latents {
    const BLOCK: usize = 2048; // stays in the first-level cache while every term is added
    debug_assert!(terms.iter().all(|(_, x)| x.shape() == terms[0].1.shape()), "the terms must agree in shape");
    let mut sum = Latents::zeros(terms[0].1.shape());
    for (i, block) in sum.values_mut().chunks_mut(BLOCK).enumerate() {
        for &(weight, x) in terms {
            let weight = weight as f32;
            block.iter_mut().zip(&x.values()[i * BLOCK..]).for_each(|(sum, x)| *sum += weight * x);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_values_must_fit_the_shape() {
        let error = Latents::new([1, 4, 2, 2], vec![0.0; 15]).unwrap_err();
        assert_eq!(error.to_string(), "15 values do not make latents of shape [1, 4, 2, 2]");
        assert_eq!(error.hint().as_deref(), Some("give 16 values: batch × channels × height × width"));
    }

    #[test]
    fn values_and_shape_come_back() {
        let values: Vec<f32> = (0_u8..24).map(f32::from).collect();
        let latents = Latents::new([2, 3, 2, 2], values.clone()).unwrap();
        assert_eq!((latents.shape(), latents.values()), ([2, 3, 2, 2], &*values));
        assert_eq!(latents.into_values(), values);
    }

    #[test]
    fn a_transposed_array_is_put_in_order() {
        let array = Array4::from_shape_vec((1, 1, 2, 2), vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(Latents::from_array(array.permuted_axes([0, 1, 3, 2])).values(), [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn infinite_values_are_found() {
        assert!(Latents::zeros([1, 1, 1, 2]).is_finite());
        assert!(!Latents::new([1, 1, 1, 2], vec![0.0, f32::NAN]).unwrap().is_finite());
        assert!(!Latents::new([1, 1, 1, 2], vec![f32::INFINITY, 0.0]).unwrap().is_finite());
    }

    #[test]
    fn combine_adds_across_blocks() {
        let ramp = Latents::new([1, 1, 50, 100], (0_u16..5000).map(f32::from).collect()).unwrap();
        let sum = combine(&[(2.0, &ramp), (-1.0, &ramp)]);
        assert_eq!(sum, ramp);
    }
}

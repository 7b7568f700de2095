//! How the negative and the positive output become one.

/// Classifier-free guidance (Ho & Salimans 2022): `negative + scale * (positive - negative)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Guidance {
    scale: f64,
}

impl Guidance {
    pub(crate) fn new(scale: f64) -> Self {
        Self { scale }
    }

    /// Whether the negative side has a say; at scale 1 it cancels out.
    pub(crate) fn is_on(self) -> bool {
        (self.scale - 1.0).abs() > f64::EPSILON
    }

    /// The two halves of a batch, negative first, as one.
    pub(crate) fn combine(self, negative: &[f32], positive: &[f32]) -> Vec<f32> {
        let scale = self.scale as f32;
        negative.iter().zip(positive).map(|(no, yes)| no + scale * (yes - no)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_past_the_positive_side() {
        assert_eq!(Guidance::new(3.0).combine(&[1.0, 0.0], &[2.0, 0.0]), [4.0, 0.0]);
        assert_eq!(Guidance::new(0.0).combine(&[1.0], &[2.0]), [1.0]);
        assert!(!Guidance::new(1.0).is_on() && Guidance::new(0.0).is_on());
    }
}

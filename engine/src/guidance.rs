//! How the negative and the positive outputs become one.

/// Classifier-free guidance (Ho & Salimans 2022) along a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guidance {
    /// The scales from the first step to the last, spread evenly; at least one.
    pub(crate) scales: Vec<f64>,
    /// How far the contrast is brought back to that of the positive side: 0 not, 1 all the way.
    pub(crate) rescale: f64,
    /// The parts of the run between which guidance is on, 0 to 1.
    pub(crate) interval: (f64, f64),
    /// The scale of the picture that a network edits; 1, no guidance by it, for all other networks.
    pub(crate) picture: f64,
}

/// What a network gave for the sides of guidance, each of the same length.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    /// For the negative prompt without the picture that is edited, where that was asked.
    pub(crate) pictureless: Option<&'a [f32]>,
    /// For the negative prompt.
    pub(crate) negative: &'a [f32],
    /// For the positive prompts, with their weights.
    pub(crate) positives: Vec<(f64, &'a [f32])>,
}

impl Guidance {
    /// The scale at `step` (from 0) of `steps`; 1, no guidance, outside the interval.
    pub(crate) fn scale_at(&self, step: usize, steps: usize) -> f64 {
        let part = step as f64 / steps.max(1) as f64;
        if part < self.interval.0 || part >= self.interval.1 {
            return 1.0;
        }
        let last = self.scales.len() - 1;
        let place = (step as f64 / (steps.max(2) - 1) as f64).min(1.0) * last as f64;
        let (low, weight) = (place as usize, place.fract());
        let next = self.scales[(low + 1).min(last)];
        self.scales[low] + (next - self.scales[low]) * weight
    }

    /// Whether the negative side has a say anywhere in a run of `steps` steps.
    pub(crate) fn is_ever_on(&self, steps: usize) -> bool {
        (0..steps).any(|step| is_on(self.scale_at(step, steps)))
    }

    /// Whether the side without the picture has a say at `scale`: where guidance is off, it is so by both.
    pub(crate) fn is_by_picture(&self, scale: f64) -> bool {
        is_on(scale) && is_on(self.picture)
    }

    /// `negative + scale · Σ weight · (positive − negative)`, brought back to the contrast of the positive sides.
    ///
    /// With one positive side of weight 1 this is `negative + scale · (positive − negative)`; several are those of
    /// "Composable Diffusion" (Liu et al. 2022). With a side that has no picture it becomes `pictureless + picture ·
    /// (negative − pictureless) + scale · Σ weight · (positive − negative)`, equation 3 of `InstructPix2Pix` (Brooks et
    /// al. 2023). Each slice holds `pictures` pictures.
    pub(crate) fn combine(&self, scale: f64, sides: &Sides<'_>, pictures: usize) -> Vec<f32> {
        let Sides { pictureless, negative, positives } = sides;
        let mut guided = mix(scale, negative, positives);
        if let Some(pictureless) = pictureless.filter(|_| self.is_by_picture(scale)) {
            let factor = (self.picture - 1.0) as f32; // `mix` begins with the whole of the negative side
            for ((guided, with), without) in guided.iter_mut().zip(*negative).zip(pictureless) {
                *guided += factor * (with - without);
            }
        }
        if self.rescale > 0.0 {
            let plain = mix(1.0, negative, positives);
            let length = plain.len() / pictures.max(1);
            for (guided, plain) in guided.chunks_mut(length.max(1)).zip(plain.chunks(length.max(1))) {
                // "Common Diffusion Noise Schedules and Sample Steps are Flawed" (Lin et al. 2023), section 3.4
                let factor = self.rescale * (deviation(plain) / deviation(guided)) + (1.0 - self.rescale);
                for value in guided {
                    *value *= factor as f32;
                }
            }
        }
        guided
    }
}

/// Whether the negative side has a say at `scale`; at 1 it cancels out.
pub(crate) fn is_on(scale: f64) -> bool {
    (scale - 1.0).abs() > f64::EPSILON
}

fn mix(scale: f64, negative: &[f32], positives: &[(f64, &[f32])]) -> Vec<f32> {
    let mut sum = negative.to_vec();
    for (weight, positive) in positives {
        let factor = (scale * weight) as f32;
        for ((sum, no), yes) in sum.iter_mut().zip(negative).zip(*positive) {
            *sum += factor * (yes - no);
        }
    }
    sum
}

/// The standard deviation, with the divisor `n − 1` of `torch.std`.
fn deviation(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
    let squares = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
    (squares / (n - 1.0).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guidance(scales: &[f64]) -> Guidance {
        Guidance { scales: scales.to_vec(), rescale: 0.0, interval: (0.0, 1.0), picture: 1.0 }
    }

    fn sides<'a>(negative: &'a [f32], positives: &[(f64, &'a [f32])]) -> Sides<'a> {
        Sides { pictureless: None, negative, positives: positives.to_vec() }
    }

    #[test]
    fn goes_past_the_positive_side() {
        let plain = guidance(&[3.0]);
        assert_eq!(plain.combine(3.0, &sides(&[1.0, 0.0], &[(1.0, &[2.0, 0.0])]), 1), [4.0, 0.0]);
        assert_eq!(plain.combine(0.0, &sides(&[1.0], &[(1.0, &[2.0])]), 1), [1.0]);
        assert_eq!(plain.combine(2.0, &sides(&[1.0], &[(1.0, &[2.0]), (-0.5, &[0.0])]), 1), [4.0]);
    }

    /// `noise_pred` of diffusers' `StableDiffusionInstructPix2PixPipeline`, and its sum over two prompts.
    #[test]
    fn a_picture_guides_beside_the_prompts() {
        let guidance = Guidance { picture: 1.5, ..guidance(&[3.0]) };
        let (text, other, image, none) = ([7.0], [-2.0], 4.0, 1.0);
        let sides =
            Sides { pictureless: Some(&[none]), negative: &[image], positives: vec![(1.0, &text), (0.5, &other)] };
        let wanted = none + 3.0 * ((text[0] - image) + 0.5 * (other[0] - image)) + 1.5 * (image - none);
        assert_eq!(guidance.combine(3.0, &sides, 1), [wanted]);
        let off = (text[0] - image) + 0.5 * (other[0] - image) + image;
        assert_eq!(guidance.combine(1.0, &sides, 1), [off]);
        assert!(guidance.is_by_picture(3.0) && !guidance.is_by_picture(1.0));
    }

    #[test]
    fn follows_its_scales_and_keeps_to_its_interval() {
        let scales = guidance(&[9.0, 5.0, 3.0]);
        let along: Vec<_> = (0..5).map(|step| scales.scale_at(step, 5)).collect();
        assert_eq!(along, [9.0, 7.0, 5.0, 4.0, 3.0]);
        assert!((guidance(&[2.0]).scale_at(0, 1) - 2.0).abs() < 1e-12);
        let part = Guidance { interval: (0.25, 0.75), ..guidance(&[4.0]) };
        assert_eq!((0..4).map(|step| is_on(part.scale_at(step, 4))).collect::<Vec<_>>(), [false, true, true, false]);
        assert!(part.is_ever_on(4) && !guidance(&[1.0]).is_ever_on(4));
    }

    /// `rescale_noise_cfg` of diffusers: all the way, the contrast is that of the positive side; per picture.
    #[test]
    fn rescaling_brings_the_contrast_back() {
        let full = Guidance { rescale: 1.0, ..guidance(&[5.0]) };
        let (negative, positive) = ([0.5, -0.5, 0.25, 0.0, 0.1, 0.3], [1.0, -1.0, 2.0, 3.0, -4.0, 0.0]);
        let sides = sides(&negative, &[(1.0, &positive)]);
        let guided = full.combine(5.0, &sides, 2);
        for (guided, positive) in guided.chunks(3).zip(positive.chunks(3)) {
            assert!((deviation(guided) - deviation(positive)).abs() < 1e-6);
        }
        let half = Guidance { rescale: 0.5, ..full }.combine(5.0, &sides, 2);
        let none = guidance(&[5.0]).combine(5.0, &sides, 2);
        for ((half, full), none) in half.iter().zip(&guided).zip(&none) {
            assert!((half - f32::midpoint(*full, *none)).abs() < 1e-5);
        }
    }
}

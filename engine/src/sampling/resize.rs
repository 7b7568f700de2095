//! What do latents become in another size?
//!
//! The formulas are those of `torch.nn.functional.interpolate` with a size and `align_corners` off, from which
//! stable-diffusion-webui has its latent upscalers.
use super::Latents;
use ndarray::{Array4, ArrayView1, Axis, s};
use std::ops::Range;

/// How latents between latents are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The one at or before the place, torch's `nearest`.
    Nearest,
    /// The nearest to the centre, torch's `nearest-exact`.
    NearestExact,
    /// In a straight line between two.
    Bilinear,
    /// Along a cubic curve through four (Keys 1981, a = -0.75).
    Bicubic,
    /// A triangle, widened where the latents become fewer.
    BilinearAntialiased,
    /// A cubic curve (a = -0.5), widened where the latents become fewer.
    BicubicAntialiased,
}

/// Which values, and how much of each, make one value.
struct Taps {
    places: Range<usize>,
    weights: Vec<f64>,
}

impl Latents {
    /// The latents in another height and width, each 1 or more.
    #[must_use]
    pub fn resized(&self, height: usize, width: usize, how: Interpolation) -> Self {
        debug_assert!(height > 0 && width > 0, "latents have a size");
        let [_, _, from_height, from_width] = self.shape();
        if (from_height, from_width) == (height, width) {
            return self.clone();
        }
        let wide = along(self.array(), Axis(3), &how.taps(from_width, width));
        Self::from_array(along(&wide, Axis(2), &how.taps(from_height, height)))
    }
}

impl Latents {
    /// The part of the latents in these rows and columns, which must lie within them.
    #[must_use]
    pub(crate) fn cropped(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        Self::from_array(self.array().slice(s![.., .., rows, columns]).to_owned())
    }
}

/// `array` with the values along `axis` replaced by those that `taps` make of them.
fn along(array: &Array4<f32>, axis: Axis, taps: &[Taps]) -> Array4<f32> {
    let mut shape = array.raw_dim();
    shape[axis.index()] = taps.len();
    let mut resized = Array4::zeros(shape);
    for (mut to, from) in resized.lanes_mut(axis).into_iter().zip(array.lanes(axis)) {
        to.iter_mut().zip(taps).for_each(|(value, taps)| *value = taps.value(&from));
    }
    resized
}

impl Taps {
    fn one(place: usize) -> Self {
        Self { places: place..place + 1, weights: vec![1.0] }
    }

    /// `weights` of the places from `first` on, of `length`; those beyond the ends count for the ends.
    fn clamped(first: i64, weights: &[f64], length: usize) -> Self {
        let last = length as i64 - 1;
        let place = |tap: usize| (first + tap as i64).clamp(0, last) as usize;
        let places = place(0)..place(weights.len() - 1) + 1;
        let mut clamped = Self { weights: vec![0.0; places.len()], places };
        for (tap, weight) in weights.iter().enumerate() {
            clamped.weights[place(tap) - clamped.places.start] += weight;
        }
        clamped
    }

    /// What `kernel`, of `reach` places to both sides, makes of the places around `centre`; those beyond the ends do not
    /// count.
    fn around(centre: f64, reach: f64, length: usize, kernel: impl Fn(f64) -> f64) -> Self {
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(length);
        let weights: Vec<f64> = (first..end).map(|place| kernel(place as f64 + 0.5 - centre)).collect();
        let sum: f64 = weights.iter().sum();
        Self { places: first..end, weights: weights.into_iter().map(|weight| weight / sum).collect() }
    }

    fn value(&self, from: &ArrayView1<'_, f32>) -> f32 {
        let terms = self.places.clone().zip(&self.weights).map(|(place, weight)| weight * f64::from(from[place]));
        terms.sum::<f64>() as f32
    }
}

impl Interpolation {
    /// What makes each of `to` values out of `from`.
    fn taps(self, from: usize, to: usize) -> Vec<Taps> {
        let scale = from as f64 / to as f64;
        let widened = scale.max(1.0);
        let taps = |place: usize| {
            let centre = (place as f64 + 0.5) * scale;
            match self {
                Self::Nearest => Taps::one(nearest(place as f32, from, to)),
                Self::NearestExact => Taps::one(nearest(place as f32 + 0.5, from, to)),
                Self::Bilinear => {
                    let (first, part) = split((centre - 0.5).max(0.0));
                    Taps::clamped(first, &[1.0 - part, part], from)
                }
                Self::Bicubic => {
                    let (first, part) = split(centre - 0.5);
                    let weights = [-1.0, 0.0, 1.0, 2.0].map(|tap| cubic(tap - part, -0.75));
                    Taps::clamped(first - 1, &weights, from)
                }
                Self::BilinearAntialiased => {
                    Taps::around(centre, widened, from, |x| (1.0 - (x / widened).abs()).max(0.0))
                }
                Self::BicubicAntialiased => Taps::around(centre, 2.0 * widened, from, |x| cubic(x / widened, -0.5)),
            }
        };
        (0..to).map(taps).collect()
    }
}

/// The place at `at` of `to`, in 32 bits as in torch: which of two neighbours it is depends on it.
fn nearest(at: f32, from: usize, to: usize) -> usize {
    ((at * (from as f32 / to as f32)) as usize).min(from - 1)
}

/// The whole number at or below `at`, and how far it is above.
fn split(at: f64) -> (i64, f64) {
    (at.floor() as i64, at - at.floor())
}

/// The kernel of cubic convolution, with the slope `a` at 1 (Keys 1981, equation 4 and appendix).
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        ..=1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        ..2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{golden, numbers, results, whole, worst};
    use super::{Interpolation, Latents};
    use serde_json::Value;

    const ALL: [(&str, Interpolation); 6] = [
        ("nearest", Interpolation::Nearest),
        ("nearest-exact", Interpolation::NearestExact),
        ("bilinear", Interpolation::Bilinear),
        ("bicubic", Interpolation::Bicubic),
        ("bilinear antialiased", Interpolation::BilinearAntialiased),
        ("bicubic antialiased", Interpolation::BicubicAntialiased),
    ];

    fn of(case: &Value) -> Interpolation {
        ALL.iter().find(|(name, _)| case["mode"] == *name).unwrap().1
    }

    fn floats(value: &Value) -> Vec<f32> {
        numbers(value).into_iter().map(|number| number as f32).collect()
    }

    #[test]
    fn latents_become_what_torch_makes_of_them() {
        let file = golden("resize");
        let shape: Vec<usize> = file["shape"].as_array().unwrap().iter().map(whole).collect();
        let latents = Latents::new(shape.try_into().unwrap(), floats(&file["latents"])).unwrap();
        let mut seen = 0;
        for case in results("resize") {
            let [height, width] = [0, 1].map(|axis| whole(&case["size"][axis]));
            let resized = latents.resized(height, width, of(&case));
            assert_eq!(resized.shape()[2..], [height, width]);
            let got: Vec<f64> = resized.values().iter().copied().map(f64::from).collect();
            let error = worst(&got, &numbers(&case["values"]), |_| 1.0);
            println!("fidelity: resize {} {error:.1e}", case["mode"].as_str().unwrap().replace(' ', "-"));
            assert!(error < 1e-5, "{error:.1e}: {} {}", case["mode"], case["size"]);
            seen += 1;
        }
        assert_eq!(seen, 42);
    }

    #[test]
    fn the_nearest_place_is_that_of_torch() {
        for case in golden("resize")["places"].as_array().unwrap() {
            let from = whole(&case["from"]);
            let ramp = Latents::new([1, 1, 1, from], (0..from).map(|place| place as f32).collect()).unwrap();
            let wanted = floats(&case["taken"]);
            let taken = ramp.resized(1, wanted.len(), of(case));
            assert_eq!(taken.values(), wanted, "{} of {from}", case["mode"]);
        }
    }

    #[test]
    fn flat_latents_stay_flat() {
        let flat = Latents::new([1, 1, 3, 4], vec![0.7; 12]).unwrap();
        for (name, how) in ALL {
            for (height, width) in [(1, 1), (2, 9), (300, 7)] {
                let resized = flat.resized(height, width, how);
                assert!(resized.values().iter().all(|value| (value - 0.7).abs() < 1e-6), "{name} {height} {width}");
            }
        }
    }
}

//! How are large planes kept in little memory, and read in strips?
//!
//! Values are kept in 16 bits, as multiples of the largest of their channel and band over 32,767: half the memory of what
//! the graphs compute with, at an error of at most 1/65,534 of that largest value. (16-bit floats would overflow where
//! autoencoders of SDXL have values above 65,504.)
use crate::runtime::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Multiples of a step below 0 and above.
const MOST: f32 = i16::MAX as f32;

/// A plane `[1, channels, height, width]` that grows at its lower edge, and whose upper rows can be given up.
pub(super) struct Plane {
    pub(super) channels: usize,
    pub(super) width: usize,
    /// How many rows it has by now.
    pub(super) height: usize,
    bands: Vec<Band>,
    /// Sum and sum of squares of each channel.
    sums: Vec<[f64; 2]>,
}

/// Some rows of a plane.
struct Band {
    rows: Range<usize>,
    /// For each channel, the value of 1.
    steps: Vec<f32>,
    /// `[channels, rows, width]`
    values: Vec<i16>,
}

impl Plane {
    /// A plane without rows.
    pub(super) fn new(channels: usize, width: usize) -> Self {
        Self { channels, width, height: 0, bands: Vec::new(), sums: vec![[0.0; 2]; channels] }
    }

    /// A plane with the values of `tensor`, which is of shape `[1, channels, height, width]`.
    pub(super) fn of(tensor: Tensor) -> Option<Self> {
        let [1, channels, height, width] = tensor.shape[..] else { return None };
        let mut plane = Self::new(channels, width);
        plane.push(&tensor.into_floats(), height, 0..height);
        Some(plane)
    }

    /// Adds the rows `kept` of `values`, which are of shape `[channels, height, width]`.
    pub(super) fn push(&mut self, values: &[f32], height: usize, kept: Range<usize>) {
        let area = kept.len() * self.width;
        let mut band = Band {
            rows: self.height..self.height + kept.len(),
            steps: vec![0.0; self.channels],
            values: vec![0; self.channels * area],
        };
        self.height = band.rows.end;
        if area == 0 {
            return;
        }
        let channels = values.par_chunks_exact(height * self.width).zip(band.values.par_chunks_exact_mut(area));
        let channels = channels.zip(&mut band.steps).zip(&mut self.sums);
        channels.for_each(|(((values, kept_values), step), sums)| {
            let values = &values[kept.start * self.width..kept.end * self.width];
            let largest = largest(values);
            *step = largest / MOST;
            let per_step = if largest > 0.0 { MOST / largest } else { 0.0 };
            for (kept, value) in kept_values.iter_mut().zip(values) {
                *kept = round(value * per_step);
            }
            let [sum, squares] = sums_of(values);
            sums[0] += sum;
            sums[1] += squares;
        });
        self.bands.push(band);
    }

    /// All of its values, as a tensor `[1, channels, height, width]`.
    pub(super) fn whole(&self) -> Tensor {
        let mut values = vec![0.0; self.channels * self.height * self.width];
        self.strip(0..self.height, &[], &mut values);
        Tensor::floats([1, self.channels, self.height, self.width], values)
    }

    /// Writes the values of the rows `rows` into `values`, which is of shape `[channels, rows, width]`; each channel is
    /// multiplied by the first number that `lines` has for it, and the second is added.
    pub(super) fn strip(&self, rows: Range<usize>, lines: &[(f32, f32)], values: &mut [f32]) {
        let area = rows.len() * self.width;
        values.par_chunks_exact_mut(area.max(1)).enumerate().for_each(|(channel, values)| {
            for band in self.bands.iter().filter(|band| band.rows.start < rows.end && band.rows.end > rows.start) {
                let shared = band.rows.start.max(rows.start)..band.rows.end.min(rows.end);
                let place = (channel * band.rows.len() + shared.start - band.rows.start) * self.width;
                let from = &band.values[place..place + shared.len() * self.width];
                let to = &mut values[(shared.start - rows.start) * self.width..];
                let (gain, offset) = lines.get(channel).copied().unwrap_or((1.0, 0.0));
                let gain = gain * band.steps[channel];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = f32::from(*from) * gain + offset);
            }
        });
    }

    /// Gives up the bands above row `row`.
    pub(super) fn release(&mut self, row: usize) {
        self.bands.retain(|band| band.rows.end > row);
    }

    /// The mean of each of `groups` groups of neighbouring channels, and 1 / √(variance + `epsilon`), as a group norm
    /// takes them.
    pub(super) fn statistics(&self, groups: usize, epsilon: f32) -> Vec<(f32, f32)> {
        let count = (self.channels / groups.max(1) * self.height * self.width) as f64;
        let of_group = |sums: &[[f64; 2]]| {
            let sum = |which: usize| sums.iter().map(|sums| sums[which]).sum::<f64>() / count;
            let (mean, squares) = (sum(0), sum(1));
            let variance = (squares - mean * mean).max(0.0);
            (mean as f32, (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32)
        };
        self.sums.chunks(self.channels / groups.max(1)).map(of_group).collect()
    }
}

/// The largest of the absolute values, which is no number if one is none. (Bits of positive floats are in their order,
/// and those of what is no number above all; as whole numbers they are compared in parallel.)
fn largest(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().map(|value| value.abs().to_bits()).max().unwrap_or_default())
}

/// The nearest whole number, halves to even: what the lowest bits of a float are when 1.5 x 2^23 is added. Only for up
/// to 32,767 on both sides of 0.
fn round(value: f32) -> i16 {
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT).to_bits() as i16
}

/// Sum and sum of squares, in several lanes.
fn sums_of(values: &[f32]) -> [f64; 2] {
    let (lanes, rest) = values.as_chunks::<8>();
    let mut sums = [[0.0_f64; 8]; 2];
    for lane in lanes {
        for (place, value) in lane.iter().enumerate() {
            let value = f64::from(*value);
            sums[0][place] += value;
            sums[1][place] += value * value;
        }
    }
    let rest = |power| rest.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>();
    [sums[0].iter().sum::<f64>() + rest(1), sums[1].iter().sum::<f64>() + rest(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(channels: usize, height: usize, width: usize) -> Vec<f32> {
        (0..channels * height * width).map(|place| (place as f32 * 0.7).sin() * (1 + place % 5) as f32).collect()
    }

    fn strip(plane: &Plane, rows: Range<usize>, lines: &[(f32, f32)]) -> Vec<f32> {
        let mut values = vec![0.0; plane.channels * rows.len() * plane.width];
        plane.strip(rows, lines, &mut values);
        values
    }

    #[test]
    fn strips_come_back_from_whatever_bands() {
        let (channels, height, width) = (3, 11, 4);
        let values = ramp(channels, height, width);
        let mut plane = Plane::new(channels, width);
        let mut row = 0;
        for rows in [4, 1, 6] {
            // each strip has a row of context where there is one, which is not kept
            let (first, last) = (usize::max(row, 1) - 1, usize::min(row + rows + 1, height));
            let strip: Vec<f32> = (0..channels)
                .flat_map(|channel| &values[(channel * height + first) * width..(channel * height + last) * width])
                .copied()
                .collect();
            plane.push(&strip, last - first, row - first..row + rows - first);
            row += rows;
        }
        for rows in [0..11, 3..6, 10..11, 4..4] {
            let strip = strip(&plane, rows.clone(), &[]);
            for (place, value) in strip.iter().enumerate() {
                let (channel, rest) = (place / (rows.len() * width), place % (rows.len() * width));
                let wanted = values[channel * height * width + rows.start * width + rest];
                assert!((value - wanted).abs() <= 5.0 / 65_534.0 * 1.01, "{value} {wanted}");
            }
        }
        plane.release(5);
        assert_eq!(plane.bands.len(), 1);
        assert_eq!(strip(&plane, 5..11, &[]).len(), 3 * 6 * 4);
    }

    #[test]
    fn statistics_are_those_of_a_group() {
        let mut plane = Plane::new(4, 2);
        plane.push(&[1.0, 3.0, 5.0, 7.0, 0.0, 0.0, 0.0, 0.0], 1, 0..1);
        let [(mean, rate), (none, infinite)] = plane.statistics(2, 0.0)[..] else { panic!("not two groups") };
        assert_eq!((mean, none), (4.0, 0.0));
        assert!((rate - 1.0 / 5.0_f32.sqrt()).abs() < 1e-6 && infinite.is_infinite());
        let normed = strip(&plane, 0..1, &[(2.0, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 0.0)]);
        let wanted = [3.0, 7.0, 5.0, 7.0, 0.5, 0.5, 0.0, 0.0];
        assert!(normed.iter().zip(wanted).all(|(value, wanted)| (value - wanted).abs() < 1e-3), "{normed:?}");
    }

    #[test]
    #[allow(clippy::float_cmp)] // what is whole is exact
    fn rounding_is_that_of_the_standard_library() {
        for value in (-65_534..=65_534).map(|half| half as f32 / 2.0) {
            assert_eq!(f32::from(round(value)), value.round_ties_even(), "{value}");
        }
        assert_eq!(largest(&[-2.0, 1.5, 0.0]), 2.0);
        assert!(largest(&[f32::INFINITY, f32::NAN, 1.0]).is_nan() && largest(&[]) == 0.0);
        let values: Vec<f32> = (1..=19).map(|value| value as f32).collect();
        assert_eq!(sums_of(&values), [190.0, 2470.0]);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut plane = Plane::new(1, 2);
        plane.push(&[f32::NAN, 1.0], 1, 0..1);
        assert!(plane.whole().into_floats().iter().any(|value| value.is_nan()));
        let mut plane = Plane::new(1, 2);
        plane.push(&[f32::INFINITY, 1.0], 1, 0..1);
        assert!(plane.whole().into_floats().iter().any(|value| !value.is_finite()));
    }
}

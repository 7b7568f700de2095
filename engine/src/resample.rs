//! 8-bit pixels in another size, to the last bit those of Pillow's `Image.resize` (`libImaging/Resample.c`).
//!
//! Weights are whole numbers of 2^-22. What lies between the two passes is rounded and cut to 0..255, so that their order
//! counts.
use rayon::prelude::*;
use std::f64::consts::PI;

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest one.
    Nearest,
    /// A triangle, widened where the picture becomes smaller; Pillow's `BILINEAR`.
    Bilinear,
    /// A cubic curve (a = -0.5), widened where the picture becomes smaller; Pillow's `BICUBIC`.
    Bicubic,
    /// Three lobes, widened where the picture becomes smaller; Pillow's `LANCZOS`.
    Lanczos,
}

/// The bits of a weight behind its point.
const BITS: u32 = 22;

/// `pixels` of `depth` values each, of the size `from`, in the size `to`; all sides are 1 or more.
pub(crate) fn resize(pixels: &[u8], depth: usize, from: (u32, u32), to: (u32, u32), filter: Filter) -> Vec<u8> {
    debug_assert_eq!(pixels.len(), from.0 as usize * from.1 as usize * depth, "as many pixels as the size says");
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let widen = |pixels: &[u8]| across(pixels, depth, from.0 as usize, to.0 as usize, filter);
    let lengthen = |pixels: &[u8], row: u32| down(pixels, row as usize * depth, from.1 as usize, to.1 as usize, filter);
    match (from.0 == to.0, from.1 == to.1) {
        (true, true) => pixels.to_vec(),
        (true, false) => lengthen(pixels, to.0),
        (false, true) => widen(pixels),
        // as Pillow 13 chooses; older ones always begin with the rows
        _ if to.1 < from.1 && lost(from.1, to.1) > 2 * lost(from.0, to.0) => widen(&lengthen(pixels, from.0)),
        _ => lengthen(&widen(pixels), to.0),
    }
}

/// Each row of `from` pixels, `to` pixels long.
fn across(pixels: &[u8], depth: usize, from: usize, to: usize, filter: Filter) -> Vec<u8> {
    let taps = taps(from, to, filter);
    let mut resized = vec![0; pixels.len() / from * to];
    let rows = resized.par_chunks_exact_mut(to * depth).zip(pixels.par_chunks_exact(from * depth));
    rows.for_each(|(resized, row)| {
        for (pixel, Taps { first, weights }) in resized.chunks_exact_mut(depth).zip(&taps) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                let values = row[first * depth + channel..].iter().step_by(depth);
                *value = rounded(values.zip(weights).map(|(value, weight)| i32::from(*value) * weight).sum());
            }
        }
    });
    resized
}

/// `to` rows of `row` values out of `from` of them.
fn down(values: &[u8], row: usize, from: usize, to: usize, filter: Filter) -> Vec<u8> {
    let taps = taps(from, to, filter);
    let mut resized = vec![0; to * row];
    resized.par_chunks_exact_mut(row).zip(&taps).for_each(|(resized, Taps { first, weights })| {
        let mut sums = vec![0; row];
        for (values, weight) in values[first * row..].chunks_exact(row).zip(weights) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += i32::from(*value) * weight);
        }
        resized.iter_mut().zip(sums).for_each(|(resized, sum)| *resized = rounded(sum));
    });
    resized
}

fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

/// The weights of the pixels that one pixel is made of.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// For each of `to` pixels, what it is made of, where there were `from`.
fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let (scale, (reach, curve)) = (from as f64 / to as f64, filter.curve());
    let widened = scale.max(1.0);
    let reach = reach * widened;
    let of = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        if filter == Filter::Nearest {
            return Taps { first: (centre as usize).min(from - 1), weights: vec![1 << BITS] };
        }
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (first..end).map(|pixel| curve((pixel as f64 - centre + 0.5) * (1.0 / widened))).collect();
        let sum: f64 = weights.iter().sum();
        let whole = |weight: &f64| {
            let weight = if sum == 0.0 { *weight } else { weight / sum };
            (weight * f64::from(1 << BITS) + 0.5_f64.copysign(weight)) as i32
        };
        Taps { first, weights: weights.iter().map(whole).collect() }
    };
    (0..to).map(of).collect()
}

impl Filter {
    /// How far it reaches at most, in pixels, and the weight of a pixel so far away.
    fn curve(self) -> (f64, fn(f64) -> f64) {
        match self {
            Self::Nearest => (0.5, |_| 1.0),
            Self::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::Bicubic => (2.0, cubic),
            Self::Lanczos => (3.0, |x| if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }),
        }
    }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Colours multiplied by opacity, as Pillow's conversion to `RGBa` rounds.
pub(crate) fn premultiply(rgba: &mut [u8]) {
    for [colours @ .., alpha] in rgba.as_chunks_mut::<4>().0 {
        for value in colours {
            let product = u32::from(*value) * u32::from(*alpha) + 128;
            *value = (((product >> 8) + product) >> 8) as u8;
        }
    }
}

/// The opposite of [`premultiply`], as Pillow's conversion from `RGBa` rounds.
pub(crate) fn unmultiply(rgba: &mut [u8]) {
    for [colours @ .., alpha] in rgba.as_chunks_mut::<4>().0 {
        if ![0, 255].contains(alpha) {
            for value in colours {
                *value = (255 * u32::from(*value) / u32::from(*alpha)).min(255) as u8;
            }
        }
    }
}

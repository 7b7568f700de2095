//! Which noise belongs to a stretch between two noise levels, whatever steps a sampler takes through it?
//!
//! The noise of k-diffusion's `BrownianTreeNoiseSampler`: the increments of one Brownian motion over the noise levels,
//! fixed by the seed. torchsde 0.2.6 makes it (`BrownianTree`: Lévy's construction on a tree of halves, with
//! tolerance 1e-6, seeds from numpy's `SeedSequence` with a pool of 24).
use super::{super::Latents, NoiseSource, Rng, seed_sequence::first_state};
use crate::{Error, Result};
use std::{collections::HashMap, mem};

const POOL: usize = 24;

/// The largest noise level whose tree fits the 64 bits of a node's key at a tolerance of 1e-6.
const LARGEST: f64 = 1e9;

/// A Brownian motion over the noise levels of one picture.
///
/// With [`Rng::Cpu`] the increments have the bits of torchsde; the noise may differ from k-diffusion's in the last
/// one, for torch takes the root of the step's length with Intel's library, which does not always round to nearest.
#[derive(Clone, Debug)]
pub struct BrownianNoise {
    rng: Rng,
    seed: u64,
    shape: [usize; 4],
    root: Node,
    total: Vec<f32>,
    /// What the left half of each node of the last query moved: the next query passes half of them again.
    lefts: HashMap<Place, Vec<f32>>,
}

impl BrownianNoise {
    /// The motion from `sigma_min` to `sigma_max`, the lowest level above 0 and the highest of a schedule. Levels are
    /// taken in 32 bits, as k-diffusion has them.
    ///
    /// # Errors
    /// If not 0 ≤ `sigma_min` ≤ `sigma_max` ≤ 1e9.
    pub fn new(rng: Rng, seed: u64, shape: [usize; 4], sigma_min: f64, sigma_max: f64) -> Result<Self> {
        if !(0.0 <= sigma_min && sigma_min <= sigma_max && sigma_max <= LARGEST) {
            return Err(Error::request(
                format!("Brownian noise cannot go from noise level {sigma_min} to {sigma_max}"),
                "give a schedule whose noise levels lie between 0 and 1e9",
            ));
        }
        let [start, end] = [sigma_min, sigma_max].map(single);
        let mut total = unit_noise(rng, first_state::<POOL>(seed, &[]), shape);
        scale(&mut total, (end - start).sqrt());
        let root = Node { start: round(start), end: round(end), place: [0, 0] };
        Ok(Self { rng, seed, shape, root, total, lefts: HashMap::new() })
    }

    /// Unit noise for the step from noise level `from` to `to`: the motion's increment, upwards if `to` is higher,
    /// divided by √|to − from|. Levels outside the range count as its ends; an empty stretch has noise 0.
    ///
    /// Stretches that meet have independent noise; stretches that overlap share it. What was asked before changes
    /// nothing but the time it takes.
    #[must_use]
    pub fn between(&mut self, from: f64, to: f64) -> Latents {
        let [low, high] = if from < to { [from, to] } else { [to, from] }.map(single);
        let [start, end] = [low, high].map(|t| round(t.clamp(self.root.start, self.root.end)));
        let mut noise = Latents::zeros(self.shape);
        if start < end {
            let total = mem::take(&mut self.total);
            let mut known = mem::take(&mut self.lefts);
            self.add_increment(self.root, &total, [start, end], &mut known, noise.values_mut());
            self.total = total;
            let length = high as f32 - low as f32;
            let divisor = if from < to { length.sqrt() } else { -length.sqrt() };
            noise.values_mut().iter_mut().for_each(|value| *value /= divisor);
        }
        noise
    }

    /// Adds to `sum` what the motion moves over `stretch`, which lies in `node`, over which it moves `whole`.
    fn add_increment(
        &mut self,
        node: Node,
        whole: &[f32],
        stretch: [f64; 2],
        known: &mut HashMap<Place, Vec<f32>>,
        sum: &mut [f32],
    ) {
        let [start, end] = stretch;
        if start <= node.start && node.end <= end {
            sum.iter_mut().zip(whole).for_each(|(sum, value)| *sum += value);
            return;
        }
        let middle = node.middle();
        let left = known.remove(&node.place).unwrap_or_else(|| self.left(node, whole));
        if start < middle {
            self.add_increment(node.child(0), &left, [start, end.min(middle)], known, sum);
        }
        if end > middle {
            let right: Vec<f32> = whole.iter().zip(&left).map(|(whole, left)| whole - left).collect();
            self.add_increment(node.child(1), &right, [start.max(middle), end], known, sum);
        }
        self.lefts.insert(node.place, left);
    }

    /// What the motion moves over the left half of `node`: a Brownian bridge, in the roundings of torch.
    fn left(&self, node: Node, whole: &[f32]) -> Vec<f32> {
        let (before, after) = (node.middle() - node.start, node.end - node.middle());
        let per_length = 1.0 / (node.end - node.start);
        let seed = first_state::<POOL>(self.seed, &node.place);
        let mut left = unit_noise(self.rng, seed, self.shape);
        scale(&mut left, (before * after * per_length).sqrt());
        let (before, per_length) = (before as f32, per_length as f32);
        left.iter_mut().zip(whole).for_each(|(left, whole)| *left += before * whole * per_length);
        left
    }
}

/// A node of the tree of halves: the stretch `start..end`, rounded.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: f64,
    end: f64,
    place: Place,
}

/// The way from the root in bits (0 is left), and how many they are: numpy's `spawn_key`.
type Place = [u64; 2];

impl Node {
    fn middle(&self) -> f64 {
        round(0.5 * (self.end + self.start))
    }

    /// The left (0) or right (1) half.
    fn child(&self, side: u64) -> Self {
        let [start, end] = if side == 0 { [self.start, self.middle()] } else { [self.middle(), self.end] };
        let [way, depth] = self.place;
        Self { start, end, place: [2 * way + side, depth + 1] }
    }
}

fn unit_noise(rng: Rng, seed: u32, shape: [usize; 4]) -> Vec<f32> {
    NoiseSource::new(rng, seed.into()).draw(shape).into_values()
}

fn scale(values: &mut [f32], factor: f64) {
    let factor = factor as f32;
    for value in values {
        *value *= factor;
    }
}

/// `x` in 32 bits.
fn single(x: f64) -> f64 {
    f64::from(x as f32)
}

/// `x` rounded to 6 decimals as Python does it: the exact decimal value counts, and halves go to even.
fn round(x: f64) -> f64 {
    format!("{x:.6}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 4] = [1, 4, 8, 8];

    fn motion(sigma_min: f64, sigma_max: f64) -> Result<BrownianNoise> {
        BrownianNoise::new(Rng::Cpu, 7, SHAPE, sigma_min, sigma_max)
    }

    #[test]
    fn rounding_is_that_of_python() {
        for (x, rounded) in [(0.007_812_5, 0.007_812), (0.023_437_5, 0.023_438), (14.614_642_1, 14.614_642)] {
            assert_eq!(round(x).to_bits(), f64::to_bits(rounded), "{x}");
        }
    }

    #[test]
    fn what_was_asked_before_changes_nothing() {
        let levels = [14.6, 9.1, 9.0, 3.3, 0.7, 0.03];
        let mut used = motion(0.03, 14.6).unwrap();
        for _ in 0..2 {
            for (from, to) in levels.iter().zip(&levels[1..]).rev().chain([(&14.6, &0.03), (&0.5, &2.0)]) {
                let fresh = motion(0.03, 14.6).unwrap().between(*from, *to);
                assert_eq!(used.between(*from, *to), fresh, "{from} to {to}");
            }
        }
    }

    #[test]
    fn increments_add_up_and_have_a_direction() {
        let mut motion = motion(0.03, 14.6).unwrap();
        let mut increment = |from: f64, to: f64| motion.between(from, to).scaled((from - to).abs().sqrt());
        let (all, upper, lower) = (increment(14.6, 0.03), increment(14.6, 5.0), increment(5.0, 0.03));
        let back = increment(0.03, 14.6);
        for (i, all) in all.values().iter().enumerate() {
            assert!((all - upper.values()[i] - lower.values()[i]).abs() < 1e-5);
            assert!((all + back.values()[i]).abs() < 1e-6);
        }
    }

    #[test]
    fn an_empty_stretch_has_no_noise() {
        let mut motion = motion(0.03, 14.6).unwrap();
        assert_eq!(motion.between(2.0, 2.0), Latents::zeros(SHAPE));
        assert_eq!(motion.between(80.0, 20.0), Latents::zeros(SHAPE));
    }

    #[test]
    fn the_tree_ends_at_its_tolerance() {
        for (max, from, to) in [(1e9, 1e-6, 0.0), (1e9, 1e9, 999_999_936.0), (14.6, 2.000_001, 2.0), (8.0, 1e-6, 3e-6)]
        {
            assert!(motion(0.0, max).unwrap().between(from, to).is_finite(), "{from} to {to} of {max}");
        }
    }

    #[test]
    fn a_range_must_be_finite_and_in_order() {
        for (min, max) in [(1.0, 0.5), (-1.0, 1.0), (0.1, f64::INFINITY), (f64::NAN, 1.0)] {
            let error = motion(min, max).unwrap_err();
            assert!(error.to_string().starts_with("Brownian noise cannot go"), "{error}");
        }
        assert!(motion(14.6, 14.6).is_ok());
    }
}

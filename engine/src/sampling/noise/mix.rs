//! Which noise does a picture begin with, given its seed, a variation of it and the size it was found at?
//!
//! The rules are those of stable-diffusion-webui (`ImageRNG` and `slerp` in `modules/rng.py`).
use super::{super::Latents, super::latents::combine, NoiseSource, Rng};
use ndarray::{Array4, ArrayView1, Axis, s};

/// What decides the noise of one picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FirstNoise {
    /// Which random numbers.
    pub rng: Rng,
    /// The seed of the picture.
    pub seed: u64,
    /// Another seed to go towards.
    pub variation: Option<Variation>,
    /// Width and height, in latents, of the picture whose composition is to be kept ("seed resize"): the noise of
    /// that size fills the centre.
    pub resized_from: Option<[usize; 2]>,
    /// "Eta noise seed delta": unless 0, the noise of the steps begins anew, at `seed` + `ensd`.
    pub ensd: u64,
    /// Whether an autoencoder draws from the same generators before, as in image to image: its
    /// [`encoding`](Self::encoding), of the same shape.
    pub encoded: bool,
}

/// How far to go towards the noise of another seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variation {
    /// The other seed.
    pub seed: u64,
    /// 0 is the picture's own noise, 1 is the other.
    pub strength: f64,
}

impl FirstNoise {
    /// The noise of `shape`, `[1, channels, height, width]`, and the generator of the noise that the steps add.
    #[must_use]
    pub fn draw(&self, shape: [usize; 4]) -> (Latents, NoiseSource) {
        let [batch, channels, height, width] = shape;
        let [from_width, from_height] = self.resized_from.unwrap_or([width, height]);
        let drawn = [batch, channels, from_height, from_width];
        let mut steps = self.begun(self.seed, shape);
        let own = steps.draw(shape);
        let mut noise = if drawn == shape { own.clone() } else { self.begun(self.seed, drawn).draw(drawn) };
        if let Some(Variation { seed, strength }) = self.variation.filter(|variation| variation.strength != 0.0) {
            noise = slerp(strength, &noise, &self.begun(seed, drawn).draw(drawn));
        }
        if drawn != shape {
            noise = centred(&own, &noise);
        }
        (noise, self.delayed(steps))
    }

    /// The generator of the noise that the steps add, where the noise of `shape` before is given and not drawn.
    #[must_use]
    pub fn steps(&self, shape: [usize; 4]) -> NoiseSource {
        self.delayed(self.begun(self.seed, shape))
    }

    /// The unit noise with which an autoencoder draws latents of `shape` from its distribution: the first of the seed.
    #[must_use]
    pub fn encoding(&self, shape: [usize; 4]) -> Latents {
        NoiseSource::new(self.rng, self.seed).draw(shape)
    }

    /// A generator at `seed`, after an autoencoder drew `shape` from it, if one does.
    fn begun(&self, seed: u64, shape: [usize; 4]) -> NoiseSource {
        let mut source = NoiseSource::new(self.rng, seed);
        if self.encoded {
            let _ = source.draw(shape);
        }
        source
    }

    /// `source`, or what begins anew in its place.
    fn delayed(&self, source: NoiseSource) -> NoiseSource {
        match self.ensd {
            0 => source,
            ensd => NoiseSource::new(self.rng, self.seed.wrapping_add(ensd)),
        }
    }
}

/// From `low` (`strength` 0) to `high` (1) along the arc between them, column by column: spherical interpolation
/// (Shoemake 1985) of the vectors along the height.
///
/// Noises that are nearly parallel are mixed in a straight line, in which `strength` goes the other way; so does the
/// original. Both must have the same shape.
#[must_use]
pub fn slerp(strength: f64, low: &Latents, high: &Latents) -> Latents {
    const PARALLEL: f64 = 0.9995;
    const ALONG: Axis = Axis(2);
    debug_assert_eq!(low.shape(), high.shape(), "both must have the same shape");
    let columns = || low.array().lanes(ALONG).into_iter().zip(high.array().lanes(ALONG));
    let cosines: Vec<f64> = columns().map(|(low, high)| cosine(&low, &high)).collect();
    if cosines.iter().sum::<f64>() > PARALLEL * cosines.len() as f64 {
        return combine(&[(strength, low), (1.0 - strength, high)]);
    }
    let mut mixed = Array4::zeros(low.shape());
    for ((mut column, (low, high)), cosine) in mixed.lanes_mut(ALONG).into_iter().zip(columns()).zip(cosines) {
        let [a, b] = weights(strength, cosine.acos());
        column.iter_mut().zip(low).zip(high).for_each(|((mixed, low), high)| {
            *mixed = (a * f64::from(*low) + b * f64::from(*high)) as f32;
        });
    }
    Latents::from_array(mixed)
}

/// How much of both ends makes the point at `strength` of the arc of `angle`.
fn weights(strength: f64, angle: f64) -> [f64; 2] {
    let whole = angle.sin();
    if whole == 0.0 {
        return [1.0 - strength, strength]; // the limit; the original divides by 0
    }
    [(1.0 - strength) * angle, strength * angle].map(|part| part.sin() / whole)
}

/// The cosine of the angle between two vectors; 0 where one of them has no direction.
fn cosine(a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>) -> f64 {
    let dot = |a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if cosine.is_finite() { cosine.clamp(-1.0, 1.0) } else { 0.0 }
}

/// `noise` with the centre of `other`, which has another height or width, laid onto its centre.
fn centred(noise: &Latents, other: &Latents) -> Latents {
    let (to, from) = (noise.shape(), other.shape());
    let [(at_y, y, height), (at_x, x, width)] = [2, 3].map(|axis| overlap(to[axis], from[axis]));
    let mut array = noise.array().clone();
    array.slice_mut(s![.., .., at_y..at_y + height, at_x..at_x + width]).assign(&other.array().slice(s![
        ..,
        ..,
        y..y + height,
        x..x + width
    ]));
    Latents::from_array(array)
}

/// Where a centred stretch of `from` begins in `to`, where in `from`, and how long it is. An odd surplus is cut off
/// on both sides, as in the original.
fn overlap(to: usize, from: usize) -> (usize, usize, usize) {
    if to >= from {
        ((to - from) / 2, 0, from)
    } else {
        let cut = (from - to).div_ceil(2);
        (0, cut, from.saturating_sub(2 * cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 4] = [1, 2, 6, 5];

    #[test]
    fn the_steps_continue_unless_a_delta_begins_anew() {
        let plain = FirstNoise { seed: 5, ..FirstNoise::default() };
        let mut one = NoiseSource::new(Rng::Cpu, 5);
        let (first, mut steps) = plain.draw(SHAPE);
        assert_eq!((first, steps.draw(SHAPE)), (one.draw(SHAPE), one.draw(SHAPE)));
        let (first, mut steps) = FirstNoise { ensd: 31337, ..plain.clone() }.draw(SHAPE);
        assert_eq!(first, plain.draw(SHAPE).0);
        assert_eq!(steps.draw(SHAPE), NoiseSource::new(Rng::Cpu, 5 + 31337).draw(SHAPE));
    }

    #[test]
    fn an_autoencoder_draws_before_everything_else() {
        let variation = Some(Variation { seed: 9, strength: 1.0 });
        for (seed, first) in [(5, FirstNoise::default()), (9, FirstNoise { variation, ..FirstNoise::default() })] {
            let first = FirstNoise { seed: 5, encoded: true, ..first };
            let (mut own, mut shown) = (NoiseSource::new(Rng::Cpu, 5), NoiseSource::new(Rng::Cpu, seed));
            assert_eq!(first.encoding(SHAPE), own.draw(SHAPE));
            let _ = shown.draw(SHAPE);
            let (noise, mut steps) = first.draw(SHAPE);
            assert_eq!(noise, shown.draw(SHAPE));
            let second = own.draw(SHAPE);
            assert_eq!(steps.draw(SHAPE), own.draw(SHAPE));
            assert_eq!(first.steps(SHAPE).draw(SHAPE), second, "where the first noise is given");
        }
        let wide = [1, 2, 6, 8];
        let resized = FirstNoise { seed: 5, encoded: true, resized_from: Some([5, 6]), ..FirstNoise::default() };
        let mut narrow = NoiseSource::new(Rng::Cpu, 5);
        let _ = narrow.draw(SHAPE);
        let (whole, centre) = (resized.draw(wide).0, narrow.draw(SHAPE));
        assert_eq!(whole.array().slice(s![.., .., .., 1..6]), centre.array());
    }

    #[test]
    fn the_ends_of_the_arc_are_both_noises() {
        let [low, high] = [1, 2].map(|seed| NoiseSource::new(Rng::Cpu, seed).draw(SHAPE));
        assert_eq!(slerp(0.0, &low, &high), low);
        assert_eq!(slerp(1.0, &low, &high), high);
    }

    #[test]
    fn columns_without_an_angle_stay_finite() {
        let [low, high] = [1, 2].map(|seed| NoiseSource::new(Rng::Cpu, seed).draw([1, 2, 1, 5]));
        assert!(slerp(0.3, &low, &high).is_finite());
        assert!(slerp(0.3, &low, &Latents::zeros([1, 2, 1, 5])).is_finite());
    }

    #[test]
    fn a_stretch_is_centred() {
        for ((to, from), want) in
            [((8, 5), (1, 0, 5)), ((8, 8), (0, 0, 8)), ((5, 8), (0, 2, 4)), ((8, 10), (0, 1, 8)), ((1, 4), (0, 2, 0))]
        {
            assert_eq!(overlap(to, from), want, "{from} in {to}");
        }
    }
}

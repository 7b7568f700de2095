//! Which noise does `torch.randn` draw on the CPU? A seed then means the same picture as in diffusers and `ComfyUI`.
use super::{super::Latents, box_muller::box_muller};
use std::f64::consts::TAU;

const STATE: usize = 624;
const BLOCK: usize = 16;

/// `torch.Generator("cpu").manual_seed(seed)`, drawing `float32` with `torch.randn`.
///
/// From 16 numbers on every bit is that of torch on x86-64 with AVX2 (measured with 2.15 on Linux); see
/// `box_muller.rs`. Fewer numbers, and torch on other processors, differ by the last bits of the platform's own
/// logarithm, sine and cosine.
#[derive(Clone, Debug)]
pub struct TorchNoise {
    twister: MersenneTwister,
    spare: Option<f64>, // the second of a pair of normal numbers, kept for the next small draw
}

impl TorchNoise {
    /// A generator that begins at `seed`; as in torch on the CPU, only the low 32 bits count.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { twister: MersenneTwister::new(seed as u32), spare: None }
    }

    /// Unit noise of `shape`. Each draw continues where the one before ended.
    #[must_use]
    pub fn draw(&mut self, shape: [usize; 4]) -> Latents {
        let n = shape.iter().product();
        let values = if n < BLOCK { (0..n).map(|_| self.one() as f32).collect() } else { self.many(n) };
        let mut noise = Latents::zeros(shape);
        noise.values_mut().copy_from_slice(&values);
        noise
    }

    /// `normal_fill` in torch's `DistributionTemplates.h`: uniform numbers first, then pairs 8 apart become normal.
    fn many(&mut self, n: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..n).map(|_| self.twister.uniform_24()).collect();
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !n.is_multiple_of(BLOCK) {
            let last = &mut values[n - BLOCK..]; // drawn again, whole
            last.fill_with(|| self.twister.uniform_24());
            box_muller(last);
        }
        values
    }

    /// `normal_distribution<double>` in torch's `DistributionsHelper.h`, used for fewer than 16 numbers.
    fn one(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (angle, length) = (TAU * self.twister.uniform_53(), self.twister.uniform_53());
        let radius = (-2.0 * (-length).ln_1p()).sqrt();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// MT19937 (Matsumoto & Nishimura 1998).
#[derive(Clone, Debug)]
struct MersenneTwister {
    state: Vec<u32>,
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = vec![seed; STATE];
        for i in 1..STATE {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: STATE }
    }

    fn random(&mut self) -> u32 {
        if self.next == STATE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + 397) % STATE] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// A number in 0..1 with 24 random bits.
    fn uniform_24(&mut self) -> f32 {
        (self.random() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// A number in 0..1 with 53 random bits.
    fn uniform_53(&mut self) -> f64 {
        let bits = (u64::from(self.random()) << 32) | u64::from(self.random());
        (bits & ((1 << 53) - 1)) as f64 / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 10000th output of the reference implementation, as C++'s `std::mt19937` guarantees it.
    #[test]
    fn the_twister_is_the_reference_one() {
        let mut twister = MersenneTwister::new(5489);
        assert_eq!((0..10_000).map(|_| twister.random()).last(), Some(4_123_659_995));
    }

    #[test]
    fn the_noise_is_normal() {
        let noise = TorchNoise::new(3).draw([2, 4, 64, 64]);
        let n = noise.values().len() as f32;
        let mean = noise.values().iter().sum::<f32>() / n;
        let variance = noise.values().iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}

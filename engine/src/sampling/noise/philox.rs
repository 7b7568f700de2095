//! Which noise does `torch.randn` draw on an NVIDIA GPU, as stable-diffusion-webui imitates it?
use super::super::Latents;

/// The noise of stable-diffusion-webui's `RNG: NV` (`modules/rng_philox.py`).
///
/// Number `i` of draw `d` is made from the counter `[d, 0, i, 0]` alone, with the seed's 64 bits as the key.
#[derive(Clone, Debug)]
pub struct PhiloxNoise {
    key: [u32; 2],
    draws: u32,
}

impl PhiloxNoise {
    /// A generator that begins at `seed`; all 64 bits count.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], draws: 0 }
    }

    /// Unit noise of `shape`. Each draw continues where the one before ended.
    #[must_use]
    pub fn draw(&mut self, shape: [usize; 4]) -> Latents {
        let mut noise = Latents::zeros(shape);
        for (i, value) in noise.values_mut().iter_mut().enumerate() {
            let [length, angle, ..] = philox([self.draws, 0, i as u32, 0], self.key);
            *value = normal(length, angle);
        }
        self.draws = self.draws.wrapping_add(1);
        noise
    }
}

/// The sine half of Box & Muller's pair, from two uniform words; the constants are cuRAND's, in 32 bits.
fn normal(length: u32, angle: u32) -> f32 {
    const UNIT: f64 = 1.0 / 4_294_967_296.0;
    const TURN: f32 = 1.462_918_1e-9; // UNIT · 2π
    let length = (f64::from(length) + 0.5) * UNIT;
    let angle = (f64::from(angle) + 0.5) * f64::from(TURN);
    ((-2.0 * length.ln()).sqrt() * angle.sin()) as f32
}

/// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        let [a, b] = [(counter[0], 0xd251_1f53), (counter[2], 0xcd9e_8d57)].map(|(x, m)| u64::from(x) * m);
        let high = |product: u64| (product >> 32) as u32;
        counter = [high(b) ^ counter[1] ^ key[0], b as u32, high(a) ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123, the authors' implementation (`kat_vectors`).
    #[test]
    fn philox_is_the_published_one() {
        let pi = ([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        for ((counter, key), output) in [
            (([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            (([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox(counter, key), output);
        }
    }
}

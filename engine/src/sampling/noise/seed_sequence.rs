//! Which numbers does numpy's `SeedSequence` make of a seed and a place in a tree?
//!
//! The algorithm is `randutils::seed_seq_fe` (O'Neill 2015, "Developing a `seed_seq` alternative"), as numpy fixed it.

const SHIFT: u32 = 16;

/// The first 32 bits that `SeedSequence(entropy, spawn_key=spawn_key, pool_size=POOL).generate_state(n)` makes.
pub(super) fn first_state<const POOL: usize>(entropy: u64, spawn_key: &[u64]) -> u32 {
    let mut words = words(entropy);
    if !spawn_key.is_empty() {
        words.resize(words.len().max(POOL), 0); // so that a longer seed is not taken for a key
        words.extend(spawn_key.iter().flat_map(|number| self::words(*number)));
    }
    let mut hash = Hash { factor: 0x43b0_d7e5, growth: 0x931e_8875 };
    let mut pool: [u32; POOL] = std::array::from_fn(|i| hash.next(words.get(i).copied().unwrap_or(0)));
    for from in 0..POOL {
        for to in (0..POOL).filter(|to| *to != from) {
            pool[to] = mix(pool[to], hash.next(pool[from]));
        }
    }
    for word in words.iter().skip(POOL) {
        for place in &mut pool {
            *place = mix(*place, hash.next(*word));
        }
    }
    Hash { factor: 0x8b51_f9dd, growth: 0x58f3_8ded }.next(pool[0])
}

/// A number as 32-bit words, the low one first, without leading zeros; 0 is one word.
fn words(number: u64) -> Vec<u32> {
    let (low, high) = (number as u32, (number >> 32) as u32);
    if high == 0 { vec![low] } else { vec![low, high] }
}

/// A hash whose factor changes with each number.
struct Hash {
    factor: u32,
    growth: u32,
}

impl Hash {
    fn next(&mut self, number: u32) -> u32 {
        let number = number ^ self.factor;
        self.factor = self.factor.wrapping_mul(self.growth);
        let number = number.wrapping_mul(self.factor);
        number ^ (number >> SHIFT)
    }
}

fn mix(x: u32, y: u32) -> u32 {
    let sum = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
    sum ^ (sum >> SHIFT)
}

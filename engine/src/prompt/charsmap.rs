//! Can the table with which sentencepiece rewrites characters be used without a fault?
//!
//! The table is a double array (Aoe 1989, as darts-clone packs it) that leads from the bytes of a text to places in a
//! list of replacements. `spm_precompiled` follows it without a look at its bounds, so a damaged one would end the
//! program in the middle of a prompt: here it is walked once, along every way that a text can take.
use std::{mem, str};
use tokenizers::normalizers::Precompiled;

/// The longest replacement in bytes; the longest of NFKC has 33.
const LONGEST: usize = 256;

/// The normalizer of the table `bytes`, or what is wrong with it.
pub(super) fn normalizer(bytes: &[u8]) -> Result<Precompiled, String> {
    check(bytes).ok_or("its table of characters is damaged")?;
    Precompiled::from(bytes).map_err(|error| error.to_string())
}

/// `None` if a text can lead out of the table: its size in bytes, its units, and the replacements, each with a zero
/// at its end.
fn check(bytes: &[u8]) -> Option<()> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let (units, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize & !3)?;
    let units: Vec<usize> = units.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
    let replacements = str::from_utf8(replacements).ok()?;
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(*units.first()?)];
    while let Some(place) = open.pop() {
        // a byte changes the lowest eight bits of a place only
        units.get(place | 0xff)?;
        if mem::replace(&mut seen[place], true) {
            continue;
        }
        for byte in 1..=0xff {
            let unit = units[place ^ byte];
            if unit & ((1 << 31) | 0xff) != byte {
                continue; // leads nowhere
            }
            let next = place ^ byte ^ offset(unit);
            open.push(next);
            if (unit >> 8) & 1 == 1 {
                let start = units.get(next)? & ((1 << 31) - 1);
                let length = replacements.get(start..)?.bytes().take_while(|byte| *byte != 0).count();
                (length <= LONGEST).then_some(())?;
            }
        }
    }
    Some(())
}

/// How far the units that follow `unit` lie from it, as a mask.
fn offset(unit: usize) -> usize {
    (unit >> 10) << ((unit & (1 << 9)) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table that says nothing, and one with a replacement for `a`.
    fn table(units: &[u32], replacements: &[u8]) -> Vec<u8> {
        let units = units.iter().flat_map(|unit| unit.to_le_bytes());
        let size = (units.clone().count() as u32).to_le_bytes();
        size.into_iter().chain(units).chain(replacements.iter().copied()).collect()
    }

    /// Of 512 units, so that the units that follow the first lie at 256: `a` leads to `value`.
    fn table_of_a(value: u32, replacements: &[u8]) -> Vec<u8> {
        let mut units = [0; 512];
        units[0] = 1 << 9 | 1 << 10; // followed by the units from 256 on
        units[256 ^ 0x61] = 0x61 | 1 << 8 | 1 << 10; // a leaf, its value one place beside it
        units[256 ^ 0x61 ^ 1] = 1 << 31 | value;
        table(&units, replacements)
    }

    #[test]
    fn a_sound_table_rewrites() {
        let normalizer = normalizer(&table_of_a(3, "xy\0é\0".as_bytes())).unwrap();
        assert_eq!(normalizer.normalize_string("banana"), "bénéné");
    }

    #[test]
    fn a_damaged_table_is_refused() {
        let long = [b"x".repeat(LONGEST + 1), vec![0]].concat();
        let mut large = table_of_a(0, b"x\0");
        large[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut second = [0; 300];
        second[0x61] = 0x61 | 1 << 9 | 1 << 10;
        let damaged = [
            vec![],
            vec![4, 0, 0],
            table(&[], b""),
            table(&[0], b""),                    // a byte would lead out of it
            table(&second, b""),                 // and here the second one
            table_of_a(7, "xy\0é\0".as_bytes()), // behind the replacements
            table_of_a(4, "xy\0é\0".as_bytes()), // inside a letter
            table_of_a(0, b"\xff\0"),
            table_of_a(0, &long),
            large,
        ];
        for (number, bytes) in damaged.iter().enumerate() {
            assert!(normalizer(bytes).is_err(), "{number}");
        }
        assert!(normalizer(&table_of_a(0, &long[1..])).is_ok());
    }
}

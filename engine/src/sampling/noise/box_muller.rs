//! How do pairs of uniform numbers become normal ones, to the last bit as in torch?
//!
//! torch's `normal_fill` uses 32-bit polynomials where the processor has AVX2: the logarithm, sine and cosine of the
//! Cephes Mathematical Library (Moshier 1992, `logf.c` and `sinf.c`), evaluated 8 at a time by `avx_mathfun.h`.
//! Compilers contract each product that is only added to something into one rounding. The functions below take the
//! same steps in the same order, so that they round as torch does; `fused(a, b, c)` is the contracted step `a·b + c`.
use std::f32::consts::{FRAC_1_SQRT_2, TAU};

/// Turns 16 numbers in 0..1 into normal ones (Box & Muller 1958): the first 8 are lengths, the last 8 angles.
pub(super) fn box_muller(block: &mut [f32]) {
    let (lengths, angles) = block.split_at_mut(8);
    for (length, angle) in lengths.iter_mut().zip(angles) {
        let radius = (-2.0 * log(1.0 - *length, fused)).sqrt();
        let (sin, cos) = sin_cos(TAU * *angle, fused);
        // torch adds the mean, 0, which makes −0 to 0
        (*length, *angle) = (radius * cos + 0.0, radius * sin + 0.0);
    }
}

/// `a·b + c`. It rounds twice, first to 64 bits, but `f32::mul_add` needs a processor for which the compiler may not
/// build; of the 2^24 numbers that torch draws none comes out otherwise, and a test says so.
#[inline]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// The natural logarithm of a normal number above 0: `logf.c`.
#[inline]
fn log(x: f32, fused: impl Fn(f32, f32, f32) -> f32) -> f32 {
    const POLYNOMIAL: [f32; 9] = [
        0.070_376_836,
        -0.115_146_1,
        0.116_769_984,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_57,
        0.200_007_14,
        -0.249_999_94,
        0.333_333_3,
    ];
    const LN_2: [f32; 2] = [0.693_359_4, -0.000_212_194_44]; // a short number, and what it lacks
    let mut exponent = (x.to_bits() >> 23) as i32 as f32 - 126.0;
    let mut m = f32::from_bits((x.to_bits() & 0x007f_ffff) | 0x3f00_0000); // 0.5..1
    if m < FRAC_1_SQRT_2 {
        exponent -= 1.0;
        m += m;
    }
    m -= 1.0;
    let square = m * m;
    let series = polynomial(&POLYNOMIAL, m, &fused) * m;
    let tail = fused(series, square, exponent * LN_2[1]) - 0.5 * square;
    fused(exponent, LN_2[0], m + tail)
}

/// Sine and cosine of an angle of 0 to 8192: `sinf.c`.
#[inline]
fn sin_cos(x: f32, fused: impl Fn(f32, f32, f32) -> f32) -> (f32, f32) {
    const FOUR_BY_PI: f32 = 1.273_239_5;
    const QUARTER_PI: [f32; 3] = [0.785_156_25, 0.000_241_875_65, 3.774_895e-8]; // their sum, in three short numbers
    const SIN: [f32; 3] = [-0.000_195_152_96, 0.008_332_161, -0.166_666_55];
    const COS: [f32; 3] = [2.443_315_7e-5, -0.001_388_731_6, 0.041_666_646];
    let octant = ((x * FOUR_BY_PI) as i32 + 1) & !1;
    let x = QUARTER_PI.iter().fold(x, |x, part| fused(octant as f32, -part, x));
    let square = x * x;
    let cos = fused(polynomial(&COS, square, &fused) * square, square, -0.5 * square) + 1.0;
    let sin = fused(polynomial(&SIN, square, &fused) * square, x, x);
    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let negative = |octant: i32| octant & 4 != 0;
    (if negative(octant) { -sin } else { sin }, if negative(octant + 2) { -cos } else { cos })
}

/// Horner's rule; the highest power's factor is the first.
#[inline]
fn polynomial(factors: &[f32], x: f32, fused: impl Fn(f32, f32, f32) -> f32) -> f32 {
    factors[1..].iter().fold(factors[0], |sum, factor| fused(sum, x, *factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_rounded_otherwise_than_by_one_instruction() {
        for i in 0..1_u32 << 24 {
            let x = i as f32 / 16_777_216.0;
            assert_eq!(log(1.0 - x, fused).to_bits(), log(1.0 - x, f32::mul_add).to_bits(), "log {i}");
            let (quick, exact) = (sin_cos(TAU * x, fused), sin_cos(TAU * x, f32::mul_add));
            assert_eq!(quick.0.to_bits(), exact.0.to_bits(), "sin {i}");
            assert_eq!(quick.1.to_bits(), exact.1.to_bits(), "cos {i}");
        }
    }

    #[test]
    fn the_functions_are_the_mathematical_ones() {
        for i in 1_u16..=4096 {
            let x = f32::from(i) / 4096.0;
            let (ln, angle) = (f64::from(x).ln(), f64::from(TAU * x));
            assert!((f64::from(log(x, fused)) - ln).abs() < 2e-7 * ln.abs().max(0.1), "log {x}");
            let (sin, cos) = sin_cos(TAU * x, fused);
            assert!((f64::from(sin) - angle.sin()).abs() < 2e-7, "sin {angle}");
            assert!((f64::from(cos) - angle.cos()).abs() < 2e-7, "cos {angle}");
        }
    }

    #[test]
    fn zero_has_no_sign() {
        let mut block = [0.0; 16];
        box_muller(&mut block);
        assert_eq!(block.map(f32::to_bits), [0; 16]);
    }
}

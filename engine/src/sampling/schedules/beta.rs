//! Below which number lies a given share of a beta distribution?

/// How many terms of the continued fraction count: below 1/2 each is worth a digit or more.
const TERMS: u32 = 40;

/// How often an interval is halved until its ends are neighbours.
const HALVINGS: u32 = 60;

/// The number below which `share` (0 to 1) of the beta distribution with `alpha` and `beta` (0.1 to 10) lies:
/// `scipy.stats.beta.ppf`, to 1e-12.
pub(super) fn quantile(share: f64, alpha: f64, beta: f64) -> f64 {
    let (lower, upper) = (mass_below(0.5, alpha, beta), mass_below(0.5, beta, alpha));
    let all = lower + upper;
    if share * all <= lower {
        place_of(share * all, alpha, beta)
    } else {
        1.0 - place_of((1.0 - share) * all, beta, alpha)
    }
}

/// Where `mass_below` reaches `mass`, between 0 and 1/2; found by halving, for it rises.
fn place_of(mass: f64, alpha: f64, beta: f64) -> f64 {
    let halved = |(low, high): (f64, f64), _| {
        let middle = f64::midpoint(low, high);
        if mass_below(middle, alpha, beta) < mass { (middle, high) } else { (low, middle) }
    };
    (0..HALVINGS).fold((0.0, 0.5), halved).1
}

/// The incomplete beta function of `x`, at most 1/2: the integral of `t^(alpha - 1) (1 - t)^(beta - 1)` from 0 to `x`,
/// by its continued fraction (Digital Library of Mathematical Functions, 8.17.22).
fn mass_below(x: f64, alpha: f64, beta: f64) -> f64 {
    let term = |k: u32| {
        let m = f64::from(k / 2); // whole: two kinds of terms take turns
        let place = alpha + f64::from(k);
        let product = if k.is_multiple_of(2) { m * (beta - m) } else { -(alpha + m) * (alpha + beta + m) };
        product * x / ((place - 1.0) * place)
    };
    let fraction = (1..=TERMS).rev().fold(1.0, |tail, k| 1.0 + term(k) / tail);
    x.powf(alpha) * (1.0 - x).powf(beta) / (alpha * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distributions whose shares can be written down: even, falling in a line, and the arc sine's.
    #[test]
    fn quantiles_in_closed_form() {
        for share in [0.0, 1e-6, 0.01, 0.3, 0.5, 0.75, 0.999, 1.0] {
            let arcsine = (share * std::f64::consts::FRAC_PI_2).sin().powi(2);
            for (alpha, beta, want) in
                [(1.0, 1.0, share), (1.0, 2.0, 1.0 - (1.0_f64 - share).sqrt()), (0.5, 0.5, arcsine)]
            {
                let error = (quantile(share, alpha, beta) - want).abs();
                assert!(error < 1e-12, "{error:.1e} at {share} of ({alpha}, {beta})");
            }
        }
    }
}

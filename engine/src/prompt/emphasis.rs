//! How do the weights of a prompt's words change its embeddings?
use crate::{Result, error::unknown};

/// What the brackets of a prompt mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Emphasis {
    /// Each embedding is multiplied by its word's weight; then all are scaled so that their mean is what it was.
    #[default]
    Original,
    /// Each embedding is multiplied by its word's weight.
    NoNorm,
    /// Brackets are read, weights are not used.
    Ignore,
    /// Brackets, `BREAK` and backslashes are text, as in diffusers.
    None,
}

/// An emphasis and its names.
#[derive(Debug)]
pub struct EmphasisKind {
    /// The name.
    pub name: &'static str,
    /// The name in stable-diffusion-webui.
    pub label: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// What it does.
    pub emphasis: Emphasis,
}

/// Every emphasis, the default first.
pub const EMPHASES: &[EmphasisKind] = &[
    EmphasisKind {
        name: "original",
        label: "Original",
        about: "multiply embeddings by weights, then restore their mean",
        emphasis: Emphasis::Original,
    },
    EmphasisKind {
        name: "no_norm",
        label: "No norm",
        about: "multiply embeddings by weights",
        emphasis: Emphasis::NoNorm,
    },
    EmphasisKind {
        name: "ignore",
        label: "Ignore",
        about: "read brackets, but use no weights",
        emphasis: Emphasis::Ignore,
    },
    EmphasisKind {
        name: "none",
        label: "None",
        about: "take brackets as text, as diffusers does",
        emphasis: Emphasis::None,
    },
];

/// The emphasis called `name`, in either of its names and any case.
pub fn find_emphasis(name: &str) -> Result<Emphasis> {
    let found =
        EMPHASES.iter().find(|kind| [kind.name, kind.label].iter().any(|known| known.eq_ignore_ascii_case(name)));
    found.map(|kind| kind.emphasis).ok_or_else(|| unknown("emphasis", name, EMPHASES.iter().map(|kind| kind.name)))
}

impl Emphasis {
    /// Multiplies `states`, `[texts, tokens, width]`, by `weights`, `[texts, tokens]`; text `i` stands for `counts[i]` equal
    /// ones in the means.
    ///
    /// stable-diffusion-webui does this for one chunk at a time, and takes the means over that chunk of all texts that
    /// it encodes together: those of one schedule.
    pub(crate) fn apply(self, states: &mut [f32], weights: &[f32], counts: &[usize]) {
        let width = states.len() / weights.len().max(1);
        if width == 0 || !matches!(self, Self::Original | Self::NoNorm) {
            return;
        }
        let before = mean(states, counts);
        for (state, weight) in states.chunks_exact_mut(width).zip(weights) {
            for value in state {
                *value *= weight;
            }
        }
        let scale = before / mean(states, counts);
        if self == Self::Original && scale.is_finite() {
            for value in states {
                *value *= scale as f32;
            }
        }
    }
}

/// The mean of all values, where those of text `i` occur `counts[i]` times.
fn mean(values: &[f32], counts: &[usize]) -> f64 {
    let size = (values.len() / counts.len().max(1)).max(1);
    let sums = values.chunks(size).map(|text| text.iter().map(|value| f64::from(*value)).sum::<f64>());
    let (sum, count) = sums.zip(counts).fold((0.0, 0), |(sum, count), (text, n)| (sum + text * *n as f64, count + n));
    sum / (count * size) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_emphasis_is_found_by_both_names() {
        for kind in EMPHASES {
            for name in [kind.name, kind.label, &kind.label.to_uppercase()] {
                assert_eq!(find_emphasis(name).unwrap(), kind.emphasis);
            }
        }
        assert_eq!(EMPHASES[0].emphasis, Emphasis::default());
        let error = find_emphasis("orignal").unwrap_err();
        assert_eq!(error.to_string(), "unknown emphasis `orignal`");
    }

    #[test]
    fn states_are_multiplied() {
        let states = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0]; // three tokens of width 2
        let weights = [1.0, 2.0, 0.5];
        let apply = |emphasis: Emphasis, weights: &[f32]| {
            let mut states = states;
            emphasis.apply(&mut states, weights, &[1]);
            states.map(f32::to_bits)
        };
        let bits = |states: [f32; 6]| states.map(f32::to_bits);
        assert_eq!(apply(Emphasis::Ignore, &weights), bits(states));
        assert_eq!(apply(Emphasis::None, &weights), bits(states));
        assert_eq!(apply(Emphasis::NoNorm, &weights), bits([1.0, 2.0, 6.0, 8.0, 2.5, 3.5]));
        let scale = 22.0_f32 / 23.0;
        let wanted = [1.0, 2.0, 6.0, 8.0, 2.5, 3.5].map(|value: f32| value * scale);
        assert_eq!(apply(Emphasis::Original, &weights), bits(wanted));
        assert_eq!(apply(Emphasis::Original, &[1.0; 3]), bits(states), "no weights, no change of a bit");
        assert_eq!(apply(Emphasis::Original, &[0.0; 3]), bits([0.0; 6]), "a mean of 0 cannot be restored");
    }
}

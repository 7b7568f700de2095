//! What counts as a space, a word and a number in a prompt's grammar? As in Python, whose rules the grammar has.
use regex::Regex;
use std::{ops::Range, sync::LazyLock};

/// Python's `\w`.
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]").expect("a valid pattern"));

/// Python's `\s`: Unicode's white space and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| {
        if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { WORD.is_match(c.encode_utf8(&mut [0; 4])) }
    })
}

/// Where `word` stands in `text` as a whole word: Python's `\bword\b`.
pub(super) fn whole_words(text: &str, word: &str) -> Vec<Range<usize>> {
    let found = text.match_indices(word).map(|(at, _)| at..at + word.len());
    found
        .filter(|at| !is_word(text[..at.start].chars().next_back()) && !is_word(text[at.end..].chars().next()))
        .collect()
}

/// `text` without the digits it starts with, and how many they are.
fn skip_digits(text: &str) -> (&str, usize) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest, text.len() - rest.len())
}

/// Whether `text` is a number without a sign and an exponent: `1`, `1.5`, `.5` or `1.`.
fn is_decimal(text: &str) -> bool {
    let (rest, whole) = skip_digits(text);
    let (rest, part) = rest.strip_prefix('.').map_or((rest, 0), skip_digits);
    rest.is_empty() && whole + part > 0
}

/// The number that `text` is: digits with a sign and a point, if any. Never infinite.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_decimal(digits) { text.parse().ok().map(finite) } else { None }
}

/// The number that `text` is: as [`decimal`], with an exponent, if any. Never infinite.
pub(super) fn scientific(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    decimal(digits)?;
    matches!(skip_digits(exponent), ("", 1..)).then(|| text.parse().ok().map(finite))?
}

/// `value` without the infinities, which times 0 would be no number.
pub(super) fn finite(value: f64) -> f64 {
    value.clamp(-1e300, 1e300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let count = |text: &str| whole_words(text, "AND").len();
        assert_eq!(count("a AND b"), 1);
        assert_eq!(count("AND,AND (AND)AND"), 4);
        assert_eq!(count("BAND AND_ ANDY 1AND éAND AND犬 ANDAND"), 0);
        assert_eq!(count("AND\u{e34}"), 1, "a Thai mark is no letter, though it is `Alphabetic`");
    }

    #[test]
    fn numbers_are_those_of_the_grammar() {
        for (text, plain, scaled) in [
            ("1", Some(1.0), Some(1.0)),
            ("-.5", Some(-0.5), Some(-0.5)),
            ("+1.", Some(1.0), Some(1.0)),
            ("1e3", None, Some(1000.0)),
            ("1.5E-1", None, Some(0.15)),
            ("1e999", None, Some(1e300)),
            ("1e", None, None),
            ("e1", None, None),
            ("1e1.5", None, None),
            (".", None, None),
            ("", None, None),
            ("1.2.3", None, None),
            ("--1", None, None),
            ("inf", None, None),
            ("nan", None, None),
            ("１", None, None),
        ] {
            assert_eq!((decimal(text), scientific(text)), (plain, scaled), "{text}");
        }
    }
}

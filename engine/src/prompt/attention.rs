//! How strongly does each word of a prompt count? `(word:1.2)`, `(word)`, `[word]`, `BREAK`.
//!
//! The rules are those that stable-diffusion-webui documents at `parse_prompt_attention`.
use super::characters::{decimal, finite, is_space, whole_words};

/// What a pair of round brackets multiplies by.
const ROUND: f64 = 1.1;
/// What a pair of square brackets multiplies by.
const SQUARE: f64 = 1.0 / 1.1;
/// How many brackets around a fragment are multiplied one by one, from the inside out. Equal weights decide which
/// fragments are cut into tokens together, so the last bit counts. More would take time quadratic in the prompt: the
/// brackets further out are multiplied once for all fragments within.
const LEVELS: usize = 64;
/// When a bracket that nobody closes is closed: after all others, round ones first.
const END: [usize; 2] = [usize::MAX - 1, usize::MAX];

/// A part of a prompt that is cut into tokens alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fragment {
    /// A text and what its embeddings are multiplied by: finite.
    Words { text: String, weight: f64 },
    /// The rest of the chunk stays empty.
    Break,
}

/// The fragments of `text`, at least one. `(x)` counts 1.1 times as much, `[x]` 1.1 times less, `(x:1.3)` 1.3 times as
/// much; `\(`, `\)`, `\[`, `\]` and `\\` are characters of the text. Brackets that are not closed apply to the end of
/// the text, and a closing bracket without an opening one is text. Neighbours of equal weight are one fragment.
///
/// A `BREAK` has the weight -1, which brackets multiply too. If it is another one in the end, the `BREAK` is a word, as
/// in stable-diffusion-webui.
pub(crate) fn weighted(text: &str) -> Vec<Fragment> {
    let mut reader = Reader::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = reader.token(first, rest);
    }
    merge(reader.weights())
}

/// A pair of brackets, or one that is still open.
#[derive(Debug)]
struct Bracket {
    multiplier: f64,
    /// The one around it of the same kind.
    outer: Option<usize>,
    /// Counts the closing brackets.
    closed: usize,
    /// The product of the multipliers from here outwards.
    product: f64,
}

/// A text before the brackets around it are known.
#[derive(Debug)]
struct Piece<'a> {
    text: &'a str,
    weight: f64,
    /// The innermost round and the innermost square bracket around it. They need not nest: `(a [b) c]`.
    inside: [Option<usize>; 2],
}

#[derive(Debug, Default)]
struct Reader<'a> {
    pieces: Vec<Piece<'a>>,
    brackets: Vec<Bracket>,
    /// The innermost open round and square bracket.
    open: [Option<usize>; 2],
    closed: usize,
}

impl<'a> Reader<'a> {
    /// Reads one token at the start of `rest` and gives what follows.
    fn token(&mut self, first: char, rest: &'a str) -> &'a str {
        let after = &rest[first.len_utf8()..];
        match first {
            '\\' => {
                let escaped = usize::from(after.starts_with(['(', ')', '[', ']', '\\']));
                self.piece(&after[..escaped], 1.0);
                &after[escaped..]
            }
            '(' | '[' => {
                self.open(usize::from(first == '['));
                after
            }
            ')' if self.close(0, ROUND) => after,
            ']' if self.close(1, SQUARE) => after,
            ':' => self.colon(rest),
            ')' | ']' => self.words(rest, 1),
            _ => self.words(rest, rest.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(rest.len())),
        }
    }

    /// A weight like `:1.3)`, or else a colon of the text.
    fn colon(&mut self, rest: &'a str) -> &'a str {
        let number = rest[1..].trim_start_matches(is_space);
        let end = number.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(number.len());
        let (number, after) = number.split_at(end);
        match (decimal(number), after.trim_start_matches(is_space).strip_prefix(')')) {
            (Some(weight), Some(after)) if self.close(0, weight) => after,
            (Some(_), Some(after)) => self.words(rest, rest.len() - after.len()),
            _ => self.words(rest, 1),
        }
    }

    /// The first `length` bytes of `rest` as text, cut at each `BREAK`.
    fn words(&mut self, rest: &'a str, length: usize) -> &'a str {
        let (text, after) = rest.split_at(length);
        let mut start = 0;
        for at in whole_words(text, "BREAK") {
            self.piece(trimmed(text, start, at.start).trim_end_matches(is_space), 1.0);
            self.piece(&text[at.clone()], -1.0);
            start = at.end;
        }
        self.piece(trimmed(text, start, text.len()), 1.0);
        after
    }

    fn piece(&mut self, text: &'a str, weight: f64) {
        self.pieces.push(Piece { text, weight, inside: self.open });
    }

    fn open(&mut self, kind: usize) {
        let multiplier = [ROUND, SQUARE][kind];
        self.brackets.push(Bracket { multiplier, outer: self.open[kind], closed: END[kind], product: 1.0 });
        self.open[kind] = Some(self.brackets.len() - 1);
    }

    /// Whether there was a bracket to close.
    fn close(&mut self, kind: usize, multiplier: f64) -> bool {
        let Some(open) = self.open[kind] else { return false };
        let bracket = &mut self.brackets[open];
        (bracket.multiplier, bracket.closed) = (multiplier, self.closed);
        self.open[kind] = bracket.outer;
        self.closed += 1;
        true
    }

    /// Every piece with its weight.
    fn weights(mut self) -> Vec<(&'a str, f64)> {
        for at in 0..self.brackets.len() {
            let outer = self.brackets[at].outer.map_or(1.0, |outer| self.brackets[outer].product);
            self.brackets[at].product = finite(self.brackets[at].multiplier * outer);
        }
        self.pieces.iter().map(|piece| (piece.text, self.weight(piece))).collect()
    }

    /// In the order in which the brackets close.
    fn weight(&self, piece: &Piece<'_>) -> f64 {
        let mut weight = piece.weight;
        let mut inside = piece.inside;
        for _ in 0..LEVELS {
            let next = inside.iter_mut().filter(|at| at.is_some());
            let Some(at) = next.min_by_key(|at| at.map(|at| self.brackets[at].closed)) else { return weight };
            let Some(bracket) = at.map(|at| &self.brackets[at]) else { return weight };
            weight = finite(weight * bracket.multiplier);
            *at = bracket.outer;
        }
        inside.into_iter().flatten().fold(weight, |weight, at| finite(weight * self.brackets[at].product))
    }
}

/// `text[start..end]`, without the spaces that follow a `BREAK` before it.
fn trimmed(text: &str, start: usize, end: usize) -> &str {
    let part = &text[start..end];
    if start == 0 { part } else { part.trim_start_matches(is_space) }
}

#[expect(clippy::float_cmp, reason = "only what is the same number is one fragment, as in the reference")]
fn merge(pieces: Vec<(&str, f64)>) -> Vec<Fragment> {
    let mut merged: Vec<(String, f64)> = Vec::new();
    for (text, weight) in pieces {
        match merged.last_mut() {
            Some((before, same)) if *same == weight => before.push_str(text),
            _ => merged.push((text.to_owned(), weight)),
        }
    }
    if merged.is_empty() {
        merged.push((String::new(), 1.0));
    }
    let fragment = |(text, weight): (String, f64)| {
        if text == "BREAK" && weight == -1.0 { Fragment::Break } else { Fragment::Words { text, weight } }
    };
    merged.into_iter().map(fragment).collect()
}

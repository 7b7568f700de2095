//! How does text become pixels? In Noto Sans Mono where it has the letter, in GNU Unifont for other scripts.
//!
//! Noto Sans Mono is drawn beforehand at three sizes, with the letters of western and central Europe. Unifont is 16
//! pixels high and 8 or 16 wide; it is doubled for the largest size and stands in the middle of the line at the others.
//! A character without a glyph becomes its number, as in `[1F680]`. All is written from left to right, as it is stored.
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};
use unicode_width::UnicodeWidthChar;
use unifont::{Glyph, get_glyph};

/// White paper.
pub(super) const PAPER: u8 = 255;
/// What stands where a text was shortened.
const CUT: &str = " ... ";
/// The height of Unifont's glyphs in pixels.
const UNIFONT: usize = 16;

/// A grey, 0 (black) to 255.
#[derive(Clone, Copy)]
pub(super) struct Ink(pub(super) u8);

/// Where a line of text touches the space that it is given.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Middle,
    Right,
}

/// Letters of one size.
#[derive(Clone, Copy)]
pub(super) struct Letters(RasterHeight);

/// White paper to write on: `[height, width, 3]`.
pub(super) struct Paper {
    pub(super) width: usize,
    pub(super) rgb: Vec<u8>,
}

impl Letters {
    /// Letters that suit pictures of this width in pixels.
    pub(super) fn for_pictures(width: usize) -> Self {
        Self(match width {
            0..=320 => RasterHeight::Size16,
            321..=768 => RasterHeight::Size24,
            _ => RasterHeight::Size32,
        })
    }

    /// Pixels from one line to the next.
    pub(super) fn line(self) -> usize {
        self.0.val() + self.0.val() / 8
    }

    /// Pixels that `characters` take, side by side.
    pub(super) fn width(self, characters: usize) -> usize {
        characters * get_raster_width(FontWeight::Regular, self.0)
    }

    /// The width in pixels of the longest line of `text` when it is not wrapped.
    pub(super) fn natural_width(self, text: &str) -> usize {
        let lines = text.lines().map(|line| line.chars().flat_map(shown).map(|c| self.advance(c)).sum());
        lines.max().unwrap_or(0)
    }

    /// `text` in lines of at most `width` pixels, but of a character at least; what is longer than `most` lines is
    /// shortened in the middle. Characters that nobody would see become their numbers.
    pub(super) fn wrap(self, text: &str, width: usize, most: usize) -> Vec<String> {
        let text: Vec<char> = text.chars().flat_map(shown).collect();
        let mut lines = self.lines(&text, width);
        if lines.len() <= most {
            return lines;
        }
        lines.truncate(most);
        // kept: so many characters were found to fit; a longer text has no fewer lines
        let (mut kept, mut too_many) = (0, text.len());
        while kept + 1 < too_many {
            let middle = kept.midpoint(too_many);
            if self.lines(&shorten(&text, middle), width).len() <= most { kept = middle } else { too_many = middle }
        }
        Some(self.lines(&shorten(&text, kept), width)).filter(|lines| lines.len() <= most).unwrap_or(lines) // too narrow for dots
    }

    /// Lines of at most `width` pixels, broken at spaces where there are any.
    fn lines(self, text: &[char], width: usize) -> Vec<String> {
        let space = self.advance(' ');
        let mut lines = Vec::new();
        for paragraph in text.split(|c| *c == '\n') {
            let mut line = String::new();
            let mut length = 0;
            for word in paragraph.split(|c| *c == ' ').filter(|word| !word.is_empty()) {
                let whole: usize = word.iter().map(|c| self.advance(*c)).sum();
                if length > 0 && length + space + whole > width {
                    lines.push(std::mem::take(&mut line));
                    length = 0;
                } else if length > 0 {
                    line.push(' ');
                    length += space;
                }
                for c in word {
                    let advance = self.advance(*c);
                    if length > 0 && length + advance > width {
                        lines.push(std::mem::take(&mut line));
                        length = 0;
                    }
                    line.push(*c);
                    length += advance;
                }
            }
            lines.push(line);
        }
        lines
    }

    /// Writes a line whose upper edge is at `y`, in the space from `x` of `width` pixels.
    pub(super) fn write(
        self,
        paper: &mut Paper,
        line: &str,
        (x, y): (usize, usize),
        (width, side): (usize, Side),
        ink: Ink,
    ) {
        let free = width.saturating_sub(line.chars().map(|c| self.advance(c)).sum());
        let indent = match side {
            Side::Left => 0,
            Side::Middle => free / 2,
            Side::Right => free,
        };
        let mut left = x + indent;
        for c in line.chars() {
            if let Some(letter) = self.noto(c) {
                for (dy, row) in letter.rows().enumerate() {
                    row.iter().enumerate().for_each(|(dx, strength)| paper.darken(left + dx, y + dy, *strength, ink));
                }
            } else if let Some(glyph) = get_glyph(c) {
                self.write_glyph(paper, glyph, (left.saturating_sub(self.retreat(c, glyph)), y), ink);
            }
            left += self.advance(c);
        }
    }

    /// Writes a glyph of Unifont, each of its pixels as a square.
    fn write_glyph(self, paper: &mut Paper, glyph: &Glyph, (x, y): (usize, usize), ink: Ink) {
        let times = self.times();
        let top = y + (self.0.val() - UNIFONT * times) / 2;
        for dy in 0..UNIFONT * times {
            for dx in 0..glyph.get_width() * times {
                if glyph.get_pixel(dx / times, dy / times) {
                    paper.darken(x + dx, top + dy, 255, ink);
                }
            }
        }
    }

    /// Pixels from a character to the next; a mark that belongs to the letter before it takes none.
    fn advance(self, c: char) -> usize {
        match (self.noto(c), get_glyph(c)) {
            (Some(_), _) => self.width(1),
            (None, Some(glyph)) if !is_mark(c) => glyph.get_width() * self.times(),
            _ => 0,
        }
    }

    /// How far to the left a mark stands, so that it lies over the letter before it.
    fn retreat(self, c: char, glyph: &Glyph) -> usize {
        if is_mark(c) { glyph.get_width() * self.times() } else { 0 }
    }

    /// How many pixels a pixel of Unifont becomes on each side.
    fn times(self) -> usize {
        self.0.val() / UNIFONT
    }

    fn noto(self, c: char) -> Option<RasterizedChar> {
        get_raster(c, FontWeight::Regular, self.0)
    }
}

impl Paper {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, rgb: vec![PAPER; width * height * 3] }
    }

    /// Puts ink on a pixel, `strength` of 255; what lies beside the paper is lost.
    fn darken(&mut self, x: usize, y: usize, strength: u8, ink: Ink) {
        let at = (y * self.width + x) * 3;
        if let (true, Some(pixel)) = (x < self.width, self.rgb.get_mut(at..at + 3)) {
            let depth = u32::from(PAPER - ink.0) * u32::from(strength) / 255;
            for value in pixel {
                *value = value.saturating_sub(depth as u8);
            }
        }
    }
}

/// A character as it is shown: itself, a space, or its number. Ends of lines stay.
fn shown(c: char) -> Vec<char> {
    match c {
        '\n' => vec![c],
        '\t' | '\r' | '\u{a0}' => vec![' '],
        _ if is_unseen(c) || !has_glyph(c) => format!("[{:X}]", u32::from(c)).chars().collect(),
        _ => vec![c],
    }
}

/// Characters that change others, or the direction of writing, and have no form of their own.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c), 0xAD | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F)
        || matches!(u32::from(c), 0xFE00..=0xFE0F | 0xFEFF | 0xFFF9..=0xFFFB)
}

fn has_glyph(c: char) -> bool {
    Letters(RasterHeight::Size16).noto(c).is_some() || get_glyph(c).is_some()
}

/// Whether it is written over the letter before it.
fn is_mark(c: char) -> bool {
    c.width() == Some(0)
}

/// The first and the last characters, `keep` in all.
fn shorten(text: &[char], keep: usize) -> Vec<char> {
    let (head, tail) = (keep.div_ceil(2), keep / 2);
    let parts = text[..head].iter().copied().chain(CUT.chars());
    parts.chain(text[text.len() - tail..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: Letters = Letters(RasterHeight::Size16);

    fn wrapped(text: &str, columns: usize, most: usize) -> Vec<String> {
        LETTERS.wrap(text, LETTERS.width(columns), most)
    }

    /// What is inked, as the number of pixels that are not white.
    fn inked(letters: Letters, text: &str) -> usize {
        let mut paper = Paper::new(120, letters.line());
        letters.write(&mut paper, text, (20, 0), (100, Side::Left), Ink(50));
        paper.rgb.chunks(3).filter(|pixel| pixel[0] != PAPER).count()
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrapped("a dog in space", 8, 9), ["a dog in", "space"]);
        assert_eq!(wrapped("abcdefghij kl", 4, 9), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrapped("one\ntwo", 9, 9), ["one", "two"]);
        assert_eq!(wrapped("", 9, 1), [""]);
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(wrapped("a dog and a cat on the beach", 16, 1), ["a dog ... beach"]);
        let lines = wrapped(&"word ".repeat(1000), 20, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.concat().contains("..."), "{lines:?}");
        assert_eq!(wrapped("abcdef", 2, 1), ["ab"]);
    }

    #[test]
    fn every_character_is_seen() {
        for size in [RasterHeight::Size16, RasterHeight::Size24, RasterHeight::Size32] {
            for c in ["a", "é", "ł", "犬", "σ", "ж", "ك", "ก", "한", "☀", "\u{fffd}"] {
                assert_eq!(Letters(size).wrap(c, 100, 1), [c]);
                assert!(inked(Letters(size), c) > 4, "{c}");
            }
            assert_eq!(inked(Letters(size), " "), 0);
        }
        assert_eq!(LETTERS.wrap("太🚀\u{202e}\u{7}\tx\u{a0}y", 500, 1), ["太[1F680][202E][7] x y"]);
    }

    /// Other scripts are as high as the letters beside them, or stand in the middle, and none is torn apart.
    #[test]
    fn other_scripts_come_in_every_size() {
        let (small, middle, large) = (LETTERS, Letters(RasterHeight::Size24), Letters(RasterHeight::Size32));
        assert_eq!([small, middle, large].map(|letters| letters.natural_width("太ж")), [24, 24, 48]);
        assert_eq!(inked(middle, "太"), inked(small, "太"));
        assert_eq!(inked(large, "太"), 4 * inked(small, "太"));
        assert_eq!(small.wrap("太空中的狗", 40, 9), ["太空", "中的", "狗"]);
        assert_eq!(small.wrap("太空中的狗", 3, 9).len(), 5);
        assert_eq!(small.wrap(&"太空中的狗".repeat(9), 6 * 16, 1), ["太空 ... 狗"]);
    }

    #[test]
    fn marks_lie_over_the_letter_before() {
        assert_eq!(LETTERS.natural_width("и\u{306}"), LETTERS.natural_width("и"));
        assert!(inked(LETTERS, "и\u{306}") > inked(LETTERS, "и"));
    }

    #[test]
    fn what_lies_beside_the_paper_is_lost() {
        let mut paper = Paper::new(5, 5);
        LETTERS.write(&mut paper, "WWW犬", (3, 2), (0, Side::Right), Ink(0));
        assert_eq!(paper.rgb.len(), 75);
    }
}

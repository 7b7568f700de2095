//! Which pixels does a tile take in, where a picture is too small for it or ends?
use crate::tiles::{Span, Tiling};
use std::ops::Range;

/// What stands around a picture, mirrored, so that the network sees no edge: pixels on each side.
const BORDER: usize = 10;

/// One axis of a picture, with its mirrored border, covered by tiles.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Pixels of the picture.
    length: usize,
    /// The tiles of picture and border.
    pub(super) tiling: Tiling,
}

/// How the graph wants an axis of its input to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This length and no other.
    Fixed(usize),
    /// Any multiple of this.
    Multiple(usize),
}

impl Side {
    /// An axis of `length` pixels in tiles of about `tile` that overlap by `overlap`. A quarter of what they share is mixed,
    /// the rest is context.
    pub(super) fn new(length: usize, wanted: Wanted, tile: usize, overlap: usize) -> Self {
        let bordered = length + 2 * BORDER;
        let (tile, padded) = match wanted {
            Wanted::Fixed(tile) => (tile, bordered.max(tile)),
            Wanted::Multiple(of) => {
                let tile = (tile / of).max(1) * of;
                (tile, if bordered > tile { bordered } else { bordered.next_multiple_of(of) })
            }
        };
        let overlap = overlap.min(tile / 3);
        Self { length, tiling: Tiling::new(padded, tile, overlap, overlap / 4) }
    }

    /// The picture's pixels under the positions of a tile.
    pub(super) fn pixels(&self, span: &Span) -> impl Iterator<Item = usize> + Clone {
        let length = self.length;
        (span.start..span.end).map(move |position| mirrored(position, length))
    }

    /// Where the picture itself lies in the result, `scale` times larger.
    pub(super) fn kept(&self, scale: usize) -> Range<usize> {
        BORDER * scale..(BORDER + self.length) * scale
    }
}

/// The pixel at `position` of a bordered axis: the picture is mirrored at its outermost pixels, again and again.
fn mirrored(position: usize, length: usize) -> usize {
    let period = (2 * (length - 1)).max(1);
    let at = (position + period * BORDER - BORDER) % period;
    if at < length { at } else { period - at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_mirrored_at_their_edges() {
        let around = |length: usize| (0..BORDER + 8).map(|position| mirrored(position, length)).collect::<Vec<_>>();
        assert_eq!(around(4), [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(around(1), [0; 18]);
        assert_eq!(around(100)[..12], [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1]);
    }

    #[test]
    fn tiles_are_as_the_graph_wants_them() {
        for length in [1, 5, 40, 61, 63, 200] {
            for (wanted, tile) in [(Wanted::Fixed(32), 32), (Wanted::Multiple(8), 64), (Wanted::Multiple(1), 70)] {
                let side = Side::new(length, wanted, 70, 16);
                let spans = side.tiling.spans();
                let of = if let Wanted::Multiple(of) = wanted { of } else { tile };
                assert!(spans.iter().all(|span| span.len() <= tile && span.len() % of == 0), "{length} {wanted:?}");
                assert!(side.tiling.length() >= side.kept(1).end);
                let whole = Span { start: 0, end: side.tiling.length(), ramp_in: 0..0, ramp_out: 0..0 };
                let pixels: Vec<usize> = side.pixels(&whole).collect();
                assert_eq!(pixels[side.kept(1)], (0..length).collect::<Vec<_>>());
            }
        }
    }
}

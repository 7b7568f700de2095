//! How is a plane covered by overlapping tiles, and how do their results become one plane without a seam?
//!
//! ```text
//! start        ramp_in                       ramp_out         end
//!   |  context  |====|                        |====|  context  |
//!   0 ........ 0 rises 1 .................. 1 falls 0 ........ 0   weight
//! ```
//! Where two tiles overlap, one falls as the other rises, linearly, so that their weights sum to 1. What lies outside the
//! ramps is context: the tile is computed with it, but what comes out there suffers from the tile's edge and is not used.
use std::ops::Range;

/// One tile's part of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first position that the tile takes in.
    pub(crate) start: usize,
    /// The position after its last.
    pub(crate) end: usize,
    /// Where its weight rises from 0 to 1; empty for the first tile.
    pub(crate) ramp_in: Range<usize>,
    /// Where its weight falls from 1 to 0; empty for the last tile.
    pub(crate) ramp_out: Range<usize>,
}

impl Span {
    /// How many positions the tile takes in.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Where the tile counts: all of it but its context.
    pub(crate) fn used(&self) -> Range<usize> {
        self.ramp_in.start..self.ramp_out.end
    }

    /// How much the tile counts at `position`, 0 to 1.
    pub(crate) fn weight(&self, position: usize) -> f32 {
        // the middle of a position, so that no weight on a ramp is 0 or 1
        let along = |ramp: &Range<usize>| (((position - ramp.start) as f64 + 0.5) / ramp.len() as f64) as f32;
        if !self.used().contains(&position) {
            0.0
        } else if self.ramp_in.contains(&position) {
            along(&self.ramp_in)
        } else if self.ramp_out.contains(&position) {
            1.0 - along(&self.ramp_out)
        } else {
            1.0
        }
    }

    fn scaled(&self, times: usize) -> Self {
        let range = |range: &Range<usize>| range.start * times..range.end * times;
        let (ramp_in, ramp_out) = (range(&self.ramp_in), range(&self.ramp_out));
        Self { start: self.start * times, end: self.end * times, ramp_in, ramp_out }
    }
}

/// An axis, covered by tiles that are all equally long and evenly spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    spans: Vec<Span>,
}

impl Tiling {
    /// Covers `length` positions by tiles of `tile`, of which neighbours share `overlap` or more and are mixed over `ramp`
    /// of these, in their middle; so each tile has `(overlap - ramp) / 2` or more of context wherever it has a neighbour.
    ///
    /// An axis not longer than `tile` is one tile of its own length. An overlap above a third of the tile counts as a third, so
    /// that no three tiles are mixed; a ramp above the overlap counts as the overlap; a tile of 0 counts as 1.
    pub(crate) fn new(length: usize, tile: usize, overlap: usize, ramp: usize) -> Self {
        let tile = tile.max(1);
        let overlap = overlap.min(tile / 3);
        let ramp = ramp.min(overlap);
        let count = if length <= tile { 1 } else { (length - overlap).div_ceil(tile - overlap) };
        let start = |number: usize| if number == 0 { 0 } else { number * (length - tile) / (count - 1) };
        // the ramp between a tile and the next, in the middle of what they share
        let between = |number: usize| {
            let first = usize::midpoint(start(number) + tile, start(number + 1)) - ramp / 2;
            first..first + ramp
        };
        let spans = (0..count).map(|number| Span {
            start: start(number),
            end: (start(number) + tile).min(length),
            ramp_in: if number == 0 { 0..0 } else { between(number - 1) },
            ramp_out: if number + 1 == count { length..length } else { between(number) },
        });
        Self { spans: spans.collect() }
    }

    /// The same tiles of an axis with `times` positions for each one here: what they become where the work changes the size.
    pub(crate) fn scaled(&self, times: usize) -> Self {
        Self { spans: self.spans.iter().map(|span| span.scaled(times)).collect() }
    }

    /// The tiles, first to last.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// How long the axis is.
    pub(crate) fn length(&self) -> usize {
        self.spans.last().map_or(0, |span| span.end)
    }
}

/// A plane that grows from tiles, row of tiles by row of tiles, and is given away as it becomes ready: in memory there is
/// never more than one row of tiles.
#[derive(Debug)]
pub(crate) struct Blend {
    channels: usize,
    rows: Tiling,
    columns: Tiling,
    /// The first row that is not given away yet.
    top: usize,
    /// The rows from there on, as far as tiles have come: `[rows, channels, width]`.
    sums: Vec<f32>,
}

impl Blend {
    /// A plane of `channels` values at each position, covered by `rows` and `columns`.
    pub(crate) fn new(channels: usize, rows: Tiling, columns: Tiling) -> Self {
        Self { channels, rows, columns, top: 0, sums: Vec::new() }
    }

    /// Adds a tile: `row` and `column` say which, `values` are `[channels, height, width]` of its spans. Tiles come row by row.
    pub(crate) fn add(&mut self, row: usize, column: usize, values: &[f32]) {
        let (down, across) = (&self.rows.spans[row], &self.columns.spans[column]);
        debug_assert_eq!(values.len(), self.channels * down.len() * across.len(), "a value for each position");
        let width = self.columns.length();
        let needed = (down.used().end - self.top) * self.channels * width;
        if self.sums.len() < needed {
            self.sums.resize(needed, 0.0);
        }
        let used = across.used();
        let weights: Vec<f32> = used.clone().map(|x| across.weight(x)).collect();
        for (channel, plane) in values.chunks_exact(down.len() * across.len()).enumerate() {
            for y in down.used() {
                let from = (y - down.start) * across.len() + used.start - across.start;
                let to = ((y - self.top) * self.channels + channel) * width + used.start;
                let weight = down.weight(y);
                let (from, to) = (&plane[from..from + used.len()], &mut self.sums[to..to + used.len()]);
                for ((sum, value), across) in to.iter_mut().zip(from).zip(&weights) {
                    *sum += weight * across * value;
                }
            }
        }
    }

    /// Gives away what is ready after the row of tiles `row`: `take` is called with each row of the plane, from the top on,
    /// and its values `[channels, width]`.
    pub(crate) fn finish<E>(
        &mut self,
        row: usize,
        mut take: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let next = self.rows.spans.get(row + 1);
        let ready = next.map_or(self.rows.length(), |next| next.used().start) - self.top;
        let values = self.channels * self.columns.length();
        for (number, row) in self.sums.chunks_exact(values.max(1)).take(ready).enumerate() {
            take(self.top + number, row)?;
        }
        self.sums.drain(..(ready * values).min(self.sums.len()));
        self.top += ready;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Covers the axis, sums the weights at each position, and tells how they are wrong.
    fn check(length: usize, tile: usize, overlap: usize, ramp: usize) {
        let what = format!("{length} by {tile}, {overlap}, {ramp}");
        let tiling = Tiling::new(length, tile, overlap, ramp);
        let spans = tiling.spans();
        assert_eq!((spans[0].start, spans[spans.len() - 1].end, tiling.length()), (0, length, length), "{what}");
        assert!(spans.iter().all(|span| span.len() == tile.min(length)), "{what}");
        for position in 0..length {
            let weights: Vec<f32> = spans.iter().map(|span| span.weight(position)).filter(|w| *w != 0.0).collect();
            assert!((1..=2).contains(&weights.len()), "{what}: {weights:?} at {position}");
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{what}: {weights:?} at {position}");
        }
        for pair in spans.windows(2) {
            let (overlap, ramp) = (overlap.min(tile / 3), ramp.min(overlap.min(tile / 3)));
            assert!(pair[0].end - pair[1].start >= overlap, "{what}");
            assert_eq!((&pair[0].ramp_out, pair[0].ramp_out.len()), (&pair[1].ramp_in, ramp), "{what}");
            let context = (overlap - ramp) / 2;
            assert!(pair[1].start + context <= pair[1].ramp_in.start, "{what}: {pair:?}");
            assert!(pair[0].end >= pair[0].ramp_out.end + context, "{what}: {pair:?}");
        }
    }

    #[test]
    fn every_position_is_covered_with_a_weight_of_one() {
        for length in 1..150 {
            for tile in [1, 2, 3, 4, 7, 16, 33, 48] {
                for (overlap, ramp) in [(0, 0), (1, 1), (5, 2), (6, 6), (16, 4), (16, 16), (100, 100)] {
                    check(length, tile, overlap, ramp);
                }
            }
        }
    }

    #[test]
    fn no_more_tiles_than_needed() {
        let starts = |length| Tiling::new(length, 64, 16, 8).spans().iter().map(|s| s.start).collect::<Vec<_>>();
        assert_eq!(starts(64), [0]);
        assert_eq!(starts(65), [0, 1]);
        assert_eq!(starts(112), [0, 48]);
        assert_eq!(starts(113), [0, 24, 49]);
    }

    #[test]
    fn a_single_ramp_as_it_was_meant() {
        let tiling = Tiling::new(10, 6, 2, 2);
        let span = |start, end, ramp_in, ramp_out| Span { start, end, ramp_in, ramp_out };
        assert_eq!(tiling.spans(), [span(0, 6, 0..0, 4..6), span(4, 10, 4..6, 10..10)]);
        let weights: Vec<f32> = (0..10).map(|position| tiling.spans()[1].weight(position)).collect();
        assert_eq!(weights, [0.0, 0.0, 0.0, 0.0, 0.25, 0.75, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(tiling.scaled(3).spans()[1], span(12, 30, 12..18, 30..30));
    }

    /// Two channels that differ everywhere, cut into tiles whose edges are spoilt as far as the context goes.
    #[test]
    fn tiles_become_the_plane_that_they_were_cut_from() {
        let value = |channel: usize, y: usize, x: usize| (channel * 5000 + y * 70 + x) as f32;
        for (height, width, context) in [(61, 47, 3), (20, 20, 0), (1, 90, 2), (90, 1, 3)] {
            let [rows, columns] = [height, width].map(|length| Tiling::new(length, 20, 6, 6 - 2 * context));
            let mut blend = Blend::new(2, rows.clone(), columns.clone());
            let (mut seen, mut most) = (0, 0);
            for (row, down) in rows.spans().iter().enumerate() {
                for (column, across) in columns.spans().iter().enumerate() {
                    let spoilt = |span: &Span, position: usize, length: usize| {
                        (span.start > 0 && position < span.start + context)
                            || (span.end < length && position + context >= span.end)
                    };
                    let tile = (0..2).flat_map(|channel| {
                        (down.start..down.end)
                            .flat_map(move |y| (across.start..across.end).map(move |x| (channel, y, x)))
                    });
                    let tile: Vec<f32> = tile
                        .map(|(channel, y, x)| {
                            let spoilt = spoilt(down, y, height) || spoilt(across, x, width);
                            if spoilt { 1e9 } else { value(channel, y, x) }
                        })
                        .collect();
                    blend.add(row, column, &tile);
                }
                most = most.max(blend.sums.len());
                let taken = blend.finish(row, |y, values| {
                    assert_eq!(y, seen);
                    for (at, got) in values.iter().enumerate() {
                        assert!((got - value(at / width, y, at % width)).abs() < 0.01, "{y}, {at}");
                    }
                    seen += 1;
                    Ok::<(), Infallible>(())
                });
                taken.unwrap();
            }
            assert_eq!((seen, blend.sums.len()), (height, 0));
            assert!(most <= 20 * 2 * width, "{most} values for one row of tiles");
        }
    }

    #[test]
    fn whoever_takes_the_rows_may_stop() {
        let tiling = Tiling::new(4, 4, 0, 0);
        let mut blend = Blend::new(1, tiling.clone(), tiling);
        blend.add(0, 0, &[1.0; 16]);
        assert_eq!(blend.finish(0, |y, _| if y < 2 { Ok(()) } else { Err(y) }), Err(2));
    }
}

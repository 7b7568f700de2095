//! How is a picture turned upright that says how its camera was held?
//!
//! EXIF's orientation (CIPA DC-008, 4.6.4): 1 as it is, 2 mirrored, 3 upside down, 4 flipped, 5 to 8 the same with rows
//! and columns exchanged first.
use crate::Bitmap;

/// `picture` as it should be seen, which says that its orientation is `orientation`; unknown ones change nothing.
pub(super) fn upright(picture: Bitmap, orientation: u8) -> Bitmap {
    let mut picture = if matches!(orientation, 5..=8) { transposed(&picture) } else { picture };
    let width = picture.width as usize;
    if matches!(orientation, 2 | 3 | 6 | 7) {
        mirror(&mut picture.rgb, width, 3);
        picture.alpha.iter_mut().for_each(|alpha| mirror(alpha, width, 1));
    }
    if matches!(orientation, 3 | 4 | 7 | 8) {
        flip(&mut picture.rgb, width * 3);
        picture.alpha.iter_mut().for_each(|alpha| flip(alpha, width));
    }
    picture
}

/// The size as it should be seen of a picture that is stored as `size`.
pub(super) fn upright_size((width, height): (u32, u32), orientation: u8) -> (u32, u32) {
    if matches!(orientation, 5..=8) { (height, width) } else { (width, height) }
}

/// Rows as columns.
fn transposed(picture: &Bitmap) -> Bitmap {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let turn = |plane: &[u8], depth: usize| {
        let mut turned = Vec::with_capacity(plane.len());
        for x in 0..width {
            for y in 0..height {
                let at = (y * width + x) * depth;
                turned.extend_from_slice(&plane[at..at + depth]);
            }
        }
        turned
    };
    let alpha = picture.alpha.as_ref().map(|alpha| turn(alpha, 1));
    Bitmap { alpha, ..Bitmap::opaque(picture.height, picture.width, turn(&picture.rgb, 3)) }
}

/// Reverses each row of `width` pixels of `depth` bytes.
fn mirror(plane: &mut [u8], width: usize, depth: usize) {
    for row in plane.chunks_exact_mut((width * depth).max(1)) {
        row.reverse();
        row.chunks_exact_mut(depth).for_each(<[u8]>::reverse);
    }
}

/// Reverses the order of the rows, each of `length` bytes.
fn flip(plane: &mut [u8], length: usize) {
    let half = plane.len() / 2 / length.max(1) * length; // a row in the middle stays
    let (top, rest) = plane.split_at_mut(half);
    for (above, below) in top.chunks_exact_mut(length.max(1)).zip(rest.rchunks_exact_mut(length.max(1))) {
        above.swap_with_slice(below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a picture with the rows `1 2 3` and `4 5 6` becomes.
    #[test]
    fn every_orientation_is_turned_upright() {
        let stored = [1, 2, 3, 4, 5, 6];
        let expected: [(u8, u32, [u8; 6]); 9] = [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
            (9, 3, [1, 2, 3, 4, 5, 6]),
        ];
        let picture = |width: u32, values: [u8; 6]| Bitmap {
            alpha: Some(values.to_vec()),
            ..Bitmap::opaque(width, 6 / width, values.iter().flat_map(|value| [*value, 100 + value, 0]).collect())
        };
        for (orientation, width, values) in expected {
            let turned = upright(picture(3, stored), orientation);
            assert_eq!(turned, picture(width, values), "orientation {orientation}");
            assert_eq!(upright_size((3, 2), orientation), turned.size());
        }
    }

    #[test]
    fn a_row_in_the_middle_stays() {
        let mut plane = [1, 1, 2, 2, 3, 3];
        flip(&mut plane, 2);
        assert_eq!(plane, [3, 3, 2, 2, 1, 1]);
    }
}

//! Pixels: what is decoded from latents, read from files and written to them.
use crate::resample::{Filter, premultiply, resize, unmultiply};
use std::borrow::Cow;

/// A picture's pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green, blue, 8 bits each, row by row: `width * height * 3` bytes.
    pub rgb: Vec<u8>,
    /// How opaque each pixel is, 0 to 255, where the picture says so: `width * height` bytes, colours not multiplied by it.
    pub alpha: Option<Vec<u8>>,
}

impl Bitmap {
    /// An opaque picture of `width * height * 3` bytes.
    #[must_use]
    pub fn opaque(width: u32, height: u32, rgb: Vec<u8>) -> Self {
        debug_assert_eq!(rgb.len(), width as usize * height as usize * 3, "three bytes for each pixel");
        Self { width, height, rgb, alpha: None }
    }

    /// The same picture, each pixel a square of `times` pixels; with 0 or 1 as it is.
    #[must_use]
    pub fn enlarged(self, times: u32) -> Self {
        if times < 2 {
            return self;
        }
        let n = times as usize;
        let blow_up = |plane: &[u8], depth: usize| -> Vec<u8> {
            let rows = plane.chunks_exact((self.width as usize * depth).max(1));
            let wide = rows.map(|row| row.chunks_exact(depth).flat_map(|pixel| pixel.repeat(n)).collect::<Vec<u8>>());
            wide.flat_map(|row| row.repeat(n)).collect()
        };
        let alpha = self.alpha.as_ref().map(|alpha| blow_up(alpha, 1));
        Self { rgb: blow_up(&self.rgb, 3), alpha, width: self.width * times, height: self.height * times }
    }

    /// The same picture, made to fit into a square of `side` pixels; never enlarged.
    #[must_use]
    pub fn fit(self, side: u32) -> Self {
        let longest = self.width.max(self.height).max(1);
        if longest <= side {
            return self;
        }
        let scaled = |length: u32| ((u64::from(length) * u64::from(side) / u64::from(longest)) as u32).max(1);
        self.resized(scaled(self.width), scaled(self.height), Filter::Bilinear)
    }

    /// The picture in another size, each side 1 or more; transparent pixels do not bleed into others.
    ///
    /// # Panics
    /// If there are fewer pixels than the size says, or a side is 0.
    #[must_use]
    pub fn resized(&self, width: u32, height: u32, filter: Filter) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let (from, to) = (self.size(), (width, height));
        let Some(mut rgba) = self.rgba() else {
            return Self::opaque(width, height, resize(&self.rgb, 3, from, to, filter));
        };
        if filter == Filter::Nearest {
            rgba = resize(&rgba, 4, from, to, filter);
        } else {
            premultiply(&mut rgba);
            rgba = resize(&rgba, 4, from, to, filter);
            unmultiply(&mut rgba);
        }
        let pixels = rgba.as_chunks::<4>().0;
        let rgb = pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
        Self { width, height, rgb, alpha: Some(pixels.iter().map(|[.., alpha]| *alpha).collect()) }
    }

    /// Red, green, blue and opacity, 8 bits each, row by row; none for an opaque picture.
    pub(crate) fn rgba(&self) -> Option<Vec<u8>> {
        let alpha = self.alpha.as_ref()?;
        Some(self.rgb.chunks_exact(3).zip(alpha).flat_map(|(c, a)| [c[0], c[1], c[2], *a]).collect())
    }

    /// The colours, red, green and blue, with white behind what is transparent.
    #[must_use]
    pub fn on_white(&self) -> Cow<'_, [u8]> {
        let Some(alpha) = &self.alpha else { return Cow::Borrowed(&self.rgb) };
        let over = |value: u8, alpha: u8| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        self.rgb
            .chunks_exact(3)
            .zip(alpha)
            .flat_map(|(pixel, alpha)| [0, 1, 2].map(|k| over(pixel[k], *alpha)))
            .collect()
    }

    /// Width and height.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let picture = Bitmap { alpha: Some(vec![7, 8]), ..Bitmap::opaque(2, 1, vec![1, 2, 3, 4, 5, 6]) };
        let row = [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        let alpha = Some([7, 7, 8, 8].repeat(2));
        assert_eq!(picture.clone().enlarged(2), Bitmap { alpha, ..Bitmap::opaque(4, 2, row.repeat(2)) });
        assert_eq!(picture.clone().enlarged(0), picture);
    }

    #[test]
    fn plain_pictures_stay_plain_in_every_size() {
        let picture = Bitmap { alpha: Some(vec![128; 12]), ..Bitmap::opaque(4, 3, [9, 99, 199].repeat(12)) };
        for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            for (width, height) in [(1, 1), (2, 7), (9, 3)] {
                let other = picture.resized(width, height, filter);
                assert_eq!(other.size(), (width, height));
                assert!(
                    other.rgb.chunks(3).all(|pixel| pixel.iter().zip([9, 99, 199]).all(|(a, b)| a.abs_diff(b) < 2))
                );
                assert!(other.alpha.unwrap().iter().all(|alpha| *alpha == 128));
            }
        }
    }

    #[test]
    fn white_is_behind_what_is_transparent() {
        let picture = Bitmap::opaque(3, 1, vec![0, 100, 200, 0, 100, 200, 0, 100, 200]);
        assert_eq!(*picture.on_white(), picture.rgb);
        let picture = Bitmap { alpha: Some(vec![0, 51, 255]), ..picture };
        assert_eq!(*picture.on_white(), [255, 255, 255, 204, 224, 244, 0, 100, 200]);
    }

    #[test]
    fn large_pictures_are_made_small_and_small_ones_left() {
        assert_eq!(Bitmap::opaque(200, 100, vec![0; 60_000]).fit(50).size(), (50, 25));
        assert_eq!(Bitmap::opaque(2, 1, vec![0; 6]).fit(50).size(), (2, 1));
    }
}

//! Pixels: what is decoded from latents, read from files and written to them.
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
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

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest one.
    Nearest,
    /// A triangle, widened where the picture becomes smaller; Pillow's `BILINEAR`.
    Bilinear,
    /// A cubic curve (a = -0.5), widened where the picture becomes smaller; Pillow's `BICUBIC`.
    Bicubic,
    /// Three lobes, widened where the picture becomes smaller; Pillow's `LANCZOS`.
    Lanczos,
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
        match self.rgba() {
            None => {
                Self::opaque(width, height, resize(&self.rgb, self.size(), (width, height), PixelType::U8x3, filter))
            }
            Some(rgba) => {
                let rgba = resize(&rgba, self.size(), (width, height), PixelType::U8x4, filter);
                let rgb = rgba.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
                let alpha = rgba.chunks_exact(4).map(|pixel| pixel[3]).collect();
                Self { width, height, rgb, alpha: Some(alpha) }
            }
        }
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

/// A plane of 8-bit values in another size.
pub(crate) fn resize_plane(plane: &[u8], from: (u32, u32), to: (u32, u32), filter: Filter) -> Vec<u8> {
    resize(plane, from, to, PixelType::U8, filter)
}

/// `pixels` of the size `from` in the size `to`, both of sides of 1 or more.
///
/// As in Pillow rows come before columns. What lies between is cut to 0..255, so that at hard edges the order counts.
fn resize(pixels: &[u8], from: (u32, u32), to: (u32, u32), kind: PixelType, filter: Filter) -> Vec<u8> {
    if from.0 != to.0 && from.1 != to.1 {
        let between = (to.0, from.1);
        return resize(&resize(pixels, from, between, kind, filter), between, to, kind, filter);
    }
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    let source = ImageRef::new(from.0, from.1, pixels, kind).expect("there are as many pixels as the size says");
    let mut target = Image::new(to.0, to.1, kind);
    let options = ResizeOptions::new().resize_alg(algorithm);
    Resizer::new().resize(&source, &mut target, &options).expect("both are of one kind");
    target.into_vec()
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

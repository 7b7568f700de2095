//! Which part of a picture is drawn anew, and how late?
use super::{
    MASK_FILTER,
    frame::{ResizeMode, cropped},
};
use crate::{Bitmap, Error, Result, resample::resize};

/// The least value that is more white than black.
const WHITE: u8 = 128;

/// How much each pixel is drawn anew: 255 altogether, 0 not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) values: Vec<u8>,
}

impl Mask {
    /// A mask that is `value` everywhere.
    pub(super) fn plain((width, height): (u32, u32), value: u8) -> Self {
        Self { width, height, values: vec![value; width as usize * height as usize] }
    }

    /// The brightness of a picture (Rec. 601, as Pillow's `L`), in the size of the one that it masks; what is transparent
    /// in it is black.
    pub(super) fn of(picture: &Bitmap, size: (u32, u32)) -> Result<Self> {
        let aspect = |(width, height): (u32, u32)| f64::from(width) / f64::from(height);
        if (aspect(picture.size()) / aspect(size)).ln().abs() > 0.02 {
            return Err(Error::request(
                format!("the mask is {}x{}, the picture {}x{}", picture.width, picture.height, size.0, size.1),
                "give a mask of the picture's size, or of its shape",
            ));
        }
        let luma = |pixel: &[u8]| {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16
        };
        let luma = picture.rgb.chunks_exact(3).map(luma);
        let values: Vec<u8> = match &picture.alpha {
            None => luma.map(|value| value as u8).collect(),
            Some(alpha) => luma.zip(alpha).map(|(value, alpha)| (value * u32::from(*alpha) / 255) as u8).collect(),
        };
        let (width, height) = size;
        Ok(Self { width, height, values: resize(&values, 1, picture.size(), size, MASK_FILTER) })
    }

    /// What is transparent in a picture.
    pub(super) fn transparency(picture: &Bitmap) -> Result<Self> {
        let alpha =
            picture.alpha.as_deref().filter(|alpha| alpha.iter().any(|alpha| *alpha < 255)).ok_or_else(|| {
                Error::request(
                    "no part of the picture is transparent",
                    "erase what shall be drawn anew, or name a mask file",
                )
            })?;
        let values = alpha.iter().map(|alpha| 255 - alpha).collect();
        Ok(Self { width: picture.width, height: picture.height, values })
    }

    pub(super) fn inverted(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = 255 - *value);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(|value| *value == 0)
    }

    /// The mask as a grey picture.
    fn grey(&self) -> Bitmap {
        Bitmap::opaque(self.width, self.height, self.values.iter().flat_map(|value| [*value; 3]).collect())
    }

    fn from_grey(picture: &Bitmap) -> Self {
        let values = picture.rgb.iter().step_by(3).copied().collect();
        Self { width: picture.width, height: picture.height, values }
    }

    /// The mask after what happened to its picture, which keeps greys grey.
    pub(super) fn after(&self, change: impl FnOnce(&Bitmap) -> Bitmap) -> Self {
        Self::from_grey(&change(&self.grey()))
    }

    pub(super) fn framed(&self, mode: ResizeMode, size: (u32, u32)) -> Self {
        self.after(|mask| mode.frame(mask, size, MASK_FILTER))
    }

    /// Softened by a Gaussian of this standard deviation in pixels, cut off at three of them; the border continues
    /// outwards.
    pub(super) fn blurred(self, deviation: f64) -> Self {
        let Some([left, top, right, bottom]) = self.bounds().filter(|_| deviation > 0.0) else { return self };
        let reach = (deviation * 3.0).ceil() as u32;
        let weight = |x: i64| (-(x as f64 / deviation).powi(2) / 2.0).exp();
        let total: f64 = (-i64::from(reach)..=i64::from(reach)).map(weight).sum();
        let kernel: Vec<f32> = (-i64::from(reach)..=i64::from(reach)).map(|x| (weight(x) / total) as f32).collect();
        // beyond its reach, all stays black
        let (x, y) = (left.saturating_sub(reach), top.saturating_sub(reach));
        let size = ((right + reach).min(self.width) - x, (bottom + reach).min(self.height) - y);
        let part = self.after(|mask| cropped(mask, (x, y), size));
        let (width, height) = (size.0 as usize, size.1 as usize);
        let values: Vec<f32> = part.values.iter().map(|value| f32::from(*value)).collect();
        let across = convolved(&values, (width, 1), (height, width), &kernel);
        let both = convolved(&across, (height, width), (width, 1), &kernel);
        let values = both.into_iter().map(|value| value.round() as u8).collect();
        Self { values, ..part }.over(self, (x, y))
    }

    /// This mask in place of a part of `whole`, which begins at `(x, y)`.
    fn over(&self, mut whole: Self, (x, y): (u32, u32)) -> Self {
        for (number, row) in self.values.chunks_exact(self.width as usize).enumerate() {
            let start = (y as usize + number) * whole.width as usize + x as usize;
            whole.values[start..start + row.len()].copy_from_slice(row);
        }
        whole
    }

    /// The mask at `(x, y)` of a picture of this size, the rest of which is drawn anew.
    pub(super) fn within(&self, size: (u32, u32), at: (u32, u32)) -> Self {
        self.over(Self::plain(size, 255), at)
    }

    /// At the sides (left, top, right, bottom) that `margins` are added to, the mask rises towards them over `length`
    /// pixels, at most a quarter of that side of the picture; it nowhere falls.
    pub(super) fn feathered(mut self, margins: [u32; 4], length: f64) -> Self {
        let (width, height) = (self.width, self.height);
        let reach = |side: u32| length.min(f64::from(side) / 4.0);
        for y in 0..height {
            for x in 0..width {
                let distances = [(x, width), (y, height), (width - 1 - x, width), (height - 1 - y, height)];
                let sides = distances.into_iter().zip(margins).filter(|(_, margin)| *margin > 0);
                let kept = sides.map(|((at, side), _)| smooth((f64::from(at) + 0.5) / reach(side))).product::<f64>();
                let value = &mut self.values[y as usize * width as usize + x as usize];
                *value = (*value).max((255.0 * (1.0 - kept)).round() as u8);
            }
        }
        self
    }

    /// The rectangle around all that is drawn anew: left, top, right, bottom, the last two past it. None for an empty mask.
    pub(super) fn bounds(&self) -> Option<[u32; 4]> {
        let row = |y: u32| &self.values[(y * self.width) as usize..((y + 1) * self.width) as usize];
        let is_used = |y: &u32| row(*y).iter().any(|value| *value > 0);
        let (top, bottom) = ((0..self.height).find(is_used)?, (0..self.height).rev().find(is_used)?);
        let used = |x: &u32| (top..=bottom).any(|y| row(y)[*x as usize] > 0);
        let (left, right) = ((0..self.width).find(used)?, (0..self.width).rev().find(used)?);
        Some([left, top, right + 1, bottom + 1])
    }

    /// For each latent, of `factor` pixels a side, the highest value of its pixels, 0 to 1: a latent is free as soon as one
    /// of its pixels is. Row by row.
    pub(crate) fn latent(&self, factor: u32) -> Vec<f32> {
        let (width, height) = (self.width.div_ceil(factor), self.height.div_ceil(factor));
        let mut latent = vec![0_u8; width as usize * height as usize];
        for (y, row) in self.values.chunks_exact(self.width.max(1) as usize).enumerate() {
            for (x, value) in row.iter().enumerate() {
                let place = (y / factor as usize) * width as usize + x / factor as usize;
                latent[place] = latent[place].max(*value);
            }
        }
        latent.into_iter().map(|value| f32::from(value) / 255.0).collect()
    }

    /// For each latent whether its first pixel is more white than black, as diffusers gives a mask to networks that take
    /// one: 1 or 0, row by row.
    pub(crate) fn nearest(&self, factor: u32) -> Vec<f32> {
        let rows = self.values.chunks_exact(self.width.max(1) as usize).step_by(factor as usize);
        rows.flat_map(|row| row.iter().step_by(factor as usize))
            .map(|value| f32::from(u8::from(*value >= WHITE)))
            .collect()
    }

    /// Whether pixel `i`, counted row by row, is more white than black.
    pub(crate) fn is_white(&self, i: usize) -> bool {
        self.values[i] >= WHITE
    }
}

/// From 0 at 0 to 1 at 1 and beyond, level at both ends: 3t² - 2t³.
fn smooth(t: f64) -> f64 {
    let t = if t < 1.0 { t.max(0.0) } else { 1.0 };
    t * t * (3.0 - 2.0 * t)
}

/// `values` convolved along lines of `length` numbers, `stride` apart; there are `lines.0` of them, `lines.1` apart.
fn convolved(values: &[f32], (length, stride): (usize, usize), lines: (usize, usize), kernel: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; values.len()];
    let reach = kernel.len() / 2;
    let mut line = vec![0.0; length + 2 * reach];
    for number in 0..lines.0 {
        let start = number * lines.1;
        for (place, value) in line.iter_mut().enumerate() {
            *value = values[start + place.saturating_sub(reach).min(length - 1) * stride];
        }
        for place in 0..length {
            let window = &line[place..place + kernel.len()];
            sums[start + place * stride] = window.iter().zip(kernel).map(|(value, weight)| value * weight).sum();
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(size: (u32, u32), at: (u32, u32)) -> Mask {
        let mut mask = Mask::plain(size, 0);
        mask.values[(at.1 * size.0 + at.0) as usize] = 255;
        mask
    }

    #[test]
    fn a_blurred_mask_is_even_on_all_sides_and_keeps_what_is_plain() {
        let blurred = spot((21, 15), (10, 7)).blurred(2.0);
        let at = |x: u32, y: u32| blurred.values[(y * 21 + x) as usize];
        assert_eq!([at(12, 7), at(8, 7), at(10, 9), at(10, 5)], [at(12, 7); 4]);
        assert!(at(10, 7) > at(12, 7) && at(12, 7) > 0 && at(20, 14) == 0);
        for value in [0, 77, 255] {
            assert_eq!(Mask::plain((9, 5), value).blurred(3.0), Mask::plain((9, 5), value));
        }
    }

    #[test]
    fn bounds_are_those_of_what_is_not_black() {
        assert_eq!(spot((9, 7), (3, 5)).bounds(), Some([3, 5, 4, 6]));
        assert_eq!(Mask::plain((9, 7), 1).bounds(), Some([0, 0, 9, 7]));
        assert_eq!(Mask::plain((9, 7), 0).bounds(), None);
    }

    #[test]
    fn a_latent_is_as_free_as_its_freest_pixel() {
        assert_eq!(spot((5, 4), (4, 1)).latent(2), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(spot((4, 4), (2, 2)).nearest(2), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(spot((4, 4), (3, 3)).nearest(2), [0.0; 4]);
    }

    #[test]
    fn a_mask_of_another_shape_is_refused() {
        let white = Bitmap::opaque(4, 2, vec![255; 24]);
        assert_eq!(Mask::of(&white, (8, 4)).unwrap(), Mask::plain((8, 4), 255));
        assert_eq!(Mask::of(&white, (4, 4)).unwrap_err().to_string(), "the mask is 4x2, the picture 4x4");
        assert!(Mask::transparency(&white).is_err());
    }
}

//! Which colours would continue what is around a hole?
use super::mask::Mask;
use crate::Bitmap;

/// How often the colours are smoothed in each size, there and back.
const SWEEPS: usize = 4;

/// One size of the picture: colours times their weight, and the weight, for each pixel.
struct Level {
    width: usize,
    height: usize,
    pixels: Vec<[f32; 4]>,
}

/// The picture with the colours from around the mask flowing into it: "pull-push" (Gortler et al. 1996, section 4.3), in
/// each size followed by steps towards the mean of neighbours, so that each edge goes on without a seam (the membrane of
/// Pérez et al. 2003, "Poisson image editing", equation 2). Near its edge the hole has its colours, far from it their mean.
/// Pixels that the mask leaves stay as they are; those that it takes partly count by what it leaves of them, and are mixed
/// with what flows in. None where the mask leaves nothing.
pub(super) fn fill(image: &Bitmap, mask: &Mask) -> Option<Bitmap> {
    if mask.values.iter().all(|value| *value == 255) {
        return None;
    }
    let pixels = image.rgb.chunks_exact(3).zip(&mask.values).map(|(pixel, mask)| {
        let weight = f32::from(255 - mask) / 255.0;
        [f32::from(pixel[0]) * weight, f32::from(pixel[1]) * weight, f32::from(pixel[2]) * weight, weight]
    });
    let finest = Level { width: image.width as usize, height: image.height as usize, pixels: pixels.collect() };
    let mut levels = vec![finest];
    while let Some(level) = levels.last().filter(|level| level.width * level.height > 1) {
        let coarser = level.pulled();
        levels.push(coarser);
    }
    let whole = levels.into_iter().rev().reduce(|coarse, mut level| {
        level.push(&coarse);
        level
    });
    let mut rgb = image.rgb.clone();
    let colours = whole.map(|level| level.pixels).unwrap_or_default();
    for ((pixel, colour), mask) in rgb.chunks_exact_mut(3).zip(colours).zip(&mask.values) {
        if *mask > 0 {
            (0..3).for_each(|i| pixel[i] = (colour[i] / colour[3]).round() as u8);
        }
    }
    Some(Bitmap { rgb, ..image.clone() })
}

impl Level {
    fn at(&self, x: usize, y: usize) -> [f32; 4] {
        self.pixels[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
    }

    /// Half as large: each pixel the sum of four, of a weight of 1 at most.
    fn pulled(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0; 4];
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    if 2 * x + dx < self.width && 2 * y + dy < self.height {
                        let pixel = self.at(2 * x + dx, 2 * y + dy);
                        (0..4).for_each(|i| sum[i] += pixel[i]);
                    }
                }
                let most = sum[3].max(1.0);
                pixels.push(sum.map(|value| value / most));
            }
        }
        Self { width, height, pixels }
    }

    /// Fills what lacks weight from `coarse`, which is half as large, smoothly between its pixels.
    fn push(&mut self, coarse: &Self) {
        let known = self.pixels.clone();
        for y in 0..self.height {
            for x in 0..self.width {
                let place = y * self.width + x;
                let lacking = 1.0 - self.pixels[place][3];
                if lacking <= 0.0 {
                    continue;
                }
                // the four nearest coarse pixels: 9/16, 3/16, 3/16, 1/16
                let beside = |at: usize| if at % 2 == 1 { at / 2 + 1 } else { (at / 2).saturating_sub(1) };
                let (near, far) = ((x / 2, y / 2), (beside(x), beside(y)));
                let corners = [(near.0, near.1, 9.0), (far.0, near.1, 3.0), (near.0, far.1, 3.0), (far.0, far.1, 1.0)];
                let mut sum = [0.0; 4];
                for (x, y, weight) in corners {
                    let pixel = coarse.at(x, y);
                    (0..4).for_each(|i| sum[i] += weight * pixel[i]);
                }
                (0..4).for_each(|i| self.pixels[place][i] += lacking * sum[i] / sum[3]);
            }
        }
        for _ in 0..SWEEPS {
            (0..known.len()).for_each(|place| self.relax(place, &known[place]));
            (0..known.len()).rev().for_each(|place| self.relax(place, &known[place]));
        }
    }

    /// Makes what a pixel lacks the mean of its four neighbours (Gauss-Seidel).
    fn relax(&mut self, place: usize, known: &[f32; 4]) {
        let lacking = 1.0 - known[3];
        if lacking <= 0.0 {
            return;
        }
        let (x, y) = (place % self.width, place / self.width);
        let neighbours = [(x.saturating_sub(1), y), (x + 1, y), (x, y.saturating_sub(1)), (x, y + 1)];
        let around = neighbours.map(|(x, y)| self.at(x, y));
        for i in 0..4 {
            let mean = around.iter().map(|pixel| pixel[i]).sum::<f32>() / 4.0;
            self.pixels[place][i] = known[i] + lacking * mean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_in_a_plain_picture_disappears() {
        let mut image = Bitmap::opaque(13, 9, [10, 200, 90].repeat(13 * 9));
        let mut mask = Mask::plain((13, 9), 0);
        for place in [0, 20, 21, 22, 33, 34, 35, 116] {
            image.rgb[place * 3] = 255;
            mask.values[place] = 255;
        }
        assert_eq!(fill(&image, &mask).unwrap().rgb, [10, 200, 90].repeat(13 * 9));
    }

    #[test]
    fn colours_flow_from_both_sides_and_the_rest_stays() {
        let row: Vec<u8> = (0..32).flat_map(|x| if x < 16 { [0, 0, 0] } else { [200, 200, 200] }).collect();
        let image = Bitmap::opaque(32, 8, row.repeat(8));
        let mut mask = Mask::plain((32, 8), 0);
        for y in 0..8 {
            (4..28).for_each(|x| mask.values[y * 32 + x] = 255);
        }
        let filled = fill(&image, &mask).unwrap();
        let red = |x: usize| filled.rgb[(4 * 32 + x) * 3];
        assert!(red(4) < 40 && red(27) > 160 && (60..140).contains(&red(16)), "{} {} {}", red(4), red(16), red(27));
        assert_eq!([red(0), red(3), red(28), red(31)], [0, 0, 200, 200]);
        let steps = (4..27).map(|x| red(x).abs_diff(red(x + 1))).max().unwrap();
        assert!(steps < 40, "{steps}");
    }

    #[test]
    fn where_nothing_is_known_nothing_flows() {
        let image = Bitmap::opaque(3, 2, (0..18).collect());
        assert_eq!(fill(&image, &Mask::plain((3, 2), 255)), None);
        assert_eq!(fill(&image, &Mask::plain((3, 2), 0)), Some(image));
    }
}

//! How does a picture come to another size?
use super::region::Region;
use crate::{Bitmap, Filter};

/// How a picture is put into a frame of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResizeMode {
    /// It fills the frame; what stands out, on both sides alike, is cut off.
    Crop,
    /// It is pulled into the shape of the frame.
    Stretch,
    /// It lies in the middle of the frame, whole; its border continues to the frame's.
    Fill,
}

impl ResizeMode {
    /// The mode called `name`; `crop` without a name.
    pub(super) fn of(name: Option<&str>) -> Self {
        match name {
            Some("stretch") => Self::Stretch,
            Some("fill") => Self::Fill,
            _ => Self::Crop,
        }
    }

    /// The picture in a frame of `width` and `height`.
    pub(super) fn frame(self, image: &Bitmap, (width, height): (u32, u32), filter: Filter) -> Bitmap {
        if image.size() == (width, height) {
            return image.clone();
        }
        let (wide, high) = (f64::from(width) / f64::from(image.width), f64::from(height) / f64::from(image.height));
        let part = |length: u32, factor: f64| ((f64::from(length) * factor).round() as u32).clamp(1, length);
        match self {
            Self::Stretch => image.resized(width, height, filter),
            Self::Crop => {
                // first cut, then resize: a long narrow picture never becomes a huge one
                let size = (part(image.width, wide / wide.max(high)), part(image.height, high / wide.max(high)));
                let at = ((image.width - size.0) / 2, (image.height - size.1) / 2);
                cropped(image, at, size).resized(width, height, filter)
            }
            Self::Fill => {
                let inner = fitted(image.size(), (width, height));
                let (right, bottom) = (width - inner.width - inner.left, height - inner.height - inner.top);
                padded(&image.resized(inner.width, inner.height, filter), [inner.left, inner.top, right, bottom])
            }
        }
    }
}

/// Where a picture lies in a frame of `width` and `height` with `Fill`: the rectangle of diffusers'
/// `VaeImageProcessor.resize`.
pub(super) fn fitted(picture: (u32, u32), (width, height): (u32, u32)) -> Region {
    // the length that keeps the shape when the other one becomes that of the frame
    let kept =
        |length: u32, other: u32, frame: u32| (u64::from(length) * u64::from(frame) / u64::from(other)).max(1) as u32;
    let is_wider = u64::from(width) * u64::from(picture.1) > u64::from(picture.0) * u64::from(height);
    let (inner_width, inner_height) = if is_wider {
        (kept(picture.0, picture.1, height), height)
    } else {
        (width, kept(picture.1, picture.0, width))
    };
    let (left, top) = (width / 2 - inner_width / 2, height / 2 - inner_height / 2);
    Region { left, top, width: inner_width, height: inner_height }
}

/// The part of a picture that begins at `(x, y)`; it must lie within the picture.
pub(super) fn cropped(image: &Bitmap, (x, y): (u32, u32), (width, height): (u32, u32)) -> Bitmap {
    let cut = |plane: &[u8], depth: usize| -> Vec<u8> {
        let rows = plane.chunks_exact(image.width as usize * depth).skip(y as usize).take(height as usize);
        rows.flat_map(|row| &row[x as usize * depth..(x + width) as usize * depth]).copied().collect()
    };
    Bitmap { width, height, rgb: cut(&image.rgb, 3), alpha: image.alpha.as_deref().map(|alpha| cut(alpha, 1)) }
}

/// The picture with margins at its left, top, right and bottom, in which its outermost pixels are repeated.
pub(super) fn padded(image: &Bitmap, [left, top, right, bottom]: [u32; 4]) -> Bitmap {
    let (width, height) = (image.width + left + right, image.height + top + bottom);
    let place = |at: u32, before: u32, length: u32| at.saturating_sub(before).min(length - 1) as usize;
    let spread = |plane: &[u8], depth: usize| -> Vec<u8> {
        let mut wide = Vec::with_capacity(width as usize * height as usize * depth);
        for y in 0..height {
            let row = &plane[place(y, top, image.height) * image.width as usize * depth..];
            for x in 0..width {
                let pixel = place(x, left, image.width) * depth;
                wide.extend_from_slice(&row[pixel..pixel + depth]);
            }
        }
        wide
    };
    Bitmap { width, height, rgb: spread(&image.rgb, 3), alpha: image.alpha.as_deref().map(|alpha| spread(alpha, 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(colours: &[u8]) -> Bitmap {
        Bitmap::opaque(colours.len() as u32, 2, colours.repeat(2).iter().flat_map(|c| [*c; 3]).collect())
    }

    #[test]
    fn margins_repeat_the_border() {
        let wide = padded(&columns(&[1, 2]), [2, 1, 1, 0]);
        assert_eq!(wide.size(), (5, 3));
        assert_eq!(wide.rgb, columns(&[1, 1, 1, 2, 2]).rgb[..15].repeat(3));
        assert_eq!(cropped(&wide, (2, 1), (2, 2)), columns(&[1, 2]));
    }

    #[test]
    fn every_mode_fills_the_frame() {
        let image = columns(&[10, 10, 90, 90]);
        for mode in [ResizeMode::Crop, ResizeMode::Stretch, ResizeMode::Fill] {
            for size in [(8, 8), (16, 2), (3, 9)] {
                let framed = mode.frame(&image, size, Filter::Lanczos);
                assert_eq!(framed.size(), size, "{mode:?}");
                let narrow = mode == ResizeMode::Crop && size == (3, 9); // less than a pixel of what is in the middle
                assert!(narrow || framed.rgb[0] < 30 && *framed.rgb.last().unwrap() > 60, "{mode:?} {framed:?}");
            }
        }
        let tall = Bitmap::opaque(1, 3, vec![0, 0, 0, 50, 50, 50, 100, 100, 100]);
        assert_eq!(ResizeMode::Crop.frame(&tall, (1, 1), Filter::Lanczos).rgb, [50; 3]);
    }
}

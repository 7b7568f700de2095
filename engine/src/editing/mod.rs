//! What is drawn over, and how the result becomes the picture.
mod fill;
mod frame;
mod mask;
mod region;

use crate::{Bitmap, Error, Extend, Filter, ImageSource, LARGEST_SIDE, Request, Result};
use fill::fill;
use frame::{ResizeMode, cropped, fitted, padded};
pub(crate) use mask::Mask;
use region::Region;

/// How masks come to the size of their picture: without the lobes of other filters, which make black grey beside white.
const MASK_FILTER: Filter = Filter::Bilinear;
/// How many times as long as wide a picture may be that is drawn over.
const LARGEST_ASPECT: u32 = 32;
/// How far new margins reach into the picture, in times of the mask's blur.
const FEATHER: f64 = 4.0;

/// What the network draws over.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    /// What the network sees, without transparency; its sides are multiples of the factor.
    pub(crate) image: Bitmap,
    /// What is drawn anew, of the size of `image`; without it, everything.
    pub(crate) mask: Option<Mask>,
    /// The picture before, in the size of the one after.
    before: Bitmap,
    /// What is drawn anew in it.
    replaced: Option<Mask>,
    /// Which part of it the network sees.
    region: Region,
    /// Where on the canvas it sees it: the rest is only there to fill the canvas.
    shown: Region,
    /// Whether the picture after is opaque, whatever the one before was.
    opaque: bool,
}

impl Canvas {
    /// What the complete `request` draws over; none for text to image. Sides are multiples of `factor`.
    ///
    /// # Errors
    /// [`Error::Request`] for a picture that is too small, and for a mask that is empty or of another shape.
    pub(crate) fn of(request: &Request, factor: u32) -> Result<Option<Self>> {
        let Some(image) = request.init_image.as_ref().and_then(ImageSource::bitmap) else { return Ok(None) };
        image.check_drawable()?;
        check_shape(image)?;
        check_margins(image, request.extend)?;
        let opaque = request.mask == Some(ImageSource::Alpha) && !request.mask_invert;
        let mask = mask_of(request, image)?;
        let image = if opaque { &without_hidden(image) } else { image };
        let (image, mask) = extended(image, mask, request);
        let wanted = (request.width.unwrap_or(image.width), request.height.unwrap_or(image.height));
        let (before, replaced) = if request.only_masked {
            (image, mask)
        } else {
            let mode = ResizeMode::of(request.resize_mode.as_deref());
            (mode.frame(&image, wanted, Filter::Lanczos), mask.map(|mask| mask.framed(mode, wanted)))
        };
        if replaced.as_ref().is_some_and(Mask::is_empty) {
            let what = "nothing of the mask is left after it was softened and cut";
            return Err(Error::request(what, "use a larger mask, a smaller `--mask-blur` or another `--resize-mode`"));
        }
        let region = match replaced.as_ref().and_then(Mask::bounds) {
            Some(bounds) if request.only_masked => Region::around(bounds, request.mask_padding, wanted, before.size()),
            _ => Region::whole(before.size()),
        };
        let shown = fitted((region.width, region.height), wanted);
        let canvas = Self { image: Bitmap::default(), mask: None, before, replaced, region, shown, opaque };
        canvas.shown_to_network(request, wanted, factor).map(Some)
    }

    /// The size of the picture that is drawn.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.before.size()
    }

    /// Fills in what the network sees: the region, in the size `wanted`, its border continued where that has another shape
    /// or is no multiple of `factor`.
    fn shown_to_network(self, request: &Request, wanted: (u32, u32), factor: u32) -> Result<Self> {
        let Region { left, top, width, height } = self.region;
        let cut = |picture: &Bitmap| cropped(picture, (left, top), (width, height));
        let missing = |length: u32| length.next_multiple_of(factor) - length;
        let whole = |picture: &Bitmap| {
            let in_size = ResizeMode::Fill.frame(picture, wanted, Filter::Lanczos);
            padded(&in_size, [0, 0, missing(wanted.0), missing(wanted.1)])
        };
        let mask = self.replaced.as_ref().map(|mask| mask.after(|mask| whole(&cut(mask))));
        let mut image = whole(&flattened(&cut(&self.before), self.opaque));
        if let (Some("fill"), Some(mask)) = (request.inpaint_fill.as_deref(), &mask) {
            image = fill(&image, mask).ok_or_else(|| {
                Error::request(
                    "all that is drawn is under the mask, so no colour can flow in from around it",
                    "use `--inpaint-fill noise`, or a larger `--mask-padding` with `--only-masked`",
                )
            })?;
        }
        Ok(Self { image, mask, ..self })
    }

    /// The picture that `drawn`, of the size of the canvas, becomes. Where the mask is black, it is the picture before, to
    /// the last bit; where it is white, what was drawn; between, their mixture, rounded.
    ///
    /// What was transparent before is so after, except where something was drawn; a picture whose transparency was the mask
    /// becomes opaque.
    pub(crate) fn finish(&self, drawn: &Bitmap) -> Bitmap {
        let Region { left, top, width, height } = self.region;
        let shown = cropped(drawn, (self.shown.left, self.shown.top), (self.shown.width, self.shown.height));
        let drawn = shown.resized(width, height, Filter::Lanczos);
        let mut after = self.before.clone();
        let masked = self.replaced.as_ref().map(|mask| mask.values.as_slice());
        for y in 0..height as usize {
            let (row, start) = (y * width as usize, (top as usize + y) * after.width as usize + left as usize);
            for x in 0..width as usize {
                let (from, to) = ((row + x) * 3, start + x);
                let share = masked.map_or(255, |mask| mask[to]);
                // where transparency is the mask, colours that it hid have no say
                let share = match (&self.before.alpha, self.opaque) {
                    (Some(alpha), true) => share.max(255 - alpha[to]),
                    _ => share,
                };
                let pixel = after.rgb[to * 3..].iter_mut().zip(&drawn.rgb[from..from + 3]);
                pixel.for_each(|(pixel, drawn)| *pixel = mixed(*pixel, *drawn, share));
                if let (Some(alpha), Some(_)) = (&mut after.alpha, masked) {
                    alpha[to] = alpha[to].max(share);
                }
            }
        }
        if self.opaque {
            after.alpha = None;
        }
        after
    }
}

/// `share` parts of 255 of `drawn`, the rest of `before`.
fn mixed(before: u8, drawn: u8, share: u8) -> u8 {
    let (before, drawn, share) = (u32::from(before), u32::from(drawn), u32::from(share));
    ((before * (255 - share) + drawn * share + 127) / 255) as u8
}

/// The size at which `image` is drawn over where the request says none; `usual` is the model's own.
pub(crate) fn usual_size(request: &Request, image: &Bitmap, usual: (u32, u32)) -> (u32, u32) {
    if request.only_masked { usual } else { request.extend.unwrap_or_default().around(image.size()) }
}

/// Fails for a picture so narrow that a network would see nothing in it.
fn check_shape(image: &Bitmap) -> Result<()> {
    let (width, height) = image.size();
    if width.max(height).div_ceil(LARGEST_ASPECT) <= width.min(height) {
        return Ok(());
    }
    Err(Error::request(
        format!("the picture to draw over has {width}x{height} pixels"),
        format!("use one that is at most {LARGEST_ASPECT} times as long as it is wide"),
    ))
}

/// The mask of a request, softened, in the size of the picture that it brings.
fn mask_of(request: &Request, image: &Bitmap) -> Result<Option<Mask>> {
    let mask = match &request.mask {
        None => return Ok(None),
        Some(ImageSource::Alpha) => Mask::transparency(image)?,
        Some(source) => Mask::of(source.bitmap().unwrap_or(image), image.size())?,
    };
    let mask = if request.mask_invert { mask.inverted() } else { mask };
    if mask.is_empty() && request.extend.is_none() {
        let (colour, other) = if request.mask_invert { ("black", "without") } else { ("white", "with") };
        return Err(Error::request(
            format!("nothing in the mask is {colour}, so there is nothing to draw"),
            format!("paint {colour} what shall be drawn anew, or try it {other} `--mask-invert`"),
        ));
    }
    Ok(Some(mask.blurred(request.mask_blur)))
}

/// Fails if a picture with its margins is too large.
fn check_margins(image: &Bitmap, extend: Option<Extend>) -> Result<()> {
    let Some(extend) = extend else { return Ok(()) };
    let (width, height) = extend.around(image.size());
    if width.max(height) <= LARGEST_SIDE {
        return Ok(());
    }
    let hint = format!("use margins that make it no more than {LARGEST_SIDE} pixels a side");
    Err(Error::request(format!("with its margins the picture is {width}x{height}"), hint))
}

/// Picture and mask with the margins of the request, which are drawn anew; colours of the border flow into them.
///
/// So that no seam shows, the mask falls off from them into the picture, over [`FEATHER`] times the mask's blur in pixels,
/// at most a quarter of the side.
fn extended(image: &Bitmap, mask: Option<Mask>, request: &Request) -> (Bitmap, Option<Mask>) {
    let Some(Extend { left, top, right, bottom }) = request.extend else { return (image.clone(), mask) };
    let larger = padded(image, [left, top, right, bottom]);
    let inner = mask.unwrap_or_else(|| Mask::plain(image.size(), 0));
    let feathered = inner.feathered([left, top, right, bottom], FEATHER * request.mask_blur);
    let within = |mask: &Mask| mask.within(larger.size(), (left, top));
    let margins = within(&Mask::plain(image.size(), 0));
    let filled = fill(&larger, &margins).unwrap_or(larger.clone()); // a picture has pixels that flow
    (filled, Some(within(&feathered)))
}

/// The picture whose transparent part has the colours from around it, so that what was hidden never shows.
fn without_hidden(image: &Bitmap) -> Bitmap {
    let hidden = |alpha: &Vec<u8>| alpha.iter().map(|alpha| if *alpha == 0 { 255 } else { 0 }).collect();
    let mask = image.alpha.as_ref().map(|alpha| Mask { values: hidden(alpha), ..Mask::plain(image.size(), 0) });
    mask.and_then(|mask| fill(image, &mask)).unwrap_or_else(|| image.clone())
}

/// The picture without transparency: on white, or, where what is transparent is drawn anew, as its colours are.
fn flattened(image: &Bitmap, as_they_are: bool) -> Bitmap {
    let mut flat = Bitmap { alpha: None, ..image.clone() };
    if let (Some(alpha), false) = (&image.alpha, as_they_are) {
        let pixels = flat.rgb.chunks_exact_mut(3).zip(alpha);
        pixels.for_each(|(pixel, alpha)| pixel.iter_mut().for_each(|value| *value = mixed(255, *value, *alpha)));
    }
    flat
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

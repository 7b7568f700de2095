//! How is a JPEG file decoded?
use super::{
    Fault, Header, colour,
    colour::{Conversion, Ink, Samples},
    limits,
};
use crate::{Bitmap, image::exif};
use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

/// What stands before the parts of a colour profile in their segments; two bytes that number them follow.
const PROFILE: &[u8] = b"ICC_PROFILE\0";
/// The longest that all before the pixels may be, in bytes.
const LONGEST_HEAD: usize = 16 << 20;

/// What stands before the pixels of a JPEG file (ITU-T T.81, annex B).
#[derive(Debug, Default)]
pub(super) struct Head {
    size: (u32, u32),
    /// Which kind of coding: 0 and 1 baseline, 2 progressive.
    kind: u8,
    precision: u8,
    /// Name, and samples across and down, of each component.
    components: Vec<[u8; 3]>,
    /// How many components come first, the others only after them.
    together: u8,
    /// How Adobe's programs say that colours were turned: 0 not, 1 `YCbCr`, 2 YCCK.
    turned: Option<u8>,
    orientation: Option<u8>,
    /// The parts of the colour profile, each with its number.
    profile: Vec<(u8, Vec<u8>)>,
    /// Where the pixels begin.
    length: usize,
}

impl Head {
    /// Reads all segments up to the first with pixels.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut head = Self::default();
        let mut at = 2;
        while head.length == 0 {
            let found =
                bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| pair[0] == 0xFF && pair[1] != 0xFF));
            at += found.ok_or_else(cut_off)?;
            let marker = bytes[at + 1];
            at += 2;
            if matches!(marker, 0x00 | 0x01 | 0xD0..=0xD8) {
                continue; // no segment
            }
            let length = bytes.get(at..at + 2).ok_or_else(cut_off)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let segment = bytes.get(at + 2..at + length.max(2)).ok_or_else(cut_off)?;
            head.segment(marker, segment)?;
            at += length.max(2);
            if marker == 0xDA {
                head.length = at;
            }
            if at > LONGEST_HEAD {
                return Err(Fault::refused("more than 16 MiB stand before its pixels", "save it without its metadata"));
            }
        }
        Ok(head)
    }

    fn segment(&mut self, marker: u8, data: &[u8]) -> Result<(), Fault> {
        match marker {
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                let [precision, a, b, c, d, _, components @ ..] = data else { return Err(cut_off()) };
                self.size = (u16::from_be_bytes([*c, *d]).into(), u16::from_be_bytes([*a, *b]).into());
                (self.kind, self.precision) = (marker - 0xC0, *precision);
                self.components =
                    components.as_chunks::<3>().0.iter().map(|[name, by, _]| [*name, by >> 4, by & 15]).collect();
            }
            0xDA => self.together = *data.first().ok_or_else(cut_off)?,
            0xE1 if data.starts_with(b"Exif\0\0") && self.orientation.is_none() => {
                self.orientation = exif::orientation(data);
            }
            0xE2 => self.profile.extend(data.strip_prefix(PROFILE).and_then(|data| match data {
                [number, _, part @ ..] => Some((*number, part.to_vec())),
                _ => None,
            })),
            0xEE if data.starts_with(b"Adobe") => self.turned = data.get(11).copied(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn header(&self) -> Header {
        Header { size: self.size, orientation: self.orientation.unwrap_or(1), profile: !self.profile.is_empty() }
    }

    /// Fails for what is not decoded, and for what takes too much memory beside `length` bytes of file.
    fn check(&self, length: usize) -> Result<(), Fault> {
        let hint = "save it again as a plain JPEG file";
        if self.kind > 2 || self.precision != 8 {
            let what = match self.kind {
                0..=2 => format!("it has {} bits per sample, and JPEG files with 8 are read", self.precision),
                3 | 7 | 11 | 15 => "it is a lossless JPEG file, a kind that is not read".into(),
                5 | 6 => "it is a hierarchical JPEG file, a kind that is not read".into(),
                _ => "it is an arithmetic-coded JPEG file, a kind that is not read".into(),
            };
            return Err(Fault::refused(what, hint));
        }
        if !matches!(self.components.len(), 1 | 3 | 4) {
            return Err(Fault::refused(format!("it has {} colour components", self.components.len()), hint));
        }
        if usize::from(self.together) > self.components.len() {
            return Err(Fault::refused("its first scan has more components than it has", hint));
        }
        self.check_blocks(length)
    }

    /// Fails where `length` bytes of file cannot have all pixels, or decoding them takes too much memory.
    fn check_blocks(&self, length: usize) -> Result<(), Fault> {
        let most = |side: usize| self.components.iter().map(|by| u64::from(by[side])).max().unwrap_or(1).max(1);
        let (across, down) = (most(1), most(2));
        let (width, height) = (u64::from(self.size.0), u64::from(self.size.1));
        // of each block of 8x8 samples there is at least one bit; the decoder would make up what is not there
        let blocks = |side: u64, by: u8, most: u64| (side * u64::from(by)).div_ceil(most).div_ceil(8);
        let all = self.components.iter().map(|[_, a, d]| blocks(width, *a, across) * blocks(height, *d, down)).sum();
        if u64::div_ceil(all, 8) > length.saturating_sub(self.length + 2) as u64 {
            return Err(Fault::refused("it has too few bytes for its pixels", "give the whole file"));
        }
        let mut peak = self.components.len() as u64 * width * height + length as u64;
        if self.kind == 2 || usize::from(self.together) < self.components.len() {
            let samples = width.next_multiple_of(8 * across) * height.next_multiple_of(8 * down);
            let kept: u64 = self.components.iter().map(|by| u64::from(by[1]) * u64::from(by[2])).sum();
            peak += 2 * samples * kept / (across * down); // all coefficients, 16 bits each, until the last scan
        }
        limits::check_memory(self.size, 3, peak)
    }

    /// The colour profile, put together from its parts.
    fn colour_profile(&mut self) -> Result<Option<moxcms::ColorProfile>, Fault> {
        self.profile.sort_by_key(|(number, _)| *number);
        let whole: Vec<u8> = self.profile.drain(..).flat_map(|(_, part)| part).collect();
        if whole.is_empty() { Ok(None) } else { colour::profile(&whole).map(Some) }
    }
}

/// The picture of a JPEG file, not yet upright.
pub(super) fn decode(mut bytes: Vec<u8>, mut head: Head) -> Result<Bitmap, Fault> {
    head.check(bytes.len())?;
    // no entropy-coded data has this pair
    if !bytes[head.length..].windows(2).any(|pair| pair == [0xFF, 0xD9]) {
        return Err(cut_off());
    }
    let profile = head.colour_profile()?;
    let (turned, components) = (head.turned, head.components.len());
    let names: Vec<u8> = head.components.iter().map(|component| component[0]).collect();
    let ink = [Ink::Grey, Ink::Rgb, Ink::Cmyk][components / 2];
    let conversion = Conversion::new(Samples { ink, alpha: false, wide: false }, profile.as_ref())?;
    hide_adobe(&mut bytes);
    let colours = match components {
        1 => ColorSpace::Luma,
        4 => ColorSpace::CMYK,
        _ if names == *b"RGB" || turned != Some(0) => ColorSpace::RGB,
        _ => ColorSpace::YCbCr, // as they are
    };
    let mut pixels = vec![0; components * head.size.0 as usize * head.size.1 as usize];
    let options = DecoderOptions::default()
        .set_strict_mode(false) // bytes between segments do no harm
        .set_max_width(limits::LONGEST_SIDE as usize)
        .set_max_height(limits::LONGEST_SIDE as usize)
        .jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    decoder.set_options(options.set_strict_mode(true)); // damaged pixels are not drawn over
    decoder.decode_into(&mut pixels)?;
    drop(decoder);
    if components == 4 {
        pixels.chunks_exact_mut(4).for_each(|pixel| to_ink(pixel, turned.is_some_and(|turned| turned != 0)));
    }
    colour::picture(pixels, head.size, conversion)
}

/// Makes Adobe's segments unknown ones: what they say is known, and the decoder takes a part of it for something else.
fn hide_adobe(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(9).position(|w| w[..2] == [0xFF, 0xEE] && w[4..] == *b"Adobe") {
        bytes[at + found + 1] = 0xEF;
        at += found + 9;
    }
}

/// Turns a pixel into the amounts of cyan, magenta, yellow and black ink. All programs store them as the light that is
/// left, as Adobe's do; with `turned`, as `YCbCr` of what is not (ITU-T T.872, 6.5.3).
fn to_ink(pixel: &mut [u8], turned: bool) {
    if turned {
        let [y, blue, red] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
        let (blue, red) = (blue - 128.0, red - 128.0);
        let colours = [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue];
        pixel[..3].copy_from_slice(&colours.map(|value| value.round() as u8)); // a cast keeps to 0 to 255
        pixel[3] = 255 - pixel[3];
    } else {
        for value in pixel {
            *value = 255 - *value;
        }
    }
}

fn cut_off() -> Fault {
    Fault::refused("the file is cut off", "give the whole file")
}

impl From<DecodeErrors> for Fault {
    fn from(error: DecodeErrors) -> Self {
        Self::refused(format!("it is damaged: {error:?}"), "save it again, or give another file")
    }
}

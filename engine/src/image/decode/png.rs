//! How is a PNG file decoded? Row by row, so that no memory is taken beside the picture.
use super::{
    Fault, Header, colour,
    colour::{Conversion, Ink, Samples},
    limits,
};
use crate::{Bitmap, image::exif};
use moxcms::{
    CicpColorPrimaries, CicpProfile, ColorProfile, MatrixCoefficients, ToneReprCurve, TransferCharacteristics,
};
use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Limits, Transformations};
use std::io::{BufRead, Read, Seek, SeekFrom};

/// `gAMA` of sRGB, times 100,000, and how far others may be from it and are taken for it.
const GAMMA: u32 = 45_455;
const NEAR: u32 = 500;
/// The largest `eXIf` chunk that is read, in bytes.
const LONGEST_EXIF: u32 = 1 << 20;
/// Where the rows of Adam7's seven passes lie: the first pixel and the distance to the next, across and down (PNG, 8.2).
const PASSES: [[usize; 4]; 7] =
    [[0, 8, 0, 8], [4, 8, 0, 8], [0, 4, 4, 8], [2, 4, 0, 4], [0, 2, 2, 4], [1, 2, 0, 2], [0, 1, 1, 2]];

/// What a PNG file is, by its chunks alone.
pub(super) fn header(file: &mut (impl BufRead + Seek)) -> Result<Header, Fault> {
    let mut start = [0; 24];
    file.read_exact(&mut start)?;
    let number = |at: usize| start[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let size = (number(16), number(20));
    let mut found = Header { size, orientation: 1, profile: false };
    file.seek(SeekFrom::Start(8))?;
    let mut head = [0; 8];
    while file.read_exact(&mut head).is_ok() {
        let [a, b, c, d, name @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        let mut left = i64::from(length) + 4;
        if &name == b"eXIf" && length <= LONGEST_EXIF {
            let mut data = Vec::new();
            left -= file.by_ref().take(length.into()).read_to_end(&mut data)? as i64;
            found.orientation = exif::orientation(&data).unwrap_or(1);
        }
        found.profile |= &name == b"iCCP";
        file.seek(SeekFrom::Current(left))?;
    }
    Ok(found)
}

/// The picture of a PNG file, not yet upright; of an animation, the one that plain viewers show.
pub(super) fn decode(file: impl BufRead + Seek, header: &Header) -> Result<Bitmap, Fault> {
    let mut decoder = Decoder::new_with_limits(file, Limits { bytes: 4 * limits::LONGEST_PROFILE });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let (kind, depth) = reader.output_color_type();
    let samples = Samples {
        ink: if matches!(kind, ColorType::Grayscale | ColorType::GrayscaleAlpha) { Ink::Grey } else { Ink::Rgb },
        alpha: matches!(kind, ColorType::GrayscaleAlpha | ColorType::Rgba),
        wide: depth == BitDepth::Sixteen,
    };
    let mut conversion = Conversion::new(samples, profile(reader.info(), header.profile)?.as_ref())?;
    let (width, height) = (header.size.0 as usize, header.size.1 as usize);
    let mut bitmap = Bitmap { alpha: samples.alpha.then(|| vec![0; width * height]), ..Bitmap::default() };
    (bitmap.width, bitmap.height, bitmap.rgb) = (header.size.0, header.size.1, vec![0; width * height * 3]);
    let mut rows = Rows::new(reader.info().interlaced, (width, height));
    while let Some(row) = reader.next_interlaced_row()? {
        let Some([x, across, y]) = rows.next() else { break };
        let (rgb, alpha) = conversion.convert(row.data())?;
        for (pixel, colours) in rgb.chunks_exact(3).enumerate() {
            let at = y * width + x + pixel * across;
            bitmap.rgb[at * 3..][..3].copy_from_slice(colours);
            if let (Some(opacities), Some(opacity)) = (&mut bitmap.alpha, alpha.get(pixel)) {
                opacities[at] = *opacity;
            }
        }
    }
    reader.finish()?; // a file that is cut off is not whole
    Ok(bitmap)
}

/// Where each row of pixels that is decoded goes: its first column, the distance to the next, and its row.
struct Rows {
    size: (usize, usize),
    interlaced: bool,
    pass: usize,
    line: usize,
}

impl Rows {
    fn new(interlaced: bool, size: (usize, usize)) -> Self {
        Self { size, interlaced, pass: 0, line: 0 }
    }
}

impl Iterator for Rows {
    type Item = [usize; 3];

    fn next(&mut self) -> Option<Self::Item> {
        let passes: &[[usize; 4]] = if self.interlaced { &PASSES } else { &[[0, 1, 0, 1]] };
        loop {
            let [x, across, y, down] = *passes.get(self.pass)?;
            let row = y + self.line * down;
            if x < self.size.0 && row < self.size.1 {
                self.line += 1;
                return Some([x, across, row]);
            }
            (self.pass, self.line) = (self.pass + 1, 0);
        }
    }
}

/// The colours that a file's chunks describe; of `cICP`, `iCCP`, `sRGB` and `gAMA` the first that is there counts, as
/// the specification asks for (PNG, third edition, 4.3). `cHRM` is not used.
fn profile(info: &Info<'_>, claimed: bool) -> Result<Option<ColorProfile>, Fault> {
    if let Some(points) = info.coding_independent_code_points {
        let (Ok(color_primaries), Ok(transfer_characteristics)) = (
            CicpColorPrimaries::try_from(points.color_primaries),
            TransferCharacteristics::try_from(points.transfer_function),
        ) else {
            return Err(colour::unusable("(`cICP`) is unknown"));
        };
        if matches!(points.transfer_function, 16 | 18) {
            return Err(colour::unusable("(`cICP`) is one of high dynamic range"));
        }
        let points = CicpProfile {
            color_primaries,
            transfer_characteristics,
            matrix_coefficients: MatrixCoefficients::Identity,
            full_range: true,
        };
        return Ok(Some(ColorProfile::new_from_cicp(points)));
    }
    if claimed {
        let bytes = info.icc_profile.as_ref().ok_or_else(|| colour::unusable("is damaged, or longer than 4 MiB"))?;
        return colour::profile(bytes).map(Some);
    }
    let gamma = info.gama_chunk.map_or(GAMMA, png::ScaledFloat::into_scaled);
    if info.srgb.is_some() || gamma == 0 || gamma.abs_diff(GAMMA) <= NEAR {
        return Ok(None);
    }
    let curve = Some(ToneReprCurve::Parametric(vec![100_000.0 / gamma as f32]));
    let mut profile = ColorProfile::new_srgb();
    (profile.red_trc, profile.green_trc, profile.blue_trc, profile.cicp) = (curve.clone(), curve.clone(), curve, None);
    Ok(Some(profile))
}

impl From<DecodingError> for Fault {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::IoError(source) => source.into(),
            DecodingError::LimitsExceeded => {
                Self::refused("its metadata is longer than 16 MiB", "save it without its metadata")
            }
            other => Self::refused(other.to_string(), "save it again, or give another file"),
        }
    }
}

//! How do the samples of a file become red, green and blue of sRGB, 8 bits each?
//!
//! Samples are widened to 16 bits, converted by the picture's colour profile if it has one that is not sRGB's, and
//! rounded: so 16-bit pictures and profiles lose no more than half of 1/255.
use super::{Fault, limits::LONGEST_PROFILE};
use crate::Bitmap;
use moxcms::{ColorProfile, DataColorSpace, Layout, ParsingOptions, Transform16BitExecutor, TransformOptions};
use std::sync::Arc;

/// What the samples of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// One: light.
    Grey,
    /// Three: red, green and blue light.
    Rgb,
    /// Four: cyan, magenta, yellow and black ink.
    Cmyk,
}

/// How pixels lie in memory: colours, then opacity if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Samples {
    pub(super) ink: Ink,
    pub(super) alpha: bool,
    /// Whether each sample takes two bytes, the higher one first.
    pub(super) wide: bool,
}

/// Turns samples into sRGB.
pub(super) struct Conversion {
    samples: Samples,
    /// What the profile asks for, and whether grey is given to it as three colours.
    transform: Option<(Arc<Transform16BitExecutor>, bool)>,
    colours: Vec<u16>,
    converted: Vec<u16>,
    rgb: Vec<u8>,
    alpha: Vec<u8>,
}

impl Ink {
    fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

impl Samples {
    /// The samples of a pixel.
    fn channels(self) -> usize {
        self.ink.channels() + usize::from(self.alpha)
    }
}

/// Reads the colour profile `bytes`, an ICC file.
pub(super) fn profile(bytes: &[u8]) -> Result<ColorProfile, Fault> {
    let limits = ParsingOptions { max_profile_size: LONGEST_PROFILE, ..ParsingOptions::default() };
    ColorProfile::new_from_slice_with_options(bytes, limits).map_err(|why| unusable(&format!("is damaged: {why}")))
}

/// The error for a colour profile that `is` not to be used.
pub(super) fn unusable(is: &str) -> Fault {
    Fault::refused(format!("its colour profile {is}"), "save it as sRGB, or without its colour profile")
}

impl Conversion {
    /// Fails if the profile is of another kind than the samples, or cannot be used.
    pub(super) fn new(samples: Samples, profile: Option<&ColorProfile>) -> Result<Self, Fault> {
        let mut new = Self {
            samples,
            transform: None,
            colours: Vec::new(),
            converted: Vec::new(),
            rgb: Vec::new(),
            alpha: Vec::new(),
        };
        let Some(profile) = profile else { return Ok(new) };
        let (layout, tripled) = match (samples.ink, profile.color_space) {
            (Ink::Grey, DataColorSpace::Gray) => (Layout::Gray, false),
            (Ink::Grey, DataColorSpace::Rgb) => (Layout::Rgb, true),
            (Ink::Rgb, DataColorSpace::Rgb) => (Layout::Rgb, false),
            (Ink::Cmyk, DataColorSpace::Cmyk) => (Layout::Rgba, false), // as the crate calls any four channels
            (ink, space) => return Err(unusable(&format!("is for {space:?} samples, and it has {ink:?} ones"))),
        };
        let target = ColorProfile::new_srgb();
        let transform = profile.create_transform_16bit(layout, &target, Layout::Rgb, TransformOptions::default());
        let transform = transform.map_err(|why| unusable(&format!("cannot be used: {why}")))?;
        if layout != Layout::Rgb || !changes_nothing(&transform) {
            new.transform = Some((transform, tripled));
        }
        Ok(new)
    }

    /// Red, green and blue of some pixels, and their opacities if they have any.
    pub(super) fn convert(&mut self, bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
        self.split(bytes);
        let pixels = self.colours.len() / self.samples.ink.channels();
        self.rgb.clear();
        if let Some((transform, tripled)) = &self.transform {
            if *tripled {
                self.colours = self.colours.iter().flat_map(|grey| [*grey; 3]).collect();
            }
            self.converted.resize(pixels * 3, 0);
            let done = transform.transform(&self.colours, &mut self.converted);
            done.map_err(|why| unusable(&format!("cannot be used: {why}")))?;
            self.rgb.extend(self.converted.iter().map(|value| narrow(*value)));
        } else {
            match self.samples.ink {
                Ink::Grey => self.rgb.extend(self.colours.iter().flat_map(|grey| [narrow(*grey); 3])),
                Ink::Rgb => self.rgb.extend(self.colours.iter().map(|value| narrow(*value))),
                Ink::Cmyk => self.rgb.extend(self.colours.chunks_exact(4).flat_map(light)),
            }
        }
        Ok((&self.rgb, &self.alpha))
    }

    /// Sorts samples into colours, 16 bits each, and opacities.
    fn split(&mut self, bytes: &[u8]) {
        self.colours.clear();
        self.alpha.clear();
        let Samples { alpha, wide, .. } = self.samples;
        let channels = self.samples.channels();
        for pixel in bytes.chunks_exact(channels << u8::from(wide)) {
            let colours = if alpha { &pixel[..pixel.len() - (1 << u8::from(wide))] } else { pixel };
            if wide {
                self.colours.extend(colours.as_chunks().0.iter().map(|bytes| u16::from_be_bytes(*bytes)));
                self.alpha.extend(
                    alpha.then(|| narrow(u16::from_be_bytes([pixel[pixel.len() - 2], pixel[pixel.len() - 1]]))),
                );
            } else {
                self.colours.extend(colours.iter().map(|value| u16::from(*value) * 257));
                self.alpha.extend(alpha.then(|| pixel[pixel.len() - 1]));
            }
        }
    }
}

/// 16 bits rounded to 8.
fn narrow(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32_767) / 65_535) as u8
}

/// The light that is left by ink: black, and each colour, take their part of it.
fn light(ink: &[u16]) -> [u8; 3] {
    let black = u64::from(u16::MAX - ink[3]);
    [0, 1, 2]
        .map(|colour| (u64::from(u16::MAX - ink[colour]) * black * 255 + 2_147_418_112) / 4_294_836_225)
        .map(|v| v as u8)
}

/// Whether `transform` leaves colours as they are, to within 1/255: the profile is that of sRGB.
fn changes_nothing(transform: &Arc<Transform16BitExecutor>) -> bool {
    let levels = (0..=16_u16).map(|level| level * 4095);
    let colours: Vec<u16> = levels
        .clone()
        .flat_map(|r| levels.clone().flat_map(move |g| (0..=16).flat_map(move |b| [r, g, b * 4095])))
        .collect();
    let mut converted = vec![0; colours.len()];
    let done = transform.transform(&colours, &mut converted);
    done.is_ok() && colours.iter().zip(&converted).all(|(before, after)| before.abs_diff(*after) <= 257)
}

/// The picture whose pixels are `bytes`, converted in the memory that they take where they have three samples or more.
pub(super) fn picture(bytes: Vec<u8>, size: (u32, u32), mut conversion: Conversion) -> Result<Bitmap, Fault> {
    let Samples { ink, alpha, wide } = conversion.samples;
    if ink == Ink::Rgb && !alpha && !wide && conversion.transform.is_none() {
        return Ok(Bitmap { width: size.0, height: size.1, rgb: bytes, alpha: None });
    }
    let (from, to) = (conversion.samples.channels() * size.0 as usize, 3 * size.0 as usize);
    let mut bitmap = Bitmap { width: size.0, height: size.1, ..Bitmap::default() };
    bitmap.alpha = alpha.then(|| Vec::with_capacity(bytes.len() / conversion.samples.channels()));
    let mut rgb = bytes;
    if from < to {
        bitmap.rgb.reserve_exact(to * size.1 as usize);
    }
    for row in 0..size.1 as usize {
        let (colours, opacities) = conversion.convert(&rgb[row * from..][..from])?;
        if from < to {
            bitmap.rgb.extend_from_slice(colours);
        } else {
            rgb[row * to..][..to].copy_from_slice(colours);
        }
        bitmap.alpha.iter_mut().for_each(|alpha| alpha.extend_from_slice(opacities));
    }
    if from >= to {
        rgb.truncate(to * size.1 as usize);
        rgb.shrink_to_fit();
        bitmap.rgb = rgb;
    }
    Ok(bitmap)
}

//! How do pictures become an animation? As a PNG file with frames (APNG), which keeps every colour, or as a GIF.
use crate::{Bitmap, Error, Result};
use gif::{DisposalMethod, Frame, Repeat};
use png::{BitDepth, ColorType, Encoder, EncodingError};
use std::path::Path;

/// How long all frames but the last take together, and the shortest and longest time of one, in hundredths of a second.
const TOTAL: u32 = 400;
const SHORTEST: u32 = 4;
const LONGEST: u32 = 40;
/// How long the last frame stays, in hundredths of a second.
const LAST: u16 = 200;
/// How exactly the colours of a GIF are chosen: 1, best, to 30, fastest.
const COLOUR_SPEED: i32 = 5;

/// A file format for animations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnimationFormat {
    /// A PNG file with frames: every colour; programs that know only plain PNG show the last frame.
    #[default]
    Apng,
    /// GIF: 256 colours in each frame, shown nearly everywhere.
    Gif,
}

impl AnimationFormat {
    /// The format of a file that ends in `.apng` or `.gif`.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "apng" => Some(Self::Apng),
            "gif" => Some(Self::Gif),
            _ => None,
        }
    }
}

/// An animation that begins anew when it ends, as a file.
///
/// # Errors
/// [`Error::Request`] if the pictures differ in size, or are too large for the format.
pub(crate) fn animation(frames: &[Bitmap], format: AnimationFormat) -> Result<Vec<u8>> {
    let size = |frame: &Bitmap| (frame.width, frame.height);
    if frames.windows(2).any(|pair| size(&pair[0]) != size(&pair[1])) {
        return Err(Error::request("the pictures of the animation differ in size", "use pictures of one size"));
    }
    let mut bytes = Vec::new();
    let (name, written) = match format {
        AnimationFormat::Apng => ("PNG", apng(&mut bytes, frames).map_err(|error| error.to_string())),
        AnimationFormat::Gif => ("GIF", gif(&mut bytes, frames)),
    };
    written.map_err(|why| Error::request(format!("the animation is no {name}: {why}"), "choose another size"))?;
    Ok(bytes)
}

/// How long each of `number` frames stays, in hundredths of a second.
fn delays(number: usize) -> impl Iterator<Item = u16> {
    let delay = (TOTAL / (number as u32).max(1)).clamp(SHORTEST, LONGEST) as u16;
    (1..=number).map(move |place| if place == number { LAST } else { delay })
}

fn apng(bytes: &mut Vec<u8>, frames: &[Bitmap]) -> Result<(), EncodingError> {
    let Some(cover) = frames.last() else { return Ok(()) };
    let mut encoder = Encoder::new(bytes, cover.width, cover.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_animated(frames.len() as u32, 0)?;
    encoder.set_sep_def_img(true)?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&cover.rgb)?;
    for (frame, delay) in frames.iter().zip(delays(frames.len())) {
        writer.set_frame_delay(delay, 100)?;
        writer.write_image_data(&frame.rgb)?;
    }
    writer.finish()
}

fn gif(bytes: &mut Vec<u8>, frames: &[Bitmap]) -> Result<(), String> {
    let Some(cover) = frames.last() else { return Ok(()) };
    let side = |length: u32| u16::try_from(length).map_err(|_| format!("a side has {length} pixels"));
    let (width, height) = (side(cover.width)?, side(cover.height)?);
    let mut encoder = gif::Encoder::new(bytes, width, height, &[]).map_err(|error| error.to_string())?;
    encoder.set_repeat(Repeat::Infinite).map_err(|error| error.to_string())?;
    for (picture, delay) in frames.iter().zip(delays(frames.len())) {
        let mut frame = Frame::from_rgb_speed(width, height, &picture.rgb, COLOUR_SPEED);
        (frame.delay, frame.dispose) = (delay, DisposalMethod::Keep);
        encoder.write_frame(&frame).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn frame(value: u8) -> Bitmap {
        Bitmap::opaque(2, 3, [value, 0, 255 - value].repeat(2 * 3))
    }

    #[test]
    fn every_frame_of_a_png_comes_back_and_the_last_is_the_cover() {
        let bytes = animation(&[frame(1), frame(2), frame(3)], AnimationFormat::Apng).unwrap();
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
        assert_eq!(reader.info().animation_control().unwrap().num_frames, 3);
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let mut seen = Vec::new();
        for _ in 0..4 {
            reader.next_frame(&mut pixels).unwrap();
            let delay = reader.info().frame_control().map(|control| control.delay_num);
            seen.push((pixels[0], delay));
        }
        assert_eq!(seen, [(3, None), (1, Some(40)), (2, Some(40)), (3, Some(200))]);
    }

    #[test]
    fn every_frame_of_a_gif_comes_back() {
        let bytes = animation(&[frame(10), frame(130), frame(250)], AnimationFormat::Gif).unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(Cursor::new(bytes)).unwrap();
        let mut seen = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            seen.push((frame.delay, frame.buffer[..3].to_vec()));
        }
        assert_eq!(seen, [(40, vec![10, 0, 245]), (40, vec![130, 0, 125]), (200, vec![250, 0, 5])]);
        assert_eq!((decoder.width(), decoder.height(), decoder.repeat()), (2, 3, Repeat::Infinite));
    }

    #[test]
    fn what_is_no_animation_is_refused() {
        let wide = |width: u32| Bitmap::opaque(width, 1, vec![0; width as usize * 3]);
        let error = |frames: &[Bitmap]| animation(frames, AnimationFormat::Gif).unwrap_err().to_string();
        assert_eq!(error(&[frame(1), wide(9)]), "the pictures of the animation differ in size");
        assert_eq!(error(&[wide(70_000)]), "the animation is no GIF: a side has 70000 pixels");
    }

    #[test]
    fn many_frames_go_fast_and_few_slowly() {
        assert_eq!(delays(1).collect::<Vec<_>>(), [200]);
        assert_eq!([2, 21, 1001].map(|number| delays(number).next()), [Some(40), Some(19), Some(4)]);
    }
}

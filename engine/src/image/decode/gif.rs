//! How is the first picture of a GIF file decoded?
use super::{Fault, Header, limits};
use crate::Bitmap;
use gif::{DecodeOptions, DecodingError, MemoryLimit};
use std::{
    io::{BufRead, Seek, SeekFrom},
    num::NonZeroU64,
};

/// What a GIF file is (GIF89a, section 18).
pub(super) fn header(file: &mut (impl BufRead + Seek)) -> Result<Header, Fault> {
    let mut size = [0; 4];
    file.seek(SeekFrom::Start(6))?;
    file.read_exact(&mut size)?;
    let [a, b, c, d] = size;
    let size = (u16::from_le_bytes([a, b]).into(), u16::from_le_bytes([c, d]).into());
    Ok(Header { size, orientation: 1, profile: false })
}

/// The picture: what its first frame leaves out is transparent.
pub(super) fn decode(file: impl BufRead + Seek, header: &Header) -> Result<Bitmap, Fault> {
    let (width, height) = (header.size.0 as usize, header.size.1 as usize);
    let mut options = DecodeOptions::new();
    options.check_frame_consistency(true);
    options.set_memory_limit(NonZeroU64::new((width * height) as u64 + limits::ROOM / 4).map_or(
        MemoryLimit::Unlimited, // there is no such size
        MemoryLimit::Bytes,
    ));
    let mut decoder = options.read_info(file)?;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.read_next_frame()?.ok_or_else(|| Fault::refused("it has no picture", "give another file"))?;
    let palette = frame.palette.as_deref().or(global.as_deref()).unwrap_or_default();
    let whole = (frame.left, frame.top) == (0, 0) && (frame.width.into(), frame.height.into()) == header.size;
    let mut bitmap = Bitmap::opaque(header.size.0, header.size.1, vec![0; width * height * 3]);
    if !whole || frame.transparent.is_some() {
        bitmap.alpha = Some(vec![0; width * height]);
    }
    for (y, row) in frame.buffer.chunks_exact(usize::from(frame.width).max(1)).enumerate() {
        for (x, index) in row.iter().enumerate().filter(|(_, index)| frame.transparent != Some(**index)) {
            let at = (usize::from(frame.top) + y) * width + usize::from(frame.left) + x;
            let colour = palette.chunks_exact(3).nth(usize::from(*index));
            bitmap.rgb[at * 3..][..3].copy_from_slice(colour.unwrap_or(&[0; 3]));
            bitmap.alpha.iter_mut().for_each(|alpha| alpha[at] = u8::MAX);
        }
    }
    Ok(bitmap)
}

impl From<DecodingError> for Fault {
    fn from(error: DecodingError) -> Self {
        match error {
            DecodingError::Io(source) => source.into(),
            other => Self::refused(format!("it is damaged: {other}"), "save it again, or give another file"),
        }
    }
}

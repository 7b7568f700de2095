//! Which pictures are refused before memory is taken for them?
//!
//! Reading a picture takes at most twice the memory of its [`Bitmap`](crate::Bitmap) and 64 MiB. What would take more is
//! refused while only the header was read.
use super::Fault;

/// The longest side of a picture that is read, in pixels: the longest that JPEG has.
pub(super) const LONGEST_SIDE: u32 = 65_535;
/// The largest area of a picture that is read, in pixels: 134 megapixels, 512 MiB with opacity.
const LARGEST_AREA: u64 = 1 << 27;
/// The memory, in bytes, that reading may take beside twice the picture; also what a short file may unpack to.
pub(super) const ROOM: u64 = 64 << 20;
/// How many times its length a file may unpack to once that is more than [`ROOM`]. Photographs have 2 to 50.
const LARGEST_RATIO: u64 = 200;
/// The longest colour profile that is read, in bytes. Those of presses have about 2 MiB.
pub(super) const LONGEST_PROFILE: usize = 4 << 20;

/// The longest JPEG file that is read, in bytes.
pub(super) const LONGEST_JPEG: u64 = 512 << 20;

/// Fails for a picture of the size `size` whose file has `length` bytes if it is too large, or is far larger than such a
/// file should hold.
pub(super) fn check((width, height): (u32, u32), length: u64) -> Result<(), Fault> {
    if width == 0 || height == 0 {
        return Err(Fault::refused("it has no pixels", "give another file"));
    }
    let area = u64::from(width) * u64::from(height);
    if width.max(height) > LONGEST_SIDE || area > LARGEST_AREA {
        let hint = "make it smaller: up to 65,535 pixels a side, and 134 million in all";
        return Err(Fault::refused(format!("it claims {width}x{height} pixels, which is too large"), hint));
    }
    if area * 3 > ROOM && area * 3 / LARGEST_RATIO > length {
        let what = format!("it claims {width}x{height} pixels, but has only {length} bytes");
        return Err(Fault::refused(what, "make it smaller; 22 megapixels are read from a file of any length"));
    }
    Ok(())
}

/// Fails if decoding takes `peak` bytes at a time, and that is too much for a picture of `channels` bytes a pixel.
pub(super) fn check_memory(size: (u32, u32), channels: u64, peak: u64) -> Result<(), Fault> {
    let decoded = channels * u64::from(size.0) * u64::from(size.1);
    if peak <= 2 * decoded + ROOM {
        return Ok(());
    }
    let what = format!("its kind of file takes {} MB to read, which is too much", peak / 1_000_000);
    Err(Fault::refused(what, "save it as PNG, or as a JPEG file that is not progressive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused() {
        let said = |size, length| check(size, length).err().map(|fault| fault.to_string()).unwrap_or_default();
        assert_eq!(said((60_000, 60_000), 68), "it claims 60000x60000 pixels, which is too large");
        assert_eq!(said((65_536, 1), 1 << 30), "it claims 65536x1 pixels, which is too large");
        assert_eq!(said((11_000, 11_000), 68), "it claims 11000x11000 pixels, but has only 68 bytes");
        assert_eq!(said((0, 4), 68), "it has no pixels");
        for (size, length) in [((4000, 4000), 68), ((11_000, 11_000), 2_000_000), ((65_535, 2048), 1 << 30)] {
            assert_eq!(said(size, length), "");
        }
    }

    #[test]
    fn what_takes_too_much_memory_is_refused() {
        assert!(check_memory((1000, 1000), 3, 6_000_000 + ROOM).is_ok());
        assert!(check_memory((1000, 1000), 3, 6_000_001 + ROOM).is_err());
    }
}

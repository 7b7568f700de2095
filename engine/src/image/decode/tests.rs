use super::*;
use std::{fs, io::Cursor};

/// Small files of each format and kind, from those that `scripts/odd_images.py` makes.
const SMALL: [&str; 16] = [
    "rgb.png",
    "rgba-16-interlaced.png",
    "palette-transparent.png",
    "profile-p3.png",
    "turned-6.png",
    "rgb.jpg",
    "progressive-420.jpg",
    "ycck.jpg",
    "turned-6.jpg",
    "rgba.webp",
    "lossy-alpha.webp",
    "animated.webp",
    "profile-swap.webp",
    "transparent.gif",
    "animated.gif",
    "bits.bmp",
];

/// Cut anywhere, or with any bit changed, a file gives a picture or an error, and never a panic.
#[test]
fn damaged_files_do_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images/odd");
    for name in SMALL {
        let file = fs::read(folder.join(name)).unwrap();
        let whole = decode(Cursor::new(&file)).unwrap();
        for length in 0..file.len() {
            let cut = decode(Cursor::new(&file[..length]));
            assert!(cut.is_err() || cut.is_ok_and(|cut| cut == whole), "{name} cut off at {length}");
            let _ = size(Cursor::new(&file[..length]));
        }
        for bit in (0..file.len() * 8).step_by(7) {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = decode(Cursor::new(&bad));
            let sound = |picture: Bitmap| picture.rgb.len() == 3 * picture.width as usize * picture.height as usize;
            assert!(read.map_or(true, sound), "{name}, bit {bit}");
        }
    }
}

//! How does a file of the world become pixels: upright, sRGB, 8 bits each?
mod bmp;
mod colour;
mod gif;
mod jpeg;
mod limits;
mod orientation;
mod png;
mod webp;

use crate::{Bitmap, Error, FileFormat, Result};
use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// The shortest side of a picture that can be drawn over, in pixels: one of latents.
const SHORTEST_SIDE: u32 = 8;

/// Why a file is not read.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Refused { why: String, hint: String },
}

/// What a file's header says.
struct Header {
    /// Width and height as stored.
    size: (u32, u32),
    /// EXIF's orientation, 1 to 8, or what the file has in its place.
    orientation: u8,
    /// Whether there is a colour profile, for formats whose decoder does not tell.
    profile: bool,
}

/// A file format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
}

impl Bitmap {
    /// The picture in the file at `path`, as [`Bitmap::decode`] gives it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Request`] if it is no such picture.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("open", path))?;
        decode(BufReader::new(file)).map_err(|fault| fault.of(path))
    }

    /// The picture in a PNG, JPEG, WebP, GIF or BMP file, which its first bytes tell apart.
    ///
    /// - Every kind of sample becomes 8 bits of red, green and blue: 16 bits are rounded; grey, palettes and fewer bits
    ///   are expanded; opacity is kept, as `tRNS` of PNG is.
    /// - Colours are converted to sRGB by an ICC profile (RGB, grey or CMYK; PNG, JPEG, WebP), by `cICP` or by `gAMA`
    ///   of PNG. CMYK without a profile becomes light as ink is subtracted. What is not converted: `cHRM` of PNG, and
    ///   profiles in GIF and BMP files. A profile that cannot be used is an error.
    /// - EXIF's orientation (PNG, JPEG, WebP) is applied.
    /// - Of an animation the first picture is given; of APNG the one that plain viewers show.
    ///
    /// Refused are pictures with more than 134 megapixels or a side above 65,535 pixels, files that unpack to more than
    /// 64 MiB and 200 times their length, and what would take more than twice the memory of the result and 64 MiB to
    /// decode: progressive JPEG without subsampling above 22 megapixels, lossless WebP above 67. Files that are cut off
    /// or damaged are refused as well.
    ///
    /// # Errors
    /// [`Error::Request`] for what is not such a picture; it says why.
    pub fn decode(file: impl BufRead + Seek) -> Result<Self> {
        decode(file).map_err(|fault| match fault {
            Fault::Io(source) => Error::Io { doing: "read", path: "picture".into(), source },
            Fault::Refused { why, hint } => Error::request(format!("the picture cannot be read: {why}"), hint),
        })
    }

    /// Fails for a picture that is too small to be drawn over: with a side below 8 pixels, which is one of latents.
    pub fn check_drawable(&self) -> Result<()> {
        let (width, height) = self.size();
        if width.min(height) >= SHORTEST_SIDE {
            return Ok(());
        }
        let what = format!("the picture to draw over has {width}x{height} pixels");
        Err(Error::request(what, format!("use one with {SHORTEST_SIDE} or more pixels a side")))
    }
}

/// The width and height, upright, of the picture in the file at `path`; its pixels are not read.
///
/// # Errors
/// As those of [`Bitmap::read`], but for what shows only in the pixels.
pub fn picture_size(path: impl AsRef<Path>) -> Result<(u32, u32)> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io("open", path))?;
    size(BufReader::new(file)).map_err(|fault| fault.of(path))
}

/// Whether the file at `path` is a JPEG file, which does not keep pixels as they are.
pub(super) fn lossy_format(path: &Path) -> Result<Option<FileFormat>> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io("open", path))?);
    let of = |fault: Fault| fault.of(path);
    let (kind, length) = examine(&mut file).map_err(of)?;
    Ok(match kind {
        Kind::Jpeg => Some(FileFormat::Jpeg),
        Kind::WebP => webp::Opened::new(file, length).map_err(of)?.is_lossy().then_some(FileFormat::WebP),
        _ => None,
    })
}

fn size(mut file: impl BufRead + Seek) -> Result<(u32, u32), Fault> {
    let (kind, length) = examine(&mut file)?;
    let header = match kind {
        Kind::Png => png::header(&mut file)?,
        Kind::Jpeg => jpeg::Head::read(&whole(&mut file, length)?)?.header(),
        Kind::WebP => webp::Opened::new(file, length)?.header()?,
        Kind::Gif => gif::header(&mut file)?,
        Kind::Bmp => bmp::Opened::new(file)?.header(),
    };
    limits::check(header.size, length)?;
    Ok(orientation::upright_size(header.size, header.orientation))
}

fn decode(mut file: impl BufRead + Seek) -> Result<Bitmap, Fault> {
    let (kind, length) = examine(&mut file)?;
    let (picture, orientation) = match kind {
        Kind::Png => {
            let header = png::header(&mut file)?;
            limits::check(header.size, length)?;
            file.seek(SeekFrom::Start(0))?;
            (png::decode(file, &header)?, header.orientation)
        }
        Kind::Jpeg => {
            let bytes = whole(&mut file, length)?;
            drop(file);
            let head = jpeg::Head::read(&bytes)?;
            let header = head.header();
            limits::check(header.size, length)?;
            (jpeg::decode(bytes, head)?, header.orientation)
        }
        Kind::WebP => {
            let mut opened = webp::Opened::new(file, length)?;
            let header = opened.header()?;
            limits::check(header.size, length)?;
            (opened.decode()?, header.orientation)
        }
        Kind::Gif => {
            let header = gif::header(&mut file)?;
            limits::check(header.size, length)?;
            file.seek(SeekFrom::Start(0))?;
            (gif::decode(file, &header)?, header.orientation)
        }
        Kind::Bmp => {
            let opened = bmp::Opened::new(file)?;
            limits::check(opened.header().size, length)?;
            (opened.decode()?, 1)
        }
    };
    Ok(orientation::upright(picture, orientation))
}

/// The format of a file and its length; the file is at its start afterwards.
fn examine(file: &mut (impl BufRead + Seek)) -> Result<(Kind, u64), Fault> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let kind = match start.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => Kind::Png,
        [0xFF, 0xD8, 0xFF, ..] => Kind::Jpeg,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::WebP,
        [b'G', b'I', b'F', b'8', ..] => Kind::Gif,
        [b'B', b'M', ..] => Kind::Bmp,
        other => return Err(foreign(other)),
    };
    Ok((kind, length))
}

/// The error for a file that begins with `start`.
fn foreign(start: &[u8]) -> Fault {
    let name = match start {
        [] => return Fault::refused("it is empty", "give another file"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', ..] => "an AVIF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a HEIC",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF",
        [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => "a JPEG XL",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop",
        [b'%', b'P', b'D', b'F', ..] => "a PDF",
        [b'<', ..] => "an SVG or HTML",
        _ => return Fault::refused("it is no PNG, JPEG, WebP, GIF or BMP file", "give such a file"),
    };
    Fault::refused(format!("it is {name} file"), "save it as PNG, JPEG or WebP")
}

/// All bytes of a file.
fn whole(file: &mut impl Read, length: u64) -> Result<Vec<u8>, Fault> {
    if length > limits::LONGEST_JPEG {
        return Err(Fault::refused("the file is longer than 512 MiB", "save it again as a JPEG file"));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Fault {
    fn refused(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), hint: hint.into() }
    }

    /// The error of the file at `path`.
    fn of(self, path: &Path) -> Error {
        match self {
            Self::Io(source) => Error::Io { doing: "read", path: path.into(), source },
            Self::Refused { why, hint } => {
                Error::request(format!("`{}` cannot be read as a picture: {why}", path.display()), hint)
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(source) => source.fmt(f),
            Self::Refused { why, .. } => f.write_str(why),
        }
    }
}

impl From<io::Error> for Fault {
    /// A file that ends too early is one that is cut off, wherever that is noticed.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::refused("the file is cut off", "give the whole file"),
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests;

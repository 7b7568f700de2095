//! How does text get into EXIF data, and out of it?
//!
//! EXIF is a TIFF file without pixels: directories of entries, each a tag, a type, a count and a value or where it is
//! (CIPA DC-008, "Exif 2.32", 4.6). The text stands in `UserComment`, after eight bytes that name its encoding.
use super::{LONGEST_TEXT, PARAMETERS, Text};

/// The entry of the first directory that points to the Exif directory.
const EXIF_DIRECTORY: u16 = 0x8769;
/// The entry of the Exif directory that holds free text.
const USER_COMMENT: u16 = 0x9286;
/// Entries of the first directory in which ComfyUI's animated WebP files keep `prompt:{...}` and `workflow:{...}`.
const ASCII_ENTRIES: [u16; 3] = [0x010E, 0x010F, 0x0110];
/// The entry of the first directory that says how the picture is turned.
const ORIENTATION: u16 = 0x0112;
/// The entries of a directory that are looked at: real ones have a few dozen.
const MOST_ENTRIES: u16 = 512;
/// The type of a 32-bit number.
const LONG: u16 = 4;
/// The type of bytes of any kind.
const UNDEFINED: u16 = 7;

/// EXIF data that holds `text` as `UserComment`, as piexif writes it for stable-diffusion-webui: big-endian, the text
/// as UTF-16. Unlike piexif's, it says that no directory follows the second, as TIFF 6.0 (page 14) asks for.
pub(super) fn write(text: &str) -> Vec<u8> {
    let comment: Vec<u8> = b"UNICODE\0".iter().copied().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let directory = |tag: u16, kind: u16, count: u32, value: u32| {
        let head = [1_u16, tag, kind].map(u16::to_be_bytes).concat();
        [head, [count, value, 0].map(u32::to_be_bytes).concat()].concat() // 0: no directory follows
    };
    let header = b"MM\0*\0\0\0\x08";
    // header 8 bytes, each directory 18
    let first = directory(EXIF_DIRECTORY, LONG, 1, 26);
    let second = directory(USER_COMMENT, UNDEFINED, comment.len() as u32, 44);
    [header.as_slice(), &first, &second, &comment].concat()
}

/// The texts of EXIF data: `UserComment` as stable-diffusion-webui's, and what ComfyUI keeps in other entries.
pub(super) fn read(data: &[u8]) -> Vec<Text> {
    let tiff = Tiff::new(data.strip_prefix(b"Exif\0\0").unwrap_or(data));
    tiff.map(|tiff| tiff.texts()).unwrap_or_default()
}

/// How EXIF data says that a picture is turned, 1 to 8; none if it does not say.
pub(super) fn orientation(data: &[u8]) -> Option<u8> {
    let tiff = Tiff::new(data.strip_prefix(b"Exif\0\0").unwrap_or(data))?;
    let entry = tiff.directory(tiff.long(4)?).find(|entry| entry.tag == ORIENTATION)?;
    tiff.short(entry.at).and_then(|value| u8::try_from(value).ok()).filter(|value| (1..=8).contains(value))
}

/// A TIFF file; every read is checked, and allocates no more than what is there.
struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

/// One entry of a directory: its tag, the length of its value if that is made of bytes, and where it is.
struct Entry {
    tag: u16,
    length: usize,
    /// Where the four bytes are that hold the value or point to it.
    at: usize,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.get(..4)? {
            b"MM\0*" => Some(Self { bytes, big_endian: true }),
            b"II*\0" => Some(Self { bytes, big_endian: false }),
            _ => None,
        }
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn long(&self, at: usize) -> Option<usize> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) } as usize)
    }

    /// The entries of the directory at `at`, as many as are there.
    fn directory(&self, at: usize) -> impl Iterator<Item = Entry> + '_ {
        let count = self.short(at).unwrap_or(0).min(MOST_ENTRIES);
        (0..usize::from(count)).map_while(move |number| {
            let at = at.checked_add(2 + number * 12)?;
            Some(Entry { tag: self.short(at)?, length: self.long(at + 4)?, at: at + 8 })
        })
    }

    /// The bytes of an entry; none if it is longer than any text that is read.
    fn value(&self, entry: &Entry) -> Option<&'a [u8]> {
        let at = if entry.length <= 4 { entry.at } else { self.long(entry.at)? };
        self.bytes.get(at..at.checked_add(entry.length)?).filter(|value| value.len() <= 2 * LONGEST_TEXT)
    }

    fn texts(&self) -> Vec<Text> {
        let Some(first) = self.long(4) else { return Vec::new() };
        let mut texts = Vec::new();
        for entry in self.directory(first) {
            if entry.tag == EXIF_DIRECTORY {
                let comment = self.long(entry.at).and_then(|at| self.directory(at).find(|e| e.tag == USER_COMMENT));
                let comment = comment.and_then(|entry| self.value(&entry));
                texts.extend(comment.and_then(|bytes| self.comment(bytes)).map(|text| (PARAMETERS, text)));
            } else if ASCII_ENTRIES.contains(&entry.tag) {
                let text = self.value(&entry).map(|bytes| String::from_utf8_lossy(bytes));
                let graph = text.as_deref().and_then(|text| text.trim_end_matches('\0').strip_prefix("prompt:"));
                texts.extend(graph.map(|graph| ("prompt", graph.to_owned())));
            }
            if texts.len() > 3 {
                break; // no picture has more; a crafted one may point to one text many times
            }
        }
        texts
    }

    /// The text of a `UserComment`; `None` for encodings that no such tool writes.
    fn comment(&self, bytes: &[u8]) -> Option<String> {
        let (code, rest) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], bytes));
        let text = match code {
            b"UNICODE\0" => self.utf_16(rest),
            b"ASCII\0\0\0" | [0, 0, 0, 0, 0, 0, 0, 0] => String::from_utf8_lossy(rest).into_owned(),
            b"JIS\0\0\0\0\0" => return None,
            _ => String::from_utf8_lossy(bytes).into_owned(),
        };
        let text = text.trim_end_matches('\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// UTF-16 in the order in which more of it is Latin, or of its mark, or in that of the file: piexif writes
    /// big-endian whatever the file says, others as the file says.
    fn utf_16(&self, bytes: &[u8]) -> String {
        let (units, _) = bytes.as_chunks::<2>();
        let latin = |high: usize| units.iter().filter(|unit| unit[high] == 0).count();
        let big_endian = match units.first() {
            _ if latin(0) != latin(1) => latin(0) > latin(1),
            Some([0xFE, 0xFF]) => true,
            Some([0xFF, 0xFE]) => false,
            _ => self.big_endian,
        };
        let units =
            units.iter().map(|unit| if big_endian { u16::from_be_bytes(*unit) } else { u16::from_le_bytes(*unit) });
        let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        text.trim_start_matches('\u{feff}').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the byte order `big_endian` whose `UserComment` is `comment`.
    fn file(big_endian: bool, comment: &[u8]) -> Vec<u8> {
        let short = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let long = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
        let entry = |tag, kind, count, value| {
            [short(1), short(tag), short(kind)]
                .concat()
                .into_iter()
                .chain([long(count), long(value), long(0)].concat())
                .collect::<Vec<_>>()
        };
        let header = [if big_endian { b"MM".as_slice() } else { b"II" }, &short(42), &long(8)].concat();
        [
            header,
            entry(EXIF_DIRECTORY, LONG, 1, 26),
            entry(USER_COMMENT, UNDEFINED, comment.len() as u32, 44),
            comment.to_vec(),
        ]
        .concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["a dog", "犬", "line\nbreak, 🚀", "x\u{301}"] {
            assert_eq!(read(&write(text)), [(PARAMETERS, text.to_owned())]);
        }
    }

    #[test]
    fn what_is_written_is_what_piexif_writes() {
        let index = include_str!("../../../tests/images/foreign/index.json");
        let index: serde_json::Value = serde_json::from_str(index).unwrap();
        let written = &index["written"];
        let mut ours = write(written["text"].as_str().unwrap());
        ours.drain(40..44); // piexif leaves out that no directory follows
        ours[39] -= 4;
        let theirs = written["exif"].as_str().unwrap().as_bytes().chunks(2);
        let theirs: Vec<_> =
            theirs.map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap()).collect();
        assert_eq!(theirs.strip_prefix(b"Exif\0\0"), Some(ours.as_slice()));
    }

    #[test]
    fn every_encoding_is_read_in_both_orders() {
        let text = "a dog, 犬\nSteps: 1";
        let utf_16 = |code: &[u8], big: bool| {
            [
                code,
                &text
                    .encode_utf16()
                    .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                    .collect::<Vec<_>>(),
            ]
            .concat()
        };
        for big_endian in [false, true] {
            for comment in [
                utf_16(b"UNICODE\0", true),
                utf_16(b"UNICODE\0", false),
                utf_16(b"UNICODE\0\xFE\xFF", true),
                utf_16(b"UNICODE\0\xFF\xFE", false),
                [b"ASCII\0\0\0", text.as_bytes()].concat(),
                [b"\0\0\0\0\0\0\0\0", text.as_bytes()].concat(),
                text.into(),
            ] {
                let bytes = file(big_endian, &comment);
                assert_eq!(read(&bytes), [(PARAMETERS, text.to_owned())], "{comment:?}");
                assert_eq!(read(&[b"Exif\0\0", bytes.as_slice()].concat()).len(), 1);
            }
        }
    }

    /// A directory of many entries, each of which points to the directory itself.
    #[test]
    fn circles_end() {
        let entry = [EXIF_DIRECTORY.to_be_bytes().as_slice(), &LONG.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 8]].concat();
        let bytes = [b"MM\0*\0\0\0\x08\xFF\xFF".as_slice(), &entry.repeat(0xFFFF)].concat();
        let begun = std::time::Instant::now();
        assert_eq!(read(&bytes), []);
        assert!(begun.elapsed().as_secs() < 1, "{:?}", begun.elapsed());
    }

    #[test]
    fn hostile_files_do_no_harm() {
        let good = file(true, b"ASCII\0\0\0text");
        for length in 0..good.len() {
            let _ = read(&good[..length]);
        }
        for place in 0..good.len() {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bad = good.clone();
                bad[place] = value;
                let _ = read(&bad);
            }
        }
    }
}

//! Where does a GIF file keep its text? In comment extensions (GIF89a, section 24).
use super::{LONGEST_TEXT, Text};
use std::io::{self, Read, Seek, SeekFrom};

/// The comments of a GIF file. Reading stops at what is no block.
pub(super) fn read(file: &mut (impl Read + Seek)) -> io::Result<Vec<Text>> {
    let mut texts = Vec::new();
    file.seek(SeekFrom::Start(10))?;
    let [flags, _, _] = bytes(file)?;
    skip_colours(file, flags)?;
    while texts.len() <= 3 {
        match bytes::<1>(file)? {
            [0x21] => {
                let [label] = bytes(file)?;
                let data = blocks(file)?;
                if label == 0xFE {
                    texts.push(("comment", String::from_utf8_lossy(&data).into_owned()));
                }
            }
            [0x2C] => {
                let place: [u8; 9] = bytes(file)?;
                skip_colours(file, place[8])?;
                bytes::<1>(file)?; // the size of the first code
                blocks(file)?;
            }
            _ => break,
        }
    }
    Ok(texts)
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Passes over the table of colours that `flags` announce.
fn skip_colours(file: &mut impl Seek, flags: u8) -> io::Result<()> {
    let size = if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    file.seek(SeekFrom::Current(size)).map(drop)
}

/// The data of blocks that each begin with their length, up to the one of length 0; at most as long as any text.
fn blocks(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let [length] = bytes(file)?;
        if length == 0 {
            return Ok(data);
        }
        let mut block = vec![0; length.into()];
        file.read_exact(&mut block)?;
        if data.len() + block.len() <= LONGEST_TEXT {
            data.append(&mut block);
        }
    }
}

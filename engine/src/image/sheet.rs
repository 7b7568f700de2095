//! How are many pictures put onto one, with labels, without holding them all in memory?
use super::{
    Cell,
    cell::Rows,
    lettering::{Ink, Letters, PAPER, Paper, Side},
    png::add_text,
};
use crate::{Error, Result};
use png::{BitDepth, ColorType, Encoder, EncodingError};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

/// Pixels between cells, and around everything.
const GAP: usize = 6;
const MARGIN: usize = 16;
/// The greys of labels and of the remarks in the caption.
const DARK: Ink = Ink(45);
const FAINT: Ink = Ink(120);
/// The fewest characters that a column, a row's label and the caption are as wide as, if their texts are.
const COLUMN_CHARACTERS: usize = 12;
const ROW_CHARACTERS: usize = 18;
const CAPTION_CHARACTERS: usize = 48;
/// The most lines of a label, and of a paragraph of the caption.
const LABEL_LINES: usize = 3;
const CAPTION_LINES: usize = 4;
/// The largest width and height of a PNG file.
const LARGEST: usize = i32::MAX as usize;

/// Pictures in rows and columns, with labels, on white paper.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// What stands above everything: the first in dark letters, the others in lighter ones.
    pub caption: Vec<String>,
    /// What stands above each column; may be empty.
    pub columns: Vec<String>,
    /// The rows, from top to bottom.
    pub rows: Vec<SheetRow>,
    /// A keyword and a text to write into the file.
    pub text: Option<(&'static str, String)>,
}

/// A row of a [`Sheet`].
#[derive(Clone, Debug, Default)]
pub struct SheetRow {
    /// What stands left of it; may be empty.
    pub label: String,
    /// The pictures, from left to right. Smaller ones stand in the middle of their place.
    pub cells: Vec<Cell>,
}

/// Where everything lies.
struct Layout {
    letters: Letters,
    /// The width of the whole sheet.
    width: usize,
    height: usize,
    /// The width of the rows' labels; 0 without any.
    gutter: usize,
    columns: Vec<usize>,
    caption: Vec<(String, Ink)>,
    /// The lines above each column.
    heads: Vec<Vec<String>>,
    rows: Vec<RowLayout>,
}

struct RowLayout {
    /// The height of its pictures' place.
    height: usize,
    sizes: Vec<(usize, usize)>,
    label: Vec<String>,
    /// The lines below each cell.
    feet: Vec<Vec<String>>,
}

/// Why a sheet is not written.
enum Fault {
    Sheet(Error),
    Encoding(EncodingError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sheet(error)
    }
}

impl From<EncodingError> for Fault {
    fn from(error: EncodingError) -> Self {
        Self::Encoding(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Encoding(error.into())
    }
}

impl Fault {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Sheet(error) => error,
            Self::Encoding(EncodingError::IoError(source)) => Error::io("write", path)(source),
            Self::Encoding(error) => {
                Error::request(format!("the sheet is no PNG: {error}"), "put fewer pictures on it")
            }
        }
    }
}

impl Sheet {
    /// The sheet as a PNG file of 8-bit RGB, in memory.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).map_err(|fault| fault.into_error(Path::new("")))?;
        Ok(bytes)
    }

    /// Writes the sheet as a PNG file that appears whole or not at all, and gives its width and height. No more than one
    /// row of pixels of each picture is in memory. The file grows as `draft`, in a folder of the same disk, and is
    /// renamed when it is whole.
    pub fn save(&self, path: &Path, draft: &Path) -> Result<(u32, u32)> {
        let write = || -> Result<(u32, u32), Fault> {
            let mut file = BufWriter::new(File::create(draft)?);
            let size = self.write(&mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            Ok(size)
        };
        let size = write().map_err(|fault| fault.into_error(path))?;
        fs::rename(draft, path).map_err(Error::io("write", path))?;
        Ok(size)
    }

    fn write(&self, out: &mut dyn Write) -> Result<(u32, u32), Fault> {
        let layout = Layout::new(self)?;
        let size = (layout.width as u32, layout.height as u32);
        let mut encoder = Encoder::new(out, size.0, size.1);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        if let Some((keyword, text)) = &self.text {
            add_text(&mut encoder, keyword, text)?;
        }
        let mut header = encoder.write_header()?;
        let mut out = header.stream_writer()?;
        out.write_all(&layout.top().rgb)?;
        for (row, place) in self.rows.iter().zip(&layout.rows) {
            layout.write_row(row, place, &mut out)?;
        }
        out.write_all(&Paper::new(layout.width, MARGIN - GAP).rgb)?;
        out.finish()?;
        header.finish()?;
        Ok(size)
    }
}

impl Layout {
    fn new(sheet: &Sheet) -> Result<Self> {
        let sizes = sheet.rows.iter().map(|row| row.cells.iter().map(|cell| cell.pixels.size()).collect());
        let sizes: Vec<Vec<(usize, usize)>> = sizes.collect::<Result<_>>()?;
        let widest = sizes.iter().flatten().map(|size| size.0).max().unwrap_or(0);
        let letters = Letters::for_pictures(widest);
        // as wide as a text is, but no wider than so many characters, for its own sake
        let wish = |text: &str, characters: usize| letters.natural_width(text).min(letters.width(characters));
        let number = sizes.iter().map(Vec::len).max().unwrap_or(0).max(sheet.columns.len());
        let column = |at: usize| {
            let pictures = sizes.iter().filter_map(|row| row.get(at)).map(|size| size.0);
            let feet = sheet.rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.label.as_str());
            let labels = feet.chain(sheet.columns.get(at).map(String::as_str));
            pictures.chain(labels.map(|label| wish(label, COLUMN_CHARACTERS))).max().unwrap_or(0)
        };
        let columns: Vec<usize> = (0..number).map(column).collect();
        let room = (letters.width(ROW_CHARACTERS)).max(widest / 2);
        let gutter = sheet.rows.iter().map(|row| letters.natural_width(&row.label).min(room)).max().unwrap_or(0);
        let pictures =
            gutter + 2 * GAP * usize::from(gutter > 0) + columns.iter().map(|width| width + GAP).sum::<usize>();
        let caption = sheet.caption.iter().map(|text| wish(text, CAPTION_CHARACTERS)).max().unwrap_or(0);
        let mut layout = Self {
            letters,
            width: pictures.saturating_sub(GAP).max(caption).max(1) + 2 * MARGIN,
            height: 0,
            gutter,
            caption: Vec::new(),
            heads: sheet
                .columns
                .iter()
                .zip(&columns)
                .map(|(text, width)| letters.wrap(text, *width, LABEL_LINES))
                .collect(),
            rows: Vec::new(),
            columns,
        };
        layout.rows = sheet.rows.iter().zip(sizes).map(|(row, sizes)| layout.row(row, sizes)).collect();
        layout.caption = layout.lines_of(&sheet.caption);
        layout.height =
            layout.top_height() + layout.rows.iter().map(|row| layout.row_height(row)).sum::<usize>() + MARGIN - GAP;
        if layout.width.max(layout.height) > LARGEST {
            let what = format!("the sheet has {} times {} pixels", layout.width, layout.height);
            return Err(Error::request(what, "put fewer pictures on it"));
        }
        Ok(layout)
    }

    fn row(&self, row: &SheetRow, sizes: Vec<(usize, usize)>) -> RowLayout {
        let tallest = sizes.iter().map(|size| size.1).max().unwrap_or(0);
        let most = (tallest / self.letters.line()).max(LABEL_LINES);
        let wrap = |text: &str, width: usize, most: usize| match text {
            "" => Vec::new(),
            text => self.letters.wrap(text, width, most),
        };
        let label = wrap(&row.label, self.gutter, most);
        let height = tallest.max(label.len() * self.letters.line());
        let feet = row.cells.iter().zip(&self.columns);
        let feet = feet.map(|(cell, width)| wrap(&cell.label, *width, LABEL_LINES)).collect();
        RowLayout { height, sizes, label, feet }
    }

    /// The caption's lines.
    fn lines_of(&self, caption: &[String]) -> Vec<(String, Ink)> {
        let inks = std::iter::once(DARK).chain(std::iter::repeat(FAINT));
        let paragraphs = caption.iter().zip(inks);
        let wrap = |(text, ink): (&String, Ink)| {
            let lines = self.letters.wrap(text, self.width - 2 * MARGIN, CAPTION_LINES);
            lines.into_iter().map(move |line| (line, ink))
        };
        paragraphs.flat_map(wrap).collect()
    }

    fn caption_height(&self) -> usize {
        self.caption.len() * self.letters.line() + if self.caption.is_empty() { 0 } else { 2 * GAP }
    }

    /// Pixels above the first row of pictures.
    fn top_height(&self) -> usize {
        let heads = self.heads.iter().map(Vec::len).max().unwrap_or(0) * self.letters.line();
        MARGIN + self.caption_height() + heads + if heads > 0 { GAP } else { 0 }
    }

    /// Pixels of a row of pictures with what stands below them.
    fn row_height(&self, row: &RowLayout) -> usize {
        row.height + self.feet_height(row) + GAP
    }

    fn feet_height(&self, row: &RowLayout) -> usize {
        match row.feet.iter().map(Vec::len).max() {
            None | Some(0) => 0,
            Some(lines) => lines * self.letters.line() + GAP, // so that it is plain which picture they belong to
        }
    }

    /// Each column's left edge and width.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let start = MARGIN + self.gutter + 2 * GAP * usize::from(self.gutter > 0);
        self.columns.iter().scan(start, |left, width| {
            let place = (*left, *width);
            *left += width + GAP;
            Some(place)
        })
    }

    /// The caption and the labels of the columns, which stand on the pictures below them.
    fn top(&self) -> Paper {
        let mut paper = Paper::new(self.width, self.top_height());
        let line = self.letters.line();
        for (number, (text, ink)) in self.caption.iter().enumerate() {
            self.letters.write(&mut paper, text, (MARGIN, MARGIN + number * line), (self.width, Side::Left), *ink);
        }
        for (head, (left, width)) in self.heads.iter().zip(self.places()) {
            let top = self.top_height() - GAP - head.len() * line;
            for (number, text) in head.iter().enumerate() {
                self.letters.write(&mut paper, text, (left, top + number * line), (width, Side::Middle), DARK);
            }
        }
        paper
    }

    /// One row of pictures, a row of pixels at a time.
    fn write_row(&self, row: &SheetRow, place: &RowLayout, out: &mut dyn Write) -> Result<(), Fault> {
        let margin = self.label(place);
        let mut readers: Vec<Rows<'_>> = row.cells.iter().map(|cell| cell.pixels.rows()).collect::<Result<_>>()?;
        let mut line = vec![PAPER; self.width * 3];
        for (y, label) in (0..place.height).zip(margin.rgb.chunks_exact((margin.width * 3).max(1))) {
            line.fill(PAPER);
            line[..label.len()].copy_from_slice(label);
            for ((reader, (width, height)), (left, room)) in readers.iter_mut().zip(&place.sizes).zip(self.places()) {
                let top = (place.height - height) / 2;
                if (top..top + height).contains(&y) {
                    let start = (left + (room - width) / 2) * 3;
                    reader.next_into(&mut line[start..start + width * 3])?;
                }
            }
            out.write_all(&line)?;
        }
        let mut paper = Paper::new(self.width, self.feet_height(place) + GAP);
        for (foot, (left, width)) in place.feet.iter().zip(self.places()) {
            for (number, text) in foot.iter().enumerate() {
                let y = number * self.letters.line() + 2;
                self.letters.write(&mut paper, text, (left, y), (width, Side::Middle), DARK);
            }
        }
        Ok(out.write_all(&paper.rgb)?)
    }

    /// The label left of a row, in the middle of its height.
    fn label(&self, place: &RowLayout) -> Paper {
        let mut paper = Paper::new(MARGIN + self.gutter, place.height);
        let line = self.letters.line();
        let top = (place.height - place.label.len() * line) / 2;
        for (number, text) in place.label.iter().enumerate() {
            self.letters.write(&mut paper, text, (MARGIN, top + number * line), (self.gutter, Side::Right), DARK);
        }
        paper
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bitmap, image::CellPixels};
    use std::io::Cursor;

    fn plain((width, height): (u32, u32), colour: [u8; 3]) -> Bitmap {
        Bitmap::opaque(width, height, colour.repeat((width * height) as usize))
    }

    fn cell(picture: Bitmap, label: &str) -> Cell {
        Cell { label: label.into(), pixels: CellPixels::Memory(picture) }
    }

    fn read(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }

    /// Left, top, right and bottom edge of everything in `colour`.
    fn bounds((width, _, rgb): &(usize, usize, Vec<u8>), colour: [u8; 3]) -> [usize; 4] {
        let at = rgb.chunks(3).enumerate().filter(|(_, pixel)| *pixel == colour).map(|(k, _)| (k % width, k / width));
        at.fold([usize::MAX, usize::MAX, 0, 0], |[l, t, r, b], (x, y)| [l.min(x), t.min(y), r.max(x + 1), b.max(y + 1)])
    }

    #[test]
    fn without_words_there_are_pictures_and_gaps() {
        let rows = vec![SheetRow {
            label: String::new(),
            cells: vec![cell(plain((8, 4), [1; 3]), ""), cell(plain((4, 2), [2; 3]), "")],
        }];
        let sheet = read(&Sheet { rows, ..Sheet::default() }.to_png().unwrap());
        assert_eq!((sheet.0, sheet.1), (2 * MARGIN + 8 + GAP + 4, 2 * MARGIN + 4));
        assert_eq!(bounds(&sheet, [1; 3]), [MARGIN, MARGIN, MARGIN + 8, MARGIN + 4]);
        let left = MARGIN + 8 + GAP;
        assert_eq!(bounds(&sheet, [2; 3]), [left, MARGIN + 1, left + 4, MARGIN + 3]); // centred in its row
    }

    #[test]
    fn smaller_pictures_stand_in_the_middle() {
        let row = |picture| SheetRow { label: "x".into(), cells: vec![cell(picture, "")] };
        let rows = vec![row(plain((60, 50), [1; 3])), row(plain((20, 50), [2; 3]))];
        let sheet = read(&Sheet { rows, columns: vec!["y".into()], ..Sheet::default() }.to_png().unwrap());
        let (large, small) = (bounds(&sheet, [1; 3]), bounds(&sheet, [2; 3]));
        assert_eq!((small[0] - large[0], large[2] - small[2]), (20, 20));
        assert_eq!(small[1] - large[3], GAP);
    }

    #[test]
    fn words_change_no_picture_and_are_seen() {
        let words = || SheetRow {
            label: "a long label of a row".into(),
            cells: vec![cell(plain((64, 64), [1, 2, 3]), "step 1")],
        };
        let sheet = Sheet {
            caption: vec!["caption".into(), "remark".into()],
            columns: vec!["head".into()],
            rows: vec![words(), words()],
            text: None,
        };
        let drawn = read(&sheet.to_png().unwrap());
        assert_eq!(drawn.2.chunks(3).filter(|pixel| *pixel == [1, 2, 3]).count(), 2 * 64 * 64);
        let [left, top, right, bottom] = bounds(&drawn, [1, 2, 3]);
        let inked = |columns: std::ops::Range<usize>, rows: std::ops::Range<usize>| {
            let dark = |x: usize, y: usize| drawn.2[(y * drawn.0 + x) * 3] < 100;
            rows.clone().any(|y| columns.clone().any(|x| dark(x, y)))
        };
        assert!(inked(0..left, top..bottom) && inked(left..right, 40..top) && inked(0..left, 0..40));
        assert!(inked(left..right, bottom..drawn.1) && !inked(right..drawn.0, top..bottom));
    }

    #[test]
    fn files_are_read_and_damaged_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let (good, out) = (folder.path().join("a.png"), folder.path().join("sheet.png"));
        let noise: Vec<u8> = (0..64 * 64 * 3).map(|k| (k * k % 251) as u8).collect();
        let bytes = crate::image::rows::encode(&Bitmap::opaque(64, 64, noise.clone()), &[]).unwrap();
        let sheet = |path: &Path| {
            let cells = vec![Cell { label: String::new(), pixels: CellPixels::File(path.into()) }];
            let rows = vec![SheetRow { label: String::new(), cells }];
            Sheet { rows, text: Some(("key", "犬".into())), ..Sheet::default() }
                .save(&out, &folder.path().join("draft"))
        };
        fs::write(&good, &bytes).unwrap();
        assert_eq!(sheet(&good).unwrap(), (96, 96));
        let (width, _, rgb) = read(&fs::read(&out).unwrap());
        let inside = |y: usize| &rgb[((MARGIN + y) * width + MARGIN) * 3..][..64 * 3];
        assert!((0..64).all(|y| inside(y) == &noise[y * 64 * 3..][..64 * 3]));
        for length in [0, 20, bytes.len() / 2] {
            let bad = folder.path().join("bad.png");
            fs::write(&bad, &bytes[..length]).unwrap();
            let error = sheet(&bad).unwrap_err().to_string();
            assert!(error.contains("bad.png"), "{error}");
        }
        assert_eq!(read(&fs::read(&out).unwrap()).0, 96); // the good sheet is still there
    }
}

//! How is a Protocol Buffers message read piece by piece, without its large values in memory?
use std::io::{self, BufRead, Seek};

/// Bytes of all names: those of the largest models are a few million.
const MOST_TEXT: u64 = 1 << 28;

const BEYOND: Fault = Fault::Odd("a value goes beyond its message");

/// Why a message cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file cannot be read.
    Read(io::Error),
    /// The bytes are no such message.
    Odd(&'static str),
    /// The message goes on for so many bytes more than there are.
    CutOff(u64),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// A number, or the bits of one.
    Number(u64),
    /// Bytes that begin here and end at this place: a message, a text, or packed numbers.
    Until(u64),
}

/// Bytes that are read from front to back; what nobody asks for is passed over.
pub(super) struct Wire<R> {
    source: R,
    at: u64,
    length: u64,
    /// Bytes of the texts that were read.
    texts: u64,
}

impl<R: BufRead + Seek> Wire<R> {
    /// The bytes of `source`, which has `length` of them.
    pub(super) fn new(source: R, length: u64) -> Self {
        Self { source, at: 0, length, texts: 0 }
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Begins again.
    pub(super) fn rewind(&mut self) -> Result<(), Fault> {
        self.at = 0;
        Ok(self.source.rewind()?)
    }

    /// The number and the value of the next field of the message that ends at `end`; none at its end.
    pub(super) fn field(&mut self, end: u64) -> Result<Option<(u64, Value)>, Fault> {
        if self.at >= end {
            return Ok(None);
        }
        let key = self.varint(end)?;
        let value = match key & 7 {
            0 => Value::Number(self.varint(end)?),
            1 => Value::Number(self.fixed(8, end)?),
            2 => {
                let length = self.varint(end)?;
                Value::Until(self.place(length, end)?)
            }
            5 => Value::Number(self.fixed(4, end)?),
            _ => return Err(Fault::Odd("a field is of no known kind")),
        };
        Ok(Some((key >> 3, value)))
    }

    /// Passes over what was not read of the value of a field.
    pub(super) fn leave(&mut self, value: Value) -> Result<(), Fault> {
        let Value::Until(place) = value else { return Ok(()) };
        let step = i64::try_from(place.saturating_sub(self.at)).map_err(|_| BEYOND)?;
        if step > 0 {
            self.source.seek_relative(step)?;
            self.at = place;
        }
        Ok(())
    }

    /// The text that begins here and ends at `end`.
    pub(super) fn text(&mut self, end: u64) -> Result<String, Fault> {
        let length = end.saturating_sub(self.at);
        self.texts = self.texts.saturating_add(length);
        if self.texts > MOST_TEXT {
            return Err(Fault::Odd("its names have more than 256 MiB"));
        }
        let mut bytes = vec![0; length as usize];
        self.source.read_exact(&mut bytes)?;
        self.at = end;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// A number of 7 bits a byte, the lowest first.
    pub(super) fn varint(&mut self, end: u64) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(end)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::Odd("a number has more than 64 bits"))
    }

    /// Whether the value that ends at `end` goes on.
    pub(super) fn is_before(&self, end: u64) -> bool {
        self.at < end
    }

    fn fixed(&mut self, bytes: u64, end: u64) -> Result<u64, Fault> {
        self.place(bytes, end)?;
        let mut word = [0; 8];
        self.source.read_exact(&mut word[..bytes as usize])?;
        self.at += bytes;
        Ok(u64::from_le_bytes(word))
    }

    fn byte(&mut self, end: u64) -> Result<u8, Fault> {
        self.place(1, end)?;
        let byte = *self.source.fill_buf()?.first().ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?;
        self.source.consume(1);
        self.at += 1;
        Ok(byte)
    }

    /// The place `length` bytes from here, which must not be behind `end`.
    fn place(&self, length: u64, end: u64) -> Result<u64, Fault> {
        match self.at.checked_add(length) {
            Some(place) if place <= end => Ok(place),
            Some(place) if end == self.length => Err(Fault::CutOff(place - end)),
            _ => Err(BEYOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, Value)>, Fault> {
        let mut found = Vec::new();
        let length = bytes.len() as u64;
        let mut wire = Wire::new(Cursor::new(bytes), length);
        while let Some((number, value)) = wire.field(length)? {
            found.push((number, value));
            wire.leave(value)?;
        }
        Ok(found)
    }

    /// The examples of the encoding guide of Protocol Buffers: 150, "testing"; then a fixed number.
    #[test]
    fn fields_have_numbers_and_values() {
        let bytes = [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing", &[0x1d, 1, 0, 0, 0]].concat();
        let wanted = [(1, Value::Number(150)), (2, Value::Until(12)), (3, Value::Number(1))];
        assert_eq!(fields(&bytes).unwrap(), wanted);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(matches!(fields(&[0x12, 0x07, b't']), Err(Fault::CutOff(6))));
        assert!(matches!(fields(&[0x08, 0xff]), Err(Fault::CutOff(1))));
        assert!(matches!(fields(&[0x0b]), Err(Fault::Odd(_)))); // a group, of which ONNX has none
        assert!(matches!(fields(&[[0x08].as_slice(), &[0xff; 10], &[1]].concat()), Err(Fault::Odd(_))));
        assert!(matches!(fields(&[[0x12].as_slice(), &[0xff; 9], &[1]].concat()), Err(Fault::Odd(_))));
    }
}

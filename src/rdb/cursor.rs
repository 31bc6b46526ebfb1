//! Reading the pieces that everything consists of: bytes, lengths, strings.

use core::ops::Range;

use super::fault::Fault;
use super::lzf;
use super::text::{Encoded, encoding};

/// Why something could not be read off the buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Its end has not arrived yet.
    NeedMore,
    /// The byte at this position of the buffer, or what begins there, is wrong.
    Bad(usize, Fault),
}

/// A position in a buffer, going forward.
pub struct Cursor<'a> {
    buf: &'a [u8],
    pos: usize,
    /// Longest string that is taken.
    string_bytes_max: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(buf: &'a [u8], string_bytes_max: usize) -> Cursor<'a> {
        Cursor { buf, pos: 0, string_bytes_max }
    }

    pub fn pos(&self) -> usize {
        self.pos
    }

    pub fn buf(&self) -> &'a [u8] {
        self.buf
    }

    pub fn byte(&mut self) -> Result<u8, Stop> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let array = self.buf[self.pos..].first_chunk::<N>().ok_or(Stop::NeedMore)?;
        self.pos += N;
        Ok(*array)
    }

    /// A length that is not the sign of an encoding. Big endian, as lengths alone are.
    pub fn length(&mut self) -> Result<u64, Stop> {
        let start = self.pos;
        let first = self.byte()?;
        match first {
            0..=0x3f => Ok(u64::from(first)),
            0x40..=0x7f => Ok(u64::from(u16::from_be_bytes([first & 0x3f, self.byte()?]))),
            0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            0x81 => Ok(u64::from_be_bytes(self.array()?)),
            0x82..=0xff => Err(Stop::Bad(start, Fault::BadLength { byte: first })),
        }
    }

    /// A whole string of at most the longest length.
    pub fn string(&mut self) -> Result<Encoded, Stop> {
        let start = self.pos;
        match self.buf.get(self.pos) {
            None => Err(Stop::NeedMore),
            Some(&(encoding::INT8 | encoding::INT16 | encoding::INT32)) => {
                Ok(Encoded::Int(self.integer()?))
            }
            Some(&encoding::LZF) => {
                self.pos += 1;
                let (packed, bytes) = (self.length()?, self.length()?);
                let bytes = self.bounded(start, bytes)?;
                if bytes > lzf::expanded_max(packed) {
                    return Err(Stop::Bad(start, Fault::BadCompression));
                }
                let packed = self.bounded(start, packed)?;
                Ok(Encoded::Compressed { packed: self.range(packed)?, bytes })
            }
            Some(&byte) if byte > encoding::LZF => {
                Err(Stop::Bad(start, Fault::BadEncoding { byte }))
            }
            Some(_) => {
                let bytes = self.length()?;
                let bytes = self.bounded(start, bytes)?;
                Ok(Encoded::Plain(self.range(bytes)?))
            }
        }
    }

    /// The head of a string that is not wanted; how many bytes of it follow.
    pub fn string_head(&mut self) -> Result<u64, Stop> {
        let start = self.pos;
        match self.buf.get(self.pos) {
            None => Err(Stop::NeedMore),
            Some(&(encoding::INT8 | encoding::INT16 | encoding::INT32)) => {
                self.integer()?;
                Ok(0)
            }
            Some(&encoding::LZF) => {
                self.pos += 1;
                let (packed, _) = (self.length()?, self.length()?);
                Ok(packed)
            }
            Some(&byte) if byte > encoding::LZF => {
                Err(Stop::Bad(start, Fault::BadEncoding { byte }))
            }
            Some(_) => self.length(),
        }
    }

    /// A string that is a number, with the byte that says so.
    fn integer(&mut self) -> Result<i32, Stop> {
        match self.byte()? {
            encoding::INT8 => Ok(i32::from(i8::from_le_bytes(self.array()?))),
            encoding::INT16 => Ok(i32::from(i16::from_le_bytes(self.array()?))),
            _ => Ok(i32::from_le_bytes(self.array()?)),
        }
    }

    fn bounded(&self, start: usize, bytes: u64) -> Result<usize, Stop> {
        let max = self.string_bytes_max;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= max => Ok(bytes),
            Ok(_) | Err(_) => Err(Stop::Bad(start, Fault::TooLong { bytes, max })),
        }
    }

    fn range(&mut self, bytes: usize) -> Result<Range<usize>, Stop> {
        if self.buf.len() - self.pos < bytes {
            return Err(Stop::NeedMore);
        }
        let range = self.pos..self.pos + bytes;
        self.pos = range.end;
        Ok(range)
    }
}

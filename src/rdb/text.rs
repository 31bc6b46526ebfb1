//! Strings as they lie in a file: plain, as a number, compressed.

use core::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::fault::Fault;
use super::lzf::{self, Packer};

/// First bytes of strings that are not plain.
pub mod encoding {
    pub const INT8: u8 = 0xc0;
    pub const INT16: u8 = 0xc1;
    pub const INT32: u8 = 0xc2;
    pub const LZF: u8 = 0xc3;
}

/// No decimal number of 32 bits is longer.
const INTEGER_BYTES_MAX: usize = 11;
/// No string this short is compressed.
const PLAIN_BYTES_MAX: usize = 20;
/// Compression has to save so much.
const SAVED_BYTES_MIN: usize = 4;

/// A string in a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encoded {
    Plain(Range<usize>),
    /// The number's decimal digits are meant.
    Int(i32),
    /// Expands to so many bytes.
    Compressed {
        packed: Range<usize>,
        bytes: usize,
    },
}

impl Encoded {
    /// A copy of the string, which lies in `buf`.
    pub fn read(&self, buf: &[u8]) -> Result<Bytes, Fault> {
        match self {
            Encoded::Plain(range) => Ok(Bytes::copy_from_slice(&buf[range.clone()])),
            Encoded::Int(number) => {
                Ok(Bytes::copy_from_slice(itoa::Buffer::new().format(*number).as_bytes()))
            }
            Encoded::Compressed { packed, bytes } => lzf::expand(&buf[packed.clone()], *bytes)
                .map(Bytes::from)
                .ok_or(Fault::BadCompression),
        }
    }
}

/// Appends a string the way Redis does: as a number if it is one of 32 bits, compressed if there is a `packer` and
/// it saves enough, else plain.
pub fn put_string(out: &mut BytesMut, string: &[u8], packer: Option<&mut Packer>) {
    if let Some(number) = number(string) {
        put_number(out, number);
        return;
    }
    if string.len() > PLAIN_BYTES_MAX
        && let Some(packer) = packer
        && let Some(packed) = packer.pack(string, string.len() - SAVED_BYTES_MIN)
    {
        out.put_u8(encoding::LZF);
        put_length(out, packed.len() as u64);
        put_length(out, string.len() as u64);
        out.extend_from_slice(packed);
        return;
    }
    put_length(out, string.len() as u64);
    out.extend_from_slice(string);
}

/// Appends a length in its shortest form.
pub fn put_length(out: &mut BytesMut, length: u64) {
    if length < 1 << 6 {
        out.put_u8(length as u8);
    } else if length < 1 << 14 {
        out.put_u16(0x4000 | length as u16);
    } else if let Ok(length) = u32::try_from(length) {
        out.put_u8(0x80);
        out.put_u32(length);
    } else {
        out.put_u8(0x81);
        out.put_u64(length);
    }
}

fn put_number(out: &mut BytesMut, number: i32) {
    if let Ok(number) = i8::try_from(number) {
        out.put_u8(encoding::INT8);
        out.put_i8(number);
    } else if let Ok(number) = i16::try_from(number) {
        out.put_u8(encoding::INT16);
        out.put_i16_le(number);
    } else {
        out.put_u8(encoding::INT32);
        out.put_i32_le(number);
    }
}

/// The number whose decimal digits the string is; `007`, `+7` and `-0` are not what any number's digits are.
fn number(string: &[u8]) -> Option<i32> {
    if string.len() > INTEGER_BYTES_MAX {
        return None;
    }
    let number = core::str::from_utf8(string).ok()?.parse().ok()?;
    (itoa::Buffer::new().format::<i32>(number).as_bytes() == string).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::cursor::{Cursor, Stop};

    fn put(string: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put_string(&mut out, string, Some(&mut Packer::new()));
        out
    }

    #[test]
    fn numbers_are_written_as_redis_writes_them() {
        assert_eq!(put(b"0")[..], [0xc0, 0]);
        assert_eq!(put(b"-128")[..], [0xc0, 0x80]);
        assert_eq!(put(b"128")[..], [0xc1, 0x80, 0]);
        assert_eq!(put(b"-32768")[..], [0xc1, 0, 0x80]);
        assert_eq!(put(b"32768")[..], [0xc2, 0, 0x80, 0, 0]);
        assert_eq!(put(b"-2147483648")[..], [0xc2, 0, 0, 0, 0x80]);
        assert_eq!(put(b"2147483648")[..], *b"\x0a2147483648");
        for text in ["", "-", "+7", "007", "-0", " 7", "7 ", "1e3", "\u{0661}"] {
            let written = put(text.as_bytes());
            assert_eq!(usize::from(written[0]), text.len(), "{text}");
            assert_eq!(&written[1..], text.as_bytes());
        }
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let cases: [(u64, &[u8]); 7] = [
            (63, &[63]),
            (64, &[0x40, 64]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (u64::from(u32::MAX), &[0x80, 0xff, 0xff, 0xff, 0xff]),
            (1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0x81, 255, 255, 255, 255, 255, 255, 255, 255]),
        ];
        for (length, bytes) in cases {
            let mut out = BytesMut::new();
            put_length(&mut out, length);
            assert_eq!(out[..], *bytes);
            assert_eq!(Cursor::new(bytes, 0).length(), Ok(length));
            for cut in 0..bytes.len() {
                assert_eq!(Cursor::new(&bytes[..cut], 0).length(), Err(Stop::NeedMore));
            }
        }
    }

    #[test]
    fn only_what_saves_four_bytes_is_compressed() {
        assert_eq!(put(&[b'a'; 20])[0], 20, "short strings are left alone");
        assert_eq!(put(&[b'a'; 21])[0], encoding::LZF);
        let varied: Vec<u8> = (0..64u8).collect();
        assert_eq!(put(&varied)[..2], [0x40, 64]);
        let mut out = BytesMut::new();
        put_string(&mut out, &[b'a'; 100], None);
        assert_eq!(out[..2], [0x40, 100], "compression is off");
    }

    #[test]
    fn absurd_lengths_are_refused_before_anything_is_allocated() {
        let mut claims = vec![0x81u8];
        claims.extend_from_slice(&(1u64 << 60).to_be_bytes());
        let refused = Cursor::new(&claims, 1 << 20).string();
        let fault = Fault::TooLong { bytes: 1 << 60, max: 1 << 20 };
        assert_eq!(refused, Err(Stop::Bad(0, fault)));
        // Ten bytes cannot expand to a megabyte.
        let bomb = [encoding::LZF, 10, 0x80, 0, 0x10, 0, 0];
        let refused = Cursor::new(&bomb, 1 << 20).string();
        assert_eq!(refused, Err(Stop::Bad(0, Fault::BadCompression)));
    }
}

//! Hashes as they lie in a file: field by field, or within one string, in any of the ways in which Redis has packed small
//! ones.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use crate::base::content::Content;
use crate::base::unit::Kind;

use super::cursor::{Cursor, Stop};
use super::fault::Fault;
use super::lzf::Packer;
use super::text::{put_length, put_string};

pub const TYPE_HASH: u8 = 4;
pub const TYPE_ZIPMAP: u8 = 9;
pub const TYPE_ZIPLIST: u8 = 13;
pub const TYPE_LISTPACK: u8 = 16;

/// Whether an object type is a hash that can be read. (One whose fields expire is not.)
pub fn is_hash(type_byte: u8) -> bool {
    matches!(type_byte, TYPE_HASH | TYPE_ZIPMAP | TYPE_ZIPLIST | TYPE_LISTPACK)
}

/// Reads a hash of this type.
///
/// # Errors
/// It has not arrived whole, or is none: of no fields, or with one twice, or packed wrongly.
pub fn read(cursor: &mut Cursor<'_>, type_byte: u8) -> Result<Content, Stop> {
    let start = cursor.pos();
    let list = if type_byte == TYPE_HASH {
        let count = cursor.length()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read_pair(cursor)?);
        }
        list
    } else {
        let packed = string(cursor)?;
        let items = match type_byte {
            TYPE_ZIPMAP => zipmap(&packed),
            TYPE_ZIPLIST => ziplist(&packed),
            _ => listpack(&packed),
        };
        let items = items.filter(|items| items.len() % 2 == 0);
        let mut items = items.ok_or(Stop::Bad(start, Fault::BadPacking))?.into_iter();
        let mut list = Vec::new();
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            list.push((name, value));
        }
        list
    };
    whole(list).map_err(|fault| Stop::Bad(start, fault))
}

/// Reads one field of a hash that lies there field by field.
pub fn read_pair(cursor: &mut Cursor<'_>) -> Result<(Bytes, Bytes), Stop> {
    Ok((string(cursor)?, string(cursor)?))
}

/// The hash of these fields.
///
/// # Errors
/// There is none, or one twice.
pub fn whole(list: Vec<(Bytes, Bytes)>) -> Result<Content, Fault> {
    let names: BTreeSet<&Bytes> = list.iter().map(|(name, _)| name).collect();
    if list.is_empty() || names.len() != list.len() {
        return Err(Fault::BadPacking);
    }
    Ok(Content::Elements { kind: Kind::Hash, list })
}

/// Appends a hash, field by field: every version reads that.
pub fn put(out: &mut BytesMut, list: &[(Bytes, Bytes)], mut packer: Option<&mut Packer>) {
    put_length(out, list.len() as u64);
    for (name, value) in list {
        put_string(out, name, packer.as_deref_mut());
        put_string(out, value, packer.as_deref_mut());
    }
}

fn string(cursor: &mut Cursor<'_>) -> Result<Bytes, Stop> {
    let start = cursor.pos();
    let string = cursor.string()?;
    string.read(cursor.buf()).map_err(|fault| Stop::Bad(start, fault))
}

/// A packed string, from its beginning.
struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|bytes| bytes.try_into().ok())
    }

    fn string(&mut self, bytes: usize) -> Option<Bytes> {
        self.take(bytes).map(Bytes::copy_from_slice)
    }
}

fn number(number: i64) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// Of 24 bits, little endian.
fn int24([a, b, c]: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)
}

/// Before Redis 2.6: a count, then names and values, each with its length; behind a value there may be free bytes.
fn zipmap(packed: &[u8]) -> Option<Vec<Bytes>> {
    let mut rest = Packed(packed);
    rest.byte()?;
    let mut items = Vec::new();
    loop {
        let length = match rest.byte()? {
            0xff => break,
            0xfe => u32::from_le_bytes(rest.array()?) as usize,
            short => usize::from(short),
        };
        let free = if items.len() % 2 == 1 { usize::from(rest.byte()?) } else { 0 };
        items.push(rest.string(length)?);
        rest.take(free)?;
    }
    rest.0.is_empty().then_some(items)
}

/// Before Redis 7: bytes, the last one's offset, a count; then entries, each with the length of the one before.
fn ziplist(packed: &[u8]) -> Option<Vec<Bytes>> {
    let mut rest = Packed(packed);
    if u32::from_le_bytes(rest.array()?) as usize != packed.len() {
        return None;
    }
    rest.take(4)?;
    let count = u16::from_le_bytes(rest.array()?);
    let mut items = Vec::new();
    loop {
        match rest.byte()? {
            0xff => break,
            0xfe => drop(rest.take(4)?),
            _ => {}
        }
        let head = rest.byte()?;
        items.push(match head {
            0x00..=0x3f => rest.string(usize::from(head))?,
            0x40..=0x7f => {
                let length = usize::from(head & 0x3f) << 8 | usize::from(rest.byte()?);
                rest.string(length)?
            }
            0x80 => {
                let length = u32::from_be_bytes(rest.array()?) as usize;
                rest.string(length)?
            }
            0xc0 => number(i64::from(i16::from_le_bytes(rest.array()?))),
            0xd0 => number(i64::from(i32::from_le_bytes(rest.array()?))),
            0xe0 => number(i64::from_le_bytes(rest.array()?)),
            0xf0 => number(int24(rest.array()?)),
            0xfe => number(i64::from(rest.byte()? as i8)),
            0xf1..=0xfd => number(i64::from(head & 0x0f) - 1),
            0x81..=0xbf | 0xc1..=0xcf | 0xd1..=0xdf | 0xe1..=0xef | 0xff => return None,
        });
    }
    let counted = count == u16::MAX || usize::from(count) == items.len();
    (rest.0.is_empty() && counted).then_some(items)
}

/// From Redis 7 on: bytes, a count; then entries, each with its own length behind it.
fn listpack(packed: &[u8]) -> Option<Vec<Bytes>> {
    let mut rest = Packed(packed);
    if u32::from_le_bytes(rest.array()?) as usize != packed.len() {
        return None;
    }
    let count = u16::from_le_bytes(rest.array()?);
    let mut items = Vec::new();
    loop {
        let before = rest.0.len();
        let head = rest.byte()?;
        let item = match head {
            0xff => break,
            0x00..=0x7f => number(i64::from(head)),
            0x80..=0xbf => rest.string(usize::from(head & 0x3f))?,
            0xc0..=0xdf => {
                let value = i64::from(head & 0x1f) << 8 | i64::from(rest.byte()?);
                number(if value >= 1 << 12 { value - (1 << 13) } else { value })
            }
            0xe0..=0xef => {
                let length = usize::from(head & 0x0f) << 8 | usize::from(rest.byte()?);
                rest.string(length)?
            }
            0xf0 => {
                let length = u32::from_le_bytes(rest.array()?) as usize;
                rest.string(length)?
            }
            0xf1 => number(i64::from(i16::from_le_bytes(rest.array()?))),
            0xf2 => number(int24(rest.array()?)),
            0xf3 => number(i64::from(i32::from_le_bytes(rest.array()?))),
            0xf4 => number(i64::from_le_bytes(rest.array()?)),
            0xf5..=0xfe => return None,
        };
        items.push(item);
        let behind = match before - rest.0.len() {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            2_097_152..=268_435_455 => 4,
            _ => 5,
        };
        rest.take(behind)?;
    }
    let counted = count == u16::MAX || usize::from(count) == items.len();
    (rest.0.is_empty() && counted).then_some(items)
}

/// Appends the object type and the content of a value.
pub fn put_type(out: &mut BytesMut, content: &Content) {
    out.put_u8(match content {
        Content::String(_) => super::TYPE_STRING,
        Content::Elements { kind: Kind::Hash, .. } => TYPE_HASH,
    });
}

/// Appends a value behind its type.
pub fn put_content(out: &mut BytesMut, content: &Content, packer: Option<&mut Packer>) {
    match content {
        Content::String(value) => put_string(out, value, packer),
        Content::Elements { kind: Kind::Hash, list } => put(out, list, packer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&'static str]) -> Option<Vec<Bytes>> {
        Some(list.iter().map(|text| Bytes::from_static(text.as_bytes())).collect())
    }

    #[test]
    fn what_older_versions_packed_is_read() {
        let map = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world\0\0\xff";
        assert_eq!(zipmap(map), texts(&["foo", "bar", "hello", "world"]));
        let long = [&b"\x01\x01k\xfe\x2c\x01\0\0\0"[..], &[b'v'; 300], b"\xff"].concat();
        assert_eq!(zipmap(&long).map(|items| items[1].len()), Some(300));
        let list = b"\x0f\0\0\0\x0c\0\0\0\x02\0\x00\xf3\x02\xf6\xff";
        assert_eq!(ziplist(list), texts(&["2", "5"]));
        let entries: [(&[u8], &str); 7] = [
            (b"\x02hi", "hi"),
            (b"\x40\x02hi", "hi"),
            (b"\x80\0\0\0\x02hi", "hi"),
            (b"\xc0\xfe\xff", "-2"),
            (b"\xd0\0\0\0\x80", "-2147483648"),
            (b"\xf0\xff\xff\x7f", "8388607"),
            (b"\xfe\x80", "-128"),
        ];
        for (entry, text) in entries {
            let bytes = 10 + 1 + entry.len() + 1;
            let head = [&(bytes as u32).to_le_bytes()[..], &[10, 0, 0, 0, 1, 0, 0]].concat();
            let packed = [&head[..], entry, b"\xff"].concat();
            assert_eq!(ziplist(&packed), texts(&[text]), "{entry:?}");
            for cut in 0..packed.len() {
                assert_eq!(ziplist(&packed[..cut]), None, "it ends too early");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_packed_are_refused() {
        for bad in [&b""[..], b"\xff", b"\0\xff\0", b"\x01\x01k", b"\x01\x05k\xff"] {
            assert_eq!(zipmap(bad).filter(|items| !items.is_empty()), None);
            assert_eq!(listpack(bad), None);
            assert_eq!(ziplist(bad), None);
        }
        // A count that is not that of the entries.
        assert_eq!(listpack(b"\x09\0\0\0\x02\0\x01\x01\xff"), None);
        assert_eq!(listpack(b"\x09\0\0\0\x01\0\x01\x01\xff"), texts(&["1"]));
    }
}

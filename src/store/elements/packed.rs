//! Small collections: all elements one after the other in one run of bytes, in the order in which they came.
//!
//! ```text
//! kind 1 | live 1 | held 1 | digest 8 | records
//! record: flags 1 | stamp time varint | origin 4 | horizon varint | name length varint | name
//!         | value length varint | value
//! ```
//!
//! Stamps and horizons are written as differences from the record before (the first's: from the key cell), and not at
//! all where they are the same. A dead element has no value. What has contributions has no place here.

use std::ops::Range;

use crate::base::ids::Origin;
use crate::base::stamp::Stamp;
use crate::base::unit::Kind;

use super::super::state::{Base, Collections, View};

/// No more elements than this are packed, dead ones included.
pub const RECORDS_MAX: usize = 128;
/// Nor more bytes.
pub const BYTES_MAX: usize = 8 << 10;

const HEAD_BYTES: usize = 11;

const LIVE: u8 = 1;
const SAME_STAMP: u8 = 2;
const SAME_ORIGIN: u8 = 4;
const SAME_HORIZON: u8 = 8;

/// A small collection, for reading.
#[derive(Copy, Clone, Debug)]
pub struct Packed<'a> {
    /// Of the newest key cell.
    pub born: Stamp,
    pub bytes: &'a [u8],
}

/// One element.
#[derive(Copy, Clone, Debug)]
pub struct Record<'a> {
    pub name: &'a [u8],
    pub base: Base,
    pub value: &'a [u8],
}

/// Where a record lies, and what its differences are from.
#[derive(Clone, Debug)]
pub struct Found {
    pub range: Range<usize>,
    pub before: Base,
}

impl<'a> Packed<'a> {
    pub fn kind(self) -> Kind {
        match self.bytes[0] {
            0 => Kind::Hash,
            other => unreachable!("no kind of collection is {other}"),
        }
    }

    pub fn live(self) -> usize {
        usize::from(self.bytes[1])
    }

    pub fn held(self) -> usize {
        usize::from(self.bytes[2])
    }

    pub fn digest(self) -> u64 {
        let (bytes, _) = self.bytes[3..].split_first_chunk().expect("a head");
        u64::from_le_bytes(*bytes)
    }

    pub fn records(self) -> Records<'a> {
        Records { bytes: self.bytes, at: HEAD_BYTES, before: first_before(self.born) }
    }

    #[inline]
    pub fn find(self, name: &[u8]) -> Option<Record<'a>> {
        self.records().find(|record| record.name == name)
    }

    /// The record of an element, with its place.
    pub fn locate(self, name: &[u8]) -> Option<(Found, Record<'a>)> {
        let mut records = self.records();
        loop {
            let (at, before) = (records.at, records.before);
            let record = records.next()?;
            if record.name == name {
                return Some((Found { range: at..records.at, before }, record));
            }
        }
    }

    /// Where the next record would be put.
    pub fn end(self) -> Found {
        let mut records = self.records();
        records.by_ref().for_each(drop);
        Found { range: records.at..records.at, before: records.before }
    }
}

/// The elements in their order.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    before: Base,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let &flags = self.bytes.get(self.at)?;
        self.at += 1;
        let mut stamp = self.before.stamp;
        if flags & SAME_STAMP == 0 {
            stamp.time = stamp.time.wrapping_add(unzigzag(self.varint()));
            if flags & SAME_ORIGIN == 0 {
                let (bytes, _) = self.bytes[self.at..].split_first_chunk().expect("an origin");
                stamp.origin = Origin(u32::from_le_bytes(*bytes));
                self.at += 4;
            }
        }
        let mut horizon = self.before.horizon;
        if flags & SAME_HORIZON == 0 {
            horizon = horizon.wrapping_add(unzigzag(self.varint()));
        }
        let name = self.bytes_of_length();
        let live = flags & LIVE != 0;
        let value = if live { self.bytes_of_length() } else { &[] };
        let base = Base { stamp, live, resets: false, horizon };
        self.before = base;
        Some(Record { name, base, value })
    }
}

impl<'a> Records<'a> {
    #[inline]
    fn varint(&mut self) -> u64 {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let byte = self.bytes[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    #[inline]
    fn bytes_of_length(&mut self) -> &'a [u8] {
        let len = self.varint() as usize;
        let bytes = &self.bytes[self.at..self.at + len];
        self.at += len;
        bytes
    }
}

impl<'a> Record<'a> {
    pub fn view(self) -> View<'a> {
        View {
            base: Some(self.base),
            value: self.value,
            expiry: None,
            side: None,
            collections: Collections::None,
        }
    }
}

/// An empty collection.
pub fn empty(kind: Kind) -> Vec<u8> {
    let kind = match kind {
        Kind::Hash => 0,
    };
    let mut bytes = vec![0; HEAD_BYTES];
    bytes[0] = kind;
    bytes
}

/// Puts `record` (or nothing) in the place found. The one behind it keeps what it says. The head is the caller's to set.
pub fn replace(born: Stamp, bytes: &mut Vec<u8>, found: &Found, record: Option<Record<'_>>) {
    let packed = Packed { born, bytes };
    let held = match found.range.is_empty() {
        true => found.before,
        false => {
            let mut records =
                Records { bytes: packed.bytes, at: found.range.start, before: found.before };
            records.next().map_or(found.before, |record| record.base)
        }
    };
    let mut behind = Records { bytes: packed.bytes, at: found.range.end, before: held };
    let next = behind.next();
    let rest = behind.at;
    let mut fresh = Vec::with_capacity(64);
    let mut before = found.before;
    if let Some(record) = record {
        put(&mut fresh, before, record);
        before = record.base;
    }
    let mut end = found.range.end;
    if let Some(next) = next {
        put(&mut fresh, before, next);
        end = rest;
    }
    bytes.splice(found.range.start..end, fresh);
}

/// Changes the key cell's stamp; the elements keep theirs.
pub fn set_born(bytes: &mut Vec<u8>, from: Stamp, to: Stamp) {
    let packed = Packed { born: from, bytes };
    let mut records = packed.records();
    let Some(first) = records.next() else { return };
    let rest = records.at;
    let mut fresh = Vec::with_capacity(64);
    put(&mut fresh, first_before(to), first);
    bytes.splice(HEAD_BYTES..rest, fresh);
}

pub fn set_head(bytes: &mut [u8], live: usize, held: usize, digest: u64) {
    bytes[1] = u8::try_from(live).expect("few elements are packed");
    bytes[2] = u8::try_from(held).expect("few elements are packed");
    bytes[3..HEAD_BYTES].copy_from_slice(&digest.to_le_bytes());
}

fn first_before(born: Stamp) -> Base {
    Base { stamp: born, live: true, resets: false, horizon: 0 }
}

fn put(out: &mut Vec<u8>, before: Base, record: Record<'_>) {
    let Record { name, base, value } = record;
    let mut flags = if base.live { LIVE } else { 0 };
    flags |= if base.stamp == before.stamp { SAME_STAMP } else { 0 };
    flags |= if base.stamp.origin == before.stamp.origin { SAME_ORIGIN } else { 0 };
    flags |= if base.horizon == before.horizon { SAME_HORIZON } else { 0 };
    out.push(flags);
    if flags & SAME_STAMP == 0 {
        put_varint(out, zigzag(base.stamp.time.wrapping_sub(before.stamp.time)));
        if flags & SAME_ORIGIN == 0 {
            out.extend_from_slice(&base.stamp.origin.0.to_le_bytes());
        }
    }
    if flags & SAME_HORIZON == 0 {
        put_varint(out, zigzag(base.horizon.wrapping_sub(before.horizon)));
    }
    put_varint(out, name.len() as u64);
    out.extend_from_slice(name);
    if base.live {
        put_varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small differences of either sign become small numbers.
const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

const fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

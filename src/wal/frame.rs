//! The bytes of a segment. Its header, 24 bytes: `QUORLOG` (`QUORSNP` for a snapshot) and a zero byte, the format's version (u32), the place of the
//! first record (u64), CRC32C of these 20 bytes (u32). Then frames: length of the contents (u32), CRC32C of that
//! length and the contents (u32), the contents. All numbers little endian. Empty contents do not occur, so that zeros, as
//! a loss of power leaves them, are no frame.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::base::ids::Lsn;

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What a file is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A segment of the log.
    Log,
    Snapshot,
}

impl Kind {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Kind::Log => b"QUORLOG\0",
            Kind::Snapshot => b"QUORSNP\0",
        }
    }
}

/// Version of the format this build writes, and the only one it reads.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 24;
/// Bytes of a frame before its contents.
pub const PREFIX_BYTES: usize = 8;
/// Most bytes of contents: what a unit between peers may have, and some more.
pub const CONTENTS_BYTES_MAX: usize = (1 << 30) + (1 << 20);

/// Why bytes are no segment's header.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Fewer bytes than a header has: it was never written as a whole.
    Short,
    /// Of something else.
    Foreign,
    /// Written by another version of this server.
    Version(u32),
    Damaged,
}

/// What stands at the beginning of some bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A whole frame of so many bytes.
    Frame { contents: &'a [u8], bytes: usize },
    /// Perhaps a frame, of at least so many bytes: these are fewer.
    Short { bytes: usize },
    /// No frame.
    Damaged,
}

/// The header of a segment whose first record is `first`, or of a snapshot for all records before it.
pub fn header(kind: Kind, first: Lsn) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(kind.magic());
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&first.0.to_le_bytes());
    let sum = CRC32C.checksum(&bytes[..20]);
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads a header: the place of the first record (not in the snapshot).
///
/// # Errors
/// If these bytes do not begin with one.
pub fn read_header(kind: Kind, bytes: &[u8]) -> Result<Lsn, HeaderError> {
    let head = bytes.get(..HEADER_BYTES).ok_or(HeaderError::Short)?;
    if &head[..8] != kind.magic() {
        return Err(HeaderError::Foreign);
    }
    if CRC32C.checksum(&head[..20]) != u32_at(head, 20) {
        return Err(HeaderError::Damaged);
    }
    let version = u32_at(head, 8);
    if version != VERSION {
        return Err(HeaderError::Version(version));
    }
    let first = u64::from(u32_at(head, 12)) | u64::from(u32_at(head, 16)) << 32;
    Ok(Lsn(first))
}

/// Begins a frame at the end of `out`; where that is.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    start
}

/// Ends the frame that begins at `start`: its contents have been written.
///
/// # Panics
/// If there are none, or more than a frame can have.
pub fn finish(out: &mut [u8], start: usize) {
    let contents = out.len() - start - PREFIX_BYTES;
    assert!((1..=CONTENTS_BYTES_MAX).contains(&contents), "a record of {contents} bytes");
    out[start..start + 4].copy_from_slice(&(contents as u32).to_le_bytes());
    let sum = checksum(&out[start..]);
    out[start + 4..start + PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// Looks at the beginning of `bytes`.
pub fn step(bytes: &[u8]) -> Step<'_> {
    if bytes.len() < PREFIX_BYTES {
        return Step::Short { bytes: PREFIX_BYTES };
    }
    let contents = u32_at(bytes, 0) as usize;
    if contents == 0 || contents > CONTENTS_BYTES_MAX {
        return Step::Damaged;
    }
    let whole = PREFIX_BYTES + contents;
    let Some(frame) = bytes.get(..whole) else { return Step::Short { bytes: whole } };
    if checksum(frame) != u32_at(bytes, 4) {
        return Step::Damaged;
    }
    Step::Frame { contents: &frame[PREFIX_BYTES..], bytes: whole }
}

/// Of a frame's length and contents.
fn checksum(frame: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&frame[..4]);
    digest.update(&frame[PREFIX_BYTES..]);
    digest.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

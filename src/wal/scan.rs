//! Reading a segment back: where its records end, and whether what comes then is the torn end of a write or damage.

use crate::base::ids::Lsn;

use super::frame::{self, HEADER_BYTES, HeaderError, Kind, Step};
use super::record::{self, Record};

/// A later record is looked for by its length, byte for byte: longer ones than this are passed over, so that garbage
/// is not checksummed over and over.
const SOUGHT_BYTES_MAX: usize = 64 << 10;

/// What stands where no record could be read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing: the last record was whole.
    Empty,
    /// The end of a write that did not come to its end: nothing after it can be read. It may be cut off.
    Torn,
    /// A record that can be read follows, so many bytes further on: what stood here was once whole. `was_synced`: a record
    /// says that it was on the device.
    Corrupt { next: u64, was_synced: bool },
}

/// Judges what follows the last record that could be read: all bytes from there to the segment's end. `damaged` would be
/// the next record's place.
pub fn judge(rest: &[u8], damaged: Lsn) -> Rest {
    if rest.is_empty() {
        return Rest::Empty;
    }
    let mut next = None;
    let mut at = 1;
    while at < rest.len() {
        let Some(record_bytes) = readable(&rest[at..]) else {
            at += 1;
            continue;
        };
        next.get_or_insert(at as u64);
        let (record, bytes) = record_bytes;
        if let Record::Synced { through } = record
            && through >= damaged
        {
            break;
        }
        at += bytes;
    }
    let Some(next) = next else { return Rest::Torn };
    Rest::Corrupt { next, was_synced: at < rest.len() }
}

/// The record at the beginning of `bytes` and how long its frame is.
fn readable(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length))?;
    if length as usize > SOUGHT_BYTES_MAX {
        return None;
    }
    match frame::step(bytes) {
        Step::Frame { contents, bytes } => Some((Record::read(contents).ok()?, bytes)),
        Step::Short { .. } | Step::Damaged => None,
    }
}

/// Reads a segment piece by piece. The caller offers bytes from where the last record ended.
#[derive(Clone, Debug)]
pub struct Scanner {
    next: Lsn,
    /// Bytes of the segment that have been understood.
    understood: u64,
    /// Where the last three records begin that name what is synced, the newest last; or where the segment does.
    named: [u64; 3],
}

impl Scanner {
    /// A segment that begins with these bytes.
    ///
    /// # Errors
    /// If that is no header.
    pub fn new(head: &[u8]) -> Result<Scanner, HeaderError> {
        let next = frame::read_header(Kind::Log, head)?;
        Ok(Scanner { next, understood: HEADER_BYTES as u64, named: [0; 3] })
    }

    /// A row of frames without a header.
    pub fn bare(first: Lsn) -> Scanner {
        Scanner { next: first, understood: 0, named: [0; 3] }
    }

    /// The next record's contents and how many of the bytes offered were used up; `None` if these bytes do not begin with
    /// a whole frame (more of the segment may help, see [`Scanner::wants`]).
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<(&'b [u8], usize)> {
        match frame::step(bytes) {
            Step::Frame { contents, bytes } => {
                if record::is_synced(contents) {
                    self.named = [self.named[1], self.named[2], self.understood];
                }
                self.next = self.next.next();
                self.understood += bytes as u64;
                Some((contents, bytes))
            }
            Step::Short { .. } | Step::Damaged => None,
        }
    }

    /// How many bytes have to be offered before [`Scanner::next`] can say more of these; `None` if no number helps.
    pub fn wants(bytes: &[u8]) -> Option<usize> {
        match frame::step(bytes) {
            Step::Short { bytes } => Some(bytes),
            Step::Frame { .. } => Some(0),
            Step::Damaged => None,
        }
    }

    /// Where that begins of which the segment does not show that it is on the device: bytes from the segment's beginning.
    /// After a sync that failed it may be in the page cache only, taken for written by the kernel, so that no later
    /// sync brings it onto the device: whoever goes on with the log writes it again first.
    ///
    /// 1. A record that names a sync was made when that had come to its end, and names the latest.
    /// 2. So the sync before the newest one named ended after the third newest was made: else that had named it.
    /// 3. The newest one named was asked for after that, and covers everything up to the third newest.
    pub fn unsettled_from(&self) -> u64 {
        self.named[0]
    }

    /// The place of the next record.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Bytes of the segment up to the end of the last record that was read.
    pub fn understood(&self) -> u64 {
        self.understood
    }
}

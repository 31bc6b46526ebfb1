//! Loading a dump: Redis's, or one of this server's with its stamps, as the pieces of a snapshot.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::base::ids::{DbIndex, Epoch, Lsn, NodeId, Origin};
use crate::base::stamp::{Stamp, time_of_ms};
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Part, Seen};
use crate::base::vector::Vector;
use crate::rdb::fault::LoadError;
use crate::rdb::reader::{Item, Key, Reader, Skipped, Value};
use crate::wal::snapshot::{Head, Piece, Place};
use crate::wire::packed::{Malformed, Read, Reader as Unpacker};
use crate::wire::sane::change_is_sane;

use super::{STRING_BYTES_MAX, field};

/// About how many bytes of cells go into one piece.
const PIECE_BYTES: usize = 64 << 10;

/// Who loads the dump, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    pub node: NodeId,
    /// Of the present life.
    pub epoch: Epoch,
    /// The lives before were part of a cluster.
    pub has_past: bool,
    /// Never used before: that of keys without a stamp.
    pub origin: Origin,
    pub wall: UnixMs,
    pub databases: u16,
}

/// Why a dump is not loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpError {
    File(LoadError),
    /// A key, or a field of this server's, is not as this server writes it.
    Stamps {
        offset: u64,
    },
    /// The database of a key is none that this server has.
    Database {
        offset: u64,
        db: DbIndex,
        databases: u16,
    },
}

/// What was met so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Loading {
    pub keys: u64,
    /// Keys whose deadline had passed.
    pub expired: u64,
    /// Libraries of functions and data of modules, which are passed over.
    pub skipped: u64,
    pub stamped: bool,
    /// The file's checksum was there, and is right.
    pub checked: bool,
}

/// Reads a dump that comes in pieces.
pub struct DumpLoader {
    terms: Terms,
    reader: Reader,
    buf: BytesMut,
    /// Where the next item begins.
    item_at: u64,
    db: DbIndex,
    /// Who wrote it.
    node: Option<NodeId>,
    /// In seconds, by its writer's clock.
    created_s: Option<u64>,
    head: Option<Head>,
    /// The head has been made.
    begun: bool,
    /// Of the keys without stamps; known once it is clear that there are none.
    stamp: Option<Stamp>,
    /// Of the next key.
    cells: Option<Bytes>,
    has_tail: bool,
    gathered: Vec<Change>,
    gathered_bytes: usize,
    ready: VecDeque<Piece>,
    found: Loading,
}

impl DumpLoader {
    pub fn new(terms: Terms) -> DumpLoader {
        DumpLoader {
            terms,
            reader: Reader::new(STRING_BYTES_MAX),
            buf: BytesMut::new(),
            item_at: 0,
            db: DbIndex(0),
            node: None,
            created_s: None,
            head: None,
            begun: false,
            stamp: None,
            cells: None,
            has_tail: false,
            gathered: Vec::new(),
            gathered_bytes: 0,
            ready: VecDeque::new(),
            found: Loading::default(),
        }
    }

    /// The next bytes of the file.
    ///
    /// # Errors
    /// It is not to be loaded: nothing that came before is of use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.buf.extend_from_slice(bytes);
        loop {
            let mut buf = std::mem::take(&mut self.buf);
            let item = self.reader.next(&mut buf);
            self.buf = buf;
            match item.map_err(DumpError::File)? {
                Some(item) => {
                    // (However the file comes in pieces: a deadline may have been read before its key.)
                    let offset = std::mem::replace(&mut self.item_at, self.reader.offset());
                    self.on_item(item, offset)?;
                }
                None => return Ok(()),
            }
        }
    }

    /// The file has ended: the last pieces are ready.
    ///
    /// # Errors
    /// It should have gone on.
    pub fn finish(&mut self) -> Result<Loading, DumpError> {
        self.reader.finish(&self.buf).map_err(DumpError::File)?;
        if self.found.stamped && !self.has_tail {
            return Err(DumpError::Stamps { offset: self.reader.offset() });
        }
        self.begin();
        self.gather_up();
        self.ready.push_back(Piece::Tail { lsn: Lsn(0), collected: 0 });
        Ok(self.found)
    }

    /// The next piece that is complete.
    pub fn take(&mut self) -> Option<Piece> {
        self.ready.pop_front()
    }

    /// Bytes of the file that have been understood.
    pub fn offset(&self) -> u64 {
        self.reader.offset()
    }

    /// What begins at `offset`.
    fn on_item(&mut self, item: Item, offset: u64) -> Result<(), DumpError> {
        let wrong = |_: Malformed| DumpError::Stamps { offset };
        match item {
            Item::Aux { name, value } => self.on_field(&name, value).map_err(wrong),
            Item::SelectDb(db) => {
                self.db = db;
                Ok(())
            }
            Item::ResizeDb { .. } => Ok(()),
            Item::Skipped(Skipped::Function | Skipped::ModuleAux(_)) => {
                self.found.skipped += 1;
                Ok(())
            }
            Item::Key(key) => {
                let databases = self.terms.databases;
                if self.db.0 >= databases {
                    return Err(DumpError::Database { offset, db: self.db, databases });
                }
                self.begin();
                self.found.keys += 1;
                self.found.expired += u64::from(key.deadline.is_some_and(|d| d <= self.terms.wall));
                match self.stamp {
                    Some(stamp) => self.on_plain_key(key, stamp),
                    None => self.on_stamped_key(key).map_err(wrong)?,
                }
                Ok(())
            }
            Item::End { checked } => {
                self.found.checked = checked;
                Ok(())
            }
        }
    }

    fn on_field(&mut self, name: &[u8], value: Bytes) -> Read<()> {
        match name {
            field::NODE => {
                let digits = std::str::from_utf8(&value).map_err(|_| Malformed)?;
                let node = u128::from_str_radix(digits, 16).map_err(|_| Malformed)?;
                self.node = Some(NodeId(node));
            }
            b"ctime" => {
                self.created_s = std::str::from_utf8(&value).ok().and_then(|s| s.parse().ok());
            }
            field::HEAD => match Piece::read(&value)? {
                Piece::Head(head) if !self.begun => {
                    self.head = Some(*head);
                    self.found.stamped = true;
                    self.begin();
                }
                Piece::Head(_)
                | Piece::Chunk { .. }
                | Piece::Tail { .. }
                | Piece::Strong { .. } => return Err(Malformed),
            },
            field::CELLS if self.head.is_some() => self.cells = Some(value),
            field::TRACES if self.head.is_some() => self.on_traces(&value)?,
            field::TAIL if self.head.is_some() => self.has_tail = true,
            // Of other servers, or of another version of this one.
            _ => {}
        }
        Ok(())
    }

    /// Makes the head, once it is known whether the dump has stamps.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let Terms { has_past, origin, wall, epoch, node, .. } = self.terms;
        let head = match &self.head {
            Some(head) => head_of(head, self.node == Some(node), epoch),
            None => {
                // For a node that was part of a cluster what it finds in its directory is old: newer writes must win.
                let old = self.created_s.map_or(UnixMs(1), |s| UnixMs(s.saturating_mul(1000)));
                let ms = if has_past { old.min(wall) } else { wall };
                let stamp = Stamp::new(time_of_ms(ms).max(1), origin);
                self.stamp = Some(stamp);
                Head {
                    lsn: Lsn(1),
                    vector: Vector::from(vec![(stamp.origin, stamp.time)]),
                    collected: 0,
                    inherited: 0,
                    first_epoch: epoch,
                    lives: vec![stamp.origin],
                    has_met: false,
                    unmet: vec![(epoch, stamp.origin)],
                    has_strays: false,
                    alone: true,
                }
            }
        };
        self.ready.push_back(Piece::Head(Box::new(head)));
    }

    fn on_plain_key(&mut self, key: Key, stamp: Stamp) {
        let Key { key, value, deadline, .. } = key;
        match value {
            Value::String(value) => {
                let register = Cell::Register { value, resets: true, seen: Seen::default() };
                self.gather(key.clone(), self.db, stamp, register);
            }
            Value::Elements { kind, list } => {
                self.gather(key.clone(), self.db, stamp, Cell::Kind { kind });
                for (name, value) in list {
                    let part = Part::Register { value, seen: Seen::default() };
                    self.gather(key.clone(), self.db, stamp, Cell::Element { kind, name, part });
                }
            }
        }
        if let Some(deadline) = deadline {
            self.gather(key, self.db, stamp, Cell::Expiry { deadline: Some(deadline) });
        }
    }

    fn on_stamped_key(&mut self, key: Key) -> Read<()> {
        let Key { key, value, .. } = key;
        let shown = match value {
            Value::String(shown) => Some(shown),
            Value::Elements { .. } => None,
        };
        let packed = self.cells.take().ok_or(Malformed)?;
        let mut from = Unpacker::new(&packed);
        let elides: bool = from.take()?;
        let cells: Vec<(Stamp, Cell)> = from.take()?;
        for (stamp, cell) in cells {
            let cell = match cell {
                Cell::Register { resets, seen, .. } if elides => {
                    Cell::Register { value: shown.clone().ok_or(Malformed)?, resets, seen }
                }
                cell => cell,
            };
            self.gather_sane(key.clone(), self.db, stamp, cell)?;
        }
        if from.rest().is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn on_traces(&mut self, packed: &[u8]) -> Read<()> {
        let mut from = Unpacker::new(packed);
        let (db, key): (u16, Bytes) = from.take()?;
        let cells: Vec<(Stamp, Cell)> = from.take()?;
        for (stamp, cell) in cells {
            self.gather_sane(key.clone(), DbIndex(db), stamp, cell)?;
        }
        if from.rest().is_empty() { Ok(()) } else { Err(Malformed) }
    }

    fn gather_sane(&mut self, key: Bytes, db: DbIndex, stamp: Stamp, cell: Cell) -> Read<()> {
        let change = Change { db, key: key.clone(), stamp: Some(stamp), cell };
        if !change_is_sane(&change, stamp) {
            return Err(Malformed);
        }
        self.gather(key, db, stamp, change.cell);
        Ok(())
    }

    fn gather(&mut self, key: Bytes, db: DbIndex, stamp: Stamp, cell: Cell) {
        let value = match &cell {
            Cell::Register { value, .. } => value.len(),
            Cell::Element { name, part, .. } => name.len() + part.sizes().0,
            Cell::Kind { .. }
            | Cell::Tombstone { .. }
            | Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone => 0,
        };
        self.gathered_bytes += key.len() + value;
        self.gathered.push(Change { db, key, stamp: Some(stamp), cell });
        if self.gathered_bytes >= PIECE_BYTES {
            self.gather_up();
        }
    }

    fn gather_up(&mut self) {
        let cells = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.ready.push_back(Piece::Chunk { lsn: Lsn(0), end: Place::default(), cells });
    }
}

/// What the head of a dump with stamps comes to, for the node that wrote it (`own`) or another.
///
/// What nobody but the writer had seen stays the writer's own, from lives that have ended. Else others have newer
/// states of it, and have perhaps collected counting on what the writer had after the dump: then its cells count with
/// nothing, until others tell which of them they still have.
fn head_of(head: &Head, own: bool, epoch: Epoch) -> Head {
    let first_epoch = Epoch(epoch.0.max(2));
    let inherited = if head.alone { 0 } else { head.collected.max(head.inherited) };
    let unseen = own && !head.has_met;
    let lives = if unseen { head.lives.clone() } else { Vec::new() };
    Head {
        lsn: Lsn(1),
        vector: if unseen { head.vector.clone() } else { Vector::new() },
        collected: 0,
        inherited,
        first_epoch,
        unmet: lives.iter().map(|&origin| (first_epoch, origin)).collect(),
        lives,
        has_met: head.has_met,
        has_strays: !unseen,
        alone: head.alone,
    }
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::File(error) => error.fmt(f),
            DumpError::Stamps { offset } => write!(
                f,
                "at offset {offset}: a key's stamps are missing, or not as this version writes them"
            ),
            DumpError::Database { offset, db, databases } => write!(
                f,
                "at offset {offset}: a key of database {}, but there are only {databases} \
                 (directive 'databases')",
                db.0
            ),
        }
    }
}

impl std::error::Error for DumpError {}

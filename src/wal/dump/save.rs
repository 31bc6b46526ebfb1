//! Writing a dump, key by key.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::base::content::Content;
use crate::base::ids::{DbIndex, NodeId};
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change};
use crate::rdb::writer::{Header, Writer, WriterOptions};
use crate::wal::snapshot::{Head, Piece};
use crate::wire::packed::Packed;

use super::field;

/// What other servers get of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub value: Content,
    pub deadline: Option<UnixMs>,
}

/// Writes a dump in pieces, each appended to `out`.
pub struct DumpWriter {
    writer: Writer,
    db: Option<DbIndex>,
    keys: u64,
    scratch: Vec<u8>,
}

impl DumpWriter {
    /// Begins a dump; `head` tells what its writer is in this moment.
    pub fn new(
        options: WriterOptions,
        header: &Header<'_>,
        node: NodeId,
        head: Head,
        out: &mut BytesMut,
    ) -> DumpWriter {
        let mut writer = Writer::new(options, header, out);
        writer.aux(field::NODE, node.to_string().as_bytes(), out);
        let mut scratch = Vec::new();
        Piece::Head(Box::new(head)).put(&mut scratch);
        writer.aux(field::HEAD, &scratch, out);
        DumpWriter { writer, db: None, keys: 0, scratch }
    }

    /// All cells of one key, or a database's tombstone; `shown` if a client sees the key. `sizes` gives how many keys
    /// the database has, and how many with a deadline: about.
    pub fn key(
        &mut self,
        cells: &[Change],
        shown: Option<&Shown>,
        sizes: impl FnOnce(DbIndex) -> (u64, u64),
        out: &mut BytesMut,
    ) {
        let Some(Change { db, key, .. }) = cells.first() else { return };
        self.scratch.clear();
        let Some(Shown { value, deadline }) = shown else {
            (db.0, key.clone()).put(&mut self.scratch);
            listed(cells, None).put(&mut self.scratch);
            self.writer.aux(field::TRACES, &self.scratch, out);
            return;
        };
        if self.db.replace(*db) != Some(*db) {
            let (keys, deadlines) = sizes(*db);
            self.writer.database(*db, keys, deadlines, out);
        }
        let text = match value {
            Content::String(text) => Some(text),
            Content::Elements { .. } => None,
        };
        let is_shown = |change: &Change| matches!(&change.cell, Cell::Register { value: held, .. } if Some(held) == text);
        let elides = cells.iter().any(is_shown);
        elides.put(&mut self.scratch);
        listed(cells, text.filter(|_| elides)).put(&mut self.scratch);
        self.writer.aux(field::CELLS, &self.scratch, out);
        self.writer.key(key, value, *deadline, out);
        self.keys += 1;
    }

    /// Ends the dump.
    pub fn finish(mut self, out: &mut BytesMut) {
        self.writer.aux(field::TAIL, &[], out);
        self.writer.finish(out);
    }

    /// Keys that other servers get so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }
}

/// Cells with their stamps; without the register's value if it is `elided`.
fn listed(cells: &[Change], elided: Option<&Bytes>) -> Vec<(Stamp, Cell)> {
    let cell = |change: &Change| {
        let cell = match &change.cell {
            Cell::Register { value, resets, seen } if elided.is_some_and(|e| e == value) => {
                Cell::Register { value: Bytes::new(), resets: *resets, seen: seen.clone() }
            }
            cell => cell.clone(),
        };
        (change.stamp.unwrap_or_default(), cell)
    };
    cells.iter().map(cell).collect()
}

/// What it has written lies elsewhere: how far it is says it all.
impl fmt::Debug for DumpWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DumpWriter { writer: _, db, keys, scratch: _ } = self;
        f.debug_struct("DumpWriter").field("db", db).field("keys", keys).finish()
    }
}

//! Snapshots: what stands for the records of a log before some place. A file is a header and frames as a segment has
//! them (see `frame`), each frame a [`Piece`]: a head, chunks, a tail.
//!
//! A snapshot is fuzzy: while its chunks are made the node goes on. Each chunk tells how a row of partitions stood when the
//! last record before it had been applied. So records up to there say nothing new of these partitions, and applied to them
//! again they could do harm: what they met may have been collected. [`Coverage`] tells which those are.

use bytes::Bytes;

use crate::base::ids::{DbIndex, Epoch, Lsn, Origin, PARTITION_COUNT};
use crate::base::unit::Change;
use crate::base::vector::Vector;
use crate::wire::packed::{Malformed, Packed, Read, Reader};
use crate::wire::sane::{TIME_MAX, change_is_sane, epoch_is_sane, vector_is_sane};

/// What a snapshot begins with: everything but cells, as it was before the record `lsn`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The first record that the snapshot does not stand for: the log is kept from here on.
    pub lsn: Lsn,
    pub vector: Vector,
    /// Stamp times: collected up to here, and what was inherited by then.
    pub collected: u64,
    pub inherited: u64,
    /// The life in which the log began.
    pub first_epoch: Epoch,
    /// The node's own origins, oldest first.
    pub lives: Vec<Origin>,
    /// Somebody else may hold what the node has written.
    pub has_met: bool,
    /// The last lives, which had met nobody.
    pub unmet: Vec<(Epoch, Origin)>,
    /// There may be cells that the vector does not cover.
    pub has_strays: bool,
    /// The node stood alone: what it had collected was its own, and SETs have left no trace that they reset.
    pub alone: bool,
}

/// A place in the order of a snapshot: a partition of a database.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    pub db: u16,
    pub partition: u16,
}

impl Place {
    /// The next partition, of the next database after the last.
    #[must_use]
    pub fn next(self) -> Place {
        if self.partition + 1 < PARTITION_COUNT {
            Place { partition: self.partition + 1, ..self }
        } else {
            Place { db: self.db.saturating_add(1), partition: 0 }
        }
    }
}

/// The contents of one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    Head(Box<Head>),
    /// All cells from where the chunk before ended up to `end`, which is not part of it, as they were when the
    /// record `lsn` had been applied.
    Chunk {
        lsn: Lsn,
        end: Place,
        cells: Vec<Change>,
    },
    /// All is there. What the chunks show is no newer than the record `lsn`, and collected up to `collected`.
    Tail {
        lsn: Lsn,
        collected: u64,
    },
    /// Strong mode's, in its own format: what stands there is as it was when the record `lsn` had been applied.
    Strong {
        lsn: Lsn,
        contents: Bytes,
    },
}

const HEAD: u8 = 1;
const CHUNK: u8 = 2;
const TAIL: u8 = 3;
const STRONG: u8 = 4;

impl Piece {
    /// Appends the contents.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Piece::Head(head) => {
                out.push(HEAD);
                (head.lsn.0, head.collected).put(out);
                (head.inherited, head.first_epoch).put(out);
                head.vector.put(out);
                head.lives.put(out);
                (head.has_met, head.has_strays).put(out);
                head.alone.put(out);
                head.unmet.put(out);
            }
            Piece::Chunk { lsn, end, cells } => {
                out.push(CHUNK);
                lsn.0.put(out);
                (u32::from(end.db), u32::from(end.partition)).put(out);
                cells.put(out);
            }
            Piece::Tail { lsn, collected } => {
                out.push(TAIL);
                (lsn.0, *collected).put(out);
            }
            Piece::Strong { lsn, contents } => {
                out.push(STRONG);
                lsn.0.put(out);
                contents.put(out);
            }
        }
    }

    /// Reads a piece's contents.
    ///
    /// # Errors
    /// They are none of a piece, or say what no node says.
    pub fn read(contents: &[u8]) -> Read<Piece> {
        let (&kind, body) = contents.split_first().ok_or(Malformed)?;
        let mut from = Reader::new(body);
        let piece = Piece::take(kind, &mut from)?;
        if from.rest().is_empty() && piece.is_sane() { Ok(piece) } else { Err(Malformed) }
    }

    fn take(kind: u8, from: &mut Reader<'_>) -> Read<Piece> {
        Ok(match kind {
            HEAD => {
                let (lsn, collected) = from.take()?;
                let (inherited, first_epoch) = from.take()?;
                let (vector, lives) = (from.take()?, from.take()?);
                let (has_met, has_strays) = from.take()?;
                let (alone, unmet) = (from.take()?, from.take()?);
                let lsn = Lsn(lsn);
                Piece::Head(Box::new(Head {
                    lsn,
                    vector,
                    collected,
                    inherited,
                    first_epoch,
                    lives,
                    has_met,
                    unmet,
                    has_strays,
                    alone,
                }))
            }
            CHUNK => {
                let lsn = Lsn(from.take()?);
                let (db, partition): (u32, u32) = from.take()?;
                let db = u16::try_from(db).map_err(|_| Malformed)?;
                let partition = u16::try_from(partition).map_err(|_| Malformed)?;
                Piece::Chunk { lsn, end: Place { db, partition }, cells: from.take()? }
            }
            TAIL => {
                let (lsn, collected) = from.take()?;
                Piece::Tail { lsn: Lsn(lsn), collected }
            }
            STRONG => Piece::Strong { lsn: Lsn(from.take()?), contents: from.take()? },
            _ => return Err(Malformed),
        })
    }

    fn is_sane(&self) -> bool {
        match self {
            Piece::Head(head) => {
                head.lsn.0 > 0
                    && epoch_is_sane(head.first_epoch)
                    && head.unmet.iter().all(|&(epoch, _)| epoch_is_sane(epoch))
                    && head.collected < TIME_MAX
                    && head.inherited < TIME_MAX
                    && vector_is_sane(&head.vector)
            }
            Piece::Chunk { end, cells, .. } => {
                let sane = |c: &Change| c.stamp.is_some_and(|stamp| change_is_sane(c, stamp));
                end.partition < PARTITION_COUNT && cells.iter().all(sane)
            }
            Piece::Tail { collected, .. } => *collected < TIME_MAX,
            Piece::Strong { .. } => true,
        }
    }
}

/// Up to which record a snapshot tells of each partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Ends of chunks, rising, each with its record.
    ends: Vec<(Place, Lsn)>,
}

impl Coverage {
    /// The next chunk.
    ///
    /// # Errors
    /// It does not go on where the one before ended.
    pub fn push(&mut self, end: Place, lsn: Lsn) -> Read<()> {
        let (last, before) = self.ends.last().copied().unwrap_or_default();
        if end < last || lsn < before {
            return Err(Malformed);
        }
        self.ends.push((end, lsn));
        Ok(())
    }

    /// Whether the snapshot shows what the record `lsn` has done to this partition.
    pub fn covers(&self, db: DbIndex, partition: u16, lsn: Lsn) -> bool {
        let place = Place { db: db.0, partition };
        let at = self.ends.partition_point(|(end, _)| *end <= place);
        self.ends.get(at).is_some_and(|(_, through)| lsn <= *through)
    }

    /// The last record that any chunk has seen.
    pub fn last(&self) -> Lsn {
        self.ends.last().map_or(Lsn(0), |(_, lsn)| *lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(piece: &Piece) {
        let mut bytes = Vec::new();
        piece.put(&mut bytes);
        assert_eq!(Piece::read(&bytes).as_ref(), Ok(piece));
        for cut in 0..bytes.len() {
            assert_ne!(Piece::read(&bytes[..cut]).as_ref(), Ok(piece), "cut at {cut}");
        }
    }

    #[test]
    fn pieces_go_there_and_back() {
        there_and_back(&Piece::Head(Box::new(Head {
            lsn: Lsn(9),
            vector: Vector::from(vec![(Origin(3), 77)]),
            collected: 5,
            inherited: 6,
            first_epoch: Epoch(2),
            lives: vec![Origin(1), Origin(3)],
            has_met: true,
            unmet: vec![(Epoch(4), Origin(3))],
            has_strays: false,
            alone: true,
        })));
        let end = Place { db: 1, partition: 4095 };
        there_and_back(&Piece::Chunk { lsn: Lsn(10), end, cells: Vec::new() });
        there_and_back(&Piece::Tail { lsn: Lsn(11), collected: 6 });
    }

    #[test]
    fn each_partition_is_covered_up_to_its_chunk_s_record() {
        let mut coverage = Coverage::default();
        let place = |db, partition| Place { db, partition };
        assert!(!coverage.covers(DbIndex(0), 0, Lsn(1)));
        coverage.push(place(0, 10), Lsn(5)).expect("rising");
        coverage.push(place(1, 0), Lsn(7)).expect("rising");
        assert!(coverage.push(place(0, 20), Lsn(8)).is_err(), "not rising");
        assert!(coverage.covers(DbIndex(0), 9, Lsn(5)) && !coverage.covers(DbIndex(0), 9, Lsn(6)));
        assert!(coverage.covers(DbIndex(0), 10, Lsn(7)), "the next chunk's");
        assert!(coverage.covers(DbIndex(0), 4095, Lsn(6)));
        assert!(!coverage.covers(DbIndex(1), 0, Lsn(1)), "behind the last chunk");
        assert_eq!(coverage.last(), Lsn(7));
    }

    #[test]
    fn places_follow_each_other_through_all_databases() {
        let last = Place { db: 0, partition: PARTITION_COUNT - 1 };
        assert_eq!(last.next(), Place { db: 1, partition: 0 });
        assert_eq!(Place::default().next(), Place { db: 0, partition: 1 });
    }
}

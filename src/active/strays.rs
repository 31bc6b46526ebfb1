//! Cells that came without their whole: of a transfer that broke off or lacked a paused origin, or adopted by somebody whom
//! that had happened to. The own vector covers none of them. What made them mean nothing may have been collected
//! by all others meanwhile, so nobody will send it any more.
//!
//! A complete transfer tells: its sender had seen all that its vector covers, so what it does not send of that it no
//! longer has, and neither should this node.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::base::ids::{DbIndex, NodeId, Origin};
use crate::base::stamp::Stamp;
use crate::base::unit::{Cell, Change, Part, PartSlot};
use crate::base::vector::Vector;
use crate::store::{Slot, Store, WalkPosition};
use crate::wal as journal;

use super::peer::Side;
use super::{Active, Core};

/// About how many bytes of cells are looked at in one step of a walk.
const WALK_BYTES: usize = 64 << 10;

/// Where a cell stands and which state of it.
type Place = (DbIndex, Bytes, Slot, Stamp);

/// The stray cells that were held when a transfer began, and that it has not brought so far.
#[derive(Debug, Default)]
pub struct Strays {
    /// Cells that counted are among them.
    counted: bool,
    /// The sender is a member of this node's cluster, and had collected up to here when the transfer began.
    horizon: u64,
    open: BTreeSet<Place>,
    /// Those among them that set a deadline.
    deadlines: BTreeSet<Place>,
}

impl Strays {
    /// The sender still has this cell.
    pub fn confirm(&mut self, change: &Change, stamp: Stamp) {
        if !self.open.is_empty()
            && let Some(place) = place_of(change, stamp)
        {
            self.open.remove(&place);
        }
        // What the sender's base write implies it does not send: that older expiry cells mean nothing. (A deadline of the
        // same write it does, unless a newer cell had taken its place, which may be collected.)
        let resets = match &change.cell {
            Cell::Register { resets, .. } => *resets,
            Cell::Tombstone { .. } => true,
            Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Kind { .. }
            | Cell::Element { .. } => false,
        };
        if resets && !self.open.is_empty() {
            let place = (change.db, change.key.clone(), Slot::Expiry, stamp);
            if !self.deadlines.contains(&place) {
                self.open.remove(&place);
            }
        }
    }

    fn insert(&mut self, change: &Change, stamp: Stamp) {
        let Some(place) = place_of(change, stamp) else { return };
        if matches!(change.cell, Cell::Expiry { deadline: Some(_) }) {
            self.deadlines.insert(place.clone());
        }
        self.open.insert(place);
    }
}

impl Active {
    /// A cell with a stamp of its own has been merged; the vector may never come to cover it.
    pub(super) fn note_stray(&mut self, stamp: Stamp) {
        if !self.vector.covers(stamp) {
            self.strays.insert(stamp.origin);
        }
    }

    /// All stray cells held now, before a transfer `from` a node; nothing is looked at if there can be none.
    pub(super) fn strays(&mut self, from: NodeId, core: &Core<'_>) -> Strays {
        let horizon = self.members.collected_by_fellow(from);
        let mut strays = Strays { horizon, ..Strays::default() };
        if self.strays.is_empty() {
            return strays;
        }
        self.strays.clear();
        let mut position = Some(WalkPosition::default());
        let mut cells: Vec<Change> = Vec::new();
        while let Some(from) = position {
            cells.clear();
            position = core.store.walk(from, WALK_BYTES, &mut cells);
            for change in cells.drain(..) {
                // (A stray tombstone only removes: it stays.)
                let Some(stamp) = change.stamp.filter(|&stamp| !self.vector.covers(stamp)) else {
                    continue;
                };
                self.strays.insert(stamp.origin);
                let only_removes = match &change.cell {
                    Cell::Tombstone { .. } | Cell::Element { part: Part::Tombstone { .. }, .. } => {
                        true
                    }
                    Cell::Element {
                        part: Part::Register { .. } | Part::Contribution { .. },
                        ..
                    }
                    | Cell::Register { .. }
                    | Cell::Contribution { .. }
                    | Cell::Expiry { .. }
                    | Cell::KeyCell { .. }
                    | Cell::DatabaseTombstone
                    | Cell::Kind { .. } => false,
                };
                if !only_removes {
                    strays.insert(&change, stamp);
                }
            }
        }
        strays
    }

    /// Of whom any cell is held that the vector does not cover.
    pub(super) fn uncovered_origins(&self, store: &Store) -> BTreeSet<Origin> {
        let mut origins = BTreeSet::new();
        let mut position = Some(WalkPosition::default());
        let mut cells: Vec<Change> = Vec::new();
        while let Some(from) = position {
            cells.clear();
            position = store.walk(from, WALK_BYTES, &mut cells);
            let stamps = cells.iter().filter_map(|change| change.stamp);
            origins.extend(stamps.filter(|&s| !self.vector.covers(s)).map(|s| s.origin));
        }
        origins
    }

    /// Of whom this node may hold cells that its vector does not cover, also of transfers under way.
    pub(super) fn stray_origins(&self) -> Vec<Origin> {
        let inbound = self.peers.iter().filter_map(|peer| match &peer.side {
            Side::Master { inbound, .. } => Some(&inbound.met),
            Side::Guest | Side::Replica(_) | Side::Greeting { .. } => None,
        });
        let all: BTreeSet<Origin> = inbound.flatten().chain(&self.strays).copied().collect();
        all.into_iter().collect()
    }

    /// All cells held now, to be confirmed by a transfer of everything: the log that this node has started from lacks what
    /// it had announced in an earlier life, and what made them mean nothing may have been in that. Tombstones among them: what
    /// has taken the place of one may have been collected, and what it removes here may be there again.
    pub(super) fn all_cells(&self, core: &Core<'_>) -> Strays {
        let mut strays = Strays { counted: true, ..Strays::default() };
        let mut position = Some(WalkPosition::default());
        let mut cells: Vec<Change> = Vec::new();
        while let Some(from) = position {
            cells.clear();
            position = core.store.walk(from, WALK_BYTES, &mut cells);
            for change in cells.drain(..) {
                if let Some(stamp) = change.stamp {
                    strays.insert(&change, stamp);
                }
            }
        }
        strays
    }

    /// Forgets the cells of these origins.
    pub(super) fn drop_lives(&mut self, lives: &[Origin], core: &mut Core<'_>) {
        let mut open = self.all_cells(core).open;
        open.retain(|place| lives.contains(&place.3.origin));
        self.forget(open, false, core);
    }

    /// The transfer is complete, and the sender had seen everything in `vector`: of the stray cells this covers it has not
    /// sent, it no longer has them. Nor of those at or below its horizon: all members have had what was written up to there.
    /// (Of what a cluster has begun with in dumps no vector tells, and a member may come back with an older one.) True if cells have gone that had counted here.
    pub(super) fn drop_strays(
        &mut self,
        strays: Strays,
        vector: &Vector,
        core: &mut Core<'_>,
    ) -> bool {
        let Strays { counted, horizon, mut open, deadlines: _ } = strays;
        open.retain(|place| vector.covers(place.3) || place.3.time <= horizon);
        let dropped = self.forget(open, true, core);
        if dropped {
            core.out.facts.sometimes("a cell went because the sender no longer had it");
        }
        dropped && counted
    }

    /// Forgets these cells; `spares`: but for contributions that the base counts as seen. True if any was held.
    fn forget(&mut self, places: BTreeSet<Place>, spares: bool, core: &mut Core<'_>) -> bool {
        let clock = self.skew.expiry(core.now);
        let mut any = false;
        let places: Vec<Place> = places.into_iter().collect();
        for of_key in places.chunk_by(|a, b| (a.0, &a.1) == (b.0, &b.1)) {
            // Contributions last: what the base counts as seen means nothing, and whoever writes the next must list it,
            // since others may have it still.
            let counts = |place: &&Place| match &place.2 {
                Slot::Contribution { .. }
                | Slot::Element { slot: PartSlot::Contribution { .. }, .. } => true,
                Slot::Element { slot: PartSlot::Register | PartSlot::Tombstone, .. }
                | Slot::Register
                | Slot::Tombstone
                | Slot::Expiry
                | Slot::Kind { .. } => false,
            };
            let (contributions, others): (Vec<&Place>, Vec<&Place>) =
                of_key.iter().partition(counts);
            let mut cells = Vec::new();
            for (db, key, slot, stamp) in others.into_iter().chain(contributions) {
                let gone = (!spares || core.store.counts(*db, key, slot, *stamp))
                    && core.store.forget(*db, key, slot, *stamp, clock, &mut core.out.facts);
                if gone {
                    cells.push((slot.clone(), *stamp));
                }
            }
            if !cells.is_empty() {
                any = true;
                let (db, key) = (of_key[0].0, of_key[0].1.clone());
                core.journal.put(&journal::Record::Forgotten { db, key, cells });
            }
        }
        any
    }

    /// Who follows this node must not keep what is gone here: at the next handshake it is sent everything.
    pub(super) fn close_replicas(&mut self, core: &mut Core<'_>) {
        for conn in self.peers.conns(|peer| matches!(peer.side, Side::Replica(_))) {
            self.close_peer(conn, core);
        }
    }
}

/// `None` for what has no stamp of a key's write: that stays.
fn place_of(change: &Change, stamp: Stamp) -> Option<Place> {
    let slot = match &change.cell {
        Cell::Register { .. } => Slot::Register,
        Cell::Expiry { .. } => Slot::Expiry,
        Cell::Contribution { generation, .. } => Slot::Contribution { generation: *generation },
        Cell::Tombstone { .. } => Slot::Tombstone,
        Cell::Element { kind, name, part } => {
            Slot::Element { kind: *kind, name: name.clone(), slot: part.slot() }
        }
        Cell::Kind { kind } => Slot::Kind { kind: *kind },
        Cell::KeyCell { .. } | Cell::DatabaseTombstone => return None,
    };
    Some((change.db, change.key.clone(), slot, stamp))
}

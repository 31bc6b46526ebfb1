//! First meetings and new epochs: what nobody has seen yet gets stamps above whatever the others may
//! have collected or written in this node's earlier lives.

use bytes::Bytes;

use crate::base::fact::Fact;
use crate::base::ids::{ConnId, DbIndex, Epoch, Origin};
use crate::base::io::Effect;
use crate::base::unit::{Cell, Change, Unit};
use crate::store::WalkPosition;
use crate::wire::frame::Hello;

use super::peer::Peer;
use super::{Active, Core};

/// About how many bytes of cells are looked at in one step of a walk.
const WALK_BYTES: usize = 64 << 10;

impl Active {
    /// Meets another node. A life that has announced nothing yet may be joining a cluster that has collected:
    /// what it writes has to count with that, and what it has written so far, or was told by others who did
    /// not know either, is made to. If it is the first meeting of this life, nothing of the own data has been sent yet, and
    /// it can still be moved: always in a later life (an earlier one may have been ahead of this clock), in the first
    /// only where the other's cluster may have collected a newer delete.
    pub(super) fn on_meeting(&mut self, hello: &Hello, core: &mut Core<'_>) {
        core.clock.advance(hello.horizon_bound);
        if self.alone {
            self.leave_solitude(core);
        }
        let bound = self.members.joining_bound(hello);
        let learns = self.is_ignorant(core) && bound > 0;
        if !self.members.has_announced() {
            core.store.inherit(bound);
        }
        if core::mem::take(&mut self.met_nobody) {
            self.move_unseen(hello, bound, core);
        } else if learns {
            core.out.facts.sometimes("a joiner had met others before it met the cluster");
            self.put_floors(bound, core);
        }
        if learns {
            // Who does not know yet sends what counts with nothing: not to this node from now on. At
            // the next handshake it is told.
            let ignorant = |peer: &&Peer| peer.is_ignorant;
            let conns: Vec<ConnId> =
                self.peers.values().map(AsRef::as_ref).filter(ignorant).map(|p| p.conn).collect();
            for conn in conns {
                core.out.facts.sometimes("a link to a node that knew no horizon was closed");
                self.close_peer(conn, core);
            }
        }
    }

    /// From now on others may hold copies: what goes leaves a trace.
    pub(super) fn leave_solitude(&self, core: &mut Core<'_>) {
        if core.store.is_alone() {
            core.store.set_alone(false);
            let store = &core.store;
            core.out.fact(|| Fact::StoodAlone { cells: store.cells() });
        }
    }

    /// Whether this life knows nothing of what any cluster may have collected, and none can have counted on it.
    pub(super) fn is_ignorant(&self, core: &Core<'_>) -> bool {
        !self.members.has_announced() && core.store.inherited().is_none()
    }

    /// Up to where anybody this node knows of may have collected.
    pub(super) fn horizon_bound(&self, core: &Core<'_>) -> u64 {
        if self.alone {
            return 0;
        }
        let known = core.store.collected().max(core.store.inherited().unwrap_or(0));
        self.members.horizon_bound().max(known)
    }

    /// Nobody has seen anything of this life: its stamps move above what the other may have had of an earlier one,
    /// or have collected.
    fn move_unseen(&mut self, hello: &Hello, bound: u64, core: &mut Core<'_>) {
        let own = core.clock.origin();
        let times = core.store.stamp_times(own);
        if times.is_empty() {
            return;
        }
        if self.life.epoch.0 > 1 {
            core.out.facts.sometimes("writes of a later life were moved before anybody saw them");
        } else if bound > 0 {
            core.out.facts.sometimes("writes were moved above the others' horizon");
        } else {
            return;
        }
        core.clock.advance(hello.clock);
        self.move_stamps(own, own, &times, core);
    }

    /// Everything held comes from nodes that knew of no horizon. Their base writes list what they had seen, but what the
    /// cluster has collected at some nodes and not at others they must not bring back: the keys they
    /// concern get a floor. (Keys without a base write wait for [`Active::take_over_horizon`]: the cluster may
    /// hold older parts of them that count.)
    fn put_floors(&mut self, horizon: u64, core: &mut Core<'_>) {
        // Who has not got what the log holds gets the state, floors and all.
        self.log.restart(&self.vector);
        let overwritten = |key: &[Change]| {
            let old = |change: &Change| change.stamp.is_none_or(|stamp| stamp.time <= horizon);
            let is_base = |change: &Change| match change.cell {
                Cell::Register { .. } | Cell::Tombstone { .. } => true,
                Cell::Contribution { .. }
                | Cell::Expiry { .. }
                | Cell::KeyCell { .. }
                | Cell::DatabaseTombstone => false,
            };
            key.iter().any(is_base) && !key.iter().any(old)
        };
        if self.floor_keys(horizon, overwritten, core) {
            core.out.facts.sometimes("keys written before the cluster was met got their floor");
        }
    }

    /// Writes a floor into each key whose cells satisfy `wants`, as one unit. False if there is none.
    fn floor_keys(
        &mut self,
        floor: u64,
        wants: impl Fn(&[Change]) -> bool,
        core: &mut Core<'_>,
    ) -> bool {
        let mut position = Some(WalkPosition::default());
        let mut changes: Vec<Change> = Vec::new();
        let mut keys: Vec<(DbIndex, Bytes)> = Vec::new();
        while let Some(from) = position {
            changes.clear();
            position = core.store.walk(from, WALK_BYTES, &mut changes);
            for key in changes.chunk_by(|a, b| (a.db, &a.key) == (b.db, &b.key)) {
                if wants(key) {
                    keys.push((key[0].db, key[0].key.clone()));
                }
            }
        }
        if keys.is_empty() {
            return false;
        }
        let dot = core.clock.tick(self.skew.wall(core.now).ms());
        let clock = self.skew.expiry(core.now);
        let changes = keys
            .into_iter()
            .map(|(db, key)| Change { db, key, stamp: Some(dot), cell: Cell::KeyCell { floor } })
            .collect();
        let unit = Unit { dot, changes };
        for change in &unit.changes {
            core.store.apply(change, dot, clock, &mut core.out.facts);
        }
        self.vector.raise(dot.origin, dot.time);
        self.log.append_unit(&unit);
        core.out.fact(|| Fact::CellsAdopted { unit });
        true
    }

    /// Everything below the horizon of the cluster joined has arrived: from now on a key that is not held here is known to
    /// be gone. Increments that created such keys meanwhile get the floor they could not have.
    pub(super) fn take_over_horizon(&mut self, core: &mut Core<'_>) {
        let Some(horizon) = core.store.inherited() else { return };
        let covered = |origin| self.vector.get(origin) >= horizon;
        if !self.members.bringing_origins().all(covered) {
            return;
        }
        core.store.take_over();
        core.out.facts.sometimes("a joiner took over the cluster's horizon");
        let own = core.clock.origin();
        if self.floor_keys(horizon, |key| wants_floor(key, horizon, own), core) {
            core.out.facts.sometimes("keys created while joining got their floor");
        }
    }

    /// Gives every stamp in `times` (all of origin `from`, rising) a new one of origin `to` above the clock.
    fn move_stamps(&mut self, from: Origin, to: Origin, times: &[u64], core: &mut Core<'_>) {
        let base = core.clock.last();
        let pairs: Vec<(u64, u64)> =
            times.iter().zip(base + 1..).map(|(&old, new)| (old, new)).collect();
        core.clock.advance(base + times.len() as u64);
        let horizon = core.store.inherited().unwrap_or(0);
        core.store.move_stamps(from, to, &pairs, horizon);
        self.vector.raise(to, core.clock.last());
        // The log holds the old stamps: whoever comes takes the state instead.
        self.log.restart(&self.vector);
        core.out.fact(|| Fact::StampsMoved { from, to, times: pairs, horizon });
    }

    /// Goes on under another epoch and origin. What nobody has seen yet goes along.
    pub(super) fn become_epoch(&mut self, epoch: Epoch, core: &mut Core<'_>) {
        let from = core.clock.origin();
        let to = Origin(1 + self.rng.below(u64::from(u32::MAX)) as u32);
        self.life.epoch = epoch;
        self.life.origin = to;
        core.out.push(Effect::StoreEpoch { epoch: epoch.0 });
        core.clock.become_origin(to);
        self.members.become_origin(epoch, to);
        if self.met_nobody {
            let times = core.store.stamp_times(from);
            self.vector.remove(from);
            self.move_stamps(from, to, &times, core);
        }
        self.vector.raise(to, core.clock.last());
        if self.is_alone() {
            self.log.restart(&self.vector);
        }
    }
}

/// Whether a key was begun by increments of `own` (and perhaps an APPEND after them) while it was not known what lay at or
/// below `horizon`, and nothing does.
fn wants_floor(cells: &[Change], horizon: u64, own: Origin) -> bool {
    let mut counts = false;
    for change in cells {
        let Some(stamp) = change.stamp else { return false };
        match change.cell {
            Cell::Contribution { .. } | Cell::Register { resets: false, .. } => {
                counts |= stamp.origin == own;
            }
            Cell::KeyCell { floor } if floor >= horizon => return false,
            Cell::KeyCell { .. }
            | Cell::Register { .. }
            | Cell::Tombstone { .. }
            | Cell::Expiry { .. } => {}
            Cell::DatabaseTombstone => return false,
        }
        if stamp.time <= horizon {
            return false;
        }
    }
    counts
}

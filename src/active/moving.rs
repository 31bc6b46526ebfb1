//! First meetings and new epochs: what nobody has seen yet gets stamps above whatever the others may
//! have collected or written in this node's earlier lives.

use bytes::Bytes;

use crate::base::fact::Fact;
use crate::base::ids::{DbIndex, Epoch, Origin};
use crate::base::io::Effect;
use crate::base::unit::{Cell, Change, Unit};
use crate::store::WalkPosition;
use crate::wire::frame::Hello;

use super::{Active, Core};

/// About how many bytes of cells are looked at in one step of a walk.
const WALK_BYTES: usize = 64 << 10;

impl Active {
    /// Meets another node. A life that has announced nothing yet may be joining a cluster that has collected:
    /// what it writes has to count with that. If it is the first meeting of this life, nothing of the own data has been sent yet, and
    /// it can still be moved: always in a later life (an earlier one may have been ahead of this clock), in the first
    /// only where the other's cluster may have collected a newer delete.
    pub(super) fn on_meeting(&mut self, hello: &Hello, core: &mut Core<'_>) {
        core.clock.advance(hello.horizon_bound);
        if self.alone {
            core.store.set_alone(false);
        }
        if !self.members.has_announced() {
            core.store.inherit(hello.horizon_bound);
        }
        if !core::mem::take(&mut self.met_nobody) {
            return;
        }
        let own = core.clock.origin();
        let times = core.store.stamp_times(own);
        if times.is_empty() {
            return;
        }
        if self.life.epoch.0 > 1 {
            core.out.facts.sometimes("writes of a later life were moved before anybody saw them");
        } else if hello.horizon_bound > 0 {
            core.out.facts.sometimes("writes were moved above the others' horizon");
        } else {
            return;
        }
        core.clock.advance(hello.clock);
        self.move_stamps(own, own, &times, core);
    }

    /// Everything below the horizon of the cluster joined has arrived: from now on a key that is not held here is known to
    /// be gone. Increments that created such keys meanwhile get the floor they could not have.
    pub(super) fn take_over_horizon(&mut self, core: &mut Core<'_>) {
        let Some(horizon) = core.store.inherited() else { return };
        let mut origins = self.members.bringing_origins();
        if !origins.all(|origin| self.vector.get(origin) >= horizon) {
            return;
        }
        core.store.take_over();
        core.out.facts.sometimes("a joiner took over the cluster's horizon");
        let mut position = Some(WalkPosition::default());
        let mut changes: Vec<Change> = Vec::new();
        let mut floors: Vec<(DbIndex, Bytes)> = Vec::new();
        while let Some(from) = position {
            changes.clear();
            position = core.store.walk(from, WALK_BYTES, &mut changes);
            for key in changes.chunk_by(|a, b| (a.db, &a.key) == (b.db, &b.key)) {
                if wants_floor(key, horizon, core.clock.origin()) {
                    floors.push((key[0].db, key[0].key.clone()));
                }
            }
        }
        if floors.is_empty() {
            return;
        }
        core.out.facts.sometimes("keys created while joining got their floor");
        let dot = core.clock.tick(self.skew.wall(core.now).ms());
        let clock = self.skew.expiry(core.now);
        let cell = Cell::KeyCell { floor: horizon };
        let changes: Vec<Change> = floors
            .into_iter()
            .map(|(db, key)| Change { db, key, stamp: Some(dot), cell: cell.clone() })
            .collect();
        for change in &changes {
            core.store.apply(change, dot, clock, &mut core.out.facts);
        }
        let unit = Unit { dot, changes };
        self.vector.raise(dot.origin, dot.time);
        self.log.append_unit(&unit);
        core.out.fact(|| Fact::CellsAdopted { unit });
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
        let to = Origin(self.rng.next_u64() as u32);
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

/// Whether a key was begun by increments of `own` while it was not known what lay at or below `horizon`, and nothing does.
fn wants_floor(cells: &[Change], horizon: u64, own: Origin) -> bool {
    let mut counts = false;
    for change in cells {
        let Some(stamp) = change.stamp else { return false };
        match change.cell {
            Cell::Contribution { .. } => counts |= stamp.origin == own,
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

//! Joining a cluster that has collected: what was written without knowing of it must neither bring back what is gone
//! there nor be taken for it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::fact::Fact;
use crate::base::ids::{DbIndex, Origin};
use crate::base::stamp::{Stamp, time_of_ms};
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Kind, Part, Seen, Unit};
use crate::store::WalkPosition;
use crate::wal as journal;

use super::peer::{Peer, Side};
use super::{Active, Core};

/// About how many bytes of cells are looked at in one step of a walk.
const WALK_BYTES: usize = 64 << 10;

impl Active {
    /// Own cells at or below the horizon of the cluster joined, written in ignorance of it, and what was brought along of
    /// lives that have ended: a newer delete may have been collected at some of its nodes and not at others, so they
    /// refuse them. Those that have survived the merge with all the cluster has up to there are written again, above it.
    fn lift(&mut self, horizon: u64, core: &mut Core<'_>) {
        let own = core.clock.origin();
        let mut position = Some(WalkPosition::default());
        let mut cells: Vec<Change> = Vec::new();
        while let Some(from) = position {
            cells.clear();
            position = core.store.walk(from, WALK_BYTES, &mut cells);
            let ended = |cell: &Change| {
                let stamp = cell.stamp.filter(|&stamp| self.brought.covers(stamp));
                let counts = generation_of(&cell.cell).is_some();
                // (Of an increment nobody could tell who else writes it again.)
                stamp.is_some_and(|s| !self.members.is_current(s.origin)) && !counts
            };
            let mut changes: Vec<Change> = Vec::new();
            for key in cells.chunk_by(|a, b| (a.db, &a.key) == (b.db, &b.key)) {
                let mine = |cell: &Change| {
                    cell.stamp.is_some_and(|stamp| stamp.origin == own) || ended(cell)
                };
                changes.extend(lifted_of_key(key, horizon, own, mine));
            }
            if !changes.is_empty() {
                core.out.facts.sometimes("cells from below the horizon were lifted");
                self.issue(changes, core);
            }
        }
    }

    /// Applies and logs a unit of this node's own that no client has asked for.
    fn issue(&mut self, changes: Vec<Change>, core: &mut Core<'_>) {
        let dot = core.clock.tick(self.skew.wall(core.now).ms());
        let clock = self.skew.expiry(core.now);
        let unit = Unit { dot, changes };
        for change in &unit.changes {
            core.store.apply(change, dot, clock, &mut core.out.facts);
        }
        self.vector.raise(dot.origin, dot.time);
        core.journal.unit(&unit);
        self.log.append_unit(&unit);
        core.out.fact(|| Fact::CellsLifted { unit });
    }

    /// Everything held comes from nodes that knew of no horizon. Their base writes list what they had seen, but what the
    /// cluster has collected at some nodes and not at others they must not bring back: the keys they
    /// concern get a floor. (Keys without a base write wait for [`Active::take_over_horizon`]: the cluster may
    /// hold older parts of them that count.)
    pub(super) fn put_floors(&mut self, horizon: u64, core: &mut Core<'_>) {
        let overwritten = |key: &[Change]| {
            let old = |change: &Change| change.stamp.is_none_or(|stamp| stamp.time <= horizon);
            let is_base = |change: &Change| match change.cell {
                Cell::Register { .. } | Cell::Tombstone { .. } => true,
                Cell::Contribution { .. }
                | Cell::Expiry { .. }
                | Cell::KeyCell { .. }
                | Cell::DatabaseTombstone
                | Cell::Kind { .. }
                | Cell::Element { .. } => false,
            };
            (key.iter().any(is_base) && !key.iter().any(old)).then_some(horizon)
        };
        if self.floor_keys(overwritten, core) {
            core.out.facts.sometimes("keys written before the cluster was met got their floor");
        }
    }

    /// Writes into each key the floor that `wants` finds for its cells. False if there is none.
    fn floor_keys(
        &mut self,
        wants: impl Fn(&[Change]) -> Option<u64>,
        core: &mut Core<'_>,
    ) -> bool {
        let mut position = Some(WalkPosition::default());
        let mut cells: Vec<Change> = Vec::new();
        let mut found = false;
        while let Some(from) = position {
            cells.clear();
            position = core.store.walk(from, WALK_BYTES, &mut cells);
            let keys: Vec<(DbIndex, Bytes, u64)> = cells
                .chunk_by(|a, b| (a.db, &a.key) == (b.db, &b.key))
                .filter_map(|key| Some((key[0].db, key[0].key.clone(), wants(key)?)))
                .collect();
            if keys.is_empty() {
                continue;
            }
            found = true;
            let dot = core.clock.tick(self.skew.wall(core.now).ms());
            let clock = self.skew.expiry(core.now);
            let put = |(db, key, floor)| {
                let cell = Cell::KeyCell { floor };
                Change { db, key, stamp: Some(dot), cell }
            };
            let unit = Unit { dot, changes: keys.into_iter().map(put).collect() };
            for change in &unit.changes {
                core.store.apply(change, dot, clock, &mut core.out.facts);
            }
            self.vector.raise(dot.origin, dot.time);
            core.journal.unit(&unit);
            self.log.append_unit(&unit);
            core.out.fact(|| Fact::CellsAdopted { unit });
        }
        found
    }

    /// Everything below the horizon of the cluster joined has arrived: from now on a key that is not held here is known to
    /// be gone. Increments that created such keys meanwhile get the floor they could not have.
    ///
    /// It has once all others have announced to all (to this node too) that they have what was written up to there, and
    /// that has arrived here: nobody announces while holding what no vector covers, and whoever comes from then on
    /// is told of a horizon up to there by anybody he meets.
    pub(super) fn take_over_horizon(&mut self, core: &mut Core<'_>) {
        let Some(horizon) = core.store.inherited() else { return };
        let resyncs = |peer: &Peer| match &peer.side {
            Side::Master { inbound, .. } => inbound.is_resyncing(),
            Side::Guest | Side::Replica(_) | Side::Greeting { .. } => false,
        };
        if self.members.is_alone()
            || !self.members.is_complete()
            || self.members.stable(&self.vector) < horizon
            || self.peers.iter().any(resyncs)
        {
            return;
        }
        core.store.take_over();
        core.journal.put(&journal::Record::TakenOver);
        core.out.facts.sometimes("a joiner took over the cluster's horizon");
        if self.is_plain() {
            return;
        }
        self.lift(horizon, core);
        let mut own = self.past_origins.clone();
        own.push(core.clock.origin());
        let clock = self.skew.expiry(core.now);
        let wants = |key: &[Change]| wants_floor(key, horizon, &own, clock).then_some(horizon);
        if self.floor_keys(wants, core) {
            core.out.facts.sometimes("keys created while joining got their floor");
        }
    }

    /// What has come since hides own increments behind a deadline that had passed before they were made: they are a key of
    /// their own, as they would have been had this been known, and as they are for whoever has dropped what is hidden.
    /// Not only once the horizon is taken over: members may stay away for ever.
    pub(super) fn begin_anew(&mut self, core: &mut Core<'_>) {
        let mut own = self.past_origins.clone();
        own.push(core.clock.origin());
        let clock = self.skew.expiry(core.now);
        if self.floor_keys(|key| outlived(key, &own, clock), core) {
            core.out.facts.sometimes("increments made while joining outlived an expired key");
        }
    }
}

/// What cells of a key at or below the horizon, those that are `mine`, are written as above it. What the key's type hides
/// stays hidden: it is not written again.
fn lifted_of_key(
    key: &[Change],
    horizon: u64,
    own: Origin,
    mine: impl Fn(&Change) -> bool,
) -> Vec<Change> {
    let is_old = |cell: &Change| cell.stamp.is_some_and(|s| s.time <= horizon) && mine(cell);
    if !key.iter().any(is_old) {
        return Vec::new();
    }
    let kind = kind_of(key);
    let is_live = |change: &Change| match &change.cell {
        Cell::Element {
            kind: of, part: Part::Register { .. } | Part::Contribution { .. }, ..
        } => kind.is_some_and(|(_, kind)| kind == *of),
        Cell::Element { part: Part::Tombstone { .. }, .. }
        | Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Kind { .. } => false,
    };
    let holds = key.iter().any(is_live);
    let is_shown = |change: &Change| match &change.cell {
        Cell::Register { .. } | Cell::Contribution { .. } => kind.is_none(),
        Cell::Element { kind: of, .. } => kind.is_some_and(|(_, kind)| kind == *of),
        // One without elements would take the place of a string that was begun before it was written again.
        Cell::Kind { kind: of } => holds && kind == change.stamp.map(|stamp| (stamp, *of)),
        Cell::Tombstone { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => true,
    };
    // The cells of the string, and those of each element.
    let mut parts: BTreeMap<Option<(Kind, &Bytes)>, Vec<&Change>> = BTreeMap::new();
    for change in key {
        parts.entry(change.cell.element()).or_default().push(change);
    }
    let again = parts.values().flat_map(|alike| {
        let old = alike.iter().filter(|cell| is_old(cell) && is_shown(cell));
        old.filter_map(|cell| lifted(cell, alike, horizon, own))
    });
    again.collect()
}

/// Which collection a key is, and the key cell that says so; `None` of a string. As [`crate::store`] has it.
fn kind_of(key: &[Change]) -> Option<(Stamp, Kind)> {
    let cell = |change: &Change| match change.cell {
        Cell::Kind { kind } => Some((change.stamp?, kind)),
        Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Element { .. } => None,
    };
    let newest = key.iter().filter_map(cell).max()?;
    let string = |change: &Change| match &change.cell {
        Cell::Register { .. } => change.stamp,
        Cell::Contribution { generation, .. } => {
            let last = change.stamp?;
            let of_string = key.iter().filter(|other| other.cell.element().is_none());
            let is_seen = of_string.into_iter().any(|base| has_seen(base, last, *generation));
            (!is_seen).then(|| Stamp::new(*generation, last.origin))
        }
        Cell::Tombstone { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Kind { .. }
        | Cell::Element { .. } => None,
    };
    (key.iter().filter_map(string).max() < Some(newest.0)).then_some(newest)
}

/// What a cell is written as above the horizon, beside those of the same string or element; `None` if it may stay as it is.
fn lifted(cell: &Change, alike: &[&Change], horizon: u64, own: Origin) -> Option<Change> {
    let stamp = cell.stamp?;
    let raised = |seen: &Seen| {
        // An increment of another node that this write had not seen must not come to count as seen.
        let counts = |c: &Change| {
            generation_of(&c.cell).is_some()
                && c.stamp.is_some_and(|s| s.time <= horizon && s.origin != own)
        };
        let raised = if alike.iter().copied().any(counts) { seen.horizon } else { horizon };
        Seen { list: seen.list.clone(), horizon: raised }
    };
    let again = match &cell.cell {
        Cell::Register { value, resets, seen } => {
            Cell::Register { value: value.clone(), resets: *resets, seen: raised(seen) }
        }
        Cell::Element { kind, name, part: Part::Register { value, seen } } => {
            let part = Part::Register { value: value.clone(), seen: raised(seen) };
            Cell::Element { kind: *kind, name: name.clone(), part }
        }
        Cell::Contribution { generation, .. }
        | Cell::Element { part: Part::Contribution { generation, .. }, .. } => {
            if alike.iter().any(|base| has_seen(base, stamp, *generation)) {
                return None;
            }
            cell.cell.clone()
        }
        Cell::Expiry { .. } | Cell::Kind { .. } => cell.cell.clone(),
        // A delete removes what is older, wherever it comes to; a floor stands for itself.
        Cell::Tombstone { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Element { part: Part::Tombstone { .. }, .. } => return None,
    };
    Some(Change { db: cell.db, key: cell.key.clone(), stamp: None, cell: again })
}

/// Since when a contribution, to a string or an element, has grown; `None` of any other cell.
fn generation_of(cell: &Cell) -> Option<u64> {
    match cell {
        Cell::Contribution { generation, .. }
        | Cell::Element { part: Part::Contribution { generation, .. }, .. } => Some(*generation),
        Cell::Element { part: Part::Register { .. } | Part::Tombstone { .. }, .. }
        | Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Kind { .. } => None,
    }
}

/// Whether a base write has seen all of the contribution that was begun at `generation` and last grew at `last`.
fn has_seen(base: &Change, last: Stamp, generation: u64) -> bool {
    let seen = match &base.cell {
        Cell::Register { seen, .. } | Cell::Tombstone { seen } => Some(seen),
        Cell::Element { part, .. } => part.seen(),
        Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Kind { .. } => None,
    };
    let Some(seen) = seen else { return false };
    let listed = seen.list.iter().find(|c| c.origin == last.origin && c.generation == generation);
    listed.map_or(last.time <= seen.horizon, |c| c.last >= last.time)
}

/// Whether a key was begun by increments of `own` (and perhaps an APPEND after them) while it was not known what lay at or
/// below `horizon`, and nothing does: or only what a deadline hides that has passed, and that others may have dropped.
fn wants_floor(cells: &[Change], horizon: u64, own: &[Origin], clock: UnixMs) -> bool {
    let counts = |c: &Change| {
        let is_part = match &c.cell {
            Cell::Contribution { .. }
            | Cell::Register { resets: false, .. }
            | Cell::Kind { .. }
            | Cell::Element { part: Part::Register { .. } | Part::Contribution { .. }, .. } => true,
            Cell::Register { resets: true, .. }
            | Cell::Tombstone { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Element { part: Part::Tombstone { .. }, .. } => false,
        };
        is_part && c.stamp.is_some_and(|stamp| own.contains(&stamp.origin))
    };
    let settled = |c: &Change| match c.cell {
        Cell::KeyCell { floor } => floor >= horizon || c.stamp.is_none(),
        Cell::DatabaseTombstone => true,
        Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::Kind { .. }
        | Cell::Element { .. } => c.stamp.is_none(),
    };
    let old = |c: &Change| c.stamp.is_some_and(|stamp| stamp.time <= horizon);
    let hidden = hidden_by(cells, clock).is_some_and(|(stamp, _)| stamp.time <= horizon);
    cells.iter().any(counts) && !cells.iter().any(settled) && (!cells.iter().any(old) || hidden)
}

/// Up to where cells of a key lie that was hidden when increments of `own` were made to it in ignorance; `None` if it was not.
fn outlived(cells: &[Change], own: &[Origin], clock: UnixMs) -> Option<u64> {
    let (stamp, deadline) = hidden_by(cells, clock)?;
    let begun = cells.iter().filter_map(|change| {
        let stamp = change.stamp.filter(|s| own.contains(&s.origin))?;
        match change.cell {
            Cell::Contribution { generation, .. } => Some(generation),
            Cell::Kind { .. } => Some(stamp.time),
            Cell::Register { .. }
            | Cell::Tombstone { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Element { .. } => None,
        }
    });
    let made = begun.min()?;
    let before = |c: &&Change| c.stamp.is_some_and(|s| s.time < made);
    let floor = cells.iter().filter(before).filter_map(|c| c.stamp).map(|s| s.time).max()?;
    (stamp.time <= floor && time_of_ms(deadline) < made).then_some(floor)
}

/// The expiry that hides a key: its cell's stamp, and the deadline, which has passed.
fn hidden_by(cells: &[Change], clock: UnixMs) -> Option<(Stamp, UnixMs)> {
    let mut expiry: Option<(Stamp, Option<UnixMs>)> = None;
    for change in cells {
        let Some(stamp) = change.stamp else { continue };
        let says = match change.cell {
            Cell::Register { resets: true, .. } | Cell::Tombstone { .. } => None,
            Cell::Expiry { deadline } => deadline,
            Cell::Register { resets: false, .. }
            | Cell::Contribution { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Kind { .. }
            | Cell::Element { .. } => continue,
        };
        // An expiry cell of the same stamp as a SET says more than that it resets.
        if expiry.is_none_or(|(newest, _)| stamp > newest || (stamp == newest && says.is_some())) {
            expiry = Some((stamp, says));
        }
    }
    let (stamp, deadline) = expiry?;
    Some((stamp, deadline.filter(|&deadline| deadline <= clock)?))
}

//! Cells that came without a dot which counts here enter the log under own dots, the cells keeping their stamps.

use crate::base::fact::Fact;
use crate::base::ids::ConnId;
use crate::base::mutant::Mutant;
use crate::base::unit::{Cell, Change, Unit};
use crate::base::vector::Vector;
use crate::store::WalkPosition;
use crate::wal::Journal;

use super::peer::Side;
use super::{Active, Core};

/// About how many bytes of cells go into one unit of adopted cells.
const ADOPTED_UNIT_BYTES: usize = 64 << 10;

impl Active {
    /// What a resync over a link has brought is not in the log, and may not be for long: the link is silent, and the
    /// sender may never come back, or it waits for a paused origin. Others should not have to wait for that.
    pub(super) fn keep_unlogged(&mut self, conn: ConnId, core: &mut Core<'_>) {
        let Some(mut peer) = self.peers.remove(conn) else { return };
        if let Side::Master { inbound, .. } = &mut peer.side
            && inbound.holds_unlogged()
        {
            inbound.unlogged = false;
            inbound.beyond.clear();
            if self.leaves_unlogged() {
                inbound.unlogged = true;
            } else {
                core.out.facts.sometimes("cells of a resync that stood still were adopted");
                self.adopt_uncovered(core);
            }
        }
        self.peers.insert(peer);
    }

    /// Logs every cell that the own vector does not cover, as units under own new dots; the cells keep their stamps.
    pub(super) fn adopt_uncovered(&mut self, core: &mut Core<'_>) {
        let mut position = Some(WalkPosition::default());
        let mut changes = Vec::new();
        let mut uncovered = Vec::new();
        while let Some(from) = position {
            changes.clear();
            position = core.store.walk(from, ADOPTED_UNIT_BYTES, &mut changes);
            uncovered.extend(
                changes
                    .drain(..)
                    .filter(|change| change.stamp.is_some_and(|stamp| !self.vector.covers(stamp))),
            );
            let bytes: usize = uncovered.iter().map(change_bytes).sum();
            if uncovered.is_empty() || (position.is_some() && bytes < ADOPTED_UNIT_BYTES) {
                continue;
            }
            core.out.facts.sometimes("cells of a broken-off resync were adopted");
            self.log_adopted(core::mem::take(&mut uncovered), core);
        }
    }

    /// The unit without the cells that are here already. Nodes that wait would else adopt what the others have adopted, in
    /// turn and for ever.
    pub(super) fn without_held(mut unit: Unit, core: &Core<'_>) -> Unit {
        let dot = unit.dot;
        unit.changes.retain(|change| !core.store.holds(change, change.stamp_in(dot)));
        unit
    }

    /// Logs a unit that cannot count yet, under an own new dot.
    pub(super) fn adopt_unit(&mut self, mut unit: Unit, core: &mut Core<'_>) {
        // Not what was not let in, or removed at once.
        let dot = unit.dot;
        unit.changes.retain(|change| core.store.holds(change, change.stamp_in(dot)));
        if unit.changes.is_empty() {
            return;
        }
        core.out.facts.sometimes("a unit met while a resync waited was adopted");
        let keep = |change: Change| Change { stamp: Some(change.stamp_in(dot)), ..change };
        self.log_adopted(unit.changes.into_iter().map(keep).collect(), core);
    }

    /// Whether what is not in the log stays out of it: nobody takes anything of a plain replica's own.
    pub(super) fn leaves_unlogged(&self) -> bool {
        self.is_plain() || self.mutants.has(Mutant::BrokenResyncNotLogged)
    }

    fn log_adopted(&mut self, changes: Vec<Change>, core: &mut Core<'_>) {
        self.strays.extend(changes.iter().filter_map(|change| change.stamp).map(|s| s.origin));
        let dot = core.clock.tick(self.skew.wall(core.now).ms());
        let unit = Unit { dot, changes };
        self.vector.raise(dot.origin, dot.time);
        // The cells are in it already.
        core.journal.vector(&Vector::from(vec![(dot.origin, dot.time)]));
        self.log.append_unit(&unit);
        core.out.fact(|| Fact::CellsAdopted { unit });
    }
}

/// About how many bytes a unit takes.
pub fn unit_bytes(unit: &Unit) -> usize {
    unit.changes.iter().map(change_bytes).sum::<usize>() + 32
}

/// A unit that counts now enters the log, but for the changes that were not let in.
pub fn journal_unit(unit: &Unit, left_out: &[usize], journal: &mut Journal) {
    if left_out.is_empty() || !journal.is_on() {
        journal.unit(unit);
    } else {
        journal.unit(&Unit { dot: unit.dot, changes: let_in(unit, left_out).collect() });
    }
}

/// A unit that may count later enters the log as the cells that were merged.
pub fn journal_cells(unit: &Unit, left_out: &[usize], journal: &mut Journal) {
    if journal.is_on() {
        let stamped = |c: Change| Change { stamp: Some(c.stamp_in(unit.dot)), ..c };
        journal.cells(let_in(unit, left_out).map(stamped).collect());
    }
}

fn let_in<'u>(unit: &'u Unit, left_out: &[usize]) -> impl Iterator<Item = Change> + 'u {
    let left_out = left_out.to_vec();
    let let_in = move |(at, _): &(usize, &Change)| !left_out.contains(at);
    unit.changes.iter().enumerate().filter(let_in).map(|(_, change)| change.clone())
}

fn change_bytes(change: &Change) -> usize {
    let cell = match &change.cell {
        Cell::Register { value, seen, .. } => value.len() + 48 * seen.list.len(),
        Cell::Tombstone { seen } => 48 * seen.list.len(),
        Cell::Element { name, part, .. } => {
            let (value, listed) = part.sizes();
            name.len() + value + 48 * listed
        }
        Cell::Kind { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => 0,
    };
    change.key.len() + cell + 48
}

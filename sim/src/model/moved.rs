//! Histories that are rewritten: a node's writes get other stamps before anybody has seen them, or count only as
//! far as it holds them when it meets the first other.

use std::collections::{BTreeMap, BTreeSet};

use quorate::base::ids::{DbIndex, Origin};
use quorate::base::stamp::Stamp;
use quorate::base::unit::{Cell, Change, Part, Seen, Unit};
use quorate::base::vector::Vector;

use super::key::{Increment, KeyHistory, flat};
use super::ledger::{Boot, BootId, Issued, KeyId, Ledger, name_of};

impl Ledger {
    /// Of what a node wrote while nobody else had anything, nothing counts but what it holds now: what went left
    /// no trace. (That it served its own clients right until then, sessions tell.)
    pub(super) fn stood_alone(&mut self, boot: BootId, at: u64, cells: &[Change]) {
        self.boots[boot.0].alone_until = at;
        self.boots[boot.0].alone = false;
        let own: BTreeSet<Stamp> =
            self.units.iter().filter(|u| u.boot == boot).map(|u| u.dot).collect();
        let left = |dot: Stamp| {
            let later = |c: &Change| c.stamp.is_some_and(|s| s.origin == dot.origin && s >= dot);
            cells.iter().any(later)
        };
        for unit in self.units.iter_mut().filter(|unit| unit.boot == boot) {
            unit.traceless |= !left(unit.dot);
        }
        // Nor does a removal whose trace is gone keep out what others have.
        let traces: BTreeSet<(KeyId, Stamp)> = cells
            .iter()
            .filter(|change| matches!(change.cell, Cell::Tombstone { .. } | Cell::Expiry { .. }))
            .filter_map(|change| Some((self.key_id(change.db, &change.key), change.stamp?)))
            .collect();
        let flushes: BTreeSet<Stamp> = cells
            .iter()
            .filter(|change| Kind::of(&change.cell) == Kind::Flush)
            .filter_map(|change| change.stamp)
            .collect();
        self.boots[boot.0].gone.retain(|&id, stamp| {
            !own.contains(stamp) || traces.contains(&(id, *stamp)) || flushes.contains(stamp)
        });
        self.forget(&own, cells);
    }

    /// A plain replica takes its master's data in place of what it wrote while it was none: gone is what
    /// nobody else ever had.
    pub(super) fn dropped(&mut self, boot: BootId) {
        let others: Vec<&Boot> =
            self.boots.iter().enumerate().filter(|b| b.0 != boot.0).map(|b| b.1).collect();
        let own: BTreeSet<Stamp> = self
            .units
            .iter()
            .filter(|u| u.boot == boot && !others.iter().any(|b| b.reached.covers(u.dot)))
            .map(|u| u.dot)
            .collect();
        self.forget(&own, &[]);
    }

    /// Of the units with these dots nothing counts but the cells still held.
    fn forget(&mut self, own: &BTreeSet<Stamp>, cells: &[Change]) {
        if own.is_empty() {
            return;
        }
        let mut held: BTreeMap<KeyId, Vec<&Change>> = BTreeMap::new();
        for change in cells {
            let id = self.cell_id(change);
            held.entry(id).or_default().push(change);
        }
        for (at, history) in self.keys.iter_mut().enumerate() {
            let held = held.get(&KeyId(at)).map_or(&[][..], Vec::as_slice);
            let bears = |kind: Kind, stamp: Stamp| {
                let is_it = |c: &&Change| c.stamp == Some(stamp) && Kind::of(&c.cell) == kind;
                !own.contains(&stamp) || held.iter().any(is_it)
            };
            for base in history.bases.iter_mut().filter(|base| own.contains(&base.stamp)) {
                base.void |= !bears(Kind::Base, base.stamp);
                // What it lists may be gone already, and then the list with it.
                let is_it =
                    |c: &&&Change| c.stamp == Some(base.stamp) && Kind::of(&c.cell) == Kind::Base;
                let cell = held.iter().find(is_it).map(|c| flat(&c.cell));
                base.seen = match cell {
                    Some(Cell::Register { seen, .. } | Cell::Tombstone { seen }) => seen,
                    Some(
                        Cell::Contribution { .. }
                        | Cell::Expiry { .. }
                        | Cell::KeyCell { .. }
                        | Cell::DatabaseTombstone
                        | Cell::Kind { .. }
                        | Cell::Element { .. },
                    )
                    | None => Seen::default(),
                };
            }
            history.expiries.retain(|(stamp, _)| bears(Kind::Expiry, *stamp));
            history.floors.retain(|(stamp, _)| bears(Kind::Floor, *stamp));
            history.types.retain(|(stamp, _)| bears(Kind::Type, *stamp));
            // A key may say by a cell of its own what a write nobody bears any more has said.
            for change in held {
                if let (Cell::Expiry { deadline }, Some(stamp)) = (&change.cell, change.stamp)
                    && own.contains(&stamp)
                    && !history.expiries.iter().any(|e| e.0 == stamp)
                {
                    history.expiries.push((stamp, *deadline));
                }
            }
            history.increments.retain(|i| {
                let holds = |change: &&Change| {
                    let origin = change.stamp.map(|stamp| stamp.origin);
                    generation_of(&change.cell) == Some(i.generation)
                        && origin == Some(i.stamp.origin)
                };
                !own.contains(&i.stamp) || held.iter().any(holds)
            });
            // Increments may be gone before the lists that name them are.
            let origins: BTreeSet<Origin> = own.iter().map(|stamp| stamp.origin).collect();
            let increments = &history.increments;
            for base in history.bases.iter_mut().filter(|base| own.contains(&base.stamp)) {
                base.seen.list.retain(|seen| {
                    let is_there = |i: &Increment| {
                        (i.stamp.origin, i.generation) == (seen.origin, seen.generation)
                    };
                    !origins.contains(&seen.origin) || increments.iter().any(is_there)
                });
            }
        }
        let flushes: BTreeSet<(DbIndex, Stamp)> = cells
            .iter()
            .filter(|change| Kind::of(&change.cell) == Kind::Flush)
            .filter_map(|change| change.stamp.map(|stamp| (change.db, stamp)))
            .collect();
        self.flushes.retain(|f| !own.contains(&f.1) || flushes.contains(f));
    }

    /// A life begins with this vector, from its log: where the record of a move had not come onto the device before the
    /// power went, or went with the log's end or with all that is newer than an older image, the writes have their old stamps
    /// again, if nobody has seen the new ones.
    pub(super) fn take_back_moves(&mut self, boot: BootId, vector: &Vector) {
        let host = self.boots[boot.0].host;
        // (A start that damage had kept from getting anywhere has no part in this.)
        let before = (0..boot.0).rev().find(|&at| {
            let (of, wrote) = (&self.boots[at], || self.units.iter().any(|u| u.boot == BootId(at)));
            of.host == host && (of.spoilt_at.is_none() || !of.moves.is_empty() || wrote())
        });
        let Some(before) = before else { return };
        let is_damaged = self.boots[boot.0].spoilt_at != self.boots[before].spoilt_at;
        while let Some(last) = self.boots[before].moves.last() {
            if last.times.last().is_none_or(|&(_, newest)| vector.get(last.to) >= newest) {
                return;
            }
            // Without damage since nobody can have: the record was to be on the device before.
            let news = last.times.iter().map(|&(_, new)| Stamp::new(new, last.to));
            if is_damaged && self.is_known_elsewhere(host, &news.collect()) {
                return;
            }
            let Some(made) = self.boots[before].moves.pop() else { return };
            let dots = made.units.iter().map(|unit| unit.1).collect();
            let back = self.turn(made, |_| true);
            self.undone.push(Undone { boot: BootId(before), dots, back });
        }
    }

    /// Moves that were taken back hold after all if another host comes to have something under the new stamps: it was on its way
    /// when the node that had made them ended.
    pub(super) fn redo_moves(&mut self) {
        while let Some(Undone { boot, dots, back }) = self.undone.last() {
            let boot = *boot;
            let news = back.times.iter().map(|&(new, _)| Stamp::new(new, back.from));
            let mut now = back.units.iter().map(|unit| self.units[unit.0].dot);
            if !dots.iter().all(|&dot| now.next() == Some(dot)) {
                // They have been moved once more since.
                self.undone.pop();
                continue;
            }
            if !self.is_known_elsewhere(self.boots[boot.0].host, &news.collect()) {
                return;
            }
            let Some(Undone { back, .. }) = self.undone.pop() else { return };
            // What a later life has named of them it has named as they are in the older image.
            let of = self.units.iter().filter(|unit| unit.boot == boot).map(|unit| unit.dot);
            let of: BTreeSet<Stamp> = of.collect();
            let made = self.turn(back, |stamp| of.contains(&stamp));
            self.boots[boot.0].moves.push(made);
        }
    }

    /// Turns a move back; gives the one that turns it again. Names of what was moved change in what `later` says.
    fn turn(&mut self, made: Move, later: impl Fn(Stamp) -> bool) -> Move {
        let times: Vec<(u64, u64)> = made.times.iter().map(|&(old, new)| (new, old)).collect();
        let map = Moved { from: made.to, to: made.from, times: &times, horizon: 0 };
        let (mut own, mut units, mut was) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        for (at, dot) in made.units {
            let now = std::mem::replace(&mut self.units[at].dot, dot);
            own.insert(now);
            units.push((at, now));
            was.insert(dot, now);
        }
        let mut parts = BTreeMap::new();
        for (id, mut before) in made.before {
            for base in &mut before.bases {
                base.was = was.get(&base.stamp).copied();
            }
            let history = &mut self.keys[id.0];
            parts.insert(id, history.only(&own));
            history.leave_out(&own);
            map.later(history, &later);
            history.add(before);
        }
        let (flushes, rest): (Vec<_>, Vec<_>) =
            self.flushes.iter().copied().partition(|flush| own.contains(&flush.1));
        self.flushes = rest;
        self.flushes.extend(made.flushes);
        let (from, to) = (made.to, made.from);
        Move { from, to, times, units, before: parts, flushes }
    }

    /// Whether another host has anything under the new stamps of a move (all of one origin); or, where nothing runs on it, has
    /// ever had.
    fn is_known_elsewhere(&self, host: u16, news: &BTreeSet<Stamp>) -> bool {
        let Some(oldest) = news.first() else { return false };
        let alive = |host: u16| self.boots.iter().any(|boot| boot.host == host && boot.alive);
        let counts = |boot: &&Boot| boot.host != host && (boot.alive || !alive(boot.host));
        let others: Vec<&Boot> = self.boots.iter().filter(counts).collect();
        let has = |unit: &&Unit| others.iter().any(|boot| boot.reached.covers(unit.dot));
        let mut adopted = self.adopted.iter().filter(has).flat_map(|unit| &unit.changes);
        let newest = |boot: &Boot| boot.reached.get(oldest.origin).max(boot.met.get(oldest.origin));
        others.iter().any(|boot| newest(boot) >= oldest.time)
            || adopted.any(|change| change.stamp.is_some_and(|stamp| news.contains(&stamp)))
    }

    /// The writes of an epoch that nobody else had were given new stamps, everywhere they occur.
    pub(super) fn moved(&mut self, boot: BootId, map: &Moved<'_>) {
        let Moved { from, to, times, .. } = *map;
        // Another node may have drawn the very same origin: that is one reason to move.
        let mut own = BTreeSet::new();
        // By key: two nodes that drew one origin may even have given one stamp.
        let mut cells: BTreeMap<KeyId, BTreeSet<Stamp>> = BTreeMap::new();
        // What earlier boots of the host have left on its disk is this one's; what they have not is gone, and with the rest
        // out of the way of nobody.
        let boots = &self.boots;
        let (host, reached) = (boots[boot.0].host, &boots[boot.0].reached);
        let is_earlier = |unit: &Issued| unit.boot != boot && boots[unit.boot.0].host == host;
        // (Not if it is the origin of another, which this boot alone has drawn too.)
        let left = self.units.iter().any(|unit| is_earlier(unit) && unit.dot.origin == from);
        let is_own = |unit: &&mut Issued| {
            let earlier = left && is_earlier(unit);
            unit.boot == boot || (earlier && (from != to || reached.covers(unit.dot)))
        };
        let mut lost = BTreeSet::new();
        let mut made = Move::new(map);
        for (at, unit) in self.units.iter_mut().enumerate().filter(|unit| is_own(&unit.1)) {
            made.units.push((at, unit.dot));
            if unit.boot != boot && unit.dot.origin == from && !reached.covers(unit.dot) {
                unit.lost = true;
                lost.insert(unit.dot);
            }
            own.insert(unit.dot);
            for change in &unit.changes {
                if let Some(&id) = self.ids.get(&name_of(change)) {
                    cells.entry(id).or_default().insert(unit.dot);
                }
            }
            map.stamp(&mut unit.dot);
        }
        for history in &mut self.keys {
            history.increments.retain(|increment| !lost.contains(&increment.stamp));
        }
        made.before = cells.iter().map(|(&id, own)| (id, self.keys[id.0].only(own))).collect();
        made.flushes =
            self.flushes.iter().filter(|flush| own.contains(&flush.1)).copied().collect();
        for (id, own) in &cells {
            map.history(&mut self.keys[id.0], own);
        }
        self.flushes.retain_mut(|(_, stamp)| !own.contains(stamp) || map.stamp(stamp));
        for unit in self.adopted.iter_mut().filter(|unit| own.contains(&unit.dot)) {
            map.stamp(&mut unit.dot);
            for change in &mut unit.changes {
                if let Some(stamp) = &mut change.stamp {
                    let mut moved = *stamp;
                    map.stamp(&mut moved);
                    if let Cell::Contribution { generation, .. }
                    | Cell::Element { part: Part::Contribution { generation, .. }, .. } =
                        &mut change.cell
                    {
                        map.generation(stamp.origin, generation);
                    }
                    *stamp = moved;
                }
            }
        }
        let boot = &mut self.boots[boot.0];
        for stamp in boot.gone.values_mut() {
            map.stamp(stamp);
        }
        let sums = std::mem::take(&mut boot.sums);
        for ((key, origin, mut generation), sum) in sums {
            map.generation(origin, &mut generation);
            let origin = if origin == from { to } else { origin };
            boot.sums.insert((key, origin, generation), sum);
        }
        // What an earlier life has counted goes on to grow as this one's.
        let mut inherited: BTreeMap<(KeyId, Origin, u64), i128> = BTreeMap::new();
        for &id in cells.keys() {
            for i in self.keys[id.0].increments.iter().filter(|i| i.stamp.origin == to) {
                *inherited.entry((id, to, i.generation)).or_default() += i.delta;
            }
        }
        for (contribution, sum) in inherited {
            boot.sums.entry(contribution).or_insert(sum);
        }
        if let Some(&(_, last)) = times.last() {
            boot.last_dot = boot.last_dot.max(Stamp::new(last, to));
        }
        boot.now.retain(|&(origin, _)| origin != from);
        boot.moves.push(made);
    }
}

/// Writes of one origin that got stamps of another.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub from: Origin,
    pub to: Origin,
    /// Old and new times.
    pub times: Vec<(u64, u64)>,
    /// What the node had written, as it was until then: units by their place in the ledger, parts of keys, flushes.
    pub units: Vec<(usize, Stamp)>,
    pub before: BTreeMap<KeyId, KeyHistory>,
    pub flushes: Vec<(DbIndex, Stamp)>,
}

/// A move that was taken back.
#[derive(Clone, Debug)]
pub(super) struct Undone {
    pub boot: BootId,
    /// What its units have been given back.
    pub dots: Vec<Stamp>,
    /// Turns it again.
    pub back: Move,
}

impl Move {
    fn new(map: &Moved<'_>) -> Move {
        let Moved { from, to, times, .. } = *map;
        let (units, before, flushes) = (Vec::new(), BTreeMap::new(), Vec::new());
        Move { from, to, times: times.to_vec(), units, before, flushes }
    }
}

impl KeyHistory {
    /// What was written under these stamps.
    fn only(&self, own: &BTreeSet<Stamp>) -> KeyHistory {
        let KeyHistory { bases, expiries, increments, floors, types, .. } = self;
        KeyHistory {
            types: types.iter().filter(|of| own.contains(&of.0)).copied().collect(),
            bases: bases.iter().filter(|base| own.contains(&base.stamp)).cloned().collect(),
            expiries: expiries.iter().filter(|e| own.contains(&e.0)).copied().collect(),
            increments: increments.iter().filter(|i| own.contains(&i.stamp)).copied().collect(),
            floors: floors.iter().filter(|floor| own.contains(&floor.0)).copied().collect(),
            ..KeyHistory::default()
        }
    }

    fn leave_out(&mut self, own: &BTreeSet<Stamp>) {
        self.bases.retain(|base| !own.contains(&base.stamp));
        self.expiries.retain(|expiry| !own.contains(&expiry.0));
        self.increments.retain(|increment| !own.contains(&increment.stamp));
        self.floors.retain(|floor| !own.contains(&floor.0));
        self.types.retain(|of| !own.contains(&of.0));
    }

    fn add(&mut self, part: KeyHistory) {
        let KeyHistory { bases, expiries, increments, floors, types, .. } = part;
        self.types.extend(types);
        self.bases.extend(bases);
        self.expiries.extend(expiries);
        self.increments.extend(increments);
        self.floors.extend(floors);
    }
}

/// What a cell is a part of.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Base,
    Contribution,
    Expiry,
    Floor,
    Flush,
    Type,
}

impl Kind {
    pub(super) fn of(cell: &Cell) -> Kind {
        match cell {
            Cell::Element { part: Part::Register { .. } | Part::Tombstone { .. }, .. }
            | Cell::Register { .. }
            | Cell::Tombstone { .. } => Kind::Base,
            Cell::Element { part: Part::Contribution { .. }, .. } | Cell::Contribution { .. } => {
                Kind::Contribution
            }
            Cell::Kind { .. } => Kind::Type,
            Cell::Expiry { .. } => Kind::Expiry,
            Cell::KeyCell { .. } => Kind::Floor,
            Cell::DatabaseTombstone => Kind::Flush,
        }
    }
}

fn generation_of(cell: &Cell) -> Option<u64> {
    match cell {
        Cell::Contribution { generation, .. }
        | Cell::Element { part: Part::Contribution { generation, .. }, .. } => Some(*generation),
        Cell::Element { part: Part::Register { .. } | Part::Tombstone { .. }, .. }
        | Cell::Kind { .. }
        | Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => None,
    }
}

/// A renaming of stamps: order kept. A stamp that is not on the list is borne by no cell any more:
/// whatever it wrote has been overwritten, and nobody else has ever had it.
pub(super) struct Moved<'a> {
    pub from: Origin,
    pub to: Origin,
    pub times: &'a [(u64, u64)],
    /// Moved base writes have seen every contribution up to here.
    pub horizon: u64,
}

impl Moved<'_> {
    fn is_listed(&self, time: u64) -> bool {
        self.times.binary_search_by_key(&time, |&(old, _)| old).is_ok()
    }

    /// The new time of `time` at the moved origin; one that is not on the list goes with the next, or
    /// with the last.
    fn new_time(&self, time: u64) -> Option<u64> {
        let at = self.times.partition_point(|&(old, _)| old < time);
        self.times.get(at).or(self.times.last()).map(|&(_, new)| new)
    }

    fn time(&self, origin: Origin, time: &mut u64) {
        if origin == self.from
            && let Some(new) = self.new_time(*time)
        {
            *time = new;
        }
    }

    /// Renames a contribution's generation, but for one that stays with its origin: that is the same one before and after.
    fn generation(&self, origin: Origin, generation: &mut u64) {
        if self.from != self.to {
            self.time(origin, generation);
        }
    }

    /// Renames a stamp; false if no cell bears it any more.
    fn stamp(&self, stamp: &mut Stamp) -> bool {
        if stamp.origin != self.from {
            return true;
        }
        let listed = self.is_listed(stamp.time);
        if let Some(new) = self.new_time(stamp.time) {
            *stamp = Stamp::new(new, self.to);
        }
        listed
    }

    /// Renames in what was written later what it names of that: contributions that were moved.
    fn later(&self, history: &mut KeyHistory, of: impl Fn(Stamp) -> bool) {
        let bases = history.bases.iter_mut().filter(|base| of(base.stamp));
        // (One that keeps its generation is known by the newest stamp alone.)
        let kept = self.from == self.to;
        for seen in bases.flat_map(|base| &mut base.seen.list) {
            if seen.origin == self.from && (kept || self.is_listed(seen.generation)) {
                self.generation(seen.origin, &mut seen.generation);
                if self.is_listed(seen.last) {
                    self.time(seen.origin, &mut seen.last);
                }
                seen.origin = self.to;
            }
        }
        for increment in history.increments.iter_mut().filter(|i| of(i.stamp)) {
            if increment.stamp.origin == self.from && self.is_listed(increment.generation) {
                self.generation(increment.stamp.origin, &mut increment.generation);
            }
        }
    }

    /// Renames what the moved node itself has written: nobody else has seen any of it.
    fn history(&self, history: &mut KeyHistory, own: &BTreeSet<Stamp>) {
        for base in history.bases.iter_mut().filter(|base| own.contains(&base.stamp)) {
            for seen in &mut base.seen.list {
                self.generation(seen.origin, &mut seen.generation);
                self.time(seen.origin, &mut seen.last);
                if seen.origin == self.from {
                    seen.origin = self.to;
                }
            }
            if base.stamp.origin == self.from {
                base.seen.horizon = base.seen.horizon.max(self.horizon);
            }
            base.void |= !self.stamp(&mut base.stamp);
        }
        // Of a contribution only the first and the newest stamp are borne by a cell.
        history.increments.retain_mut(|increment| {
            if !own.contains(&increment.stamp) || increment.stamp.origin != self.from {
                return true;
            }
            let origin = increment.stamp.origin;
            let held = self.is_listed(increment.generation);
            self.generation(origin, &mut increment.generation);
            // (Of another origin's nothing keeps its name.)
            let kept = (self.from == self.to).then_some(increment.stamp.time);
            increment.was = kept;
            self.stamp(&mut increment.stamp);
            held
        });
        history.expiries.retain_mut(|(stamp, _)| !own.contains(stamp) || self.stamp(stamp));
        history.floors.retain_mut(|(stamp, _)| !own.contains(stamp) || self.stamp(stamp));
        history.types.retain_mut(|(stamp, _)| !own.contains(stamp) || self.stamp(stamp));
    }
}

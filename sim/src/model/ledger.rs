//! The ledger: every unit that was issued anywhere, and what every boot of every node is known to
//! have had, gathered from facts as they happen.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use quorate::base::fact::Fact;
use quorate::base::ids::{ConnId, DbIndex, Origin};
use quorate::base::stamp::Stamp;
use quorate::base::unit::{Cell, Change, Kind as Type, Unit};
use quorate::base::vector::Vector;

use super::key::{BaseWrite, Increment, KeyHistory, flat, show};
use super::moved::{Kind, Move, Moved, Undone};
use super::whole::Whole;
use crate::check::{Property, Violation};

/// One boot of one host, counted over the whole run.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BootId(pub usize);

/// A key, or an element of it.
pub type Name = (DbIndex, Bytes, Option<(Type, Bytes)>);

/// What a change is a cell of.
pub fn name_of(change: &Change) -> Name {
    let element = change.cell.element().map(|(of, name)| (of, Bytes::copy_from_slice(name)));
    (change.db, Bytes::copy_from_slice(&change.key), element)
}

/// Index of a key, or an element, in the ledger.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyId(pub usize);

/// A unit as its issuer reported it.
#[derive(Clone, Debug)]
pub struct Issued {
    pub boot: BootId,
    pub conn: Option<ConnId>,
    /// Simulated time, ns.
    pub at: u64,
    /// Its present dot: moved along when its origin's stamps were.
    pub dot: Stamp,
    pub changes: Vec<Change>,
    /// What its issuer had then.
    pub had: Rc<Vector>,
    /// By how much each contribution grew, in the order of `changes`.
    pub growth: Vec<(KeyId, i128)>,
    /// Its host went on without it, and nobody else had it.
    pub lost: bool,
    /// Nothing of it or of anything later was left when its node stopped standing alone: nobody can get it.
    pub traceless: bool,
}

/// What is known of one boot of a node.
#[derive(Clone, Debug)]
pub struct Boot {
    pub host: u16,
    pub alive: bool,
    /// When it read a log, simulated time in ns: what it says at once it has from there.
    pub read_log: Option<u64>,
    /// Moves of stamps, oldest first. Nobody has seen anything of them until they are on the device.
    pub(super) moves: Vec<Move>,
    /// When what its host had stored was damaged last before it started, or an older image of it brought back; simulated time in ns.
    pub spoilt_at: Option<u64>,
    /// When its process ended, simulated time in ns, and whether the power went with it.
    pub ended: Option<(u64, bool)>,
    /// It took a master's data in place of its own at least once.
    pub dropped: bool,
    /// Nobody else has anything of it.
    pub alone: bool,
    /// Simulated time, ns, until when nobody else had or was about to get anything of it.
    pub alone_until: u64,
    /// Every vector entry it ever reported, at its highest.
    pub reached: Vector,
    /// Of every origin the newest cell that has changed what it shows, whether or not its vector says so.
    pub(super) met: Vector,
    /// The vector it reported last.
    pub(super) now: Vec<(Origin, u64)>,
    pub(super) last_dot: Stamp,
    /// Keys that were deleted or expired here, with the stamp that did it.
    pub(super) gone: BTreeMap<KeyId, Stamp>,
    /// Own contributions that may still grow: key, origin and generation, sum so far.
    pub(super) sums: BTreeMap<(KeyId, Origin, u64), i128>,
}

/// All that was written, by key, and who had what.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub boots: Vec<Boot>,
    pub units: Vec<Issued>,
    pub keys: Vec<KeyHistory>,
    pub(super) names: Vec<Name>,
    pub(super) ids: BTreeMap<Name, KeyId>,
    pub flushes: Vec<(DbIndex, Stamp)>,
    /// Moves that were taken back, of each boot the newest first.
    pub(super) undone: Vec<Undone>,
    /// Cells that were put into a log again: the unit's dot and the cells' own stamps.
    pub adopted: Vec<Unit>,
    /// Who has written under an origin, and those origins under which two have: no vector tells their writes apart.
    pub(super) writers: BTreeMap<Origin, BootId>,
    pub shared: BTreeSet<Origin>,
    /// What was found wrong while it happened.
    pub violations: Vec<Violation>,
    /// Merges in which a write gave way to one that had not seen it.
    pub conflicts: u64,
}

impl Ledger {
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// A node has started on `host`.
    pub fn booted(&mut self, host: u16) -> BootId {
        self.boots.push(Boot {
            host,
            alive: true,
            read_log: None,
            moves: Vec::new(),
            spoilt_at: None,
            ended: None,
            dropped: false,
            alone: false,
            alone_until: 0,
            reached: Vector::new(),
            met: Vector::new(),
            now: Vec::new(),
            last_dot: Stamp::ZERO,
            gone: BTreeMap::new(),
            sums: BTreeMap::new(),
        });
        BootId(self.boots.len() - 1)
    }

    /// Its process is gone, and with it all it held.
    pub fn crashed(&mut self, boot: BootId) {
        self.boots[boot.0].alive = false;
        self.end_alone(boot);
    }

    /// What a node wrote that nobody else ever had anything of is no part of what the others show.
    pub fn end_alone(&mut self, boot: BootId) {
        if self.boots[boot.0].alone {
            let until = self.boots[boot.0].alone_until;
            self.stood_alone(boot, until, &[]);
        }
    }

    /// Takes one fact. `at` is simulated time in ns.
    pub fn fact(&mut self, boot: BootId, at: u64, fact: &Fact) {
        self.take_in(boot, at, fact);
        if !self.undone.is_empty() {
            self.redo_moves();
        }
    }

    fn take_in(&mut self, boot: BootId, at: u64, fact: &Fact) {
        match fact {
            Fact::UnitIssued { conn, unit, vector } => {
                self.issued(boot, at, *conn, unit, Some(vector));
            }
            Fact::CellsLifted { unit } => self.issued(boot, at, None, unit, None),
            Fact::CellsAdopted { unit } => {
                self.dot_rises(boot, unit.dot);
                for change in &unit.changes {
                    // A joiner's floors are written with the unit; all else is older.
                    if let Cell::KeyCell { floor } = change.cell
                        && change.stamp == Some(unit.dot)
                    {
                        let id = self.key_id(change.db, &change.key);
                        self.keys[id.0].floors.push((unit.dot, floor));
                    }
                }
                self.adopted.push(unit.clone());
            }
            Fact::UnitTaken { dot, conn: _ } => {
                self.boots[boot.0].reached.raise(dot.origin, dot.time);
            }
            Fact::StampsMoved { from, to, times, horizon } => {
                let map = Moved { from: *from, to: *to, times, horizon: *horizon };
                self.moved(boot, &map);
            }
            Fact::StandsAlone => self.boots[boot.0].alone = true,
            Fact::StoodAlone { cells } => self.stood_alone(boot, at, cells),
            Fact::KeyChanged { db, key, stamp, visible_before, visible_after } => {
                self.boots[boot.0].met.raise(stamp.origin, stamp.time);
                match (*visible_before, *visible_after) {
                    (true, false) => {
                        let id = self.key_id(*db, key);
                        if self.removes(id, *db, *stamp) {
                            self.boots[boot.0].gone.insert(id, *stamp);
                        } else {
                            self.boots[boot.0].gone.remove(&id);
                        }
                    }
                    (false, true) => self.came_back(boot, *db, key, *stamp),
                    (true, true) | (false, false) => {}
                }
            }
            Fact::StaleDropped { .. } => self.conflicts += 1,
            Fact::VectorMoved { vector } => {
                if self.boots[boot.0].read_log.take_if(|read| *read == at).is_some() {
                    self.take_back_moves(boot, vector);
                }
                self.vector_moved(boot, vector);
            }
            Fact::Collected { horizon } => self.collected(boot, *horizon),
            Fact::DataDropped => {
                self.dropped(boot);
                let boot = &mut self.boots[boot.0];
                boot.dropped = true;
                boot.reached = Vector::new();
                boot.met = Vector::new();
                boot.now.clear();
                boot.gone.clear();
            }
            Fact::Log { .. }
            | Fact::Sometimes(_)
            | Fact::LinkUp { .. }
            | Fact::LinkDown { .. }
            | Fact::LinkSuspect { .. }
            | Fact::ResyncBegan { .. }
            | Fact::ResyncEnded { .. }
            | Fact::MemberSeen { .. }
            | Fact::OriginPaused { .. }
            | Fact::OriginResumed { .. }
            | Fact::ClockCorrected { .. } => {}
        }
    }

    /// The key's index, a new one if it was never seen.
    pub fn key_id(&mut self, db: DbIndex, key: &Bytes) -> KeyId {
        self.id((db, Bytes::copy_from_slice(key), None))
    }

    /// That of what the change is a cell of.
    pub(super) fn cell_id(&mut self, change: &Change) -> KeyId {
        self.id(name_of(change))
    }

    fn id(&mut self, name: Name) -> KeyId {
        if let Some(&id) = self.ids.get(&name) {
            return id;
        }
        let id = KeyId(self.keys.len());
        self.ids.insert(name.clone(), id);
        self.names.push(name);
        self.keys.push(KeyHistory::default());
        id
    }

    pub fn find(&self, db: DbIndex, key: &Bytes) -> Option<KeyId> {
        self.ids.get(&(db, key.clone(), None)).copied()
    }

    pub fn find_cell(&self, change: &Change) -> Option<KeyId> {
        self.ids.get(&name_of(change)).copied()
    }

    /// An element of a key.
    pub fn find_element(&self, db: DbIndex, key: &Bytes, of: Type, name: Bytes) -> Option<KeyId> {
        self.ids.get(&(db, key.clone(), Some((of, name)))).copied()
    }

    pub fn name(&self, id: KeyId) -> &Name {
        &self.names[id.0]
    }

    /// All keys in the order of (database, key), each followed by its elements.
    pub fn sorted_keys(&self) -> impl Iterator<Item = (&Name, KeyId)> {
        self.ids.iter().map(|(name, id)| (name, *id))
    }

    /// The elements of a key.
    pub fn elements_of(&self, id: KeyId) -> impl Iterator<Item = ((Type, Bytes), KeyId)> {
        let key = self.name(id);
        let all = self.ids.range(key.clone()..);
        let own = all.take_while(|(name, _)| (name.0, &name.1) == (key.0, &key.1));
        own.filter_map(|(name, id)| Some((name.2.clone()?, *id)))
    }

    /// Whether two nodes have given one stamp to two writes of a key.
    pub fn is_blurred(&self, id: KeyId) -> bool {
        self.keys[id.0].blurred || self.elements_of(id).any(|(_, id)| self.keys[id.0].blurred)
    }

    /// A key with its elements.
    pub fn whole(&self, id: KeyId) -> Whole {
        let elements = self.elements_of(id).map(|(name, id)| (name, self.keys[id.0].clone()));
        Whole { key: self.keys[id.0].clone(), elements: elements.collect() }
    }

    /// Whether two nodes wrote one key without knowing of each other's write.
    pub fn is_concurrent(&self) -> bool {
        let mut by_key: BTreeMap<&[u8], Vec<&Issued>> = BTreeMap::new();
        for unit in &self.units {
            for change in &unit.changes {
                let earlier = by_key.entry(&change.key).or_default();
                if earlier.iter().any(|e| e.boot != unit.boot && !unit.had.covers(e.dot)) {
                    return true;
                }
                earlier.push(unit);
            }
        }
        false
    }

    pub fn violate(&mut self, property: Property, evidence: String) {
        // The first of each run is what matters; a flood of followers is not kept.
        if self.violations.len() < 16 {
            self.violations.push(Violation { property, evidence });
        }
    }

    fn issued(
        &mut self,
        boot: BootId,
        at: u64,
        conn: Option<ConnId>,
        unit: &Unit,
        vector: Option<&Vector>,
    ) {
        self.dot_rises(boot, unit.dot);
        self.boots[boot.0].reached.raise(unit.dot.origin, unit.dot.time);
        let mut growth = Vec::new();
        let had = Rc::new(vector.cloned().unwrap_or_default());
        for change in &unit.changes {
            if matches!(change.cell, Cell::DatabaseTombstone) {
                self.flushes.push((change.db, change.stamp_in(unit.dot)));
                continue;
            }
            // A key is on record as soon as one of its elements is.
            self.key_id(change.db, &change.key);
            let id = self.cell_id(change);
            let stamp = change.stamp_in(unit.dot);
            let had = || vector.map(|_| Rc::clone(&had));
            match &flat(&change.cell) {
                Cell::Register { value, resets, seen } => {
                    let value = Some(Bytes::copy_from_slice(value));
                    let seen = seen.clone();
                    let base = BaseWrite {
                        stamp,
                        value,
                        resets: *resets,
                        seen,
                        had: had(),
                        void: false,
                        was: None,
                    };
                    self.keys[id.0].bases.push(base);
                }
                Cell::Tombstone { seen } => {
                    let seen = seen.clone();
                    let base = BaseWrite {
                        stamp,
                        value: None,
                        resets: false,
                        seen,
                        had: had(),
                        void: false,
                        was: None,
                    };
                    self.keys[id.0].bases.push(base);
                }
                Cell::Contribution { generation, sum } => {
                    let sums = &mut self.boots[boot.0].sums;
                    let before = sums.insert((id, stamp.origin, *generation), *sum).unwrap_or(0);
                    let delta = sum - before;
                    growth.push((id, delta));
                    let (generation, was, gone) = (*generation, None, None);
                    let increment = Increment { stamp, generation, delta, was, gone };
                    self.keys[id.0].increments.push(increment);
                    self.keys[id.0].counted = true;
                }
                Cell::Expiry { deadline } => {
                    let history = &mut self.keys[id.0];
                    history.mortal |= deadline.is_some();
                    history.expiries.push((stamp, *deadline));
                }
                Cell::KeyCell { floor } => {
                    let history = &mut self.keys[id.0];
                    history.floors.push((stamp, *floor));
                }
                Cell::Kind { kind } => self.keys[id.0].types.push((stamp, *kind)),
                // (Made flat.)
                Cell::Element { .. } | Cell::DatabaseTombstone => {}
            }
        }
        let origin = unit.dot.origin;
        if *self.writers.entry(origin).or_insert(boot) != boot {
            self.shared.insert(origin);
        }
        if self.shared.contains(&origin) {
            self.blur(boot, unit);
        }
        let changes = unit.changes.clone();
        self.units.push(Issued {
            boot,
            conn,
            at,
            dot: unit.dot,
            changes,
            had,
            growth,
            lost: false,
            traceless: false,
        });
    }

    /// Marks the keys of which another boot has given the very dot of this unit to a write.
    fn blur(&mut self, boot: BootId, unit: &Unit) {
        let same = self.units.iter().filter(|u| u.dot == unit.dot && u.boot != boot);
        let names: Vec<_> = same.flat_map(|u| &u.changes).map(name_of).collect();
        for change in &unit.changes {
            let name = name_of(change);
            if names.contains(&name)
                && let Some(id) = self.ids.get(&name)
            {
                self.keys[id.0].blurred = true;
            }
        }
    }

    /// Boots that have ended and had written under an origin that others wrote under too.
    pub fn ended_sharers(&self) -> Vec<BootId> {
        if self.shared.is_empty() {
            return Vec::new();
        }
        let shared = |u: &&Issued| self.shared.contains(&u.dot.origin);
        let ended = |boot: &BootId| !self.boots[boot.0].alive;
        let boots: BTreeSet<BootId> = self.units.iter().filter(shared).map(|u| u.boot).collect();
        boots.into_iter().filter(ended).collect()
    }

    /// Dots of one boot strictly rise.
    fn dot_rises(&mut self, boot: BootId, dot: Stamp) {
        let last = self.boots[boot.0].last_dot;
        if dot.time <= last.time {
            let host = self.boots[boot.0].host;
            let evidence = format!(
                "host {host} gave stamp {} after {}: stamps stepped back",
                show(dot),
                show(last)
            );
            self.violate(Property::Sessions, evidence);
        }
        self.boots[boot.0].last_dot = dot;
    }

    /// A key has become visible: only a newer cell than the one that removed it may do that, or an
    /// increment that the delete had not seen.
    fn came_back(&mut self, boot: BootId, db: DbIndex, key: &Bytes, stamp: Stamp) {
        let id = self.key_id(db, key);
        let Some(&gone) = self.boots[boot.0].gone.get(&id) else { return };
        // At the very stamp: a transaction that deletes and writes again.
        if stamp >= gone
            || self.is_unseen_increment(id, db, stamp, gone)
            || self.is_extended(id, gone)
        {
            self.boots[boot.0].gone.remove(&id);
            return;
        }
        let evidence = format!(
            "host {}: key {:?} of database {} was removed by {} and came back through the older \
             {};{}",
            self.boots[boot.0].host,
            String::from_utf8_lossy(key),
            db.0,
            show(gone),
            show(stamp),
            self.keys[id.0].describe()
        );
        self.violate(Property::Resurrection, evidence);
    }

    /// Whether a cell with this stamp can have removed the key: a delete, a flush, or a deadline. (A
    /// deadline may pass just while another cell is merged: nothing is known of such a removal.)
    fn removes(&self, id: KeyId, db: DbIndex, stamp: Stamp) -> bool {
        let history = &self.keys[id.0];
        history.bases.iter().any(|b| b.stamp == stamp && b.value.is_none())
            || history.expiries.iter().any(|e| e.0 == stamp && e.1.is_some())
            || self.flushes.contains(&(db, stamp))
    }

    /// Whether the key was removed by a deadline that a newer expiry has replaced: what the deadline had hidden
    /// may be seen again. (It may have found nothing to show, and an older write have come after it.)
    fn is_extended(&self, id: KeyId, gone: Stamp) -> bool {
        let expiries = &self.keys[id.0].expiries;
        expiries.iter().any(|e| e.0 == gone && e.1.is_some()) && expiries.iter().any(|e| e.0 > gone)
    }

    /// Whether the stamp is that of an increment which a write as new as the removal had not seen.
    /// One that a flush had made the writer forget is not on its list either: it shows until the flush arrives here
    /// too (documented exception of FLUSH).
    fn is_unseen_increment(&self, id: KeyId, db: DbIndex, stamp: Stamp, gone: Stamp) -> bool {
        let history = &self.keys[id.0];
        let flushed = self.flushes.iter().any(|f| f.0 == db && stamp < f.1);
        let newer = || history.bases.iter().filter(|b| b.stamp >= gone);
        history
            .increments
            .iter()
            .any(|i| i.stamp == stamp && (flushed || newer().any(|b| !history.has_seen(b, i))))
    }

    /// A node has collected up to `horizon`: increments that its newest base write had seen are gone
    /// for good, if both are at or below.
    fn collected(&mut self, boot: BootId, horizon: u64) {
        // What ended with a node that wrote under another's origin has collected nothing.
        let lost: BTreeSet<Stamp> = match self.ended_sharers() {
            ended if ended.is_empty() => BTreeSet::new(),
            ended => {
                let theirs = self.units.iter().filter(|u| ended.contains(&u.boot));
                theirs.map(|u| u.dot).collect()
            }
        };
        let reached = &self.boots[boot.0].reached;
        // It also knows what was logged again under a dot it has.
        let mut again: BTreeSet<(KeyId, Stamp)> = BTreeSet::new();
        for unit in self.adopted.iter().filter(|unit| reached.covers(unit.dot)) {
            for change in unit.changes.iter().filter(|c| Kind::of(&c.cell) == Kind::Base) {
                let id = self.ids.get(&name_of(change)).copied();
                again.extend(id.map(|id| (id, change.stamp_in(unit.dot))));
            }
        }
        for (at, (history, (db, ..))) in self.keys.iter_mut().zip(&self.names).enumerate() {
            let open = |i: &Increment| {
                i.gone.is_none() && i.stamp.time <= horizon && reached.covers(i.stamp)
            };
            if !history.increments.iter().any(open) {
                continue;
            }
            let known = history
                .bases
                .iter()
                .filter(|b| reached.covers(b.stamp) || again.contains(&(KeyId(at), b.stamp)))
                .filter(|b| !b.void && !lost.contains(&b.stamp));
            let Some(base) = known.max_by_key(|b| b.stamp) else { continue };
            let flushed = self.flushes.iter().any(|f| f.0 == *db && f.1 > base.stamp);
            if flushed || base.stamp.time > horizon {
                continue;
            }
            let stamp = base.stamp;
            let gone: Vec<bool> = history
                .increments
                .iter()
                .map(|i| {
                    // A contribution goes as a whole.
                    let newest = history.newest_of(i.stamp.origin, i.generation).unwrap_or(i);
                    let last = newest.stamp.time;
                    open(i) && last <= horizon && base.has_seen(newest, last)
                })
                .collect();
            for (increment, gone) in history.increments.iter_mut().zip(gone) {
                increment.gone = increment.gone.or(gone.then_some(stamp));
            }
        }
    }

    fn vector_moved(&mut self, boot: BootId, vector: &Vector) {
        let mut stepped = None;
        let known = &mut self.boots[boot.0];
        for &(origin, before) in &known.now {
            let after = vector.get(origin);
            // An entry may leave the vector, with its closed epoch, but never sink.
            if after != 0 && after < before {
                stepped = Some((origin, before, after));
            }
        }
        known.now.clear();
        known.now.extend(vector.iter());
        known.reached.merge(vector);
        if let Some((origin, before, after)) = stepped {
            let host = known.host;
            let evidence =
                format!("host {host}: vector of {origin} sank from {before:x} to {after:x}");
            self.violate(Property::AcknowledgedLoss, evidence);
        }
    }
}

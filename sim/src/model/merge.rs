//! The reference merge: the state that follows from all covered writes, and its comparison with
//! what nodes show.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::base::content::Content;
use quorate::base::ids::{DbIndex, Origin};
use quorate::base::stamp::Stamp;
use quorate::base::time::UnixMs;
use quorate::base::unit::{Cell, SeenContribution};
use quorate::base::vector::Vector;

use super::key::{BaseWrite, Increment, KeyHistory, Resolved, flat, show};
use super::ledger::{BootId, KeyId, Ledger, Name};
use super::moved::Kind;
use super::whole::{Whole, show_content};
use crate::check::{Property, Violation};

/// Which cells count in the end.
#[derive(Debug, Default)]
pub struct Coverage {
    vector: Vector,
    /// Cells that were logged again under a covered dot.
    again: BTreeSet<(KeyId, Stamp, Kind)>,
    /// How far contributions that were logged again reach.
    reach: BTreeMap<(KeyId, Origin, u64), u64>,
    flushes: BTreeSet<(DbIndex, Stamp)>,
    /// Cells and flushes that do not count although the vector covers them.
    lost: BTreeSet<(KeyId, Stamp)>,
    lost_flushes: BTreeSet<(DbIndex, Stamp)>,
}

impl Coverage {
    /// Everything under a dot that `vector` covers.
    pub fn new(ledger: &Ledger, vector: Vector) -> Coverage {
        let mut coverage = Coverage { vector, ..Coverage::default() };
        for unit in &ledger.adopted {
            if !coverage.vector.covers(unit.dot) {
                continue;
            }
            for change in &unit.changes {
                let stamp = change.stamp_in(unit.dot);
                if matches!(change.cell, Cell::DatabaseTombstone) {
                    coverage.flushes.insert((change.db, stamp));
                    continue;
                }
                let Some(id) = ledger.find_cell(change) else { continue };
                if let Cell::Contribution { generation, .. } = flat(&change.cell) {
                    let reach = coverage.reach.entry((id, stamp.origin, generation)).or_default();
                    *reach = stamp.time.max(*reach);
                } else {
                    coverage.again.insert((id, stamp, Kind::of(&change.cell)));
                }
            }
        }
        coverage
    }

    /// Without what these boots wrote under an origin that others wrote under too: it may have gone with them, whatever
    /// the vector says of that origin.
    pub fn without(mut self, ledger: &Ledger, boots: &[BootId]) -> Coverage {
        let shared = ledger.units.iter().filter(|u| ledger.shared.contains(&u.dot.origin));
        for unit in shared.filter(|u| boots.contains(&u.boot)) {
            for change in &unit.changes {
                if matches!(change.cell, Cell::DatabaseTombstone) {
                    self.lost_flushes.insert((change.db, unit.dot));
                } else if let Some(id) = ledger.find_cell(change) {
                    self.lost.insert((id, unit.dot));
                }
            }
        }
        self
    }

    pub fn covers(&self, dot: Stamp) -> bool {
        self.vector.covers(dot)
    }

    fn covers_cell(&self, id: KeyId, stamp: Stamp) -> bool {
        self.vector.covers(stamp) && (self.lost.is_empty() || !self.lost.contains(&(id, stamp)))
    }

    fn cell(&self, id: KeyId, stamp: Stamp, kind: Kind) -> bool {
        self.covers_cell(id, stamp)
            || (!self.again.is_empty() && self.again.contains(&(id, stamp, kind)))
    }

    fn increment(&self, id: KeyId, increment: &Increment) -> bool {
        self.covers_cell(id, increment.stamp)
            || self
                .reach
                .get(&(id, increment.stamp.origin, increment.generation))
                .is_some_and(|&reach| increment.is_within(reach))
    }

    /// The flushes of a database that count.
    fn flushes(&self, ledger: &Ledger, db: DbIndex) -> Vec<Stamp> {
        let issued = ledger
            .flushes
            .iter()
            .filter(|flush| self.vector.covers(flush.1) && !self.lost_flushes.contains(flush));
        issued.chain(&self.flushes).filter(|(at, _)| *at == db).map(|(_, s)| *s).collect()
    }

    /// "No expiry" by writes that do not count themselves. A write that takes the place of every older expiry leaves a cell
    /// that says so where another value has taken its own place, and that cell alone may have been logged again.
    fn resets_apart<'a>(
        &'a self,
        id: KeyId,
        history: &'a KeyHistory,
    ) -> impl Iterator<Item = (Stamp, Option<UnixMs>)> + 'a {
        let again = move |stamp: Stamp| self.again.contains(&(id, stamp, Kind::Expiry));
        let bases = history.bases.iter().filter(|_| !self.again.is_empty());
        bases
            .filter(|base| !base.void && (base.resets || base.value.is_none()))
            .filter(move |base| !self.cell(id, base.stamp, Kind::Base) && again(base.stamp))
            .map(|base| (base.stamp, None))
    }

    /// The part of a key's history that counts.
    fn part(&self, id: KeyId, history: &KeyHistory, uncounted: &[Stamp]) -> KeyHistory {
        let kept = |stamp: Stamp, kind: Kind| self.cell(id, stamp, kind);
        // (One that is not on record has been moved, or was overwritten by its own writer.)
        let has = |stamp: Stamp| {
            kept(stamp, Kind::Base) || !history.bases.iter().any(|base| base.stamp == stamp)
        };
        KeyHistory {
            bases: history
                .bases
                .iter()
                .filter(|b| !b.void && kept(b.stamp, Kind::Base))
                .cloned()
                .collect(),
            // Explicit ones come last: at the stamp of a SET they win over its "no expiry".
            expiries: self
                .resets_apart(id, history)
                .chain(history.expiries.iter().filter(|e| kept(e.0, Kind::Expiry)).copied())
                .collect(),
            increments: history
                .increments
                .iter()
                .filter(|i| self.increment(id, i))
                .map(|i| Increment { gone: i.gone.filter(|&base| has(base)), ..*i })
                .collect(),
            floors: history.floors.iter().filter(|f| kept(f.0, Kind::Floor)).copied().collect(),
            types: history.types.iter().filter(|of| kept(of.0, Kind::Type)).copied().collect(),
            bases_uncounted: history
                .bases
                .iter()
                .filter(|b| b.void || !kept(b.stamp, Kind::Base))
                .map(|b| b.stamp)
                .collect(),
            mortal: history.mortal,
            blurred: history.blurred,
            counted: history.counted,
            uncounted: uncounted.to_vec(),
        }
    }
}

/// What one node shows of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    pub db: DbIndex,
    pub key: Bytes,
    pub value: Content,
    pub deadline: Option<UnixMs>,
}

/// What one node shows: its keys in the order of (database, key).
#[derive(Clone, Debug)]
pub struct NodeView {
    pub name: String,
    pub keys: Vec<Shown>,
    /// Between these two the node's expiry clock stands.
    pub clock: (UnixMs, UnixMs),
    /// It, or another of those compared, does not know yet what others may have collected: what was incremented there
    /// meanwhile has no floor yet.
    pub joins: bool,
}

/// The state that all covered writes make.
#[derive(Debug)]
pub struct Expected {
    keys: Vec<((DbIndex, Bytes), KeyId, Resolved)>,
    /// What shows of keys that had a deadline once that has passed and everybody has dropped them.
    after: BTreeMap<KeyId, Vec<(UnixMs, Resolved)>>,
    /// Keys of which nothing can be told.
    blurred: BTreeSet<KeyId>,
}

impl Expected {
    pub fn new(ledger: &Ledger, coverage: &Coverage) -> Expected {
        let mut keys = Vec::new();
        let mut after = BTreeMap::new();
        let mut flushed = BTreeMap::new();
        let mut blurred = BTreeSet::new();
        for (name, id) in ledger.sorted_keys().filter(|(name, _)| name.2.is_none()) {
            let flushed = flushed.entry(name.0).or_insert_with(|| coverage.flushes(ledger, name.0));
            let all = ledger.flushes.iter().filter(|flush| flush.0 == name.0).map(|flush| flush.1);
            let uncounted: Vec<Stamp> = all.filter(|flush| !flushed.contains(flush)).collect();
            if ledger.is_blurred(id) {
                blurred.insert(id);
                continue;
            }
            let part = |id: KeyId| coverage.part(id, &ledger.keys[id.0], &uncounted);
            let elements = ledger.elements_of(id).map(|(name, id)| (name, part(id)));
            let held = |element: &(_, KeyHistory)| {
                !element.1.bases.is_empty() || !element.1.increments.is_empty()
            };
            let whole = Whole { key: part(id), elements: elements.filter(held).collect() };
            if let Some(resolved) = whole.resolve(flushed) {
                if whole.key.mortal && (whole.is_counted() || !whole.key.types.is_empty()) {
                    after.insert(id, whole.after_expiries(flushed));
                }
                keys.push(((name.0, name.1.clone()), id, resolved));
            }
        }
        Expected { keys, after, blurred }
    }

    /// Compares with what a node shows.
    pub fn compare(&self, ledger: &Ledger, view: &NodeView) -> Option<Violation> {
        let is_blurred =
            |s: &&Shown| ledger.find(s.db, &s.key).is_some_and(|id| self.blurred.contains(&id));
        let mut shown = view.keys.iter().filter(|s| !is_blurred(s)).peekable();
        for (name, id, resolved) in &self.keys {
            if let Some(extra) = shown.next_if(|s| (s.db, &s.key) < (name.0, &name.1)) {
                return Some(self.differs(ledger, view, None, Some(extra)));
            }
            let here = shown.next_if(|s| (s.db, &s.key) == (name.0, &name.1));
            let wanted = Some((*id, resolved));
            let (low, high) = view.clock;
            let fine = match (here, resolved.deadline) {
                (None, None) => false,
                (None, Some(deadline)) => deadline <= high,
                (Some(_), Some(deadline)) if deadline < low => false,
                (Some(s), deadline) => s.value == resolved.value && s.deadline == deadline,
            };
            let dropped = || {
                let after = self.after.get(id).filter(|_| view.joins)?;
                let mut past = after.iter().filter(|(deadline, _)| *deadline <= high);
                past.find(|(_, l)| {
                    here.is_some_and(|s| s.value == l.value && s.deadline == l.deadline)
                })
            };
            if !fine && dropped().is_none() {
                return Some(self.differs(ledger, view, wanted, here));
            }
        }
        shown.next().map(|extra| self.differs(ledger, view, None, Some(extra)))
    }

    fn differs(
        &self,
        ledger: &Ledger,
        view: &NodeView,
        wanted: Option<(KeyId, &Resolved)>,
        shown: Option<&Shown>,
    ) -> Violation {
        let id = wanted.map(|(id, _)| id).or_else(|| {
            let shown = shown?;
            ledger.find(shown.db, &shown.key)
        });
        let text = |value: &Content, deadline: Option<UnixMs>| {
            let until = deadline.map_or(String::new(), |d| format!(" until {}", d.0));
            format!("{}{until}", show_content(value))
        };
        let wanted = wanted.map_or("nothing".to_owned(), |(_, r)| text(&r.value, r.deadline));
        let (name, shows) = match (id, shown) {
            (Some(id), _) => (
                String::from_utf8_lossy(&ledger.name(id).1).into_owned(),
                shown.map_or("nothing".to_owned(), |s| text(&s.value, s.deadline)),
            ),
            (None, Some(s)) => {
                (String::from_utf8_lossy(&s.key).into_owned(), text(&s.value, s.deadline))
            }
            (None, None) => (String::new(), String::new()),
        };
        let whole = id.map(|id| ledger.whole(id));
        let counter = whole.as_ref().is_some_and(Whole::is_counted);
        let property = if counter { Property::Counters } else { Property::ReferenceMerge };
        let written = whole.map_or(String::new(), |whole| whole.describe());
        let evidence = format!(
            "{} shows {shows} for key {name:?}, the writes make {wanted}; expiry clock {}..{}; \
             written:{written}",
            view.name, view.clock.0.0, view.clock.1.0
        );
        Violation { property, evidence }
    }
}

/// Whether the lists of what base writes had seen are honest: each names every increment its writer
/// had, with the sum of exactly those, unless an older write that the writer had too took care of it.
pub fn dishonest_list(ledger: &Ledger) -> Option<Violation> {
    for (name, id) in ledger.sorted_keys() {
        let history = &ledger.keys[id.0];
        if history.increments.is_empty() || history.blurred {
            continue;
        }
        for base in history.bases.iter().filter(|base| !base.void) {
            if is_out_of_sight(ledger, name, base) {
                continue;
            }
            if let Some(wrong) = wrong_sum(ledger, history, base).or_else(|| {
                forgotten(ledger, name, history, base)
                    .map(|i| format!("does not list {} by {}", show(i.stamp), i.delta))
            }) {
                let evidence = format!(
                    "write {} on key {:?} {wrong}; written:{}",
                    show(base.stamp),
                    String::from_utf8_lossy(&name.1),
                    history.describe()
                );
                return Some(Violation { property: Property::Counters, evidence });
            }
        }
    }
    None
}

/// Whether this is a write to an element that went with its key, by a node whose stamps were moved: nobody bore it then,
/// though other cells of its unit may have gone on to bear its stamp.
fn is_out_of_sight(ledger: &Ledger, name: &Name, base: &BaseWrite) -> bool {
    let Some(key) = name.2.as_ref().and_then(|_| ledger.find(name.0, &name.1)) else {
        return false;
    };
    let writer = ledger.writers.get(&base.stamp.origin);
    writer.is_some_and(|boot| !ledger.boots[boot.0].moves.is_empty())
        && ledger.keys[key.0].bases.iter().any(|b| b.stamp >= base.stamp)
}

/// A listed sum that is not that of the increments up to the listed one. From an older log a node may know a contribution
/// under a name that it has lost since: nobody else does.
fn wrong_sum(ledger: &Ledger, history: &KeyHistory, base: &BaseWrite) -> Option<String> {
    let writer = ledger.writers.get(&base.stamp.origin);
    let spoilt = writer.is_some_and(|boot| ledger.boots[boot.0].spoilt_at.is_some());
    let is_known = |seen: &SeenContribution| {
        let named =
            |i: &Increment| (i.stamp.origin, i.generation) == (seen.origin, seen.generation);
        history.increments.iter().any(named)
    };
    base.seen.list.iter().filter(|seen| !spoilt || is_known(seen)).find_map(|seen| {
        let of = history.increments.iter().filter(|i| {
            i.stamp.origin == seen.origin
                && i.generation == seen.generation
                && i.is_within(seen.last)
        });
        let sum: i128 = of.map(|i| i.delta).sum();
        (sum != seen.sum).then(|| {
            format!(
                "lists {} of {} up to {:x}, the increments make {sum}",
                seen.sum, seen.origin, seen.last
            )
        })
    })
}

/// An increment that the writer had and the write does not account for.
fn forgotten<'a>(
    ledger: &Ledger,
    name: &Name,
    history: &'a KeyHistory,
    base: &BaseWrite,
) -> Option<&'a Increment> {
    // What is written to the key removes its elements.
    let key = name.2.as_ref().and_then(|_| ledger.find(name.0, &name.1));
    let key = key.map(|id| &ledger.keys[id.0]);
    let over = |i: &Increment| {
        key.is_some_and(|key| {
            key.bases.iter().any(|b| i.stamp < b.stamp)
                || key.floors.iter().any(|f| f.0 < base.stamp && i.stamp.time <= f.1)
        })
    };

    let had = base.had.as_ref()?;
    let reaches = |stamp: Stamp| {
        stamp < base.stamp && (had.covers(stamp) || stamp.origin == base.stamp.origin)
    };
    let seen_before = |i: &Increment| {
        let last = history.last_of(i.stamp.origin, i.generation).time;
        history.bases.iter().any(|b| reaches(b.stamp) && b.has_seen(i, last))
    };
    history.increments.iter().find(|i| {
        reaches(i.stamp)
            // Another node may have made it, before one of the two went on under another origin.
            && !ledger.shared.contains(&i.stamp.origin)
            && i.gone.is_none()
            && base.listed_last(i).is_none_or(|last| !i.is_within(last))
            && i.stamp.time > base.seen.horizon
            && !seen_before(i)
            // A floor or a flush may have come within a resync, before the vector covered it.
            && !history.floors.iter().any(|f| f.0 < base.stamp && i.stamp.time <= f.1)
            && !ledger.flushes.iter().any(|f| f.0 == name.0 && i.stamp < f.1)
            && !over(i)
    })
}

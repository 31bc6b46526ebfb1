//! Named invariants: everything counted or indexed is derived again from a walk over all entries.

use super::Store;
use super::books::{Books, Summary};
use super::commit::{filing_of, summary_of, view_of};
use super::db::Place;
use super::elements::{Elements, element_digest};
use super::entry::Entry;
use super::merge::{Cut, Draft};
use super::state::{implied_expiry, key_hash, list_key};

impl Store {
    /// Named invariants, checked after each input in simulation.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        assert!(!self.open.is_open(), "a unit was left open between inputs");
        let derived = self.derive_books();
        self.books_match_the_entries(&derived);
        self.indexes_match_the_entries(&derived);
    }

    fn derive_books(&self) -> Books {
        let mut derived = Books::default();
        for (number, held) in self.dbs.iter().enumerate() {
            let Some(db) = held else { continue };
            derived.memory_bytes += db.own_bytes() as u64;
            for partition in db.partitions() {
                let table = db.table(partition);
                table.hash_order_has_no_gaps(&self.hasher);
                derived.memory_bytes += table.used_bytes() as u64;
            }
            for (partition, entry) in db.entries() {
                let hash = self.hasher.hash(entry.key());
                let place = Place { db: number as u16, partition, hash };
                let found =
                    Place::of(crate::base::ids::DbIndex(place.db), entry.key(), &self.hasher);
                assert_eq!(place, found, "an entry is in the wrong table");
                self.entry_is_in_normal_form(entry, place.db);
                derived.memory_bytes += entry.used_bytes() as u64;
                let summary = summary_of(entry, key_hash(place.db, entry.key()));
                let (before, stamp) = (Summary::default(), crate::base::stamp::Stamp::ZERO);
                let facts = &mut crate::base::fact::Facts::default();
                derived.settle(place, entry.key(), &before, &summary, stamp, facts);
            }
        }
        derived
    }

    /// Nothing is held that a floor or a database tombstone removes, nothing stored that is
    /// implied, and the filing follows from the state.
    fn entry_is_in_normal_form(&self, entry: &Entry, db: u16) {
        let view = view_of(entry);
        let cut = self.flushed.get(&db).map(|&stamp| Cut::below(stamp));
        let side = entry.side().cloned().map(Box::new);
        let mut draft = Draft::new(entry.base(), entry.value(), side, entry.packed(), &self.hasher);
        assert!(!draft.is_empty(), "an entry without a cell");
        assert!(!draft.prune(cut), "a removed cell is held");
        assert!(view.is_base_live() || view.value.is_empty(), "a dead value is held");
        let exists = view.exists();
        for elements in view.collections.iter() {
            collection_is_counted(elements);
        }
        let Some(side) = view.side else { return };
        assert!(!side.is_empty(), "an empty side record is held");
        let implied = implied_expiry(view.base.as_ref());
        assert!(side.expiry.is_none() || side.expiry > implied, "an implied expiry is stored");
        assert!(view.base.is_some() || side.seen.is_empty(), "a seen list without a base");
        for list in [&side.seen, &side.contributions] {
            assert!(list.is_sorted_by(|a, b| list_key(a) < list_key(b)), "a list is out of order");
        }
        assert!(!side.hidden || (exists && view.is_expired(self.clock)), "hidden without a reason");
        let deferred = side.hidden && side.filing.waits.is_some();
        let filing = filing_of(&view, exists, side.hidden, deferred);
        assert_eq!(side.filing, filing, "a key is filed wrongly");
    }

    fn books_match_the_entries(&self, derived: &Books) {
        let held = &self.books;
        assert_eq!(held.digest, derived.digest, "the digest has drifted");
        assert_eq!(held.memory_bytes, derived.memory_bytes, "memory was miscounted");
        assert_eq!(held.hidden, derived.hidden, "hidden keys were miscounted");
        assert_eq!(held.dead, derived.dead, "tombstones were miscounted");
        assert_eq!(held.contributions, derived.contributions, "contributions were miscounted");
        for db in 0..held.live.len().max(derived.live.len()) {
            let count = |books: &Books| books.live.get(db).copied().unwrap_or(0);
            assert_eq!(count(held), count(derived), "keys of database {db} were miscounted");
            let db = crate::base::ids::DbIndex(db as u16);
            let (held, derived) = (held.expiring(db), derived.expiring(db));
            assert_eq!(held, derived, "keys with a deadline were miscounted");
        }
    }

    fn indexes_match_the_entries(&self, derived: &Books) {
        assert_eq!(self.books.due, derived.due, "the index of deadlines has drifted");
        assert_eq!(self.books.buried, derived.buried, "the index of hidden keys has drifted");
        assert_eq!(self.books.waiting, derived.waiting, "the index by horizon has drifted");
    }
}

/// The figures of a collection follow from its elements.
fn collection_is_counted(elements: Elements<'_>) {
    let (mut live, mut digest, mut contributions) = (0, 0, 0);
    for (name, view) in elements.iter() {
        assert!(
            view.base.is_some() || !view.contributions().is_empty(),
            "an element without a cell"
        );
        assert!(view.base.is_none_or(|base| !base.resets), "an element has no expiry to reset");
        live += usize::from(view.exists());
        digest ^= element_digest(name, &view);
        contributions += view.contributions().len() as u64;
        assert!(
            elements.view(name).is_some_and(|v| v.base == view.base),
            "an element is not found"
        );
        let newest = view.newest_time();
        assert!(newest <= elements.newest_time(), "an element is newer than its collection");
    }
    assert_eq!(elements.live(), live, "live elements were miscounted");
    assert_eq!(elements.digest(), digest, "a collection's digest has drifted");
    assert_eq!(elements.contributions(), contributions, "contributions were miscounted");
}

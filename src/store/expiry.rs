//! Hiding what has expired. That writes nothing: a newer EXPIRE or PERSIST may still arrive and
//! brings the key back.

use bytes::Bytes;

use crate::base::fact::Facts;
use crate::base::ids::DbIndex;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;

use super::Store;
use super::commit::{Eager, Terms, view_of};
use super::db::Place;
use super::entry::Entry;

impl Store {
    /// Hides the keys whose deadline has passed; at most `keys_max`. Returns when the next is due.
    pub fn expire(&mut self, clock: UnixMs, keys_max: usize, facts: &mut Facts) -> Option<UnixMs> {
        self.clock = self.clock.max(clock);
        for _ in 0..keys_max {
            let Some(&(deadline, place)) = self.books.due.first() else { break };
            if deadline > self.clock.0 {
                break;
            }
            self.hide(place, facts);
        }
        self.books.next_due()
    }

    /// Keys of database 0 whose deadline has passed, the earliest first: of at most `looked_at` of them. Nothing changes.
    pub fn due_keys(&self, clock: UnixMs, looked_at: usize) -> Vec<Bytes> {
        let due = self.books.due.iter().take(looked_at).take_while(|(at, _)| *at <= clock.0);
        let mut keys = Vec::new();
        for (deadline, place) in due.filter(|(_, place)| place.db == 0) {
            let Some(db) = self.db(place.db) else { continue };
            let table = db.table(place.partition);
            let Some(first) = table.seek(place.hash, &self.hasher) else { continue };
            let same = |entry: &&Entry| self.hasher.hash(entry.key()) == place.hash;
            for entry in table.iter_from(first).take_while(same) {
                if view_of(entry).deadline().is_some_and(|at| at.0 == *deadline) {
                    keys.push(Bytes::copy_from_slice(entry.key()));
                }
            }
        }
        keys
    }

    /// The deadline of the key that [`Store::expire`] will hide next.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.books.next_due()
    }

    /// Hides one key if its deadline has passed, ahead of the sweep.
    pub fn expire_key(&mut self, db: DbIndex, key: &[u8], clock: UnixMs, facts: &mut Facts) {
        self.clock = self.clock.max(clock);
        let place = Place::of(db, key, &self.hasher);
        let clock = self.clock;
        let due = self.view(place, key).is_some_and(|view| {
            view.is_expired(clock) && view.side.is_some_and(|side| !side.hidden)
        });
        if due {
            self.hide(place, facts);
        }
    }

    fn hide(&mut self, place: Place, facts: &mut Facts) {
        let eager = if self.alone { Eager::Alone } else { Eager::No };
        let clock = self.clock;
        // It goes at once, without having been counted as hidden.
        self.books.expired += u64::from(self.alone);
        let terms = Terms { clock, cut: None, cause: Stamp::ZERO, eager };
        self.edit_indexed(place, terms, false, facts, |draft, _| {
            // Whether it is hidden is worked out anew after every change.
            draft.view().is_expired(clock)
        });
    }
}

//! A partition's log at one node: what is committed stands in the store, what is open in the tail.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::content::Content;
use crate::base::time::UnixMs;

use super::regime::Regime;

/// Committed entries are kept for others that lag, up to so many of a partition.
const RECENT_MAX: usize = 64;

/// What a key holds from now on; `None`: nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyChange {
    pub key: Bytes,
    pub state: Option<KeyState>,
}

/// A key's content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyState {
    pub value: Content,
    pub deadline: Option<UnixMs>,
}

/// One write: what one command, one EXEC or one script has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// That of the master who made it.
    pub regime: Regime,
    /// Counts up by one within a partition, from 1.
    pub index: u64,
    pub changes: Vec<KeyChange>,
}

/// The place of an entry. Two logs that have the same one are equal up to there.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    pub regime: Regime,
    /// 0: before all.
    pub index: u64,
}

/// Which regimes made which entries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// For each regime that made entries the index of its first, rising in both.
    firsts: Vec<(Regime, u64)>,
    last: u64,
}

/// What one node tells another of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogState {
    pub history: History,
    pub committed: u64,
}

/// The log of one copy.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    history: History,
    /// Up to here the entries are in the store.
    committed: u64,
    /// Those behind.
    open: VecDeque<Entry>,
    /// The last of those before.
    recent: VecDeque<Entry>,
}

impl History {
    pub fn last(&self) -> Place {
        self.place(self.last).unwrap_or_default()
    }

    /// The place of the entry with this index, if there is one. 0 is in every log.
    pub fn place(&self, index: u64) -> Option<Place> {
        if index > self.last {
            return None;
        }
        let regime = self.firsts.iter().rev().find(|first| first.1 <= index);
        Some(Place { regime: regime.map_or(Regime(0), |first| first.0), index })
    }

    pub fn has(&self, place: Place) -> bool {
        self.place(place.index) == Some(place)
    }

    /// The last place that is in both.
    pub fn common(&self, other: &History) -> Place {
        for &(regime, _) in self.firsts.iter().rev() {
            if let (Some(mine), Some(its)) = (self.end_of(regime), other.end_of(regime)) {
                return Place { regime, index: mine.min(its) };
            }
        }
        Place::default()
    }

    /// The index of the last entry a regime has made.
    pub fn end_of(&self, regime: Regime) -> Option<u64> {
        let at = self.firsts.iter().position(|first| first.0 == regime)?;
        Some(self.firsts.get(at + 1).map_or(self.last, |next| next.1 - 1))
    }

    /// The last place that no regime from this one on has made.
    pub fn before(&self, regime: Regime) -> Place {
        let first = self.firsts.iter().find(|first| first.0 >= regime);
        first.map_or(self.last(), |first| self.place(first.1 - 1).unwrap_or_default())
    }

    /// The history as it was when this entry was the last.
    #[must_use]
    pub fn until(&self, last: u64) -> History {
        let mut history = self.clone();
        history.cut(last);
        history
    }

    /// Whether regimes and indexes rise, from 1 on, and up to the last.
    pub fn is_sane(&self) -> bool {
        let begins = self.firsts.first().map_or(self.last == 0, |first| first.1 == 1);
        let rises = self.firsts.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
        begins && rises && self.firsts.last().is_none_or(|first| first.1 <= self.last)
    }

    fn push(&mut self, place: Place) {
        assert_eq!(place.index, self.last + 1, "an entry follows another");
        if self.firsts.last().is_none_or(|first| first.0 < place.regime) {
            self.firsts.push((place.regime, place.index));
        }
        assert_eq!(
            self.firsts.last().map(|first| first.0),
            Some(place.regime),
            "regimes only grow"
        );
        self.last = place.index;
    }

    fn cut(&mut self, last: u64) {
        self.firsts.retain(|first| first.1 <= last);
        self.last = self.last.min(last);
    }
}

impl Tail {
    /// A copy that was taken as a whole, with everything up to `history`'s end committed.
    pub fn whole(history: History) -> Tail {
        Tail { committed: history.last, history, ..Tail::default() }
    }

    pub fn state(&self) -> LogState {
        LogState { history: self.history.clone(), committed: self.committed }
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn last(&self) -> Place {
        self.history.last()
    }

    pub fn committed(&self) -> u64 {
        self.committed
    }

    pub fn push(&mut self, entry: Entry) {
        self.history.push(Place { regime: entry.regime, index: entry.index });
        self.open.push_back(entry);
    }

    /// The history of what is committed, and the entries behind.
    pub fn image(&self) -> (History, Vec<Entry>) {
        (self.history.until(self.committed), self.open.iter().cloned().collect())
    }

    /// Drops the entries behind `last`.
    ///
    /// # Panics
    /// If one of them is committed.
    pub fn truncate(&mut self, last: u64) {
        assert!(last >= self.committed, "what is committed stays");
        self.history.cut(last);
        self.open.retain(|entry| entry.index <= last);
    }

    /// Moves the end of what is committed up to `index`, or to the log's end; calls `apply` with each entry passed.
    pub fn commit(&mut self, index: u64, mut apply: impl FnMut(&Entry)) {
        while self.committed < index {
            let Some(entry) = self.open.pop_front() else { return };
            apply(&entry);
            self.committed = entry.index;
            self.recent.push_back(entry);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
    }

    /// Forgets the last committed entries: they are in the store.
    pub fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// The entries behind `index`, if they are all still here: at most so many.
    pub fn after(&self, index: u64, count: usize) -> Option<Vec<Entry>> {
        if index >= self.history.last {
            return Some(Vec::new());
        }
        let all = self.recent.iter().chain(&self.open);
        let mut wanted = all.skip_while(|entry| entry.index <= index).take(count).peekable();
        if wanted.peek().is_none_or(|entry| entry.index != index + 1) {
            return None;
        }
        Some(wanted.cloned().collect())
    }

    /// The newest open state of a key; `None` if no open entry changes it.
    pub fn open_state(&self, key: &[u8]) -> Option<&Option<KeyState>> {
        let mut changes = self.open.iter().rev().flat_map(|entry| entry.changes.iter().rev());
        changes.find(|change| change.key == key).map(|change| &change.state)
    }

    /// The keys that open entries change, some of them more than once.
    pub fn open_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.open.iter().flat_map(|entry| &entry.changes).map(|change| &change.key)
    }

    /// The keys that entries behind `index` change; `None` if some of these are not here any more.
    pub fn changed_since(&self, index: u64) -> Option<impl Iterator<Item = &Bytes>> {
        let all = self.recent.iter().chain(&self.open);
        let later = all.skip_while(move |entry| entry.index <= index);
        let first = later.clone().next().map_or(self.history.last + 1, |entry| entry.index);
        let keys = later.flat_map(|entry| &entry.changes).map(|change| &change.key);
        (first == index + 1).then_some(keys)
    }

    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }
}

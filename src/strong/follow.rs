//! A copy that takes another's state: the master's, or under a promise the candidate's.

use crate::base::ids::Partition;
use crate::base::mutant::StrongMutant;

use super::message::{Durable, Item, Stage};
use super::regime::Regime;
use super::roster::NodeName;
use super::tail::{Entry, History, KeyChange, Place, Tail};
use super::{Desk, Strong};

impl Strong {
    /// Entries behind a place. Those that are here already stay; where the logs part, the own end is dropped.
    pub(super) fn on_sync(
        &mut self,
        from: NodeName,
        (of, regime): (Partition, Regime),
        stage: Stage,
        (prev, entries, committed): (Place, Vec<Entry>, u64),
        desk: &mut Desk<'_>,
    ) {
        let part = self.at(of);
        if regime < part.promised && !self.has(StrongMutant::LowerRegimeHeard) {
            let promised = part.promised;
            return self.say(from, Item::Refused { of, regime, promised });
        }
        let exact = match stage {
            Stage::Join => {
                // Only under the promise, and not after the regime has begun.
                let part = self.at(of);
                let mine = part.promised == regime && part.promised_to == Some(from);
                if !mine || part.newest().regime >= regime {
                    return;
                }
                true
            }
            Stage::Serve { ref config, exact } => {
                if let Some(config) = config {
                    self.learn_chosen(of, config, desk);
                }
                let chosen = &self.at(of).chosen;
                if chosen.regime != regime || chosen.master != Some(from) {
                    return;
                }
                exact
            }
        };
        let end = self.take_entries(of, prev, entries);
        let kept = self.at(of).tail.committed();
        let Some(end) = end.filter(|&end| !exact || end >= kept) else {
            let log = self.at(of).tail.state();
            return self.say(from, Item::Mismatch { of, regime, log });
        };
        let keeps = self.has(StrongMutant::LongerTailKept) && stage != Stage::Join;
        if exact && !keeps {
            self.cut(of, end, desk);
        }
        self.commit_to(of, committed.min(end), desk);
        if stage == Stage::Join {
            self.part(of).joined = regime;
        }
        if stage == Stage::Join && self.at(of).intact.is_none() {
            self.write_down(Durable::Intact { of });
            let start = self.start;
            self.part(of).intact = Some(start);
        }
        self.say(from, Item::Synced { of, regime, last: end, exact });
    }

    /// The index up to which the log is now the sender's. `None` if the logs have no such place in common, or part before
    /// what is committed here.
    fn take_entries(&mut self, of: Partition, prev: Place, entries: Vec<Entry>) -> Option<u64> {
        let tail = &self.at(of).tail;
        if !tail.history().has(prev) {
            return None;
        }
        let mut end = prev.index;
        for entry in entries {
            if entry.index != end + 1 {
                return None;
            }
            let tail = &self.at(of).tail;
            end = entry.index;
            let place = Place { regime: entry.regime, index: entry.index };
            if tail.history().has(place) {
                continue;
            }
            if entry.index <= tail.committed() {
                return None;
            }
            if entry.index <= tail.last().index {
                self.truncate(of, entry.index - 1);
            }
            if entry.regime < self.at(of).tail.last().regime {
                // No master has made that.
                return None;
            }
            self.write_down(Durable::Entry { of, entry: entry.clone() });
            self.part(of).tail.push(entry);
        }
        Some(end)
    }

    /// Drops what is behind `end`.
    fn cut(&mut self, of: Partition, end: u64, desk: &mut Desk<'_>) {
        if self.at(of).tail.last().index > end {
            desk.facts.sometimes("a tail was dropped");
            self.truncate(of, end);
        }
    }

    fn truncate(&mut self, of: Partition, last: u64) {
        self.write_down(Durable::Truncate { of, last });
        self.part(of).tail.truncate(last);
        self.doubt_writes_behind(of, last);
    }

    /// A whole copy takes the place of what is here: it is caught up with by entries, and not intact before it has joined.
    pub(super) fn on_whole(
        &mut self,
        from: NodeName,
        (of, regime): (Partition, Regime),
        history: History,
        records: Vec<KeyChange>,
        desk: &mut Desk<'_>,
    ) {
        let part = self.at(of);
        if regime < part.promised {
            let promised = part.promised;
            return self.say(from, Item::Refused { of, regime, promised });
        }
        let config = &part.chosen;
        let is_member = config.member(self.config.name) == Some(&self.myself());
        let is_none = config.regime != regime || config.master != Some(from);
        if is_none || is_member || !history.is_sane() {
            return;
        }
        desk.facts.sometimes("a whole copy was taken");
        let last = history.last().index;
        self.doubt_writes_behind(of, 0);
        if !self.has(StrongMutant::CopyMerged) {
            desk.copies.clear(of);
        }
        desk.copies.apply(of, &records);
        let part = self.part(of);
        part.intact = None;
        part.tail = Tail::whole(history.clone());
        self.write_down(Durable::Whole { of, history, records });
        self.say(from, Item::Synced { of, regime, last, exact: false });
    }

    /// Moves the end of what is committed.
    pub(super) fn commit_to(&mut self, of: Partition, index: u64, desk: &mut Desk<'_>) {
        let before = self.at(of).tail.committed();
        if index <= before {
            return;
        }
        let copies = &mut *desk.copies;
        self.part(of).tail.commit(index, |entry| copies.apply(of, &entry.changes));
        let index = self.at(of).tail.committed();
        self.write_down(Durable::Committed { of, index });
        if self.at(of).reign.is_some() {
            // Those who follow are to be told.
            self.busy.insert(of);
        }
        self.resolve(of);
    }
}

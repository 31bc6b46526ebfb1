//! What a key shows, its elements and its type considered: each element has a history like a key's own, and what is
//! written to the key itself is to them what a flush is to a key.

use bytes::Bytes;
use quorate::base::content::Content;
use quorate::base::stamp::Stamp;
use quorate::base::time::UnixMs;
use quorate::base::unit::Kind as Type;

use super::key::{KeyHistory, Resolved};

/// A key with all its elements, as far as they count.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    pub key: KeyHistory,
    /// In the order of types and names.
    pub elements: Vec<((Type, Bytes), KeyHistory)>,
}

impl Whole {
    /// The state after everything has been merged; `None` if the key does not exist. `flushes` are the tombstones of the
    /// key's database.
    pub fn resolve(&self, flushes: &[Stamp]) -> Option<Resolved> {
        let flushed = flushes.iter().copied().max().unwrap_or(Stamp::ZERO);
        let held = |of: &&(Stamp, Type)| of.0 >= flushed && of.0.time > self.key.floor();
        let newest = self.key.types.iter().filter(held).max();
        let string = self.key.string_born(flushes);
        let of = match newest {
            Some(&(born, of)) if string < Some(born) => of,
            Some(_) => return self.key.resolve(flushes),
            // Elements without a key cell: what it was written with has been flushed.
            None => match self.elements.first() {
                Some(((of, _), _)) if string.is_none() => *of,
                Some(_) | None => return self.key.resolve(flushes),
            },
        };
        let removers = self.removers(flushes);
        let mut list = Vec::new();
        for ((_, name), history) in self.elements.iter().filter(|element| element.0.0 == of) {
            let mut history = history.clone();
            history.floors.clone_from(&self.key.floors);
            let unheard = self.key.bases_uncounted.iter().copied();
            history.uncounted.extend(unheard);
            if let Some(Resolved { value: Content::String(value), .. }) = history.resolve(&removers)
            {
                list.push((name.clone(), value));
            }
        }
        if list.is_empty() {
            return None;
        }
        list.sort_unstable();
        let deadline = self.key.deadline(flushed);
        Some(Resolved { value: Content::Elements { kind: of, list }, deadline })
    }

    /// What removes an element that is older: flushes, and whatever was written to the key itself.
    fn removers(&self, flushes: &[Stamp]) -> Vec<Stamp> {
        let bases = self.key.bases.iter().filter(|base| !base.void).map(|base| base.stamp);
        flushes.iter().copied().chain(bases).collect()
    }

    /// What shows where a key has been dropped for its deadline, for each deadline there ever was: increments that were made
    /// without knowing of it, perhaps. What was written to the key after the deadline was set, and left it, went with it.
    pub fn after_expiries(&self, flushes: &[Stamp]) -> Vec<(UnixMs, Resolved)> {
        let deadlines = self.key.expiries.iter().filter_map(|&(stamp, d)| Some((stamp, d?)));
        let after = |(stamp, deadline): (Stamp, UnixMs)| {
            let leaves = self.key.bases.iter().filter(|b| !b.resets && b.value.is_some());
            let elements = self.elements.iter().flat_map(|(_, history)| &history.bases);
            let later = leaves.chain(elements).map(|b| b.stamp);
            let later = later.filter(move |&written| written > stamp);
            later.chain([stamp]).filter_map(move |dropped| {
                let mut left = self.clone();
                left.key.floors.push((dropped, dropped.time));
                left.resolve(flushes).map(|resolved| (deadline, resolved))
            })
        };
        deadlines.flat_map(after).collect()
    }

    pub fn is_counted(&self) -> bool {
        self.key.counted || self.elements.iter().any(|(_, history)| history.counted)
    }

    /// The newest of all histories, for evidence.
    pub fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut out = self.key.describe();
        for ((of, name), history) in &self.elements {
            let name = String::from_utf8_lossy(name);
            let _ = write!(out, "; {} {name}:{}", of.name(), history.describe());
        }
        out
    }
}

/// A content, short.
pub fn show_content(content: &Content) -> String {
    match content {
        Content::String(value) => format!("{:?}", String::from_utf8_lossy(value)),
        Content::Elements { kind, list } => {
            let shown = |(name, value): &(Bytes, Bytes)| {
                format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            };
            let list: Vec<String> = list.iter().map(shown).collect();
            format!("{} {{{}}}", kind.name(), list.join(", "))
        }
    }
}

//! Vectors: per origin, the stamp time up to which a node has everything from that origin.

use serde::{Deserialize, Serialize};

use super::ids::Origin;
use super::stamp::Stamp;

/// Sorted by origin; an absent origin counts as time 0. A handful of entries, so a sorted list.
#[derive(PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(Origin, u64)>", into = "Vec<(Origin, u64)>")]
pub struct Vector {
    entries: Vec<(Origin, u64)>,
}

/// A list that is not longer is looked through from its beginning.
const WALK_MAX: usize = 8;

impl Vector {
    pub fn new() -> Vector {
        Vector::default()
    }

    /// Raises the entry of `origin` to `time`; a smaller time changes nothing. True if it moved.
    pub fn raise(&mut self, origin: Origin, time: u64) -> bool {
        match self.place(origin) {
            Ok(at) if self.entries[at].1 < time => {
                self.entries[at].1 = time;
                true
            }
            Ok(_) => false,
            Err(_) if time == 0 => false,
            Err(at) => {
                self.entries.insert(at, (origin, time));
                true
            }
        }
    }

    /// Becomes the maximum of both, entry by entry. True if anything moved.
    pub fn merge(&mut self, other: &Vector) -> bool {
        let mut moved = false;
        for &(origin, time) in &other.entries {
            moved |= self.raise(origin, time);
        }
        moved
    }

    /// The entry of `origin` is `time` from now on; 0: there is none.
    pub fn set(&mut self, origin: Origin, time: u64) {
        match self.place(origin) {
            Ok(at) if time == 0 => drop(self.entries.remove(at)),
            Ok(at) => self.entries[at].1 = time,
            Err(_) if time == 0 => {}
            Err(at) => self.entries.insert(at, (origin, time)),
        }
    }

    /// What [`Vector::set`] makes this of `old`, in the order of the origins.
    pub fn changes_since(&self, old: &Vector) -> Vec<(Origin, u64)> {
        let mut changes = Vec::new();
        let mut olds = old.entries.iter().peekable();
        for &(origin, time) in &self.entries {
            while let Some(&(gone, _)) = olds.next_if(|o| o.0 < origin) {
                changes.push((gone, 0));
            }
            if olds.next_if(|o| o.0 == origin).is_none_or(|o| o.1 != time) {
                changes.push((origin, time));
            }
        }
        changes.extend(olds.map(|&(gone, _)| (gone, 0)));
        changes
    }

    /// Drops the entry of `origin`, if there is one.
    pub fn remove(&mut self, origin: Origin) {
        self.entries.retain(|e| e.0 != origin);
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn get(&self, origin: Origin) -> u64 {
        match self.place(origin) {
            Ok(at) => self.entries[at].1,
            Err(_) => 0,
        }
    }

    /// Whether the unit with this dot is among what the vector stands for.
    pub fn covers(&self, dot: Stamp) -> bool {
        self.get(dot.origin) >= dot.time
    }

    /// Whether every entry of `other` is reached.
    pub fn covers_all(&self, other: &Vector) -> bool {
        let reached = |(place, &(origin, time)): (usize, &(Origin, u64))| {
            self.get_near(place, origin) >= time
        };
        other.entries.iter().enumerate().all(reached)
    }

    /// Whether any entry but that of `except` is beyond `other`'s.
    pub fn passes(&self, other: &Vector, except: Origin) -> bool {
        let passes = |(place, &(origin, time)): (usize, &(Origin, u64))| {
            origin != except && time > other.get_near(place, origin)
        };
        self.entries.iter().enumerate().any(passes)
    }

    /// Entries in the order of their origins.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.entries.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of `origin`, which most likely has this place: vectors of one cluster are alike.
    #[inline]
    fn get_near(&self, place: usize, origin: Origin) -> u64 {
        match self.entries.get(place) {
            Some(&(found, time)) if found == origin => time,
            Some(_) | None => self.get(origin),
        }
    }

    /// Where the entry of `origin` is, or would be.
    #[inline]
    fn place(&self, origin: Origin) -> Result<usize, usize> {
        if self.entries.len() > WALK_MAX {
            return self.entries.binary_search_by_key(&origin, |e| e.0);
        }
        let at = self.entries.iter().take_while(|e| e.0 < origin).count();
        if self.entries.get(at).is_some_and(|e| e.0 == origin) { Ok(at) } else { Err(at) }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Clone for Vector {
    fn clone(&self) -> Vector {
        Vector { entries: self.entries.clone() }
    }

    /// Into the memory that is there.
    fn clone_from(&mut self, other: &Vector) {
        self.entries.clone_from(&other.entries);
    }
}

impl From<Vec<(Origin, u64)>> for Vector {
    /// Takes entries in any order, also repeated ones, as they may come from outside.
    fn from(entries: Vec<(Origin, u64)>) -> Vector {
        let mut entries = entries;
        if entries.is_sorted_by(|a, b| a.0 < b.0) && entries.iter().all(|entry| entry.1 > 0) {
            return Vector { entries };
        }
        // Of several with one origin the newest comes first and stays.
        entries.sort_unstable_by_key(|&(origin, time)| (origin, core::cmp::Reverse(time)));
        entries.dedup_by_key(|entry| entry.0);
        entries.retain(|entry| entry.1 > 0);
        Vector { entries }
    }
}

impl From<Vector> for Vec<(Origin, u64)> {
    fn from(vector: Vector) -> Vec<(Origin, u64)> {
        vector.entries
    }
}

//! What is counted and indexed about all keys: the one place where a change of a key is entered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::fact::{Fact, Facts};
use crate::base::ids::DbIndex;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;

use super::db::Place;
use super::state::{Filing, View};

/// What the books hold of one key.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    pub present: bool,
    /// 0 unless visible.
    pub digest: u64,
    pub hidden: bool,
    /// There is a live cell.
    pub exists: bool,
    pub contributions: u64,
    pub filing: Filing,
}

impl Summary {
    /// Of a key some cells of which are held.
    #[inline]
    pub fn of(view: &View<'_>, hidden: bool, key_hash: u64, filing: Filing) -> Summary {
        let exists = view.exists();
        Summary {
            present: true,
            digest: if exists && !hidden { view.digest(key_hash) } else { 0 },
            hidden,
            exists,
            contributions: view.contribution_count(),
            filing,
        }
    }

    fn is_visible(&self) -> bool {
        self.exists && !self.hidden
    }

    fn is_dead(&self) -> bool {
        self.present && !self.exists
    }
}

/// Keys in an index: by time, then place.
pub type Index = BTreeSet<(u64, Place)>;

/// What an element of an index takes, about: nodes of a B-tree are 5/8 to all full.
const INDEX_ELEMENT_BYTES: u64 = (size_of::<(u64, Place)>() as u64) * 4 / 3;

/// Totals and indexes over all keys.
#[derive(Debug, Default)]
pub struct Books {
    pub digest: u64,
    /// Live keys per database.
    pub live: Vec<u64>,
    /// Entries of `due` per database.
    expiring: Vec<u64>,
    pub hidden: u64,
    pub dead: u64,
    pub contributions: u64,
    /// Of entries, side records and tables.
    pub memory_bytes: u64,
    pub conflicts: u64,
    pub expired: u64,
    /// Visible keys by deadline.
    pub due: Index,
    /// Hidden keys by deadline.
    pub buried: Index,
    /// Keys with something to drop, by the stamp time the horizon has to reach.
    pub waiting: Index,
    watched: BTreeMap<DbIndex, BTreeMap<Bytes, u32>>,
    touched: BTreeSet<(DbIndex, Bytes)>,
}

impl Books {
    /// A key has changed from `before` to `after`, by the cell with stamp `cause`.
    #[inline]
    pub fn settle(
        &mut self,
        place: Place,
        key: &[u8],
        before: &Summary,
        after: &Summary,
        cause: Stamp,
        facts: &mut Facts,
    ) {
        self.digest ^= before.digest ^ after.digest;
        if before.filing != after.filing || before.hidden != after.hidden {
            self.file(place, before, false);
            self.file(place, after, true);
        }
        let live = entry_of(&mut self.live, place.db);
        *live = *live - u64::from(before.is_visible()) + u64::from(after.is_visible());
        self.hidden = self.hidden - u64::from(before.hidden) + u64::from(after.hidden);
        self.expired += u64::from(after.hidden && !before.hidden);
        self.dead = self.dead - u64::from(before.is_dead()) + u64::from(after.is_dead());
        self.contributions = self.contributions - before.contributions + after.contributions;
        if before.digest == after.digest {
            return;
        }
        let db = DbIndex(place.db);
        if !self.watched.is_empty() {
            self.touch(db, key);
        }
        facts.fact(|| Fact::KeyChanged {
            db,
            key: Bytes::copy_from_slice(key),
            stamp: cause,
            visible_before: before.is_visible(),
            visible_after: after.is_visible(),
        });
    }

    pub fn watch(&mut self, db: DbIndex, key: &[u8]) {
        let keys = self.watched.entry(db).or_default();
        *keys.entry(Bytes::copy_from_slice(key)).or_default() += 1;
    }

    pub fn unwatch(&mut self, db: DbIndex, key: &[u8]) {
        let Some(keys) = self.watched.get_mut(&db) else { return };
        let Some(count) = keys.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            keys.remove(key);
        }
        if keys.is_empty() {
            self.watched.remove(&db);
        }
    }

    pub fn take_touched(&mut self) -> Vec<(DbIndex, Bytes)> {
        if self.touched.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    pub fn live(&self, db: DbIndex) -> u64 {
        self.live.get(usize::from(db.0)).copied().unwrap_or(0)
    }

    /// Visible keys of a database that have a deadline.
    pub fn expiring(&self, db: DbIndex) -> u64 {
        self.expiring.get(usize::from(db.0)).copied().unwrap_or(0)
    }

    pub fn index_bytes(&self) -> u64 {
        let elements = self.due.len() + self.buried.len() + self.waiting.len();
        elements as u64 * INDEX_ELEMENT_BYTES
    }

    /// When the next key is to be hidden.
    pub fn next_due(&self) -> Option<UnixMs> {
        self.due.first().map(|&(deadline, _)| UnixMs(deadline))
    }

    fn touch(&mut self, db: DbIndex, key: &[u8]) {
        if let Some((key, _)) = self.watched.get(&db).and_then(|keys| keys.get_key_value(key)) {
            self.touched.insert((db, key.clone()));
        }
    }

    fn file(&mut self, place: Place, summary: &Summary, add: bool) {
        // True if the index has changed.
        let set = |index: &mut Index, time: Option<u64>| match time {
            None => false,
            Some(time) if add => index.insert((time, place)),
            Some(time) => index.remove(&(time, place)),
        };
        set(&mut self.waiting, summary.filing.waits);
        if summary.hidden {
            set(&mut self.buried, summary.filing.due);
        } else if set(&mut self.due, summary.filing.due) {
            let count = entry_of(&mut self.expiring, place.db);
            *count = if add { *count + 1 } else { *count - 1 };
        }
    }
}

/// The count of one database.
fn entry_of(counts: &mut Vec<u64>, db: u16) -> &mut u64 {
    let db = usize::from(db);
    if counts.len() <= db {
        counts.resize(db + 1, 0);
    }
    &mut counts[db]
}

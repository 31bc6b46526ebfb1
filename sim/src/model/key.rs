//! What one key must look like, given every cell that was written to it: plain comparisons over the
//! whole history, nothing incremental and nothing collected.

use std::rc::Rc;

use bytes::Bytes;
use quorate::base::content::Content;
use quorate::base::ids::Origin;
use quorate::base::stamp::Stamp;
use quorate::base::time::UnixMs;
use quorate::base::unit::{Cell, Kind as Type, Part, Seen};
use quorate::base::vector::Vector;

/// A write that decides the value of a key by itself: SET and the like, or a delete.
#[derive(Clone, Debug)]
pub struct BaseWrite {
    pub stamp: Stamp,
    /// `None` for a delete.
    pub value: Option<Bytes>,
    /// Takes the place of every older expiry, as SET does.
    pub resets: bool,
    pub seen: Seen,
    /// What the writer had from every origin; `None` if the cell's own issue is not on record.
    pub had: Option<Rc<Vector>>,
    /// Overwritten before its origin's stamps were moved: it counts nowhere any more.
    pub void: bool,
    /// Its stamp while a move of stamps held that was taken back: so it was read.
    pub was: Option<Stamp>,
}

/// One acknowledged or executed increment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Increment {
    pub stamp: Stamp,
    pub generation: u64,
    pub delta: i128,
    /// Its time before a move of stamps that left it in its contribution: a copy of that may have outlived the move's record.
    pub was: Option<u64>,
    /// Collected together with this base write, which had seen it: a later one that never heard of it does not bring it back, as
    /// long as anybody has this one.
    pub gone: Option<Stamp>,
}

impl Increment {
    /// Whether a copy of its contribution that reaches up to `last` includes it.
    pub(super) fn is_within(&self, last: u64) -> bool {
        self.stamp.time <= last || self.was.is_some_and(|was| was <= last)
    }
}

/// Every cell ever written to one key, as far as it counts.
#[derive(Clone, Debug, Default)]
pub struct KeyHistory {
    pub bases: Vec<BaseWrite>,
    /// (stamp, deadline), explicit ones only.
    pub expiries: Vec<(Stamp, Option<UnixMs>)>,
    pub increments: Vec<Increment>,
    /// Key cells: (stamp, floor).
    pub floors: Vec<(Stamp, u64)>,
    /// Key cells of collections.
    pub types: Vec<(Stamp, Type)>,
    /// Base writes that do not count (of a part of a history).
    pub bases_uncounted: Vec<Stamp>,
    /// It has had a deadline at least once.
    pub mortal: bool,
    /// Two nodes that drew one origin have given one stamp to two writes of it: nothing tells these apart.
    pub blurred: bool,
    /// Flushes of its database that do not count (of a part of a history).
    pub uncounted: Vec<Stamp>,
    /// It has been incremented at least once, though perhaps nobody bears a trace of it any more.
    pub counted: bool,
}

/// What a client must see of a key, its deadline aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    pub value: Content,
    pub deadline: Option<UnixMs>,
}

impl BaseWrite {
    /// Whether this write had seen the increment: it lists it, or it comes from a node that had
    /// collected past its whole contribution, which reaches up to `last` (though less of it may have been
    /// left to that node since), or its writer had it.
    pub(super) fn has_seen(&self, increment: &Increment, last: u64) -> bool {
        if last <= self.seen.horizon {
            return true;
        }
        if self.listed_last(increment).is_some_and(|last| increment.is_within(last)) {
            return true;
        }
        // An increment in the very unit that (re)creates the key comes after its tombstone.
        increment.stamp < self.stamp
            && self.had.as_ref().is_some_and(|vector| {
                vector.covers(increment.stamp) || increment.stamp.origin == self.stamp.origin
            })
    }

    /// Whether the increment's contribution is on this write's list at all.
    fn lists(&self, increment: &Increment) -> bool {
        self.listed_last(increment).is_some()
    }

    /// Up to which increment of the same contribution this write's list reaches.
    pub fn listed_last(&self, increment: &Increment) -> Option<u64> {
        self.seen
            .list
            .iter()
            .find(|s| s.origin == increment.stamp.origin && s.generation == increment.generation)
            .map(|s| s.last)
    }
}

impl KeyHistory {
    /// The state after everything has been merged; `None` if the key does not exist. `flushes` are
    /// the tombstones of the key's database.
    pub fn resolve(&self, flushes: &[Stamp]) -> Option<Resolved> {
        let flushed = flushes.iter().copied().max().unwrap_or(Stamp::ZERO);
        let base = self.newest_base(flushed);
        let deadline = self.deadline(flushed);
        let unseen = self.unseen(base, flushes);
        let held = base.and_then(|b| b.value.as_ref());
        if held.is_none() && unseen.is_empty() {
            return None;
        }
        let value = match held {
            Some(bytes) if unseen.is_empty() => bytes.clone(),
            Some(bytes) => match strict_integer(bytes) {
                Some(number) => sum_of(i128::from(number), &unseen),
                None => bytes.clone(),
            },
            None => sum_of(0, &unseen),
        };
        Some(Resolved { value: Content::String(value), deadline })
    }

    /// The key cell that what there is of a string stands for: a write of its own, or the first increment of a generation.
    pub fn string_born(&self, flushes: &[Stamp]) -> Option<Stamp> {
        let flushed = flushes.iter().copied().max().unwrap_or(Stamp::ZERO);
        let base = self.newest_base(flushed);
        let written = base.filter(|base| base.value.is_some()).map(|base| base.stamp);
        let counted = self.unseen(base, flushes);
        let begun = counted.iter().map(|i| Stamp::new(i.generation, i.stamp.origin));
        begun.chain(written).max()
    }

    /// The base write that decides: the newest that neither a floor nor a flush has removed.
    pub fn newest_base(&self, flushed: Stamp) -> Option<&BaseWrite> {
        let floor = self.floor();
        let mut best: Option<&BaseWrite> = None;
        for base in &self.bases {
            if base.void || base.stamp < flushed || base.stamp.time <= floor {
                continue;
            }
            let better = match best {
                None => true,
                Some(b) => base.stamp > b.stamp,
            };
            if better {
                best = Some(base);
            }
        }
        best
    }

    /// The increments that count on top of `base`.
    pub fn unseen(&self, base: Option<&BaseWrite>, flushes: &[Stamp]) -> Vec<Increment> {
        let floor = self.floor();
        let flushed = flushes.iter().copied().max().unwrap_or(Stamp::ZERO);
        self.increments
            .iter()
            .filter(|i| {
                // A flush and a floor look at the newest increment of a contribution: an unseen
                // newer one survives with its whole running sum (documented exception).
                let last = self.last_of(i.stamp.origin, i.generation);
                last >= flushed && last.time > floor
            })
            .filter(|i| i.gone.is_none())
            .filter(|i| {
                !base.is_some_and(|b| self.has_seen(b, i) && !self.was_forgotten(b, i, flushes))
            })
            .copied()
            .collect()
    }

    /// Whether `base` had seen the increment.
    pub fn has_seen(&self, base: &BaseWrite, increment: &Increment) -> bool {
        let last = self.last_of(increment.stamp.origin, increment.generation);
        base.has_seen(increment, last.time)
    }

    /// Whether a flush had made the writer of `base` forget the increment, and its contribution came
    /// again afterwards, newer and with its whole running sum; or the flush is gone, and the contribution is not
    /// (documented exception).
    fn was_forgotten(&self, base: &BaseWrite, i: &Increment, flushes: &[Stamp]) -> bool {
        let last = self.last_of(i.stamp.origin, i.generation);
        if last.time <= base.seen.horizon || base.lists(i) {
            return false;
        }
        let forgets = |flush: &Stamp| {
            let had = base.had.as_ref().is_some_and(|had| had.covers(*flush));
            i.stamp < *flush && (had || flush.origin == base.stamp.origin)
        };
        (i.stamp < last && flushes.iter().any(forgets)) || self.uncounted.iter().any(forgets)
    }

    pub(super) fn last_of(&self, origin: Origin, generation: u64) -> Stamp {
        self.newest_of(origin, generation).map_or(Stamp::ZERO, |newest| newest.stamp)
    }

    /// The newest increment of a contribution.
    pub(super) fn newest_of(&self, origin: Origin, generation: u64) -> Option<&Increment> {
        self.increments
            .iter()
            .filter(|i| i.stamp.origin == origin && i.generation == generation)
            .max_by_key(|i| i.stamp)
    }

    /// Highest floor of any key cell.
    pub fn floor(&self) -> u64 {
        self.floors.iter().map(|&(_, floor)| floor).max().unwrap_or(0)
    }

    pub fn deadline(&self, flushed: Stamp) -> Option<UnixMs> {
        self.newest_expiry(flushed).and_then(|(_, deadline)| deadline)
    }

    fn newest_expiry(&self, flushed: Stamp) -> Option<(Stamp, Option<UnixMs>)> {
        let floor = self.floor();
        let deleted = self.bases.iter().filter(|b| b.value.is_none()).map(|b| b.stamp).max();
        let implied =
            self.bases.iter().filter(|b| b.value.is_some() && b.resets).map(|b| (b.stamp, None));
        let mut best: Option<(Stamp, Option<UnixMs>)> = None;
        // Explicit ones come last: at the stamp of a SET they win over its implied "no expiry".
        for (stamp, deadline) in implied.chain(self.expiries.iter().copied()) {
            let removed = stamp < flushed
                || stamp.time <= floor
                || deleted.is_some_and(|tombstone| stamp < tombstone);
            if !removed && best.is_none_or(|(newest, _)| stamp >= newest) {
                best = Some((stamp, deadline));
            }
        }
        best
    }

    /// The newest of the history, for evidence.
    pub fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let mut bases: Vec<&BaseWrite> = self.bases.iter().filter(|b| !b.void).collect();
        bases.sort_by_key(|b| std::cmp::Reverse(b.stamp));
        for base in bases.iter().take(SHOWN) {
            let what = match &base.value {
                Some(value) => String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned(),
                None => "delete".to_owned(),
            };
            let _ = write!(out, " [{} {what}", show(base.stamp));
            let _ = write!(out, "{}]", show_seen(&base.seen));
        }
        let mut increments = self.increments.clone();
        increments.sort_by_key(|i| std::cmp::Reverse(i.stamp));
        for i in increments.iter().take(2 * SHOWN) {
            let _ =
                write!(out, " [{} +{} since {}]", show(i.stamp), i.delta, short_time(i.generation));
        }
        let mut expiries = self.expiries.clone();
        expiries.sort_by_key(|e| std::cmp::Reverse(e.0));
        for (stamp, deadline) in expiries.iter().take(SHOWN) {
            let until = deadline.map_or("never".to_owned(), |d| d.0.to_string());
            let _ = write!(out, " [{} expires {until}]", show(*stamp));
        }
        for (stamp, floor) in &self.floors {
            let _ = write!(out, " [{} floor {}]", show(*stamp), short_time(*floor));
        }
        for (stamp, of) in &self.types {
            let _ = write!(out, " [{} {}]", show(*stamp), of.name());
        }
        out
    }
}

/// How many writes of a kind are shown as evidence.
const SHOWN: usize = 5;

/// A stamp, short.
pub fn show(stamp: Stamp) -> String {
    format!("{}@{}", short_time(stamp.time), stamp.origin)
}

/// A stamp's time, short: milliseconds, counter.
pub fn short_time(time: u64) -> String {
    format!("{:x}.{}", time >> 16, time & 0xffff)
}

/// What a write had seen, short.
fn show_seen(seen: &Seen) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for listed in &seen.list {
        let (from, last) = (short_time(listed.generation), short_time(listed.last));
        let _ = write!(out, ", saw {} of {from}..{last}@{}", listed.sum, listed.origin);
    }
    let _ = write!(out, ", horizon {}", short_time(seen.horizon));
    out
}

/// A cell, short.
pub fn show_cell(cell: &Cell) -> String {
    match cell {
        Cell::Register { value, seen, .. } => {
            let value = String::from_utf8_lossy(&value[..value.len().min(40)]);
            format!("{value}{}", show_seen(seen))
        }
        Cell::Tombstone { seen } => format!("delete{}", show_seen(seen)),
        Cell::Contribution { generation, sum } => {
            format!("+{sum} since {}", short_time(*generation))
        }
        Cell::Expiry { deadline: Some(deadline) } => format!("expires {}", deadline.0),
        Cell::Expiry { deadline: None } => "expires never".to_owned(),
        Cell::KeyCell { floor } => format!("floor {}", short_time(*floor)),
        Cell::DatabaseTombstone => "flush".to_owned(),
        Cell::Kind { kind } => format!("is a {}", kind.name()),
        Cell::Element { name, .. } => {
            format!("{}: {}", String::from_utf8_lossy(name), show_cell(&flat(cell)))
        }
    }
}

/// A cell of an element as if it were one of a key.
pub fn flat(cell: &Cell) -> Cell {
    match cell {
        Cell::Element { part: Part::Register { value, seen }, .. } => {
            Cell::Register { value: value.clone(), resets: false, seen: seen.clone() }
        }
        Cell::Element { part: Part::Tombstone { seen }, .. } => {
            Cell::Tombstone { seen: seen.clone() }
        }
        Cell::Element { part: Part::Contribution { generation, sum }, .. } => {
            Cell::Contribution { generation: *generation, sum: *sum }
        }
        Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone
        | Cell::Kind { .. } => cell.clone(),
    }
}

fn sum_of(start: i128, increments: &[Increment]) -> Bytes {
    let total = increments.iter().fold(start, |sum, i| sum + i.delta);
    let clamped = total.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Bytes::from(clamped.to_string())
}

/// An integer as Redis reads one from a string: no sign but `-`, no leading zero, no spaces, 64 bits.
pub fn strict_integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = match digits {
        [] => false,
        [b'0'] => bytes.len() == 1,
        [b'0', ..] => false,
        all => all.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::base::unit::SeenContribution;

    fn at(time: u64, origin: u32) -> Stamp {
        Stamp::new(time, Origin(origin))
    }

    fn set(stamp: Stamp, value: &str, seen: Seen) -> BaseWrite {
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        BaseWrite { stamp, value, resets: true, seen, had: None, void: false, was: None }
    }

    fn delete(stamp: Stamp, seen: Seen) -> BaseWrite {
        BaseWrite { stamp, value: None, resets: false, seen, had: None, void: false, was: None }
    }

    fn incr(stamp: Stamp, generation: u64, delta: i128) -> Increment {
        Increment { stamp, generation, delta, was: None, gone: None }
    }

    fn listing(origin: u32, generation: u64, last: u64, sum: i128) -> Seen {
        let one = SeenContribution { origin: Origin(origin), generation, last, sum };
        Seen { list: vec![one], horizon: 0 }
    }

    fn value(history: &KeyHistory) -> Option<String> {
        let resolved = history.resolve(&[])?;
        let Content::String(text) = resolved.value else { panic!("a string") };
        Some(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn newest_write_wins_and_ties_go_to_the_larger_origin() {
        let mut history = KeyHistory::default();
        history.bases.push(set(at(5, 2), "two", Seen::default()));
        history.bases.push(set(at(5, 1), "one", Seen::default()));
        assert_eq!(value(&history).as_deref(), Some("two"));
        history.bases.push(delete(at(6, 1), Seen::default()));
        assert_eq!(value(&history), None);
    }

    #[test]
    fn unseen_increment_adds_to_a_set_and_survives_a_delete() {
        let mut history = KeyHistory::default();
        history.increments.push(incr(at(4, 1), 4, 3));
        history.bases.push(set(at(5, 2), "100", Seen::default()));
        assert_eq!(value(&history).as_deref(), Some("103"));
        history.bases.push(delete(at(6, 2), Seen::default()));
        assert_eq!(value(&history).as_deref(), Some("3"));
        history.bases.push(delete(at(7, 2), listing(1, 4, 4, 3)));
        assert_eq!(value(&history), None);
        history.increments.push(incr(at(8, 1), 4, 2));
        assert_eq!(value(&history).as_deref(), Some("2"));
    }

    #[test]
    fn increment_seen_before_its_stamp_was_moved_counts_once() {
        let mut history = KeyHistory::default();
        history.increments.push(Increment { was: Some(4), ..incr(at(9, 1), 4, 3) });
        history.bases.push(set(at(12, 2), "100", listing(1, 4, 4, 3)));
        assert_eq!(value(&history).as_deref(), Some("100"));
        history.bases.push(delete(at(13, 2), listing(1, 4, 4, 3)));
        assert_eq!(value(&history), None);
    }

    #[test]
    fn increment_that_the_writer_had_is_seen_though_unlisted() {
        let mut history = KeyHistory::default();
        history.increments.push(incr(at(4, 1), 4, 3));
        let mut had = Vector::new();
        had.raise(Origin(1), 4);
        history
            .bases
            .push(BaseWrite { had: Some(Rc::new(had)), ..set(at(5, 2), "100", Seen::default()) });
        assert_eq!(value(&history).as_deref(), Some("100"));
    }

    #[test]
    fn text_hides_increments_and_a_sum_is_clamped() {
        let mut history = KeyHistory::default();
        history.bases.push(set(at(5, 2), "text", Seen::default()));
        history.increments.push(incr(at(4, 1), 4, 3));
        assert_eq!(value(&history).as_deref(), Some("text"));
        let mut history = KeyHistory::default();
        history.bases.push(set(at(5, 2), "9223372036854775807", Seen::default()));
        history.increments.push(incr(at(4, 1), 4, 3));
        assert_eq!(value(&history).as_deref(), Some("9223372036854775807"));
    }

    #[test]
    fn set_and_delete_remove_an_older_expiry_and_append_leaves_it() {
        let deadline = Some(UnixMs(77));
        let mut history = KeyHistory::default();
        history.bases.push(set(at(5, 1), "a", Seen::default()));
        history.expiries.push((at(6, 1), deadline));
        let append = BaseWrite { resets: false, ..set(at(7, 1), "ab", Seen::default()) };
        history.bases.push(append);
        assert_eq!(history.resolve(&[]).unwrap().deadline, deadline);
        history.bases.push(set(at(8, 2), "c", Seen::default()));
        assert_eq!(history.resolve(&[]).unwrap().deadline, None);
        history.expiries.push((at(8, 2), deadline));
        assert_eq!(history.resolve(&[]).unwrap().deadline, deadline);
        history.bases.push(delete(at(9, 1), Seen::default()));
        history.increments.push(incr(at(10, 1), 10, 1));
        assert_eq!(history.resolve(&[]).unwrap().deadline, None);
    }

    #[test]
    fn flush_takes_a_contribution_whole_or_leaves_it_whole() {
        let mut history = KeyHistory::default();
        history.bases.push(set(at(3, 1), "50", Seen::default()));
        history.increments.push(incr(at(4, 2), 4, 3));
        assert_eq!(history.resolve(&[at(6, 1)]), None);
        history.increments.push(incr(at(7, 2), 4, 2));
        let left = history.resolve(&[at(6, 1)]).unwrap();
        assert_eq!(left.value, Content::String(Bytes::from_static(b"5")));
    }

    #[test]
    fn contribution_that_a_flush_had_made_a_writer_forget_counts_whole() {
        let mut history = KeyHistory::default();
        history.increments.push(incr(at(4, 2), 4, 3));
        history.increments.push(incr(at(9, 2), 4, 2));
        let mut had = Vector::new();
        had.raise(Origin(2), 4);
        had.raise(Origin(1), 6);
        let delete = BaseWrite { had: Some(Rc::new(had)), ..delete(at(10, 3), Seen::default()) };
        history.bases.push(delete);
        assert_eq!(history.resolve(&[]).unwrap().value, Content::String(Bytes::from_static(b"2")));
        assert_eq!(
            history.resolve(&[at(6, 1)]).unwrap().value,
            Content::String(Bytes::from_static(b"5"))
        );
    }

    #[test]
    fn floor_removes_what_is_at_or_below_it() {
        let mut history = KeyHistory { floors: vec![(at(12, 2), 10)], ..KeyHistory::default() };
        history.bases.push(set(at(10, 1), "50", Seen::default()));
        history.increments.push(incr(at(12, 2), 12, 3));
        assert_eq!(value(&history).as_deref(), Some("3"));
    }

    #[test]
    fn integers_are_read_as_strictly_as_redis_reads_them() {
        for bad in ["", "-", "01", "+1", "1 ", "-0", "9223372036854775808", "1a"] {
            assert_eq!(strict_integer(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(strict_integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(strict_integer(b"0"), Some(0));
    }
}

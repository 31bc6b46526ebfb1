//! What is known of one key, and what follows from it: liveness, value, digest.
//!
//! A key's state is a join of slots, each of which only grows: the newest base write, the newest
//! expiry cell, per (origin, generation) the newest contribution, the largest floor. A tombstone is
//! a base write that is dead. A tombstone and a SET also count as an expiry cell `None` of their
//! own stamp, so that older expiry cells lose; where that is what the slot holds it is *implied*
//! and not stored.

use crate::base::checksum::{fixed_hash, mix};
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Kind, SeenContribution};

use super::elements::{Collection, Elements};
use super::entry::{Entry, malloc_bytes};

/// The newest base write of a key, without its value and its seen list.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Base {
    pub stamp: Stamp,
    /// A register; otherwise a tombstone.
    pub live: bool,
    /// Counts as an expiry cell `None` of its own stamp. Always so for a tombstone.
    pub resets: bool,
    /// Of the seen list: contributions at or below this count as seen, whatever is listed of them.
    pub horizon: u64,
}

/// The newest expiry cell.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ExpiryCell {
    pub stamp: Stamp,
    /// At equal stamps a deadline beats none (SET with EX), a later one an earlier one.
    pub deadline: Option<UnixMs>,
}

/// Cells at or below `time` are removed.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Floor {
    pub time: u64,
    /// Of the key cell that brought it.
    pub stamp: Stamp,
}

/// Where a key is filed in the indexes.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Filing {
    /// Deadline, in milliseconds: among those to hide, or if hidden among those to bury.
    pub due: Option<u64>,
    /// The stamp time that the horizon has to reach before anything here can be dropped.
    pub waits: Option<u64>,
}

/// Everything beyond a plain register or tombstone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Side {
    /// The base's seen list, in the order of (origin, generation).
    pub seen: Vec<SeenContribution>,
    /// In the order of (origin, generation).
    pub contributions: Vec<SeenContribution>,
    /// `None` also where it is implied by the base.
    pub expiry: Option<ExpiryCell>,
    pub floor: Option<Floor>,
    /// The base's horizon where the entry has no room for it, else 0.
    pub wide_horizon: u64,
    /// Of each kind at most one, in the order of kinds. A small one alone, without a base, is the entry's value.
    pub collections: Box<[Collection]>,
    pub filing: Filing,
    /// The deadline has passed.
    pub hidden: bool,
}

impl Side {
    /// Whether there is a reason to keep it.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
            && self.contributions.is_empty()
            && self.expiry.is_none()
            && self.floor.is_none()
            && self.wide_horizon == 0
            && self.collections.is_empty()
    }

    pub fn used_bytes(&self) -> usize {
        let item = size_of::<SeenContribution>();
        malloc_bytes(size_of::<Side>())
            + malloc_bytes(self.seen.capacity() * item)
            + malloc_bytes(self.contributions.capacity() * item)
            + malloc_bytes(size_of_val(&*self.collections))
            + self.collections.iter().map(Collection::used_bytes).sum::<usize>()
    }
}

/// The collections of a key, wherever they lie.
#[derive(Copy, Clone)]
pub enum Collections<'a> {
    None,
    /// In the value's place.
    Entry(&'a Entry),
    List(&'a [Collection]),
}

impl<'a> Collections<'a> {
    #[inline]
    pub fn is_none(self) -> bool {
        match self {
            Collections::None => true,
            Collections::Entry(_) => false,
            Collections::List(list) => list.is_empty(),
        }
    }

    pub fn iter(self) -> impl Iterator<Item = Elements<'a>> {
        let (one, list) = match self {
            Collections::None => (None, &[][..]),
            Collections::Entry(entry) => (entry.packed().map(Elements::Packed), &[][..]),
            Collections::List(list) => (None, list),
        };
        one.into_iter().chain(list.iter().map(Collection::elements))
    }

    pub fn of(self, kind: Kind) -> Option<Elements<'a>> {
        self.iter().find(|elements| elements.kind() == kind)
    }
}

/// One key, for reading. The expiry is given with what the base implies.
#[derive(Copy, Clone)]
pub struct View<'a> {
    pub base: Option<Base>,
    /// The base's value; empty unless it is live.
    pub value: &'a [u8],
    pub expiry: Option<ExpiryCell>,
    pub side: Option<&'a Side>,
    pub collections: Collections<'a>,
}

impl<'a> View<'a> {
    #[inline]
    pub fn new(
        base: Option<Base>,
        value: &'a [u8],
        side: Option<&'a Side>,
        packed: Option<&'a Entry>,
    ) -> View<'a> {
        let stored = side.and_then(|side| side.expiry);
        let expiry = stored.or_else(|| implied_expiry(base.as_ref()));
        let collections = match (packed, side) {
            (Some(entry), _) => Collections::Entry(entry),
            (None, Some(side)) => Collections::List(&side.collections),
            (None, None) => Collections::None,
        };
        View { base, value, expiry, side, collections }
    }

    /// What the newest key cell says that the key is: a collection, or `None` for a string. A write of a string and the
    /// first increment of a generation count as key cells of their stamps.
    #[inline]
    pub fn kind(&self) -> Option<Kind> {
        if self.collections.is_none() { None } else { self.decided() }
    }

    /// Of a key with collections.
    #[inline(never)]
    fn decided(&self) -> Option<Kind> {
        let newest = self.collections.iter().map(|c| (c.born(), c.kind())).max()?;
        (self.string_born() < Some(newest.0)).then_some(newest.1)
    }

    /// The key cell that the live string cells stand for.
    fn string_born(&self) -> Option<Stamp> {
        let base = self.base.filter(|base| base.live).map(|base| base.stamp);
        let counted = self.contributions().iter().filter(|c| self.live_part(c).is_some());
        counted.map(|c| Stamp::new(c.generation, c.origin)).chain(base).max()
    }

    /// The collection that the key is; `None` if it is a string.
    #[inline]
    pub fn elements(&self) -> Option<Elements<'a>> {
        if self.collections.is_none() {
            return None;
        }
        self.collections.of(self.decided()?)
    }

    /// Whether cells are held that the key's type hides.
    pub fn has_hidden(&self) -> bool {
        if self.collections.is_none() {
            return false;
        }
        let Some(kind) = self.kind() else { return true };
        self.is_base_live()
            || !self.contributions().is_empty()
            || self.collections.iter().any(|elements| elements.kind() != kind)
    }

    /// Contributions to strings and to elements.
    pub fn contribution_count(&self) -> u64 {
        let elements: u64 = self.collections.iter().map(Elements::contributions).sum();
        self.contributions().len() as u64 + elements
    }

    pub fn seen(&self) -> &'a [SeenContribution] {
        self.side.map_or(&[], |side| &side.seen)
    }

    pub fn contributions(&self) -> &'a [SeenContribution] {
        self.side.map_or(&[], |side| &side.contributions)
    }

    /// What `contribution` adds to the base, if the base's writer had not seen all of it. Below the base's horizon it adds
    /// nothing, also where less of it is listed: an earlier life of the writer had all of it and lost it with its log's
    /// tail, and where it has been collected meanwhile it does not come back.
    pub fn live_part(&self, contribution: &SeenContribution) -> Option<i128> {
        let Some(base) = self.base else { return Some(contribution.sum) };
        if contribution.last <= base.horizon {
            return None;
        }
        match find_listed(self.seen(), contribution) {
            Some(listed) => (contribution.last > listed.last)
                .then(|| contribution.sum.saturating_sub(listed.sum)),
            None => Some(contribution.sum),
        }
    }

    /// Whether the base takes anything away from `contribution`.
    pub fn is_affected(&self, contribution: &SeenContribution) -> bool {
        self.base.is_some_and(|base| {
            contribution.last <= base.horizon || find_listed(self.seen(), contribution).is_some()
        })
    }

    /// The sum of the live contributions, if there are any.
    pub fn live_sum(&self) -> Option<i128> {
        self.contributions()
            .iter()
            .filter_map(|contribution| self.live_part(contribution))
            .reduce(i128::saturating_add)
    }

    pub fn is_base_live(&self) -> bool {
        self.base.is_some_and(|base| base.live)
    }

    /// Whether there is a live cell of its type, expired or not.
    #[inline]
    pub fn exists(&self) -> bool {
        if let Some(elements) = self.elements() {
            return elements.live() > 0;
        }
        self.is_base_live()
            || self
                .contributions()
                .iter()
                .any(|contribution| self.live_part(contribution).is_some())
    }

    pub fn deadline(&self) -> Option<UnixMs> {
        self.expiry.and_then(|cell| cell.deadline)
    }

    pub fn is_expired(&self, clock: UnixMs) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= clock)
    }

    pub fn is_visible(&self, clock: UnixMs) -> bool {
        !self.is_expired(clock) && self.exists()
    }

    /// What a client sees, if it sees anything.
    pub fn content(&self, clock: UnixMs) -> Option<Shape<'a>> {
        if self.is_expired(clock) {
            return None;
        }
        if let Some(elements) = self.elements() {
            return (elements.live() > 0).then_some(Shape::Elements(elements));
        }
        let live = self.is_base_live();
        match self.live_sum() {
            None => live.then_some(Shape::Bytes(self.value)),
            Some(sum) if !live => Some(Shape::Number(sum)),
            Some(sum) => Some(match parse_integer(self.value) {
                Some(number) => Shape::Number(i128::from(number).saturating_add(sum)),
                None => Shape::Bytes(self.value),
            }),
        }
    }

    /// The newest stamp time of any cell.
    pub fn newest_time(&self) -> u64 {
        let base = self.base.map_or(0, |base| base.stamp.time);
        let expiry = self.expiry.map_or(0, |cell| cell.stamp.time);
        let floor = self
            .side
            .and_then(|side| side.floor)
            .map_or(0, |floor| floor.time.max(floor.stamp.time));
        let contributions = self.contributions().iter().map(|c| c.last).max().unwrap_or(0);
        let elements = self.collections.iter().map(Elements::newest_time).max().unwrap_or(0);
        base.max(expiry).max(floor).max(contributions).max(elements)
    }

    /// The key's part of the digest, not 0, as long as a client can see it. Depends on live cells
    /// only.
    #[inline]
    pub fn digest(&self, key_hash: u64) -> u64 {
        let mut acc = key_hash;
        if let Some(elements) = self.elements() {
            acc ^= mix(elements.digest());
            acc ^= self.deadline_digest();
            return mix(acc).max(1);
        }
        if let Some(base) = self.base.filter(|base| base.live) {
            acc ^= cell_hash(1, base.stamp, 0);
        }
        for contribution in self.contributions() {
            if let Some(part) = self.live_part(contribution) {
                let stamp = Stamp::new(contribution.last, contribution.origin);
                acc ^= cell_hash(2, stamp, contribution.generation);
                // A delete may have taken a part of it away, and is itself no live cell.
                if part != contribution.sum {
                    acc ^= cell_hash(0, stamp, mix(contribution.generation) ^ part as u64);
                }
            }
        }
        acc ^= self.deadline_digest();
        mix(acc).max(1)
    }

    #[inline]
    fn deadline_digest(&self) -> u64 {
        match self.expiry {
            Some(ExpiryCell { stamp, deadline: Some(deadline) }) => cell_hash(3, stamp, deadline.0),
            Some(ExpiryCell { deadline: None, .. }) | None => 0,
        }
    }
}

/// A visible value; the number is not clamped yet.
#[derive(Copy, Clone)]
pub enum Shape<'a> {
    Bytes(&'a [u8]),
    Number(i128),
    Elements(Elements<'a>),
}

pub fn clamp(number: i128) -> i64 {
    number.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The expiry cell that a base write stands for besides.
pub fn implied_expiry(base: Option<&Base>) -> Option<ExpiryCell> {
    base.filter(|base| base.resets).map(|base| ExpiryCell { stamp: base.stamp, deadline: None })
}

/// The fixed hash of a key in a database, the same on every node.
pub fn key_hash(db: u16, key: &[u8]) -> u64 {
    fixed_hash(key) ^ mix(u64::from(db))
}

/// A 64-bit integer as Redis reads one from a string: no blanks, no plus, no leading zeros, no
/// `-0`.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // 19 digits stay below 2^64.
        magnitude = magnitude * 10 + u64::from(digit - b'0');
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The order of seen lists and contributions.
pub fn list_key(item: &SeenContribution) -> (u32, u64) {
    (item.origin.0, item.generation)
}

fn find_listed<'a>(
    list: &'a [SeenContribution],
    contribution: &SeenContribution,
) -> Option<&'a SeenContribution> {
    let at = list.binary_search_by_key(&list_key(contribution), list_key).ok()?;
    Some(&list[at])
}

/// One round for a register, which is by far the commonest cell.
fn cell_hash(kind: u64, stamp: Stamp, detail: u64) -> u64 {
    let origin = u64::from(stamp.origin.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let detail = if detail == 0 { 0 } else { mix(detail) };
    mix(stamp.time ^ (kind << 62) ^ origin ^ detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_redis_reads_them() {
        for good in ["0", "7", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(
                parse_integer(good.as_bytes()).map(|n| n.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "99999999999999999999",
        ] {
            assert_eq!(parse_integer(bad.as_bytes()), None, "{bad}");
        }
    }
}

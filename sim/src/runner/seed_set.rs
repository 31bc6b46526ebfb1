//! Sets of seeds, as ranges: what a campaign is to run, and what it has run.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Disjoint ranges in order, none empty, no two touching.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeedSet {
    ranges: Vec<Range<u64>>,
}

impl SeedSet {
    /// Adds a range; what of it was there already stays.
    pub fn insert(&mut self, added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        let from = self.ranges.partition_point(|r| r.end < added.start);
        let to = self.ranges.partition_point(|r| r.start <= added.end);
        let mut joined = added;
        for old in &self.ranges[from..to] {
            joined = joined.start.min(old.start)..joined.end.max(old.end);
        }
        self.ranges.splice(from..to, [joined]);
    }

    /// Adds all of another set.
    pub fn insert_all(&mut self, other: &SeedSet) {
        other.ranges.iter().cloned().for_each(|range| self.insert(range));
    }

    /// Takes the first seeds out: at most so many, and all next to each other.
    pub fn take(&mut self, most: u64) -> Option<Range<u64>> {
        let first = self.ranges.first_mut()?;
        let end = first.end.min(first.start.saturating_add(most));
        let taken = first.start..end;
        first.start = end;
        if first.is_empty() {
            self.ranges.remove(0);
        }
        Some(taken)
    }

    /// The seeds of a range that are not in the set.
    pub fn missing_from(&self, range: Range<u64>) -> SeedSet {
        let mut missing = SeedSet::default();
        let mut at = range.start;
        for held in &self.ranges {
            missing.insert(at..held.start.min(range.end));
            at = at.max(held.end);
        }
        missing.insert(at..range.end);
        missing
    }

    /// A seed that both sets hold.
    pub fn shared_with(&self, other: &SeedSet) -> Option<u64> {
        self.ranges.iter().find_map(|range| {
            let over = other.ranges.iter().find(|o| o.start < range.end && range.start < o.end)?;
            Some(over.start.max(range.start))
        })
    }

    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn first(&self) -> Option<u64> {
        self.ranges.first().map(|r| r.start)
    }

    pub fn last(&self) -> Option<u64> {
        self.ranges.last().map(|r| r.end - 1)
    }
}

impl From<Range<u64>> for SeedSet {
    fn from(range: Range<u64>) -> SeedSet {
        let mut set = SeedSet::default();
        set.insert(range);
        set
    }
}

impl fmt::Display for SeedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.ranges.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{}..{}", range.start, range.end)?;
        }
        Ok(())
    }
}

/// As a list of `"A..B"`.
impl Serialize for SeedSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ranges.iter().map(|r| format!("{}..{}", r.start, r.end)))
    }
}

impl<'de> Deserialize<'de> for SeedSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SeedSet, D::Error> {
        let mut set = SeedSet::default();
        for text in Vec::<String>::deserialize(deserializer)? {
            set.insert(range(&text).map_err(serde::de::Error::custom)?);
        }
        Ok(set)
    }
}

/// Reads `A..B`, without B.
///
/// # Errors
/// Says what of the text is no such range.
pub fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |part: &str| {
        part.trim().parse::<u64>().map_err(|_| format!("{part:?} is not a number of a seed"))
    };
    let (from, to) = (number(from)?, number(to)?);
    if from >= to {
        return Err(format!("the range is empty: {from} is not below {to}"));
    }
    Ok(from..to)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

    fn seeds(set: &SeedSet) -> BTreeSet<u64> {
        set.ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn set_is_that_of_its_seeds(
            ranges in prop::collection::vec((0u64..60, 0u64..9), 0..12),
            whole in (0u64..60, 0u64..30),
            most in 1u64..6,
        ) {
            let (mut set, mut model) = (SeedSet::default(), BTreeSet::new());
            for (from, count) in ranges {
                set.insert(from..from + count);
                model.extend(from..from + count);
            }
            prop_assert_eq!(&seeds(&set), &model);
            prop_assert_eq!(set.count(), model.len() as u64);
            let parted = set.ranges.windows(2).all(|pair| pair[0].end < pair[1].start);
            prop_assert_eq!(parted, true, "{}", set);
            let whole = whole.0..whole.0 + whole.1;
            let missing: BTreeSet<u64> = whole.clone().filter(|s| !model.contains(s)).collect();
            prop_assert_eq!(seeds(&set.missing_from(whole.clone())), missing);
            let other = SeedSet::from(whole.clone());
            let shared = whole.clone().find(|s| model.contains(s));
            prop_assert_eq!(set.shared_with(&other).is_some(), shared.is_some());
            let text = serde_json::to_string(&set).expect("a set can be written");
            prop_assert_eq!(serde_json::from_str::<SeedSet>(&text).ok(), Some(set.clone()));
            let mut taken = Vec::new();
            while let Some(range) = set.take(most) {
                prop_assert_eq!(range.end - range.start <= most && !range.is_empty(), true);
                taken.extend(range);
            }
            prop_assert_eq!(taken, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn range_that_is_none_is_named() {
        assert_eq!(range("3..9"), Ok(3..9));
        for (text, wanted) in
            [("9..3", "9 is not below 3"), ("9..x", "\"x\" is not a number"), ("9", "A..B")]
        {
            let error = range(text).expect_err("no range");
            assert!(error.contains(wanted), "{error}");
        }
    }
}

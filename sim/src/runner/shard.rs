//! Shards: the part of a campaign's seeds that one machine of several runs.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number `index` of `count`, counted from 0; written `index/count`.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u64,
    count: u64,
}

/// What the environment of a Kubernetes Indexed Job is called.
pub const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
pub const COUNT_VARIABLE: &str = "JOB_COMPLETION_COUNT";

impl Shard {
    /// # Errors
    /// There is no such shard of so many.
    pub fn new(index: u64, count: u64) -> Result<Shard, String> {
        match count.checked_sub(1) {
            None => Err("0 shards are none".to_owned()),
            Some(last) if index > last => Err(format!(
                "there is no shard {index} of {count}: they are 0/{count} to {last}/{count}"
            )),
            Some(_) => Ok(Shard { index, count }),
        }
    }

    /// The shard that the environment names, if it does; `lookup` reads a variable.
    ///
    /// # Errors
    /// Says which of the two variables is missing or wrong.
    pub fn of_environment(
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Shard>, String> {
        let number = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| format!("{name}: {text:?} is not a number"))
        };
        match (lookup(INDEX_VARIABLE), lookup(COUNT_VARIABLE)) {
            (None, None) => Ok(None),
            (Some(index), Some(count)) => {
                let index = number(INDEX_VARIABLE, &index)?;
                let count = number(COUNT_VARIABLE, &count)?;
                let shard = Shard::new(index, count);
                shard.map(Some).map_err(|e| format!("{INDEX_VARIABLE}/{COUNT_VARIABLE}: {e}"))
            }
            (Some(_), None) => Err(format!(
                "{INDEX_VARIABLE} is set but {COUNT_VARIABLE} is not: set it to the number of \
                 shards, or name the shard with --shard i/n"
            )),
            (None, Some(_)) => Err(format!(
                "{COUNT_VARIABLE} is set but {INDEX_VARIABLE} is not: set it to the number of \
                 this shard, counted from 0, or name the shard with --shard i/n"
            )),
        }
    }

    /// Its part of a range: all parts together are the range, their sizes differ by one at most.
    pub fn part_of(self, seeds: &Range<u64>) -> Range<u64> {
        let length = u128::from(seeds.end.saturating_sub(seeds.start));
        // Below the length, which is a u64.
        let edge = |i: u64| (length * u128::from(i) / u128::from(self.count)) as u64;
        seeds.start + edge(self.index)..seeds.start + edge(self.index + 1)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let (index, count) = text.split_once('/').ok_or("expected i/n, such as 0/4")?;
        let number = |part: &str| {
            let part = part.trim();
            part.parse::<u64>().map_err(|_| format!("{part:?} is not a number of a shard"))
        };
        Shard::new(number(index)?, number(count)?)
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Shard, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn shards_share_a_range_out(
            from in 0..u64::MAX,
            length in 0u64..u64::MAX,
            count in 1u64..70,
        ) {
            let seeds = from..from.saturating_add(length);
            let mut at = seeds.start;
            for index in 0..count {
                let part = Shard::new(index, count).expect("below the count").part_of(&seeds);
                prop_assert_eq!(part.start, at);
                let fair = (seeds.end - seeds.start) / count;
                prop_assert!((fair..=fair + 1).contains(&(part.end - part.start)));
                at = part.end;
            }
            prop_assert_eq!(at, seeds.end);
        }
    }

    fn environment(index: Option<&str>, count: Option<&str>) -> Result<Option<Shard>, String> {
        Shard::of_environment(&|name| {
            let value = if name == INDEX_VARIABLE { index } else { count };
            value.map(str::to_owned)
        })
    }

    #[test]
    fn shard_is_read_from_an_argument_or_the_environment() {
        assert_eq!("3/8".parse(), Shard::new(3, 8));
        assert_eq!(environment(None, None), Ok(None));
        assert_eq!(environment(Some("3"), Some("8")), Shard::new(3, 8).map(Some));
    }

    #[test]
    fn shard_that_is_none_is_named() {
        for (text, wanted) in [
            ("8/8", "0/8 to 7/8"),
            ("0/0", "0 shards are none"),
            ("3", "expected i/n"),
            ("x/8", "\"x\" is not a number"),
            ("-1/8", "\"-1\" is not a number"),
        ] {
            let error = text.parse::<Shard>().expect_err("no shard");
            assert!(error.contains(wanted), "{error}");
        }
        for (index, count, wanted) in [
            (Some("3"), None, "JOB_COMPLETION_COUNT is not"),
            (None, Some("3"), "JOB_COMPLETION_INDEX is not"),
            (Some("3"), Some("3"), "0/3 to 2/3"),
            (Some(""), Some("3"), "JOB_COMPLETION_INDEX: \"\" is not a number"),
        ] {
            let error = environment(index, count).expect_err("no shard");
            assert!(error.contains(wanted), "{error}");
        }
    }
}

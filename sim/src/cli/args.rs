//! Values of arguments that several commands take.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::Range;
use std::time::Duration;

use quorate::base::mutant::Mutant;

use crate::plan::Profile;
use crate::runner::seed_set;

pub fn profile(text: &str) -> Result<Profile, String> {
    Profile::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Profile::ALL.iter().map(|p| p.name()).collect();
        format!("no such profile; there are: {}", names.join(", "))
    })
}

pub fn mutant(text: &str) -> Result<Mutant, String> {
    Mutant::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Mutant::ALL.iter().map(|m| m.name()).collect();
        format!("no such mutant; there are: {}", names.join(", "))
    })
}

/// Which seeds: a range, or so many that follow from the commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seeds {
    Range(Range<u64>),
    OfCommit(NonZeroU64),
}

pub fn seeds(text: &str) -> Result<Seeds, String> {
    match text.strip_prefix("commit:") {
        Some(count) => count
            .parse()
            .map(Seeds::OfCommit)
            .map_err(|_| format!("{count:?} is not a number of seeds; expected commit:N")),
        None => seed_set::range(text).map(Seeds::Range),
    }
}

pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let secs = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit {other:?}; there are ms, s, m, h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    Duration::try_from_secs_f64(number * secs).map_err(|_| "not a duration".to_owned())
}

/// Threads to work with if nobody says how many.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ranges_are_read() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(seeds("3..9"), Ok(Seeds::Range(3..9)));
        assert_eq!(seeds("commit:9").ok(), NonZeroU64::new(9).map(Seeds::OfCommit));
    }
}

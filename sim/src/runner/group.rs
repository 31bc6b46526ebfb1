//! Failing seeds that show the same thing.

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::place::place;
use super::summary::digest_text;
use crate::check::{Property, Verdict};

/// Further seeds of a group that are named, the smallest ones.
const ALSO_MAX: usize = 4;

/// The seeds that violate one property at one place, or that are undecided for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    pub place: String,
    pub count: u64,
    /// The smallest of them; digest and verdict are its.
    pub seed: u64,
    /// The next smallest ones.
    pub also: Vec<u64>,
    pub digest: String,
    pub verdict: Verdict,
}

impl Group {
    /// The group of one seed that did not hold.
    pub fn of(outcome: &Outcome) -> Group {
        Group {
            place: place(&outcome.verdict),
            count: 1,
            seed: outcome.seed,
            also: Vec::new(),
            digest: digest_text(outcome.digest),
            verdict: outcome.verdict.clone(),
        }
    }

    /// Whether two groups are one.
    pub fn is_alike(&self, other: &Group) -> bool {
        (property(&self.verdict), &self.place) == (property(&other.verdict), &other.place)
    }

    /// Takes in a group that is alike, of other seeds.
    pub fn join(&mut self, other: Group) {
        let mut seeds = self.also.split_off(0);
        seeds.extend(&other.also);
        seeds.push(self.seed.max(other.seed));
        seeds.sort_unstable();
        seeds.truncate(ALSO_MAX);
        let count = self.count + other.count;
        if other.seed < self.seed {
            *self = other;
        }
        (self.count, self.also) = (count, seeds);
    }

    /// What groups are ordered by: violated before undecided, then the smallest seed.
    pub fn rank(&self) -> (bool, u64) {
        (property(&self.verdict).is_none(), self.seed)
    }

    /// The group in one line.
    pub fn line(&self) -> String {
        let what = property(&self.verdict).map_or("undecided", Property::name);
        let Group { place, count, seed, .. } = self;
        match count {
            1 => format!("seed {seed}: {what}: {place}"),
            _ => format!("{count} seeds, the smallest {seed}: {what}: {place}"),
        }
    }
}

fn property(verdict: &Verdict) -> Option<Property> {
    match verdict {
        Verdict::Violated(violation) => Some(violation.property),
        Verdict::Ok | Verdict::Undecided { .. } => None,
    }
}

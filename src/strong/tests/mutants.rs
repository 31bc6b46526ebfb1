//! Each rule of the protocol, broken: the checks of the worlds find it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::history::history_of_a_world;
use super::number;
use super::world::Shape;
use crate::base::mutant::{Mutants, StrongMutant};

/// A seed for each that finds it.
const SEEDS: [(StrongMutant, u64); 0] = [];

/// What a world with these faults has found.
fn verdict(seed: u64, mutants: Mutants) -> Result<(), String> {
    let shape = Shape::of(seed, mutants);
    let run = AssertUnwindSafe(|| history_of_a_world(seed, shape).settled());
    catch_unwind(run).unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().cloned();
        Err(text.or(why.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default())
    })
}

/// Prints the first seed, at most `STRONG_SEEDS`, that finds each, or `STRONG_MUTANT` alone.
#[test]
#[ignore = "a search"]
fn search() {
    let only = std::env::var("STRONG_MUTANT").ok();
    std::panic::set_hook(Box::new(|_| {}));
    for mutant in StrongMutant::ALL {
        if only.as_ref().is_some_and(|only| only != mutant.name()) {
            continue;
        }
        let (from, count) = (number("STRONG_FROM", 0), number("STRONG_SEEDS", 500));
        let found = (from..from + count)
            .find_map(|seed| Some((seed, verdict(seed, Mutants::only_strong(mutant)).err()?)));
        match found {
            Some((seed, why)) => {
                let why: String = why.chars().take(150).collect();
                println!("{:<24} {seed:>6} {}", mutant.name(), why.replace('\n', " "));
            }
            None => println!("{:<24} not found", mutant.name()),
        }
    }
}

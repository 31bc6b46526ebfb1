//! Small worlds of nodes, at random: everything that was acknowledged is seen by what begins later, each number has one
//! configuration, and all is served again that can be.

mod checks;
mod history;
#[cfg(feature = "mutants")]
mod mutants;
mod revive;
mod rules;
mod scenarios;
mod world;

use std::collections::BTreeMap;

use self::history::history_of_a_world;
use self::world::Shape;
use crate::base::mutant::Mutants;

/// Seeds that have found something, with what it was.
const KEPT: [(u64, &str); 3] = [
    (1127, "an older disk's node was held for serving as its later life had"),
    (
        34986,
        "a master that did not know of a node's amnesia changed the regime for its copy for ever",
    ),
    (36074, "whole copies that nobody waited for any more kept a node from getting one"),
];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_histories_keep_what_was_acknowledged() {
    let (from, count) = (number("STRONG_FROM", 0), number("STRONG_SEEDS", 40));
    let (mut writes, mut reads) = (0, 0);
    let mut sometimes = BTreeMap::new();
    for seed in from..from + count {
        let world = history_of_a_world(seed, Shape::of(seed, Mutants::NONE));
        writes += world.writes_done;
        reads += world.reads_done;
        for label in &world.sometimes {
            *sometimes.entry(*label).or_insert(0) += 1;
        }
        if let Err(why) = world.settled() {
            panic!("{why}");
        }
        if (seed + 1) % 1000 == 0 {
            println!("{} held", seed + 1);
        }
    }
    println!("{writes} writes, {reads} reads; {sometimes:#?}");
    assert!(count < 40 || writes.min(reads) > 10 * count, "{writes} writes, {reads} reads");
}

#[test]
fn histories_that_once_failed_hold() {
    for (seed, what) in KEPT {
        let world = history_of_a_world(seed, Shape::of(seed, Mutants::NONE));
        assert_eq!(world.settled(), Ok(()), "{what}");
    }
}

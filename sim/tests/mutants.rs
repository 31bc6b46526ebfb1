//! The checkers are checked with every test run: seeds that are known to find a deliberate fault still do.

use quorate::base::mutant::Mutant;
use quorate_sim::mutants::{Rechecked, cli::complaints, kept, recheck};

#[test]
fn every_mutant_is_found_by_a_kept_seed_that_holds_without_it() {
    let kept = kept::built_in().unwrap_or_else(|error| panic!("{error}"));
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let rechecked = recheck(&Mutant::ALL, &kept, jobs);
    let said: Vec<String> = rechecked.iter().flat_map(complaints).collect();
    assert!(rechecked.iter().all(Rechecked::is_well), "{}", said.join("\n"));
    // Seeds that have moved on are no failure as long as others are left.
    said.iter().for_each(|complaint| println!("{complaint}"));
}

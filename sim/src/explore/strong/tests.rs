use quorate::base::mutant::{Mutant, Mutants, StrongMutant};

use super::search::{Counts, Failed, Progress, Search};
use super::world::{Size, Step, World};
use crate::runner::campaign::caught;

const MEMORY_BYTES: usize = 1 << 30;
const NONE: Size =
    Size { nodes: 3, copies: 2, writes: 0, reads: 0, times: 0, delays: 0, cuts_off: 0 };

fn end_of(size: Size, mutants: Mutants) -> (Progress, Counts) {
    let mut search = Search::new(size, mutants, MEMORY_BYTES).expect("a cluster comes to rest");
    loop {
        match search.go_on(1000) {
            Progress::More => {}
            end @ (Progress::Failed(_) | Progress::Exhausted | Progress::Full) => {
                return (end, search.counts().clone());
            }
        }
    }
}

fn exhausted(size: Size) -> Counts {
    let (progress, counts) = end_of(size, Mutants::NONE);
    assert_eq!(progress, Progress::Exhausted, "{size:?}");
    counts
}

/// All orders one after the other, without a look at states: how many ended with so many writes acknowledged.
fn one_by_one(world: &World, orders: &mut [u64; 3]) {
    let mut goes_on = false;
    for step in world.steps() {
        if let Some(next) = world.after(step).expect("it holds") {
            goes_on = true;
            one_by_one(&next, orders);
        }
    }
    if !goes_on {
        orders[world.checks().acked.len()] += 1;
    }
}

#[test]
fn states_met_again_leave_out_no_kind_of_end() {
    let size = Size { writes: 1, cuts_off: 2, ..NONE };
    let counts = exhausted(size);
    let mut orders = [0; 3];
    one_by_one(&World::at_rest(size, Mutants::NONE).expect("a cluster comes to rest"), &mut orders);
    let kinds = |acked: &usize| orders[*acked] > 0;
    assert_eq!(
        counts.ends.keys().copied().collect::<Vec<_>>(),
        (0..3).filter(kinds).collect::<Vec<_>>()
    );
    assert!(orders.iter().sum::<u64>() > counts.ends.values().sum(), "{orders:?} {counts:?}");
}

#[test]
fn every_order_of_a_write_around_a_split_holds() {
    for cuts_off in 0..3 {
        let size = Size { writes: 1, times: 1, cuts_off, ..NONE };
        let counts = exhausted(size);
        assert!(counts.transitions > counts.states && counts.ends.contains_key(&1), "{counts:?}");
        assert!(cuts_off < 2 || exhausted(size) == counts, "the same search again is the same");
    }
}

#[test]
fn a_failing_order_fails_when_it_is_gone_again() {
    let mutants = Mutants::only(Mutant::Strong(StrongMutant::MemberSkipped));
    let size = Size { writes: 1, ..NONE };
    let (Progress::Failed(Failed { what, order }), _) = end_of(size, mutants) else {
        panic!("it is found");
    };
    let mut world = World::at_rest(size, mutants).expect("a cluster comes to rest");
    let (last, before) = order.split_last().expect("there are steps");
    for step in before {
        world = world.after(*step).expect("it holds up to here").expect("it does something");
    }
    assert!(order.contains(&Step::Write { at: 0 }), "{order:?}");
    let again = caught(&mut || world.after(*last).map(|_| ()));
    match again {
        Ok(held) => assert_eq!(held, Err(what)),
        Err(violation) => assert_eq!(violation.evidence, what),
    }
}

#[test]
fn little_memory_is_no_verdict() {
    let mut search = Search::new(Size { writes: 1, ..NONE }, Mutants::NONE, 64).expect("at rest");
    assert_eq!(search.go_on(1000), Progress::Full);
}

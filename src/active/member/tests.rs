//! What is announced, and when.

use super::*;
use crate::base::ids::{Epoch, RunId};

fn record(node: u128, time: u64) -> Record {
    let lives = vec![(NodeId(1), Origin(1)), (NodeId(2), Origin(2))];
    Record {
        node: NodeId(node),
        run: RunId(node),
        epoch: Epoch(1),
        origin: Origin(node as u32),
        seq: time,
        brings: true,
        met_all: true,
        vector: vector(time),
        clock: UnixMs(0),
        announced_to: lives.clone(),
        joined: true,
        collected: 0,
        lists: lives,
    }
}

fn vector(time: u64) -> Vector {
    Vector::from(vec![(Origin(1), time), (Origin(2), time)])
}

#[test]
fn nothing_is_announced_before_the_next_life_would_know_of_it() {
    let mut members =
        Members::new(Record { vector: Vector::new(), ..record(1, 1) }, &Past::default());
    members.learn(&record(2, 1));
    let present = vector(50);
    let past = members.announce(Some((&present, UnixMs(1), true)), true, 0, 0);
    assert_eq!(past, Some(Past { horizon: 50, members: vec![NodeId(2)] }));
    assert!(!members.has_announced());
    // While it is being written, and if it could not be, nothing leaves.
    assert_eq!(members.announce(Some((&present, UnixMs(1), true)), true, 0, 0), None);
    members.on_past_stored(false);
    assert!(!members.has_announced());
    assert!(members.announce(Some((&present, UnixMs(1), true)), true, 0, 0).is_some());
    members.on_past_stored(true);
    assert!(members.has_announced());
    assert_eq!(members.horizon_bound(), 50);
}

#[test]
fn members_of_the_last_life_are_waited_for() {
    let past = Past { horizon: 50, members: vec![NodeId(2), NodeId(3)] };
    let mut members = Members::new(Record { vector: Vector::new(), ..record(1, 1) }, &past);
    members.learn(&record(2, 1));
    let present = vector(60);
    let kept = members.announce(Some((&present, UnixMs(1), true)), true, 0, 0);
    assert_eq!(kept, None, "there is nothing new to know");
    assert!(!members.has_announced() && !members.is_complete() && !members.is_alone());
    members.forget_past();
    assert!(members.announce(Some((&present, UnixMs(1), true)), true, 0, 0).is_some());
}

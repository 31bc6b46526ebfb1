//! What is announced, and when.

use super::*;
use crate::base::ids::{Epoch, RunId};
use crate::wire::frame::Hello;

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
    assert_eq!(
        past,
        Some(Past { horizon: 50, needs: vec![(NodeId(2), Origin(2))], members: vec![NodeId(2)] })
    );
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
    let past = Past { horizon: 50, needs: Vec::new(), members: vec![NodeId(2), NodeId(3)] };
    let mut members = Members::new(Record { vector: Vector::new(), ..record(1, 1) }, &past);
    members.learn(&record(2, 1));
    let present = vector(60);
    let kept = members.announce(Some((&present, UnixMs(1), true)), true, 0, 0);
    assert_eq!(kept, None, "there is nothing new to know");
    assert!(!members.has_announced() && !members.is_complete() && !members.is_alone());
    members.forget_past();
    assert!(members.announce(Some((&present, UnixMs(1), true)), true, 0, 0).is_some());
}

#[test]
fn a_past_tells_of_no_horizon_that_waits_for_the_life_it_is_told_to() {
    let silent = |node: u128| Record {
        seq: 1,
        vector: Vector::new(),
        announced_to: Vec::new(),
        joined: false,
        ..record(node, 1)
    };
    // Node 1 announces to node 2, which has announced nothing itself.
    let mut first = Members::new(silent(1), &Past::default());
    first.learn(&silent(2));
    let present = vector(50);
    let past = first.announce(Some((&present, UnixMs(1), true)), true, 0, 0).unwrap();
    assert_eq!(past.needs, [(NodeId(2), Origin(2))]);
    first.on_past_stored(true);
    assert!(first.horizon_needs(50).is_empty(), "it is not only the past that tells of it");

    // Its next life says so, as long as it knows of no other horizon.
    let mut next = Members::new(silent(1), &past);
    assert_eq!(next.horizon_needs(50), past.needs);
    assert!(next.horizon_needs(51).is_empty());
    let bound = |needs: &[(NodeId, Origin)], record: Record| {
        let hello = Hello {
            node: record.node,
            run: record.run,
            epoch: record.epoch,
            origin: record.origin,
            port: 1,
            whole: false,
            brings: true,
            joining: true,
            wall: crate::base::time::Wall(0),
            clock: 50,
            vector: Vector::new(),
            strays: Vec::new(),
            horizon_bound: 50,
            horizon_needs: needs.to_vec(),
            holds: Vec::new(),
            members: vec![record],
        };
        Members::new(silent(2), &Past::default()).joining_bound(&hello)
    };
    assert_eq!(bound(&past.needs, silent(1)), 0);
    assert_eq!(bound(&[(NodeId(2), Origin(3))], silent(1)), 50, "another life");
    assert_eq!(
        bound(&past.needs, Record { collected: 7, ..silent(1) }),
        50,
        "somebody has collected"
    );

    // A later draft goes to fewer lives; and what others have collected waits for nobody here.
    next.learn(&silent(2));
    let present = vector(60);
    let later = next.announce(Some((&present, UnixMs(1), true)), true, 0, 0).unwrap();
    assert_eq!((later.horizon, &later.needs), (60, &past.needs));
    next.on_past_stored(false);
    next.note_foreign_horizon();
    assert!(next.horizon_needs(50).is_empty());
    let later = next.announce(None, true, 0, 60).unwrap();
    assert!(later.needs.is_empty());
}

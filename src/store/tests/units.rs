//! What a unit does elsewhere: the changes gathered are net, and several nodes converge.

use proptest::prelude::{Strategy, any, proptest};

use super::writes::{Op, op, run_op};
use super::{DB, Side, cells, visible};
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Unit};
use crate::store::txn::{SetExpiry, Txn};

/// Runs units on one node and applies what they gathered on another; both have to be the same.
fn assert_replicates(before: &[fn(&mut Txn<'_>)], unit: fn(&mut Txn<'_>)) -> (Side, Unit) {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    for work in before {
        let unit = one.unit(work);
        two.take(&unit);
    }
    let unit = one.unit(unit);
    two.now = one.now;
    two.take(&unit);
    assert_eq!(cells(&one.store), cells(&two.store));
    assert_eq!(visible(&one.store, one.now), visible(&two.store, one.now));
    assert_eq!(one.store.digest(), two.store.digest());
    (one, unit)
}

#[test]
fn set_then_delete_is_a_tombstone() {
    let (side, unit) = assert_replicates(&[], |txn| {
        txn.set(DB, b"k", b"v", SetExpiry::Clear);
        assert!(txn.delete(DB, b"k"));
    });
    assert_eq!(side.text("k"), None);
    assert!(matches!(unit.changes[..], [ref one] if matches!(one.cell, Cell::Tombstone { .. })));
}

#[test]
fn delete_then_set_is_a_register() {
    let (side, unit) = assert_replicates(
        &[|txn| txn.set(DB, b"k", b"old", SetExpiry::At(UnixMs(9_000)))],
        |txn| {
            assert!(txn.delete(DB, b"k"));
            txn.set(DB, b"k", b"new", SetExpiry::Keep);
        },
    );
    assert_eq!(side.text("k").as_deref(), Some("new"));
    assert_eq!(unit.changes.len(), 1);
}

#[test]
fn increments_around_a_set_count_from_it() {
    let ten: fn(&mut Txn<'_>) = |txn| assert_eq!(txn.add(DB, b"n", 10), Ok(10));
    for before in [&[][..], &[ten][..]] {
        let (side, _) = assert_replicates(before, |txn| {
            assert!(txn.add(DB, b"n", 1).is_ok());
            txn.set(DB, b"n", b"100", SetExpiry::Clear);
            assert_eq!(txn.add(DB, b"n", 3), Ok(103));
        });
        assert_eq!(side.text("n").as_deref(), Some("103"));
    }
}

#[test]
fn flush_then_set_leaves_the_set_and_set_then_flush_nothing() {
    let old: fn(&mut Txn<'_>) = |txn| txn.set(DB, b"old", b"v", SetExpiry::Clear);
    let (side, unit) = assert_replicates(&[old], |txn| {
        txn.flush(Some(DB));
        txn.set(DB, b"k", b"v", SetExpiry::Clear);
    });
    assert_eq!(visible(&side.store, side.now).len(), 1);
    assert_eq!(unit.changes.len(), 2);
    let (side, unit) = assert_replicates(&[old], |txn| {
        txn.set(DB, b"k", b"v", SetExpiry::Clear);
        assert_eq!(txn.add(DB, b"n", 1), Ok(1));
        txn.flush(Some(DB));
    });
    assert!(visible(&side.store, side.now).is_empty());
    assert_eq!(unit.changes.len(), 1);
}

#[test]
fn flushall_is_one_tombstone_a_database() {
    let mut side = Side::new(1);
    for i in 0..100 {
        side.run(|txn| txn.set(DB, format!("k{i}").as_bytes(), b"v", SetExpiry::Clear));
    }
    let unit = side.unit(|txn| txn.flush(None));
    assert_eq!(unit.changes.len(), 16);
}

#[test]
fn concurrent_set_and_increment_add_up_and_a_delete_spares_the_unseen() {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    let set = one.unit(|txn| txn.set(DB, b"x", b"100", SetExpiry::Clear));
    let add = two.unit(|txn| assert_eq!(txn.add(DB, b"x", 3), Ok(3)));
    one.take(&add);
    two.take(&set);
    assert_eq!(one.text("x").as_deref(), Some("103"));
    assert_eq!(two.text("x").as_deref(), Some("103"));
    // Now one has seen the 3; two adds 4 more beside one's delete.
    let delete = one.unit(|txn| assert!(txn.delete(DB, b"x")));
    let more = two.unit(|txn| assert_eq!(txn.add(DB, b"x", 4), Ok(107)));
    one.take(&more);
    two.take(&delete);
    assert_eq!(one.text("x").as_deref(), Some("4"));
    assert_eq!(cells(&one.store), cells(&two.store));
}

#[test]
fn a_repeated_unit_changes_nothing() {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    let unit = one.unit(|txn| {
        assert_eq!(txn.add(DB, b"x", 3), Ok(3));
        txn.expire(DB, b"x", Some(UnixMs(9_000)));
    });
    two.take(&unit);
    let before = cells(&two.store);
    two.take(&unit);
    assert_eq!(cells(&two.store), before);
    assert_eq!(two.text("x").as_deref(), Some("3"));
}

#[test]
fn late_older_write_loses_and_counts_as_a_conflict() {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    let older = one.unit(|txn| txn.set(DB, b"x", b"older", SetExpiry::Clear));
    two.now = UnixMs(2_000);
    let newer = two.unit(|txn| txn.set(DB, b"x", b"newer", SetExpiry::Clear));
    two.take(&older);
    one.take(&newer);
    assert_eq!(one.text("x"), two.text("x"));
    assert_eq!(one.text("x").as_deref(), Some("newer"));
    assert_eq!((one.store.stats().conflicts, two.store.stats().conflicts), (0, 1));
}

fn scripts(count: usize) -> impl Strategy<Value = Vec<Vec<Op>>> {
    proptest::collection::vec(proptest::collection::vec(op(), 1..5), 1..count)
}

proptest! {
    #[test]
    fn a_unit_applied_elsewhere_gives_the_same(units in scripts(14)) {
        let (mut one, mut two) = (Side::new(1), Side::new(2));
        for ops in units {
            let (_, unit) = one.run(|txn| {
                for op in &ops {
                    run_op(txn, op);
                }
            });
            two.now = one.now;
            if let Some(unit) = unit {
                two.take(&unit);
            }
            for side in [&mut one, &mut two] {
                side.store.expire(side.now, usize::MAX, &mut side.facts);
            }
            assert_eq!(visible(&one.store, one.now), visible(&two.store, one.now));
            assert_eq!(cells(&one.store), cells(&two.store));
            assert_eq!(one.store.digest(), two.store.digest());
        }
    }

    #[test]
    fn three_nodes_converge_whatever_arrives_when(
        scripts in proptest::collection::vec(
            (0usize..3, proptest::collection::vec(op(), 1..4)), 1..20),
        deliveries in proptest::collection::vec((0usize..3, any::<u16>()), 0..30),
    ) {
        let mut sides = [Side::new(1), Side::new(2), Side::new(3)];
        let mut units: Vec<Unit> = Vec::new();
        let mut deliveries = deliveries.into_iter();
        for (at, ops) in scripts {
            let (_, unit) = sides[at].run(|txn| {
                for op in &ops {
                    run_op(txn, op);
                }
            });
            units.extend(unit);
            if let Some((to, which)) = deliveries.next()
                && !units.is_empty()
            {
                sides[to].take(&units[usize::from(which) % units.len()]);
            }
        }
        let now = sides.iter().map(|side| side.now).max().expect("three");
        for (i, side) in sides.iter_mut().enumerate() {
            side.now = now;
            let by = i.min(units.len());
            units.rotate_left(by);
            for unit in &units {
                side.take(unit);
            }
            side.store.expire(now, usize::MAX, &mut side.facts);
        }
        let [one, two, three] = &sides;
        for other in [two, three] {
            assert_eq!(cells(&one.store), cells(&other.store));
            assert_eq!(visible(&one.store, now), visible(&other.store, now));
            assert_eq!(one.store.digest(), other.store.digest());
        }
    }

    /// Everybody has everything at the end of a round; then some collect and others do not, some have
    /// hidden what has expired and others have not.
    #[test]
    fn who_has_collected_and_who_has_not_still_converge(
        rounds in
            proptest::collection::vec((steps(), any::<[bool; 3]>(), any::<[bool; 3]>()), 1..6),
    ) {
        let mut sides = [Side::new(1), Side::new(2), Side::new(3)];
        for (steps, collects, expires) in rounds {
            let mut units: Vec<Unit> = Vec::new();
            for (at, ops, to, which) in steps {
                let (_, unit) = sides[at].run(|txn| {
                    for op in &ops {
                        run_op(txn, op);
                    }
                });
                units.extend(unit);
                if !units.is_empty() {
                    sides[to].take(&units[usize::from(which) % units.len()]);
                }
            }
            let now = sides.iter().map(|side| side.now).max().expect("three");
            for side in &mut sides {
                side.now = now;
                for unit in &units {
                    side.take(unit);
                }
            }
            let sights = sides.each_ref().map(|side| visible(&side.store, now));
            assert_eq!(sights[0], sights[1]);
            assert_eq!(sights[0], sights[2]);
            let last = sides.iter().map(|side| side.clock.last()).max().expect("three");
            for (i, side) in sides.iter_mut().enumerate() {
                side.clock.observe(last);
                if expires[i] {
                    side.store.expire(now, usize::MAX, &mut side.facts);
                }
                if collects[i] {
                    while side.store.collect(last, now, 1, &mut side.facts) {}
                }
                side.store.check_invariants();
                assert_eq!(visible(&side.store, now), sights[0]);
            }
        }
        let now = sides[0].now;
        let digests = sides.each_mut().map(|side| {
            side.store.expire(now, usize::MAX, &mut side.facts);
            side.store.digest()
        });
        assert_eq!(digests[0], digests[1]);
        assert_eq!(digests[0], digests[2]);
    }
}

/// A unit at one node, and one unit of this round that arrives at some node.
fn steps() -> impl Strategy<Value = Vec<(usize, Vec<Op>, usize, u16)>> {
    let step = (0usize..3, proptest::collection::vec(op(), 1..3), 0usize..3, any::<u16>());
    proptest::collection::vec(step, 1..8)
}

#[test]
fn a_delete_that_had_seen_a_part_of_a_counter_is_a_change_of_the_key() {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    let first = one.unit(|txn| assert_eq!(txn.add(DB, b"n", 3), Ok(3)));
    two.take(&first);
    one.unit(|txn| assert_eq!(txn.add(DB, b"n", 4), Ok(7)));
    let delete = two.unit(|txn| assert!(txn.delete(DB, b"n")));
    one.store.watch(DB, b"n");
    let before = one.store.digest();
    one.take(&delete);
    assert_eq!(one.text("n").as_deref(), Some("4"));
    assert_ne!(one.store.digest(), before);
    assert_eq!(one.store.take_touched().len(), 1, "who watches the key is told");
}

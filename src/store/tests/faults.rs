//! Each deliberate fault that lives in the store shows; without it the same steps end well.

use super::{DB, Side, change, register, stamp};
use crate::base::ids::Origin;
use crate::base::mutant::{Mutant, Mutants};
use crate::base::time::UnixMs;
use crate::base::unit::Cell;
use crate::store::txn::SetExpiry;
use crate::store::{Store, StoreConfig, WalkPosition};

/// Runs the steps with the fault and without; they say what they saw in the end.
fn assert_shows(mutant: Mutant, wrong: &str, right: &str, steps: fn(&mut [Side; 2]) -> String) {
    for (mutants, expected) in [(Mutants::NONE, right), (Mutants::only(mutant), wrong)] {
        let mut sides = [Side::new(1), Side::new(2)];
        for side in &mut sides {
            side.store = Store::new(StoreConfig { databases: 16, hash_seed: 3, mutants });
            side.checks = mutants == Mutants::NONE;
        }
        assert_eq!(steps(&mut sides), expected, "{mutants:?}");
    }
}

fn shown(side: &Side, key: &str) -> String {
    side.text(key).unwrap_or_else(|| "nothing".into())
}

#[test]
fn a_tie_that_keeps_the_held_depends_on_the_order() {
    assert_shows(Mutant::TieKeepsHeld, "one two", "two two", |sides| {
        let [a, b] = sides;
        let one = (change("k", register("one")), stamp(5, 1));
        let two = (change("k", register("two")), stamp(5, 2));
        for (side, order) in [(&mut *a, [&one, &two]), (&mut *b, [&two, &one])] {
            for (change, stamp) in order {
                side.store.apply(change, *stamp, side.now, &mut side.facts);
            }
        }
        format!("{} {}", shown(a, "k"), shown(b, "k"))
    });
}

#[test]
fn without_a_tombstone_a_late_older_write_comes_back() {
    assert_shows(Mutant::TombstoneDropped, "old old", "nothing nothing", |sides| {
        let [a, b] = sides;
        let late = (change("k", register("old")), stamp(999, 3));
        let set = a.unit(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
        let delete = a.unit(|txn| assert!(txn.delete(DB, b"k")));
        b.take(&set);
        b.take(&delete);
        assert!(a.text("k").is_none() && b.text("k").is_none());
        for side in [&mut *a, &mut *b] {
            side.store.apply(&late.0, late.1, side.now, &mut side.facts);
        }
        format!("{} {}", shown(a, "k"), shown(b, "k"))
    });
}

#[test]
fn an_increment_that_arrives_again_is_added_again() {
    assert_shows(Mutant::IncrementAppliedTwice, "6", "3", |sides| {
        let [a, b] = sides;
        let unit = a.unit(|txn| assert!(txn.add(DB, b"n", 3).is_ok()));
        b.take(&unit);
        b.take(&unit);
        shown(b, "n")
    });
}

#[test]
fn a_generation_kept_across_a_base_lets_an_older_sum_vanish() {
    let steps = |sides: &mut [Side; 2]| {
        let [a, b] = sides;
        let set = |side: &mut Side| side.unit(|txn| txn.set(DB, b"n", b"100", SetExpiry::Clear));
        let first = a.unit(|txn| assert!(txn.add(DB, b"n", 3).is_ok()));
        let base = set(a);
        let second = a.unit(|txn| assert!(txn.add(DB, b"n", 4).is_ok()));
        // The second increment comes first; what it means must not hang on the base being there.
        for unit in [&second, &base, &first] {
            b.take(unit);
        }
        let generations = second.changes.iter().filter_map(|change| match change.cell {
            Cell::Contribution { generation, .. } => Some(generation > base.dot.time),
            Cell::Register { .. }
            | Cell::Tombstone { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Kind { .. }
            | Cell::Element { .. } => None,
        });
        format!("{} {:?}", shown(b, "n"), generations.collect::<Vec<_>>())
    };
    assert_shows(Mutant::GenerationKept, "104 [false]", "104 [true]", steps);
}

#[test]
fn without_a_seen_list_what_a_set_has_seen_counts_again() {
    assert_shows(Mutant::SeenListIgnored, "103", "100", |sides| {
        let [a, _] = sides;
        a.unit(|txn| assert!(txn.add(DB, b"n", 3).is_ok()));
        a.unit(|txn| txn.set(DB, b"n", b"100", SetExpiry::Clear));
        shown(a, "n")
    });
}

#[test]
fn without_a_floor_an_expired_counter_hides_the_new_one() {
    assert_shows(Mutant::FloorIgnored, "nothing", "1", |sides| {
        let [a, b] = sides;
        let old = a.unit(|txn| {
            assert!(txn.add(DB, b"n", 5).is_ok());
            assert!(txn.expire(DB, b"n", Some(UnixMs(1_010))));
        });
        b.take(&old);
        a.now = UnixMs(1_100);
        a.store.expire(a.now, 10, &mut a.facts);
        a.collect(1_050);
        let anew = a.unit(|txn| assert_eq!(txn.add(DB, b"n", 1), Ok(1)));
        b.now = a.now;
        b.take(&anew);
        shown(b, "n")
    });
}

#[test]
fn a_walk_without_tombstones_does_not_delete() {
    assert_shows(Mutant::ResyncWithoutTombstones, "v", "nothing", |sides| {
        let [a, b] = sides;
        let set = a.unit(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
        b.take(&set);
        a.unit(|txn| assert!(txn.delete(DB, b"k")));
        let mut out = Vec::new();
        a.store.walk(WalkPosition::default(), usize::MAX, &mut out);
        for change in &out {
            let stamp = change.stamp.expect("walked");
            assert_ne!(stamp.origin, Origin(2));
            b.store.apply(change, stamp, b.now, &mut b.facts);
        }
        shown(b, "k")
    });
}

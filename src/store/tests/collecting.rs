//! What the horizon lets go, what it does not, and what is admitted beneath it.

use super::{DB, Side, cells, change, register, stamp, text, tombstone};
use crate::base::fact::{Fact, Facts};
use crate::base::stamp::time_of_ms;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Seen};
use crate::store::txn::{SetExpiry, Ttl};
use crate::store::{Admission, Slot};

#[test]
fn a_tombstone_goes_with_the_horizon_and_not_before() {
    let mut side = Side::new(1);
    side.run(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
    side.run(|txn| txn.delete(DB, b"k"));
    side.collect(side.now.0 - 1);
    assert_eq!(side.store.stats().tombstones, 1);
    side.collect(side.now.0 + 1);
    assert_eq!(side.store.stats().tombstones, 0);
    assert!(side.store.is_empty());
    assert_eq!(side.store.collected(), time_of_ms(UnixMs(side.now.0 + 1)));
}

#[test]
fn collecting_is_bounded_and_says_what_is_left() {
    let mut side = Side::new(1);
    for i in 0..10 {
        let key = format!("k{i}");
        side.run(|txn| txn.set(DB, key.as_bytes(), b"v", SetExpiry::Clear));
        side.run(|txn| txn.delete(DB, key.as_bytes()));
    }
    let horizon = time_of_ms(UnixMs(9_999));
    let mut left = Vec::new();
    for _ in 0..3 {
        let more = side.store.collect(horizon, UnixMs(0), 4, &mut side.facts);
        left.push((more, side.store.stats().tombstones));
    }
    assert_eq!(left, [(true, 6), (true, 2), (false, 0)]);
}

#[test]
fn an_expired_key_waits_for_deadline_and_stamps() {
    let mut side = Side::new(1);
    side.run(|txn| txn.set(DB, b"k", b"v", SetExpiry::At(UnixMs(1_050))));
    let written = side.now.0;
    side.store.expire(UnixMs(1_060), 10, &mut side.facts);
    assert_eq!((side.store.stats().hidden, side.store.digest()), (1, 0));
    let collect = |side: &mut Side, ms: u64, before: u64| {
        let horizon = time_of_ms(UnixMs(ms));
        assert!(!side.store.collect(horizon, UnixMs(before), 10, &mut side.facts));
        side.store.check_invariants();
        side.store.stats().hidden
    };
    assert_eq!(collect(&mut side, written - 1, 2_000), 1, "stamps above the horizon");
    assert_eq!(collect(&mut side, written + 1, 1_050), 1, "deadline not before");
    assert_eq!(collect(&mut side, written + 1, 1_051), 0);
    assert!(side.store.is_empty());
}

#[test]
fn a_newer_persist_brings_a_hidden_key_back() {
    let mut side = Side::new(1);
    let unit = side.unit(|txn| txn.set(DB, b"k", b"v", SetExpiry::At(UnixMs(1_050))));
    side.store.expire(UnixMs(1_060), 10, &mut side.facts);
    assert_eq!(side.text("k").as_deref(), Some("v"), "not yet at the clock of this reader");
    assert_eq!(text(&side.store, "k", UnixMs(1_060)), None);
    let persist = change("k", Cell::Expiry { deadline: None });
    side.now = UnixMs(1_070);
    let newer = stamp(1_040, 2);
    assert!(newer > unit.dot);
    assert!(side.store.apply(&persist, newer, side.now, &mut side.facts));
    side.store.check_invariants();
    assert_eq!(side.text("k").as_deref(), Some("v"));
    assert_eq!(side.store.ttl(DB, b"k", side.now), Ttl::NoExpiry);
    assert_eq!(side.store.len(DB), 1);
}

#[test]
fn covered_contributions_go_and_the_value_stays() {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    let first = one.unit(|txn| assert_eq!(txn.add(DB, b"n", 5), Ok(5)));
    two.take(&first);
    let set = two.unit(|txn| txn.set(DB, b"n", b"100", SetExpiry::Clear));
    one.take(&set);
    let more = one.unit(|txn| assert_eq!(txn.add(DB, b"n", 1), Ok(101)));
    two.take(&more);
    assert_eq!(one.store.stats().contributions, 2);
    let digest = one.store.digest();
    one.collect(one.now.0);
    assert_eq!(one.store.stats().contributions, 1, "the new generation only");
    assert_eq!(one.text("n").as_deref(), Some("101"));
    assert_eq!(one.store.digest(), digest);
    assert_eq!(two.store.digest(), digest);
    // Arriving again, what was dropped stays without effect.
    one.take(&first);
    assert_eq!(one.text("n").as_deref(), Some("101"));
    assert_eq!(one.store.digest(), digest);
}

#[test]
fn covered_contributions_wait_for_their_base_but_do_not_pile_up() {
    let mut side = Side::new(1);
    let mut most = 0;
    for round in 0..100 {
        side.unit(|txn| assert!(txn.add(DB, b"n", 1).is_ok()));
        side.run(|txn| txn.set(DB, b"n", b"7", SetExpiry::Clear));
        let before = side.store.stats().contributions;
        // The horizon never reaches the base.
        side.collect(side.now.0 - 1);
        let held = side.store.stats().contributions;
        assert!(round >= 30 || held == before, "{before} contributions, then {held}");
        most = most.max(held);
    }
    assert!(most < 40, "{most} contributions wait");
    assert_eq!(side.text("n").as_deref(), Some("7"));
    side.collect(side.now.0);
    assert_eq!(side.store.stats().contributions, 0);
}

#[test]
fn a_delete_and_new_increments_leave_the_new_contribution_alone() {
    let mut side = Side::new(1);
    side.unit(|txn| assert!(txn.add(DB, b"n", 5).is_ok()));
    side.run(|txn| txn.delete(DB, b"n"));
    side.unit(|txn| assert!(txn.add(DB, b"n", 2).is_ok()));
    let digest = side.store.digest();
    side.collect(side.now.0 + 1);
    assert_eq!(cells(&side.store).len(), 1, "{:?}", cells(&side.store));
    assert_eq!((side.text("n").as_deref(), side.store.digest()), (Some("2"), digest));
}

#[test]
fn a_key_created_anew_carries_the_horizon_as_its_floor() {
    let (mut one, mut two) = (Side::new(1), Side::new(2));
    // Both have it; it expires; one has dropped it, two has not.
    let old = one.unit(|txn| {
        assert_eq!(txn.add(DB, b"n", 5), Ok(5));
        txn.expire(DB, b"n", Some(UnixMs(1_010)));
    });
    two.take(&old);
    one.now = UnixMs(1_100);
    one.store.expire(one.now, 10, &mut one.facts);
    one.collect(1_050);
    assert!(one.store.is_empty());
    let anew = one.unit(|txn| assert_eq!(txn.add(DB, b"n", 1), Ok(1)));
    assert!(anew.changes.iter().any(|change| matches!(change.cell, Cell::KeyCell { .. })));
    two.now = one.now;
    two.take(&anew);
    assert_eq!(two.text("n").as_deref(), Some("1"));
    assert_eq!(two.store.ttl(DB, b"n", two.now), Ttl::NoExpiry);
    assert_eq!(cells(&one.store), cells(&two.store));
    assert_eq!(one.store.digest(), two.store.digest());
}

#[test]
fn what_is_not_listed_and_below_the_writers_horizon_counts_as_seen() {
    let mut facts = Facts::new(false);
    let mut side = Side::new(1);
    let old = change("n", Cell::Contribution { generation: time_of_ms(UnixMs(5)), sum: 7 });
    side.store.apply(&old, stamp(5, 3), side.now, &mut facts);
    let seen = Seen { list: Vec::new(), horizon: time_of_ms(UnixMs(6)) };
    let base = Cell::Register { value: "10".into(), resets: true, seen };
    side.store.apply(&change("n", base), stamp(9, 2), side.now, &mut facts);
    assert_eq!(side.text("n").as_deref(), Some("10"));
    let unseen = change("n", Cell::Contribution { generation: time_of_ms(UnixMs(7)), sum: 1 });
    side.store.apply(&unseen, stamp(7, 3), side.now, &mut facts);
    assert_eq!(side.text("n").as_deref(), Some("11"));
    side.store.check_invariants();
}

#[test]
fn below_the_horizon_only_what_is_held_is_merged() {
    let mut side = Side::new(1);
    let mut facts = Facts::new(false);
    let kept = change("kept", register("v"));
    side.store.apply(&kept, stamp(5, 2), side.now, &mut facts);
    side.collect(100);
    let gone = change("gone", register("v"));
    assert_eq!(side.store.admits(&gone, stamp(101, 2), false), Admission::Merge);
    assert_eq!(side.store.admits(&kept, stamp(5, 2), true), Admission::Merge);
    assert_eq!(side.store.admits(&gone, stamp(6, 2), true), Admission::Ignore);
    assert_eq!(side.store.admits(&gone, stamp(6, 2), false), Admission::BelowHorizon);
    let buried = change("gone", tombstone());
    assert_eq!(side.store.admits(&buried, stamp(6, 2), false), Admission::Merge);
    assert_eq!(side.store.admits(&buried, stamp(6, 2), true), Admission::Ignore);
}

#[test]
fn only_the_very_state_of_a_cell_is_forgotten() {
    let mut side = Side::new(1);
    let mut facts = Facts::new(false);
    let generation = time_of_ms(UnixMs(6));
    let counts = change("k", Cell::Contribution { generation, sum: 4 });
    let lasts = change("k", Cell::Expiry { deadline: Some(UnixMs(9_000)) });
    side.store.apply(&change("k", register("10")), stamp(5, 2), side.now, &mut facts);
    side.store.apply(&counts, stamp(7, 3), side.now, &mut facts);
    side.store.apply(&lasts, stamp(8, 2), side.now, &mut facts);
    let mut forget = |side: &mut Side, slot: Slot, stamp| {
        let gone = side.store.forget(DB, b"k", &slot, stamp, side.now, &mut facts);
        side.store.check_invariants();
        (gone, side.text("k"))
    };
    let shows = |text: &str| Some(text.to_owned());
    let contribution = Slot::Contribution { generation };
    assert_eq!(forget(&mut side, Slot::Register, stamp(4, 2)), (false, shows("14")));
    assert_eq!(forget(&mut side, contribution.clone(), stamp(6, 3)), (false, shows("14")));
    assert_eq!(forget(&mut side, contribution, stamp(7, 3)), (true, shows("10")));
    assert_eq!(forget(&mut side, Slot::Expiry, stamp(8, 2)), (true, shows("10")));
    assert_eq!(side.store.ttl(DB, b"k", side.now), Ttl::NoExpiry);
    assert_eq!(forget(&mut side, Slot::Register, stamp(5, 2)), (true, None));
    assert!(side.store.is_empty());
}

#[test]
fn at_equal_stamps_the_dead_cell_wins_and_spares_the_rest() {
    let mut facts = Facts::new(false);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut side = Side::new(1);
        let arrivals = [
            (change("k", register("v")), stamp(5, 2)),
            (change("k", tombstone()), stamp(5, 2)),
            (change("k", register("newer")), stamp(5, 3)),
        ];
        for i in order {
            let (change, stamp) = &arrivals[i];
            side.store.apply(change, *stamp, side.now, &mut facts);
        }
        assert_eq!(side.text("k").as_deref(), Some("newer"));
        let mut side = Side::new(1);
        for i in order.into_iter().filter(|&i| i < 2) {
            let (change, stamp) = &arrivals[i];
            side.store.apply(change, *stamp, side.now, &mut facts);
        }
        assert_eq!(side.text("k"), None);
    }
}

#[test]
fn facts_tell_what_became_visible_and_what_lost() {
    let mut side = Side::new(1);
    side.run(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
    let drained: Vec<Fact> = side.facts.drain().collect();
    assert!(matches!(
        drained[..],
        [Fact::KeyChanged { visible_before: false, visible_after: true, .. }]
    ));
    let old = change("k", register("older"));
    side.store.apply(&old, stamp(3, 2), side.now, &mut side.facts);
    let drained: Vec<Fact> = side.facts.drain().collect();
    assert!(matches!(drained[..], [Fact::StaleDropped { .. }]), "{drained:?}");
}

#[test]
fn turning_company_on_begins_with_an_empty_horizon() {
    let mut side = Side::new(1);
    side.store.set_alone(true);
    side.run(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
    side.collect(5_000);
    side.run(|txn| txn.set(DB, b"l", b"10", SetExpiry::Clear));
    side.store.set_alone(false);
    assert_eq!(side.store.collected(), 0);
    // Nobody's increments are taken for seen on account of a horizon of solitude.
    let theirs = change("l", Cell::Contribution { generation: time_of_ms(UnixMs(900)), sum: 2 });
    side.store.apply(&theirs, stamp(900, 2), side.now, &mut side.facts);
    assert_eq!(side.text("l").as_deref(), Some("12"));
}

#[test]
fn a_newer_deadline_brings_a_hidden_key_back_beside_an_older_overwrite() {
    let mut side = Side::new(1);
    let mut facts = Facts::new(true);
    let now = UnixMs(9_730);
    let apply = |side: &mut Side, cell: Cell, at, facts: &mut Facts| {
        side.store.apply(&change("k", cell), at, now, facts);
        side.store.get(DB, b"k", now).is_some()
    };
    let expiry = |ms| Cell::Expiry { deadline: Some(UnixMs(ms)) };
    assert!(apply(&mut side, register("old"), stamp(10_100, 5), &mut facts));
    assert!(!apply(&mut side, expiry(9_724), stamp(10_102, 9), &mut facts));
    assert!(apply(&mut side, expiry(11_347), stamp(10_103, 7), &mut facts));
    assert!(apply(&mut side, register("new"), stamp(10_102, 2), &mut facts));
    side.store.check_invariants();
    let shown: Vec<(bool, bool)> = facts
        .drain()
        .filter_map(|fact| match fact {
            Fact::KeyChanged { visible_before, visible_after, .. } => {
                Some((visible_before, visible_after))
            }
            Fact::StaleDropped { .. } => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, [(false, true), (true, false), (false, true), (true, true)]);
}

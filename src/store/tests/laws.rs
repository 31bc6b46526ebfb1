//! The laws of the merge, over cells of any content, sensible or not.

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use crate::base::fact::Facts;
use crate::base::ids::{DbIndex, Origin};
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Kind, Part, Seen, SeenContribution};

use super::{cells, store, visible};
use crate::store::{Store, WalkPosition};

type Arrival = (Change, Stamp);

const CLOCK: UnixMs = UnixMs(20);

fn origins() -> impl Strategy<Value = Origin> {
    (1u32..4).prop_map(Origin)
}

fn sums() -> impl Strategy<Value = i128> {
    prop_oneof![-3i128..4, Just(i128::MAX), Just(i128::MIN)]
}

fn seen() -> impl Strategy<Value = Seen> {
    let item =
        (origins(), 0u64..12, 0u64..12, sums()).prop_map(|(origin, generation, last, sum)| {
            SeenContribution { origin, generation, last, sum }
        });
    (proptest::collection::vec(item, 0..4), 0u64..12)
        .prop_map(|(list, horizon)| Seen { list, horizon })
}

fn cell() -> impl Strategy<Value = Cell> {
    let value = prop_oneof![Just("7"), Just("-2"), Just("text"), Just(""), Just("longer text")];
    prop_oneof![
        3 => (value, any::<bool>(), seen()).prop_map(|(value, resets, seen)| Cell::Register {
            value: Bytes::from_static(value.as_bytes()),
            resets,
            seen
        }),
        2 => seen().prop_map(|seen| Cell::Tombstone { seen }),
        3 => (0u64..12, sums())
            .prop_map(|(generation, sum)| Cell::Contribution { generation, sum }),
        2 => proptest::option::of(10u64..30)
            .prop_map(|ms| Cell::Expiry { deadline: ms.map(UnixMs) }),
        1 => (0u64..12).prop_map(|floor| Cell::KeyCell { floor }),
        1 => Just(Cell::DatabaseTombstone),
        2 => Just(Cell::Kind { kind: Kind::Hash }),
        8 => element(),
    ]
}

fn element() -> impl Strategy<Value = Cell> {
    let value = prop_oneof![Just("7"), Just("text"), Just("")];
    let part = prop_oneof![
        4 => (value, seen()).prop_map(|(value, seen)| Part::Register {
            value: Bytes::from_static(value.as_bytes()),
            seen
        }),
        2 => seen().prop_map(|seen| Part::Tombstone { seen }),
        2 => (0u64..12, sums())
            .prop_map(|(generation, sum)| Part::Contribution { generation, sum }),
    ];
    let name = prop_oneof![Just("f"), Just("g"), Just("")];
    (name, part).prop_map(|(name, part)| Cell::Element {
        kind: Kind::Hash,
        name: Bytes::from_static(name.as_bytes()),
        part,
    })
}

/// Few stamps, so that many are equal, also for different contents.
fn arrival() -> impl Strategy<Value = Arrival> {
    let key = prop_oneof![Just("a"), Just("b"), Just("counter")];
    (0u16..2, key, cell(), 1u64..12, origins()).prop_map(|(db, key, cell, time, origin)| {
        let key = match cell {
            Cell::DatabaseTombstone => Bytes::new(),
            Cell::Register { .. }
            | Cell::Tombstone { .. }
            | Cell::Contribution { .. }
            | Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::Kind { .. }
            | Cell::Element { .. } => Bytes::from_static(key.as_bytes()),
        };
        (Change { db: DbIndex(db), key, stamp: None, cell }, Stamp::new(time, origin))
    })
}

fn arrivals(count: usize) -> impl Strategy<Value = Vec<Arrival>> {
    proptest::collection::vec(arrival(), 0..count)
}

fn merge(into: &mut Store, arrivals: &[Arrival]) {
    let mut facts = Facts::new(true);
    for (change, stamp) in arrivals {
        let before = (cells(into), into.digest());
        let changed = into.apply(change, *stamp, CLOCK, &mut facts);
        assert_eq!(changed, before.0 != cells(into), "apply says whether anything changed");
        assert!(changed || before.1 == into.digest());
        into.check_invariants();
    }
}

/// All of it, as another store takes it in.
fn merge_store(into: &mut Store, from: &Store) {
    let mut out = Vec::new();
    assert_eq!(from.walk(WalkPosition::default(), usize::MAX, &mut out), None);
    let arrivals: Vec<Arrival> =
        out.into_iter().map(|change| (change.clone(), change.stamp.expect("walked"))).collect();
    merge(into, &arrivals);
}

fn merged(seed: u64, arrivals: &[Arrival]) -> Store {
    let mut made = store(seed);
    merge(&mut made, arrivals);
    made
}

fn assert_same(one: &Store, other: &Store) {
    assert_eq!(cells(one), cells(other));
    assert_eq!(visible(one, CLOCK), visible(other, CLOCK));
    assert_eq!(one.digest(), other.digest());
}

proptest! {
    #[test]
    fn any_order_and_repetition_gives_one_state(
        list in arrivals(14),
        swaps in proptest::collection::vec((any::<u16>(), any::<u16>()), 20),
        again in proptest::collection::vec(any::<u16>(), 6),
    ) {
        let mut shuffled = list.clone();
        for index in again {
            if !list.is_empty() {
                shuffled.push(list[usize::from(index) % list.len()].clone());
            }
        }
        for (i, j) in swaps {
            let len = shuffled.len().max(1);
            if !shuffled.is_empty() {
                shuffled.swap(usize::from(i) % len, usize::from(j) % len);
            }
        }
        assert_same(&merged(1, &list), &merged(2, &shuffled));
    }

    #[test]
    fn states_merge_commutatively_associatively_idempotently(
        one in arrivals(8),
        two in arrivals(8),
        three in arrivals(8),
    ) {
        let (a, b, c) = (merged(1, &one), merged(2, &two), merged(3, &three));
        let mut left = merged(1, &one);
        merge_store(&mut left, &b);
        merge_store(&mut left, &c);
        let mut right = merged(3, &three);
        merge_store(&mut right, &b);
        let mut outer = merged(4, &[]);
        merge_store(&mut outer, &right);
        merge_store(&mut outer, &a);
        assert_same(&left, &outer);
        let before = cells(&left);
        merge_store(&mut left, &outer);
        assert_eq!(before, cells(&left));
    }

    #[test]
    fn whoever_sees_something_else_has_another_digest(list in arrivals(13)) {
        let mut made = store(1);
        let mut facts = Facts::new(true);
        for (i, (change, given)) in list.iter().enumerate() {
            // Each stamp once, in some order: one stamp never stands for two contents.
            let stamp = Stamp::new(1 + i as u64 * 7 % 13, given.origin);
            let before = (visible(&made, CLOCK), made.digest());
            made.apply(change, stamp, CLOCK, &mut facts);
            let after = (visible(&made, CLOCK), made.digest());
            assert!(before.0 == after.0 || before.1 != after.1, "{change:?} at {stamp:?}");
            assert_eq!(after.0.is_empty(), after.1 == 0);
        }
    }

    #[test]
    fn a_walk_in_small_steps_gives_every_cell_once(list in arrivals(20), budget in 0usize..200) {
        let made = merged(1, &list);
        let (mut out, mut from, mut steps) = (Vec::new(), WalkPosition::default(), 0);
        while let Some(next) = made.walk(from, budget, &mut out) {
            assert!(next > from);
            from = next;
            steps += 1;
            assert!(steps < 100);
        }
        let mut stepped: Vec<String> = out.iter().map(|change| format!("{change:?}")).collect();
        stepped.sort();
        assert_eq!(stepped, cells(&made));
    }

    #[test]
    fn whatever_is_collected_when_nothing_bad_and_nothing_endless_happens(
        list in arrivals(14),
        horizon in 0u64..14,
        expired_before in 0u64..40,
    ) {
        let mut made = merged(1, &list);
        let mut facts = Facts::new(true);
        let (digest, sight) = (made.digest(), visible(&made, CLOCK));
        let mut steps = 0;
        while made.collect(horizon, UnixMs(expired_before), 1, &mut facts) {
            made.check_invariants();
            steps += 1;
            assert!(steps < 100, "collecting comes to no end");
        }
        made.check_invariants();
        assert_eq!(made.digest(), digest);
        assert_eq!(visible(&made, CLOCK), sight);
    }
}

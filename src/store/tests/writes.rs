//! One node alone against a model of Redis, and single commands in corners.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{DB, Side, cells, text, visible};
use crate::base::ids::DbIndex;
use crate::base::stamp::time_of_ms;
use crate::base::time::UnixMs;
use crate::store::parse_integer;
use crate::store::txn::{AddError, SetExpiry, Ttl, Txn};

#[derive(Clone, Debug)]
pub enum Op {
    Set(u8, &'static str, SetExpiry),
    Delete(u8),
    Add(u8, i64),
    Expire(u8, Option<UnixMs>),
    Flush(Option<u16>),
}

/// Deadlines around the times at which the units of a test run.
fn deadlines() -> impl Strategy<Value = UnixMs> {
    (995u64..1040).prop_map(UnixMs)
}

pub fn op() -> impl Strategy<Value = Op> {
    let value = prop_oneof![
        Just("5"),
        Just("-7"),
        Just("text"),
        Just(""),
        Just("9223372036854775806"),
        Just("a value that does not fit into the place of a short one, whatever its size class is"),
    ];
    let expiry = prop_oneof![
        2 => Just(SetExpiry::Clear),
        2 => Just(SetExpiry::Keep),
        1 => deadlines().prop_map(SetExpiry::At),
    ];
    let key = || 0u8..3;
    prop_oneof![
        4 => (key(), value, expiry).prop_map(|(key, value, expiry)| Op::Set(key, value, expiry)),
        2 => key().prop_map(Op::Delete),
        4 => (key(), prop_oneof![-3i64..4, Just(i64::MAX), Just(i64::MIN)])
            .prop_map(|(key, delta)| Op::Add(key, delta)),
        3 => (key(), proptest::option::of(deadlines()))
            .prop_map(|(key, deadline)| Op::Expire(key, deadline)),
        1 => proptest::option::of(0u16..2).prop_map(Op::Flush),
    ]
}

pub fn name(key: u8) -> Vec<u8> {
    format!("key:{key}").into_bytes()
}

pub fn run_op(txn: &mut Txn<'_>, op: &Op) -> String {
    match *op {
        Op::Set(key, value, expiry) => {
            txn.set(DB, &name(key), value.as_bytes(), expiry);
            String::from("OK")
        }
        Op::Delete(key) => format!("{}", txn.delete(DB, &name(key))),
        Op::Add(key, delta) => format!("{:?}", txn.add(DB, &name(key), delta)),
        Op::Expire(key, deadline) => format!("{}", txn.expire(DB, &name(key), deadline)),
        Op::Flush(db) => {
            txn.flush(db.map(DbIndex));
            String::from("OK")
        }
    }
}

/// What Redis would hold in database 0.
#[derive(Default)]
struct Model {
    keys: BTreeMap<u8, (String, Option<u64>)>,
}

impl Model {
    fn run(&mut self, op: &Op, now: u64) -> String {
        self.keys.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| deadline > now));
        match *op {
            Op::Set(key, _, SetExpiry::At(deadline)) if deadline.0 <= now => {
                self.keys.remove(&key);
            }
            Op::Set(key, value, expiry) => {
                let held = self.keys.get(&key).and_then(|(_, deadline)| *deadline);
                let deadline = match expiry {
                    SetExpiry::Clear => None,
                    SetExpiry::Keep => held,
                    SetExpiry::At(deadline) => Some(deadline.0),
                };
                self.keys.insert(key, (value.to_owned(), deadline));
            }
            Op::Delete(key) => return format!("{}", self.keys.remove(&key).is_some()),
            Op::Add(key, delta) => return format!("{:?}", self.add(key, delta)),
            Op::Expire(key, deadline) => {
                let Some((_, held)) = self.keys.get_mut(&key) else { return "false".into() };
                let had = held.is_some();
                *held = deadline.map(|deadline| deadline.0);
                if deadline.is_some_and(|deadline| deadline.0 <= now) {
                    self.keys.remove(&key);
                }
                return format!("{}", had || deadline.is_some());
            }
            Op::Flush(db) => {
                if db.is_none_or(|db| db == 0) {
                    self.keys.clear();
                }
            }
        }
        String::from("OK")
    }

    fn add(&mut self, key: u8, delta: i64) -> Result<i64, AddError> {
        let (text, _) = self.keys.entry(key).or_insert_with(|| ("0".into(), None));
        let held = parse_integer(text.as_bytes()).ok_or(AddError::NotAnInteger)?;
        let sum = held.checked_add(delta).ok_or(AddError::Overflow)?;
        *text = sum.to_string();
        Ok(sum)
    }

    /// As [`shown`] shows a store.
    fn shown(&self, now: u64) -> Vec<String> {
        let alive = self.keys.iter().filter(|(_, (_, at))| at.is_none_or(|at| at > now));
        alive.map(|(key, (text, at))| format!("{key} {text} {at:?}")).collect()
    }
}

fn shown(side: &Side) -> Vec<String> {
    let mut out = Vec::new();
    for key in 0..3 {
        let Some(text) = text(&side.store, &format!("key:{key}"), side.now) else { continue };
        let at = match side.store.ttl(DB, &name(key), side.now) {
            Ttl::NoKey => panic!("a key with a value and no key"),
            Ttl::NoExpiry => None,
            Ttl::At(at) => Some(at.0),
        };
        out.push(format!("{key} {text} {at:?}"));
    }
    out
}

proptest! {
    #[test]
    fn one_node_behaves_as_redis(
        units in proptest::collection::vec(
            (proptest::collection::vec(op(), 1..4), any::<bool>(), any::<bool>()), 1..30),
        alone in any::<bool>(),
        gather in any::<bool>(),
    ) {
        let mut side = Side::new(1);
        side.store.set_alone(alone);
        side.gather = gather;
        let mut model = Model::default();
        for (ops, sweep, collect) in units {
            let now = side.now.0 + 1;
            side.run(|txn| {
                for op in &ops {
                    assert_eq!(run_op(txn, op), model.run(op, now), "{op:?}");
                }
            });
            assert_eq!(shown(&side), model.shown(now));
            if sweep {
                side.store.expire(side.now, 2, &mut side.facts);
                assert_eq!(shown(&side), model.shown(now));
            }
            if collect {
                side.collect(now - 2);
                assert_eq!(shown(&side), model.shown(now));
            }
            side.store.check_invariants();
            let due = side.store.expire(side.now, usize::MAX, &mut side.facts);
            assert!(due.is_none_or(|due| due > side.now));
            assert_eq!(side.store.len(DB) as usize, model.shown(now).len());
        }
    }
}

#[test]
fn overflow_and_text_leave_the_counter_as_it_is() {
    let mut side = Side::new(1);
    side.run(|txn| txn.set(DB, b"n", b"9223372036854775807", SetExpiry::Clear));
    assert_eq!(side.run(|txn| txn.add(DB, b"n", 1)), (Err(AddError::Overflow), None));
    side.run(|txn| txn.set(DB, b"n", b"010", SetExpiry::Clear));
    assert_eq!(side.run(|txn| txn.add(DB, b"n", 1)), (Err(AddError::NotAnInteger), None));
    assert_eq!(side.text("n").as_deref(), Some("010"));
}

#[test]
fn increment_of_an_expired_key_begins_at_zero_without_expiry() {
    let mut side = Side::new(1);
    side.unit(|txn| assert!(txn.add(DB, b"n", 41).is_ok()));
    side.run(|txn| txn.expire(DB, b"n", Some(UnixMs(1_005))));
    side.now = UnixMs(1_010);
    assert_eq!(side.run(|txn| txn.add(DB, b"n", 1)).0, Ok(1));
    assert_eq!(side.store.ttl(DB, b"n", side.now), Ttl::NoExpiry);
}

#[test]
fn append_on_an_expired_key_does_not_inherit_the_expiry() {
    let mut side = Side::new(1);
    side.run(|txn| txn.set(DB, b"k", b"old", SetExpiry::At(UnixMs(1_005))));
    side.now = UnixMs(1_010);
    side.run(|txn| txn.set(DB, b"k", b"new", SetExpiry::Keep));
    assert_eq!(side.store.ttl(DB, b"k", side.now), Ttl::NoExpiry);
    assert_eq!(side.text("k").as_deref(), Some("new"));
}

#[test]
fn nothing_written_is_no_unit_and_gather_off_gathers_nothing() {
    let mut side = Side::new(1);
    assert_eq!(side.run(|txn| txn.delete(DB, b"k")), (false, None));
    assert_eq!(side.run(|txn| txn.expire(DB, b"k", None)), (false, None));
    side.gather = false;
    let unit = side.unit(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
    assert!(unit.changes.is_empty());
    let dot = unit.dot;
    assert!(side.unit(|txn| txn.set(DB, b"k", b"w", SetExpiry::Clear)).dot > dot);
}

#[test]
fn alone_nothing_is_left_of_deletes() {
    let mut side = Side::new(1);
    side.store.set_alone(true);
    for gather in [false, true] {
        side.gather = gather;
        side.run(|txn| txn.set(DB, b"a", b"1", SetExpiry::At(UnixMs(9_000))));
        side.unit(|txn| assert!(txn.add(DB, b"a", 5).is_ok()));
        side.unit(|txn| assert!(txn.add(DB, b"b", 5).is_ok()));
        side.run(|txn| txn.set(DB, b"b", b"1", SetExpiry::Clear));
        assert_eq!(side.store.stats().contributions, 1);
        side.run(|txn| txn.delete(DB, b"a"));
        side.run(|txn| txn.flush(None));
        assert_eq!(cells(&side.store), Vec::<String>::new());
        assert!(side.store.is_empty());
    }
    side.run(|txn| txn.set(DB, b"a", b"1", SetExpiry::At(UnixMs(1_500))));
    side.store.expire(UnixMs(1_600), 10, &mut side.facts);
    assert!(side.store.is_empty());
    side.store.check_invariants();
}

#[test]
fn watched_keys_are_reported_once_and_counted() {
    let mut side = Side::new(1);
    side.store.watch(DB, b"a");
    side.store.watch(DB, b"a");
    side.store.watch(DB, b"b");
    side.run(|txn| {
        txn.set(DB, b"a", b"1", SetExpiry::Clear);
        txn.set(DB, b"a", b"2", SetExpiry::Clear);
        txn.set(DB, b"c", b"2", SetExpiry::Clear);
    });
    let names = |side: &mut Side| -> Vec<Vec<u8>> {
        side.store.take_touched().into_iter().map(|(_, key)| key.to_vec()).collect()
    };
    assert_eq!(names(&mut side), [b"a".to_vec()]);
    assert!(names(&mut side).is_empty());
    side.store.unwatch(DB, b"a");
    side.run(|txn| txn.expire(DB, b"a", Some(UnixMs(1_100))));
    assert_eq!(names(&mut side), [b"a".to_vec()]);
    side.store.expire_key(DB, b"a", UnixMs(1_100), &mut side.facts);
    assert_eq!(names(&mut side), [b"a".to_vec()]);
    side.store.unwatch(DB, b"a");
    side.run(|txn| txn.set(DB, b"a", b"1", SetExpiry::Clear));
    assert!(names(&mut side).is_empty());
    side.run(|txn| txn.flush(Some(DB)));
    assert!(names(&mut side).is_empty(), "b did not exist");
    assert!(visible(&side.store, side.now).is_empty());
}

#[test]
fn moved_stamps_keep_data_and_order() {
    let mut side = Side::new(1);
    side.run(|txn| txn.set(DB, b"a", b"10", SetExpiry::At(UnixMs(9_000))));
    side.unit(|txn| assert!(txn.add(DB, b"a", 1).is_ok()));
    side.unit(|txn| assert!(txn.add(DB, b"b", 2).is_ok()));
    side.run(|txn| txn.set(DB, b"b", b"3", SetExpiry::Clear));
    side.run(|txn| txn.delete(DB, b"b"));
    side.run(|txn| txn.flush(Some(DbIndex(3))));
    let sight = visible(&side.store, side.now);
    let from = side.clock.origin();
    let to = crate::base::ids::Origin(9);
    let times = side.store.stamp_times(from);
    assert_eq!(times.len(), 5);
    let later = |i: usize| time_of_ms(UnixMs(7_000)) + i as u64;
    let pairs: Vec<(u64, u64)> = times.iter().enumerate().map(|(i, &t)| (t, later(i))).collect();
    side.store.move_stamps(from, to, &pairs, 0);
    side.store.check_invariants();
    assert_eq!(visible(&side.store, side.now), sight);
    assert!(side.store.stamp_times(from).is_empty());
    assert_eq!(side.store.stamp_times(to), (0..5).map(later).collect::<Vec<_>>());
    // The same data, merged into a store that has never seen it, is the same again.
    let mut other = Side::new(2);
    let mut out = Vec::new();
    side.store.walk(crate::store::WalkPosition::default(), usize::MAX, &mut out);
    for change in &out {
        let stamp = change.stamp.expect("walked");
        other.store.apply(change, stamp, other.now, &mut other.facts);
    }
    assert_eq!(other.store.digest(), side.store.digest());
}

/// A log that has lost the record of a move holds what others have got under the new stamps.
#[test]
fn a_copy_from_before_a_move_within_its_origin_does_not_count_again() {
    let mut side = Side::new(1);
    side.unit(|txn| assert!(txn.add(DB, b"a", 2).is_ok()));
    side.unit(|txn| assert!(txn.add(DB, b"a", 3).is_ok()));
    let mut older = Vec::new();
    side.store.walk(crate::store::WalkPosition::default(), usize::MAX, &mut older);
    let origin = side.clock.origin();
    let times = side.store.stamp_times(origin);
    let pairs: Vec<(u64, u64)> =
        times.iter().zip(time_of_ms(UnixMs(7_000))..).map(|(&old, new)| (old, new)).collect();
    side.store.move_stamps(origin, origin, &pairs, 0);
    let (moved, sight) = (side.store.digest(), visible(&side.store, side.now));
    for change in &older {
        let stamp = change.stamp.expect("walked");
        side.store.apply(change, stamp, side.now, &mut side.facts);
    }
    assert_eq!((side.store.digest(), visible(&side.store, side.now)), (moved, sight));
}

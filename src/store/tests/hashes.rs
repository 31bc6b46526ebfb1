//! Hashes: small and large, alone and beside strings, and what goes when.

use bytes::Bytes;

use super::{Side, cells};
use crate::base::fact::Facts;
use crate::base::ids::{DbIndex, Origin};
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Kind, Part, Seen};
use crate::store::txn::{SetExpiry, Ttl};
use crate::store::{Store, Value};

const DB: DbIndex = DbIndex(0);

fn hset(side: &mut Side, key: &str, pairs: &[(&str, &str)]) -> crate::base::unit::Unit {
    side.unit(|txn| {
        for (field, value) in pairs {
            let done =
                txn.set_element(DB, key.as_bytes(), Kind::Hash, field.as_bytes(), value.as_bytes());
            assert!(done.is_ok());
        }
    })
}

fn hdel(side: &mut Side, key: &str, field: &str) -> crate::base::unit::Unit {
    side.unit(|txn| {
        let done = txn.remove_element(DB, key.as_bytes(), Kind::Hash, field.as_bytes());
        assert_eq!(done, Ok(true));
    })
}

fn shown(store: &Store, key: &str, clock: UnixMs) -> Option<String> {
    match store.get(DB, key.as_bytes(), clock)? {
        Value::Elements(all) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut list: Vec<String> = all
                .shown()
                .map(|(name, value)| format!("{}={}", text(name), text(&value.to_bytes())))
                .collect();
            list.sort();
            Some(list.join(" "))
        }
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
    }
}

fn two() -> (Side, Side) {
    (Side::new(1), Side::new(2))
}

fn is(side: &Side, key: &str) -> String {
    shown(&side.store, key, side.now).unwrap_or_else(|| "nothing".to_owned())
}

#[test]
fn a_hash_grows_out_of_one_allocation_and_is_the_same() {
    let (mut a, mut b) = two();
    let mut wanted = Vec::new();
    for at in 0..400 {
        let (field, value) = (format!("field:{at:03}"), format!("value {at}"));
        b.take(&hset(&mut a, "h", &[(&field, &value)]));
        wanted.push(format!("{field}={value}"));
        if at % 3 == 0 {
            b.take(&hdel(&mut a, "h", &field));
            wanted.pop();
        }
        a.store.check_invariants();
    }
    assert_eq!(is(&a, "h"), wanted.join(" "));
    assert_eq!(is(&b, "h"), wanted.join(" "));
    assert_eq!(cells(&a.store), cells(&b.store));
    assert_eq!(a.store.digest(), b.store.digest());
}

#[test]
fn a_deleted_field_leaves_a_trace_until_the_horizon() {
    let (mut a, mut b) = two();
    let set = hset(&mut a, "h", &[("f", "1"), ("g", "2")]);
    let del = hdel(&mut a, "h", "f");
    b.take(&del);
    b.take(&set);
    assert_eq!(is(&b, "h"), "g=2");
    assert_eq!(cells(&a.store), cells(&b.store));
    let mut facts = Facts::new(true);
    let held = cells(&a.store).len();
    a.store.collect(del.dot.time - 1, UnixMs(0), 9, &mut facts);
    assert_eq!(cells(&a.store).len(), held, "the delete is not everywhere yet");
    a.store.collect(del.dot.time, UnixMs(0), 9, &mut facts);
    a.store.check_invariants();
    assert_eq!(cells(&a.store).len(), held - 1);
    assert_eq!(is(&a, "h"), "g=2");
}

#[test]
fn what_is_written_to_the_key_removes_older_fields_in_any_order() {
    let (mut a, mut b) = two();
    let old = hset(&mut a, "h", &[("f", "1")]);
    b.take(&old);
    let deleted = b.unit(|txn| assert!(txn.delete(DB, b"h")));
    let newer = hset(&mut a, "h", &[("g", "2")]);
    for units in [[&deleted, &newer, &old], [&newer, &old, &deleted], [&old, &newer, &deleted]] {
        let mut c = Side::new(3);
        units.iter().for_each(|unit| c.take(unit));
        let newest = newer.dot > deleted.dot;
        assert_eq!(is(&c, "h"), if newest { "g=2" } else { "nothing" });
    }
}

#[test]
fn a_deleted_hash_gives_back_only_increments_that_the_delete_had_not_seen() {
    let (mut a, mut b) = two();
    let add = |side: &mut Side, by: i64| {
        side.unit(|txn| assert!(txn.add_to_element(DB, b"h", Kind::Hash, b"n", by).is_ok()))
    };
    let first = add(&mut a, 5);
    b.take(&first);
    let deleted = b.unit(|txn| assert!(txn.delete(DB, b"h")));
    let second = add(&mut a, 3);
    assert_eq!(is(&a, "h"), "n=8");
    a.take(&deleted);
    b.take(&second);
    // The second is newer than the delete, or it went with it.
    let wanted = if second.dot > deleted.dot { "n=3" } else { "nothing" };
    assert_eq!((is(&a, "h"), is(&b, "h")), (wanted.to_owned(), wanted.to_owned()));
    assert_eq!(a.store.digest(), b.store.digest());
}

#[test]
fn the_last_field_takes_the_expiry_along() {
    let mut a = Side::new(1);
    hset(&mut a, "h", &[("f", "1")]);
    let deadline = UnixMs(a.now.0 + 1000);
    a.unit(|txn| assert!(txn.expire(DB, b"h", Some(deadline))));
    hdel(&mut a, "h", "f");
    assert_eq!(is(&a, "h"), "nothing");
    hset(&mut a, "h", &[("g", "2")]);
    assert_eq!(a.store.ttl(DB, b"h", a.now), Ttl::NoExpiry);
    assert_eq!(is(&a, "h"), "g=2");
}

#[test]
fn the_newest_key_cell_decides_and_the_rest_goes_with_the_horizon() {
    let (mut a, mut b) = two();
    let text = a.unit(|txn| txn.set(DB, b"k", b"text", SetExpiry::Clear));
    let mut made = hset(&mut b, "k", &[("f", "1")]);
    while made.dot < text.dot {
        b.unit(|txn| assert!(txn.delete(DB, b"k")));
        made = hset(&mut b, "k", &[("f", "1")]);
    }
    a.take(&made);
    assert_eq!(is(&a, "k"), "f=1");
    let mut facts = Facts::new(true);
    let held = cells(&a.store).len();
    a.store.collect(made.dot.time, UnixMs(0), 9, &mut facts);
    a.store.check_invariants();
    assert_eq!(is(&a, "k"), "f=1");
    assert_eq!(cells(&a.store).len(), held - 1, "the string is gone");
    let _ = a.unit(|txn| txn.set(DB, b"k", b"again", SetExpiry::Clear));
    assert_eq!(is(&a, "k"), "again");
}

#[test]
fn one_transaction_may_make_a_key_this_and_that() {
    let (mut a, mut b) = two();
    b.take(&hset(&mut a, "k", &[("old", "1")]));
    let unit = a.unit(|txn| {
        txn.set(DB, b"k", b"text", SetExpiry::Clear);
        assert!(txn.set_element(DB, b"k", Kind::Hash, b"f", b"1").is_err());
        assert!(txn.delete(DB, b"k"));
        assert_eq!(txn.set_element(DB, b"k", Kind::Hash, b"f", b"2"), Ok(true));
        assert_eq!(txn.set_element(DB, b"k", Kind::Hash, b"f", b"3"), Ok(false));
    });
    b.take(&unit);
    assert_eq!((is(&a, "k"), is(&b, "k")), ("f=3".to_owned(), "f=3".to_owned()));
    let unit = a.unit(|txn| {
        assert!(txn.delete(DB, b"k"));
        assert_eq!(txn.set_element(DB, b"k", Kind::Hash, b"g", b"1"), Ok(true));
        txn.set(DB, b"k", b"text", SetExpiry::Clear);
    });
    b.take(&unit);
    assert_eq!((is(&a, "k"), is(&b, "k")), ("text".to_owned(), "text".to_owned()));
    assert_eq!(cells(&a.store), cells(&b.store));
}

#[test]
fn alone_a_delete_leaves_nothing() {
    let mut a = Side::new(1);
    a.store.set_alone(true);
    hset(&mut a, "h", &[("f", "1"), ("g", "2")]);
    hdel(&mut a, "h", "f");
    assert_eq!(cells(&a.store).len(), 2, "a key cell and a field");
    hdel(&mut a, "h", "g");
    assert!(a.store.is_empty());
}

#[test]
fn stamps_of_every_kind_come_back_as_they_were() {
    let mut store = super::store(1);
    let mut facts = Facts::new(false);
    let mut wanted = Vec::new();
    for (at, time) in [5u64, 1 << 60, 7, 7, 1 << 40, 3].into_iter().enumerate() {
        let stamp = Stamp::new(time, Origin(1 + at as u32 % 3));
        let seen = Seen { list: Vec::new(), horizon: [0, time, time / 2][at % 3] };
        let value = Bytes::from(vec![b'v'; at * 50]);
        let part = Part::Register { value, seen };
        let name = Bytes::from(format!("f{at}"));
        let cell = Cell::Element { kind: Kind::Hash, name, part };
        let change = Change { db: DB, key: Bytes::from_static(b"h"), stamp: Some(stamp), cell };
        assert!(store.apply(&change, stamp, UnixMs(0), &mut facts));
        assert!(store.holds(&change, stamp));
        wanted.push(format!("{change:?}"));
        wanted.sort();
        assert_eq!(cells(&store), wanted);
        store.check_invariants();
    }
}

fn incr(side: &mut Side, key: &str) -> (i64, crate::base::unit::Unit) {
    let mut sum = 0;
    let unit = side.unit(|txn| sum = txn.add(DB, key.as_bytes(), 1).expect("a number"));
    (sum, unit)
}

/// What was counted beside a hash is hidden by it; when that has been emptied, a counter begins anew, on all nodes.
#[test]
fn an_increment_behind_an_emptied_hash_counts_nothing_hidden() {
    let (mut a, mut b) = two();
    let (_, counted) = incr(&mut b, "k");
    // (Later by the clock of the other.)
    let other = hset(&mut a, "other", &[("f", "0")]);
    let set = hset(&mut a, "k", &[("f", "1")]);
    b.take(&other);
    b.take(&set);
    a.take(&counted);
    assert_eq!((is(&a, "k"), is(&b, "k")), ("f=1".to_owned(), "f=1".to_owned()));
    let del = hdel(&mut b, "k", "f");
    let (told, again) = incr(&mut b, "k");
    assert_eq!((told, is(&b, "k")), (1, "1".to_owned()));
    a.take(&del);
    a.take(&again);
    assert_eq!(is(&a, "k"), "1");
    assert_eq!(a.store.digest(), b.store.digest());
    // One that knows no more of what was hidden comes to the same.
    let (mut a, mut b) = two();
    let old = a.unit(|txn| txn.set(DB, b"k", b"100", SetExpiry::Clear));
    let other = hset(&mut b, "other", &[("f", "0")]);
    let set = hset(&mut b, "k", &[("f", "1")]);
    b.take(&old);
    a.take(&other);
    a.take(&set);
    let del = hdel(&mut b, "k", "f");
    a.take(&del);
    let mut facts = Facts::new(true);
    b.store.collect(del.dot.time, UnixMs(0), 9, &mut facts);
    let (told, again) = incr(&mut b, "k");
    assert_eq!((told, is(&b, "k")), (1, "1".to_owned()));
    a.take(&again);
    let (told, other) = incr(&mut a, "k");
    assert_eq!(told, 2, "{:?}", cells(&a.store));
    b.take(&other);
    assert_eq!((is(&a, "k"), is(&b, "k")), ("2".to_owned(), "2".to_owned()));
}

//! Packed entries, tables against a model, SCAN and memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{DB, Side};
use crate::base::ids::Origin;
use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::SeenContribution;
use crate::store::entry::{Entry, malloc_bytes};
use crate::store::state::{Base, ExpiryCell, Side as SideRecord};
use crate::store::table::{KeyHasher, Table, tag_of};
use crate::store::txn::SetExpiry;

fn base() -> impl Strategy<Value = Option<Base>> {
    let time = prop_oneof![Just(0u64), 1u64..9, Just(1u64 << 57), Just(u64::MAX)];
    proptest::option::of((time.clone(), time, any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(time, horizon, origin, live, resets)| Base {
            stamp: Stamp::new(time, Origin(origin)),
            live,
            resets,
            horizon,
        },
    ))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![0usize..40, 250usize..260, 65_530usize..65_540];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

fn record(origin: u32) -> Box<SideRecord> {
    let item = SeenContribution { origin: Origin(origin), generation: 1, last: 2, sum: -3 };
    Box::new(SideRecord {
        contributions: vec![item],
        expiry: Some(ExpiryCell { stamp: Stamp::ZERO, deadline: Some(UnixMs(5)) }),
        ..SideRecord::default()
    })
}

/// Where there is no room for it in the entry, the horizon belongs to the side record.
fn with_horizon(base: Option<&Base>, side: Option<Box<SideRecord>>) -> Option<Box<SideRecord>> {
    let wide = base.filter(|base| crate::store::entry::needs_wide_horizon(base));
    let Some(base) = wide else { return side };
    let mut side = side.unwrap_or_default();
    side.wide_horizon = base.horizon;
    Some(side)
}

fn assert_holds(
    entry: &Entry,
    key: &[u8],
    base: Option<&Base>,
    value: &[u8],
    side: Option<&SideRecord>,
) {
    assert_eq!(entry.key(), key);
    assert_eq!(entry.value(), value);
    assert_eq!(entry.base().as_ref(), base);
    assert_eq!(entry.side(), side);
}

proptest! {
    #[test]
    fn an_entry_gives_back_what_was_put_in(
        key in bytes(),
        tag in 0u32..1 << 20,
        states in proptest::collection::vec(
            (base(), proptest::option::of(bytes()), proptest::option::of(any::<u32>())), 1..6),
    ) {
        let mut entry: Option<Entry> = None;
        let mut held = Vec::new();
        for (base, value, origin) in states {
            let side = with_horizon(base.as_ref(), origin.map(record));
            match &mut entry {
                None => {
                    held = value.unwrap_or_default();
                    entry = Some(Entry::new(tag, &key, base.as_ref(), &held, side.clone()));
                }
                Some(entry) => {
                    entry.rewrite(base.as_ref(), value.as_deref(), side.clone());
                    held = value.unwrap_or(held);
                }
            }
            let entry = entry.as_mut().expect("made");
            assert_eq!(entry.tag(), tag);
            assert_holds(entry, &key, base.as_ref(), &held, side.as_deref());
            let taken = entry.take_side();
            assert_eq!(taken, side);
            assert_eq!(entry.side(), None);
            if let Some(taken) = taken {
                entry.put_side(taken);
            }
            assert_holds(entry, &key, base.as_ref(), &held, side.as_deref());
        }
    }

    #[test]
    fn a_table_behaves_as_an_ordered_map(
        steps in proptest::collection::vec((any::<bool>(), 0u16..300), 1..600),
        seed in any::<u64>(),
    ) {
        let hasher = KeyHasher::new(seed);
        let mut table = Table::default();
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (insert, number) in steps {
            let key = number.to_string().into_bytes();
            let hash = hasher.hash(&key);
            let at = table.find(hash, &key);
            assert_eq!(at.is_some(), model.contains_key(&hash));
            match at {
                None if insert => {
                    table.insert(hash, Entry::new(tag_of(hash), &key, None, b"", None), &hasher);
                    model.insert(hash, key);
                }
                Some(at) if !insert => {
                    let removed = table.remove(at).expect("found");
                    assert_eq!(removed.key(), key);
                    table.shrink();
                    model.remove(&hash);
                }
                None | Some(_) => {}
            }
            table.hash_order_has_no_gaps(&hasher);
            let first = model.range(hash..).next().map(|(_, key)| key.as_slice());
            let found = table.seek(hash, &hasher).and_then(|at| table.get(at));
            assert_eq!(found.map(Entry::key), first);
        }
        let keys: Vec<&[u8]> = table.iter_from(0).map(Entry::key).collect();
        let expected: Vec<&[u8]> = model.values().map(Vec::as_slice).collect();
        assert_eq!(keys, expected);
    }

    #[test]
    fn scan_meets_every_key_that_stays(
        stay in 1usize..200,
        count in 1usize..20,
        changes in proptest::collection::vec((any::<bool>(), 0u16..400), 0..400),
    ) {
        let mut side = Side::new(1);
        side.gather = false;
        side.checks = false;
        // One hash tag: one partition, so that its table grows and shrinks under the scan.
        let name = |kind: &str, i: u16| format!("{{t}}{kind}{i}").into_bytes();
        for i in 0..stay {
            let key = name("stay", i as u16);
            side.run(|txn| txn.set(DB, &key, b"v", SetExpiry::Clear));
            side.run(|txn| txn.set(DB, format!("elsewhere{i}").as_bytes(), b"", SetExpiry::Clear));
        }
        let mut met = BTreeSet::new();
        let mut changes = changes.into_iter();
        let mut cursor = 0;
        for step in 0.. {
            assert!(step < 2_000, "the scan comes to no end");
            let mut looked_at = 0;
            cursor = side.store.scan(DB, cursor, count, side.now, &mut |key| {
                looked_at += 1;
                met.insert(key.to_vec());
            });
            assert!(cursor < 1 << 53);
            if cursor == 0 {
                break;
            }
            assert!(looked_at >= count);
            for (set, i) in changes.by_ref().take(20) {
                let key = name("go", i);
                side.store.set_alone(true);
                side.run(|txn| {
                    if set {
                        txn.set(DB, &key, b"v", SetExpiry::Clear);
                    } else {
                        txn.delete(DB, &key);
                    }
                });
            }
        }
        for i in 0..stay {
            assert!(met.contains(&name("stay", i as u16)));
            assert!(met.contains(format!("elsewhere{i}").as_bytes()));
        }
    }

    #[test]
    fn a_cursor_from_nowhere_is_taken(cursor in any::<u64>()) {
        let mut side = Side::new(1);
        side.run(|txn| txn.set(DB, b"k", b"v", SetExpiry::Clear));
        let mut met = 0;
        let next = side.store.scan(DB, cursor, 10, side.now, &mut |_| met += 1);
        assert!(next == 0 && met <= 1);
    }
}

#[test]
fn a_hundred_thousand_keys_take_about_as_many_bytes_as_a_million_would() {
    const KEYS: u64 = 100_000;
    let mut side = Side::new(1);
    let mut txn = crate::store::txn::Txn {
        store: &mut side.store,
        clock: &mut side.clock,
        wall: side.now,
        expiry_clock: side.now,
        sight: side.now,
        shown: None,
        facts: &mut side.facts,
        gather: false,
    };
    for i in 0..KEYS {
        txn.set(DB, format!("key:{i:012}").as_bytes(), &[b'x'; 64], SetExpiry::Clear);
    }
    assert!(txn.finish().is_some());
    let per_key = side.store.stats().used_bytes / KEYS;
    assert!(per_key <= 130, "{per_key} bytes a key");
}

#[test]
fn a_seen_horizon_costs_a_plain_entry_nothing_in_its_class() {
    let stamp = Stamp::new(1_800_000_000_000 << 16, Origin(7));
    let mut base = Base { stamp, live: true, resets: true, horizon: 0 };
    let without = Entry::new(0, &[b'k'; 16], Some(&base), &[b'v'; 64], None).used_bytes();
    base.horizon = stamp.time - 12_345_678;
    let with = Entry::new(0, &[b'k'; 16], Some(&base), &[b'v'; 64], None).used_bytes();
    assert_eq!((without, with), (malloc_bytes(98), malloc_bytes(104)));
    assert_eq!(without, 112);
    assert_eq!(with, 112);
}

#[test]
fn memory_returns_after_everything_is_deleted_and_collected() {
    let mut side = Side::new(1);
    side.checks = false;
    let start = side.store.stats().used_bytes;
    for round in 0..3u64 {
        for i in 0..500u32 {
            let key = format!("key{i}");
            side.run(|txn| match i % 4 {
                0 => assert!(txn.add(DB, key.as_bytes(), 1).is_ok()),
                1 => txn.set(DB, key.as_bytes(), &[1; 300], SetExpiry::At(UnixMs(1 << 40))),
                2 | 3 => txn.set(DB, key.as_bytes(), b"v", SetExpiry::Clear),
                4.. => unreachable!("i % 4"),
            });
        }
        if round == 1 {
            side.run(|txn| txn.flush(None));
        } else {
            for i in 0..500u32 {
                side.run(|txn| assert!(txn.delete(DB, format!("key{i}").as_bytes())));
            }
        }
        side.store.check_invariants();
        assert!(side.store.stats().tombstones > 0);
        side.collect(side.now.0 + 1);
        assert_eq!(side.store.stats().used_bytes, start);
        assert_eq!(side.store.stats().tombstones, 0);
    }
}

//! The log's formats and its writing end, without a disk.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::Index;

use super::frame::{self, HEADER_BYTES, HeaderError, Kind, Step};
use super::scan::{Rest, Scanner, judge};
use super::{Journal, Record, SyncPolicy};
use crate::base::ids::{DbIndex, Epoch, Lsn, Origin};
use crate::base::stamp::Stamp;
use crate::base::time::Mono;
use crate::base::unit::{Cell, Change, Seen, SeenContribution, Slot, Unit};
use crate::base::vector::Vector;

fn time() -> impl Strategy<Value = u64> {
    1u64..1 << 40
}

fn origin() -> impl Strategy<Value = Origin> {
    (1u32..9).prop_map(Origin)
}

fn change(stamped: bool) -> impl Strategy<Value = Change> {
    let cell = prop_oneof![
        (vec(any::<u8>(), 0..30), any::<bool>(), any::<i64>()).prop_map(|(value, resets, sum)| {
            let one =
                SeenContribution { origin: Origin(3), generation: 1, last: 2, sum: sum.into() };
            let seen = Seen { list: vec![one], horizon: 1 };
            Cell::Register { value: value.into(), resets, seen }
        }),
        any::<i64>().prop_map(|sum| Cell::Contribution { generation: 1, sum: sum.into() }),
        proptest::strategy::Just(Cell::DatabaseTombstone),
        proptest::strategy::Just(Cell::KeyCell { floor: 0 }),
    ];
    (0u16..16, vec(any::<u8>(), 0..10), time(), origin(), cell).prop_map(
        move |(db, key, time, origin, cell)| Change {
            db: DbIndex(db),
            key: key.into(),
            stamp: stamped.then_some(Stamp::new(time, origin)),
            cell,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let unit = (time(), origin(), vec(change(false), 0..4))
        .prop_map(|(time, origin, changes)| Unit { dot: Stamp::new(time, origin), changes });
    prop_oneof![
        (1u32..100, origin())
            .prop_map(|(epoch, origin)| Record::Start { epoch: Epoch(epoch), origin }),
        (1u32..100, origin())
            .prop_map(|(epoch, origin)| Record::Epoch { epoch: Epoch(epoch), origin }),
        unit.prop_map(Record::Unit),
        vec(change(true), 1..4).prop_map(Record::Cells),
        vec((origin(), time()), 1..4).prop_map(|entries| Record::Vector(entries.into())),
        time().prop_map(Record::Collected),
        time().prop_map(Record::Inherited),
        (origin(), origin(), 1u64..9, time()).prop_map(|(from, to, step, horizon)| {
            let times = (1..5).map(|n| (n * step, n * step + 7)).collect();
            Record::Moved { from, to, times, horizon }
        }),
        (vec(any::<u8>(), 0..9), time(), origin()).prop_map(|(key, time, origin)| {
            let slot = Slot::Contribution { generation: time };
            let (db, stamp) = (DbIndex(3), Stamp::new(time, origin));
            let cells = vec![(slot, stamp), (Slot::Register, stamp)];
            Record::Forgotten { db, key: key.into(), cells }
        }),
        proptest::strategy::Just(Record::Met),
        proptest::strategy::Just(Record::TakenOver),
        proptest::strategy::Just(Record::Dropped),
        time().prop_map(|through| Record::Synced { through: Lsn(through) }),
    ]
}

/// The records as one segment that begins at `first`, and where each frame begins.
fn segment(first: Lsn, records: &[Record]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = frame::header(Kind::Log, first).to_vec();
    let mut starts = Vec::new();
    for record in records {
        let start = frame::begin(&mut bytes);
        record.put(&mut bytes);
        frame::finish(&mut bytes, start);
        starts.push(start);
    }
    (bytes, starts)
}

/// What can be read of a segment, the place of the next record, and what stands there.
fn read(bytes: &[u8]) -> (Vec<Record>, Lsn, Rest) {
    let mut scanner = Scanner::new(bytes).expect("a header");
    let mut at = HEADER_BYTES;
    let mut records = Vec::new();
    while let Some((contents, used)) = scanner.next(&bytes[at..]) {
        records.push(Record::read(contents).expect("a record"));
        at += used;
    }
    assert_eq!(scanner.understood(), at as u64);
    (records, scanner.next_lsn(), judge(&bytes[at..], scanner.next_lsn()))
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(records in vec(record(), 0..12), first in time()) {
        let (bytes, _) = segment(Lsn(first), &records);
        let (back, next, rest) = read(&bytes);
        prop_assert_eq!(next, Lsn(first + records.len() as u64));
        prop_assert_eq!(back, records);
        prop_assert_eq!(rest, Rest::Empty);
    }

    #[test]
    fn a_segment_cut_anywhere_gives_its_whole_records(
        records in vec(record(), 1..8),
        cut in any::<Index>(),
        zeros in 0usize..600,
    ) {
        let (mut bytes, starts) = segment(Lsn(1), &records);
        let cut = HEADER_BYTES + cut.index(bytes.len() - HEADER_BYTES);
        bytes.truncate(cut);
        let whole = starts[1..].iter().chain([&usize::MAX]).filter(|end| **end <= cut).count();
        bytes.resize(cut + zeros, 0);
        let (back, next, rest) = read(&bytes);
        // Zeros may happen to complete the last one.
        prop_assert!(back.len() >= whole && back == records[..back.len()]);
        prop_assert_eq!(next, Lsn(1 + back.len() as u64));
        prop_assert!(matches!(rest, Rest::Empty | Rest::Torn), "{:?}", rest);
    }

    #[test]
    fn a_turned_bit_is_damage_if_a_record_follows_and_a_torn_end_if_none_does(
        records in vec(record(), 2..8),
        at in any::<Index>(),
        bit in 0u32..8,
    ) {
        let (mut bytes, starts) = segment(Lsn(1), &records);
        let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
        bytes[at] ^= 1 << bit;
        let hit = starts.iter().filter(|start| **start <= at).count() - 1;
        let (back, _, rest) = read(&bytes);
        prop_assert_eq!(&back[..], &records[..hit]);
        if hit + 1 == records.len() {
            prop_assert_eq!(rest, Rest::Torn);
        } else {
            let next = (starts[hit + 1] - starts[hit]) as u64;
            let was_synced = records[hit + 1..].iter().any(
                |r| matches!(r, Record::Synced { through } if through.0 > hit as u64));
            prop_assert_eq!(rest, Rest::Corrupt { next, was_synced });
        }
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(record) = Record::read(&bytes) {
            let mut again = Vec::new();
            record.put(&mut again);
            prop_assert_eq!(Record::read(&again), Ok(record));
        }
        let _whatever_it_is = judge(&bytes, Lsn(1));
    }

    /// Whatever happens in whatever order: what leaves is what was put, in order; nothing that must wait leaves early.
    #[test]
    fn a_journal_hands_over_everything_in_order(
        policy in prop_oneof![0..3u8],
        steps in vec((0u8..6, 0u64..1500), 1..60),
    ) {
        let policies = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No];
        let policy = policies[usize::from(policy)];
        let mut journal = Journal::open(policy, Lsn(1));
        let (mut left, mut put) = (Vec::new(), Vec::new());
        let mut under_way = None;
        let mut now = Mono(1_000_000_000);
        for (step, ms) in steps {
            now = Mono(now.0 + ms * 1_000_000);
            match step {
                0 | 1 => {
                    journal.put(&Record::Collected(ms + 1));
                    put.push(Record::Collected(ms + 1));
                }
                2 => {
                    if let Some((_, bytes)) = journal.take() {
                        left.extend_from_slice(&bytes);
                    }
                }
                3 => {
                    if let Some(through) = journal.take_sync(now) {
                        prop_assert!(under_way.is_none(), "one at a time");
                        under_way = Some(through);
                    }
                }
                4 => {
                    if let Some(through) = under_way.take() {
                        journal.on_synced(through);
                        prop_assert!(journal.synced() >= through);
                    }
                }
                _ => journal.barrier(),
            }
            journal.check_invariants();
            if policy == SyncPolicy::Always && !journal.is_settled() {
                prop_assert_eq!(journal.holds(), Some(journal.last()));
            }
        }
        if let Some((_, bytes)) = journal.take() {
            left.extend_from_slice(&bytes);
        }
        let mut scanner = Scanner::bare(Lsn(1));
        let mut at = 0;
        let mut back = Vec::new();
        while let Some((contents, used)) = scanner.next(&left[at..]) {
            let record = Record::read(contents).expect("a record");
            if let Record::Synced { through } = record {
                prop_assert!(through < scanner.next_lsn());
            } else {
                back.push(record);
            }
            at += used;
        }
        prop_assert_eq!(back, put);
        prop_assert_eq!(scanner.next_lsn(), journal.last().next());
    }
}

#[test]
fn a_header_is_checked() {
    let good = frame::header(Kind::Log, Lsn(77));
    assert_eq!(frame::read_header(Kind::Log, &good), Ok(Lsn(77)));
    assert_eq!(frame::read_header(Kind::Log, &good[..23]), Err(HeaderError::Short));
    for at in 0..HEADER_BYTES {
        let mut bad = good;
        bad[at] ^= 4;
        let error = if at < 8 { HeaderError::Foreign } else { HeaderError::Damaged };
        assert_eq!(frame::read_header(Kind::Log, &bad), Err(error));
    }
}

#[test]
fn zeros_are_no_frame() {
    assert_eq!(frame::step(&[0; 4096]), Step::Damaged);
    assert_eq!(judge(&[0; 4096], Lsn(1)), Rest::Torn);
}

#[test]
fn every_second_is_asked_for_once_a_second_and_a_barrier_at_once() {
    let ms = |ms: u64| Mono(1_000_000_000 + ms * 1_000_000);
    let mut journal = Journal::open(SyncPolicy::EverySec, Lsn(1));
    let write = |journal: &mut Journal| {
        journal.vector(&Vector::from(vec![(Origin(1), 5)]));
        journal.take().map(|(lsn, _)| lsn)
    };
    assert_eq!(journal.take_sync(ms(0)), None);
    assert_eq!(write(&mut journal), Some(Lsn(1)));
    assert_eq!(journal.take_sync(ms(0)), Some(Lsn(1)));
    assert_eq!(write(&mut journal), Some(Lsn(2)));
    assert_eq!((journal.take_sync(ms(5000)), journal.holds()), (None, None), "one is under way");
    journal.on_synced(Lsn(1));
    assert_eq!(journal.due(), Some(ms(1000)));
    assert_eq!(journal.take_sync(ms(999)), None);
    assert_eq!(journal.take_sync(ms(1000)), Some(Lsn(2)));
    journal.on_synced(Lsn(2));
    assert!(journal.is_settled());
    // The first record of the next batch is that the last sync has come to its end.
    assert_eq!(write(&mut journal), Some(Lsn(4)));
    journal.barrier();
    assert_eq!(journal.holds(), Some(Lsn(4)));
    assert_eq!(journal.take_sync(ms(1001)), Some(Lsn(4)));
    journal.on_synced(Lsn(4));
    assert_eq!(journal.holds(), None);
}

#[test]
fn without_a_log_nothing_is_gathered() {
    let mut journal = Journal::off();
    journal.put(&Record::Met);
    journal.barrier();
    assert_eq!((journal.take(), journal.holds(), journal.due()), (None, None, None));
    assert!(journal.is_settled() && !journal.is_on());
    assert_eq!(journal.take_sync(Mono(u64::MAX)), None);
    let unit = Unit { dot: Stamp::new(1, Origin(1)), changes: Vec::new() };
    journal.unit(&unit);
    journal.cells(vec![Change {
        db: DbIndex(0),
        key: Bytes::new(),
        stamp: Some(unit.dot),
        cell: Cell::DatabaseTombstone,
    }]);
    assert!(journal.is_settled());
}

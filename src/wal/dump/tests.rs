use bytes::{Bytes, BytesMut};

use super::{DumpError, DumpLoader, DumpWriter, Loading, Shown, Terms};
use crate::base::ids::{DbIndex, Epoch, Lsn, NodeId, Origin};
use crate::base::stamp::{Stamp, time_of_ms};
use crate::base::time::UnixMs;
use crate::base::unit::{Cell, Change, Seen};
use crate::base::vector::Vector;
use crate::rdb::reader::{Item, Key, Reader, Value};
use crate::rdb::writer::{Header, WriterOptions};
use crate::wal::snapshot::{Head, Piece};

const ME: NodeId = NodeId(0x5f);

fn terms() -> Terms {
    Terms {
        node: ME,
        epoch: Epoch(3),
        has_past: false,
        origin: Origin(99),
        wall: UnixMs(2_000_000_000_000),
        databases: 16,
    }
}

fn head(has_met: bool) -> Head {
    Head {
        lsn: Lsn(7),
        vector: Vector::from(vec![(Origin(1), 5)]),
        collected: 4,
        inherited: 2,
        first_epoch: Epoch(1),
        lives: vec![Origin(1)],
        has_met,
        unmet: Vec::new(),
        has_strays: false,
        alone: false,
    }
}

fn change(db: u16, key: &'static str, time: u64, cell: Cell) -> Change {
    let stamp = Some(Stamp::new(time, Origin(1)));
    Change { db: DbIndex(db), key: Bytes::from_static(key.as_bytes()), stamp, cell }
}

fn register(value: &'static str) -> Cell {
    let value = Bytes::from_static(value.as_bytes());
    Cell::Register { value, resets: true, seen: Seen::default() }
}

/// The cells of one key, and what a client sees of it.
type Cells = (Vec<Change>, Option<(&'static str, Option<UnixMs>)>);

/// A register with a deadline, a counter over a base, a delete, a flush, a key of another database.
fn keys() -> Vec<Cells> {
    let deadline = Some(UnixMs(2_000_000_000_001));
    let cells = |cells: Vec<Change>| cells;
    vec![
        (vec![change(1, "", 3, Cell::DatabaseTombstone)], None),
        (
            cells(vec![
                change(0, "k", 5, register("value")),
                change(0, "k", 6, Cell::Expiry { deadline }),
            ]),
            Some(("value", deadline)),
        ),
        (
            cells(vec![
                change(0, "n", 5, register("40")),
                change(0, "n", 7, Cell::Contribution { generation: 6, sum: 2 }),
            ]),
            Some(("42", None)),
        ),
        (vec![change(0, "gone", 8, Cell::Tombstone { seen: Seen::default() })], None),
        (vec![change(3, "k", 9, register(""))], Some(("", None))),
    ]
}

fn written(has_met: bool) -> Vec<u8> {
    let header = Header { redis_version: "7.2.4", created_s: 1_800_000_000, used_bytes: 1 };
    let options = WriterOptions { compression: true, checksum: true };
    let mut out = BytesMut::new();
    let mut writer = DumpWriter::new(options, &header, ME, head(has_met), &mut out);
    for (cells, shown) in keys() {
        let shown = shown.map(|(value, deadline)| Shown {
            value: Value::String(Bytes::copy_from_slice(value.as_bytes())),
            deadline,
        });
        writer.key(&cells, shown.as_ref(), |_| (1, 0), &mut out);
    }
    writer.finish(&mut out);
    out.to_vec()
}

fn load(file: &[u8], terms: Terms, piece: usize) -> Result<(Vec<Piece>, Loading), DumpError> {
    let mut loader = DumpLoader::new(terms);
    let mut pieces = Vec::new();
    for bytes in file.chunks(piece) {
        loader.push(bytes)?;
        pieces.extend(std::iter::from_fn(|| loader.take()));
    }
    let loading = loader.finish()?;
    pieces.extend(std::iter::from_fn(|| loader.take()));
    Ok((pieces, loading))
}

fn head_in(pieces: &[Piece]) -> &Head {
    match &pieces[0] {
        Piece::Head(head) => head,
        other => panic!("{other:?} comes first"),
    }
}

fn cells_in(pieces: &[Piece]) -> Vec<Change> {
    let mut all = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Chunk { cells, .. } => all.extend_from_slice(cells),
            Piece::Head(_) | Piece::Tail { .. } | Piece::Strong { .. } => {}
        }
    }
    all
}

#[test]
fn cells_come_back_with_their_stamps() {
    let file = written(false);
    let expected: Vec<Change> = keys().into_iter().flat_map(|(cells, _)| cells).collect();
    for piece in [1, 7, file.len()] {
        let (pieces, loading) = load(&file, terms(), piece).expect("a dump");
        assert_eq!(cells_in(&pieces), expected);
        assert_eq!(pieces.last(), Some(&Piece::Tail { lsn: Lsn(0), collected: 0 }));
        let expected = Loading { keys: 3, expired: 0, skipped: 0, stamped: true, checked: true };
        assert_eq!(loading, expected);
    }
}

#[test]
fn other_servers_see_what_a_client_sees() {
    let file = written(false);
    let mut reader = Reader::new(1 << 20);
    let mut buf = BytesMut::from(&file[..]);
    let (mut seen, mut db) = (Vec::new(), DbIndex(9));
    while let Some(item) = reader.next(&mut buf).expect("a dump") {
        match item {
            Item::SelectDb(index) => db = index,
            Item::Key(Key { key, value: Value::String(value), deadline, .. }) => {
                seen.push((db.0, key.to_vec(), value.to_vec(), deadline));
            }
            Item::Key(Key { value: Value::Elements { .. }, key, .. }) => {
                panic!("{key:?} is no collection")
            }
            Item::Aux { .. } | Item::ResizeDb { .. } | Item::Skipped(_) | Item::End { .. } => {}
        }
    }
    let key = |db: u16, key: &str, value: &str, deadline| {
        (db, key.as_bytes().to_vec(), value.as_bytes().to_vec(), deadline)
    };
    let deadline = Some(UnixMs(2_000_000_000_001));
    assert_eq!(
        seen,
        [key(0, "k", "value", deadline), key(0, "n", "42", None), key(3, "k", "", None)]
    );
}

#[test]
fn what_others_may_have_seen_counts_with_nothing() {
    let own = load(&written(false), terms(), 100).expect("a dump").0;
    let own = head_in(&own);
    assert_eq!((own.lives.clone(), own.vector.get(Origin(1))), (vec![Origin(1)], 5));
    assert!(!own.has_strays && !own.has_met);
    let of_another = Terms { node: NodeId(1), ..terms() };
    for (file, terms) in [(written(true), terms()), (written(false), of_another)] {
        let pieces = load(&file, terms, 100).expect("a dump").0;
        let head = head_in(&pieces);
        assert!(head.has_strays && head.vector.is_empty() && head.lives.is_empty());
        assert_eq!((head.collected, head.inherited), (0, 4));
        assert!(head.first_epoch > Epoch(1), "the log does not hold everything");
    }
}

#[test]
fn keys_without_stamps_are_one_write_of_now_or_of_when_the_dump_was_written() {
    let file = include_bytes!("../../../tests/redis/dump-7.0.15.rdb");
    let (pieces, loading) = load(file, terms(), 100).expect("a dump");
    assert!(!loading.stamped && loading.checked && loading.keys > 3);
    let stamps = |pieces: &[Piece]| {
        let mut stamps: Vec<_> = cells_in(pieces).iter().filter_map(|c| c.stamp).collect();
        stamps.dedup();
        stamps
    };
    let now = Stamp::new(time_of_ms(UnixMs(2_000_000_000_000)), Origin(99));
    assert_eq!(stamps(&pieces), [now]);
    assert_eq!(head_in(&pieces).vector, Vector::from(vec![(now.origin, now.time)]));
    assert_eq!(head_in(&pieces).first_epoch, Epoch(3));
    let (pieces, _) = load(file, Terms { has_past: true, ..terms() }, 100).expect("a dump");
    let [then] = stamps(&pieces)[..] else { panic!("one stamp") };
    assert!(then < now && then.ms() > UnixMs(1_500_000_000_000), "{then:?}");
}

#[test]
fn what_is_cut_off_or_altered_is_refused_with_its_place() {
    let file = written(false);
    for cut in 0..file.len() {
        assert!(load(&file[..cut], terms(), 100).is_err(), "cut at {cut}");
    }
    for at in 0..file.len() {
        let mut altered = file.clone();
        altered[at] ^= 0x10;
        assert!(load(&altered, terms(), 1 << 20).is_err(), "altered at {at}");
    }
    // The place is where the key begins, with its deadline, however the file comes in pieces.
    let none = Terms { databases: 0, ..terms() };
    let refused = load(&file, none.clone(), 1 << 20).expect_err("no database at all");
    for piece in 1..30 {
        assert_eq!(load(&file, none.clone(), piece).expect_err("in pieces"), refused);
    }
    let few = Terms { databases: 3, ..terms() };
    match load(&file, few, 100).expect_err("database 3 of 0..3") {
        DumpError::Database { offset, db, databases } => {
            assert_eq!((db, databases), (DbIndex(3), 3));
            assert!(offset > 100 && (offset as usize) < file.len());
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_key_whose_stamps_were_taken_out_is_refused() {
    // As any tool would leave it that knows the format and not the field.
    let file = written(false);
    let at = file.windows(13).position(|w| w == b"quorate-cells").expect("there");
    let mut altered = file.clone();
    altered[at] = b'Q';
    let end = altered.len() - 8;
    altered[end..].fill(0);
    let refused = load(&altered, terms(), 100).expect_err("no stamps");
    assert!(matches!(refused, DumpError::Stamps { .. }), "{refused}");
}

#[test]
fn a_dump_of_nothing_is_a_dump() {
    let header = Header { redis_version: "7.2.4", created_s: 1, used_bytes: 1 };
    let options = WriterOptions { compression: false, checksum: false };
    let mut out = BytesMut::new();
    let writer = DumpWriter::new(options, &header, ME, head(false), &mut out);
    writer.finish(&mut out);
    let (pieces, loading) = load(&out, terms(), 100).expect("a dump");
    assert_eq!((cells_in(&pieces).len(), loading.checked), (0, false));
    let empty = b"REDIS0010\xff\0\0\0\0\0\0\0\0";
    let (pieces, loading) = load(empty, terms(), 100).expect("a dump");
    assert_eq!((pieces.len(), loading.keys), (3, 0));
}

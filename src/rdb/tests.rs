//! The codec as a whole: what was written is read, in whatever pieces; what is wrong is said, and where.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::crc64::crc64;
use super::dump::{RestoreError, dump, restore};
use super::fault::{Fault, LoadError};
use super::kind::Kind;
use super::reader::{Item, Key, ModuleId, Reader, Skipped, Value};
use super::writer::{Header, Writer, WriterOptions};
use crate::base::ids::DbIndex;
use crate::base::time::UnixMs;

const STRING_BYTES_MAX: usize = 1 << 20;

const HEADER: Header<'_> =
    Header { redis_version: "7.4.0", created_s: 1_700_000_000, used_bytes: 1 << 20 };

/// Items of a file that comes in these pieces, and the error that ended it.
fn load<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Item>, Option<LoadError>) {
    let mut reader = Reader::new(STRING_BYTES_MAX);
    let (mut buf, mut items) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match reader.next(&mut buf) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(&mut buf), Err(error.clone()), "it stays where it is");
                    return (items, Some(error));
                }
            }
        }
    }
    (items, reader.finish(&buf).err())
}

fn fault(file: &[u8]) -> (u64, Fault) {
    let error = load([file]).1.expect("the file is wrong");
    assert_eq!(load(file.chunks(1)).1.as_ref(), Some(&error), "the same in pieces");
    (error.offset, error.fault)
}

/// A file with this magic and content; without a checksum.
fn file(magic: &[u8], content: &[u8]) -> Vec<u8> {
    [magic, content, &[0xff], &[0; 8]].concat()
}

fn good(magic: &[u8], content: &[u8]) -> Vec<Item> {
    let (mut items, error) = load([&file(magic, content)[..]]);
    assert_eq!(error, None);
    assert_eq!(items.pop(), Some(Item::End { checked: false }));
    items
}

fn plain(key: &'static [u8], value: &'static [u8]) -> Key {
    Key {
        key: Bytes::from_static(key),
        value: Value::String(Bytes::from_static(value)),
        deadline: None,
        idle_s: None,
        frequency: None,
    }
}

fn aux(name: &'static [u8], value: &'static [u8]) -> Item {
    Item::Aux { name: Bytes::from_static(name), value: Bytes::from_static(value) }
}

/// What a writer of these keys writes, all in database 3.
fn written(keys: &[Key], options: WriterOptions) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    let mut writer = Writer::new(options, &HEADER, &mut out);
    let mut file = out.split_off(6).to_vec();
    writer.aux(b"quorate-node", b"0123456789abcdef0123456789abcdef", &mut out);
    writer.database(DbIndex(3), keys.len() as u64, 0, &mut out);
    for key in keys {
        writer.key(&key.key, &key.value, key.deadline, &mut out);
        file.extend_from_slice(&out[6..]);
        out.truncate(6);
    }
    writer.finish(&mut out);
    file.extend_from_slice(&out[6..]);
    file
}

const ALL: WriterOptions = WriterOptions { compression: true, checksum: true };

#[test]
fn file_begins_as_that_of_redis_and_ends_with_its_checksum() {
    let keys = [plain(b"k", b"v"), Key { deadline: Some(UnixMs(5)), ..plain(b"7", b"-300") }];
    let file = written(&keys, ALL);
    assert!(file.starts_with(b"REDIS0010\xfa\x09redis-ver\x057.4.0\xfa\x0aredis-bits\xc0\x40"));
    let end = file.len() - 8;
    assert_eq!(file[end..], crc64(&file[..end]).to_le_bytes());
    let tail =
        b"\xfe\x03\xfb\x02\x00\x00\x01k\x01v\xfc\x05\0\0\0\0\0\0\0\x00\xc0\x07\xc1\xd4\xfe\xff";
    assert!(file[..end].ends_with(tail));

    let (items, error) = load([&file[..]]);
    assert_eq!(error, None);
    let expected = [
        aux(b"redis-ver", b"7.4.0"),
        aux(b"redis-bits", b"64"),
        aux(b"ctime", b"1700000000"),
        aux(b"used-mem", b"1048576"),
        aux(b"aof-base", b"0"),
        aux(b"quorate-node", b"0123456789abcdef0123456789abcdef"),
        Item::SelectDb(DbIndex(3)),
        Item::ResizeDb { keys: 2, deadlines: 0 },
        Item::Key(keys[0].clone()),
        Item::Key(keys[1].clone()),
        Item::End { checked: true },
    ];
    assert_eq!(items, expected);
    let options = WriterOptions { checksum: false, ..ALL };
    let (items, error) = load([&written(&keys, options)[..]]);
    assert_eq!((items.last(), error), (Some(&Item::End { checked: false }), None));
}

#[test]
fn cut_anywhere_is_truncated_and_no_key_comes_twice() {
    let long = Bytes::from(b"0123456789".repeat(30));
    let keys = [
        plain(b"a", b"1"),
        Key { value: Value::String(long), deadline: Some(UnixMs(9)), ..plain(b"b", b"") },
    ];
    let file = written(&keys, ALL);
    let (whole, _) = load([&file[..]]);
    for cut in 0..file.len() {
        let (items, error) = load([&file[..cut]]);
        let truncated = LoadError { offset: cut as u64, fault: Fault::Truncated };
        assert_eq!(error, Some(truncated), "cut at {cut}");
        assert_eq!(items, whole[..items.len()]);
        assert_eq!(load([&file[..cut], &file[cut..]]), (whole.clone(), None));
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let file = written(&[plain(b"key", b"value"), plain(b"n", b"70000")], ALL);
    for at in 0..file.len() {
        for flip in [1, 0x80] {
            let mut changed = file.clone();
            changed[at] ^= flip;
            assert!(load([&changed[..]]).1.is_some(), "byte {at}");
        }
    }
    let mut changed = file.clone();
    *changed.last_mut().expect("not empty") ^= 1;
    let stored = crc64(&file[..file.len() - 8]) ^ 1 << 56;
    let computed = crc64(&file[..file.len() - 8]);
    let at = file.len() as u64 - 8;
    assert_eq!(fault(&changed), (at, Fault::BadChecksum { stored, computed }));
}

#[test]
fn versions_and_magics_are_told_apart() {
    for magic in [&b"REDIS0009"[..], b"REDIS0010", b"REDIS0011", b"REDIS0012", b"VALKEY080"] {
        assert_eq!(good(magic, b""), []);
    }
    assert_eq!(fault(b"REDIS0008"), (0, Fault::TooOld { version: 8 }));
    assert_eq!(fault(b"REDIS0013"), (0, Fault::TooNew { version: 13, newest: 12 }));
    assert_eq!(fault(b"VALKEY081"), (0, Fault::TooNew { version: 81, newest: 80 }));
    for bad in [&b"VALKEY011"[..], b"REDISX", b"REDIS01x", b"*2\r\n", b"VALUE", b"\0", b"redis0010"]
    {
        assert_eq!(fault(bad), (0, Fault::BadMagic), "{bad:?}");
    }
    assert_eq!(fault(b""), (0, Fault::Truncated));
    assert_eq!(fault(b"REDI"), (4, Fault::Truncated));
}

#[test]
fn what_belongs_to_a_key_is_given_with_it_alone() {
    let content = b"\xfd\x10\0\0\0\xf8\x40\x64\xfa\x0bmvcc-tstamp\x0312a\x00\x01a\x01b\
                    \xfc\xff\xff\xff\xff\xff\xff\xff\xff\xf9\x07\x00\x01c\xc3\x05\x0a\x00x\xe0\0\0\
                    \x00\x01d\x00";
    let first = Key { deadline: Some(UnixMs(16_000)), idle_s: Some(100), ..plain(b"a", b"b") };
    let second =
        Key { deadline: Some(UnixMs(0)), frequency: Some(7), ..plain(b"c", b"xxxxxxxxxx") };
    let expected = [
        aux(b"mvcc-tstamp", b"12a"),
        Item::Key(first),
        Item::Key(second),
        Item::Key(plain(b"d", b"")),
    ];
    assert_eq!(good(b"REDIS0009", content), expected);
}

#[test]
fn functions_modules_and_slot_sizes_are_passed_over() {
    // A module's name is nine characters of six bits; the format of its data takes the last ten.
    let letters = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = |c: u8| letters.iter().position(|&letter| letter == c).expect("a letter") as u64;
    let id = ModuleId(b"graphdata".iter().fold(0, |id, &c| id << 6 | number(c)) << 10 | 11);
    assert_eq!(id.to_string(), "graphdata");
    let module = [&[0xf7, 0x81][..], &id.0.to_be_bytes(), &[2, 1]].concat();
    let data = b"\x01\x05\x02\x40\xff\x03ffff\x04dddddddd\x05\x03abc\x05\xc3\x02\x0axy\x05\xc1zz\0";
    let content =
        [b"\xf5\x0b#!lua name=\xf4\x01\x02\x03", &module[..], data, b"\x00\x01k\x01v"].concat();
    let skipped = [
        Item::Skipped(Skipped::Function),
        Item::Skipped(Skipped::ModuleAux(id)),
        Item::Key(plain(b"k", b"v")),
    ];
    assert_eq!(good(b"REDIS0012", &content), skipped);
    let whole = file(b"REDIS0012", &content);
    for cut in 9..whole.len() {
        assert_eq!(load([&whole[..cut]]).1.map(|e| e.fault), Some(Fault::Truncated));
        assert_eq!(load([&whole[..cut], &whole[cut..]]).1, None);
    }
    let bad = [&b"REDIS0012"[..], &module, b"\x06"].concat();
    assert_eq!(fault(&bad), (21, Fault::BadModuleData));
    let bad = [&b"REDIS0012"[..], &module[..10], b"\x01"].concat();
    assert_eq!(fault(&bad), (19, Fault::BadModuleData));
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let kinds = [
        (&[1, 10, 14, 18][..], Kind::List),
        (&[2, 11, 20], Kind::Set),
        (&[3, 5, 12, 17], Kind::SortedSet),
        (&[22, 23, 24, 25], Kind::Hash),
        (&[15, 19, 21], Kind::Stream),
        (&[6, 7], Kind::Module),
        (&[64], Kind::CronJob),
    ];
    // Those that are read.
    let mut known = vec![0, 4, 9, 13, 16];
    for (types, kind) in kinds {
        for &type_byte in types {
            let file = [&b"REDIS0011\x00\x01a\x01b"[..], &[type_byte], b"\x04some\x01"].concat();
            let key = Bytes::from_static(b"some");
            assert_eq!(fault(&file), (14, Fault::Unsupported { kind, type_byte, key }));
            known.push(type_byte);
        }
    }
    for byte in (0..243).filter(|byte| !known.contains(byte)) {
        let file = [&b"REDIS0011"[..], &[byte, 0, 0]].concat();
        assert_eq!(fault(&file), (9, Fault::UnknownType { byte }));
    }
    assert_eq!(fault(b"VALKEY080\xf3"), (9, Fault::SlotImport));
    assert_eq!(fault(b"REDIS0010\xf6"), (9, Fault::FunctionPreGa));
    let file = b"REDIS0010\xfe\x80\0\0\x40\0";
    assert_eq!(fault(file), (10, Fault::BadDatabase { index: 16384 }));
}

#[test]
fn malformed_lengths_and_strings_are_refused() {
    let faults: [(&[u8], u64, Fault); 7] = [
        (b"\xfe\x82", 10, Fault::BadLength { byte: 0x82 }),
        (b"\xfe\xc0\x01", 10, Fault::BadLength { byte: 0xc0 }),
        (b"\xfb\x01\xff", 11, Fault::BadLength { byte: 0xff }),
        (b"\x00\xc4", 10, Fault::BadEncoding { byte: 0xc4 }),
        (b"\x00\x01k\xff", 12, Fault::BadEncoding { byte: 0xff }),
        (b"\x00\x01k\xc3\x02\x05\x05a", 9, Fault::BadCompression),
        (b"\xfa\xc3\x02\x05\x05a", 10, Fault::BadCompression),
    ];
    for (content, offset, expected) in faults {
        assert_eq!(fault(&[b"REDIS0010", content].concat()), (offset, expected), "{content:?}");
    }
    let claim = [b"REDIS0010\x00\x01k\x81", &u64::MAX.to_be_bytes()[..]].concat();
    let too_long = Fault::TooLong { bytes: u64::MAX, max: STRING_BYTES_MAX };
    assert_eq!(fault(&claim), (12, too_long));
}

#[test]
fn errors_read_well() {
    let text = |file: &[u8]| load([file]).1.expect("the file is wrong").to_string();
    assert_eq!(
        text(b"REDIS0011\x11\x05a\n\"b\xff"),
        "at offset 9: the key \"a\\n\\\"b\\xff\" is a sorted set (type 17), which is not \
         supported yet"
    );
    assert_eq!(
        text(b"REDIS0014"),
        "at offset 0: version 14 of the format is newer than 12, the newest that is known"
    );
    let long = [&b"REDIS0011\x01\x41\x2c"[..], &[b'k'; 300]].concat();
    let shown = format!("the key \"{}\"… (300 bytes) is a list", "k".repeat(128));
    assert!(text(&long).contains(&shown));
}

#[test]
fn large_values_come_whole_and_a_large_file_needs_little_memory() {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(ALL, &HEADER, &mut out);
    writer.database(DbIndex(0), 500, 0, &mut out);
    let mut reader = Reader::new(4 << 20);
    let (mut buf, mut bytes, mut most) = (BytesMut::new(), 0, 0);
    let mut state = 1u32;
    for round in 0..8 {
        let len = if round % 4 == 3 { 2 << 20 } else { 100_000 + round };
        let value: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let content = Value::String(Bytes::copy_from_slice(&value));
        writer.key(format!("key{round}").as_bytes(), &content, None, &mut out);
        for piece in out.split().chunks(64 << 10) {
            buf.extend_from_slice(piece);
            most = most.max(buf.capacity());
            while let Some(item) = reader.next(&mut buf).expect("it is well formed") {
                if let Item::Key(key) = item {
                    assert_eq!(key.value, Value::String(Bytes::copy_from_slice(&value)));
                    bytes += len;
                }
            }
        }
    }
    assert!(bytes > 4 << 20);
    assert!(most < 5 << 20, "{most} bytes of buffer");
}

/// Values and what redis-server 7.0.15 replied to DUMP of them.
const DUMPED: [(&[u8], &[u8]); 6] = [
    (b"", b"\x00\x00\x0a\x00\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda"),
    (b"hello", b"\x00\x05hello\x0a\x00\x63\x72\xdf\x76\x65\x34\x20\x0a"),
    (b"10", b"\x00\xc0\x0a\x0a\x00\x6e\x9f\x57\x45\x0e\xae\x63\xbb"),
    (b"-300", b"\x00\xc1\xd4\xfe\x0a\x00\xc6\xc4\x86\x23\xfe\xbe\xde\x2e"),
    (b"70000", b"\x00\xc2\x70\x11\x01\x00\x0a\x00\x01\xa4\x08\xfe\x95\x30\x95\xa5"),
    (b"2147483648", b"\x00\x0a2147483648\x0a\x00\xe7\xb1\x29\xa3\x4c\x1d\x76\xee"),
];

#[test]
fn payloads_are_those_of_redis() {
    for (value, payload) in DUMPED {
        let mut out = BytesMut::from(&b"before"[..]);
        dump(&Value::String(Bytes::copy_from_slice(value)), true, &mut out);
        assert_eq!(out[6..], *payload, "{value:?}");
        assert_eq!(restore(payload, 100), Ok(Value::String(Bytes::from_static(value))));
    }
    let compressed = b"\x00\xc3\x1d\x40\x69\x15the quick brown fox, t\xe0\x48\x14\x01, \
                       \x0a\x00\x9c\x8f\x16\x09\x67\xe2\xbd\x3b";
    let value = Value::String(Bytes::from(b"the quick brown fox, ".repeat(5)));
    assert_eq!(restore(compressed, 105), Ok(value));
    // Redis 8.2.3 writes version 12.
    let newer = b"\x00\xc0\x0a\x0c\x00\xa5\xe9\x63\x85\xf4\x84\xfd\xf2";
    assert_eq!(restore(newer, 100), Ok(Value::String(Bytes::from_static(b"10"))));
}

fn payload(body: &[u8], version: u16) -> Vec<u8> {
    let mut out = [body, &version.to_le_bytes()].concat();
    out.extend_from_slice(&crc64(&out).to_le_bytes());
    out
}

#[test]
fn payloads_of_other_versions_and_altered_ones_are_refused() {
    let body = b"\x00\x05hello";
    let value = Value::String(Bytes::from_static(b"hello"));
    for version in [1, 6, 9, 10, 11, 12, 80] {
        assert_eq!(restore(&payload(body, version), 100), Ok(value.clone()));
    }
    let wrong = Err(RestoreError::VersionOrChecksum);
    for version in [13, 79, 81, u16::MAX] {
        assert_eq!(restore(&payload(body, version), 100), wrong);
    }
    let whole = payload(body, 10);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        assert_eq!(restore(&changed, 100), wrong);
        assert_eq!(restore(&whole[..at], 100), wrong);
    }
    let text = RestoreError::VersionOrChecksum.text();
    assert_eq!(text, "ERR DUMP payload version or checksum are wrong");
}

#[test]
fn payloads_without_a_string_are_bad_data() {
    let bad = |body: &[u8]| restore(&payload(body, 10), 100).expect_err("it is bad");
    assert_eq!(bad(b""), RestoreError::BadData(Fault::Truncated));
    assert_eq!(bad(b"\x00"), RestoreError::BadData(Fault::Truncated));
    assert_eq!(bad(b"\x00\x05hell"), RestoreError::BadData(Fault::Truncated));
    assert_eq!(bad(b"\x00\x01ab"), RestoreError::BadData(Fault::Trailing));
    assert_eq!(bad(b"\x08\x01a"), RestoreError::BadData(Fault::UnknownType { byte: 8 }));
    let too_long = Fault::TooLong { bytes: 101, max: 100 };
    assert_eq!(bad(&[&b"\x00\x40\x65"[..], &[0; 101]].concat()), RestoreError::BadData(too_long));
    assert_eq!(bad(b"\x12\x01\x02"), RestoreError::Unsupported(Kind::List));
    assert_eq!(bad(b"\x00").text(), "ERR Bad data format");
    let text = "ERR the DUMP payload is a list, which is not supported yet";
    assert_eq!(bad(b"\x01\x00").text(), text);
}

fn string() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i32>().prop_map(|n| n.to_string().into_bytes()),
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..80),
        (proptest::collection::vec(any::<u8>(), 1..6), 1usize..300)
            .prop_map(|(part, times)| part.repeat(times)),
        (16_380usize..16_390).prop_map(|len| vec![b'v'; len]),
    ]
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let key = (string(), string(), proptest::option::of(0..=i64::MAX as u64));
    let key = key.prop_map(|(key, value, deadline)| Key {
        key: Bytes::from(key),
        value: Value::String(Bytes::from(value)),
        deadline: deadline.map(UnixMs),
        idle_s: None,
        frequency: None,
    });
    proptest::collection::vec(key, 0..20)
}

fn pieces(stream: &[u8], cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
}

proptest! {
    #[test]
    fn files_cut_anywhere_are_read_as_written(
        keys in keys(),
        compression in any::<bool>(),
        checksum in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let file = written(&keys, WriterOptions { compression, checksum });
        let (items, error) = load(pieces(&file, cuts));
        prop_assert_eq!(error, None);
        let read: Vec<Key> = items
            .into_iter()
            .filter_map(|item| match item {
                Item::Key(key) => Some(key),
                Item::Aux { .. }
                | Item::SelectDb(_)
                | Item::ResizeDb { .. }
                | Item::Skipped(_)
                | Item::End { .. } => None,
            })
            .collect();
        prop_assert_eq!(read, keys);
    }

    #[test]
    fn any_bytes_mean_the_same_in_pieces_as_whole(
        content in proptest::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(0xc3), 0xf3u8..=0xff, any::<u8>()],
            0..80,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let file = [b"REDIS0011", &content[..]].concat();
        let whole = load([&file[..]]);
        prop_assert_eq!(load(pieces(&file, cuts)), whole.clone());
        prop_assert_eq!(load(file.chunks(1)), whole);
    }

    #[test]
    fn dumped_strings_are_restored(value in string(), compression in any::<bool>()) {
        let mut out = BytesMut::new();
        dump(&Value::String(value.clone().into()), compression, &mut out);
        prop_assert_eq!(restore(&out, value.len()), Ok(Value::String(Bytes::from(value))));
    }

    #[test]
    fn any_payload_is_a_value_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..40)) {
        let body = [&[0u8][..], &body].concat();
        if let Ok(Value::String(value)) = restore(&payload(&body, 10), 1000) {
            prop_assert!(value.len() <= 1000);
        }
    }
}

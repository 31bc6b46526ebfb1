//! Bytes become a dump file or a payload: the same items in pieces as whole, within bounds; what was read is written
//! and read again.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use quorate::base::ids::DbIndex;
use quorate::rdb::dump::{dump, restore};
use quorate::rdb::fault::LoadError;
use quorate::rdb::reader::{Item, Reader, Value};
use quorate::rdb::writer::{Header, Writer, WriterOptions};

const STRING_BYTES_MAX: usize = 1 << 16;

fn load<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Item>, Option<LoadError>) {
    let mut reader = Reader::new(STRING_BYTES_MAX);
    let (mut buf, mut items) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let before = buf.len();
            match reader.next(&mut buf) {
                Ok(Some(item)) => {
                    assert!(buf.len() < before, "an item has bytes");
                    items.push(item);
                }
                Ok(None) => break,
                Err(error) => return (items, Some(error)),
            }
        }
    }
    (items, reader.finish(&buf).err())
}

/// The keys of a file, written anew, are read as they were.
fn write_again(items: &[Item], compression: bool) {
    let header = Header { redis_version: "7.4.0", created_s: 0, used_bytes: 0 };
    let options = WriterOptions { compression, checksum: true };
    let mut out = BytesMut::new();
    let mut writer = Writer::new(options, &header, &mut out);
    writer.database(DbIndex(0), 1, 1, &mut out);
    let mut expected = Vec::new();
    for item in items {
        if let Item::Key(key) = item {
            writer.key(&key.key, &key.value, key.deadline, &mut out);
            let mut key = key.clone();
            (key.idle_s, key.frequency) = (None, None);
            expected.push(Item::Key(key));
        }
    }
    writer.finish(&mut out);
    let (mut read, error) = load([&out[..]]);
    assert_eq!(error, None);
    assert_eq!(read.last(), Some(&Item::End { checked: true }));
    read.retain(|item| matches!(item, Item::Key(_)));
    assert_eq!(read, expected);
}

fuzz_target!(|input: &[u8]| {
    let [choice, piece_bytes, rest @ ..] = input else { return };
    // Most inputs shall come past the magic.
    let magic: &[u8] = match choice & 3 {
        0 => b"",
        1 => b"REDIS0009",
        2 => b"REDIS0012",
        _ => b"VALKEY080",
    };
    let file = [magic, rest].concat();
    let whole = load([&file[..]]);
    assert_eq!(load(file.chunks(1)), whole);
    assert_eq!(load(file.chunks(usize::from(*piece_bytes).max(1))), whole);
    write_again(&whole.0, choice & 4 == 4);

    // Payloads of strings are restored; other bytes are refused, or come to a value within bounds.
    let mut payload = BytesMut::new();
    let content = Value::String(Bytes::copy_from_slice(rest));
    dump(&content, choice & 4 == 4, &mut payload);
    let Ok(Value::String(restored)) = restore(&payload, rest.len()) else { panic!("not restored") };
    assert_eq!(restored, rest);
    if let Ok(Value::String(value)) = restore(rest, STRING_BYTES_MAX) {
        assert!(value.len() <= STRING_BYTES_MAX);
    }
});

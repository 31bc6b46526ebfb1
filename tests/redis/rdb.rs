//! Dump files and DUMP payloads against redis-server: what it saves is read, what is written it loads, key by key.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use bytes::{Bytes, BytesMut};
use quorate::base::ids::DbIndex;
use quorate::base::time::UnixMs;
use quorate::rdb::dump::{RestoreError, dump, restore};
use quorate::rdb::fault::{Fault, LoadError};
use quorate::rdb::kind::Kind;
use quorate::rdb::reader::{Item, Key, Reader, Skipped, Value};
use quorate::rdb::writer::{Header, Writer, WriterOptions};

use crate::servers::{RedisServer, Server as _};

const STRING_BYTES_MAX: usize = 64 << 20;

/// A deadline that no test lives to see.
const FAR_MS: u64 = 4_000_000_000_123;

/// Keys by database and name: their values and deadlines.
type Data = BTreeMap<(u16, Vec<u8>), (Vec<u8>, Option<u64>)>;

/// Bytes that do not compress, the same at each call.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Strings of every encoding, as keys and as values, in several databases.
fn data(large: bool) -> Data {
    let mut strings: Vec<Vec<u8>> = Vec::new();
    let numbers = [
        0,
        1,
        -1,
        127,
        128,
        -128,
        -129,
        32767,
        32768,
        -32768,
        -32769,
        i64::from(i32::MAX),
        i64::from(i32::MAX) + 1,
        i64::from(i32::MIN),
        i64::from(i32::MIN) - 1,
        i64::MAX,
        i64::MIN,
    ];
    strings.extend(numbers.map(|number| number.to_string().into_bytes()));
    strings.extend(["", "-0", "007", "+7", "1.5", "hello", "\r\n\0\u{ff}"].map(Vec::from));
    strings.extend([20, 21, 63, 64, 100, 300, 1000].map(|bytes| vec![b'a'; bytes]));
    strings.extend([19, 63, 64, 500].map(noise));
    strings.push(b"the quick brown fox jumps over the lazy dog, ".repeat(12));
    strings.push([noise(40), vec![0; 300], noise(40)].concat());
    if large {
        strings.extend([16383, 16384, 70_000].map(noise));
        strings.push(b"0123456789abcdef".repeat(20_000));
        strings.push([noise(1 << 20), noise(1 << 20), vec![b'z'; 1 << 20]].concat());
    }
    let mut data = Data::new();
    for (index, string) in strings.iter().enumerate() {
        let deadline = (index % 3 == 0).then_some(FAR_MS + index as u64);
        data.insert((0, format!("key:{index}").into_bytes()), (string.clone(), deadline));
        if string.len() < 2000 {
            data.insert((9, string.clone()), (b"of that name".to_vec(), None));
        }
    }
    data.insert((15, b"alone".to_vec()), (b"1".to_vec(), Some(FAR_MS)));
    data
}

fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        request.extend_from_slice(argument);
        request.extend_from_slice(b"\r\n");
    }
    request
}

fn run(server: &mut RedisServer, arguments: &[&[u8]]) -> Vec<u8> {
    server.reply(0, &command(arguments))
}

fn expect(server: &mut RedisServer, arguments: &[&[u8]], expected: &str) {
    let reply = run(server, arguments);
    assert_eq!(String::from_utf8_lossy(&reply), format!("{expected}\r\n"));
}

fn bulk(reply: &[u8]) -> &[u8] {
    assert_eq!(reply[0], b'$', "{:?}", String::from_utf8_lossy(reply));
    let start = reply.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    &reply[start..reply.len() - 2]
}

fn select(server: &mut RedisServer, db: u16) {
    expect(server, &[b"SELECT", db.to_string().as_bytes()], "+OK");
}

fn fill(server: &mut RedisServer, data: &Data) {
    for ((db, key), (value, deadline)) in data {
        select(server, *db);
        expect(server, &[b"SET", key, value], "+OK");
        if let Some(deadline) = deadline {
            let deadline = deadline.to_string();
            expect(server, &[b"PEXPIREAT", key, deadline.as_bytes()], ":1");
        }
    }
}

/// Everything is there, and nothing else.
fn compare(server: &mut RedisServer, data: &Data) {
    let mut counts: BTreeMap<u16, usize> = (0..16).map(|db| (db, 0)).collect();
    for ((db, key), (value, deadline)) in data {
        select(server, *db);
        assert!(bulk(&run(server, &[b"GET", key])) == value, "value of {}", key.escape_ascii());
        let deadline = deadline.map_or("-1".to_owned(), |deadline| deadline.to_string());
        expect(server, &[b"PEXPIRETIME", key], &format!(":{deadline}"));
        *counts.entry(*db).or_default() += 1;
    }
    for (db, count) in counts {
        select(server, db);
        expect(server, &[b"DBSIZE"], &format!(":{count}"));
    }
}

/// All items of a file that comes in pieces of this length.
fn items(file: &[u8], piece_bytes: usize) -> Result<Vec<Item>, LoadError> {
    let mut reader = Reader::new(STRING_BYTES_MAX);
    let (mut buf, mut items) = (BytesMut::new(), Vec::new());
    for piece in file.chunks(piece_bytes) {
        buf.extend_from_slice(piece);
        while let Some(item) = reader.next(&mut buf)? {
            items.push(item);
        }
    }
    reader.finish(&buf)?;
    assert!(buf.is_empty());
    Ok(items)
}

fn keys(items: &[Item]) -> impl Iterator<Item = &Key> {
    items.iter().filter_map(|item| match item {
        Item::Key(key) => Some(key),
        Item::Aux { .. }
        | Item::SelectDb(_)
        | Item::ResizeDb { .. }
        | Item::Skipped(_)
        | Item::End { .. } => None,
    })
}

fn data_of(items: &[Item]) -> Data {
    let (mut data, mut db) = (Data::new(), u16::MAX);
    for item in items {
        match item {
            Item::SelectDb(index) => db = index.0,
            Item::Key(Key { key, value: Value::String(value), deadline, .. }) => {
                let deadline = deadline.map(|deadline| deadline.0);
                let before = data.insert((db, key.to_vec()), (value.to_vec(), deadline));
                assert_eq!(before, None);
            }
            Item::Key(Key { value: Value::Elements { .. }, key, .. }) => {
                panic!("{key:?} is no collection")
            }
            Item::Aux { .. } | Item::ResizeDb { .. } | Item::Skipped(_) | Item::End { .. } => {}
        }
    }
    data
}

fn aux<'a>(items: &'a [Item], wanted: &str) -> Option<&'a Bytes> {
    items.iter().find_map(|item| match item {
        Item::Aux { name, value } if name == wanted => Some(value),
        Item::Aux { .. }
        | Item::SelectDb(_)
        | Item::ResizeDb { .. }
        | Item::Key(_)
        | Item::Skipped(_)
        | Item::End { .. } => None,
    })
}

fn start(dir: &Path, options: &[&str]) -> Option<RedisServer> {
    let dir = dir.to_str().expect("a plain path");
    RedisServer::start_with(&[&["--save", "", "--dir", dir][..], options].concat())
}

fn saved(server: &mut RedisServer, dir: &Path) -> Vec<u8> {
    expect(server, &[b"SAVE"], "+OK");
    fs::read(dir.join("dump.rdb")).expect("it was saved")
}

fn write(data: &Data, options: WriterOptions) -> Vec<u8> {
    let header = Header { redis_version: "7.4.0", created_s: 1_800_000_000, used_bytes: 1 << 20 };
    let mut out = BytesMut::new();
    let mut writer = Writer::new(options, &header, &mut out);
    writer.aux(b"quorate-node", b"5f0c66a1b7d84a40a7b4e3e1d7c7b7a2", &mut out);
    let mut selected = None;
    for ((db, key), (value, deadline)) in data {
        if selected.replace(db) != Some(db) {
            let of_db = || data.iter().filter(|((other, _), _)| other == db);
            let deadlines = of_db().filter(|(_, (_, deadline))| deadline.is_some()).count();
            writer.database(DbIndex(*db), of_db().count() as u64, deadlines as u64, &mut out);
        }
        writer.aux(b"quorate-stamp", b"1800000000000000-0a0b0c0d", &mut out);
        let value = Value::String(Bytes::copy_from_slice(value));
        writer.key(key, &value, deadline.map(UnixMs), &mut out);
    }
    writer.finish(&mut out);
    out.to_vec()
}

#[test]
fn files_of_redis_kept_here_are_read() {
    let kept: [(&[u8], &str); 2] = [
        (include_bytes!("dump-7.0.15.rdb"), "7.0.15"),
        (include_bytes!("dump-8.2.3.rdb"), "8.2.3"),
    ];
    for (file, version) in kept {
        for piece_bytes in [1, 100, file.len()] {
            let items = items(file, piece_bytes).expect("it is well formed");
            assert_eq!(aux(&items, "redis-ver").map(|value| &value[..]), Some(version.as_bytes()));
            assert_eq!(data_of(&items), data(false));
            assert_eq!(items.last(), Some(&Item::End { checked: true }));
        }
    }
}

#[test]
fn what_redis_saves_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = start(dir.path(), &[]) else { return };
    let data = data(true);
    fill(&mut server, &data);
    let library = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    let reply = run(&mut server, &[b"FUNCTION", b"LOAD", library]);
    assert_eq!(bulk(&reply), b"lib");
    let file = saved(&mut server, dir.path());
    for piece_bytes in [1000, 65_536, file.len()] {
        let items = items(&file, piece_bytes).expect("it is well formed");
        assert_eq!(items.last(), Some(&Item::End { checked: true }));
        assert!(items.contains(&Item::Skipped(Skipped::Function)));
        assert!(data_of(&items) == data, "in pieces of {piece_bytes}");
    }
}

#[test]
fn keys_come_with_how_redis_uses_them() {
    let dir = tempfile::tempdir().unwrap();
    for policy in ["allkeys-lru", "allkeys-lfu"] {
        let options = ["--maxmemory", "100mb", "--maxmemory-policy", policy, "--rdbchecksum", "no"];
        let Some(mut server) = start(dir.path(), &options) else { return };
        let data = data(false);
        fill(&mut server, &data);
        let items = items(&saved(&mut server, dir.path()), 777).expect("it is well formed");
        assert_eq!(data_of(&items), data);
        assert_eq!(items.last(), Some(&Item::End { checked: false }));
        assert!(keys(&items).all(|key| key.idle_s.is_some() == (policy == "allkeys-lru")));
        assert!(keys(&items).all(|key| key.frequency.is_some() == (policy == "allkeys-lfu")));
    }
}

#[test]
fn other_kinds_of_values_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = start(dir.path(), &[]) else { return };
    let commands: [(&[&[u8]], Kind); 4] = [
        (&[b"RPUSH", b"some key", b"a"], Kind::List),
        (&[b"SADD", b"some key", b"a"], Kind::Set),
        (&[b"ZADD", b"some key", b"1", b"a"], Kind::SortedSet),
        (&[b"XADD", b"some key", b"*", b"f", b"v"], Kind::Stream),
    ];
    for (command, expected) in commands {
        run(&mut server, &[b"FLUSHALL"]);
        run(&mut server, command);
        let file = saved(&mut server, dir.path());
        match items(&file, file.len()).expect_err("it is of a kind that is not supported") {
            LoadError { offset, fault: Fault::Unsupported { kind, type_byte, key } } => {
                assert_eq!((kind, &key[..]), (expected, &b"some key"[..]));
                assert_eq!(file[offset as usize], type_byte);
            }
            error => panic!("{error}"),
        }
        let reply = run(&mut server, &[b"DUMP", b"some key"]);
        let restored = restore(bulk(&reply), STRING_BYTES_MAX);
        assert_eq!(restored, Err(RestoreError::Unsupported(expected)));
    }
}

#[test]
fn what_is_written_redis_checks_and_loads() {
    let data = data(true);
    for (compression, checksum) in [(true, true), (false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let file = write(&data, WriterOptions { compression, checksum });
        let path = dir.path().join("dump.rdb");
        fs::write(&path, &file).unwrap();
        let Some(mut server) = start(dir.path(), &[]) else { return };
        compare(&mut server, &data);
        let check = Command::new("redis-check-rdb").arg(&path).output();
        let check = check.expect("redis-check-rdb is in the package of redis-server");
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.success(), "{said}");
        assert!(said.contains("RDB looks OK!"), "{said}");
        assert!(said.contains(&format!("{} keys read", data.len())), "{said}");
        // What Redis then saves is the same again.
        let again = items(&saved(&mut server, dir.path()), 4096).expect("it is well formed");
        assert!(data_of(&again) == data);
    }
}

#[test]
fn compression_saves_about_as_much_as_that_of_redis() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = start(dir.path(), &[]) else { return };
    let data = data(true);
    fill(&mut server, &data);
    let theirs = saved(&mut server, dir.path()).len();
    let stamps = data.len() * b"\xfa\x0dquorate-stamp\x191800000000000000-0a0b0c0d".len();
    let ours = write(&data, WriterOptions { compression: true, checksum: true }).len() - stamps;
    assert!(ours < theirs + theirs / 50, "{ours} bytes, where redis-server needs {theirs}");
}

#[test]
fn payloads_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = start(dir.path(), &[]) else { return };
    for (value, _) in data(true).values() {
        expect(&mut server, &[b"SET", b"k", value], "+OK");
        let reply = run(&mut server, &[b"DUMP", b"k"]);
        let theirs = bulk(&reply);
        let restored = restore(theirs, STRING_BYTES_MAX);
        assert!(restored == Ok(Value::String(Bytes::copy_from_slice(value))));
        for compression in [true, false] {
            let mut ours = BytesMut::new();
            dump(&Value::String(Bytes::copy_from_slice(value)), compression, &mut ours);
            if theirs[1] != 0xc3 {
                let body = theirs.len() - 10;
                assert_eq!(ours[..body], theirs[..body], "what is not compressed has one form");
            }
            expect(&mut server, &[b"RESTORE", b"r", b"0", &ours, b"REPLACE"], "+OK");
            assert!(bulk(&run(&mut server, &[b"GET", b"r"])) == value);
        }
        let mut wrong = theirs.to_vec();
        wrong[0] ^= 1;
        let error = restore(&wrong, STRING_BYTES_MAX).expect_err("it was altered");
        expect(&mut server, &[b"RESTORE", b"w", b"0", &wrong], &format!("-{}", error.text()));
    }
}

//! Hashes beside redis-server: each takes what the other dumps and saves, and both name the same encodings.

use std::fs;

use bytes::{Bytes, BytesMut};
use quorate::base::ids::DbIndex;
use quorate::base::unit::Kind;
use quorate::rdb::reader::{Item, Reader, Value};
use quorate::rdb::writer::{Header, Writer, WriterOptions};

use crate::reply::Reply;
use crate::servers::{InProcess, RedisServer, Server};

type Hash = Vec<(Vec<u8>, Vec<u8>)>;

/// Small and large, with values that are numbers of every length, text of every length.
fn hashes() -> Vec<Hash> {
    let numbers = [0i64, 1, -1, 12, 13, 127, 128, -128, -129, 4095, 4096, -4096, -4097, 32767];
    let wide = [32768, -32769, 8_388_607, -8_388_609, 2_147_483_647, -2_147_483_649, i64::MAX];
    let texts = [0, 1, 10, 63, 64, 65, 500, 4095, 4096, 70_000];
    let field = |at: usize| format!("field:{at}").into_bytes();
    let numbers = numbers.iter().chain(&wide).enumerate();
    let numbers = numbers.map(|(at, n)| (field(at), n.to_string().into_bytes())).collect();
    let text = |bytes: usize| vec![b'a' + (bytes % 26) as u8; bytes];
    let short = texts.iter().filter(|bytes| **bytes <= 64).map(|&b| (text(b), text(b))).collect();
    let long = texts.iter().map(|&bytes| (field(bytes), text(bytes))).collect();
    let many = (0..1000).map(|at| (field(at), at.to_string().into_bytes())).collect();
    let odd =
        vec![(vec![], vec![]), (vec![0, 255], b"\r\n".to_vec()), (b"007".to_vec(), vec![b'7'])];
    vec![numbers, short, long, many, odd]
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}

fn ask(server: &mut impl Server, words: &[&[u8]]) -> Reply {
    let bytes = server.reply(0, &request(words));
    Reply::take(&mut &bytes[..])
}

fn fill(server: &mut impl Server, key: &[u8], hash: &Hash) {
    let mut words: Vec<&[u8]> = vec![b"HSET", key];
    words.extend(hash.iter().flat_map(|(field, value)| [&field[..], value]));
    let added = Reply::Line(format!(":{}", hash.len()));
    assert_eq!(ask(server, &words), added);
}

fn held(server: &mut impl Server, key: &[u8]) -> Hash {
    let Reply::List(_, list) = ask(server, &[b"HGETALL", key]) else { panic!("a list") };
    let bytes = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => bytes.clone(),
        other => panic!("{other} is no string"),
    };
    let mut hash: Hash = list.chunks(2).map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect();
    hash.sort();
    hash
}

fn sorted(hash: &Hash) -> Hash {
    let mut hash = hash.clone();
    hash.sort();
    hash
}

#[test]
fn payloads_of_hashes_go_both_ways() {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut ours = InProcess::new();
    for hash in hashes() {
        ask(&mut redis, &[b"FLUSHALL"]);
        ask(&mut ours, &[b"FLUSHALL"]);
        fill(&mut redis, b"h", &hash);
        fill(&mut ours, b"h", &hash);
        assert_eq!(held(&mut ours, b"h"), sorted(&hash));
        let encoding = ask(&mut redis, &[b"OBJECT", b"ENCODING", b"h"]);
        assert_eq!(ask(&mut ours, &[b"OBJECT", b"ENCODING", b"h"]), encoding);
        let (Reply::Bulk(theirs), Reply::Bulk(own)) =
            (ask(&mut redis, &[b"DUMP", b"h"]), ask(&mut ours, &[b"DUMP", b"h"]))
        else {
            panic!("payloads")
        };
        let ok = Reply::Line("+OK".to_owned());
        assert_eq!(ask(&mut ours, &[b"RESTORE", b"r", b"0", &theirs]), ok);
        assert_eq!(held(&mut ours, b"r"), sorted(&hash));
        assert_eq!(ask(&mut redis, &[b"RESTORE", b"r", b"0", &own]), ok);
        assert_eq!(held(&mut redis, b"r"), sorted(&hash));
        // In place of a string, and of another hash.
        for key in [&b"s"[..], b"h"] {
            ask(&mut ours, &[b"SET", b"s", b"v"]);
            assert_eq!(ask(&mut ours, &[b"RESTORE", key, b"0", &own, b"REPLACE"]), ok);
            assert_eq!(held(&mut ours, key), sorted(&hash));
        }
    }
}

#[test]
fn files_with_hashes_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().expect("a plain path");
    let options = ["--save", "", "--dir", path];
    let header = Header { redis_version: "7.4.0", created_s: 1_800_000_000, used_bytes: 1 };
    let mut out = BytesMut::new();
    let with = WriterOptions { compression: true, checksum: true };
    let mut writer = Writer::new(with, &header, &mut out);
    writer.database(DbIndex(0), 5, 0, &mut out);
    for (at, hash) in hashes().iter().enumerate() {
        let bytes = |bytes: &Vec<u8>| Bytes::copy_from_slice(bytes);
        let list = hash.iter().map(|(field, value)| (bytes(field), bytes(value))).collect();
        let value = Value::Elements { kind: Kind::Hash, list };
        writer.key(format!("h{at}").as_bytes(), &value, None, &mut out);
    }
    writer.finish(&mut out);
    fs::write(dir.path().join("dump.rdb"), &out).unwrap();
    let Some(mut redis) = RedisServer::start_with(&options) else { return };
    for (at, hash) in hashes().iter().enumerate() {
        assert_eq!(held(&mut redis, format!("h{at}").as_bytes()), sorted(hash));
    }
    // What Redis then saves is read, in pieces of any length.
    assert_eq!(ask(&mut redis, &[b"SAVE"]), Reply::Line("+OK".to_owned()));
    let file = fs::read(dir.path().join("dump.rdb")).expect("it was saved");
    for piece in [7, 4096, file.len()] {
        let mut reader = Reader::new(1 << 20);
        let (mut buf, mut found) = (BytesMut::new(), 0);
        for bytes in file.chunks(piece) {
            buf.extend_from_slice(bytes);
            while let Some(item) = reader.next(&mut buf).expect("it is well formed") {
                let Item::Key(key) = item else { continue };
                let Value::Elements { kind: Kind::Hash, list } = key.value else {
                    panic!("a hash")
                };
                let at: usize = String::from_utf8_lossy(&key.key[1..]).parse().expect("a number");
                let mut list: Hash =
                    list.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
                list.sort();
                assert_eq!(list, sorted(&hashes()[at]));
                found += 1;
            }
        }
        assert_eq!(found, hashes().len());
    }
}

#[test]
fn encodings_follow_the_same_thresholds() {
    let Some(mut redis) = RedisServer::start() else { return };
    let mut ours = InProcess::new();
    for (entries, value) in [("128", "64"), ("3", "5"), ("0", "64")] {
        for server in [&mut redis as &mut dyn Server, &mut ours] {
            let set = [&b"CONFIG"[..], b"SET", b"hash-max-listpack-entries", entries.as_bytes()];
            server.reply(0, &request(&set));
            let set = [&b"CONFIG"[..], b"SET", b"hash-max-ziplist-value", value.as_bytes()];
            server.reply(0, &request(&set));
            server.reply(0, &request(&[b"FLUSHALL"]));
        }
        for fields in [1, 3, 4, 128, 129] {
            for bytes in [1, 5, 6, 64, 65] {
                let key = format!("{fields}:{bytes}").into_bytes();
                let one = |at: usize| (at.to_string().into_bytes(), vec![b'x'; bytes]);
                let hash: Hash = (0..fields).map(one).collect();
                fill(&mut redis, &key, &hash);
                fill(&mut ours, &key, &hash);
                let theirs = ask(&mut redis, &[b"OBJECT", b"ENCODING", &key]);
                assert_eq!(ask(&mut ours, &[b"OBJECT", b"ENCODING", &key]), theirs);
            }
        }
    }
}

//! Dumps of the real binary beside redis-server's: each loads the other's, key by key; restarts, save points, refusals.

// Real processes take real time, and that has to be waited for.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::servers::{Server, available, binary, free_port, refused, wait_for};

/// By how much a deadline may seem to differ that two servers were asked for one after the other.
const DEADLINE_MS: u64 = 5000;

/// A server of the other kind.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    /// `None` if it is not installed.
    fn start(dir: &Path, options: &[&str]) -> Option<Redis> {
        let mut probe = Command::new("redis-server");
        if !available("redis-server (Debian: redis-server)", probe.arg("--version")) {
            return None;
        }
        let port = free_port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir)
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started");
        let redis = Redis { port, process };
        let up = || TcpStream::connect(("127.0.0.1", port)).ok();
        wait_for("redis-server", up);
        wait_for("its data", || {
            (Client::to(port).ask(&[b"PING"]) == Some(b"PONG".into())).then_some(())
        });
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Client {
    link: BufReader<TcpStream>,
}

impl Client {
    fn to(port: u16) -> Client {
        let link = TcpStream::connect(("127.0.0.1", port)).expect("the server runs");
        Client { link: BufReader::new(link) }
    }

    fn send(&mut self, words: &[&[u8]]) {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.link.get_mut().write_all(&request).expect("the server runs");
    }

    /// A status or an integer without its mark, an error with it, a bulk string; `None` for nothing.
    fn reply(&mut self) -> Option<Vec<u8>> {
        let line = self.line();
        match line[0] {
            b'$' => {
                let bytes = String::from_utf8_lossy(&line[1..]).parse::<i64>().expect("a length");
                let mut bulk = vec![0; usize::try_from(bytes).ok()? + 2];
                self.link.read_exact(&mut bulk).expect("the server runs");
                bulk.truncate(bulk.len() - 2);
                Some(bulk)
            }
            b'-' => Some(line),
            _ => Some(line[1..].to_vec()),
        }
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.link.read_until(b'\n', &mut line).expect("the server runs");
        line.truncate(line.len() - 2);
        line
    }

    fn ask(&mut self, words: &[&[u8]]) -> Option<Vec<u8>> {
        self.send(words);
        self.reply()
    }

    fn expect(&mut self, words: &[&[u8]], expected: &str) {
        let found = self.ask(words).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&found), expected, "{}", words[0].escape_ascii());
    }

    fn select(&mut self, db: u16) {
        self.expect(&[b"SELECT", db.to_string().as_bytes()], "OK");
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        self.send(&[b"KEYS", b"*"]);
        let count = String::from_utf8_lossy(&self.line()[1..]).parse().expect("a count");
        (0..count).map(|_| self.reply().expect("a key")).collect()
    }

    /// Everything a client can see.
    fn contents(&mut self) -> Data {
        let mut data = Data::new();
        for db in 0..16 {
            self.select(db);
            for key in self.keys() {
                let value = self.ask(&[b"GET", &key]).expect("it is there");
                let ttl = self.ask(&[b"PTTL", &key]).expect("a number");
                let ttl = String::from_utf8_lossy(&ttl).parse::<i64>().expect("a number");
                data.insert((db, key), (value, u64::try_from(ttl).ok().map(|ms| now_ms() + ms)));
            }
        }
        data
    }
}

/// Keys by database and name: their values and deadlines.
type Data = BTreeMap<(u16, Vec<u8>), (Vec<u8>, Option<u64>)>;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// Strings that Redis stores as numbers, plain and compressed, with and without deadlines, in three databases, and many
/// small ones.
fn fill(client: &mut Client, many: usize) {
    let mut values: Vec<Vec<u8>> =
        ["", "0", "-1", "127", "128", "-32769", "2147483648", "007", "x"]
            .map(|text| text.as_bytes().to_vec())
            .to_vec();
    values.push(b"9223372036854775807".to_vec());
    values.push(vec![b'a'; 100_000]);
    values.push(b"the quick brown fox jumps over the lazy dog, ".repeat(30));
    values.push((0..=255u8).cycle().take(70_000).collect());
    for db in [0u16, 3, 15] {
        client.select(db);
        for (index, value) in values.iter().enumerate() {
            let key = format!("key:{db}:{index}\r\n\u{ff}");
            client.expect(&[b"SET", key.as_bytes(), value], "OK");
            if index % 3 == 0 {
                let ms = (1_000_000 + index * 1000).to_string();
                client.expect(&[b"PEXPIRE", key.as_bytes(), ms.as_bytes()], "1");
            }
        }
        client.expect(&[b"INCRBY", b"counter", b"41"], "41");
        client.expect(&[b"INCR", b"counter"], "42");
        client.expect(&[b"SET", b"base", b"7"], "OK");
        client.expect(&[b"DECR", b"base"], "6");
        client.expect(&[b"SET", b"gone", b"7"], "OK");
        client.expect(&[b"DEL", b"gone"], "1");
    }
    client.select(0);
    for from in (0..many).step_by(1000) {
        for n in from..from + 1000 {
            client.send(&[
                b"SET",
                format!("many:{n}").as_bytes(),
                format!("value of {n}").as_bytes(),
            ]);
        }
        for _ in from..from + 1000 {
            assert_eq!(client.reply(), Some(b"OK".to_vec()));
        }
    }
}

fn assert_same(found: &Data, expected: &Data) {
    assert_eq!(found.len(), expected.len(), "so many keys");
    for (key, (value, deadline)) in expected {
        let Some((held, until)) = found.get(key) else { panic!("{key:?} is missing") };
        assert!(held == value, "the value of {key:?}");
        let near = match (until, deadline) {
            (Some(a), Some(b)) => a.abs_diff(*b) < DEADLINE_MS,
            (a, b) => a == b,
        };
        assert!(near, "{key:?} expires at {until:?}, not at {deadline:?}");
    }
}

/// A server that has read what it found.
fn server(dir: &Path, flags: &[&str]) -> Server {
    let server = Server::start(dir, free_port(), flags);
    wait_for("the data to be read", || {
        (Client::to(server.port).ask(&[b"PING"]) == Some(b"PONG".to_vec())).then_some(())
    });
    server
}

#[test]
fn redis_loads_what_save_has_written_and_a_restarted_server_too() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = server(dir.path(), &["--appendonly", "no"]);
    let mut client = Client::to(first.port);
    fill(&mut client, 20_000);
    let before = client.contents();
    client.expect(&[b"SAVE"], "OK");
    client.expect(&[b"SET", b"later", b"1"], "OK");
    first.stop("-KILL");
    let file = dir.path().join("dump.rdb");
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    assert_same(&Client::to(redis.port).contents(), &before);
    let check = Command::new("redis-check-rdb").arg(&file).output().expect("beside redis-server");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && said.contains("RDB looks OK!"), "{said}");
    assert!(said.contains(&format!("{} keys read", before.len())), "{said}");
    drop(redis);
    let second = server(dir.path(), &["--appendonly", "no"]);
    let mut client = Client::to(second.port);
    assert_same(&client.contents(), &before);
    // A counter goes on, a delete stays one.
    client.expect(&[b"INCR", b"counter"], "43");
    client.expect(&[b"EXISTS", b"gone", b"later"], "0");
    let ours = Command::new(binary()).arg("check").arg(&file).output().expect("it can be run");
    let said = String::from_utf8_lossy(&ours.stdout).into_owned();
    assert!(ours.status.success(), "{said}");
    for line in [format!("keys: {}", before.len()), "stamps: yes".into(), "checksum: right".into()]
    {
        assert!(said.contains(&line), "{line}: {said}");
    }
}

#[test]
fn what_redis_has_saved_is_loaded_with_and_without_a_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = ["--dbfilename", "of-redis.rdb", "--enable-debug-command", "yes"];
    let Some(redis) = Redis::start(dir.path(), &options) else { return };
    let mut client = Client::to(redis.port);
    fill(&mut client, 100_000);
    let before = client.contents();
    client.select(0);
    client.expect(&[b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"], "OK");
    client.expect(&[b"SET", b"short", b"x", b"PX", b"1"], "OK");
    client.expect(&[b"SAVE"], "OK");
    drop(redis);
    for flags in [&["--appendonly", "no"][..], &["--appendonly", "yes", "--appendfsync", "always"]]
    {
        let ours = tempfile::tempdir().expect("a temporary directory");
        fs::copy(dir.path().join("of-redis.rdb"), ours.path().join("dump.rdb")).expect("copied");
        let first = server(ours.path(), flags);
        let mut client = Client::to(first.port);
        assert_same(&client.contents(), &before);
        let said = format!("{} keys without stamps, 1 of them expired", before.len() + 1);
        assert!(first.log().contains(&said), "{}", first.log());
        client.select(0);
        client.expect(&[b"INCR", b"counter"], "43");
        client.expect(&[b"DEL", b"many:7"], "1");
        if flags == ["--appendonly", "no"] {
            continue;
        }
        // From now on the log has it all, and the dump is not looked at.
        first.stop("-KILL");
        let second = server(ours.path(), flags);
        let mut client = Client::to(second.port);
        client.expect(&[b"GET", b"counter"], "43");
        client.expect(&[b"EXISTS", b"many:7"], "0");
        client.expect(&[b"GET", b"many:8"], "value of 8");
        assert!(second.log().contains("dump.rdb is not loaded: there is a log"));
    }
}

#[test]
fn payloads_go_both_ways() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    let ours = server(&dir.path().join("ours"), &[]);
    let (mut redis, mut ours) = (Client::to(redis.port), Client::to(ours.port));
    fill(&mut ours, 1000);
    ours.select(0);
    let keys = ours.keys();
    for key in &keys {
        let payload = ours.ask(&[b"DUMP", key]).expect("a payload");
        let ttl = ours.ask(&[b"PTTL", key]).expect("a number");
        let ttl = if ttl == b"-1" { b"0".to_vec() } else { ttl };
        redis.expect(&[b"RESTORE", key, &ttl, &payload], "OK");
        redis
            .expect(&[b"RESTORE", key, &ttl, &payload], "-BUSYKEY Target key name already exists.");
        let back = redis.ask(&[b"DUMP", key]).expect("a payload");
        ours.expect(&[b"RESTORE", key, &ttl, &back, b"REPLACE"], "OK");
        assert_eq!(ours.ask(&[b"GET", key]), redis.ask(&[b"GET", key]));
    }
    assert!(keys.len() > 1000);
    let in_0 = |data: Data| data.into_iter().filter(|((db, _), _)| *db == 0).collect::<Data>();
    assert_same(&in_0(redis.contents()), &in_0(ours.contents()));
}

#[test]
fn what_cannot_be_loaded_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(redis) = Redis::start(dir.path(), &[]) else { return };
    let mut client = Client::to(redis.port);
    client.expect(&[b"SET", b"a", b"1"], "OK");
    client.expect(&[b"SAVE"], "OK");
    let path = dir.path().join("dump.rdb");
    let whole = fs::read(&path).expect("saved");
    client.expect(&[b"RPUSH", b"the list", b"a"], "1");
    client.expect(&[b"SAVE"], "OK");
    let list = fs::read(&path).expect("saved");
    drop(redis);
    let mut altered = whole.clone();
    altered[whole.len() - 12] ^= 1;
    for (file, expected) in [
        (&whole[..whole.len() - 9], "at offset "),
        (&whole[..3], "the file ends where something should follow"),
        (&b"no dump"[..], "not a dump file"),
        (&altered, "the checksum "),
        (&list, "the key \"the list\" is a list (type "),
    ] {
        for flags in [&["--appendonly", "no"][..], &["--appendonly", "yes"]] {
            let ours = tempfile::tempdir().expect("a temporary directory");
            let path = ours.path().join("dump.rdb");
            fs::write(&path, file).expect("writable");
            let (port, data) =
                (free_port().to_string(), ours.path().to_string_lossy().into_owned());
            let log = ours.path().join("log").to_string_lossy().into_owned();
            let mut args = vec!["server", "--port", &port, "--dir", &data, "--logfile", &log];
            args.extend(flags);
            assert_eq!(refused(&args).0, Some(1));
            let said = fs::read_to_string(&log).expect("a log file");
            assert!(said.contains("dump.rdb is not loaded, at offset "), "{said}");
            assert!(said.contains(expected), "{expected}: {said}");
            assert_eq!(fs::read(&path).expect("still there"), file);
            let names = fs::read_dir(ours.path()).expect("readable");
            let snapshots = names.filter(|entry| {
                entry.as_ref().expect("readable").file_name().to_string_lossy().ends_with(".qsnap")
            });
            assert_eq!(snapshots.count(), 0, "nothing was made of it");
        }
        let path = dir.path().join("checked.rdb");
        fs::write(&path, file).expect("writable");
        let check = Command::new(binary()).arg("check").arg(&path).output().expect("it runs");
        assert_eq!(check.status.code(), Some(1));
    }
}

/// Everything with this beginning in a directory.
fn names(dir: &Path, beginning: &str) -> Vec<String> {
    let names = fs::read_dir(dir)
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(beginning)).collect();
    names.sort();
    names
}

/// A dump of one key, written elsewhere.
fn foreign_dump() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = server(dir.path(), &["--appendonly", "no"]);
    let mut client = Client::to(server.port);
    client.expect(&[b"SET", b"foreign", b"1"], "OK");
    client.expect(&[b"SAVE"], "OK");
    fs::read(dir.path().join("dump.rdb")).expect("saved")
}

#[test]
fn a_dump_that_was_not_loaded_is_kept_when_its_place_is_taken() {
    let (foreign, flags) = (foreign_dump(), ["--appendfsync", "always"]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = server(dir.path(), &flags);
    Client::to(first.port).expect(&[b"SET", b"k", b"logged"], "OK");
    first.stop("-TERM");
    fs::write(dir.path().join("dump.rdb"), &foreign).expect("writable");
    let second = server(dir.path(), &flags);
    let said = "dump.rdb is not loaded: there is a log, and only what the log holds is served";
    assert!(second.log().contains(said), "{}", second.log());
    let mut client = Client::to(second.port);
    client.expect(&[b"EXISTS", b"k", b"foreign"], "1");
    for _ in 0..3 {
        client.expect(&[b"SAVE"], "OK");
        assert_eq!(names(dir.path(), "dump.rdb"), ["dump.rdb", "dump.rdb.kept-1"]);
    }
    assert_eq!(fs::read(dir.path().join("dump.rdb.kept-1")).expect("kept"), foreign);
    second.stop("-TERM");
    // Its own dump it knows, also in a next life; not one that comes while it runs.
    let third = server(dir.path(), &flags);
    let mut client = Client::to(third.port);
    client.expect(&[b"SAVE"], "OK");
    assert_eq!(names(dir.path(), "dump.rdb"), ["dump.rdb", "dump.rdb.kept-1"]);
    fs::write(dir.path().join("dump.rdb"), b"another").expect("writable");
    client.expect(&[b"SAVE"], "OK");
    let kept = ["dump.rdb", "dump.rdb.kept-1", "dump.rdb.kept-2"];
    assert_eq!(names(dir.path(), "dump.rdb"), kept);
    third.stop("-TERM");
    // One with which the log has begun is in the log.
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("dump.rdb"), &foreign).expect("writable");
    for _ in 0..2 {
        let server = server(dir.path(), &flags);
        let mut client = Client::to(server.port);
        client.expect(&[b"EXISTS", b"foreign"], "1");
        client.expect(&[b"SET", b"k", b"v"], "OK");
        client.expect(&[b"SAVE"], "OK");
        server.stop("-KILL");
        assert_eq!(names(dir.path(), "dump.rdb"), ["dump.rdb"]);
    }
}

#[test]
fn between_a_log_and_a_later_dump_the_operator_chooses() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let start = |appendonly: &str| server(dir.path(), &["--appendonly", appendonly]);
    let first = start("yes");
    Client::to(first.port).expect(&[b"SET", b"logged", b"1"], "OK");
    first.stop("-TERM");
    let second = start("no");
    let mut client = Client::to(second.port);
    client.expect(&[b"SET", b"saved", b"1"], "OK");
    client.expect(&[b"SAVE"], "OK");
    second.stop("-TERM");
    let before = names(dir.path(), "");
    let log = dir.path().join("refusal").to_string_lossy().into_owned();
    let (port, data) = (free_port().to_string(), dir.path().to_string_lossy().into_owned());
    let args = ["server", "--port", &port, "--dir", &data, "--logfile", &log];
    let (code, said) = refused(&args);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("a dump, dump.rdb, that was written later, with 'appendonly no'"),
        "{said}"
    );
    fs::remove_file(&log).expect("there");
    assert_eq!(names(dir.path(), ""), before);
    // The dump is still what goes on without a log.
    let again = start("no");
    Client::to(again.port).expect(&[b"EXISTS", b"logged", b"saved"], "1");
    again.stop("-TERM");
    // The log is chosen.
    let (dump, aside) = (dir.path().join("dump.rdb"), dir.path().join("aside"));
    fs::rename(&dump, &aside).expect("movable");
    let third = start("yes");
    Client::to(third.port).expect(&[b"EXISTS", b"logged"], "1");
    third.stop("-TERM");
    // The dump is chosen.
    fs::rename(&aside, &dump).expect("movable");
    for name in names(dir.path(), "log-").iter().chain(&names(dir.path(), "snapshot-")) {
        fs::remove_file(dir.path().join(name)).expect("removable");
    }
    for _ in 0..2 {
        let fourth = start("yes");
        let mut client = Client::to(fourth.port);
        client.expect(&[b"EXISTS", b"saved"], "1");
        client.expect(&[b"EXISTS", b"logged"], "0");
        fourth.stop("-TERM");
    }
}

#[test]
fn a_save_point_writes_the_dump_and_lastsave_tells() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let flags = ["--save", "1 3", "--dbfilename", "points.rdb"];
    let first = server(dir.path(), &flags);
    let mut client = Client::to(first.port);
    let start = client.ask(&[b"LASTSAVE"]).expect("a number");
    for n in 0..3 {
        client.expect(&[b"SET", b"k", n.to_string().as_bytes()], "OK");
    }
    let file = dir.path().join("points.rdb");
    wait_for("the dump", || file.exists().then_some(()));
    let saved = wait_for("LASTSAVE", || client.ask(&[b"LASTSAVE"]).filter(|at| *at != start));
    let number = |text: &[u8]| String::from_utf8_lossy(text).parse::<u64>().expect("a number");
    assert!(number(&saved) > number(&start));
    assert!((now_ms() / 1000).abs_diff(number(&saved)) < 30);
    first.stop("-KILL");
    let second = server(dir.path(), &flags);
    Client::to(second.port).expect(&[b"GET", b"k"], "2");
}

//! The log of the real binary: kill -9 under load loses nothing that was acknowledged, a clean stop nothing at
//! all, damage is refused.

// Real processes take real time, and that has to be waited for.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::servers::{Server, available, free_port, have_redis_cli, refused, wait_for};

/// How often the server is killed; more with `KILL_ROUNDS` in the environment.
const ROUNDS: usize = 8;
const CLIENTS: usize = 4;
/// Commands a client sends at once.
const PIPELINED: u64 = 16;

/// What one client has sent and what was acknowledged, over all rounds.
#[derive(Clone, Default)]
struct Told {
    sent: u64,
    /// What was acknowledged, rising.
    acknowledged: Vec<u64>,
    /// How much of it is acknowledged since it was last looked at.
    checked: usize,
    /// Acknowledged increments of the shared counter, and those sent.
    counted: u64,
    counted_at_most: u64,
}

/// Writes until the server is gone: the same key again and again, a key of its own each time, a shared counter.
fn write(port: u16, client: usize, told: &mut Told, stop: &AtomicBool) {
    let Ok(link) = TcpStream::connect(("127.0.0.1", port)) else { return };
    link.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut link = BufReader::new(link);
    while !stop.load(Ordering::Relaxed) {
        let mut text = String::new();
        let batch = told.sent + 1..=told.sent + PIPELINED;
        for n in batch.clone() {
            text += &format!("SET last{client} {n}\r\nSET key{client}:{n} {n}\r\nINCR counter\r\n");
        }
        told.sent += PIPELINED;
        told.counted_at_most += PIPELINED;
        if link.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
        for n in batch {
            let whole = line(&mut link).is_ok_and(|l| l == "+OK")
                && line(&mut link).is_ok_and(|l| l == "+OK");
            if !whole {
                return;
            }
            told.acknowledged.push(n);
            if !line(&mut link).is_ok_and(|l| l.starts_with(':')) {
                return;
            }
            told.counted += 1;
        }
    }
}

fn line(link: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    if link.read_line(&mut text)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}

/// The integer a command answers, as a bulk string.
fn number(link: &mut BufReader<TcpStream>, command: &str) -> Option<u64> {
    link.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("the server runs");
    let head = line(link).expect("an answer");
    if head == "$-1" {
        return None;
    }
    Some(line(link).expect("a value").parse().expect("a number"))
}

/// Makes the log's beginning go again and again, until the server is gone.
fn snapshot_over_and_over(port: u16, stop: &AtomicBool) {
    let Ok(link) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let mut link = BufReader::new(link);
    while !stop.load(Ordering::Relaxed) {
        let sent = link.get_mut().write_all(b"BGREWRITEAOF\r\n");
        let Ok(answer) = sent.and_then(|()| line(&mut link)) else { return };
        assert!(answer.starts_with("+Background append only file rewriting"), "{answer}");
        std::thread::sleep(Duration::from_millis(7));
    }
}

/// A small file system of its own, in memory, that goes when the test ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<SmallDisk> {
        let at = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at.path());
        available("root, to mount a small file system", &mut mount).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.expect("readable").file_name().to_string_lossy().into_owned()
    };
    entries.map(name).collect()
}

/// Whether the server holds what was acknowledged since the last time, or all that ever was.
fn check(port: u16, told: &mut [Told], all: bool) {
    let link = TcpStream::connect(("127.0.0.1", port)).expect("the server runs");
    let mut link = BufReader::new(link);
    for (client, told) in told.iter_mut().enumerate() {
        let last = number(&mut link, &format!("GET last{client}")).unwrap_or(0);
        let newest = told.acknowledged.last().copied().unwrap_or(0);
        assert!((newest..=told.sent).contains(&last), "{client}: {last}, not from {newest}");
        let from = if all { 0 } else { told.checked };
        told.checked = told.acknowledged.len();
        for some in told.acknowledged[from..].chunks(1000) {
            let asked: String = some.iter().map(|n| format!("GET key{client}:{n}\r\n")).collect();
            link.get_mut().write_all(asked.as_bytes()).expect("the server runs");
            for n in some {
                let length = line(&mut link).expect("an answer");
                assert_ne!(length, "$-1", "key{client}:{n} was acknowledged");
                assert_eq!(line(&mut link).expect("a value"), n.to_string(), "key{client}:{n}");
            }
        }
    }
    let counter = number(&mut link, "GET counter").unwrap_or(0);
    let least: u64 = told.iter().map(|t| t.counted).sum();
    let most: u64 = told.iter().map(|t| t.counted_at_most).sum();
    assert!((least..=most).contains(&counter), "{counter} is not in {least}..={most}");
}

const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn server(dir: &Path, flags: &[&str]) -> Server {
    let server = Server::start(dir, free_port(), flags);
    let ready = |server: &Server| {
        let mut link = BufReader::new(TcpStream::connect(("127.0.0.1", server.port)).ok()?);
        link.get_mut().write_all(b"PING\r\n").ok()?;
        line(&mut link).ok().filter(|answer| answer == "+PONG")
    };
    wait_for("the log to be read", || ready(&server));
    server
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    let rounds = std::env::var("KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut told = vec![Told::default(); CLIENTS];
    for round in 0..rounds {
        let running = server(dir.path(), &ALWAYS);
        check(running.port, &mut told, false);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (client, told) in told.iter_mut().enumerate() {
                let (port, stop) = (running.port, &stop);
                scope.spawn(move || write(port, client, told, stop));
            }
            let (port, stop) = (running.port, &stop);
            scope.spawn(move || snapshot_over_and_over(port, stop));
            std::thread::sleep(Duration::from_millis(150 + 37 * (round as u64 % 7)));
            running.stop("-KILL");
            stop.store(true, Ordering::Relaxed);
        });
    }
    let last = server(dir.path(), &ALWAYS);
    check(last.port, &mut told, true);
    let acknowledged: u64 = told.iter().map(|t| 2 * t.acknowledged.len() as u64 + t.counted).sum();
    assert!(acknowledged > 100 * rounds as u64, "only {acknowledged} writes were acknowledged");
    println!("{acknowledged} acknowledged writes over {rounds} kills");
    let names = names_in(dir.path());
    let snapshots = names.iter().filter(|name| name.ends_with(".qsnap")).count();
    assert_eq!(snapshots, 1, "one snapshot stands for what was before: {names:?}");
    assert_eq!(last.stop("-TERM").code(), Some(0));
}

#[test]
fn a_full_device_refuses_writes_and_loses_nothing_acknowledged() {
    if !have_redis_cli() {
        return;
    }
    let Some(disk) = SmallDisk::mount("size=3m") else { return };
    let dir = disk.0.path();
    let filler = dir.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).expect("there is room");
    let mut told = vec![Told::default(); CLIENTS];
    for round in 0..6 {
        let running = server(dir, &ALWAYS);
        check(running.port, &mut told, true);
        let stop = AtomicBool::new(false);
        // Each ends when a write of its is refused.
        std::thread::scope(|scope| {
            for (client, told) in told.iter_mut().enumerate() {
                let (port, stop) = (running.port, &stop);
                scope.spawn(move || write(port, client, told, stop));
            }
        });
        assert!(running.ask(&["SET", "more", "x"]).starts_with("MISCONF"), "the device is full");
        check(running.port, &mut told, true);
        if round == 2 {
            // Somebody makes room: writes are taken again, without a restart.
            fs::remove_file(&filler).expect("it is there");
            wait_for("writes to be taken again", || {
                (running.ask(&["SET", "more", "x"]) == "OK").then_some(())
            });
            assert_eq!(running.ask(&["GET", "more"]), "x");
        }
        running.stop("-KILL");
    }
    let acknowledged: usize = told.iter().map(|t| t.acknowledged.len()).sum();
    println!("{acknowledged} acknowledged keys on a device that was full {} times", 6);
}

#[test]
fn a_shutdown_on_a_full_device_fails_a_signal_waits_and_nosave_ends() {
    if !have_redis_cli() {
        return;
    }
    let Some(disk) = SmallDisk::mount("size=3m") else { return };
    let dir = disk.0.path();
    let filler = dir.join("filler");
    let value = "v".repeat(50_000);
    let fill = |running: &Server| {
        let mut key = 0;
        while running.ask(&["SET", &format!("{}:{key}", running.port), &value]) == "OK" {
            key += 1;
        }
        assert!(running.ask(&["SET", "k", "x"]).starts_with("MISCONF"));
    };
    fs::write(&filler, vec![0; 1 << 20]).expect("there is room");
    let first = server(dir, &["--appendfsync", "everysec"]);
    fill(&first);
    let refusal = first.cli_text("SHUTDOWN");
    assert!(refusal.contains("Errors trying to SHUTDOWN: the log's device is full"), "{refusal}");
    let keys = first.ask(&["DBSIZE"]);
    first.signal("-TERM");
    wait_for("a word of the signal", || {
        first.log().contains("the server ends when there is room").then_some(())
    });
    assert_eq!(first.ask(&["DBSIZE"]), keys);
    fs::remove_file(&filler).expect("it is there");
    assert_eq!(first.await_end().code(), Some(0));
    let second = server(dir, &["--appendfsync", "everysec"]);
    assert_eq!(second.ask(&["DBSIZE"]), keys, "all that was written down, and what waited");
    fill(&second);
    second.signal("-TERM");
    wait_for("a word of the signal", || {
        (second.log().matches("the server ends when there is room").count() == 2).then_some(())
    });
    let ended = second.cli().args(["SHUTDOWN", "NOSAVE"]).status().expect("redis-cli can be run");
    assert!(ended.success());
    assert_eq!(second.await_end().code(), Some(1));
}

#[test]
fn a_clean_stop_keeps_everything_under_every_policy() {
    if !have_redis_cli() {
        return;
    }
    for policy in ["always", "everysec", "no"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let flags = ["--appendonly", "yes", "--appendfsync", policy];
        let first = server(dir.path(), &flags);
        assert_eq!(first.ask(&["SET", "k", "v"]), "OK");
        assert_eq!(first.ask(&["INCRBY", "n", "7"]), "7");
        assert_eq!(first.stop("-TERM").code(), Some(0));
        let second = server(dir.path(), &flags);
        assert_eq!(second.ask(&["GET", "k"]), "v");
        assert_eq!(second.ask(&["GET", "n"]), "7");
        assert_eq!(second.ask(&["CONFIG", "GET", "appendfsync"]), format!("appendfsync\n{policy}"));
        // Also what was not synced outlives the process, if not the power.
        assert_eq!(second.ask(&["INCR", "n"]), "8");
        second.stop("-KILL");
        let third = server(dir.path(), &flags);
        assert_eq!(third.ask(&["GET", "n"]), "8");
    }
}

#[test]
fn damage_before_the_end_is_refused_with_its_place() {
    if !have_redis_cli() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = server(dir.path(), &ALWAYS);
    for n in 0..20 {
        assert_eq!(first.ask(&["SET", "k", &n.to_string()]), "OK");
    }
    first.stop("-KILL");
    let path = dir.path().join("log-00000000000000000001.qlog");
    let mut bytes = fs::read(&path).expect("the log");
    bytes[100] ^= 1;
    fs::write(&path, &bytes).expect("writable");
    let (port, data) = (free_port().to_string(), dir.path().to_string_lossy().into_owned());
    let mut args = vec!["server", "--port", &port, "--dir", &data];
    args.extend(ALWAYS);
    let (code, _) = refused(&args);
    assert_eq!(code, Some(1));
    assert_eq!(fs::read(&path).expect("still there"), bytes, "it was left alone");
}

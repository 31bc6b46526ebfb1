//! The log, seen through the boundary: what is in it brings back what was, and nothing leaves too early.

use bytes::Bytes;

use super::pairs::Pair;
use super::{Driver, bulk, configured};
use crate::base::ids::{Epoch, Lsn, NodeId};
use crate::base::io::{DiskError, Input, Recover, Snap};
use crate::base::time::Span;
use crate::base::unit::{Cell, Change};
use crate::wal::scan::{Rest, Scanner, judge};
use crate::wal::snapshot::Piece;

/// A log in memory. Syncs come to their end when a test says so.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub bytes: Vec<u8>,
    /// Bytes up to which it is on the device.
    pub synced_bytes: usize,
    last: Lsn,
    under_way: Option<Lsn>,
    pub syncs: usize,
    /// Syncs take no time.
    pub at_once: bool,
    /// The snapshot in its place, and the one under way, each with the first record it does not stand for and
    /// where that is in `bytes`.
    snapshot: Option<Snapshot>,
    draft: Option<Snapshot>,
    /// A chunk has been put that has not been answered.
    put: bool,
    pub commits: bool,
}

#[derive(Clone, Debug, Default)]
struct Snapshot {
    lsn: Lsn,
    at: usize,
    bytes: Vec<u8>,
}

impl Disk {
    pub fn append(&mut self, lsn: Lsn, records: &Bytes) {
        assert!(lsn > self.last, "places count up");
        self.last = lsn;
        self.bytes.extend_from_slice(records);
    }

    pub fn begin_snapshot(&mut self, lsn: Lsn) {
        assert_eq!(lsn, self.last.next(), "it stands for all that was appended");
        self.draft = Some(Snapshot { lsn, at: self.bytes.len(), bytes: Vec::new() });
        self.put = false;
    }

    pub fn put_snapshot(&mut self, bytes: &Bytes) {
        assert!(!std::mem::replace(&mut self.put, true), "one chunk at a time");
        self.draft.as_mut().expect("begun").bytes.extend_from_slice(bytes);
    }

    pub fn sync(&mut self, through: Lsn) {
        assert!(self.under_way.is_none(), "one sync at a time");
        assert!(through <= self.last, "a sync of what was never written");
        self.under_way = Some(through);
        self.syncs += 1;
    }
}

impl Driver {
    /// The sync under way comes to its end, and those that follow from that.
    pub fn sync(&mut self) {
        while let Some(through) = self.disk.under_way.take() {
            self.disk.synced_bytes = self.disk.bytes.len();
            self.input(Input::Synced { through });
        }
    }

    /// The snapshot under way gets on by a step; false if there is none, or it waits for something else.
    pub fn snap(&mut self) -> bool {
        if std::mem::take(&mut self.disk.put) {
            self.input(Input::Snap(Snap::Written));
        } else if std::mem::take(&mut self.disk.commits) {
            let draft = self.disk.draft.take().expect("begun");
            assert!(self.disk.synced_bytes >= draft.at);
            self.disk.snapshot = Some(draft);
            self.input(Input::Snap(Snap::Committed));
        } else {
            return false;
        }
        true
    }

    /// A new life that finds the snapshot and the log behind it.
    fn restarted_from(directives: &str, node: u128, epoch: u32, disk: &Disk) -> Driver {
        let Snapshot { lsn, at, bytes } = disk.snapshot.clone().expect("there is a snapshot");
        let mut config = configured(directives);
        config.identity.node_id = NodeId(node);
        config.identity.epoch = Epoch(epoch);
        let mut driver = Driver::with(config, 90 + u64::from(epoch));
        let mut pieces = Scanner::bare(Lsn(1));
        let mut understood = 0;
        while let Some((contents, used)) = pieces.next(&bytes[understood..]) {
            driver.input(Input::Recover(Recover::Piece(contents)));
            understood += used;
        }
        assert_eq!(understood, bytes.len());
        driver.read_from(lsn, &disk.bytes[at..]);
        driver
    }

    /// A new life that finds this log: the torn end is cut off.
    pub fn restarted(directives: &str, node: u128, epoch: u32, log: &[u8]) -> Driver {
        let mut config = configured(directives);
        config.identity.node_id = NodeId(node);
        config.identity.epoch = Epoch(epoch);
        let mut driver = Driver::with(config, 90 + u64::from(epoch));
        driver.read(log);
        driver
    }

    pub fn read(&mut self, log: &[u8]) {
        self.read_from(Lsn(1), log);
    }

    fn read_from(&mut self, first: Lsn, log: &[u8]) {
        let mut scanner = Scanner::bare(first);
        let mut at = 0;
        while let Some((contents, used)) = scanner.next(&log[at..]) {
            self.input(Input::Recover(Recover::Record(contents)));
            at += used;
        }
        let next = scanner.next_lsn();
        assert!(matches!(judge(&log[at..], next), Rest::Empty | Rest::Torn));
        self.disk.bytes = log[..at].to_vec();
        self.disk.synced_bytes = at;
        self.disk.last = Lsn(next.0 - 1);
        self.input(Input::Recover(Recover::Done { next }));
    }

    fn digest_of(&mut self) -> u64 {
        self.node.inspect(self.now).digest
    }
}

const ALWAYS: &str = "appendonly yes\nappendfsync always";
const EVERY_SEC: &str = "appendonly yes\nappendfsync everysec";

const WRITES: &[&str] = &[
    "SET a 1",
    "INCRBY a 5",
    "SET b hello EX 100",
    "APPEND b -more",
    "INCR c",
    "DEL a",
    "INCRBY a 7",
    "SET d 1",
    "PERSIST b",
    "EXPIRE c 1000",
    "SELECT 3",
    "SET e far",
    "FLUSHDB",
    "SET f 2",
    "MSET g 1 h 2 i 3",
    "DEL h nothing",
];

#[test]
fn a_restart_brings_back_what_was() {
    let mut first = Driver::restarted(EVERY_SEC, 1, 1, b"");
    let conn = first.open();
    for write in WRITES {
        assert!(!first.ask(conn, write).starts_with('-'), "{write}");
    }
    let (digest, vector) = (first.digest_of(), first.node.inspect(first.now).vector);
    let shown = first.node.visible(first.now);
    let mut second = Driver::restarted(EVERY_SEC, 1, 2, &first.disk.bytes);
    assert_eq!(second.node.visible(second.now), shown);
    assert_eq!(second.digest_of(), digest);
    assert!(second.node.inspect(second.now).vector.covers_all(&vector));
    // It goes on, and a third life has both.
    let conn = second.open();
    assert_eq!(second.ask(conn, "INCR a"), ":8\r\n");
    second.ask(conn, "SET b new");
    let digest = second.digest_of();
    let mut third = Driver::restarted(EVERY_SEC, 1, 3, &second.disk.bytes);
    assert_eq!(third.digest_of(), digest);
    let conn = third.open();
    assert_eq!(third.ask(conn, "GET b"), bulk("new"));
    assert_eq!(third.ask(conn, "GET a"), bulk("8"));
}

#[test]
fn a_log_cut_anywhere_is_a_prefix_of_what_happened() {
    let mut first = Driver::restarted(ALWAYS, 1, 1, b"");
    let conn = first.open();
    let mut states = vec![(first.disk.bytes.len(), first.digest_of())];
    for write in WRITES {
        first.ask(conn, write);
        first.sync();
        states.push((first.disk.bytes.len(), first.digest_of()));
    }
    let log = first.disk.bytes.clone();
    for cut in (0..log.len()).step_by(7) {
        let mut second = Driver::restarted(ALWAYS, 1, 2, &log[..cut]);
        let digest = second.digest_of();
        let whole = states.iter().rev().find(|state| state.0 <= cut).map_or(0, |state| state.1);
        assert_eq!(digest, whole, "cut at {cut}");
    }
}

#[test]
fn nothing_leaves_before_it_is_on_the_device() {
    let mut driver = Driver::restarted(ALWAYS, 1, 1, b"");
    driver.sync();
    let (a, b) = (driver.open(), driver.open());
    assert_eq!(driver.ask(a, "PING"), "+PONG\r\n", "nothing waits");
    assert_eq!(driver.ask(a, "SET k v"), "");
    assert_eq!(driver.ask(b, "GET k"), "", "what was read is not durable either");
    let syncs = driver.disk.syncs;
    for _ in 0..10 {
        assert_eq!(driver.ask(a, "INCR n"), "");
    }
    assert_eq!(driver.disk.syncs, syncs, "they share the next sync");
    driver.sync();
    assert_eq!(driver.take(b), bulk("v"));
    let numbers: String = (1..=10).map(|n| format!(":{n}\r\n")).collect();
    assert_eq!(driver.take(a), format!("+OK\r\n{numbers}"));
    assert_eq!(driver.disk.syncs, syncs + 1);
    assert_eq!(driver.ask(b, "GET k"), bulk("v"), "nothing waits any more");
}

#[test]
fn under_everysec_replies_leave_at_once_and_syncs_come_once_a_second() {
    let mut driver = Driver::restarted(EVERY_SEC, 1, 1, b"");
    driver.sync();
    let conn = driver.open();
    let before = driver.disk.syncs;
    for _ in 0..50 {
        assert_eq!(driver.ask(conn, "SET k v"), "+OK\r\n");
        driver.sync();
        driver.pass(Span::from_ms(100));
    }
    let syncs = driver.disk.syncs - before;
    assert!((4..=6).contains(&syncs), "{syncs} in five seconds");
}

#[test]
fn commands_wait_until_the_log_is_read() {
    let mut config = configured(EVERY_SEC);
    config.identity.node_id = NodeId(1);
    let mut driver = Driver::with(config, 4);
    let conn = driver.open();
    let loading = "-LOADING Quorate is loading the dataset in memory\r\n";
    for command in ["PING", "GET k", "SET k v", "QUORATE PEER 1", "QUORATE DIGEST"] {
        assert_eq!(driver.ask(conn, command), loading, "{command}");
    }
    assert!(driver.ask(conn, "INFO persistence").contains("loading:1\r\n"));
    driver.pass(Span::from_secs(5));
    driver.read(b"");
    assert!(driver.ask(conn, "INFO persistence").contains("loading:0\r\n"));
    assert_eq!(driver.ask(conn, "PING"), "+PONG\r\n");
}

#[test]
fn a_full_device_refuses_writes_and_lets_reads_go_on() {
    let mut driver = Driver::restarted(ALWAYS, 1, 1, b"");
    let (a, b) = (driver.open(), driver.open());
    driver.sync();
    driver.ask(a, "SET k v");
    driver.sync();
    assert_eq!(driver.take(a), "+OK\r\n");
    assert_eq!(driver.ask(a, "SET k w"), "");
    let stuck = driver.disk.under_way.take();
    driver.input(Input::DiskFailed { why: DiskError::Full });
    let refusal = "-MISCONF Errors writing to the AOF file: No space left on device\r\n";
    assert_eq!(driver.ask(b, "SET k x"), refusal);
    assert_eq!(driver.ask(b, "GET k"), bulk("w"));
    assert_eq!(driver.ask(a, "PING"), "", "it waits behind its write");
    driver.feed(b, b"MULTI\r\nSET k y\r\nEXEC\r\n");
    assert!(driver.take(b).contains("EXECABORT"), "a transaction that writes");
    driver.input(Input::DiskRoom);
    let through = driver.disk.under_way.take().or(stuck).expect("it is asked for again");
    driver.input(Input::Synced { through });
    assert_eq!(driver.take(a), "+OK\r\n+PONG\r\n");
    assert_eq!(driver.ask(b, "SET k x"), "");
    driver.sync();
    assert_eq!(driver.take(b), "+OK\r\n");
}

#[test]
fn a_failed_sync_ends_the_process() {
    let mut driver = Driver::restarted(ALWAYS, 1, 1, b"");
    let conn = driver.open();
    driver.ask(conn, "SET k v");
    driver.input(Input::DiskFailed { why: DiskError::Failed });
    assert_eq!(driver.halted, Some(1));
    assert_eq!(driver.take(conn), "", "nothing was acknowledged");
}

#[test]
fn a_shutdown_waits_for_the_log() {
    for directives in [ALWAYS, EVERY_SEC, "appendonly yes\nappendfsync no"] {
        let mut driver = Driver::restarted(directives, 1, 1, b"");
        let conn = driver.open();
        driver.sync();
        driver.ask(conn, "SET k v");
        driver.input(Input::Shutdown { save: None });
        assert_eq!(driver.halted, None, "{directives}");
        driver.sync();
        assert_eq!(driver.halted, Some(0), "{directives}");
        assert_eq!(driver.disk.synced_bytes, driver.disk.bytes.len());
    }
}

/// Two active nodes that each keep a log, the link between them up.
fn logged_pair(directives: &str) -> Pair {
    let directives = format!("{directives}\nactive-replica yes");
    let mut pair = Pair::mesh(&directives);
    for driver in [&mut pair.master, &mut pair.replica] {
        driver.disk.at_once = true;
        driver.read(b"");
    }
    pair.pass(3000);
    assert_eq!(pair.replica.node.inspect(pair.replica.now).masters_up, 1, "the link is up");
    pair
}

/// The replica's next life, which finds so many bytes of its log.
fn next_replica(directives: &str, epoch: u32, log: &[u8], pair: &Pair) -> Driver {
    let directives = format!("{directives}\nactive-replica yes\nreplicaof 10.0.0.1 6379");
    let mut next = Driver::restarted(&directives, 2, epoch, log);
    next.now = pair.replica.now;
    next.disk.at_once = true;
    next
}

#[test]
fn a_replica_that_comes_back_takes_only_what_it_lacks() {
    let mut pair = logged_pair(EVERY_SEC);
    let (a, b) = (pair.master.open(), pair.replica.open());
    for n in 0..20 {
        pair.master.ask(a, &format!("SET a{n} {n}"));
        pair.replica.ask(b, "INCRBY n 3");
        pair.master.ask(a, "INCRBY n 2");
    }
    pair.pass(1000);
    let log = pair.replica.disk.bytes.clone();
    let replica = next_replica(EVERY_SEC, 2, &log, &pair);
    let old = pair.exchange_replica(replica);
    assert_eq!(pair.replica.digest_of(), old.node.inspect(old.now).digest);
    pair.master.ask(a, "SET late 1");
    pair.master.ask(a, "INCRBY n 1");
    let b = pair.replica.open();
    assert_eq!(pair.replica.ask(b, "GET n"), bulk("100"), "served before anybody is met");
    assert_eq!(pair.replica.ask(b, "INCRBY n 10"), ":110\r\n");
    pair.pass(4000);
    assert_eq!(pair.replica.ask(b, "GET n"), bulk("111"));
    assert_eq!(pair.master.ask(a, "GET n"), bulk("111"));
    assert_eq!(pair.replica.ask(b, "GET late"), bulk("1"));
    assert_eq!(pair.replica.digest_of(), pair.master.digest_of());
    let info = pair.replica.ask(b, "INFO replication");
    assert!(info.contains("resyncs_completed:0\r\n"), "the log sufficed: {info}");
    assert!(info.contains("units_taken:2\r\n"), "{info}");
}

#[test]
fn a_lost_tail_comes_back_from_the_other_node() {
    let mut pair = logged_pair(EVERY_SEC);
    let (a, b) = (pair.master.open(), pair.replica.open());
    pair.replica.ask(b, "SET kept 1");
    pair.pass(2000);
    let kept = pair.replica.disk.synced_bytes;
    pair.replica.disk.at_once = false;
    for n in 0..10 {
        pair.replica.ask(b, "INCR n");
        pair.master.ask(a, &format!("SET a{n} x"));
        pair.replica.ask(b, "SET mine theirs");
    }
    pair.pass(1000);
    assert_eq!(pair.master.ask(a, "GET n"), bulk("10"), "they had been sent");
    let log = pair.replica.disk.bytes[..kept].to_vec();
    let replica = next_replica(EVERY_SEC, 2, &log, &pair);
    pair.exchange_replica(replica);
    let b = pair.replica.open();
    assert_eq!(pair.replica.ask(b, "GET n"), "$-1\r\n", "its tail is gone");
    assert_eq!(pair.replica.ask(b, "INCR n"), ":1\r\n");
    pair.pass(4000);
    assert_eq!(pair.master.ask(a, "GET n"), bulk("11"));
    assert_eq!(pair.replica.ask(b, "GET n"), bulk("11"));
    assert_eq!(pair.replica.digest_of(), pair.master.digest_of());
}

#[test]
fn the_first_meeting_is_in_the_log_before_anything_is_sent() {
    let mut pair = Pair::mesh(&format!("{EVERY_SEC}\nactive-replica yes"));
    pair.master.disk.at_once = true;
    pair.master.read(b"");
    pair.replica.read(b"");
    pair.replica.sync();
    let b = pair.replica.open();
    pair.replica.ask(b, "SET mine 1");
    pair.replica.sync();
    pair.pass(2000);
    let a = pair.master.open();
    assert_eq!(pair.master.ask(a, "GET mine"), "$-1\r\n", "the meeting is not durable yet");
    pair.replica.disk.at_once = true;
    pair.replica.sync();
    pair.pass(2000);
    assert_eq!(pair.master.ask(a, "GET mine"), bulk("1"));
}

#[test]
fn who_was_not_alone_leaves_tombstones_after_a_restart() {
    let mut pair = logged_pair(EVERY_SEC);
    let a = pair.master.open();
    pair.master.ask(a, "SET k v");
    pair.pass(1000);
    let log = pair.master.disk.bytes.clone();
    let directives = format!("{EVERY_SEC}\nactive-replica yes");
    let mut master = Driver::restarted(&directives, 1, 2, &log);
    let conn = master.open();
    assert_eq!(master.ask(conn, "DEL k"), ":1\r\n");
    master.pass(Span::from_secs(2));
    assert_eq!(master.node.inspect(master.now).stats.tombstones, 1);
    // One that has met nobody leaves none.
    let mut alone = Driver::restarted(EVERY_SEC, 3, 1, b"");
    let conn = alone.open();
    alone.ask(conn, "SET k v");
    let mut alone = Driver::restarted(EVERY_SEC, 3, 2, &alone.disk.bytes);
    let conn = alone.open();
    assert_eq!(alone.ask(conn, "DEL k"), ":1\r\n");
    alone.pass(Span::from_secs(2));
    assert_eq!(alone.node.inspect(alone.now).stats.tombstones, 0);
}

#[test]
fn a_snapshot_and_the_log_behind_it_bring_back_what_was_whatever_came_between_its_chunks() {
    // How many commands come before the snapshot; the rest come between its steps.
    for before in 0..WRITES.len() {
        let mut first = Driver::restarted(EVERY_SEC, 1, 1, b"");
        first.disk.at_once = true;
        let conn = first.open();
        for write in &WRITES[..before] {
            first.ask(conn, write);
        }
        let asked = first.ask(conn, "BGREWRITEAOF");
        assert_eq!(asked, "+Background append only file rewriting started\r\n");
        for write in &WRITES[before..] {
            first.snap();
            first.ask(conn, write);
        }
        while first.snap() {}
        first.pass(Span::from_secs(2));
        while first.snap() {}
        let info = first.ask(conn, "INFO persistence");
        assert!(info.contains("rdb_bgsave_in_progress:0") && info.contains("bgsave_status:ok"));
        assert!(first.disk.snapshot.is_some(), "{before}");
        let (digest, shown) = (first.digest_of(), first.node.visible(first.now));
        let mut second = Driver::restarted_from(EVERY_SEC, 1, 2, &first.disk);
        assert_eq!(second.node.visible(second.now), shown, "{before}");
        assert_eq!(second.digest_of(), digest, "{before}");
    }
}

#[test]
fn a_snapshot_without_its_end_is_refused() {
    let mut first = Driver::restarted(EVERY_SEC, 1, 1, b"");
    first.disk.at_once = true;
    let conn = first.open();
    first.ask(conn, "SET k v");
    first.ask(conn, "BGREWRITEAOF");
    let again = first.ask(conn, "BGREWRITEAOF");
    assert_eq!(again, "+Background append only file rewriting scheduled\r\n");
    let torn = first.disk.draft.clone().expect("it has begun");
    let disk = Disk { snapshot: Some(torn), ..first.disk.clone() };
    let second = Driver::restarted_from(EVERY_SEC, 1, 2, &disk);
    assert_eq!(second.halted, Some(1));
}

#[test]
fn without_a_log_there_is_nothing_to_rewrite() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert!(driver.ask(conn, "BGREWRITEAOF").starts_with("-ERR there is no log"));
}

#[test]
fn what_one_that_stands_alone_has_collected_is_in_no_snapshot() {
    let mut lone = Driver::restarted(EVERY_SEC, 1, 1, b"");
    lone.disk.at_once = true;
    let conn = lone.open();
    for write in ["SET a 1", "APPEND a 2", "DEL b", "SET c 1", "DEL c"] {
        lone.ask(conn, write);
    }
    lone.pass(Span::from_secs(3));
    assert!(lone.node.inspect(lone.now).collected > 0);
    lone.ask(conn, "BGREWRITEAOF");
    while lone.snap() {}
    lone.pass(Span::from_secs(2));
    while lone.snap() {}
    let snapshot = lone.disk.snapshot.clone().expect("it is done");
    let mut pieces = Scanner::bare(Lsn(1));
    let (mut at, mut found) = (0, Vec::new());
    while let Some((contents, used)) = pieces.next(&snapshot.bytes[at..]) {
        found.push(Piece::read(contents).expect("a piece"));
        at += used;
    }
    let Some(Piece::Head(head)) = found.first() else { panic!("{found:?}") };
    assert!(head.alone && head.collected == 0);
    assert!(matches!(found.last(), Some(Piece::Tail { collected: 0, .. })));
    // Its next life knows again that the SET took every deadline away.
    let second =
        Driver::restarted_from("appendonly yes\nreplicaof 10.0.0.9 6379", 1, 2, &lone.disk);
    let reset = |change: &Change| change.cell == Cell::Expiry { deadline: None };
    assert!(second.node.cells().iter().any(reset));
}

#[test]
fn a_log_that_ends_before_what_the_snapshot_shows_is_refused() {
    let mut first = Driver::restarted(EVERY_SEC, 1, 1, b"");
    first.disk.at_once = true;
    let conn = first.open();
    first.ask(conn, "BGREWRITEAOF");
    for n in 0..20 {
        first.ask(conn, &format!("SET k{n} v"));
        first.snap();
    }
    first.pass(Span::from_secs(2));
    while first.snap() {}
    let whole = first.disk.clone();
    assert_eq!(Driver::restarted_from(EVERY_SEC, 1, 2, &whole).halted, None);
    let cut = Disk { bytes: whole.bytes[..whole.snapshot.as_ref().unwrap().at].to_vec(), ..whole };
    assert_eq!(Driver::restarted_from(EVERY_SEC, 1, 2, &cut).halted, Some(1));
}

#[test]
fn a_snapshot_that_fails_or_finds_no_room_is_told_and_another_may_follow() {
    let mut first = Driver::restarted(EVERY_SEC, 1, 1, b"");
    first.disk.at_once = true;
    let conn = first.open();
    first.ask(conn, "SET k v");
    first.ask(conn, "BGREWRITEAOF");
    first.disk.put = false;
    first.input(Input::Snap(Snap::Failed));
    let info = first.ask(conn, "INFO persistence");
    assert!(
        info.contains("aof_last_bgrewrite_status:err") && info.contains("in_progress:0"),
        "{info}"
    );
    first.input(Input::DiskFailed { why: DiskError::Full });
    assert!(first.ask(conn, "BGREWRITEAOF").starts_with("-ERR there is no room"));
    first.input(Input::DiskRoom);
    first.ask(conn, "SET k w");
    first.pass(Span::from_secs(2));
    assert_eq!(
        first.ask(conn, "BGREWRITEAOF"),
        "+Background append only file rewriting started\r\n"
    );
    while first.snap() {}
    first.pass(Span::from_secs(2));
    while first.snap() {}
    let info = first.ask(conn, "INFO persistence");
    assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
    let mut second = Driver::restarted_from(EVERY_SEC, 1, 2, &first.disk);
    assert_eq!(second.digest_of(), first.digest_of());
}

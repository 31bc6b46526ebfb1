//! Dumps, seen through the boundary: what is written, who waits for it, and what a later life makes of it.

use super::super::config::Config;
use super::pairs::Pair;
use super::{Driver, bulk, configured};
use crate::base::ids::{Epoch, Lsn, NodeId, Origin};
use crate::base::io::{DumpStep, Input, Past, Recover, Snap};
use crate::base::time::{Now, Span};
use crate::wal::dump::{DumpLoader, Terms};

/// A place for dumps in memory. A step comes to its end when a test says so.
#[derive(Clone, Debug, Default)]
pub struct DumpFile {
    file: Option<Vec<u8>>,
    draft: Option<Vec<u8>>,
    put: bool,
    commits: bool,
}

impl DumpFile {
    pub fn take(&mut self, step: DumpStep) {
        match step {
            DumpStep::Begin => (self.draft, self.put) = (Some(Vec::new()), false),
            DumpStep::Chunk(bytes) => {
                assert!(!std::mem::replace(&mut self.put, true), "one chunk at a time");
                self.draft.as_mut().expect("begun").extend_from_slice(&bytes);
            }
            DumpStep::Commit => self.commits = true,
        }
    }
}

impl Driver {
    /// The dump under way gets on by a step; false if there is none.
    fn dump_step(&mut self) -> bool {
        if std::mem::take(&mut self.dump.put) {
            self.input(Input::Dump(Snap::Written));
        } else if std::mem::take(&mut self.dump.commits) {
            self.dump.file = self.dump.draft.take();
            self.input(Input::Dump(Snap::Committed));
        } else {
            return false;
        }
        true
    }

    pub fn dumped(&mut self) -> Vec<u8> {
        while self.dump_step() {}
        self.dump.file.clone().expect("a dump")
    }
}

pub fn config(directives: &str, node: u128, epoch: u32) -> Config {
    let mut config = configured(directives);
    config.identity.node_id = NodeId(node);
    config.identity.epoch = Epoch(epoch);
    config
}

/// A life that begins with a dump.
fn of_dump(directives: &str, node: u128, epoch: u32, file: &[u8]) -> Driver {
    begun_with(config(directives, node, epoch), None, file)
}

/// The same at a later time.
pub fn begun_with(config: Config, now: Option<Now>, file: &[u8]) -> Driver {
    let identity = config.identity.clone();
    let epoch = identity.epoch;
    let databases = config.databases;
    let loading = Config { loads_dump: true, ..config };
    let mut driver = match now {
        Some(now) => Driver::at(loading, 90 + u64::from(epoch.0), now),
        None => Driver::with(loading, 90 + u64::from(epoch.0)),
    };
    let terms = Terms {
        node: identity.node_id,
        epoch,
        has_past: identity.past != Past::default(),
        origin: Origin(500 + epoch.0),
        wall: driver.now.wall.ms(),
        databases,
    };
    let conn = driver.open();
    assert!(driver.ask(conn, "GET k").starts_with("-LOADING "));
    let mut loader = DumpLoader::new(terms);
    loader.push(file).expect("a dump");
    loader.finish().expect("the whole of it");
    while let Some(piece) = loader.take() {
        let mut contents = Vec::new();
        piece.put(&mut contents);
        driver.input(Input::Recover(Recover::Piece(&contents)));
    }
    driver.input(Input::Recover(Recover::Done { next: Lsn(1) }));
    assert_eq!(driver.halted, None);
    driver
}

const STEPS: &str = "SET k v|SET e x PX 500000|INCRBY n 5|SET n 7|INCR n|SET gone 1|DEL gone|\
                     SET c 1|INCR c|SELECT 3|SET k three|PEXPIRE k 70000|SELECT 0|APPEND k 2|\
                     SET past x PX 100";

fn filled(directives: &str) -> Driver {
    let mut driver = Driver::with(config(directives, 1, 1), 7);
    let conn = driver.open();
    for step in STEPS.split('|') {
        assert!(!driver.ask(conn, step).starts_with('-'), "{step}");
    }
    driver.pass(Span::from_ms(1000));
    driver
}

fn check(driver: &mut Driver) {
    let conn = driver.open();
    for (command, answer) in [
        ("GET k", bulk("v2")),
        ("PTTL k", ":-1\r\n".to_owned()),
        ("GET e", bulk("x")),
        ("GET n", bulk("8")),
        ("GET c", bulk("2")),
        ("EXISTS gone past", ":0\r\n".to_owned()),
        ("SELECT 3", "+OK\r\n".to_owned()),
        ("GET k", bulk("three")),
    ] {
        assert_eq!(driver.ask(conn, command), answer, "{command}");
    }
}

#[test]
fn save_is_answered_when_the_dump_is_in_its_place_and_nobody_else_waits() {
    let mut driver = filled("");
    let (saver, other) = (driver.open(), driver.open());
    assert_eq!(driver.ask(saver, "SAVE"), "");
    let mut steps = 0;
    while driver.dump_step() {
        steps += 1;
        assert_eq!(driver.ask(other, "SET during 1"), "+OK\r\n");
        for command in
            ["SAVE", "BGSAVE"].into_iter().take(2 * usize::from(driver.dump.file.is_none()))
        {
            let refused = driver.ask(other, command);
            assert_eq!(refused, "-ERR Background save already in progress\r\n");
        }
        let answered = driver.take(saver);
        assert_eq!(answered == "+OK\r\n", driver.dump.file.is_some(), "{answered}");
        if driver.dump.file.is_some() {
            break;
        }
    }
    assert!(steps > 2, "chunks, and the commit");
    let mut next = of_dump("", 1, 2, &driver.dump.file.expect("written"));
    check(&mut next);
}

#[test]
fn what_asks_for_a_dump_is_worded_as_redis_words_it() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert!(driver.ask(conn, "LASTSAVE").starts_with(":1700000000"));
    assert_eq!(driver.ask(conn, "BGSAVE NOW"), "-ERR syntax error\r\n");
    assert!(driver.ask(conn, "SAVE now").starts_with("-ERR wrong number of arguments"));
    driver.ask(conn, "MULTI");
    assert!(driver.ask(conn, "SAVE").starts_with("-ERR Command not allowed inside"));
    driver.ask(conn, "DISCARD");
    driver.pass(Span::from_secs(5));
    assert_eq!(driver.ask(conn, "BGSAVE"), "+Background saving started\r\n");
    driver.dumped();
    assert_eq!(driver.ask(conn, "LASTSAVE"), ":1700000005\r\n");
}

#[test]
fn a_save_that_fails_says_so_and_the_next_one_goes_on() {
    let mut driver = filled("");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "SAVE"), "");
    driver.input(Input::Dump(Snap::Failed));
    let answer = driver.take(conn);
    assert!(answer.starts_with("-ERR the dump could not be written"), "{answer}");
    let info = driver.ask(conn, "INFO persistence");
    assert!(info.contains("rdb_last_bgsave_status:err\r\n"), "{info}");
    driver.dump = DumpFile::default();
    assert_eq!(driver.ask(conn, "SAVE"), "");
    driver.dumped();
    assert_eq!(driver.take(conn), "+OK\r\n");
    let info = driver.ask(conn, "INFO persistence");
    assert!(info.contains("rdb_last_bgsave_status:ok\r\n") && info.contains("rdb_saves:1\r\n"));
}

#[test]
fn every_kind_of_cell_outlives_the_dump_of_a_dump() {
    let mut driver = filled("");
    for epoch in 2..6 {
        let conn = driver.open();
        assert_eq!(driver.ask(conn, "BGSAVE"), "+Background saving started\r\n");
        let file = driver.dumped();
        driver = of_dump("", 1, epoch, &file);
        check(&mut driver);
    }
}

#[test]
fn save_points_count_writes_and_seconds() {
    let mut driver = Driver::new("save 10 3\nsave 100 1");
    let conn = driver.open();
    driver.ask(conn, "SET a 1");
    driver.ask(conn, "SET b 1");
    driver.pass(Span::from_secs(50));
    assert!(driver.dump.draft.is_none(), "two writes wait for 100 seconds");
    driver.ask(conn, "SET c 1");
    driver.dumped();
    let info = driver.ask(conn, "INFO persistence");
    assert!(info.contains("rdb_changes_since_last_save:0\r\n"), "{info}");
    driver.dump = DumpFile::default();
    driver.pass(Span::from_secs(300));
    assert!(driver.dump.draft.is_none(), "nothing was written since");
    driver.ask(conn, "SET d 1");
    driver.dumped();
    assert_eq!(driver.ask(conn, "CONFIG SET save ''"), "+OK\r\n");
    driver.dump = DumpFile::default();
    for _ in 0..10 {
        driver.ask(conn, "INCR n");
    }
    driver.pass(Span::from_secs(1000));
    assert!(driver.dump.draft.is_none(), "there are no save points");
}

#[test]
fn a_dump_waits_for_a_snapshot_and_the_other_way_round() {
    let mut driver = Driver::restarted("appendonly yes\nappendfsync always", 1, 1, &[]);
    driver.disk.at_once = true;
    let conn = driver.open();
    driver.ask(conn, "SET k v");
    let rewrite = driver.ask(conn, "BGREWRITEAOF");
    assert_eq!(rewrite, "+Background append only file rewriting started\r\n");
    let refused = driver.ask(conn, "BGSAVE");
    assert!(refused.starts_with("-ERR Another child process is active (AOF?)"), "{refused}");
    let scheduled = driver.ask(conn, "BGSAVE SCHEDULE");
    assert_eq!(scheduled, "+Background saving scheduled\r\n");
    assert!(driver.dump.draft.is_none());
    while driver.snap() {}
    assert!(driver.dump.draft.is_some(), "now it is its turn");
    let rewrite = driver.ask(conn, "BGREWRITEAOF");
    assert_eq!(rewrite, "+Background append only file rewriting scheduled\r\n");
    driver.dumped();
    while driver.snap() {}
    assert_eq!(driver.ask(conn, "GET k"), bulk("v"));
}

#[test]
fn the_last_dump_shows_everything_and_the_end_waits_for_it() {
    for (directives, word, saves) in [
        ("", "SHUTDOWN", false),
        ("", "SHUTDOWN SAVE", true),
        ("save 900 1", "SHUTDOWN", true),
        ("save 900 1", "SHUTDOWN NOW", true),
        ("save 900 1", "SHUTDOWN NOSAVE", false),
    ] {
        let mut driver = filled(directives);
        let (conn, other) = (driver.open(), driver.open());
        assert_eq!(driver.ask(conn, word), "");
        assert_eq!(driver.halted.is_none(), saves, "{directives}: {word}");
        if !saves {
            assert!(driver.dump.draft.is_none());
            continue;
        }
        assert_eq!(driver.ask(other, "SET k other"), "", "no write any more");
        driver.pass(Span::from_secs(60));
        let file = driver.dumped();
        assert_eq!(driver.halted, Some(0));
        check(&mut of_dump("", 1, 2, &file));
    }
}

#[test]
fn a_last_dump_that_fails_keeps_the_process_unless_it_is_forced() {
    let mut driver = filled("save 900 1");
    let (conn, other) = (driver.open(), driver.open());
    assert_eq!(driver.ask(conn, "SHUTDOWN"), "");
    assert_eq!(driver.ask(other, "SET k w"), "");
    driver.input(Input::Dump(Snap::Failed));
    assert_eq!(driver.take(conn), "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    assert_eq!((driver.take(other), driver.halted), ("+OK\r\n".to_owned(), None));
    assert_eq!(driver.ask(conn, "SHUTDOWN FORCE"), "");
    driver.input(Input::Dump(Snap::Failed));
    assert_eq!(driver.halted, Some(0));
}

#[test]
fn who_is_told_to_end_while_it_saves_ends() {
    let mut driver = filled("save 900 1");
    driver.input(Input::Shutdown { save: None });
    assert_eq!(driver.halted, None);
    driver.input(Input::Shutdown { save: None });
    assert_eq!(driver.halted, Some(1));
    let mut driver = filled("save 900 1");
    let (conn, other) = (driver.open(), driver.open());
    driver.ask(conn, "SHUTDOWN");
    assert_eq!(driver.ask(other, "SHUTDOWN ABORT"), "+OK\r\n");
    driver.dumped();
    assert_eq!(driver.halted, None, "the dump is written all the same");
    driver.ask(conn, "SHUTDOWN");
    driver.ask(other, "SHUTDOWN NOW NOSAVE");
    assert_eq!(driver.halted, Some(0));
}

/// What both of a pair answer, after a while.
fn both_answer(pair: &mut Pair, answers: &[(&str, String)]) {
    let (a, b) = (pair.master.open(), pair.replica.open());
    for (command, answer) in answers {
        assert_eq!(pair.master.ask(a, command), *answer, "{command}");
        assert_eq!(pair.replica.ask(b, command), *answer, "{command}");
    }
    let digest = pair.master.ask(a, "QUORATE DIGEST");
    assert_eq!(digest, pair.replica.ask(b, "QUORATE DIGEST"));
}

#[test]
fn a_member_that_comes_back_with_an_old_dump_brings_nothing_back_and_loses_nothing() {
    let directives = "active-replica yes\nmulti-master yes";
    let mut pair = Pair::mesh(directives);
    (pair.master.past, pair.replica.past) = (Some(Past::default()), Some(Past::default()));
    pair.pass(3000);
    let (a, b) = (pair.master.open(), pair.replica.open());
    for command in ["SET deleted 1", "SET old 1", "SET kept 1", "INCRBY n 5"] {
        pair.replica.ask(b, command);
    }
    pair.pass(1000);
    assert_eq!(pair.replica.ask(b, "BGSAVE"), "+Background saving started\r\n");
    let file = pair.replica.dumped();
    for command in ["DEL deleted", "SET old 2", "INCRBY n 3"] {
        pair.replica.ask(b, command);
    }
    // Long enough for the delete's traces to be collected.
    pair.pass(20_000);
    assert!(pair.master.ask(a, "EXISTS deleted") == ":0\r\n");
    assert_eq!(pair.master.node.inspect(pair.master.now).stats.tombstones, 0);
    pair.master.ask(a, "SET new 1");
    let mut next = config(&format!("{directives}\nreplicaof 10.0.0.1 6379"), 2, 2);
    next.identity.past = pair.replica.past.clone().expect("kept");
    assert_eq!(next.identity.past.members, [NodeId(1)]);
    let mut next = begun_with(next, Some(pair.replica.now), &file);
    let conn = next.open();
    assert_eq!(next.ask(conn, "MGET deleted old kept"), "*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n");
    assert_eq!(next.ask(conn, "SET own 1"), "+OK\r\n");
    pair.exchange_replica(next);
    pair.pass(30_000);
    both_answer(
        &mut pair,
        &[
            ("EXISTS deleted", ":0\r\n".to_owned()),
            ("GET old", bulk("2")),
            ("GET kept", bulk("1")),
            ("GET own", bulk("1")),
            ("GET new", bulk("1")),
            ("GET n", bulk("8")),
        ],
    );
}

#[test]
fn what_others_never_got_comes_to_them_from_the_dump() {
    let directives = "active-replica yes\nmulti-master yes";
    let mut pair = Pair::mesh(directives);
    pair.pass(3000);
    pair.cut = true;
    let b = pair.replica.open();
    pair.replica.ask(b, "SET unsent 1");
    pair.replica.ask(b, "INCRBY n 5");
    pair.replica.ask(b, "BGSAVE");
    let file = pair.replica.dumped();
    pair.replica.ask(b, "SET lost 1");
    let next = config(&format!("{directives}\nreplicaof 10.0.0.1 6379"), 2, 2);
    let next = begun_with(next, Some(pair.replica.now), &file);
    pair.exchange_replica(next);
    pair.cut = false;
    pair.pass(10_000);
    let answers =
        [("GET unsent", bulk("1")), ("GET n", bulk("5")), ("EXISTS lost", ":0\r\n".to_owned())];
    both_answer(&mut pair, &answers);
}

#[test]
fn a_copy_of_a_dump_holds_the_same_cells_and_loses_against_newer_ones() {
    let mut first = filled("");
    let conn = first.open();
    first.ask(conn, "BGSAVE");
    let file = first.dumped();
    first.ask(conn, "SET k newer");
    first.ask(conn, "INCR n");
    // Another node begins with the copy and comes to the first.
    let mut pair = Pair::new("active-replica yes");
    let now = first.now;
    pair.master = first;
    let directives = "active-replica yes\nreplicaof 10.0.0.1 6379";
    pair.exchange_replica(begun_with(config(directives, 2, 1), Some(now), &file));
    pair.pass(10_000);
    let conn = pair.replica.open();
    assert_eq!(pair.replica.ask(conn, "GET k"), bulk("newer"));
    assert_eq!(pair.replica.ask(conn, "GET n"), bulk("9"));
    assert_eq!(pair.replica.ask(conn, "GET c"), bulk("2"), "an increment counts once");
    let of_first = pair.master.open();
    let digest = pair.master.ask(of_first, "QUORATE DIGEST");
    assert_eq!(digest, pair.replica.ask(conn, "QUORATE DIGEST"));
}

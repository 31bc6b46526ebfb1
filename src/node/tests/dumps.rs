//! Dumps, seen through the boundary: what is written, who waits for it, and what a later life makes of it.

use super::super::config::Config;
use super::{Driver, bulk};
use crate::base::ids::{Epoch, Lsn, NodeId, Origin};
use crate::base::io::{DumpStep, Input, Recover, Snap};
use crate::base::time::Span;
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

    fn dumped(&mut self) -> Vec<u8> {
        while self.dump_step() {}
        self.dump.file.clone().expect("a dump")
    }
}

fn config(directives: &str, node: u128, epoch: u32) -> Config {
    let mut config = Config::load(Some(("test.conf", directives)), &[]).expect("right");
    config.identity.node_id = NodeId(node);
    config.identity.epoch = Epoch(epoch);
    config
}

/// A life that begins with a dump.
fn of_dump(directives: &str, node: u128, epoch: u32, file: &[u8]) -> Driver {
    let mut config = config(directives, node, epoch);
    config.loads_dump = true;
    let databases = config.databases;
    let mut driver = Driver::with(config, 90 + u64::from(epoch));
    let terms = Terms {
        node: NodeId(node),
        epoch: Epoch(epoch),
        has_past: false,
        origin: Origin(500 + epoch),
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

const STEPS: &str = "SET k v|SET e x PX 5000|INCRBY n 5|SET n 7|INCR n|SET gone 1|DEL gone|SET c 1|INCR c|\
                     SELECT 3|SET k three|PEXPIRE k 70000|SELECT 0|APPEND k 2|SET past x PX 100";

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

//! The end in good order: what replicas still lack, writes that wait, second thoughts.

use crate::base::io::{DiskError, Input};
use crate::base::time::Span;

use super::pairs::Pair;
use super::{Driver, bulk};

const MASTER: &str = "active-replica yes";

/// A pair whose replica does not hear of the master's last write.
fn cut_pair(directives: &str) -> Pair {
    let mut pair = Pair::new(&format!("{MASTER}\n{directives}"));
    pair.pass(3000);
    pair.cut = true;
    let writer = pair.master.open();
    assert_eq!(pair.master.ask(writer, "SET k v"), "+OK\r\n");
    pair
}

fn signal(pair: &mut Pair) {
    pair.master.input(Input::Shutdown { save: None });
}

#[test]
fn replicas_get_everything_before_the_end() {
    let mut pair = Pair::new(MASTER);
    pair.pass(3000);
    let (a, b) = (pair.master.open(), pair.replica.open());
    // More than the window of a link.
    for key in 0..30 {
        pair.master.ask(a, &format!("SET key{key} {}", "v".repeat(100_000)));
    }
    signal(&mut pair);
    assert_eq!(pair.master.halted, None);
    assert!(pair.master.ask(a, "INFO server").contains("shutdown_in_milliseconds:10000\r\n"));
    pair.pass(300);
    assert_eq!(pair.master.halted, Some(0), "well before its time");
    assert_eq!(pair.replica.ask(b, "DBSIZE"), ":30\r\n");
    let log = pair.master.log.join("\n");
    assert!(log.contains("Waiting for replicas before shutting down."), "{log}");
    assert!(log.contains("1 of 1 replicas are in sync when shutting down."), "{log}");
}

#[test]
fn nobody_is_waited_for_when_everybody_has_everything() {
    let mut pair = Pair::mesh(MASTER);
    let a = pair.master.open();
    pair.master.ask(a, "SET k v");
    pair.pass(3010);
    signal(&mut pair);
    pair.pass(100);
    assert_eq!(pair.master.halted, Some(0));
}

#[test]
fn replica_that_is_cut_off_is_waited_for_as_long_as_configured() {
    let mut pair = cut_pair("shutdown-timeout 4");
    signal(&mut pair);
    pair.pass(3900);
    assert_eq!(pair.master.halted, None);
    pair.pass(200);
    assert_eq!(pair.master.halted, Some(0));
    let text = "0 of 1 replicas are in sync when shutting down.";
    assert!(pair.master.log.iter().any(|line| line == text));
    let mut pair = cut_pair("shutdown-timeout 0");
    signal(&mut pair);
    assert_eq!(pair.master.halted, Some(0));
}

#[test]
fn who_insists_waits_for_nobody() {
    let mut pair = cut_pair("");
    signal(&mut pair);
    assert_eq!(pair.master.halted, None);
    signal(&mut pair);
    assert_eq!(pair.master.halted, Some(1));

    let mut pair = cut_pair("");
    let (a, b) = (pair.master.open(), pair.master.open());
    assert_eq!(pair.master.ask(a, "SHUTDOWN"), "");
    assert_eq!(pair.master.halted, None);
    assert_eq!(pair.master.ask(b, "SHUTDOWN NOW"), "");
    assert_eq!(pair.master.halted, Some(0));
}

#[test]
fn writes_wait_for_the_end_or_for_second_thoughts() {
    let mut pair = cut_pair("");
    let master = &mut pair.master;
    let asked = master.open();
    master.feed(asked, b"GET k\r\nSHUTDOWN\r\nGET k\r\n");
    assert_eq!(master.take(asked), bulk("v"));
    let (write, exec, gone) = (master.open(), master.open(), master.open());
    assert_eq!(master.ask(write, "GET k"), bulk("v"), "reads go on");
    master.feed(write, b"PING\r\nSET k w\r\nGET k\r\n");
    assert_eq!(master.take(write), "+PONG\r\n");
    master.feed(exec, b"MULTI\r\nGET k\r\nINCR n\r\nEXEC\r\n");
    assert_eq!(master.take(exec), "+OK\r\n+QUEUED\r\n");
    assert_eq!(master.ask(gone, "DEL k"), "");
    assert!(master.is_paused(write) && master.is_paused(exec) && master.is_paused(gone));
    master.hang_up(gone);
    let other = master.open();
    assert_eq!(master.ask(other, "GET k"), bulk("v"), "nothing was written");
    assert!(master.ask(other, "INFO clients").contains("blocked_clients:1\r\n"));

    master.feed(other, b"SHUTDOWN ABORT\r\nAPPEND k x\r\nSHUTDOWN ABORT\r\n");
    let none = "-ERR No shutdown in progress.\r\n";
    assert_eq!(master.take(other), format!("+OK\r\n:2\r\n{none}"));
    let text = "-ERR Errors trying to SHUTDOWN. Check logs.\r\n";
    assert_eq!(master.take(asked), format!("{text}{}", bulk("vx")));
    assert_eq!(master.take(write), format!("+OK\r\n{}", bulk("w")));
    assert_eq!(master.take(exec), format!("+QUEUED\r\n*2\r\n{}:1\r\n", bulk("w")));
    assert!(master.ask(other, "INFO clients").contains("blocked_clients:0\r\n"));
    pair.pass(20_000);
    assert_eq!(pair.master.halted, None);
}

#[test]
fn transaction_of_writes_is_not_executed_during_a_shutdown() {
    let mut pair = cut_pair("");
    let conn = pair.master.open();
    pair.master.feed(conn, b"MULTI\r\nINCR n\r\n");
    signal(&mut pair);
    pair.master.take(conn);
    assert_eq!(pair.master.ask(conn, "EXEC"), "");
    assert!(pair.master.is_paused(conn));
    let other = pair.master.open();
    assert_eq!(pair.master.ask(other, "GET n"), "$-1\r\n");
    pair.master.feed(other, b"MULTI\r\nGET n\r\nEXEC\r\n");
    assert_eq!(pair.master.take(other), "+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n", "reads only");
}

/// A node whose log has no room for its last write.
fn full(directives: &str) -> Driver {
    let directives = format!("appendonly yes\nappendfsync everysec\n{directives}");
    let mut driver = Driver::restarted(&directives, 1, 1, b"");
    let conn = driver.open();
    driver.sync();
    driver.ask(conn, "SET k v");
    driver.input(Input::DiskFailed { why: DiskError::Full });
    driver
}

#[test]
fn a_shutdown_that_finds_the_log_full_fails_and_the_server_goes_on() {
    for word in ["SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOW"] {
        let mut driver = full("");
        let (a, b) = (driver.open(), driver.open());
        let answer = driver.ask(a, word);
        assert!(answer.starts_with("-ERR Errors trying to SHUTDOWN: the log's device"), "{answer}");
        assert_eq!(driver.ask(a, "GET k"), bulk("v"));
        driver.input(Input::DiskRoom);
        driver.sync();
        assert_eq!(driver.ask(b, "SET k w"), "+OK\r\n");
        assert_eq!(driver.ask(a, word), "");
        driver.sync();
        if word == "SHUTDOWN SAVE" {
            driver.dumped();
            driver.sync();
        }
        assert_eq!(driver.halted, Some(0), "{word}");
    }
}

#[test]
fn a_shutdown_that_is_told_so_ends_without_what_the_log_has_no_room_for() {
    for word in ["SHUTDOWN NOSAVE", "SHUTDOWN FORCE", "SHUTDOWN NOW NOSAVE"] {
        let mut driver = full("");
        let conn = driver.open();
        assert_eq!(driver.ask(conn, word), "");
        assert_eq!(driver.halted, Some(1), "{word}");
    }
}

#[test]
fn a_signal_waits_for_room_in_the_log_while_reads_go_on() {
    let mut driver = full("save 900 1");
    let conn = driver.open();
    driver.input(Input::Shutdown { save: None });
    driver.pass(Span::from_secs(60));
    assert_eq!(driver.halted, None);
    assert_eq!(driver.ask(conn, "GET k"), bulk("v"));
    let log = driver.log.join("\n");
    assert!(log.contains("the server ends when there is room"), "{log}");
    assert_eq!(log.matches("the server ends when there is room").count(), 1);
    driver.input(Input::DiskRoom);
    driver.sync();
    driver.dumped();
    driver.sync();
    assert_eq!(driver.halted, Some(0));
    // It can be called off, told not to wait, and insisted on.
    let mut driver = full("");
    let conn = driver.open();
    driver.input(Input::Shutdown { save: None });
    assert_eq!(driver.ask(conn, "SHUTDOWN ABORT"), "+OK\r\n");
    driver.input(Input::DiskRoom);
    driver.sync();
    assert_eq!(driver.halted, None);
    let mut driver = full("save 900 1");
    let conn = driver.open();
    driver.input(Input::Shutdown { save: None });
    driver.ask(conn, "SHUTDOWN NOSAVE");
    assert_eq!(driver.halted, Some(1));
    let mut driver = full("");
    for ends in [None, Some(1)] {
        driver.input(Input::Shutdown { save: None });
        assert_eq!(driver.halted, ends);
    }
}

#[test]
fn a_log_that_fills_up_while_replicas_are_waited_for_is_told_to_who_asked() {
    let mut pair = Pair::new(&format!("{MASTER}\nappendonly yes\nshutdown-timeout 4"));
    for driver in [&mut pair.master, &mut pair.replica] {
        driver.disk.at_once = true;
        driver.read(b"");
    }
    pair.pass(3000);
    pair.cut = true;
    let conn = pair.master.open();
    assert_eq!(pair.master.ask(conn, "SET k v"), "+OK\r\n");
    assert_eq!(pair.master.ask(conn, "SHUTDOWN"), "");
    pair.master.input(Input::DiskFailed { why: DiskError::Full });
    pair.pass(5000);
    let answer = pair.master.take(conn);
    assert!(answer.starts_with("-ERR Errors trying to SHUTDOWN: the log's device"), "{answer}");
    assert_eq!(pair.master.halted, None);
}

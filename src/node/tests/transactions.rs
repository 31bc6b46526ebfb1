//! MULTI, EXEC, DISCARD, WATCH.

use bytes::BytesMut;

use crate::base::clock::HybridClock;
use crate::base::fact::{Fact, Facts};
use crate::base::ids::{DbIndex, Origin};
use crate::base::io::Input;
use crate::base::mutant::Mutants;
use crate::base::rng::Rng;
use crate::base::time::{Span, UnixMs};
use crate::command::{Handler, resolve};
use crate::store::txn::Txn;
use crate::store::{Store, StoreConfig};
use crate::wire::reply::{Protocol, Reply};
use crate::wire::resp::OwnedArgs;

use super::super::config::Config;
use super::super::dispatch::run_data;
use super::{Driver, bulk, request, words};

#[test]
fn exec_runs_what_was_queued_as_one_unit() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "MULTI"), "+OK\r\n");
    for command in ["SET a 1", "INCR a", "SET b x", "GET a", "SELECT 2", "SET c y"] {
        assert_eq!(driver.ask(conn, command), "+QUEUED\r\n");
    }
    assert_eq!(driver.ask(conn, "EXISTS none"), "+QUEUED\r\n");
    let mut buf = BytesMut::from(&request(&["EXEC"])[..]);
    driver.node.handle(driver.now, Input::Bytes { conn, buf: &mut buf }, &mut driver.out);
    let units: Vec<_> = driver
        .out
        .facts
        .drain()
        .filter_map(|fact| if let Fact::UnitIssued { unit, .. } = fact { Some(unit) } else { None })
        .collect();
    assert_eq!(units.len(), 1, "one EXEC, one unit");
    assert!(units[0].changes.iter().all(|change| change.stamp.is_none()), "one stamp");
    driver.settle();
    let expected = format!("*7\r\n+OK\r\n:2\r\n+OK\r\n{}+OK\r\n+OK\r\n:0\r\n", bulk("2"));
    assert_eq!(driver.take(conn), expected);
    assert_eq!(driver.ask(conn, "GET c"), bulk("y"), "the database stays selected");
}

#[test]
fn commands_of_nobody_become_one_unit_too() {
    let store = StoreConfig { databases: 1, hash_seed: 1, mutants: Mutants::NONE };
    let mut store = Store::new(store);
    let mut clock = HybridClock::new(Origin(1), Mutants::NONE);
    let mut facts = Facts::default();
    let mut replies = BytesMut::new();
    let mut txn = Txn {
        store: &mut store,
        clock: &mut clock,
        wall: UnixMs(1000),
        expiry_clock: UnixMs(1000),
        sight: UnixMs(1000),
        shown: None,
        facts: &mut facts,
        gather: true,
    };
    let (config, mut rng) = (Config::default(), Rng::new(1));
    for command in ["SET a 1", "INCR b", "INCR b", "DEL a"] {
        let owned = OwnedArgs::new(words(command).into_iter().map(str::as_bytes));
        let found = resolve(owned.args()).expect("a command");
        let Handler::Data(handler) = found.handler else { panic!("{command} works on data") };
        let reply = Reply::new(&mut replies, Protocol::Resp2);
        let with = (&config, &mut rng);
        run_data((found, handler), owned.args(), DbIndex(0), with, &mut txn, reply);
    }
    let unit = txn.finish().expect("something was written");
    assert_eq!(&replies[..], b"+OK\r\n:1\r\n:2\r\n:1\r\n");
    let keys: Vec<_> = unit.changes.iter().map(|change| &change.key[..]).collect();
    assert_eq!(keys, [&b"a"[..], b"b"], "one net change per key");
}

#[test]
fn error_while_queueing_aborts_and_error_while_executing_does_not() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    driver.ask(conn, "MULTI");
    driver.ask(conn, "SET a 1");
    assert!(driver.ask(conn, "NOSUCH a").starts_with("-ERR unknown command 'NOSUCH'"));
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(driver.ask(conn, "EXEC"), aborted);
    assert_eq!(driver.ask(conn, "GET a"), "$-1\r\n");
    driver.ask(conn, "MULTI");
    assert!(driver.ask(conn, "GET").starts_with("-ERR wrong number of arguments for 'get'"));
    assert_eq!(driver.ask(conn, "EXEC"), aborted);
    driver.ask(conn, "MULTI");
    driver.ask(conn, "SET a text");
    driver.ask(conn, "INCR a");
    driver.ask(conn, "SET b 1");
    let not_integer = "-ERR value is not an integer or out of range";
    let expected = format!("*3\r\n+OK\r\n{not_integer}\r\n+OK\r\n");
    assert_eq!(driver.ask(conn, "EXEC"), expected);
    assert_eq!(driver.ask(conn, "GET b"), bulk("1"));
}

#[test]
fn misplaced_words_of_a_transaction_are_errors_that_do_not_end_it() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "EXEC"), "-ERR EXEC without MULTI\r\n");
    assert_eq!(driver.ask(conn, "DISCARD"), "-ERR DISCARD without MULTI\r\n");
    driver.ask(conn, "MULTI");
    assert_eq!(driver.ask(conn, "MULTI"), "-ERR MULTI calls can not be nested\r\n");
    assert_eq!(driver.ask(conn, "WATCH a"), "-ERR WATCH inside MULTI is not allowed\r\n");
    driver.ask(conn, "SET a 1");
    assert_eq!(driver.ask(conn, "EXEC"), "*1\r\n+OK\r\n");
    driver.ask(conn, "MULTI");
    driver.ask(conn, "SET a 2");
    assert_eq!(driver.ask(conn, "DISCARD"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "GET a"), bulk("1"));
    driver.ask(conn, "MULTI");
    let not_here = "-ERR Command not allowed inside a transaction\r\n";
    assert_eq!(driver.ask(conn, "SHUTDOWN"), not_here);
    assert_eq!(driver.ask(conn, "REPLICAOF NO ONE"), not_here);
    assert!(driver.ask(conn, "EXEC").starts_with("-EXECABORT"));
}

#[test]
fn exec_fails_when_a_watched_key_was_changed_by_anyone() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    let changes = ["SET k 2", "DEL k", "INCR k", "EXPIRE k 100", "FLUSHALL", "APPEND k 1"];
    for change in changes {
        for by_itself in [false, true] {
            driver.ask(a, "SET k 1");
            assert_eq!(driver.ask(a, "WATCH other k"), "+OK\r\n");
            driver.ask(if by_itself { a } else { b }, change);
            driver.ask(a, "MULTI");
            driver.ask(a, "SET k mine");
            assert_eq!(driver.ask(a, "EXEC"), "*-1\r\n", "{change}");
            driver.ask(a, "MULTI");
            driver.ask(a, "PING");
            assert_eq!(driver.ask(a, "EXEC"), "*1\r\n+PONG\r\n", "EXEC ends the watch");
        }
    }
}

#[test]
fn exec_goes_through_when_watched_keys_stayed_or_were_let_go() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    driver.ask(a, "SET k 1");
    for let_go in ["PING", "UNWATCH", "DISCARD"] {
        driver.ask(a, "WATCH k");
        driver.ask(b, "SET unrelated 1");
        driver.ask(b, "GET k");
        if let_go != "PING" {
            driver.ask(b, "INCR k");
        }
        if let_go == "DISCARD" {
            driver.ask(a, "MULTI");
        }
        driver.ask(a, let_go);
        driver.ask(a, "MULTI");
        driver.ask(a, "PING");
        assert_eq!(driver.ask(a, "EXEC"), "*1\r\n+PONG\r\n", "{let_go}");
    }
    driver.ask(b, "SELECT 3");
    driver.ask(a, "WATCH k");
    driver.ask(b, "SET k elsewhere");
    driver.ask(a, "MULTI");
    assert_eq!(driver.ask(a, "EXEC"), "*0\r\n", "another database's key is another key");
}

#[test]
fn exec_fails_when_a_watched_key_has_expired() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    driver.ask(conn, "SET k 1 PX 100");
    driver.ask(conn, "WATCH k");
    driver.sleep(Span::from_ms(101));
    driver.ask(conn, "MULTI");
    driver.ask(conn, "PING");
    assert_eq!(driver.ask(conn, "EXEC"), "*-1\r\n", "nobody had looked for expired keys");
    driver.ask(conn, "WATCH k");
    driver.pass(Span::from_secs(1));
    driver.ask(conn, "MULTI");
    driver.ask(conn, "PING");
    assert_eq!(driver.ask(conn, "EXEC"), "*1\r\n+PONG\r\n", "it was gone before WATCH");
}

#[test]
fn null_of_a_failed_exec_follows_the_protocol() {
    let mut driver = Driver::new("");
    let conn = driver.open();
    driver.ask(conn, "HELLO 3");
    driver.ask(conn, "WATCH k");
    driver.ask(conn, "SET k 1");
    driver.ask(conn, "MULTI");
    assert_eq!(driver.ask(conn, "EXEC"), "_\r\n");
}

#[test]
fn client_that_goes_away_watches_nothing() {
    let mut driver = Driver::new("");
    let (a, b) = (driver.open(), driver.open());
    driver.ask(a, "WATCH k l");
    assert!(driver.ask(b, "INFO clients").contains("watching_clients:1\r\n"));
    driver.hang_up(a);
    driver.ask(b, "SET k 1");
    assert!(driver.ask(b, "INFO clients").contains("watching_clients:0\r\n"));
}

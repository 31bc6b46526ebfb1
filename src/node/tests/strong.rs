//! Strong mode through the boundary: a cluster of one node.

use super::Driver;
use crate::base::time::Span;

const DIRECTIVES: &str = "appendonly yes\nstrong-consistency yes\nnode-id A1\ncluster-name t";

/// A node that serves all partitions.
fn served(log: &[u8], epoch: u32) -> Driver {
    let mut driver = Driver::restarted(DIRECTIVES, 7 << 64, epoch, log);
    driver.disk.at_once = true;
    let conn = driver.open();
    driver.pass(Span::from_ms(100));
    driver.sync();
    if log.is_empty() {
        let none = driver.ask(conn, "GET k");
        assert!(none.starts_with("-CLUSTERDOWN Hash slot not served"), "{none}");
        assert_eq!(driver.ask(conn, "QUORATE ROSTER STAGE NODES A1@1"), "+OK\r\n");
        assert_eq!(driver.ask(conn, "QUORATE RECLUSTER"), "+OK\r\n");
    }
    for _ in 0..40 {
        driver.pass(Span::from_ms(100));
        driver.sync();
    }
    driver
}

#[test]
fn a_cluster_of_one_serves_all_and_has_it_again_after_a_restart() {
    let mut driver = served(&[], 1);
    let conn = driver.open();
    assert_eq!(driver.ask(conn, "SET k v"), "+OK\r\n");
    assert_eq!(driver.ask(conn, "GET k"), "$1\r\nv\r\n");
    assert_eq!(driver.ask(conn, "INCRBY n 5"), ":5\r\n");
    assert_eq!(driver.ask(conn, "APPEND k w"), ":2\r\n");
    assert_eq!(driver.ask(conn, "DBSIZE"), ":2\r\n");
    assert!(driver.ask(conn, "CLUSTER INFO").contains("cluster_slots_ok:16384"));
    assert!(driver.ask(conn, "MSET a 1 b 2").starts_with("-CROSSSLOT"));
    assert_eq!(driver.ask(conn, "MSET {t}a 1 {t}b 2"), "+OK\r\n");
    assert!(driver.ask(conn, "REPLICAOF other 6379").starts_with("-ERR"));
    assert!(driver.ask(conn, "SELECT 1").starts_with("-ERR SELECT"));
    for command in ["MULTI", "INCR n", "SET {n}x 1", "GET n"] {
        driver.ask(conn, command);
    }
    assert_eq!(driver.ask(conn, "EXEC"), "*3\r\n:6\r\n+OK\r\n$1\r\n6\r\n");
    driver.ask(conn, "MULTI");
    driver.ask(conn, "GET n");
    assert!(driver.ask(conn, "GET k").starts_with("-CROSSSLOT"));
    assert!(driver.ask(conn, "EXEC").starts_with("-EXECABORT"));
    assert_eq!(driver.ask(conn, "SET short 1 PX 50"), "+OK\r\n");
    driver.pass(Span::from_ms(300));
    assert_eq!(driver.ask(conn, "GET short"), "$-1\r\n");
    let log = driver.disk.bytes.clone();
    let mut again = served(&log, 2);
    let conn = again.open();
    assert_eq!(again.ask(conn, "GET k"), "$2\r\nvw\r\n");
    assert_eq!(again.ask(conn, "MGET {t}a {t}b"), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
}

#[test]
fn hashes_are_set_whole_and_are_there_after_a_restart() {
    let mut driver = served(&[], 1);
    let conn = driver.open();
    let mut told = |command: &str, answer: &str| {
        assert_eq!(driver.ask(conn, command), answer, "{command}");
    };
    told("HSET h f 1 g two", ":2\r\n");
    told("HINCRBY h f 4", ":5\r\n");
    told("HGETALL h", "*4\r\n$1\r\nf\r\n$1\r\n5\r\n$1\r\ng\r\n$3\r\ntwo\r\n");
    told("HDEL h g", ":1\r\n");
    told("TYPE h", "+hash\r\n");
    told("INCR h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    told("SET s 1", "+OK\r\n");
    told("HSET s f 1", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    told("PEXPIRE h 60000", ":1\r\n");
    told("HSET gone f 1", ":1\r\n");
    told("HDEL gone f", ":1\r\n");
    told("EXISTS gone", ":0\r\n");
    told("HSET over f 1", ":1\r\n");
    told("SET over text", "+OK\r\n");
    told("MULTI", "+OK\r\n");
    told("HSET {h}2 a 1", "+QUEUED\r\n");
    told("HGET {h}2 a", "+QUEUED\r\n");
    told("EXEC", "*2\r\n:1\r\n$1\r\n1\r\n");
    let log = driver.disk.bytes.clone();
    let mut again = served(&log, 2);
    let conn = again.open();
    assert_eq!(again.ask(conn, "HGETALL h"), "*2\r\n$1\r\nf\r\n$1\r\n5\r\n");
    assert_eq!(again.ask(conn, "HGET {h}2 a"), "$1\r\n1\r\n");
    assert_eq!(again.ask(conn, "GET over"), "$4\r\ntext\r\n");
    assert_ne!(again.ask(conn, "PTTL h"), ":-1\r\n");
}

#[test]
fn changes_of_the_roster_that_cannot_be_are_told_and_change_nothing() {
    let mut driver = served(&[], 1);
    let conn = driver.open();
    let mut told = |command: &str, answer: &str| {
        let said = driver.ask(conn, command);
        assert!(said.starts_with(answer), "{command}: {said}");
    };
    told("QUORATE RECLUSTER", "-ERR the roster is as it is to be; nothing was changed");
    told("QUORATE RECLUSTER SOON", "-ERR expected QUORATE RECLUSTER [FORCE] [DRY]");
    told("QUORATE ROSTER STAGE ADD A1@2", "-ERR node A1 is staged already");
    told("QUORATE ROSTER STAGE REMOVE A9", "-ERR node A9 is not among those staged: A1@1");
    told("QUORATE ROSTER STAGE ADD A1@x", "-ERR found rack 'x'");
    told("QUORATE ROSTER STAGE ADD", "-ERR expected QUORATE ROSTER");
    told("QUORATE ROSTER STAGE ADD A2@2", "+OK");
    told("QUORATE RECLUSTER DRY", "-ERR node A2 is not connected; nothing was changed");
    told("QUORATE RECLUSTER", "-ERR node A2 is not connected; nothing was changed");
    told("QUORATE ROSTER STAGE NODES A2@1", "+OK");
    told("QUORATE RECLUSTER", "-ERR node A2 is not connected; nothing was changed");
    told("QUORATE ROSTER STAGE RACK 7 A9", "-ERR node A9 is not among those staged: A2@1");
    told("QUORATE ROSTER STAGE NODES A1@1", "+OK");
    told("QUORATE ROSTER STAGE RACK 70000 A1", "-ERR found rack '70000'");
    told("QUORATE ROSTER STAGE RACK seven A1", "-ERR found rack 'seven'");
    told("QUORATE ROSTER STAGE RACK 7 A1@7", "-ERR found 'A1@7', expected a node like A129");
    told("QUORATE ROSTER STAGE RACK 7", "-ERR expected QUORATE ROSTER");
    // Another rack is another roster.
    told("QUORATE ROSTER STAGE RACK 7 A1", "+OK");
    told("QUORATE RECLUSTER DRY", "*12\r\n$5\r\nadded\r\n$0\r\n\r\n");
    told("QUORATE RECLUSTER", "+OK");
    for _ in 0..40 {
        driver.pass(Span::from_ms(100));
        driver.sync();
    }
    let shown = driver.ask(conn, "QUORATE ROSTER SHOW");
    assert!(shown.contains("A1@7") && shown.contains("version\r\n$1\r\n2\r\n"), "{shown}");
    assert!(shown.contains("moving\r\n$1\r\n0\r\n"), "{shown}");
    assert_eq!(driver.ask(conn, "SET k v"), "+OK\r\n");
    // A start finds all of it in the log, and may change it again.
    let log = driver.disk.bytes.clone();
    let mut again = served(&log, 2);
    let conn = again.open();
    assert_eq!(again.ask(conn, "GET k"), "$1\r\nv\r\n");
    assert_eq!(again.ask(conn, "QUORATE ROSTER STAGE NODES A1@1"), "+OK\r\n");
    assert_eq!(again.ask(conn, "QUORATE RECLUSTER"), "+OK\r\n");
}

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

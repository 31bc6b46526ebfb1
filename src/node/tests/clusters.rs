//! Nodes that come to a cluster with another one's data: in a dump, or in the log of an earlier life.

use super::dumps::{begun_with, config};
use super::pairs::Pair;
use super::{Driver, bulk};
use crate::base::io::Past;
use crate::base::time::Now;

const ACTIVE: &str = "active-replica yes\nmulti-master yes";
const TO_MASTER: &str = "active-replica yes\nmulti-master yes\nreplicaof 10.0.0.1 6379";
const LOG: &str = "appendonly yes\nappendfsync always";

fn logged(directives: &str, node: u128, log: &[u8], past: Past, before: Option<&Driver>) -> Driver {
    let epoch = 1 + u32::from(before.is_some());
    let mut config = config(&format!("{LOG}\n{directives}"), node, epoch);
    config.identity.past = past;
    let mut driver = match before {
        Some(before) => Driver::at(config, 70 + node as u64, before.now),
        None => Driver::with(config, 60 + node as u64),
    };
    driver.past = Some(Past::default());
    driver.disk.at_once = true;
    driver.read(log);
    driver
}

/// Two nodes with logs that have each forgotten a delete.
fn cluster(nodes: [u128; 2]) -> Pair {
    let mut pair = Pair::mesh(ACTIVE);
    let to_replica = format!("{ACTIVE}\nreplicaof 10.0.0.2 6379");
    pair.master = logged(&to_replica, nodes[0], b"", Past::default(), None);
    pair.replica = logged(TO_MASTER, nodes[1], b"", Past::default(), None);
    pair.pass(3000);
    let (a, b) = (pair.master.open(), pair.replica.open());
    for command in ["SET gone 1", "SET kept 1", "INCRBY n 5", "DEL gone"] {
        assert!(!pair.master.ask(a, command).starts_with('-'));
    }
    pair.replica.ask(b, &format!("SET of:{} 1", nodes[1]));
    pair.pass(20_000);
    for node in [&pair.master, &pair.replica] {
        assert_eq!(node.node.inspect(node.now).stats.tombstones, 0, "collected");
    }
    pair
}

fn digests(pair: &mut Pair) -> [String; 2] {
    let (a, b) = (pair.master.open(), pair.replica.open());
    [pair.master.ask(a, "QUORATE DIGEST"), pair.replica.ask(b, "QUORATE DIGEST")]
}

/// The second node of a pair has been refused, and the first one knows nothing of it.
fn is_refused(pair: &mut Pair, keys: [&str; 2]) {
    let (a, b) = (pair.master.open(), pair.replica.open());
    let said = |log: &[String]| log.iter().any(|line| line.contains("are of two clusters"));
    assert!(said(&pair.master.log) && said(&pair.replica.log), "{:?}", pair.replica.log);
    for (own, other) in [(keys[0], keys[1]), (keys[1], keys[0])] {
        let (driver, conn) = match own == keys[0] {
            true => (&mut pair.master, a),
            false => (&mut pair.replica, b),
        };
        assert_eq!(driver.ask(conn, &format!("GET {own}")), bulk("1"));
        assert_eq!(driver.ask(conn, &format!("EXISTS {other}")), ":0\r\n");
        assert_eq!(driver.ask(conn, "SET new 1"), "+OK\r\n", "it serves");
    }
    assert!(pair.master.ask(a, "INFO replication").contains("connected_slaves:0\r\n"));
}

#[test]
fn a_dump_of_one_cluster_does_not_come_into_another_unless_another_server_has_made_it_plain() {
    let mut first = cluster([1, 2]);
    let conn = first.replica.open();
    first.replica.ask(conn, "BGSAVE");
    let file = first.replica.dumped();
    // A copy of it in the cluster it is of, which has forgotten a delete since.
    let a = first.master.open();
    assert_eq!(first.master.ask(a, "DEL kept"), ":1\r\n");
    first.pass(20_000);
    assert_eq!(first.master.node.inspect(first.master.now).stats.tombstones, 0);
    let now = first.replica.now;
    first.exchange_replica(begun_with(config(TO_MASTER, 3, 1), Some(now), &file));
    first.pass(10_000);
    let b = first.replica.open();
    assert_eq!(first.replica.ask(b, "EXISTS kept"), ":0\r\n");
    let [a, b] = digests(&mut first);
    assert_eq!(a, b);
    // And in another.
    let mut second = cluster([11, 12]);
    let now = second.replica.now;
    second.exchange_replica(begun_with(config(TO_MASTER, 13, 1), Some(now), &file));
    second.pass(10_000);
    is_refused(&mut second, ["of:12", "of:2"]);
    // A node that holds nothing is taken.
    let fresh = Driver::at(config(TO_MASTER, 14, 1), 5, second.replica.now);
    second.exchange_replica(fresh);
    second.pass(10_000);
    let [a, b] = digests(&mut second);
    assert_eq!(a, b);
}

#[test]
fn a_log_of_one_cluster_does_not_come_into_another_by_way_of_a_restart() {
    let first = cluster([1, 2]);
    let (log, past) = (&first.replica.disk.bytes, first.replica.past.clone().expect("kept"));
    let mut second = cluster([11, 12]);
    let moved = logged(TO_MASTER, 2, log, past, Some(&second.replica));
    second.exchange_replica(moved);
    second.pass(10_000);
    is_refused(&mut second, ["of:12", "of:2"]);
}

#[test]
fn a_node_comes_back_to_its_cluster_with_its_log() {
    let mut pair = cluster([1, 2]);
    let (log, past) = (pair.replica.disk.bytes.clone(), pair.replica.past.clone().expect("kept"));
    // Its past may have been lost, or the other's data.
    for past in [past.clone(), Past::default()] {
        let back = logged(TO_MASTER, 2, &log, past, Some(&pair.replica));
        pair.exchange_replica(back);
        pair.pass(10_000);
        let [a, b] = digests(&mut pair);
        assert_eq!(a, b);
    }
    let of_other = pair.master.past.clone().expect("kept");
    let to_replica = format!("{ACTIVE}\nreplicaof 10.0.0.2 6379");
    let mut empty = logged(&to_replica, 1, b"", of_other, Some(&pair.master));
    std::mem::swap(&mut pair.master, &mut empty);
    let back = logged(TO_MASTER, 2, &log, past, Some(&pair.replica));
    pair.exchange_replica(back);
    pair.pass(10_000);
    let a = pair.master.open();
    assert_eq!(pair.master.ask(a, "GET kept"), bulk("1"));
    let [a, b] = digests(&mut pair);
    assert_eq!(a, b);
}

/// Both nodes of a cluster begin anew with dumps; later a delete of what these hold is forgotten. The second node's dump.
fn restarted_with_dumps() -> (Pair, Vec<u8>) {
    let mut pair = cluster([1, 2]);
    let (a, b) = (pair.master.open(), pair.replica.open());
    pair.master.ask(a, "BGSAVE");
    pair.replica.ask(b, "BGSAVE");
    let (of_master, of_replica) = (pair.master.dumped(), pair.replica.dumped());
    let (past_1, past_2) = (pair.master.past.clone(), pair.replica.past.clone());
    let now = pair.replica.now;
    let to_replica = format!("{ACTIVE}\nreplicaof 10.0.0.2 6379");
    pair.exchange_replica(of_dump(TO_MASTER, (2, 3), past_2, now, &of_replica));
    pair.master = of_dump(&to_replica, (1, 2), past_1, now, &of_master);
    pair.pass(20_000);
    let conn = pair.master.open();
    assert_eq!(pair.master.ask(conn, "DEL kept"), ":1\r\n");
    pair.pass(20_000);
    assert_eq!(pair.master.node.inspect(pair.master.now).stats.tombstones, 0, "collected");
    (pair, of_replica)
}

/// A life of a node that begins with a dump. (Each epoch has a seed of its own.)
fn of_dump(
    directives: &str,
    (node, epoch): (u128, u32),
    past: Option<Past>,
    now: Now,
    file: &[u8],
) -> Driver {
    let mut config = config(directives, node, epoch);
    config.identity.past = past.expect("kept");
    let mut driver = begun_with(config, Some(now), file);
    driver.past = Some(Past::default());
    driver
}

#[test]
fn a_member_of_a_cluster_that_has_begun_with_dumps_comes_back_with_an_old_one() {
    let (mut pair, file) = restarted_with_dumps();
    let (past, now) = (pair.replica.past.clone(), pair.replica.now);
    pair.exchange_replica(of_dump(TO_MASTER, (2, 4), past, now, &file));
    pair.pass(10_000);
    let [a, b] = digests(&mut pair);
    assert_eq!(a, b);
}

#[test]
fn a_cluster_that_has_itself_begun_with_dumps_refuses_a_copy_of_one() {
    let (mut pair, file) = restarted_with_dumps();
    let now = pair.replica.now;
    pair.exchange_replica(of_dump(TO_MASTER, (3, 1), Some(Past::default()), now, &file));
    pair.pass(10_000);
    // Nobody can tell it what has become of the writes that were made before that.
    let said = |log: &[String]| log.iter().any(|line| line.contains("are of two clusters"));
    assert!(said(&pair.master.log) && said(&pair.replica.log), "{:?}", pair.replica.log);
}

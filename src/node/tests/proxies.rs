//! Strong mode through the boundary: three nodes, whose clients ask any of them.

use std::net::{IpAddr, Ipv4Addr};

use super::{Driver, bulk, configured, request, words};
use crate::base::checksum::slot_of;
use crate::base::ids::{ConnId, NodeId, Partition};
use crate::base::io::{DiskError, HostPort, Input};
use crate::base::time::Span;
use crate::strong::NodeName;

const NODES: usize = 3;

/// A connection's two ends: which node, and its number there.
type Link = [(usize, ConnId); 2];

/// Nodes that have begun a cluster of two copies, and the links between them.
struct Cluster {
    nodes: Vec<Driver>,
    links: Vec<Link>,
    cut: bool,
    /// A node whose log does not get onto its device.
    stuck: Option<usize>,
}

fn ip_of(node: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, node as u8 + 1))
}

impl Cluster {
    fn new(directives: &str) -> Cluster {
        let node = |at: usize| {
            let ip = ip_of(at);
            let text = format!(
                "appendonly yes\nprotected-mode no\nstrong-consistency yes\ncluster-name t\n\
                 mesh-seed 10.0.0.1 6379\ncluster-announce-ip {ip}\nnode-id A{at}\n{directives}"
            );
            let mut config = configured(&text);
            config.identity.node_id = NodeId((at as u128 + 1) << 64);
            config.strong.partitions = 8;
            let mut driver = Driver::with(config, 7 + at as u64);
            driver.disk.at_once = true;
            driver.read(b"");
            driver
        };
        let nodes = (0..NODES).map(node).collect();
        let mut cluster = Cluster { nodes, links: Vec::new(), cut: false, stuck: None };
        cluster.pass(3000);
        let conn = cluster.nodes[0].open();
        cluster.nodes[0].ask(conn, "QUORATE ROSTER STAGE NODES A0@1 A1@2 A2@3");
        assert_eq!(cluster.nodes[0].ask(conn, "QUORATE RECLUSTER"), "+OK\r\n");
        cluster.pass(6000);
        let info = cluster.nodes[0].ask(conn, "CLUSTER INFO");
        assert!(info.contains("cluster_slots_ok:16384"), "{info}");
        cluster
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                node.pass(Span::from_ms(10));
                if self.stuck != Some(at) {
                    node.sync();
                }
            }
            self.carry();
        }
    }

    /// Carries bytes to and fro until nobody has any.
    fn carry(&mut self) {
        if self.cut {
            return;
        }
        for from in 0..NODES {
            for dial in std::mem::take(&mut self.nodes[from].dials) {
                let HostPort { host, .. } = self.nodes[from].asked[&dial].clone();
                let to = (0..NODES).find(|&to| ip_of(to).to_string() == host).expect("a node");
                let accepted = self.nodes[to].open_from(ip_of(from));
                let dialed = self.nodes[from].answer(dial);
                self.links.push([(from, dialed), (to, accepted)]);
            }
        }
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for [a, b] in self.links.clone() {
                for (from, to) in [(a, b), (b, a)] {
                    let bytes = self.nodes[from.0].take_bytes(from.1);
                    moved |= !bytes.is_empty();
                    if !bytes.is_empty() && !self.nodes[to.0].closed.contains(&to.1) {
                        self.nodes[to.0].feed(to.1, &bytes);
                    }
                }
            }
        }
        let ended = |nodes: &[Driver], end: (usize, ConnId)| nodes[end.0].closed.contains(&end.1);
        for link in self.links.clone() {
            let [a, b] = link;
            if ended(&self.nodes, a) || ended(&self.nodes, b) {
                self.links.retain(|other| *other != link);
                for end in link {
                    if !ended(&self.nodes, end) {
                        self.nodes[end.0].hang_up(end.1);
                    }
                }
            }
        }
    }

    /// Sends commands in one piece and returns all that came back.
    fn ask(&mut self, at: (usize, ConnId), commands: &[&str]) -> String {
        let bytes: Vec<u8> = commands.iter().flat_map(|line| request(&words(line))).collect();
        self.nodes[at.0].feed(at.1, &bytes);
        self.pass(20);
        self.nodes[at.0].take(at.1)
    }

    fn clients(&mut self) -> Vec<(usize, ConnId)> {
        (0..NODES).map(|node| (node, self.nodes[node].open())).collect()
    }

    fn partition(key: &str) -> Partition {
        Partition(slot_of(key.as_bytes()) / (16384 / 8))
    }

    /// The node that a key's master is.
    fn master(&self, key: &str) -> usize {
        let of = Cluster::partition(key);
        let serves = |node: &Driver| node.node.strong().is_some_and(|strong| strong.serves(of));
        self.nodes.iter().position(serves).expect("all is served")
    }

    /// Keys that this node is the master of, and keys that it is not.
    fn keys(&self, node: usize) -> (Vec<String>, Vec<String>) {
        (0..40).map(|n| format!("k{n}")).partition(|key| self.master(key) == node)
    }
}

#[test]
fn a_client_of_any_node_gets_everything_in_the_order_it_asked() {
    let mut cluster = Cluster::new("cluster-redirect proxy");
    let clients = cluster.clients();
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    for (n, key) in keys.iter().enumerate() {
        let at = clients[n % NODES];
        assert_eq!(cluster.ask(at, &[&format!("SET {key} {n}")]), "+OK\r\n");
        assert_eq!(
            cluster.ask(clients[(n + 1) % NODES], &[&format!("GET {key}")]),
            bulk(&n.to_string())
        );
    }
    for &at in &clients {
        let lines: Vec<String> =
            keys.iter().flat_map(|k| [format!("INCRBY {k} 0"), "PING".into()]).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let wanted: String = (0..20).map(|n| format!(":{n}\r\n+PONG\r\n")).collect();
        assert_eq!(cluster.ask(at, &lines), wanted);
    }
    // What is no integer is an error of the master's, and a definite one.
    let at = clients[0];
    for key in ["k1", "k2", "k3"] {
        let said = cluster.ask(at, &[&format!("SET {key} x"), &format!("INCR {key}")]);
        assert_eq!(said, "+OK\r\n-ERR value is not an integer or out of range\r\n");
    }
    assert!(cluster.ask(at, &["MSET k1 1 k2 2"]).starts_with("-CROSSSLOT"));
}

#[test]
fn transactions_and_watched_keys_are_kept_through_any_node() {
    let mut cluster = Cluster::new("cluster-redirect proxy");
    let (clients, others) = (cluster.clients(), cluster.clients());
    for (n, &at) in clients.iter().enumerate() {
        let key = "{t}n";
        let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n";
        cluster.ask(at, &["SET {t}n 1"]);
        let exec = cluster.ask(at, &["MULTI", "INCR {t}n", "GET {t}n", "EXEC"]);
        assert_eq!(exec, format!("{queued}*2\r\n:2\r\n{}", bulk("2")), "client of {n}");
        // All in one piece, and nobody has changed it.
        let exec = cluster.ask(at, &["WATCH {t}n", "MULTI", "INCR {t}n", "GET {t}n", "EXEC"]);
        assert_eq!(exec, format!("+OK\r\n{queued}*2\r\n:3\r\n{}", bulk("3")), "client of {n}");
        // Another has, and is answered or not.
        cluster.ask(at, &["WATCH {t}other", "WATCH {t}n"]);
        assert_eq!(cluster.ask(others[(n + 1) % NODES], &[&format!("SET {key} 7")]), "+OK\r\n");
        let exec = cluster.ask(at, &["MULTI", "INCR {t}n", "GET {t}n", "EXEC", "GET {t}n"]);
        assert_eq!(exec, format!("{queued}*-1\r\n{}", bulk("7")), "client of {n}");
        // Let go of, the watched key may have changed.
        cluster.ask(at, &["WATCH {t}n", "SET {t}n 8", "UNWATCH"]);
        assert!(
            cluster
                .ask(at, &["MULTI", "GET {t}n", "EXEC"])
                .ends_with(&format!("*1\r\n{}", bulk("8")))
        );
        assert!(cluster.ask(at, &["WATCH {t}n k1"]).starts_with("-CROSSSLOT"));
        let aborted = cluster.ask(at, &["MULTI", "GET {t}n", "CLIENT ID", "EXEC"]);
        let passed = cluster.master(key) != n;
        assert_eq!(aborted.contains("EXECABORT"), passed, "client of {n}: {aborted}");
    }
}

#[test]
fn what_was_passed_on_over_a_link_that_is_lost_is_in_doubt_or_was_not_done() {
    let mut cluster = Cluster::new("cluster-redirect proxy");
    let at = cluster.clients()[0];
    let (_, others) = cluster.keys(0);
    cluster.cut = true;
    let lines = [format!("SET {} 1", others[0]), format!("GET {}", others[1]), "PING".to_owned()];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(cluster.ask(at, &lines), "");
    cluster.pass(2900);
    let said = cluster.nodes[0].take(at.1);
    let said: Vec<&str> = said.split("\r\n").collect();
    assert!(said[0].starts_with("-INDOUBT ") && said[1].starts_with("-TRYAGAIN "), "{said:?}");
    assert_eq!(said[2], "+PONG");
    // Nobody is heard any more.
    let said = cluster.ask(at, &lines);
    assert!(said.starts_with("-CLUSTERDOWN "), "{said}");
}

#[test]
fn an_open_write_is_answered_before_its_connection_ends() {
    let mut cluster = Cluster::new("cluster-redirect moved");
    let at = cluster.clients()[0];
    let (own, others) = cluster.keys(0);
    let moved = cluster.ask(at, &[&format!("SET {} 1", others[0])]);
    assert!(moved.starts_with("-MOVED ") && moved.contains(" 10.0.0."), "{moved}");
    cluster.cut = true;
    assert_eq!(cluster.ask(at, &[&format!("SET {} 1", own[0]), "QUIT"]), "");
    assert!(!cluster.nodes[0].closed.contains(&at.1));
    cluster.pass(3500);
    let said = cluster.nodes[0].take(at.1);
    assert!(said.starts_with("-INDOUBT ") && said.ends_with("\r\n+OK\r\n"), "{said}");
    assert!(cluster.nodes[0].closed.contains(&at.1));
}

#[test]
fn copies_are_read_where_a_client_has_asked_for_that() {
    let mut cluster = Cluster::new("cluster-redirect moved");
    let clients = cluster.clients();
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    for key in &keys {
        let at = clients[cluster.master(key)];
        assert_eq!(cluster.ask(at, &[&format!("SET {key} v")]), "+OK\r\n");
    }
    cluster.pass(1000);
    let mut held = 0;
    for &at in &clients {
        assert_eq!(cluster.ask(at, &["READONLY"]), "+OK\r\n");
        for key in &keys {
            let said = cluster.ask(at, &[&format!("GET {key}")]);
            held += usize::from(said == bulk("v"));
            assert!(said == bulk("v") || said.starts_with("-MOVED "), "{said}");
            let set = cluster.ask(at, &[&format!("SET {key} v")]);
            assert_eq!(set.starts_with("-MOVED "), cluster.master(key) != at.0, "{set}");
        }
        let key = keys.iter().find(|key| cluster.master(key) != at.0).expect("another's");
        let lines = ["MULTI".to_owned(), format!("GET {key}"), "EXEC".to_owned()];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let said = cluster.ask(at, &lines);
        let here = said == format!("+OK\r\n+QUEUED\r\n*1\r\n{}", bulk("v"));
        assert!(here || said.contains("-MOVED "), "{said}");
    }
    assert_eq!(held, 2 * keys.len(), "there are two copies");
    // Nobody hears anybody: what was committed is still there.
    cluster.cut = true;
    cluster.pass(3000);
    let mut held = 0;
    for &at in &clients {
        for key in &keys {
            held += usize::from(cluster.ask(at, &[&format!("GET {key}")]) == bulk("v"));
        }
        assert_eq!(cluster.ask(at, &["READWRITE"]), "+OK\r\n");
        let said = cluster.ask(at, &["GET k1"]);
        assert!(said.starts_with("-CLUSTERDOWN "), "{said}");
    }
    assert_eq!(held, 2 * keys.len());
}

#[test]
fn wait_tells_of_copies_and_flushall_empties_what_a_node_is_master_of() {
    let mut cluster = Cluster::new("cluster-redirect proxy");
    let clients = cluster.clients();
    for n in 0..40 {
        let at = clients[n % NODES];
        let said = cluster.ask(at, &[&format!("SET k{n} 1"), "WAIT 1 0"]);
        assert_eq!(said, "+OK\r\n:1\r\n", "k{n}");
    }
    let at = clients[0];
    let set = request(&words("WAIT 2 100"));
    cluster.nodes[0].feed(at.1, &set);
    cluster.pass(50);
    assert_eq!(cluster.nodes[0].take(at.1), "", "there is one");
    cluster.pass(100);
    assert_eq!(cluster.nodes[0].take(at.1), ":1\r\n");
    let count = |said: &str| said.trim_start_matches(':').trim_end().parse::<usize>();
    let mut all = 0;
    for &at in &clients {
        all += count(&cluster.ask(at, &["DBSIZE"])).expect("a number");
    }
    assert_eq!(all, 40);
    let (own, others) = cluster.keys(0);
    assert!(cluster.ask(at, &["FLUSHALL NOW"]).starts_with("-ERR syntax error"));
    // What follows it finds nothing, what was open when it came included.
    let lines = [
        format!("SET {} 2", own[1]),
        "FLUSHALL".to_owned(),
        format!("EXISTS {}", own[0]),
        format!("EXISTS {}", own[1]),
        "DBSIZE".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(cluster.ask(at, &lines), "+OK\r\n+OK\r\n:0\r\n:0\r\n:0\r\n");
    for key in &others {
        assert_eq!(cluster.ask(at, &[&format!("EXISTS {key}")]), ":1\r\n", "{key} is another's");
    }
    for key in &own {
        assert_eq!(cluster.ask(clients[1], &[&format!("EXISTS {key}")]), ":0\r\n");
    }
    // A flush whose entries the others do not confirm.
    cluster.ask(at, &[&format!("SET {} 2", own[0])]);
    cluster.cut = true;
    assert_eq!(cluster.ask(at, &["FLUSHDB", "PING"]), "");
    cluster.pass(3500);
    let said = cluster.nodes[0].take(at.1);
    assert!(said.starts_with("-INDOUBT ") && said.ends_with("+PONG\r\n"), "{said}");
}

#[test]
fn a_copy_whose_log_has_no_room_confirms_no_write() {
    let mut cluster = Cluster::new("appendfsync always");
    let at = cluster.clients()[0];
    let (own, _) = cluster.keys(0);
    cluster.stuck = Some(1);
    cluster.nodes[1].disk.at_once = false;
    cluster.nodes[1].input(Input::DiskFailed { why: DiskError::Full });
    let mut silent = 0;
    for key in &own {
        let of = Cluster::partition(key);
        let strong = cluster.nodes[0].node.strong().expect("strong mode");
        let confirms = strong.chosen(of).member(NodeName(0xa1)).is_some();
        let conn = cluster.nodes[0].open();
        let said = cluster.ask((0, conn), &[&format!("SET {key} 1")]);
        assert_eq!(said, if confirms { "" } else { "+OK\r\n" }, "{key}");
        silent += usize::from(confirms);
    }
    assert!(silent > 0, "it has a copy of something");
    // The others go on without it, and the writes are theirs.
    cluster.pass(5000);
    for key in &own {
        assert_eq!(cluster.ask(at, &[&format!("GET {key}")]), bulk("1"));
    }
}

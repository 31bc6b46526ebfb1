//! Two nodes with a link between them: what a client of one notices of the other.

use crate::base::ids::{ConnId, NodeId};
use crate::base::time::Span;

use super::{Driver, bulk, configured};

/// A master and a node that replicates it; both take writes if `active`.
pub struct Pair {
    pub master: Driver,
    pub replica: Driver,
    /// Both ends of every link: the master's, the replica's.
    links: Vec<(ConnId, ConnId)>,
    pub cut: bool,
    /// The master's own dials are not answered.
    one_way: bool,
}

impl Pair {
    pub fn new(directives: &str) -> Pair {
        let replica = driver(2, &format!("{directives}\nreplicaof 10.0.0.1 6379"), 7);
        Pair {
            master: driver(1, directives, 8),
            replica,
            links: Vec::new(),
            cut: false,
            one_way: false,
        }
    }

    /// Each is a replica of the other.
    pub fn mesh(directives: &str) -> Pair {
        let pair = Pair::new(directives);
        Pair { master: driver(1, &format!("{directives}\nreplicaof 10.0.0.2 6379"), 8), ..pair }
    }

    /// The replica's process is another from here on; its connections are gone.
    pub fn exchange_replica(&mut self, replica: Driver) -> Driver {
        for (at_master, _) in std::mem::take(&mut self.links) {
            self.master.hang_up(at_master);
        }
        std::mem::replace(&mut self.replica, replica)
    }

    /// Carries bytes to and fro for a while.
    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.master.pass(Span::from_ms(10));
            self.replica.pass(Span::from_ms(10));
            self.carry();
        }
    }

    fn carry(&mut self) {
        if self.cut {
            return;
        }
        for dial in std::mem::take(&mut self.replica.dials) {
            self.links.push((self.master.open(), self.replica.answer(dial)));
        }
        for dial in std::mem::take(&mut self.master.dials) {
            if self.one_way {
                continue;
            }
            self.links.push((self.master.answer(dial), self.replica.open()));
        }
        let (master, replica) = (&mut self.master, &mut self.replica);
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for &(at_master, at_replica) in &self.links {
                moved |= carry((master, at_master), (replica, at_replica));
                moved |= carry((replica, at_replica), (master, at_master));
            }
        }
    }
}

fn driver(node: u128, directives: &str, seed: u64) -> Driver {
    let mut config = configured(directives);
    config.identity.node_id = NodeId(node);
    Driver::with(config, seed)
}

/// Takes what one end has sent to the other; true if that was anything.
fn carry((from, at): (&mut Driver, ConnId), (to, other): (&mut Driver, ConnId)) -> bool {
    let bytes = from.take_bytes(at);
    if !bytes.is_empty() {
        to.feed(other, &bytes);
    }
    !bytes.is_empty()
}

#[test]
fn write_reaches_the_replica_and_wait_counts_it() {
    let mut pair = Pair::new("active-replica yes");
    pair.pass(3000);
    assert!(pair.replica.node.inspect(pair.replica.now).masters_up == 1, "the link is up");
    let (a, b) = (pair.master.open(), pair.replica.open());
    pair.master.feed(a, b"SET k v\r\nWAIT 1 5000\r\nPING\r\n");
    assert_eq!(pair.master.take(a), "+OK\r\n", "no acknowledgement yet");
    assert!(pair.master.is_paused(a));
    pair.pass(2000);
    assert_eq!(pair.master.take(a), ":1\r\n+PONG\r\n");
    assert_eq!(pair.replica.ask(b, "GET k"), bulk("v"));
    assert!(pair.master.ask(a, "INFO replication").contains("connected_slaves:1\r\n"));
    assert!(pair.replica.ask(b, "INFO replication").contains("master_link_status:up\r\n"));
    assert_eq!(
        pair.master.ask(a, "QUORATE DIGEST"),
        pair.replica.ask(b, "QUORATE DIGEST"),
        "both hold the same"
    );
}

#[test]
fn replica_is_shown_as_far_as_it_has_acknowledged() {
    let mut pair = Pair::new("active-replica yes\nrepl-backlog-size 16kb");
    pair.pass(3000);
    let a = pair.master.open();
    let offsets = |pair: &mut Pair| {
        let info = pair.master.ask(a, "INFO replication");
        let after = |name: &str| {
            let (_, rest) = info.split_once(name).unwrap_or_else(|| panic!("{name} in {info}"));
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().expect("a number")
        };
        let (own, replica) = (after("master_repl_offset:"), after(",offset="));
        let role = pair.master.ask(a, "ROLE");
        assert!(role.starts_with(&format!("*3\r\n$6\r\nmaster\r\n:{own}\r\n")), "{role}");
        assert!(role.ends_with(&bulk(&replica.to_string())), "{role}");
        (own, replica)
    };
    pair.master.ask(a, "SET k v");
    pair.pass(1000);
    let (before, replica) = offsets(&mut pair);
    assert!(before > 0 && replica == before, "{replica} of {before}");
    pair.cut = true;
    // More than the backlog holds.
    for key in 0..30 {
        pair.master.ask(a, &format!("SET k{key} {}", "v".repeat(1000)));
    }
    pair.pass(500);
    let (own, replica) = offsets(&mut pair);
    assert!(own > before + 30_000 && replica == before, "{replica} of {own}");
    pair.cut = false;
    pair.pass(3000);
    let (own, replica) = offsets(&mut pair);
    assert_eq!(replica, own);
}

#[test]
fn wait_for_a_write_made_before_the_first_replica_came_is_answered() {
    let mut pair = Pair::new("active-replica yes");
    let a = pair.master.open();
    assert_eq!(pair.master.ask(a, "SET k v"), "+OK\r\n");
    assert_eq!(pair.master.ask(a, "WAIT 1 0"), "");
    pair.pass(5000);
    assert_eq!(pair.master.take(a), ":1\r\n");
    assert_eq!(pair.master.ask(a, "WAIT 1 0"), ":1\r\n");
}

#[test]
fn wait_is_answered_for_a_write_that_was_moved_to_another_origin() {
    let directives = "active-replica yes";
    let mut pair = Pair::mesh(directives);
    pair.pass(3000);
    // The replica comes back without its data and without having counted its starts.
    pair.links.clear();
    let other_seed = 9;
    pair.replica = driver(2, &format!("{directives}\nreplicaof 10.0.0.1 6379"), other_seed);
    let b = pair.replica.open();
    let origin = pair.replica.node.inspect(pair.replica.now).origin;
    assert_eq!(pair.replica.ask(b, "SET k v"), "+OK\r\n");
    assert_eq!(pair.replica.ask(b, "WAIT 1 0"), "");
    pair.one_way = true;
    pair.pass(100_000);
    assert_ne!(pair.replica.node.inspect(pair.replica.now).origin, origin, "an origin of its own");
    assert_eq!(pair.replica.take(b), "", "the master has not fetched the write");
    pair.one_way = false;
    pair.pass(10_000);
    assert_eq!(pair.replica.take(b), ":1\r\n");
    let a = pair.master.open();
    assert_eq!(pair.master.ask(a, "GET k"), bulk("v"));
}

#[test]
fn wait_ends_by_time_when_the_replica_is_cut_off() {
    let mut pair = Pair::new("active-replica yes");
    pair.pass(3000);
    pair.cut = true;
    let a = pair.master.open();
    assert_eq!(pair.master.ask(a, "SET k v"), "+OK\r\n");
    assert_eq!(pair.master.ask(a, "WAIT 1 700"), "");
    pair.pass(1000);
    assert_eq!(pair.master.take(a), ":0\r\n");
}

#[test]
fn watched_key_is_changed_by_a_unit_from_elsewhere() {
    let mut pair = Pair::new("active-replica yes");
    pair.pass(3000);
    let (a, b) = (pair.master.open(), pair.replica.open());
    for (change, expected) in [("SET other 1", "*1\r\n+PONG\r\n"), ("SET k 1", "*-1\r\n")] {
        pair.replica.ask(b, "WATCH k");
        pair.master.ask(a, change);
        pair.pass(1000);
        pair.replica.ask(b, "MULTI");
        pair.replica.ask(b, "PING");
        assert_eq!(pair.replica.ask(b, "EXEC"), expected, "{change}");
    }
}

#[test]
fn transaction_arrives_whole_on_a_plain_replica_that_refuses_writes() {
    let mut pair = Pair::new("");
    let (a, b) = (pair.master.open(), pair.replica.open());
    pair.pass(3000);
    pair.master.feed(a, b"MULTI\r\nSET x 1\r\nINCR n\r\nSET y 2 EX 100\r\nDEL x\r\nEXEC\r\n");
    pair.pass(1000);
    assert_eq!(
        pair.replica.ask(b, "MGET x n y"),
        format!("*3\r\n$-1\r\n{}{}", bulk("1"), bulk("2"))
    );
    assert!(pair.replica.ask(b, "SET x 1").starts_with("-READONLY"));
    assert!(pair.replica.ask(b, "HELLO").contains("$7\r\nreplica\r\n"));
    assert!(pair.replica.ask(b, "INFO replication").contains("role:slave\r\n"));
    assert_eq!(pair.replica.ask(b, "REPLICAOF NO ONE"), "+OK\r\n");
    assert_eq!(pair.replica.ask(b, "SET x 1"), "+OK\r\n");
}

#[test]
fn link_is_authenticated_like_a_client() {
    let mut pair = Pair::new("active-replica yes\nrequirepass p\nmasterauth p");
    pair.pass(3000);
    let (a, b) = (pair.master.open(), pair.replica.open());
    pair.master.ask(a, "AUTH p");
    pair.replica.ask(b, "AUTH p");
    pair.master.ask(a, "SET k v");
    pair.pass(1000);
    assert_eq!(pair.replica.ask(b, "GET k"), bulk("v"));
}

#[test]
fn plain_replica_whose_link_falls_silent_before_the_data_came_still_drops_its_own() {
    let mut pair = Pair::new("replica-read-only no");
    let (a, b) = (pair.master.open(), pair.replica.open());
    assert_eq!(pair.master.ask(a, "SET theirs 1"), "+OK\r\n");
    assert_eq!(pair.replica.ask(b, "SET own 1"), "+OK\r\n");
    // The handshake of the first connection ends, what the master sends after it gets stuck.
    pair.replica.pass(Span::from_ms(10));
    let dial = pair.replica.dials.pop().expect("the replica dials its master");
    let (at_master, at_replica) = (pair.master.open(), pair.replica.answer(dial));
    loop {
        carry((&mut pair.replica, at_replica), (&mut pair.master, at_master));
        let bytes = pair.master.take_bytes(at_master);
        let greets = bytes.first() == Some(&b'+');
        let hello = if greets { bytes.len() } else { frame_bytes(&bytes) };
        pair.replica.feed(at_replica, &bytes[..hello]);
        if !greets {
            break;
        }
    }
    let info = pair.replica.ask(b, "INFO replication");
    assert!(info.contains("master_sync_in_progress:1\r\n"), "{info}");
    // The second connection, opened beside the silent one, brings everything.
    pair.pass(10_000);
    assert!(pair.replica.closed.contains(&at_replica), "the silent connection is left");
    assert_eq!(pair.replica.ask(b, "GET theirs"), bulk("1"));
    assert_eq!(pair.replica.ask(b, "GET own"), "$-1\r\n");
}

/// Length of the first peer frame, with its prefix.
fn frame_bytes(bytes: &[u8]) -> usize {
    let prefix: [u8; 4] = bytes[..4].try_into().expect("four bytes");
    4 + u32::from_le_bytes(prefix) as usize
}

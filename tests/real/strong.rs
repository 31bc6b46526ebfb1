//! Six nodes in two racks in strong mode, with two copies of everything: founded and looked at by `quorate admin`, written to
//! by the clients people have, and with a node killed under writes.

// Real processes take real time, and that has to be waited for.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::servers::{
    Server, available, binary, free_port, have_redis_cli, output, output_with_input, wait_for,
};

const NODES: usize = 6;
const PARTITIONS: u64 = 4096;
const RECORDS: u64 = 470;
const TIMEOUT: Duration = Duration::from_millis(50 * 10);

struct Cluster {
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    nodes: Vec<Option<Server>>,
}

impl Cluster {
    /// Founded as its operator does it.
    fn found() -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        let mut cluster = Cluster { dir, ports, nodes: Vec::new() };
        cluster.nodes = (0..NODES).map(|at| Some(cluster.start(at))).collect();
        wait_for("six nodes observed", || {
            let table = cluster.admin("show roster");
            let row = table.lines().find(|line| line.contains("|A10"))?.to_owned();
            (row.matches('@').count() == NODES).then_some(())
        });
        let staged = cluster.admin("manage roster stage observed");
        assert!(staged.contains("A10@2,A20@1,A30@2,A40@1,A50@2,A60@1"), "{staged}");
        let begun = cluster.admin("manage recluster");
        assert!(begun.ends_with("the roster is in force\n"), "{begun}");
        cluster
    }

    fn start(&self, at: usize) -> Server {
        let (name, rack) = (format!("A{}0", at + 1), (2 - at % 2).to_string());
        let seed = self.ports[usize::from(at == 0)].to_string();
        let mut flags = vec!["--strong-consistency", "yes", "--cluster-name", "test"];
        flags.extend(["--node-id", &name, "--rack-id", &rack, "--appendfsync", "always"]);
        flags.extend(["--heartbeat-interval-ms", "50", "--mesh-seed", "127.0.0.1", &seed]);
        Server::start(&self.dir.path().join(&name), self.ports[at], &flags)
    }

    fn first(&self) -> &Server {
        self.nodes[0].as_ref().expect("the first node stays")
    }

    /// What `quorate admin` prints.
    fn admin(&self, words: &str) -> String {
        let mut run = admin(self.ports[0]);
        output(run.args(words.split(' '))) + "\n"
    }

    /// A column of numbers, by its place, without the sum below; nothing for nodes that do not answer.
    fn column(&self, table: &str, at: usize) -> Vec<u64> {
        let rows = table.lines().filter(|line| line.starts_with("127.0.0.1:"));
        rows.filter_map(|row| row.split('|').nth(at)?.trim().parse().ok()).collect()
    }

    /// Waits until every node is master of its share and each partition has two copies.
    fn await_balance(&self) -> String {
        wait_for("all partitions at their masters", || {
            let table = self.admin("show pmap");
            let [primary, secondary, unavailable] = [3, 4, 5].map(|at| self.column(&table, at));
            let even = primary.len() == NODES && primary.iter().all(|n| [682, 683].contains(n));
            let whole = [&primary, &secondary].map(|n| n.iter().sum::<u64>()) == [PARTITIONS; 2];
            (even && whole && unavailable.iter().all(|&n| n == 0)).then_some(table)
        })
    }

    /// Waits until so many records have both copies.
    fn await_records(&self, count: u64) {
        let mut last = String::new();
        let found = wait_until(Duration::from_secs(10), || {
            last = self.admin("info");
            let objects = last.split("Object Information").nth(1).expect("a second table");
            let [master, prole] = [5, 6].map(|at| self.column(objects, at).iter().sum::<u64>());
            (master, prole) == (count, count)
        });
        assert!(found, "{count} records, each with two copies, expected:\n{last}");
    }
}

fn admin(port: u16) -> Command {
    let mut command = Command::new(binary());
    command.args(["admin", "-h", "127.0.0.1", "-p", &port.to_string()]);
    command
}

fn wait_until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// A client that follows MOVED, with a connection to each node it has met.
struct Client {
    first: u16,
    links: BTreeMap<u16, BufReader<TcpStream>>,
}

impl Client {
    fn new(first: u16) -> Client {
        Client { first, links: BTreeMap::new() }
    }

    /// The first line of the answer, and the value behind it if there is one.
    fn ask(&mut self, request: &str) -> io::Result<String> {
        let mut port = self.first;
        for _ in 0..5 {
            let answer = self.ask_at(port, request);
            if answer.is_err() {
                self.links.remove(&port);
            }
            let answer = answer?;
            let Some(to) = answer.strip_prefix("-MOVED ") else { return Ok(answer) };
            port = to.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        }
        Ok("-TRYAGAIN moved too often".to_owned())
    }

    fn ask_at(&mut self, port: u16, request: &str) -> io::Result<String> {
        let link = match self.links.entry(port) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let link = TcpStream::connect(("127.0.0.1", port))?;
                link.set_read_timeout(Some(Duration::from_secs(10)))?;
                new.insert(BufReader::new(link))
            }
        };
        link.get_mut().write_all(format!("{request}\r\n").as_bytes())?;
        let mut line = String::new();
        link.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        let length = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
        let Some(length) = length else { return Ok(line) };
        let mut value = vec![0; length + 2];
        link.read_exact(&mut value)?;
        Ok(String::from_utf8_lossy(&value[..length]).into_owned())
    }
}

#[test]
fn a_killed_node_is_replaced_and_comes_back_to_its_share() {
    if !have_redis_cli() {
        return;
    }
    let mut cluster = Cluster::found();
    cluster.await_balance();
    let records: String = (0..RECORDS).map(|n| format!("SET rec:{n} v{n}\n")).collect();
    let printed = output_with_input(cluster.first().cli().arg("-c"), records.as_bytes());
    assert_eq!(printed.matches("OK\n").count() as u64, RECORDS, "{printed}");
    cluster.await_records(RECORDS);

    // Of the victim's keys a write is tried again and again, while all others go on.
    let victim = NODES - 1;
    let mut client = Client::new(cluster.ports[0]);
    let port = cluster.ports[victim].to_string();
    let is_its = |key: &String| {
        let answer = Client::new(cluster.ports[0]).ask_at(cluster.ports[0], &format!("GET {key}"));
        answer.expect("an answer").ends_with(&format!(":{port}"))
    };
    let keys: Vec<String> = (0..RECORDS).map(|n| format!("rec:{n}")).filter(is_its).collect();
    assert!(keys.len() > 20, "{} keys are the victim's", keys.len());
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    let mut write = |client: &mut Client, key: &str, value: String| {
        let answer = client.ask(&format!("SET {key} {value}"));
        let done = answer.as_ref().is_ok_and(|answer| answer == "+OK");
        if done {
            newest.insert(key.to_owned(), value);
        }
        (done, answer)
    };
    for (n, key) in keys.iter().enumerate() {
        assert!(write(&mut client, key, format!("before{n}")).0);
    }
    let node = cluster.nodes[victim].take().expect("it runs");
    let killed = Instant::now();
    node.stop("-KILL");
    let mut waits = Vec::new();
    for key in &keys {
        let mut last = None;
        let served = wait_until(Duration::from_secs(10), || {
            let (done, answer) = write(&mut client, key, "during".to_owned());
            last = Some(answer);
            done
        });
        assert!(served, "{key}: {last:?}");
        waits.push(killed.elapsed());
    }
    let [first, last] = [waits[0], waits[waits.len() - 1]].map(|wait| wait.as_millis());
    let text = format!("\nwrites to a killed node's partitions go on after {first}..{last} ms\n");
    io::stderr().write_all(text.as_bytes()).expect("standard error can be written");
    assert!(waits[0] < TIMEOUT + Duration::from_secs(1), "{first} ms");
    let table = cluster.admin("show pmap");
    let silent = table.lines().find(|line| line.contains("|A60")).unwrap_or_default();
    assert_eq!(silent.matches("~~").count(), 5, "{table}");
    for n in 0..100 {
        let key = format!("new:{n}");
        assert!(write(&mut client, &key, format!("w{n}")).0, "{key}");
    }

    cluster.nodes[victim] = Some(cluster.start(victim));
    cluster.await_balance();
    cluster.await_records(RECORDS + 100);
    let mut client = Client::new(cluster.ports[victim]);
    for n in 0..RECORDS {
        newest.entry(format!("rec:{n}")).or_insert_with(|| format!("v{n}"));
    }
    for (key, value) in &newest {
        assert_eq!(&client.ask(&format!("GET {key}")).expect("an answer"), value, "{key}");
    }
}

#[test]
fn cluster_clients_find_their_way() {
    let python = || Command::new("python3");
    let benchmark = available("redis-benchmark", Command::new("redis-benchmark").arg("--version"));
    let redis_py = available("redis-py (PyPI: redis)", python().args(["-c", "import redis"]));
    if !have_redis_cli() || !(benchmark || redis_py) {
        return;
    }
    let cluster = Cluster::found();
    cluster.await_balance();
    let port = cluster.ports[0].to_string();
    if benchmark {
        let mut run = Command::new("redis-benchmark");
        run.args(["-p", &port, "--cluster", "-c", "20", "-n", "3000", "-r", "1000", "--csv"]);
        let printed = output(run.args(["-t", "set,get,incr"]));
        for name in ["SET", "GET", "INCR"] {
            assert!(printed.contains(&format!("\"{name}\"")), "{name}: {printed}");
        }
    }
    if redis_py {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/redis_py_cluster.py");
        assert_eq!(output(python().args([script, &port])), "all held");
    }
}

#[test]
fn the_operator_is_told_what_is_wrong() {
    let run = |port: u16, words: &str| {
        let run = admin(port).args(words.split(' ')).output().expect("it can be run");
        let text =
            [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (run.status.code(), text.concat())
    };
    let nobody = free_port();
    let (code, text) = run(nobody, "show pmap");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with(&format!("127.0.0.1:{nobody}: Connection refused")), "{text}");
    for wrong in
        ["manage revive now", "manage roster stage nodes XYZ@1", "show", "watch --every x info"]
    {
        assert_eq!(run(nobody, wrong).0, Some(2), "{wrong}");
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let plain = Server::start(&dir.path().join("plain"), free_port(), &[]);
    let (code, text) = run(plain.port, "info");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.ends_with("ERR This instance has cluster support disabled\n"), "{text}");

    let mut flags = vec!["--strong-consistency", "yes", "--cluster-name", "one", "--node-id", "1"];
    flags.extend(["--rack-id", "3", "--replication-factor", "3", "--requirepass", "mypass"]);
    let one = Server::start(&dir.path().join("one"), free_port(), &flags);
    let (code, text) = run(one.port, "show roster");
    assert_eq!((code, text.contains("NOAUTH")), (Some(1), true), "{text}");
    let (code, text) = run(one.port, "-a mypass manage recluster");
    assert_eq!((code, text.contains("no roster is staged")), (Some(1), true), "{text}");
    let (code, text) = run(one.port, "-a mypass manage roster stage nodes 1@4 2@5");
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(one.port, "-a mypass manage recluster");
    assert_eq!((code, text.contains("node 2 is not connected")), (Some(1), true), "{text}");
    assert_eq!(run(one.port, "-a mypass manage roster stage nodes 1@4").0, Some(0));
    let (code, text) = run(one.port, "-a mypass manage recluster");
    assert_eq!((code, text.contains("the roster is in force")), (Some(0), true), "{text}");
    let (_, text) = run(one.port, "-a mypass show config");
    assert!(text.contains("1: rack-id 3 in its configuration, 4 in the roster"), "{text}");
    let (_, text) = run(one.port, "-a mypass --json show racks");
    assert!(text.contains(r#""rows":[{"rack_id":4,"nodes":"1"}]"#), "{text}");
}

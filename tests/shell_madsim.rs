//! The real shell, whole, in madsim's network: two and three masters, clogged links, writes on all sides,
//! kill and restart, agreement after healing. It tests the shell; the protocols have the simulator.
//!
//!     RUSTFLAGS="--cfg madsim" MADSIM_TEST_NUM=200 cargo test --test shell_madsim --target-dir target/madsim
//!
//! A failure prints its seed; `MADSIM_TEST_SEED=… MADSIM_TEST_NUM=1` replays it.
#![cfg(madsim)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use madsim::net::NetSim;
use madsim::rand::{Rng as _, thread_rng};
use madsim::runtime::{Handle, NodeHandle};
use quorate::base::fact::LogLevel;
use quorate::base::ids::{Epoch, NodeId};
use quorate::base::io::Past;
use quorate::node::Scope;
use quorate::node::config::{Config, Identity};
use quorate::shell::{self, Shared, Stored, Surroundings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const PORT: u16 = 6379;
const KEYS: u32 = 6;
/// Agreement must be there so long after healing. madsim's streams look at a healed link again only after
/// their back-off of up to 10 s.
const AGREE_WITHIN: Duration = Duration::from_secs(40);

/// What a host keeps across its restarts, and a look into what runs now.
#[derive(Default)]
struct Disk {
    epoch: u32,
    past: Past,
    /// Weak, so that nothing of a killed process lives on.
    running: Option<Weak<Shared>>,
}

struct Host {
    handle: NodeHandle,
    ip: IpAddr,
    disk: Arc<Mutex<Disk>>,
    up: bool,
}

struct Cluster {
    hosts: Vec<Host>,
}

/// What clients were told.
#[derive(Default)]
struct Told {
    /// Key to the writes acknowledged, in the order of acknowledgement.
    sets: BTreeMap<String, Vec<Write>>,
    increments: i64,
    /// The counter that all hosts showed last, and who has had that ever since.
    agreed: Option<(i64, Holders)>,
    kills: u32,
    /// Hosts that have been started again and may have met nobody since.
    strangers: Holders,
}

#[derive(Debug)]
struct Write {
    value: String,
    /// Who has had it (or a newer one) ever since all hosts showed it.
    holders: Holders,
    /// By a host started again that may have met nobody: it counts as written when it met the others.
    may_move: bool,
}

/// Hosts that have not been killed since.
type Holders = BTreeSet<usize>;

impl Told {
    fn set(&mut self, index: usize, key: String, value: String) {
        let may_move = self.strangers.contains(&index);
        let write = Write { value, holders: Holders::new(), may_move };
        self.sets.entry(key).or_default().push(write);
    }

    /// What a killed process had is elsewhere or gone.
    fn killed(&mut self, index: usize) {
        self.kills += 1;
        self.strangers.insert(index);
        let sets = self.sets.values_mut().flatten().map(|write| &mut write.holders);
        let agreed = self.agreed.iter_mut().map(|(_, holders)| holders);
        for holders in sets.chain(agreed) {
            holders.remove(&index);
        }
    }

    /// All `count` hosts show this.
    fn shown_everywhere(&mut self, shown: &str, count: usize) {
        let all: Holders = (0..count).collect();
        self.strangers.clear();
        let mut lines = shown.lines();
        let counter = lines.next().map_or(0, number);
        self.agreed = Some((counter, all.clone()));
        for key in 0..KEYS {
            let value = lines.next().expect("a line per key");
            let told = self.sets.get_mut(&format!("key{key}")).into_iter().flatten();
            for write in told.filter(|write| write.value == value) {
                write.holders.clone_from(&all);
            }
        }
    }

    /// The least that the counter must show.
    fn increments_kept(&self) -> i64 {
        match &self.agreed {
            Some((counter, holders)) if !holders.is_empty() => *counter,
            Some(_) | None => 0,
        }
    }
}

/// A counter as it is shown.
fn number(shown: &str) -> i64 {
    if shown == "nil" { 0 } else { shown.parse().expect("a number") }
}

impl Surroundings for Weakly {
    fn store_epoch(&mut self, epoch: u32) -> io::Result<()> {
        self.0.lock().unwrap().epoch = epoch;
        Ok(())
    }

    fn store_past(&mut self, past: Past) -> Stored {
        self.0.lock().unwrap().past = past;
        Box::pin(std::future::ready(Ok(())))
    }

    fn set_log_level(&mut self, _level: LogLevel) {}
}

/// A disk as its host's process sees it.
struct Weakly(Arc<Mutex<Disk>>);

fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + index as u8))
}

/// The process on host `index` of `count`.
async fn serve(index: usize, count: usize, disk: Arc<Mutex<Disk>>) {
    let mut flags = "--multi-master yes --active-replica yes --requirepass p --masterauth p \
                     --repl-timeout 10 --appendonly no --bind *"
        .to_owned();
    for other in (0..count).filter(|&other| other != index) {
        flags += &format!(" --replicaof node{} {PORT}", other + 1);
    }
    let flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    let mut config = Config::load(None, &flags).expect("good flags");
    config.identity = {
        let mut disk = disk.lock().unwrap();
        disk.epoch += 1;
        let (epoch, past) = (Epoch(disk.epoch), disk.past.clone());
        Identity { node_id: NodeId(100 + index as u128), epoch, past }
    };
    let listeners = shell::bind(&config.bind, config.port).await.expect("the port is free");
    let seed = thread_rng().r#gen();
    let server = shell::start(config, seed, listeners, Box::new(Weakly(disk.clone())));
    disk.lock().unwrap().running = Some(Arc::downgrade(&server.shared()));
    let ended = server.ended().await;
    panic!("host {index} ended by itself: {ended:?}");
}

impl Cluster {
    fn start(count: usize) -> Cluster {
        let runtime = Handle::current();
        let hosts = (0..count).map(|index| {
            let ip = address(index);
            NetSim::current().add_dns_record(&format!("node{}", index + 1), ip);
            let disk = Arc::new(Mutex::new(Disk::default()));
            let of_process = disk.clone();
            let handle = runtime
                .create_node()
                .name(format!("node{}", index + 1))
                .ip(ip)
                .init(move || serve(index, count, of_process.clone()))
                .build();
            Host { handle, ip, disk, up: true }
        });
        Cluster { hosts: hosts.collect() }
    }

    /// Cuts or heals the way from one host to another.
    fn set_link(&self, from: usize, to: usize, clogged: bool) {
        let (from, to) = (self.hosts[from].handle.id(), self.hosts[to].handle.id());
        if clogged {
            NetSim::current().clog_link(from, to);
        } else {
            NetSim::current().unclog_link(from, to);
        }
    }

    fn heal(&mut self) {
        for from in 0..self.hosts.len() {
            for to in (0..self.hosts.len()).filter(|&to| to != from) {
                self.set_link(from, to, false);
            }
            if !self.hosts[from].up {
                self.restart(from);
            }
        }
    }

    fn kill(&mut self, index: usize) {
        Handle::current().kill(self.hosts[index].handle.id());
        self.hosts[index].up = false;
    }

    fn restart(&mut self, index: usize) {
        Handle::current().restart(self.hosts[index].handle.id());
        self.hosts[index].up = true;
    }

    /// One command on a connection of its own; the connection is not kept, so that accepting and closing
    /// are tested as much as serving.
    async fn ask(&self, index: usize, command: &str) -> io::Result<String> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let asked = timeout(Duration::from_secs(10), ask(self.hosts[index].ip, command));
        asked.await.map_err(|_| late())?
    }

    async fn must(&self, index: usize, command: &str) -> String {
        let answer = self.ask(index, command).await;
        answer.unwrap_or_else(|e| panic!("{command} on host {index}: {e}"))
    }

    /// Waits until every host says that all its masters are up.
    async fn await_links(&self) {
        for index in 0..self.hosts.len() {
            let up = async {
                loop {
                    // A host that has just been started may not listen yet.
                    let info = self.ask(index, "INFO replication").await.unwrap_or_default();
                    let states: Vec<&str> =
                        info.lines().filter(|l| l.contains("_link_status:")).collect();
                    let down = states.iter().any(|l| !l.trim_end().ends_with(":up"));
                    if !states.is_empty() && !down {
                        return;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let waited = timeout(AGREE_WITHIN, up).await;
            if waited.is_err() {
                let info = self.must(index, "INFO replication").await;
                panic!("host {index} does not link up:\n{info}");
            }
        }
    }

    /// Waits until all hosts show the same, and gives that back.
    async fn await_agreement(&self) -> String {
        let command = shown_keys();
        let mut seen = Vec::new();
        let agreed = async {
            loop {
                seen.clear();
                for index in 0..self.hosts.len() {
                    seen.push(self.ask(index, &command).await.unwrap_or_else(|e| e.to_string()));
                }
                if seen.iter().all(|answer| *answer == seen[0]) && self.digests_agree() {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = timeout(AGREE_WITHIN, agreed).await;
        assert!(waited.is_ok(), "no agreement {AGREE_WITHIN:?} after healing: {seen:#?}");
        seen.swap_remove(0)
    }

    fn digests_agree(&self) -> bool {
        let mut digests = Vec::new();
        for host in &self.hosts {
            let running = host.disk.lock().unwrap().running.clone();
            let Some(shared) = running.and_then(|weak| weak.upgrade()) else { return false };
            digests.push(shared.with_node(|node, now| {
                node.check_invariants(Scope::All);
                node.inspect(now).digest
            }));
        }
        digests.iter().all(|digest| *digest == digests[0])
    }

    /// Every host takes the stream of every other.
    fn are_linked(&self) -> bool {
        self.hosts.iter().all(|host| {
            let running = host.disk.lock().unwrap().running.clone();
            let look = |shared: Arc<Shared>| shared.with_node(|node, now| node.inspect(now));
            running.and_then(|weak| weak.upgrade()).is_some_and(|shared| {
                let seen = look(shared);
                seen.masters_up == seen.masters
            })
        })
    }

    /// One client operation on a random host that is up.
    async fn write_somewhere(&self, step: u32, told: &mut Told) {
        let index = thread_rng().gen_range(0..self.hosts.len());
        if !self.hosts[index].up {
            return;
        }
        if thread_rng().gen_bool(0.4) {
            let answer = self.must(index, "INCR counter").await;
            answer.parse::<i64>().unwrap_or_else(|_| panic!("INCR answered {answer:?}"));
            told.increments += 1;
            return;
        }
        let key = format!("key{}", thread_rng().gen_range(0..KEYS));
        // Now and then long enough to fill several segments.
        let length = if thread_rng().gen_bool(0.1) { 20_000 } else { 1 };
        let value = format!("host{index}-{step}-{}", "x".repeat(length));
        assert_eq!(self.must(index, &format!("SET {key} {value}")).await, "OK");
        told.set(index, key, value);
    }

    /// If all hosts are up and hold the same, notes what they show.
    async fn note_agreement(&self, told: &mut Told) {
        if self.hosts.iter().all(|host| host.up) && self.digests_agree() {
            let shown = self.must(0, &shown_keys()).await;
            // Nobody writes meanwhile, and what was on its way may have arrived: all have it still.
            if self.digests_agree() && self.are_linked() {
                told.shown_everywhere(&shown, self.hosts.len());
            }
        }
    }
}

/// The question for all keys.
fn shown_keys() -> String {
    let keys: String = (0..KEYS).map(|key| format!(" key{key}")).collect();
    format!("MGET counter{keys}")
}

/// Connects, authenticates, asks one thing.
async fn ask(ip: IpAddr, command: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((ip, PORT)).await?;
    let request = format!("AUTH p\r\n{}", resp(command));
    // In two pieces, so that the shell meets unfinished commands.
    let cut = thread_rng().gen_range(1..request.len());
    for piece in [&request.as_bytes()[..cut], &request.as_bytes()[cut..]] {
        stream.write_all(piece).await?;
        stream.flush().await?;
    }
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk[..read]);
        if let Some((auth, rest)) = parse(&received)
            && let Some((answer, rest)) = parse(rest)
        {
            assert_eq!((auth.as_str(), rest.len()), ("OK", 0), "{answer}");
            return Ok(answer);
        }
    }
}

fn resp(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text
}

/// One reply in readable form and what follows it, or `None` if it is not complete.
fn parse(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[1..end]).expect("replies begin with text");
    let mut rest = &bytes[end + 2..];
    match bytes[0] {
        b'+' | b':' => Some((line.to_owned(), rest)),
        b'-' => Some((format!("error {line}"), rest)),
        b'$' if line == "-1" => Some(("nil".to_owned(), rest)),
        b'$' => {
            let length: usize = line.parse().expect("a length");
            let text = rest.get(..length)?;
            let rest = rest.get(length + 2..)?;
            Some((String::from_utf8_lossy(text).into_owned(), rest))
        }
        b'*' => {
            let mut texts = Vec::new();
            for _ in 0..line.parse().expect("a count") {
                let (text, after) = parse(rest)?;
                texts.push(text);
                rest = after;
            }
            Some((texts.join("\n"), rest))
        }
        other => panic!("a reply that begins with {:?}", other as char),
    }
}

/// Splits, writes and perhaps kills; heals; checks what everybody then shows.
async fn split_and_heal(count: usize, with_kills: bool) {
    let mut cluster = Cluster::start(count);
    let mut told = Told::default();
    cluster.await_links().await;
    assert_eq!(cluster.must(0, "SET key0 first").await, "OK");
    told.set(0, "key0".to_owned(), "first".to_owned());
    let shown = cluster.await_agreement().await;
    assert!(shown.contains("first"));
    told.shown_everywhere(&shown, count);

    let steps = thread_rng().gen_range(10..40);
    for step in 0..steps {
        if thread_rng().gen_bool(0.3) {
            let from = thread_rng().gen_range(0..count);
            let to = (from + thread_rng().gen_range(1..count)) % count;
            let clogged = thread_rng().gen_bool(0.7);
            cluster.set_link(from, to, clogged);
            if thread_rng().gen_bool(0.5) {
                cluster.set_link(to, from, clogged);
            }
        }
        if with_kills && thread_rng().gen_bool(0.1) {
            let index = thread_rng().gen_range(0..count);
            if cluster.hosts[index].up {
                cluster.kill(index);
                told.killed(index);
            } else {
                cluster.restart(index);
                // Until it listens; its port was given back by the kill.
                while cluster.ask(index, "PING").await.is_err() {
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
        cluster.write_somewhere(step, &mut told).await;
        cluster.note_agreement(&mut told).await;
        sleep(Duration::from_millis(thread_rng().gen_range(0..400))).await;
    }
    cluster.heal();
    cluster.await_links().await;
    let agreed = cluster.await_agreement().await;
    check(&agreed, &told);
}

/// There is one clock in this world and one write at a time, so the newest write is the last one told, and
/// nothing that all hosts have shown is lost while one of them has stayed up since.
fn check(agreed: &str, told: &Told) {
    let mut shown = agreed.lines();
    let counter = number(shown.next().expect("a line per key"));
    let all = told.increments;
    let kept = if told.kills == 0 { all } else { told.increments_kept() };
    assert!((kept..=all).contains(&counter), "{counter} of {all}, {kept} kept: {agreed}");
    for key in 0..KEYS {
        let shown = shown.next().expect("a line per key");
        let told_of = told.sets.get(&format!("key{key}")).map(Vec::as_slice).unwrap_or_default();
        let at = told_of.iter().position(|write| write.value == shown);
        assert!(shown == "nil" || at.is_some(), "key{key} shows {shown}, which nobody wrote");
        let kept = match told.kills {
            0 => told_of.len().checked_sub(1),
            _ => told_of.iter().rposition(|write| !write.holders.is_empty()),
        };
        let moved = at.is_some_and(|at| told_of[at].may_move);
        let right = at >= kept || moved;
        assert!(right, "key{key} shows {shown}, which is older than {kept:?} of {told_of:?}");
    }
}

/// Runs a client program on a host of its own, which reaches every server throughout.
async fn on_a_client_host(program: impl Future<Output = ()> + Send + 'static) {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
    let host = Handle::current().create_node().name("client").ip(ip).build();
    host.spawn(program).await.expect("the program ends by itself");
}

#[madsim::test]
async fn two_masters_agree_after_splits() {
    on_a_client_host(split_and_heal(2, false)).await;
}

#[madsim::test]
async fn two_masters_agree_after_splits_and_kills() {
    on_a_client_host(split_and_heal(2, true)).await;
}

#[madsim::test]
async fn three_masters_agree_after_splits() {
    on_a_client_host(split_and_heal(3, false)).await;
}

#[madsim::test]
async fn three_masters_agree_after_splits_and_kills() {
    on_a_client_host(split_and_heal(3, true)).await;
}

//! The stage of the simulated world: seconds pass in microseconds, and one seed gives one run.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate::base::fact::Fact;
use quorate::base::ids::NodeId;
use quorate::base::io::Past;
use quorate::base::limits::Limits;
use quorate::base::mutant::{Mutant, Mutants};
use quorate::base::time::Span;
use quorate::node::config::{Config, Identity};

use super::ast::{HostIndex, Scenario};
use super::quality::LinkQuality;
use super::stage::{Judged, Stage, StageConn, Trouble};
use super::witness::Witness;
use crate::check::Violation;
use crate::clock::{ClockChange, WALL_AT_START_NS};
use crate::decide::{Decisions, Kind};
use crate::firewall::FirewallError;
use crate::ids::{ClientConn, HostId};
use crate::proxy::ProxyConfig;
use crate::runner::watched::Watched;
use crate::time::Time;
use crate::trace::Recorder;
use crate::world::{
    ClientState, Notice, OUT_OF_MEMORY, Observer, ProcessState, World, WorldConfig,
};

const CONNECT_MAX: Span = Span(1_000_000_000);

/// Makes one data directory's identity of another's.
const ANOTHER_ID: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// Facts shown for a failed line.
const FACTS_SHOWN: usize = 15;

/// A world and what it tells of its hosts.
pub struct SimulatedStage {
    world: World<Watched>,
    hosts: Vec<Told>,
    conns: Vec<ClientConn>,
    witness: Witness,
    limits: Limits,
    mutants: Mutants,
}

/// What was heard of one host.
#[derive(Default)]
struct Told {
    facts: VecDeque<(Time, Fact)>,
    /// Since the server's last start.
    log: Vec<String>,
    /// Why the last start came to nothing.
    refused: Option<String>,
}

impl SimulatedStage {
    pub fn new(
        scenario: &Scenario,
        seed: u64,
        mutant: Option<Mutant>,
        tape: Option<&Recorder>,
    ) -> SimulatedStage {
        let seed = scenario.seed.unwrap_or(seed);
        let mut world = World::new(WorldConfig::default(), Decisions::from_seed(seed));
        if let Some(tape) = tape {
            world.record(tape);
        }
        let mut hosts = Vec::new();
        for host in &scenario.hosts {
            world.add_host(&host.name, host.ip);
            hosts.push(Told::default());
        }
        SimulatedStage {
            world,
            witness: Witness::new(hosts.len()),
            hosts,
            conns: Vec::new(),
            limits: scenario.limits.limits(),
            mutants: mutant.map_or(Mutants::NONE, Mutants::only),
        }
    }

    /// Of everything that has happened.
    pub fn digest(&self) -> u64 {
        self.world.digest()
    }

    /// Of the data that a host's server holds, if one runs.
    pub fn digest_of(&self, host: HostIndex) -> Option<u64> {
        let machine = self.world.machine(id(host))?;
        Some(machine.node.inspect(self.world.now_at(id(host))).digest)
    }

    /// How far a host's wall clock is ahead of the true time.
    pub fn clock_ahead_ms(&self, host: HostIndex) -> i64 {
        let shown_us = self.world.now_at(id(host)).wall.0;
        let true_us = (WALL_AT_START_NS + self.world.now().0) / 1000;
        (shown_us as i64 - true_us as i64) / 1000
    }

    fn next(&mut self, until: Time) -> Option<Notice> {
        self.world.next(until, &mut Listener { hosts: &mut self.hosts, witness: &mut self.witness })
    }

    /// Ends a process; what it has reported so far is its own, not the next one's.
    fn end(&mut self, host: HostIndex) {
        let mut listener = Listener { hosts: &mut self.hosts, witness: &mut self.witness };
        self.world.report_facts(&mut listener);
        self.witness.look_at_connections(&self.world);
        self.world.kill(id(host));
        self.witness.ended(host);
    }
}

impl Stage for SimulatedStage {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.world.now().0)
    }

    fn line(&mut self, text: &str) {
        self.world.line(text);
    }

    fn pass(&mut self, span: Duration, waiting: Option<StageConn>) -> Result<(), Trouble> {
        let until = self.world.now() + Span(nanos(span));
        let waiting = waiting.map(|conn| self.conns[conn.0]);
        while let Some(notice) = self.next(until) {
            match notice {
                Notice::Client { conn, .. } if Some(conn) == waiting => return Ok(()),
                Notice::Exited { host, .. } => self.witness.ended(host.index()),
                Notice::Client { .. } | Notice::Alarm { .. } => {}
            }
        }
        Ok(())
    }

    fn serve(&mut self, host: HostIndex, flags: &[String]) -> Result<(), Trouble> {
        self.end(host);
        let told = &mut self.hosts[host];
        told.log.clear();
        match Config::from_flags(flags) {
            Ok(config) => {
                told.refused = None;
                let (limits, mutants) = (self.limits.clone(), self.mutants);
                let config = Config { limits, mutants, ..config };
                self.witness.starts(host, &config);
                self.world.start(id(host), config);
            }
            Err(error) => told.refused = Some(error.to_string()),
        }
        Ok(())
    }

    fn proxy(&mut self, host: HostIndex, words: &[String]) -> Result<(), Trouble> {
        let config = ProxyConfig::from_words(words).map_err(Trouble::not_a_proxy)?;
        self.end(host);
        let told = &mut self.hosts[host];
        told.log.clear();
        told.refused = None;
        self.world.start_proxy(id(host), config);
        Ok(())
    }

    fn ran_out_of_memory(&mut self, host: HostIndex) -> bool {
        match self.world.host(id(host)).state() {
            ProcessState::Exited(exit) => exit.reason == OUT_OF_MEMORY,
            ProcessState::Down | ProcessState::Running | ProcessState::Paused => false,
        }
    }

    fn limit_memory(&mut self, host: HostIndex, bytes: Option<u64>) -> Result<(), Trouble> {
        self.world.limit_memory(id(host), bytes);
        Ok(())
    }

    fn ended(&mut self, host: HostIndex) -> Option<String> {
        if let Some(refused) = &self.hosts[host].refused {
            return Some(refused.clone());
        }
        match self.world.host(id(host)).state() {
            ProcessState::Down => Some("not running".to_owned()),
            ProcessState::Running | ProcessState::Paused => None,
            ProcessState::Exited(exit) => Some(format!("{} (code {})", exit.reason, exit.code)),
        }
    }

    fn iptables(&mut self, host: HostIndex, words: &[String]) -> Result<(), Trouble> {
        let carried_out = self.world.iptables(id(host), &words.join(" "));
        carried_out.map(drop).map_err(|error| match error {
            FirewallError::NoSuchRule | FirewallError::BadIndex(_) => {
                Trouble::Failed(error.to_string())
            }
            FirewallError::UnknownWord(_)
            | FirewallError::Missing { .. }
            | FirewallError::BadValue { .. }
            | FirewallError::Needs { .. }
            | FirewallError::Twice(_)
            | FirewallError::WrongChain { .. }
            | FirewallError::NotInvertible(_)
            | FirewallError::NoCommand
            | FirewallError::SecondCommand(_)
            | FirewallError::NoSuchChain(_) => Trouble::BadLine {
                found: error.to_string(),
                expected: "words the simulated iptables knows".to_owned(),
            },
        })
    }

    fn connect(
        &mut self,
        host: HostIndex,
        port: u16,
    ) -> Result<Result<StageConn, String>, Trouble> {
        let conn = self.world.client_connect(id(host), Ipv4Addr::LOCALHOST, port);
        let until = self.world.now() + CONNECT_MAX;
        while self.world.client_state(conn) == ClientState::Connecting {
            if self.next(until).is_none() && self.world.now() >= until {
                break;
            }
        }
        Ok(match self.world.client_state(conn) {
            ClientState::Open => {
                self.conns.push(conn);
                let port = self.world.client_port(conn).unwrap_or(0);
                self.witness.told.connected(host, port);
                Ok(StageConn(self.conns.len() - 1))
            }
            ClientState::Connecting => {
                self.world.client_abort(conn);
                Err("connecting timed out".to_owned())
            }
            ClientState::Failed(why) => Err(format!("connecting failed: {why:?}")),
            ClientState::Closed(why) => Err(format!("closed at once: {why:?}")),
        })
    }

    fn send(&mut self, conn: StageConn, bytes: Bytes) {
        self.witness.told.sent(conn.0, &bytes, false, self.world.now().0);
        self.world.client_send(self.conns[conn.0], bytes);
    }

    fn send_unasked(&mut self, conn: StageConn, bytes: Bytes) {
        self.witness.told.sent(conn.0, &bytes, true, self.world.now().0);
        self.world.client_send(self.conns[conn.0], bytes);
    }

    fn take(&mut self, conn: StageConn, buf: &mut BytesMut) -> bool {
        let (number, now) = (conn.0, self.world.now().0);
        let conn = self.conns[number];
        let arrived = self.world.client_buf(conn);
        self.witness.told.arrived(number, arrived, now);
        buf.extend_from_slice(arrived);
        arrived.clear();
        match self.world.client_state(conn) {
            ClientState::Connecting | ClientState::Open => true,
            ClientState::Failed(_) | ClientState::Closed(_) => false,
        }
    }

    fn hang_up(&mut self, conn: StageConn) {
        self.world.client_close(self.conns[conn.0]);
    }

    fn kill(&mut self, host: HostIndex) -> Result<(), Trouble> {
        self.end(host);
        Ok(())
    }

    fn wipe(&mut self, host: HostIndex, _dir: &str) -> Result<(), Trouble> {
        let host = id(host);
        self.world.wipe_log(host);
        let before = self.world.identity(host);
        // (Odd: it is another one each time.)
        let node_id = NodeId(before.node_id.0.wrapping_mul(ANOTHER_ID).rotate_left(61));
        self.world.set_identity(host, Identity { node_id, past: Past::default(), ..before });
        Ok(())
    }

    fn pause(&mut self, host: HostIndex) -> Result<(), Trouble> {
        self.world.pause(id(host));
        Ok(())
    }

    fn resume(&mut self, host: HostIndex) -> Result<(), Trouble> {
        self.world.resume(id(host));
        Ok(())
    }

    fn clock(&mut self, host: HostIndex, change: ClockChange) -> Result<(), Trouble> {
        let wall = |world: &World<Watched>| world.now_at(id(host)).wall.ms().0;
        let before = wall(&self.world);
        self.world.clock(id(host), change);
        self.witness.clock_jumped(wall(&self.world).abs_diff(before));
        Ok(())
    }

    fn link(
        &mut self,
        from: HostIndex,
        to: HostIndex,
        quality: LinkQuality,
    ) -> Result<(), Trouble> {
        let now = self.world.now();
        let link = self.world.link(id(from), id(to));
        quality.delay(link, now);
        quality.thin(link);
        if let Some(cut) = quality.cut() {
            self.world.cut(id(from), id(to), cut);
        }
        Ok(())
    }

    fn log(&mut self, host: HostIndex) -> String {
        self.hosts[host].log.join("\n")
    }

    fn last_facts(&mut self, host: HostIndex) -> Vec<String> {
        let shown = |(at, fact): &(Time, Fact)| {
            let text = match fact {
                Fact::Log { level, text } => format!("{level:?}: {text}"),
                other => format!("{other:?}"),
            };
            let text: String = text.chars().take(200).collect();
            format!("{at} {text}")
        };
        self.hosts[host].facts.iter().map(shown).collect()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.world.decisions().decide(Kind::Other, n)
    }

    fn violation(&self) -> Option<Violation> {
        self.witness.violation()
    }

    fn judge(&mut self, running: &[HostIndex]) -> Judged {
        self.witness.look_at_connections(&self.world);
        self.witness.judge(&self.world, running)
    }

    fn uncollected(&mut self, running: &[HostIndex]) -> Result<Option<String>, Trouble> {
        Ok(self.witness.uncollected(&self.world, running))
    }
}

/// Notes what the nodes tell.
struct Listener<'a> {
    hosts: &'a mut [Told],
    witness: &'a mut Witness,
}

impl Observer for Listener<'_> {
    fn on_fact(&mut self, host: HostId, at: Time, fact: Fact) {
        self.witness.fact(host.index(), at, &fact);
        let told = &mut self.hosts[host.index()];
        if let Fact::Log { text, .. } = &fact {
            told.log.push(text.clone());
        }
        // Rises with every unit and says no more than the unit.
        if matches!(fact, Fact::VectorMoved { .. }) {
            return;
        }
        if told.facts.len() == FACTS_SHOWN {
            told.facts.pop_front();
        }
        told.facts.push_back((at, fact));
    }
}

fn id(host: HostIndex) -> HostId {
    HostId(u16::try_from(host).expect("fewer than 65,536 hosts"))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

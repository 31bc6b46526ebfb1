//! What is known of the servers of a simulated scenario besides their answers: the ledger of all that was
//! written, and from it what they must show.

use std::collections::BTreeMap;

use quorate::base::fact::Fact;
use quorate::base::ids::Origin;
use quorate::base::time::UnixMs;
use quorate::base::vector::Vector;
use quorate::node::Inspection;
use quorate::node::config::Config;

use super::ast::HostIndex;
use super::stage::Judged;
use super::told::Told;
use crate::check::Violation;
use crate::check::loss::lost_unit;
use crate::check::sessions::Matched;
use crate::ids::HostId;
use crate::model::ledger::{BootId, Ledger};
use crate::model::merge::{Coverage, Expected, NodeView, Shown, dishonest_list};
use crate::runner::watched::Watched;
use crate::time::Time;
use crate::workload::history::History;
use crate::world::World;

/// How far expiry clocks may be apart although no clock was set, ms.
const CLOCKS_APART_MS: u64 = 1000;

/// Sees every fact of every server.
#[derive(Default)]
pub struct Witness {
    ledger: Ledger,
    /// What clients were told.
    pub told: Told,
    hosts: Vec<Server>,
    /// By how much clocks were set, all in all, ms.
    steps_ms: u64,
}

/// A host's present or last server.
#[derive(Default)]
struct Server {
    boot: Option<BootId>,
    /// It takes a single master's data in place of its own.
    plain: bool,
    backlog_bytes: u64,
}

/// A running server, looked into.
struct Member {
    host: HostIndex,
    boot: BootId,
    replica: bool,
    inspection: Inspection,
}

impl Witness {
    pub fn new(hosts: usize) -> Witness {
        let hosts = (0..hosts).map(|_| Server::default()).collect();
        Witness { hosts, ..Witness::default() }
    }

    /// A server is about to start.
    pub fn starts(&mut self, host: HostIndex, config: &Config) {
        let number = u16::try_from(host).expect("fewer than 65,536 hosts");
        let boot = self.ledger.booted(number);
        self.ledger.boots[boot.0].alone = config.replicaof.is_empty();
        self.hosts[host] = Server {
            boot: Some(boot),
            plain: !config.active_replica,
            backlog_bytes: config.repl_backlog_bytes,
        };
    }

    /// The process is gone. All its facts must have been seen.
    pub fn ended(&mut self, host: HostIndex) {
        if let Some(boot) = self.hosts[host].boot.take() {
            self.ledger.crashed(boot);
        }
    }

    /// A wall clock has jumped.
    pub fn clock_jumped(&mut self, by_ms: u64) {
        self.steps_ms += by_ms;
    }

    pub fn fact(&mut self, host: HostIndex, at: Time, fact: &Fact) {
        if let Some(boot) = self.hosts[host].boot {
            self.ledger.fact(boot, at.0, fact);
        }
    }

    /// Learns which connections of clients the servers have accepted. Wanted before a process goes, too.
    pub fn look_at_connections(&mut self, world: &World<Watched>) {
        for (host, server) in self.hosts.iter().enumerate() {
            let (Some(boot), Some(machine)) = (server.boot, world.machine(id(host))) else {
                continue;
            };
            let own = machine.accepted.iter().filter(|(ip, _, _)| ip.is_loopback());
            let ports: Vec<_> = own.map(|(_, port, conn)| (*port, *conn)).collect();
            self.told.accepted(host, boot, &ports);
        }
    }

    /// The first thing that went wrong so far, whatever comes.
    pub fn violation(&self) -> Option<Violation> {
        self.ledger.violations.first().cloned()
    }

    /// Compares what these servers, which have one digest, show with what was written.
    pub fn judge(&self, world: &World<Watched>, running: &[HostIndex]) -> Judged {
        let Some(members) = self.members(world, running) else {
            return Judged::NotYet("a server has just ended".to_owned());
        };
        // Two without masters never have each other's writes, and of what one alone has nobody has anything.
        let masterless = members.iter().filter(|m| m.inspection.masters == 0).count();
        if masterless > 1 || members.iter().any(|m| self.ledger.boots[m.boot.0].alone) {
            return Judged::Fine;
        }
        if let Some(waits) = self.lagging(&members) {
            return Judged::NotYet(waits);
        }
        let mut ledger = self.ledger.clone();
        for boot in (0..ledger.boots.len()).map(BootId) {
            ledger.end_alone(boot);
        }
        let mut had = Vector::new();
        for member in members.iter().filter(|m| !m.replica) {
            had.merge(&member.inspection.vector);
        }
        let core: Vec<BootId> = members.iter().filter(|m| !m.replica).map(|m| m.boot).collect();
        let coverage = Coverage::new(&ledger, had);
        let (history, matched) = (History::default(), Matched::default());
        let violation = (self.told.judge(&ledger))
            .or_else(|| dishonest_list(&ledger))
            .or_else(|| lost_unit(&ledger, &history, &matched, &coverage, &core))
            .or_else(|| self.compared(world, &ledger, &coverage, &members));
        violation.map_or(Judged::Fine, Judged::Violated)
    }

    /// What a server holds that it should have let go.
    pub fn uncollected(&self, world: &World<Watched>, running: &[HostIndex]) -> Option<String> {
        self.members(world, running)?.into_iter().find_map(|member| {
            let Inspection { stats, backlog_bytes, collected, .. } = member.inspection;
            let name = &world.host(id(member.host)).name;
            let bound = self.hosts[member.host].backlog_bytes;
            if backlog_bytes > bound {
                return Some(format!("{name}: backlog of {backlog_bytes} bytes, {bound} allowed"));
            }
            (stats.tombstones + stats.hidden > 0).then(|| {
                format!(
                    "{name}: {} tombstones and {} expired keys are left, horizon {collected:x}",
                    stats.tombstones, stats.hidden
                )
            })
        })
    }

    fn members(&self, world: &World<Watched>, running: &[HostIndex]) -> Option<Vec<Member>> {
        let look = |&host: &HostIndex| {
            let watched = &self.hosts[host];
            let node = &world.machine(id(host))?.node;
            let inspection = node.inspect(world.now_at(id(host)));
            let replica = watched.plain && inspection.masters > 0;
            Some(Member { host, boot: watched.boot?, replica, inspection })
        };
        running.iter().map(look).collect()
    }

    /// A server that does not have all that the servers together have. What a plain replica wrote while it was none
    /// goes with its data.
    fn lagging(&self, members: &[Member]) -> Option<String> {
        let mut wanted: BTreeMap<Origin, u64> = BTreeMap::new();
        for unit in &self.ledger.units {
            let held = members.iter().any(|m| {
                !m.replica && (m.boot == unit.boot || m.inspection.vector.covers(unit.dot))
            });
            if held {
                let newest = wanted.entry(unit.dot.origin).or_insert(0);
                *newest = unit.dot.time.max(*newest);
            }
        }
        for (origin, time) in wanted {
            for member in members {
                let has = member.inspection.vector.get(origin);
                if has < time {
                    let host = self.ledger.boots[member.boot.0].host + 1;
                    return Some(format!(
                        "host {host} waits for units of origin {origin} up to {time:x}, has {has:x}"
                    ));
                }
            }
        }
        None
    }

    fn compared(
        &self,
        world: &World<Watched>,
        ledger: &Ledger,
        coverage: &Coverage,
        members: &[Member],
    ) -> Option<Violation> {
        let expected = Expected::new(ledger, coverage);
        let slack = CLOCKS_APART_MS + self.steps_ms;
        let joins = members.iter().any(|member| member.inspection.joins);
        let walls = || world.hosts().map(|host| world.now_at(host).wall.ms().0);
        let low = walls().min().unwrap_or(0).saturating_sub(slack);
        let high = walls().max().unwrap_or(0) + slack;
        members.iter().find_map(|member| {
            let host = id(member.host);
            let visible = world.machine(host)?.node.visible(world.now_at(host));
            let keys = visible
                .into_iter()
                .map(|v| Shown { db: v.db, key: v.key, value: v.value, deadline: v.deadline })
                .collect();
            let name = world.host(host).name.clone();
            let view = NodeView { name, keys, clock: (UnixMs(low), UnixMs(high)), joins };
            expected.compare(ledger, &view)
        })
    }
}

fn id(host: HostIndex) -> HostId {
    HostId(u16::try_from(host).expect("fewer than 65,536 hosts"))
}

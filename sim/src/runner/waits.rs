//! What waits for what in a run that is stuck: which node for whose units, by way of whom, and what keeps them.

use std::collections::BTreeSet;

use quorate::base::ids::{NodeId, Origin};

use super::links::Phase;
use super::members::{Lag, Member, lagging};
use super::player::{PORT, Player, ip_of, name_of};
use crate::firewall::{Chain, ConnState, Outlook, Packet, Protocol};
use crate::model::key::short_time;
use crate::time::Time;
use crate::world::ProcessState;

/// Lacks that are told, each with the masters they should come from.
const LAGS_MAX: usize = 6;
/// The port of one who dials: no rule of a plan's faults names ports.
const DIALLER_PORT: u16 = 40_000;

/// A core that is stuck.
pub struct Waits<'a> {
    player: &'a Player<'a>,
    members: &'a [Member],
    lags: Vec<Lag>,
}

impl<'a> Waits<'a> {
    pub fn new(player: &'a Player<'a>, members: &'a [Member]) -> Waits<'a> {
        Waits { player, members, lags: lagging(player, members).collect() }
    }

    /// The first thing to know.
    pub fn headline(&self) -> String {
        if let Some(lag) = self.lags.first() {
            return format!("{} waits for units of {}", name_of(lag.host), self.origin(lag.origin));
        }
        let down = |m: &&Member| m.inspection.masters_up < m.inspection.masters;
        match self.members.iter().find(down) {
            Some(member) => format!("{} waits for a link to a master", name_of(member.host)),
            None => format!("nobody waits, but {}", self.difference()),
        }
    }

    /// Who shows other data than whom.
    fn difference(&self) -> String {
        let digest = |m: &Member| m.inspection.digest;
        let of = |wanted: u64| {
            let same = self.members.iter().filter(|m| digest(m) == wanted);
            same.map(|m| name_of(m.host)).collect::<Vec<_>>().join(" and ")
        };
        let mut digests: Vec<u64> = self.members.iter().map(digest).collect();
        let mut seen = BTreeSet::new();
        digests.retain(|digest| seen.insert(*digest));
        let groups: Vec<String> = digests.into_iter().map(of).collect();
        match &groups[..] {
            [one] => format!("{one} show the same data"),
            _ => format!("other data is on {}", groups.join(" than on ")),
        }
    }

    /// Who waits for what, and below each by way of whom it should come.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for lag in self.lags.iter().take(LAGS_MAX) {
            let has = |m: &&Member| m.inspection.vector.get(lag.origin) >= lag.newest;
            let who: Vec<String> =
                self.members.iter().filter(has).map(|m| name_of(m.host)).collect();
            let who = if who.is_empty() { "nobody".to_owned() } else { who.join(" and ") };
            lines.push(format!(
                "{} has of {} up to {}; there are units up to {}, which {who} has",
                name_of(lag.host),
                self.origin(lag.origin),
                short_time(lag.has),
                short_time(lag.newest)
            ));
            lines.extend(self.pause(lag.host, lag.origin).map(|line| format!("  {line}")));
            let masters = &self.player.following[usize::from(lag.host)];
            if masters.is_empty() {
                lines.push("  it follows nobody".to_owned());
            }
            for &master in masters {
                lines.push(format!("  {}", self.way(lag.host, master, Some(*lag))));
            }
        }
        if self.lags.len() > LAGS_MAX {
            lines.push(format!("and {} more", self.lags.len() - LAGS_MAX));
        }
        let told = |host: u16| self.lags.iter().take(LAGS_MAX).any(|lag| lag.host == host);
        for member in self.members.iter().filter(|member| !told(member.host)) {
            let links = &self.player.book.links[usize::from(member.host)];
            for &master in &self.player.following[usize::from(member.host)] {
                let is_up = matches!(links.phase(self.node(master)), Some((Phase::Up, _)));
                if !is_up {
                    let way = self.way(member.host, master, None);
                    lines.push(format!("{} {way}", name_of(member.host)));
                }
            }
        }
        for member in self.members {
            if member.inspection.unlogged {
                let name = name_of(member.host);
                lines.push(format!("{name} holds cells of a transfer that no log has yet"));
            }
            if member.inspection.joins {
                let name = name_of(member.host);
                lines.push(format!("{name} has not heard of all that others may have collected"));
            }
            for &origin in &member.inspection.paused {
                let told = |lag: &Lag| (lag.host, lag.origin) == (member.host, origin);
                if !self.lags.iter().take(LAGS_MAX).any(told)
                    && let Some(line) = self.pause(member.host, origin)
                {
                    lines.push(format!("{}: {line}", name_of(member.host)));
                }
            }
        }
        lines
    }

    /// The horizon of each member and what it is held by: the entry of a vector that is lowest, among origins whose
    /// units may still come.
    pub fn horizon(&self) -> String {
        let current = |origin| self.members.iter().any(|m| m.inspection.origin == origin);
        let has = |m: &Member, origin| m.inspection.vector.get(origin);
        let equal = |origin, to| self.members.iter().all(|m| has(m, origin) == to);
        let entries = self.members.iter().flat_map(|m| m.inspection.vector.iter());
        let coming = entries.filter(|&(origin, newest)| current(origin) || !equal(origin, newest));
        let each = coming.flat_map(|(origin, _)| {
            self.members.iter().map(move |m| (has(m, origin), origin, m.host))
        });
        let horizons = self.members.iter().map(|member| {
            format!("{} {}", name_of(member.host), short_time(member.inspection.collected))
        });
        let horizons = horizons.collect::<Vec<_>>().join(", ");
        let reached = self.members.iter().map(|m| m.inspection.collected).max().unwrap_or(0);
        let held = match each.min() {
            Some((time, origin, host)) if time <= reached => format!(
                "held by {}, which has of {} up to {} only",
                name_of(host),
                self.origin(origin),
                short_time(time)
            ),
            Some((time, ..)) => {
                format!("all have all up to {}, but not everybody knows", short_time(time))
            }
            None => "nobody has anything".to_owned(),
        };
        format!("horizons: {horizons}; {held}")
    }

    /// Whose origin it is.
    fn origin(&self, origin: Origin) -> String {
        if let Some(member) = self.members.iter().find(|m| m.inspection.origin == origin) {
            return format!("{} ({origin})", name_of(member.host));
        }
        let ledger = &self.player.book.ledger;
        match ledger.units.iter().find(|unit| unit.dot.origin == origin) {
            Some(unit) => {
                let boot = &ledger.boots[unit.boot.0];
                let life = if boot.alive { "outside the core" } else { "an earlier life" };
                format!("{} ({origin}, {life})", name_of(boot.host))
            }
            None => format!("origin {origin}"),
        }
    }

    /// How it is with what should come from a master.
    fn way(&self, host: u16, master: u16, lag: Option<Lag>) -> String {
        let player = self.player;
        let (links, node) = (&player.book.links[usize::from(host)], self.node(master));
        let name = name_of(master);
        let mut words = vec![match links.phase(node) {
            Some((Phase::Up, since)) => format!("link up for {}", self.ago(since)),
            Some((Phase::Suspect, since)) => format!("link suspect for {}", self.ago(since)),
            Some((Phase::Unsure, since)) => {
                format!("link suspect, or up again for {}", self.ago(since))
            }
            Some((Phase::Down, since)) => format!("link down for {}", self.ago(since)),
            None => "link never up".to_owned(),
        }];
        if !matches!(links.phase(node), Some((Phase::Up, _)))
            && let Some(trouble) = links.trouble(&name)
        {
            words.push(format!("\"{trouble}\""));
        }
        if let Some(since) = links.resync(node) {
            words.push(format!("it has been sending its state for {}", self.ago(since)));
        }
        match player.world.host(player.hosts[usize::from(master)]).state() {
            ProcessState::Running => {}
            ProcessState::Paused => words.push(format!("{name} stands still")),
            ProcessState::Down | ProcessState::Exited(_) => {
                words.push(format!("{name} does not run"));
            }
        }
        words.extend(self.wall(master, host));
        words.extend(self.wall(host, master));
        let member = self.members.iter().find(|m| m.host == master);
        if let (Some(lag), Some(member)) = (lag, member) {
            let has = member.inspection.vector.get(lag.origin) >= lag.newest;
            words.push(if has { "it has them" } else { "it lacks some, too" }.to_owned());
        }
        format!("from {name}: {}", words.join(", "))
    }

    /// What keeps packets of one host from another.
    fn wall(&self, from: u16, to: u16) -> Option<String> {
        let packet = |sport, dport, state| Packet {
            src: ip_of(from),
            dst: ip_of(to),
            protocol: Protocol::Tcp,
            sport,
            dport,
            loopback: false,
            state,
        };
        let packets = [
            packet(DIALLER_PORT, PORT, ConnState::New),
            packet(DIALLER_PORT, PORT, ConnState::Established),
            packet(PORT, DIALLER_PORT, ConnState::Established),
        ];
        let (from_name, to_name) = (name_of(from), name_of(to));
        [(Chain::Output, from), (Chain::Input, to)].into_iter().find_map(|(chain, at)| {
            let firewall = &self.player.world.host(self.player.hosts[usize::from(at)]).firewall;
            let outlooks = packets.iter().map(|packet| firewall.outlook(chain, packet));
            let how = match outlooks.max_by_key(severity)? {
                Outlook::Passes => return None,
                Outlook::Some => "drops some of",
                Outlook::Dropped => "drops",
                Outlook::Refused => "rejects",
            };
            Some(match chain {
                Chain::Output => format!("{from_name} {how} what it sends to {to_name}"),
                Chain::Input => format!("{to_name} {how} what comes from {from_name}"),
            })
        })
    }

    /// Why units of an origin wait at a host that has got them.
    fn pause(&self, host: u16, origin: Origin) -> Option<String> {
        let since = self.player.book.links[usize::from(host)].paused(origin)?;
        let wall = |host: u16| {
            let id = self.player.hosts[usize::from(host)];
            self.player.world.now_at(id).wall.ms().0 as i64
        };
        let owner = self.members.iter().find(|m| m.inspection.origin == origin);
        let clocks = owner.map_or_else(String::new, |owner| {
            let ahead = wall(owner.host) - wall(host);
            format!("; the clock there is {ahead:+} ms from its own")
        });
        let (whose, ago) = (self.origin(origin), self.ago(since));
        Some(format!("it has paused {whose} for {ago}: stamps too far ahead{clocks}"))
    }

    fn node(&self, host: u16) -> NodeId {
        self.player.world.identity(self.player.hosts[usize::from(host)]).node_id
    }

    fn ago(&self, since: Time) -> String {
        let ms = self.player.world.now().since(since).as_ms();
        format!("{}.{:03} s", ms / 1000, ms % 1000)
    }
}

fn severity(outlook: &Outlook) -> u8 {
    match outlook {
        Outlook::Passes => 0,
        Outlook::Some => 1,
        Outlook::Refused => 2,
        Outlook::Dropped => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::stuck;
    use super::super::members::members;
    use super::*;
    use crate::decide::Decisions;
    use crate::plan::{Heal, Plan, Profile};
    use crate::workload::client::{ClientPlan, Library, Step};
    use crate::workload::command::Command;

    /// Two masters of each other, of which the first is written to.
    fn plan() -> Plan {
        let mut plan = (0..100)
            .map(|seed| Plan::generate(Profile::Smoke, seed))
            .find(|plan| plan.nodes.iter().all(|node| !node.replica))
            .expect("some have no replica");
        plan.nodes.truncate(2);
        plan.nodes[0].masters = vec![1];
        plan.nodes[1].masters = vec![0];
        plan.faults.clear();
        plan.network.loss_permille = 0;
        plan.load_ms = 8000;
        plan.heal = Heal::All;
        let set = |n: u64| Command::Set { key: "k".to_owned(), value: n.to_string(), px: None };
        let steps = (0..8).map(|n| Step { wait_ms: 1000, command: set(n) }).collect();
        plan.clients = vec![ClientPlan { host: 0, library: Library::RedisPy, pipeline: 1, steps }];
        plan
    }

    fn played<'p>(plan: &'p Plan, disturb: impl FnOnce(&mut Player<'p>)) -> Player<'p> {
        let mut player = Player::new(plan, false, None, Decisions::from_seed(plan.seed));
        player.run(Time::from_ms(2500));
        disturb(&mut player);
        player.play_load(Time::NEVER);
        player
    }

    #[test]
    fn a_wall_is_named_with_who_waits_behind_it() {
        let plan = plan();
        let rule = || "-A INPUT -s 10.0.0.1 -j DROP".to_owned();
        let player = played(&plan, |player| player.iptables(1, rule()));
        let evidence = stuck(&player).evidence;
        for told in [
            "; node2 waits for units of node1 (",
            ", which node1 has\n",
            "from node1: link ",
            "node2 drops what comes from node1, it has them",
        ] {
            assert!(evidence.contains(told), "{told:?} is not in {evidence}");
        }
        let members = members(&player).expect("both run");
        let horizon = Waits::new(&player, &members).horizon();
        assert!(horizon.contains("held by node2, which has of node1 ("), "{horizon}");
    }

    #[test]
    fn who_stands_still_is_named() {
        let plan = plan();
        let player = played(&plan, |player| player.pause(0));
        let members = members(&player).expect("both are there");
        let lines = Waits::new(&player, &members).lines();
        let told = lines.iter().any(|line| line.contains("node1 stands still"));
        assert!(told, "{lines:?}");
    }

    #[test]
    fn a_core_that_lacks_nothing_says_so() {
        let plan = plan();
        let player = played(&plan, |_| ());
        let members = members(&player).expect("both run");
        let waits = Waits::new(&player, &members);
        assert_eq!(waits.lines(), Vec::<String>::new());
        assert_eq!(waits.headline(), "nobody waits, but node1 and node2 show the same data");
    }
}

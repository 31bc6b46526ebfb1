//! Ambushes under way: which moment each waits for, and whom it meets.

use quorate::base::ids::Partition;
use quorate::strong::Strong;
use quorate::strong::inspect::Step;
use quorate::strong::regime::{Configuration, Regime};

use super::eye::Running;
use super::player::host_of;
use crate::plan::FaultKind;
use crate::plan::ambush::{Ambush, Deed, Moment, Role, Trap};

/// An ambush, its traps before `next` sprung.
#[derive(Debug)]
pub struct Lurking {
    of: Partition,
    next: usize,
    /// A trap was met, and does its deed soon.
    pub due: Option<(Trap, Vec<FaultKind>)>,
    /// The regime that was served in when the last trap sprang.
    since: Regime,
    /// Who has served in it, and who before that one.
    served: Option<u16>,
    before: Option<u16>,
}

impl Lurking {
    pub fn new(of: Partition) -> Lurking {
        let (since, served, before) = (Regime(0), None, None);
        Lurking { of, next: 0, due: None, since, served, before }
    }

    /// Whether the next trap is met now: how long until it does its deed, microseconds.
    pub fn look(
        &mut self,
        ambush: &Ambush,
        nodes: &Running<'_>,
        hosts: u16,
        now_ms: u64,
    ) -> Option<u64> {
        let server = server(self.of, nodes);
        if let Some((at, _)) = server.filter(|(at, _)| self.served != Some(*at)) {
            self.before = self.served.replace(at);
        }
        let trap = ambush.traps.get(self.next).filter(|_| now_ms >= ambush.from_ms)?;
        if self.due.is_some() {
            return None;
        }
        let at = self.met(trap.moment, nodes, server)?;
        let serving = server.map_or(Regime(0), |(_, regime)| regime);
        self.since = self.since.max(serving);
        let role = |role| self.host_of(role, at, nodes, hosts);
        self.due = Some((trap.clone(), trap.deed.faults(hosts, &role)));
        self.next += 1;
        Some(trap.wait_us)
    }

    /// At which node the moment is, if it is now.
    fn met(
        &self,
        moment: Moment,
        nodes: &Running<'_>,
        server: Option<(u16, Regime)>,
    ) -> Option<u16> {
        let of = self.of;
        let bids = |wanted: Step| {
            let step = |strong: &Strong| strong.candidacy(of).map(|(_, step)| step);
            nodes.iter().find(|(_, strong)| step(strong) == Some(wanted)).map(|(at, _)| *at)
        };
        match moment {
            Moment::Now => server.map(|(at, _)| at),
            Moment::Serves => server.filter(|(_, in_it)| *in_it > self.since).map(|(at, _)| at),
            Moment::Promises => bids(Step::Promising),
            Moment::Joins => bids(Step::Joining),
            Moment::Accepts => bids(Step::Accepting),
            Moment::Named => {
                let named = |strong: &Strong| strong.reigns(of).is_some_and(|(_, serves)| !serves);
                nodes.iter().find(|(_, strong)| named(strong)).map(|(at, _)| *at)
            }
            Moment::Parts => server.map(|(at, _)| at).filter(|&at| self.parts(at, nodes)),
            Moment::Returns => {
                let first = self.first(nodes)?;
                let runs = nodes.iter().any(|(at, _)| *at == first);
                server.map(|(at, _)| at).filter(|&at| runs && at != first)
            }
        }
    }

    /// Whether one member has the end of the master's log, and another one has not.
    fn parts(&self, at: u16, nodes: &Running<'_>) -> bool {
        let Some(config) = config_at(self.of, at, nodes) else { return false };
        let Some(last) = nodes.iter().find(|(host, _)| *host == at) else { return false };
        let last = last.1.history(self.of).last();
        let has = |host: u16| {
            let node = nodes.iter().find(|(other, _)| *other == host);
            node.is_some_and(|(_, strong)| strong.history(self.of).has(last))
        };
        let others: Vec<u16> =
            config.isr.iter().map(|member| host_of(member.name)).filter(|&m| m != at).collect();
        others.iter().any(|&member| !has(member))
            && (others.len() == 1 || others.iter().any(|&member| has(member)))
    }

    fn first(&self, nodes: &Running<'_>) -> Option<u16> {
        let replicas = nodes.first()?.1.replicas(self.of);
        replicas.first().map(|name| host_of(*name))
    }

    fn host_of(&self, role: Role, it: u16, nodes: &Running<'_>, hosts: u16) -> Option<u16> {
        let isr: Vec<u16> =
            config_at(self.of, it, nodes)?.isr.iter().map(|member| host_of(member.name)).collect();
        let nth =
            |all: Vec<u16>, n: u16| (!all.is_empty()).then(|| all[usize::from(n) % all.len()]);
        match role {
            Role::It => Some(it),
            Role::Before if self.served == Some(it) => self.before,
            Role::Before => self.served,
            Role::Member(n) => nth(isr.into_iter().filter(|&at| at != it).collect(), n),
            Role::Outside(n) => {
                nth((0..hosts).filter(|at| *at != it && !isr.contains(at)).collect(), n)
            }
            Role::First => self.first(nodes),
        }
    }
}

impl Trap {
    /// Whether what ambushes have done ends with it.
    pub fn heals(&self) -> bool {
        self.deed == Deed::Heal
    }
}

/// Who serves, in the highest regime in which somebody does.
fn server(of: Partition, nodes: &Running<'_>) -> Option<(u16, Regime)> {
    let serves = |strong: &Strong| {
        strong.reigns(of).filter(|(_, serves)| *serves).map(|(config, _)| config.regime)
    };
    let all = nodes.iter().filter_map(|(at, strong)| Some((*at, serves(strong)?)));
    all.max_by_key(|(_, regime)| *regime)
}

/// The configuration a node reigns in, or knows to be chosen.
fn config_at<'w>(of: Partition, at: u16, nodes: &Running<'w>) -> Option<&'w Configuration> {
    let (_, strong) = nodes.iter().find(|(host, _)| *host == at)?;
    Some(strong.reigns(of).map_or(strong.chosen(of), |(config, _)| config))
}

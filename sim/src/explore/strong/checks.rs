//! What has to hold in each state of a small strong cluster, and what of the states before has to be remembered for that.

use std::collections::BTreeMap;

use quorate::strong::message::Durable;
use quorate::strong::regime::{Configuration, Regime};
use quorate::strong::tail::{History, Place};
use quorate::strong::{NodeName, Outcome, Strong, Ticket};

use super::world::OF;

/// What is remembered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checks {
    /// The configuration of each number that somebody knows to be chosen.
    chosen: BTreeMap<Regime, Configuration>,
    /// Who began to serve in each regime, and with which state.
    pub began: BTreeMap<Regime, (NodeName, History)>,
    /// Where acknowledged writes stand.
    pub acked: Vec<Place>,
    /// Which regime made each committed entry.
    committed: BTreeMap<u64, Regime>,
    /// How far each node had committed.
    ends: BTreeMap<NodeName, u64>,
    /// Requests under way.
    pub asked: BTreeMap<u64, Asked>,
    pub reads_done: u8,
}

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub write: bool,
    /// What it was computed from, or with a write what it has become.
    pub history: History,
    /// Acknowledged before it began.
    pub before: Vec<Place>,
}

impl Checks {
    /// After a step of one of the nodes, in which it has written down these records and told clients these outcomes.
    ///
    /// # Errors
    /// What does not hold.
    pub fn look(
        &mut self,
        at: usize,
        nodes: &[&Strong],
        records: &[Durable],
        outcomes: &[Outcome],
    ) -> Result<(), String> {
        for record in records {
            self.one_configuration_per_number(record)?;
        }
        self.acknowledged_is_in_what_serves(nodes[at])?;
        self.nothing_comes_back(nodes[at])?;
        for outcome in outcomes {
            self.told(*outcome)?;
        }
        members_have_what_is_committed(nodes)?;
        one_could_answer_a_read(nodes)
    }

    fn one_configuration_per_number(&mut self, record: &Durable) -> Result<(), String> {
        let Durable::Chosen { config, .. } = record else { return Ok(()) };
        let known = self.chosen.entry(config.regime).or_insert_with(|| config.clone());
        if known == config {
            return Ok(());
        }
        Err(format!("two configurations of one number are chosen: {known:?} and {config:?}"))
    }

    /// A regime begins to serve: with everything that was acknowledged in lower ones, and it has one master.
    fn acknowledged_is_in_what_serves(&mut self, node: &Strong) -> Result<(), String> {
        let Some((config, true)) = node.stance(OF).reign else { return Ok(()) };
        let (regime, name) = (config.regime, node.name());
        if let Some((before, _)) = self.began.get(&regime) {
            return if *before == name {
                Ok(())
            } else {
                Err(format!("{before} and {name} serve in one regime, {}", regime.0))
            };
        }
        let history = node.history(OF).clone();
        for place in self.acked.iter().filter(|place| place.regime < regime) {
            if !history.has(*place) {
                return Err(format!(
                    "{name} serves in regime {} without {}",
                    regime.0,
                    told(*place)
                ));
            }
        }
        self.began.insert(regime, (name, history));
        Ok(())
    }

    /// An entry that was absent from the state with which a later regime began to serve is neither committed nor served.
    fn nothing_comes_back(&mut self, node: &Strong) -> Result<(), String> {
        let (history, name) = (node.history(OF), node.name());
        let committed = node.committed(OF);
        let known = self.ends.insert(name, committed).unwrap_or(0);
        // (A master that does not know that it is none any more may have open ones: it tells nobody of them.)
        let serves = node.stance(OF).reign.filter(|reign| reign.1).map(|reign| reign.0.regime);
        let end = if serves.is_some() { history.last().index } else { committed };
        for index in (if serves.is_some() { 0 } else { known.min(committed) }) + 1..=end {
            let Some(place) = history.place(index) else { continue };
            if index <= committed {
                let regime = *self.committed.entry(index).or_insert(place.regime);
                if regime != place.regime {
                    return Err(format!(
                        "{name} commits {}, which regime {} has made otherwise",
                        told(place),
                        regime.0
                    ));
                }
            }
            let until = if index <= committed { None } else { serves };
            let mut later = self.began.range(place.regime.next()..);
            let without = later.find(|(regime, (_, began))| {
                until.is_none_or(|until| **regime <= until) && !began.has(place)
            });
            if let Some((regime, _)) = without {
                return Err(format!(
                    "{} comes back at {name}: regime {} began to serve without it",
                    told(place),
                    regime.0
                ));
            }
        }
        Ok(())
    }

    fn told(&mut self, outcome: Outcome) -> Result<(), String> {
        let (Outcome::Done(Ticket(ticket))
        | Outcome::Refused(Ticket(ticket))
        | Outcome::InDoubt(Ticket(ticket))) = outcome;
        let Some(asked) = self.asked.remove(&ticket) else { return Ok(()) };
        if !matches!(outcome, Outcome::Done(_)) {
            return Ok(());
        }
        let what = if asked.write { "a write is acknowledged" } else { "a read is answered" };
        for place in &asked.before {
            if !asked.history.has(*place) {
                return Err(format!("{what} that has not seen {}", told(*place)));
            }
        }
        if !asked.write {
            self.reads_done += 1;
            return Ok(());
        }
        let place = asked.history.last();
        let mut later = self.began.range(place.regime.next()..);
        if let Some((regime, _)) = later.find(|(_, (_, began))| !began.has(place)) {
            return Err(format!(
                "{what}, {}, and regime {} has begun to serve without it",
                told(place),
                regime.0
            ));
        }
        self.acked.push(place);
        self.acked.sort_unstable();
        Ok(())
    }

    pub fn writes_acknowledged(&self) -> usize {
        self.acked.len()
    }
}

fn told(place: Place) -> String {
    format!("entry {} of regime {}", place.index, place.regime.0)
}

/// Every member of a serving configuration has what its master has committed.
fn members_have_what_is_committed(nodes: &[&Strong]) -> Result<(), String> {
    for master in nodes {
        let Some((config, true)) = master.stance(OF).reign else { continue };
        let Some(end) = master.history(OF).place(master.committed(OF)) else { continue };
        for member in &config.isr {
            let all = nodes.iter().filter(|node| node.is_member(member));
            if let Some(lacks) = all.into_iter().find(|node| !node.history(OF).has(end)) {
                let (master, lacks) = (master.name(), lacks.name());
                return Err(format!("{lacks} lacks {}, which {master} has committed", told(end)));
            }
        }
    }
    Ok(())
}

/// A master could answer a read if all of its ISR and a quorum have promised nothing above its regime: one at most could.
fn one_could_answer_a_read(nodes: &[&Strong]) -> Result<(), String> {
    let mut could = Vec::new();
    for master in nodes {
        let Some((config, true)) = master.stance(OF).reign else { continue };
        let free = |node: &&&Strong| node.stance(OF).promised <= config.regime;
        let vouch: Vec<NodeName> = nodes.iter().filter(free).map(|node| node.name()).collect();
        let all = config.isr.iter().all(|member| vouch.contains(&member.name));
        if all && master.would_decide(OF, vouch) {
            could.push(format!("{} in regime {}", master.name(), config.regime.0));
        }
    }
    if could.len() > 1 {
        return Err(format!("two could answer a read: {}", could.join(" and ")));
    }
    Ok(())
}

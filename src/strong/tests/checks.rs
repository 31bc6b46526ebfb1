//! What has to hold in a world: after each step, for each answer, and in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::super::message::Durable;
use super::super::regime::{Report, base_of, core_of};
use super::super::tail::{History, Place};
use super::super::*;
use super::world::{Client, Disks, World};
use crate::base::mutant::Mutants;

/// What has been seen so far.
#[derive(Default)]
pub struct Checks {
    /// Told as done: what was in the log then, and when.
    done: Vec<(Partition, Place, History, u64)>,
    chosen: BTreeMap<(Partition, Regime), Configuration>,
    /// Who has served in which regime, in which life.
    served: BTreeMap<(Partition, Regime), (usize, u64)>,
    /// The last entry of the state with which a regime began to serve.
    began: BTreeMap<Partition, BTreeMap<Regime, Place>>,
    /// The regime of each committed entry.
    committed: BTreeMap<(Partition, u64), Regime>,
    /// Those that a node has committed, and tells nobody before so many of its records are synced.
    untold: BTreeMap<usize, Vec<(usize, (Partition, u64), Regime)>>,
    /// How far each node has committed in this life.
    ends: BTreeMap<(usize, Partition), u64>,
    /// Whose disk was put back to an older state.
    pub older: Option<usize>,
}

impl Checks {
    pub fn new_life(&mut self, at: usize) {
        self.ends.retain(|(host, _), _| *host != at);
        self.untold.remove(&at);
    }

    /// A client's request is done: it has seen everything that was done before it began.
    pub fn done(&mut self, seed: u64, now: u64, client: Client, oldest: u64) {
        let (of, place) = (client.of, client.place);
        for (_, before, _, when) in self.done.iter().filter(|done| done.0 == of) {
            let sees = client.history.has(*before) && place.index >= before.index;
            assert!(
                *when >= client.began || sees,
                "seed {seed}: what began at {} on {of:?} at {place:?} does not see {before:?}, done at {when}",
                client.began
            );
        }
        if place.index > 0 {
            self.done.push((of, place, client.history, now));
        }
        if self.done.len() > 200 {
            self.forget_what_follows(of, oldest);
        }
    }

    /// Whoever began after one was done and sees that one sees what is in its log, too.
    fn forget_what_follows(&mut self, of: Partition, oldest: u64) {
        let old = self.done.iter().filter(|done| done.0 == of && done.3 < oldest);
        let Some((_, place, history, _)) = old.max_by_key(|done| done.1.index).cloned() else {
            return;
        };
        let follows = |before: &Place| before.index < place.index && history.has(*before);
        self.done.retain(|(at, before, _, when)| *at != of || *when >= oldest || !follows(before));
    }
}

impl World {
    /// After each step of a node, which has written down what stands on its disk from `from` on.
    pub fn check_step(&mut self, at: usize, from: usize) {
        for record in from..self.hosts[at].disk.len() {
            self.one_configuration_per_number(at, record);
        }
        for of in (0..self.shape.partitions).map(Partition) {
            self.one_serving_master_per_regime(at, of);
            self.committed_never_shrinks(at, of);
            self.members_have_what_is_committed(at, of);
        }
        self.committed_entries_are_one(at);
        self.nobody_forgets_for_nothing(at);
    }

    fn one_configuration_per_number(&mut self, at: usize, record: usize) {
        let seed = self.seed;
        match &self.hosts[at].disk[record] {
            Durable::Chosen { of, config } => {
                let key = (*of, config.regime);
                let known = self.checks.chosen.entry(key).or_insert_with(|| config.clone());
                assert_eq!(known, config, "seed {seed}: one configuration per number");
            }
            Durable::Dropped { of } => drop(self.checks.ends.remove(&(at, *of))),
            Durable::Start { .. }
            | Durable::Amnesiac
            | Durable::Stopped
            | Durable::Seen { .. }
            | Durable::SeenMore { .. }
            | Durable::Roster { .. }
            | Durable::RosterHeld
            | Durable::Promise { .. }
            | Durable::Accept { .. }
            | Durable::Entry { .. }
            | Durable::Committed { .. }
            | Durable::Truncate { .. }
            | Durable::Whole { .. }
            | Durable::Intact { .. } => {}
        }
    }

    fn one_serving_master_per_regime(&mut self, at: usize, of: Partition) {
        let host = &self.hosts[at];
        if std::env::var("STRONG_TRACE").is_ok() {
            // TRACE
            self.trace(at, of);
        }
        let Some(strong) = &host.strong else { return };
        let part = strong.at(of);
        let Some(reign) = part.reign.as_ref().filter(|reign| reign.serves) else { return };
        let (regime, me) = (reign.config.regime, (at, host.life));
        let last = part.tail.last();
        let who = *self.checks.served.entry((of, regime)).or_insert_with(|| {
            self.checks.began.entry(of).or_default().insert(regime, last);
            me
        });
        assert_eq!(who, me, "seed {}: one master of {of:?} in {regime:?}", self.seed);
    }

    fn committed_never_shrinks(&mut self, at: usize, of: Partition) {
        let seed = self.seed;
        let told = if self.shape.always { self.hosts[at].disk.len() } else { 0 };
        let Some(strong) = &self.hosts[at].strong else { return };
        let tail = &strong.at(of).tail;
        let before = self.checks.ends.insert((at, of), tail.committed()).unwrap_or(0);
        let end = tail.committed();
        assert!(end >= before, "seed {seed}: {of:?} had {before} committed at {at}, now {end}");
        for index in before + 1..=end {
            let regime = tail.history().place(index).expect("what is committed is there").regime;
            let untold = self.checks.untold.entry(at).or_default();
            untold.push((told, (of, index), regime));
        }
    }

    /// An entry that was absent from the state with which a later regime began to serve does not get committed, either.
    fn committed_entries_are_one(&mut self, at: usize) {
        let seed = self.seed;
        let Some(untold) = self.checks.untold.get_mut(&at) else { return };
        let synced = self.hosts[at].synced;
        let told = untold.iter().take_while(|(needs, _, _)| *needs <= synced).count();
        for (_, (of, index), regime) in untold.drain(..told) {
            let known = *self.checks.committed.entry((of, index)).or_insert(regime);
            assert_eq!(known, regime, "seed {seed}: entry {index} of {of:?} at {at}");
            let later = self.checks.began.entry(of).or_default();
            let without = later.range(regime.next()..).find(|(_, last)| last.index < index);
            assert_eq!(without, None, "seed {seed}: {of:?} {regime:?} {index} comes back at {at}");
        }
    }

    fn members_have_what_is_committed(&self, at: usize, of: Partition) {
        let Some(strong) = &self.hosts[at].strong else { return };
        let part = strong.at(of);
        let Some(reign) = part.reign.as_ref().filter(|reign| reign.serves) else { return };
        let end = part.tail.history().place(part.tail.committed()).expect("it is there");
        let older = self.checks.older.map(super::world::name);
        for member in reign.config.isr.iter().filter(|member| Some(member.name) != older) {
            let all = self.hosts.iter().filter_map(|host| host.strong.as_ref());
            for strong in all.filter(|strong| strong.myself() == *member) {
                let has = strong.at(of).tail.history().has(end);
                assert!(has, "seed {}: {member:?} of {of:?} lacks {end:?}", self.seed);
            }
        }
    }

    fn trace(&self, at: usize, of: Partition) {
        use std::cell::RefCell;
        thread_local!(static LAST: RefCell<BTreeMap<(usize, Partition), String>> = RefCell::default());
        let host = &self.hosts[at];
        let Some(s) = &host.strong else { return };
        let p = s.at(of);
        let text = format!(
            "start {:?} amn {} prom {:?} chosen {:?} {:?} acc {:?} intact {:?} serves {:?} bid {:?}",
            s.start.0,
            s.is_amnesiac(),
            p.promised.0,
            p.chosen.regime.0,
            p.chosen.isr.iter().map(|m| format!("{:?}/{}", m.name, m.start.0)).collect::<Vec<_>>(),
            p.accepted
                .iter()
                .map(|a| (
                    a.config.regime.0,
                    a.config.master,
                    a.config
                        .isr
                        .iter()
                        .map(|m| format!("{:?}/{}", m.name, m.start.0))
                        .collect::<Vec<_>>()
                ))
                .collect::<Vec<_>>(),
            p.intact,
            p.reign.as_ref().map(|r| (r.config.regime.0, r.serves)),
            p.bid.as_ref().map(|b| b.regime.0)
        );
        LAST.with(|last| {
            let mut last = last.borrow_mut();
            let key = (at, of);
            if last.get(&key) != Some(&text) {
                eprintln!(
                    "T {:.1} {of:?} {:?} {text} log {:?} c{}",
                    self.now as f64 / 1e6,
                    s.config.name,
                    p.tail.history(),
                    p.tail.committed()
                );
                last.insert(key, text);
            }
        });
    }

    fn nobody_forgets_for_nothing(&self, at: usize) {
        let amnesiac = self.hosts[at].strong.as_ref().is_some_and(Strong::is_amnesiac);
        let may = self.shape.disks == Disks::Older && self.checks.older == Some(at);
        assert!(!amnesiac || may, "seed {}: {at} is on its disk, and amnesiac", self.seed);
    }

    /// In the end every partition is served for which those who are there may decide, if one of them is in the core, by
    /// whom it is to be served; and no other.
    pub fn settled(&self) -> Result<(), String> {
        for of in (0..self.shape.partitions).map(Partition) {
            self.is_settled(of).map_err(|why| {
                let told: String = self.running().map(|(_, strong)| strong.told(of)).collect();
                format!("seed {}, {:?}: {of:?} {why}{told}", self.seed, self.shape)
            })?;
        }
        Ok(())
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Strong)> {
        let all = self.hosts.iter().enumerate();
        all.filter_map(|(at, host)| Some((at, host.strong.as_ref()?)))
    }

    fn is_settled(&self, of: Partition) -> Result<(), String> {
        let Some(roster) = self.running().find_map(|(_, strong)| strong.roster.as_ref()) else {
            return Ok(());
        };
        let nodes = &roster.standing.roster;
        let voters: Vec<(usize, &Strong)> =
            self.running().filter_map(|(_, strong)| Some((strong.votes()?, strong))).collect();
        let set: VoterSet = voters.iter().map(|(place, _)| *place).collect();
        let decides = quorum::may_decide(set, roster.order(of), nodes.copies());
        let master = voters.iter().map(|(_, strong)| *strong).find(|s| s.at(of).serves());
        let Some(master) = master else {
            if !decides {
                return Ok(());
            }
            let reports: Vec<(usize, Report)> =
                voters.iter().map(|(place, s)| (*place, s.at(of).report(s.start))).collect();
            let list: Vec<(usize, &Report)> = reports.iter().map(|(at, r)| (*at, r)).collect();
            let base = base_of(&list, nodes, roster.order(of), Mutants::NONE).config;
            let core = core_of(&base, &roster.standing, &list, Mutants::NONE);
            let none_lost = self.shape.always && self.shape.disks == Disks::Stay;
            let all = voters.len() == nodes.nodes().len();
            if core.is_empty() && !(none_lost && all) {
                return Ok(());
            }
            return Err(format!("is not served, base {base:?}, core {core:?}"));
        };
        if !decides {
            return Err(format!("is served by {:?} without a quorum", master.config.name));
        }
        let config = &master.at(of).reign.as_ref().expect("it serves").config;
        let isr: BTreeSet<NodeName> = config.isr.iter().map(|m| m.name).collect();
        let there = |name: &NodeName| voters.iter().any(|(_, s)| s.config.name == *name);
        let order: Vec<NodeName> = roster.names(of).collect();
        let wanted = order.iter().copied().filter(there).take(nodes.copies());
        let wanted: BTreeSet<NodeName> = wanted.collect();
        let replicas: BTreeSet<NodeName> = roster.replicas(of).collect();
        let is = |right: bool, what: &str| {
            if right { Ok(()) } else { Err(format!("{what}: {config:?}, wanted {wanted:?}")) }
        };
        is(isr.is_superset(&wanted), "lacks a copy")?;
        is(!replicas.iter().all(there) || isr == replicas, "has a copy too many")?;
        is(!there(&order[0]) || config.master == Some(order[0]), "was not handed back")?;
        self.copies_are_equal(master, &isr, of)
    }

    fn copies_are_equal(
        &self,
        master: &Strong,
        isr: &BTreeSet<NodeName>,
        of: Partition,
    ) -> Result<(), String> {
        let content = |at: usize| self.hosts[at].held.read(of);
        let end = master.at(of).tail.committed();
        let members = self.running().filter(|(_, strong)| isr.contains(&strong.config.name));
        let (at, _) =
            self.running().find(|(_, s)| s.config.name == master.config.name).expect("it");
        for (other, strong) in members {
            if strong.at(of).tail.committed() != end {
                return Err(format!("{:?} is not told what is committed", strong.config.name));
            }
            if content(other) != content(at) {
                return Err(format!("{:?} has other content", strong.config.name));
            }
        }
        Ok(())
    }
}

impl Strong {
    /// What a node thinks of a partition.
    fn told(&self, of: Partition) -> String {
        let part = self.at(of);
        format!(
            "\n  {:?} {:?}, votes {:?}: promised {:?} to {:?}, chosen {:?}, accepted {:?}, intact {:?}, {:?} committed {}, \
             serving {:?}, reign {:?}, bid {:?}, vacant {:?}, busy {}, heard {:?}",
            self.config.name,
            self.start,
            self.votes(),
            part.promised,
            part.promised_to,
            part.chosen.regime,
            part.accepted.iter().map(|p| p.config.regime).collect::<Vec<_>>(),
            part.intact,
            part.tail.last(),
            part.tail.committed(),
            part.serving,
            part.reign.as_ref().map(|r| (r.config.regime, r.serves, &r.followers)),
            part.bid,
            part.vacant_since,
            self.busy.contains(&of),
            self.heard.iter().map(|m| (m.name, m.start)).collect::<Vec<_>>(),
        )
    }
}

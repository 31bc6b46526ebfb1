//! What has to hold in a world: after each step, for each answer, and in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// What a node has found, and tells nobody before so many of its records are synced.
    untold: BTreeMap<usize, VecDeque<(usize, Told)>>,
    /// The last regime in which each node has served in this life.
    reigns: BTreeMap<(usize, Partition), Regime>,
    /// How far each node has committed in this life.
    ends: BTreeMap<(usize, Partition), u64>,
    /// Whose disk was put back to an older state.
    pub older: Option<usize>,
    /// What an operator has opened without what was acknowledged.
    given_up: BTreeSet<(Partition, Mono)>,
}

/// What a node may tell others once its records are synced.
enum Told {
    Chosen(Partition, Configuration),
    /// In this life of the node a regime begins to serve, with this as the last entry.
    Serves(Partition, Regime, u64, Place),
    Committed(Partition, Place),
}

impl Checks {
    pub fn new_life(&mut self, at: usize) {
        self.ends.retain(|(host, _), _| *host != at);
        self.reigns.retain(|(host, _), _| *host != at);
        self.untold.remove(&at);
    }

    /// A partition goes on with less than was acknowledged, as an operator wants.
    fn give_up(&mut self, of: Partition, attempt: Mono) {
        if self.given_up.insert((of, attempt)) {
            self.done.retain(|done| done.0 != of);
            self.began.remove(&of);
            self.committed.retain(|(at, _), _| *at != of);
        }
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
        let given_up = self.hosts[at].strong.as_ref().map(Strong::gives_up).unwrap_or_default();
        for (of, attempt) in given_up {
            self.checks.give_up(of, attempt);
        }
        for record in from..self.hosts[at].disk.len() {
            self.look_at_record(at, record);
        }
        for of in (0..self.shape.partitions).map(Partition) {
            self.look_at_reign(at, of);
            self.committed_never_shrinks(at, of);
            self.members_have_what_is_committed(at, of);
        }
        self.check_told(at);
        self.nobody_forgets_for_nothing(at);
    }

    /// What may be told by now, after a step or a sync.
    pub fn check_told(&mut self, at: usize) {
        let synced = self.hosts[at].synced;
        let Some(mut untold) = self.checks.untold.remove(&at) else { return };
        while untold.front().is_some_and(|(needs, _)| *needs <= synced) {
            match untold.pop_front().expect("there is one").1 {
                Told::Chosen(of, config) => self.one_configuration_per_number(of, &config),
                Told::Serves(of, regime, life, last) => {
                    self.one_serving_master_per_regime(of, regime, (at, life), last);
                }
                Told::Committed(of, place) => self.committed_entries_are_one(of, place),
            }
        }
        self.checks.untold.insert(at, untold);
    }

    fn tell(&mut self, at: usize, told: Told) {
        let needs = self.hosts[at].wanted;
        self.checks.untold.entry(at).or_default().push_back((needs, told));
    }

    fn one_configuration_per_number(&mut self, of: Partition, config: &Configuration) {
        let key = (of, config.regime);
        let known = self.checks.chosen.entry(key).or_insert_with(|| config.clone());
        assert_eq!(known, config, "seed {}: one configuration per number", self.seed);
    }

    fn one_serving_master_per_regime(
        &mut self,
        of: Partition,
        regime: Regime,
        me: (usize, u64),
        last: Place,
    ) {
        self.checks.began.entry(of).or_default().entry(regime).or_insert(last);
        let who = *self.checks.served.entry((of, regime)).or_insert(me);
        assert_eq!(who, me, "seed {}: one master of {of:?} in {regime:?}", self.seed);
    }

    /// An entry that was absent from the state with which a later regime began to serve does not get committed, either.
    fn committed_entries_are_one(&mut self, of: Partition, place: Place) {
        let (seed, Place { regime, index }) = (self.seed, place);
        let known = *self.checks.committed.entry((of, index)).or_insert(regime);
        assert_eq!(known, regime, "seed {seed}: entry {index} of {of:?}");
        let later = self.checks.began.entry(of).or_default();
        let without = later.range(regime.next()..).find(|(_, last)| last.index < index);
        assert_eq!(without, None, "seed {seed}: {index} of {of:?} {regime:?} comes back");
    }

    fn look_at_record(&mut self, at: usize, record: usize) {
        match &self.hosts[at].disk[record] {
            Durable::Chosen { of, config } => {
                let told = Told::Chosen(*of, config.clone());
                self.tell(at, told);
            }
            Durable::Dropped { of } => {
                let of = *of;
                self.checks.ends.remove(&(at, of));
                self.what_is_dropped_is_not_needed(at, of);
            }
            Durable::Whole { of, .. } if self.checks.given_up.iter().any(|lost| lost.0 == *of) => {
                self.checks.ends.remove(&(at, *of));
            }
            Durable::Start { .. }
            | Durable::Amnesiac
            | Durable::Stopped
            | Durable::Seen { .. }
            | Durable::SeenMore { .. }
            | Durable::Roster { .. }
            | Durable::RosterHeld
            | Durable::Decided { .. }
            | Durable::CouncilPromise { .. }
            | Durable::CouncilAccept { .. }
            | Durable::Promise { .. }
            | Durable::Accept { .. }
            | Durable::Entry { .. }
            | Durable::Committed { .. }
            | Durable::Truncate { .. }
            | Durable::Whole { .. }
            | Durable::Intact { .. }
            | Durable::NewVoter { .. } => {}
        }
    }

    fn what_is_dropped_is_not_needed(&self, at: usize, of: Partition) {
        let Some(strong) = &self.hosts[at].strong else { return };
        let chosen = &strong.at(of).chosen;
        let is_named = chosen.member(strong.config.name).is_some();
        assert!(!is_named, "seed {}: {at} drops {of:?}, {chosen:?} names it", self.seed);
    }

    fn look_at_reign(&mut self, at: usize, of: Partition) {
        let host = &self.hosts[at];
        let Some(strong) = &host.strong else { return };
        let part = strong.at(of);
        let Some(reign) = part.reign.as_ref().filter(|reign| reign.serves) else { return };
        let (regime, life, last) = (reign.config.regime, host.life, part.tail.last());
        if self.checks.reigns.insert((at, of), regime) != Some(regime) {
            self.tell(at, Told::Serves(of, regime, life, last));
        }
    }

    fn committed_never_shrinks(&mut self, at: usize, of: Partition) {
        let seed = self.seed;
        let Some(strong) = &self.hosts[at].strong else { return };
        let tail = &strong.at(of).tail;
        let history = tail.history().clone();
        let before = self.checks.ends.insert((at, of), tail.committed()).unwrap_or(0);
        let end = tail.committed();
        assert!(end >= before, "seed {seed}: {of:?} had {before} committed at {at}, now {end}");
        for index in before + 1..=end {
            let place = history.place(index).expect("what is committed is there");
            self.tell(at, Told::Committed(of, place));
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
            // (One that knows of a later configuration without it may have dropped its copy.)
            let regime = reign.config.regime;
            let stays = |s: &&Strong| s.myself() == *member && s.at(of).chosen.regime <= regime;
            for strong in all.filter(stays) {
                let has = strong.at(of).tail.history().has(end);
                let told = || self.running().map(|(_, strong)| strong.told(of)).collect::<String>();
                assert!(has, "seed {}: {member:?} of {of:?} lacks {end:?}{}", self.seed, told());
            }
        }
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
        let version = |strong: &&Strong| strong.standing().map(|standing| standing.version);
        let newest = self.running().map(|(_, strong)| strong).max_by_key(version);
        let Some(rosters) = newest.map(|strong| &strong.rosters) else { return Ok(()) };
        let voters: Vec<(Voter, &Strong)> = self
            .running()
            .filter(|(_, strong)| strong.votes())
            .map(|(_, strong)| (strong.me(), strong))
            .collect();
        let set: Vec<Voter> = voters.iter().map(|(voter, _)| *voter).collect();
        let decides = |under| rosters.rule(under).is_some_and(|rule| rule.may_decide(&set, of));
        let master = voters.iter().map(|(_, strong)| *strong).find(|s| s.at(of).serves());
        let Some(master) = master else {
            let reports: Vec<(Voter, Report)> =
                voters.iter().map(|(voter, s)| (*voter, s.at(of).report(s.start))).collect();
            let list: Vec<(Voter, &Report)> = reports.iter().map(|(at, r)| (*at, r)).collect();
            if list.is_empty() {
                return Ok(());
            }
            let base = base_of(&list, of, rosters, Mutants::NONE).ok_or("has an unknown base")?;
            let base = base.config;
            if !decides(base.under) {
                return Ok(());
            }
            let core = core_of(&base, &list, Mutants::NONE);
            let none_lost = self.shape.always && self.shape.disks == Disks::Stay;
            let all = rosters.nodes().len() == voters.len();
            if core.is_empty() && !(none_lost && all) {
                return Ok(());
            }
            return Err(format!("is not served, base {base:?}, core {core:?}"));
        };
        let config = &master.at(of).reign.as_ref().expect("it serves").config;
        if !decides(config.under) {
            return Err(format!("is served by {:?} without a quorum", master.config.name));
        }
        let step = rosters.steps(config.under).into_iter().find(|&step| decides(step));
        if step != Some(config.under) {
            return Err(format!("stays under {:?}, and might go to {step:?}", config.under));
        }
        let rule = rosters.rule(config.under).expect("it is known");
        let isr: BTreeSet<NodeName> = config.isr.iter().map(|m| m.name).collect();
        let there = |name: NodeName| {
            let member = |s: &Strong| {
                let (name, voter) = s.me();
                rule.admits(&Member { name, voter, start: s.start })
            };
            voters.iter().any(|(_, s)| s.config.name == name && member(s))
        };
        let wanted: BTreeSet<NodeName> = rule.wanted(of, there).into_iter().collect();
        let replicas: Vec<NodeName> = rule.replicas(of).collect();
        let is = |right: bool, what: &str| {
            if right { Ok(()) } else { Err(format!("{what}: {config:?}, wanted {wanted:?}")) }
        };
        let is_there = |m: &Member| voters.iter().any(|(_, strong)| strong.myself() == *m);
        is(config.isr.iter().all(is_there), "names one that is not there")?;
        is(isr.is_superset(&wanted), "lacks a copy")?;
        if !rule.is_joint() {
            let all = replicas.iter().all(|&name| there(name));
            let set: BTreeSet<NodeName> = replicas.iter().copied().collect();
            is(!all || isr == set, "has a copy too many")?;
            let first = replicas[0];
            is(!there(first) || config.master == Some(first), "was not handed back")?;
        }
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

//! What holds between the nodes of a strong cluster at any time. It is looked at again and again while a plan is played: a
//! rule that is broken shows here long before a client sees it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::base::ids::Partition;
use quorate::base::time::UnixMs;
use quorate::base::unit::{Cell, Change, Part};
use quorate::node::Node;
use quorate::strong::inspect::Step;
use quorate::strong::regime::{Configuration, Member, Regime};
use quorate::strong::standing::Standing;
use quorate::strong::tail::Place;
use quorate::strong::{Strong, Succession, VoterSet, may_decide};

use super::player::node_name;
use crate::check::{Property, Violation};
use crate::ids::HostId;
use crate::plan::{FaultClass, Plan};
use crate::world::World;

/// The nodes that run, with the numbers of their hosts.
pub type Running<'w> = Vec<(u16, &'w Strong)>;

/// Those of a world.
pub fn running<'w>(world: &'w World<Node>, plan: &Plan) -> Running<'w> {
    let hosts = 0..plan.nodes.len() as u16;
    hosts.filter_map(|at| Some((at, world.machine(HostId(at)).and_then(Node::strong)?))).collect()
}

/// What keys hold, with their deadlines.
type Content = BTreeMap<Bytes, (Option<Bytes>, Option<UnixMs>, BTreeMap<Bytes, Bytes>)>;

/// What has been seen so far.
#[derive(Debug)]
pub struct Eye {
    parts: Vec<Seen>,
    /// Some disk goes back to an older state: its node may be taken for what it was, for a while.
    older: bool,
    /// Or is lost.
    lost: bool,
    rosters: Rosters,
}

/// The rosters that were in force, by the versions of their decisions.
#[derive(Debug, Default)]
struct Rosters {
    by_version: BTreeMap<u32, Standing>,
}

/// Of one partition.
#[derive(Debug)]
struct Seen {
    of: Partition,
    /// Which regimes made the entries that are committed, from the first on.
    committed: Vec<Regime>,
    /// By host: how much of what is committed there was compared.
    ends: Vec<u64>,
    /// Who has served in which regime, and how much there was before its first entry.
    began: BTreeMap<Regime, (u16, u64)>,
    chosen: BTreeMap<Regime, Configuration>,
    /// By host: a candidate with its own promise, and the end of its log.
    bids: Vec<Option<(Regime, Place)>>,
}

impl Eye {
    pub fn new(watched: impl IntoIterator<Item = Partition>, plan: &Plan) -> Eye {
        let hosts = plan.nodes.len();
        let seen = |of| Seen {
            of,
            committed: Vec::new(),
            ends: vec![0; hosts],
            began: BTreeMap::new(),
            chosen: BTreeMap::new(),
            bids: vec![None; hosts],
        };
        let parts = watched.into_iter().map(seen).collect();
        let (older, lost) =
            (plan.has_fault(FaultClass::OlderImage), plan.has_fault(FaultClass::Rot));
        Eye { parts, older, lost, rosters: Rosters::default() }
    }

    /// Partitions that an operator opens with what is left: entries that were committed may be given up.
    pub fn leave_out(&mut self, opened: &[Partition]) {
        self.parts.retain(|seen| !opened.contains(&seen.of));
    }

    /// Looks at all nodes.
    ///
    /// # Errors
    /// What does not hold.
    pub fn look(&mut self, nodes: &Running<'_>) -> Result<(), Violation> {
        let broken = |evidence| Violation { property: Property::ClusterInvariant, evidence };
        one_roster_per_version(nodes).map_err(broken)?;
        if !self.older {
            nobody_forgets_for_nothing(nodes).map_err(broken)?;
        }
        for (_, strong) in nodes {
            self.rosters.note(strong);
        }
        for seen in &mut self.parts {
            let of = seen.of;
            let told = |why: String| {
                let told: String = nodes.iter().map(|(_, strong)| strong.told(of)).collect();
                broken(format!("{of:?}: {why}{told}"))
            };
            for &(at, strong) in nodes {
                seen.committed_entries_are_one(at, strong).map_err(told)?;
                let news = seen.one_configuration_per_number(at, strong).map_err(told)?;
                if let Some(config) = news {
                    seen.no_roster_is_skipped(&config, &self.rosters).map_err(told)?;
                    if !self.older && !self.lost {
                        self.rosters.a_quorum_has_promised(of, &config, nodes).map_err(told)?;
                    }
                }
                seen.candidates_stand_still(at, strong).map_err(told)?;
                if !self.older {
                    members_have_copies(of, strong).map_err(told)?;
                }
            }
            for &(at, strong) in nodes {
                seen.a_master_has_what_was_committed(at, strong).map_err(told)?;
                if !self.older {
                    members_have_what_the_master_had(of, strong, nodes).map_err(told)?;
                }
            }
        }
        Ok(())
    }
}

/// Copies that have committed the same have the same.
///
/// # Errors
/// Which have not.
pub fn copies_are_equal(
    world: &World<Node>,
    plan: &Plan,
    parts: &BTreeSet<Partition>,
    part_of: &dyn Fn(&[u8]) -> Partition,
) -> Result<(), Violation> {
    let mut known: BTreeMap<(Partition, Place), (u16, Content)> = BTreeMap::new();
    for at in 0..plan.nodes.len() as u16 {
        let Some(node) = world.machine(HostId(at)) else { continue };
        let Some(strong) = node.strong() else { continue };
        let mut all: BTreeMap<Partition, Content> = BTreeMap::new();
        for Change { key, cell, .. } in node.cells() {
            let of = part_of(&key);
            let held = all.entry(of).or_default().entry(key).or_default();
            match cell {
                Cell::Register { value, .. } => held.0 = Some(value),
                Cell::Expiry { deadline } => held.1 = deadline,
                Cell::Element { name, part: Part::Register { value, .. }, .. } => {
                    held.2.insert(name, value);
                }
                Cell::Element {
                    part: Part::Tombstone { .. } | Part::Contribution { .. }, ..
                }
                | Cell::Kind { .. }
                | Cell::Tombstone { .. }
                | Cell::Contribution { .. }
                | Cell::KeyCell { .. }
                | Cell::DatabaseTombstone => {}
            }
        }
        for &of in parts {
            let end = strong.history(of).place(strong.committed(of)).unwrap_or_default();
            let mut mine = all.remove(&of).unwrap_or_default();
            mine.retain(|_, (value, _, elements)| value.is_some() || !elements.is_empty());
            let (first, its) = known.entry((of, end)).or_insert_with(|| (at, mine.clone()));
            if *its != mine {
                let (a, b) = (node_name(*first), node_name(at));
                let evidence = format!(
                    "{of:?}: {a} and {b} have {end:?}, and other data: {its:?} and {mine:?}"
                );
                return Err(Violation { property: Property::ClusterInvariant, evidence });
            }
        }
    }
    Ok(())
}

impl Seen {
    /// What one node tells the others to be committed is what any other node has, and what a later regime has begun with.
    fn committed_entries_are_one(&mut self, at: u16, strong: &Strong) -> Result<(), String> {
        let (history, end) = (strong.history(self.of), strong.committed(self.of));
        let known = &mut self.ends[usize::from(at)];
        // (What a master has found nobody else may know of yet, and it may forget it.)
        let tells = strong.reigns(self.of).is_none();
        for index in (*known).min(end) + 1..=end {
            let Some(Place { regime, .. }) = history.place(index) else { continue };
            match self.committed.get(index as usize - 1) {
                Some(&was) if was != regime => {
                    let by = node_name(at);
                    return Err(format!("entry {index} is {was:?}'s, and {regime:?}'s at {by}"));
                }
                Some(_) => {}
                None if tells && self.committed.len() as u64 + 1 == index => {
                    let mut later = self.began.range(regime.next()..);
                    if let Some((after, _)) = later.find(|(_, (_, last))| *last < index) {
                        return Err(format!(
                            "entry {index} of {regime:?} comes back after {after:?}"
                        ));
                    }
                    self.committed.push(regime);
                }
                None => break,
            }
            *known = index;
        }
        *known = (*known).min(end);
        Ok(())
    }

    /// The configuration, if it was not known so far that it is chosen.
    fn one_configuration_per_number(
        &mut self,
        at: u16,
        strong: &Strong,
    ) -> Result<Option<Configuration>, String> {
        let config = strong.chosen(self.of);
        // (What a node begins with before it has a roster is no configuration; and what a master has found nobody else may
        // know of yet.)
        if config.regime == Regime(0) {
            return Ok(None);
        }
        match self.chosen.get(&config.regime) {
            Some(known) if known != config => Err(format!("{known:?} and {config:?} were chosen")),
            Some(_) => Ok(None),
            None if config.master == Some(node_name(at)) => Ok(None),
            None => {
                self.chosen.insert(config.regime, config.clone());
                Ok(Some(config.clone()))
            }
        }
    }

    /// From one roster to another a partition goes by a configuration that stands under both.
    fn no_roster_is_skipped(&self, to: &Configuration, rosters: &Rosters) -> Result<(), String> {
        let before = to.regime.0.checked_sub(1).and_then(|before| self.chosen.get(&Regime(before)));
        let Some(from) = before else { return Ok(()) };
        let change = |config: &Configuration| rosters.change(config.under.version);
        let (Some(old), Some(new)) = (change(from), change(to)) else { return Ok(()) };
        if old != new && !(from.under.joint || to.under.joint) {
            return Err(format!("{to:?} follows {from:?}, under another roster"));
        }
        Ok(())
    }

    /// From its own promise on nothing changes the log of a candidate that has a copy. (It may learn that it is to have none,
    /// and drop it: those who know that have told it so with their promises, if it has enough of them.)
    fn candidates_stand_still(&mut self, at: u16, strong: &Strong) -> Result<(), String> {
        let bid = strong.candidacy(self.of).filter(|(_, step)| *step != Step::Asking);
        let bid = bid.filter(|_| strong.is_intact(self.of));
        let now = bid.map(|(regime, _)| (regime, strong.history(self.of).last()));
        let before = core::mem::replace(&mut self.bids[usize::from(at)], now);
        match (before, now) {
            (Some(before), Some(now)) if before.0 == now.0 && before.1 != now.1 => Err(format!(
                "{} bids for {:?} with {:?}, and then has {:?}",
                node_name(at),
                now.0,
                before.1,
                now.1
            )),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// One master serves in a regime; it begins with all that was committed in earlier ones.
    fn a_master_has_what_was_committed(&mut self, at: u16, strong: &Strong) -> Result<(), String> {
        let Some((config, true)) = strong.reigns(self.of) else { return Ok(()) };
        let (regime, history) = (config.regime, strong.history(self.of));
        let first = history.before(regime).index;
        let (who, _) = *self.began.entry(regime).or_insert((at, first));
        if who != at {
            return Err(format!("{} and {} serve in {regime:?}", node_name(who), node_name(at)));
        }
        let count = self.committed.partition_point(|made| *made < regime);
        let Some(made) = count.checked_sub(1).map(|last| self.committed[last]) else {
            return Ok(());
        };
        let place = Place { regime: made, index: count as u64 };
        if history.has(place) {
            return Ok(());
        }
        Err(format!("{} serves in {regime:?} without {place:?}", node_name(at)))
    }
}

impl Rosters {
    fn note(&mut self, strong: &Strong) {
        let Some(standing) = strong.standing() else { return };
        self.by_version.entry(standing.version).or_insert_with(|| standing.clone());
    }

    fn change(&self, version: u32) -> Option<u32> {
        self.by_version.get(&version).map(|standing| standing.change)
    }

    /// Of each roster that a chosen configuration stands under a quorum has promised its number, or a higher one. (Where some
    /// node is away nobody can tell.)
    fn a_quorum_has_promised(
        &self,
        of: Partition,
        config: &Configuration,
        nodes: &Running<'_>,
    ) -> Result<(), String> {
        let Some(standing) = self.by_version.get(&config.under.version) else { return Ok(()) };
        let both = standing.electorates().take(if config.under.joint { 2 } else { 1 });
        for electorate in both {
            let roster = &electorate.roster;
            let node = |name| nodes.iter().find(|(at, _)| node_name(*at) == name);
            if roster.nodes().iter().any(|one| node(one.name).is_none()) {
                continue;
            }
            let promised = nodes.iter().filter(|(_, strong)| strong.promised(of) >= config.regime);
            let set: VoterSet =
                promised.filter_map(|(at, _)| roster.place(node_name(*at))).collect();
            let parts = nodes.first().map_or(1, |(_, strong)| strong.partition_count());
            let succession = Succession::of_first(roster, parts);
            if !may_decide(set, succession.order(of), succession.copies()) {
                return Err(format!("{config:?} is chosen without a quorum of {roster:?}"));
            }
        }
        Ok(())
    }
}

/// Members of a regime that serves have exactly what their master had when it began, and all that is committed, as long
/// as they are what it names and have not promised anything higher.
fn members_have_what_the_master_had(
    of: Partition,
    master: &Strong,
    nodes: &Running<'_>,
) -> Result<(), String> {
    let Some((config, true)) = master.reigns(of) else { return Ok(()) };
    let regime = config.regime;
    let first = master.history(of).before(regime);
    let end = master.history(of).place(master.committed(of)).unwrap_or_default();
    let follows = |strong: &Strong, member: &Member| {
        strong.is_member(member)
            && strong.promised(of) <= regime
            && strong.chosen(of).regime <= regime
    };
    for member in &config.isr {
        let node = nodes.iter().find(|(_, strong)| follows(strong, member));
        let Some((at, strong)) = node else { continue };
        let history = strong.history(of);
        let (its, name) = (history.before(regime), node_name(*at));
        if its != first {
            return Err(format!("{regime:?} began with {first:?}, {name} has {its:?} of it"));
        }
        if !history.has(end) {
            return Err(format!("{end:?} is committed in {regime:?}, {name} has not got it"));
        }
    }
    Ok(())
}

/// A node that is a member of the newest configuration it knows to be chosen has not dropped its copy.
fn members_have_copies(of: Partition, strong: &Strong) -> Result<(), String> {
    let isr = &strong.chosen(of).isr;
    let named = isr.iter().any(|member| strong.is_member(member));
    if named && !strong.is_intact(of) && !strong.is_amnesiac() {
        return Err(format!("{} is a member, and has no copy", strong.name()));
    }
    Ok(())
}

fn nobody_forgets_for_nothing(nodes: &Running<'_>) -> Result<(), String> {
    match nodes.iter().find(|(_, strong)| strong.is_amnesiac()) {
        Some((_, strong)) => Err(format!("{} is on its disk, and amnesiac", strong.name())),
        None => Ok(()),
    }
}

fn one_roster_per_version(nodes: &Running<'_>) -> Result<(), String> {
    for (nth, (_, strong)) in nodes.iter().enumerate() {
        let Some(standing) = strong.standing() else { continue };
        let others = nodes[..nth].iter().filter_map(|(_, other)| other.standing());
        for other in others.filter(|other| other.version == standing.version) {
            if other != standing {
                return Err(format!("{other:?} and {standing:?} are in force"));
            }
        }
    }
    Ok(())
}

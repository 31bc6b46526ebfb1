//! Members and the horizon. Every node gossips what it has; the minimum over all members is the stamp
//! time before which nothing can still arrive anywhere.

mod meeting;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{NodeId, Origin};
use crate::base::io::Past;
use crate::base::time::UnixMs;
use crate::base::vector::Vector;
use crate::wire::frame::Record;

use super::others::Others;

/// One other node of the cluster, as far as gossip tells.
#[derive(Clone, Debug)]
pub struct Member {
    pub record: Record,
    /// The newest announcement whose vector this node covers: all that the member had sent before it
    /// announced has arrived here.
    settled: Announcement,
    /// An announcement that waits to be covered; the newest is taken up after it.
    pending: Announcement,
}

/// What a member had from every origin when its expiry clock stood where it says, and whom it knew of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Announcement {
    /// Of the record it was made in.
    seq: u64,
    vector: Vector,
    clock: UnixMs,
    to: Vec<(NodeId, Origin)>,
    joined: bool,
}

impl Announcement {
    /// Becomes that of the record, in the memory that is there.
    fn take_up(&mut self, record: &Record) {
        self.seq = record.seq;
        self.vector.clone_from(&record.vector);
        self.clock = record.clock;
        self.to.clone_from(&record.announced_to);
        self.joined = record.joined;
    }

    fn clear(&mut self) {
        self.seq = 0;
        self.vector.clear();
        self.clock = UnixMs(0);
        self.to.clear();
        self.joined = false;
    }
}

/// This node's own record and those of all others it knows.
#[derive(Clone, Debug)]
pub struct Members {
    me: Record,
    others: Others,
    /// Origins whose writes nobody else gets: plain replicas'. They never appear in what is announced.
    barren: BTreeSet<Origin>,
    /// Who has gone by origins that are past, as far as this node has seen them change.
    retired: BTreeMap<Origin, NodeId>,
    /// Nodes, in the life they have now, that had announced nothing when they listed this one.
    count_on_me: BTreeSet<(NodeId, Origin)>,
    /// No horizon that counts on what this node has announced can pass this stamp time.
    announced_floor: u64,
    /// The membership has changed and the others should hear of it at once.
    news: bool,
    /// Members of the last life that have not been heard of in this one.
    awaited: BTreeSet<NodeId>,
    /// There was a last life in company: no horizon of that cluster can have passed what it has left.
    recalls: bool,
    /// An announcement that waits until what a next life would have to know of it is durable.
    drafted: Option<Announcement>,
    /// What is durable of that, and what is being written.
    kept: Past,
    storing: Option<Past>,
    /// Another's horizon has been taken for one that this node may not know all below.
    knows_foreign_horizon: bool,
    /// Whose writes the start of this life has read, if others may hold them, too.
    holds: BTreeSet<Origin>,
}

/// What a record taken in has changed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Learned {
    Nothing,
    Newer,
    /// A node, or a node's epoch, not known before.
    NewOrigin,
}

impl Members {
    pub fn new(me: Record, past: &Past) -> Members {
        Members {
            others: Others::default(),
            barren: BTreeSet::new(),
            retired: BTreeMap::new(),
            count_on_me: BTreeSet::new(),
            announced_floor: 0,
            news: false,
            awaited: past.members.iter().copied().filter(|&node| node != me.node).collect(),
            recalls: !past.members.is_empty(),
            drafted: None,
            kept: past.clone(),
            storing: None,
            knows_foreign_horizon: false,
            holds: BTreeSet::new(),
            me,
        }
    }

    /// Takes in a record of another node. One's own comes back unread.
    pub fn learn(&mut self, record: &Record) -> Learned {
        if record.node == self.me.node {
            return Learned::Nothing;
        }
        let learned = match self.others.get(record.node) {
            None => Learned::NewOrigin,
            Some(known) => {
                let (old, new) = (&known.record, record);
                if (new.epoch, new.seq) <= (old.epoch, old.seq) {
                    return Learned::Nothing;
                }
                if old.origin == new.origin { Learned::Newer } else { Learned::NewOrigin }
            }
        };
        if !record.brings {
            self.barren.insert(record.origin);
        }
        if self.counts_on_me(record) {
            self.count_on_me.insert((record.node, record.origin));
        }
        self.awaited.remove(&record.node);
        match learned {
            Learned::NewOrigin => {
                let none = Announcement::default();
                let member =
                    Member { record: record.clone(), settled: none.clone(), pending: none };
                if let Some(past) = self.others.insert(member) {
                    self.retired.insert(past.record.origin, record.node);
                }
                self.news = true;
                self.relist();
            }
            Learned::Newer | Learned::Nothing => {
                if let Some(member) = self.others.get_mut(record.node) {
                    self.news |= member.record.lists != record.lists;
                    renew(&mut member.record, record);
                }
            }
        }
        learned
    }

    fn relist(&mut self) {
        let me = (self.me.node, self.me.origin);
        let others = self.others.iter().map(|m| (m.record.node, m.record.origin));
        self.me.lists = others.chain([me]).collect();
        self.me.lists.sort_unstable();
        self.me.seq += 1;
        self.drafted = None;
    }

    /// Whether the own writes reach others.
    pub fn set_brings(&mut self, brings: bool) {
        self.me.brings = brings;
        self.me.seq += 1;
    }

    /// The own origin or epoch has changed.
    pub fn become_origin(&mut self, epoch: crate::base::ids::Epoch, origin: Origin) {
        self.me.epoch = epoch;
        self.me.origin = origin;
        self.me.vector = Vector::new();
        self.me.clock = UnixMs(0);
        self.me.announced_to = Vec::new();
        self.me.joined = false;
        self.relist();
        self.news = true;
    }

    /// The own record says how far this node has collected, in this life or an earlier one: before anybody hears of it first.
    pub fn note_collected(&mut self, collected: u64) {
        if self.me.collected != collected {
            self.me.collected = collected;
            self.me.seq += 1;
        }
    }

    /// Renews the own record, and makes the next announcement of `present`: vector, expiry clock, and whether the node has
    /// all that others may have collected. `None`: it has to wait. These move only while every member lists every
    /// member and all have met their masters and the members of their last lives; else they stand still, so that no
    /// horizon passes a member that some do not know yet.
    ///
    /// No announcement is made before what a next life has to know of it is durable: what is to be written down for
    /// that is returned, unless something is being written already. `bound`: up to where this node knows that anybody may
    /// have collected.
    pub fn announce(
        &mut self,
        present: Option<(&Vector, UnixMs, bool)>,
        met_all: bool,
        collected: u64,
        bound: u64,
    ) -> Option<Past> {
        self.me.seq += 1;
        self.me.met_all = met_all && self.is_complete();
        self.me.collected = collected;
        if !self.everyone_lists_everyone() {
            self.drafted = None;
        } else if let Some((vector, clock, joined)) = present.filter(|_| self.drafted.is_none()) {
            let vector = self.outgoing(vector).into_owned();
            let to = self.me.lists.clone();
            self.drafted = Some(Announcement { seq: 0, vector, clock, to, joined });
        }
        if self.storing.is_some() {
            return None;
        }
        let drafted = self.drafted.as_ref().map_or(0, |draft| self.floor_of(&draft.vector));
        let horizon = self.kept.horizon.max(drafted).max(bound);
        // A plain replica brings nothing that anybody would have to wait for.
        let bring = self.others.iter().filter(|m| m.record.brings).map(|m| m.record.node);
        let mut members: Vec<NodeId> = bring.chain(self.awaited.iter().copied()).collect();
        members.sort_unstable();
        members.dedup();
        let needs = self.needs(horizon, drafted, bound);
        let past = Past { horizon, needs, members };
        if past == self.kept {
            self.publish();
            return None;
        }
        self.storing = Some(past.clone());
        Some(past)
    }

    /// Lives without whose announcement nobody can have collected up to `horizon`, the greatest of what is kept, what the
    /// draft allows and `bound`: no horizon counts on an announcement without one of everybody it was made to.
    fn needs(&self, horizon: u64, drafted: u64, bound: u64) -> Vec<(NodeId, Origin)> {
        if self.knows_foreign_horizon || bound > self.kept.horizon {
            return Vec::new();
        }
        let mut needs = if horizon > self.kept.horizon && horizon == drafted {
            self.drafted.as_ref().map_or_else(Vec::new, |draft| draft.to.clone())
        } else {
            self.kept.needs.clone()
        };
        needs.retain(|life| {
            life.0 != self.me.node && (self.kept.horizon == 0 || self.kept.needs.contains(life))
        });
        needs
    }

    /// Lives without whose announcement nobody can have collected up to `bound`, as far as is known of what this node's
    /// last life has left. None once this life has announced anything itself.
    pub fn horizon_needs(&self, bound: u64) -> &[(NodeId, Origin)] {
        let knows =
            self.has_announced() || self.knows_foreign_horizon || bound != self.kept.horizon;
        if knows { &[] } else { &self.kept.needs }
    }

    /// Others have collected, or may have, what this node knows nothing of.
    pub fn note_foreign_horizon(&mut self) {
        self.knows_foreign_horizon = true;
    }

    /// What [`Members::announce`] gave to be written down is durable, or could not be written.
    pub fn on_past_stored(&mut self, durable: bool) {
        let Some(past) = self.storing.take() else { return };
        if durable {
            self.kept = past;
            self.publish();
        }
    }

    /// Makes the drafted announcement, if it may be made.
    fn publish(&mut self) {
        let Some(draft) = self.drafted.take() else { return };
        let floor = self.floor_of(&draft.vector);
        if floor > self.kept.horizon {
            self.drafted = Some(draft);
            return;
        }
        self.announced_floor = self.announced_floor.max(floor);
        self.me.seq += 1;
        self.me.vector = draft.vector;
        self.me.clock = draft.clock;
        self.me.announced_to = draft.to;
        self.me.joined = draft.joined;
    }

    /// The earliest entry of an origin whose writes may still come: no horizon that counts on the vector passes it.
    fn floor_of(&self, vector: &Vector) -> u64 {
        self.bringing_origins().map(|origin| vector.get(origin)).min().unwrap_or(0)
    }

    /// A vector without the origins whose writes nobody gets.
    pub fn outgoing<'v>(&self, vector: &'v Vector) -> Cow<'v, Vector> {
        let own = (!self.me.brings).then_some(&self.me.origin);
        let mut outgoing = Cow::Borrowed(vector);
        for &origin in self.barren.iter().chain(own) {
            if vector.get(origin) > 0 {
                outgoing.to_mut().remove(origin);
            }
        }
        outgoing
    }

    fn everyone_lists_everyone(&self) -> bool {
        if self.others.is_empty() || !self.me.met_all {
            return false;
        }
        self.others.iter().all(|member| {
            let lists = &member.record.lists;
            member.record.met_all
                && lists.contains(&(self.me.node, self.me.origin))
                && self
                    .others
                    .iter()
                    .all(|other| lists.contains(&(other.record.node, other.record.origin)))
        })
    }

    /// Takes notice that this node now has `vector`: announcements it covers are settled.
    pub fn settle(&mut self, vector: &Vector) {
        for member in self.others.iter_mut() {
            if member.settled.seq == member.record.seq {
                continue;
            }
            if vector.covers_all(&member.record.vector) {
                member.settled.take_up(&member.record);
                member.pending.clear();
            } else if vector.covers_all(&member.pending.vector) {
                // One that waits for nothing is none: the newest takes its place all the same.
                if member.pending.seq > member.settled.seq {
                    core::mem::swap(&mut member.settled, &mut member.pending);
                }
                member.pending.take_up(&member.record);
            }
        }
    }

    /// This node has nothing any more: no announcement is covered.
    pub fn unsettle(&mut self) {
        for member in self.others.iter_mut() {
            member.settled.clear();
            member.pending.clear();
        }
    }

    /// The deliberate fault that announcements count before what they tell of has arrived.
    pub fn settle_all(&mut self) {
        for member in self.others.iter_mut() {
            member.settled.take_up(&member.record);
        }
    }

    /// Whether every member has announced something since it knows of every other, in the life each has now. Only then
    /// does what was announced hold all that an earlier life of any of them has brought anywhere.
    fn everyone_announced_to_everyone(&self) -> bool {
        let current = |to: &[(NodeId, Origin)]| {
            to.contains(&(self.me.node, self.me.origin))
                && self.others.iter().all(|m| to.contains(&(m.record.node, m.record.origin)))
        };
        self.others.iter().all(|member| current(&member.settled.to))
    }

    /// The same, and all have what the cluster may have collected before.
    fn everyone_has_joined(&self) -> bool {
        self.everyone_announced_to_everyone() && self.others.iter().all(|m| m.settled.joined)
    }

    /// The stable horizon, given what this node has: per origin the minimum over all members, over all origins
    /// whose units may still come. An origin of a past epoch that all have equally far no longer counts. 0 while
    /// anybody has announced nothing.
    pub fn horizon(&self, own: &Vector) -> u64 {
        if self.everyone_has_joined() { self.stable(own) } else { 0 }
    }

    /// Where the horizon would be if all had what the cluster may have collected before.
    pub fn stable(&self, own: &Vector) -> u64 {
        if self.others.is_empty() || !self.everyone_announced_to_everyone() {
            return 0;
        }
        let own = self.outgoing(own);
        let mut origins: Vec<Origin> = own.iter().map(|e| e.0).collect();
        for member in self.others.iter() {
            let bringing = member.record.brings.then_some(member.record.origin);
            for origin in member.settled.vector.iter().map(|e| e.0).chain(bringing) {
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            }
        }
        let current = |origin: Origin| {
            origin == self.me.origin || self.others.iter().any(|m| m.record.origin == origin)
        };
        let mut horizon = u64::MAX;
        for origin in origins {
            if self.barren.contains(&origin) {
                continue;
            }
            let mine = own.get(origin);
            let mut least = mine;
            let mut equal = true;
            for member in self.others.iter() {
                let theirs = member.settled.vector.get(origin);
                equal &= theirs == mine;
                least = least.min(theirs);
            }
            if current(origin) || !equal {
                horizon = horizon.min(least);
            }
        }
        if horizon == u64::MAX { 0 } else { horizon }
    }

    /// The earliest expiry clock among settled announcements: every member's clock is past this, and has told
    /// everything it did before. 0 while some have units of a past life that others lack: among them may be an
    /// extension nobody will announce.
    pub fn expired_before(&self, vector: &Vector, own: UnixMs) -> UnixMs {
        let vector = self.outgoing(vector);
        let equal = |origin: Origin| {
            let time = vector.get(origin);
            self.others.iter().all(|member| member.settled.vector.get(origin) == time)
        };
        let settled = self.others.iter().flat_map(|member| member.settled.vector.iter());
        let mut past = settled.chain(vector.iter()).map(|e| e.0).filter(|&o| !self.is_current(o));
        if !self.everyone_has_joined() || !past.all(equal) {
            return UnixMs(0);
        }
        self.others.iter().map(|m| m.settled.clock).fold(own, UnixMs::min)
    }

    /// The current origins of all members whose writes reach others.
    pub fn bringing_origins(&self) -> impl Iterator<Item = Origin> + '_ {
        let me = self.me.brings.then_some(self.me.origin);
        let others = self.others.iter().filter(|m| m.record.brings).map(|m| m.record.origin);
        others.chain(me)
    }

    /// Beyond this stamp time no member can collect before it knows of a node that joins through
    /// this one now: every horizon is at or below each entry of what is announced here.
    pub fn horizon_bound(&self) -> u64 {
        if self.others.is_empty() {
            return 0;
        }
        self.others.iter().map(|m| m.record.collected).fold(self.announced_floor, u64::max)
    }

    /// Whether this life has announced anything: only then can a horizon have counted on it.
    pub fn has_announced(&self) -> bool {
        !self.me.vector.is_empty()
    }

    /// Whether `origin` is the one a known member has at present, and not that of a past life or unknown.
    pub fn is_current(&self, origin: Origin) -> bool {
        origin == self.me.origin || self.others.iter().any(|m| m.record.origin == origin)
    }

    pub fn is_alone(&self) -> bool {
        self.others.is_empty() && self.awaited.is_empty()
    }

    /// Whether every member of the last life has been heard of in this one. (A plain replica has its master's data only.)
    pub fn is_complete(&self) -> bool {
        self.awaited.is_empty() || !self.me.brings
    }

    /// How many members of the last life have not been heard of in this one.
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Whether a node is a member, or was one of the last life and is waited for.
    pub fn knows(&self, node: NodeId) -> bool {
        self.others.contains(node) || self.awaited.contains(&node)
    }

    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.others.get(node)
    }

    /// Who has this origin now, or had it, if that was another node.
    pub fn owner(&self, origin: Origin) -> Option<NodeId> {
        let now = self.others.iter().find(|m| m.record.origin == origin).map(|m| m.record.node);
        now.or_else(|| self.retired.get(&origin).copied())
    }

    pub fn others(&self) -> impl Iterator<Item = &Record> + '_ {
        self.others.iter().map(|m| &m.record)
    }

    pub fn len(&self) -> usize {
        self.others.len()
    }

    /// The own record and all others', for a heartbeat or a hello.
    pub fn records(&self) -> impl Iterator<Item = &Record> + '_ {
        core::iter::once(&self.me).chain(self.others())
    }

    /// Whether the membership has changed since the last call.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }
}

/// Becomes the newer record, in the memory that is there.
fn renew(old: &mut Record, new: &Record) {
    let mut vector = core::mem::take(&mut old.vector);
    vector.clone_from(&new.vector);
    let mut announced_to = core::mem::take(&mut old.announced_to);
    announced_to.clone_from(&new.announced_to);
    let mut lists = core::mem::take(&mut old.lists);
    lists.clone_from(&new.lists);
    *old = Record { vector, announced_to, lists, ..*new };
}

#[cfg(test)]
mod tests;

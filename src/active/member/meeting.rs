//! What a life knows of earlier ones and of clusters it meets: up to where anybody may have collected without it.

use std::collections::BTreeSet;

use super::Members;
use crate::base::ids::{NodeId, Origin};
use crate::base::vector::Vector;
use crate::wire::frame::{Hello, Record};
use crate::wire::sane::ORIGINS_MAX;

impl Members {
    /// Whether the node of this record had announced nothing before it knew of this one.
    pub(super) fn counts_on_me(&self, record: &Record) -> bool {
        let me = (self.me.node, self.me.origin);
        self.count_on_me.contains(&(record.node, record.origin))
            || (record.vector.is_empty() && record.lists.contains(&me))
    }

    /// Up to where the cluster that says hello may have collected without this node's present life; 0 if every
    /// horizon it can have reached counts on that.
    ///
    /// 1. A horizon needs an announcement of every member, made knowing every member's present life.
    /// 2. So an announcement made knowing this life moves none without it;
    /// 3. nor does one made to somebody who had announced nothing yet when he listed this life.
    /// 4. What has been collected already may have been in earlier lives: the latest has left how far, unless its file
    ///    was lost or is not the latest.
    /// 5. Such a past also tells which lives any horizon up to there waited for: as long as one of them has announced
    ///    nothing there is none.
    pub fn joining_bound(&self, hello: &Hello) -> u64 {
        if self.recalls(hello) {
            return 0;
        }
        let me = (self.me.node, self.me.origin);
        let without_me = |record: &&Record| {
            let of_me = |known: &(NodeId, Origin)| {
                *known == me
                    || self.count_on_me.contains(known)
                    || hello
                        .members
                        .iter()
                        .any(|r| (r.node, r.origin) == *known && self.counts_on_me(r))
            };
            !record.vector.is_empty() && !record.announced_to.iter().any(of_me)
        };
        let records = || hello.members.iter().filter(|record| record.node != me.0);
        // Nobody there has said anything in this life: then it is a past that tells of a bound.
        let silent = records().all(|record| record.vector.is_empty());
        let told = records().any(|record| record.collected > 0);
        if silent && !told && hello.horizon_needs.contains(&me) {
            return 0;
        }
        let collected = silent || told;
        let speaks_for_me =
            |record: &Record| record.node == hello.node && record.announced_to.contains(&me);
        if records().any(speaks_for_me) || (!collected && !records().any(|r| without_me(&r))) {
            return 0;
        }
        hello.horizon_bound
    }

    /// Whether a hello comes from the cluster this node was in in its last life, too, and nothing there says that an
    /// older past has been put in place of what that life left.
    pub fn recalls(&self, hello: &Hello) -> bool {
        let is_newer = |r: &Record| {
            let floor = r.announced_to.iter().map(|&(_, origin)| r.vector.get(origin)).min();
            let announced = r.node == self.me.node && floor > Some(self.kept.horizon);
            // Nobody collects beyond what this node has kept before it announced it.
            announced || r.collected > self.kept.horizon
        };
        self.recalls && self.knows_any(hello) && !hello.members.iter().any(is_newer)
    }

    /// The past was not that of the latest life.
    pub fn distrust_past(&mut self) {
        self.recalls = false;
    }

    /// Whether a hello comes from another cluster than the one this node was in in its last life.
    pub fn is_elsewhere(&self, hello: &Hello) -> bool {
        // (One that has announced nothing yet says nothing of where it belongs: others it has met may.)
        let is_settled = !hello.joining && hello.horizon_bound > 0;
        let met_settled = || hello.members.iter().any(|r| r.collected > 0);
        let of_past = |r: &Record| r.node != self.me.node && self.kept.members.contains(&r.node);
        self.recalls && (is_settled || met_settled()) && !hello.members.iter().any(of_past)
    }

    /// The start has read writes of these origins, which others may hold, too.
    pub fn set_holds(&mut self, mut holds: BTreeSet<Origin>) {
        holds.remove(&self.me.origin);
        self.holds = holds;
    }

    /// What a hello tells of them. Once this life has announced anything it is a member, and they are the cluster's.
    pub fn holds(&self) -> Vec<Origin> {
        if self.has_announced() || !self.me.brings {
            return Vec::new();
        }
        self.holds.iter().copied().take(ORIGINS_MAX).collect()
    }

    /// Whether one side begins with a log or a dump of one cluster and the other belongs to another, which may have
    /// collected. What the one holds below that horizon the others would refuse, and nobody could tell them what
    /// became of it. `vector` and `bound` are this node's.
    ///
    /// Who has ever belonged to the same cluster is known by name, whatever it holds. Else all of that has to have counted
    /// there: of a write of an origin that a cluster has never heard of nobody could tell whether it is new or was deleted.
    /// (A plain replica nobody remembers by name, but it brings nothing.)
    pub fn is_moved(&self, hello: &Hello, vector: &Vector, bound: u64) -> bool {
        if !self.me.brings || !hello.brings {
            return false;
        }
        let (holds_here, holds_there) = (!self.holds().is_empty(), !hello.holds.is_empty());
        let collects = |record: &Record| record.collected > 0;
        let belongs_here = self.has_announced() || self.others().any(collects) || holds_here;
        let belongs_there = !hello.joining || hello.members.iter().any(collects) || holds_there;
        let differ = (holds_there && belongs_here && bound > 0)
            || (holds_here && belongs_there && hello.horizon_bound > 0);
        differ && !self.knows_of_old(hello) && !self.shares_past(hello, vector)
    }

    /// Whether anybody there is or was a member here.
    fn knows_of_old(&self, hello: &Hello) -> bool {
        hello.members.iter().any(|Record { node, .. }| {
            *node == self.me.node || self.knows(*node) || self.kept.members.contains(node)
        })
    }

    /// Whether what one side has begun with has counted on the other. Two that have both just begun have no vectors yet that
    /// would tell: of them it is enough that they hold anything of one origin.
    fn shares_past(&self, hello: &Hello, vector: &Vector) -> bool {
        let has = |origin: Origin| {
            origin == self.me.origin || vector.get(origin) > 0 || self.owner(origin).is_some()
        };
        let has_there = |origin: Origin| {
            hello.vector.get(origin) > 0 || hello.members.iter().any(|r| r.origin == origin)
        };
        let (here, there) = (self.holds(), &hello.holds);
        if !here.is_empty() && !there.is_empty() {
            return here.iter().any(|&o| has_there(o) || there.contains(&o))
                || there.iter().any(|&origin| has(origin));
        }
        here.into_iter().all(has_there) && there.iter().all(|&origin| has(origin))
    }

    /// Up to where a member of the cluster that this node belongs to, as its past or its own announcements say, has collected;
    /// 0 for any other node.
    pub fn collected_by_fellow(&self, node: NodeId) -> u64 {
        let is_fellow = self.kept.members.contains(&node);
        self.get(node).filter(|_| is_fellow).map_or(0, |member| member.record.collected)
    }

    /// Nobody of the last life's members is waited for any more: this life has come to another cluster.
    pub fn forget_past(&mut self) {
        self.awaited.clear();
        self.recalls = false;
    }

    /// Whether any of the records in a hello is of a node that is or was a member.
    fn knows_any(&self, hello: &Hello) -> bool {
        hello.members.iter().any(|r| self.knows(r.node))
    }

    /// Whether the lives before have left members.
    pub fn has_past(&self) -> bool {
        self.recalls
    }
}

//! The operator of a strong cluster opens, in the end, what does not open by itself.

use std::collections::BTreeSet;

use quorate::base::checksum::partition_of;
use quorate::base::ids::{PARTITION_COUNT, Partition};
use quorate::base::time::Span;
use quorate::node::Node;
use quorate::strong::Strong;
use quorate::strong::revive::{Progress, ReviveError};

use super::client::name_of;
use super::player::Player;
use crate::check::{Property, Verdict, Violation};
use crate::ids::HostId;
use crate::linear::history::{Event, History};
use crate::linear::value::Value;
use crate::runner;
use crate::time::Time;

/// Partitions that went on with less than was acknowledged, as the operator was told.
#[derive(Debug, Default)]
pub struct GivenUp {
    of: BTreeSet<Partition>,
    count: u16,
    keys: u16,
    since: u64,
}

impl GivenUp {
    /// Leaves out what clients saw of them afterwards: nobody promises anything of that.
    pub fn leave_out(&self, history: &mut History) {
        if self.of.is_empty() {
            return;
        }
        let each = PARTITION_COUNT / self.count;
        let of = |key: &String| Partition(partition_of(key.as_bytes()).0 / each);
        let lost = (0..=self.keys).map(name_of).filter(|key| self.of.contains(&of(key)));
        let lost: BTreeSet<String> = lost.collect();
        let stays = |event: &Event| {
            let is_lost = match &event.key {
                Some(Value::Str(key)) => lost.contains(key),
                Some(
                    Value::Nil
                    | Value::Bool(_)
                    | Value::Int(_)
                    | Value::Keyword(_)
                    | Value::Vector(_),
                )
                | None => false,
            };
            !is_lost || event.time.is_none_or(|time| time < self.since)
        };
        history.events.retain(stays);
    }
}

impl Player<'_> {
    fn node(&self, at: HostId) -> Option<&Strong> {
        self.world.machine(at).and_then(Node::strong)
    }

    /// Partitions that nobody serves.
    fn unserved(&self) -> Vec<Partition> {
        let hosts = (0..self.plan.nodes.len() as u16).map(HostId);
        let all: Vec<&Strong> = hosts.filter_map(|host| self.node(host)).collect();
        let served = |of: &Partition| all.iter().any(|strong| strong.serves(*of));
        (0..self.strong.partitions).map(Partition).filter(|of| !served(of)).collect()
    }

    /// The operator asks, if the plan says so and something is not served. What has been opened is served soon.
    pub(super) fn revive(&mut self, until: Time) -> Option<Verdict> {
        let at = HostId(self.strong.revive?);
        let unserved = self.unserved();
        if unserved.is_empty() {
            return None;
        }
        self.leave_out(&unserved);
        self.say(|| format!("an operator revives at {}", runner::player::name_of(at.0)));
        let since = self.world.now().0;
        self.command(at, &[&[b"QUORATE", b"REVIVE"]]);
        let deadline = self.world.now() + Span::from_ms(self.plan.bound_ms);
        let mut is_done = false;
        while self.world.now() < deadline {
            let next = (self.world.now() + Span::from_ms(250)).min(until);
            self.run(next);
            if let Some(verdict) = self.early(until) {
                return Some(verdict);
            }
            let revival = self.node(at)?.revival()?;
            match revival.progress() {
                Progress::Running => continue,
                Progress::Failed(ReviveError::Late) => break,
                // (It was refused: a disk is an older one, or the node not of the cluster.)
                Progress::Failed(
                    ReviveError::NoRoster
                    | ReviveError::NotHere
                    | ReviveError::Running
                    | ReviveError::Missing(_)
                    | ReviveError::NotCounted
                    | ReviveError::Nothing
                    | ReviveError::Amnesiac(_)
                    | ReviveError::NewestAmnesiac(..),
                ) => return None,
                Progress::Done => {}
            }
            if !is_done {
                is_done = true;
                let revived = revival.revived();
                let of = revived.accepted.keys().chain(&revived.lost).copied().collect();
                let keys = self.strong.clients.iter().flat_map(|client| &client.steps);
                let keys = keys.map(|step| step.key).max().unwrap_or(0);
                let count = self.strong.partitions;
                self.given_up = GivenUp { of, count, keys, since };
            }
            if self.unserved().is_empty() {
                return None;
            }
        }
        let unserved = self.unserved();
        let all = (0..self.plan.nodes.len() as u16).filter_map(|host| self.node(HostId(host)));
        let told: String = match unserved.first() {
            Some(&of) => all.map(|strong| strong.told(of)).collect(),
            None => String::new(),
        };
        let evidence = format!("{unserved:?} are not served after a revive:{told}");
        Some(Verdict::Violated(Violation { property: Property::Availability, evidence }))
    }
}

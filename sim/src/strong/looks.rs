//! A player looks at all nodes again and again: whether all is well, and whether they are where ambushes wait for them.

use std::collections::BTreeSet;

use quorate::base::checksum::partition_of;
use quorate::base::ids::{PARTITION_COUNT, Partition};
use quorate::base::time::Span;

use super::ambush::Lurking;
use super::eye::{Eye, copies_are_equal, running};
use super::player::{Player, Token};
use super::{client, faults};
use crate::check::Violation;
use crate::plan::strong::StrongPlan;
use crate::plan::{FaultClass, FaultKind, Plan};

/// How often the nodes are looked at, where ambushes wait for them and where none do.
const LOOK: Span = Span::from_ms(1);
const LOOK_SELDOM: Span = Span::from_ms(10);
/// What copies hold is compared with each so many-th look.
const COPIES_EVERY: u64 = 40;

/// What looking has to remember.
#[derive(Debug)]
pub(super) struct Looks {
    count: u64,
    eye: Eye,
    lurking: Vec<Lurking>,
    /// Faults of ambushes that have begun, and have not ended.
    sprung: Vec<Option<FaultKind>>,
}

impl Looks {
    pub fn new(plan: &Plan, strong: &StrongPlan) -> Looks {
        let of_key = |key| part_of(strong, client::name_of(key).as_bytes());
        let lurking = strong.ambushes.iter().map(|ambush| Lurking::new(of_key(ambush.key)));
        Looks {
            count: 0,
            eye: Eye::new(watched(strong), plan),
            lurking: lurking.collect(),
            sprung: Vec::new(),
        }
    }
}

impl Player<'_> {
    /// What an operator opens is not looked at any more.
    pub(super) fn leave_out(&mut self, opened: &[Partition]) {
        self.looks.eye.leave_out(opened);
    }

    /// Looks at all nodes, whether all is well and whether they are where ambushes wait for them.
    pub(super) fn look(&mut self) {
        let every = if self.looks.lurking.is_empty() { LOOK_SELDOM } else { LOOK };
        self.world.alarm(self.world.now() + every, Token::Look.encode());
        let nodes = running(&self.world, self.plan);
        self.looks.count += 1;
        let mut well = self.looks.eye.look(&nodes);
        if self.looks.count.is_multiple_of(COPIES_EVERY) && well.is_ok() {
            well = self.copies_are_equal();
        }
        if let Err(violation) = well {
            self.broken = Some(violation);
            return;
        }
        let now_ms = self.world.now().as_ms();
        if now_ms >= self.plan.load_ms {
            return;
        }
        let hosts = self.plan.nodes.len() as u16;
        let mut met = Vec::new();
        for (n, lurking) in self.looks.lurking.iter_mut().enumerate() {
            let wait = lurking.look(&self.strong.ambushes[n], &nodes, hosts, now_ms);
            met.extend(wait.map(|wait_us| (n, wait_us)));
        }
        for (n, wait_us) in met {
            let at = self.world.now() + Span(wait_us * 1000);
            self.world.alarm(at, Token::Spring(n).encode());
        }
    }

    fn copies_are_equal(&self) -> Result<(), Violation> {
        let part_of = |key: &[u8]| part_of(self.strong, key);
        copies_are_equal(&self.world, self.plan, &watched(self.strong), &part_of)
    }

    /// A trap does its deed.
    pub(super) fn spring(&mut self, n: usize) {
        let Some((trap, faults)) = self.looks.lurking[n].due.take() else { return };
        if self.world.now().as_ms() >= self.plan.load_ms {
            return;
        }
        if trap.heals() {
            (0..self.looks.sprung.len()).for_each(|n| self.unspring(n));
        }
        let ends = self.world.now() + Span::from_ms(trap.lasts_ms);
        for kind in faults {
            self.say(|| format!("at a moment of {:?}: {kind:?} begins", trap.moment));
            self.crashes += u64::from(kind.class() == FaultClass::Crash);
            faults::fault(&mut self.world, self.plan, &mut self.backups, &kind, true);
            self.looks.sprung.push(Some(kind));
            if ends.as_ms() < self.plan.load_ms {
                self.world.alarm(ends, Token::Unspring(self.looks.sprung.len() - 1).encode());
            }
        }
    }

    pub(super) fn unspring(&mut self, n: usize) {
        let Some(kind) = self.looks.sprung[n].take() else { return };
        self.say(|| format!("{kind:?} ends"));
        if self.world.now().as_ms() < self.plan.load_ms {
            faults::fault(&mut self.world, self.plan, &mut self.backups, &kind, false);
        }
    }
}

/// The partition of a client's key.
fn part_of(strong: &StrongPlan, key: &[u8]) -> Partition {
    Partition(partition_of(key).0 / (PARTITION_COUNT / strong.partitions))
}

/// The partitions of all keys that clients ask for, once each, and the first.
fn watched(strong: &StrongPlan) -> BTreeSet<Partition> {
    let keys = strong.clients.iter().flat_map(|client| &client.steps).map(|step| step.key);
    let parts = keys.map(|key| part_of(strong, client::name_of(key).as_bytes()));
    parts.chain([Partition(0)]).collect()
}

//! What a player did to its world, for whoever wants to write it down in other words.

use super::campaign::guarded_mut;
use super::outcome::Outcome;
use super::player::Player;
use super::run::{Options, run_player};
use crate::decide::Decisions;
use crate::plan::Plan;
use crate::workload::history::History;

/// One thing done to the world from outside; hosts are numbered as in the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    Iptables {
        host: u16,
        rule: String,
    },
    Kill {
        host: u16,
    },
    Start {
        host: u16,
        masters: Vec<u16>,
    },
    Pause {
        host: u16,
    },
    Resume {
        host: u16,
    },
    Step {
        host: u16,
        by_ms: i64,
    },
    /// Both directions; `None`: as the plan has it.
    Latency {
        a: u16,
        b: u16,
        ms: Option<u64>,
    },
    /// Links from this host are as the plan has them.
    LinksHeal {
        host: u16,
    },
    /// Words said at the console.
    Tell {
        host: u16,
        words: Vec<String>,
    },
    /// What a scenario file has no words for.
    Unsayable(&'static str),
}

/// Deeds in the order of their doing.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Simulated time in ns, the fault of the plan it belongs to (none: the healing), and what was done.
    pub list: Vec<(u64, Option<usize>, Deed)>,
    cause: Option<usize>,
}

/// A run, and what was done and said in it.
#[derive(Debug)]
pub struct Recorded {
    pub outcome: Outcome,
    pub deeds: Deeds,
    pub history: History,
    /// Whom each host follows at its first start.
    pub following: Vec<Vec<u16>>,
}

/// Plays a plan and writes down what was done, even if a node panics at the end of it.
pub fn record_plan(plan: &Plan) -> Recorded {
    let mut player = Player::new(plan, false, None, Decisions::from_seed(plan.seed));
    player.deeds = Some(Deeds::default());
    let following = player.following.clone();
    let outcome = guarded_mut(plan.seed, &mut || run_player(&mut player, Options::default()));
    let deeds = player.deeds.take().unwrap_or_default();
    Recorded { outcome, deeds, history: player.history, following }
}

impl Player<'_> {
    pub(super) fn did(&mut self, deed: Deed) {
        let now = self.world.now().0;
        if let Some(deeds) = &mut self.deeds {
            deeds.list.push((now, deeds.cause, deed));
        }
    }

    /// What is done from now on belongs to this fault, or to the healing.
    pub(super) fn cause(&mut self, fault: Option<usize>) {
        if let Some(deeds) = &mut self.deeds {
            deeds.cause = fault;
        }
    }
}

//! What a process has told of its links: the facts that say what waits for what when a run is stuck.

use std::collections::BTreeMap;

use quorate::base::fact::Fact;
use quorate::base::ids::{NodeId, Origin};

use crate::time::Time;

/// How the link to a master is, as the one who follows it sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    Up,
    /// Up, but silent for too long.
    Suspect,
    Down,
}

/// The links of one process to its masters, and what else keeps units from it.
#[derive(Clone, Debug, Default)]
pub struct Links {
    phases: BTreeMap<NodeId, (Phase, Time)>,
    /// State transfers under way, by who sends them.
    resyncs: BTreeMap<NodeId, Time>,
    /// Origins whose units wait, as their stamps are too far ahead.
    paused: BTreeMap<Origin, Time>,
    /// By the master's name: why it could not be reached last.
    troubles: BTreeMap<String, String>,
}

impl Links {
    /// Takes one fact.
    pub fn fact(&mut self, at: Time, fact: &Fact) {
        match fact {
            Fact::LinkUp { peer } => {
                self.phases.insert(*peer, (Phase::Up, at));
            }
            Fact::LinkDown { peer } => {
                self.phases.insert(*peer, (Phase::Down, at));
                self.resyncs.remove(peer);
            }
            Fact::LinkSuspect { peer } => {
                self.phases.insert(*peer, (Phase::Suspect, at));
            }
            Fact::ResyncBegan { from } => {
                self.resyncs.insert(*from, at);
            }
            Fact::ResyncEnded { from, .. } => {
                self.resyncs.remove(from);
            }
            Fact::OriginPaused { origin } => {
                self.paused.insert(*origin, at);
            }
            Fact::OriginResumed { origin } => {
                self.paused.remove(origin);
            }
            Fact::Log { text, .. } => {
                // `MASTER NAME:PORT: why`
                let told = text.strip_prefix("MASTER ").and_then(|rest| rest.split_once(": "));
                if let Some((name, _)) = told.and_then(|(to, _)| to.split_once(':')) {
                    let why = told.map_or("", |(_, why)| why);
                    self.troubles.insert(name.to_owned(), why.to_owned());
                }
            }
            Fact::Sometimes(_)
            | Fact::UnitIssued { .. }
            | Fact::CellsAdopted { .. }
            | Fact::CellsLifted { .. }
            | Fact::UnitTaken { .. }
            | Fact::StampsMoved { .. }
            | Fact::StandsAlone
            | Fact::StoodAlone { .. }
            | Fact::KeyChanged { .. }
            | Fact::StaleDropped { .. }
            | Fact::VectorMoved { .. }
            | Fact::Collected { .. }
            | Fact::DataDropped
            | Fact::MemberSeen { .. }
            | Fact::ClockCorrected { .. } => {}
        }
    }

    /// How the link to a node is, and since when; None if it never came up.
    pub fn phase(&self, node: NodeId) -> Option<(Phase, Time)> {
        self.phases.get(&node).copied()
    }

    /// Since when a node has been sending its state.
    pub fn resync(&self, node: NodeId) -> Option<Time> {
        self.resyncs.get(&node).copied()
    }

    /// Since when units of an origin have been waiting.
    pub fn paused(&self, origin: Origin) -> Option<Time> {
        self.paused.get(&origin).copied()
    }

    /// Why the master of this name could not be reached last.
    pub fn trouble(&self, name: &str) -> Option<&str> {
        self.troubles.get(name).map(String::as_str)
    }
}

//! What a process has told of its links: the facts that say what waits for what when a run is stuck.

use std::collections::BTreeMap;

use quorate::base::fact::Fact;
use quorate::base::ids::{NodeId, Origin};

use crate::time::Time;

/// What a process says when it hears of a suspect link again, of whichever.
const HEARD_AGAIN: &str = "a suspect link came back to life";

/// How the link to a master is, as the one who follows it sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    Up,
    /// Up, but silent for too long.
    Suspect,
    /// Suspect or up again: one of several that were suspect has been heard of since.
    Unsure,
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
            Fact::Sometimes(label) if *label == HEARD_AGAIN => self.heard_again(at),
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

    fn heard_again(&mut self, at: Time) {
        let suspect = self.phases.values_mut().filter(|(phase, _)| match phase {
            Phase::Suspect | Phase::Unsure => true,
            Phase::Up | Phase::Down => false,
        });
        let mut suspect: Vec<&mut (Phase, Time)> = suspect.collect();
        let phase = if suspect.len() == 1 { Phase::Up } else { Phase::Unsure };
        suspect.iter_mut().for_each(|link| **link = (phase, at));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_what_was_told_of_it_last() {
        let (one, other) = (NodeId(1), NodeId(2));
        let mut links = Links::default();
        let mut tell = |at, fact| links.fact(Time(at), &fact);
        tell(1, Fact::LinkUp { peer: one });
        tell(2, Fact::LinkSuspect { peer: one });
        tell(3, Fact::Sometimes(HEARD_AGAIN));
        tell(4, Fact::LinkUp { peer: other });
        tell(5, Fact::ResyncBegan { from: other });
        let level = quorate::base::fact::LogLevel::Notice;
        tell(6, Fact::Log { level, text: "MASTER node3:6379: connecting timed out".to_owned() });
        assert_eq!(links.phase(one), Some((Phase::Up, Time(3))));
        assert_eq!(
            (links.phase(other), links.resync(other)),
            (Some((Phase::Up, Time(4))), Some(Time(5)))
        );
        assert_eq!(links.trouble("node3"), Some("connecting timed out"));
        let mut tell = |at, fact| links.fact(Time(at), &fact);
        tell(7, Fact::LinkSuspect { peer: one });
        tell(8, Fact::LinkSuspect { peer: other });
        tell(9, Fact::Sometimes(HEARD_AGAIN));
        assert_eq!(links.phase(one), Some((Phase::Unsure, Time(9))));
        links.fact(Time(10), &Fact::LinkDown { peer: other });
        assert_eq!(
            (links.phase(other), links.resync(other)),
            (Some((Phase::Down, Time(10))), None)
        );
    }
}

//! What is written down while a world runs: the ledger, counts, and on request a trace.

use quorate::base::fact::Fact;
use serde::Serialize;

use super::labels::LabelSet;
use super::links::Links;
use super::outcome::Counts;
use crate::ids::HostId;
use crate::model::ledger::{BootId, Ledger};
use crate::time::Time;
use crate::world::Observer;

/// One line of a trace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line {
    /// Simulated time, ns.
    pub at: u64,
    pub who: String,
    pub what: String,
}

/// The observer of a run.
#[derive(Debug, Default)]
pub struct Book {
    pub ledger: Ledger,
    /// The present or last boot of each host.
    pub boots: Vec<Option<BootId>>,
    pub counts: Counts,
    pub labels: LabelSet,
    /// What each host's present process has told of its links.
    pub links: Vec<Links>,
    /// Lines, if anybody wants them.
    pub trace: Option<Vec<Line>>,
}

impl Book {
    pub fn new(hosts: usize, traced: bool) -> Book {
        Book {
            boots: vec![None; hosts],
            links: vec![Links::default(); hosts],
            trace: traced.then(Vec::new),
            ..Book::default()
        }
    }

    /// A process has started; `alone`: without masters and without a past in company.
    pub fn booted(&mut self, host: u16, alone: bool) -> BootId {
        let boot = self.ledger.booted(host);
        self.ledger.boots[boot.0].alone = alone;
        self.boots[host as usize] = Some(boot);
        if let Some(links) = self.links.get_mut(host as usize) {
            *links = Links::default();
        }
        boot
    }

    pub fn crashed(&mut self, host: u16) {
        if let Some(boot) = self.boots[host as usize] {
            self.ledger.crashed(boot);
        }
    }

    /// A line for the trace; the closure is not called without one.
    pub fn say(&mut self, at: Time, who: impl FnOnce() -> String, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(Line { at: at.0, who: who(), what: what() });
        }
    }
}

impl Observer for Book {
    fn on_fact(&mut self, host: HostId, at: Time, fact: Fact) {
        let Some(boot) = self.boots.get(host.index()).copied().flatten() else { return };
        if let Some(links) = self.links.get_mut(host.index()) {
            links.fact(at, &fact);
        }
        match &fact {
            Fact::Sometimes(label) => self.labels.note(label),
            Fact::ResyncEnded { complete: true, .. } => self.counts.resyncs += 1,
            Fact::ResyncEnded { complete: false, .. } => self.counts.resyncs_broken += 1,
            Fact::CellsAdopted { .. } => self.counts.adopted += 1,
            Fact::StampsMoved { .. } => self.counts.moved += 1,
            Fact::Log { .. }
            | Fact::UnitIssued { .. }
            | Fact::UnitTaken { .. }
            | Fact::StandsAlone
            | Fact::CellsLifted { .. }
            | Fact::StoodAlone { .. }
            | Fact::KeyChanged { .. }
            | Fact::StaleDropped { .. }
            | Fact::VectorMoved { .. }
            | Fact::Collected { .. }
            | Fact::LinkUp { .. }
            | Fact::LinkDown { .. }
            | Fact::LinkSuspect { .. }
            | Fact::ResyncBegan { .. }
            | Fact::DataDropped
            | Fact::MemberSeen { .. }
            | Fact::OriginPaused { .. }
            | Fact::OriginResumed { .. }
            | Fact::ClockCorrected { .. } => {}
        }
        if self.trace.is_some() {
            self.say(at, || format!("node{}", host.0 + 1), || format!("{fact:?}"));
        }
        self.ledger.fact(boot, at.0, &fact);
    }
}

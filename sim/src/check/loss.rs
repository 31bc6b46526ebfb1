//! No acknowledged loss: what a living member of the core ever had, the core has in the end.

use super::sessions::Matched;
use super::{Property, Violation};
use crate::model::key::show;
use crate::model::ledger::{Boot, BootId, Issued, Ledger};
use crate::model::merge::Coverage;
use crate::workload::history::{History, Outcome};

/// Under which circumstances an acknowledged unit of a host must be there in the end, whatever its processes and its power
/// went through.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// Nothing is promised.
    Nothing,
    /// `appendfsync always`: everything acknowledged after this time, ns.
    All { after: u64 },
    /// What was acknowledged after this time and written so long before the power went, ns. Without a loss of power
    /// everything: the end of a process takes nothing that it has written.
    Older { after: u64, than: u64 },
}

/// The first acknowledged unit that the core does not have, although the host it was written on is one of it and must have
/// kept it. `keeps`: by host.
pub fn lost_though_durable(
    ledger: &Ledger,
    history: &History,
    matched: &Matched,
    coverage: &Coverage,
    keeps: &dyn Fn(u16) -> Keeps,
) -> Option<Violation> {
    let acknowledged = matched.unit_of.iter().zip(&history.attempts);
    for (of, attempt) in acknowledged {
        let (Some(index), Outcome::Replied(_)) = (*of, &attempt.outcome) else { continue };
        let unit = &ledger.units[index];
        let boot = &ledger.boots[unit.boot.0];
        if unit.traceless || (!unit.lost && coverage.covers(unit.dot)) {
            continue;
        }
        let why = match (keeps(boot.host), boot.ended) {
            (Keeps::All { after }, _) if unit.at > after => "syncs always".to_owned(),
            (Keeps::Older { after, .. }, Some((_, false))) if unit.at > after => {
                "did not lose power before it had ended".to_owned()
            }
            (Keeps::Older { after, than }, Some((ended, true)))
                if unit.at > after && ended > unit.at + than =>
            {
                format!("lost power {} ms later", (ended - unit.at) / 1_000_000)
            }
            (Keeps::Nothing | Keeps::All { .. } | Keeps::Older { .. }, _) => continue,
        };
        let evidence = format!(
            "acknowledged unit {} of host {}, which {why}, is not covered by the core's vectors",
            show(unit.dot),
            boot.host
        );
        return Some(Violation { property: Property::AcknowledgedLoss, evidence });
    }
    None
}

/// Whether damage had taken the unit before `holder` started, and its host had gone on without it and written something, and
/// nobody else ever had it: an older image may bring it back, but others go by what that host has told them since.
fn was_gone(ledger: &Ledger, unit: &Issued, holder: BootId) -> bool {
    let host = ledger.boots[unit.boot.0].host;
    let has = |boot: &Boot| boot.reached.covers(unit.dot);
    let went_on = |at: usize| {
        let boot = &ledger.boots[at];
        let is_damaged = boot.spoilt_at.is_some_and(|spoilt| spoilt > unit.at);
        let wrote = || ledger.units.iter().any(|other| other.boot == BootId(at));
        boot.host == host && is_damaged && !has(boot) && wrote()
    };
    (unit.boot.0 + 1..holder.0).any(went_on)
        && !ledger.boots.iter().any(|boot| boot.host != host && has(boot))
}

/// The first unit that the core has lost. One is lost for good only together with every process
/// that had it: issued it, or reported a vector that covers it.
pub fn lost_unit(
    ledger: &Ledger,
    history: &History,
    matched: &Matched,
    coverage: &Coverage,
    core: &[BootId],
) -> Option<Violation> {
    for (index, unit) in ledger.units.iter().enumerate() {
        if coverage.covers(unit.dot) || unit.traceless {
            continue;
        }
        let holder = core.iter().find(|boot| {
            let known = &ledger.boots[boot.0];
            known.alive
                && (unit.boot == **boot || known.reached.covers(unit.dot))
                && !was_gone(ledger, unit, **boot)
        });
        let Some(holder) = holder else { continue };
        let acknowledged = matched.unit_of.iter().zip(&history.attempts).any(|(of, attempt)| {
            *of == Some(index) && matches!(attempt.outcome, Outcome::Replied(_))
        });
        let evidence = format!(
            "{} unit {} of host {} ({:?}) is not covered by the core's vectors, though host {} \
             had it and never stopped",
            if acknowledged { "acknowledged" } else { "executed" },
            show(unit.dot),
            ledger.boots[unit.boot.0].host,
            unit.changes,
            ledger.boots[holder.0].host
        );
        return Some(Violation { property: Property::AcknowledgedLoss, evidence });
    }
    None
}

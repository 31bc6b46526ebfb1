//! The state of a ledger in text: what was written and who had what, whatever the order in which
//! independent facts were entered.

use std::fmt::Write as _;

use quorate::base::ids::Origin;

use super::key::KeyHistory;
use super::ledger::{Boot, Issued, KeyId, Ledger};

impl Ledger {
    /// Writes everything that a later fact or a checker looks at: ledgers that write the same judge the
    /// same from then on.
    pub fn write_state(&self, out: &mut String) {
        // Whoever adds a field says here how it bears on the verdict. (How many conflicts there were does not.)
        let Ledger {
            boots,
            units,
            keys,
            names: _,
            ids: _,
            flushes,
            undone,
            adopted,
            writers,
            shared,
            violations,
            conflicts: _,
        } = self;
        for boot in boots {
            self.write_boot(boot, out);
        }
        sorted(units.iter().map(|unit| self.issued_text(unit)), out);
        for (name, KeyId(at)) in self.sorted_keys() {
            let _ = write!(out, "\n{name:?}");
            write_key(&keys[at], out);
        }
        sorted(flushes.iter().map(|flush| format!("{flush:?}")), out);
        sorted(undone.iter().map(|undone| format!("{undone:?}")), out);
        sorted(adopted.iter().map(|unit| format!("{unit:?}")), out);
        sorted(writers.iter().map(|writer| format!("{writer:?}")), out);
        sorted(shared.iter().map(|origin| format!("{origin:?}")), out);
        sorted(violations.iter().map(|violation| format!("{violation:?}")), out);
    }

    fn write_boot(&self, boot: &Boot, out: &mut String) {
        let Boot {
            host,
            alive,
            read_log,
            moves,
            spoilt_at,
            ended,
            dropped,
            alone,
            alone_until,
            reached,
            met,
            now,
            last_dot,
            gone,
            sums,
        } = boot;
        let _ = write!(
            out,
            "\n{host} {alive} {read_log:?} {moves:?} {spoilt_at:?} {ended:?} {dropped} {alone} \
             {alone_until} {reached:?} {met:?} {now:?} {last_dot:?}"
        );
        sorted(gone.iter().map(|(id, stamp)| format!("{:?} {stamp:?}", self.name(*id))), out);
        let sum = |((id, origin, generation), sum): (&(KeyId, Origin, u64), &i128)| {
            format!("{:?} {origin} {generation} {sum}", self.name(*id))
        };
        sorted(sums.iter().map(sum), out);
    }

    fn issued_text(&self, unit: &Issued) -> String {
        let Issued { boot, conn, at, dot, changes, had, growth, lost, traceless } = unit;
        let growth = growth.iter().map(|(id, by)| (self.name(*id), by));
        let growth: Vec<_> = growth.collect();
        format!("{boot:?} {conn:?} {at} {dot:?} {changes:?} {had:?} {growth:?} {lost} {traceless}")
    }
}

fn write_key(key: &KeyHistory, out: &mut String) {
    // (What does not count is known of parts only.)
    let KeyHistory {
        bases,
        expiries,
        increments,
        floors,
        types,
        mortal,
        blurred,
        counted,
        uncounted: _,
        bases_uncounted: _,
    } = key;
    let _ = write!(out, " {mortal} {blurred} {counted}");
    sorted(bases.iter().map(|base| format!("{base:?}")), out);
    sorted(expiries.iter().map(|expiry| format!("{expiry:?}")), out);
    sorted(increments.iter().map(|increment| format!("{increment:?}")), out);
    sorted(floors.iter().map(|floor| format!("{floor:?}")), out);
    if !types.is_empty() {
        sorted(types.iter().map(|of| format!("{of:?}")), out);
    }
}

/// A set has no order.
fn sorted(parts: impl Iterator<Item = String>, out: &mut String) {
    let mut parts: Vec<String> = parts.collect();
    parts.sort_unstable();
    for part in parts {
        out.push_str("\n  ");
        out.push_str(&part);
    }
    out.push_str("\n.");
}

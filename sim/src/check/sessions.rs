//! Session order: which unit each command made, whether the unit and the reply fit the command, and
//! whether a client on one node reads its own writes or newer ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::base::ids::{ConnId, DbIndex};
use quorate::base::stamp::Stamp;
use quorate::base::unit::{Cell, Change, Kind};

use super::fit::{Effect, effect_of, unfit};
use super::{Property, Violation};
use crate::model::key::{KeyHistory, flat, show, strict_integer};
use crate::model::ledger::{BootId, Issued, Ledger};
use crate::workload::command::Command;
use crate::workload::history::{Attempt, History, Outcome};
use crate::workload::resp::Reply;

/// Which unit every attempt made: indexes into the ledger's units, by attempt.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    pub unit_of: Vec<Option<usize>>,
}

/// The commands of each client, as planned.
pub type Commands<'a> = dyn Fn(usize, usize) -> &'a Command + 'a;

/// Pairs units with the attempts that made them, over each connection in order. A command that was
/// answered with success must have made its unit; one that was refused or only reads must not.
pub fn match_units<'a>(
    ledger: &Ledger,
    history: &History,
    command_of: &Commands<'a>,
) -> Result<Matched, Violation> {
    let mut by_conn: BTreeMap<(BootId, ConnId), Vec<usize>> = BTreeMap::new();
    for (index, unit) in ledger.units.iter().enumerate() {
        if let Some(conn) = unit.conn {
            by_conn.entry((unit.boot, conn)).or_default().push(index);
        }
    }
    let mut matched = Matched { unit_of: vec![None; history.attempts.len()] };
    for session in &history.sessions {
        let Some(accepted) = session.accepted else { continue };
        let units = by_conn.remove(&accepted).unwrap_or_default();
        let mut units = units.into_iter().peekable();
        for &index in &session.attempts {
            let attempt = &history.attempts[index];
            let command = command_of(attempt.client, attempt.command);
            let reply = match &attempt.outcome {
                Outcome::Replied(reply) => Some(reply),
                Outcome::InDoubt => None,
            };
            let effect = match reply {
                Some(reply) => effect_of(command, reply).map_err(|why| {
                    let evidence = format!("{}: {why}", line(history, attempt, command));
                    Violation { property: Property::Sessions, evidence }
                })?,
                None if command.writes() => Effect::May,
                None => Effect::None,
            };
            let next = units.peek().map(|&unit| (unit, &ledger.units[unit]));
            let wrong = match (effect, next) {
                (Effect::None, _) | (Effect::May, None) => None,
                (Effect::Must, None) => Some("made no unit".to_owned()),
                (Effect::Must, Some((_, unit))) => unfit(command, reply, unit),
                (Effect::May, Some((_, unit))) if unfit(command, reply, unit).is_some() => {
                    continue;
                }
                (Effect::May, Some(_)) => None,
            };
            if let Some(why) = wrong {
                let unit = next.map_or(String::new(), |(_, unit)| describe(unit));
                let evidence = format!("{}: {why}{unit}", line(history, attempt, command));
                let missing = next.is_none();
                let property =
                    if missing { Property::AcknowledgedLoss } else { Property::Sessions };
                return Err(Violation { property, evidence });
            }
            if effect != Effect::None
                && let Some((unit, _)) = next
            {
                matched.unit_of[index] = Some(unit);
                units.next();
            }
        }
        if let Some(stray) = units.next() {
            let evidence =
                format!("no command of its client made{}", describe(&ledger.units[stray]));
            return Err(Violation { property: Property::Sessions, evidence });
        }
    }
    if let Some(stray) = by_conn.values().flatten().next() {
        let evidence = format!("no client sent what made{}", describe(&ledger.units[*stray]));
        return Err(Violation { property: Property::Sessions, evidence });
    }
    Ok(matched)
}

/// A client on one boot of one node reads its own writes, and what it has read once or newer.
pub fn stale_read<'a>(
    ledger: &Ledger,
    history: &History,
    matched: &Matched,
    command_of: &Commands<'a>,
) -> Option<Violation> {
    let mut known: BTreeMap<(usize, BootId, bool), BTreeMap<Spot<'a>, Floor>> = BTreeMap::new();
    for (index, attempt) in history.attempts.iter().enumerate() {
        let session = &history.sessions[attempt.session.0];
        let (Some((boot, _)), Outcome::Replied(reply)) = (session.accepted, &attempt.outcome)
        else {
            continue;
        };
        // A plain replica that takes its master's data anew may step back.
        if ledger.boots[boot.0].dropped {
            continue;
        }
        let command = command_of(attempt.client, attempt.command);
        // What a standalone server deletes leaves no trace: it may be back once it has joined others.
        let joined = attempt.done >= ledger.boots[boot.0].alone_until;
        let known = known.entry((attempt.client, boot, joined)).or_default();
        // Within a transaction reads see what it has written so far, which is not on record by
        // itself; they are judged only if nothing in it writes.
        if !command.writes() {
            for (spot, got) in reads(command, reply) {
                let floor = known.entry(spot).or_default();
                if let Err(why) = judge_read(ledger, spot, got, floor) {
                    let evidence = format!("{}: {why}", line(history, attempt, command));
                    return Some(Violation { property: Property::Sessions, evidence });
                }
            }
        }
        if let Some(unit) = matched.unit_of[index] {
            let unit = &ledger.units[unit];
            for key in command.keys() {
                for change in unit.changes.iter().filter(|c| &c.key[..] == key.as_bytes()) {
                    let Some(spot) = spot_of(command, key, change) else { continue };
                    known.entry(spot).or_default().raise(change, unit.dot);
                }
            }
        }
    }
    None
}

/// A key, or a field of one.
type Spot<'c> = (&'c str, Option<&'c str>);

/// What a change is a change of, in the words of its command. (`None`: a field that the command does not name.)
fn spot_of<'c>(command: &'c Command, key: &'c str, change: &Change) -> Option<Spot<'c>> {
    match change.cell.element() {
        None => Some((key, None)),
        Some((_, name)) => {
            let field = command.fields().into_iter().find(|f| f.as_bytes() == &name[..])?;
            Some((key, Some(field)))
        }
    }
}

/// What a client knows of a key at least.
#[derive(Copy, Clone, Debug, Default)]
struct Floor {
    /// Newest SET, APPEND or delete it has made or read.
    base: Stamp,
    /// Newest of these or of its increments. An older SET that had not seen an increment may hide it
    /// behind text later on, so that increments say nothing of which value is read.
    any: Stamp,
}

impl Floor {
    fn raise(&mut self, change: &Change, dot: Stamp) {
        match flat(&change.cell) {
            Cell::Register { .. } | Cell::Tombstone { .. } => {
                self.base = dot.max(self.base);
                self.any = dot.max(self.any);
            }
            Cell::Contribution { .. } => self.any = dot.max(self.any),
            Cell::Expiry { .. }
            | Cell::KeyCell { .. }
            | Cell::DatabaseTombstone
            | Cell::Kind { .. }
            | Cell::Element { .. } => {}
        }
    }
}

/// The keys a command without writes has read, with what came back.
fn reads<'c, 'r>(command: &'c Command, reply: &'r Reply) -> Vec<(Spot<'c>, &'r Reply)> {
    let replies: &[Reply] = if let Reply::Array(replies) = reply { replies } else { &[] };
    match command {
        Command::Get { key } => vec![((key.as_str(), None), reply)],
        Command::HGet { key, field } => vec![((key.as_str(), Some(field.as_str())), reply)],
        Command::MGet { keys } => {
            keys.iter().map(|key| (key.as_str(), None)).zip(replies).collect()
        }
        Command::Multi { commands } => {
            commands.iter().zip(replies).flat_map(|(c, r)| reads(c, r)).collect()
        }
        Command::Set { .. }
        | Command::Del { .. }
        | Command::IncrBy { .. }
        | Command::Append { .. }
        | Command::PExpire { .. }
        | Command::Persist { .. }
        | Command::MSet { .. }
        | Command::Wait { .. }
        | Command::HSet { .. }
        | Command::HDel { .. }
        | Command::HIncrBy { .. }
        | Command::HGetAll { .. }
        | Command::FlushDb => Vec::new(),
    }
}

/// Judges one read against the newest write the client knows of, and raises that.
fn judge_read(
    ledger: &Ledger,
    (key, field): Spot<'_>,
    got: &Reply,
    floor: &mut Floor,
) -> Result<(), String> {
    let db = DbIndex(0);
    let name = Bytes::copy_from_slice(key.as_bytes());
    let empty = KeyHistory::default();
    let of_key = ledger.find(db, &name).map_or(&empty, |id| &ledger.keys[id.0]);
    let history = match field {
        None => of_key,
        Some(field) => {
            let field = Bytes::copy_from_slice(field.as_bytes());
            let id = ledger.find_element(db, &name, Kind::Hash, field);
            id.map_or(&empty, |id| &ledger.keys[id.0])
        }
    };
    match got {
        Reply::Bulk(value) => {
            if strict_integer(value).is_some() && history.counted {
                return Ok(());
            }
            let from = |b: &&crate::model::key::BaseWrite| b.value.as_ref() == Some(value);
            let stamps = |b: &crate::model::key::BaseWrite| [Some(b.stamp), b.was];
            let writes = || history.bases.iter().filter(from).flat_map(stamps).flatten();
            match writes().filter(|stamp| *stamp >= floor.base).min() {
                Some(stamp) => {
                    floor.base = stamp;
                    floor.any = stamp.max(floor.any);
                    Ok(())
                }
                None => Err(match writes().max() {
                    Some(stamp) => format!(
                        "read {value:?} of {} on {key} though it knew {}",
                        show(stamp),
                        show(floor.base)
                    ),
                    None => format!("read {value:?} on {key}, which nobody wrote"),
                }),
            }
        }
        Reply::Null => {
            let mut deletes = history.bases.iter().filter(|b| b.value.is_none());
            // Also those of which nobody bears a trace any more.
            let flushes = |u: &&Issued| u.changes.iter().any(|c| c.cell == Cell::DatabaseTombstone);
            let mut flushes = ledger.units.iter().filter(flushes);
            let excused = floor.any == Stamp::ZERO
                || deletes.any(|b| b.stamp >= floor.any)
                || flushes.any(|unit| unit.dot >= floor.any)
                // What is written to a key takes the place of its fields, and a hash that of a string.
                || field.is_some() && of_key.bases.iter().any(|b| b.stamp >= floor.any)
                || field.is_none() && of_key.types.iter().any(|of| of.0 >= floor.any)
                || of_key.mortal;
            if excused {
                Ok(())
            } else {
                Err(format!("{key} is gone though it knew {}", show(floor.any)))
            }
        }
        Reply::Status(_) | Reply::Error(_) | Reply::Int(_) | Reply::Array(_) => Ok(()),
    }
}

fn line(history: &History, attempt: &Attempt, command: &Command) -> String {
    let host = history.sessions[attempt.session.0].host;
    format!(
        "client {} at host {host}, {:.3} s: {command} -> {:?}",
        attempt.client,
        attempt.sent as f64 / 1e9,
        attempt.outcome
    )
}

fn describe(unit: &Issued) -> String {
    format!(" (unit {} of boot {}: {:?})", show(unit.dot), unit.boot.0, unit.changes)
}

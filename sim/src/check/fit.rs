//! Whether a unit and a reply fit the command they belong to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::base::unit::{Cell, Change, Kind, Part};

use crate::model::ledger::Issued;
use crate::workload::command::Command;
use crate::workload::resp::Reply;

/// Whether a command must have made a unit.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    Must,
    May,
    None,
}

/// Error replies a plan's commands may meet; each means: without effect.
const EXPECTED_ERRORS: [&[u8]; 12] = [
    // A key of this name is a hash, or is none.
    b"WRONGTYPE ",
    b"ERR hash value is not an integer",
    // A transaction one of whose commands was refused: READONLY.
    b"EXECABORT ",
    b"LOADING ",
    b"READONLY ",
    b"MASTERDOWN ",
    b"OOM ",
    b"MISCONF ",
    b"ERR value is not an integer or out of range",
    b"ERR increment or decrement would overflow",
    b"ERR max number of clients reached",
    b"ERR WAIT cannot be used with replica instances.",
];

/// What the reply says about the command's effect; an error if no such reply can be.
pub fn effect_of(command: &Command, reply: &Reply) -> Result<Effect, String> {
    if let Reply::Error(text) = reply {
        return if EXPECTED_ERRORS.iter().any(|e| text.starts_with(e)) {
            Ok(Effect::None)
        } else {
            Err("unexpected error".to_owned())
        };
    }
    let counted = |most: i64| match reply {
        Reply::Int(0) => Ok(Effect::None),
        Reply::Int(n) if (1..=most).contains(n) => Ok(Effect::Must),
        other => Err(format!("implausible reply {other:?}")),
    };
    let sure = |fits: bool, effect: Effect| {
        if fits { Ok(effect) } else { Err(format!("implausible reply {reply:?}")) }
    };
    match command {
        Command::Get { .. } => sure(matches!(reply, Reply::Bulk(_) | Reply::Null), Effect::None),
        Command::MGet { keys } => {
            sure(matches!(reply, Reply::Array(v) if v.len() == keys.len()), Effect::None)
        }
        Command::Set { .. } | Command::MSet { .. } => sure(reply.is_ok(), Effect::Must),
        // A flush of an empty database may be nothing.
        Command::FlushDb => sure(reply.is_ok(), Effect::May),
        Command::Del { keys } => counted(keys.len() as i64),
        Command::PExpire { .. } | Command::Persist { .. } => counted(1),
        Command::HSet { pairs, .. } => {
            let most = pairs.len() as i64;
            sure(matches!(reply, Reply::Int(n) if (0..=most).contains(n)), Effect::Must)
        }
        Command::HDel { fields, .. } => counted(fields.len() as i64),
        Command::HIncrBy { .. } => sure(matches!(reply, Reply::Int(_)), Effect::Must),
        Command::HGet { .. } => sure(matches!(reply, Reply::Bulk(_) | Reply::Null), Effect::None),
        Command::HGetAll { .. } => {
            sure(matches!(reply, Reply::Array(v) if v.len() % 2 == 0), Effect::None)
        }
        Command::IncrBy { .. } => sure(matches!(reply, Reply::Int(_)), Effect::Must),
        Command::Wait { .. } => sure(matches!(reply, Reply::Int(0..)), Effect::None),
        Command::Append { value, .. } => {
            sure(matches!(reply, Reply::Int(n) if *n >= value.len() as i64), Effect::Must)
        }
        Command::Multi { commands } => match reply {
            Reply::Array(replies) if replies.len() == commands.len() => {
                let mut effect = Effect::None;
                for (command, reply) in commands.iter().zip(replies) {
                    effect = match (effect, effect_of(command, reply)?) {
                        (Effect::Must, _) | (_, Effect::Must) => Effect::Must,
                        (Effect::May, _) | (_, Effect::May) => Effect::May,
                        (Effect::None, Effect::None) => Effect::None,
                    };
                }
                // Commands of one transaction may undo each other.
                Ok(if effect == Effect::Must && undoes(commands) { Effect::May } else { effect })
            }
            other => Err(format!("implausible reply {other:?}")),
        },
    }
}

fn undoes(commands: &[Command]) -> bool {
    commands.iter().any(|c| match c {
        Command::Del { .. } | Command::FlushDb | Command::HDel { .. } => true,
        Command::PExpire { ms, .. } => *ms <= 0,
        Command::Get { .. }
        | Command::MGet { .. }
        | Command::Set { .. }
        | Command::MSet { .. }
        | Command::IncrBy { .. }
        | Command::Append { .. }
        | Command::Persist { .. }
        | Command::HSet { .. }
        | Command::HIncrBy { .. }
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::Wait { .. }
        | Command::Multi { .. } => false,
    })
}

/// Why the unit cannot be what the command made, if so.
pub fn unfit(command: &Command, reply: Option<&Reply>, unit: &Issued) -> Option<String> {
    if let Some(stranger) = unit.changes.iter().find(|c| !names(command, c)) {
        return Some(format!("unit changes {:?}, which it does not name", stranger.key));
    }
    match command {
        Command::Set { key, value, px } => {
            let fits = register(unit, key).is_some_and(|v| v == value.as_bytes())
                && px.is_none_or(|_| expiry(unit, key).is_some_and(|e| e));
            (!fits).then(|| "unit does not set the value".to_owned())
        }
        Command::MSet { pairs } => {
            let last: BTreeMap<&str, &str> =
                pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let fits = last
                .iter()
                .all(|(k, v)| register(unit, k).is_some_and(|held| held == v.as_bytes()));
            (!fits).then(|| "unit does not set every value".to_owned())
        }
        Command::Append { key, value } => {
            let whole = register(unit, key);
            let fits = whole.is_some_and(|v| {
                v.ends_with(value.as_bytes())
                    && !matches!(reply, Some(Reply::Int(n)) if *n != v.len() as i64)
            });
            (!fits).then(|| "unit does not append the value".to_owned())
        }
        Command::Del { .. } => {
            let dead = unit.changes.iter().filter(|c| is_tombstone(c)).count();
            let fits = match reply {
                Some(Reply::Int(n)) => dead as i64 == *n,
                Some(_) | None => dead > 0,
            };
            (!fits).then(|| format!("unit deletes {dead}"))
        }
        Command::IncrBy { delta, .. } => {
            let grown: i128 = unit.growth.iter().map(|g| g.1).sum();
            let fits = unit.growth.len() == 1 && grown == i128::from(*delta);
            (!fits).then(|| format!("contribution grew by {grown}"))
        }
        Command::PExpire { key, ms } => {
            let fits = if *ms > 0 {
                expiry(unit, key) == Some(true)
            } else {
                unit.changes.iter().any(is_tombstone)
            };
            (!fits).then(|| "unit does not set the deadline".to_owned())
        }
        Command::Persist { key } => {
            let fits = expiry(unit, key) == Some(false);
            (!fits).then(|| "unit does not clear the deadline".to_owned())
        }
        Command::FlushDb => {
            let fits = matches!(unit.changes[..], [Change { cell: Cell::DatabaseTombstone, .. }]);
            (!fits).then(|| "unit does not flush".to_owned())
        }
        Command::HSet { key, pairs } => {
            let last: BTreeMap<&str, &str> =
                pairs.iter().map(|(f, v)| (f.as_str(), v.as_str())).collect();
            let fits = last.iter().all(|(field, value)| {
                matches!(part(unit, key, field), Some(Part::Register { value: v, .. }) if v == value.as_bytes())
            });
            (!fits).then(|| "unit does not set every field".to_owned())
        }
        Command::HDel { key, fields } => {
            let named: BTreeSet<&String> = fields.iter().collect();
            let is_dead =
                |field: &&&String| matches!(part(unit, key, field), Some(Part::Tombstone { .. }));
            let dead = named.iter().filter(is_dead).count();
            let fits = match reply {
                Some(Reply::Int(n)) => dead as i64 == *n,
                Some(_) | None => dead > 0,
            };
            (!fits).then(|| format!("unit deletes {dead} fields"))
        }
        Command::HIncrBy { delta, .. } => {
            let grown: i128 = unit.growth.iter().map(|g| g.1).sum();
            let fits = unit.growth.len() == 1 && grown == i128::from(*delta);
            (!fits).then(|| format!("contribution grew by {grown}"))
        }
        Command::Multi { commands } => unfit_transaction(commands, unit),
        Command::Get { .. }
        | Command::MGet { .. }
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::Wait { .. } => Some("what only reads or waits made a unit".to_owned()),
    }
}

/// The last SET of a key in a transaction must be what the unit writes, if nothing later in it
/// changes that key's value.
fn unfit_transaction(commands: &[Command], unit: &Issued) -> Option<String> {
    let mut last: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for command in commands {
        match command {
            Command::Set { key, value, .. } => {
                last.insert(key, Some(value));
            }
            Command::MSet { pairs } => last.extend(pairs.iter().map(|(k, v)| (&**k, Some(&**v)))),
            Command::IncrBy { .. } | Command::Append { .. } | Command::Del { .. } => {
                last.extend(command.keys().into_iter().map(|k| (k, None)));
            }
            Command::PExpire { key, ms } => {
                if *ms <= 0 {
                    last.insert(key, None);
                }
            }
            Command::FlushDb => last.clear(),
            Command::Get { .. }
            | Command::MGet { .. }
            | Command::HSet { .. }
            | Command::HDel { .. }
            | Command::HIncrBy { .. }
            | Command::HGet { .. }
            | Command::HGetAll { .. }
            | Command::Persist { .. }
            | Command::Wait { .. }
            | Command::Multi { .. } => {}
        }
    }
    last.iter().find_map(|(key, value)| {
        let value = (*value)?;
        let fits = register(unit, key).is_some_and(|held| held == value.as_bytes());
        (!fits).then(|| format!("unit does not set {key} to {value}"))
    })
}

fn names(command: &Command, change: &Change) -> bool {
    match command {
        Command::Multi { commands } => commands.iter().any(|c| names(c, change)),
        Command::FlushDb => matches!(change.cell, Cell::DatabaseTombstone),
        Command::Get { .. }
        | Command::Set { .. }
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
        | Command::HGet { .. }
        | Command::HGetAll { .. }
        | Command::MGet { .. } => {
            command.keys().iter().any(|key| key.as_bytes() == &change.key[..])
        }
    }
}

fn is_tombstone(change: &Change) -> bool {
    matches!(change.cell, Cell::Tombstone { .. })
}

/// The value the unit gives a key.
fn register<'u>(unit: &'u Issued, key: &str) -> Option<&'u Bytes> {
    unit.changes.iter().filter(|c| &c.key[..] == key.as_bytes()).find_map(|c| match &c.cell {
        Cell::Register { value, .. } => Some(value),
        Cell::Kind { .. }
        | Cell::Element { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => None,
    })
}

/// What the unit does to a field of a hash.
fn part<'u>(unit: &'u Issued, key: &str, field: &str) -> Option<&'u Part> {
    unit.changes.iter().filter(|c| &c.key[..] == key.as_bytes()).find_map(|c| match &c.cell {
        Cell::Element { kind: Kind::Hash, name, part } if &name[..] == field.as_bytes() => {
            Some(part)
        }
        Cell::Element { .. }
        | Cell::Kind { .. }
        | Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::Expiry { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => None,
    })
}

/// Whether the unit's expiry cell of a key has a deadline; `None` without such a cell.
fn expiry(unit: &Issued, key: &str) -> Option<bool> {
    unit.changes.iter().filter(|c| &c.key[..] == key.as_bytes()).find_map(|c| match &c.cell {
        Cell::Expiry { deadline } => Some(deadline.is_some()),
        Cell::Kind { .. }
        | Cell::Element { .. }
        | Cell::Register { .. }
        | Cell::Tombstone { .. }
        | Cell::Contribution { .. }
        | Cell::KeyCell { .. }
        | Cell::DatabaseTombstone => None,
    })
}

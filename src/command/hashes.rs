//! Hashes.

use bytes::BytesMut;

use crate::base::limits::COLLECTION_BYTES_MAX;
use crate::base::unit::Kind;
use crate::store::txn::{AddError, WrongType};
use crate::store::{Elements, Scalar};
use crate::wire::args::parse_i64;
use crate::wire::reply::{Protocol, Reply};
use crate::wire::resp::Args;

use super::decimal::{Decimal, Float};
use super::errors::{self, NOT_AN_INTEGER, SYNTAX, WRONG_TYPE};
use super::keyspace::{ScanOptions, parse_cursor};
use super::{Ctx, glob};

/// HSET key field value [field value …]
pub(super) fn hset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    if let Some(added) = set_fields(ctx, args) {
        ctx.reply.count(added);
    }
}

/// HMSET key field value [field value …]
pub(super) fn hmset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    if set_fields(ctx, args).is_some() {
        ctx.reply.ok();
    }
}

/// HSETNX key field value
pub(super) fn hsetnx(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let (key, field) = (args.get(1), args.get(2));
    let Some(held) = hash(ctx, key) else { return };
    if held.is_some_and(|all| all.get(field).is_some()) {
        return ctx.reply.integer(0);
    }
    if !has_room(ctx, key, field.len() + args.get(3).len()) {
        return;
    }
    if ctx.txn.set_element(ctx.db, key, Kind::Hash, field, args.get(3)).is_ok() {
        ctx.reply.integer(1);
    }
}

/// HGET key field
pub(super) fn hget(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => scalar(&mut ctx.reply, all.and_then(|all| all.get(args.get(2)))),
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HMGET key field [field …]
pub(super) fn hmget(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => {
            let fields = args.from(2);
            ctx.reply.array(fields.len());
            for field in fields.iter() {
                scalar(&mut ctx.reply, all.and_then(|all| all.get(field)));
            }
        }
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HGETALL key
pub(super) fn hgetall(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => {
            ctx.reply.map(all.map_or(0, Elements::live));
            for (name, value) in all.into_iter().flat_map(Elements::shown) {
                ctx.reply.bulk(name);
                scalar(&mut ctx.reply, Some(value));
            }
        }
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HKEYS key
pub(super) fn hkeys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => {
            ctx.reply.array(all.map_or(0, Elements::live));
            for (name, _) in all.into_iter().flat_map(Elements::shown) {
                ctx.reply.bulk(name);
            }
        }
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HVALS key
pub(super) fn hvals(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => {
            ctx.reply.array(all.map_or(0, Elements::live));
            for (_, value) in all.into_iter().flat_map(Elements::shown) {
                scalar(&mut ctx.reply, Some(value));
            }
        }
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HDEL key field [field …]
pub(super) fn hdel(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let mut removed = 0;
    for field in args.from(2).iter() {
        match ctx.txn.remove_element(ctx.db, args.get(1), Kind::Hash, field) {
            Ok(was_there) => removed += u64::from(was_there),
            Err(WrongType) => return ctx.reply.error(WRONG_TYPE),
        }
    }
    ctx.reply.count(removed);
}

/// HLEN key
pub(super) fn hlen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => ctx.reply.count(all.map_or(0, Elements::live) as u64),
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HSTRLEN key field
pub(super) fn hstrlen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => {
            let value = all.and_then(|all| all.get(args.get(2)));
            ctx.reply.count(value.map_or(0, Scalar::len) as u64);
        }
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HEXISTS key field
pub(super) fn hexists(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Ok(all) => {
            let is_there = all.is_some_and(|all| all.get(args.get(2)).is_some());
            ctx.reply.integer(i64::from(is_there));
        }
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
    }
}

/// HINCRBY key field increment
pub(super) fn hincrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let Some(delta) = errors::integer(&mut ctx.reply, args.get(3)) else { return };
    if !has_room(ctx, args.get(1), args.get(2).len()) {
        return;
    }
    match ctx.txn.add_to_element(ctx.db, args.get(1), Kind::Hash, args.get(2), delta) {
        Ok(sum) => ctx.reply.integer(sum),
        Err(AddError::WrongType) => ctx.reply.error(WRONG_TYPE),
        Err(AddError::NotAnInteger) => ctx.reply.error("ERR hash value is not an integer"),
        Err(AddError::Overflow) => ctx.reply.error("ERR increment or decrement would overflow"),
    }
}

/// HINCRBYFLOAT key field increment: read, added to in decimal, and written as a value.
pub(super) fn hincrbyfloat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let (key, field) = (args.get(1), args.get(2));
    let Some(delta) = Float::parse(args.get(3)) else {
        return ctx.reply.error("ERR value is not a valid float");
    };
    let Float::Finite(delta) = delta else {
        return ctx.reply.error("ERR value is NaN or Infinity");
    };
    let Some(held) = hash(ctx, key) else { return };
    let held = match held.and_then(|all| all.get(field)) {
        None => Some(Float::Finite(Decimal::ZERO)),
        Some(Scalar::Int(number)) => Some(Float::Finite(Decimal::from(number))),
        Some(Scalar::Bytes(text)) => Float::parse(text),
    };
    let Some(held) = held else { return ctx.reply.error("ERR hash value is not a float") };
    let sum = match held {
        Float::Finite(held) => held.add(delta),
        Float::Infinite => None,
    };
    let Some(sum) = sum else {
        return ctx.reply.error("ERR increment would produce NaN or Infinity");
    };
    let text = sum.to_string();
    if !has_room(ctx, key, field.len() + text.len()) {
        return;
    }
    if ctx.txn.set_element(ctx.db, key, Kind::Hash, field, text.as_bytes()).is_ok() {
        ctx.reply.bulk(text.as_bytes());
    }
}

/// HRANDFIELD key [count [WITHVALUES]]: with a negative count fields may come more than once.
pub(super) fn hrandfield(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let key = args.get(1);
    if args.len() == 2 {
        let place = ctx.rng.next_u64();
        match ctx.txn.elements(ctx.db, key, Kind::Hash) {
            Ok(all) => match all.and_then(|all| all.at_random(place)) {
                Some((name, _)) => ctx.reply.bulk(name),
                None => ctx.reply.null(),
            },
            Err(WrongType) => ctx.reply.error(WRONG_TYPE),
        }
        return;
    }
    let Some(count) = parse_i64(args.get(2)) else {
        return ctx.reply.error(NOT_AN_INTEGER);
    };
    if count == i64::MIN {
        let text =
            format!("ERR value is out of range, value must between {} and {}", -i64::MAX, i64::MAX);
        return ctx.reply.error(&text);
    }
    let values = args.len() == 4 && args.get(3).eq_ignore_ascii_case(b"WITHVALUES");
    if args.len() > 4 || (args.len() == 4 && !values) {
        return ctx.reply.error(SYNTAX);
    }
    if values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return ctx.reply.error("ERR value is out of range");
    }
    match ctx.txn.elements(ctx.db, key, Kind::Hash) {
        Err(WrongType) => ctx.reply.error(WRONG_TYPE),
        Ok(None) => ctx.reply.array(0),
        Ok(Some(all)) => {
            let mut shown: Vec<(&[u8], Scalar<'_>)> = all.shown().collect();
            let len = shown.len() as u64;
            let wanted = count.unsigned_abs();
            if count >= 0 {
                // The first of a shuffle that goes no further than is asked for.
                let wanted = wanted.min(len);
                for at in 0..wanted.min(len.saturating_sub(1)) {
                    let other = at + ctx.rng.below(len - at);
                    shown.swap(at as usize, other as usize);
                }
                shown.truncate(wanted as usize);
            }
            let total = if count >= 0 { shown.len() as u64 } else { wanted };
            let pairs = values && ctx.reply.protocol() == Protocol::Resp3;
            let each = if values && !pairs { 2 } else { 1 };
            ctx.reply.array(usize::try_from(total * each).unwrap_or(usize::MAX));
            for nth in 0..total {
                let at = if count >= 0 { nth } else { ctx.rng.below(len) };
                let (name, value) = shown[at as usize];
                if pairs {
                    ctx.reply.array(2);
                }
                ctx.reply.bulk(name);
                if values {
                    scalar(&mut ctx.reply, Some(value));
                }
                // Whoever asks for more than he may have is given up.
                if ctx.reply.bytes_left() == 0 {
                    return;
                }
            }
        }
    }
}

/// HSCAN key cursor [MATCH pattern] [COUNT count]
pub(super) fn hscan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let Some(cursor) = parse_cursor(args.get(2)) else {
        return ctx.reply.error("ERR invalid cursor");
    };
    let all = match ctx.txn.elements(ctx.db, args.get(1), Kind::Hash) {
        Err(WrongType) => return ctx.reply.error(WRONG_TYPE),
        Ok(None) => {
            ctx.reply.array(2);
            ctx.reply.bulk(b"0");
            return ctx.reply.array(0);
        }
        Ok(Some(all)) => all,
    };
    let Some(options) = ScanOptions::of_elements(args.from(3), &mut ctx.reply) else { return };
    // The cursor goes in front of the fields and is known only after them.
    let mut list = BytesMut::new();
    let bytes_max = ctx.reply.bytes_left();
    let mut reply = Reply::new(&mut list, ctx.reply.protocol()).with_bytes_max(bytes_max);
    let mut count = 0;
    let next = all.scan(cursor, options.count, &mut |name, value| {
        if options.pattern.is_none_or(|pattern| glob::matches(pattern, name)) {
            reply.bulk(name);
            scalar(&mut reply, Some(value));
            count += 2;
        }
    });
    ctx.reply.array(2);
    ctx.reply.bulk(next.to_string().as_bytes());
    ctx.reply.array(count);
    ctx.reply.raw(&list);
}

/// How many fields are new; `None` if an error was written.
fn set_fields(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Option<u64> {
    if !args.len().is_multiple_of(2) {
        errors::wrong_arity(&mut ctx.reply, ctx.command.name);
        return None;
    }
    let bytes = args.from(2).iter().map(<[u8]>::len).sum();
    if !has_room(ctx, args.get(1), bytes) {
        return None;
    }
    let mut added = 0;
    for place in (2..args.len()).step_by(2) {
        let (field, value) = (args.get(place), args.get(place + 1));
        match ctx.txn.set_element(ctx.db, args.get(1), Kind::Hash, field, value) {
            Ok(is_new) => added += u64::from(is_new),
            Err(WrongType) => {
                ctx.reply.error(WRONG_TYPE);
                return None;
            }
        }
    }
    Some(added)
}

/// Whether a collection may grow by so many bytes; writes the error if it may not.
fn has_room(ctx: &mut Ctx<'_, '_>, key: &[u8], bytes: usize) -> bool {
    let held = ctx.txn.used_bytes(ctx.db, key).unwrap_or(0);
    let fits = held.saturating_add(bytes) <= COLLECTION_BYTES_MAX;
    if !fits {
        let text = "ERR the hash would exceed the largest size of a collection (256 MiB)";
        ctx.reply.error(text);
    }
    fits
}

/// The hash of a key, if there is one; writes the error and returns `None` if the key is something else.
fn hash<'c>(ctx: &'c mut Ctx<'_, '_>, key: &[u8]) -> Option<Option<Elements<'c>>> {
    match ctx.txn.elements(ctx.db, key, Kind::Hash) {
        Ok(all) => Some(all),
        Err(WrongType) => {
            ctx.reply.error(WRONG_TYPE);
            None
        }
    }
}

fn scalar(reply: &mut Reply<'_>, value: Option<Scalar<'_>>) {
    match value {
        None => reply.null(),
        Some(Scalar::Bytes(bytes)) => reply.bulk(bytes),
        Some(Scalar::Int(number)) => reply.bulk_integer(number),
    }
}

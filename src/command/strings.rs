//! Strings and counters.

use crate::base::time::UnixMs;
use crate::store::Value;
use crate::store::txn::{AddError, SetExpiry};
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::Ctx;
use super::errors::{self, NOT_AN_INTEGER, SYNTAX, WRONG_TYPE};

/// What SET's options ask for.
#[derive(Default)]
struct SetOptions<'a> {
    not_exists: bool,
    exists: bool,
    get: bool,
    keep_ttl: bool,
    expire: Option<(Deadline, &'a [u8])>,
}

/// How a deadline is given.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Deadline {
    InSeconds,
    InMs,
    AtSecond,
    AtMs,
}

/// GET key
pub(super) fn get(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    value(&mut ctx.reply, ctx.txn.get(ctx.db, args.get(1)));
}

/// SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]
pub(super) fn set(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let (db, key) = (ctx.db, args.get(1));
    if args.len() == 3 {
        ctx.txn.set(db, key, args.get(2), SetExpiry::Clear);
        ctx.reply.ok();
        return;
    }
    let Some(options) = SetOptions::parse(args) else {
        ctx.reply.error(SYNTAX);
        return;
    };
    let expiry = match options.expire {
        None if options.keep_ttl => SetExpiry::Keep,
        None => SetExpiry::Clear,
        Some((unit, argument)) => {
            let Some(amount) = errors::integer(&mut ctx.reply, argument) else { return };
            let Some(deadline) = unit.deadline(amount, ctx.txn.expiry_clock) else {
                errors::invalid_expire_time(&mut ctx.reply, ctx.command.name);
                return;
            };
            SetExpiry::At(deadline)
        }
    };
    if options.get {
        let held = ctx.txn.get(db, key);
        value(&mut ctx.reply, held);
        if matches!(held, Some(Value::Elements(_))) {
            return;
        }
    }
    if options.not_exists || options.exists {
        let found = ctx.txn.exists(db, key);
        if (options.not_exists && found) || (options.exists && !found) {
            if !options.get {
                ctx.reply.null();
            }
            return;
        }
    }
    ctx.txn.set(db, key, args.get(2), expiry);
    if !options.get {
        ctx.reply.ok();
    }
}

/// MGET key [key …]
pub(super) fn mget(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let keys = args.from(1);
    ctx.reply.array(keys.len());
    for key in keys.iter() {
        let held = ctx.txn.get(ctx.db, key);
        value(&mut ctx.reply, held.filter(|held| !matches!(held, Value::Elements(_))));
    }
}

/// MSET key value [key value …]
pub(super) fn mset(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    if args.len().is_multiple_of(2) {
        errors::wrong_arity(&mut ctx.reply, ctx.command.name);
        return;
    }
    for place in (1..args.len()).step_by(2) {
        ctx.txn.set(ctx.db, args.get(place), args.get(place + 1), SetExpiry::Clear);
    }
    ctx.reply.ok();
}

/// APPEND key value. The expiry stays.
pub(super) fn append(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let (key, tail) = (args.get(1), args.get(2));
    let mut digits = itoa::Buffer::new();
    let head = match ctx.txn.get(ctx.db, key) {
        None => None,
        Some(Value::Bytes(bytes)) => Some(bytes),
        Some(Value::Int(number)) => Some(digits.format(number).as_bytes()),
        Some(Value::Elements(_)) => return ctx.reply.error(WRONG_TYPE),
    };
    let Some(head) = head else {
        ctx.txn.set(ctx.db, key, tail, SetExpiry::Keep);
        ctx.reply.count(tail.len() as u64);
        return;
    };
    if head.len() + tail.len() > ctx.bulk_bytes_max {
        ctx.reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return;
    }
    let joined = [head, tail].concat();
    ctx.txn.set(ctx.db, key, &joined, SetExpiry::Keep);
    ctx.reply.count(joined.len() as u64);
}

/// STRLEN key
pub(super) fn strlen(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let len = match ctx.txn.get(ctx.db, args.get(1)) {
        None => 0,
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(Value::Int(number)) => itoa::Buffer::new().format(number).len(),
        Some(Value::Elements(_)) => return ctx.reply.error(WRONG_TYPE),
    };
    ctx.reply.count(len as u64);
}

/// INCR key
pub(super) fn incr(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    add(ctx, args.get(1), 1);
}

/// DECR key
pub(super) fn decr(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    add(ctx, args.get(1), -1);
}

/// INCRBY key increment
pub(super) fn incrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    if let Some(delta) = errors::integer(&mut ctx.reply, args.get(2)) {
        add(ctx, args.get(1), delta);
    }
}

/// DECRBY key decrement
pub(super) fn decrby(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let Some(delta) = errors::integer(&mut ctx.reply, args.get(2)) else { return };
    match delta.checked_neg() {
        Some(delta) => add(ctx, args.get(1), delta),
        None => ctx.reply.error("ERR decrement would overflow"),
    }
}

fn add(ctx: &mut Ctx<'_, '_>, key: &[u8], delta: i64) {
    match ctx.txn.add(ctx.db, key, delta) {
        Ok(sum) => ctx.reply.integer(sum),
        Err(AddError::WrongType) => ctx.reply.error(WRONG_TYPE),
        Err(AddError::NotAnInteger) => ctx.reply.error(NOT_AN_INTEGER),
        Err(AddError::Overflow) => ctx.reply.error("ERR increment or decrement would overflow"),
    }
}

#[inline]
fn value(reply: &mut Reply<'_>, value: Option<Value<'_>>) {
    match value {
        None => reply.null(),
        Some(Value::Bytes(bytes)) => reply.bulk(bytes),
        Some(Value::Int(number)) => reply.bulk_integer(number),
        Some(Value::Elements(_)) => reply.error(WRONG_TYPE),
    }
}

impl<'a> SetOptions<'a> {
    /// Options in any order. As in Redis an option may come twice, the last one counting, but
    /// options that exclude each other may not meet. `None`: a syntax error.
    fn parse(args: Args<'a>) -> Option<SetOptions<'a>> {
        let mut options = SetOptions::default();
        let mut place = 3;
        while place < args.len() {
            let word = args.get(place);
            place += 1;
            if word.eq_ignore_ascii_case(b"NX") && !options.exists {
                options.not_exists = true;
            } else if word.eq_ignore_ascii_case(b"XX") && !options.not_exists {
                options.exists = true;
            } else if word.eq_ignore_ascii_case(b"GET") {
                options.get = true;
            } else if word.eq_ignore_ascii_case(b"KEEPTTL") && options.expire.is_none() {
                options.keep_ttl = true;
            } else {
                let unit = Deadline::from_word(word)?;
                let other = options.expire.is_some_and(|(before, _)| before != unit);
                if other || options.keep_ttl || place == args.len() {
                    return None;
                }
                options.expire = Some((unit, args.get(place)));
                place += 1;
            }
        }
        Some(options)
    }
}

impl Deadline {
    fn from_word(word: &[u8]) -> Option<Deadline> {
        let words = [
            (&b"EX"[..], Deadline::InSeconds),
            (b"PX", Deadline::InMs),
            (b"EXAT", Deadline::AtSecond),
            (b"PXAT", Deadline::AtMs),
        ];
        words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, unit)| unit)
    }

    /// The point in time meant; `None` unless it is positive and within 63 bits of milliseconds.
    fn deadline(self, amount: i64, now: UnixMs) -> Option<UnixMs> {
        let (scale, from) = match self {
            Deadline::InSeconds => (1000, now.0),
            Deadline::InMs => (1, now.0),
            Deadline::AtSecond => (1000, 0),
            Deadline::AtMs => (1, 0),
        };
        let ms = amount.checked_mul(scale).filter(|_| amount > 0)?;
        ms.checked_add_unsigned(from).map(|ms| UnixMs(ms.unsigned_abs()))
    }
}

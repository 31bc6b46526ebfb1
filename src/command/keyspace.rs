//! Keys whatever their type, whole databases, and the two commands that touch no data at all.

use bytes::BytesMut;

use crate::base::ids::DbIndex;
use crate::base::unit::Kind;
use crate::store::Value;
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::errors::{self, SYNTAX};
use super::{Ctx, glob};

/// How many keys a SCAN step looks at unless COUNT says otherwise.
const SCAN_COUNT: usize = 10;

/// What SCAN's options ask for.
pub(super) struct ScanOptions<'a> {
    pub count: usize,
    pub pattern: Option<&'a [u8]>,
    /// The type that TYPE names.
    of: Option<ScanType>,
}

/// What SCAN's TYPE asks for.
#[derive(Copy, Clone, PartialEq, Eq)]
enum ScanType {
    String,
    Collection(Kind),
    /// A type that no key has.
    Unknown,
}

impl ScanType {
    fn from_name(name: &[u8]) -> ScanType {
        if name.eq_ignore_ascii_case(b"string") {
            return ScanType::String;
        }
        let kind = Kind::ALL.into_iter().find(|k| name.eq_ignore_ascii_case(k.name().as_bytes()));
        kind.map_or(ScanType::Unknown, ScanType::Collection)
    }

    fn has(self, value: Option<Value<'_>>) -> bool {
        match value {
            None => false,
            Some(Value::Bytes(_) | Value::Int(_)) => self == ScanType::String,
            Some(Value::Elements(all)) => self == ScanType::Collection(all.kind()),
        }
    }
}

/// DEL key [key …], UNLINK key [key …]
pub(super) fn del(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let deleted = args.from(1).iter().filter(|key| ctx.txn.delete(ctx.db, key)).count();
    ctx.reply.count(deleted as u64);
}

/// EXISTS key [key …]: a key named twice counts twice.
pub(super) fn exists(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let found = args.from(1).iter().filter(|key| ctx.txn.exists(ctx.db, key)).count();
    ctx.reply.count(found as u64);
}

/// TYPE key
pub(super) fn type_of(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let name = match ctx.txn.get(ctx.db, args.get(1)) {
        None => "none",
        Some(Value::Bytes(_) | Value::Int(_)) => "string",
        Some(Value::Elements(elements)) => elements.kind().name(),
    };
    ctx.reply.simple(name);
}

/// KEYS pattern
pub(super) fn keys(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let pattern = Some(args.get(1)).filter(|pattern| !glob::is_any(pattern));
    list_of_keys(&mut ctx.reply, |add| {
        ctx.txn.keys(ctx.db, &mut |key| add(key, pattern));
    });
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub(super) fn scan(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let Some(cursor) = parse_cursor(args.get(1)) else {
        ctx.reply.error("ERR invalid cursor");
        return;
    };
    let Some(options) = ScanOptions::parse(args.from(2), &mut ctx.reply) else { return };
    let (txn, db) = (&*ctx.txn, ctx.db);
    // The cursor goes in front of the keys and is known only after them.
    let mut list = BytesMut::new();
    let mut next = 0;
    let bytes_max = ctx.reply.bytes_left();
    let mut reply = Reply::new(&mut list, ctx.reply.protocol()).with_bytes_max(bytes_max);
    list_of_keys(&mut reply, |add| {
        next = txn.scan(db, cursor, options.count, &mut |key| {
            if options.of.is_none_or(|of| of.has(txn.get(db, key))) {
                add(key, options.pattern);
            }
        });
    });
    ctx.reply.array(2);
    ctx.reply.bulk(next.to_string().as_bytes());
    ctx.reply.raw(&list);
}

/// DBSIZE
pub(super) fn dbsize(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) {
    ctx.reply.count(ctx.txn.len(ctx.db));
}

/// FLUSHDB [ASYNC|SYNC]
pub(super) fn flushdb(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    flush(ctx, args, Some(ctx.db));
}

/// FLUSHALL [ASYNC|SYNC]
pub(super) fn flushall(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    flush(ctx, args, None);
}

/// PING [message]
pub(super) fn ping(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    match args.len() {
        1 => ctx.reply.simple("PONG"),
        2 => ctx.reply.bulk(args.get(1)),
        _ => errors::wrong_arity(&mut ctx.reply, ctx.command.name),
    }
}

/// ECHO message
pub(super) fn echo(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    ctx.reply.bulk(args.get(1));
}

fn flush(ctx: &mut Ctx<'_, '_>, args: Args<'_>, db: Option<DbIndex>) {
    let words: [&[u8]; 2] = [b"ASYNC", b"SYNC"];
    let option_known =
        words.into_iter().any(|word| args.get(args.len() - 1).eq_ignore_ascii_case(word));
    if args.len() > 2 || (args.len() == 2 && !option_known) {
        ctx.reply.error(SYNTAX);
        return;
    }
    ctx.txn.flush(db);
    ctx.reply.ok();
}

/// Writes an array of the keys that `walk` hands to its argument and that fit the pattern handed
/// along.
fn list_of_keys(reply: &mut Reply<'_>, walk: impl FnOnce(&mut dyn FnMut(&[u8], Option<&[u8]>))) {
    let mut list = BytesMut::new();
    let mut count = 0;
    let mut elements = Reply::new(&mut list, reply.protocol()).with_bytes_max(reply.bytes_left());
    walk(&mut |key, pattern| {
        if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            elements.bulk(key);
            count += 1;
        }
    });
    reply.array(count);
    reply.raw(&list);
}

/// As C's `strtoul` reads it for Redis: up to a zero byte, a sign, decimal digits; none at all mean 0. A
/// negative cursor counts down from 2^64.
pub(super) fn parse_cursor(argument: &[u8]) -> Option<u64> {
    let text = errors::printed(argument, argument.len());
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() && !text.is_empty() {
        return None;
    }
    let cursor = digits.iter().try_fold(0u64, |cursor, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        cursor.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { cursor.wrapping_neg() } else { cursor })
}

impl<'a> ScanOptions<'a> {
    /// Writes the error and returns `None` if an option is unknown or has no good value.
    fn parse(options: Args<'a>, reply: &mut Reply<'_>) -> Option<ScanOptions<'a>> {
        ScanOptions::read(options, true, reply)
    }

    /// Those of a walk over the elements of one key.
    pub fn of_elements(options: Args<'a>, reply: &mut Reply<'_>) -> Option<ScanOptions<'a>> {
        ScanOptions::read(options, false, reply)
    }

    fn read(options: Args<'a>, of_keys: bool, reply: &mut Reply<'_>) -> Option<ScanOptions<'a>> {
        let mut parsed = ScanOptions { count: SCAN_COUNT, pattern: None, of: None };
        for place in (0..options.len()).step_by(2) {
            let word = options.get(place);
            if place + 1 == options.len() {
                reply.error(SYNTAX);
                return None;
            }
            let value = options.get(place + 1);
            if word.eq_ignore_ascii_case(b"COUNT") {
                let count = errors::integer(reply, value)?;
                if count < 1 {
                    reply.error(SYNTAX);
                    return None;
                }
                parsed.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else if word.eq_ignore_ascii_case(b"MATCH") {
                parsed.pattern = Some(value).filter(|pattern| !glob::is_any(pattern));
            } else if of_keys && word.eq_ignore_ascii_case(b"TYPE") {
                parsed.of = Some(ScanType::from_name(value));
            } else {
                reply.error(SYNTAX);
                return None;
            }
        }
        Some(parsed)
    }
}

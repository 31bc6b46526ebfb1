//! DUMP and RESTORE: a key's value as bytes that Redis and its relatives take.

use bytes::BytesMut;

use crate::base::time::UnixMs;
use crate::rdb::dump::{dump as dump_value, restore as value_of};
use crate::store::txn::SetExpiry;
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::Ctx;
use super::errors::{self, SYNTAX};

const BUSY: &str = "BUSYKEY Target key name already exists.";

/// What RESTORE's options ask for. How a key was used (IDLETIME, FREQ) is read, and is of no use here.
#[derive(Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
    idle: Option<i64>,
    frequency: Option<i64>,
}

/// DUMP key
pub(super) fn dump(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let Some(value) = ctx.txn.get(ctx.db, args.get(1)) else { return ctx.reply.null() };
    let value = value.to_content();
    let mut payload = BytesMut::with_capacity(value.bytes().min(1 << 16) + 32);
    dump_value(&value, true, &mut payload);
    ctx.reply.bulk(&payload);
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]: checked in the order in
/// which Redis checks.
pub(super) fn restore(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let Some(options) = RestoreOptions::parse(args.from(4), &mut ctx.reply) else { return };
    let key = args.get(1);
    if !options.replace && ctx.txn.exists(ctx.db, key) {
        return ctx.reply.error(BUSY);
    }
    let Some(ttl) = errors::integer(&mut ctx.reply, args.get(2)) else { return };
    let Ok(ttl) = u64::try_from(ttl) else {
        return ctx.reply.error("ERR Invalid TTL value, must be >= 0");
    };
    let value = match value_of(args.get(3), ctx.bulk_bytes_max) {
        Ok(value) => value,
        Err(why) => return ctx.reply.error(&why.text()),
    };
    let expiry = match (ttl, options.absolute) {
        (0, _) => SetExpiry::Clear,
        (ms, true) => SetExpiry::At(UnixMs(ms)),
        (ms, false) => {
            let deadline = ctx.txn.expiry_clock.0.saturating_add(ms);
            SetExpiry::At(UnixMs(deadline.min(i64::MAX as u64)))
        }
    };
    ctx.txn.put(ctx.db, key, &value, expiry);
    ctx.reply.ok();
}

impl RestoreOptions {
    /// Writes the error and returns `None` if an option is unknown or has no good value.
    fn parse(words: Args<'_>, reply: &mut Reply<'_>) -> Option<RestoreOptions> {
        let mut options = RestoreOptions::default();
        let mut place = 0;
        while place < words.len() {
            let is = |word: &[u8]| words.get(place).eq_ignore_ascii_case(word);
            let has_value = place + 1 < words.len();
            if is(b"REPLACE") {
                options.replace = true;
            } else if is(b"ABSTTL") {
                options.absolute = true;
            } else if is(b"IDLETIME") && has_value && options.frequency.is_none() {
                place += 1;
                options.idle = Some(errors::integer(reply, words.get(place))?);
                if options.idle < Some(0) {
                    reply.error("ERR Invalid IDLETIME value, must be >= 0");
                    return None;
                }
            } else if is(b"FREQ") && has_value && options.idle.is_none() {
                place += 1;
                let frequency = errors::integer(reply, words.get(place))?;
                options.frequency = Some(frequency);
                if !(0..=255).contains(&frequency) {
                    reply.error("ERR Invalid FREQ value, must be >= 0 and <= 255");
                    return None;
                }
            } else {
                reply.error(SYNTAX);
                return None;
            }
            place += 1;
        }
        Some(options)
    }
}

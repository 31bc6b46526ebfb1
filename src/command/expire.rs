//! Deadlines: EXPIRE and its like, TTL, PERSIST.

use crate::base::time::UnixMs;
use crate::store::txn::Ttl;
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::Ctx;
use super::errors;

/// When EXPIRE applies.
#[derive(Copy, Clone, Default)]
struct Conditions {
    no_expiry: bool,
    has_expiry: bool,
    later: bool,
    earlier: bool,
}

/// EXPIRE key seconds [NX|XX|GT|LT]
pub(super) fn expire(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let now = ctx.txn.expiry_clock;
    set_deadline(ctx, args, now, 1000);
}

/// PEXPIRE key milliseconds [NX|XX|GT|LT]
pub(super) fn pexpire(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let now = ctx.txn.expiry_clock;
    set_deadline(ctx, args, now, 1);
}

/// EXPIREAT key unix-time-seconds [NX|XX|GT|LT]
pub(super) fn expireat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    set_deadline(ctx, args, UnixMs(0), 1000);
}

/// PEXPIREAT key unix-time-milliseconds [NX|XX|GT|LT]
pub(super) fn pexpireat(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    set_deadline(ctx, args, UnixMs(0), 1);
}

/// TTL key
pub(super) fn ttl(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    // Rounded to the nearest second, as in Redis.
    time_left(ctx, args.get(1), |ms| (ms + 500) / 1000);
}

/// PTTL key
pub(super) fn pttl(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    time_left(ctx, args.get(1), |ms| ms);
}

/// PERSIST key
pub(super) fn persist(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let had_expiry = ctx.txn.expire(ctx.db, args.get(1), None);
    ctx.reply.integer(i64::from(had_expiry));
}

/// Amounts count from `base`, in units of `unit_ms`; a point in time that has passed deletes.
fn set_deadline(ctx: &mut Ctx<'_, '_>, args: Args<'_>, base: UnixMs, unit_ms: i64) {
    let Some(conditions) = Conditions::parse(args.from(3), &mut ctx.reply) else { return };
    let Some(amount) = errors::integer(&mut ctx.reply, args.get(2)) else { return };
    let deadline = amount.checked_mul(unit_ms).and_then(|ms| ms.checked_add_unsigned(base.0));
    let Some(deadline) = deadline else {
        errors::invalid_expire_time(&mut ctx.reply, ctx.command.name);
        return;
    };
    let deadline = UnixMs(u64::try_from(deadline).unwrap_or(0));
    let key = args.get(1);
    let done = conditions.hold(ctx.txn.ttl(ctx.db, key), deadline)
        && ctx.txn.expire(ctx.db, key, Some(deadline));
    ctx.reply.integer(i64::from(done));
}

fn time_left(ctx: &mut Ctx<'_, '_>, key: &[u8], unit: fn(u64) -> u64) {
    match ctx.txn.ttl(ctx.db, key) {
        Ttl::NoKey => ctx.reply.integer(-2),
        Ttl::NoExpiry => ctx.reply.integer(-1),
        Ttl::At(deadline) => {
            ctx.reply.count(unit(deadline.0.saturating_sub(ctx.txn.expiry_clock.0)));
        }
    }
}

impl Conditions {
    /// Writes the error and returns `None` if the options are not some that go together.
    fn parse(options: Args<'_>, reply: &mut Reply<'_>) -> Option<Conditions> {
        let mut conditions = Conditions::default();
        for word in options.iter() {
            let known = [
                (&b"NX"[..], &mut conditions.no_expiry),
                (b"XX", &mut conditions.has_expiry),
                (b"GT", &mut conditions.later),
                (b"LT", &mut conditions.earlier),
            ];
            match known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
                Some((_, condition)) => *condition = true,
                None => {
                    let word = errors::printed(word, word.len());
                    reply.error_bytes(&[b"ERR Unsupported option ", word].concat());
                    return None;
                }
            }
        }
        let Conditions { no_expiry, has_expiry, later, earlier } = conditions;
        if no_expiry && (has_expiry || later || earlier) {
            reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
            return None;
        }
        if later && earlier {
            reply.error("ERR GT and LT options at the same time are not compatible");
            return None;
        }
        Some(conditions)
    }

    /// A key without expiry counts as one that expires after every deadline.
    fn hold(self, now: Ttl, deadline: UnixMs) -> bool {
        let current = match now {
            Ttl::NoKey => return false,
            Ttl::NoExpiry => None,
            Ttl::At(current) => Some(current),
        };
        !(self.no_expiry && current.is_some()
            || self.has_expiry && current.is_none()
            || self.later && current.is_none_or(|current| deadline <= current)
            || self.earlier && current.is_some_and(|current| deadline >= current))
    }
}

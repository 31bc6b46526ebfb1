//! MEMORY: what keys take.

use crate::wire::resp::Args;

use super::Ctx;
use super::errors::{self, SYNTAX};

/// MEMORY USAGE key [SAMPLES count]: what the allocator has given for the key, its value and its cells, in bytes. It is
/// counted, not estimated from a sample, whatever `count` says.
pub(super) fn usage(ctx: &mut Ctx<'_, '_>, args: Args<'_>) {
    let mut at = 3;
    while at < args.len() {
        if !args.get(at).eq_ignore_ascii_case(b"SAMPLES") || at + 1 == args.len() {
            return ctx.reply.error(SYNTAX);
        }
        let Some(count) = errors::integer(&mut ctx.reply, args.get(at + 1)) else { return };
        if count < 0 {
            return ctx.reply.error(SYNTAX);
        }
        at += 2;
    }
    match ctx.txn.used_bytes(ctx.db, args.get(2)) {
        Some(bytes) => ctx.reply.integer(i64::try_from(bytes).unwrap_or(i64::MAX)),
        None => ctx.reply.null(),
    }
}

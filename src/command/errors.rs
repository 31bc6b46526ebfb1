//! Error replies that several commands share, worded as Redis 7.2 words them.

use crate::wire::args::parse_i64;
use crate::wire::reply::Reply;

pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub const SYNTAX: &str = "ERR syntax error";
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// The number of arguments does not fit; `name` as in the table, `client|setname`.
pub fn wrong_arity(reply: &mut Reply<'_>, name: &str) {
    reply.error(&format!("ERR wrong number of arguments for '{name}' command"));
}

/// A deadline that is no point in time.
pub fn invalid_expire_time(reply: &mut Reply<'_>, name: &str) {
    reply.error(&format!("ERR invalid expire time in '{name}' command"));
}

/// An integer argument; without one the error is written and `None` comes back.
pub fn integer(reply: &mut Reply<'_>, argument: &[u8]) -> Option<i64> {
    let value = parse_i64(argument);
    if value.is_none() {
        reply.error(NOT_AN_INTEGER);
    }
    value
}

/// The first `bytes_max` bytes of an argument, up to a zero byte: what `%.128s` prints of it.
pub fn printed(argument: &[u8], bytes_max: usize) -> &[u8] {
    let cut = &argument[..argument.len().min(bytes_max)];
    cut.split(|&byte| byte == 0).next().unwrap_or(cut)
}

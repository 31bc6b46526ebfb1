//! Commands about the connection itself: AUTH, HELLO, SELECT, CLIENT.

use crate::base::ids::DbIndex;
use crate::wire::args::{Args, parse_i64};
use crate::wire::reply::{Protocol, Reply};

use super::REDIS_VERSION;
use super::server::Cx;

const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for \
     the default user. Are you sure your configuration is correct?";
const HELLO_FIRST: &str = "NOAUTH HELLO must be called with the client already authenticated, \
     otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client \
     and select the RESP protocol version at the same time";
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// `AUTH [user] password`.
pub fn auth(cx: &mut Cx<'_>, args: Args<'_>) {
    let (user, password) = match args.len() {
        2 => (&b"default"[..], args.get(1)),
        3 => (args.get(1), args.get(2)),
        _ => return cx.session.reply().error("ERR syntax error"),
    };
    if args.len() == 2 && !cx.server.config.wants_password() {
        return cx.session.reply().error(NO_PASSWORD_SET);
    }
    if login(cx, user, password) {
        cx.session.reply().ok();
    } else {
        cx.session.reply().error(WRONGPASS);
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub fn hello(cx: &mut Cx<'_>, args: Args<'_>) {
    let mut protocol = cx.session.protocol;
    if args.len() > 1 {
        protocol = match parse_i64(args.get(1)) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return cx.session.reply().error("NOPROTO unsupported protocol version"),
            None => {
                let text = "ERR Protocol version is not an integer or out of range";
                return cx.session.reply().error(text);
            }
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let (option, more) = (args.get(at), args.len() - at - 1);
        if option.eq_ignore_ascii_case(b"AUTH") && more >= 2 {
            credentials = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && more >= 1 {
            let given = args.get(at + 1);
            if !is_name(given) {
                return cx.session.reply().error(BAD_NAME);
            }
            name = Some(given);
            at += 2;
        } else {
            let text = [&b"ERR Syntax error in HELLO option '"[..], option, b"'"].concat();
            return cx.session.reply().error_bytes(&text);
        }
    }
    if let Some((user, password)) = credentials
        && !login(cx, user, password)
    {
        return cx.session.reply().error(WRONGPASS);
    }
    if cx.server.asks_password_of(cx.session) {
        return cx.session.reply().error(HELLO_FIRST);
    }
    if let Some(name) = name {
        cx.session.name = name.to_vec();
    }
    cx.session.protocol = protocol;
    let id = cx.session.client_id;
    let strong = cx.server.strong.is_some();
    let role = if cx.server.is_plain_replica() { "replica" } else { "master" };
    let mut reply = cx.session.reply();
    reply.map(7);
    let mut text = |key: &str, value: &str| {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("server", "redis");
    text("version", REDIS_VERSION);
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.count(id);
    let mut text = |key: &str, value: &str| {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("mode", if strong { "cluster" } else { "standalone" });
    text("role", role);
    reply.bulk(b"modules");
    reply.array(0);
}

/// `SELECT index`.
pub fn select(cx: &mut Cx<'_>, args: Args<'_>) {
    let databases = i64::from(cx.server.config.databases);
    match parse_i64(args.get(1)) {
        None => cx.session.reply().error("ERR value is not an integer or out of range"),
        Some(index) if index != 0 && cx.server.strong.is_some() => {
            cx.session.reply().error("ERR SELECT is not allowed in cluster mode");
        }
        Some(index) if (0..databases).contains(&index) => {
            cx.session.db = DbIndex(index as u16);
            cx.session.reply().ok();
        }
        Some(index) if i32::try_from(index).is_err() => {
            let (min, max) = (i32::MIN, i32::MAX);
            let text = format!("ERR value is out of range, value must between {min} and {max}");
            cx.session.reply().error(&text);
        }
        Some(_) => cx.session.reply().error("ERR DB index is out of range"),
    }
}

/// `CLIENT ID`.
pub fn client_id(cx: &mut Cx<'_>) {
    let id = cx.session.client_id;
    cx.session.reply().count(id);
}

/// `CLIENT GETNAME`.
pub fn client_get_name(cx: &mut Cx<'_>) {
    let session = &mut *cx.session;
    let mut reply = Reply::new(session.replies.writer(), session.protocol);
    if session.name.is_empty() { reply.null() } else { reply.bulk(&session.name) }
}

/// `CLIENT SETNAME name`; the empty name takes it away.
pub fn client_set_name(cx: &mut Cx<'_>, args: Args<'_>) {
    let name = args.get(2);
    if is_name(name) {
        cx.session.name = name.to_vec();
        cx.session.reply().ok();
    } else {
        cx.session.reply().error(BAD_NAME);
    }
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER text`.
pub fn client_set_info(cx: &mut Cx<'_>, args: Args<'_>) {
    let session = &mut *cx.session;
    let (option, value) = (args.get(2), args.get(3));
    let (field, name) = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        (&mut session.lib_name, "lib-name")
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        (&mut session.lib_version, "lib-ver")
    } else {
        let text = [&b"ERR Unrecognized option '"[..], option, b"'"].concat();
        return session.reply().error_bytes(&text);
    };
    if is_name(value) {
        *field = value.to_vec();
        session.reply().ok();
    } else {
        let text = format!("ERR {name} cannot contain spaces, newlines or special characters.");
        session.reply().error(&text);
    }
}

/// Makes the session an authenticated one if user and password are right.
fn login(cx: &mut Cx<'_>, user: &[u8], password: &[u8]) -> bool {
    // Without a password set the default user is let in with any.
    let right = match &cx.server.config.requirepass {
        None => true,
        Some(wanted) => same(wanted.as_bytes(), password),
    };
    let known = right && user == b"default";
    if known {
        cx.session.authenticated = true;
    }
    known
}

/// Compares in a time that does not depend on where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y));
    a.len() == b.len() && difference == 0
}

/// Printable, without blanks; may be empty.
fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

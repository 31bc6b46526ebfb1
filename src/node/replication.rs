//! Commands about other nodes: REPLICAOF, ROLE, WAIT, QUORATE.

use std::fmt;

use crate::active::{Core, PeerError, ReplicaOf, ReplicaOfError, RoleReport};
use crate::base::ids::Origin;
use crate::base::time::{Mono, Now, Span};
use crate::wire::args::{Args, parse_i64};

use super::directive::host_port;
use super::server::{Cx, Server};
use super::session::Session;

/// `REPLICAOF HOST PORT | NO ONE | REMOVE HOST PORT`.
pub fn replicaof(server: &mut Server, session: &mut Session, args: Args<'_>, core: &mut Core<'_>) {
    let change = match replicaof_change(args) {
        Ok(change) => change,
        Err(text) => return session.reply().error(text),
    };
    match server.active.replicaof(change, core) {
        Ok(()) => {
            server.config.replicaof = server.active.master_addresses();
            session.reply().ok();
        }
        Err(ReplicaOfError::Already) => {
            session.reply().simple("OK Already connected to specified master");
        }
        Err(ReplicaOfError::Unknown) => {
            session.reply().error("ERR No such master is configured; nothing was changed");
        }
    }
}

fn replicaof_change(args: Args<'_>) -> Result<ReplicaOf, &'static str> {
    let remove = args.len() == 4 && args.get(1).eq_ignore_ascii_case(b"REMOVE");
    if args.len() != 3 && !remove {
        return Err("ERR wrong number of arguments for 'replicaof' command");
    }
    let words = if remove { args.from(2) } else { args.from(1) };
    let (host, port) = (words.get(0), words.get(1));
    if !remove && host.eq_ignore_ascii_case(b"NO") && port.eq_ignore_ascii_case(b"ONE") {
        return Ok(ReplicaOf::NoOne);
    }
    if parse_i64(port).is_none_or(|port| !(1..=65535).contains(&port)) {
        return Err("ERR Invalid master port");
    }
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let to = text(host).zip(text(port)).and_then(|(host, port)| host_port(host, port));
    let to = to.ok_or("ERR Invalid master host")?;
    Ok(if remove { ReplicaOf::Remove(to) } else { ReplicaOf::Add(to) })
}

/// `ROLE`.
pub fn role(cx: &mut Cx<'_>) {
    let report = cx.server.active.role();
    let mut reply = cx.session.reply();
    match report {
        RoleReport::Master { offset, replicas } => {
            reply.array(3);
            reply.bulk(b"master");
            reply.count(offset);
            reply.array(replicas.len());
            for replica in replicas {
                let ip = replica.ip.map_or("?".to_owned(), |ip| ip.to_string());
                reply.array(3);
                reply.bulk(ip.as_bytes());
                reply.bulk(replica.port.to_string().as_bytes());
                reply.bulk(replica.offset.to_string().as_bytes());
            }
        }
        RoleReport::Replica { host, port, state, offset } => {
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(host.as_bytes());
            reply.integer(i64::from(port));
            reply.bulk(state.as_bytes());
            reply.count(offset);
        }
    }
}

/// What `WAIT replicas ms` asks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct WaitFor {
    pub replicas: u64,
    pub deadline: Option<Mono>,
}

/// Reads the arguments of WAIT.
///
/// # Errors
/// The text of the error reply.
pub fn wait_for(server: &Server, args: Args<'_>, now: Now) -> Result<WaitFor, &'static str> {
    if server.is_plain_replica() {
        return Err("ERR WAIT cannot be used with replica instances. Please also note that since \
                    Redis 4.0 if a replica is configured to be writable (which is not the default) \
                    writes to replicas are just local and are not propagated.");
    }
    let replicas = parse_i64(args.get(1)).ok_or("ERR value is not an integer or out of range")?;
    let ms = parse_i64(args.get(2)).ok_or("ERR timeout is not an integer or out of range")?;
    if ms < 0 {
        return Err("ERR timeout is negative");
    }
    // Redis adds the time of day.
    if ms.checked_add_unsigned(now.wall.ms().0).is_none() {
        return Err("ERR timeout is out of range");
    }
    let ms = ms as u64;
    let deadline = (ms > 0).then(|| now.mono + Span::from_ms(ms));
    Ok(WaitFor { replicas: replicas.max(0) as u64, deadline })
}

/// `QUORATE CLOCK ACCEPT origin`.
pub fn clock_accept(
    server: &mut Server,
    session: &mut Session,
    args: Args<'_>,
    core: &mut Core<'_>,
) {
    let origin = args.len() == 4 && args.get(2).eq_ignore_ascii_case(b"ACCEPT");
    let origin = std::str::from_utf8(args.get(args.len() - 1)).ok().filter(|_| origin);
    let Some(origin) = origin.and_then(|text| u32::from_str_radix(text, 16).ok()) else {
        let text = "ERR expected QUORATE CLOCK ACCEPT origin, an origin as INFO prints it";
        return session.reply().error(text);
    };
    if server.active.accept_origin(Origin(origin), core) {
        session.reply().ok();
    } else {
        session.reply().error("ERR no such origin is paused");
    }
}

/// The text of the error reply to QUORATE PEER.
pub struct PeerRefusal(pub PeerError);

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PeerError::Syntax => write!(f, "ERR expected QUORATE PEER version"),
            PeerError::Version { theirs } => write!(
                f,
                "ERR peer protocol version {theirs} is not supported, this node speaks version {}",
                crate::wire::frame::PEER_VERSION
            ),
        }
    }
}

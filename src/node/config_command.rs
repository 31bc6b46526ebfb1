//! CONFIG GET, SET, RESETSTAT.

use crate::active::ActiveSetting;
use crate::base::io::{Effect, Effects, ShellSetting};
use crate::base::time::{Now, Span};
use crate::command::glob;
use crate::wire::resp::Args;

use super::Node;
use super::config::Config;
use super::directive::{self, Directive, Refusal};
use super::server::{Cx, Server, Stats};

/// `CONFIG GET pattern …`.
pub fn get(cx: &mut Cx<'_>, args: Args<'_>) {
    let patterns = args.from(2);
    let asked = |name: &str| {
        patterns.iter().any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes()))
    };
    let mut found: Vec<(&str, String)> = Vec::new();
    for directive in directive::all() {
        for name in [directive.name, directive.alias] {
            if !name.is_empty() && asked(name) {
                found.push((name, directive.get(&cx.server.config)));
            }
        }
    }
    let mut reply = cx.session.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// `CONFIG RESETSTAT`.
pub fn reset_stat(cx: &mut Cx<'_>) {
    cx.server.stats.reset();
    cx.session.reply().ok();
}

/// `CONFIG REWRITE`: refused.
pub fn rewrite(cx: &mut Cx<'_>) {
    let text = "ERR CONFIG REWRITE is not supported by this version of Quorate; the configuration \
                file is unchanged";
    cx.session.reply().error(text);
}

/// `CONFIG SET name value …`, all or nothing: a copy takes the place of the configuration if every
/// value fits.
pub fn set(cx: &mut Cx<'_>, args: Args<'_>) {
    let pairs = args.from(2);
    if pairs.len() % 2 == 1 {
        return cx.session.reply().error("ERR syntax error");
    }
    let mut named: Vec<(&Directive, &[u8])> = Vec::new();
    for at in (0..pairs.len()).step_by(2) {
        let name = pairs.get(at);
        let Some(directive) = directive::find(name) else {
            let head = "ERR Unknown option or number of arguments for CONFIG SET - '";
            let text = [head.as_bytes(), name, b"'"].concat();
            return cx.session.reply().error_bytes(&text);
        };
        if named.iter().any(|(earlier, _)| earlier.name == directive.name) {
            return failed(cx, name, "duplicate parameter");
        }
        named.push((directive, pairs.get(at + 1)));
    }
    let mut next = cx.server.config.clone();
    for (at, (directive, value)) in named.into_iter().enumerate() {
        let name = pairs.get(2 * at);
        if !directive.at_run_time {
            return failed(cx, name, "can't set immutable config");
        }
        let Ok(value) = std::str::from_utf8(value) else {
            return failed(cx, name, "argument must be UTF-8 text");
        };
        if let Err(why) = directive.set(&mut next, &[value]) {
            return refused(cx, name, why);
        }
    }
    if next.maxclients != cx.server.config.maxclients && next.maxclients > next.maxclients_room {
        let why = format!(
            "The operating system is not able to handle the specified number of clients, try with \
             {}",
            next.maxclients_room
        );
        return failed(cx, b"maxclients", &why);
    }
    let at_strong = next.strong.on && next.appendfsync != cx.server.config.appendfsync;
    if at_strong || (next.strong.on && !next.save.is_empty()) {
        let (name, why) = if at_strong {
            (&b"appendfsync"[..], "can't be changed in strong mode: the next start counts on it")
        } else {
            (&b"save"[..], "dumps are not written in strong mode yet")
        };
        return failed(cx, name, why);
    }
    if next.active_replica && next.replica_read_only {
        let why = "an active replica takes writes, which 'active-replica yes' says";
        return failed(cx, Directive::REPLICA_READ_ONLY.as_bytes(), why);
    }
    let before = std::mem::replace(&mut cx.server.config, next);
    cx.server.config_before.get_or_insert(before);
    cx.session.reply().ok();
}

fn refused(cx: &mut Cx<'_>, name: &[u8], why: Refusal) {
    failed(cx, name, &why.to_string());
}

fn failed(cx: &mut Cx<'_>, name: &[u8], why: &str) {
    let head = "ERR CONFIG SET failed (possibly related to argument '";
    let text = [head.as_bytes(), name, b"') - ", why.as_bytes()].concat();
    cx.session.reply().error_bytes(&text);
}

impl Stats {
    /// RESETSTAT: what counts events starts again, what counts things that are there stays.
    fn reset(&mut self) {
        let Stats { clients, clients_blocked, next_client_id, units, used_bytes_peak, .. } = *self;
        *self = Stats {
            clients,
            clients_blocked,
            next_client_id,
            units,
            used_bytes_peak,
            ..Stats::default()
        };
    }
}

impl Node {
    /// Tells the driver and active mode what CONFIG SET has changed since `before`.
    pub(super) fn announce_changes(&mut self, before: &Config, time: Now, out: &mut Effects) {
        if before.timeout_secs != self.server.config.timeout_secs {
            self.reset_idle(time);
        }
        if self.timers.soft_limit.is_some() {
            // It may have become shorter.
            self.timers.soft_limit = Some(time.mono);
        }
        let Server { config: now, active, .. } = &mut self.server;
        if before.maxclients != now.maxclients {
            out.push(Effect::Setting(ShellSetting::MaxClients(now.maxclients)));
        }
        if before.loglevel != now.loglevel {
            out.push(Effect::Setting(ShellSetting::LogLevel(now.loglevel)));
        }
        if before.tcp_keepalive_secs != now.tcp_keepalive_secs {
            let secs = now.tcp_keepalive_secs;
            out.push(Effect::Setting(ShellSetting::TcpKeepalive { secs }));
        }
        if before.masteruser != now.masteruser {
            active.set(ActiveSetting::MasterUser(now.masteruser.clone()));
        }
        if before.masterauth != now.masterauth {
            active.set(ActiveSetting::MasterAuth(now.masterauth.clone()));
        }
        self.data.journal.set_policy(now.appendfsync);
        if before.repl_backlog_bytes != now.repl_backlog_bytes {
            active.set(ActiveSetting::BacklogBytes(now.repl_backlog_bytes));
        }
        if before.repl_timeout_secs != now.repl_timeout_secs {
            let span = Span::from_secs(now.repl_timeout_secs);
            active.set(ActiveSetting::ReplTimeout(span));
        }
        if before.max_clock_skew_ms != now.max_clock_skew_ms {
            active.set(ActiveSetting::MaxClockSkewMs(now.max_clock_skew_ms));
        }
        if before.replica_read_only != now.replica_read_only {
            active.set(ActiveSetting::ReplicaReadOnly(now.replica_read_only));
        }
    }
}

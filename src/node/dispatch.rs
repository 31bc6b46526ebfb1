//! From bytes to commands to replies: parsing, the checks before a command, execution.

use bytes::{Buf, BytesMut};

use crate::base::fact::LogLevel;
use crate::base::ids::{ConnId, DbIndex};
use crate::base::io::{Effect, Effects};
use crate::base::rng::Rng;
use crate::base::time::{Now, Span, UnixMs};
use crate::base::unit::Unit;
use crate::command::{self, Command, Ctx, DataHandler, Flags, Handler, SessionCommand};
use crate::store::txn::Txn;
use crate::strong::NodeName;
use crate::wire::reply::Reply;
use crate::wire::resp::{Args, Parser, RespLimits, Step};

use super::config::Config;
use super::recovery::{LOADING, NO_ROOM};
use super::replication::PeerRefusal;
use super::server::{Cx, Server};
use super::session::{Block, Session, State, Wait};
use super::shutdown::Asked;
use super::strong::execute::{self, Way};
use super::strong::{cluster, operator};
use super::{Data, Node, config_command, connection, dump, info, replication, snapshot};

pub(super) const READONLY: &str = "READONLY You can't write against a read only replica.";
const NOAUTH: &str = "NOAUTH Authentication required.";
/// How long nothing is said of a second attack.
const ATTACK_SILENCE: Span = Span::from_secs(60);
const NOT_IN_MULTI: &str = "ERR Command not allowed inside a transaction";

/// One offer of bytes to one session: what it may use, and what came of it.
pub(super) struct Turn<'a> {
    pub server: &'a mut Server,
    pub data: &'a mut Data,
    pub session: &'a mut Session,
    pub out: &'a mut Effects,
    pub now: Now,
    /// Corrected wall clock, for stamps.
    pub wall: UnixMs,
    pub expiry_clock: UnixMs,
    pub asked: Asked,
    /// What requests may measure; only a command about the session or the server changes that.
    limits: RespLimits,
    /// The node whose client has asked for this, and its number there: the session is none then.
    pub for_node: Option<(NodeName, u64)>,
}

impl Node {
    /// Executes the whole commands at the start of `buf`, as far as the session takes them. False if the
    /// connection is none of a client.
    pub(super) fn execute_all(
        &mut self,
        now: Now,
        conn: ConnId,
        buf: &mut BytesMut,
        out: &mut Effects,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return false };
        if matches!(session.state(), State::Peer) {
            return false;
        }
        session.last_seen = now.mono;
        let offered = buf.len();
        let wall = self.server.active.wall(now);
        let expiry_clock = self.server.active.expiry_clock(now);
        session.reply_bytes_max = self.server.output_bytes_max(session);
        let mut turn = Turn {
            limits: resp_limits(&self.server, session),
            server: &mut self.server,
            data: &mut self.data,
            session,
            out,
            now,
            wall,
            expiry_clock,
            asked: Asked::default(),
            for_node: None,
        };
        turn.run(buf);
        let asked = turn.asked;
        self.timers.clock_seen = (now.mono, expiry_clock);
        self.server.stats.input_bytes += (offered - buf.len()) as u64;
        Node::list(&mut self.listed, session);
        let goes_on = matches!(session.state(), State::Command | State::Transaction(_));
        if self.server.config_before.is_some()
            && let Some(before) = self.server.config_before.take()
        {
            self.announce_changes(&before, now, out);
        }
        if !goes_on {
            self.after_turn(now, conn, buf, out);
        }
        self.on_asked(now, conn, asked, out);
        true
    }

    /// Runs what another node's client has asked for: with a session that is none of a connection.
    pub(super) fn run_for_node<T>(
        &mut self,
        now: Now,
        asker: (NodeName, u64),
        session: &mut Session,
        out: &mut Effects,
        run: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> T {
        let wall = self.server.active.wall(now);
        let expiry_clock = self.server.active.expiry_clock(now);
        run(&mut Turn {
            limits: resp_limits(&self.server, session),
            server: &mut self.server,
            data: &mut self.data,
            session,
            out,
            now,
            wall,
            expiry_clock,
            asked: Asked::default(),
            for_node: Some(asker),
        })
    }

    /// What a change of the session's state means for the node.
    fn after_turn(&mut self, now: Now, conn: ConnId, buf: &mut BytesMut, out: &mut Effects) {
        let Some(session) = self.sessions.get(conn) else { return };
        match session.state() {
            State::Command | State::Transaction(_) => {}
            State::Blocked(_) => {
                self.blocked.insert(conn);
                self.server.stats.clients_blocked = self.blocked.len() as u64;
            }
            State::Peer => {
                if let Err(place) = self.links.binary_search(&conn) {
                    self.links.insert(place, conn);
                }
                self.on_bytes_of_peer(now, conn, buf, out);
            }
            State::Closing { .. } => buf.clear(),
        }
    }
}

/// Runs one command that works on data, as part of a unit. Needs no session: EXEC calls it for each of
/// its commands, and what is to become one unit from elsewhere can too.
#[inline]
pub(super) fn run_data(
    (command, handler): (&'static Command, DataHandler),
    args: Args<'_>,
    db: DbIndex,
    (config, rng): (&Config, &mut Rng),
    txn: &mut Txn<'_>,
    reply: Reply<'_>,
) {
    let (bulk_bytes_max, encodings) = (config.proto_max_bulk_bytes, config.encodings);
    handler(&mut Ctx { txn, db, reply, command, bulk_bytes_max, encodings, rng }, args);
}

impl Turn<'_> {
    fn run(&mut self, buf: &mut BytesMut) {
        // Beside the session while its arguments are borrowed from it.
        let mut parser = std::mem::take(&mut self.session.parser);
        let start = self.run_with(&mut parser, buf);
        buf.advance(start);
        self.session.parser = parser;
        self.check_query_limit(buf.len() + self.session.parser.unfinished_bytes());
    }

    /// Returns how many bytes were used up.
    fn run_with(&mut self, parser: &mut Parser, buf: &[u8]) -> usize {
        let mut start = 0;
        loop {
            match self.session.state() {
                State::Command | State::Transaction(_) if !self.session.is_postponed => {}
                State::Command | State::Transaction(_) => return start,
                State::Blocked(_) | State::Peer | State::Closing { .. } => return start,
            }
            match parser.next(&buf[start..], &self.limits) {
                Ok(Step::NeedMore) => return start,
                Ok(Step::Empty { consumed }) => start += consumed,
                Ok(Step::Command { consumed }) => {
                    self.execute(parser.args(&buf[start..]));
                    if self.session.is_postponed {
                        return start;
                    }
                    start += consumed;
                    if self.check_output_limit() {
                        return start;
                    }
                }
                Err(error) => {
                    error.write(&mut self.session.reply());
                    self.session.become_closing();
                    return start;
                }
            }
        }
    }

    /// Takes in the bounds of requests and replies as the configuration and the session now have them.
    fn renew_limits(&mut self) {
        self.limits = resp_limits(self.server, self.session);
        self.session.reply_bytes_max = self.server.output_bytes_max(self.session);
    }

    /// Closes a client that has sent too much of a command without its end, or queued too much.
    fn check_query_limit(&mut self, unfinished_bytes: usize) {
        let queued = self.session.transaction().map_or(0, |transaction| transaction.bytes);
        let config = &self.server.config;
        let max = config.client_query_bytes_max.min(config.limits.query_bytes_max as u64);
        let bytes = (unfinished_bytes + queued) as u64;
        let executes = matches!(self.session.state(), State::Command | State::Transaction(_));
        if bytes > max && executes {
            let (ip, port) = self.session.address;
            let text = format!(
                "Closing client that reached max query buffer length: id={} addr={ip}:{port}, \
                 {bytes} bytes",
                self.session.client_id
            );
            self.out.facts.log(LogLevel::Warning, text);
            self.server.stats.query_limit_disconnections += 1;
            self.session.become_aborted();
        }
    }

    /// The checks before a command, in Redis's order, then the command itself or its place in the queue.
    fn execute(&mut self, args: Args<'_>) {
        self.server.stats.commands_processed += 1;
        if is_of_http(args.get(0)) {
            return self.abort_http();
        }
        let command = match command::resolve(args) {
            Ok(command) => command,
            Err(why) => {
                self.refuse_in_transaction();
                if why.ends_transaction() {
                    self.end_transaction();
                }
                return why.write(&mut self.session.reply(), args);
            }
        };
        if self.server.asks_password_of(self.session) && !command.flags.has(Flags::NO_AUTH) {
            return self.refuse(command, NOAUTH);
        }
        let write = command.flags.has(Flags::WRITE);
        if self.session.transaction().is_some() && !is_for_multi(command) {
            return self.refuse(command, NOT_IN_MULTI);
        }
        if self.data.journal.is_full() && self.writes(command) {
            return self.refuse(command, NO_ROOM);
        }
        if write && self.server.active.is_read_only_replica() {
            return self.refuse(command, READONLY);
        }
        if self.server.loading.is_some() && !command.flags.has(Flags::LOADING) {
            return self.refuse(command, LOADING);
        }
        if self.must_wait(command) {
            return self.postpone();
        }
        let mut way = Way::Anywhere;
        if self.server.strong.is_some() {
            way = self.way_of(command, args);
            if matches!(way, Way::Done) {
                return;
            }
        }
        if let Some(transaction) = self.session.transaction()
            && is_queued(command)
        {
            if let Some(slot) = way.slot()
                && transaction.slot.replace(slot).is_some_and(|before| before != slot)
            {
                return self.refuse(command, execute::CROSS_SLOT);
            }
            let owned = args.to_owned();
            transaction.writes |= write;
            transaction.bytes += owned.bytes();
            transaction.queued.push((command, owned));
            return self.session.reply().simple("QUEUED");
        }
        match command.handler {
            Handler::Data(handler) => match way {
                Way::Slot(slot) => self.run_alone_at_master((command, handler), args, slot),
                Way::Copy(slot) => self.run_on_copy((command, handler), args, slot),
                Way::Elsewhere(slot, to) => self.pass_command(command, args, slot, to),
                Way::Anywhere | Way::Done => self.run_alone((command, handler), args),
            },
            Handler::Session(what) => {
                self.run_session(what, args);
                self.renew_limits();
            }
        }
    }

    /// A browser that was talked into sending a request here, with commands in its body: nothing of it is
    /// executed. Said once a minute, as Redis does.
    fn abort_http(&mut self) {
        let said =
            self.server.attack_said.is_some_and(|at| self.now.mono.since(at) <= ATTACK_SILENCE);
        if !said {
            self.server.attack_said = Some(self.now.mono);
            let (ip, port) = self.session.address;
            let text = format!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or \
                 Host: commands to Quorate. This is likely due to an attacker attempting to use \
                 Cross Protocol Scripting to compromise your Quorate instance. Connection from \
                 {ip}:{port} aborted."
            );
            self.out.facts.log(LogLevel::Warning, text);
        }
        self.session.become_aborted();
    }

    /// An error before execution: EXEC will refuse everything. With EXEC itself the transaction ends.
    pub(super) fn refuse(&mut self, command: &Command, text: &str) {
        if command.is_exec() {
            self.end_transaction();
            let text = format!("EXECABORT Transaction discarded because of: {text}");
            return self.session.reply().error(&text);
        }
        self.refuse_in_transaction();
        self.session.reply().error(text);
    }

    fn refuse_in_transaction(&mut self) {
        if let Some(transaction) = self.session.transaction() {
            transaction.refused = true;
        }
    }

    /// One data command outside of a transaction: a unit of its own.
    #[inline]
    fn run_alone(&mut self, command: (&'static Command, DataHandler), args: Args<'_>) {
        let looks = command.0.flags.has(Flags::READONLY);
        let strong = self.server.strong.as_ref();
        let shown = strong.filter(|_| looks).map(|strong| strong.served());
        let sight = if strong.is_some() { UnixMs(0) } else { self.expiry_clock };
        let mut txn = Txn {
            gather: self.gathers(),
            store: &mut self.data.store,
            clock: &mut self.data.clock,
            wall: self.wall,
            expiry_clock: self.expiry_clock,
            sight,
            shown: shown.as_ref(),
            facts: &mut self.out.facts,
        };
        let db = self.session.db;
        let with = (&self.server.config, &mut self.server.rng);
        run_data(command, args, db, with, &mut txn, self.session.reply());
        if let Some(unit) = txn.finish() {
            self.issue(unit);
        }
    }

    /// Whether anybody takes units: others, whoever listens to facts, the log.
    pub(super) fn gathers(&self) -> bool {
        self.data.journal.is_on() || self.server.active.gathers(self.out.facts.is_on())
    }

    /// A unit made by this client: logged and streamed, and what WAIT waits for.
    pub(super) fn issue(&mut self, unit: Unit) {
        self.server.stats.units += 1;
        self.session.last_write = unit.dot;
        let conn = Some(self.session.conn);
        let mut core = self.data.core(self.now, self.out);
        self.server.active.on_local_unit(unit, conn, &mut core);
        self.server.watch.on_changes(&mut self.data.store);
    }

    fn cx(&mut self) -> Cx<'_> {
        Cx { server: self.server, session: self.session, store: &self.data.store, now: self.now }
    }

    /// A command of the session or the server, outside of a transaction.
    fn run_session(&mut self, what: SessionCommand, args: Args<'_>) {
        match what {
            SessionCommand::Auth
            | SessionCommand::Hello
            | SessionCommand::Select
            | SessionCommand::ClientId
            | SessionCommand::ClientGetName
            | SessionCommand::ClientSetName
            | SessionCommand::ClientSetInfo
            | SessionCommand::ConfigGet
            | SessionCommand::ConfigSet
            | SessionCommand::ConfigResetStat
            | SessionCommand::ConfigRewrite
            | SessionCommand::Info
            | SessionCommand::BackgroundSave
            | SessionCommand::RewriteLog
            | SessionCommand::LastSave
            | SessionCommand::Cluster
            | SessionCommand::ClusterWord
            | SessionCommand::QuorateRoster
            | SessionCommand::QuoratePmap
            | SessionCommand::Role => run_quiet(&mut self.cx(), what, args),
            SessionCommand::QuorateMesh => self.become_mesh_link(args),
            SessionCommand::QuorateRecluster => self.recluster(args),
            SessionCommand::QuorateRevive => self.revive(args),
            SessionCommand::Quit => {
                self.session.reply().ok();
                self.session.become_closing();
            }
            SessionCommand::Multi => self.multi(),
            SessionCommand::Exec => self.exec(),
            SessionCommand::Discard => self.discard(),
            SessionCommand::Watch => self.watch(args),
            SessionCommand::Unwatch => self.unwatch(),
            SessionCommand::Wait => self.wait(args),
            SessionCommand::Save => self.save(),
            SessionCommand::Shutdown => self.shutdown(args),
            SessionCommand::ReplicaOf => {
                let mut core = self.data.core(self.now, self.out);
                replication::replicaof(self.server, self.session, args, &mut core);
            }
            SessionCommand::QuoratePeer => self.become_link(args),
            SessionCommand::QuorateClock => {
                let mut core = self.data.core(self.now, self.out);
                replication::clock_accept(self.server, self.session, args, &mut core);
            }
            SessionCommand::QuorateDigest => {
                // Keys that expired are no part of it, whether or not their time has been noticed.
                let facts = &mut self.out.facts;
                if self.server.strong.is_none() {
                    self.data.store.expire(self.expiry_clock, usize::MAX, facts);
                }
                let digest = format!("{:016x}", self.data.store.digest());
                self.session.reply().bulk(digest.as_bytes());
            }
        }
    }

    /// `WAIT replicas ms`: answers at once if it can, else blocks the session.
    fn wait(&mut self, args: Args<'_>) {
        if self.server.strong.is_some() {
            return self.wait_in_cluster(args);
        }
        let wanted = match replication::wait_for(self.server, args, self.now) {
            Ok(wanted) => wanted,
            Err(text) => return self.session.reply().error(text),
        };
        let dot = self.session.last_write;
        let acked = self.server.active.replicas_acked(dot) as u64;
        if acked >= wanted.replicas {
            return self.session.reply().count(acked);
        }
        let slot = self.session.replies.defer();
        let replication::WaitFor { replicas, deadline } = wanted;
        self.session.become_blocked(Block::Wait(Wait { slot, dot, replicas, deadline }));
        self.out.push(Effect::PauseReads { conn: self.session.conn, paused: true });
        self.out.facts.sometimes("WAIT had to wait");
    }

    /// `QUORATE PEER version`: from here on the bytes are active mode's.
    fn become_link(&mut self, args: Args<'_>) {
        let (conn, ip) = (self.session.conn, self.session.address.0);
        let words: Vec<&[u8]> = args.from(2).iter().collect();
        let mut core = self.data.core(self.now, self.out);
        match self.server.active.accept_peer(conn, &words, ip, &mut core) {
            Err(error) => self.session.reply().error(&PeerRefusal(error).to_string()),
            Ok(()) => self.give_to_peers(),
        }
    }

    /// The connection is a peer's from here on.
    pub(super) fn give_to_peers(&mut self) {
        let conn = self.session.conn;
        // What was answered before leaves before the first byte of the link.
        if self.session.replies.has_ready() {
            let bytes = self.session.replies.take_ready();
            self.session.undrained_bytes += bytes.len() as u64;
            self.out.push(Effect::Send { conn, bytes });
        }
        let session = &mut *self.session;
        self.server.watch.unwatch(conn, &mut session.watched, &mut self.data.store);
        self.session.become_peer();
    }
}

/// A command that needs to look at the data at most: also within EXEC.
pub(super) fn run_quiet(cx: &mut Cx<'_>, what: SessionCommand, args: Args<'_>) {
    match what {
        SessionCommand::Auth => connection::auth(cx, args),
        SessionCommand::Hello => connection::hello(cx, args),
        SessionCommand::Select => connection::select(cx, args),
        SessionCommand::ClientId => connection::client_id(cx),
        SessionCommand::ClientGetName => connection::client_get_name(cx),
        SessionCommand::ClientSetName => connection::client_set_name(cx, args),
        SessionCommand::ClientSetInfo => connection::client_set_info(cx, args),
        SessionCommand::ConfigGet => config_command::get(cx, args),
        SessionCommand::ConfigSet => config_command::set(cx, args),
        SessionCommand::ConfigResetStat => config_command::reset_stat(cx),
        SessionCommand::ConfigRewrite => config_command::rewrite(cx),
        SessionCommand::Info => info::info(cx, args),
        SessionCommand::Role => replication::role(cx),
        SessionCommand::BackgroundSave => dump::background_save(cx, args),
        SessionCommand::RewriteLog => snapshot::rewrite_log(cx),
        SessionCommand::LastSave => dump::last_save(cx),
        SessionCommand::Cluster => cluster::cluster(cx, args),
        SessionCommand::ClusterWord => cluster::word(cx, args),
        SessionCommand::QuorateRoster => operator::roster(cx, args),
        SessionCommand::QuoratePmap => operator::pmap(cx),
        // EXEC has let go of all keys already.
        SessionCommand::Unwatch => cx.session.reply().ok(),
        SessionCommand::Wait => match replication::wait_for(cx.server, args, cx.now) {
            Err(text) => cx.session.reply().error(text),
            Ok(_) => {
                let acked = cx.server.acked_by(cx.session, cx.session.last_write);
                cx.session.reply().count(acked);
            }
        },
        SessionCommand::Quit
        | SessionCommand::Multi
        | SessionCommand::Exec
        | SessionCommand::Discard
        | SessionCommand::Watch
        | SessionCommand::Shutdown
        | SessionCommand::Save
        | SessionCommand::ReplicaOf
        | SessionCommand::QuoratePeer
        | SessionCommand::QuorateClock
        | SessionCommand::QuorateMesh
        | SessionCommand::QuorateRecluster
        | SessionCommand::QuorateRevive
        | SessionCommand::QuorateDigest => unreachable!("{what:?} is never queued"),
    }
}

fn resp_limits(server: &Server, session: &Session) -> RespLimits {
    let config = &server.config;
    RespLimits {
        inline_bytes_max: config.limits.inline_bytes_max,
        arguments_max: config.limits.arguments_max,
        bulk_bytes_max: config.proto_max_bulk_bytes,
        unauthenticated: server.asks_password_of(session),
    }
}

/// Whether a command's name is a word of an HTTP request that no command has.
fn is_of_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Whether a command may be given inside MULTI at all. Those that change who this node is to others, or
/// end it, may not: they are no part of a unit.
fn is_for_multi(command: &Command) -> bool {
    let fits = match command.handler {
        Handler::Data(_) => true,
        Handler::Session(what) => !matches!(
            what,
            SessionCommand::Shutdown
                | SessionCommand::ReplicaOf
                | SessionCommand::QuoratePeer
                | SessionCommand::QuorateClock
                | SessionCommand::QuorateMesh
                | SessionCommand::QuorateDigest
        ),
    };
    fits && !command.flags.has(Flags::NO_MULTI)
}

/// Whether a command inside MULTI waits for EXEC.
fn is_queued(command: &Command) -> bool {
    match command.handler {
        Handler::Data(_) => true,
        Handler::Session(what) => !matches!(
            what,
            SessionCommand::Exec
                | SessionCommand::Discard
                | SessionCommand::Multi
                | SessionCommand::Watch
                | SessionCommand::Quit
        ),
    }
}

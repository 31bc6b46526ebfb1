//! Dumps: the data as a file of Redis's format, `dbfilename` in `dir`. Written at the word of SAVE and BGSAVE, at save
//! points, and before the end of the process; loaded at the start of a node that keeps no log.
//!
//! One is made beside everything else, row of partitions by row of partitions, each as it is met: it is no image of one
//! moment. SAVE's reply alone waits for it.

use bytes::BytesMut;

use crate::base::fact::LogLevel;
use crate::base::io::{DumpStep, Effect, Effects};
use crate::base::time::{Mono, Now, Span, Wall};
use crate::base::unit::{Cell, Change};
use crate::rdb::writer::{Header, WriterOptions};
use crate::store::txn::Ttl;
use crate::wal::dump::{DumpWriter, Shown};
use crate::wal::snapshot::Place;
use crate::wire::args::Args;
use crate::wire::reply::Reply;

use super::dispatch::Turn;
use super::server::{Cx, Server};
use super::session::{Block, Session};
use super::snapshot::{END, Target, Walk, rest_after};
use super::{Node, REDIS_VERSION};

const IN_PROGRESS: &str = "ERR Background save already in progress";
const REWRITE_IN_PROGRESS: &str = "ERR Another child process is active (AOF?): can't BGSAVE right \
                                   now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE \
                                   whenever possible.";
const FAILED: &str =
    "ERR the dump could not be written; the one before is still there, the log says more";

/// What is known of dumps.
#[derive(Debug, Default)]
pub struct Dumps {
    /// Somebody has asked for one that begins from now on.
    pub wanted: bool,
    /// How many were begun.
    begun: u64,
    /// Of the one under way.
    writer: Option<DumpWriter>,
    began_at: Mono,
    changes_before: u64,
    /// When the latest one was done.
    pub saved: Option<Wall>,
    /// The same, or the start of the node.
    saved_at: Mono,
    /// How long the latest took.
    pub took: Option<Span>,
    pub written: u64,
    /// So many in a row have failed.
    pub failures: u32,
    /// None is begun by itself before.
    not_before: Mono,
    /// Writes before the latest one began.
    changes: u64,
}

impl Dumps {
    pub fn new(now: Mono) -> Dumps {
        Dumps { saved_at: now, ..Dumps::default() }
    }

    /// Another begins as soon as it can; its number, if nothing comes between.
    pub fn want(&mut self) -> u64 {
        self.wanted = true;
        self.begun + 1
    }
}

impl Server {
    /// Units applied in this life, of any origin, and cells of transfers.
    fn changes(&self) -> u64 {
        self.stats.units + self.active.changes_taken()
    }

    /// Of these, those that the latest dump may not show.
    pub fn changes_since_dump(&self) -> u64 {
        self.changes().saturating_sub(self.snapshots.dumps.changes)
    }

    /// How long the dump under way has taken so far, if there is one.
    pub fn dump_takes(&self, now: Mono) -> Option<Span> {
        let is_under_way = self.snapshots.target() == Some(Target::Dump);
        is_under_way.then(|| now.since(self.snapshots.dumps.began_at))
    }

    /// When a save point is reached, as things are.
    pub fn dump_due(&self) -> Option<Mono> {
        if self.config.save.is_empty() || self.snapshots.target().is_some() {
            return None;
        }
        let (dumps, changes) = (&self.snapshots.dumps, self.changes_since_dump());
        let points = self.config.save.iter();
        let due = points.filter_map(|point| point.due(dumps.saved_at, changes)).min()?;
        Some(due.max(dumps.not_before))
    }
}

impl Node {
    pub(super) fn dump_is_due(&self, now: Now) -> bool {
        let server = &self.server;
        server.snapshots.dumps.wanted || server.dump_due().is_some_and(|due| due <= now.mono)
    }

    pub(super) fn begin_dump(&mut self, now: Now, out: &mut Effects) {
        let (server, core) = self.core(now, out);
        let head = server.active.dump_head(&core);
        let config = &server.config;
        let options =
            WriterOptions { compression: config.rdbcompression, checksum: config.rdbchecksum };
        let header = Header {
            redis_version: REDIS_VERSION,
            created_s: now.wall.0 / 1_000_000,
            used_bytes: core.store.stats().used_bytes,
        };
        let mut bytes = BytesMut::new();
        let writer = DumpWriter::new(options, &header, config.identity.node_id, head, &mut bytes);
        let changes = server.changes();
        let dumps = &mut server.snapshots.dumps;
        dumps.wanted = false;
        dumps.begun += 1;
        dumps.writer = Some(writer);
        dumps.began_at = now.mono;
        dumps.changes_before = changes;
        out.facts.log(LogLevel::Verbose, "A dump begins");
        out.push(Effect::Dump(DumpStep::Begin));
        let walk = Walk {
            target: Target::Dump,
            at: Place::default(),
            waits: true,
            breaks: self.data.journal.breaks(),
            log_bytes_before: 0,
            bytes: 0,
        };
        self.put_dump(walk, bytes, out);
    }

    fn put_dump(&mut self, mut walk: Walk, bytes: BytesMut, out: &mut Effects) {
        walk.bytes += bytes.len() as u64;
        out.push(Effect::Dump(DumpStep::Chunk(bytes.freeze())));
        self.server.snapshots.become_walking(walk);
    }

    pub(super) fn go_on_with_dump(&mut self, now: Now, mut walk: Walk, out: &mut Effects) {
        let snapshots = &mut self.server.snapshots;
        if walk.at == END {
            out.push(Effect::Dump(DumpStep::Commit));
            return snapshots.become_committing(walk);
        }
        let Some(mut writer) = snapshots.dumps.writer.take() else { return };
        let clock = self.server.active.expiry_clock(now);
        let store = &self.data.store;
        let budget = self.server.config.limits.snapshot_chunk_bytes;
        let mut cells: Vec<Change> = Vec::new();
        let next = store.walk_partitions((walk.at.db, walk.at.partition), budget, &mut cells);
        let mut bytes = BytesMut::new();
        for of_key in cells.chunk_by(is_of_one_key) {
            let Change { db, key, cell, .. } = &of_key[0];
            // (A database that only a peer has is none to others.)
            let is_for_others =
                *cell != Cell::DatabaseTombstone && db.0 < self.server.config.databases;
            let value = store.get(*db, key, clock).filter(|_| is_for_others);
            let deadline = match store.ttl(*db, key, clock) {
                Ttl::At(deadline) => Some(deadline),
                Ttl::NoKey | Ttl::NoExpiry => None,
            };
            let shown = value.map(|value| Shown { value: value.to_content(), deadline });
            writer.key(
                of_key,
                shown.as_ref(),
                |db| (store.len(db), store.expiring(db)),
                &mut bytes,
            );
        }
        walk.at = next.map_or(END, |(db, partition)| Place { db, partition });
        if walk.at == END {
            writer.finish(&mut bytes);
        } else {
            self.server.snapshots.dumps.writer = Some(writer);
        }
        self.put_dump(walk, bytes, out);
    }

    /// The dump under way is in its place, or has failed: then `bytes` is `None`.
    pub(super) fn end_dump(&mut self, now: Now, bytes: Option<u64>, out: &mut Effects) {
        let dumps = &mut self.server.snapshots.dumps;
        dumps.writer = None;
        dumps.took = Some(now.mono.since(dumps.began_at));
        match bytes {
            Some(bytes) => {
                dumps.changes = dumps.changes_before;
                dumps.saved = Some(now.wall);
                dumps.saved_at = now.mono;
                dumps.written += 1;
                dumps.failures = 0;
                out.facts.log(LogLevel::Notice, format!("DB saved on disk: {bytes} bytes"));
            }
            None => {
                dumps.not_before = now.mono + rest_after(dumps.failures);
                dumps.failures += 1;
                let text = "The dump could not be written; the one before is still there";
                out.facts.log(LogLevel::Warning, text);
            }
        }
        let done = dumps.begun;
        self.wake_savers(now, done, bytes.is_some(), out);
        self.on_dump_before_end(now, done, bytes.is_some(), out);
    }

    /// Answers each SAVE that waited for this dump or one before.
    fn wake_savers(&mut self, now: Now, done: u64, written: bool, out: &mut Effects) {
        let mut woken = Vec::new();
        for conn in &self.blocked {
            let Some(session) = self.sessions.get_mut(*conn) else { continue };
            if session.awaited_dump().is_some_and(|dump| dump <= done) {
                answer_save(session, written);
                session.last_seen = now.mono;
                // What it sent meanwhile waits in the driver's buffer.
                out.push(Effect::PauseReads { conn: *conn, paused: false });
                Node::list(&mut self.listed, session);
                woken.push(*conn);
            }
        }
        for conn in woken {
            self.blocked.remove(&conn);
            self.expect_idle(now);
        }
        self.server.stats.clients_blocked = self.blocked.len() as u64;
    }
}

impl Turn<'_> {
    /// `SAVE`: blocks the session until the dump is on the device. Nobody else waits.
    pub(super) fn save(&mut self) {
        let snapshots = &mut self.server.snapshots;
        if snapshots.target() == Some(Target::Dump) {
            return self.session.reply().error(IN_PROGRESS);
        }
        let dump = snapshots.dumps.want();
        let slot = self.session.replies.defer();
        self.session.become_blocked(Block::Save { slot, dump });
        self.out.push(Effect::PauseReads { conn: self.session.conn, paused: true });
    }
}

fn is_of_one_key(a: &Change, b: &Change) -> bool {
    let of_database = |change: &Change| change.cell == Cell::DatabaseTombstone;
    (a.db, &a.key, of_database(a)) == (b.db, &b.key, of_database(b))
}

fn answer_save(session: &mut Session, written: bool) {
    let Some(slot) = session.become_unblocked() else { return };
    let mut bytes = BytesMut::new();
    let mut reply = Reply::new(&mut bytes, session.protocol);
    if written {
        reply.ok()
    } else {
        reply.error(FAILED)
    }
    session.replies.fill(slot, bytes);
}

/// `BGSAVE [SCHEDULE]`.
pub fn background_save(cx: &mut Cx<'_>, args: Args<'_>) {
    let Cx { server, session, .. } = cx;
    let schedule = args.len() == 2 && args.get(1).eq_ignore_ascii_case(b"SCHEDULE");
    if args.len() > 1 && !schedule {
        return session.reply().error("ERR syntax error");
    }
    let target = server.snapshots.target();
    match target {
        Some(Target::Dump) => return session.reply().error(IN_PROGRESS),
        Some(Target::Log) if !schedule => return session.reply().error(REWRITE_IN_PROGRESS),
        Some(Target::Log) | None => {}
    }
    server.snapshots.dumps.wanted = true;
    session.reply().simple(match target {
        Some(_) => "Background saving scheduled",
        None => "Background saving started",
    });
}

/// `LASTSAVE`: of the start if there was none since.
pub fn last_save(cx: &mut Cx<'_>) {
    let at = cx.server.snapshots.dumps.saved.unwrap_or(cx.server.started_wall);
    cx.session.reply().integer((at.0 / 1_000_000) as i64);
}

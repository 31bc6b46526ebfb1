//! The end of the process in good order: writes pause until the replicas have everything, as in Redis 7.

use bytes::BytesMut;

use crate::base::fact::LogLevel;
use crate::base::ids::ConnId;
use crate::base::io::{Effect, Effects};
use crate::base::time::{Mono, Now, Span};
use crate::base::vector::Vector;
use crate::command::{Command, Flags, Handler, SessionCommand};
use crate::wire::reply::Reply;
use crate::wire::resp::Args;

use super::Node;
use super::dispatch::Turn;
use super::session::{Block, Session, State};

const ABORTED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";
const NO_ROOM: &str = "ERR Errors trying to SHUTDOWN: the log's device is full, and what was \
                       written last is not on it. Make room, or end without it: SHUTDOWN NOSAVE";

/// A shutdown under way: no write is executed any more.
#[derive(Clone, Debug)]
pub struct Stopping {
    /// The process ends then, whoever lacks what.
    pub until: Mono,
    /// What this node had when it began: all of that the replicas are to acknowledge.
    pub had: Vector,
    /// Whether a dump is written then.
    pub save: FinalDump,
    /// The process ends also if the dump cannot be written.
    forced: bool,
    /// What becomes of it while the log's device is full.
    without_room: WithoutRoom,
    /// It waits for room there, and for nothing else.
    waits_for_room: bool,
}

/// What becomes of a shutdown while what was written last has no room in the log.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum WithoutRoom {
    /// A signal's: nobody hears an error. It ends once there is room.
    #[default]
    Waits,
    /// The client is told, and the server goes on.
    Fails,
    /// NOSAVE and FORCE: it ends without that.
    Ends,
}

/// The dump before the end.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FinalDump {
    None,
    /// Once the replicas have everything, or have had their time.
    Wanted,
    /// The one with this number is waited for.
    Begun(u64),
    Written,
}

/// What SHUTDOWN says, or a signal.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Begin {
    /// Replicas are not waited for.
    at_once: bool,
    /// If it says nothing, a dump is written if there are save points.
    save: Option<bool>,
    forced: bool,
    without_room: WithoutRoom,
}

impl Stopping {
    /// When its end is to be looked at by itself.
    pub fn due(&self) -> Option<Mono> {
        match self.save {
            FinalDump::None | FinalDump::Wanted if self.waits_for_room => None,
            FinalDump::None | FinalDump::Wanted => Some(self.until),
            FinalDump::Begun(_) | FinalDump::Written => None,
        }
    }
}

/// What the commands of one turn ask for.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Asked {
    /// SHUTDOWN was given.
    begin: Option<Begin>,
    /// SHUTDOWN ABORT has ended the shutdown that was under way.
    aborted: bool,
}

impl Turn<'_> {
    /// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`: no reply if it succeeds.
    pub(super) fn shutdown(&mut self, args: Args<'_>) {
        let (mut save, mut nosave, mut at_once) = (false, false, false);
        let (mut abort, mut forced) = (false, false);
        for option in args.from(1).iter() {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if is(b"SAVE") && !nosave {
                save = true;
            } else if is(b"NOSAVE") && !save {
                nosave = true;
            } else if is(b"NOW") {
                at_once = true;
            } else if is(b"ABORT") && args.len() == 2 {
                abort = true;
            } else if is(b"FORCE") {
                forced = true;
            } else {
                return self.session.reply().error("ERR syntax error");
            }
        }
        if abort {
            if self.server.stopping.take().is_none() {
                return self.session.reply().error("ERR No shutdown in progress.");
            }
            self.asked.aborted = true;
            return self.session.reply().ok();
        }
        let without_room = match nosave || forced {
            true => WithoutRoom::Ends,
            false => WithoutRoom::Fails,
        };
        if without_room == WithoutRoom::Fails && self.data.journal.is_full() {
            return self.session.reply().error(NO_ROOM);
        }
        let slot = self.session.replies.defer();
        self.session.become_blocked(Block::Shutdown(slot));
        self.out.push(Effect::PauseReads { conn: self.session.conn, paused: true });
        let save = (save || nosave).then_some(save);
        self.asked.begin = Some(Begin { at_once, save, forced, without_room });
    }

    /// Whether a shutdown is under way that this command has to wait for.
    #[inline]
    pub(super) fn must_wait(&mut self, command: &Command) -> bool {
        self.server.stopping.is_some() && self.writes(command)
    }

    /// Whether a command may write, an EXEC what it executes.
    pub(super) fn writes(&mut self, command: &Command) -> bool {
        let exec = matches!(command.handler, Handler::Session(SessionCommand::Exec));
        let writes = self.session.transaction().is_some_and(|transaction| transaction.writes);
        command.flags.has(Flags::WRITE) || (exec && writes)
    }

    /// Leaves a command and all behind it where they are, until the shutdown is aborted.
    pub(super) fn postpone(&mut self) {
        self.server.stats.commands_processed -= 1;
        self.session.is_postponed = true;
        self.out.push(Effect::PauseReads { conn: self.session.conn, paused: true });
    }
}

impl Node {
    /// A signal: the first one ends the process in order, a second one at once.
    pub(super) fn on_shutdown(&mut self, now: Now, save: Option<bool>, out: &mut Effects) {
        if self.server.stopping.is_some() {
            out.facts.log(LogLevel::Warning, "You insist... exiting now.");
            return self.halt(now, 1, "told to end at once", out);
        }
        self.begin_shutdown(now, Begin { save, ..Begin::default() }, out);
    }

    /// Carries out what SHUTDOWN of a turn has asked for.
    pub(super) fn on_asked(&mut self, now: Now, conn: ConnId, asked: Asked, out: &mut Effects) {
        if asked.aborted {
            self.abort_shutdown(now, Some(conn), ABORTED, out);
        }
        match asked.begin {
            None => {}
            Some(begin) if begin.at_once || self.server.stopping.is_none() => {
                self.begin_shutdown(now, begin, out);
            }
            Some(begin) if begin.without_room == WithoutRoom::Ends => {
                if let Some(stopping) = &mut self.server.stopping {
                    stopping.without_room = WithoutRoom::Ends;
                    stopping.forced |= begin.forced;
                    if begin.save == Some(false) && stopping.save == FinalDump::Wanted {
                        stopping.save = FinalDump::None;
                    }
                }
            }
            // It ends with the one that is under way.
            Some(_) => {}
        }
    }

    fn begin_shutdown(&mut self, now: Now, begin: Begin, out: &mut Effects) {
        // What clients have written so far is on its way before the replicas are asked.
        self.flush_batch(now, out);
        let Begin { at_once, save, forced, without_room } = begin;
        let had = self.server.active.vector().clone();
        let patience = match at_once {
            true => Span(0),
            false => Span::from_secs(self.server.config.shutdown_timeout_secs),
        };
        let before = self.server.stopping.as_ref().map(|stopping| stopping.save);
        let saves = save.unwrap_or(!self.server.config.save.is_empty());
        let save = match before {
            // What has yet to be loaded is in the dump that is there.
            _ if !saves || self.server.loading.is_some() => FinalDump::None,
            Some(FinalDump::Begun(dump)) => FinalDump::Begun(dump),
            Some(FinalDump::None | FinalDump::Wanted | FinalDump::Written) | None => {
                FinalDump::Wanted
            }
        };
        let until = now.mono + patience;
        let waits_for_room = false;
        self.server.stopping =
            Some(Stopping { until, had, save, forced, without_room, waits_for_room });
        self.end_if_ready(now, out);
        let waits = |stopping: &Stopping| match stopping.save {
            FinalDump::None | FinalDump::Wanted => true,
            FinalDump::Begun(_) | FinalDump::Written => false,
        };
        let waits = |stopping: &Stopping| waits(stopping) && !stopping.waits_for_room;
        if !self.halted && self.server.stopping.as_ref().is_some_and(waits) {
            out.facts.log(LogLevel::Notice, "Waiting for replicas before shutting down.");
            self.server.active.beat_soon(now.mono);
        }
    }

    /// Ends the process if the replicas have everything, or have had their time; after a last dump if one is wanted.
    pub(super) fn end_if_ready(&mut self, now: Now, out: &mut Effects) {
        let Some(stopping) = &mut self.server.stopping else { return };
        let (in_sync, replicas) = self.server.active.replicas_in_sync(&stopping.had);
        if in_sync != replicas && now.mono < stopping.until {
            return;
        }
        let is_begun = matches!(stopping.save, FinalDump::Begun(_));
        if !self.data.journal.is_full() {
            stopping.waits_for_room = false;
        } else if !is_begun && !self.ends_without_room(now, out) {
            return;
        }
        let Some(stopping) = &mut self.server.stopping else { return };
        match stopping.save {
            FinalDump::None | FinalDump::Written => {
                let had = stopping.had.clone();
                self.end(now, &had, out);
            }
            FinalDump::Wanted => {
                let text = "Saving the final RDB snapshot before exiting.";
                out.facts.log(LogLevel::Notice, text);
                stopping.save = FinalDump::Begun(self.server.snapshots.dumps.want());
                self.flush_snapshot(now, out);
            }
            FinalDump::Begun(_) => {}
        }
    }

    /// Whether a shutdown that is ready ends the process although what was written last has no room in the log.
    fn ends_without_room(&mut self, now: Now, out: &mut Effects) -> bool {
        let Some(stopping) = &mut self.server.stopping else { return false };
        match stopping.without_room {
            WithoutRoom::Ends => return true,
            WithoutRoom::Waits if stopping.waits_for_room => {}
            WithoutRoom::Waits => {
                stopping.waits_for_room = true;
                let text = "The log's device is full, and what was written last is not on it: the \
                            server ends when there is room. Another signal, or SHUTDOWN NOSAVE, \
                            ends it without that";
                out.facts.log(LogLevel::Warning, text);
            }
            WithoutRoom::Fails => {
                out.facts.log(LogLevel::Warning, "The log's device is full, can't exit.");
                self.server.stopping = None;
                self.abort_shutdown(now, None, NO_ROOM, out);
            }
        }
        false
    }

    /// The dump with the number `done` was written, or could not be.
    pub(super) fn on_dump_before_end(
        &mut self,
        now: Now,
        done: u64,
        written: bool,
        out: &mut Effects,
    ) {
        let Some(stopping) = &mut self.server.stopping else { return };
        match stopping.save {
            FinalDump::Begun(dump) if dump <= done && (written || stopping.forced) => {
                stopping.save = FinalDump::Written;
            }
            FinalDump::Begun(dump) if dump <= done => {
                let text = "Error trying to save the DB, can't exit.";
                out.facts.log(LogLevel::Warning, text);
                self.server.stopping = None;
                self.abort_shutdown(now, None, ABORTED, out);
            }
            FinalDump::None | FinalDump::Wanted | FinalDump::Begun(_) | FinalDump::Written => {}
        }
    }

    /// The own writes have moved to another origin: that is what the replicas acknowledge now.
    pub(super) fn follow_origin_to_the_end(&mut self) {
        if let Some(stopping) = &mut self.server.stopping {
            stopping.had = self.server.active.vector().clone();
        }
    }

    fn end(&mut self, now: Now, had: &Vector, out: &mut Effects) {
        let (in_sync, replicas) = self.server.active.replicas_in_sync(had);
        if replicas > 0 {
            let level = if in_sync < replicas { LogLevel::Warning } else { LogLevel::Notice };
            let text = format!("{in_sync} of {replicas} replicas are in sync when shutting down.");
            out.facts.log(level, text);
        }
        if self.data.journal.is_full() {
            return self.halt(now, 1, "told to end without what the log had no room for", out);
        }
        self.halt(now, 0, "shutdown", out);
    }

    /// What is due to clients and peers leaves, then nothing more happens.
    fn halt(&mut self, now: Now, code: i32, reason: &str, out: &mut Effects) {
        if code == 0 {
            if let Some(strong) = &mut self.server.strong {
                strong.mesh.strong.stopped();
            }
            self.flush_strong(now, out);
            // With what it has taken on the device; and what is still to leave behind that.
            self.data.journal.barrier();
        }
        self.doubt_all(now, out);
        self.flush_batch(now, out);
        out.facts.log(LogLevel::Notice, "Quorate is now ready to exit, bye bye...");
        out.push(Effect::Halt { code, reason: reason.to_owned() });
        self.halted = true;
    }

    /// Clients go on where they were: those whose SHUTDOWN it was with an error, `why`. All but `aborter`.
    fn abort_shutdown(&mut self, now: Now, aborter: Option<ConnId>, why: &str, out: &mut Effects) {
        out.facts.log(LogLevel::Notice, "Shutdown manually aborted.");
        for session in self.sessions.iter_mut() {
            let conn = session.conn;
            let asked = matches!(session.state(), State::Blocked(Block::Shutdown(_)));
            if Some(conn) == aborter || !(asked || session.is_postponed) {
                continue;
            }
            session.is_postponed = false;
            session.last_seen = now.mono;
            if asked {
                answer_aborted(session, why);
                self.blocked.remove(&conn);
                Node::list(&mut self.listed, session);
            }
            out.push(Effect::PauseReads { conn, paused: false });
        }
        self.server.stats.clients_blocked = self.blocked.len() as u64;
        self.expect_idle(now);
    }
}

fn answer_aborted(session: &mut Session, why: &str) {
    let Some(slot) = session.become_unblocked() else { return };
    let mut bytes = BytesMut::new();
    Reply::new(&mut bytes, session.protocol).error(why);
    session.replies.fill(slot, bytes);
}

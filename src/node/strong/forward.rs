//! `cluster-redirect proxy`: a node that is not the master passes a plain client's commands on to the one that is, and its
//! answers back. A command is passed on once: a node that does not serve the slot says so, and what is not answered is
//! told to the client as what it is, nothing done or a fate that is not known.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};

use crate::base::checksum::slot_of;
use crate::base::ids::{ConnId, Partition};
use crate::base::io::{Effect, Effects};
use crate::base::mutant::StrongMutant;
use crate::base::time::{Mono, Now};
use crate::command::{self, Command, DataHandler, Flags, Handler};
use crate::strong::frame::{Answer, Answered, FRAME_BYTES_MAX, Forward, Forwarded, Frame, Request};
use crate::strong::tail::Place;
use crate::strong::{NodeName, Outcome, Route};
use crate::wire::args::{Args, OwnedArgs};
use crate::wire::reply::{Protocol, Reply};

use super::super::Node;
use super::super::dispatch::Turn;
use super::super::recovery::NO_ROOM;
use super::super::replies::SlotId;
use super::super::session::{Session, Transaction};
use super::client::Since;
use super::execute::{SLOTS, SLOTS_EACH};
use super::{Asker, IN_DOUBT, StrongNode};

/// What is passed on at most, and a reply to it: no frame is too long then.
pub(super) const PASSED_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

const TRY_AGAIN: &str =
    "TRYAGAIN The node that serves the slot has not taken the command: nothing was done";
const TOO_LONG: &str =
    "ERR the command is too long to be passed on to the node that serves its slot";
const REPLY_TOO_LONG: &[u8] = b"-ERR the reply is too long to be passed on\r\n";
const ONLY_DATA: &str = "EXECABORT Transaction discarded because of: ERR only commands on keys can be passed on to the \
                         node that serves their slot";

/// A client's command that another node has.
#[derive(Debug)]
pub(super) struct Passed {
    conn: ConnId,
    slot: SlotId,
    protocol: Protocol,
    of: Partition,
    to: NodeName,
    writes: bool,
    /// Its number among the client's writes, or 0.
    wrote: u64,
    /// The client is told then what is not known.
    until: Mono,
    /// Passed on once more when nothing has come: a deliberate fault's.
    again: Option<Box<Forward>>,
}

impl Passed {
    pub fn is_of(&self, conn: ConnId) -> bool {
        self.conn == conn
    }
}

impl StrongNode {
    /// Answers another node's client.
    pub(super) fn answer_node(
        &mut self,
        (to, id): (NodeName, u64),
        outcome: Outcome,
        bytes: Bytes,
        copies: u64,
        writes: bool,
    ) {
        let what = match outcome {
            Outcome::Done(_) if bytes.len() < PASSED_BYTES_MAX => {
                Answered::Reply { bytes, copies: copies as u16 }
            }
            // It is done, and what it has answered cannot be told.
            Outcome::Done(_) if writes => Answered::InDoubt,
            Outcome::Done(_) => {
                let bytes = Bytes::from_static(REPLY_TOO_LONG);
                Answered::Reply { bytes, copies: 0 }
            }
            Outcome::Refused(_) => Answered::NotServed,
            Outcome::InDoubt(_) => Answered::InDoubt,
        };
        self.mesh.pass(to, &Frame::Answer(Box::new(Answer { id, what })));
    }

    /// When what was passed on has waited for long enough.
    pub fn passed_due(&self) -> Option<Mono> {
        // (All wait for as long, and are numbered as they come.)
        self.passed.values().next().map(|passed| passed.until)
    }
}

impl Turn<'_> {
    /// Leaves a command where it is until what was passed on before it is answered.
    pub(super) fn wait_for_passed(&mut self) {
        if let Some(strong) = self.server.strong.as_deref_mut() {
            strong.behind_passed.insert(self.session.conn);
            self.postpone();
        }
    }

    /// A command outside of a transaction.
    pub(in crate::node) fn pass_command(
        &mut self,
        command: &Command,
        args: Args<'_>,
        slot: u16,
        to: NodeName,
    ) {
        let what = Forwarded::Command(words_of(args));
        self.pass_on(to, slot, what, command.flags.has(Flags::WRITE));
    }

    pub(super) fn pass_transaction(
        &mut self,
        transaction: &Transaction,
        slot: u16,
        to: NodeName,
        watched: Option<(Place, Vec<Bytes>)>,
    ) {
        let of_data = |command: &Command| {
            matches!(command.handler, Handler::Data(_)) && command.keys.first > 0
        };
        if !transaction.queued.iter().all(|(command, _)| of_data(command)) {
            return self.session.reply().error(ONLY_DATA);
        }
        let commands = transaction.queued.iter().map(|(_, args)| words_of(args.args())).collect();
        let what = Forwarded::Exec { commands, watched };
        self.pass_on(to, slot, what, transaction.writes);
    }

    /// Passes something on; its reply follows. The number of it, unless it was answered at once.
    pub(super) fn pass_on(
        &mut self,
        to: NodeName,
        slot: u16,
        what: Forwarded,
        writes: bool,
    ) -> Option<u64> {
        if what.bytes() > PASSED_BYTES_MAX {
            self.session.reply().error(TOO_LONG);
            return None;
        }
        let strong = self.server.strong.as_deref_mut()?;
        let protocol = self.session.protocol;
        strong.next_passed += 1;
        if self.server.config.mutants.has_strong(StrongMutant::PassedIdsReused) {
            strong.next_passed %= 2;
        }
        let id = strong.next_passed;
        let forward = Box::new(Forward { id, slot, resp3: protocol == Protocol::Resp3, what });
        let twice = self.server.config.mutants.has_strong(StrongMutant::ForwardedTwice) && writes;
        let again = twice.then(|| forward.clone());
        if !strong.mesh.pass(to, &Frame::Forward(forward)) {
            self.session.reply().error(TRY_AGAIN);
            return None;
        }
        let of = strong.partition(Partition(slot / SLOTS_EACH));
        let until = self.now.mono + strong.mesh.strong.write_timeout();
        let (conn, slot) = (self.session.conn, self.session.replies.defer());
        let cluster = &mut self.session.cluster;
        cluster.passed.entry(of).or_insert((to, 0)).1 += 1;
        let wrote = if writes { cluster.writes.begin() } else { 0 };
        let passed = Passed { conn, slot, protocol, of, to, writes, wrote, until, again };
        strong.passed.insert(id, passed);
        Some(id)
    }

    /// Does what a client of another node has asked for; an answer that need not wait.
    fn run_forwarded(&mut self, slot: u16, what: Forwarded) -> Option<Answered> {
        let strong = self.server.strong.as_deref()?;
        let stopping = self.server.stopping.is_some() || self.server.loading.is_some();
        if slot >= SLOTS || stopping {
            return Some(Answered::NotServed);
        }
        let of = strong.partition(Partition(slot / SLOTS_EACH));
        if strong.mesh.strong.route(of, self.now.mono) != Route::Here {
            self.out.facts.sometimes("a command was passed on to a node that was not the master");
            return Some(Answered::NotServed);
        }
        let mut transaction = Transaction::default();
        let watched = match what {
            Forwarded::Watch => {
                let stand = strong.mesh.strong.stand(of);
                return Some(stand.map_or(Answered::NotServed, Answered::Watching));
            }
            Forwarded::Command(words) => {
                let Some((command, handler, owned)) = data_command(&words, slot) else {
                    return Some(Answered::NotServed);
                };
                if self.data.journal.is_full() && command.flags.has(Flags::WRITE) {
                    return Some(self.no_room());
                }
                self.run_alone_at_master((command, handler), owned.args(), slot);
                return None;
            }
            Forwarded::Exec { commands, watched } => {
                for words in commands {
                    let Some((command, _, owned)) = data_command(&words, slot) else {
                        return Some(Answered::NotServed);
                    };
                    transaction.writes |= command.flags.has(Flags::WRITE);
                    transaction.queued.push((command, owned));
                }
                watched
            }
        };
        if self.data.journal.is_full() && transaction.writes {
            return Some(self.no_room());
        }
        self.execute_at_master(&transaction, slot, watched);
        None
    }

    fn no_room(&mut self) -> Answered {
        self.session.reply().error(NO_ROOM);
        let bytes = self.session.replies.take_ready();
        Answered::Reply { bytes, copies: 0 }
    }
}

impl Node {
    /// Takes what the mesh has brought of clients' requests.
    pub(in crate::node) fn on_requests(&mut self, now: Now, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        if strong.mesh.requests.is_empty() {
            return;
        }
        for request in core::mem::take(&mut strong.mesh.requests) {
            match request {
                Request::Forward(from, forward) => self.on_forward(now, from, *forward, out),
                Request::Answer(from, answer) => self.on_answer(from, *answer, out),
                Request::Lost(name) => self.on_link_lost(name, out),
            }
        }
    }

    fn on_forward(&mut self, now: Now, from: NodeName, forward: Forward, out: &mut Effects) {
        let Forward { id, slot, resp3, what } = forward;
        let address = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let mut session = Session::new(ConnId(u64::MAX), 0, address, now.mono);
        session.protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        session.reply_bytes_max = PASSED_BYTES_MAX;
        let run = |turn: &mut Turn<'_>| turn.run_forwarded(slot, what);
        let answer = self.run_for_node(now, (from, id), &mut session, out, run);
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        if let Some(what) = answer {
            strong.mesh.pass(from, &Frame::Answer(Box::new(Answer { id, what })));
        }
    }

    fn on_answer(&mut self, from: NodeName, answer: Answer, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        if strong.passed.get(&answer.id).is_none_or(|passed| passed.to != from) {
            return;
        }
        self.end_passed(answer.id, answer.what, out);
    }

    /// The link with a node is gone: no answer comes any more to what was passed on to it.
    fn on_link_lost(&mut self, name: NodeName, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        // Nor is there anybody to be answered.
        let asks = |asker: &Asker| matches!(asker, Asker::Node { name: asks, .. } if *asks == name);
        strong.pending.retain(|_, pending| !asks(&pending.asker));
        let lost = strong.passed.iter().filter(|(_, p)| p.to == name && p.again.is_none());
        let lost: Vec<u64> = lost.map(|(&id, _)| id).collect();
        for id in lost {
            out.facts.sometimes("a link was lost with a command passed on over it");
            self.give_up_passed(id, out);
        }
    }

    /// Tells clients of what has had no answer for so long that nothing is known.
    pub(in crate::node) fn expire_passed(&mut self, now: Mono, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        let timeout = strong.mesh.strong.write_timeout();
        let mut late = Vec::new();
        for (&id, passed) in strong.passed.iter_mut().filter(|(_, passed)| passed.until <= now) {
            let again = passed.again.take().is_some_and(|forward| {
                passed.until = now + timeout;
                strong.mesh.pass(passed.to, &Frame::Forward(forward))
            });
            if !again {
                late.push(id);
            }
        }
        for id in late {
            self.give_up_passed(id, out);
        }
    }

    /// The process ends.
    pub(super) fn give_up_all_passed(&mut self, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref() else { return };
        let all: Vec<u64> = strong.passed.keys().copied().collect();
        for id in all {
            self.give_up_passed(id, out);
        }
    }

    /// Nobody will say any more what became of it.
    fn give_up_passed(&mut self, id: u64, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref() else { return };
        let writes = strong.passed.get(&id).is_some_and(|passed| passed.writes);
        let what = if writes { Answered::InDoubt } else { Answered::NotServed };
        self.end_passed(id, what, out);
    }

    fn end_passed(&mut self, id: u64, what: Answered, out: &mut Effects) {
        let Some(strong) = self.server.strong.as_deref_mut() else { return };
        let Some(passed) = strong.passed.remove(&id) else { return };
        let Passed { conn, slot, protocol, of, wrote, .. } = passed;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let eases = session.cluster.on_answered(of);
        let mut since = Since::Unknown;
        let mut text = BytesMut::new();
        let mut reply = Reply::new(&mut text, protocol);
        let copies = match what {
            Answered::Reply { bytes, copies } => {
                reply.raw(&bytes);
                Some(u64::from(copies))
            }
            Answered::Watching(place) => {
                since = Since::At(place);
                reply.ok();
                None
            }
            Answered::NotServed => {
                reply.error(TRY_AGAIN);
                None
            }
            Answered::InDoubt => {
                reply.error(IN_DOUBT);
                None
            }
        };
        session.cluster.writes.end(wrote, of, copies);
        if let Some(watching) = &mut session.cluster.watching
            && watching.since == Since::Asked(id)
        {
            watching.since = since;
        }
        session.replies.fill(slot, text);
        Node::list(&mut self.listed, session);
        if eases && strong.behind_passed.remove(&conn) {
            session.is_postponed = false;
            out.push(Effect::PauseReads { conn, paused: false });
        }
    }
}

fn words_of(args: Args<'_>) -> Vec<Bytes> {
    args.iter().map(Bytes::copy_from_slice).collect()
}

/// A command on keys of this slot, as another node passes it on.
fn data_command(words: &[Bytes], slot: u16) -> Option<(&'static Command, DataHandler, OwnedArgs)> {
    if words.is_empty() {
        return None;
    }
    let owned = OwnedArgs::new(words.iter().map(|word| &word[..]));
    let args = owned.args();
    let command = command::resolve(args).ok()?;
    let Handler::Data(handler) = command.handler else { return None };
    let mut keys = command.key_places(args.len()).map(|place| slot_of(args.get(place)));
    (command.keys.first > 0 && keys.all(|of| of == slot)).then_some((command, handler, owned))
}

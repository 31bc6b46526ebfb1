//! What a client's connection has in strong mode beside all else; READONLY, WATCH and WAIT.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::checksum::slot_of;
use crate::base::ids::Partition;
use crate::base::stamp::Stamp;
use crate::command;
use crate::strong::NodeName;
use crate::strong::frame::Forwarded;
use crate::strong::tail::Place;
use crate::wire::args::Args;

use super::super::dispatch::Turn;
use super::super::session::{Block, Transaction, Wait};
use super::StrongNode;
use super::execute::{CROSS_SLOT, SLOTS_EACH, Way};
use crate::base::io::Effect;
use crate::node::replication::{self, WaitFor};

/// A client's commands at other nodes, at most: the rest stays where it is.
const PASSED_MAX: u32 = 1024;

/// A connection of strong mode.
#[derive(Debug, Default)]
pub struct ClusterState {
    /// Reads may be answered from this node's copies: READONLY.
    pub reads_copies: bool,
    /// Commands passed on to another node and not answered, by partition: to whom, and how many.
    pub passed: BTreeMap<Partition, (NodeName, u32)>,
    pub watching: Option<Watching>,
    pub writes: Writes,
}

/// Keys of one slot under WATCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watching {
    pub slot: u16,
    pub keys: Vec<Bytes>,
    pub since: Since,
}

/// From where on changes count.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Since {
    At(Place),
    /// The master is asked by the command with this number.
    Asked(u64),
    /// It could not be asked: EXEC must fail.
    Unknown,
}

/// What a client has written: what WAIT tells of.
#[derive(Debug, Default)]
pub struct Writes {
    /// Numbers writes from 1.
    last: u64,
    /// Not answered.
    open: u64,
    of_last: Fate,
}

/// What became of a write.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum Fate {
    /// There is none.
    #[default]
    None,
    /// It is committed, and so many copies beside the master's had it then.
    Done {
        of: Partition,
        copies: u64,
    },
    Unknown,
}

impl Writes {
    /// A write is under way: its number.
    pub fn begin(&mut self) -> u64 {
        self.last += 1;
        self.open += 1;
        self.last
    }

    /// A write, unless the number is 0, is committed: so many copies beside the master's have it. Or its fate is not known.
    pub fn end(&mut self, number: u64, of: Partition, copies: Option<u64>) {
        if number == 0 {
            return;
        }
        self.open -= 1;
        if number == self.last {
            self.of_last = copies.map_or(Fate::Unknown, |copies| Fate::Done { of, copies });
        }
    }
}

impl ClusterState {
    /// One of the commands that were passed on for a partition is answered. Whether what waits for them may be looked at.
    pub fn on_answered(&mut self, of: Partition) -> bool {
        let mut ends = false;
        if let Some((_, count)) = self.passed.get_mut(&of) {
            *count -= 1;
            ends = *count == 0;
        }
        if ends {
            self.passed.remove(&of);
        }
        ends || self.passed_count() <= PASSED_MAX / 2
    }

    /// Whether no more is passed on before something is answered.
    pub fn is_full(&self) -> bool {
        self.passed_count() >= PASSED_MAX
    }

    fn passed_count(&self) -> u32 {
        self.passed.values().map(|(_, count)| count).sum()
    }
}

impl StrongNode {
    /// How many copies beside the master's have what a client wrote last: what WAIT answers. All that there are to be if it
    /// has written nothing.
    pub fn copies_of(&self, writes: &Writes) -> u64 {
        let protocol = &self.mesh.strong;
        match writes.of_last {
            _ if writes.open > 0 => 0,
            Fate::None => u64::from(protocol.replication_factor().saturating_sub(1)),
            // A copy that has joined since has it, too.
            Fate::Done { of, .. } if protocol.serves(of) => protocol.copies(of) as u64,
            Fate::Done { copies, .. } => copies,
            Fate::Unknown => 0,
        }
    }
}

impl Turn<'_> {
    /// `WAIT replicas ms`.
    pub(in crate::node) fn wait_in_cluster(&mut self, args: Args<'_>) {
        let wanted = match replication::wait_for(self.server, args, self.now) {
            Ok(wanted) => wanted,
            Err(text) => return self.session.reply().error(text),
        };
        let Some(strong) = self.server.strong.as_deref() else { return };
        let copies = strong.copies_of(&self.session.cluster.writes);
        let WaitFor { replicas, deadline } = wanted;
        if copies >= replicas {
            return self.session.reply().count(copies);
        }
        let slot = self.session.replies.defer();
        let dot = Stamp::ZERO;
        self.session.become_blocked(Block::Wait(Wait { slot, dot, replicas, deadline }));
        self.out.push(Effect::PauseReads { conn: self.session.conn, paused: true });
        self.out.facts.sometimes("WAIT had to wait in a strong cluster");
    }

    /// `WATCH key …`: keys of one slot, watched where their master is.
    pub(in crate::node) fn watch_in_cluster(&mut self, args: Args<'_>) {
        let keys: Vec<Bytes> = args.from(1).iter().map(Bytes::copy_from_slice).collect();
        let slot = slot_of(&keys[0]);
        let watched = self.session.cluster.watching.as_ref();
        let same = watched.is_none_or(|watching| watching.slot == slot);
        if !same || keys.iter().any(|key| slot_of(key) != slot) {
            return self.session.reply().error(CROSS_SLOT);
        }
        let watch = command::lookup(b"watch").expect("WATCH is in the table");
        let way = self.way_of_slot(watch, slot, true);
        if let Some(watching) = &mut self.session.cluster.watching {
            // What has changed since the first WATCH counts for all.
            if matches!(way, Way::Slot(_) | Way::Elsewhere(..)) {
                watching.keys.extend(keys);
                self.session.reply().ok();
            }
            return;
        }
        let since = match way {
            Way::Slot(slot) => {
                let Some(strong) = self.server.strong.as_deref() else { return };
                let of = strong.partition(Partition(slot / SLOTS_EACH));
                let stand = strong.mesh.strong.stand(of);
                self.session.reply().ok();
                stand.map_or(Since::Unknown, Since::At)
            }
            Way::Elsewhere(slot, to) => match self.pass_on(to, slot, Forwarded::Watch, false) {
                Some(id) => Since::Asked(id),
                None => return,
            },
            Way::Copy(_) | Way::Anywhere | Way::Done => return,
        };
        self.session.cluster.watching = Some(Watching { slot, keys, since });
    }

    /// EXEC: here, from this node's copy, or passed on as a whole.
    pub(in crate::node) fn exec_in_cluster(&mut self, transaction: Transaction) {
        if transaction.refused {
            self.let_go_of_keys();
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return self.session.reply().error(text);
        }
        let watching = self.session.cluster.watching.take();
        let watched = watching.as_ref().map(|watching| watching.slot);
        if let (Some(watched), Some(slot)) = (watched, transaction.slot)
            && watched != slot
        {
            let text = format!("EXECABORT Transaction discarded because of: {CROSS_SLOT}");
            return self.session.reply().error(&text);
        }
        let Some(slot) = transaction.slot.or(watched) else {
            return self.execute_queued(transaction);
        };
        if matches!(&watching, Some(Watching { since: Since::Asked(_), .. })) {
            self.session.cluster.watching = watching;
            self.session.resume_transaction(transaction);
            return self.wait_for_passed();
        }
        let exec = command::lookup(b"exec").expect("EXEC is in the table");
        let since = watching.as_ref().map(|watching| watching.since);
        let at = match since {
            None => None,
            Some(Since::At(place)) => {
                Some((place, watching.as_ref().map(|w| w.keys.clone()).unwrap_or_default()))
            }
            Some(Since::Asked(_) | Since::Unknown) => return self.session.reply().null_array(),
        };
        match self.way_of_slot(exec, slot, transaction.writes || at.is_some()) {
            Way::Slot(slot) => self.execute_at_master(&transaction, slot, at),
            Way::Copy(_) => drop(self.run_queued(&transaction)),
            Way::Elsewhere(slot, to) => self.pass_transaction(&transaction, slot, to, at),
            Way::Anywhere | Way::Done => {
                if self.session.is_postponed {
                    // It is offered again, and has to find what was queued and watched.
                    self.session.cluster.watching = watching;
                    self.session.resume_transaction(transaction);
                }
            }
        }
    }
}

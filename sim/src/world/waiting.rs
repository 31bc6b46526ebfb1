//! What waits to happen, for drivers that decide themselves what comes next, and the state of a world
//! in text.

use std::fmt::{self, Write as _};

use super::{Event, World};
use crate::ids::{ClientConn, HostId};
use crate::machine::Machine;
use crate::queue::number_of;
use crate::tcp::{Owner, Segment, What};
use crate::time::Time;

/// One event that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// When it happens by itself.
    pub at: Time,
    pub what: Awaited,
    /// Its place in the queue.
    key: u128,
}

/// What happens then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// A server process gets bytes, or learns of the end of a connection.
    Stream(Delivery),
    /// Any other segment: acknowledgements, set-up of connections, what goes to clients.
    Segment,
    /// A server process is woken by its own timer.
    Wake { host: HostId },
    /// A kernel's timer, a late read, and the like.
    Chore,
    /// Nothing will come of it: what it was meant for is gone.
    Nothing,
    /// The time given to [`World::alarm`].
    Alarm { token: u64 },
}

/// Payload for a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    pub stream: Stream,
    pub bytes: usize,
    pub sender: Sender,
}

/// Who sends.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sender {
    Server,
    Client(ClientConn),
    /// The kernel of a client that has closed the connection.
    Gone,
}

/// One direction of a connection. What travels in it keeps its order.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stream {
    pub from: HostId,
    pub from_port: u16,
    pub to: HostId,
    pub to_port: u16,
}

impl Waiting {
    /// The how manyth event of its world it is.
    pub fn number(&self) -> u64 {
        number_of(self.key)
    }
}

impl Stream {
    fn of(segment: &Segment) -> Stream {
        Stream {
            from: segment.from_host,
            from_port: segment.sport,
            to: segment.to_host,
            to_port: segment.dport,
        }
    }
}

impl<M: Machine> World<M> {
    /// How many events there have been, those that wait included.
    pub fn events_made(&self) -> u64 {
        self.queue.count()
    }

    /// Everything that waits, in the order in which it would happen.
    pub fn waiting(&self) -> Vec<Waiting> {
        let mut all: Vec<Waiting> = self
            .queue
            .iter()
            .map(|(key, at, event)| Waiting { at, what: self.awaited(at, event), key })
            .collect();
        all.sort_unstable_by_key(|waiting| waiting.key);
        all
    }

    /// The first to happen of those that `which` wants.
    pub fn next_waiting(&self, which: impl Fn(Time, &Awaited) -> bool) -> Option<Waiting> {
        let mut first: Option<Waiting> = None;
        for (key, at, event) in self.queue.iter() {
            if first.as_ref().is_none_or(|first| key < first.key) {
                let what = self.awaited(at, event);
                if which(at, &what) {
                    first = Some(Waiting { at, what, key });
                }
            }
        }
        first
    }

    /// How much waits that `which` wants.
    pub fn count_waiting(&self, which: impl Fn(&Awaited) -> bool) -> usize {
        self.queue.iter().filter(|(_, at, event)| which(&self.awaited(*at, event))).count()
    }

    /// Lets one of what waits happen at `at`, before or after its time; never before the present.
    pub fn happen(&mut self, waiting: &Waiting, at: Time) {
        let Some(event) = self.queue.take(waiting.key) else { return };
        self.now = self.now.max(at);
        if let Event::Segment(segment) = &event {
            self.tape(|tape, now| tape.arrives_at(waiting.at, now, segment));
        }
        self.carry_out_event(event);
    }

    /// It is this time, though nothing has happened until then.
    pub fn pass_to(&mut self, at: Time) {
        self.now = self.now.max(at);
    }

    /// What is on its way, in words, if somebody records the run.
    pub fn words(&self, waiting: &Waiting) -> Option<String> {
        let (_, _, event) = self.queue.iter().find(|(key, _, _)| *key == waiting.key)?;
        let Event::Segment(segment) = event else { return None };
        let tape = self.tape.as_ref()?;
        tape.with(|tape| tape.words_under_way(waiting.at, segment))
    }

    fn awaited(&self, at: Time, event: &Event) -> Awaited {
        match event {
            Event::Segment(segment) => self.awaited_segment(segment),
            Event::Wake { host, boot, .. } => {
                let at_work = &self.hosts[host.index()];
                let expected = at_work.boot == *boot
                    && at_work.process.as_ref().is_some_and(|p| p.timer_at == at && !p.paused);
                if expected { Awaited::Wake { host: *host } } else { Awaited::Nothing }
            }
            Event::SockTimer(sock) => match self.socks.get(*sock) {
                Some(sock) if sock.queued_at == at => Awaited::Chore,
                Some(_) | None => Awaited::Nothing,
            },
            Event::Keepalive(sock) | Event::Offer { sock, .. } => match self.socks.get(*sock) {
                Some(_) => Awaited::Chore,
                None => Awaited::Nothing,
            },
            Event::Flush { host, boot }
            | Event::NameUnknown { host, boot, .. }
            | Event::PastStored { host, boot, .. }
            | Event::Disk { host, boot } => {
                let same = self.hosts[host.index()].boot == *boot;
                if same { Awaited::Chore } else { Awaited::Nothing }
            }
            Event::Alarm(token) => Awaited::Alarm { token: *token },
        }
    }

    fn awaited_segment(&self, segment: &Segment) -> Awaited {
        let tells = match segment.what {
            What::Data | What::Fin => !segment.data.is_empty() || matches!(segment.what, What::Fin),
            What::Reset => true,
            What::Syn | What::SynAck | What::Probe | What::Unreachable(_) => false,
        };
        let to_process = self.socks.get(segment.to).is_some_and(|sock| match sock.owner {
            Owner::Process(_) | Owner::Accepting | Owner::Dial(_) => true,
            Owner::Client(_) | Owner::Nobody => false,
        });
        if !(tells && to_process) {
            return Awaited::Segment;
        }
        let sender = match self.socks.get(segment.from).map(|sock| sock.owner) {
            _ if segment.peers => Sender::Server,
            Some(Owner::Client(conn)) => Sender::Client(conn),
            Some(Owner::Accepting | Owner::Dial(_) | Owner::Process(_) | Owner::Nobody) | None => {
                Sender::Gone
            }
        };
        Awaited::Stream(Delivery { stream: Stream::of(segment), bytes: segment.data.len(), sender })
    }
}

impl<M: Machine + fmt::Debug> World<M> {
    /// Writes everything that bears on what happens next: worlds that write the same do the same.
    /// Counters and the digest of the past are left out, and so is the order in which independent
    /// events were put into the queue.
    pub fn write_state(&self, out: &mut String) {
        let _ = write!(out, "{:?}", self.now);
        self.hosts.iter().for_each(|host| host.write_state(out));
        let _ = write!(out, "\n{:?}\n{:?}", self.clients, self.names);
        self.links.write_state(self.hosts.len(), out);
        for sock in self.socks.iter() {
            let _ = write!(out, "\n{sock:?}");
        }
        self.write_queue(out);
    }

    /// Segments of one stream in their order; everything else sorted.
    fn write_queue(&self, out: &mut String) {
        let mut waiting: Vec<_> = self.queue.iter().collect();
        waiting.sort_unstable_by_key(|(key, _, _)| *key);
        let mut lines: Vec<(Option<Stream>, String)> = Vec::new();
        for (_, at, event) in waiting {
            if self.awaited(at, event) == Awaited::Nothing {
                continue;
            }
            let stream = match event {
                Event::Segment(segment) => Some(Stream::of(segment)),
                Event::SockTimer(_)
                | Event::Keepalive(_)
                | Event::Wake { .. }
                | Event::Flush { .. }
                | Event::Offer { .. }
                | Event::NameUnknown { .. }
                | Event::PastStored { .. }
                | Event::Disk { .. }
                | Event::Alarm(_) => None,
            };
            let text = format!("{at:?} {event:?}");
            match lines.iter_mut().find(|(other, _)| stream.is_some() && *other == stream) {
                Some((_, line)) => {
                    line.push('|');
                    line.push_str(&text);
                }
                None => lines.push((stream, text)),
            }
        }
        lines.sort_unstable();
        for (_, line) in lines {
            out.push('\n');
            out.push_str(&line);
        }
    }
}

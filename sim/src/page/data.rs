//! The data of the page: a table of strings and numbers in columns, as small as they come. A run that goes
//! on is told in pieces of the same form.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Shown;
use crate::trace::tape::Host;
use crate::trace::{Conn, Fate, Mark, Message, Op, Tape, Wall};

/// One run. Times in ns.
#[derive(Serialize)]
pub(super) struct RunData<'a> {
    label: &'a str,
    command: &'a str,
    hosts: Vec<(&'a str, &'a str)>,
    verdict: [&'a str; 4],
    #[serde(flatten)]
    piece: Piece<'a>,
}

/// What has come onto a tape since the last piece; the first one has it all.
#[derive(Serialize)]
pub struct Piece<'a> {
    /// The newest time.
    end: u64,
    left_out: u64,
    texts: &'a [String],
    keysets: &'a [Vec<String>],
    /// From, its port, to, its port, between servers, whose.
    conns: Vec<(u16, u16, u16, u16, u8, u32)>,
    messages: Messages,
    marks: Marks,
    ops: Ops,
    /// From, to, kind, begin, end, text.
    walls: Vec<(u16, u16, u8, u64, u64, u32)>,
    /// Host, state, since.
    states: Vec<(u16, u8, u64)>,
    /// Begin, end, text.
    spans: Vec<(u64, u64, u32)>,
    /// Keys.
    series: Vec<&'a str>,
    values: Values,
    #[serde(skip_serializing_if = "Changed::is_empty")]
    changed: Changed,
}

/// What was told before and has become something else.
#[derive(Default, Serialize)]
struct Changed {
    /// Place, fate.
    messages: Vec<(usize, u8)>,
    /// Place, end, outcome, reply.
    ops: Vec<(usize, u64, u8, u32)>,
    /// Place, whose.
    conns: Vec<(usize, u32)>,
    /// Place, end.
    walls: Vec<(usize, u64)>,
    spans: Vec<(usize, u64)>,
}

/// `sent` as differences, `takes` until it arrived or was dropped.
#[derive(Default, Serialize)]
struct Messages {
    sent: Vec<u64>,
    takes: Vec<u64>,
    from: Vec<u16>,
    to: Vec<u16>,
    conn: Vec<u32>,
    bytes: Vec<u32>,
    kind: Vec<u8>,
    fate: Vec<u8>,
    again: Vec<u8>,
    text: Vec<u32>,
    keys: Vec<u32>,
}

#[derive(Default, Serialize)]
struct Marks {
    at: Vec<u64>,
    /// -1: the whole world.
    host: Vec<i32>,
    kind: Vec<u8>,
    text: Vec<u32>,
    keys: Vec<u32>,
}

#[derive(Default, Serialize)]
struct Ops {
    sent: Vec<u64>,
    takes: Vec<u64>,
    host: Vec<u16>,
    conn: Vec<u32>,
    outcome: Vec<u8>,
    greeting: Vec<u8>,
    text: Vec<u32>,
    reply: Vec<u32>,
    keys: Vec<u32>,
}

/// Changes of values in the order of time: which key has become what where.
#[derive(Default, Serialize)]
struct Values {
    at: Vec<u64>,
    series: Vec<u32>,
    host: Vec<u16>,
    /// -1: the key is not there.
    text: Vec<i64>,
}

/// How much of a tape was told, and what of it may still change.
#[derive(Debug, Default)]
pub struct Reader {
    texts: usize,
    keysets: usize,
    conns: usize,
    messages: usize,
    marks: usize,
    ops: usize,
    walls: usize,
    states: usize,
    spans: usize,
    /// By key and host.
    series: Vec<Vec<usize>>,
    under_way: BTreeSet<usize>,
    unanswered: BTreeSet<usize>,
    nameless: BTreeSet<usize>,
    standing: BTreeSet<usize>,
    going_on: BTreeSet<usize>,
}

impl<'a> RunData<'a> {
    pub(super) fn of(shown: &'a Shown<'a>) -> RunData<'a> {
        let tape = shown.tape;
        let end = &tape.end;
        RunData {
            label: &shown.label,
            command: &shown.command,
            hosts: tape.hosts.iter().map(|Host { name, ip }| (&name[..], &ip[..])).collect(),
            verdict: [&end.kind, &end.title, &end.evidence, &end.digest],
            piece: Reader::default().read(tape),
        }
    }
}

impl Reader {
    /// What is new on the tape since the last call.
    pub fn read<'a>(&mut self, tape: &'a Tape) -> Piece<'a> {
        let changed = self.changed(tape);
        let conns = &tape.conns[self.conns..];
        let walls = &tape.walls[self.walls..];
        let spans = &tape.spans[self.spans..];
        let known = self.series.len();
        let (first_message, first_op) = (self.messages, self.ops);
        let piece = Piece {
            end: tape.ended_at,
            left_out: tape.left_out,
            texts: &tape.texts()[self.texts..],
            keysets: &tape.keysets()[self.keysets..],
            conns: conns.iter().map(conn).collect(),
            messages: messages(&tape.messages[first_message..]),
            marks: marks(&tape.marks[self.marks..]),
            ops: ops(&tape.ops[first_op..]),
            walls: walls.iter().map(wall).collect(),
            states: (tape.states[self.states..].iter())
                .map(|(host, state, at)| (*host, *state as u8, *at))
                .collect(),
            spans: spans.iter().map(|s| (s.begins, s.ends, s.text.0)).collect(),
            series: tape.series[known..].iter().map(|s| s.key.as_str()).collect(),
            values: self.values(tape),
            changed,
        };
        let nameless = (self.conns..).zip(conns).filter(|(_, c)| !c.peers);
        self.nameless.extend(nameless.map(|(at, _)| at));
        let under_way = |(_, m): &(usize, &Message)| m.fate == Fate::UnderWay;
        let sent = (first_message..).zip(&tape.messages[first_message..]);
        self.under_way.extend(sent.filter(under_way).map(|(at, _)| at));
        let asked = (first_op..).zip(&tape.ops[first_op..]).filter(|(_, op)| op.ends == u64::MAX);
        self.unanswered.extend(asked.map(|(at, _)| at));
        let standing = (self.walls..).zip(walls).filter(|(_, wall)| wall.ends == u64::MAX);
        self.standing.extend(standing.map(|(at, _)| at));
        let going_on = (self.spans..).zip(spans).filter(|(_, span)| span.ends == u64::MAX);
        self.going_on.extend(going_on.map(|(at, _)| at));
        (self.texts, self.keysets) = (tape.texts().len(), tape.keysets().len());
        (self.conns, self.walls) = (tape.conns.len(), tape.walls.len());
        (self.messages, self.marks, self.ops) =
            (tape.messages.len(), tape.marks.len(), tape.ops.len());
        (self.states, self.spans) = (tape.states.len(), tape.spans.len());
        piece
    }

    fn changed(&mut self, tape: &Tape) -> Changed {
        let mut changed = Changed::default();
        self.under_way.retain(|&at| {
            let fate = tape.messages[at].fate;
            if fate != Fate::UnderWay {
                changed.messages.push((at, fate as u8));
            }
            fate == Fate::UnderWay
        });
        self.unanswered.retain(|&at| {
            let Op { ends, outcome, reply, .. } = &tape.ops[at];
            if *ends != u64::MAX {
                changed.ops.push((at, *ends, *outcome as u8, reply.0));
            }
            *ends == u64::MAX
        });
        self.nameless.retain(|&at| {
            let who = tape.conns[at].who;
            let named = !tape.texts()[who.0 as usize].is_empty();
            if named {
                changed.conns.push((at, who.0));
            }
            !named
        });
        self.standing.retain(|&at| {
            let ends = tape.walls[at].ends;
            if ends != u64::MAX {
                changed.walls.push((at, ends));
            }
            ends == u64::MAX
        });
        self.going_on.retain(|&at| {
            let ends = tape.spans[at].ends;
            if ends != u64::MAX {
                changed.spans.push((at, ends));
            }
            ends == u64::MAX
        });
        changed
    }

    fn values(&mut self, tape: &Tape) -> Values {
        self.series.resize(tape.series.len(), vec![0; tape.hosts.len()]);
        let mut new = Vec::new();
        for (index, (series, told)) in tape.series.iter().zip(&mut self.series).enumerate() {
            for (host, (changes, told)) in series.hosts.iter().zip(told).enumerate() {
                for (at, text) in &changes[*told..] {
                    let text = text.map_or(-1, |text| i64::from(text.0));
                    new.push((*at, index as u32, host as u16, text));
                }
                *told = changes.len();
            }
        }
        new.sort_by_key(|(at, series, host, _)| (*at, *series, *host));
        let mut values = Values::default();
        for (at, series, host, text) in new {
            values.at.push(at);
            values.series.push(series);
            values.host.push(host);
            values.text.push(text);
        }
        values
    }
}

impl Changed {
    fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.ops.is_empty()
            && self.conns.is_empty()
            && self.walls.is_empty()
            && self.spans.is_empty()
    }
}

fn conn(conn: &Conn) -> (u16, u16, u16, u16, u8, u32) {
    (conn.from, conn.from_port, conn.to, conn.to_port, u8::from(conn.peers), conn.who.0)
}

fn wall(wall: &Wall) -> (u16, u16, u8, u64, u64, u32) {
    (wall.from, wall.to, wall.kind as u8, wall.begins, wall.ends, wall.text.0)
}

fn messages(new: &[Message]) -> Messages {
    let mut out = Messages::default();
    let mut before = 0;
    for message in new {
        out.sent.push(message.sent - before);
        before = message.sent;
        out.takes.push(message.ends - message.sent);
        out.from.push(message.from);
        out.to.push(message.to);
        out.conn.push(message.conn);
        out.bytes.push(message.bytes);
        out.kind.push(message.kind as u8);
        out.fate.push(message.fate as u8);
        out.again.push(u8::from(message.again));
        out.text.push(message.text.0);
        out.keys.push(message.keys.0);
    }
    out
}

fn marks(new: &[Mark]) -> Marks {
    let mut out = Marks::default();
    let mut before = 0;
    for mark in new {
        out.at.push(mark.at - before);
        before = mark.at;
        out.host.push(mark.host.map_or(-1, i32::from));
        out.kind.push(mark.kind as u8);
        out.text.push(mark.text.0);
        out.keys.push(mark.keys.0);
    }
    out
}

fn ops(new: &[Op]) -> Ops {
    let mut out = Ops::default();
    let mut before = 0;
    for op in new {
        out.sent.push(op.sent - before);
        before = op.sent;
        out.takes.push(op.ends.saturating_sub(op.sent));
        out.host.push(op.host);
        out.conn.push(op.conn);
        out.outcome.push(op.outcome as u8);
        out.greeting.push(u8::from(op.greeting));
        out.text.push(op.text.0);
        out.reply.push(op.reply.0);
        out.keys.push(op.keys.0);
    }
    out
}

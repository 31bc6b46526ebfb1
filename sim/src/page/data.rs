//! The data of the page: a table of strings and numbers in columns, as small as they come.

use serde::Serialize;

use super::Shown;
use crate::trace::tape::Host;
use crate::trace::{Series, Tape, Text};

/// One run. Times in ns.
#[derive(Serialize)]
pub(super) struct RunData<'a> {
    label: &'a str,
    command: &'a str,
    hosts: Vec<(&'a str, &'a str)>,
    end: u64,
    verdict: [&'a str; 4],
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
    series: Vec<SeriesData<'a>>,
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

#[derive(Serialize)]
struct SeriesData<'a> {
    key: &'a str,
    /// By host: since when, and the text, or -1 where the key is not there.
    hosts: Vec<Vec<(u64, i64)>>,
}

impl<'a> RunData<'a> {
    pub(super) fn of(shown: &'a Shown<'a>) -> RunData<'a> {
        let tape = shown.tape;
        let end = &tape.end;
        let conn = |c: &crate::trace::Conn| {
            (c.from, c.from_port, c.to, c.to_port, u8::from(c.peers), c.who.0)
        };
        RunData {
            label: &shown.label,
            command: &shown.command,
            hosts: tape.hosts.iter().map(|Host { name, ip }| (&name[..], &ip[..])).collect(),
            end: tape.ended_at,
            verdict: [&end.kind, &end.title, &end.evidence, &end.digest],
            left_out: tape.left_out,
            texts: tape.texts(),
            keysets: tape.keysets(),
            conns: tape.conns.iter().map(conn).collect(),
            messages: messages(tape),
            marks: marks(tape),
            ops: ops(tape),
            walls: tape
                .walls
                .iter()
                .map(|w| (w.from, w.to, w.kind as u8, w.begins, w.ends, w.text.0))
                .collect(),
            states: tape
                .states
                .iter()
                .map(|(host, state, at)| (*host, *state as u8, *at))
                .collect(),
            spans: tape.spans.iter().map(|s| (s.begins, s.ends, s.text.0)).collect(),
            series: tape.series.iter().map(series).collect(),
        }
    }
}

fn messages(tape: &Tape) -> Messages {
    let mut out = Messages::default();
    let mut before = 0;
    for message in &tape.messages {
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

fn marks(tape: &Tape) -> Marks {
    let mut out = Marks::default();
    let mut before = 0;
    for mark in &tape.marks {
        out.at.push(mark.at - before);
        before = mark.at;
        out.host.push(mark.host.map_or(-1, i32::from));
        out.kind.push(mark.kind as u8);
        out.text.push(mark.text.0);
        out.keys.push(mark.keys.0);
    }
    out
}

fn ops(tape: &Tape) -> Ops {
    let mut out = Ops::default();
    let mut before = 0;
    for op in &tape.ops {
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

fn series(series: &Series) -> SeriesData<'_> {
    let value = |&(at, text): &(u64, Option<Text>)| (at, text.map_or(-1, |text| i64::from(text.0)));
    let hosts = series.hosts.iter().map(|changes| changes.iter().map(value).collect()).collect();
    SeriesData { key: &series.key, hosts }
}

//! The tape itself: what a world and its driver write on it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate::base::content::Content;
use quorate::base::fact::Fact;
use quorate::base::ids::{DbIndex, NodeId};
use quorate::node::VisibleKey;

use super::flow::{Flow, Said};
use super::interner::Interner;
use super::ops::ClientStream;
use super::transit::Transit;
use super::words::{Names, clock_words, fact_words, short};
use super::{
    Conn, End, Fate, HostState, Keys, Mark, MarkKind, Message, MessageKind, Op, OpOutcome,
    ProcessChange, Series, Span, Text, Wall, WallKind,
};
use crate::clock::ClockChange;
use crate::ids::{ClientConn, HostId};
use crate::model::whole::show_content;
use crate::resp_client::Reply;
use crate::scenario::shown;
use crate::tcp::{Icmp, Segment, What};
use crate::time::Time;

/// Messages and marks kept; later ones are counted only.
const EVENTS_MAX: usize = 1 << 20;
/// Keys whose values are kept, the first ones seen.
const KEYS_MAX: usize = 256;
/// Values are cut after so many characters.
const VALUE_CHARS_MAX: usize = 80;
/// Keys that are looked through at every change; with more of them a host is looked at less often.
const OFTEN_MAX: usize = 256;
/// How long a host with more keys is left alone, per key.
const REST_PER_KEY_NS: u64 = 5_000;
/// Hosts are looked at so often even if nothing happens: keys expire.
const LOOK_EVERY_NS: u64 = 20_000_000;

/// Everything that was recorded. Times in ns of simulated time.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    pub hosts: Vec<Host>,
    pub messages: Vec<Message>,
    pub marks: Vec<Mark>,
    pub ops: Vec<Op>,
    pub conns: Vec<Conn>,
    pub walls: Vec<Wall>,
    /// Host, state and since when.
    pub states: Vec<(u16, HostState, u64)>,
    pub spans: Vec<Span>,
    pub series: Vec<Series>,
    pub end: End,
    /// When the recording ended.
    pub ended_at: u64,
    /// What did not fit.
    pub left_out: u64,
    texts: Interner<String>,
    keysets: Interner<Vec<String>>,
    names: Names,
    pub(super) under_way: BTreeMap<Transit, VecDeque<usize>>,
    conn_of: BTreeMap<[(u16, u16); 2], u32>,
    flows: Vec<Flow>,
    clients: BTreeMap<ClientConn, ClientPart>,
    walls_up: BTreeMap<(u16, u16), usize>,
    spans_open: BTreeMap<u64, usize>,
    key_index: BTreeMap<(DbIndex, Bytes), usize>,
    held: Vec<BTreeMap<usize, Bytes>>,
    look_at: Vec<Look>,
    last_look: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    pub name: String,
    pub ip: String,
}

/// When a host's keys are looked at again.
#[derive(Copy, Clone, Debug, Default)]
struct Look {
    changed: bool,
    not_before: u64,
}

#[derive(Clone, Debug)]
struct ClientPart {
    stream: ClientStream,
    conn: u32,
    host: u16,
}

impl Tape {
    pub fn add_host(&mut self, name: &str, ip: String) {
        self.names.hosts.push(name.to_owned());
        self.states.push((self.hosts.len() as u16, HostState::Down, 0));
        self.hosts.push(Host { name: name.to_owned(), ip });
        self.held.push(BTreeMap::new());
        self.look_at.push(Look::default());
    }

    /// A tape of the same hosts on which nothing has happened.
    pub fn without_events(&self) -> Tape {
        let mut tape = Tape::default();
        for Host { name, ip } in &self.hosts {
            tape.add_host(name, ip.clone());
        }
        tape.states.clear();
        tape
    }

    pub fn texts(&self) -> &[String] {
        self.texts.all()
    }

    pub fn keysets(&self) -> &[Vec<String>] {
        self.keysets.all()
    }

    /// A segment leaves: it arrives at `ends`, or meets its fate there.
    pub fn sent(&mut self, now: Time, ends: Time, segment: &Segment, fate: Fate) {
        if segment.from_host == segment.to_host {
            self.within(now, segment);
            return;
        }
        if self.messages.len() >= EVENTS_MAX {
            self.left_out += 1;
            return;
        }
        let index = self.messages.len();
        let message = self.message(now, ends, segment, fate);
        self.messages.push(message);
        if fate == Fate::UnderWay {
            let transit = Transit::of(ends, segment);
            self.under_way.entry(transit).or_default().push_back(index);
        }
    }

    /// Within a host only errors are of interest: what a client there is told is its operation's.
    fn within(&mut self, now: Time, segment: &Segment) {
        if let What::Unreachable(_) = segment.what {
            let text = format!("its own kernel: {}", control_words(segment.what));
            self.mark(now, Some(segment.to_host.0), MarkKind::Refusal, text, Vec::new());
        }
    }

    fn message(&mut self, now: Time, ends: Time, segment: &Segment, fate: Fate) -> Message {
        let (conn, by_dialler) = self.conn_of(segment);
        let said = if segment.data.is_empty() {
            control(segment.what)
        } else {
            let flow = &mut self.flows[conn as usize];
            flow.read(by_dialler, segment.seq, &segment.data, &self.names)
        };
        Message {
            sent: now.0,
            ends: ends.0,
            from: segment.from_host.0,
            to: segment.to_host.0,
            conn,
            bytes: segment.data.len() as u32,
            kind: said.kind,
            fate,
            again: said.again,
            text: self.text(said.text),
            keys: self.keys(said.keys),
        }
    }

    /// The connection of a segment, and whether its dialler sends it. Who is heard first dials.
    fn conn_of(&mut self, segment: &Segment) -> (u32, bool) {
        let from = (segment.from_host.0, segment.sport);
        let to = (segment.to_host.0, segment.dport);
        let conn = self.conn_between(from, to, segment.peers);
        let known = &self.conns[conn as usize];
        (conn, (known.from, known.from_port) == from)
    }

    fn conn_between(&mut self, from: (u16, u16), to: (u16, u16), peers: bool) -> u32 {
        let ends = if from < to { [from, to] } else { [to, from] };
        if let Some(&conn) = self.conn_of.get(&ends) {
            return conn;
        }
        let conn = self.conns.len() as u32;
        let who = self.text(String::new());
        let (from, from_port) = from;
        let (to, to_port) = to;
        self.conns.push(Conn { from, from_port, to, to_port, peers, who });
        self.flows.push(Flow::default());
        self.conn_of.insert(ends, conn);
        conn
    }

    pub fn mark(
        &mut self,
        at: Time,
        host: Option<u16>,
        kind: MarkKind,
        text: String,
        keys: Vec<String>,
    ) {
        if self.marks.len() >= EVENTS_MAX {
            self.left_out += 1;
            return;
        }
        let (text, keys) = (self.text(text), self.keys(keys));
        self.marks.push(Mark { at: at.0, host, kind, text, keys });
    }

    pub fn process(&mut self, now: Time, host: HostId, change: ProcessChange<'_>) {
        let (state, text) = match change {
            ProcessChange::Started { epoch } => {
                (HostState::Running, format!("the process starts, epoch {epoch}"))
            }
            ProcessChange::Killed => (HostState::Down, "the process is killed".to_owned()),
            ProcessChange::PoweredOff => (HostState::Off, "the host loses power".to_owned()),
            ProcessChange::Paused => (HostState::Paused, "the process is paused".to_owned()),
            ProcessChange::Resumed => (HostState::Running, "the process goes on".to_owned()),
            ProcessChange::Exited { code, reason } => {
                (HostState::Down, format!("the process stops by itself, code {code}: {reason}"))
            }
        };
        self.states.push((host.0, state, now.0));
        self.mark(now, Some(host.0), MarkKind::Process, text, Vec::new());
        if matches!(state, HostState::Down | HostState::Off) {
            self.values(now, host, &[]);
        }
    }

    /// A process with this identity runs on the host.
    pub fn identity(&mut self, host: HostId, node: NodeId) {
        self.names.nodes.insert(node, host.0);
    }

    pub fn clock(&mut self, now: Time, host: HostId, change: ClockChange) {
        // Clocks that are right from the beginning are no news.
        let nothing = matches!(
            change,
            ClockChange::SetWallOffset(0) | ClockChange::DriftWall(0) | ClockChange::DriftMono(0)
        );
        if !nothing {
            self.mark(now, Some(host.0), MarkKind::Clock, clock_words(change), Vec::new());
        }
    }

    pub fn firewall(&mut self, now: Time, host: HostId, line: &str) {
        let line = line.strip_prefix("iptables ").unwrap_or(line);
        let text = format!("iptables {line}");
        self.mark(now, Some(host.0), MarkKind::Firewall, text, Vec::new());
    }

    /// Walls that stand now: indexes.
    pub fn walls_now(&self) -> Vec<usize> {
        self.walls_up.values().copied().collect()
    }

    /// From now on packets from one host to another meet this, or nothing.
    pub fn wall(&mut self, now: Time, from: HostId, to: HostId, met: Option<(WallKind, String)>) {
        let pair = (from.0, to.0);
        let met = met.map(|(kind, text)| (kind, self.text(text)));
        if let Some(&up) = self.walls_up.get(&pair) {
            let wall = &mut self.walls[up];
            if met == Some((wall.kind, wall.text)) {
                return;
            }
            wall.ends = now.0;
            self.walls_up.remove(&pair);
        }
        if let Some((kind, text)) = met {
            self.walls_up.insert(pair, self.walls.len());
            let (from, to) = pair;
            self.walls.push(Wall { from, to, kind, begins: now.0, ends: u64::MAX, text });
        }
    }

    /// An element of the plan begins.
    pub fn begins(&mut self, now: Time, number: u64, text: String) {
        self.mark(now, None, MarkKind::Plan, format!("begins: {text}"), Vec::new());
        let text = self.text(text);
        self.spans_open.insert(number, self.spans.len());
        self.spans.push(Span { begins: now.0, ends: u64::MAX, text });
    }

    pub fn ends(&mut self, now: Time, number: u64) {
        let Some(index) = self.spans_open.remove(&number) else { return };
        self.spans[index].ends = now.0;
        let text = format!("ends: {}", self.texts.all()[self.spans[index].text.0 as usize]);
        self.mark(now, None, MarkKind::Plan, text, Vec::new());
    }

    /// A line of a scenario is played; the one before it is over.
    pub fn line(&mut self, now: Time, text: &str) {
        for index in std::mem::take(&mut self.spans_open).into_values() {
            self.spans[index].ends = now.0;
        }
        self.mark(now, None, MarkKind::Plan, text.to_owned(), Vec::new());
        let text = self.text(text.to_owned());
        self.spans_open.insert(0, self.spans.len());
        self.spans.push(Span { begins: now.0, ends: u64::MAX, text });
    }

    /// All elements of the plan end, as when everything is healed.
    pub fn all_end(&mut self, now: Time) {
        for number in self.spans_open.keys().copied().collect::<Vec<u64>>() {
            self.ends(now, number);
        }
    }

    pub fn fact(&mut self, now: Time, host: HostId, fact: &Fact) {
        match fact {
            Fact::UnitIssued { unit, .. } => {
                self.names.origins.insert(unit.dot.origin, host.0);
            }
            Fact::MemberSeen { node, origin, .. } => {
                if let Some(&host) = self.names.nodes.get(node) {
                    self.names.origins.entry(*origin).or_insert(host);
                }
            }
            Fact::VectorMoved { .. } => return,
            Fact::Log { .. }
            | Fact::Sometimes(_)
            | Fact::CellsAdopted { .. }
            | Fact::CellsLifted { .. }
            | Fact::UnitTaken { .. }
            | Fact::StampsMoved { .. }
            | Fact::StandsAlone
            | Fact::StoodAlone { .. }
            | Fact::KeyChanged { .. }
            | Fact::StaleDropped { .. }
            | Fact::Collected { .. }
            | Fact::LinkUp { .. }
            | Fact::LinkDown { .. }
            | Fact::LinkSuspect { .. }
            | Fact::ResyncBegan { .. }
            | Fact::ResyncEnded { .. }
            | Fact::DataDropped
            | Fact::OriginPaused { .. }
            | Fact::OriginResumed { .. }
            | Fact::ClockCorrected { .. } => {}
        }
        self.look_at[host.index()].changed = true;
        if let Some((kind, text, keys)) = fact_words(fact, &self.names) {
            self.mark(now, Some(host.0), kind, text, keys);
        }
    }

    /// Hosts whose keys are worth a look now.
    pub fn to_look_at(&mut self, now: Time) -> Vec<HostId> {
        let all = now.0 >= self.last_look + LOOK_EVERY_NS;
        if all {
            self.last_look = now.0;
        }
        let due = |look: &Look| (look.changed || all) && now.0 >= look.not_before;
        let hosts = self.look_at.iter().enumerate().filter(|(_, look)| due(look));
        hosts.map(|(index, _)| HostId(index as u16)).collect()
    }

    /// What a host shows now, in the order of (database, key).
    pub fn values(&mut self, now: Time, host: HostId, shows: &[VisibleKey]) {
        let rest = if shows.len() > OFTEN_MAX { shows.len() as u64 * REST_PER_KEY_NS } else { 0 };
        self.look_at[host.index()] = Look { changed: false, not_before: now.0 + rest };
        let mut seen = std::mem::take(&mut self.held[host.index()]);
        let mut held = BTreeMap::new();
        for VisibleKey { db, key, value, .. } in shows {
            let Some(series) = self.series_of(*db, key) else { continue };
            let value = match value {
                Content::String(text) => text.clone(),
                Content::Elements { .. } => show_content(value).into(),
            };
            if seen.remove(&series).as_ref() != Some(&value) {
                let text = self.text(value_words(&value));
                self.series[series].hosts[host.index()].push((now.0, Some(text)));
            }
            held.insert(series, value);
        }
        for series in seen.into_keys() {
            self.series[series].hosts[host.index()].push((now.0, None));
        }
        self.held[host.index()] = held;
    }

    fn series_of(&mut self, db: DbIndex, key: &Bytes) -> Option<usize> {
        if let Some(&index) = self.key_index.get(&(db, key.clone())) {
            return Some(index);
        }
        if self.series.len() == KEYS_MAX {
            return None;
        }
        let name = String::from_utf8_lossy(key);
        let key_text = if db.0 == 0 { name.into_owned() } else { format!("{name} (db {})", db.0) };
        self.key_index.insert((db, key.clone()), self.series.len());
        self.series.push(Series { key: key_text, hosts: vec![Vec::new(); self.hosts.len()] });
        Some(self.series.len() - 1)
    }

    /// A client connects.
    pub fn client(
        &mut self,
        conn: ClientConn,
        from: HostId,
        from_port: u16,
        to: HostId,
        to_port: u16,
    ) {
        let index = self.conn_between((from.0, from_port), (to.0, to_port), false);
        let part = ClientPart { stream: ClientStream::default(), conn: index, host: to.0 };
        self.clients.insert(conn, part);
    }

    /// Whose a client's connection is.
    pub fn client_is(&mut self, conn: ClientConn, who: String) {
        let Some(part) = self.clients.get(&conn) else { return };
        let index = part.conn as usize;
        self.conns[index].who = self.text(who);
    }

    pub fn client_sends(&mut self, now: Time, conn: ClientConn, bytes: &[u8]) {
        let Some(mut part) = self.clients.remove(&conn) else { return };
        for asked in part.stream.sent(bytes) {
            part.stream.waits(self.ops.len(), &asked);
            let (text, reply) = (self.text(asked.text), self.text(String::new()));
            let keys = self.keys(asked.keys);
            self.ops.push(Op {
                sent: now.0,
                ends: u64::MAX,
                host: part.host,
                conn: part.conn,
                outcome: OpOutcome::InDoubt,
                greeting: asked.greeting,
                text,
                reply,
                keys,
            });
        }
        self.clients.insert(conn, part);
    }

    pub fn client_gets(&mut self, now: Time, conn: ClientConn, bytes: &[u8]) {
        let Some(part) = self.clients.get_mut(&conn) else { return };
        let mut refused = Vec::new();
        for (op, reply) in part.stream.got(bytes) {
            let words = short(&shown(&reply), VALUE_CHARS_MAX * 2);
            self.ops[op].reply = self.text(words);
            self.ops[op].ends = now.0;
            self.ops[op].outcome = OpOutcome::Ok;
            if let Reply::Error(why) = &reply {
                self.ops[op].outcome = OpOutcome::Refused;
                refused.push((op, why.clone()));
            }
        }
        for (op, why) in refused {
            let op = &self.ops[op];
            let asked = short(&self.texts.all()[op.text.0 as usize], 60);
            let keys = self.keysets.all()[op.keys.0 as usize].clone();
            let (host, text) = (op.host, format!("refuses {asked}: {why}"));
            self.mark(now, Some(host), MarkKind::Refusal, text, keys);
        }
    }

    /// A client's connection ends, or does not come about.
    pub fn client_gone(&mut self, now: Time, conn: ClientConn, why: &str) {
        let Some(mut part) = self.clients.remove(&conn) else { return };
        for op in part.stream.gone() {
            self.ops[op].ends = now.0;
            self.ops[op].reply = self.text(why.to_owned());
        }
    }

    /// The world has come to this time.
    pub fn reached(&mut self, now: Time) {
        self.ended_at = self.ended_at.max(now.0);
    }

    /// The run is over, where the world has come to.
    pub fn finish(&mut self, end: End) {
        let now = self.newest();
        let title = format!("{} {}", end.title, short(&end.evidence, 300));
        self.mark(now, None, MarkKind::Verdict, title.trim().to_owned(), Vec::new());
        self.end = end;
        self.close(now);
    }

    /// What is still open ends with the recording.
    fn close(&mut self, now: Time) {
        self.ended_at = now.0;
        for wall in &mut self.walls {
            wall.ends = wall.ends.min(now.0);
        }
        for span in &mut self.spans {
            span.ends = span.ends.min(now.0);
        }
        for op in &mut self.ops {
            op.ends = op.ends.min(now.0);
        }
    }

    /// The newest time on the tape: where a run that ended in a panic had come to.
    fn newest(&self) -> Time {
        let sent = self.messages.last().map_or(0, |m| m.sent);
        let mark = self.marks.last().map_or(0, |m| m.at);
        Time(sent.max(mark).max(self.ended_at))
    }

    pub fn text(&mut self, text: String) -> Text {
        Text(self.texts.number(text))
    }

    fn keys(&mut self, keys: Vec<String>) -> Keys {
        Keys(self.keysets.number(keys))
    }
}

fn value_words(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text.into_owned();
    }
    // Two long values must not look alike.
    let mark = value.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let kept = short(&text, VALUE_CHARS_MAX);
    format!("{kept} ({} bytes, hash {:08x})", value.len(), mark as u32)
}

/// What a segment without payload says.
fn control(what: What) -> Said {
    let kind = match what {
        What::Data | What::Probe => MessageKind::TcpAck,
        What::Syn | What::SynAck | What::Fin | What::Reset | What::Unreachable(_) => {
            MessageKind::TcpControl
        }
    };
    Said { kind, text: control_words(what).to_owned(), keys: Vec::new(), again: false }
}

fn control_words(what: What) -> &'static str {
    match what {
        What::Syn => "SYN: asks for a connection",
        What::SynAck => "SYN ACK: grants a connection",
        What::Data => "ACK",
        What::Fin => "FIN: sends no more",
        What::Probe => "probe: are you there?",
        What::Reset => "RST: there is no such connection",
        What::Unreachable(Icmp::PortUnreachable) => "ICMP: port unreachable",
        What::Unreachable(Icmp::HostUnreachable) => "ICMP: host unreachable",
    }
}

//! Sentences for what happens: facts of the nodes, frames between them, changes of clocks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quorate::base::fact::{Fact, LogLevel};
use quorate::base::ids::{NodeId, Origin};
use quorate::base::stamp::Stamp;
use quorate::base::unit::{Cell, Change, Part, Unit};
use quorate::wire::frame::{Frame, Refusal};

use super::flow::Said;
use super::{MarkKind, MessageKind};
use crate::clock::ClockChange;
use crate::model::key::short_time;

/// Changes of one unit that are told one by one.
const CHANGES_MAX: usize = 4;

/// Who is who.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub hosts: Vec<String>,
    pub nodes: BTreeMap<NodeId, u16>,
    pub origins: BTreeMap<Origin, u16>,
}

impl Names {
    pub fn host(&self, host: u16) -> &str {
        self.hosts.get(usize::from(host)).map_or("?", String::as_str)
    }

    fn node(&self, node: NodeId) -> String {
        match self.nodes.get(&node) {
            Some(&host) => self.host(host).to_owned(),
            None => format!("node {:08x}", (node.0 >> 96) as u32),
        }
    }

    fn origin(&self, origin: Origin) -> String {
        match self.origins.get(&origin) {
            Some(&host) => self.host(host).to_owned(),
            None => format!("origin {origin}"),
        }
    }

    fn stamp(&self, stamp: Stamp) -> String {
        format!("{}@{}", short_time(stamp.time), self.origin(stamp.origin))
    }
}

/// At most so many characters.
pub fn short(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn text_of(bytes: &[u8]) -> String {
    short(&String::from_utf8_lossy(&bytes[..bytes.len().min(200)]), 40)
}

fn change_words(change: &Change) -> String {
    let key = text_of(&change.key);
    let db = if change.db.0 == 0 { String::new() } else { format!(" (db {})", change.db.0) };
    match &change.cell {
        Cell::Register { value, .. } => format!("{key}{db} = {}", text_of(value)),
        Cell::Tombstone { .. } => format!("{key}{db} deleted"),
        Cell::Contribution { sum, .. } => format!("{key}{db} counts {sum} from here"),
        Cell::Expiry { deadline: Some(at) } => format!("{key}{db} expires at {}", at.0),
        Cell::Expiry { deadline: None } => format!("{key}{db} never expires"),
        Cell::KeyCell { .. } => format!("{key}{db} begins anew"),
        Cell::DatabaseTombstone => format!("database {} flushed", change.db.0),
        Cell::Kind { kind } => format!("{key}{db} is a {}", kind.name()),
        Cell::Element { name, part, .. } => {
            let name = text_of(name);
            match part {
                Part::Register { value, .. } => format!("{key}{db}: {name} = {}", text_of(value)),
                Part::Tombstone { .. } => format!("{key}{db}: {name} deleted"),
                Part::Contribution { sum, .. } => {
                    format!("{key}{db}: {name} counts {sum} from here")
                }
            }
        }
    }
}

fn changes_words(changes: &[Change]) -> String {
    let mut text = String::new();
    for (at, change) in changes.iter().take(CHANGES_MAX).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}{}", change_words(change));
    }
    if changes.len() > CHANGES_MAX {
        let _ = write!(text, " and {} more", changes.len() - CHANGES_MAX);
    }
    text
}

fn keys_of(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|c| String::from_utf8_lossy(&c.key).into_owned()).collect()
}

fn unit_words(unit: &Unit, names: &Names) -> String {
    format!("{} [{}]", changes_words(&unit.changes), names.stamp(unit.dot))
}

/// What a frame says.
pub fn frame_words(frame: &Frame, names: &Names) -> Said {
    let (kind, text) = match frame {
        Frame::Hello(hello) => {
            let who = names.node(hello.node);
            (MessageKind::Handshake, format!("hello from {who}, epoch {}", hello.epoch.0))
        }
        Frame::Refuse(why) => (MessageKind::Handshake, format!("refused: {}", refusal_words(why))),
        Frame::Unit(unit) => (MessageKind::Unit, format!("write {}", unit_words(unit, names))),
        Frame::Barrier(_) => (MessageKind::Resync, "barrier: has got a state transfer".to_owned()),
        Frame::StateBegin { whole: true, .. } => {
            (MessageKind::Resync, "a transfer of the whole state begins".to_owned())
        }
        Frame::StateBegin { whole: false, .. } => {
            (MessageKind::Resync, "a transfer of what is missing begins".to_owned())
        }
        Frame::StateChunk(changes) => {
            let cells = changes.len();
            (MessageKind::Resync, format!("{cells} cells: {}", changes_words(changes)))
        }
        Frame::StateEnd => (MessageKind::Resync, "the transfer ends".to_owned()),
        Frame::ResyncRequest { whole, .. } => {
            let what = if *whole { "the whole state" } else { "what it does not have" };
            (MessageKind::Resync, format!("asks for {what}"))
        }
        Frame::Ack(_) => (MessageKind::Heartbeat, "acknowledges what it has".to_owned()),
        Frame::Heartbeat(heartbeat) => {
            let text = if heartbeat.pulse.caught_up { "heartbeat, caught up" } else { "heartbeat" };
            (MessageKind::Heartbeat, text.to_owned())
        }
    };
    let keys = match frame {
        Frame::Unit(unit) => keys_of(&unit.changes),
        Frame::StateChunk(changes) => keys_of(changes),
        Frame::Hello(_)
        | Frame::Refuse(_)
        | Frame::Barrier(_)
        | Frame::StateBegin { .. }
        | Frame::StateEnd
        | Frame::ResyncRequest { .. }
        | Frame::Ack(_)
        | Frame::Heartbeat(_) => Vec::new(),
    };
    Said { kind, text, keys, again: false }
}

fn refusal_words(why: &Refusal) -> String {
    match why {
        Refusal::Version { ours } => format!("another protocol version, here it is {ours}"),
        Refusal::Myself => "it reached itself".to_owned(),
        Refusal::NodeIdInUse => "another live process presents the same node id".to_owned(),
        Refusal::EpochTaken { newest } => format!("epoch taken, the newest is {}", newest.0),
        Refusal::ForeignCluster => "two clusters that both collected tombstones".to_owned(),
        Refusal::Malformed => "the frame could not be read".to_owned(),
    }
}

/// What a mark says, with its keys; `None`: the fact is no news to somebody who looks.
pub fn fact_words(fact: &Fact, names: &Names) -> Option<(MarkKind, String, Vec<String>)> {
    let key = |key: &[u8]| vec![String::from_utf8_lossy(key).into_owned()];
    let plain = |kind, text: String| Some((kind, text, Vec::new()));
    match fact {
        Fact::Log { level, text } => {
            let refusal = ["efuse", "denied", "DENIED", "paused"].iter().any(|w| text.contains(w));
            let refusal = refusal && *level >= LogLevel::Notice;
            let kind = if refusal { MarkKind::Refusal } else { MarkKind::Log };
            plain(kind, format!("logs ({level:?}): {}", short(text, 300)))
        }
        Fact::Sometimes(label) => plain(MarkKind::Rare, format!("rare: {label}")),
        Fact::UnitIssued { unit, .. } => {
            let text = format!("writes {}", unit_words(unit, names));
            Some((MarkKind::Unit, text, keys_of(&unit.changes)))
        }
        Fact::CellsAdopted { unit } => {
            let text = format!("passes on as its own {}", unit_words(unit, names));
            Some((MarkKind::Unit, text, keys_of(&unit.changes)))
        }
        Fact::CellsLifted { unit } => {
            let text = format!("writes again above the horizon {}", unit_words(unit, names));
            Some((MarkKind::Unit, text, keys_of(&unit.changes)))
        }
        Fact::UnitTaken { dot, .. } => {
            plain(MarkKind::Unit, format!("takes write {}", names.stamp(*dot)))
        }
        Fact::StampsMoved { times, .. } => {
            plain(MarkKind::Unit, format!("moves {} own writes to new stamps", times.len()))
        }
        Fact::StaleDropped { key: name, stamp, kept, .. } => {
            let (lost, won) = (names.stamp(*stamp), names.stamp(*kept));
            let text = format!("conflict on {}: {won} wins, {lost} is dropped", text_of(name));
            Some((MarkKind::Conflict, text, key(name)))
        }
        Fact::StandsAlone => plain(MarkKind::Member, "stands alone".to_owned()),
        Fact::StoodAlone { cells } => {
            plain(MarkKind::Member, format!("is alone no more; it has {} cells", cells.len()))
        }
        Fact::Collected { horizon } => {
            let text = format!("collects tombstones up to {}", short_time(*horizon));
            plain(MarkKind::Member, text)
        }
        Fact::LinkUp { peer } => {
            plain(MarkKind::Link, format!("link to {} is up", names.node(*peer)))
        }
        Fact::LinkDown { peer } => {
            plain(MarkKind::Link, format!("link to {} is down", names.node(*peer)))
        }
        Fact::LinkSuspect { peer } => {
            plain(MarkKind::Link, format!("hears nothing from {}", names.node(*peer)))
        }
        Fact::ResyncBegan { from } => {
            plain(MarkKind::Resync, format!("a resync from {} begins", names.node(*from)))
        }
        Fact::ResyncEnded { from, complete: true } => {
            plain(MarkKind::Resync, format!("the resync from {} is complete", names.node(*from)))
        }
        Fact::ResyncEnded { from, complete: false } => {
            plain(MarkKind::Resync, format!("the resync from {} breaks off", names.node(*from)))
        }
        Fact::DataDropped => {
            plain(MarkKind::Resync, "drops its data to take a master's".to_owned())
        }
        Fact::MemberSeen { node, epoch, .. } => {
            let text = format!("learns of {}, epoch {}", names.node(*node), epoch.0);
            plain(MarkKind::Member, text)
        }
        Fact::OriginPaused { origin } => {
            let who = names.origin(*origin);
            let text = format!("refuses writes of {who}: their stamps are too far ahead");
            plain(MarkKind::Refusal, text)
        }
        Fact::OriginResumed { origin } => {
            let text = format!("takes writes of {} again", names.origin(*origin));
            plain(MarkKind::Refusal, text)
        }
        Fact::ClockCorrected { offset_ms } => {
            let text = format!("its clock is {offset_ms} ms ahead: stamps follow the peers'");
            plain(MarkKind::Clock, text)
        }
        Fact::KeyChanged { .. } | Fact::VectorMoved { .. } => None,
    }
}

/// What a change of a clock does.
pub fn clock_words(change: ClockChange) -> String {
    let secs = |ns: i64| format!("{:+.3} s", ns as f64 / 1e9);
    match change {
        ClockChange::StepWall(delta) => format!("the wall clock steps by {}", secs(delta)),
        ClockChange::SetWallOffset(offset) => {
            format!("the wall clock is set to true time {}", secs(offset))
        }
        ClockChange::DriftWall(ppm) => format!("the wall clock drifts by {ppm:+} ppm"),
        ClockChange::FreezeWall(true) => "the wall clock stands still".to_owned(),
        ClockChange::FreezeWall(false) => "the wall clock goes on".to_owned(),
        ClockChange::JumpMono(delta) => {
            format!("the monotonic clock jumps ahead by {:.3} s", delta as f64 / 1e9)
        }
        ClockChange::DriftMono(ppm) => format!("the monotonic clock drifts by {ppm:+} ppm"),
        ClockChange::FreezeMono(true) => "the monotonic clock stands still".to_owned(),
        ClockChange::FreezeMono(false) => "the monotonic clock goes on".to_owned(),
    }
}

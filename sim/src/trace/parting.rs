//! Where two runs part: the first event that is not the same in both.

use super::{Tape, Text};

/// The first events of two tapes that differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parting {
    /// Events that are the same before it.
    pub same: usize,
    /// `None`: that run has ended.
    pub left: Option<Event>,
    pub right: Option<Event>,
}

/// An event by its column and place there.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Event {
    pub at: u64,
    pub column: Column,
    pub index: usize,
}

/// In the order in which events of one moment are told.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Column {
    Mark,
    Message,
    Op,
}

/// What makes two events the same: time, place, kind, fate, words.
type Signature<'a> = (u64, Column, [u32; 6], &'a str, &'a str);

/// The first events that differ, or `None` if the runs are the same.
pub fn parting(left: &Tape, right: &Tape) -> Option<Parting> {
    let (ours, theirs) = (in_order(left), in_order(right));
    let most = ours.len().max(theirs.len());
    let differ = |at: usize| {
        let ours = ours.get(at).map(|event| signature(left, *event));
        ours != theirs.get(at).map(|event| signature(right, *event))
    };
    let same = (0..most).find(|&at| differ(at))?;
    Some(Parting { same, left: ours.get(same).copied(), right: theirs.get(same).copied() })
}

/// All events but those of values, which follow from the others.
pub fn in_order(tape: &Tape) -> Vec<Event> {
    let marks = tape.marks.iter().map(|m| m.at).enumerate();
    let messages = tape.messages.iter().map(|m| m.sent).enumerate();
    let ops = tape.ops.iter().map(|o| o.sent).enumerate();
    let event = |column| move |(index, at)| Event { at, column, index };
    let mut events: Vec<Event> = marks.map(event(Column::Mark)).collect();
    events.extend(messages.map(event(Column::Message)));
    events.extend(ops.map(event(Column::Op)));
    events.sort_unstable();
    events
}

fn signature(tape: &Tape, event: Event) -> Signature<'_> {
    let text = |text: Text| tape.texts()[text.0 as usize].as_str();
    let Event { at, column, index } = event;
    match column {
        Column::Mark => {
            let mark = &tape.marks[index];
            let host = mark.host.map_or(u32::MAX, u32::from);
            (at, column, [host, mark.kind as u32, 0, 0, 0, 0], text(mark.text), "")
        }
        Column::Message => {
            let m = &tape.messages[index];
            let takes = (m.ends - m.sent) as u32;
            let (from, to) = (u32::from(m.from), u32::from(m.to));
            let all = [from, to, m.kind as u32, m.fate as u32, m.bytes, takes];
            (at, column, all, text(m.text), "")
        }
        Column::Op => {
            let op = &tape.ops[index];
            let takes = (op.ends - op.sent) as u32;
            let all = [u32::from(op.host), op.outcome as u32, takes, 0, 0, 0];
            (at, column, all, text(op.text), text(op.reply))
        }
    }
}

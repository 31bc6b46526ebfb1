//! Each checker is seen to fail on a history made wrong by hand.

use bytes::Bytes;
use quorate::base::fact::Fact;
use quorate::base::ids::{ConnId, DbIndex, Origin};
use quorate::base::stamp::Stamp;
use quorate::base::unit::{Cell, Change, Seen, Unit};
use quorate::base::vector::Vector;

use super::loss::lost_unit;
use super::sessions::{Matched, match_units, stale_read};
use super::{Property, Violation};
use crate::model::ledger::{BootId, Ledger};
use crate::model::merge::Coverage;
use crate::workload::command::Command;
use crate::workload::history::{History, SessionId};
use crate::workload::resp::Reply;

/// One client on one node, its commands answered one after the other.
struct Case {
    ledger: Ledger,
    history: History,
    commands: Vec<Command>,
    boot: BootId,
    session: SessionId,
    time: u64,
}

impl Case {
    fn new() -> Case {
        let mut ledger = Ledger::new();
        let boot = ledger.booted(0);
        let mut history = History::default();
        let session = history.open(0, 0);
        history.sessions[session.0].accepted = Some((boot, ConnId(1)));
        Case { ledger, history, commands: Vec::new(), boot, session, time: 0 }
    }

    fn send(&mut self, command: Command, reply: Option<Reply>) {
        let attempt = self.history.send(self.session, self.commands.len(), self.time);
        self.commands.push(command);
        if let Some(reply) = reply {
            self.history.reply(attempt, self.time + 1, reply);
        }
    }

    fn unit(&mut self, cell: Cell) {
        self.time += 10;
        let change = Change { db: DbIndex(0), key: Bytes::from_static(b"k"), stamp: None, cell };
        let unit = Unit { dot: Stamp::new(self.time, Origin(1)), changes: vec![change] };
        let fact = Fact::UnitIssued { conn: Some(ConnId(1)), unit, vector: Vector::new() };
        self.ledger.fact(self.boot, self.time, &fact);
    }

    fn matched(&self) -> Result<Matched, Violation> {
        match_units(&self.ledger, &self.history, &|_, index| &self.commands[index])
    }

    fn property(&self) -> Option<Property> {
        match self.matched() {
            Ok(matched) => {
                let commands = |_, index: usize| &self.commands[index];
                stale_read(&self.ledger, &self.history, &matched, &commands).map(|v| v.property)
            }
            Err(violation) => Some(violation.property),
        }
    }
}

fn set(value: &str) -> Command {
    Command::Set { key: "k".into(), value: value.into(), px: None }
}

fn get() -> Command {
    Command::Get { key: "k".into() }
}

fn ok() -> Option<Reply> {
    Some(Reply::Status(Bytes::from_static(b"OK")))
}

fn bulk(value: &'static str) -> Option<Reply> {
    Some(Reply::Bulk(Bytes::from_static(value.as_bytes())))
}

fn register(value: &'static str) -> Cell {
    let value = Bytes::from_static(value.as_bytes());
    Cell::Register { value, resets: true, seen: Seen::default() }
}

#[test]
fn own_write_is_read_or_something_newer() {
    let mut case = Case::new();
    case.send(set("a"), ok());
    case.unit(register("a"));
    case.send(get(), bulk("a"));
    case.send(set("b"), ok());
    case.unit(register("b"));
    case.send(get(), bulk("b"));
    assert_eq!(case.property(), None);
    case.send(get(), bulk("a"));
    assert_eq!(case.property(), Some(Property::Sessions));
}

#[test]
fn a_value_from_nowhere_and_a_key_gone_for_no_reason_are_noticed() {
    let mut case = Case::new();
    case.send(get(), bulk("ghost"));
    assert_eq!(case.property(), Some(Property::Sessions));
    let mut case = Case::new();
    case.send(set("a"), ok());
    case.unit(register("a"));
    case.send(get(), Some(Reply::Null));
    assert_eq!(case.property(), Some(Property::Sessions));
    case.unit(Cell::Tombstone { seen: Seen::default() });
    case.send(Command::Del { keys: vec!["k".into()] }, Some(Reply::Int(1)));
    assert_eq!(case.property(), None);
}

#[test]
fn acknowledged_command_without_unit_and_unit_without_command() {
    let mut case = Case::new();
    case.send(set("a"), ok());
    assert_eq!(case.property(), Some(Property::AcknowledgedLoss));
    let mut case = Case::new();
    case.send(get(), Some(Reply::Null));
    case.unit(register("a"));
    assert_eq!(case.property(), Some(Property::Sessions));
    let mut case = Case::new();
    case.send(set("a"), Some(Reply::Error(Bytes::from_static(b"LOADING wait"))));
    case.unit(register("a"));
    assert_eq!(case.property(), Some(Property::Sessions));
}

#[test]
fn unit_must_hold_what_the_command_says_and_grow_by_the_delta() {
    let mut case = Case::new();
    case.send(set("a"), ok());
    case.unit(register("b"));
    assert_eq!(case.property(), Some(Property::Sessions));
    for (sum, fits) in [(5, true), (6, false)] {
        let mut case = Case::new();
        case.send(Command::IncrBy { key: "k".into(), delta: 5 }, Some(Reply::Int(5)));
        case.unit(Cell::Contribution { generation: 10, sum });
        assert_eq!(case.property().is_none(), fits, "{sum}");
    }
}

#[test]
fn command_in_doubt_may_have_made_its_unit_or_not() {
    for happened in [true, false] {
        let mut case = Case::new();
        case.send(set("a"), None);
        if happened {
            case.unit(register("a"));
        }
        assert_eq!(case.property(), None);
        assert_eq!(case.matched().unwrap().unit_of, vec![happened.then_some(0)]);
    }
}

#[test]
fn implausible_replies_are_noticed() {
    let wrong = [
        (get(), Reply::Int(1)),
        (set("a"), Reply::Null),
        (Command::Del { keys: vec!["k".into()] }, Reply::Int(2)),
        (get(), Reply::Error(Bytes::from_static(b"NOSCRIPT no"))),
        (Command::Multi { commands: vec![get()] }, Reply::Array(vec![])),
    ];
    for (command, reply) in wrong {
        let mut case = Case::new();
        case.send(command.clone(), Some(reply));
        assert_eq!(case.property(), Some(Property::Sessions), "{command}");
    }
}

#[test]
fn a_unit_is_lost_only_with_every_process_that_had_it() {
    let mut case = Case::new();
    case.send(set("a"), ok());
    case.unit(register("a"));
    let other = case.ledger.booted(1);
    let matched = case.matched().unwrap();
    let judge = |case: &Case, core: &[BootId]| {
        let coverage = Coverage::new(&case.ledger, Vector::new());
        lost_unit(&case.ledger, &case.history, &matched, &coverage, core).map(|v| v.property)
    };
    let lost = Some(Property::AcknowledgedLoss);
    assert_eq!(judge(&case, &[case.boot, other]), lost);
    assert_eq!(judge(&case, &[other]), None);
    case.ledger.crashed(case.boot);
    assert_eq!(judge(&case, &[case.boot, other]), None);
    let mut had = Vector::new();
    had.raise(Origin(1), 10);
    case.ledger.fact(other, 0, &Fact::VectorMoved { vector: had });
    assert_eq!(judge(&case, &[case.boot, other]), lost);
}

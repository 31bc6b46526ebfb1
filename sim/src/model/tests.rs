//! Each checker of the model is seen to fail on a history made wrong by hand.

use bytes::Bytes;
use quorate::base::content::Content;
use quorate::base::fact::Fact;
use quorate::base::ids::{ConnId, DbIndex, Origin};
use quorate::base::stamp::Stamp;
use quorate::base::time::UnixMs;
use quorate::base::unit::{Cell, Change, Kind as Type, Part, Seen, SeenContribution, Unit};
use quorate::base::vector::Vector;

use super::ledger::{BootId, Ledger};
use super::merge::{Coverage, Expected, NodeView, Shown, dishonest_list};
use crate::check::Property;

const DB: DbIndex = DbIndex(0);

fn at(time: u64, origin: u32) -> Stamp {
    Stamp::new(time, Origin(origin))
}

fn vector(entries: &[(u32, u64)]) -> Vector {
    let mut vector = Vector::new();
    for &(origin, time) in entries {
        vector.raise(Origin(origin), time);
    }
    vector
}

fn change(cell: Cell) -> Change {
    Change { db: DB, key: Bytes::from_static(b"k"), stamp: None, cell }
}

fn register(value: &'static str, seen: Seen) -> Cell {
    Cell::Register { value: Bytes::from_static(value.as_bytes()), resets: true, seen }
}

fn issue(ledger: &mut Ledger, boot: BootId, dot: Stamp, had: &[(u32, u64)], cell: Cell) {
    let unit = Unit { dot, changes: vec![change(cell)] };
    let fact = Fact::UnitIssued { conn: Some(ConnId(1)), unit, vector: vector(had) };
    ledger.fact(boot, 0, &fact);
}

fn changed(ledger: &mut Ledger, boot: BootId, stamp: Stamp, after: bool) {
    let key = Bytes::from_static(b"k");
    let visible_before = !after;
    let fact = Fact::KeyChanged { db: DB, key, stamp, visible_before, visible_after: after };
    ledger.fact(boot, 0, &fact);
}

fn view(value: Option<&str>, deadline: Option<u64>) -> NodeView {
    let key = Bytes::from_static(b"k");
    let shown = value.map(|v| Shown {
        db: DB,
        key,
        value: Content::String(Bytes::copy_from_slice(v.as_bytes())),
        deadline: deadline.map(UnixMs),
    });
    NodeView {
        name: "node1".to_owned(),
        keys: shown.into_iter().collect(),
        clock: (UnixMs(1000), UnixMs(1010)),
        joins: false,
    }
}

fn judge(ledger: &Ledger, covered: &[(u32, u64)], view: &NodeView) -> Option<Property> {
    let coverage = Coverage::new(ledger, vector(covered));
    Expected::new(ledger, &coverage).compare(ledger, view).map(|v| v.property)
}

#[test]
fn merge_sees_an_older_value_a_missing_key_and_a_key_too_many() {
    let mut ledger = Ledger::new();
    let boot = ledger.booted(0);
    issue(&mut ledger, boot, at(5, 1), &[], register("old", Seen::default()));
    issue(&mut ledger, boot, at(6, 1), &[], register("new", Seen::default()));
    assert_eq!(judge(&ledger, &[(1, 6)], &view(Some("new"), None)), None);
    let wrong = Some(Property::ReferenceMerge);
    assert_eq!(judge(&ledger, &[(1, 6)], &view(Some("old"), None)), wrong);
    assert_eq!(judge(&ledger, &[(1, 6)], &view(None, None)), wrong);
    assert_eq!(judge(&ledger, &[(1, 6)], &view(Some("new"), Some(9000))), wrong);
    assert_eq!(judge(&ledger, &[(1, 4)], &view(Some("old"), None)), wrong);
    assert_eq!(judge(&ledger, &[(1, 5)], &view(Some("old"), None)), None);
}

#[test]
fn merge_counts_a_deadline_by_the_expiry_clock() {
    let mut ledger = Ledger::new();
    let boot = ledger.booted(0);
    issue(&mut ledger, boot, at(5, 1), &[], register("v", Seen::default()));
    for (time, deadline, shown, hidden) in
        [(6, 900, false, true), (7, 1005, true, true), (8, 2000, true, false)]
    {
        issue(
            &mut ledger,
            boot,
            at(time, 1),
            &[],
            Cell::Expiry { deadline: Some(UnixMs(deadline)) },
        );
        let held = judge(&ledger, &[(1, time)], &view(Some("v"), Some(deadline)));
        assert_eq!(held.is_none(), shown, "{deadline} shown");
        let gone = judge(&ledger, &[(1, time)], &view(None, None));
        assert_eq!(gone.is_none(), hidden, "{deadline} hidden");
    }
}

#[test]
fn lost_and_doubled_increments_break_the_counter_property() {
    let mut ledger = Ledger::new();
    let boot = ledger.booted(0);
    let grow = |sum| Cell::Contribution { generation: 5, sum };
    issue(&mut ledger, boot, at(5, 1), &[], grow(3));
    issue(&mut ledger, boot, at(6, 1), &[], grow(7));
    assert_eq!(ledger.units[1].growth[0].1, 4);
    assert_eq!(judge(&ledger, &[(1, 6)], &view(Some("7"), None)), None);
    for wrong in ["3", "11"] {
        let found = judge(&ledger, &[(1, 6)], &view(Some(wrong), None));
        assert_eq!(found, Some(Property::Counters), "{wrong}");
    }
}

#[test]
fn cells_logged_again_count_without_their_own_dot() {
    let mut ledger = Ledger::new();
    let (a, b) = (ledger.booted(0), ledger.booted(1));
    issue(&mut ledger, a, at(5, 1), &[], register("kept", Seen::default()));
    issue(&mut ledger, a, at(6, 1), &[], Cell::Contribution { generation: 6, sum: 2 });
    let again = Change { stamp: Some(at(5, 1)), ..change(register("kept", Seen::default())) };
    ledger.fact(b, 0, &Fact::CellsAdopted { unit: Unit { dot: at(9, 2), changes: vec![again] } });
    assert_eq!(judge(&ledger, &[(2, 8)], &view(None, None)), None);
    assert_eq!(judge(&ledger, &[(2, 9)], &view(Some("kept"), None)), None);
    assert!(judge(&ledger, &[(2, 9)], &view(None, None)).is_some());
}

#[test]
fn a_set_whose_reset_alone_was_logged_again_still_takes_an_older_deadline_away() {
    let mut ledger = Ledger::new();
    let (a, b) = (ledger.booted(0), ledger.booted(1));
    let append = || Cell::Register {
        value: Bytes::from_static(b"set+"),
        resets: false,
        seen: Seen::default(),
    };
    issue(&mut ledger, a, at(5, 1), &[], register("old", Seen::default()));
    issue(&mut ledger, a, at(6, 1), &[], Cell::Expiry { deadline: Some(UnixMs(9000)) });
    issue(&mut ledger, a, at(7, 1), &[], register("set", Seen::default()));
    issue(&mut ledger, b, at(8, 2), &[(1, 6)], append());
    // The SET itself is lost and the vector does not cover it.
    let covered = [(1, 6), (2, 9)];
    assert_eq!(judge(&ledger, &covered, &view(Some("set+"), Some(9000))), None);
    assert!(judge(&ledger, &covered, &view(Some("set+"), None)).is_some());
    let again = Change { stamp: Some(at(7, 1)), ..change(Cell::Expiry { deadline: None }) };
    ledger.fact(b, 0, &Fact::CellsAdopted { unit: Unit { dot: at(9, 2), changes: vec![again] } });
    assert_eq!(judge(&ledger, &covered, &view(Some("set+"), None)), None);
    assert!(judge(&ledger, &covered, &view(Some("set+"), Some(9000))).is_some());
    let before = [(1, 6), (2, 8)];
    assert_eq!(judge(&ledger, &before, &view(Some("set+"), Some(9000))), None);
}

#[test]
fn moved_stamps_are_followed_everywhere() {
    let mut ledger = Ledger::new();
    let (a, b) = (ledger.booted(0), ledger.booted(1));
    issue(&mut ledger, a, at(5, 1), &[], Cell::Contribution { generation: 5, sum: 1 });
    issue(&mut ledger, a, at(6, 1), &[], Cell::Contribution { generation: 5, sum: 3 });
    issue(&mut ledger, b, at(50, 2), &[], register("10", Seen::default()));
    let times = vec![(5, 105), (6, 106)];
    ledger.fact(a, 0, &Fact::StampsMoved { from: Origin(1), to: Origin(3), times, horizon: 0 });
    assert_eq!(ledger.units[1].dot, at(106, 3));
    issue(&mut ledger, a, at(107, 3), &[], Cell::Contribution { generation: 105, sum: 4 });
    assert_eq!(ledger.units[3].growth[0].1, 1);
    assert_eq!(judge(&ledger, &[(2, 50), (3, 107)], &view(Some("14"), None)), None);
    assert!(ledger.violations.is_empty(), "{:?}", ledger.violations);
}

#[test]
fn a_list_that_forgets_or_miscounts_an_increment_is_dishonest() {
    let list = |last, sum| Seen {
        list: vec![SeenContribution { origin: Origin(1), generation: 5, last, sum }],
        horizon: 0,
    };
    let cases = [
        (list(6, 7), &[(1, 6)][..], false),
        (list(5, 3), &[(1, 6)][..], true),
        (list(6, 8), &[(1, 6)][..], true),
        (Seen::default(), &[(1, 6)][..], true),
        (Seen::default(), &[][..], false),
        (Seen { list: vec![], horizon: 6 }, &[(1, 6)][..], false),
    ];
    for (seen, had, dishonest) in cases {
        let mut ledger = Ledger::new();
        let (a, b) = (ledger.booted(0), ledger.booted(1));
        issue(&mut ledger, a, at(5, 1), &[], Cell::Contribution { generation: 5, sum: 3 });
        issue(&mut ledger, a, at(6, 1), &[], Cell::Contribution { generation: 5, sum: 7 });
        issue(&mut ledger, b, at(9, 2), had, Cell::Tombstone { seen: seen.clone() });
        assert_eq!(dishonest_list(&ledger).is_some(), dishonest, "{seen:?} {had:?}");
    }
}

#[test]
fn increment_collected_with_a_base_that_had_seen_it_does_not_come_back() {
    for collected in [false, true] {
        let mut ledger = Ledger::new();
        let (a, b) = (ledger.booted(0), ledger.booted(1));
        issue(&mut ledger, a, at(5, 1), &[], Cell::Contribution { generation: 5, sum: 3 });
        let had = SeenContribution { origin: Origin(1), generation: 5, last: 5, sum: 3 };
        let seen = Seen { list: vec![had], horizon: 0 };
        issue(&mut ledger, a, at(6, 1), &[], register("10", seen));
        if collected {
            ledger.fact(a, 0, &Fact::Collected { horizon: 6 });
        }
        issue(&mut ledger, b, at(9, 2), &[], register("100", Seen::default()));
        let value = if collected { "100" } else { "103" };
        assert_eq!(judge(&ledger, &[(1, 6), (2, 9)], &view(Some(value), None)), None);
    }
}

#[test]
fn deleted_key_comes_back_only_by_a_newer_cell_or_an_unseen_increment() {
    let mut ledger = Ledger::new();
    let (a, b) = (ledger.booted(0), ledger.booted(1));
    issue(&mut ledger, a, at(5, 1), &[], Cell::Contribution { generation: 5, sum: 1 });
    issue(&mut ledger, a, at(6, 1), &[], register("v", Seen::default()));
    issue(&mut ledger, b, at(9, 2), &[], Cell::Tombstone { seen: Seen::default() });
    changed(&mut ledger, b, at(9, 2), false);
    changed(&mut ledger, b, at(5, 1), true);
    changed(&mut ledger, b, at(9, 2), false);
    changed(&mut ledger, b, at(10, 1), true);
    assert!(ledger.violations.is_empty(), "{:?}", ledger.violations);
    issue(&mut ledger, b, at(11, 2), &[(1, 10)], Cell::Tombstone { seen: Seen::default() });
    changed(&mut ledger, b, at(11, 2), false);
    changed(&mut ledger, b, at(6, 1), true);
    assert_eq!(ledger.violations[0].property, Property::Resurrection);
}

#[test]
fn stamps_that_step_back_and_vectors_that_sink_are_noticed() {
    let mut ledger = Ledger::new();
    let boot = ledger.booted(0);
    issue(&mut ledger, boot, at(6, 1), &[], register("v", Seen::default()));
    issue(&mut ledger, boot, at(6, 1), &[], register("w", Seen::default()));
    assert_eq!(ledger.violations[0].property, Property::Sessions);
    ledger.fact(boot, 0, &Fact::VectorMoved { vector: vector(&[(2, 9)]) });
    ledger.fact(boot, 0, &Fact::VectorMoved { vector: vector(&[(2, 8)]) });
    assert_eq!(ledger.violations[1].property, Property::AcknowledgedLoss);
}

/// A field of hash `k`.
fn field(name: &'static str, part: Part) -> Cell {
    Cell::Element { kind: Type::Hash, name: Bytes::from_static(name.as_bytes()), part }
}

fn set_to(value: &'static str) -> Part {
    Part::Register { value: Bytes::from_static(value.as_bytes()), seen: Seen::default() }
}

/// A view of one hash `k`, or of no key.
fn hash(pairs: &[(&'static str, &'static str)]) -> NodeView {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let list = pairs.iter().map(|&(name, value)| (bytes(name), bytes(value))).collect();
    let mut shown = view((!pairs.is_empty()).then_some(""), None);
    for key in &mut shown.keys {
        key.value = Content::Elements { kind: Type::Hash, list: Vec::clone(&list) };
    }
    shown
}

#[test]
fn fields_are_merged_each_by_itself_and_go_with_what_is_written_to_the_key() {
    let dead = |list| Part::Tombstone { seen: Seen { list, horizon: 0 } };
    let grown = |generation, sum| Part::Contribution { generation, sum };
    let had = |last, sum| SeenContribution { origin: Origin(1), generation: 5, last, sum };
    let kind = || Cell::Kind { kind: Type::Hash };
    let delete = || Cell::Tombstone { seen: Seen::default() };
    type Writes = Vec<(u64, u32, Cell)>;
    let cases: Vec<(Writes, &[(&str, &str)])> = vec![
        (
            vec![(4, 1, kind()), (5, 1, field("f", set_to("1"))), (6, 2, field("g", set_to("2")))],
            &[("f", "1"), ("g", "2")],
        ),
        (vec![(5, 1, field("f", set_to("1"))), (7, 2, field("f", dead(vec![])))], &[]),
        (vec![(7, 1, field("f", set_to("1"))), (5, 2, field("f", dead(vec![])))], &[("f", "1")]),
        (
            vec![
                (5, 1, field("f", set_to("1"))),
                (6, 2, delete()),
                (7, 1, field("g", set_to("2"))),
            ],
            &[("g", "2")],
        ),
        (vec![(5, 1, field("n", grown(5, 3))), (6, 2, field("n", grown(6, 4)))], &[("n", "7")]),
        (
            vec![
                (5, 1, field("n", grown(5, 3))),
                (6, 2, field("n", dead(vec![had(5, 3)]))),
                (7, 1, field("n", grown(5, 8))),
            ],
            &[("n", "5")],
        ),
        (vec![(5, 1, field("n", grown(5, 3))), (6, 2, delete())], &[]),
    ];
    for (writes, shows) in cases {
        let mut ledger = Ledger::new();
        let boots = [ledger.booted(0), ledger.booted(1)];
        for (time, origin, cell) in writes {
            issue(&mut ledger, boots[origin as usize - 1], at(time, origin), &[], cell);
        }
        assert_eq!(judge(&ledger, &[(1, 9), (2, 9)], &hash(shows)), None);
        let other = if shows.is_empty() { hash(&[("f", "x")]) } else { hash(&[]) };
        assert!(judge(&ledger, &[(1, 9), (2, 9)], &other).is_some());
    }
}

#[test]
fn the_newest_key_cell_says_what_a_key_is() {
    for (hash_at, text_at, is_hash) in [(5, 6, false), (6, 5, true)] {
        let mut ledger = Ledger::new();
        let (a, b) = (ledger.booted(0), ledger.booted(1));
        issue(&mut ledger, a, at(hash_at, 1), &[], Cell::Kind { kind: Type::Hash });
        issue(&mut ledger, a, at(7, 1), &[], field("f", set_to("1")));
        issue(&mut ledger, b, at(text_at, 2), &[], register("text", Seen::default()));
        let shown = if is_hash { hash(&[("f", "1")]) } else { view(Some("text"), None) };
        assert_eq!(judge(&ledger, &[(1, 9), (2, 9)], &shown), None);
        // An increment begins a string as well.
        let begun = Cell::Contribution { generation: 8, sum: 2 };
        issue(&mut ledger, b, at(8, 2), &[], begun);
        let shown = view(Some("text"), None);
        assert_eq!(judge(&ledger, &[(1, 9), (2, 9)], &shown), None);
    }
}

#[test]
fn the_model_knows_nothing_of_the_code_it_judges() {
    let sources = [
        include_str!("mod.rs"),
        include_str!("key.rs"),
        include_str!("ledger.rs"),
        include_str!("merge.rs"),
        include_str!("moved.rs"),
        include_str!("whole.rs"),
        include_str!("../check/fit.rs"),
        include_str!("../check/loss.rs"),
        include_str!("../check/sessions.rs"),
        include_str!("../check/verdict.rs"),
    ];
    for source in sources {
        for line in source.lines().filter(|l| l.contains("quorate::")) {
            assert!(line.contains("quorate::base::"), "the reference model imports: {line}");
        }
    }
}

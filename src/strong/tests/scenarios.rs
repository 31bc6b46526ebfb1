//! What worlds seldom come to, step by step.

use super::super::message::{Durable, Item, Stage};
use super::super::standing::Electorate;
use super::super::tail::Place;
use super::super::trust::{Mark, Written};
use super::super::*;
use super::world::{Held, name};

const NODES: usize = 4;
const OF: Partition = Partition(0);

fn voter(at: usize) -> VoterId {
    VoterId(100 + at as u64)
}

fn standing() -> Standing {
    let nodes = (0..NODES).map(|at| RosterNode { name: name(at), rack: RackId(0) }).collect();
    let roster = Roster::new(nodes, 2).expect("a roster");
    let now = Electorate { roster, voters: (0..NODES).map(voter).collect() };
    Standing { cluster: 1, version: 1, change: 1, now, before: None }
}

/// A node that was in the cluster before.
fn node(at: usize) -> Strong {
    node_with(at, Mutants::NONE)
}

fn node_with(at: usize, mutants: Mutants) -> Strong {
    let config = StrongConfig {
        name: name(at),
        partitions: 1,
        heartbeat_interval: Span(10),
        heartbeat_timeout: Span(100),
        write_timeout: Span(1000),
        mutants,
    };
    let mut strong = Strong::new(config, voter(at), Rng::fork(0, "scenario"));
    let records = [Durable::Roster { standing: standing() }, Durable::RosterHeld];
    for (lsn, record) in (1..).map(Lsn).zip(records) {
        strong.recover(record, lsn, &mut Held::default());
    }
    strong.begin(false, true, Mono(0));
    strong
}

fn with(strong: &mut Strong, call: impl FnOnce(&mut Strong, &mut Desk<'_>)) {
    let (mut held, mut facts) = (Held::default(), Facts::new(false));
    call(strong, &mut Desk { now: Mono(1), copies: &mut held, facts: &mut facts });
}

/// A link to a node is up, and the disks are compared.
fn link(strong: &mut Strong, to: usize, its: VoterId) {
    let mark = Mark {
        start: Start(1),
        nonce: 7,
        lost_at: Start(0),
        begun: Written::default(),
        written: Written::default(),
    };
    with(strong, |strong, desk| {
        strong.on_peer_up(name(to), its, Start(1), desk);
        let items = vec![Item::Remembered { mark: None }, Item::Mark { mark }];
        strong.on_items(name(to), items, desk);
    });
}

#[test]
fn late_notice_of_an_older_configuration_does_not_drop_a_copy_that_has_joined() {
    let roster = standing().now.roster;
    let order = Succession::of_first(&roster, 1);
    let places: Vec<usize> = order.order(OF).iter().map(|&place| usize::from(place)).collect();
    let mut strong = node(places[3]);
    for &to in &places[..3] {
        link(&mut strong, to, voter(to));
    }
    let of = OF;
    let candidate = name(places[0]);
    let (entries, prev) = (Vec::new(), Place::default());
    let join =
        Item::Sync { of, regime: Regime(5), stage: Stage::Join, prev, entries, committed: 0 };
    with(&mut strong, |strong, desk| {
        strong.on_items(candidate, vec![Item::Promise { of, regime: Regime(5) }, join], desk);
    });
    assert_eq!(strong.at(of).intact, Some(strong.start), "it has joined");
    let mut isr: Vec<Member> = places[..2]
        .iter()
        .map(|&at| Member { name: name(at), voter: voter(at), start: Start(1) })
        .collect();
    isr.sort();
    let under = Under { version: 1, joint: false };
    let config = Configuration { regime: Regime(3), under, master: Some(name(places[1])), isr };
    with(&mut strong, |strong, desk| {
        strong.on_items(name(places[1]), vec![Item::Chosen { of, config }], desk);
    });
    assert_eq!(strong.at(of).chosen.regime, Regime(3));
    assert_eq!(strong.at(of).intact, Some(strong.start), "the candidate of 5 may name it");
}

#[test]
fn wiped_disk_of_the_same_start_is_no_member() {
    let mut strong = node(0);
    let member = |at: usize| Member { name: name(at), voter: voter(at), start: Start(1) };
    link(&mut strong, 1, voter(1));
    link(&mut strong, 2, VoterId(5));
    with(&mut strong, |strong, desk| strong.on_timeout(desk));
    assert!(strong.hears_member(&member(1)) && strong.is_linked(&member(1)));
    assert!(!strong.hears_member(&member(2)) && !strong.is_linked(&member(2)));
    assert_eq!(strong.voter(name(2)), None);
}

#[test]
fn disk_that_is_older_than_its_peers_remember_votes_for_nothing() {
    let mut strong = node(0);
    let written = Written { votes: 1000, records: 1000 };
    let begun = Written::default();
    let mark = Mark { start: Start(1), nonce: 7, lost_at: Start(0), begun, written };
    link(&mut strong, 1, voter(1));
    with(&mut strong, |strong, desk| {
        strong.on_items(name(1), vec![Item::Remembered { mark: Some(mark) }], desk);
    });
    assert!(strong.is_amnesiac());
    assert!(!strong.votes());
    assert_eq!(strong.at(OF).intact, None);
}

/// What a node answers to a round of regime 3, and to entries of it, after it has promised regime 5 to another.
fn said_below_a_promise(mutants: Mutants) -> Vec<Item> {
    let mut strong = node_with(0, mutants);
    (1..NODES).for_each(|to| link(&mut strong, to, voter(to)));
    let (of, regime) = (OF, Regime(3));
    let isr = (0..2).map(|at| Member { name: name(at), voter: voter(at), start: Start(1) });
    let under = Under { version: 1, joint: false };
    let config = Configuration { regime, under, master: Some(name(1)), isr: isr.collect() };
    with(&mut strong, |strong, desk| {
        strong.on_items(name(1), vec![Item::Chosen { of, config }], desk);
        strong.on_items(name(2), vec![Item::Promise { of, regime: Regime(5) }], desk);
    });
    let _ = strong.take_items();
    with(&mut strong, |strong, desk| {
        let round = Item::Round { id: 9, asked: vec![(of, regime)], mark: None };
        let stage = Stage::Serve { config: None, exact: false };
        let entries = vec![Entry { regime, index: 1, changes: Vec::new() }];
        let prev = Place::default();
        let sync = Item::Sync { of, regime, stage, prev, entries, committed: 0 };
        strong.on_items(name(1), vec![round, sync], desk);
    });
    strong.take_items().remove(&name(1)).unwrap_or_default()
}

#[test]
fn what_is_below_a_promise_is_refused() {
    let said = said_below_a_promise(Mutants::NONE);
    let refused = vec![(OF, Regime(5))];
    assert!(said.contains(&Item::RoundAnswer { id: 9, refused }), "{said:?}");
    let refusal = Item::Refused { of: OF, regime: Regime(3), promised: Regime(5) };
    assert!(said.contains(&refusal), "{said:?}");
    assert!(!said.iter().any(|item| matches!(item, Item::Synced { .. })), "{said:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn a_voter_that_hears_what_is_below_its_promise_is_found() {
    let said = said_below_a_promise(Mutants::only_strong(StrongMutant::LowerRegimeHeard));
    assert!(said.contains(&Item::RoundAnswer { id: 9, refused: Vec::new() }), "{said:?}");
    assert!(said.iter().any(|item| matches!(item, Item::Synced { .. })), "{said:?}");
}

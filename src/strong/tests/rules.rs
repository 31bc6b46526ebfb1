//! Rules that random histories seldom put to the test: worlds that are led there, with the rule and with it broken.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::part::Phase;
use super::super::standing::Electorate;
use super::super::*;
use super::world::{Disks, MS, Shape, World, name};
use crate::base::mutant::StrongMutant;

const OF: Partition = Partition(0);
/// Worlds that differ in when things happen.
const TRIES: u64 = 40;

fn shape(hosts: usize, mutants: Mutants) -> Shape {
    Shape {
        hosts,
        copies: 2,
        partitions: 1,
        always: true,
        heavy: false,
        disks: Disks::Stay,
        pause: 200 * MS,
        heals_some: false,
        changes: false,
        mutants,
    }
}

/// What the checks of a world say against what is done with it.
fn verdict(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().cloned();
        Err(text.or(why.downcast_ref::<&str>().map(|t| (*t).to_owned())).unwrap_or_default())
    })
}

/// Holds in all tries, and with the rule broken fails in one.
fn only_broken_rule_fails(mutant: StrongMutant, run: impl Fn(u64, Mutants) -> Result<(), String>) {
    for seed in 0..TRIES {
        assert_eq!(verdict(|| run(seed, Mutants::NONE)), Ok(()), "seed {seed}");
    }
    if cfg!(feature = "mutants") {
        let broken = Mutants::only_strong(mutant);
        let found = (0..TRIES).find_map(|seed| verdict(|| run(seed, broken)).err());
        assert!(found.is_some(), "nothing finds {}", mutant.name());
        println!("{}: {}", mutant.name(), found.unwrap_or_default());
    }
}

fn master_of(world: &World) -> usize {
    let serves = |at: &usize| world.hosts[*at].strong.as_ref().is_some_and(|s| s.serves(OF));
    (0..world.hosts.len()).find(serves).expect("it is served")
}

/// The master acknowledges a write; then its disk is put back to what it was a moment before that, which is after all that
/// it has told of where its disk stands. `alone`: the other copy's node was lost before.
fn write_on_a_disk_put_back(seed: u64, alone: bool, mutants: Mutants) -> Result<(), String> {
    let shape = Shape { disks: Disks::Older, ..shape(3, mutants) };
    let mut world = World::new(seed, shape);
    world.run(world.now + 600 * MS);
    let master = master_of(&world);
    if alone {
        let replicas = world.hosts[master].strong.as_ref().expect("it runs").replicas(OF);
        let other = replicas.iter().find(|replica| **replica != name(master)).expect("two copies");
        let other = (other.0 - 0xa1) as usize;
        world.stop(other);
        let third = 3 - master - other;
        let is_alone = |world: &World| {
            let part = world.hosts[master].strong.as_ref().map(|strong| strong.at(OF));
            let reign = part.and_then(|part| part.reign.as_ref());
            reign.is_some_and(|reign| reign.serves && reign.config.isr.len() == 1)
        };
        for _ in 0..10_000 {
            if is_alone(&world) {
                break;
            }
            // What the third node says of its copy comes too late for it to join at once.
            let part = world.hosts[master].strong.as_ref().map(|strong| strong.at(OF));
            let bid = part.and_then(|part| part.bid.as_ref());
            if bid.is_some_and(|bid| matches!(bid.phase, Phase::Joining { .. })) {
                world.cut.insert((third, master));
            } else {
                world.cut.clear();
            }
            world.run(world.now + MS / 10);
        }
        assert!(is_alone(&world), "the other node is in the ISR");
        world.run(world.now + seed * MS / 8);
    } else {
        world.ask_all(|_| true);
        world.run(world.now + 50 * MS + seed * MS / 2);
    }
    let image = world.hosts[master].disk[..world.hosts[master].synced].to_vec();
    let before = world.writes_done;
    world.ask_all(|_| true);
    for _ in 0..200 {
        if world.writes_done > before {
            break;
        }
        world.run(world.now + MS / 10);
    }
    assert!(world.writes_done > before, "no write was acknowledged");
    world.stop(master);
    world.checks.older = Some(master);
    let host = &mut world.hosts[master];
    host.synced = image.len();
    host.disk = image;
    world.begin(master, false);
    for _ in 0..20 {
        world.run(world.now + 60 * MS);
        world.ask_all(|_| false);
    }
    world.run(world.now + 60 * MS);
    // (Somebody may have to open it; what was acknowledged has not gone.)
    Ok(())
}

#[test]
fn master_on_a_disk_without_what_it_has_made_is_found_out() {
    only_broken_rule_fails(StrongMutant::OwnEntriesIgnored, |seed, mutants| {
        write_on_a_disk_put_back(seed, false, mutants)
    });
}

#[test]
fn who_confirms_that_nothing_higher_is_promised_remembers_the_masters_disk() {
    only_broken_rule_fails(StrongMutant::RoundMarksIgnored, |seed, mutants| {
        write_on_a_disk_put_back(seed, true, mutants)
    });
}

#[test]
fn records_of_a_start_do_not_make_up_for_those_that_an_older_disk_lacks() {
    only_broken_rule_fails(StrongMutant::StartHidesLoss, |seed, mutants| {
        write_on_a_disk_put_back(seed, true, mutants)
    });
}

/// Two of three nodes are cut off from the third, of which the operator wants a roster with two new ones.
#[test]
fn roster_is_decided_by_the_nodes_of_the_one_before() {
    only_broken_rule_fails(StrongMutant::CouncilOfNew, |seed, mutants| {
        let mut shape = shape(5, mutants);
        shape.changes = true;
        let mut world = World::new(seed, shape);
        world.run(world.now + 600 * MS);
        let standing = world.hosts[0].strong.as_ref().and_then(Strong::standing).cloned();
        let standing = standing.expect("a roster");
        let nodes = standing.now.roster.nodes();
        let members: Vec<usize> = nodes.iter().map(|node| (node.name.0 - 0xa1) as usize).collect();
        let others: Vec<usize> = (0..5).filter(|at| !members.contains(at)).collect();
        let [stays, ref cut @ ..] = members[..] else { return Ok(()) };
        if cut.len() < 2 || others.is_empty() {
            return Ok(());
        }
        for &gone in cut {
            for at in (0..5).filter(|at| !cut.contains(at)) {
                world.cut.extend([(gone, at), (at, gone)]);
                world.unlink(gone, at);
            }
        }
        let wanted = others.iter().fold(1 << stays, |set, at| set | 1 << at);
        let roster = world.roster(wanted, 1);
        world.with(stays, |strong, desk| {
            if let Ok(change) = strong.change(roster, true, desk.now) {
                strong.move_to(change, desk.now);
            }
        });
        world.run(world.now + 800 * MS);
        let decided = |at: &usize| {
            let strong = world.hosts[*at].strong.as_ref();
            let version = strong.and_then(Strong::standing).map(|standing| standing.version);
            version > Some(standing.version)
        };
        match (0..5).find(decided) {
            Some(at) => Err(format!("{} has a roster that {cut:?} do not know of", name(at))),
            None => Ok(()),
        }
    });
}

/// After a node's new disk was admitted its old one counts under no roster, not for what stands under the earlier one either:
/// two quorums of that would not have to have a disk in common.
#[test]
fn replaced_disk_counts_under_no_roster() {
    only_broken_rule_fails(StrongMutant::ReplacedCounted, |_, mutants| {
        let nodes = (0..4).map(|at| RosterNode { name: name(at), rack: RackId(0) }).collect();
        let roster = Roster::new(nodes, 2).expect("a roster");
        let electorate = |voters: [u64; 4]| Electorate {
            roster: roster.clone(),
            voters: voters.into_iter().map(VoterId).collect(),
        };
        let (first, second) = (electorate([0, 1, 2, 3]), electorate([10, 1, 2, 3]));
        let mut rosters = Rosters::new(1, mutants);
        let (cluster, change) = (1, 1);
        let (version, now, before) = (1, first, None);
        rosters.adopt(Standing { cluster, version, change, now, before });
        let (version, now, before) = (2, second, None);
        rosters.adopt(Standing { cluster, version, change, now, before });
        let old = (name(0), VoterId(0));
        let all: Vec<Voter> = (0..4).map(|at| (name(at), VoterId(at as u64))).collect();
        let under = |version| rosters.rule(Under { version, joint: false }).expect("a roster");
        for version in [1, 2] {
            for others in 0..8_usize {
                let set = |with: bool| -> Vec<Voter> {
                    let stays =
                        |at: &usize| if *at == 0 { with } else { others >> (at - 1) & 1 == 1 };
                    (0..4).filter(stays).map(|at| all[at]).collect()
                };
                let decides = |with| under(version).may_decide(&set(with), OF);
                if decides(true) != decides(false) {
                    return Err(format!("the old disk decides with {others:b} under {version}"));
                }
            }
        }
        if rosters.names(old) {
            return Err("the old disk may vote".to_owned());
        }
        Ok(())
    });
}

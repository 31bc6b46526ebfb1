//! Partitions that do not open by themselves: what nodes say of them, and what an operator who opens them comes to.

use super::super::revive::{Progress, ReviveError, Revived};
use super::super::*;
use super::history::history_of_a_world;
use super::number;
use super::world::{Disks, MS, Shape, World, name};

const ALL: [Partition; 4] = [Partition(0), Partition(1), Partition(2), Partition(3)];

fn shape(hosts: usize) -> Shape {
    Shape {
        hosts,
        copies: 2,
        partitions: 4,
        always: true,
        heavy: false,
        disks: Disks::Wiped,
        pause: 200 * MS,
        heals_some: false,
        changes: false,
        mutants: Mutants::NONE,
    }
}

/// A cluster with something in every partition.
fn world(seed: u64, hosts: usize) -> World {
    let mut world = World::new(seed, shape(hosts));
    world.run(world.now + 600 * MS);
    for _ in 0..5 {
        world.ask_all(|_| true);
        world.run(world.now + 20 * MS);
    }
    assert!(world.writes_done >= 20, "{} writes", world.writes_done);
    world
}

fn node(world: &World, at: usize) -> &Strong {
    world.hosts[at].strong.as_ref().expect("it runs")
}

/// The hosts of a partition's copies.
fn replicas(world: &World, of: Partition) -> Vec<usize> {
    node(world, 0).replicas(of).iter().map(|name| (name.0 - 0xa1) as usize).collect()
}

/// What comes of it if the operator asks this node.
fn revive(world: &mut World, at: usize) -> Result<Revived, ReviveError> {
    let mut begun = Ok(());
    world.with(at, |strong, desk| begun = strong.revive(desk.now));
    begun?;
    for _ in 0..500 {
        world.run(world.now + 10 * MS);
        let revival = node(world, at).revival().expect("it has begun");
        match revival.progress() {
            Progress::Running => {}
            Progress::Done => return Ok(revival.revived().clone()),
            Progress::Failed(why) => return Err(why.clone()),
        }
    }
    panic!("seed {}: no end", world.seed);
}

fn is_served(world: &World, of: Partition) -> bool {
    world.hosts.iter().filter_map(|host| host.strong.as_ref()).any(|strong| strong.serves(of))
}

fn all_served(world: &World) -> Result<(), String> {
    match ALL.into_iter().find(|&of| of.0 < world.shape.partitions && !is_served(world, of)) {
        None => world.settled(),
        Some(of) => {
            let all = world.hosts.iter().filter_map(|host| host.strong.as_ref());
            let told: String = all.map(|strong| strong.told(of)).collect();
            Err(format!("seed {}: {of:?} is not served{told}", world.seed))
        }
    }
}

#[test]
fn partition_without_any_copy_left_is_dead_and_opens_empty() {
    let mut world = world(1, 3);
    let of = ALL[0];
    let gone = replicas(&world, of);
    let stays = (0..3).find(|at| !gone.contains(at)).expect("one of three");
    gone.iter().for_each(|&at| world.wipe(at));
    world.run(world.now + 1000 * MS);
    for at in 0..3 {
        assert_eq!(node(&world, at).fate(of), Some(Fate::Dead), "at {at}");
        assert_eq!(node(&world, at).route(of, Mono(world.now)), Route::Down(Reason::Dead));
    }
    // Who is away could have a copy.
    world.stop(gone[0]);
    world.run(world.now + 500 * MS);
    assert_eq!(node(&world, stays).fate(of), None);
    let missing = ReviveError::Missing(vec![name(gone[0])]);
    assert_eq!(revive(&mut world, stays), Err(missing.clone()));
    assert_eq!(node(&world, stays).would_revive(Mono(world.now)), Err(missing));
    world.begin(gone[0], false);
    world.run(world.now + 1000 * MS);
    let (fates, readmitted) = node(&world, stays).would_revive(Mono(world.now)).expect("it would");
    assert_eq!(fates[&of], Fate::Dead);
    assert_eq!(readmitted.len(), 2);
    let revived = revive(&mut world, stays).expect("all are there");
    assert_eq!(revived.readmitted, readmitted);
    assert!(revived.lost.contains(&of), "{revived:?}");
    assert_eq!(revived.accepted.len(), 0, "whole disks are intact or gone: {revived:?}");
    world.run(world.now + 1600 * MS);
    assert_eq!(all_served(&world), Ok(()));
    assert_eq!(node(&world, stays).fate(of), None);
    assert_eq!(revive(&mut world, stays), Err(ReviveError::Nothing));
}

#[test]
fn intact_copy_whose_voters_were_wiped_goes_on_whoever_is_asked() {
    for asked in 0..3 {
        let mut world = world(2, 3);
        let of = ALL[1];
        let [kept, gone] = replicas(&world, of)[..] else { panic!("two copies") };
        let before = world.hosts[kept].held.read(of);
        let other = (0..3).find(|at| ![kept, gone].contains(at)).expect("one of three");
        world.wipe(gone);
        world.wipe(other);
        world.run(world.now + 1000 * MS);
        for at in 0..3 {
            assert_eq!(node(&world, at).fate(of), Some(Fate::Blocked), "at {at}");
            let reason = Route::Down(Reason::Blocked);
            assert_eq!(node(&world, at).route(of, Mono(world.now)), reason);
        }
        let revived = revive(&mut world, asked).expect("all are there");
        assert!(revived.intact.contains(&of), "{revived:?}");
        world.run(world.now + 1600 * MS);
        assert_eq!(all_served(&world), Ok(()));
        assert_eq!(world.hosts[gone].held.read(of), before, "nothing is lost");
    }
}

/// All nodes restart, and may lack the end of what they had written.
#[test]
fn copies_that_may_lack_their_ends_are_accepted_as_they_are() {
    let mut shape = shape(3);
    shape.always = false;
    let mut world = World::new(3, shape);
    world.run(world.now + 600 * MS);
    for _ in 0..5 {
        world.ask_all(|_| true);
        world.run(world.now + 20 * MS);
    }
    for at in 0..3 {
        world.kill(at);
    }
    for at in 0..3 {
        world.begin(at, true);
    }
    world.run(world.now + 1000 * MS);
    let of = ALL[2];
    assert_eq!(node(&world, 1).fate(of), Some(Fate::Dead));
    let most = replicas(&world, of).iter().map(|&at| node(&world, at).history(of).last()).max();
    let revived = revive(&mut world, 1).expect("all are there");
    assert_eq!(revived.readmitted, []);
    assert_eq!(revived.accepted.len(), 4, "{revived:?}");
    assert_eq!(Some(revived.accepted[&of].1), most);
    world.run(world.now + 1600 * MS);
    assert_eq!(all_served(&world), Ok(()));
}

/// After random histories with lost disks and tails everything opens, if the operator wants it, and stays open.
#[test]
fn random_histories_open_again() {
    let (from, count) = (number("STRONG_FROM", 0), number("STRONG_SEEDS", 40));
    let (mut opened, mut lost, mut refused) = (0, 0, 0);
    for seed in from..from + count {
        let mut shape = Shape::of(seed, Mutants::NONE);
        shape.heals_some = false;
        if shape.disks == Disks::Stay && seed % 2 == 0 {
            shape.disks = Disks::Wiped;
        }
        let mut world = history_of_a_world(seed, shape);
        for wipes in 0..world.rng.below(3) {
            let at = world.rng.below(world.hosts.len() as u64) as usize;
            if world.checks.older.is_none() || wipes == 0 {
                world.wipe(at);
            }
            let pause = world.rng.below(600) * MS;
            world.run(world.now + pause);
        }
        world.run(world.now + 1500 * MS);
        let at = world.rng.below(world.hosts.len() as u64) as usize;
        let is_named =
            (0..world.hosts.len()).any(|of| node(&world, of).nodes().contains(&name(at)));
        match revive(&mut world, at) {
            Ok(revived) => {
                opened += revived.intact.len();
                lost += revived.lost.len() + revived.accepted.len();
            }
            Err(ReviveError::Nothing) => {}
            // (A node that is not in the roster need not have been told of it.)
            Err(ReviveError::NotHere | ReviveError::NoRoster) if !is_named => continue,
            Err(
                ReviveError::NotHere | ReviveError::Amnesiac(_) | ReviveError::NewestAmnesiac(..),
            ) if shape.disks == Disks::Older => {
                refused += 1;
                continue;
            }
            Err(why) => {
                let vacant = node(&world, at).vacant(Mono(world.now));
                let told: String = vacant
                    .iter()
                    .flat_map(|&of| (0..world.hosts.len()).map(move |at| (of, at)))
                    .map(|(of, at)| node(&world, at).told(of))
                    .collect();
                panic!("seed {seed}, at {at}: {why:?}, {shape:?}, {vacant:?}{told}");
            }
        }
        world.run(world.now + 2400 * MS);
        if let Err(why) = all_served(&world) {
            panic!("{why}");
        }
        for _ in 0..20 {
            world.request(true);
            world.run(world.now + 5 * MS);
        }
        // (Without `always` a crash loses something: what has one copy is dead again.)
        if shape.always && world.checks.older.is_none() {
            let other = world.rng.below(world.hosts.len() as u64) as usize;
            world.kill(other);
            world.run(world.now + 500 * MS);
            world.begin(other, false);
        }
        world.run(world.now + 2000 * MS);
        if let Err(why) = all_served(&world) {
            panic!("after a restart: {why}");
        }
    }
    println!("{opened} partitions opened, {lost} with losses; {refused} refused");
    assert!(count < 40 || opened.min(lost) > 4, "{opened} opened, {lost} with losses");
}

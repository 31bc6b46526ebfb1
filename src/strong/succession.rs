//! The succession: for each partition the order in which the nodes of a roster come to be its master and its replicas.
//!
//! A pure function of the roster, so that every node comes to the same one by itself. It begins with each partition's
//! order of nodes by a hash of both (rendezvous hashing: a node that comes or goes leaves the order of the others as it
//! was), and takes first and second in that order as far as quotas allow, which make it even.

use super::quorum::VoterSet;
use super::roster::{Roster, RosterNode};
use crate::base::ids::{PARTITION_COUNT, Partition};

const PARTITIONS: usize = PARTITION_COUNT as usize;

/// The orders of all partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Succession {
    nodes: usize,
    copies: usize,
    /// Places in the roster, `nodes` for each partition.
    orders: Vec<u8>,
}

impl Succession {
    /// The succession over a roster:
    ///
    /// 1. every node is first for 4096 / n partitions, give or take one, and racks with equally many nodes together for
    ///    equally many where that divides;
    /// 2. every node is followed equally often, give or take one, by each node of another rack (with one rack: by each other);
    /// 3. the first RF are on distinct racks, as far as there are racks.
    pub fn new(roster: &Roster) -> Succession {
        Succession::of_first(roster, PARTITION_COUNT)
    }

    /// Of the first partitions only, for worlds that have no others.
    pub fn of_first(roster: &Roster, partitions: u16) -> Succession {
        let nodes = roster.nodes();
        let mut left = quotas(roster);
        let mut orders = Vec::with_capacity(usize::from(partitions) * nodes.len());
        for partition in 0..partitions {
            let hashed = by_hash(nodes, partition);
            let pair = hashed.iter().find_map(|&first| {
                let second = hashed.iter().find(|&&second| left[first][second] > 0)?;
                Some((first, *second))
            });
            // A node that is alone follows itself in the quotas.
            let (first, second) = pair.expect("there are as many pairs as partitions");
            left[first][second] -= 1;
            order_from(roster, &hashed, first, second, &mut orders);
        }
        Succession { nodes: nodes.len(), copies: roster.copies(), orders }
    }

    /// All nodes of the roster by their places in it: the roster-master first, then the other roster-replicas.
    pub fn order(&self, partition: Partition) -> &[u8] {
        let from = usize::from(partition.0) * self.nodes;
        &self.orders[from..from + self.nodes]
    }

    /// The nodes that have a copy while all are well, the roster-master first.
    pub fn replicas(&self, partition: Partition) -> &[u8] {
        &self.order(partition)[..self.copies]
    }

    pub fn copies(&self) -> usize {
        self.copies
    }
}

/// How often each node is to be first and another one second. The sum of all is the number of partitions.
fn quotas(roster: &Roster) -> Vec<Vec<u16>> {
    let nodes = roster.nodes();
    let racks = roster.racks();
    let mut firsts = vec![PARTITIONS / nodes.len(); nodes.len()];
    // What does not divide goes to the racks by turns.
    let mut rest = PARTITIONS % nodes.len();
    let deepest = racks.iter().map(|(_, places)| places.len()).max().unwrap_or(0);
    for depth in 0..deepest {
        for place in racks.iter().filter_map(|(_, places)| places.get(depth)) {
            if rest > 0 {
                firsts[*place] += 1;
                rest -= 1;
            }
        }
    }
    let mut quotas = vec![vec![0u16; nodes.len()]; nodes.len()];
    // Where the ones that do not divide go on, so that they do not all meet the same second.
    let mut turn = 0;
    for (first, count) in firsts.into_iter().enumerate() {
        let others = |other: &usize| *other != first;
        let elsewhere = |other: &usize| nodes[*other].rack != nodes[first].rack;
        let mut seconds: Vec<usize> = (0..nodes.len()).filter(elsewhere).collect();
        if seconds.is_empty() {
            seconds = (0..nodes.len()).filter(others).collect();
        }
        if seconds.is_empty() {
            seconds = vec![first];
        }
        for &second in &seconds {
            quotas[first][second] = (count / seconds.len()) as u16;
        }
        for _ in 0..count % seconds.len() {
            quotas[first][seconds[turn % seconds.len()]] += 1;
            turn += 1;
        }
    }
    quotas
}

/// The roster's places by a hash of node and partition.
fn by_hash(nodes: &[RosterNode], partition: u16) -> Vec<usize> {
    let mut places: Vec<usize> = (0..nodes.len()).collect();
    places.sort_by_key(|&place| (mixed(nodes[place].name.0, partition), nodes[place].name));
    places
}

/// A hash of a node and a partition that never changes (the finalizer of SplitMix64, by Steele, Lea and Flood).
fn mixed(name: u32, partition: u16) -> u64 {
    let mut z = (u64::from(name) << 16 | u64::from(partition)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// First and second, then whoever is on a rack that has no copy yet, then all others.
fn order_from(
    roster: &Roster,
    hashed: &[usize],
    first: usize,
    second: usize,
    orders: &mut Vec<u8>,
) {
    let nodes = roster.nodes();
    let begin = orders.len();
    orders.push(first as u8);
    if second != first {
        orders.push(second as u8);
    }
    while orders.len() - begin < roster.copies() {
        let taken = &orders[begin..];
        let is_new = |place: &&usize| {
            taken.iter().all(|&other| nodes[usize::from(other)].rack != nodes[**place].rack)
        };
        let Some(&next) = hashed.iter().find(is_new) else { break };
        orders.push(next as u8);
    }
    let taken: VoterSet = orders[begin..].iter().map(|&place| usize::from(place)).collect();
    orders.extend(hashed.iter().filter(|&&place| !taken.contains(place)).map(|&p| p as u8));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::quorum::may_decide;
    use super::super::roster::{NodeName, RackId};
    use super::*;

    /// Nodes A1.. on racks 1.., `racks[i]` of them on the i-th; the racks' nodes take turns in the order of names.
    fn roster(racks: &[usize], copies: u8) -> Roster {
        let mut nodes = Vec::new();
        for depth in 0..racks.iter().copied().max().unwrap_or(0) {
            for (rack, _) in racks.iter().enumerate().filter(|(_, size)| depth < **size) {
                let name = NodeName(0xa1 + 7 * nodes.len() as u32);
                nodes.push(RosterNode { name, rack: RackId(1 + rack as u16) });
            }
        }
        Roster::new(nodes, copies).expect("a roster")
    }

    fn all() -> impl Iterator<Item = Partition> {
        (0..PARTITION_COUNT).map(Partition)
    }

    /// How many partitions each part of a split serves, if all roster-replicas were in sync, and how many nobody does.
    fn served(roster: &Roster, parts: &[VoterSet]) -> (Vec<usize>, usize) {
        let succession = Succession::new(roster);
        let mut counts = vec![0; parts.len()];
        let mut unserved = 0;
        for partition in all() {
            let order = succession.order(partition);
            let deciding: Vec<usize> = (0..parts.len())
                .filter(|&part| may_decide(parts[part], order, succession.copies()))
                .collect();
            match deciding[..] {
                [] => unserved += 1,
                [part] => counts[part] += 1,
                [_, _, ..] => panic!("{partition:?} is served twice"),
            }
        }
        (counts, unserved)
    }

    fn on_rack(roster: &Roster, rack: u16) -> VoterSet {
        (0..roster.nodes().len()).filter(|&p| roster.nodes()[p].rack == RackId(rack)).collect()
    }

    /// All rosters of up to 6 nodes on up to 4 racks, and some larger ones.
    fn rosters() -> Vec<Vec<usize>> {
        let mut shapes = vec![vec![]];
        for _ in 0..4 {
            let longer = shapes.iter().flat_map(|shape: &Vec<usize>| {
                (1..=6).map(move |size| [&shape[..], &[size]].concat())
            });
            let longer: Vec<Vec<usize>> =
                longer.filter(|shape| shape.iter().sum::<usize>() <= 6).collect();
            shapes.extend(longer);
            shapes.sort();
            shapes.dedup();
        }
        shapes.retain(|shape| !shape.is_empty());
        shapes.extend([vec![4, 4], vec![3, 2, 3], vec![64, 64], vec![1; 17]]);
        shapes
    }

    #[test]
    fn every_node_is_first_equally_often_and_so_are_equal_racks() {
        for shape in rosters() {
            let roster = roster(&shape, 2);
            let succession = Succession::new(&roster);
            let mut firsts = vec![0; roster.nodes().len()];
            for partition in all() {
                firsts[usize::from(succession.order(partition)[0])] += 1;
            }
            let even = PARTITIONS / firsts.len();
            assert!(firsts.iter().all(|n| (even..=even + 1).contains(n)), "{shape:?} {firsts:?}");
            let of_rack = |places: &[usize]| places.iter().map(|&p| firsts[p]).sum::<usize>();
            let racks = roster.racks();
            for (_, one) in &racks {
                for (_, other) in racks.iter().filter(|(_, other)| other.len() == one.len()) {
                    let apart = of_rack(one).abs_diff(of_rack(other));
                    let divides = PARTITIONS.is_multiple_of(racks.len())
                        && racks.iter().all(|(_, places)| places.len() == one.len());
                    assert!(apart <= usize::from(!divides), "{shape:?} {firsts:?}");
                }
            }
        }
    }

    #[test]
    fn every_node_is_followed_equally_often_by_each_of_another_rack() {
        for shape in rosters() {
            let roster = roster(&shape, 2);
            let succession = Succession::new(&roster);
            let mut pairs: BTreeMap<(u8, u8), usize> = BTreeMap::new();
            for partition in all() {
                if let [first, second, ..] = *succession.order(partition) {
                    *pairs.entry((first, second)).or_default() += 1;
                }
            }
            let nodes = roster.nodes();
            let one_rack = roster.racks().len() == 1;
            let counts = |of: usize| -> Vec<usize> {
                (0..nodes.len())
                    .filter(|&s| s != of && (one_rack || nodes[s].rack != nodes[of].rack))
                    .map(|s| pairs.get(&(of as u8, s as u8)).copied().unwrap_or(0))
                    .collect()
            };
            for first in 0..nodes.len() {
                let counts = counts(first);
                let (least, most) = (counts.iter().min(), counts.iter().max());
                if let (Some(least), Some(most)) = (least, most) {
                    assert!(most - least <= 1, "{shape:?}: {first} is followed by {counts:?}");
                }
            }
            if shape.iter().all(|size| *size == shape[0]) {
                let every: Vec<usize> = (0..nodes.len()).flat_map(counts).collect();
                let (least, most) = (every.iter().min(), every.iter().max());
                assert!(most.zip(least).is_none_or(|(m, l)| m - l <= 1), "{shape:?}: {every:?}");
            }
        }
    }

    #[test]
    fn first_copies_are_on_distinct_racks_as_far_as_there_are_racks() {
        for shape in rosters() {
            for copies in 1..=4 {
                let roster = roster(&shape, copies);
                let succession = Succession::new(&roster);
                for partition in all() {
                    let mut racks: Vec<RackId> = succession
                        .replicas(partition)
                        .iter()
                        .map(|&place| roster.nodes()[usize::from(place)].rack)
                        .collect();
                    racks.sort_unstable();
                    racks.dedup();
                    assert_eq!(racks.len(), roster.copies().min(shape.len()), "{shape:?}");
                    let mut order = succession.order(partition).to_vec();
                    order.sort_unstable();
                    let places: Vec<u8> = (0..roster.nodes().len() as u8).collect();
                    assert_eq!(order, places, "every node once");
                }
            }
        }
    }

    #[test]
    fn split_3_3_along_racks_serves_2048_on_each_side() {
        let roster = roster(&[3, 3], 2);
        let sides = [on_rack(&roster, 1), on_rack(&roster, 2)];
        assert_eq!(served(&roster, &sides), (vec![2048, 2048], 0));
    }

    #[test]
    fn any_other_split_3_3_serves_2047_to_2049_on_each_side() {
        let roster = roster(&[3, 3], 2);
        for bits in (0u32..64).filter(|bits| bits.count_ones() == 3) {
            let side: VoterSet = (0..6).filter(|&place| bits >> place & 1 == 1).collect();
            let (counts, unserved) = served(&roster, &[side, VoterSet::all(6).without(side)]);
            assert_eq!(unserved, 0);
            assert!(counts.iter().all(|n| (2047..=2049).contains(n)), "{side:?} {counts:?}");
        }
    }

    #[test]
    fn split_5_1_serves_all_on_the_larger_side() {
        let roster = roster(&[3, 3], 2);
        for one in 0..6 {
            let side = VoterSet::default().with(one);
            let (counts, unserved) = served(&roster, &[VoterSet::all(6).without(side), side]);
            assert_eq!((counts, unserved), (vec![4096, 0], 0));
        }
    }

    #[test]
    fn split_4_2_leaves_the_two_what_both_copies_of_are_theirs() {
        let roster = roster(&[3, 3], 2);
        for one in 0..6 {
            for other in 0..one {
                let two: VoterSet = [one, other].into_iter().collect();
                let (counts, unserved) = served(&roster, &[VoterSet::all(6).without(two), two]);
                assert_eq!(unserved, 0);
                let same_rack = roster.nodes()[one].rack == roster.nodes()[other].rack;
                let both = if same_rack { 0..=0 } else { 454..=456 };
                assert!(both.contains(&counts[1]), "{two:?} {counts:?}");
            }
        }
    }

    #[test]
    fn split_2_2_2_serves_a_ninth_in_each_part_with_a_node_of_each_rack() {
        let roster = roster(&[3, 3], 2);
        // (Nodes of the racks take turns in the order of names.)
        let parts = [[0, 1], [2, 3], [4, 5]].map(|part| part.into_iter().collect());
        let (counts, unserved) = served(&roster, &parts);
        assert!(counts.iter().all(|n| (454..=456).contains(n)), "{counts:?}");
        assert_eq!(unserved, 4096 - counts.iter().sum::<usize>());
    }

    #[test]
    fn a_node_more_moves_few_masters_of_the_others() {
        let (six, seven) = (roster(&[3, 3], 2), roster(&[4, 3], 2));
        let (before, after) = (Succession::new(&six), Succession::new(&seven));
        let name = |roster: &Roster, place: u8| roster.nodes()[usize::from(place)].name;
        let moved =
            all().filter(|&p| name(&six, before.order(p)[0]) != name(&seven, after.order(p)[0]));
        // A seventh has to move to the new node; quotas move some more.
        let moved = moved.count();
        assert!((585..1100).contains(&moved), "{moved}");
    }

    #[test]
    fn succession_of_a_roster_never_changes() {
        let succession = Succession::new(&roster(&[3, 3], 2));
        let digest = succession.orders.iter().fold(0u64, |digest, &place| {
            (digest ^ u64::from(place)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        assert_eq!(
            digest, 17_331_624_189_820_316_848,
            "a change of it is another version of the succession"
        );
    }
}

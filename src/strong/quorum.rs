//! The quorum rule: which voters may decide for a partition.

use core::fmt;

use super::roster::ROSTER_NODES_MAX;

/// Some of a roster's nodes, by their places in it.
#[derive(Copy, Clone, PartialEq, Eq, Default)]
pub struct VoterSet(u128);

impl VoterSet {
    /// The first `count` nodes of the roster.
    ///
    /// # Panics
    /// If a roster cannot have so many.
    pub fn all(count: usize) -> VoterSet {
        assert!(count <= ROSTER_NODES_MAX, "more nodes than a roster can have");
        VoterSet(if count == ROSTER_NODES_MAX { u128::MAX } else { (1 << count) - 1 })
    }

    #[must_use]
    pub fn with(self, place: usize) -> VoterSet {
        VoterSet(self.0 | 1 << place)
    }

    #[must_use]
    pub fn without(self, others: VoterSet) -> VoterSet {
        VoterSet(self.0 & !others.0)
    }

    #[must_use]
    pub fn union(self, others: VoterSet) -> VoterSet {
        VoterSet(self.0 | others.0)
    }

    pub fn contains(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }

    pub fn meets(self, other: VoterSet) -> bool {
        self.0 & other.0 != 0
    }

    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl FromIterator<usize> for VoterSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> VoterSet {
        places.into_iter().fold(VoterSet::default(), VoterSet::with)
    }
}

impl fmt::Debug for VoterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..ROSTER_NODES_MAX).filter(|&place| self.contains(place))).finish()
    }
}

/// Whether `voters` may decide for a partition whose succession over its roster is `order` (a place for each of the
/// roster's nodes), the first `copies` of which are its roster-replicas. One of these has to hold:
///
/// (a) they are all roster-replicas, and perhaps others;
/// (b) more than half of the roster, and a roster-replica among them;
/// (c) half of the roster, and the roster-master among them.
///
/// Any two sets that may decide have a node in common, and of a roster cut in two exactly one side may decide.
pub fn may_decide(voters: VoterSet, order: &[u8], copies: usize) -> bool {
    let has = |place: &u8| voters.contains(usize::from(*place));
    let replicas = &order[..copies];
    let double = 2 * order.iter().filter(|place| has(place)).count();
    replicas.iter().all(has)
        || double > order.len() && replicas.iter().any(has)
        || double == order.len() && has(&order[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sets of voters of a roster of `n` that may decide; by symmetry the succession is `0..n`.
    fn deciding(n: usize, copies: usize) -> Vec<VoterSet> {
        let order: Vec<u8> = (0..n as u8).collect();
        (0..1u128 << n).map(VoterSet).filter(|&set| may_decide(set, &order, copies)).collect()
    }

    #[test]
    fn any_two_deciding_sets_intersect_for_up_to_8_nodes_and_any_number_of_copies() {
        for n in 1..=8 {
            for copies in 1..=n {
                let sets = deciding(n, copies);
                for (at, &a) in sets.iter().enumerate() {
                    assert!(a.count() > 0, "nobody decides");
                    for &b in &sets[at..] {
                        assert!(a.meets(b), "{a:?} and {b:?} of {n} nodes, {copies} copies");
                    }
                }
            }
        }
    }

    #[test]
    fn of_every_split_in_two_exactly_one_side_decides_for_up_to_8_nodes() {
        for n in 1..=8 {
            for copies in 1..=n {
                let order: Vec<u8> = (0..n as u8).collect();
                for set in (0..1u128 << n).map(VoterSet) {
                    let other = VoterSet::all(n).without(set);
                    let sides = [set, other].map(|side| may_decide(side, &order, copies));
                    assert_ne!(sides[0], sides[1], "{set:?} of {n} nodes, {copies} copies");
                }
            }
        }
    }

    #[test]
    fn whoever_is_not_of_the_roster_does_not_count() {
        let order = [0, 1, 2, 3];
        let strangers: VoterSet = [0, 7, 8].into_iter().collect();
        assert!(!may_decide(strangers, &order, 2));
        assert!(may_decide(strangers.with(3), &order, 2), "half of the roster with its master");
    }
}

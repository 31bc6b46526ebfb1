//! What the search has met: states, and configurations that need not be met again.

// Looked up by key, never iterated but into ordered sets: the order of a map cannot be seen.
#![allow(clippy::disallowed_types)]

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::rc::Rc;

use foldhash::fast::FixedState;

/// Open operations, one bit each.
pub type Bits<const W: usize> = [u64; W];

/// A state that no reader will see, whatever it is: something overwrites it before.
pub const UNSEEN: u32 = u32::MAX;

/// A point of the search. Everything that had to end before `at` is placed.
#[derive(Clone, Debug)]
pub struct Node<const W: usize> {
    /// The moment that waits: the end of an operation not yet placed, or the end of the history.
    pub at: usize,
    pub state: u32,
    /// Open readers that are placed.
    pub readers: Bits<W>,
    /// Open mutators that are placed.
    pub placed: Bits<W>,
    /// Open mutators that are not placed but may be said to have been overwritten at once: they end
    /// without having to be placed.
    pub hidden: Bits<W>,
    /// Classes of the placed operations of unknown outcome, ascending, one entry for each.
    pub used: Rc<[u32]>,
}

/// States by number.
#[derive(Debug)]
pub struct States<S> {
    numbers: HashMap<Rc<S>, u32, FixedState>,
    all: Vec<Rc<S>>,
}

impl<S: Eq + Hash + Clone> States<S> {
    pub fn new() -> States<S> {
        States { numbers: HashMap::default(), all: Vec::new() }
    }

    /// The number, and whether the state is new.
    pub fn number(&mut self, state: S) -> (u32, bool) {
        if let Some(number) = self.numbers.get(&state) {
            return (*number, false);
        }
        let number = u32::try_from(self.all.len()).expect("fewer states than 2^32");
        let state = Rc::new(state);
        self.all.push(Rc::clone(&state));
        self.numbers.insert(state, number);
        (number, true)
    }

    pub fn get(&self, number: u32) -> &S {
        &self.all[number as usize]
    }
}

/// What makes configurations comparable.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
struct Place {
    at: usize,
    state: u32,
}

/// The rest of a configuration.
#[derive(Debug)]
struct Rest<const W: usize> {
    readers: Bits<W>,
    placed: Bits<W>,
    hidden: Bits<W>,
    used: Rc<[u32]>,
}

impl<const W: usize> Rest<W> {
    /// Whatever the other can still do, this one can too: its open readers are placed, its open
    /// mutators stand as the other's do or may be hidden, it has used up no more operations of
    /// unknown outcome.
    fn covers(&self, other: &Rest<W>) -> bool {
        let words = (0..W).all(|w| {
            let differ = (self.placed[w] ^ other.placed[w]) | other.hidden[w];
            other.readers[w] & !self.readers[w] == 0 && differ & !self.hidden[w] == 0
        });
        words && contains(&other.used, &self.used)
    }
}

/// True if each of `part` is in `whole`, as often. Both ascend.
fn contains(whole: &[u32], part: &[u32]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|wanted| rest.find(|one| *one >= wanted) == Some(wanted))
}

/// The configurations met so far, without those that others cover.
#[derive(Debug)]
pub struct Seen<const W: usize> {
    places: HashMap<Place, Vec<Rest<W>>, FixedState>,
    /// Memory, bytes, roughly.
    pub bytes: usize,
}

impl<const W: usize> Seen<W> {
    pub fn new() -> Seen<W> {
        Seen { places: HashMap::default(), bytes: 0 }
    }

    /// Remembers a configuration; false if one that covers it has been met.
    pub fn meet(&mut self, node: &Node<W>) -> bool {
        let Node { at, state, readers, placed, hidden, ref used } = *node;
        let all = self.places.entry(Place { at, state }).or_default();
        let rest = Rest { readers, placed, hidden, used: Rc::clone(used) };
        if all.iter().any(|met| met.covers(&rest)) {
            return false;
        }
        if all.is_empty() {
            self.bytes += size_of::<(Place, Vec<Rest<W>>)>() * 3 / 2;
        }
        all.retain(|met| !rest.covers(met));
        all.push(rest);
        self.bytes += size_of::<Rest<W>>() + used.len() * size_of::<u32>() + 16;
        true
    }

    /// Numbers of the states met while a moment after `after` waited.
    pub fn states(&self, after: usize) -> BTreeSet<u32> {
        let later = self.places.keys().filter(|place| place.at > after);
        later.map(|place| place.state).filter(|state| *state != UNSEEN).collect()
    }
}

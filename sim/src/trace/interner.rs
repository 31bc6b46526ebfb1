//! Each value once, by number.

use std::collections::BTreeMap;

/// Each value once, by number.
#[derive(Clone, Debug)]
pub struct Interner<T> {
    all: Vec<T>,
    numbers: BTreeMap<T, u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner { all: Vec::new(), numbers: BTreeMap::new() }
    }
}

impl<T: Ord + Clone> Interner<T> {
    /// The number of a value, which is new or was met before.
    pub fn number(&mut self, value: T) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        let number = self.all.len() as u32;
        self.all.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// All values in the order in which they were met.
    pub fn all(&self) -> &[T] {
        &self.all
    }
}

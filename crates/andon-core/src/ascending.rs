//! What is open at a time, by numbers that are counted up: little of it, so that a row in memory is looked through faster than
//! a tree is kept.

use std::collections::VecDeque;

/// How many may have been there for their room to be kept when the last is gone.
const KEPT: usize = 64;

/// Values by keys that only ever grow: what is added comes last. Looking up takes the logarithm of their number, taking out
/// moves those on the shorter side.
#[derive(Debug, Clone)]
pub struct Ascending<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for Ascending<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Ord + Copy, V> Ascending<K, V> {
    /// Adds a value. Its key is larger than all that are there.
    pub fn push(&mut self, key: K, value: V) {
        debug_assert!(self.0.back().is_none_or(|(last, _)| *last < key), "keys ascend");
        self.0.push_back((key, value));
    }

    /// The value of `key`.
    pub fn get(&self, key: K) -> Option<&V> {
        self.find(key).map(|index| &self.0[index].1)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.find(key).map(|index| &mut self.0[index].1)
    }

    /// Takes the value of `key` out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let (_, value) = self.0.remove(self.find(key)?)?;
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = VecDeque::new();
        }
        Some(value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (*key, value))
    }

    fn find(&self, key: K) -> Option<usize> {
        self.0.binary_search_by_key(&key, |(known, _)| *known).ok()
    }
}

#[cfg(test)]
mod tests;

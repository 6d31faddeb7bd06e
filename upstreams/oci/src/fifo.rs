//! A map of bounded size: the oldest entry makes room for a new one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What clients can make us remember is bounded by this.
#[derive(Debug)]
pub(crate) struct Fifo<K, V> {
    most: usize,
    order: VecDeque<K>,
    entries: HashMap<K, V>,
}

impl<K: Clone + Eq + Hash, V> Fifo<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, order: VecDeque::new(), entries: HashMap::new() }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut fifo = Fifo::new(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            fifo.insert(key, value);
        }
        assert_eq!((fifo.get(&1), fifo.get(&2), fifo.get(&3)), (None, Some(&'b'), Some(&'d')));
        assert_eq!(fifo.iter().count(), 2);
    }
}

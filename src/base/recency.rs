//! What was used least recently.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
struct Entry<V> {
    bytes: u64,
    /// Its place in the order of use.
    used: u64,
    value: V,
}

/// Keys with a size and a value each, in the order in which they were last used. Keeps no limit of its
/// own.
#[derive(Debug)]
pub struct Recency<K, V> {
    entries: HashMap<K, Entry<V>>,
    order: BTreeMap<u64, K>,
    clock: u64,
    bytes: u64,
}

impl<K, V> Default for Recency<K, V> {
    fn default() -> Self {
        Recency {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            bytes: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V> Recency<K, V> {
    /// Bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Notes a use of `key`; `false` when it is not there.
    pub fn touch(&mut self, key: &K) -> bool {
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, *key);
        true
    }

    /// Adds `key` as the one used last, in place of what it had.
    pub fn insert(&mut self, key: K, bytes: u64, value: V) {
        self.remove(&key);
        self.clock += 1;
        let used = self.clock;
        self.order.insert(used, key);
        self.bytes += bytes;
        let entry = Entry { bytes, used, value };
        self.entries.insert(key, entry);
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.bytes;
        Some(entry.value)
    }

    /// Removes those used least recently until at most `limit_bytes` are left.
    pub fn shrink_to(&mut self, limit_bytes: u64) -> Vec<(K, V)> {
        let mut gone = Vec::new();
        while self.bytes > limit_bytes {
            let Some(key) = self.order.first_key_value().map(|(_, key)| *key) else {
                break;
            };
            gone.extend(self.remove(&key).map(|value| (key, value)));
        }
        gone
    }

    /// Removes all keys for which `is_wanted` is false.
    pub fn retain(&mut self, is_wanted: impl Fn(&K) -> bool) -> Vec<K> {
        let keys = self.entries.keys().copied();
        let gone: Vec<K> = keys.filter(|key| !is_wanted(key)).collect();
        for key in &gone {
            self.remove(key);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Insert(u8, u64),
        Touch(u8),
        Remove(u8),
        Shrink(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..8u8, 0..50u64).prop_map(|(key, bytes)| Step::Insert(key, bytes)),
            (0..8u8).prop_map(Step::Touch),
            (0..8u8).prop_map(Step::Remove),
            (0..150u64).prop_map(Step::Shrink),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_list_in_the_order_of_use(steps in prop::collection::vec(step(), 0..60)) {
            let mut recency = Recency::default();
            // Least recently used first.
            let mut model: Vec<(u8, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, bytes) => {
                        recency.insert(key, bytes, bytes);
                        model.retain(|(k, _)| *k != key);
                        model.push((key, bytes));
                    }
                    Step::Touch(key) => {
                        let at = model.iter().position(|(k, _)| *k == key);
                        prop_assert_eq!(recency.touch(&key), at.is_some());
                        if let Some(at) = at {
                            let entry = model.remove(at);
                            model.push(entry);
                        }
                    }
                    Step::Remove(key) => {
                        let at = model.iter().position(|(k, _)| *k == key);
                        prop_assert_eq!(recency.remove(&key), at.map(|at| model.remove(at).1));
                    }
                    Step::Shrink(limit) => {
                        let mut gone = Vec::new();
                        while model.iter().map(|(_, bytes)| bytes).sum::<u64>() > limit {
                            gone.push(model.remove(0));
                        }
                        prop_assert_eq!(recency.shrink_to(limit), gone);
                    }
                }
                prop_assert_eq!(recency.bytes(), model.iter().map(|(_, bytes)| bytes).sum::<u64>());
                for key in 0..8u8 {
                    prop_assert_eq!(recency.contains(&key), model.iter().any(|(k, _)| *k == key));
                }
            }
        }
    }

    #[test]
    fn what_is_not_wanted_is_removed() {
        let mut recency = Recency::default();
        for key in 0..6 {
            recency.insert(key, 10, ());
        }
        let mut gone = recency.retain(|key| key % 2 == 0);
        gone.sort_unstable();
        assert_eq!((gone, recency.bytes()), (vec![1, 3, 5], 30));
    }
}

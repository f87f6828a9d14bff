//! The allocation keys that Services hold, as an index that follows the watch cache: without it, each write of a Service would
//! decode all of them.

use std::collections::HashMap;

use shim_core::controllers::served;
use store::Key;

use super::claims_in;
use crate::storage::followed_index::{FollowedIndex, Index, IndexRef};
use crate::storage::registry::Registry;
use crate::storage::watch_cache::{ChangeKind, Delivery};

/// The keys of all Services.
pub struct ServiceKeys(FollowedIndex<HeldKeys>);

impl ServiceKeys {
    /// The index of a server. It reads the Services when it is first used.
    pub fn new(registry: Registry) -> ServiceKeys {
        ServiceKeys(FollowedIndex::new(registry, [served("", "services")]))
    }

    /// The keys that others hold, apart from a Service with these keys. `broken` is a key that another may have got since.
    pub(super) fn taken<'a>(&'a self, had: &'a [Key], broken: Option<&'a Key>) -> Taken<'a> {
        Taken { keys: self.0.read(), had, broken }
    }
}

/// The keys that a Service cannot have, because others do.
pub(super) struct Taken<'a> {
    keys: IndexRef<'a, HeldKeys>,
    had: &'a [Key],
    broken: Option<&'a Key>,
}

impl Taken<'_> {
    pub fn contains(&self, key: &Key) -> bool {
        self.broken == Some(key) || self.keys.holders.contains_key(key) && !self.had.contains(key)
    }
}

#[derive(Default)]
struct HeldKeys {
    /// By namespace and name.
    of: HashMap<(String, String), Vec<Key>>,
    /// How many Services hold a key: one, except between two changes of a batch.
    holders: HashMap<Key, u32>,
}

impl HeldKeys {
    fn drop_keys(&mut self, keys: Vec<Key>) {
        for key in keys {
            if let Some(holders) = self.holders.get_mut(&key) {
                *holders -= 1;
                if *holders == 0 {
                    self.holders.remove(&key);
                }
            }
        }
    }
}

impl Index for HeldKeys {
    fn apply(&mut self, _: usize, delivery: &Delivery) {
        let service = &delivery.object;
        let id = (service.namespace().to_owned(), service.name().to_owned());
        let keys = match delivery.kind {
            ChangeKind::Deleted => Vec::new(),
            _ => claims_in(&service.value()),
        };
        for key in &keys {
            *self.holders.entry(key.clone()).or_default() += 1;
        }
        let before = match keys.is_empty() {
            true => self.of.remove(&id),
            false => self.of.insert(id, keys),
        };
        self.drop_keys(before.unwrap_or_default());
    }
}

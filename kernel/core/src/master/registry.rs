//! The registry as a value: the master's durable state.

use std::collections::BTreeMap;

use super::effect::{Op, Record, RecordKey};

/// All records. The shell loads them at the start for [`super::Master::new`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registry {
    records: BTreeMap<RecordKey, Record>,
}

impl Registry {
    /// Builds a registry from records in any order. A gone agent's mark may have been written without the deletion of its
    /// record.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Self {
        let mut records: BTreeMap<_, _> = records.into_iter().map(|r| (r.key(), r)).collect();
        let gone: Vec<_> = records
            .keys()
            .filter_map(|key| match key {
                RecordKey::GoneAgent(id) => Some(RecordKey::Agent(id.clone())),
                _ => None,
            })
            .collect();
        for key in gone {
            records.remove(&key);
        }
        Self { records }
    }

    /// Applies a change; returns whether the registry differs afterwards.
    pub fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Put(record) => self.records.insert(record.key(), record.clone()).as_ref() != Some(record),
            Op::Delete(key) => self.records.remove(key).is_some(),
        }
    }

    /// Looks up a record.
    pub fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.records.get(key)
    }

    /// All records, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }
}

//! The master's durable memory as a value: what survives a restart, and nothing else.

use std::collections::BTreeMap;

use super::effect::{Op, Record, RecordKey};

/// All records. A shell reads them at start and hands the value to [`super::Master::new`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Registry {
    records: BTreeMap<RecordKey, Record>,
}

impl Registry {
    /// From what was read back, in any order.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Self {
        Self { records: records.into_iter().map(|r| (r.key(), r)).collect() }
    }

    /// Carries out one change; returns whether anything differs now.
    pub fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Put(record) => self.records.insert(record.key(), record.clone()).as_ref() != Some(record),
            Op::Delete(key) => self.records.remove(key).is_some(),
        }
    }

    /// The record of this name.
    pub fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.records.get(key)
    }

    /// All records, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }
}

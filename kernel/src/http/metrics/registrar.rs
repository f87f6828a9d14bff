//! The metrics of the registry's reads and writes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::timings::Timings;

#[derive(Debug, Default)]
struct Measured {
    /// How long the registry took to be read at the start.
    fetched_in: Timings,
    stored_in: Timings,
    /// Changes that the store has not taken yet.
    queued: usize,
    /// The length of each record with its key.
    records: BTreeMap<String, usize>,
    bytes: usize,
}

/// What the writer of the registry measures.
#[derive(Debug, Default)]
pub(crate) struct RegistrarMetrics(Mutex<Measured>);

impl RegistrarMetrics {
    fn measured(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry was read: the keys of its records, and the lengths of the values.
    pub(crate) fn fetched(&self, took: Duration, records: impl IntoIterator<Item = (String, usize)>) {
        let mut measured = self.measured();
        measured.fetched_in.record(took);
        records.into_iter().for_each(|(key, length)| measured.set(key, Some(length)));
    }

    /// Changes were written: keys, and the lengths of new values.
    pub(crate) fn stored<'a>(
        &self,
        took: Duration,
        changes: impl IntoIterator<Item = (&'a String, Option<usize>)>,
    ) {
        let mut measured = self.measured();
        measured.stored_in.record(took);
        changes.into_iter().for_each(|(key, length)| measured.set(key.clone(), length));
    }

    pub(crate) fn queued(&self, changes: usize) {
        self.measured().queued = changes;
    }

    pub(super) fn metrics(&self) -> Vec<(String, f64)> {
        let measured = self.measured();
        let mut all = vec![
            ("registrar/queued_operations".to_owned(), measured.queued as f64),
            ("registrar/registry_size_bytes".to_owned(), measured.bytes as f64),
        ];
        all.extend(measured.fetched_in.metrics("registrar/state_fetch_ms"));
        all.extend(measured.stored_in.metrics("registrar/state_store_ms"));
        all
    }
}

impl Measured {
    fn set(&mut self, key: String, length: Option<usize>) {
        let bytes = length.map(|length| length + key.len());
        let before = match bytes {
            Some(bytes) => self.records.insert(key, bytes),
            None => self.records.remove(&key),
        };
        self.bytes = self.bytes + bytes.unwrap_or(0) - before.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_records() {
        let metrics = RegistrarMetrics::default();
        metrics.fetched(Duration::from_millis(5), [("ab".to_owned(), 10), ("c".to_owned(), 1)]);
        let (ab, d) = ("ab".to_owned(), "d".to_owned());
        metrics.stored(Duration::from_millis(2), [(&ab, Some(20)), (&d, Some(3))]);
        metrics.stored(Duration::from_millis(2), [(&d, None)]);
        let bytes = |name: &str| metrics.metrics().into_iter().find(|(of, _)| of == name).unwrap().1;
        assert_eq!(bytes("registrar/registry_size_bytes"), 24.0);
        assert_eq!(bytes("registrar/state_fetch_ms"), 5.0);
        assert_eq!(bytes("registrar/state_store_ms/count"), 2.0);
    }
}

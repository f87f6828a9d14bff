//! The launch journal in the store. Before launches are sent to the kernel, one write records which Pods go to which
//! agents and removes obsolete records. The next subscription reads the journal. See `docs/decisions/0007`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use shim_core::scheduler::IntentRecord;
use shim_core::scheduler::machine::{Event, IntentWrite};
use store::{Condition, Key, ListRequest, Store, Txn, TxnOutcome};

use crate::storage::registry::Registry;

/// Key prefix of the records; the record's number follows.
pub const LAUNCH_JOURNAL_PREFIX: &str = "/catamaran/launch-intents/";

fn key(number: u64) -> Key {
    Key::new(format!("{LAUNCH_JOURNAL_PREFIX}{number:020}"))
}

fn encode(record: &IntentRecord) -> Bytes {
    let agents: BTreeMap<&str, &Vec<Box<str>>> = record.agents.iter().map(|(a, pods)| (&**a, pods)).collect();
    serde_json::to_vec(&agents).expect("invariant: text always encodes into memory").into()
}

fn decode(key: &Key, value: &[u8]) -> Option<IntentRecord> {
    let number = key.as_str().strip_prefix(LAUNCH_JOURNAL_PREFIX)?.parse().ok()?;
    let agents: BTreeMap<Box<str>, Vec<Box<str>>> = serde_json::from_slice(value).ok()?;
    Some(IntentRecord { number, agents: agents.into_iter().map(|(a, pods)| (a.into(), pods)).collect() })
}

/// Reads all records; returns also the revision of the read.
pub(super) async fn read(store: &Arc<dyn Store>) -> Result<(Vec<IntentRecord>, u64), store::Error> {
    let listing = store.list(ListRequest::prefix(LAUNCH_JOURNAL_PREFIX)).await?;
    let mut records = Vec::with_capacity(listing.kvs.len());
    for kv in &listing.kvs {
        match decode(&kv.key, &kv.value) {
            Some(record) => records.push(record),
            None => tracing::error!(key = %kv.key, "damaged record of launch intents"),
        }
    }
    Ok((records, listing.revision.0))
}

/// Adds a record.
pub(super) async fn record(registry: &Registry, write: IntentWrite) -> Vec<Event> {
    let IntentWrite { record, remove } = write;
    let (number, name) = (record.number, key(record.number));
    let txn = Txn::new().when(name.clone(), Condition::Absent).put(name, encode(&record));
    let txn = remove.iter().fold(txn, |txn, number| txn.delete(key(*number)));
    let written = match registry.store().txn(txn).await {
        Ok(TxnOutcome::Committed { .. }) => true,
        Ok(TxnOutcome::Conflict { .. }) => {
            tracing::warn!("another scheduler writes launch intents to the same store");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "failed to record launch intents; nothing is launched");
            false
        }
    };
    vec![
        Event::IntentsRemoved { numbers: remove, removed: written },
        Event::IntentWritten { number, written },
    ]
}

/// Removes records.
pub(super) async fn remove(registry: &Registry, numbers: Vec<u64>) -> Vec<Event> {
    let txn = numbers.iter().fold(Txn::new(), |txn, number| txn.delete(key(*number)));
    let removed = registry.store().txn(txn).await;
    if let Err(error) = &removed {
        tracing::debug!(%error, "failed to remove launch intents; will retry");
    }
    vec![Event::IntentsRemoved { numbers, removed: removed.is_ok() }]
}

//! Promises in the store: before launches leave for the kernel, one write says which Pods go to which agents, and removes
//! records of before that nobody needs any more. Who subscribes next reads what is there. See `docs/decisions/0007`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kernel_model::ids::AgentId;
use shim_core::scheduler::{PromiseRecord, held_by_promise};
use store::{Condition, Key, ListRequest, Store, Txn, TxnOutcome};

use super::Runner;
use super::jobs::{Done, Launched};
use super::pods::Task;
use crate::storage::registry::of_store;

/// Where the records are; what follows is their number.
pub const PROMISES_PREFIX: &str = "/catamaran/promises/";
/// Records removed with one write. One is made a write, so that they cannot pile up.
const REMOVED_MAX: usize = 64;
/// How long a Pod waits for the kernel's word on a promise before people are told.
const TELL_PROMISE_AFTER: Duration = Duration::from_secs(3);

/// The write of a record.
pub(crate) struct Keeping {
    txn: Txn,
    removed: Vec<u64>,
}

fn key(number: u64) -> Key {
    Key::new(format!("{PROMISES_PREFIX}{number:020}"))
}

fn encode(record: &PromiseRecord) -> Bytes {
    let agents: BTreeMap<&str, &Vec<Box<str>>> = record.agents.iter().map(|(a, pods)| (&**a, pods)).collect();
    serde_json::to_vec(&agents).expect("invariant: text always encodes into memory").into()
}

fn decode(key: &Key, value: &[u8]) -> Option<PromiseRecord> {
    let number = key.as_str().strip_prefix(PROMISES_PREFIX)?.parse().ok()?;
    let agents: BTreeMap<Box<str>, Vec<Box<str>>> = serde_json::from_slice(value).ok()?;
    Some(PromiseRecord { number, agents: agents.into_iter().map(|(a, pods)| (a.into(), pods)).collect() })
}

/// Writes a record. Without it nothing of it may be launched. Returns the records that it could not remove.
pub(crate) async fn keep(store: &Arc<dyn Store>, keeping: Keeping) -> Result<(), Vec<u64>> {
    match store.txn(keeping.txn).await {
        Ok(TxnOutcome::Committed { .. }) => Ok(()),
        Ok(TxnOutcome::Conflict { .. }) => {
            tracing::warn!("another facade keeps promises in the same store");
            Err(keeping.removed)
        }
        Err(error) => {
            tracing::warn!(%error, "promises cannot be kept: nothing is launched");
            Err(keeping.removed)
        }
    }
}

impl Runner {
    /// Reads what was promised by whoever was subscribed before. Nobody can add to it any more: the kernel takes launches
    /// of the newest subscription only.
    pub(crate) async fn read_promises(&mut self) -> Result<(), store::Error> {
        let listing = self.registry.store().list(ListRequest::prefix(PROMISES_PREFIX)).await?;
        // What was bound before that counts: promises that it fulfilled are over.
        if let Err(status) = self.registry.wait_for(listing.revision.0).await {
            tracing::warn!(%status, "the caches lag behind the promises");
        }
        self.drain_watches();
        self.promises.begin_anew();
        for kv in &listing.kvs {
            match decode(&kv.key, &kv.value) {
                Some(record) => self.promises.load(&record),
                None => tracing::error!(key = %kv.key, "a record of promises cannot be read"),
            }
        }
        let pods = &self.pods.by_uid;
        self.promises.retain(|uid| {
            pods.get(uid).is_some_and(|pod| pod.row.node.is_none() && !pod.row.phase.is_terminal())
        });
        let open: Vec<Box<str>> = self.promises.pods().map(Box::from).collect();
        for uid in &open {
            self.await_promise(uid);
        }
        if !open.is_empty() {
            tracing::info!(pods = open.len(), "launches of before are asked about");
        }
        Ok(())
    }

    /// A Pod that was promised to an agent waits for the kernel's word on it, and has its place there meanwhile.
    pub(crate) fn await_promise(&mut self, uid: &str) {
        let Some(agent) = self.promises.agent_of(uid).map(AgentId::from) else { return };
        let node = self.nodes.node_of(&agent).map(Box::<str>::from);
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        state.task = Task::Asked;
        state.agent_id = Some(agent);
        if let Some(node) = node
            && state.occupies.is_none()
        {
            self.machines.occupy(&node, &state.row);
            let row = state.row.clone();
            self.pods.note_sibling(&row, &node, true);
            if let Some(state) = self.pods.by_uid.get_mut(uid) {
                state.occupies = Some(node);
            }
        }
        self.pods.sort_in(uid);
    }

    /// The write that must be there before these launches may leave. Pods that are bound need none: they go to their node
    /// or nowhere.
    pub(crate) fn promise(&mut self, launched: &[Launched]) -> Option<Keeping> {
        let fresh = launched.iter().filter(|l| !l.was_bound);
        let mut fresh = fresh.map(|l| (&*l.uid, l.agent_id.as_str())).peekable();
        fresh.peek()?;
        let record = self.promises.make(fresh);
        let removed = self.promises.take_spent(REMOVED_MAX);
        let name = key(record.number);
        let txn = Txn::new().when(name.clone(), Condition::Absent).put(name, encode(&record));
        let txn = removed.iter().fold(txn, |txn, number| txn.delete(key(*number)));
        Some(Keeping { txn, removed })
    }

    /// Removes records that nobody needs, when no launch takes them along.
    pub(crate) fn remove_spent_promises(&mut self) {
        if !self.promises.has_spent() {
            return;
        }
        let removed = self.promises.take_spent(REMOVED_MAX);
        let txn = removed.iter().fold(Txn::new(), |txn, number| txn.delete(key(*number)));
        let store = self.registry.store().clone();
        self.jobs.start(async move {
            match store.txn(txn).await {
                Ok(_) => Done::Nothing,
                Err(error) => {
                    tracing::debug!(status = %of_store(error), "records of promises not removed yet");
                    Done::NotRemoved(removed)
                }
            }
        });
    }

    /// Tells people why a Pod waits of which nobody knows yet whether it was started before a crash.
    pub(crate) fn tell_of_promises(&mut self, now: Instant) {
        let waits = |uid: &&str| {
            self.pods.by_uid.get(*uid).is_some_and(|pod| {
                pod.task == Task::Asked && pod.told.is_none() && now >= pod.waiting_since + TELL_PROMISE_AFTER
            })
        };
        let uids: Vec<Box<str>> = self.promises.pods().filter(waits).map(Box::from).collect();
        for uid in uids {
            let Some(agent) = self.promises.agent_of(&uid).map(AgentId::from) else { continue };
            let message = held_by_promise(self.nodes.node_of(&agent).unwrap_or(agent.as_str()));
            self.tell_waiting(&uid, message);
        }
    }
}

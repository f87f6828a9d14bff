//! Pod CIDRs in the store: which Node has which range. Agents and the scheduler's Node writer call this; the
//! allocation table itself is `shim_core::pod_cidrs`.
//!
//! A range whose agent never registers is freed by [`sweep`].
//!
//! Each assignment is a key below [`NODES_PREFIX`]. Its transaction also compares and rewrites one common key, the
//! generation. So every transaction is based on the whole table, whichever process wrote it last, and two Nodes never get
//! overlapping ranges. Concurrent requests are batched into one transaction.

pub mod sweep;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use shim_core::pod_cidrs::PodCidrs as Table;
pub use shim_core::pod_cidrs::{AssignError, Cidr, ClusterCidr, InvalidCidr, NODE_BITS};
use store::{Condition, Key, ListRequest, Revision, Store, TXN_OPS_MAX, Txn, TxnOutcome};
use tokio::sync::oneshot;

/// One key per Node with a range; the value is the range.
pub const NODES_PREFIX: &str = "/catamaran/pod-cidrs/nodes/";
/// Compared and rewritten by every transaction.
const GENERATION: &str = "/catamaran/pod-cidrs/generation";
/// Requests per transaction. Each needs at most one write and one condition; the generation needs one of each.
const BATCH_MAX: usize = TXN_OPS_MAX - 1;
/// Attempts after a conflict. Each conflict means that another server made progress.
const CONFLICT_RETRIES_MAX: usize = 64;

/// Why no Pod CIDR was assigned.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PodCidrError {
    /// The allocation table refuses the request.
    #[error(transparent)]
    Refused(#[from] AssignError),
    /// The store is unavailable, or every attempt ended in a conflict.
    #[error("Pod CIDRs cannot be read or written: {0}")]
    Unavailable(String),
}

/// Assigns Pod CIDRs to Nodes. Clones share one table.
#[derive(Clone)]
pub struct PodCidrs {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    cluster: ClusterCidr,
    waiting: Mutex<VecDeque<Waiting>>,
    /// The table as of the last transaction; `None` before the first read and after a failed write.
    state: tokio::sync::Mutex<Option<State>>,
}

struct State {
    table: Table,
    generation: Revision,
    /// The revision at which each Node's range was last written.
    written: HashMap<Box<str>, Revision>,
}

enum Request {
    Assign(Option<Cidr>),
    Release,
    /// Release the range if it has not been written since this revision.
    ReleaseUnused(Revision),
}

type Answer = Result<Option<Cidr>, PodCidrError>;

struct Waiting {
    node: Box<str>,
    request: Request,
    answer: oneshot::Sender<Answer>,
}

impl PodCidrs {
    /// Assigns ranges of `cluster`. The table is read from the store on the first request.
    pub fn new(store: Arc<dyn Store>, cluster: ClusterCidr) -> Self {
        let (waiting, state) = (Mutex::default(), tokio::sync::Mutex::new(None));
        Self { inner: Arc::new(Inner { store, cluster, waiting, state }) }
    }

    /// Returns the range of a Node: the requested one, its present one, or a free one. The assignment is durable on
    /// return.
    pub async fn assign(&self, node: &str, requested: Option<Cidr>) -> Result<Cidr, PodCidrError> {
        let assigned = self.request(node, Request::Assign(requested)).await?;
        assigned.ok_or_else(|| PodCidrError::Unavailable("no range was assigned".to_owned()))
    }

    /// Frees the range of a deleted Node; returns whether it had one.
    pub async fn release(&self, node: &str) -> Result<bool, PodCidrError> {
        Ok(self.request(node, Request::Release).await?.is_some())
    }

    /// Frees a range that was last written at `written`, unless it has been requested again since; returns whether it
    /// was freed.
    pub async fn release_unused(&self, node: &str, written: Revision) -> Result<bool, PodCidrError> {
        Ok(self.request(node, Request::ReleaseUnused(written)).await?.is_some())
    }

    /// The Nodes with a range, each with the revision of its last write.
    pub async fn assigned(&self) -> Result<Vec<(Box<str>, Revision)>, PodCidrError> {
        let listing = self.inner.store.list(ListRequest::prefix(NODES_PREFIX)).await.map_err(unavailable)?;
        let node = |kv: &store::KeyValue| (node_of(&kv.key).into(), kv.mod_revision);
        Ok(listing.kvs.iter().map(node).collect())
    }

    async fn request(&self, node: &str, request: Request) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push_back(Waiting { node: node.into(), request, answer });
        // The lock holder carries out all waiting requests in one transaction.
        let mut state = self.inner.state.lock().await;
        loop {
            if let Ok(answer) = answered.try_recv() {
                return answer;
            }
            let batch: Vec<Waiting> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(BATCH_MAX);
                waiting.drain(..count).collect()
            };
            if batch.is_empty() {
                return Err(PodCidrError::Unavailable("the request was dropped".to_owned()));
            }
            self.inner.carry_out(&mut state, batch).await;
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiting>> {
        // A panic elsewhere cannot corrupt the queue: it is only pushed to and drained.
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    async fn carry_out(&self, state: &mut Option<State>, batch: Vec<Waiting>) {
        let answers = match self.answers(state, &batch).await {
            Ok(answers) => answers,
            Err(error) => {
                // The write may or may not have been applied, so the table must be read again.
                *state = None;
                vec![Err(error); batch.len()]
            }
        };
        for (waiting, answer) in batch.into_iter().zip(answers) {
            // If the caller has gone, the assignment stays valid: the next request for this Node returns it.
            let _ = waiting.answer.send(answer);
        }
    }

    async fn answers(
        &self,
        state: &mut Option<State>,
        batch: &[Waiting],
    ) -> Result<Vec<Answer>, PodCidrError> {
        for _ in 0..CONFLICT_RETRIES_MAX {
            if state.is_none() {
                *state = Some(self.read().await?);
            }
            let Some(current) = state else { continue };
            let Planned { txn, written, answers } = plan(current, batch);
            if written.is_empty() {
                return Ok(answers);
            }
            match self.store.txn(txn).await.map_err(unavailable)? {
                TxnOutcome::Committed { revision } => {
                    current.generation = revision;
                    for node in written {
                        match current.table.get(node) {
                            Some(_) => drop(current.written.insert(node.into(), revision)),
                            None => drop(current.written.remove(node)),
                        }
                    }
                    return Ok(answers);
                }
                // Another server won; read its assignments.
                TxnOutcome::Conflict { .. } => *state = None,
            }
        }
        Err(PodCidrError::Unavailable("too many conflicts with other servers".to_owned()))
    }

    async fn read(&self) -> Result<State, PodCidrError> {
        // Read the generation first: an assignment after this read makes our transaction fail.
        let generation = self.store.get(&Key::from(GENERATION)).await.map_err(unavailable)?.kv;
        let listing = self.store.list(ListRequest::prefix(NODES_PREFIX)).await.map_err(unavailable)?;
        let mut table = Table::new(self.cluster);
        let mut written = HashMap::new();
        for kv in listing.kvs {
            let node = node_of(&kv.key);
            written.insert(node.into(), kv.mod_revision);
            let cidr = std::str::from_utf8(&kv.value).ok().and_then(|text| text.parse::<Cidr>().ok());
            let assigned = cidr.map(|cidr| table.assign(node, Some(cidr)));
            if !matches!(assigned, Some(Ok(_))) {
                tracing::error!(node, value = ?kv.value, ?assigned, "a recorded Pod CIDR is damaged and not used");
            }
        }
        let generation = generation.map_or(Revision::ZERO, |kv| kv.mod_revision);
        Ok(State { table, generation, written })
    }
}

/// The transaction that persists a batch.
struct Planned<'a> {
    txn: Txn,
    /// The Nodes whose keys it writes or deletes.
    written: Vec<&'a str>,
    answers: Vec<Answer>,
}

/// The Node of a key below [`NODES_PREFIX`].
fn node_of(key: &Key) -> &str {
    key.as_str().strip_prefix(NODES_PREFIX).expect("invariant: the listed keys have the prefix")
}

/// Applies the requests to the table. A range that is requested again is written again, which marks it as in use.
fn plan<'a>(state: &mut State, batch: &'a [Waiting]) -> Planned<'a> {
    let generation = Key::from(GENERATION);
    let mut txn = Txn::new()
        .when(generation.clone(), Condition::ModRevision(state.generation))
        .put(generation, Bytes::new());
    let mut before: Vec<(&str, Option<Cidr>)> = Vec::new();
    let mut requested_again: Vec<&str> = Vec::new();
    let mut answers = Vec::with_capacity(batch.len());
    for Waiting { node, request, .. } in batch {
        if !before.iter().any(|(other, _)| **other == **node) {
            before.push((node, state.table.get(node)));
        }
        answers.push(match request {
            Request::Assign(requested) => {
                let assigned = state.table.assign(node, *requested);
                if assigned.is_ok() {
                    requested_again.push(node);
                }
                assigned.map(Some).map_err(PodCidrError::from)
            }
            Request::Release => Ok(state.table.release(node)),
            Request::ReleaseUnused(written) => {
                let is_unused =
                    state.written.get(node) == Some(written) && !requested_again.contains(&&**node);
                Ok(if is_unused { state.table.release(node) } else { None })
            }
        });
    }
    // Write each key once, with its value after the whole batch.
    let mut written = Vec::new();
    for (node, old) in before {
        let key = Key::from(format!("{NODES_PREFIX}{node}"));
        let new = state.table.get(node);
        if old == new && !(new.is_some() && requested_again.contains(&node)) {
            continue;
        }
        written.push(node);
        txn = match (old, new) {
            (None, Some(new)) => txn.when(key.clone(), Condition::Absent).put(key, new.to_string().into()),
            (_, Some(new)) => txn.put(key, new.to_string().into()),
            (_, None) => txn.delete(key),
        };
    }
    Planned { txn, written, answers }
}

fn unavailable(error: store::Error) -> PodCidrError {
    PodCidrError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests;

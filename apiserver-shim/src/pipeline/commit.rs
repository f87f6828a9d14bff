//! Transactions of the pipeline. Objects are written to the store only here.

use std::sync::Arc;
use std::time::Instant;

use shim_model::object::StoredObject;
use shim_model::status::{self, Status};
use store::{Condition, Key, Revision, Txn, TxnOutcome};

use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::preconditions::Preconditions;
use crate::storage::registry::{Registry, of_store, parse};

/// The required state of the object before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The object does not exist.
    Absent,
    /// The object is at this revision.
    Revision(u64),
}

impl Expect {
    fn condition(self) -> Condition {
        match self {
            Expect::Absent => Condition::Absent,
            Expect::Revision(revision) => Condition::ModRevision(Revision(revision)),
        }
    }
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The object is not in the required state; its present state.
    Conflict(Option<Arc<Object>>),
    /// A precondition on this key failed.
    Precondition(Key),
    /// Any other error, as the API status that clients get.
    Status(Status),
}

/// Writes an encoded object if it is in the required state.
pub(super) async fn put(
    registry: &Registry,
    resource: &ServedResource,
    stored: StoredObject,
    expect: Expect,
    preconditions: &Preconditions,
) -> Result<Arc<Object>, CommitError> {
    let key = resource.key(&stored.header.namespace, &stored.header.name);
    let stored = Arc::new(stored);
    let txn = preconditions.add_to(Txn::new().when(key.clone(), expect.condition()), &key);
    let start = Instant::now();
    let outcome = transact(registry, txn, Some((&key, &stored)), preconditions).await;
    let requests = registry.store_requests(resource);
    let operation = if expect == Expect::Absent { &requests.create } else { &requests.update };
    operation.observe(start, &outcome);
    let revision = committed(resource, (&key, expect), outcome, preconditions)?;
    tracing::debug!(%key, uid = stored.header.uid, revision, "object written");
    Object::new(stored, resource.stored().definition(), revision)
        .ok_or_else(|| CommitError::Status(status::internal("object could not be encoded")))
}

/// Removes an object that is still at `revision`; returns the revision of the removal.
pub(super) async fn remove(
    registry: &Registry,
    resource: &ServedResource,
    current: &Object,
    preconditions: &Preconditions,
) -> Result<u64, CommitError> {
    let key = resource.key(current.namespace(), current.name());
    let condition = Condition::ModRevision(Revision(current.revision));
    let txn = preconditions.add_to(Txn::new().when(key.clone(), condition).delete(key.clone()), &key);
    let start = Instant::now();
    let outcome = transact(registry, txn, None, preconditions).await;
    registry.store_requests(resource).delete.observe(start, &outcome);
    let expect = Expect::Revision(current.revision);
    committed(resource, (&key, expect), outcome, preconditions)
}

/// Commits a transaction with these objects added. They are registered as in-flight writes, so that the caches do not
/// parse them again.
async fn transact(
    registry: &Registry,
    mut txn: Txn,
    object: Option<(&Key, &Arc<StoredObject>)>,
    preconditions: &Preconditions,
) -> Result<TxnOutcome, store::Error> {
    let mut inflight = Vec::new();
    for (key, stored) in object.into_iter().chain(preconditions.objects()) {
        txn = txn.put(key.clone(), stored.bytes.clone());
        inflight.push(registry.announce(key, stored));
    }
    let outcome = registry.store().txn(txn).await;
    if let Ok(TxnOutcome::Committed { .. }) = outcome {
        inflight.into_iter().for_each(|guard| guard.commit());
    }
    outcome
}

/// The revision of a committed transaction, or why it was not committed.
fn committed(
    resource: &ServedResource,
    (key, expect): (&Key, Expect),
    outcome: Result<TxnOutcome, store::Error>,
    preconditions: &Preconditions,
) -> Result<u64, CommitError> {
    match outcome.map_err(|error| CommitError::Status(of_store(error)))? {
        TxnOutcome::Committed { revision } => Ok(revision.0),
        TxnOutcome::Conflict { current, .. } => {
            let found = |key: &Key| current.iter().find(|(k, _)| k == key).and_then(|(_, kv)| kv.as_ref());
            if let Some(broken) = preconditions.broken(|key| found(key).map(|kv| kv.mod_revision.0)) {
                return Err(CommitError::Precondition(broken));
            }
            tracing::debug!(%key, "write conflicted");
            let present = found(key).map(|kv| parse(resource.stored().definition(), kv, None)).transpose();
            match (present, expect) {
                (Ok(object), _) => Err(CommitError::Conflict(object)),
                (Err(_), Expect::Absent) => Err(CommitError::Conflict(None)),
                (Err(why), Expect::Revision(_)) => Err(CommitError::Status(status::internal(why))),
            }
        }
    }
}

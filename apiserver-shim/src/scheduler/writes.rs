//! Writes of the scheduler: bindings, statuses, removals, Nodes. Hot paths compare and swap on the revision at hand, and
//! read anew only when somebody was faster. What a write makes of an object is decided in `shim_core::scheduler`.

use std::sync::{Arc, Mutex};

use kernel_model::{agent::AgentSnapshot, ids::FrameworkId};
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::rows::Key;
use shim_core::scheduler::machine::node_projection::{
    POD_CIDR_ATTRIBUTE, attribute, new_node, project, set_pod_cidr, wants_cidr,
};
use shim_core::scheduler::machine::{
    BindOutcome, BindWrite, Event, NodeOutcome, NodeWrite, PodEdit, StatusWrite, WriteFailure,
};
use shim_core::scheduler::{BindRefusal, set_unschedulable as mark_unschedulable, with_status};
use shim_model::access;
use shim_model::status::{self, Status};
use store::{Condition as Precondition, Revision, Txn, TxnOutcome};

use crate::controllers::event_to_store;
use crate::storage::deletion::DeleteOptions;
use crate::storage::pod_cidrs::{PodCidrError, PodCidrs};
use crate::storage::registry::Registry;

/// How often a write that the store could not take is tried again before it is left to whoever asks next.
const TRIES_MAX: u32 = 5;
/// The rest between two tries.
const REST: std::time::Duration = std::time::Duration::from_millis(100);

/// Writes a binding, with the node's first status if there is one, and the Event that reports it. The revision, where it
/// is known.
pub(super) async fn bind(registry: &Registry, write: &BindWrite) -> (Event, u64) {
    let header = write.pod.header();
    let (result, revision) = match try_bind(registry, write).await {
        Ok((outcome, revision)) => (Ok(outcome), revision),
        Err(failure) => {
            tracing::debug!(?failure, uid = header.uid, "binding not written");
            (Err(failure), 0)
        }
    };
    (Event::Bound { uid: header.uid.as_str().into(), result }, revision)
}

async fn try_bind(registry: &Registry, write: &BindWrite) -> Result<(BindOutcome, u64), WriteFailure> {
    let header = write.pod.header();
    let key = registry.builtin(&served("", "pods")).key(&header.namespace, &header.name);
    let pod = Arc::new(write.bound.clone());
    let txn = Txn::new().when(key.clone(), Precondition::ModRevision(Revision(write.pod.revision)));
    let (event_key, event) = event_to_store(registry, &write.event)
        .expect("invariant: the Event is about a Pod, and Pods are always served");
    match registry.transact(txn, &[(&key, &pod), (&event_key, &Arc::new(event))]).await {
        Ok(TxnOutcome::Committed { revision }) => {
            Ok((BindOutcome { with_status: write.with_status, with_event: true }, revision.0))
        }
        Ok(TxnOutcome::Conflict { .. }) => {
            let edits = [PodEdit::Bind { node: write.node.clone() }];
            let revision = edit(registry, &Key::of(header), &header.uid, &edits).await?;
            Ok((BindOutcome { with_status: false, with_event: false }, revision))
        }
        Err(_) => Err(WriteFailure::Unavailable),
    }
}

/// Writes what the kernel and the node say of a Pod. The revision, where it is known.
pub(super) async fn status(registry: &Registry, write: &StatusWrite) -> (Event, u64) {
    let (result, revision) = match try_status(registry, write).await {
        Ok(revision) => (Ok(()), revision),
        Err(failure) => {
            tracing::debug!(?failure, uid = &*write.uid, "status not written");
            (Err(failure), 0)
        }
    };
    (Event::StatusWritten { uid: write.uid.clone(), result }, revision)
}

async fn try_status(registry: &Registry, write: &StatusWrite) -> Result<u64, WriteFailure> {
    let mut revision = 0;
    if let [PodEdit::MergeStatus(from_node)] = &write.edits[..]
        && let Some(written) = swap_status(registry, write, from_node).await
    {
        revision = written;
    } else if !write.edits.is_empty() {
        match edit(registry, &write.key, &write.uid, &write.edits).await {
            Ok(written) => revision = written,
            // What is gone needs no status, and is removed already.
            Err(WriteFailure::Gone) => return Err(WriteFailure::Gone),
            Err(failure) => return Err(failure),
        }
    }
    if write.remove {
        remove(registry, &write.key, &write.uid).await?;
    }
    Ok(revision)
}

/// One comparison instead of a read-modify-write, as long as nobody else writes to the Pod.
async fn swap_status(registry: &Registry, write: &StatusWrite, from_node: &[u8]) -> Option<u64> {
    let (pods, Key { namespace, name }) = (registry.builtin(&served("", "pods")), &write.key);
    let current = registry.peek(&pods, namespace, name).filter(|o| *o.header().uid == *write.uid)?;
    let pod = with_status(current.stored(), from_node)?;
    if pod.bytes == current.bytes() {
        return Some(0);
    }
    let key = pods.key(namespace, name);
    let txn = Txn::new().when(key.clone(), Precondition::ModRevision(Revision(current.revision)));
    match registry.transact(txn, &[(&key, &Arc::new(pod))]).await {
        Ok(TxnOutcome::Committed { revision }) => Some(revision.0),
        _ => None,
    }
}

/// Edits the Pod with this UID.
async fn edit(registry: &Registry, key: &Key, uid: &str, edits: &[PodEdit]) -> Result<u64, WriteFailure> {
    let refusal: Mutex<Option<BindRefusal>> = Mutex::new(None);
    let now = super::now_seconds();
    let pods = registry.builtin(&served("", "pods"));
    let apply = |pod: &mut Value| {
        if access::text(pod, &["metadata", "uid"]) != uid {
            // Another Pod has the name.
            return Err(status::not_found(&pods, &key.name));
        }
        edits.iter().try_for_each(|edit| edit.apply(pod, uid, now)).map_err(|refused| {
            *refusal.lock().expect("invariant: no holder panics") = Some(refused);
            status::conflict(&pods, &key.name, "")
        })
    };
    let written = retried(|| registry.update_with(&pods, &key.namespace, &key.name, &apply)).await;
    match written {
        Ok(object) => Ok(object.revision),
        Err(status) if status.code == 404 => Err(WriteFailure::Gone),
        Err(status) => match refusal.into_inner().expect("invariant: no holder panics") {
            Some(refused) => Err(WriteFailure::Refused(refused)),
            None => {
                tracing::warn!(%status, uid, "a Pod could not be written: the kernel is asked again");
                Err(WriteFailure::Unavailable)
            }
        },
    }
}

/// Tries a write again while the store has no answer.
async fn retried<T, F>(mut write: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut tries = 0;
    loop {
        match write().await {
            Ok(written) => return Ok(written),
            Err(status) if status.code >= 500 && tries < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(REST * tries).await;
            }
            Err(status) => return Err(status),
        }
    }
}

/// Removes a Pod that is being deleted and has ended; its finalizers may hold it longer.
async fn remove(registry: &Registry, key: &Key, uid: &str) -> Result<(), WriteFailure> {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: Some(uid.to_owned()),
        ..DeleteOptions::default()
    };
    let removed = retried(|| registry.delete(served("", "pods"), &key.namespace, &key.name, &options)).await;
    match removed {
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        Err(_) => Err(WriteFailure::Unavailable),
        Ok(_) => Ok(()),
    }
}

/// Says in a Pod's conditions why it waits.
pub(super) async fn set_unschedulable(registry: &Registry, key: &Key, message: &str) {
    let now = super::now_seconds();
    let written = registry
        .update_with(served("", "pods"), &key.namespace, &key.name, |pod| {
            mark_unschedulable(pod, message, now);
            Ok(())
        })
        .await;
    if let Err(status) = written {
        tracing::debug!(%status, %key, "reason not written");
    }
}

/// Brings a Node in line with its agent, or removes it.
pub(super) async fn node(registry: &Registry, pod_cidrs: &PodCidrs, write: NodeWrite) -> Vec<Event> {
    let name: Box<str> = write.name().into();
    let result = match write {
        NodeWrite::Remove { name, stored } => remove_node(registry, pod_cidrs, &name, stored).await,
        NodeWrite::Put { name, agent, ours } => {
            put_node(registry, pod_cidrs, &name, &agent, ours.as_ref()).await
        }
    };
    let outcome = result.unwrap_or_else(|status| {
        tracing::warn!(%status, node = &*name, "node not written yet");
        NodeOutcome::Failed
    });
    if let NodeOutcome::WithoutCidr(why) = &outcome {
        tracing::warn!(node = &*name, why, "no Pod CIDR for this node");
    }
    vec![Event::NodeWritten { name, outcome }]
}

/// Removes the Node of an agent that is gone for good, and releases its Pod CIDR.
async fn remove_node(
    registry: &Registry,
    pod_cidrs: &PodCidrs,
    name: &str,
    stored: bool,
) -> Result<NodeOutcome, Status> {
    if stored {
        match registry.delete(&served("", "nodes"), "", name, &DeleteOptions::default()).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    pod_cidrs.release(name).await.map_err(|error| status::service_unavailable(error.to_string()))?;
    Ok(NodeOutcome::Removed)
}

async fn put_node(
    registry: &Registry,
    pod_cidrs: &PodCidrs,
    name: &str,
    agent: &AgentSnapshot,
    ours: Option<&FrameworkId>,
) -> Result<NodeOutcome, Status> {
    let resource = &served("", "nodes");
    let now = super::now_seconds();
    let stored = registry.peek(resource, "", name);
    let (mut cidr, mut refused) = (None, None);
    if stored.as_ref().is_none_or(|stored| wants_cidr(&stored.value(), agent)) {
        let requested = attribute(agent, POD_CIDR_ATTRIBUTE).and_then(|own| own.parse().ok());
        match pod_cidrs.assign(name, requested).await {
            Ok(assigned) => cidr = Some(assigned.to_string()),
            Err(PodCidrError::Refused(why)) => refused = Some(why.to_string()),
            Err(error) => return Err(status::service_unavailable(error.to_string())),
        }
    }
    let written = refused.map_or(NodeOutcome::Written, NodeOutcome::WithoutCidr);
    if stored.is_none() {
        let mut node = new_node(agent, cidr.as_deref());
        project(&mut node, agent, ours, now);
        match registry.create_raw(resource, node).await {
            Err(status) if status.code == 409 => {}
            other => return other.map(|_| written),
        }
    }
    let projected = registry
        .update_with(resource, "", name, |node| {
            if let Some(cidr) = &cidr {
                set_pod_cidr(node, cidr);
            }
            project(node, agent, ours, now);
            Ok(())
        })
        .await;
    projected.map(|_| written)
}

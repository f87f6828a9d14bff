//! Writes of the scheduler framework: bindings, statuses, removals. Hot paths compare and swap on the revision at hand and
//! fall back to reading anew only when somebody was faster.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Value, json};
use shim_core::controllers::{Condition, EventRecord, Target, pod_status, served, set_condition};
use shim_core::rows::{Key, Pod, rfc3339};
use shim_model::access;
use shim_model::object::{Parts, StoredObject};
use shim_model::status::Status;
use store::{Condition as Precondition, Revision, Txn, TxnOutcome};

use super::jobs::{BindError, Binding, Launched};
use crate::controllers::event_to_store;
use crate::storage::deletion::DeleteOptions;
use crate::storage::object::encoded;
use crate::storage::registry::{Registry, of_store};

/// How often a write that the store could not take is tried again before it is left to whoever asks next.
const TRIES_MAX: u32 = 5;
/// The rest between two tries.
const REST: std::time::Duration = std::time::Duration::from_millis(100);

/// The Pod with its node and `PodScheduled`: what is launched and what is stored.
pub(crate) fn bound_pod(pod: &StoredObject, node: &str, now: i64) -> Option<StoredObject> {
    spliced_bound_pod(pod, node, now).or_else(|| {
        let mut value: Value = serde_json::from_slice(&pod.bytes).ok()?;
        set_bound(&mut value, node, now);
        Some(encoded(&value))
    })
}

/// The same without decoding more than the status, for Pods of the usual form.
fn spliced_bound_pod(pod: &StoredObject, node: &str, now: i64) -> Option<StoredObject> {
    let Parts { metadata, spec, status } = &pod.parts;
    // An empty object needs no comma, and a name that is there, if only an empty one, is to be replaced.
    let usual = metadata.end <= spec.start && spec.end <= status.start && pod.spec().starts_with(b"{\"");
    if !usual || memmem::find(pod.spec(), b"\"nodeName\"").is_some() {
        return None;
    }
    let mut new_status: Value = serde_json::from_slice(pod.status()).ok()?;
    let generation = u64::try_from(pod.header.generation).ok().filter(|generation| *generation > 0);
    set_scheduled(&mut new_status, generation, now);
    let new_status = serde_json::to_vec(&new_status).ok()?;
    let member = format!("\"nodeName\":{},", Value::from(node));
    let bytes = replaced(
        &pod.bytes,
        &[(spec.start + 1..spec.start + 1, member.as_bytes()), (status.clone(), &new_status)],
    );
    let status = status.start + member.len()..status.start + member.len() + new_status.len();
    let parts = Parts { metadata: metadata.clone(), spec: spec.start..spec.end + member.len(), status };
    Some(StoredObject { bytes, header: pod.header.clone(), parts })
}

/// The bytes with some ranges replaced, in their order.
fn replaced(bytes: &[u8], by: &[(Range<usize>, &[u8])]) -> Bytes {
    let gone: usize = by.iter().map(|(range, _)| range.len()).sum();
    let new: usize = by.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(bytes.len() - gone + new);
    let mut from = 0;
    for (range, new) in by {
        out.extend_from_slice(&bytes[from..range.start]);
        out.extend_from_slice(new);
        from = range.end;
    }
    out.extend_from_slice(&bytes[from..]);
    out.into()
}

fn set_bound(pod: &mut Value, node: &str, now: i64) {
    access::object_mut(pod, &["spec"]).insert("nodeName".to_owned(), json!(node));
    access::object_mut(pod, &["status"]);
    let generation = pod["metadata"]["generation"].as_u64();
    set_scheduled(&mut pod["status"], generation, now);
}

fn set_scheduled(status: &mut Value, generation: Option<u64>, now: i64) {
    let status = access::object_mut(status, &[]);
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(list) = conditions.as_array_mut() {
        let scheduled = |c: &Value| access::text(c, &["type"]) == "PodScheduled";
        if list.iter().any(|c| scheduled(c) && access::text(c, &["status"]) == "True") {
            return;
        }
        list.retain(|c| !scheduled(c));
        let mut condition = json!({
            "type": "PodScheduled", "status": "True",
            "lastProbeTime": null, "lastTransitionTime": rfc3339(now),
        });
        if let Some(generation) = generation {
            condition["observedGeneration"] = json!(generation);
        }
        list.push(condition);
    }
}

/// An encoded Pod with its node's word on its status merged in; nothing if the Pod has not the usual form.
pub(crate) fn with_status(pod: &StoredObject, from_node: &[u8]) -> Option<StoredObject> {
    let Parts { metadata, spec, status } = &pod.parts;
    if metadata.end > status.start || spec.end > status.start {
        return None;
    }
    let merged = pod_status::merge_encoded(pod.status(), from_node)?;
    let bytes = replaced(&pod.bytes, &[(status.clone(), &merged)]);
    let parts = Parts { status: status.start..status.start + merged.len(), ..pod.parts.clone() };
    Some(StoredObject { bytes, header: pod.header.clone(), parts })
}

/// What people are told of a binding.
pub(crate) fn scheduled(row: &Pod, node: &str) -> EventRecord {
    let about = Target::of(served("", "pods"), row.header());
    let message = format!("Successfully assigned {} to {node}", about.key);
    let component = shim_core::scheduler::NAME;
    EventRecord { about, warning: false, reason: "Scheduled", message, component }
}

/// Writes a binding, with the node's word if there is one, and the Event that tells of it.
pub(crate) async fn bind(registry: &Registry, row: &Pod, launch: &Launched) -> Result<Binding, BindError> {
    let header = row.header();
    let key = registry.builtin(&served("", "pods")).key(&header.namespace, &header.name);
    let pod = Arc::new(launch.with_status.as_ref().unwrap_or(&launch.pod).clone());
    let txn = Txn::new().when(key.clone(), Precondition::ModRevision(Revision(launch.revision)));
    let (event_key, event) = event_to_store(registry, &scheduled(row, &launch.node))
        .expect("invariant: the Event is about a Pod, and Pods are always served");
    match registry.transact(txn, &[(&key, &pod), (&event_key, &Arc::new(event))]).await {
        Ok(TxnOutcome::Committed { revision }) => {
            Ok(Binding { revision: revision.0, with_status: launch.with_status.is_some(), with_event: true })
        }
        Ok(TxnOutcome::Conflict { .. }) => {
            let revision = bind_anew(registry, row, &launch.node).await?;
            Ok(Binding { revision, with_status: false, with_event: false })
        }
        Err(error) => Err(BindError::Later(of_store(error))),
    }
}

async fn bind_anew(registry: &Registry, row: &Pod, node: &str) -> Result<u64, BindError> {
    let header = row.header();
    let obsolete = AtomicBool::new(false);
    let found_obsolete = &obsolete;
    let now = super::now_seconds();
    let written = retried(|| {
        registry.update_with(served("", "pods"), &header.namespace, &header.name, move |pod| {
            let bound = access::text(pod, &["spec", "nodeName"]);
            let useless = access::text(pod, &["metadata", "uid"]) != header.uid
                || pod["metadata"]["deletionTimestamp"].is_string() && bound.is_empty()
                || (!bound.is_empty() && bound != node);
            found_obsolete.store(useless, Ordering::Relaxed);
            if !useless {
                set_bound(pod, node, now);
            }
            Ok(())
        })
    })
    .await;
    match written {
        Ok(_) if obsolete.load(Ordering::Relaxed) => Err(BindError::Obsolete),
        Ok(object) => Ok(object.revision),
        Err(status) if status.code == 404 => Err(BindError::Obsolete),
        Err(status) => Err(BindError::Later(status)),
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

/// Edits the Pod with this UID; a Pod that is gone is no failure.
async fn edit(registry: &Registry, key: &Key, uid: &str, change: impl Fn(&mut Value)) -> Result<(), Status> {
    let change = &change;
    let edited = retried(|| {
        registry.update_with(served("", "pods"), &key.namespace, &key.name, move |pod| {
            if access::text(pod, &["metadata", "uid"]) == uid {
                change(pod);
            }
            Ok(())
        })
    })
    .await;
    match edited {
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// Writes the binding that a crash cut off.
pub(crate) async fn bind_found(registry: &Registry, key: &Key, uid: &str, node: &str) -> Result<(), Status> {
    let now = super::now_seconds();
    edit(registry, key, uid, |pod| {
        if access::text(pod, &["spec", "nodeName"]).is_empty() {
            set_bound(pod, node, now);
        }
    })
    .await
}

/// Stores the node's word on a Pod; the revision, if it was written in one step, or 0.
pub(crate) async fn write_status(
    registry: &Registry,
    key: &Key,
    uid: &str,
    from_node: &[u8],
) -> Result<u64, Status> {
    let pods = registry.builtin(&served("", "pods"));
    // One comparison instead of a read-modify-write, as long as nobody else writes to the Pod.
    if let Some(current) = registry.peek(&pods, &key.namespace, &key.name).filter(|o| o.header().uid == uid)
        && let Some(pod) = with_status(current.stored(), from_node)
    {
        if pod.bytes == current.bytes() {
            return Ok(0);
        }
        let store_key = pods.key(&key.namespace, &key.name);
        let unchanged = Precondition::ModRevision(Revision(current.revision));
        let txn = Txn::new().when(store_key.clone(), unchanged);
        let written = registry.transact(txn, &[(&store_key, &Arc::new(pod))]).await;
        if let Ok(TxnOutcome::Committed { revision }) = written {
            return Ok(revision.0);
        }
    }
    edit_status(registry, key, uid, from_node).await?;
    Ok(0)
}

async fn edit_status(registry: &Registry, key: &Key, uid: &str, from_node: &[u8]) -> Result<(), Status> {
    let from_node: Value = serde_json::from_slice(from_node).unwrap_or_default();
    edit(registry, key, uid, |pod| {
        let merged = pod_status::merge(&pod["status"], &from_node);
        pod["status"] = merged;
    })
    .await
}

/// Marks a Pod as ended.
pub(crate) async fn end(
    registry: &Registry,
    key: &Key,
    uid: &str,
    succeeded: bool,
    reason: &str,
    message: &str,
) -> Result<(), Status> {
    let now = rfc3339(super::now_seconds());
    let phase = if succeeded { "Succeeded" } else { "Failed" };
    edit(registry, key, uid, |pod| {
        if !matches!(access::text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
            pod["status"] = pod_status::ended(&pod["status"], phase, reason, message, &now);
        }
    })
    .await
}

/// Removes a Pod that is being deleted and has ended; its finalizers may hold it longer.
pub(crate) async fn remove(registry: &Registry, key: &Key, uid: &str) -> Result<(), Status> {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: Some(uid.to_owned()),
        ..DeleteOptions::default()
    };
    let removed = retried(|| registry.delete(served("", "pods"), &key.namespace, &key.name, &options)).await;
    match removed {
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}

/// Says in a Pod's conditions why it waits.
pub(crate) async fn note_unschedulable(registry: &Registry, key: &Key, message: &str) {
    let now = super::now_seconds();
    let noted = registry
        .update_with(served("", "pods"), &key.namespace, &key.name, |pod| {
            if !access::text(pod, &["spec", "nodeName"]).is_empty() {
                // It was placed meanwhile.
                return Ok(());
            }
            let generation = pod["metadata"]["generation"].clone();
            let status = &mut pod["status"];
            let new = Condition { kind: "PodScheduled", status: "False", reason: "Unschedulable", message };
            set_condition(status, &new, now, false);
            // The words may change while the verdict stays.
            for condition in access::list_mut(status, &["conditions"]).into_iter().flatten() {
                if access::text(condition, &["type"]) == "PodScheduled" {
                    condition["message"] = json!(message);
                    // A member that upstream always prints.
                    let condition = access::as_object(condition);
                    condition.entry("lastProbeTime").or_insert(Value::Null);
                    if generation.is_number() {
                        condition.insert("observedGeneration".to_owned(), generation.clone());
                    }
                }
            }
            Ok(())
        })
        .await;
    if let Err(status) = noted {
        tracing::debug!(%status, %key, "reason not written");
    }
}

#[cfg(test)]
mod tests;

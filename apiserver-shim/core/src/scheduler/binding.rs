//! The single definition of binding: how it changes a Pod, and when it is refused. The scheduler and the API's
//! `pods/binding` call the same function.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value, json};
use shim_model::access;
use shim_model::object::{Parts, StoredObject};

use crate::controllers::pod_status;
use crate::rows::{Seconds, rfc3339};
use crate::scheduler::pod_edits::remove_offered;

/// The labels of a node that a Pod gets with it; upstream's admission plugin PodTopologyLabels.
const TOPOLOGY_LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The labels that a Pod gets from a node with these labels.
pub fn topology_labels(node: &BTreeMap<String, String>) -> Map<String, Value> {
    let label = |name: &str| Some((name.to_owned(), node.get(name)?.as_str().into()));
    TOPOLOGY_LABELS.into_iter().filter_map(label).collect()
}

/// A request to bind a Pod to a node.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct BindRequest<'a> {
    pub node: &'a str,
    /// The UID that the Pod must have; empty accepts any.
    pub uid: &'a str,
    /// The Binding's metadata, whose labels and annotations are copied to the Pod; `null` for none.
    pub metadata: &'a Value,
    /// Whether the condition carries `observedGeneration`, as it does once a kubelet has reported the Pod. The
    /// scheduler sets it, because its binding and the first status may be one write.
    pub observed_generation: bool,
    /// The `lastTransitionTime` of the condition.
    pub now: Seconds,
}

/// Why a Pod cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BindRefusal {
    /// The Pod of this name has another UID.
    OtherUid { found: Box<str> },
    /// The Pod is being deleted.
    BeingDeleted,
    /// The Pod is bound, possibly to the same node.
    AlreadyBound {
        /// The node that it is bound to.
        node: Box<str>,
    },
    /// The Pod has `schedulingGates`.
    Gated,
}

/// Binds a Pod: sets `spec.nodeName` and the `PodScheduled` condition, and copies the Binding's metadata.
pub fn bind(pod: &mut Value, request: &BindRequest<'_>) -> Result<(), BindRefusal> {
    let uid = access::text(pod, &["metadata", "uid"]);
    if !request.uid.is_empty() && request.uid != uid {
        return Err(BindRefusal::OtherUid { found: uid.into() });
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Err(BindRefusal::BeingDeleted);
    }
    let node = access::text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(BindRefusal::AlreadyBound { node: node.into() });
    }
    if !access::list(pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(BindRefusal::Gated);
    }
    for member in ["annotations", "labels"] {
        let given: Vec<(String, Value)> =
            access::entries(request.metadata, &[member]).map(|(k, v)| (k.to_owned(), v.clone())).collect();
        if !given.is_empty() {
            access::object_mut(pod, &["metadata", member]).extend(given);
        }
    }
    access::object_mut(pod, &["spec"]).insert("nodeName".to_owned(), json!(request.node));
    let generation = pod["metadata"]["generation"].as_u64().filter(|_| request.observed_generation);
    access::object_mut(pod, &["status"]);
    set_scheduled(&mut pod["status"], generation, request.now);
    Ok(())
}

fn set_scheduled(status: &mut Value, generation: Option<u64>, now: Seconds) {
    remove_offered(status);
    let status = access::object_mut(status, &[]);
    status.remove("nominatedNodeName");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    let mut condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastProbeTime": null, "lastTransitionTime": rfc3339(now),
    });
    if let Some(generation) = generation {
        condition["observedGeneration"] = json!(generation);
    }
    match list.iter_mut().find(|c| access::text(c, &["type"]) == "PodScheduled") {
        Some(old) if access::text(old, &["status"]) == "True" => {}
        Some(old) => *old = condition,
        None => list.push(condition),
    }
}

/// The encoded Pod after [`bind`] by the scheduler, used for the launch and the write. `None` if `bind` refuses or
/// the Pod cannot be decoded. `labels` are given to the Pod.
pub fn bind_encoded(
    pod: &StoredObject,
    node: &str,
    labels: Map<String, Value>,
    now: Seconds,
) -> Option<StoredObject> {
    let spliced = labels.is_empty().then(|| spliced_binding(pod, node, now)).flatten();
    spliced.or_else(|| {
        let mut value: Value = serde_json::from_slice(&pod.bytes).ok()?;
        let metadata = &json!({"labels": labels});
        let request = BindRequest { metadata, ..scheduler_request(&pod.header.uid, node, now) };
        bind(&mut value, &request).ok()?;
        StoredObject::parse(serde_json::to_vec(&value).ok()?.into()).ok()
    })
}

/// The request of the scheduler.
pub fn scheduler_request<'a>(uid: &'a str, node: &'a str, now: Seconds) -> BindRequest<'a> {
    BindRequest { node, uid, metadata: &Value::Null, observed_generation: true, now }
}

/// Like [`bind_encoded`], but decodes the status only. Requires the usual layout and no `nodeName`. The caller has
/// checked that the Pod is neither gated nor being deleted.
fn spliced_binding(pod: &StoredObject, node: &str, now: Seconds) -> Option<StoredObject> {
    let Parts { metadata, spec, status } = &pod.parts;
    // An empty object needs no comma.
    let usual = metadata.end <= spec.start && spec.end <= status.start && pod.spec().starts_with(b"{\"");
    let refused = pod.header.deletion_timestamp.is_some()
        || memmem::find(pod.spec(), b"\"nodeName\"").is_some()
        || memmem::find(pod.spec(), b"\"schedulingGates\"").is_some();
    if !usual || refused {
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

/// The encoded Pod with its node's status merged in; `None` if it does not have the usual layout.
pub fn with_status(pod: &StoredObject, from_node: &[u8]) -> Option<StoredObject> {
    let Parts { metadata, spec, status } = &pod.parts;
    if metadata.end > status.start || spec.end > status.start {
        return None;
    }
    let merged = pod_status::merge_encoded(pod.status(), from_node)?;
    let bytes = replaced(&pod.bytes, &[(status.clone(), &merged)]);
    let parts = Parts { status: status.start..status.start + merged.len(), ..pod.parts.clone() };
    Some(StoredObject { bytes, header: pod.header.clone(), parts })
}

/// Copies `bytes` with some ranges replaced, which are given in order.
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

#[cfg(test)]
#[path = "binding/tests.rs"]
mod tests;

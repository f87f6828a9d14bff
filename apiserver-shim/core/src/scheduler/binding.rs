//! The one definition of "bind": what a Pod becomes when it is put on a node, and when that is refused. The scheduler's
//! writes and the API's `pods/binding` call the same function.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Value, json};
use shim_model::access;
use shim_model::object::{Parts, StoredObject};

use crate::controllers::pod_status;
use crate::rows::{Seconds, rfc3339};

/// A Pod is to be put on a node.
#[derive(Debug, Clone, Copy)]
pub struct BindRequest<'a> {
    /// The node.
    pub node: &'a str,
    /// The UID of the Pod that is meant; empty for whichever has the name.
    pub uid: &'a str,
    /// A Binding's labels and annotations, which go to the Pod; `null` for none.
    pub metadata: &'a Value,
    /// Whether the condition carries `observedGeneration`, as it does once a kubelet has reported the Pod. The scheduler
    /// writes it, since its binding and the first status may be one write.
    pub observed_generation: bool,
    /// The time of the condition.
    pub now: Seconds,
}

/// Why a Pod cannot be put on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindRefusal {
    /// Another Pod has the name by now.
    OtherUid {
        /// Its UID.
        found: Box<str>,
    },
    /// It is being deleted.
    BeingDeleted,
    /// It has a node already, perhaps this one.
    AlreadyBound {
        /// Which.
        node: Box<str>,
    },
    /// Its `schedulingGates` hold it back.
    Gated,
}

/// Puts a Pod on a node: `spec.nodeName`, the condition `PodScheduled`, and what a Binding adds.
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
    let status = access::object_mut(status, &[]);
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

/// An encoded Pod after [`bind`] by the scheduler: what is launched and what is stored. `None` where `bind` refuses, or
/// where the Pod cannot be decoded.
pub fn bind_encoded(pod: &StoredObject, node: &str, now: Seconds) -> Option<StoredObject> {
    spliced_binding(pod, node, now).or_else(|| {
        let mut value: Value = serde_json::from_slice(&pod.bytes).ok()?;
        bind(&mut value, &scheduler_request(&pod.header.uid, node, now)).ok()?;
        StoredObject::parse(serde_json::to_vec(&value).ok()?.into()).ok()
    })
}

/// The scheduler's own request.
pub fn scheduler_request<'a>(uid: &'a str, node: &'a str, now: Seconds) -> BindRequest<'a> {
    BindRequest { node, uid, metadata: &Value::Null, observed_generation: true, now }
}

/// The same without decoding more than the status, for Pods of the usual form. Who calls has seen that the Pod is neither
/// gated nor being deleted; one with `nodeName` is not of the usual form.
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

/// An encoded Pod with its node's status merged in; `None` if the Pod has not the usual form.
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

#[cfg(test)]
#[path = "binding/tests.rs"]
mod tests;

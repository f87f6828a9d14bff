//! Fast path for Pod status reports of nodes: replaces the status in the encoded Pod without decoding the rest.
//!
//! It applies where the general path would store the same bytes: no plugin needs the Pod, no defaults apply to the
//! status, and the status is valid. [`is_plain`] checks this in one pass over the report. A test compares both paths.

use memchr::memmem;
use serde::Deserialize;
use shim_core::controllers::served;
use shim_core::scheduler::with_status;
use shim_model::names;
use shim_model::object::StoredObject;
use shim_model::status::Status;

use super::commit::{self, Expect};
use super::component_audit::close_audit;
use super::{Attributes, ObjectRef, Operation, Pipeline, Preconditions, RequestContext};
use crate::storage::object::Object;

impl Pipeline {
    /// Stores a node's status report for the Pod with this UID. Returns the revision, or 0 if nothing changed. `None`
    /// means that the caller must use the general path ([`Pipeline::update_parts`]).
    #[tracing::instrument(name = "write", skip_all, fields(audit_id = %context.audit_id, namespace, name, uid))]
    pub async fn swap_pod_status(
        &self,
        context: &RequestContext,
        (namespace, name): (&str, &str),
        uid: &str,
        reported: &[u8],
    ) -> Result<Option<u64>, Status> {
        let pods = &self.registry.builtin(&served("", "pods"));
        let current = self.registry.peek(pods, namespace, name).filter(|pod| pod.header().uid == uid);
        let Some(current) = current.filter(|pod| is_plain(pod.stored().status(), reported)) else {
            return Ok(None);
        };
        let Some(pod) = with_status(current.stored(), reported) else { return Ok(None) };
        if pod.bytes == current.bytes() {
            return Ok(Some(0));
        }
        let target = ObjectRef::new(pods, namespace, name).status();
        let audit = self.open_audit(context, &target, "").await;
        let written = self.put_status(context, &current, pod).await;
        if let Ok(Some(_)) | Err(_) = &written {
            close_audit(audit, 200, written.as_ref()).await;
        }
        written
    }

    /// Writes a Pod with a new status; `None` if the general path must be used.
    async fn put_status(
        &self,
        context: &RequestContext,
        current: &Object,
        pod: StoredObject,
    ) -> Result<Option<u64>, Status> {
        let pods = &self.registry.builtin(&served("", "pods"));
        let mut attributes = Attributes::new(Operation::Update, pods, current.namespace());
        (attributes.name, attributes.subresource) = (current.name(), "status");
        // The next write of a released Pod removes it, which is left to the general path.
        let header = current.header();
        let held = !header.finalizers.is_empty() || header.deletion_grace_period_seconds.unwrap_or(0) > 0;
        let released = header.deletion_timestamp.is_some() && !held;
        if released || !self.admission.does_without_object(&attributes) {
            return Ok(None);
        }
        let mut preconditions = Preconditions::default();
        self.admission.admit(context, &mut attributes, &mut preconditions).await?;
        self.admission.validate(context, &attributes, &mut preconditions).await?;
        let expect = Expect::Revision(current.revision);
        let written = commit::put(&self.registry, pods, pod, expect, &preconditions).await;
        Ok(written.ok().map(|object| object.revision))
    }
}

/// The members of a reported status that defaults and validation read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported<'a> {
    #[serde(borrow)]
    phase: &'a str,
    #[serde(rename = "podIP", default)]
    pod_ip: &'a str,
    #[serde(rename = "podIPs", default)]
    pod_ips: Vec<Address<'a>>,
    #[serde(rename = "hostIP", default)]
    host_ip: &'a str,
    #[serde(rename = "hostIPs", default)]
    host_ips: Vec<Address<'a>>,
    #[serde(rename = "qosClass", default)]
    qos_class: &'a str,
    #[serde(default)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Deserialize)]
struct Address<'a> {
    ip: &'a str,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

/// Whether the general path would neither change nor reject the merged status.
pub(super) fn is_plain(stored: &[u8], reported: &[u8]) -> bool {
    // The general path checks that a terminated container is not reported as running again.
    if memmem::find(stored, b"\"terminated\"").is_some() {
        return false;
    }
    let Ok(status) = serde_json::from_slice::<Reported<'_>>(reported) else { return false };
    let paired = |one: &str, many: &[Address<'_>]| match many.first() {
        None => one.is_empty(),
        Some(first) => first.ip == one && many.iter().all(|address| names::ip(address.ip).is_empty()),
    };
    let qos_class = format!("\"qosClass\":\"{}\"", status.qos_class);
    let same_class = status.qos_class.is_empty() || memmem::find(stored, qos_class.as_bytes()).is_some();
    !status.phase.is_empty()
        && same_class
        && paired(status.pod_ip, &status.pod_ips)
        && paired(status.host_ip, &status.host_ips)
        && status.conditions.iter().all(|condition| names::qualified(condition.kind).is_empty())
}

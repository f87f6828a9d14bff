//! A Pod, as controllers and the scheduler see it.

use std::sync::{Arc, OnceLock};

use memchr::memmem;
use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
    pod_status::PodStatus,
};

use super::{JobPodDetails, ObjectView, Seconds, decode_part, seconds};
use crate::kernel_resources::REVOCABLE_ANNOTATION;
use crate::quota::PodUsage;
use crate::scheduler::{Amounts, NAME, PodShape, resized_requests};

/// The annotation by which ReplicaSets rank Pods for deletion.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A Pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[allow(missing_docs)]
pub enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

impl Phase {
    /// Parses `status.phase`: empty is `Pending`, an unknown value is `Unknown`.
    pub fn parse(text: &str) -> Phase {
        match text {
            "" | "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            _ => Phase::Unknown,
        }
    }

    /// Whether the phase is `Succeeded` or `Failed`.
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// A named port of a container: what a Service's `targetPort` may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct PodPort {
    pub name: Box<str>,
    pub port: u16,
    pub protocol: Box<str>,
}

/// A Pod.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Pod {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// The store revision of the object.
    pub revision: u64,
    /// What the scheduler matches; shared by all Pods with equal requests and constraints.
    pub shape: Arc<PodShape>,
    /// The requests that count on its node instead of the shape's, during a resize in place.
    pub resized: Option<Arc<Amounts>>,
    /// `spec.nodeName`, if bound.
    pub node: Option<Box<str>>,
    /// `spec.schedulerName`; nothing for the default scheduler.
    pub scheduler_name: Option<Box<str>>,
    /// Whether `spec.schedulingGates` is not empty.
    pub gated: bool,
    pub phase: Phase,
    /// Since when the `Ready` condition is true.
    pub ready_since: Option<Seconds>,
    /// The status of the `PodScheduled` condition.
    pub scheduled: Option<bool>,
    /// The highest restart count of its containers.
    pub restarts: i64,
    /// `status.podIPs`, or `status.podIP` alone.
    pub ips: Vec<Box<str>>,
    pub hostname: Option<Box<str>>,
    pub subdomain: Option<Box<str>>,
    /// `metadata.annotations["controller.kubernetes.io/pod-deletion-cost"]`, 0 if none.
    pub deletion_cost: i32,
    /// `metadata.creationTimestamp`.
    pub created: Seconds,
    /// `metadata.deletionTimestamp`.
    pub deletion: Option<Seconds>,
    /// What quotas count; read when a quota of the namespace is counted first.
    quota_usage: OnceLock<Box<PodUsage>>,
    /// What the Job controller reads; read when its Job is reconciled first.
    job_details: OnceLock<Box<JobPodDetails>>,
}

/// The parts of a Pod that a row is decoded from, beside its header. The rest, such as managed fields, is not decoded.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct PodParts<'a> {
    /// `metadata.annotations`.
    pub annotations: &'a Value,
    pub spec: &'a Value,
    pub status: &'a PodStatus,
}

impl PodParts<'_> {
    /// What the scheduler matches of the Pod called `name`.
    pub fn shape(&self, name: &str) -> PodShape {
        let shape = PodShape::decode(self.spec, name);
        if is_revocable(self.annotations) { shape.into_revocable() } else { shape }
    }
}

/// Whether a Pod with these annotations runs on revocable CPUs. Admission sets the annotation, and nobody changes it.
pub fn is_revocable(annotations: &Value) -> bool {
    access::text(annotations, &[REVOCABLE_ANNOTATION]) == "true"
}

impl Pod {
    /// Decodes a Pod. `shape` is decoded from the same `spec`, and may be shared.
    pub fn decode(
        object: Arc<StoredObject>,
        revision: u64,
        parts: PodParts<'_>,
        shape: Arc<PodShape>,
    ) -> Pod {
        let spec = |member| access::text(parts.spec, &[member]);
        let some = |text: &str| (!text.is_empty()).then(|| Box::from(text));
        let pod = Pod {
            created: 0,
            deletion: None,
            quota_usage: OnceLock::new(),
            job_details: OnceLock::new(),
            revision,
            shape,
            resized: None,
            node: some(spec("nodeName")),
            scheduler_name: some(spec("schedulerName")).filter(|name| **name != *NAME),
            gated: !access::list(parts.spec, &["schedulingGates"]).is_empty(),
            phase: Phase::Pending,
            ready_since: None,
            scheduled: None,
            restarts: 0,
            ips: Vec::new(),
            hostname: some(spec("hostname")),
            subdomain: some(spec("subdomain")),
            deletion_cost: 0,
            object: object.clone(),
        };
        pod.like(object, revision, parts.annotations, parts.status)
    }

    /// A copy for another Pod with an equal spec.
    pub fn like(
        mut self,
        object: Arc<StoredObject>,
        revision: u64,
        annotations: &Value,
        status: &PodStatus,
    ) -> Pod {
        self.created = seconds(&object.header.creation_timestamp).unwrap_or(0);
        self.deletion_cost = access::text(annotations, &[DELETION_COST]).parse().unwrap_or(0);
        self.with_status(object, revision, status)
    }

    /// The same Pod after a change of its header and status only.
    pub fn with_status(mut self, object: Arc<StoredObject>, revision: u64, status: &PodStatus) -> Pod {
        self.deletion = object.header.deletion_timestamp.as_deref().and_then(seconds);
        self.object = object;
        self.quota_usage = OnceLock::new();
        self.job_details = OnceLock::new();
        self.revision = revision;
        self.resized = self.decode_resized();
        self.phase = Phase::parse(status.phase.as_deref().unwrap_or(""));
        self.ready_since = status
            .condition("Ready")
            .filter(|c| c.is_true())
            .map(|c| c.last_transition_time.as_deref().and_then(seconds).unwrap_or(self.created));
        self.scheduled = status.condition("PodScheduled").map(|c| c.is_true());
        let restarts = status.container_statuses.iter().flatten().filter_map(|c| c.restart_count);
        self.restarts = restarts.max().unwrap_or(0);
        let ips = status.pod_ips.iter().flatten().filter_map(|address| address.ip.as_deref());
        let filled = |ip: &&str| !ip.is_empty();
        self.ips = ips.filter(filled).map(Box::from).collect();
        if self.ips.is_empty() {
            self.ips.extend(status.pod_ip.as_deref().filter(filled).map(Box::from));
        }
        self
    }

    /// The requests that count on the Pod's node, if its status has others than its spec. Each change of the resources
    /// increments `metadata.generation`, so that the parts of most Pods are not decoded for this.
    fn decode_resized(&self) -> Option<Arc<Amounts>> {
        let mentions = |text: &str| memmem::find(self.object.status(), text.as_bytes()).is_some();
        let unknown = || !mentions("\"allocatedResources\"") && !mentions("\"PodResizePending\"");
        if self.object.header.generation == 1 || unknown() {
            return None;
        }
        let spec = decode_part(self.object.spec()).ok()?;
        let requests = resized_requests(&spec, &self.status_value())?;
        Some(Arc::new(if self.shape.revocable { requests.into_revocable() } else { requests }))
    }

    /// What the Pod's node provides for it.
    pub fn requests(&self) -> &Amounts {
        self.resized.as_deref().unwrap_or(&self.shape.requests)
    }

    /// What the Pod occupies on its node.
    pub fn charge(&self) -> Amounts {
        self.shape.chargeable(self.requests())
    }

    /// The header of the object.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// The UID, which is also the id of the Pod's task.
    pub fn uid(&self) -> &str {
        &self.object.header.uid
    }

    /// Whether it has neither ended nor a deletion timestamp.
    pub fn is_active(&self) -> bool {
        !self.phase.is_terminal() && self.deletion.is_none()
    }

    /// Whether the `Ready` condition is true.
    pub fn is_ready(&self) -> bool {
        self.ready_since.is_some()
    }

    /// Whether it has been ready for `min_ready_seconds`.
    pub fn is_available(&self, min_ready_seconds: i64, now: Seconds) -> bool {
        self.ready_since.is_some_and(|since| min_ready_seconds == 0 || since + min_ready_seconds <= now)
    }

    /// The UID of its controller.
    pub fn controller_uid(&self) -> Option<&str> {
        self.object.header.controller().map(|o| o.uid.as_str())
    }

    /// Decodes `status`.
    pub fn status_value(&self) -> Value {
        decode_part(self.object.status()).expect("invariant: StoredObject::parse has checked the bytes")
    }

    /// What quotas count of it.
    pub fn quota_usage(&self) -> &PodUsage {
        self.quota_usage.get_or_init(|| {
            let pod: Value = serde_json::from_slice(&self.object.bytes)
                .expect("invariant: StoredObject::parse has checked the bytes");
            Box::new(PodUsage::of(&pod))
        })
    }

    /// What its Job's controller reads of it.
    pub fn job_details(&self) -> &JobPodDetails {
        self.job_details.get_or_init(|| {
            let details = JobPodDetails::of(&self.object);
            Box::new(details.expect("invariant: StoredObject::parse has checked the bytes"))
        })
    }

    /// The scheduler that has to bind it.
    pub fn scheduler_name(&self) -> &str {
        self.scheduler_name.as_deref().unwrap_or(NAME)
    }

    /// Whether a scheduler has to bind it. Plugins may keep it out of the queue.
    pub fn wants_node(&self) -> bool {
        self.node.is_none() && self.is_active()
    }
}

impl ObjectView for Pod {
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "pods";
    const INDEXED_BY_LABELS: bool = true;

    /// Decodes a Pod by itself. The shell shares shapes and rows instead (`PodViews`).
    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error> {
        let (metadata, spec) = (decode_part(object.metadata())?, decode_part(object.spec())?);
        let status = PodStatus::parse(object.status())?;
        let annotations = access::get(&metadata, &["annotations"]).unwrap_or(&Value::Null);
        let parts = PodParts { annotations, spec: &spec, status: &status };
        let shape = Arc::new(parts.shape(&object.header.name));
        Ok(Pod::decode(object.clone(), revision, parts, shape))
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

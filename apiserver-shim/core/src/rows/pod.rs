//! A Pod, as controllers and the scheduler see it.

use std::sync::Arc;

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::{Seconds, seconds};
use crate::scheduler::{NAME, PodShape};

/// The annotation that says how dear a Pod is to delete.
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
    /// Reads `status.phase`; anything else is `Unknown`, nothing is `Pending`.
    pub fn parse(text: &str) -> Phase {
        match text {
            "" | "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            _ => Phase::Unknown,
        }
    }

    /// Whether all containers have ended for good.
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
pub struct Pod {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// The store revision of the object.
    pub revision: u64,
    /// What the scheduler matches: shared by all Pods that ask for the same.
    pub shape: Arc<PodShape>,
    /// `spec.nodeName`, if bound.
    pub node: Option<Box<str>>,
    /// Whether ours is the scheduler it names.
    pub scheduled_by_us: bool,
    /// `status.phase`.
    pub phase: Phase,
    /// Whether the `Ready` condition is true, and since when.
    pub ready_since: Option<Seconds>,
    /// Whether the `PodScheduled` condition is present and what it says.
    pub scheduled: Option<bool>,
    /// The highest restart count of its containers.
    pub restarts: i64,
    /// `status.podIPs`, or `status.podIP` alone.
    pub ips: Vec<Box<str>>,
    /// `spec.hostname`.
    pub hostname: Option<Box<str>>,
    /// `spec.subdomain`.
    pub subdomain: Option<Box<str>>,
    /// `metadata.annotations["controller.kubernetes.io/pod-deletion-cost"]`, 0 if none.
    pub deletion_cost: i32,
    /// When it was created.
    pub created: Seconds,
    /// When it is to be gone, if deleted.
    pub deletion: Option<Seconds>,
}

impl Pod {
    /// Decodes a Pod. Its shape comes from `spec`, shared with the Pods that have the same.
    pub fn decode(object: Arc<StoredObject>, revision: u64, value: &Value, shape: Arc<PodShape>) -> Pod {
        let spec = |member| access::text(value, &["spec", member]);
        let some = |text: &str| (!text.is_empty()).then(|| Box::from(text));
        let cost = access::text(value, &["metadata", "annotations", DELETION_COST]).parse().unwrap_or(0);
        let header = &object.header;
        let pod = Pod {
            created: seconds(&header.creation_timestamp).unwrap_or(0),
            deletion: None,
            revision,
            shape,
            node: some(spec("nodeName")),
            scheduled_by_us: matches!(spec("schedulerName"), "" | NAME),
            phase: Phase::Pending,
            ready_since: None,
            scheduled: None,
            restarts: 0,
            ips: Vec::new(),
            hostname: some(spec("hostname")),
            subdomain: some(spec("subdomain")),
            deletion_cost: cost,
            object: object.clone(),
        };
        pod.with_status(object, revision, value.get("status").unwrap_or(&Value::Null))
    }

    /// The same Pod after a change of its header and its status alone.
    pub fn with_status(mut self, object: Arc<StoredObject>, revision: u64, status: &Value) -> Pod {
        self.deletion = object.header.deletion_timestamp.as_deref().and_then(seconds);
        self.object = object;
        self.revision = revision;
        self.phase = Phase::parse(access::text(status, &["phase"]));
        let is = |kind: &str| crate::controllers::condition(status, kind);
        self.ready_since = is("Ready")
            .filter(|c| access::text(c, &["status"]) == "True")
            .map(|c| seconds(access::text(c, &["lastTransitionTime"])).unwrap_or(self.created));
        self.scheduled = is("PodScheduled").map(|c| access::text(c, &["status"]) == "True");
        let restarts = access::list(status, &["containerStatuses"]).iter();
        self.restarts = restarts.filter_map(|c| access::int(c, &["restartCount"])).max().unwrap_or(0);
        let ips = access::list(status, &["podIPs"]).iter().map(|ip| access::text(ip, &["ip"]));
        self.ips = ips.filter(|ip| !ip.is_empty()).map(Box::from).collect();
        let single = access::text(status, &["podIP"]);
        if self.ips.is_empty() && !single.is_empty() {
            self.ips.push(single.into());
        }
        self
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Its UID: the id of its task.
    pub fn uid(&self) -> &str {
        &self.object.header.uid
    }

    /// Neither ended nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.phase.is_terminal() && self.deletion.is_none()
    }

    /// Whether it is ready.
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

    /// Whether the scheduler has to find it a node.
    pub fn wants_node(&self) -> bool {
        self.node.is_none() && self.scheduled_by_us && self.is_active()
    }
}

//! Deployments, ReplicaSets and ReplicationControllers, as their controllers see them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject, string_map},
};

use super::{LabelSelector, ObjectView, Seconds, decode_part, seconds};

/// `spec.strategy` of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// The old Pods end before new ones start.
    Recreate,
    /// Pods are replaced gradually within these bounds (`intstr` values).
    #[allow(missing_docs)]
    RollingUpdate { max_surge: Value, max_unavailable: Value },
}

/// A Deployment.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Deployment {
    pub object: Arc<StoredObject>,
    pub annotations: BTreeMap<String, String>,
    pub replicas: i64,
    pub selector: LabelSelector,
    /// `spec.selector` as written.
    pub selector_value: Value,
    pub template: Value,
    pub strategy: Strategy,
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    pub paused: bool,
    pub progress_deadline_seconds: Option<i64>,
    /// `status` as written.
    pub status: Value,
}

/// A ReplicaSet.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ReplicaSet {
    pub object: Arc<StoredObject>,
    pub annotations: BTreeMap<String, String>,
    pub replicas: i64,
    pub selector: LabelSelector,
    pub template: Value,
    pub min_ready_seconds: i64,
    /// `status` as written.
    pub status: Value,
    pub created: Seconds,
}

impl Deployment {
    /// Decodes a Deployment.
    pub fn decode(object: Arc<StoredObject>, value: &Value) -> Self {
        let strategy = access::get(value, &["spec", "strategy"]);
        let bound = |name| {
            strategy
                .and_then(|s| access::get(s, &["rollingUpdate", name]))
                .cloned()
                .unwrap_or_else(|| Value::from("25%"))
        };
        Deployment {
            object,
            annotations: string_map(&value["metadata"]["annotations"]),
            replicas: access::int(value, &["spec", "replicas"]).unwrap_or(1).max(0),
            selector: LabelSelector::decode(access::get(value, &["spec", "selector"])),
            selector_value: value["spec"]["selector"].clone(),
            template: value["spec"]["template"].clone(),
            strategy: match strategy.map(|s| access::text(s, &["type"])) {
                Some("Recreate") => Strategy::Recreate,
                _ => Strategy::RollingUpdate {
                    max_surge: bound("maxSurge"),
                    max_unavailable: bound("maxUnavailable"),
                },
            },
            min_ready_seconds: access::int(value, &["spec", "minReadySeconds"]).unwrap_or(0),
            revision_history_limit: access::int(value, &["spec", "revisionHistoryLimit"]),
            paused: access::flag(value, &["spec", "paused"]),
            progress_deadline_seconds: access::int(value, &["spec", "progressDeadlineSeconds"]),
            status: value.get("status").cloned().unwrap_or(Value::Null),
        }
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }
}

impl ReplicaSet {
    /// Decodes a ReplicaSet.
    pub fn decode(object: Arc<StoredObject>, value: &Value) -> Self {
        ReplicaSet {
            annotations: string_map(&value["metadata"]["annotations"]),
            replicas: access::int(value, &["spec", "replicas"]).unwrap_or(1).max(0),
            selector: LabelSelector::decode(access::get(value, &["spec", "selector"])),
            template: value["spec"]["template"].clone(),
            min_ready_seconds: access::int(value, &["spec", "minReadySeconds"]).unwrap_or(0),
            status: value.get("status").cloned().unwrap_or(Value::Null),
            created: seconds(&object.header.creation_timestamp).unwrap_or(0),
            object,
        }
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// A count in its status, 0 if absent.
    pub fn counted(&self, field: &str) -> i64 {
        access::int(&self.status, &[field]).unwrap_or(0)
    }
}

impl ObjectView for Deployment {
    const GROUP: &'static str = "apps";
    const PLURAL: &'static str = "deployments";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        Ok(Deployment::decode(object.clone(), &serde_json::from_slice(&object.bytes)?))
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}

impl ObjectView for ReplicaSet {
    const GROUP: &'static str = "apps";
    const PLURAL: &'static str = "replicasets";
    const INDEXED_BY_LABELS: bool = true;

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        Ok(ReplicaSet::decode(object.clone(), &serde_json::from_slice(&object.bytes)?))
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}

/// A ReplicationController.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ReplicationController {
    pub object: Arc<StoredObject>,
    pub replicas: i64,
    pub selector: LabelSelector,
    pub template: Value,
    pub min_ready_seconds: i64,
    /// `status` as written.
    pub status: Value,
}

impl ObjectView for ReplicationController {
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "replicationcontrollers";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        let spec = decode_part(object.spec())?;
        // Without labels it would select everything.
        let selector = match access::get(&spec, &["selector"]) {
            Some(labels) if !access::is_zero(labels) => {
                LabelSelector::equalities(access::entries(labels, &[]))
            }
            _ => LabelSelector::decode(None),
        };
        Ok(ReplicationController {
            object: object.clone(),
            replicas: access::int(&spec, &["replicas"]).unwrap_or(1).max(0),
            selector,
            template: spec["template"].clone(),
            min_ready_seconds: access::int(&spec, &["minReadySeconds"]).unwrap_or(0),
            status: decode_part(object.status())?,
        })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}

//! A DaemonSet, as its controller sees it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use shim_model::{
    access,
    object::{Header, StoredObject, string_map},
};

use super::{LabelSelector, ObjectView};
use crate::kinds::daemon_set::TEMPLATE_GENERATION;
use crate::scheduler::PodShape;

/// A DaemonSet.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct DaemonSet {
    pub object: Arc<StoredObject>,
    pub annotations: BTreeMap<String, String>,
    pub selector: LabelSelector,
    pub template: Value,
    /// The template's spec with the tolerations that every daemon Pod has.
    pub pod_spec: Value,
    /// Which nodes `pod_spec` fits.
    pub shape: PodShape,
    /// The node that the template names.
    pub node_name: Option<Box<str>>,
    /// `maxUnavailable` and `maxSurge` (`intstr` values) of RollingUpdate; nothing for OnDelete.
    pub rolling_update: Option<(Value, Value)>,
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    /// The generation of the template; Pods without a hash are recognized by it.
    pub template_generation: Option<i64>,
    /// `status` as written.
    pub status: Value,
}

impl DaemonSet {
    /// Decodes a DaemonSet.
    pub fn decode(object: Arc<StoredObject>, value: &Value) -> Self {
        let annotations = string_map(&value["metadata"]["annotations"]);
        let template = value["spec"]["template"].clone();
        let mut pod_spec = template["spec"].clone();
        add_tolerations(&mut pod_spec);
        let strategy = access::get(value, &["spec", "updateStrategy"]).unwrap_or(&Value::Null);
        let bound = |name, default: i64| {
            access::get(strategy, &["rollingUpdate", name]).cloned().unwrap_or_else(|| default.into())
        };
        let rolling = access::text(strategy, &["type"]) != "OnDelete";
        let node_name = access::text(&pod_spec, &["nodeName"]);
        DaemonSet {
            selector: LabelSelector::decode(access::get(value, &["spec", "selector"])),
            shape: PodShape::decode(&pod_spec, ""),
            node_name: (!node_name.is_empty()).then(|| node_name.into()),
            template,
            pod_spec,
            rolling_update: rolling.then(|| (bound("maxUnavailable", 1), bound("maxSurge", 0))),
            min_ready_seconds: access::int(value, &["spec", "minReadySeconds"]).unwrap_or(0),
            revision_history_limit: access::int(value, &["spec", "revisionHistoryLimit"]),
            template_generation: annotations.get(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()),
            status: value.get("status").cloned().unwrap_or(Value::Null),
            annotations,
            object,
        }
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }
}

/// Adds the tolerations of daemon Pods: they stay on nodes that are not ready or not reachable, and start on nodes that are
/// under pressure or cordoned.
fn add_tolerations(spec: &mut Value) {
    let mut wanted = vec![
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    if access::flag(spec, &["hostNetwork"]) {
        wanted.push(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    }
    let list = access::object_mut(spec, &[]).entry("tolerations").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let list = list.as_array_mut().expect("invariant: the line above made it a list");
    for (key, effect) in wanted {
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        let same = |own: &&mut Value| {
            ["key", "operator", "effect", "value"]
                .iter()
                .all(|member| access::text(own, &[member]) == access::text(&toleration, &[member]))
        };
        match list.iter_mut().find(same) {
            Some(own) => *own = toleration,
            None => list.push(toleration),
        }
    }
}

impl ObjectView for DaemonSet {
    const GROUP: &'static str = "apps";
    const PLURAL: &'static str = "daemonsets";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        Ok(DaemonSet::decode(object.clone(), &serde_json::from_slice(&object.bytes)?))
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}

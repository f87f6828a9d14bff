//! A StatefulSet, as its controller sees it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject, string_map},
};

use super::{LabelSelector, ObjectView};

/// A StatefulSet.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StatefulSet {
    pub object: Arc<StoredObject>,
    pub annotations: BTreeMap<String, String>,
    pub replicas: i64,
    /// The first ordinal.
    pub start: i64,
    pub selector: LabelSelector,
    /// `spec.selector.matchLabels`, which the claims get.
    pub match_labels: Value,
    pub template: Value,
    pub service_name: String,
    /// `podManagementPolicy: Parallel`: Pods do not wait for each other.
    pub parallel: bool,
    /// The ordinals, counted from `start`, from which on a rolling update replaces Pods; nothing for OnDelete.
    pub partition: Option<i64>,
    pub claim_templates: Vec<Value>,
    /// Whether claims are deleted with the StatefulSet.
    pub delete_claims_with_set: bool,
    /// Whether claims are deleted with the Pods that a smaller size removes.
    pub delete_claims_with_pod: bool,
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    /// `status` as written.
    pub status: Value,
}

impl StatefulSet {
    /// Decodes a StatefulSet.
    pub fn decode(object: Arc<StoredObject>, value: &Value) -> Self {
        let spec = &value["spec"];
        let rolling = access::text(spec, &["updateStrategy", "type"]) != "OnDelete";
        let partition = access::int(spec, &["updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
        let deletes = |when| access::text(spec, &["persistentVolumeClaimRetentionPolicy", when]) == "Delete";
        StatefulSet {
            annotations: string_map(&value["metadata"]["annotations"]),
            replicas: access::int(spec, &["replicas"]).unwrap_or(1).max(0),
            start: access::int(spec, &["ordinals", "start"]).unwrap_or(0).max(0),
            selector: LabelSelector::decode(access::get(spec, &["selector"])),
            match_labels: spec["selector"]["matchLabels"].clone(),
            template: spec["template"].clone(),
            service_name: access::text(spec, &["serviceName"]).to_owned(),
            parallel: access::text(spec, &["podManagementPolicy"]) == "Parallel",
            partition: rolling.then_some(partition),
            claim_templates: access::list(spec, &["volumeClaimTemplates"]).to_vec(),
            delete_claims_with_set: deletes("whenDeleted"),
            delete_claims_with_pod: deletes("whenScaled"),
            min_ready_seconds: access::int(spec, &["minReadySeconds"]).unwrap_or(0),
            revision_history_limit: access::int(spec, &["revisionHistoryLimit"]),
            status: value.get("status").cloned().unwrap_or(Value::Null),
            object,
        }
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.header.name
    }

    /// Whether it has a Pod with this ordinal.
    pub fn contains(&self, ordinal: i64) -> bool {
        (self.start..self.start + self.replicas).contains(&ordinal)
    }
}

impl ObjectView for StatefulSet {
    const GROUP: &'static str = "apps";
    const PLURAL: &'static str = "statefulsets";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        Ok(StatefulSet::decode(object.clone(), &serde_json::from_slice(&object.bytes)?))
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        Some(&self.selector)
    }
}

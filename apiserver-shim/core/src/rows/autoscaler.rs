//! A HorizontalPodAutoscaler, as its controller sees it.

use std::sync::Arc;

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::ObjectView;

/// A HorizontalPodAutoscaler.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct HorizontalPodAutoscaler {
    pub object: Arc<StoredObject>,
    /// `spec.scaleTargetRef`.
    pub target: Value,
    pub min_replicas: i64,
    pub max_replicas: i64,
    pub metrics: Vec<Value>,
    /// `status` as written.
    pub status: Value,
}

impl HorizontalPodAutoscaler {
    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }
}

impl ObjectView for HorizontalPodAutoscaler {
    const GROUP: &'static str = "autoscaling";
    const PLURAL: &'static str = "horizontalpodautoscalers";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_slice(&object.bytes)?;
        Ok(HorizontalPodAutoscaler {
            target: value["spec"]["scaleTargetRef"].clone(),
            min_replicas: access::int(&value, &["spec", "minReplicas"]).unwrap_or(1),
            max_replicas: access::int(&value, &["spec", "maxReplicas"]).unwrap_or(1),
            metrics: access::list(&value, &["spec", "metrics"]).to_vec(),
            status: value["status"].clone(),
            object: object.clone(),
        })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }
}

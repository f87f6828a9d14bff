//! PodDisruptionBudgets.

use super::{CreateContext, Strategy, cells, workload};
use serde_json::Value;
use shim_model::access;
use shim_model::time::Instant;

pub(super) struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &CreateContext<'_>) {
        let status = access::object_mut(object, &["status"]);
        for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            status.insert(count.into(), 0.into());
        }
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        let amount = |key: &str| match access::get(object, &["spec", key]) {
            None => "N/A".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        vec![
            cells::name(object),
            amount("minAvailable").into(),
            amount("maxUnavailable").into(),
            workload::number(object, &["status", "disruptionsAllowed"]).into(),
            cells::age(object, now),
        ]
    }
}

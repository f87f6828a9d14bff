//! ServiceAccounts.

use super::{Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::time::Instant;

pub(super) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
        let set = access::get(new, &["metadata", "annotations", ANNOTATION]).is_some();
        let text = format!(
            "metadata.annotations[{ANNOTATION}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        );
        Vec::from_iter(set.then_some(text))
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::age(object, now)]
    }
}

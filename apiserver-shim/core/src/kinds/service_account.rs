//! ServiceAccounts.

use super::{Strategy, cells};
use serde_json::Value;
use shim_model::access;
use shim_model::time::Instant;

use crate::secret_references::ENFORCE_ANNOTATION as ANNOTATION;

pub(super) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn prepare_create(&self, object: &mut Value, _context: &super::CreateContext<'_>) {
        keep_names(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        keep_names(new);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let has = |object| access::get(object, &["metadata", "annotations", ANNOTATION]).is_some();
        let set = has(new) && !old.is_some_and(has);
        let text = format!(
            "metadata.annotations[{ANNOTATION}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        );
        Vec::from_iter(set.then_some(text))
    }

    fn cells(&self, object: &Value, now: Instant) -> Vec<Value> {
        vec![cells::name(object), cells::age(object, now)]
    }
}

/// Secrets are referenced by their names only.
fn keep_names(account: &mut Value) {
    for secret in access::list_mut(account, &["secrets"]).into_iter().flatten() {
        access::as_object(secret).retain(|member, _| member == "name");
    }
}

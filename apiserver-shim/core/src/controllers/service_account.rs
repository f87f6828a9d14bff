//! Every live namespace has a ServiceAccount called `default`.

use serde_json::json;
use shim_model::object::Header;

use super::{Action, Plan, served};

/// What to do next about a namespace, given whether its `default` ServiceAccount exists.
pub fn reconcile(namespace: &Header, exists: bool) -> Plan {
    let mut plan = Plan::default();
    if !exists && namespace.deletion_timestamp.is_none() {
        plan.actions.push(Action::Create {
            resource: served("", "serviceaccounts"),
            namespace: namespace.name.clone(),
            object: json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": namespace.name},
            }),
        });
    }
    plan
}

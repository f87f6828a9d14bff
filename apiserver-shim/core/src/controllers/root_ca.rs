//! Every live namespace has a ConfigMap `kube-root-ca.crt` with the certificate that the API server's is signed by.

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::{Action, Change, Plan, Target, served};

/// The ConfigMap's name.
pub const NAME: &str = "kube-root-ca.crt";

const KEY: &str = "ca.crt";

/// What to do next about a namespace, given its ConfigMap as it is.
pub fn reconcile(namespace: &Header, found: Option<(&Header, &Value)>, ca_pem: &str) -> Plan {
    let mut plan = Plan::default();
    if namespace.deletion_timestamp.is_some() {
        return plan;
    }
    let data = json!({KEY: ca_pem});
    match found {
        None => plan.actions.push(Action::Create {
            resource: served("", "configmaps"),
            namespace: namespace.name.clone(),
            object: json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": NAME,
                    "namespace": namespace.name,
                    "annotations": {
                        "kubernetes.io/description": "The certificate authority of this cluster's API server.",
                    },
                },
                "data": data,
            }),
        }),
        Some((header, value)) if access::get(value, &["data"]) != Some(&data) => {
            let target = Target::of(served("", "configmaps"), header);
            let changes = vec![Change::Put(&["data"], data)];
            plan.actions.push(Action::Change { target, subresource: None, changes });
        }
        Some(_) => {}
    }
    plan
}

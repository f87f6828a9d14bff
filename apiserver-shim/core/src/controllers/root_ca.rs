//! The root CA publisher: every live namespace has a ConfigMap `kube-root-ca.crt` with the certificate authority of the API
//! server.

use serde_json::{Value, json};
use shim_model::access;

use super::{Action, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served};

/// The name of the ConfigMap.
pub const NAME: &str = "kube-root-ca.crt";

const KEY: &str = "ca.crt";

/// Publishes the certificate authority in every namespace.
pub struct RootCaPublisher {
    /// The certificate authority, in PEM.
    pub ca_pem: String,
}

impl Controller for RootCaPublisher {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";
    const SERVICE_ACCOUNT: &'static str = "root-ca-cert-publisher";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "namespaces"), Input::headers("", "configmaps")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "namespaces") {
            keys.insert(change.name());
        } else if change.header().name == NAME {
            keys.insert(ObjectName::new(served("", "namespaces"), "", &change.header().namespace));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let namespace = &*key.key.name;
        if view.named(key).is_none_or(|n| n.header().deletion_timestamp.is_some()) {
            return plan;
        }
        let data = json!({KEY: self.ca_pem});
        match view.object(&served("", "configmaps"), namespace, NAME) {
            None => plan.actions.push(self.create(namespace, data)),
            Some(found) if access::get(&found.value(), &["data"]) != Some(&data) => {
                let target = Target::of(served("", "configmaps"), found.header());
                let changes = vec![Change::Put(&["data"], data)];
                plan.actions.push(Action::Change { target, subresource: None, changes });
            }
            Some(_) => {}
        }
        plan
    }
}

impl RootCaPublisher {
    fn create(&self, namespace: &str, data: Value) -> Action {
        Action::Create {
            resource: served("", "configmaps"),
            namespace: namespace.to_owned(),
            object: json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": NAME,
                    "namespace": namespace,
                    "annotations": {
                        "kubernetes.io/description": "The certificate authority of this cluster's API server.",
                    },
                },
                "data": data,
            }),
        }
    }
}

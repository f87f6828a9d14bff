//! The ServiceAccount controller: every live namespace has a ServiceAccount `default`.

use serde_json::json;

use super::{Action, Controller, Input, Keys, ObjectChange, ObjectName, Plan, View, served};

const DEFAULT: &str = "default";

/// Creates the ServiceAccount `default` in every namespace.
pub struct ServiceAccountController;

impl Controller for ServiceAccountController {
    const NAME: &'static str = "serviceaccount-controller";
    const SERVICE_ACCOUNT: &'static str = "service-account-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "namespaces"), Input::headers("", "serviceaccounts")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "namespaces") {
            keys.insert(change.name());
        } else if change.is_deletion() && change.header().name == DEFAULT {
            keys.insert(ObjectName::new(served("", "namespaces"), "", &change.header().namespace));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let namespace = &*key.key.name;
        let live = view.named(key).is_some_and(|n| n.header().deletion_timestamp.is_none());
        if live && view.object(&served("", "serviceaccounts"), namespace, DEFAULT).is_none() {
            plan.actions.push(Action::Create {
                resource: served("", "serviceaccounts"),
                namespace: namespace.to_owned(),
                object: json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": DEFAULT, "namespace": namespace},
                }),
            });
        }
        plan
    }
}

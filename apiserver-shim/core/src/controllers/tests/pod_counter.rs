//! A made-up controller: a ConfigMap `pod-count` in each namespace holds the number of its Pods. This file and one line in
//! the list are all that it takes.

use serde_json::json;
use shim_model::access;

use crate::{
    controllers::{
        Action, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served,
    },
    rows::Pod,
};

const NAME: &str = "pod-count";

pub struct PodCounter;

impl Controller for PodCounter {
    const NAME: &'static str = "pod-counter-controller";
    const SERVICE_ACCOUNT: &'static str = "pod-counter";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::views::<Pod>(), Input::headers("", "configmaps"), Input::headers("", "namespaces")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        let header = change.header();
        if change.resource.resource() == "namespaces" {
            keys.insert(change.name());
        } else if change.resource.resource() == "pods" || header.name == NAME {
            keys.insert(ObjectName::new(served("", "namespaces"), "", &header.namespace));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let namespace = &*key.key.name;
        if view.named(key).is_none() {
            return plan;
        }
        let pods = view.counts(namespace).find(|(resource, _)| resource.resource() == "pods");
        let data = json!({"pods": pods.map_or(0, |(_, count)| count).to_string()});
        let resource = served("", "configmaps");
        match view.object(&resource, namespace, NAME) {
            None => {
                let metadata = json!({"name": NAME, "namespace": namespace});
                let object =
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
                plan.actions.push(Action::Create { resource, namespace: namespace.to_owned(), object });
            }
            Some(found) if access::get(&found.value(), &["data"]) != Some(&data) => {
                let target = Target::of(resource, found.header());
                let changes = vec![Change::Put(&["data"], data)];
                plan.actions.push(Action::Change { target, subresource: None, changes });
            }
            Some(_) => {}
        }
        plan
    }
}

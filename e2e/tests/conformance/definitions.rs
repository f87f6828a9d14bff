//! A CustomResourceDefinition of one test, in a group that no other test uses.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::client::{Api, path};

/// The collection of CustomResourceDefinitions.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A group that no other test uses.
pub fn unused_group() -> String {
    static GROUPS: AtomicU32 = AtomicU32::new(0);
    format!("group-{}.example.com", GROUPS.fetch_add(1, Ordering::Relaxed))
}

/// A schema that allows everything.
pub fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A definition of things in this group, with a schema for each served version; the first is stored.
pub fn things(group: &str, versions: &[(&str, Value)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(index, (name, schema))| {
            json!({"name": name, "served": true, "storage": index == 0, "schema": {"openAPIV3Schema": schema}})
        })
        .collect();
    json!({
        "metadata": {"name": format!("things.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        },
    })
}

/// An established definition. Dropping it deletes it.
pub struct Definition<'a> {
    api: &'a Api,
    pub group: String,
    /// The path of the definition.
    pub path: String,
    pub created: Value,
}

impl<'a> Definition<'a> {
    /// Creates the definition, and waits until it is served.
    pub fn create(api: &'a Api, definition: &Value) -> anyhow::Result<Self> {
        let created = api.create(DEFINITIONS, definition)?.with(201)?;
        let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let own = format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().unwrap_or_default());
        let definition = Definition { api, group, path: own, created };
        api.wait(&definition.path, "the definition to be established", |definition| {
            let mut conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Established" && condition["status"] == "True")
        })?;
        Ok(definition)
    }

    /// Things of one version in a group of their own.
    pub fn of_things(api: &'a Api, schema: Value) -> anyhow::Result<Self> {
        Self::create(api, &things(&unused_group(), &[("v1", schema)]))
    }

    /// The path of the things of a namespace, in a version.
    pub fn things(&self, version: &str, namespace: &str) -> String {
        path(&format!("{}/{version}", self.group), namespace, "things")
    }

    /// A thing of version v1 with these fields.
    pub fn thing(&self, name: &str, fields: Value) -> Value {
        let mut thing = fields;
        thing["apiVersion"] = json!(format!("{}/v1", self.group));
        thing["kind"] = json!("Thing");
        thing["metadata"] = json!({"name": name});
        thing
    }
}

impl Drop for Definition<'_> {
    fn drop(&mut self) {
        // The test may have deleted it.
        let _ = self.api.delete(&self.path);
    }
}

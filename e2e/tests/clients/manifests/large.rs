//! A definition that embeds the schema of a whole Pod, as operators' generators write it: larger than an annotation may be, so only
//! server-side apply takes it.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, ensure};
use e2e::cluster::Cluster;
use serde_json::{Map, Value, json};

/// Bytes that all annotations of an object may have together.
const ANNOTATIONS_MAX: usize = 262_144;

const NAME: &str = "workloads.large.example.com";

pub fn a_definition_with_a_whole_pod(cluster: &Cluster) -> anyhow::Result<()> {
    let schema = pod_schema(cluster)?;
    let file = cluster.directory().join("large.json");
    fs::write(&file, definition(schema).to_string())?;
    ensure!(fs::metadata(&file)?.len() as usize > ANNOTATIONS_MAX, "the definition is small");
    let path = file.to_string_lossy().into_owned();
    let refused = cluster.try_kubectl(&["apply", "-f", &path])?;
    let message = "metadata.annotations: Too long: may not be more than 262144 bytes";
    ensure!(!refused.status.success() && refused.stderr.contains(message), "{refused:?}");
    let version = || cluster.kubectl(&["get", "crd", NAME, "-o", "jsonpath={.metadata.resourceVersion}"]);
    let apply = ["apply", "--server-side", "-f", &path];
    cluster.kubectl(&apply)?;
    super::established(cluster)?;
    let before = version()?;
    cluster.kubectl(&apply)?;
    ensure!(version()? == before, "written again");
    instance(cluster)?;
    let explained =
        cluster.kubectl(&["explain", "workload.spec.template.spec.containers.resources.limits"])?;
    ensure!(
        explained.contains("FIELD: limits <map[string]Quantity>")
            || explained.contains("FIELD: limits <map["),
        "{explained}"
    );
    cluster.kubectl(&["delete", "crd", NAME]).map(drop)
}

/// An object whose Pod's containers are merged by name, as the keys of the lists say.
fn instance(cluster: &Cluster) -> anyhow::Result<()> {
    let apply = |manager: &str, container: &Value| -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": "large.example.com/v1", "kind": "Workload", "metadata": {"name": "one"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        });
        let file = cluster.directory().join(format!("large-{manager}.json"));
        fs::write(&file, object.to_string())?;
        let line = ["apply", "--server-side", "--field-manager", manager, "-f", &file.to_string_lossy()];
        cluster.kubectl(&line).map(drop)
    };
    apply("first", &json!({"name": "a", "image": "a:1", "ports": [{"containerPort": 80}]}))?;
    apply(
        "second",
        &json!({"name": "b", "image": "b:1", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}),
    )?;
    let images = "jsonpath={.spec.template.spec.containers[*].image}";
    let containers = cluster.kubectl(&["get", "workload", "one", "-o", images])?;
    ensure!(containers == "a:1 b:1", "{containers}");
    let protocol = "jsonpath={.spec.template.spec.containers[0].ports[0].protocol}";
    ensure!(cluster.kubectl(&["get", "workload", "one", "-o", protocol])? == "TCP", "the schema's default");
    let patch = r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","livenessProbe":{"httpGet":{"path":"/"}}}]}}}}"#;
    let refused = cluster.try_kubectl(&["patch", "workload", "one", "--type", "merge", "-p", patch])?;
    let message = "spec.template.spec.containers[0].livenessProbe.httpGet.port: Required value";
    ensure!(!refused.status.success() && refused.stderr.contains(message), "{refused:?}");
    Ok(())
}

/// The schema of a PodTemplateSpec as the server publishes it, with what it refers to put in its place.
fn pod_schema(cluster: &Cluster) -> anyhow::Result<Value> {
    let text = cluster.kubectl(&["get", "--raw", "/openapi/v3/api/v1"])?;
    let document: Value = serde_json::from_str(&text)?;
    let schemas = document["components"]["schemas"].as_object().context("no schemas")?;
    let pod = schemas.get("io.k8s.api.core.v1.PodTemplateSpec").context("no schema of a PodTemplateSpec")?;
    Ok(structural(pod, schemas))
}

/// A structural schema of the same values.
fn structural(schema: &Value, schemas: &Map<String, Value>) -> Value {
    let mut all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    if let Some(reference) = schema.get("$ref").or_else(|| all.find_map(|part| part.get("$ref"))) {
        return referred(reference.as_str().unwrap_or_default(), schema, schemas);
    }
    let mut result = Map::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(fields)) => Value::Object(
                fields.iter().map(|(name, field)| (name.clone(), structural(field, schemas))).collect(),
            ),
            ("items" | "additionalProperties", Value::Object(_)) => structural(value, schemas),
            // Go's zero values are published as defaults, which a definition must not have where they are not allowed.
            ("default", value) if [json!(""), json!(0), json!({})].contains(value) => continue,
            // A list of set type has scalars, and keys of a map need a default or must be required.
            ("type" | "description" | "format" | "enum" | "default" | "required", _) => value.clone(),
            ("x-kubernetes-list-type" | "x-kubernetes-list-map-keys" | "x-kubernetes-map-type", _) => {
                value.clone()
            }
            _ => continue,
        };
        result.insert(key.clone(), value);
    }
    required_keys(&mut result);
    Value::Object(result)
}

/// Makes the keys of a list of type `map` required, unless they have a default.
fn required_keys(list: &mut Map<String, Value>) {
    let Some(keys) = list.get("x-kubernetes-list-map-keys").and_then(Value::as_array).cloned() else {
        return;
    };
    let Some(items) = list.get_mut("items").and_then(Value::as_object_mut) else { return };
    let mut required: BTreeSet<String> = items
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|key| key.as_str().map(str::to_owned))
        .collect();
    for key in keys.iter().filter_map(Value::as_str) {
        if items["properties"][key].get("default").is_none() {
            required.insert(key.to_owned());
        }
    }
    items.insert("required".to_owned(), json!(required));
}

fn referred(reference: &str, outer: &Value, schemas: &Map<String, Value>) -> Value {
    let name = reference.rsplit('/').next().unwrap_or_default();
    let mut inner = match name.rsplit('.').next() {
        Some("Quantity" | "IntOrString") => {
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Some("Time" | "MicroTime") => json!({"type": "string", "format": "date-time"}),
        Some("FieldsV1") => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        _ => structural(schemas.get(name).unwrap_or(&Value::Null), schemas),
    };
    for key in ["description", "x-kubernetes-map-type"] {
        if let Some(value) = outer.get(key) {
            inner[key] = value.clone();
        }
    }
    inner
}

fn definition(template: Value) -> Value {
    let spec = json!({"type": "object", "properties": {"template": template}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {
            "group": "large.example.com", "scope": "Namespaced",
            "names": {"kind": "Workload", "listKind": "WorkloadList", "plural": "workloads", "singular": "workload"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}

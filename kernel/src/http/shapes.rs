//! The JSON objects that the unversioned endpoints of master and agent have in common.

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{
    executor::{CommandInfo, ExecutorInfo, ExecutorKind},
    labels::Labels,
    resources::{Attribute, AttributeValue, Ranges, Resource, Resources, Value as Amount},
    roles::Role,
    task::Task,
};
use kernel_wire::{
    codec::{ContentType, encode},
    prost::{Message, Name},
    resources::{Format, resource_to_wire},
    task as task_wire,
    task::state_name,
};
use serde_json::{Map, Value, json};

/// A message in the JSON of the v1 API, which the unversioned endpoints embed unchanged.
pub(crate) fn as_json<M: Message + Name>(message: &M) -> Value {
    serde_json::from_slice(&encode(ContentType::Json, message)).unwrap_or(Value::Null)
}

/// A resource in full.
pub(crate) fn full_resource(resource: &Resource) -> Value {
    as_json(&resource_to_wire(resource, Format::ENDPOINT))
}

/// The reserved resources by role, each list shown by `show`.
pub(crate) fn by_role(resources: &Resources, show: impl Fn(&[&Resource]) -> Value) -> Value {
    let mut reserved: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for resource in resources {
        if let Some(top) = resource.reservation() {
            reserved.entry(top.role.to_string()).or_default().push(resource);
        }
    }
    Value::Object(reserved.into_iter().map(|(role, all)| (role, show(&all))).collect())
}

/// The unreserved resources.
pub(crate) fn unreserved(resources: &Resources) -> impl Iterator<Item = &Resource> {
    resources.iter().filter(|resource| resource.reservations.is_empty())
}

/// The summary of resources: the four usual scalars always, ranges and sets as text.
pub(crate) fn sums<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Value {
    let mut scalars: BTreeMap<String, f64> =
        ["cpus", "gpus", "mem", "disk"].into_iter().map(|name| (name.to_owned(), 0.0)).collect();
    let mut ranges: BTreeMap<String, Ranges> = BTreeMap::new();
    let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in resources {
        let name = match resource.revocable {
            true => format!("{}_revocable", resource.name),
            false => resource.name.to_string(),
        };
        match &resource.value {
            Amount::Scalar(amount) => *scalars.entry(name).or_default() += amount.as_f64(),
            Amount::Ranges(more) => {
                let sum = ranges.entry(name).or_default();
                *sum = sum.union(more);
            }
            Amount::Set(items) => sets.entry(name).or_default().extend(items.iter().cloned()),
        }
    }
    let mut shape: Map<String, Value> =
        scalars.into_iter().map(|(name, sum)| (name, json!(three_decimals(sum)))).collect();
    shape.extend(ranges.into_iter().map(|(name, sum)| (name, json!(sum.to_string()))));
    shape.extend(sets.into_iter().map(|(name, items)| (name, json!(set_text(items.iter())))));
    Value::Object(shape)
}

/// Quantities by name: amounts of scalars, sizes of ranges and sets. Absent names have none.
pub(crate) fn quantities<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Value {
    let mut all: BTreeMap<&str, f64> = BTreeMap::new();
    for resource in resources {
        *all.entry(&*resource.name).or_default() += match &resource.value {
            Amount::Scalar(amount) => amount.as_f64(),
            Amount::Ranges(ranges) => ranges.count() as f64,
            Amount::Set(items) => items.len() as f64,
        };
    }
    Value::Object(all.into_iter().map(|(name, sum)| (name.to_owned(), json!(three_decimals(sum)))).collect())
}

fn three_decimals(sum: f64) -> f64 {
    (sum * 1000.0).round() / 1000.0
}

/// The attributes of an agent; the first of each name.
pub(crate) fn attributes(all: &[Attribute]) -> Value {
    let mut shape = Map::new();
    for attribute in all {
        shape.entry(attribute.name.clone()).or_insert_with(|| match &attribute.value {
            AttributeValue::Text(text) => json!(text),
            AttributeValue::Scalar(amount) => json!(amount.as_f64()),
            AttributeValue::Ranges(ranges) => json!(ranges.to_string()),
            AttributeValue::Set(items) => json!(set_text(items.iter())),
        });
    }
    Value::Object(shape)
}

fn set_text<'a>(items: impl Iterator<Item = &'a String>) -> String {
    format!("{{{}}}", items.map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// Adds labels, if there are any.
pub(crate) fn put_labels(shape: &mut Map<String, Value>, labels: &Labels) {
    if !labels.as_slice().is_empty() {
        let label = |label: &kernel_model::labels::Label| {
            let mut shape = object(json!({ "key": label.key }));
            if let Some(value) = &label.value {
                shape.insert("value".into(), json!(value));
            }
            Value::Object(shape)
        };
        shape.insert("labels".into(), labels.as_slice().iter().map(label).collect());
    }
}

/// The members of an object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The name of an allocation role.
pub(crate) fn role_name(role: Option<&Role>) -> String {
    role.map_or_else(|| "*".to_owned(), ToString::to_string)
}

/// The name of an executor's type. The built-in command executor has none.
pub(crate) fn executor_type(info: &ExecutorInfo) -> Option<&'static str> {
    match info.kind {
        ExecutorKind::Custom => Some("CUSTOM"),
        ExecutorKind::Default => Some("DEFAULT"),
        ExecutorKind::Command => None,
    }
}

/// A command; of an executor without one it is empty.
pub(crate) fn command(from: Option<&CommandInfo>) -> Value {
    let Some(from) = from else { return json!({ "argv": [], "uris": [] }) };
    let variables =
        from.environment.iter().map(|(name, value)| json!({ "name": name, "value": value, "type": "VALUE" }));
    let variables: Vec<Value> = variables.collect();
    let uris = from.uris.iter().map(|u| json!({ "value": u.value, "executable": u.executable }));
    let mut shape = object(json!({
        "shell": from.shell,
        "argv": from.arguments,
        "uris": uris.collect::<Vec<_>>(),
    }));
    if let Some(value) = &from.value {
        shape.insert("value".into(), json!(value));
    }
    if !variables.is_empty() {
        shape.insert("environment".into(), json!({ "variables": variables }));
    }
    Value::Object(shape)
}

/// A launched task.
pub(crate) fn task(from: &Task) -> Value {
    let statuses = from.statuses.iter().map(|status| {
        let mut shape = object(json!({
            "state": state_name(status.state),
            "timestamp": status.timestamp.as_secs_f64(),
        }));
        if let Some(healthy) = status.healthy {
            shape.insert("healthy".into(), json!(healthy));
        }
        put_labels(&mut shape, &status.labels);
        if let Some(container) = task_wire::status_to_wire(status).container_status {
            shape.insert("container_status".into(), as_json(&container));
        }
        Value::Object(shape)
    });
    let mut shape = object(json!({
        "id": from.info.task_id.as_str(),
        "name": from.info.name,
        "framework_id": from.framework_id.as_str(),
        "executor_id": from.executor_id.as_ref().map_or("", |id| id.as_str()),
        "slave_id": from.info.agent_id.as_str(),
        "state": state_name(from.state),
        "resources": sums(&from.info.resources),
        "role": role_name(from.info.role()),
        "statuses": statuses.collect::<Vec<_>>(),
    }));
    put_labels(&mut shape, &from.info.labels);
    let wire = task_wire::to_wire(from, Format::ENDPOINT);
    let parts = [
        ("discovery", wire.discovery.as_ref().map(as_json)),
        ("container", wire.container.as_ref().map(as_json)),
        ("health_check", wire.health_check.as_ref().map(as_json)),
        ("user", wire.user.map(Value::String)),
    ];
    shape.extend(parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?))));
    Value::Object(shape)
}

/// A task that waits for its executor: it has no state yet.
pub(crate) fn queued_task(from: &Task) -> Value {
    let mut shape = object(json!({
        "id": from.info.task_id.as_str(),
        "name": from.info.name,
        "slave_id": from.info.agent_id.as_str(),
        "resources": sums(&from.info.resources),
        "role": role_name(from.info.role()),
    }));
    if from.info.command.is_some() {
        shape.insert("command".into(), command(from.info.command.as_ref()));
    }
    if let Some(id) = &from.executor_id {
        shape.insert("executor_id".into(), json!(id.as_str()));
    }
    if let Some(discovery) = task_wire::to_wire(from, Format::ENDPOINT).discovery {
        shape.insert("discovery".into(), as_json(&discovery));
    }
    Value::Object(shape)
}

//! Conversion between `autoscaling/v1` and `autoscaling/v2`, in which the objects are stored. What v1 has no fields for is
//! in annotations, in the form in which upstream writes them.

use std::future::ready;

use serde_json::{Map, Value, json};
use shim_model::access;

use crate::converter::{Conversion, Converter};

/// Percentage of the requested CPU that is the target unless another is set.
pub(super) const CPU_DEFAULT: i64 = 80;

pub(super) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// The converter of `autoscaling/v1`.
#[derive(Debug)]
pub(crate) struct AutoscalerConverter;

impl Converter for AutoscalerConverter {
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_> {
        Box::pin(ready(Ok(stored.into_iter().map(to_v1).collect())))
    }

    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_> {
        Box::pin(ready(Ok(served.into_iter().map(to_v2).collect())))
    }
}

/// The metric of CPU utilization.
pub(super) fn cpu_metric(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }})
}

fn utilization<'a>(metric: &'a Value, path: &str) -> Option<&'a Value> {
    let cpu =
        access::text(metric, &["type"]) == "Resource" && access::text(metric, &["resource", "name"]) == "cpu";
    access::get(metric, &["resource", path, "averageUtilization"]).filter(|_| cpu)
}

/// Converts an object of version 2.
pub(crate) fn to_v1(mut object: Value) -> Value {
    access::as_object(&mut object).insert("apiVersion".into(), "autoscaling/v1".into());
    let mut notes = Map::new();
    let spec = access::object_mut(&mut object, &["spec"]);
    let metrics = list(spec.remove("metrics"));
    let (cpu, others): (Vec<_>, Vec<_>) =
        metrics.into_iter().partition(|metric| utilization(metric, "target").is_some());
    if let Some(percent) = cpu.last().and_then(|metric| utilization(metric, "target")) {
        spec.insert("targetCPUUtilizationPercentage".into(), percent.clone());
    }
    if !others.is_empty() {
        note(&mut notes, METRICS, others.iter().map(|m| flatten(m, &TARGETS)).collect());
    }
    if let Some(behavior) = spec.remove("behavior") {
        note(&mut notes, BEHAVIOR, capitalized(&behavior));
    }
    let status = access::object_mut(&mut object, &["status"]);
    let current = list(status.remove("currentMetrics"));
    if let Some(percent) = current.iter().rev().find_map(|metric| utilization(metric, "current")) {
        status.insert("currentCPUUtilizationPercentage".into(), percent.clone());
    }
    if !current.is_empty() {
        note(&mut notes, CURRENT, current.iter().map(|m| flatten(m, &CURRENTS)).collect());
    }
    let conditions = list(status.remove("conditions"));
    if !conditions.is_empty() {
        note(&mut notes, CONDITIONS, conditions.into());
    }
    status.entry("currentReplicas").or_insert_with(|| 0.into());
    if !notes.is_empty() {
        access::object_mut(&mut object, &["metadata", "annotations"]).append(&mut notes);
    }
    object
}

/// Converts an object of version 1.
pub(crate) fn to_v2(mut object: Value) -> Value {
    access::as_object(&mut object).insert("apiVersion".into(), "autoscaling/v2".into());
    let metrics = taken(&mut object, METRICS);
    let current = taken(&mut object, CURRENT);
    let conditions = taken(&mut object, CONDITIONS);
    let behavior = taken(&mut object, BEHAVIOR);
    let spec = access::object_mut(&mut object, &["spec"]);
    let mut all: Vec<Value> = list(metrics).iter().map(|m| unflatten(m, "target", &TARGETS)).collect();
    let percent = spec.remove("targetCPUUtilizationPercentage").and_then(|p| p.as_i64());
    if percent.is_some() || all.is_empty() {
        all.push(cpu_metric(percent.unwrap_or(CPU_DEFAULT)));
    }
    spec.insert("metrics".into(), all.into());
    if let Some(behavior) = behavior.filter(Value::is_object) {
        spec.insert("behavior".into(), lower(&behavior));
    }
    let status = access::object_mut(&mut object, &["status"]);
    let percent = status.remove("currentCPUUtilizationPercentage");
    let mut all: Vec<Value> = list(current).iter().map(|m| unflatten(m, "current", &CURRENTS)).collect();
    if let Some(percent) = percent.filter(|_| all.is_empty()) {
        all.push(json!({"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": percent},
        }}));
    }
    status.insert("currentMetrics".into(), if all.is_empty() { Value::Null } else { all.into() });
    if let Some(conditions) = conditions.filter(Value::is_array) {
        status.insert("conditions".into(), conditions);
    }
    if status.get("currentReplicas") == Some(&0.into()) {
        status.remove("currentReplicas");
    }
    object
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn note(notes: &mut Map<String, Value>, key: &str, value: Value) {
    notes.insert(key.into(), value.to_string().into());
}

/// Removes an annotation and parses it.
fn taken(object: &mut Value, key: &str) -> Option<Value> {
    let text = access::remove(object, &["metadata", "annotations", key])?;
    if access::get(object, &["metadata", "annotations"]).is_some_and(access::is_zero) {
        access::remove(object, &["metadata", "annotations"]);
    }
    serde_json::from_str(text.as_str()?).ok()
}

/// Members of a metric in version 2 and in the annotation, by source.
type Names = [(&'static str, &'static [(&'static [&'static str], &'static str)]); 5];

const TARGETS: Names = [
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
];

const CURRENTS: Names = [
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
];

fn flatten(metric: &Value, names: &Names) -> Value {
    let mut out = Map::new();
    out.insert("type".into(), metric.get("type").cloned().unwrap_or_default());
    for (source, members) in names {
        let Some(from) = metric.get(*source) else { continue };
        let member =
            |(path, name): &(&[&str], &str)| Some(((*name).to_owned(), access::get(from, path)?.clone()));
        out.insert((*source).into(), members.iter().filter_map(member).collect::<Map<_, _>>().into());
    }
    out.into()
}

fn unflatten(metric: &Value, amounts: &str, names: &Names) -> Value {
    let mut out = json!({"type": metric.get("type").cloned().unwrap_or_default()});
    for (source, members) in names {
        let Some(from) = metric.get(*source) else { continue };
        let mut to = json!({});
        access::object_mut(&mut to, &[amounts]);
        for (path, name) in *members {
            let (Some(value), Some((last, parents))) = (from.get(*name), path.split_last()) else { continue };
            access::object_mut(&mut to, parents).insert((*last).to_owned(), value.clone());
            let kind = match *last {
                "averageUtilization" => "Utilization",
                "averageValue" => "AverageValue",
                "value" => "Value",
                _ => continue,
            };
            if amounts == "target" {
                access::object_mut(&mut to, &["target"]).insert("type".into(), kind.into());
            }
        }
        out[*source] = to;
    }
    out
}

/// The annotation of the behavior has the names of Go's fields.
fn capitalized(value: &Value) -> Value {
    renamed(value, |c| c.to_ascii_uppercase())
}

fn lower(value: &Value) -> Value {
    renamed(value, |c| c.to_ascii_lowercase())
}

fn renamed(value: &Value, first: fn(&char) -> char) -> Value {
    match value {
        Value::Object(members) => {
            let rename = |name: &str| {
                let mut chars = name.chars();
                chars.next().iter().map(first).chain(chars).collect::<String>()
            };
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (rename(name), renamed(value, first))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, first)).collect(),
        other => other.clone(),
    }
}

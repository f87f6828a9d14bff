//! Events have two faces, `v1` and `events.k8s.io/v1`, and one storage: the core one. These are the conversions.

use serde_json::{Map, Value};

/// Member names: in the core group, in `events.k8s.io`.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// A core Event as `events.k8s.io/v1` shows it.
pub fn to_events_group(event: Value) -> Value {
    convert(event, "events.k8s.io/v1", |name| {
        NAMES.iter().find(|(core, _)| *core == name).map(|(_, new)| *new)
    })
}

/// An Event of `events.k8s.io/v1` as it is stored.
pub fn to_core(event: Value) -> Value {
    convert(event, "v1", |name| NAMES.iter().find(|(_, new)| *new == name).map(|(core, _)| *core))
}

fn convert(event: Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(members) = event else { return event };
    let mut out: Map<String, Value> = members
        .into_iter()
        .map(|(name, value)| (rename(&name).map(str::to_owned).unwrap_or(name), value))
        .collect();
    out.insert("apiVersion".into(), api_version.into());
    Value::Object(out)
}

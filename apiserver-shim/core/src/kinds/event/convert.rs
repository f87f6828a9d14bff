//! Events of `events.k8s.io/v1` are stored as those of the core group. This converts between the two.

use std::borrow::Cow;
use std::future::ready;

use serde_json::{Map, Value};

use crate::converter::{Conversion, Converter};

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

/// The converter of `events.k8s.io/v1`.
#[derive(Debug)]
pub(crate) struct EventConverter;

impl Converter for EventConverter {
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_> {
        let named = |name: &str| NAMES.iter().find(|(core, _)| *core == name).map(|(_, new)| *new);
        Box::pin(ready(Ok(all(stored, "events.k8s.io/v1", named))))
    }

    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_> {
        let named = |name: &str| NAMES.iter().find(|(_, new)| *new == name).map(|(core, _)| *core);
        Box::pin(ready(Ok(all(served, "v1", named))))
    }

    fn stored_field<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match (name, name.strip_prefix("regarding.")) {
            ("reportingController", _) => "reportingComponent".into(),
            (_, Some(rest)) => format!("involvedObject.{rest}").into(),
            (name, None) => name.into(),
        }
    }
}

fn all(
    events: Vec<Value>,
    api_version: &str,
    rename: impl Fn(&str) -> Option<&'static str> + Copy,
) -> Vec<Value> {
    events.into_iter().map(|event| convert(event, api_version, rename)).collect()
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

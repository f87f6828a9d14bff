//! A Node, as the scheduler and the node controllers see it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::{ObjectView, Seconds, seconds};

/// The effect of a taint on Pods that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl TaintEffect {
    /// Parses `effect`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NoSchedule" => Some(Self::NoSchedule),
            "PreferNoSchedule" => Some(Self::PreferNoSchedule),
            "NoExecute" => Some(Self::NoExecute),
            _ => None,
        }
    }

    /// As in `effect`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// A taint of a Node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Taint {
    pub key: Box<str>,
    pub value: Box<str>,
    pub effect: TaintEffect,
    pub added: Option<Seconds>,
}

impl Taint {
    /// Its form in `spec.taints`.
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::json!({"key": &*self.key, "effect": self.effect.as_str()});
        if !self.value.is_empty() {
            value["value"] = Value::from(&*self.value);
        }
        if let Some(at) = self.added {
            value["timeAdded"] = Value::from(super::rfc3339(at));
        }
        value
    }
}

/// A Node.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Node {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// The store revision of the object.
    pub revision: u64,
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    /// The status of the `Ready` condition and its last transition: `Some(None)` is Unknown.
    pub ready: Option<Option<bool>>,
    /// The last transition of the `Ready` condition.
    pub ready_since: Option<Seconds>,
    /// Whether the `DiskPressure` condition is true.
    pub disk_pressure: bool,
    /// `status.allocatable`, as printed.
    pub allocatable: BTreeMap<Box<str>, Box<str>>,
}

impl Node {
    /// Decodes a Node.
    pub fn decode(object: Arc<StoredObject>, revision: u64, value: &Value) -> Node {
        let conditions = access::list(value, &["status", "conditions"]);
        let ready = conditions.iter().find(|c| access::text(c, &["type"]) == "Ready");
        Node {
            object,
            revision,
            unschedulable: access::flag(value, &["spec", "unschedulable"]),
            taints: access::list(value, &["spec", "taints"]).iter().filter_map(taint).collect(),
            ready: ready.map(|c| match access::text(c, &["status"]) {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            ready_since: ready.and_then(|c| seconds(access::text(c, &["lastTransitionTime"]))),
            disk_pressure: conditions.iter().any(|c| {
                access::text(c, &["type"]) == "DiskPressure" && access::text(c, &["status"]) == "True"
            }),
            allocatable: access::entries(value, &["status", "allocatable"])
                .filter_map(|(k, v)| Some((k.into(), v.as_str()?.into())))
                .collect(),
        }
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.header.name
    }

    /// Whether its `Ready` condition is true.
    pub fn is_ready(&self) -> bool {
        self.ready == Some(Some(true))
    }
}

impl ObjectView for Node {
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "nodes";

    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error> {
        Ok(Node::decode(object.clone(), revision, &serde_json::from_slice(&object.bytes)?))
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }
}

fn taint(value: &Value) -> Option<Taint> {
    Some(Taint {
        key: access::text(value, &["key"]).into(),
        value: access::text(value, &["value"]).into(),
        effect: TaintEffect::parse(access::text(value, &["effect"]))?,
        added: seconds(access::text(value, &["timeAdded"])),
    })
}

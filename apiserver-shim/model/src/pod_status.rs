//! What decisions read of a Pod's `status`: a Pod's status changes several times in its life, and most of what it holds is
//! only passed on.

use serde::Deserialize;
use serde_json::Value;

/// The members of `status` that controllers and the scheduler look at; absent and null are the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct PodStatus {
    pub phase: Option<String>,
    pub conditions: Option<Vec<Condition>>,
    pub container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Vec<Address>>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub status: Option<String>,
    pub last_transition_time: Option<String>,
}

/// A container's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ContainerStatus {
    pub restart_count: Option<i64>,
}

/// One of the Pod's addresses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Address {
    pub ip: Option<String>,
}

impl PodStatus {
    /// Reads an encoded status. One that is damaged reads as empty: as upstream, where it could not be stored.
    pub fn parse(bytes: &[u8]) -> PodStatus {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Reads a decoded status.
    pub fn of(status: &Value) -> PodStatus {
        PodStatus::deserialize(status).unwrap_or_default()
    }

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().flatten().find(|condition| condition.kind.as_deref() == Some(kind))
    }
}

impl Condition {
    /// Whether it holds.
    pub fn is_true(&self) -> bool {
        self.status.as_deref() == Some("True")
    }
}

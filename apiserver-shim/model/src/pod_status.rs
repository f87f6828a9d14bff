//! The members of a Pod's `status` that controllers and the scheduler read. Decoding only these keeps frequent status
//! changes cheap.

use serde::Deserialize;
use serde_json::Value;

/// A partly decoded Pod status; absent and null are the same.
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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub status: Option<String>,
    pub last_transition_time: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ContainerStatus {
    pub restart_count: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Address {
    pub ip: Option<String>,
}

impl PodStatus {
    /// Parses an encoded status; an absent one has no bytes.
    ///
    /// # Errors
    /// Members of another type than the schema's, which only another writer of the store can have put there.
    pub fn parse(bytes: &[u8]) -> Result<PodStatus, serde_json::Error> {
        if bytes.is_empty() { Ok(PodStatus::default()) } else { serde_json::from_slice(bytes) }
    }

    /// Reads from a decoded status.
    pub fn of(status: &Value) -> PodStatus {
        PodStatus::deserialize(status).unwrap_or_default()
    }

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().flatten().find(|condition| condition.kind.as_deref() == Some(kind))
    }
}

impl Condition {
    /// Whether the condition's status is `True`.
    pub fn is_true(&self) -> bool {
        self.status.as_deref() == Some("True")
    }
}

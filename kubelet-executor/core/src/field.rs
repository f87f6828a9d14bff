//! The downward API: fields of the Pod and resource amounts of its containers, as text.

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::resources::milli;

/// The node's values that downward API fields refer to.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Node {
    pub name: String,
    pub ip: String,
    pub pod_ips: Vec<String>,
    /// Allocatable CPU in thousandths; the default of `limits.cpu`.
    pub cpu_milli: i64,
    /// Allocatable memory; the default of `limits.memory`.
    pub memory_bytes: i64,
    /// Allocatable disk; the default of `limits.ephemeral-storage`.
    pub disk_bytes: i64,
}

/// A reference to an unknown field or resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldError {
    Field(String),
    Resource(String),
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(path) => write!(f, "unsupported fieldPath: {path}"),
            Self::Resource(name) => write!(f, "unsupported container resource: {name}"),
        }
    }
}

impl std::error::Error for FieldError {}

/// Looks up a field of the Pod by its path.
pub fn field(pod: &Pod, node: &Node, path: &str) -> Result<String, FieldError> {
    let metadata = &pod.metadata;
    let spec = crate::spec::spec(pod);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(metadata.annotations.as_ref().and_then(|list| list.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&metadata.name),
        "metadata.namespace" => text(&metadata.namespace),
        "metadata.uid" => text(&metadata.uid),
        "metadata.labels" => lines(metadata.labels.iter().flatten()),
        "metadata.annotations" => lines(metadata.annotations.iter().flatten()),
        "spec.nodeName" => node.name.clone(),
        "spec.serviceAccountName" => text(&spec.service_account_name),
        "spec.restartPolicy" => text(&spec.restart_policy),
        "status.hostIP" | "status.hostIPs" => node.ip.clone(),
        "status.podIP" => node.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => node.pod_ips.join(","),
        other => return Err(FieldError::Field(other.to_owned())),
    })
}

/// `base['key']` or `base["key"]`.
fn subscript<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let inner = path.strip_prefix(base)?.strip_prefix('[')?.strip_suffix(']')?;
    inner
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .or_else(|| inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')))
}

/// Renders one `key="value"` per line.
fn lines<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let lines: Vec<String> = pairs.map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// Looks up a container's request or limit, divided by `divisor` and rounded up. A missing limit is the node's
/// capacity.
pub fn resource(
    container: &Container,
    node: &Node,
    path: &str,
    divisor: Option<&Quantity>,
) -> Result<String, FieldError> {
    let unknown = || FieldError::Resource(path.to_owned());
    let (list, name) = path.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let given = match list {
        "limits" => resources.and_then(|r| r.limits.as_ref()?.get(name)),
        "requests" => resources.and_then(|r| r.requests.as_ref()?.get(name)),
        _ => return Err(unknown()),
    };
    let default = match (list, name) {
        ("limits", "cpu") => i128::from(node.cpu_milli),
        ("limits", "memory") => i128::from(node.memory_bytes) * 1000,
        ("limits", "ephemeral-storage") => i128::from(node.disk_bytes) * 1000,
        (_, "cpu" | "memory" | "ephemeral-storage") => 0,
        (_, name) if name.starts_with("hugepages-") => 0,
        _ => return Err(unknown()),
    };
    let amount = given.and_then(milli).unwrap_or(default);
    let divisor = divisor.and_then(milli).filter(|d| *d > 0).unwrap_or(1000);
    Ok(((amount + divisor - 1) / divisor).to_string())
}

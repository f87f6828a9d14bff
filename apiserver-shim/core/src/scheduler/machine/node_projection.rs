//! Projects the kernel's agents to Node objects. Pure.
//!
//! Capacity is all resources of the agent. Allocatable is what it has for Pods: without resources that other
//! frameworks' tasks hold, and without the executor's share. Attributes with valid label names become labels.

use std::collections::BTreeMap;

use kernel_model::{
    agent::{AgentSnapshot, AgentState},
    ids::FrameworkId,
    resources::{AttributeValue, Ranges, Resources, Value as ResourceValue},
};
use serde_json::{Map, Value, json};
use shim_model::quantity::Quantity;
use shim_model::{access, names};

use crate::controllers::condition;
use crate::kernel_resources::{self, REVOCABLE_CPU, REVOCABLE_CPU_OF_NODE};
use crate::rows::{Seconds, rfc3339};
use crate::scheduler::{AgentPorts, Amounts};

/// The attribute that overrides the host name as the Node's name.
pub const NODE_NAME_ATTRIBUTE: &str = "catamaran.dev/node-name";
/// The attribute that is `missing` if the agent cannot run containers.
pub const RUNTIME_ATTRIBUTE: &str = "catamaran.dev/runtime";
/// The attribute with the Pod CIDR of an agent. For agents without it, the server assigns one.
pub const POD_CIDR_ATTRIBUTE: &str = "catamaran.dev/pod-cidr";
/// The attribute with the taints with which an agent's Node is created: `KEY[=VALUE]:EFFECT[,…]`, as in the kubelet's
/// `--register-with-taints`.
pub const TAINTS_ATTRIBUTE: &str = "catamaran.dev/register-with-taints";
/// The annotation with the id of a Node's agent.
const AGENT_ID: &str = "catamaran.dev/agent-id";
/// Maximum number of Pods per Node.
pub const PODS_MAX: usize = 110;
/// The executor's share of an agent: CPU in millicores, memory in MiB.
pub const EXECUTOR_CPU_MILLI: i64 = 100;
/// See [`EXECUTOR_CPU_MILLI`].
pub const EXECUTOR_MEM_MIB: i64 = 64;

const MIB: i64 = 1 << 20;

/// The name of an agent's Node.
pub fn node_name(agent: &AgentSnapshot) -> String {
    attribute(agent, NODE_NAME_ATTRIBUTE).unwrap_or(&agent.info.hostname).to_owned()
}

/// A text attribute of an agent.
pub fn attribute<'a>(agent: &'a AgentSnapshot, name: &str) -> Option<&'a str> {
    agent.info.attributes.iter().find(|a| a.name == name).and_then(|a| match &a.value {
        AttributeValue::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

/// Converts kernel resources to Pod units: `cpus`, `mem` and `disk` (MiB), other scalars in whole units. A persistent volume is for the
/// tasks of its role, and no storage of Pods. Pods use no revocable resource but CPUs.
pub fn amounts(resources: &Resources) -> Amounts {
    let mut amounts = Amounts::default();
    for resource in &resources.without_persistent_volumes() {
        let ResourceValue::Scalar(amount) = resource.value else { continue };
        match &*resource.name {
            "cpus" if resource.revocable => *amounts.other_mut(REVOCABLE_CPU) += amount.0,
            _ if resource.revocable => {}
            "cpus" => amounts.cpu_milli += amount.0,
            "mem" => amounts.memory += kernel_resources::bytes(amount),
            "disk" => amounts.ephemeral += kernel_resources::bytes(amount),
            other => *amounts.other_mut(&kernel_resources::api_name(other)) += amount.0 / 1000,
        }
    }
    amounts
}

/// The executor's share of an agent.
pub fn executor_share() -> Amounts {
    Amounts { cpu_milli: EXECUTOR_CPU_MILLI, memory: EXECUTOR_MEM_MIB * MIB, ..Amounts::default() }
}

/// The resources that tasks of other frameworks hold.
pub fn held_by_others(agent: &AgentSnapshot, ours: Option<&FrameworkId>) -> (Amounts, Vec<FrameworkId>) {
    let mut held = Amounts::default();
    let mut by = Vec::new();
    for (framework, resources) in agent.allocated.iter().filter(|(f, _)| Some(f) != ours) {
        if !resources.is_empty() {
            held.add(&amounts(resources));
            by.push(framework.clone());
        }
    }
    (held, by)
}

/// The agent's ports, and those that other frameworks hold.
pub fn ports(agent: &AgentSnapshot, ours: Option<&FrameworkId>) -> AgentPorts {
    let others = agent.allocated.iter().filter(|(framework, _)| Some(framework) != ours);
    let held = others.fold(Ranges::default(), |held, (_, resources)| held.union(&ranges(resources)));
    AgentPorts { all: ranges(&agent.total), held }
}

fn ranges(resources: &Resources) -> Ranges {
    let ports = resources.iter().filter(|resource| &*resource.name == "ports");
    ports.fold(Ranges::default(), |all, resource| match &resource.value {
        ResourceValue::Ranges(ranges) => all.union(ranges),
        _ => all,
    })
}

/// The labels derived from the agent.
pub fn labels(agent: &AgentSnapshot) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        if names::qualified(key).is_empty() {
            labels.insert(key.to_owned(), value.to_owned());
        }
    };
    let (os, arch) =
        (attribute(agent, "os").unwrap_or("linux"), attribute(agent, "arch").unwrap_or(HOST_ARCH));
    put("kubernetes.io/hostname", &node_name(agent));
    put("kubernetes.io/os", os);
    put("kubernetes.io/arch", arch);
    put("beta.kubernetes.io/os", os);
    put("beta.kubernetes.io/arch", arch);
    for attribute in &agent.info.attributes {
        let value = &attribute.value.to_string();
        if !is_label_value(value) {
            continue;
        }
        match attribute.name.as_str() {
            // Attributes that `nodeInfo` shows are not labels.
            "machine-id" | "boot-id" | "kernel-version" | "os-image" | "container-runtime" => {}
            "os" | "arch" | NODE_NAME_ATTRIBUTE | RUNTIME_ATTRIBUTE | POD_CIDR_ATTRIBUTE
            | TAINTS_ATTRIBUTE => {}
            "zone" => put("topology.kubernetes.io/zone", value),
            "region" => put("topology.kubernetes.io/region", value),
            name if name.contains('/') => put(name, value),
            name => put(&format!("attribute.catamaran.dev/{name}"), value),
        }
    }
    labels
}

/// The architecture of agents that do not report theirs: that of this server, in Kubernetes' terms.
const HOST_ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "unknown"
};

fn is_label_value(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

/// Whether the agent is reachable; `None` if that is unknown.
pub fn is_up(agent: &AgentSnapshot) -> Option<bool> {
    match agent.state {
        AgentState::Connected | AgentState::Stopping => Some(true),
        // Disconnected, or not yet registered after a restart of the master: no reason to evict Pods.
        AgentState::Recovered | AgentState::Disconnected => None,
        AgentState::Unreachable | AgentState::Removed | AgentState::Gone => Some(false),
    }
}

/// Whether a missing Node of the agent is created: only for one that is connected, and stays.
pub fn creates_node(agent: &AgentSnapshot) -> bool {
    agent.state == AgentState::Connected
}

/// What the executor of a Node has reported; while it is unknown, the Node keeps what it shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportedByNode {
    /// The port of its server.
    pub kubelet_port: Option<u16>,
    /// Whether its disk is almost full.
    pub disk_pressure: Option<bool>,
}

/// Updates a Node from its agent and returns whether it changed. `node` is the stored object or a new one.
pub fn project(
    node: &mut Value,
    agent: &AgentSnapshot,
    ours: Option<&FrameworkId>,
    reported: ReportedByNode,
    now: Seconds,
) -> bool {
    let before = node.clone();
    for (key, value) in labels(agent) {
        access::object_mut(node, &["metadata", "labels"]).insert(key, json!(value));
    }
    let id = agent.info.id.as_ref().map_or("", |id| id.as_str());
    let annotations = access::object_mut(node, &["metadata", "annotations"]);
    let before_id = annotations.insert(AGENT_ID.into(), json!(id));
    // As of a kubelet that registers again: what was declared of an earlier agent's machine is forgotten.
    let is_same_agent = before_id.is_none_or(|before| before == id);
    let total = amounts(&agent.total);
    let mut allocatable = total.clone();
    allocatable.subtract(&executor_share());
    allocatable.subtract(&held_by_others(agent, ours).0);
    // The status has whole CPUs; the node judges resizes in place by this.
    let revocable = allocatable.other(REVOCABLE_CPU);
    match revocable > 0 {
        true => annotations
            .insert(REVOCABLE_CPU_OF_NODE.into(), json!(Quantity::from_milli(revocable).to_string())),
        false => annotations.remove(REVOCABLE_CPU_OF_NODE),
    };
    let status = access::object_mut(node, &["status"]);
    let declared = if is_same_agent { declared(status, &total) } else { Map::new() };
    for (member, amounts) in [("capacity", &total), ("allocatable", &allocatable)] {
        let mut list = resource_list(amounts);
        list.extend(declared.clone());
        status.insert(member.into(), list.into());
    }
    status.insert("addresses".into(), addresses(agent));
    status.insert("nodeInfo".into(), node_info(agent));
    if let Some(port) = reported.kubelet_port {
        status.insert("daemonEndpoints".into(), json!({"kubeletEndpoint": {"Port": port}}));
    }
    if let Some(up) = is_up(agent) {
        project_conditions(node, agent, up, reported, now);
    }
    *node != before
}

/// The extended resources that somebody else has written into a Node's status. As from a kubelet, all of their capacity is
/// allocatable.
fn declared(status: &Map<String, Value>, total: &Amounts) -> Map<String, Value> {
    let capacity = status.get("capacity").and_then(Value::as_object);
    let of_agent = |name: &str| total.others.iter().any(|(of_agent, _)| **of_agent == *name);
    let declared = capacity
        .into_iter()
        .flatten()
        .filter(|(name, _)| kernel_resources::is_declarable(name) && !of_agent(name));
    declared.map(|(name, amount)| (name.clone(), amount.clone())).collect()
}

/// Amounts of extended resources are whole: a Node with others is invalid. So of revocable CPUs only whole ones are shown.
fn resource_list(amounts: &Amounts) -> Map<String, Value> {
    let bytes = |amount: i64| Quantity::from_bytes(amount.max(0) / 1024 * 1024).to_string();
    let mut list = Map::new();
    list.insert("cpu".into(), json!(Quantity::from_milli(amounts.cpu_milli.max(0)).to_string()));
    list.insert("memory".into(), json!(bytes(amounts.memory)));
    list.insert("ephemeral-storage".into(), json!(bytes(amounts.ephemeral)));
    list.insert("pods".into(), json!(PODS_MAX.to_string()));
    for (name, amount) in &amounts.others {
        let amount = *amount.max(&0);
        match &**name {
            REVOCABLE_CPU if amount < 1000 => {}
            REVOCABLE_CPU => {
                drop(list.insert(REVOCABLE_CPU_OF_NODE.into(), json!((amount / 1000).to_string())))
            }
            name => drop(list.insert(name.into(), json!(amount.to_string()))),
        }
    }
    list
}

fn addresses(agent: &AgentSnapshot) -> Value {
    json!([
        {"type": "InternalIP", "address": agent.info.ip},
        {"type": "Hostname", "address": agent.info.hostname},
    ])
}

fn node_info(agent: &AgentSnapshot) -> Value {
    let text = |name: &str, instead: &str| attribute(agent, name).unwrap_or(instead).to_owned();
    let id = agent.info.id.as_ref().map_or("", |id| id.as_str());
    let version = format!("v1.36.0+catamaran-{}", env!("CARGO_PKG_VERSION"));
    json!({
        "machineID": text("machine-id", id),
        "systemUUID": text("system-uuid", id),
        "bootID": text("boot-id", ""),
        "kernelVersion": text("kernel-version", ""),
        "osImage": text("os-image", ""),
        "containerRuntimeVersion": text("container-runtime", ""),
        "kubeletVersion": version,
        "kubeProxyVersion": "",
        "operatingSystem": text("os", "linux"),
        "architecture": text("arch", HOST_ARCH),
    })
}

fn project_conditions(
    node: &mut Value,
    agent: &AgentSnapshot,
    up: bool,
    reported: ReportedByNode,
    now: Seconds,
) {
    let lacking = attribute(agent, RUNTIME_ATTRIBUTE);
    let pressure = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ];
    let shown = node.get("status").and_then(|status| condition(status, "DiskPressure"));
    let shown = shown.is_some_and(|shown| access::text(shown, &["status"]) == "True");
    let disk_pressure = reported.disk_pressure.unwrap_or(shown);
    for (kind, reason, message) in pressure {
        if up && kind == "DiskPressure" && disk_pressure {
            set(node, [kind, "True", "KubeletHasDiskPressure", "kubelet has disk pressure"], now);
        } else if up {
            set(node, [kind, "False", reason, message], now);
        } else {
            set(node, [kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."], now);
        }
    }
    let install;
    let ready = match (up, lacking) {
        (false, _) => ["Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."],
        (true, _) if agent.state == AgentState::Stopping => {
            ["Ready", "False", "KubeletNotReady", "node is shutting down"]
        }
        (true, Some(lacking)) => {
            install = format!(
                "containers cannot run: apt-get install {lacking} (on Debian), then restart the agent"
            );
            ["Ready", "False", "ContainerRuntimeMissing", &install]
        }
        (true, None) if access::text(node, &["spec", "podCIDR"]).is_empty() => {
            let why = "container runtime network not ready: no Pod CIDR is assigned to this node";
            ["Ready", "False", "KubeletNotReady", why]
        }
        (true, None) => ["Ready", "True", "KubeletReady", "kubelet is posting ready status"],
    };
    set(node, ready, now);
}

fn set(node: &mut Value, [kind, status, reason, message]: [&str; 4], now: Seconds) {
    let old = node.get("status").and_then(|s| condition(s, kind));
    let same = |c: &Value, field: &str, value: &str| access::text(c, &[field]) == value;
    if old.is_some_and(|c| {
        same(c, "status", status) && same(c, "reason", reason) && same(c, "message", message)
    }) {
        return;
    }
    let time = rfc3339(now);
    let since = old
        .filter(|c| same(c, "status", status))
        .map(|c| access::text(c, &["lastTransitionTime"]).to_owned())
        .unwrap_or_else(|| time.clone());
    let fresh = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": time, "lastTransitionTime": since,
    });
    let status = access::object_mut(node, &["status"]);
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|c| access::text(c, &["type"]) == kind) {
        Some(place) => *place = fresh,
        None => list.push(fresh),
    }
}

/// Creates a Node to be passed to [`project`].
pub fn new_node(agent: &AgentSnapshot, pod_cidr: Option<&str>) -> Value {
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node_name(agent)},
        "spec": {},
    });
    let taints = taints(attribute(agent, TAINTS_ATTRIBUTE).unwrap_or_default());
    if !taints.is_empty() {
        node["spec"]["taints"] = taints.into();
    }
    if let Some(cidr) = pod_cidr {
        set_pod_cidr(&mut node, cidr);
    }
    node
}

/// The taints of [`TAINTS_ATTRIBUTE`], each key and effect once; what is no valid taint is left out.
fn taints(text: &str) -> Vec<Value> {
    let taint = |part: &str| {
        let (taint, effect) = part.rsplit_once(':')?;
        let (key, value) = taint.split_once('=').unwrap_or((taint, ""));
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
        let valid = known && names::qualified(key).is_empty() && names::label_value(value).is_empty();
        let mut taint = json!({"key": key, "effect": effect});
        if !value.is_empty() {
            taint["value"] = value.into();
        }
        valid.then_some(taint)
    };
    let mut taints: Vec<Value> = Vec::new();
    for taint in text.split(',').filter_map(taint) {
        let same = |other: &Value| other["key"] == taint["key"] && other["effect"] == taint["effect"];
        if !taints.iter().any(same) {
            taints.push(taint);
        }
    }
    taints
}

/// Sets the Node's Pod CIDR.
pub fn set_pod_cidr(node: &mut Value, cidr: &str) {
    let spec = access::object_mut(node, &["spec"]);
    spec.insert("podCIDR".into(), json!(cidr));
    spec.insert("podCIDRs".into(), json!([cidr]));
}

/// Whether the Node has no Pod CIDR, or a different one than its agent. Nodes without one are retried when a range is
/// released.
pub fn wants_cidr(node: &Value, agent: &AgentSnapshot) -> bool {
    let cidr = access::text(node, &["spec", "podCIDR"]);
    cidr.is_empty() || attribute(agent, POD_CIDR_ATTRIBUTE).is_some_and(|own| own != cidr)
}

#[cfg(test)]
#[path = "node_projection/tests.rs"]
mod tests;

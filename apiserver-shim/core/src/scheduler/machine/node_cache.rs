//! Agents and their Nodes. A Node is created when its agent registers and removed when the agent is removed. One that a client
//! deletes while its agent is away is created again when the agent is back. Each is written only on change, at most once per
//! second and less often after failures, with a limit on concurrent writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kernel_model::{
    agent::{AgentSnapshot, AgentState},
    ids::{AgentId, FrameworkId},
    operator::Event,
    resources::Resources,
    time::Time,
};
use memchr::memmem;
use serde_json::Value;
use shim_model::access;

use super::node_projection::{
    self, PODS_MAX, RUNTIME_ATTRIBUTE, ReportedByNode, amounts, attribute, executor_share, held_by_others,
    node_name, ports,
};
use super::{NodeOutcome, NodeWrite, SchedulerMachine, Send, Write};
use crate::controllers::{EventRecord, EventSource, Target, served};
use crate::rows::{Key, Node};
use crate::scheduler::{Held, NodeCapacity};

/// Minimum interval between two writes of one Node.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// After so many failed writes in a row the interval, which doubles with each, stays: about a minute. A write may fail for
/// good, if validation refuses what an agent reports.
const DOUBLINGS_MAX: u32 = 6;
/// Concurrent Node writes; they share the store's group commits.
const WRITES_MAX: usize = 128;

/// The known agents and Nodes.
#[derive(Debug, Default)]
pub(super) struct NodeCache {
    agents: HashMap<AgentId, Arc<AgentSnapshot>>,
    node_of: HashMap<AgentId, Box<str>>,
    agent_of: HashMap<Box<str>, AgentId>,
    /// The address of each Node's executor, `ip:port`, as the executor reported it.
    endpoints: HashMap<Box<str>, Box<str>>,
    /// Whether the disk of each Node is almost full, as its executor reported it.
    disk_pressure: HashMap<Box<str>, bool>,
    frameworks: BTreeMap<FrameworkId, String>,
    /// Nodes to be updated from their agents.
    dirty: BTreeSet<Box<str>>,
    writing: BTreeSet<Box<str>>,
    written_at: BTreeMap<Box<str>, Time>,
    /// Failed writes of each Node since the last that succeeded.
    failures: BTreeMap<Box<str>, u32>,
    /// Nodes without a Pod CIDR because none is free; retried when one is released.
    without_cidr: BTreeSet<Box<str>>,
}

impl NodeCache {
    /// The Node of an agent.
    pub fn node_of(&self, id: &AgentId) -> Option<&str> {
        self.node_of.get(id).map(|n| &**n)
    }

    /// The agent of a Node.
    pub fn agent_of(&self, node: &str) -> Option<&AgentId> {
        self.agent_of.get(node)
    }

    /// Whether the interval since the Node's last write is over.
    fn may_be_written(&self, name: &str, now: Time) -> bool {
        let failures = self.failures.get(name).map_or(0, |count| (*count).min(DOUBLINGS_MAX));
        self.written_at.get(name).is_none_or(|at| now >= *at + WRITE_EVERY * 2u32.pow(failures))
    }

    /// Whether any Node is to be written.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Clears the agents: a new subscription lists all of them.
    pub fn forget_agents(&mut self) {
        self.agents.clear();
        self.node_of.clear();
        self.agent_of.clear();
    }
}

impl SchedulerMachine {
    pub(super) fn node_changed(&mut self, node: Arc<Node>) {
        let name: Box<str> = node.name().into();
        if !self.nodes.endpoints.contains_key(&name)
            && let Some(address) = recorded_endpoint(&node.object.bytes)
        {
            // After a restart of the server. The executor reuses its port, so the address is still valid.
            self.nodes.endpoints.insert(name.clone(), address.clone().into());
            self.out.send.push(Send::Endpoint { node: name.clone(), address: Some(address) });
        }
        let agent = self.nodes.agent_of.get(&name).and_then(|id| self.nodes.agents.get(id));
        if agent.is_some_and(|agent| !node_projection::creates_node(agent))
            && self.node_infos.get(&name).is_none()
        {
            // Created by a client while its agent is away: it has not been written from there.
            self.nodes.dirty.insert(name.clone());
        }
        let kinds = self.node_infos.put_node(node, PODS_MAX);
        self.node_event(kinds, &name, None);
    }

    pub(super) fn node_gone(&mut self, name: &str) {
        self.node_infos.remove_node(name);
        self.nodes.without_cidr.remove(name);
        // Deleted by a client: `write_node` creates it again with the same Pod CIDR if its agent is connected, and releases
        // its Pod CIDR if there is no agent.
        self.nodes.dirty.insert(name.into());
    }

    pub(super) fn take_cluster_event(&mut self, event: Event) {
        match event {
            Event::AgentAdded { agent } => {
                self.reconcile_soon();
                self.agent_changed(agent);
            }
            Event::AgentUpdated { agent } => self.agent_changed(agent),
            Event::AgentRemoved { agent_id } => self.agent_removed(&agent_id),
            Event::FrameworkAdded { framework } | Event::FrameworkUpdated { framework } => {
                if let Some(id) = &framework.id {
                    self.nodes.frameworks.insert(id.clone(), framework.name.clone());
                }
            }
            Event::FrameworkRemoved { framework } => {
                if let Some(id) = &framework.id {
                    self.nodes.frameworks.remove(id);
                }
            }
            Event::TaskAdded { .. } | Event::TaskUpdated { .. } => {}
        }
    }

    pub(super) fn agent_changed(&mut self, agent: AgentSnapshot) {
        let Some(id) = agent.info.id.clone() else { return };
        if matches!(agent.state, AgentState::Removed | AgentState::Gone) {
            return self.agent_removed(&id);
        }
        let name: Box<str> = node_name(&agent).into();
        // A machine that registered anew has a new agent ID; the newest registered agent wins.
        if let Some(other) = self.nodes.agent_of.get(&name).filter(|other| **other != id) {
            let other_up = self.nodes.agents.get(other).is_some_and(|a| a.state == AgentState::Connected);
            if other_up && agent.state != AgentState::Connected {
                return;
            }
        }
        let ours = self.framework_id.clone();
        let known = self.nodes.agents.get(&id);
        if known.is_some_and(|known| differ_in_our_tasks_only(known, &agent, ours.as_ref())) {
            // Only our own tasks changed, which affects neither the Node nor what others hold of it.
            self.nodes.agents.insert(id, Arc::new(agent));
            return;
        }
        self.nodes.agent_of.insert(name.clone(), id.clone());
        self.nodes.node_of.insert(id.clone(), name.clone());
        let agent = Arc::new(agent);
        self.nodes.agents.insert(id, agent.clone());
        let capacity = capacity(&agent, ours.as_ref(), &self.nodes.frameworks);
        let kinds = self.node_infos.put_capacity(&name, capacity);
        self.node_event(kinds, &name, None);
        self.nodes.dirty.insert(name);
    }

    fn agent_removed(&mut self, id: &AgentId) {
        self.nodes.agents.remove(id);
        let Some(name) = self.nodes.node_of.remove(id) else { return };
        if self.nodes.agent_of.get(&name) == Some(id) {
            self.nodes.agent_of.remove(&name);
            self.node_infos.remove_capacity(&name);
            self.nodes.endpoints.remove(&name);
            self.nodes.disk_pressure.remove(&name);
            self.out.send.push(Send::Endpoint { node: name.clone(), address: None });
            self.nodes.dirty.insert(name);
        }
    }

    /// Handles the address that an executor reports; the Node's `daemonEndpoints` shows the port.
    pub(super) fn endpoint_reported(&mut self, node: &str, address: &str) {
        if self.nodes.endpoints.get(node).is_some_and(|known| **known == *address) {
            return;
        }
        self.nodes.endpoints.insert(node.into(), address.into());
        self.nodes.dirty.insert(node.into());
        self.out.send.push(Send::Endpoint { node: node.into(), address: Some(address.to_owned()) });
    }

    pub(super) fn disk_pressure_reported(&mut self, node: &str, pressure: bool) {
        if self.nodes.disk_pressure.get(node) != Some(&pressure) {
            self.nodes.disk_pressure.insert(node.into(), pressure);
            self.nodes.dirty.insert(node.into());
        }
    }

    /// Writes Nodes that may have changed.
    pub(super) fn write_nodes(&mut self) {
        if self.nodes.dirty.is_empty() || self.framework_id.is_none() {
            return;
        }
        let now = self.now;
        let ready: Vec<Box<str>> = self
            .nodes
            .dirty
            .iter()
            .filter(|n| !self.nodes.writing.contains(*n))
            .filter(|n| self.nodes.may_be_written(n, now))
            .take(WRITES_MAX.saturating_sub(self.nodes.writing.len()))
            .cloned()
            .collect();
        for name in ready {
            self.nodes.dirty.remove(&name);
            self.write_node(name);
        }
    }

    fn write_node(&mut self, name: Box<str>) {
        let agent = self.nodes.agent_of.get(&name).and_then(|id| self.nodes.agents.get(id)).cloned();
        let stored = self.node_infos.get(&name).map(|info| info.node.clone());
        let ours = self.framework_id.clone();
        let reported = ReportedByNode {
            kubelet_port: self.nodes.endpoints.get(&name).and_then(|address| port_of(address)),
            disk_pressure: self.nodes.disk_pressure.get(&name).copied(),
        };
        let write = match (agent, stored) {
            (None, stored) => NodeWrite::Remove { name: name.clone(), stored: stored.is_some() },
            (Some(agent), Some(stored)) => {
                let mut value: Value =
                    serde_json::from_slice(&stored.object.bytes).expect("invariant: a stored object is JSON");
                let now = self.seconds();
                let changes = node_projection::project(&mut value, &agent, ours.as_ref(), reported, now);
                if !changes && !node_projection::wants_cidr(&value, &agent) {
                    return;
                }
                NodeWrite::Put { name: name.clone(), agent, ours, reported }
            }
            // As in Kubernetes, where only a kubelet that registers creates a Node: what was deleted stays away until its machine
            // is back, and its Pods are collected meanwhile. The kernel keeps the agent: to mark it as gone would also end the
            // tasks of frameworks that wait for it, and is for the operators of the kernel (MARK_AGENT_GONE).
            (Some(agent), None) if !node_projection::creates_node(&agent) => return,
            (Some(agent), None) => {
                self.out.send.push(Send::Report(registered(&name)));
                NodeWrite::Put { name: name.clone(), agent, ours, reported }
            }
        };
        self.nodes.written_at.insert(name.clone(), self.now);
        self.nodes.writing.insert(name);
        self.out.persist.push(Write::Node(write));
    }
}

impl SchedulerMachine {
    pub(super) fn node_written(&mut self, name: Box<str>, outcome: NodeOutcome) {
        self.nodes.writing.remove(&name);
        match outcome {
            NodeOutcome::Failed => *self.nodes.failures.entry(name.clone()).or_default() += 1,
            _ => drop(self.nodes.failures.remove(&name)),
        }
        match outcome {
            NodeOutcome::Written => drop(self.nodes.without_cidr.remove(&name)),
            NodeOutcome::WithoutCidr(why) => {
                if self.nodes.without_cidr.insert(name.clone()) {
                    self.out.send.push(Send::Report(cidr_not_available(&name, &why)));
                }
            }
            NodeOutcome::Removed => {
                let waiting = std::mem::take(&mut self.nodes.without_cidr);
                self.nodes.dirty.extend(waiting);
            }
            NodeOutcome::Failed => drop(self.nodes.dirty.insert(name)),
        }
    }
}

/// The executor's address that a Node records: its internal address, and the port in `daemonEndpoints`.
fn recorded_endpoint(node: &[u8]) -> Option<String> {
    // Most Nodes that are not known yet have none, and need not be decoded.
    memmem::find(node, b"\"kubeletEndpoint\"")?;
    let node: Value = serde_json::from_slice(node).ok()?;
    let port = access::get(&node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"])?.as_u64()?;
    let addresses = access::list(&node, &["status", "addresses"]);
    let internal = addresses.iter().find(|address| access::text(address, &["type"]) == "InternalIP")?;
    let ip = access::text(internal, &["address"]).parse::<IpAddr>().ok()?;
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(ip, port).to_string())
}

/// The port of `ip:port`. An IPv6 address is in brackets.
fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// What an agent has for Pods, and what others hold of it; `names` are those of frameworks.
fn capacity(
    snapshot: &AgentSnapshot,
    ours: Option<&FrameworkId>,
    names: &BTreeMap<FrameworkId, String>,
) -> NodeCapacity {
    let mut allocatable = amounts(&snapshot.total);
    allocatable.subtract(&executor_share());
    let (held, by) = held_by_others(snapshot, ours);
    let mut by: Vec<Box<str>> =
        by.iter().map(|id| names.get(id).map_or(id.as_str(), String::as_str).into()).collect();
    by.sort_unstable();
    by.dedup();
    let lacking = attribute(snapshot, RUNTIME_ATTRIBUTE).map(Box::from);
    let ports = ports(snapshot, ours);
    NodeCapacity { allocatable, ports, held: Held { amounts: held, by }, lacking }
}

/// Whether the snapshots differ only in our framework's resources or in offers.
fn differ_in_our_tasks_only(a: &AgentSnapshot, b: &AgentSnapshot, ours: Option<&FrameworkId>) -> bool {
    fn others<'a>(
        agent: &'a AgentSnapshot,
        ours: Option<&FrameworkId>,
    ) -> impl Iterator<Item = &'a (FrameworkId, Resources)> {
        agent.allocated.iter().filter(move |(framework, _)| Some(framework) != ours)
    }
    a.state == b.state && a.info == b.info && a.total == b.total && others(a, ours).eq(others(b, ours))
}

fn registered(name: &str) -> EventRecord {
    EventRecord {
        about: Target { resource: served("", "nodes"), key: Key::new("", name), uid: name.to_owned() },
        warning: false,
        reason: "RegisteredNode",
        message: format!("Node {name} event: the kernel has an agent for it"),
        source: EventSource::Component("node-controller"),
    }
}

/// The Event with upstream's reason and wording, and the cause.
fn cidr_not_available(name: &str, why: &str) -> EventRecord {
    EventRecord {
        about: Target { resource: served("", "nodes"), key: Key::new("", name), uid: name.to_owned() },
        warning: false,
        reason: "CIDRNotAvailable",
        message: format!("Node {name} status is now: CIDRNotAvailable: {why}"),
        source: EventSource::Component("cidrAllocator"),
    }
}

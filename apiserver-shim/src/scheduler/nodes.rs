//! Agents and their Nodes: a Node exists as soon as its agent has registered and goes when the agent is gone for good.
//! Written only when it changes, at most once a second each, and never many at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_model::{
    agent::{AgentSnapshot, AgentState},
    ids::{AgentId, FrameworkId},
    operator::Event,
    resources::Resources,
};
use serde_json::Value;
use shim_core::controllers::{EventRecord, Target, served};
use shim_core::rows::{Key, Node};
use shim_model::access;
use shim_model::status::{self, Status};

use super::jobs::Done;
use super::node_projection::{self, POD_CIDR_ATTRIBUTE, attribute, new_node, node_name};
use super::{Runner, now_seconds};
use crate::storage::deletion::DeleteOptions;
use crate::storage::pod_cidrs::{PodCidrError, PodCidrs};
use crate::storage::registry::Registry;
use crate::storage::watch_cache::ChangeKind;

/// The least time between two writes of one Node.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Nodes written at once; they share the store's group commits.
const WRITES_MAX: usize = 128;

/// Agents and Nodes.
#[derive(Debug, Default)]
pub(crate) struct NodeBook {
    agents: HashMap<AgentId, Arc<AgentSnapshot>>,
    node_of: HashMap<AgentId, Box<str>>,
    agent_of: HashMap<Box<str>, AgentId>,
    frameworks: BTreeMap<FrameworkId, String>,
    /// Nodes to bring in line.
    dirty: BTreeSet<Box<str>>,
    writing: BTreeSet<Box<str>>,
    written_at: BTreeMap<Box<str>, Instant>,
    /// Nodes for which no Pod CIDR is left: tried again when one is released.
    without_cidr: BTreeSet<Box<str>>,
}

/// What a job did to a Node.
#[derive(Debug)]
pub(crate) enum NodeWrite {
    /// It is stored as projected.
    Written,
    /// It is stored, without a Pod CIDR for this reason.
    WithoutCidr(String),
    /// It was removed and its Pod CIDR released.
    Removed,
}

impl NodeBook {
    /// The Node of an agent.
    pub fn node_of(&self, id: &AgentId) -> Option<&str> {
        self.node_of.get(id).map(|n| &**n)
    }

    /// The agent of a Node.
    pub fn agent_of(&self, node: &str) -> Option<&AgentId> {
        self.agent_of.get(node)
    }

    /// A new subscription tells all agents anew.
    pub fn forget_agents(&mut self) {
        self.agents.clear();
        self.node_of.clear();
        self.agent_of.clear();
    }
}

impl Runner {
    pub(crate) fn drain_nodes(&mut self) {
        while let Some(deliveries) = self.next_deliveries(|w| &mut w.nodes, "nodes") {
            for delivery in deliveries {
                let name = delivery.object.name();
                if delivery.kind == ChangeKind::Deleted {
                    self.machines.remove_node(name);
                    self.nodes.without_cidr.remove(name);
                    // Deleted by hand while its agent is there: created again, as a kubelet would register again, with the
                    // same Pod CIDR. Without an agent it is gone, and `write_node` releases its Pod CIDR.
                    self.nodes.dirty.insert(name.into());
                    continue;
                }
                let value: Value = serde_json::from_slice(delivery.object.bytes()).unwrap_or_default();
                let node = Node::decode(delivery.object.stored().clone(), delivery.object.revision, &value);
                let is_new = self.machines.put_node(Arc::new(node));
                if is_new || delivery.change.is_some() {
                    self.room_was_made();
                }
            }
        }
    }

    pub(crate) fn take_cluster_event(&mut self, event: Event) {
        match event {
            Event::AgentAdded { agent } | Event::AgentUpdated { agent } => self.agent_changed(agent),
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

    pub(crate) fn agent_changed(&mut self, agent: AgentSnapshot) {
        let Some(id) = agent.info.id.clone() else { return };
        if matches!(agent.state, AgentState::Removed | AgentState::Gone) {
            return self.agent_removed(&id);
        }
        let name: Box<str> = node_name(&agent).into();
        // A machine that registered anew has a new id: the newest that is there counts.
        if let Some(other) = self.nodes.agent_of.get(&name).filter(|other| **other != id) {
            let other_up = self.nodes.agents.get(other).is_some_and(|a| a.state == AgentState::Connected);
            if other_up && agent.state != AgentState::Connected {
                return;
            }
        }
        let ours = self.framework_id.clone();
        let known = self.nodes.agents.get(&id);
        if known.is_some_and(|known| differ_in_our_tasks_only(known, &agent, ours.as_ref())) {
            // Our own launches: neither the Node nor what others hold of it has changed.
            self.nodes.agents.insert(id, Arc::new(agent));
            return;
        }
        self.nodes.agent_of.insert(name.clone(), id.clone());
        self.nodes.node_of.insert(id.clone(), name.clone());
        let agent = Arc::new(agent);
        self.nodes.agents.insert(id, agent.clone());
        if self.machines.put_agent(&name, &agent, ours.as_ref(), &self.nodes.frameworks) {
            self.room_was_made();
        }
        self.nodes.dirty.insert(name);
    }

    fn agent_removed(&mut self, id: &AgentId) {
        self.nodes.agents.remove(id);
        let Some(name) = self.nodes.node_of.remove(id) else { return };
        if self.nodes.agent_of.get(&name) == Some(id) {
            self.nodes.agent_of.remove(&name);
            self.machines.remove_agent(&name);
            self.node_endpoints.remove(&name);
            self.nodes.dirty.insert(name);
        }
    }

    /// Writes Nodes that may have changed.
    pub(crate) fn write_nodes(&mut self, now: Instant) {
        if self.nodes.dirty.is_empty() || self.framework_id.is_none() {
            return;
        }
        let ready: Vec<Box<str>> = self
            .nodes
            .dirty
            .iter()
            .filter(|n| !self.nodes.writing.contains(*n))
            .filter(|n| self.nodes.written_at.get(*n).is_none_or(|at| now >= *at + WRITE_EVERY))
            .take(WRITES_MAX.saturating_sub(self.nodes.writing.len()))
            .cloned()
            .collect();
        for name in ready {
            self.nodes.dirty.remove(&name);
            self.write_node(name, now);
        }
    }

    fn write_node(&mut self, name: Box<str>, now: Instant) {
        let agent = self.nodes.agent_of.get(&name).and_then(|id| self.nodes.agents.get(id)).cloned();
        let stored = self.registry.peek(&served("", "nodes"), "", &name);
        let ours = self.framework_id.clone();
        let Some(agent) = agent else {
            self.start_writing(name.clone(), now);
            let (registry, pod_cidrs) = (self.registry.clone(), self.pod_cidrs.clone());
            self.jobs.start(async move {
                let result = remove_node(&registry, &pod_cidrs, &name, stored.is_some()).await;
                Done::NodeWritten { name: name.into(), result }
            });
            return;
        };
        if let Some(stored) = &stored {
            let mut value: Value = serde_json::from_slice(stored.bytes()).unwrap_or_default();
            let changes = node_projection::project(&mut value, &agent, ours.as_ref(), now_seconds());
            if !changes && !wants_cidr(&value, &agent) {
                return;
            }
        } else {
            self.events.record(registered(&name));
        }
        self.start_writing(name.clone(), now);
        let (registry, pod_cidrs) = (self.registry.clone(), self.pod_cidrs.clone());
        self.jobs.start(async move {
            let result = put_node(&registry, &pod_cidrs, &name, &agent, ours.as_ref()).await;
            Done::NodeWritten { name: name.into(), result }
        });
    }

    fn start_writing(&mut self, name: Box<str>, now: Instant) {
        self.nodes.written_at.insert(name.clone(), now);
        self.nodes.writing.insert(name);
    }

    pub(crate) fn node_written(&mut self, name: &str, result: Result<NodeWrite, Status>) {
        self.nodes.writing.remove(name);
        match result {
            Ok(NodeWrite::Written) => drop(self.nodes.without_cidr.remove(name)),
            Ok(NodeWrite::WithoutCidr(why)) => {
                if self.nodes.without_cidr.insert(name.into()) {
                    tracing::warn!(node = name, why, "no Pod CIDR for this node");
                    self.events.record(cidr_not_available(name, &why));
                }
            }
            Ok(NodeWrite::Removed) => {
                let waiting = std::mem::take(&mut self.nodes.without_cidr);
                self.nodes.dirty.extend(waiting);
            }
            Err(status) => {
                tracing::warn!(%status, name, "node not written yet");
                self.nodes.dirty.insert(name.into());
            }
        }
    }
}

/// Whether the Node has no Pod CIDR, or another one than its agent. One without is tried again when a range is released,
/// so this is asked for Nodes that are to be brought in line anyway.
fn wants_cidr(node: &Value, agent: &AgentSnapshot) -> bool {
    let cidr = access::text(node, &["spec", "podCIDR"]);
    cidr.is_empty() || attribute(agent, POD_CIDR_ATTRIBUTE).is_some_and(|own| own != cidr)
}

/// Whether all that changed is what our framework holds, or is offered.
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
        component: "node-controller",
    }
}

/// Upstream's reason and wording, with the cause.
fn cidr_not_available(name: &str, why: &str) -> EventRecord {
    EventRecord {
        about: Target { resource: served("", "nodes"), key: Key::new("", name), uid: name.to_owned() },
        warning: false,
        reason: "CIDRNotAvailable",
        message: format!("Node {name} status is now: CIDRNotAvailable: {why}"),
        component: "cidrAllocator",
    }
}

/// Removes the Node of an agent that is gone for good, and releases its Pod CIDR.
async fn remove_node(
    registry: &Registry,
    pod_cidrs: &PodCidrs,
    name: &str,
    stored: bool,
) -> Result<NodeWrite, Status> {
    if stored {
        match registry.delete(&served("", "nodes"), "", name, &DeleteOptions::default()).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    pod_cidrs.release(name).await.map_err(|error| status::service_unavailable(error.to_string()))?;
    Ok(NodeWrite::Removed)
}

async fn put_node(
    registry: &Registry,
    pod_cidrs: &PodCidrs,
    name: &str,
    agent: &AgentSnapshot,
    ours: Option<&FrameworkId>,
) -> Result<NodeWrite, Status> {
    let resource = &served("", "nodes");
    let stored = registry.peek(resource, "", name);
    let (mut cidr, mut refused) = (None, None);
    if stored.as_ref().is_none_or(|stored| wants_cidr(&stored.value(), agent)) {
        let requested = attribute(agent, POD_CIDR_ATTRIBUTE).and_then(|own| own.parse().ok());
        match pod_cidrs.assign(name, requested).await {
            Ok(assigned) => cidr = Some(assigned.to_string()),
            Err(PodCidrError::Refused(why)) => refused = Some(why.to_string()),
            Err(error) => return Err(status::service_unavailable(error.to_string())),
        }
    }
    let written = match refused {
        None => NodeWrite::Written,
        Some(why) => NodeWrite::WithoutCidr(why),
    };
    if stored.is_none() {
        let mut node = new_node(agent, cidr.as_deref());
        node_projection::project(&mut node, agent, ours, now_seconds());
        match registry.create_raw(resource, node).await {
            Err(status) if status.code == 409 => {}
            other => return other.map(|_| written),
        }
    }
    let projected = registry
        .update_with(resource, "", name, |node| {
            if let Some(cidr) = &cidr {
                node_projection::set_pod_cidr(node, cidr);
            }
            node_projection::project(node, agent, ours, now_seconds());
            Ok(())
        })
        .await;
    projected.map(|_| written)
}

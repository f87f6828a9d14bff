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
use shim_model::status::Status;

use super::jobs::Done;
use super::node_projection::{self, POD_CIDR_ATTRIBUTE, attribute, new_node, node_name, pod_cidr};
use super::{Runner, now_seconds};
use crate::storage::deletion::DeleteOptions;
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
    /// Pod networks in use, by number, and whose.
    networks: BTreeMap<String, Box<str>>,
    next_network: usize,
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

    /// The lowest free Pod network, or the one that the agent has.
    fn network(&mut self, agent: &AgentSnapshot, node: &str) -> Option<String> {
        if let Some(own) = attribute(agent, POD_CIDR_ATTRIBUTE) {
            self.networks.insert(own.to_owned(), node.into());
            return Some(own.to_owned());
        }
        loop {
            let cidr = pod_cidr(self.next_network)?;
            if !self.networks.contains_key(&cidr) {
                self.networks.insert(cidr.clone(), node.into());
                return Some(cidr);
            }
            self.next_network += 1;
        }
    }
}

impl Runner {
    pub(crate) fn drain_nodes(&mut self) {
        while let Some(deliveries) = self.next_deliveries(|w| &mut w.nodes, "nodes") {
            for delivery in deliveries {
                let name = delivery.object.name();
                if delivery.kind == ChangeKind::Deleted {
                    self.machines.remove_node(name);
                    self.nodes.networks.retain(|_, n| **n != *name);
                    self.nodes.next_network = 0;
                    // Deleted by hand while its agent is there: it comes back, as a kubelet would register again.
                    if self.nodes.agent_of.contains_key(name) {
                        self.nodes.dirty.insert(name.into());
                    }
                    continue;
                }
                let value: Value = serde_json::from_slice(delivery.object.bytes()).unwrap_or_default();
                let cidr = access::text(&value, &["spec", "podCIDR"]);
                if !cidr.is_empty() {
                    self.nodes.networks.insert(cidr.to_owned(), name.into());
                }
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
        let stored = self.registry.peek(served("", "nodes"), "", &name);
        let ours = self.framework_id.clone();
        let Some(agent) = agent else {
            if stored.is_some() {
                self.start_writing(name.clone(), now);
                let registry = self.registry.clone();
                self.jobs.start(async move {
                    let result = remove_node(&registry, &name).await;
                    Done::NodeWritten { name: name.into(), result }
                });
            }
            return;
        };
        if let Some(stored) = &stored {
            let mut value: Value = serde_json::from_slice(stored.bytes()).unwrap_or_default();
            if !node_projection::project(&mut value, &agent, ours.as_ref(), now_seconds()) {
                return;
            }
        }
        let cidr = if stored.is_none() { self.nodes.network(&agent, &name) } else { None };
        if stored.is_none() {
            self.events.record(registered(&name));
        }
        self.start_writing(name.clone(), now);
        let registry = self.registry.clone();
        self.jobs.start(async move {
            let result = put_node(&registry, &name, &agent, ours.as_ref(), cidr).await;
            Done::NodeWritten { name: name.into(), result }
        });
    }

    fn start_writing(&mut self, name: Box<str>, now: Instant) {
        self.nodes.written_at.insert(name.clone(), now);
        self.nodes.writing.insert(name);
    }

    pub(crate) fn node_written(&mut self, name: &str, result: Result<(), Status>) {
        self.nodes.writing.remove(name);
        if let Err(status) = result {
            tracing::warn!(%status, name, "node not written yet");
            self.nodes.dirty.insert(name.into());
        }
    }
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

async fn remove_node(registry: &Registry, name: &str) -> Result<(), Status> {
    match registry.delete(served("", "nodes"), "", name, &DeleteOptions::default()).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

async fn put_node(
    registry: &Registry,
    name: &str,
    agent: &AgentSnapshot,
    ours: Option<&FrameworkId>,
    cidr: Option<String>,
) -> Result<(), Status> {
    let resource = &served("", "nodes");
    if registry.peek(resource, "", name).is_none() {
        let mut node = new_node(agent, cidr);
        node_projection::project(&mut node, agent, ours, now_seconds());
        match registry.create_raw(resource, node).await {
            Err(status) if status.code == 409 => {}
            other => return other.map(drop),
        }
    }
    let projected = registry
        .update_with(resource, "", name, |node| {
            node_projection::project(node, agent, ours, now_seconds());
            Ok(())
        })
        .await;
    projected.map(drop)
}

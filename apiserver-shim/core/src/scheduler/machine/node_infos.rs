//! NodeInfos as the cycle sees them, kept up to date change by change: Nodes, what our Pods use of them, what others hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::rows::{Node, Pod};
use crate::scheduler::{Amounts, Held, HostPort, NodeInfo, Rankings};
use kernel_model::{agent::AgentSnapshot, ids::FrameworkId};

use super::node_projection::{
    PODS_MAX, RUNTIME_ATTRIBUTE, amounts, attribute, executor_share, held_by_others,
};

/// What Pods use of a node, known before and after the Node itself is.
#[derive(Debug, Default, Clone)]
struct Usage {
    amounts: Amounts,
    pods: usize,
    host_ports: Vec<HostPort>,
}

/// What the kernel says of a node's agent.
#[derive(Debug, Default, Clone)]
struct Agent {
    total: Amounts,
    held: Held,
    lacking: Option<Box<str>>,
}

/// Every node.
#[derive(Debug, Default)]
pub(super) struct NodeInfos {
    /// Every Node, in the order of names.
    pub all: Vec<NodeInfo>,
    /// What equivalence classes of Pods have found of them.
    pub scores: Rankings,
    index: HashMap<Box<str>, usize>,
    usage: HashMap<Box<str>, Usage>,
    agents: HashMap<Box<str>, Agent>,
}

impl NodeInfos {
    /// The index of a node.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// A Node is new or has changed. Returns whether it is new.
    pub fn put_node(&mut self, node: Arc<Node>) -> bool {
        let name = node.name().to_owned();
        if let Some(at) = self.index(&name) {
            self.all[at].node = node;
            self.scores.changed(at);
            return false;
        }
        let at = self.all.partition_point(|m| m.node.name() < name.as_str());
        let info = NodeInfo {
            node,
            total: Amounts::default(),
            pods_max: PODS_MAX,
            pods: 0,
            used: Amounts::default(),
            host_ports: Vec::new(),
            held: Held::default(),
            lacking: None,
        };
        self.all.insert(at, info);
        self.scores.clear();
        // Nodes come in the order of names at the start, so that this is short then.
        for later in &self.all[at..] {
            let position = self.index.entry(later.node.name().into()).or_default();
            *position = if *later.node.name() == *name { at } else { *position + 1 };
        }
        self.refresh_usage(&name);
        self.refresh_agent(&name);
        true
    }

    /// A Node is gone.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.remove(name) else { return };
        self.all.remove(at);
        self.scores.clear();
        self.index.values_mut().filter(|i| **i > at).for_each(|i| *i -= 1);
    }

    /// What the kernel says of a node has changed. Returns whether more may fit now.
    pub fn put_agent(
        &mut self,
        name: &str,
        snapshot: &AgentSnapshot,
        ours: Option<&FrameworkId>,
        names: &BTreeMap<FrameworkId, String>,
    ) -> bool {
        let mut total = amounts(&snapshot.total);
        total.subtract(&executor_share());
        let (held, by) = held_by_others(snapshot, ours);
        let mut by: Vec<Box<str>> =
            by.iter().map(|id| names.get(id).map_or(id.as_str(), String::as_str).into()).collect();
        by.sort_unstable();
        by.dedup();
        let lacking = attribute(snapshot, RUNTIME_ATTRIBUTE).map(Box::from);
        let agent = Agent { total, held: Held { amounts: held, by }, lacking };
        let before = self.agents.insert(name.into(), agent.clone());
        self.refresh_agent(name);
        before.is_none_or(|b| b.total != agent.total || b.held != agent.held || b.lacking != agent.lacking)
    }

    /// A node's agent is gone.
    pub fn remove_agent(&mut self, name: &str) {
        self.agents.remove(name);
        self.refresh_agent(name);
    }

    /// A Pod came to a node.
    pub fn occupy(&mut self, node: &str, pod: &Pod) {
        let usage = self.usage.entry(node.into()).or_default();
        usage.amounts.add(&pod.shape.charge());
        usage.pods += 1;
        usage.host_ports.extend(pod.shape.host_ports.iter().cloned());
        self.refresh_usage(node);
    }

    /// A Pod left a node.
    pub fn vacate(&mut self, node: &str, pod: &Pod) {
        let Some(usage) = self.usage.get_mut(node) else { return };
        usage.amounts.subtract(&pod.shape.charge());
        usage.pods = usage.pods.saturating_sub(1);
        for port in &pod.shape.host_ports {
            if let Some(at) = usage.host_ports.iter().position(|p| p == port) {
                usage.host_ports.swap_remove(at);
            }
        }
        if usage.pods == 0 {
            self.usage.remove(node);
        }
        self.refresh_usage(node);
    }

    /// Brings what is known of a node in line with what its Pods use.
    fn refresh_usage(&mut self, name: &str) {
        let Some(at) = self.index(name) else { return };
        self.scores.changed(at);
        let info = &mut self.all[at];
        match self.usage.get(name) {
            Some(usage) => {
                info.used.clone_from(&usage.amounts);
                info.pods = usage.pods;
                info.host_ports.clone_from(&usage.host_ports);
            }
            None => {
                info.used = Amounts::default();
                info.pods = 0;
                info.host_ports.clear();
            }
        }
    }

    /// The same with what its agent is.
    fn refresh_agent(&mut self, name: &str) {
        let Some(at) = self.index(name) else { return };
        self.scores.changed(at);
        let info = &mut self.all[at];
        let agent = self.agents.get(name);
        info.total = agent.map(|a| a.total.clone()).unwrap_or_default();
        info.held = agent.map(|a| a.held.clone()).unwrap_or_default();
        info.lacking = agent.and_then(|a| a.lacking.clone());
    }
}

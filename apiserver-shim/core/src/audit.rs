//! The API server's invariants as numbered checks. The auditor examines finished states and shares no code with their
//! producers, so that both can disagree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    rows::{Node, Pod},
    scheduler::{Amounts, HostPort},
};

/// The state to audit.
#[derive(Debug, Default)]
pub struct State<'a> {
    /// Every Pod.
    pub pods: Vec<&'a Pod>,
    /// All Nodes. What runs on a Node that is not ready is unknown.
    pub nodes: Vec<&'a Node>,
    /// The tasks of Pods that are not terminal: ID and node.
    pub tasks: Vec<(&'a str, &'a str)>,
    /// The total resources of each node's agent, by node name.
    pub totals: BTreeMap<&'a str, Amounts>,
}

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The invariant, as numbered in ARCHITECTURE.md.
    pub invariant: Invariant,
    /// The object or task concerned.
    pub about: String,
    /// What is wrong.
    pub detail: String,
}

/// The API server's invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A Pod has at most one task.
    OneTask,
    /// A bound Pod has a task, and it is on the node that the Pod is bound to.
    TaskWhereBound,
    /// Every task has a Pod.
    NoOrphanTask,
    /// The unfinished Pods bound to a node request no more than its agent has.
    WithinCapacity,
    /// No two Pods on a node use the same host port.
    HostPortsOnce,
    /// No two active Pods have the same UID or IP address.
    UniqueIdentity,
}

impl Invariant {
    /// The invariant's number in ARCHITECTURE.md.
    pub fn code(self) -> &'static str {
        match self {
            Invariant::OneTask => "INV-31",
            Invariant::TaskWhereBound => "INV-32",
            Invariant::NoOrphanTask => "INV-33",
            Invariant::WithinCapacity => "INV-34",
            Invariant::HostPortsOnce => "INV-35",
            Invariant::UniqueIdentity => "INV-36",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant.code(), self.about, self.detail)
    }
}

/// All violations, in order.
pub fn audit(state: &State<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    tasks(state, &mut notes);
    missing_tasks(state, &mut notes);
    capacity(state, &mut notes);
    unique(state, &mut notes);
    notes.sort();
    notes
}

fn tasks(state: &State<'_>, notes: &mut Vec<Note>) {
    let pods: BTreeMap<&str, &Pod> = state.pods.iter().map(|p| (p.uid(), *p)).collect();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (task, node) in &state.tasks {
        let mut note = |invariant, detail| notes.push(Note { invariant, about: (*task).to_owned(), detail });
        if let Some(other) = seen.insert(task, node) {
            note(Invariant::OneTask, format!("runs on {other} and on {node}"));
        }
        match pods.get(task) {
            None => note(Invariant::NoOrphanTask, format!("runs on {node} without a pod")),
            Some(pod) => match pod.node.as_deref() {
                Some(bound) if bound != *node => {
                    note(Invariant::TaskWhereBound, format!("runs on {node}, its pod is bound to {bound}"));
                }
                _ => {}
            },
        }
    }
}

/// Bound Pods without a task. This is legitimate if the Pod has finished, if it is being deleted and its task ended
/// first, or if its node is not ready. It is also legitimate for a while after a client bound the Pod, or when the
/// loss of its task has yet to be reported. Objects and tasks are never read at the same moment, so only a violation
/// that persists counts.
fn missing_tasks(state: &State<'_>, notes: &mut Vec<Note>) {
    let tasks: BTreeSet<&str> = state.tasks.iter().map(|(task, _)| *task).collect();
    let ready: BTreeSet<&str> =
        state.nodes.iter().filter(|node| node.is_ready()).map(|node| node.name()).collect();
    for pod in state.pods.iter().filter(|pod| pod.is_active() && !tasks.contains(pod.uid())) {
        if let Some(node) = pod.node.as_deref().filter(|node| ready.contains(node)) {
            let detail = format!("is bound to {node}, where it has no task");
            notes.push(Note { invariant: Invariant::TaskWhereBound, about: pod.uid().to_owned(), detail });
        }
    }
}

fn capacity(state: &State<'_>, notes: &mut Vec<Note>) {
    let mut used: BTreeMap<&str, (Amounts, Vec<&HostPort>)> = BTreeMap::new();
    for pod in state.pods.iter().filter(|p| !p.phase.is_terminal()) {
        let Some(node) = pod.node.as_deref() else { continue };
        let (amounts, ports) = used.entry(node).or_default();
        amounts.add(pod.requests());
        for port in &pod.shape.host_ports {
            if ports.iter().any(|p| p.conflicts_with(port)) {
                let detail = format!("host port {} is wanted twice", port.port);
                notes.push(Note { invariant: Invariant::HostPortsOnce, about: node.to_owned(), detail });
            }
            ports.push(port);
        }
    }
    for (node, (amounts, _)) in used {
        let Some(total) = state.totals.get(node) else { continue };
        for resource in total.lacking(&amounts) {
            let detail = format!("bound pods request more {resource} than there is");
            notes.push(Note { invariant: Invariant::WithinCapacity, about: node.to_owned(), detail });
        }
    }
}

fn unique(state: &State<'_>, notes: &mut Vec<Note>) {
    let mut uids: BTreeMap<&str, &Pod> = BTreeMap::new();
    let mut ips: BTreeMap<&str, &Pod> = BTreeMap::new();
    for pod in &state.pods {
        let about = || crate::rows::Key::of(pod.header()).to_string();
        if uids.insert(pod.uid(), pod).is_some() {
            notes.push(Note {
                invariant: Invariant::UniqueIdentity,
                about: about(),
                detail: "uid is not unique".to_owned(),
            });
        }
        let live = !pod.phase.is_terminal();
        let Some(ip) = pod.ips.first().filter(|_| live) else { continue };
        if let Some(other) = ips.insert(ip, pod)
            && other.node != pod.node
        {
            let detail = format!("has {ip}, as {} on another node has", other.header().name);
            notes.push(Note { invariant: Invariant::UniqueIdentity, about: about(), detail });
        }
    }
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;

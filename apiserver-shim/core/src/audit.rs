//! The API server's invariants as numbered notes. The auditor judges finished states; it knows none of the code that makes
//! them, so that the two can disagree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    rows::{Node, Pod},
    scheduler::{Amounts, HostPort},
};

/// All that the auditor looks at.
#[derive(Debug, Default)]
pub struct State<'a> {
    /// Every Pod.
    pub pods: Vec<&'a Pod>,
    /// Every Node. Of one that is not ready nobody knows what runs there.
    pub nodes: Vec<&'a Node>,
    /// Every task of a Pod that is not terminal: its ID and the node it is on.
    pub tasks: Vec<(&'a str, &'a str)>,
    /// What each node's agent has in all, by node name.
    pub totals: BTreeMap<&'a str, Amounts>,
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Its number, as in ARCHITECTURE.md.
    pub invariant: Invariant,
    /// The object or task concerned.
    pub about: String,
    /// What is wrong.
    pub detail: String,
}

/// The API server's invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A Pod has one task at most.
    OneTask,
    /// A Pod that is bound has its task, and where it is bound.
    TaskWhereBound,
    /// A task has its Pod.
    NoOrphanTask,
    /// Bound Pods that have not ended request no more than their node's agent has.
    WithinCapacity,
    /// No two Pods of a node want the same host port.
    HostPortsOnce,
    /// No two Pods that live have the same UID or the same IP.
    NoTwins,
}

impl Invariant {
    /// How it is called in ARCHITECTURE.md.
    pub fn code(self) -> &'static str {
        match self {
            Invariant::OneTask => "INV-31",
            Invariant::TaskWhereBound => "INV-32",
            Invariant::NoOrphanTask => "INV-33",
            Invariant::WithinCapacity => "INV-34",
            Invariant::HostPortsOnce => "INV-35",
            Invariant::NoTwins => "INV-36",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant.code(), self.about, self.detail)
    }
}

/// Every broken invariant, in order.
pub fn audit(state: &State<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    tasks(state, &mut notes);
    missing_tasks(state, &mut notes);
    capacity(state, &mut notes);
    twins(state, &mut notes);
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

/// Bound Pods without a task. There is none yet, or none any more, in these windows: the Pod has ended; it is being deleted
/// and its task ended first; its node is not ready. A Pod that was just bound by hand waits for its launch, and one whose
/// task was lost for the news of that: objects and tasks are never of the same moment, so a note counts if it stands.
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
        amounts.add(&pod.shape.requests);
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

fn twins(state: &State<'_>, notes: &mut Vec<Note>) {
    let mut uids: BTreeMap<&str, &Pod> = BTreeMap::new();
    let mut ips: BTreeMap<&str, &Pod> = BTreeMap::new();
    for pod in &state.pods {
        let about = || crate::rows::Key::of(pod.header()).to_string();
        if uids.insert(pod.uid(), pod).is_some() {
            notes.push(Note {
                invariant: Invariant::NoTwins,
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
            notes.push(Note { invariant: Invariant::NoTwins, about: about(), detail });
        }
    }
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;

//! Why a Pod waits: typed, counted by node, and worded here only. The words are upstream's where upstream has the case:
//! people and programs read them.

use std::{collections::BTreeMap, fmt};

/// Why one node is no place for one Pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Cordoned.
    Unschedulable,
    /// The Pod is bound to another node.
    OtherNode,
    /// A taint.
    #[allow(missing_docs)]
    Taint { key: Box<str>, value: Box<str> },
    /// `nodeSelector` or required node affinity.
    NodeSelector,
    /// A host port is taken.
    HostPorts,
    /// Too little of a resource, by our own Pods' use or altogether.
    Insufficient(Box<str>),
    /// As many Pods as the node may run.
    TooManyPods,
    /// Enough of a resource, but other frameworks have it.
    #[allow(missing_docs)]
    HeldBy { resource: Box<str>, frameworks: Vec<Box<str>> },
    /// Nothing there can run containers, for want of these packages.
    #[allow(missing_docs)]
    RuntimeMissing { lacking: Box<str> },
    /// It would fit, but the kernel offers it to others: fair share, quota, or a filter.
    NoOffer {
        /// The role of the Pod's namespace.
        role: Box<str>,
    },
}

impl Reason {
    /// A stable code, for metrics and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Unschedulable => "NodeUnschedulable",
            Reason::OtherNode => "NodeName",
            Reason::Taint { .. } => "TaintToleration",
            Reason::NodeSelector => "NodeAffinity",
            Reason::HostPorts => "NodePorts",
            Reason::Insufficient(_) | Reason::TooManyPods => "NodeResourcesFit",
            Reason::HeldBy { .. } => "HeldByFrameworks",
            Reason::RuntimeMissing { .. } => "RuntimeMissing",
            Reason::NoOffer { .. } => "NoOffer",
        }
    }

    /// Whether waiting for an offer is all that is needed.
    pub fn may_pass_by_itself(&self) -> bool {
        matches!(self, Reason::NoOffer { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unschedulable => f.write_str("node(s) were unschedulable"),
            Reason::OtherNode => f.write_str("node(s) didn't match the requested node name"),
            Reason::Taint { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Reason::NodeSelector => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Reason::HostPorts => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Reason::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Reason::TooManyPods => f.write_str("Too many pods"),
            Reason::HeldBy { resource, frameworks } => {
                write!(f, "node(s) had {resource} held by {}", frameworks.join(", "))
            }
            Reason::RuntimeMissing { lacking } => write!(
                f,
                "node(s) lacked what containers need (on Debian: apt-get install {lacking}, then start the agent anew)"
            ),
            Reason::NoOffer { role } => {
                write!(f, "node(s) made no offer in role {role} (fair share, quota or filter)")
            }
        }
    }
}

/// Why a Pod waits that was launched on a node before a crash, when nobody knows yet whether it runs there.
pub fn held_by_intent(node: &str) -> String {
    format!(
        "waiting for node {node}, which may have started this pod before a restart and has not come back yet"
    )
}

/// Why no node is a place for a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Report {
    pub nodes: usize,
    pub reasons: BTreeMap<Reason, usize>,
    pub preemption: Option<Preemption>,
}

/// What evicting other Pods would do for it. Nothing is evicted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preemption {
    /// Nodes on which it would not help.
    pub helpless: usize,
    /// There may be Pods of less importance.
    pub wanted: bool,
}

impl Report {
    /// Whether some node would do as soon as the kernel offers it.
    pub fn waits_for_offer(&self) -> bool {
        self.reasons.keys().any(Reason::may_pass_by_itself)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> = self.reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))?;
        match self.preemption {
            None => Ok(()),
            Some(Preemption { wanted: true, helpless }) if helpless < self.nodes => f.write_str(
                " preemption: not attempted: this scheduler does not evict pods of lower priority yet.",
            ),
            Some(Preemption { helpless, .. }) => {
                let of = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
                let parts = [
                    of(helpless, "Preemption is not helpful for scheduling"),
                    of(self.nodes - helpless.min(self.nodes), "No preemption victims found for incoming pod"),
                ];
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                write!(f, " preemption: 0/{} nodes are available: {}.", self.nodes, parts.join(", "))
            }
        }
    }
}

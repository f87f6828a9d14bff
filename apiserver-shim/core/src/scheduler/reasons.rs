//! Why a Pod waits: typed, counted by node, and worded here only. The texts are upstream's where upstream has the case:
//! people and programs read them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{PluginSet, Refusal, shape::UnsupportedConstraint};

/// Why one node does not take a Pod, or why a Pod is not tried on any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Cordoned.
    Unschedulable,
    /// The Pod is bound to another node.
    OtherNode,
    /// A taint that the Pod does not tolerate.
    Taint {
        /// Its key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
    },
    /// `nodeSelector` or required node affinity.
    NodeSelector,
    /// A host port is taken.
    HostPorts,
    /// Too little of a resource beside our other Pods, or altogether.
    Insufficient(Box<str>),
    /// As many Pods as the node may run.
    TooManyPods,
    /// Enough of a resource, but other frameworks have it.
    HeldBy {
        /// Which resource.
        resource: Box<str>,
        /// The names of the frameworks.
        frameworks: Vec<Box<str>>,
    },
    /// Nothing there can run containers without these packages.
    RuntimeMissing {
        /// The packages.
        lacking: Box<str>,
    },
    /// It would fit, but the kernel offers it to others: fair share, quota, or a filter.
    NoOffer {
        /// The role of the Pod's namespace.
        role: Arc<str>,
    },
    /// `spec.schedulingGates`.
    Gated,
    /// A hard constraint that no plugin implements yet.
    Unsupported(UnsupportedConstraint),
    /// A Permit plugin delayed the Pod for too long.
    PermitTimeout,
    /// The reason of a plugin that has no variant of its own.
    Plugin {
        /// The plugin.
        plugin: &'static str,
        /// What people read.
        text: &'static str,
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
            Reason::Gated => "SchedulingGates",
            Reason::Unsupported(_) => "UnsupportedConstraints",
            Reason::PermitTimeout => "PermitTimeout",
            Reason::Plugin { plugin, .. } => plugin,
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
            Reason::Gated => f.write_str("pod has scheduling gates"),
            Reason::Unsupported(constraint) => {
                write!(f, "pod has {}, which this scheduler does not support yet", constraint.as_str())
            }
            Reason::PermitTimeout => f.write_str("timed out waiting on permit"),
            Reason::Plugin { text, .. } => f.write_str(text),
        }
    }
}

/// Why a Pod waits whose launch on a node was intended before a crash, while it is not known whether it runs there.
pub fn held_by_intent(node: &str) -> String {
    format!(
        "waiting for node {node}, which may have started this pod before a restart and has not come back yet"
    )
}

/// Why no node takes a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes have each reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// Why the Pod is refused whatever the nodes are.
    pub of_pod: Option<Reason>,
    /// Nodes that would stay refused if Pods were evicted from them.
    pub unresolvable: usize,
    /// What preemption would do.
    pub preemption: Option<Preemption>,
    /// The plugins that refused, by their index in the Pod's profile.
    pub refused_by: PluginSet,
}

/// What evicting other Pods would do for a Pod. Nothing is evicted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preemption {
    /// Nodes on which it would not help.
    pub not_helpful: usize,
    /// There may be Pods of lower priority.
    pub wanted: bool,
}

impl Report {
    /// A plugin refuses a node.
    pub(super) fn add(&mut self, plugin: usize, refusal: Refusal) {
        self.refused_by.insert(plugin);
        self.unresolvable += usize::from(refusal.unresolvable);
        for reason in refusal.more.into_iter().chain([refusal.reason]) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// A plugin refuses the Pod.
    pub(super) fn add_for_pod(&mut self, plugin: usize, refusal: &Refusal) {
        self.refused_by.insert(plugin);
        self.of_pod = Some(refusal.reason.clone());
    }

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
        reasons.extend(self.of_pod.iter().map(ToString::to_string));
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))?;
        match self.preemption {
            None => Ok(()),
            Some(Preemption { wanted: true, not_helpful }) if not_helpful < self.nodes => f.write_str(
                " preemption: not attempted: this scheduler does not evict pods of lower priority yet.",
            ),
            Some(Preemption { not_helpful, .. }) => {
                let of = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
                let parts = [
                    of(not_helpful, "Preemption is not helpful for scheduling"),
                    of(
                        self.nodes - not_helpful.min(self.nodes),
                        "No preemption victims found for incoming pod",
                    ),
                ];
                let parts: Vec<String> = parts.into_iter().flatten().collect();
                write!(f, " preemption: 0/{} nodes are available: {}.", self.nodes, parts.join(", "))
            }
        }
    }
}

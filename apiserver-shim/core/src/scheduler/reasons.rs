//! Why a Pod is pending: typed reasons, counted by node. Their texts are defined only here and follow upstream's,
//! because people and programs read them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    PluginSet, Refusal,
    shape::{DeviceClaim, UnsupportedConstraint},
    volumes::ClaimRefusal,
};

/// Why a node cannot take a Pod, or why a Pod is not tried at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    /// The node is cordoned.
    Unschedulable,
    /// The Pod is bound to another node.
    OtherNode,
    /// The node has a taint that the Pod does not tolerate.
    Taint { key: Box<str>, value: Box<str> },
    /// The node does not match `nodeSelector` or required node affinity.
    NodeSelector,
    /// A host port is in use.
    HostPorts,
    /// The node has too little of a resource, in total or besides our other Pods.
    Insufficient(Box<str>),
    /// The node runs its maximum number of Pods.
    TooManyPods,
    /// Other frameworks hold the resource.
    HeldBy {
        resource: Box<str>,
        /// The names of the frameworks.
        frameworks: Vec<Box<str>>,
    },
    /// The node cannot run containers without these packages.
    RuntimeMissing { lacking: Box<str> },
    /// The Pod would fit, but the kernel offers nothing to its role: fair share, quota or a filter.
    NoOffer {
        /// The role of the Pod's namespace.
        role: Arc<str>,
    },
    /// The Pod has `spec.schedulingGates`.
    Gated,
    /// The Pod has a hard constraint that no plugin implements yet.
    Unsupported(UnsupportedConstraint),
    /// A PersistentVolumeClaim of the Pod keeps it from all nodes.
    Claim(ClaimRefusal),
    /// The Pod needs a ResourceClaim that does not exist.
    NoDevice(DeviceClaim),
    /// A Permit plugin delayed the Pod for too long.
    PermitTimeout,
    /// A reason of a plugin without a variant of its own.
    Plugin {
        plugin: &'static str,
        /// The text for users.
        text: &'static str,
    },
}

impl Reason {
    /// A stable code for metrics and programs.
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
            Reason::Claim(_) => "VolumeBinding",
            Reason::NoDevice(_) => "DynamicResources",
            Reason::PermitTimeout => "PermitTimeout",
            Reason::Plugin { plugin, .. } => plugin,
        }
    }

    /// Whether the Pod only needs to wait for an offer.
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
                "node(s) lacked what containers need (on Debian: apt-get install {lacking}, then restart the agent)"
            ),
            Reason::NoOffer { role } => {
                write!(f, "node(s) made no offer in role {role} (fair share, quota or filter)")
            }
            Reason::Gated => f.write_str("pod has scheduling gates"),
            Reason::Unsupported(constraint) => {
                write!(f, "pod has {}, which this scheduler does not support yet", constraint.as_str())
            }
            Reason::Claim(refusal) => write_claim(refusal, f),
            Reason::NoDevice(DeviceClaim::Named(name)) => write!(f, "resourceclaim \"{name}\" not found"),
            Reason::NoDevice(DeviceClaim::OfTemplate(name)) => {
                write!(f, "waiting for resource claim controller to create the resourceclaim of \"{name}\"")
            }
            Reason::PermitTimeout => f.write_str("timed out waiting on permit"),
            Reason::Plugin { text, .. } => f.write_str(text),
        }
    }
}

fn write_claim(refusal: &ClaimRefusal, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match refusal {
        ClaimRefusal::NotFound(name) => write!(f, "persistentvolumeclaim \"{name}\" not found"),
        ClaimRefusal::NotMade(name) => {
            let controller = "waiting for ephemeral volume controller to create the persistentvolumeclaim";
            write!(f, "{controller} \"{name}\"")
        }
        ClaimRefusal::Lost { claim, volume } => {
            write!(f, "persistentvolumeclaim \"{claim}\" bound to non-existent persistentvolume \"{volume}\"")
        }
        ClaimRefusal::Deleting(name) => write!(f, "persistentvolumeclaim \"{name}\" is being deleted"),
        ClaimRefusal::NotOwned { namespace, claim, pod } => {
            write!(f, "PVC {namespace}/{claim} was not created for pod {namespace}/{pod} (pod is not owner)")
        }
        ClaimRefusal::BeingProvisioned { claim, node } => {
            write!(
                f,
                "waiting for the volume of persistentvolumeclaim \"{claim}\" to be provisioned for node \"{node}\""
            )
        }
        ClaimRefusal::UnboundImmediate => f.write_str("pod has unbound immediate PersistentVolumeClaims"),
    }
}

/// The message of a Pod whose launch on a node was intended before a crash and may have happened.
pub fn held_by_intent(node: &str) -> String {
    format!(
        "waiting for node {node}, which may have started this pod before a restart and has not come back yet"
    )
}

/// Why no node can take the Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The number of nodes.
    pub nodes: usize,
    /// The number of nodes per reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// Why the Pod is refused independent of nodes.
    pub of_pod: Option<Reason>,
    /// The nodes that may take the Pod once Pods are evicted from them.
    pub resolvable: Vec<usize>,
    /// Why no Pod of lower priority is evicted for it.
    pub preemption: Option<Preemption>,
    /// Whether it has been decided that nothing is evicted for the Pod.
    pub(crate) is_final: bool,
    /// The plugins that refused, by their index in the profile.
    pub refused_by: PluginSet,
}

/// Why no Pod of lower priority is evicted for a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preemption {
    /// The Pod may not preempt others, or not now.
    NotEligible(&'static str),
    /// No node: how many have which reason.
    NoCandidates(BTreeMap<Box<str>, usize>),
}

impl Report {
    /// Adds a plugin's refusal of a node, which has this index.
    pub(super) fn add(&mut self, node: usize, plugin: usize, refusal: Refusal) {
        self.refused_by.insert(plugin);
        if !refusal.unresolvable {
            self.resolvable.push(node);
        }
        for reason in refusal.more.into_iter().chain([refusal.reason]) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Adds a plugin's refusal of the Pod.
    pub(super) fn add_for_pod(&mut self, plugin: usize, refusal: &Refusal) {
        self.refused_by.insert(plugin);
        self.of_pod = Some(refusal.reason.clone());
    }

    /// Whether some node only lacks an offer.
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
        match &self.preemption {
            None => Ok(()),
            Some(Preemption::NotEligible(why)) => write!(f, " preemption: {why}"),
            Some(Preemption::NoCandidates(reasons)) => {
                let mut parts: Vec<String> =
                    reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
                parts.sort();
                write!(f, " preemption: 0/{} nodes are available: {}.", self.nodes, parts.join(", "))
            }
        }
    }
}

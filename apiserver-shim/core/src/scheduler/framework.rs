//! The scheduling framework: the extension points that a plugin can implement, under upstream's names.
//!
//! ```text
//! PreEnqueue ─▶ QueueSort ─▶ PreFilter ─▶ Filter ─▶ PreScore ─▶ Score ─▶ Reserve ─▶ Permit ─▶ PreBind ─▶ kernel launch
//!                                │ DomainRule │                   │ DomainRule            (upstream's Bind)
//!                                └─ none fits ─▶ PostFilter
//! ```
//!
//! A plugin implements [`Plugin`], which returns the extension points that it implements. There are two kinds of rules:
//! [`Filter`] and [`Score`] evaluate one node, and [`DomainRule`] evaluates Pod counts per topology domain. Their results
//! are cached separately (`score_cache`, `domain_ranking`), so neither kind may read the inputs of the other.
//!
//! A `profile` is the static list of plugins of a scheduler name.

mod events;
mod node_view;
mod profile;

pub use events::{ClusterEvent, EventSet, QueueingHint};
pub(crate) use node_view::NOTHING_PLACED;
pub use node_view::{NodeView, Placed};
pub use profile::{
    DEFAULT_PLUGINS, ExtensionPoint, PluginChoice, PluginEntry, PluginSet, Profile, ProfileError, Profiles,
};

use std::{cmp::Ordering, fmt::Debug, time::Duration};

use super::{
    Amounts, DomainCount, DomainQuery, NodeInfo, PendingPod, PodShape, Reason,
    preemption::{DryRun, PostFilterResult},
};
use crate::rows::Pod;

/// The highest score of a plugin for a node: upstream's 100 points, in thousandths.
pub const MAX_SCORE: i64 = 100_000;

/// A plugin. It implements the extension points for which it returns `Some`.
pub trait Plugin: Debug + Send + Sync {
    /// The plugin's name; upstream's if upstream has the plugin.
    fn name(&self) -> &'static str;

    /// The events after which a Pod that the plugin refused may be schedulable. Without any, only a change of the Pod
    /// or the periodic flush of the queue leads to another attempt.
    fn events(&self) -> EventSet {
        EventSet::NONE
    }

    /// Whether an event may help a Pod that the plugin refused. May read only what Pods of one class share: shape,
    /// role and node. Returns `Queue` when in doubt.
    fn queueing_hint(&self, _pod: &PendingPod, _event: &ClusterEvent<'_>) -> QueueingHint {
        QueueingHint::Queue
    }

    /// PreEnqueue: whether a Pod may enter the queue.
    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        None
    }
    /// QueueSort: the order of the queue.
    fn queue_sort(&self) -> Option<&dyn QueueSort> {
        None
    }
    /// PreFilter: checks that need the Pod only.
    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        None
    }
    /// Filter: whether a node can take a Pod.
    fn filter(&self) -> Option<&dyn Filter> {
        None
    }
    /// PostFilter: what can be done for an unschedulable Pod.
    fn post_filter(&self) -> Option<&dyn PostFilter> {
        None
    }
    /// PreScore: whether the plugin scores nodes for a Pod.
    fn pre_score(&self) -> Option<&dyn PreScore> {
        None
    }
    /// Score: how well a node suits a Pod.
    fn score(&self) -> Option<&dyn Score> {
        None
    }
    /// Filter and score by Pod counts per topology domain.
    fn domain_rule(&self) -> Option<&dyn DomainRule> {
        None
    }
    /// Reserve: accounting of chosen nodes.
    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        None
    }
    /// Permit: whether a Pod with a chosen node may be launched.
    fn permit(&mut self) -> Option<&mut dyn Permit> {
        None
    }
    /// PreBind: the last step before the launch.
    fn pre_bind(&mut self) -> Option<&mut dyn PreBind> {
        None
    }
}

/// Keeps a Pod out of the queue until its specification allows it.
pub trait PreEnqueue {
    /// Refuses a Pod that must not be tried. Called again after each change of the Pod.
    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Reason>;
}

/// Orders the pending Pods. All profiles must use the same plugin.
pub trait QueueSort {
    /// `Less` if `a` is tried before `b`.
    fn compare(&self, a: &PendingPod, b: &PendingPod) -> Ordering;
}

/// The nodes that need to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeSet {
    /// Every node.
    All,
    /// The node with this name, if it exists.
    Named(Box<str>),
}

/// Checks a Pod without a node, once per equivalence class.
pub trait PreFilter {
    /// Limits the nodes, or refuses the Pod.
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal>;
}

/// Checks a Pod against one node. The result is cached until the node changes, so it must not depend on other nodes.
pub trait Filter {
    /// Refuses a node.
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal>;

    /// Whether the filter applies to bound Pods, which only need a launch. Their node was chosen by others.
    fn concerns_bound_pods(&self) -> bool {
        false
    }
}

/// Handles a Pod for which no node is feasible.
pub trait PostFilter {
    /// What is done for the Pod. Its result for a Pod that is not nominated to a node holds for all Pods of its class in the cycle.
    fn post_filter(&self, pod: &PendingPod, dry_run: &dyn DryRun) -> PostFilterResult;
}

/// Prepares scoring, once per equivalence class.
pub trait PreScore {
    /// Whether the score plugin of the same name applies to this Pod.
    fn applies(&self, pod: &PendingPod) -> bool;
}

/// Scores one node for a Pod. The result is cached until the node changes, so it must not depend on other nodes.
pub trait Score {
    /// The score, not negative; higher is better, unless [`Score::normalization`] reverses it.
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64;

    /// NormalizeScore: how the score becomes points. Without a normalization it must be in 0..=[`MAX_SCORE`]; scores
    /// outside of the range are clamped.
    fn normalization(&self) -> Option<Normalization> {
        None
    }
}

/// A scale from the highest score that a plugin gives to a feasible node, as upstream's DefaultNormalizeScore has it. The
/// weight applies to the points. Nodes that only a [`DomainRule`] refuses count as feasible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// The highest score is [`MAX_SCORE`] points.
    Highest,
    /// The highest score is 0 points, and the score 0 is [`MAX_SCORE`] points.
    HighestReversed,
}

impl Normalization {
    /// The points of a score.
    pub fn points(self, score: i64, highest: i64) -> i64 {
        let share = if highest <= 0 { 0 } else { score.clamp(0, highest) * MAX_SCORE / highest };
        match self {
            Normalization::Highest => share,
            Normalization::HighestReversed => MAX_SCORE - share,
        }
    }
}

/// A rule based on Pod counts per topology domain, such as inter-pod affinity or topology spread. Counts are updated
/// per Pod. A change affects the nodes of its domain only, and the node ranking of a class stays valid.
pub trait DomainRule {
    /// The queries for a Pod, once per equivalence class; empty if the rule does not apply. Pods with different
    /// queries must differ in [`DomainRule::class`].
    fn queries(&self, pod: &PendingPod) -> Vec<DomainQuery>;

    /// The value by which this rule distinguishes Pods of one template, such as their labels. Part of the equivalence
    /// class of Pods that the rule applies to.
    fn class(&self, _pod: &PendingPod) -> Option<Box<str>> {
        None
    }

    /// Refuses the nodes of a domain. `counts` has one element per query.
    fn filter(&self, _pod: &PendingPod, _counts: &[DomainCount]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Scores the nodes of a domain, in 0..=[`MAX_SCORE`].
    fn score(&self, _pod: &PendingPod, _counts: &[DomainCount]) -> i64 {
        0
    }
}

/// Accounts for resources of chosen nodes.
pub trait Reserve {
    /// Reserves the plugin's resources. A refusal ends the attempt and releases the reservations of other plugins.
    fn reserve(&mut self, pod: &PendingPod, node: &NodeInfo) -> Result<(), Refusal>;

    /// Releases the reservation, because the Pod is not launched on the node. Must be idempotent; called for all
    /// plugins of the profile.
    fn unreserve(&mut self, pod: &Pod, node: &str);
}

/// The result of a [`Permit`] plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitVerdict {
    /// The Pod may be launched.
    Allow,
    /// The Pod keeps its node and the plugin runs again in each cycle, until this timeout after its first call.
    Wait(Duration),
    /// The Pod returns to the queue.
    Refuse(Refusal),
}

/// Delays Pods after their node was chosen.
pub trait Permit {
    /// Called after [`Reserve`], and for delayed Pods again at the start and end of each cycle.
    fn permit(&mut self, pod: &PendingPod, node: &NodeInfo) -> PermitVerdict;
}

/// The last step before the kernel launch.
pub trait PreBind {
    /// A refusal ends the attempt as a refusal of [`Reserve`] does.
    fn pre_bind(&mut self, pod: &PendingPod, node: &NodeInfo) -> Result<(), Refusal>;
}

/// Why a plugin refuses a Pod or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The first reason.
    pub reason: Reason,
    /// Further reasons.
    pub more: Vec<Reason>,
    /// Whether the node would remain refused if Pods were evicted from it.
    pub unresolvable: bool,
}

impl Refusal {
    /// A refusal that eviction of Pods may resolve.
    pub fn resolvable(reason: Reason) -> Refusal {
        Refusal { reason, more: Vec::new(), unresolvable: false }
    }

    /// A refusal that eviction of Pods cannot resolve.
    pub fn unresolvable(reason: Reason) -> Refusal {
        Refusal { reason, more: Vec::new(), unresolvable: true }
    }
}

/// A Pod with values precomputed for its class.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct PodContext<'a> {
    pub pod: &'a PendingPod,
    /// The resources of the Pod's task.
    pub charge: &'a Amounts,
}

impl PodContext<'_> {
    /// The Pod's scheduling requirements.
    pub fn shape(&self) -> &PodShape {
        &self.pod.pod.shape
    }

    /// Whether it is bound and only needs a launch.
    pub fn is_bound(&self) -> bool {
        self.pod.bound_to().is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! The scheduling framework: the extension points that a plugin can implement, under upstream's names.
//!
//! ```text
//! PreEnqueue ─▶ QueueSort ─▶ PreFilter ─▶ Filter ─▶ PreScore ─▶ Score ─▶ Reserve ─▶ Permit ─▶ PreBind ─▶ kernel launch
//!                                │ DomainRule │                   │ DomainRule            (upstream's Bind)
//!                                └─ none fits ─▶ PostFilter
//! ```
//!
//! A plugin is one value that implements [`Plugin`] and says which extension points it has. There are two kinds of rules:
//! [`Filter`] and [`Score`] look at one node, and [`DomainRule`] looks at counts of Pods per topology domain. Their results
//! are cached differently (`score_cache`, `domain_ranking`), so neither may look at what belongs to the other kind.
//!
//! A `profile` is the static list of plugins that a scheduler name stands for.

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

use super::{Amounts, DomainCount, DomainQuery, NodeInfo, PendingPod, PodShape, Preemption, Reason, Report};
use crate::rows::Pod;

/// The highest score that a plugin gives one node: 100 points, counted in thousandths.
pub const MAX_SCORE: i64 = 100 * POINT;
/// One of the 100 points of a score.
pub const POINT: i64 = 1000;

/// A plugin. It implements the extension points for which it returns itself.
pub trait Plugin: Debug + Send + Sync {
    /// Upstream's name where upstream has the plugin.
    fn name(&self) -> &'static str;

    /// The events after which a Pod that the plugin refused may succeed. Without one, only the flush of the queue and
    /// changes of the Pod itself lead to another attempt.
    fn events(&self) -> EventSet {
        EventSet::NONE
    }

    /// Whether one of these events can help a Pod that the plugin refused. It may read what Pods of one class share: the
    /// shape, the role and the node. `Queue` when in doubt.
    fn queueing_hint(&self, _pod: &PendingPod, _event: &ClusterEvent<'_>) -> QueueingHint {
        QueueingHint::Queue
    }

    /// Whether a Pod may enter the queue.
    fn pre_enqueue(&self) -> Option<&dyn PreEnqueue> {
        None
    }
    /// The order of the queue.
    fn queue_sort(&self) -> Option<&dyn QueueSort> {
        None
    }
    /// What a Pod alone decides.
    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        None
    }
    /// Whether a node can take a Pod.
    fn filter(&self) -> Option<&dyn Filter> {
        None
    }
    /// What can be done for a Pod that fits nowhere.
    fn post_filter(&self) -> Option<&dyn PostFilter> {
        None
    }
    /// Whether the plugin scores nodes for a Pod.
    fn pre_score(&self) -> Option<&dyn PreScore> {
        None
    }
    /// How well a node suits a Pod.
    fn score(&self) -> Option<&dyn Score> {
        None
    }
    /// Filter and score by counts per topology domain.
    fn domain_rule(&self) -> Option<&dyn DomainRule> {
        None
    }
    /// Bookkeeping for a chosen node.
    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        None
    }
    /// Whether a Pod with a chosen node may go on.
    fn permit(&mut self) -> Option<&mut dyn Permit> {
        None
    }
    /// The last step before the launch.
    fn pre_bind(&mut self) -> Option<&mut dyn PreBind> {
        None
    }
}

/// Keeps a Pod out of the queue until its own specification allows it.
pub trait PreEnqueue {
    /// Refuses a Pod that must not be tried. Asked again at each change of the Pod.
    fn pre_enqueue(&self, pod: &Pod) -> Result<(), Reason>;
}

/// Orders the pending Pods. All profiles share one.
pub trait QueueSort {
    /// `Less` if `a` is tried before `b`.
    fn compare(&self, a: &PendingPod, b: &PendingPod) -> Ordering;
}

/// Which nodes need a look at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeSet {
    /// Every node.
    All,
    /// The node of this name, if it exists.
    Named(Box<str>),
}

/// Looks at a Pod alone, once for each equivalence class.
pub trait PreFilter {
    /// Narrows the nodes, or refuses the Pod on all of them.
    fn pre_filter(&self, pod: &PendingPod) -> Result<NodeSet, Refusal>;
}

/// Looks at a Pod and one node. The result is cached until the node changes, so it must not depend on other nodes.
pub trait Filter {
    /// Refuses a node.
    fn filter(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> Result<(), Refusal>;

    /// Whether the filter concerns Pods that are bound already and only need a launch. Their node was chosen by others.
    fn concerns_bound_pods(&self) -> bool {
        false
    }
}

/// Looks at a Pod that fits on no node.
pub trait PostFilter {
    /// What preemption would do for the Pod.
    fn post_filter(&self, pod: &PendingPod, report: &Report) -> Option<Preemption>;
}

/// Looks at a Pod before nodes are scored, once for each equivalence class.
pub trait PreScore {
    /// Whether the score plugin of the same name has an opinion about this Pod.
    fn applies(&self, pod: &PendingPod) -> bool;
}

/// Scores one node for a Pod. The result is cached until the node changes, so it must not depend on other nodes.
pub trait Score {
    /// The score in the plugin's own unit; more is better.
    fn score(&self, pod: &PodContext<'_>, node: &NodeView<'_>) -> i64;

    /// Brings a score to 0..=[`MAX_SCORE`]. Unlike upstream it sees one score: a scale that depends on other nodes would
    /// change all cached scores with each of them. Values outside of the range are clamped.
    fn normalize(&self, score: i64) -> i64 {
        score
    }
}

/// A rule on counts of Pods per topology domain: affinity between Pods, topology spread. The counts are kept up to date
/// Pod by Pod. A change concerns the nodes of its domain, and the node ranking of a class stays as it is.
pub trait DomainRule {
    /// What is to be counted for a Pod; nothing if the rule does not concern it. Once for each equivalence class: Pods that
    /// are counted differently must differ in [`DomainRule::class`].
    fn queries(&self, pod: &PendingPod) -> Vec<DomainQuery>;

    /// What tells two Pods of one template apart for this rule, such as their labels. Part of the equivalence class of
    /// Pods that the rule concerns.
    fn class(&self, _pod: &PendingPod) -> Option<Box<str>> {
        None
    }

    /// Refuses the nodes of a domain. `counts` has an element for each query.
    fn filter(&self, _pod: &PendingPod, _counts: &[DomainCount]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Scores the nodes of a domain, in 0..=[`MAX_SCORE`].
    fn score(&self, _pod: &PendingPod, _counts: &[DomainCount]) -> i64 {
        0
    }
}

/// Keeps books on chosen nodes.
pub trait Reserve {
    /// Reserves what the plugin keeps books on. A refusal ends the attempt; what others reserved is released.
    fn reserve(&mut self, pod: &PendingPod, node: &NodeInfo) -> Result<(), Refusal>;

    /// Releases it: the Pod does not go there after all. Must be idempotent, and is called for all plugins of the profile.
    fn unreserve(&mut self, pod: &Pod, node: &str);
}

/// What a [`Permit`] plugin says of a Pod with a chosen node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitVerdict {
    /// It may be launched.
    Allow,
    /// It keeps its node and is asked about in each cycle, at most for this long after the first time.
    Wait(Duration),
    /// It goes back to the queue.
    Refuse(Refusal),
}

/// Delays Pods whose node is chosen.
pub trait Permit {
    /// Asked after [`Reserve`], and again in each cycle (at its end as well) for Pods that wait.
    fn permit(&mut self, pod: &PendingPod, node: &NodeInfo) -> PermitVerdict;
}

/// The last step before the kernel launch.
pub trait PreBind {
    /// A refusal ends the attempt like one of [`Reserve`].
    fn pre_bind(&mut self, pod: &PendingPod, node: &NodeInfo) -> Result<(), Refusal>;
}

/// Why a plugin refuses a Pod, or a node for a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The first reason.
    pub reason: Reason,
    /// Further ones.
    pub more: Vec<Reason>,
    /// Whether the node would stay refused if Pods were evicted from it.
    pub unresolvable: bool,
}

impl Refusal {
    /// A refusal that evicting Pods from the node may resolve.
    pub fn resolvable(reason: Reason) -> Refusal {
        Refusal { reason, more: Vec::new(), unresolvable: false }
    }

    /// A refusal that evicting Pods does not resolve.
    pub fn unresolvable(reason: Reason) -> Refusal {
        Refusal { reason, more: Vec::new(), unresolvable: true }
    }
}

/// A Pod with what its class precomputes.
#[derive(Debug, Clone, Copy)]
pub struct PodContext<'a> {
    /// The Pod.
    pub pod: &'a PendingPod,
    /// What its task takes.
    pub charge: &'a Amounts,
}

impl PodContext<'_> {
    /// What the Pod asks of a node.
    pub fn shape(&self) -> &PodShape {
        &self.pod.pod.shape
    }

    /// Whether it has a node and only needs a launch.
    pub fn is_bound(&self) -> bool {
        self.pod.bound_to().is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests;

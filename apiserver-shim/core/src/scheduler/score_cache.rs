//! Evaluated nodes per equivalence class of Pods, cached across cycles: a burst of Pods takes many cycles, and
//! between them only the nodes change that Pods were added to or removed from.
//!
//! A class remembers its position in the log of changed nodes. An entry of its heap is valid while its node has not
//! changed since.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use super::{
    Amounts, NodeInfos, PendingPod, PodShape, PodVolumes, Refusal, Report, domain_ranking::DomainRanking,
    framework::NodeSet, normalization::NodeScores,
};

/// Maximum number of cached classes; a ranking takes about 80 bytes per node.
const CLASSES_MAX: usize = 32;

/// The node rankings of all classes.
#[derive(Debug, Default)]
pub(super) struct ScoreCache {
    pub classes: BTreeMap<EquivalenceClass, ClassRanking>,
    /// The node numbering that the rankings are based on.
    numbering: u64,
}

impl ScoreCache {
    pub fn begin_cycle(&mut self, nodes: &NodeInfos) {
        if self.numbering != nodes.numbering {
            self.classes.clear();
            self.numbering = nodes.numbering;
        }
        for class in self.classes.values_mut() {
            class.report = None;
            class.placed.clear();
        }
    }

    /// Drops rankings that would be rebuilt at their next use.
    pub fn end_cycle(&mut self, nodes: &mut NodeInfos) {
        let (end, nodes_all) = (nodes.changes.end(), nodes.all.len());
        self.classes.retain(|class, ranking| class.bound_to.is_none() && end - ranking.seen <= nodes_all);
        if self.classes.len() > CLASSES_MAX {
            self.classes.clear();
        }
        nodes.changes.limit_to(2 * nodes_all);
        let classes = &self.classes;
        nodes.domains.drop_unused(|table| {
            classes.values().any(|class| class.domains.as_ref().is_some_and(|d| d.tables.contains(&table)))
        });
    }
}

/// Pods that are interchangeable for the scheduler. Shapes are shared, so they are compared by address (the class
/// holds a reference to its shape); equal shapes that are not shared only cause a second class.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EquivalenceClass {
    shape: usize,
    role: Arc<str>,
    owner: Option<Arc<str>>,
    bound_to: Option<Box<str>>,
    profile: usize,
    volumes: Option<Arc<PodVolumes>>,
    /// The values by which domain rules distinguish Pods.
    domain_classes: Vec<Box<str>>,
}

impl EquivalenceClass {
    pub fn of(pod: &PendingPod, domain_classes: Vec<Box<str>>) -> Self {
        EquivalenceClass {
            shape: Arc::as_ptr(&pod.pod.shape).addr(),
            role: pod.role.clone(),
            owner: pod.owner.clone(),
            bound_to: pod.bound_to().map(Box::from),
            profile: pod.profile,
            volumes: pod.volumes.clone(),
            domain_classes,
        }
    }
}

/// The ranked nodes of one class.
#[derive(Debug)]
pub(super) struct ClassRanking {
    /// Held so that no other shape can have its address.
    _shape: Arc<PodShape>,
    pub charge: Amounts,
    /// The nodes to evaluate, or the refusal of the Pod.
    pub nodes: Result<NodeSet, (usize, Refusal)>,
    /// The applicable score plugins without a normalization by index, with their weights.
    pub scores: Vec<(usize, i64)>,
    /// The scores of the nodes.
    pub node_scores: NodeScores,
    pub candidates: BinaryHeap<Candidate>,
    /// Used in place of `candidates` if domain rules apply.
    pub domains: Option<Box<DomainRanking>>,
    /// The applicable domain rules with the plugin's index, their part of the queries, and their weight.
    pub rules: Vec<AppliedRule>,
    /// The number of log entries that it has processed.
    pub seen: usize,
    /// Why its Pods are pending in this cycle.
    pub report: Option<Arc<Report>>,
    /// The number of its Pods placed in this cycle, by node.
    pub placed: BTreeMap<usize, u32>,
}

/// A domain rule that applies to a class.
#[derive(Debug, Clone)]
pub(super) struct AppliedRule {
    pub plugin: usize,
    pub queries: std::ops::Range<usize>,
    pub filters: bool,
    pub weight: i64,
}

impl ClassRanking {
    pub fn of(pod: &PendingPod) -> Self {
        ClassRanking {
            _shape: pod.pod.shape.clone(),
            charge: pod.pod.shape.charge(),
            nodes: Ok(NodeSet::All),
            scores: Vec::new(),
            node_scores: NodeScores::default(),
            candidates: BinaryHeap::new(),
            domains: None,
            rules: Vec::new(),
            seen: 0,
            report: None,
            placed: BTreeMap::new(),
        }
    }

    /// The number of entries, including outdated ones.
    pub fn len(&self) -> usize {
        self.candidates.len() + self.domains.as_ref().map_or(0, |domains| domains.len())
    }
}

/// A ranked node; the greatest is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub score: i64,
    pub first: Reverse<usize>,
    /// The node's last change when the score was computed.
    pub as_of: usize,
}

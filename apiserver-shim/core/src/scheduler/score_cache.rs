//! What equivalence classes of Pods have found of the nodes, kept from cycle to cycle: a load of Pods comes in many cycles,
//! and in between only those nodes change that Pods came to or went from.
//!
//! A class knows up to where it has read the log of changed nodes. An entry of its heap counts as long as its node has not
//! changed since.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use super::{
    Amounts, NodeInfos, PendingPod, PodShape, Refusal, Report, domain_ranking::DomainRanking,
    framework::NodeSet,
};

/// Classes kept at most: a ranking takes some 40 bytes a node.
const CLASSES_MAX: usize = 32;

/// The rankings of classes.
#[derive(Debug, Default)]
pub(super) struct ScoreCache {
    pub classes: BTreeMap<EquivalenceClass, ClassRanking>,
    /// The numbering of nodes that the rankings follow.
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

    /// Drops the rankings that would be made anew if they were asked for.
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

/// Pods that can stand for each other. Shapes are shared, so that their address tells them apart (the class holds on to its
/// shape); two shapes that are equal but not shared merely make two classes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EquivalenceClass {
    shape: usize,
    role: Arc<str>,
    owner: Option<Arc<str>>,
    bound_to: Option<Box<str>>,
    profile: usize,
    /// What domain rules tell Pods apart by.
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
            domain_classes,
        }
    }
}

/// The nodes as one class sees them.
#[derive(Debug)]
pub(super) struct ClassRanking {
    /// Held so that no other shape has its address.
    _shape: Arc<PodShape>,
    pub charge: Amounts,
    /// Which nodes need a look, or why none does.
    pub nodes: Result<NodeSet, (usize, Refusal)>,
    /// The score plugins that apply, by their index, with their weights.
    pub scores: Vec<(usize, i64)>,
    pub candidates: BinaryHeap<Candidate>,
    /// In place of `candidates` where domain rules apply.
    pub domains: Option<Box<DomainRanking>>,
    /// The domain rules that apply, by the index of their plugin, each with its part of the queries and its weight.
    pub rules: Vec<AppliedRule>,
    /// How many changes it has seen.
    pub seen: usize,
    /// Why its Pods wait in this cycle.
    pub report: Option<Arc<Report>>,
    /// How many of its Pods this cycle has put on nodes.
    pub placed: BTreeMap<usize, u32>,
}

/// A domain rule that concerns a class.
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
            candidates: BinaryHeap::new(),
            domains: None,
            rules: Vec::new(),
            seen: 0,
            report: None,
            placed: BTreeMap::new(),
        }
    }

    /// How many entries it has, outdated ones included.
    pub fn len(&self) -> usize {
        self.candidates.len() + self.domains.as_ref().map_or(0, |domains| domains.len())
    }
}

/// A node as one class sees it; the largest is the best.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub score: i64,
    pub first: Reverse<usize>,
    /// The node's last change that the score knows of.
    pub as_of: usize,
}

//! One scheduling cycle: many Pods against all nodes. Deterministic: equal inputs yield equal decisions.
//!
//! An equivalence class of Pods evaluates each node once and keeps the feasible nodes in a heap, ordered by the
//! weighted sum of scores; ties go to the first node. Later cycles evaluate only changed nodes (`score_cache`,
//! `domain_ranking`).

mod class;
mod nominations;
mod reserving;

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use kernel_model::time::Time;

use super::{
    DomainCount, DomainCounts, NodeInfo, NodeInfos, PendingPod, Report, SharedLister,
    change_log::ChangeLog,
    framework::{ExtensionPoint, NodeSet, NodeView, Placed, Plugin, PodContext, Profile, Profiles, Refusal},
    preemption::Victims,
    reports::{AttemptResult, SchedulerStats},
    score_cache::{Candidate, ClassRanking, EquivalenceClass, ScoreCache},
};
use crate::rows::Pod;
use class::domain_classes;
use nominations::CycleNominations;
pub use reserving::PermitWait;

/// The decision about one Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The index of the Pod in the list of pending Pods.
    pub pod: usize,
    /// What was decided.
    pub outcome: Outcome,
}

/// The result of scheduling a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Outcome {
    /// Launch the Pod on this node with the resources offered to its role.
    Place { node: usize },
    /// A Permit plugin delays the Pod. It keeps its node and must be among the pending Pods of the next cycles.
    Permit { node: usize },
    /// No node is feasible.
    Wait(Arc<Report>),
    /// No node is feasible before these Pods are evicted. The Pod is nominated to their node.
    Preempt { victims: Victims, report: Arc<Report> },
}

/// The scheduler: its profiles, and state cached across cycles.
#[derive(Debug, Default)]
pub struct Scheduler {
    profiles: Profiles,
    cache: ScoreCache,
    /// Pods delayed by a Permit plugin, by UID.
    permit_waits: BTreeMap<Box<str>, PermitWait>,
    stats: SchedulerStats,
}

impl Scheduler {
    /// Creates a scheduler with these profiles.
    pub fn new(profiles: Profiles) -> Scheduler {
        Scheduler { profiles, ..Scheduler::default() }
    }

    /// The profiles.
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// Counters for metrics.
    pub fn stats(&self) -> &SchedulerStats {
        &self.stats
    }

    /// Clears the cached evaluations of all nodes; needed if the caller's lister may answer differently for any node.
    pub fn clear_cache(&mut self) {
        self.cache = ScoreCache::default();
    }

    /// Decides about every pending Pod, in order.
    pub fn schedule(
        &mut self,
        now: Time,
        pending: &[PendingPod],
        nodes: &mut NodeInfos,
        lister: &dyn SharedLister,
    ) -> Vec<Decision> {
        self.cache.begin_cycle(nodes);
        let mut cycle = Cycle {
            now,
            nodes: &nodes.all,
            lister,
            changes: &mut nodes.changes,
            domains: &mut nodes.domains,
            profiles: &mut self.profiles,
            permit_waits: &mut self.permit_waits,
            stats: &mut self.stats,
            placed: BTreeMap::new(),
            placed_pods: Vec::new(),
            nominations: CycleNominations::new(&mut nodes.nominations),
            filter_runs: Cell::new(0),
            score_runs: Cell::new(0),
        };
        cycle.count_nominations();
        cycle.take_room_of_permit_waits();
        let mut decisions = Vec::with_capacity(pending.len());
        for (index, pod) in pending.iter().enumerate() {
            let outcome = match cycle.permit_waits.get(pod.uid()).cloned() {
                Some(wait) => cycle.ask_permit_again(pod, &wait),
                None => {
                    let key = EquivalenceClass::of(pod, domain_classes(cycle.profiles.get(pod.profile), pod));
                    let class = self.cache.classes.entry(key).or_insert_with(|| cycle.new_class(pod));
                    cycle.decide(pod, class)
                }
            };
            decisions.push(Decision { pod: index, outcome });
        }
        cycle.ask_permits_at_end(pending, &mut decisions);
        for decision in &decisions {
            let result = match decision.outcome {
                Outcome::Place { .. } => AttemptResult::Scheduled,
                Outcome::Permit { .. } => continue,
                Outcome::Wait(_) | Outcome::Preempt { .. } => AttemptResult::Unschedulable,
            };
            cycle.stats.count_attempt(pending[decision.pod].profile, result);
        }
        cycle.stats.cycles += 1;
        cycle.end();
        self.cache.end_cycle(nodes);
        decisions
    }
}

struct Cycle<'a> {
    now: Time,
    nodes: &'a [NodeInfo],
    lister: &'a dyn SharedLister,
    changes: &'a mut ChangeLog,
    domains: &'a mut DomainCounts,
    profiles: &'a mut Profiles,
    permit_waits: &'a mut BTreeMap<Box<str>, PermitWait>,
    stats: &'a mut SchedulerStats,
    /// Placements of this cycle by node; sparse, because nodes are many.
    placed: BTreeMap<usize, Placed>,
    /// Pods placed in this cycle with the index of their node; needed while domain counts include them.
    placed_pods: Vec<(usize, Arc<Pod>)>,
    nominations: CycleNominations<'a>,
    filter_runs: Cell<u64>,
    score_runs: Cell<u64>,
}

impl Cycle<'_> {
    fn decide(&mut self, pod: &PendingPod, class: &mut ClassRanking) -> Outcome {
        let nominated = self.nominated_place(pod, class);
        let (at, top) = match nominated {
            Some(at) => (at, None),
            None => match self.best(pod, class) {
                Some(top) => (top.first.0, Some(top)),
                None => return self.no_node(pod, class),
            },
        };
        let outcome = self.reserve(pod, at);
        if let Outcome::Wait(_) = outcome {
            // The node remains a candidate for the next Pod of the class.
            top.into_iter().for_each(|top| class.push(top, self.domains));
            return outcome;
        }
        self.take_room(&pod.pod, pod.bound_to().is_some(), at, &class.charge);
        if let Outcome::Place { .. } = outcome {
            self.take_offer(pod, at, &class.charge);
        }
        self.nomination_used(&pod.pod, at);
        if pod.owner.is_some() {
            *class.placed.entry(at).or_default() += 1;
        }
        outcome
    }

    /// Takes the best node from a class's ranking.
    fn best(&mut self, pod: &PendingPod, class: &mut ClassRanking) -> Option<Candidate> {
        self.catch_up(pod, class);
        let profile = self.profiles.get(pod.profile);
        if let Some(ranking) = &mut class.domains {
            let rules = &class.rules;
            return ranking.pop(self.changes, self.domains, &|counts| {
                rules.iter().try_fold(0, |sum, rule| Some(sum + rule.verdict(profile, pod, counts)?))
            });
        }
        loop {
            let top = class.candidates.pop()?;
            // An entry older than the node's last change is outdated; the node was evaluated again and pushed if
            // still feasible.
            if top.as_of == self.changes.last_of(top.first.0) {
                return Some(top);
            }
        }
    }

    /// Subtracts a Pod's requests from a node for the rest of the cycle.
    fn take_room(&mut self, pod: &Arc<Pod>, bound: bool, at: usize, charge: &super::Amounts) {
        self.changes.note(at);
        let placed = self.placed.entry(at).or_default();
        if bound {
            // A bound Pod is already counted on its node.
            return;
        }
        placed.pods += 1;
        placed.requested.get_or_insert_default().add(charge);
        placed.host_ports.extend(pod.shape.host_ports.iter().cloned());
        self.domains.add_pod(at, pod);
        self.placed_pods.push((at, pod.clone()));
    }

    /// Subtracts a Pod's requests from the offers of a node to its role.
    fn take_offer(&mut self, pod: &PendingPod, at: usize, charge: &super::Amounts) {
        let placed = self.placed.entry(at).or_default();
        let known = placed.left.iter().position(|(role, _)| *role == pod.role);
        let left = known.unwrap_or_else(|| {
            let offered = self.lister.free(&self.nodes[at], &pod.role).cloned().unwrap_or_default();
            placed.left.push((pod.role.clone(), offered));
            placed.left.len() - 1
        });
        placed.left[left].1.subtract(charge);
    }

    /// Some placements may fail; mark the touched nodes and domains for re-evaluation in the next cycle.
    fn end(self) {
        for (at, pod) in &self.placed_pods {
            self.domains.remove_pod(*at, pod);
        }
        self.stats.count_runs(ExtensionPoint::Filter, self.filter_runs.get());
        self.stats.count_runs(ExtensionPoint::Score, self.score_runs.get());
        self.placed.keys().for_each(|at| self.changes.note(*at));
    }

    fn view<'v>(&'v self, pod: &PendingPod, class_placed: &BTreeMap<usize, u32>, at: usize) -> NodeView<'v> {
        let info = &self.nodes[at];
        let placed = self.placed.get(&at);
        let left = placed.and_then(|placed| placed.left(&pod.role));
        let nominated = self.nominations.placed(at, pod.pod.shape.priority);
        NodeView {
            info,
            leaves_room: nominated.is_some(),
            placed: nominated.or(placed).unwrap_or(&super::framework::NOTHING_PLACED),
            offered: left.or_else(|| self.lister.free(info, &pod.role)),
            class_pods: if class_placed.is_empty() { 0 } else { class_placed.get(&at).copied().unwrap_or(0) },
            lister: self.lister,
        }
    }

    /// Collects the reasons of all nodes that cannot take the Pod.
    fn explain(&self, pod: &PendingPod, class: &ClassRanking) -> Report {
        let mut report = Report { nodes: self.nodes.len(), ..Report::default() };
        if let Err((plugin, refusal)) = &class.nodes {
            report.add_for_pod(*plugin, refusal);
        } else {
            for at in 0..self.nodes.len() {
                if let Some((plugin, refusal)) = self.refusal(pod, class, at) {
                    report.add(at, plugin, refusal);
                }
            }
        }
        report
    }
}

#[cfg(test)]
#[path = "cycle/tests.rs"]
mod tests;

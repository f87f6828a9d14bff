//! Preemption: which Pods of lower priority make room for a Pod, and on which node. As upstream's DefaultPreemption: all Pods of
//! lower priority are taken from a node, and as many as possible are reprieved, first those whose PodDisruptionBudget would be
//! violated. Of the nodes, the one with the fewest violations, then the least important victims, is chosen.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use shim_model::access;

use super::{NodeInfo, PendingPod, Preemption, Reason, Refusal, SharedLister};
use crate::controllers::condition;
use crate::disruption_budgets::Counts;
use crate::rows::{DisruptionBudget, Pod, Seconds, seconds};

/// The `reason` of the condition `DisruptionTarget` of a victim.
pub const PREEMPTION_BY_SCHEDULER: &str = "PreemptionByScheduler";
/// At least this number of nodes is considered (upstream's `minCandidateNodesAbsolute`).
const CANDIDATES_MIN: usize = 100;
/// And this part of all nodes, in percent (upstream's `minCandidateNodesPercentage`).
const CANDIDATES_PERCENT: usize = 10;
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// What a PostFilter plugin may ask about the nodes that refused a Pod.
pub trait DryRun {
    /// All nodes.
    fn nodes(&self) -> &[NodeInfo];
    /// The nodes that may take the Pod once Pods are gone from them.
    fn resolvable(&self) -> &[usize];
    /// Whether the node would take the Pod if it were like `info`.
    fn fits(&self, at: usize, info: &NodeInfo) -> Result<(), Refusal>;
    /// The node that the Pod is nominated to.
    fn nominated(&self) -> Option<usize>;
    /// More about Pods.
    fn lister(&self) -> &dyn SharedLister;
}

/// The Pods to evict from a node.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Victims {
    pub node: usize,
    /// The most important first.
    pub pods: Vec<Arc<Pod>>,
    /// How many of them violate a PodDisruptionBudget.
    pub violations: usize,
}

impl PartialEq for Victims {
    fn eq(&self, other: &Victims) -> bool {
        let uids =
            |victims: &Victims| victims.pods.iter().map(|pod| pod.uid().to_owned()).collect::<Vec<_>>();
        (self.node, self.violations, uids(self)) == (other.node, other.violations, uids(other))
    }
}

impl Eq for Victims {}

/// What happens to a Pod for which no node is feasible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostFilterResult {
    /// These Pods are evicted for it.
    Preempt(Victims),
    /// Nothing, for this reason.
    Nothing(Preemption),
}

/// Decides about a Pod for which no node is feasible.
pub fn preempt(pod: &PendingPod, dry_run: &dyn DryRun) -> PostFilterResult {
    let shape = &pod.pod.shape;
    if shape.never_preempts {
        return PostFilterResult::Nothing(Preemption::NotEligible(
            "not eligible due to preemptionPolicy=Never.",
        ));
    }
    if awaits_victims(pod, dry_run) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return PostFilterResult::Nothing(Preemption::NotEligible(why));
    }
    let resolvable = dry_run.resolvable();
    let enough = CANDIDATES_MIN.max(resolvable.len() * CANDIDATES_PERCENT / 100);
    let mut candidates: Vec<Victims> = Vec::new();
    let mut reasons: BTreeMap<Box<str>, usize> = BTreeMap::new();
    let not_helpful = dry_run.nodes().len() - resolvable.len();
    if not_helpful > 0 {
        reasons.insert(NOT_HELPFUL.into(), not_helpful);
    }
    for at in resolvable {
        match victims_on(pod, *at, dry_run) {
            Ok(victims) => candidates.push(victims),
            Err(refused) => {
                refused.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
            }
        }
        if candidates.len() >= enough && candidates.iter().any(|victims| victims.violations == 0) {
            break;
        }
    }
    match best(candidates, dry_run.lister()) {
        Some(victims) => PostFilterResult::Preempt(victims),
        None => PostFilterResult::Nothing(Preemption::NoCandidates(reasons)),
    }
}

/// Whether victims are still terminating on the Pod's nominated node.
fn awaits_victims(pod: &PendingPod, dry_run: &dyn DryRun) -> bool {
    let Some(at) = dry_run.nominated() else { return false };
    let priority = pod.pod.shape.priority;
    let lower = dry_run.nodes()[at].pods().iter().filter(|other| other.shape.priority < priority);
    let mut current = lower.map(|other| dry_run.lister().current(other));
    dry_run.resolvable().contains(&at) && current.any(is_terminating_by_preemption)
}

fn is_terminating_by_preemption(pod: &Pod) -> bool {
    if pod.deletion.is_none() {
        return false;
    }
    let status = pod.status_value();
    condition(&status, "DisruptionTarget").is_some_and(|condition| {
        access::text(condition, &["status"]) == "True"
            && access::text(condition, &["reason"]) == PREEMPTION_BY_SCHEDULER
    })
}

/// The fewest Pods that must leave a node, or why the node cannot take the Pod without all Pods of lower priority.
fn victims_on(pod: &PendingPod, at: usize, dry_run: &dyn DryRun) -> Result<Victims, Vec<Box<str>>> {
    let node = &dry_run.nodes()[at];
    let priority = pod.pod.shape.priority;
    let lister = dry_run.lister();
    let mut lower: Vec<(Importance, Arc<Pod>)> = (node.pods().iter())
        .filter(|other| other.shape.priority < priority)
        .map(|other| (importance(other, lister), other.clone()))
        .collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    let mut info = node.clone();
    lower.iter().for_each(|(_, other)| drop(info.remove_pod(other.uid())));
    dry_run.fits(at, &info).map_err(|refusal| texts(&refusal))?;
    lower.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.uid().cmp(other.uid())));
    let (violating, others) = by_violation(&lower, lister);
    let mut victims: Vec<(Importance, Arc<Pod>)> = Vec::new();
    let mut violations = 0;
    for (violates, (importance, other)) in
        violating.into_iter().map(|one| (true, one)).chain(others.into_iter().map(|one| (false, one)))
    {
        info.add_pod(other.clone());
        if dry_run.fits(at, &info).is_err() {
            info.remove_pod(other.uid());
            violations += usize::from(violates);
            victims.push((importance, other));
        }
    }
    victims.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.uid().cmp(other.uid())));
    let pods: Vec<Arc<Pod>> = victims.into_iter().map(|(_, pod)| pod).collect();
    match pods.is_empty() {
        true => Err(vec![NO_VICTIMS.into()]),
        false => Ok(Victims { node: at, pods, violations }),
    }
}

fn texts(refusal: &Refusal) -> Vec<Box<str>> {
    let reasons = refusal.more.iter().chain([&refusal.reason]);
    reasons.map(|reason: &Reason| reason.to_string().into()).collect()
}

/// Orders Pods: those of higher priority come first, then those that run longer.
type Importance = (Reverse<i32>, Seconds);

fn importance(pod: &Arc<Pod>, lister: &dyn SharedLister) -> Importance {
    (Reverse(pod.shape.priority), started(lister.current(pod)))
}

/// When the Pod was started. One that was not has started last.
fn started(pod: &Pod) -> Seconds {
    let status = pod.status_value();
    seconds(access::text(&status, &["startTime"])).unwrap_or(Seconds::MAX)
}

type Ranked = (Importance, Arc<Pod>);

/// The Pods whose eviction would violate a budget, and the others, both in the given order.
fn by_violation(pods: &[Ranked], lister: &dyn SharedLister) -> (Vec<Ranked>, Vec<Ranked>) {
    let mut allowed: BTreeMap<(String, String), i64> = BTreeMap::new();
    pods.iter().cloned().partition(|(_, pod)| {
        let header = pod.header();
        let selects = |budget: &&DisruptionBudget| {
            !header.labels.is_empty()
                && !budget.selector.is_empty()
                && budget.selector.matches(&header.labels)
        };
        let budgets = lister.budgets(&header.namespace);
        budgets.into_iter().filter(selects).any(|budget| {
            let disrupted =
                access::entries(&budget.status, &["disruptedPods"]).any(|(name, _)| name == header.name);
            if disrupted {
                return false;
            }
            let key = (header.namespace.clone(), budget.header().name.clone());
            let left =
                allowed.entry(key).or_insert_with(|| Counts::decode(&budget.status).disruptions_allowed);
            *left -= 1;
            *left < 0
        })
    })
}

/// The best candidate by upstream's criteria, each of which decides between those that are equal by the earlier ones.
fn best(candidates: Vec<Victims>, lister: &dyn SharedLister) -> Option<Victims> {
    candidates.into_iter().min_by_key(|victims| {
        let priorities = || victims.pods.iter().map(|pod| pod.shape.priority);
        let highest = priorities().max();
        let sum: i64 = priorities().map(|priority| i64::from(priority) + (1 << 31)).sum();
        let important = victims.pods.iter().filter(|pod| Some(pod.shape.priority) == highest);
        let earliest = important.map(|pod| started(lister.current(pod))).min();
        (victims.violations, highest, sum, victims.pods.len(), Reverse(earliest))
    })
}

#[cfg(test)]
#[path = "preemption/tests.rs"]
mod tests;

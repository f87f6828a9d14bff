//! One cycle. Deterministic: equal inputs give equal decisions.
//!
//! Score of an offer for a class of Pods, best first: fewest taints that would rather not have the Pod, then fewest Pods of
//! the same controller on the machine (spread), then the largest share of the machine's CPU and memory left free afterwards
//! (least allocated), then the first machine. What a class has found is kept in a heap, from cycle to cycle, and only
//! machines of which something has changed since are looked at again (`rankings`).

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Amounts, HostPort, NodeInfo, PendingPod, Report, SharedLister,
    plugins::{self, node_ports, node_resources_fit, taint_toleration},
    rankings::{Candidate, ChangeLog, ClassKey, Ranking, Rankings},
    reasons::{Preemption, Reason},
};

/// What becomes of one Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Index in the pending Pods.
    pub pod: usize,
    /// Where it goes, or why it waits.
    pub outcome: Outcome,
}

/// Where a Pod goes, or why it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Launch it on what its role is offered of this machine.
    Place {
        /// The index of the machine.
        machine: usize,
    },
    /// No offer will do.
    Wait(Arc<Report>),
}

/// Decides about every pending Pod, in their order.
pub fn schedule(
    pending: &[PendingPod],
    machines: &[NodeInfo],
    board: &impl SharedLister,
    rankings: &mut Rankings,
) -> Vec<Decision> {
    rankings.begin_cycle(machines.len());
    let (classes, changes) = rankings.parts();
    let mut cycle = Cycle { machines, board, changes, touched: BTreeMap::new() };
    let mut decisions = Vec::with_capacity(pending.len());
    for (index, pod) in pending.iter().enumerate() {
        let class = classes.entry(ClassKey::of(pod)).or_insert_with(|| cycle.rank(pod));
        let outcome = match cycle.place(pod, class) {
            Some(machine) => Outcome::Place { machine },
            None => Outcome::Wait(
                class.report.get_or_insert_with(|| Arc::new(cycle.explain(pod, &class.charge))).clone(),
            ),
        };
        decisions.push(Decision { pod: index, outcome });
    }
    // Not all of it may come true: what was reckoned with is looked at again.
    cycle.touched.keys().for_each(|machine| cycle.changes.note(*machine));
    rankings.end_cycle();
    decisions
}

/// What this cycle did to a machine.
#[derive(Default)]
struct Touched {
    pods: usize,
    host_ports: Vec<HostPort>,
    used: Option<Box<Amounts>>,
    /// What is left of offers, by role: one or two.
    left: Vec<(Arc<str>, Amounts)>,
}

struct Cycle<'a, B> {
    machines: &'a [NodeInfo],
    board: &'a B,
    changes: &'a mut ChangeLog,
    /// The machines that something was put on; few, while machines are many.
    touched: BTreeMap<usize, Touched>,
}

/// A machine that this cycle has put nothing on.
static UNTOUCHED: Touched = Touched { pods: 0, host_ports: Vec::new(), used: None, left: Vec::new() };

impl<B: SharedLister> Cycle<'_, B> {
    fn touched(&self, machine: usize) -> &Touched {
        self.touched.get(&machine).unwrap_or(&UNTOUCHED)
    }

    /// The candidates of a Pod's class: every machine is looked at.
    fn rank(&self, pod: &PendingPod) -> Ranking {
        let mut class = Ranking::of(pod);
        self.rank_anew(pod, &mut class);
        class
    }

    fn rank_anew(&self, pod: &PendingPod, class: &mut Ranking) {
        let all = match &pod.bound_to {
            None => 0..self.machines.len(),
            // It goes there or nowhere.
            Some(node) => match self.machines.binary_search_by(|machine| machine.node.name().cmp(node)) {
                Ok(at) => at..at + 1,
                Err(_) => 0..0,
            },
        };
        class.candidates = all.filter_map(|machine| self.candidate(pod, class, machine)).collect();
        class.seen = self.changes.end();
    }

    /// Looks again at the machines that have changed since the class has last been asked for.
    fn catch_up(&self, pod: &PendingPod, class: &mut Ranking) {
        let end = self.changes.end();
        // More outdated entries than machines: it is cheaper to begin anew.
        if class.candidates.len() + (end - class.seen) > 2 * self.machines.len() + 1 {
            return self.rank_anew(pod, class);
        }
        for machine in self.changes.since(class.seen) {
            if let Some(candidate) = self.candidate(pod, class, machine) {
                class.candidates.push(candidate);
            }
        }
        class.seen = end;
    }

    /// A machine with its score of now, if the Pod fits on what is offered of it.
    fn candidate(&self, pod: &PendingPod, class: &Ranking, at: usize) -> Option<Candidate> {
        let (machine, touched, charge) = (&self.machines[at], self.touched(at), &class.charge);
        let left = touched.left.iter().find(|(role, _)| *role == pod.role).map(|(_, left)| left);
        let free = left.or_else(|| self.board.free(at, &pod.role))?;
        // A Pod that is bound is among the machine's already.
        let pods = (machine.pods + touched.pods).saturating_sub(usize::from(pod.bound_to.is_some()));
        if !node_resources_fit::fits(charge, free, pods, machine.pods_max)
            || plugins::filter(pod, machine).is_some()
        {
            return None;
        }
        if pod.bound_to.is_none() && node_ports::filter(pod, machine, &touched.host_ports).is_some() {
            return None;
        }
        // Pods that were bound by hand may have no task yet: their place is not to be had either.
        let lately = touched.used.as_deref();
        if pod.bound_to.is_none() && !machine.total.has_room(&machine.used, lately, charge) {
            return None;
        }
        let same_owner_pods = pod.owner.as_deref().map_or(0, |owner| {
            self.board.same_owner_pods(at, owner) + class.placed.get(&at).copied().unwrap_or(0)
        });
        Some(Candidate {
            fewest_untolerated: std::cmp::Reverse(taint_toleration::untolerated_prefer_no_schedule(
                pod, machine,
            )),
            fewest_same_owner: std::cmp::Reverse(same_owner_pods),
            free_share: free_share(free, charge, &machine.total),
            first: std::cmp::Reverse(at),
            as_of: self.changes.last_of(at),
        })
    }

    fn place(&mut self, pod: &PendingPod, class: &mut Ranking) -> Option<usize> {
        self.catch_up(pod, class);
        let at = loop {
            let top = class.candidates.pop()?;
            // What has changed since was looked at again, and is in the heap once more if it will still do.
            if top.as_of == self.changes.last_of(top.first.0) {
                break top.first.0;
            }
        };
        self.take(pod, &class.charge, at);
        if pod.owner.is_some() {
            *class.placed.entry(at).or_default() += 1;
        }
        Some(at)
    }

    fn take(&mut self, pod: &PendingPod, charge: &Amounts, at: usize) {
        self.changes.note(at);
        let touched = self.touched.entry(at).or_default();
        let known = touched.left.iter().position(|(role, _)| *role == pod.role);
        let left = known.unwrap_or_else(|| {
            let offered = self.board.free(at, &pod.role).cloned().unwrap_or_default();
            touched.left.push((pod.role.clone(), offered));
            touched.left.len() - 1
        });
        touched.left[left].1.subtract(charge);
        if pod.bound_to.is_none() {
            touched.pods += 1;
            touched.used.get_or_insert_default().add(charge);
            touched.host_ports.extend(pod.shape.host_ports.iter().cloned());
        }
    }

    /// Why no machine takes the Pod, machine by machine.
    fn explain(&self, pod: &PendingPod, charge: &Amounts) -> Report {
        let mut report = Report { nodes: self.machines.len(), ..Report::default() };
        let mut helpless = 0;
        let mut count = |reason: Reason| *report.reasons.entry(reason).or_default() += 1;
        for (at, machine) in self.machines.iter().enumerate() {
            let touched = self.touched(at);
            if let Some(reason) = plugins::filter(pod, machine) {
                count(reason);
                helpless += 1;
                continue;
            }
            if pod.bound_to.is_none()
                && let Some(reason) = node_ports::filter(pod, machine, &touched.host_ports)
            {
                count(reason);
                continue;
            }
            let reasons = match &touched.used {
                None => node_resources_fit::explain(pod, charge, machine),
                Some(used) => {
                    let mut fuller = machine.clone();
                    fuller.used.add(used);
                    fuller.pods += touched.pods;
                    node_resources_fit::explain(pod, charge, &fuller)
                }
            };
            if reasons.is_empty() {
                count(Reason::NoOffer { role: (*pod.role).into() });
            } else {
                helpless += usize::from(reasons.iter().all(|reason| matches!(reason, Reason::HeldBy { .. })));
                reasons.into_iter().for_each(&mut count);
            }
        }
        report.preemption = Some(Preemption { helpless, wanted: pod.shape.priority > 0 });
        report
    }
}

/// The share of the machine's CPU and memory that is free once `charge` is taken from `free`, in ten thousandths.
fn free_share(free: &Amounts, charge: &Amounts, total: &Amounts) -> i64 {
    let share = |free: i64, charge: i64, total: i64| {
        if total <= 0 {
            0
        } else {
            i64::try_from(i128::from(free - charge) * 10_000 / i128::from(total)).unwrap_or(0)
        }
    };
    share(free.cpu_milli, charge.cpu_milli, total.cpu_milli) + share(free.memory, charge.memory, total.memory)
}

#[cfg(test)]
#[path = "cycle/tests.rs"]
mod tests;

//! One cycle. Deterministic: equal inputs give equal decisions.
//!
//! Score of an offer for a class of Pods, best first: fewest taints that would rather not have the Pod, then fewest Pods of
//! the same controller on the machine (spread), then the largest share of the machine's CPU and memory left free afterwards (least allocated), then the first offer. Within a
//! cycle a score can only fall, so a heap with out-of-date entries is right: what comes out on top is scored again and, if
//! it is out of date, put back.

use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use super::{
    Amounts, HostPort, Offer, PendingPod, Report, Snapshot,
    plugins::{self, node_ports, node_resources_fit, taint_toleration},
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
    /// Launch it on this offer (index in the offers).
    Place {
        /// The index.
        offer: usize,
    },
    /// No offer will do.
    Wait(Arc<Report>),
}

/// Decides about every pending Pod, in their order.
pub fn schedule(pending: &[PendingPod], offers: &[Offer<'_>], snapshot: &Snapshot) -> Vec<Decision> {
    let mut cycle = Cycle { offers, snapshot, taken_from: BTreeMap::new(), touched: BTreeMap::new() };
    let mut classes: BTreeMap<ClassKey<'_>, Class> = BTreeMap::new();
    let mut decisions = Vec::with_capacity(pending.len());
    for (index, pod) in pending.iter().enumerate() {
        let class = classes.entry(ClassKey::of(pod)).or_insert_with(|| cycle.class(pod));
        let outcome = match cycle.place(pod, class) {
            Some(offer) => Outcome::Place { offer },
            None => Outcome::Wait(
                class.report.get_or_insert_with(|| Arc::new(cycle.explain(pod, &class.charge))).clone(),
            ),
        };
        decisions.push(Decision { pod: index, outcome });
    }
    decisions
}

/// Pods that can stand for each other. Shapes are shared, so that their address tells them apart; only lookups use it,
/// and two shapes that are equal but not shared merely make two classes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ClassKey<'a> {
    shape: usize,
    role: &'a str,
    owner: Option<&'a str>,
    bound_to: Option<&'a str>,
}

impl<'a> ClassKey<'a> {
    fn of(pod: &'a PendingPod) -> Self {
        ClassKey {
            shape: Arc::as_ptr(&pod.shape).addr(),
            role: &pod.role,
            owner: pod.owner.as_deref(),
            bound_to: pod.bound_to.as_deref(),
        }
    }
}

struct Class {
    charge: Amounts,
    candidates: BinaryHeap<Candidate>,
    report: Option<Arc<Report>>,
}

/// An offer as one class sees it; the largest is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    least_disliked: std::cmp::Reverse<u32>,
    fewest_siblings: std::cmp::Reverse<u32>,
    free_share: i64,
    first: std::cmp::Reverse<usize>,
    /// The machine's version that the score was made for.
    version: u32,
}

/// What this cycle did to a machine.
#[derive(Default)]
struct Touched {
    version: u32,
    pods: usize,
    host_ports: Vec<HostPort>,
    used: Option<Box<Amounts>>,
}

struct Cycle<'a> {
    offers: &'a [Offer<'a>],
    snapshot: &'a Snapshot,
    /// What is left of the offers that something was taken from.
    taken_from: BTreeMap<usize, Amounts>,
    /// The machines that something was put on; few, while offers and machines are many.
    touched: BTreeMap<usize, Touched>,
}

/// A machine that this cycle has put nothing on.
static UNTOUCHED: Touched = Touched { version: 0, pods: 0, host_ports: Vec::new(), used: None };

impl Cycle<'_> {
    fn free(&self, index: usize) -> &Amounts {
        self.taken_from.get(&index).unwrap_or(self.offers[index].free)
    }

    fn touched(&self, machine: usize) -> &Touched {
        self.touched.get(&machine).unwrap_or(&UNTOUCHED)
    }

    /// The candidates of a Pod's class.
    fn class(&self, pod: &PendingPod) -> Class {
        let charge = pod.shape.charge();
        let siblings = pod.owner.as_ref().and_then(|owner| self.snapshot.siblings.get(owner));
        let mut candidates = Vec::new();
        for (index, offer) in self.offers.iter().enumerate() {
            let machine = &self.snapshot.machines[offer.machine];
            if offer.role != &*pod.role || plugins::filter(pod, machine).is_some() {
                continue;
            }
            let count = siblings
                .map_or(0, |s| s.binary_search_by_key(&offer.machine, |(m, _)| *m).map_or(0, |at| s[at].1));
            candidates.extend(self.candidate(pod, &charge, index, count));
        }
        Class { charge, candidates: BinaryHeap::from(candidates), report: None }
    }

    /// An offer with its score of now, if the Pod fits.
    fn candidate(
        &self,
        pod: &PendingPod,
        charge: &Amounts,
        index: usize,
        siblings: u32,
    ) -> Option<Candidate> {
        let at = self.offers[index].machine;
        let (machine, touched, free) = (&self.snapshot.machines[at], self.touched(at), self.free(index));
        // A Pod that is bound is among the machine's already.
        let pods = (machine.pods + touched.pods).saturating_sub(usize::from(pod.bound_to.is_some()));
        if !node_resources_fit::fits(charge, free, pods, machine.pods_max) {
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
        Some(Candidate {
            least_disliked: std::cmp::Reverse(taint_toleration::disliked(pod, machine)),
            fewest_siblings: std::cmp::Reverse(siblings),
            free_share: free_share(free, charge, &machine.total),
            first: std::cmp::Reverse(index),
            version: touched.version,
        })
    }

    fn place(&mut self, pod: &PendingPod, class: &mut Class) -> Option<usize> {
        loop {
            let top = class.candidates.pop()?;
            let index = top.first.0;
            let at = self.offers[index].machine;
            if top.version != self.touched(at).version {
                class.candidates.extend(self.candidate(pod, &class.charge, index, top.fewest_siblings.0));
                continue;
            }
            self.take(pod, &class.charge, index);
            let siblings = top.fewest_siblings.0 + u32::from(pod.owner.is_some());
            class.candidates.extend(self.candidate(pod, &class.charge, index, siblings));
            return Some(index);
        }
    }

    fn take(&mut self, pod: &PendingPod, charge: &Amounts, index: usize) {
        let offer = &self.offers[index];
        self.taken_from.entry(index).or_insert_with(|| offer.free.clone()).subtract(charge);
        let touched = self.touched.entry(offer.machine).or_default();
        touched.version += 1;
        if pod.bound_to.is_none() {
            touched.pods += 1;
            touched.used.get_or_insert_default().add(charge);
            touched.host_ports.extend(pod.shape.host_ports.iter().cloned());
        }
    }

    /// Why no machine takes the Pod, machine by machine.
    fn explain(&self, pod: &PendingPod, charge: &Amounts) -> Report {
        let mut report = Report { nodes: self.snapshot.machines.len(), ..Report::default() };
        let mut helpless = 0;
        let mut count = |reason: Reason| *report.reasons.entry(reason).or_default() += 1;
        for (at, machine) in self.snapshot.machines.iter().enumerate() {
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

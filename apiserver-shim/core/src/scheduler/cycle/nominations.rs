//! Nominated Pods in a cycle: their places are kept from Pods of no higher priority, and they are tried on their node first. And
//! what happens to a Pod that no node can take (PostFilter).

use super::*;
use crate::scheduler::{
    node_infos::Nomination,
    preemption::{DryRun, PostFilterResult, Victims},
};

/// The nominations as a cycle sees them.
pub(super) struct CycleNominations<'a> {
    all: &'a mut BTreeMap<Box<str>, Nomination>,
    /// For each node with nominated Pods: for each of their priorities, what the cycle has placed there and what nominated Pods of
    /// at least this priority need. The highest priority is first.
    by_node: BTreeMap<usize, Vec<(i32, Placed)>>,
    /// The node of the Pod that is looked at, without its own nomination.
    own: Option<(usize, Vec<(i32, Placed)>)>,
    /// The nominated Pods that were placed in this cycle.
    placed: BTreeMap<Box<str>, usize>,
}

impl<'a> CycleNominations<'a> {
    pub fn new(all: &'a mut BTreeMap<Box<str>, Nomination>) -> Self {
        CycleNominations { all, by_node: BTreeMap::new(), own: None, placed: BTreeMap::new() }
    }

    /// What a Pod of this priority finds placed on a node; `None` without nominated Pods that matter to it.
    pub fn placed(&self, at: usize, priority: i32) -> Option<&Placed> {
        let own = self.own.as_ref().filter(|(own, _)| *own == at).map(|(_, levels)| levels);
        let levels = own.or_else(|| self.by_node.get(&at))?;
        levels.iter().rev().find(|(level, _)| *level >= priority).map(|(_, placed)| placed)
    }
}

impl Cycle<'_> {
    /// Collects what the nominated Pods need.
    pub(super) fn count_nominations(&mut self) {
        let nodes: Vec<usize> =
            self.nominations.all.values().filter_map(|nomination| self.index(&nomination.node)).collect();
        nodes.into_iter().for_each(|at| self.refresh_nominations(at));
    }

    /// Collects it anew for one node, after a Pod was placed on it or nominated to it.
    pub(super) fn refresh_nominations(&mut self, at: usize) {
        let levels = self.levels(at, None);
        match levels.is_empty() {
            true => drop(self.nominations.by_node.remove(&at)),
            false => drop(self.nominations.by_node.insert(at, levels)),
        }
    }

    fn levels(&self, at: usize, without: Option<&str>) -> Vec<(i32, Placed)> {
        let info = &self.nodes[at];
        let counts = |pod: &&Arc<Pod>| {
            let uid = pod.uid();
            // A Pod that is being launched there is counted among the node's.
            Some(uid) != without
                && !self.nominations.placed.contains_key(uid)
                && info.pods().iter().all(|other| other.uid() != uid)
        };
        let here = self.nominations.all.values().filter(|nomination| *nomination.node == *info.name());
        let mut pods: Vec<&Arc<Pod>> = here.map(|nomination| &nomination.pod).filter(counts).collect();
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.shape.priority));
        let mut sum = self.placed.get(&at).cloned().unwrap_or_default();
        let mut levels: Vec<(i32, Placed)> = Vec::new();
        for pod in pods {
            sum.pods += 1;
            sum.requested.get_or_insert_default().add(&pod.shape.charge());
            sum.host_ports.extend(pod.shape.host_ports.iter().cloned());
            match levels.last_mut() {
                Some((level, placed)) if *level == pod.shape.priority => *placed = sum.clone(),
                _ => levels.push((pod.shape.priority, sum.clone())),
            }
        }
        levels
    }

    /// The node that a Pod is nominated to, if it can take the Pod now.
    pub(super) fn nominated_place(&mut self, pod: &PendingPod, class: &ClassRanking) -> Option<usize> {
        let at = self.nominated_node(pod)?;
        if class.nodes.is_err() {
            return None;
        }
        self.see_own_node(pod);
        let refused = self.refusal(pod, class, at);
        self.nominations.own = None;
        refused.is_none().then_some(at)
    }

    pub(super) fn nominated_node(&self, pod: &PendingPod) -> Option<usize> {
        if pod.bound_to().is_some() {
            return None;
        }
        self.index(&self.nominations.all.get(pod.uid())?.node)
    }

    /// Until `own` is reset, the Pod does not see its own nomination.
    fn see_own_node(&mut self, pod: &PendingPod) {
        self.nominations.own = self.nominated_node(pod).map(|at| (at, self.levels(at, Some(pod.uid()))));
    }

    /// A Pod was placed, maybe not on the node that it was nominated to.
    pub(super) fn nomination_used(&mut self, pod: &Pod, at: usize) {
        if let Some(nominated) = self.nominations.all.get(pod.uid()) {
            let elsewhere = self.index(&nominated.node).filter(|of| *of != at);
            self.nominations.placed.insert(pod.uid().into(), at);
            if let Some(other) = elsewhere {
                self.changes.note(other);
                self.refresh_nominations(other);
            }
        }
        if self.nominations.by_node.contains_key(&at) {
            self.refresh_nominations(at);
        }
    }

    /// Decides about a Pod that no node can take.
    pub(super) fn no_node(&mut self, pod: &PendingPod, class: &mut ClassRanking) -> Outcome {
        let nominated = self.nominated_node(pod).is_some();
        if let Some(report) = class.report.clone().filter(|report| !nominated && report.is_final) {
            return Outcome::Wait(report);
        }
        self.see_own_node(pod);
        let mut report = self.explain(pod, class);
        let result = self.run_post_filters(pod, class, &report);
        self.nominations.own = None;
        match result {
            Some(PostFilterResult::Preempt(victims)) if !report.waits_for_offer() => {
                self.nominate(pod, &victims);
                return Outcome::Preempt { victims, report: Arc::new(report) };
            }
            // It fits a node as it is, and only an offer is missing.
            Some(PostFilterResult::Preempt(_)) | None => {}
            Some(PostFilterResult::Nothing(why)) => report.preemption = Some(why),
        }
        report.is_final = true;
        let report = Arc::new(report);
        if !nominated {
            class.report = Some(report.clone());
        }
        Outcome::Wait(report)
    }

    fn run_post_filters(
        &mut self,
        pod: &PendingPod,
        class: &ClassRanking,
        report: &Report,
    ) -> Option<PostFilterResult> {
        if pod.bound_to().is_some() {
            return None;
        }
        let points = self.profiles.get(pod.profile).at(ExtensionPoint::PostFilter);
        points.iter().for_each(|_| self.stats.count_run(ExtensionPoint::PostFilter));
        let profile = self.profiles.get(pod.profile);
        let dry_run = CycleDryRun { cycle: self, pod, class, report };
        let mut plugins = points.iter().filter_map(|plugin| profile.plugin(*plugin).post_filter());
        plugins.next().map(|plugin| plugin.post_filter(pod, &dry_run))
    }

    /// Nominates a Pod to the node of its victims. Pods of lower priority lose their nomination to it.
    fn nominate(&mut self, pod: &PendingPod, victims: &Victims) {
        let name = self.nodes[victims.node].name();
        let before = self.nominated_node(pod);
        let priority = pod.pod.shape.priority;
        self.nominations.all.retain(|uid, other| {
            *other.node != *name
                || other.pod.shape.priority >= priority
                || self.nominations.placed.contains_key(uid)
        });
        let nomination = Nomination { node: name.into(), pod: pod.pod.clone() };
        self.nominations.all.insert(pod.uid().into(), nomination);
        for at in before.into_iter().chain([victims.node]) {
            self.changes.note(at);
            self.refresh_nominations(at);
        }
    }
}

/// The nodes as a PostFilter plugin sees them for one Pod.
struct CycleDryRun<'d, 'c> {
    cycle: &'d Cycle<'c>,
    pod: &'d PendingPod,
    class: &'d ClassRanking,
    report: &'d Report,
}

impl DryRun for CycleDryRun<'_, '_> {
    fn nodes(&self) -> &[NodeInfo] {
        self.cycle.nodes
    }

    fn resolvable(&self) -> &[usize] {
        &self.report.resolvable
    }

    fn fits(&self, at: usize, info: &NodeInfo) -> Result<(), Refusal> {
        let view = self.cycle.view(self.pod, &self.class.placed, at);
        let mut left = info.left();
        if let Some(in_cycle) = view.requested_in_cycle() {
            left.subtract(in_cycle);
        }
        let lister = FreedLister(self.cycle.lister);
        let view = NodeView { info, offered: Some(&left), lister: &lister, leaves_room: false, ..view };
        match self.cycle.refusal_of(self.pod, self.class, at, &view) {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    fn nominated(&self) -> Option<usize> {
        self.cycle.nominated_node(self.pod)
    }

    fn lister(&self) -> &dyn SharedLister {
        self.cycle.lister
    }
}

/// Offers as they will be: everything that is free on a node can be offered.
struct FreedLister<'l>(&'l dyn SharedLister);

impl SharedLister for FreedLister<'_> {
    fn free(&self, _node: &NodeInfo, _role: &str) -> Option<&super::super::Amounts> {
        None
    }

    fn same_owner_pods(&self, node: &NodeInfo, owner: &str) -> u32 {
        self.0.same_owner_pods(node, owner)
    }
}

//! Executes scheduling cycles: turns offers and pending Pods into launches, and into reasons why Pods stay pending. A
//! launch's intent is durable before its ACCEPT is sent.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernel_model::{
    executor::ExecutorInfo,
    ids::{AgentId, OfferId, TaskId},
    labels::Labels,
    offer::{Filters, Offer},
    resources::{Ranges, Resource, Resources, Scalar},
    scheduler::{Call, Operation},
    task::{PRIORITY_LABEL, TaskInfo},
};
use shim_model::object::StoredObject;

use super::framework::executor_info;
use super::node_cache::NodeCache;
use super::offer_cache::{Group, OfferCache};
use super::pods::PodCache;
use super::subscription::REMOVED_MAX;
use super::{CallOutcome, IntentWrite, SchedulerMachine, Send, Write};
use crate::kernel_resources::{REVOCABLE_CPU, kernel_name, mebibytes};
use crate::rows::{DisruptionBudget, Pod};
use crate::scheduler::{
    AgentPorts, Amounts, EventSet, NodeInfo, Outcome, PendingPod, PluginSet, SharedLister, TaskPhase,
    bind_encoded, topology_labels,
};

/// How long offers are awaited before Pods are reported as waiting for an offer.
pub(super) const NO_OFFER_AFTER: Duration = Duration::from_millis(500);
/// Refuse time of offers that no pending Pod can use; short, because the next Pod may be smaller.
const REFUSE_UNFIT: Duration = Duration::from_secs(1);

/// A cycle's view of the caches.
struct CycleLister<'a> {
    nodes: &'a NodeCache,
    offers: &'a OfferCache,
    pods: &'a PodCache,
    budgets: &'a BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<DisruptionBudget>>>,
}

impl SharedLister for CycleLister<'_> {
    fn free(&self, node: &NodeInfo, role: &str) -> Option<&Amounts> {
        let agent = self.nodes.agent_of(node.name())?;
        Some(&self.offers.group(role, agent)?.free)
    }

    fn has_ports(&self, node: &NodeInfo, role: &str, ports: &Ranges) -> bool {
        let group = self.nodes.agent_of(node.name()).and_then(|agent| self.offers.group(role, agent));
        let wanted: Resources = [Resource::ranges("ports", ports.clone())].into_iter().collect();
        group.is_some_and(|group| group.resources.find(&wanted).is_some())
    }

    fn same_owner_pods(&self, node: &NodeInfo, owner: &str) -> u32 {
        self.pods.same_owner_pods(owner, node.name())
    }

    fn current<'p>(&'p self, pod: &'p Pod) -> &'p Pod {
        self.pods.by_uid.get(pod.uid()).map_or(pod, |state| &*state.row)
    }

    fn budgets(&self, namespace: &str) -> Vec<&DisruptionBudget> {
        self.budgets.get(namespace).into_iter().flat_map(BTreeMap::values).map(|budget| &**budget).collect()
    }
}

/// One Pod of a launch.
#[derive(Debug)]
pub(super) struct Launched {
    pub uid: Box<str>,
    pub agent_id: AgentId,
    pub node: Box<str>,
    /// The Pod that `bound` was made of.
    pub row: Arc<Pod>,
    /// The bound Pod, both for the launch and for the write.
    pub bound: StoredObject,
    /// Whether the Pod was bound before, so that this is a relaunch.
    pub was_bound: bool,
}

/// One ACCEPT of a launch and its Pods.
#[derive(Debug)]
struct Accept {
    offer_ids: Vec<OfferId>,
    tasks: Vec<TaskInfo>,
    pods: Vec<Launched>,
}

/// The launches of one cycle.
#[derive(Debug)]
pub(super) struct PendingLaunch {
    number: u64,
    accepts: Vec<Accept>,
}

/// A group of offers and the Pods to launch on it.
struct Destination<'a> {
    launch: u64,
    agent_id: &'a AgentId,
    node: &'a str,
    ports: AgentPorts,
    /// The executor that runs the Pods.
    executor: &'a Arc<ExecutorInfo>,
}

/// Whether volumes of a Pod are to be made for the node that it gets.
fn needs_volumes(pod: &PendingPod) -> bool {
    pod.bound_to().is_none() && pod.volumes.as_ref().is_some_and(|volumes| !volumes.provisioned.is_empty())
}

impl SchedulerMachine {
    /// Runs a cycle: demand, roles, scheduling, launches.
    pub(super) fn cycle(&mut self) {
        self.settle_nominations();
        self.queue.advance(self.now);
        self.count_demand();
        self.follow_roles();
        self.note_changed_offers();
        self.place();
        self.write_nodes();
    }

    /// Marks the nodes whose offers have changed since the last cycle.
    fn note_changed_offers(&mut self) {
        for agent in self.offers.take_changed() {
            if let Some(node) = self.nodes.node_of(&agent) {
                self.node_infos.touch(node);
            }
        }
    }

    /// Handles an offer: requeues Pods that wait for one in its role.
    pub(super) fn offer_came(&mut self, offer: &Offer) {
        self.offers.put(offer);
        let node = self.nodes.node_of(&offer.agent_id).map(Box::<str>::from);
        if let Some(node) = node {
            self.node_event(EventSet::OFFER, &node, Some(offer.role.as_str()));
        }
    }

    fn place(&mut self) {
        if self.framework_id.is_none() || self.queue.is_idle() {
            return;
        }
        let none_came = self.offers.asked_at().is_none_or(|at| self.now >= at + NO_OFFER_AFTER);
        if self.offers.is_empty() && !none_came {
            return;
        }
        let pending = self.pending();
        let pending = self.without_rejected(pending);
        if pending.is_empty() {
            return;
        }
        let (nodes, offers, pods, budgets) = (&self.nodes, &self.offers, &self.pods, &self.budgets);
        let lister = CycleLister { nodes, offers, pods, budgets };
        let decisions = self.scheduler.schedule(self.now, &pending, &mut self.node_infos, &lister);
        let mut placed: BTreeMap<(usize, Arc<str>), Vec<usize>> = BTreeMap::new();
        let (mut waiting, mut preempting) = (Vec::new(), Vec::new());
        for decision in decisions {
            match decision.outcome {
                Outcome::Place { node } if needs_volumes(&pending[decision.pod]) => {
                    self.select_node(&pending[decision.pod], node);
                }
                Outcome::Place { node } => {
                    let role = pending[decision.pod].role.clone();
                    placed.entry((node, role)).or_default().push(decision.pod);
                }
                // It stays active, and its Permit plugins run again in each cycle.
                Outcome::Permit { .. } => {}
                Outcome::Wait(report) => waiting.push((decision.pod, report)),
                Outcome::Preempt { victims, report } => preempting.push((decision.pod, victims, report)),
            }
        }
        let mut unfit_roles: BTreeSet<Arc<str>> = BTreeSet::new();
        for (pod, report) in waiting {
            unfit_roles.insert(pending[pod].role.clone());
            self.found_no_node(&pending[pod], &report);
        }
        for (pod, victims, report) in preempting {
            unfit_roles.insert(pending[pod].role.clone());
            self.preempt(&pending[pod], &victims, &report);
        }
        self.launch(&pending, placed);
        self.decline_unfit(&unfit_roles);
    }

    /// Chooses a node for the volumes of a Pod that are to be made. The Pod waits until they are: then they decide its node.
    fn select_node(&mut self, pod: &PendingPod, node: usize) {
        let node: Box<str> = self.node_infos.all()[node].name().into();
        self.not_launched(pod, &node);
        // Should the write fail, the next choice is not made at once.
        self.queue.back_off(pod.uid(), self.now, PluginSet::default());
        let namespace: Box<str> = pod.pod.header().namespace.as_str().into();
        let provisioned = pod.volumes.iter().flat_map(|volumes| &volumes.provisioned);
        let claims: Vec<Box<str>> = provisioned.map(|claim| claim.name.clone()).collect();
        claims.iter().for_each(|claim| self.volumes.select(&namespace, claim, Some(&node)));
        self.out.persist.push(Write::SelectNode { namespace, claims, node });
    }

    /// Declines offers that are left although Pods of their role are pending.
    fn decline_unfit(&mut self, roles: &BTreeSet<Arc<str>>) {
        if !roles.is_empty() {
            let offer_ids = self.offers.take_of_roles(roles);
            self.decline(offer_ids);
        }
    }

    fn decline(&mut self, offer_ids: Vec<OfferId>) {
        if !offer_ids.is_empty() {
            self.call(Call::Decline { offer_ids, filters: Filters { refuse: REFUSE_UNFIT } });
        }
    }

    /// Turns placements into launches from the offers to each Pod's role.
    fn launch(&mut self, pending: &[PendingPod], placed: BTreeMap<(usize, Arc<str>), Vec<usize>>) {
        let number = self.next_launch;
        self.next_launch += 1;
        let mut accepts = Vec::new();
        let mut executors: BTreeMap<Arc<str>, Arc<ExecutorInfo>> = BTreeMap::new();
        for ((node, role), pods) in placed {
            let info = &self.node_infos.all()[node];
            let (node, ports): (Box<str>, _) = (info.name().into(), info.ports.clone());
            let agent_id = self.nodes.agent_of(&node).cloned();
            let taken = agent_id
                .map(|agent_id| (role, agent_id))
                .and_then(|key| Some((self.offers.take(&key)?, key)));
            let Some((group, key)) = taken else {
                pods.iter().for_each(|pod| self.not_launched(&pending[*pod], &node));
                continue;
            };
            let ours = self.framework_id.as_ref();
            let executor =
                executors.entry(key.0.clone()).or_insert_with(|| executor_info(ours, &key.0).into());
            let target = Destination { launch: number, agent_id: &key.1, node: &node, ports, executor };
            let (tasks, launched) = self.tasks(&target, &group, pods.iter().map(|p| &pending[*p]));
            for pod in pods.iter().map(|pod| &pending[*pod]) {
                if self.queue.is_active(pod.uid()) {
                    self.not_launched(pod, &node);
                }
            }
            if tasks.is_empty() {
                self.offers.put_back(key, group);
                continue;
            }
            accepts.push(Accept { offer_ids: group.into_ids(), tasks, pods: launched });
        }
        if !accepts.is_empty() {
            self.record_intent(PendingLaunch { number, accepts });
        }
    }

    /// Returns a Pod that was placed and not launched to the queue and frees the node's resources.
    fn not_launched(&mut self, pod: &PendingPod, node: &str) {
        self.scheduler.unreserve(pod.profile, &pod.pod, node);
        self.node_event(EventSet::POD_DELETE, node, None);
    }

    /// The tasks for one group of offers. A Pod whose resources cannot be allocated from it, because of rounding or
    /// reservations, stays pending.
    fn tasks<'p>(
        &mut self,
        target: &Destination<'_>,
        group: &Group,
        pods: impl Iterator<Item = &'p PendingPod>,
    ) -> (Vec<TaskInfo>, Vec<Launched>) {
        let &Destination { launch, agent_id, node, executor, .. } = target;
        let (mut tasks, mut launched) = (Vec::new(), Vec::new());
        let mut left = group.resources.clone();
        if !group.executor_runs {
            // Every launch on the agent names the same executor, so its share is unreserved.
            let Some(share) = left.unreserved().find(&executor.resources) else { return (tasks, launched) };
            left.remove_all(&share);
        }
        let time = self.seconds();
        let info = self.node_infos.get(node);
        let labels = info.map(|info| topology_labels(&info.node.header().labels)).unwrap_or_default();
        for pod in pods {
            let charge = pod.pod.shape.charge();
            let info = self.node_infos.get(node);
            let of_kernel = info.map_or(Cow::Borrowed(&charge), |info| info.charge_of_kernel(&charge));
            let mut wanted = kernel_resources(&of_kernel);
            wanted.add(Resource::ranges("ports", target.ports.of(&pod.pod.shape.host_ports)));
            let Some(resources) = left.find(&wanted) else { continue };
            let Some(state) = self.pods.by_uid.get_mut(pod.uid()) else { continue };
            let was_bound = state.node().is_some();
            let bound = match was_bound {
                true => Some(StoredObject::clone(&state.row.object)),
                false => bind_encoded(&state.row.object, node, labels.clone(), time),
            };
            let Some(bound) = bound else { continue };
            left.remove_all(&resources);
            let row = state.row.clone();
            state.set_phase(TaskPhase::Intended);
            state.launch = Some(launch);
            state.agent_id = Some(agent_id.clone());
            if state.occupies.is_none() {
                self.occupy_node(pod.uid(), Some(node.into()));
            }
            self.queue.launched(pod.uid());
            tasks.push(task(pod, agent_id, resources, executor, bound.bytes.clone()));
            let (uid, agent_id) = (pod.uid().into(), agent_id.clone());
            launched.push(Launched { uid, agent_id, node: node.into(), row, bound, was_bound });
        }
        (tasks, launched)
    }

    /// Requests the record that must be durable before the launch is sent. Bound Pods need none, because they can
    /// only run on their node.
    fn record_intent(&mut self, launch: PendingLaunch) {
        let pods = launch.accepts.iter().flat_map(|accept| &accept.pods).filter(|pod| !pod.was_bound);
        let mut fresh = pods.map(|pod| (&*pod.uid, pod.agent_id.as_str())).peekable();
        if fresh.peek().is_none() {
            drop(fresh);
            return self.send_launch(launch);
        }
        let record = self.journal.record_intent(fresh);
        let remove = self.journal.take_spent(REMOVED_MAX);
        self.intended.insert(record.number, launch);
        self.out.persist.push(Write::Intent(IntentWrite { record, remove }));
    }

    pub(super) fn intent_written(&mut self, number: u64, written: bool) {
        self.journal.write_ended(number);
        let Some(launch) = self.intended.remove(&number) else { return };
        if written {
            return self.send_launch(launch);
        }
        let offer_ids = launch.accepts.iter().flat_map(|accept| accept.offer_ids.iter().cloned()).collect();
        self.decline(offer_ids);
        for pod in launch.accepts.iter().flat_map(|accept| &accept.pods) {
            if self.is_in_launch(&pod.uid, launch.number) {
                self.launch_failed(&pod.uid);
            }
        }
    }

    /// Whether a Pod is still part of this launch: it may have been deleted, be reconciled, or be in a later launch.
    pub(super) fn is_in_launch(&self, uid: &str, launch: u64) -> bool {
        let state = self.pods.by_uid.get(uid);
        state.is_some_and(|state| state.launch == Some(launch) && state.phase.is_launching())
    }

    /// Sends a launch without Pods that must no longer be launched.
    fn send_launch(&mut self, mut launch: PendingLaunch) {
        let mut unused = Vec::new();
        for accept in &mut launch.accepts {
            let mut kept = Vec::with_capacity(accept.pods.len());
            for (pod, task) in
                std::mem::take(&mut accept.pods).into_iter().zip(std::mem::take(&mut accept.tasks))
            {
                if self.is_in_launch(&pod.uid, launch.number) && self.goes_to(&pod) {
                    if let Some(state) = self.pods.by_uid.get_mut(&pod.uid) {
                        state.set_phase(TaskPhase::Launched);
                    }
                    kept.push((pod, task));
                } else if self.is_in_launch(&pod.uid, launch.number) {
                    self.forget_launch(&pod.uid);
                }
            }
            (accept.pods, accept.tasks) = kept.into_iter().unzip();
            if accept.tasks.is_empty() {
                unused.append(&mut accept.offer_ids);
            }
        }
        self.decline(unused);
        launch.accepts.retain(|accept| !accept.tasks.is_empty());
        if launch.accepts.is_empty() {
            return;
        }
        let calls = launch.accepts.iter_mut().map(|accept| Call::Accept {
            offer_ids: std::mem::take(&mut accept.offer_ids),
            operations: vec![Operation::Launch { tasks: std::mem::take(&mut accept.tasks) }],
            filters: Filters { refuse: Duration::ZERO },
        });
        self.out.send.push(Send::Launch { launch: launch.number, calls: calls.collect() });
        self.launched.insert(launch.number, launch);
    }

    /// Whether a Pod is still to be launched on this node: it may have been deleted or bound to another one.
    fn goes_to(&self, pod: &Launched) -> bool {
        let state = self.pods.by_uid.get(&pod.uid);
        state.is_some_and(|state| state.may_launch() && state.node().is_none_or(|node| *node == *pod.node))
    }

    pub(super) fn launch_answered(&mut self, number: u64, outcomes: &[CallOutcome]) {
        let Some(launch) = self.launched.remove(&number) else { return };
        let mut launched = Vec::new();
        for (at, accept) in launch.accepts.into_iter().enumerate() {
            let outcome = outcomes.get(at).copied().unwrap_or(CallOutcome::Unanswered);
            launched.extend(accept.pods.into_iter().map(|pod| (pod, outcome)));
        }
        self.await_bindings(number, launched);
    }

    /// Handles a failed launch: the Pod is pending again, with back-off.
    pub(super) fn launch_failed(&mut self, uid: &str) {
        self.forget_launch(uid);
        self.queue.back_off(uid, self.now, PluginSet::default());
    }

    /// Releases the plugins' reservations for a Pod.
    pub(super) fn unreserve(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        let profile = self.scheduler.profiles().find(state.row.scheduler_name());
        if let (Some(profile), Some(node)) = (profile, &state.occupies) {
            self.scheduler.unreserve(profile, &state.row, node);
        }
    }

    /// Handles that a Pod has no task: it is pending again if it should run at all.
    pub(super) fn forget_launch(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        state.set_phase(TaskPhase::Unscheduled);
        state.agent_id = None;
        self.unreserve(uid);
        self.journal.clear_intent(uid);
        self.occupy(uid);
        self.sort_in(uid);
    }
}

fn task(
    pod: &PendingPod,
    agent_id: &AgentId,
    resources: Resources,
    executor: &Arc<ExecutorInfo>,
    data: Bytes,
) -> TaskInfo {
    let header = pod.pod.header();
    let labels = Labels::default()
        .with("io.kubernetes.pod.namespace", &header.namespace)
        .with("io.kubernetes.pod.name", &header.name);
    TaskInfo {
        name: header.name.clone(),
        task_id: TaskId::from(pod.uid()),
        agent_id: agent_id.clone(),
        resources,
        zero_resources: Vec::new(),
        executor: Some(executor.clone()),
        command: None,
        // For the agent, whose stop waits for it.
        kill_grace: pod.pod.shape.grace_seconds.map(Duration::from_secs),
        max_completion_time: None,
        image: None,
        data,
        labels: match pod.pod.shape.priority {
            0 => labels,
            priority => labels.with(PRIORITY_LABEL, &priority.to_string()),
        },
        extra: Bytes::new(),
    }
}

/// Converts amounts to the kernel's units: memory and storage in MiB, rounded up.
pub(super) fn kernel_resources(charge: &Amounts) -> Resources {
    let mut all = vec![
        Resource::scalar("cpus", Scalar(charge.cpu_milli)),
        Resource::scalar("mem", mebibytes(charge.memory)),
        Resource::scalar("disk", mebibytes(charge.ephemeral)),
    ];
    for (name, amount) in &charge.others {
        if &**name == REVOCABLE_CPU {
            all.push(Resource { revocable: true, ..Resource::scalar("cpus", Scalar(*amount)) });
            continue;
        }
        all.push(Resource::scalar(kernel_name(name), Scalar::from_units(*amount)));
    }
    all.into_iter().filter(|r| !r.value.is_zero()).collect()
}

//! One cycle, carried out: offers and pending Pods go in, launches and reasons come out; accepted launches become bindings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kernel_model::{
    executor::ExecutorInfo,
    ids::{AgentId, TaskId},
    labels::Labels,
    offer::Filters,
    resources::{Resource, Resources, Scalar},
    scheduler::{Call, Operation},
    task::{TaskInfo, TaskState},
};
use shim_core::controllers::{EventRecord, Target, served};
use shim_core::rows::{Key, Pod};
use shim_core::scheduler::{Amounts, Board, Machine, Outcome, PendingPod, Report, schedule};

use super::jobs::{BindError, Binding, Bound, Done, Launched, Taken};
use super::machines::Machines;
use super::nodes::NodeBook;
use super::offers::{Group, OfferBook};
use super::pods::{PodBook, Task, executor_info};
use super::{Runner, promises, writes};
use crate::storage::registry::Registry;

/// How long offers are waited for before Pods are told that there are none.
const NO_OFFER_AFTER: Duration = Duration::from_millis(500);
/// How long a Pod that would fit, if only the kernel offered it, waits before it is told so.
const TELL_NO_OFFER_AFTER: Duration = Duration::from_secs(3);
/// How long offers that no waiting Pod can use are refused: short, for the next Pod may be smaller.
const REFUSE_UNFIT: Duration = Duration::from_secs(1);
/// Bindings in one job: as many as share a group commit well.
const BINDINGS_MAX: usize = 128;
/// Fewer bindings than these are written at once: nothing is gained by waiting.
const BINDINGS_FEW: usize = 8;
/// How often many bindings are looked through for those of which the node has said enough.
const BINDINGS_EVERY: Duration = Duration::from_millis(4);
/// How long one of many bindings waits for what the node says, to be written together with it: what simulated machines take
/// for their two words under load, about what a sync of the store takes, and less than a container takes to start.
const WORD_WAIT_MAX: Duration = Duration::from_millis(20);

/// The books, as a cycle asks for what it needs of them.
struct Books<'a> {
    machines: &'a [Machine],
    nodes: &'a NodeBook,
    offers: &'a OfferBook,
    pods: &'a PodBook,
}

impl Board for Books<'_> {
    fn free(&self, machine: usize, role: &str) -> Option<&Amounts> {
        let agent = self.nodes.agent_of(self.machines[machine].node.name())?;
        Some(&self.offers.group(role, agent)?.free)
    }

    fn siblings(&self, machine: usize, owner: &str) -> u32 {
        self.pods.siblings(owner, self.machines[machine].node.name())
    }
}

/// Where the Pods of one group of offers go.
struct Destination<'a> {
    /// When they are bound.
    time: i64,
    agent_id: &'a AgentId,
    node: &'a str,
    /// What carries them there.
    executor: &'a Arc<ExecutorInfo>,
}

impl Runner {
    /// Runs a cycle if there is something to decide.
    pub(crate) fn place(&mut self, now: Instant) {
        if self.framework_id.is_none() || self.pods.waiting.is_empty() {
            return;
        }
        let none_came = self.offers.asked_at().is_none_or(|at| now >= at + NO_OFFER_AFTER);
        if self.offers.is_empty() && !none_came {
            return;
        }
        let pending = self.pending(now);
        let pending = self.without_rejected(pending);
        if pending.is_empty() {
            return;
        }
        let Machines { all, rankings, .. } = &mut self.machines;
        let board = Books { machines: all, nodes: &self.nodes, offers: &self.offers, pods: &self.pods };
        let mut placed: BTreeMap<(usize, Arc<str>), Vec<usize>> = BTreeMap::new();
        let mut waiting = Vec::new();
        for decision in schedule(&pending, all, &board, rankings) {
            match decision.outcome {
                Outcome::Place { machine } => {
                    let role = pending[decision.pod].role.clone();
                    placed.entry((machine, role)).or_default().push(decision.pod);
                }
                Outcome::Wait(report) => waiting.push((decision.pod, report)),
            }
        }
        let mut unfit_roles: BTreeSet<Arc<str>> = BTreeSet::new();
        for (pod, report) in waiting {
            unfit_roles.insert(pending[pod].role.clone());
            self.rest(now, &pending[pod], &report);
        }
        self.carry_out(&pending, placed);
        self.decline_unfit(&unfit_roles);
    }

    /// What is offered of some machines is not what it was in the last cycle.
    pub(crate) fn note_offers(&mut self) {
        for agent in self.offers.take_changed() {
            if let Some(machine) = self.nodes.node_of(&agent).and_then(|node| self.machines.index(node)) {
                self.machines.rankings.changed(machine);
            }
        }
    }

    /// Launches Pods on machines, out of what their role is offered there.
    fn carry_out(&mut self, pending: &[PendingPod], placed: BTreeMap<(usize, Arc<str>), Vec<usize>>) {
        let mut calls = Vec::new();
        let mut launched = Vec::new();
        let time = super::now_seconds();
        let mut executors: BTreeMap<Arc<str>, Arc<ExecutorInfo>> = BTreeMap::new();
        for ((machine, role), pods) in placed {
            let node: Box<str> = self.machines.all[machine].node.name().into();
            let Some(agent_id) = self.nodes.agent_of(&node).cloned() else { continue };
            let key = (role, agent_id);
            let Some(group) = self.offers.take(&key) else { continue };
            let ours = self.framework_id.as_ref();
            let executor =
                executors.entry(key.0.clone()).or_insert_with(|| executor_info(ours, &key.0).into());
            let target = Destination { time, agent_id: &key.1, node: &node, executor };
            let chosen = pods.iter().map(|p| &pending[*p]);
            let tasks = self.tasks(&target, &group, chosen, &mut launched);
            if tasks.is_empty() {
                self.offers.put_back(key, group);
                continue;
            }
            calls.push(Call::Accept {
                offer_ids: group.into_ids(),
                operations: vec![Operation::Launch { tasks }],
                filters: Filters { refuse: Duration::ZERO },
            });
        }
        self.launch(calls, launched);
    }

    /// Offers that are left over although Pods of their role wait are of no use to them.
    fn decline_unfit(&mut self, roles: &BTreeSet<Arc<str>>) {
        if roles.is_empty() {
            return;
        }
        let offer_ids = self.offers.take_of_roles(roles);
        if !offer_ids.is_empty() {
            self.call(Call::Decline { offer_ids, filters: Filters { refuse: REFUSE_UNFIT } });
        }
    }

    /// The tasks for one group of offers. A Pod whose resources cannot be found after all (of odd sizes, or reserved in
    /// ways that do not fit) goes on waiting.
    fn tasks<'p>(
        &mut self,
        target: &Destination<'_>,
        group: &Group,
        pods: impl Iterator<Item = &'p PendingPod>,
        launched: &mut Vec<Launched>,
    ) -> Vec<TaskInfo> {
        let &Destination { time, agent_id, node, executor } = target;
        let mut left = group.resources.clone();
        if !group.executor_runs {
            let Some(share) = left.find(&executor.resources) else { return Vec::new() };
            left.remove_all(&share);
        }
        let mut tasks = Vec::new();
        for pod in pods {
            let Some(resources) = left.find(&kernel_resources(&pod.shape.charge())) else { continue };
            let Some(state) = self.pods.by_uid.get_mut(&pod.uid) else { continue };
            let Some(bound) = writes::bound_pod(&state.row.object, node, time) else { continue };
            left.remove_all(&resources);
            let row = state.row.clone();
            state.task = Task::Promised;
            state.agent_id = Some(agent_id.clone());
            if state.occupies.is_none() {
                state.occupies = Some(node.into());
                self.machines.occupy(node, &row);
                self.pods.note_sibling(&row, node, true);
            }
            self.pods.waiting.remove(&pod.uid);
            tasks.push(TaskInfo {
                name: pod.key.name.to_string(),
                task_id: TaskId::from(&*pod.uid),
                agent_id: agent_id.clone(),
                resources,
                executor: Some(executor.clone()),
                command: None,
                kill_grace: None,
                max_completion_time: None,
                data: bound.bytes.clone(),
                labels: Labels::default()
                    .with("io.kubernetes.pod.namespace", &pod.key.namespace)
                    .with("io.kubernetes.pod.name", &pod.key.name),
                extra: Bytes::new(),
            });
            launched.push(Launched {
                uid: pod.uid.clone(),
                agent_id: agent_id.clone(),
                node: node.into(),
                taken: Taken::Unsure,
                pod: bound,
                revision: row.revision,
                was_bound: row.node.is_some(),
                with_status: None,
                first_word: None,
            });
        }
        tasks
    }

    fn launch(&mut self, calls: Vec<Call>, mut launched: Vec<Launched>) {
        let Some(caller) = self.caller.as_ref().filter(|_| !calls.is_empty()) else { return };
        let sizes: Vec<usize> = calls
            .iter()
            .map(|call| match call {
                Call::Accept { operations, .. } => match &operations[0] {
                    Operation::Launch { tasks } => tasks.len(),
                    _ => 0,
                },
                _ => 0,
            })
            .collect();
        let caller = caller.clone();
        let keeping = self.promise(&launched);
        let store = self.registry.store().clone();
        self.jobs.start(async move {
            // On disk before anything leaves: who comes after a crash must know whom to ask.
            if let Some(keeping) = keeping
                && let Err(not_removed) = promises::keep(&store, keeping).await
            {
                calls.into_iter().filter_map(declined).for_each(|call| caller.call(call));
                launched.iter_mut().for_each(|pod| pod.taken = Taken::No);
                return Done::Launched { launched, not_removed };
            }
            let taken = caller.call_all(calls).await.unwrap_or_default();
            // Launches are in the order of the calls that carry them.
            let mut pods = launched.iter_mut();
            for (call, size) in sizes.into_iter().enumerate() {
                let taken = taken.get(call).copied().unwrap_or(Taken::Unsure);
                pods.by_ref().take(size).for_each(|pod| pod.taken = taken);
            }
            Done::Launched { launched, not_removed: Vec::new() }
        });
    }

    /// Takes the report of a job.
    pub(crate) fn finish(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Launched { launched, not_removed } => {
                self.promises.not_removed(not_removed);
                self.launched(launched);
            }
            Done::Rejected { uid, written } => {
                if !written {
                    self.pods.sort_in(&uid);
                }
            }
            Done::NotRemoved(records) => self.promises.not_removed(records),
            Done::Bound(bound) => bound.into_iter().for_each(|b| self.was_bound(b)),
            Done::NodeWritten { name, result } => self.node_written(&name, result),
            Done::Settled(all) => all.into_iter().for_each(|(uid, result)| self.settled(&uid, result)),
        }
    }

    /// Launches were sent: their bindings follow, at once if they are few, or together with what the nodes say first.
    fn launched(&mut self, launched: Vec<Launched>) {
        let now = Instant::now();
        if self.bindings.len() + launched.len() < BINDINGS_FEW {
            self.bindings.extend(launched.into_iter().map(|launch| (now, launch)));
            self.bindings_due = Some(now);
        } else {
            self.bindings.extend(launched.into_iter().map(|launch| (now + WORD_WAIT_MAX, launch)));
            self.bindings_due.get_or_insert(now + BINDINGS_EVERY);
        }
    }

    /// Whether the node of a launched Pod may still say what is worth waiting for.
    fn awaits_word(&self, launch: &Launched) -> bool {
        let pod = self.pods.by_uid.get(&launch.uid);
        launch.taken == Taken::Yes
            && !launch.was_bound
            && pod.is_some_and(|pod| {
                let word = pod.deferred.first();
                pod.task == Task::Promised && word.is_none_or(|word| word.state == TaskState::Starting)
            })
    }

    /// Kernel first, then bind: what was taken and not refused since is written, once it is due.
    pub(crate) fn write_bindings(&mut self, now: Instant) {
        if self.bindings_due.is_none_or(|due| now < due) {
            return;
        }
        self.bindings_due = None;
        let mut to_bind = Vec::with_capacity(self.bindings.len());
        for (until, mut launch) in std::mem::take(&mut self.bindings) {
            if now < until && self.awaits_word(&launch) {
                self.bindings.push((until, launch));
                self.bindings_due = Some(now + BINDINGS_EVERY);
                continue;
            }
            let Some(state) = self.pods.by_uid.get_mut(&launch.uid) else {
                self.kill(&launch.uid, Some(launch.agent_id), Some(0));
                continue;
            };
            if state.task != Task::Promised {
                // It was refused meanwhile, or is asked after in a new subscription.
                continue;
            }
            if launch.taken == Taken::No {
                self.unpromise(&launch.uid);
                self.take_deferred(&launch.uid);
            } else if launch.taken == Taken::Unsure {
                // The promise stands until the kernel says more.
                state.task = Task::Asked;
                self.ask(&launch.uid);
                self.take_deferred(&launch.uid);
            } else if launch.was_bound {
                state.task = Task::Known;
                self.kill_if_deleted(&launch.uid);
                self.take_deferred(&launch.uid);
            } else {
                state.task = Task::Binding;
                let row = state.row.clone();
                self.take_first_word(&mut launch);
                to_bind.push((row, launch));
            }
        }
        let mut to_bind = to_bind.into_iter().peekable();
        while to_bind.peek().is_some() {
            let chunk: Vec<_> = to_bind.by_ref().take(BINDINGS_MAX).collect();
            let registry = self.registry.clone();
            self.jobs.start(async move { Done::Bound(bind_all(&registry, chunk).await) });
        }
    }

    fn was_bound(&mut self, bound: Bound) {
        let Some(state) = self.pods.by_uid.get_mut(&bound.uid) else { return };
        let mut stored = None;
        match (bound.first_word, &bound.result) {
            (Some(word), Ok(Binding { with_status: true, .. })) => stored = Some(word),
            (Some(word), _) => state.deferred.insert(0, word),
            (None, _) => {}
        }
        match bound.result {
            Ok(Binding { with_event, .. }) => {
                if state.task == Task::Binding {
                    state.task = Task::Known;
                }
                state.told = None;
                state.retry = Default::default();
                if !with_event {
                    self.events.record(writes::scheduled(&state.row, &bound.node));
                }
                if let Some(word) = stored {
                    self.acknowledge(&word);
                }
                self.kill_if_deleted(&bound.uid);
                self.take_deferred(&bound.uid);
            }
            Err(BindError::Obsolete) => {
                let agent = state.agent_id.clone();
                state.task = Task::Known;
                self.kill(&bound.uid, agent, Some(0));
                self.take_deferred(&bound.uid);
            }
            Err(BindError::Later(status)) => {
                // The promise stands: the kernel runs the task. Asking the kernel again makes the binding again.
                tracing::warn!(%status, uid = %bound.uid, "binding not written yet");
                state.task = Task::Asked;
                self.take_deferred(&bound.uid);
            }
        }
    }

    /// Takes the updates that came while the binding, or what was said before, was being written.
    pub(crate) fn take_deferred(&mut self, uid: &str) {
        let deferred = self.pods.by_uid.get_mut(uid).map(|p| std::mem::take(&mut p.deferred));
        let deferred = deferred.unwrap_or_default();
        if !deferred.is_empty() {
            // The row should be as bound as the caches are.
            self.drain_watches();
        }
        deferred.into_iter().for_each(|status| self.take_update(status));
    }

    /// A launch came to nothing: the Pod is pending again, after a rest, for the same may happen again.
    pub(crate) fn unpromise(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let rest = Duration::from_secs(u64::try_from(state.retry.failed()).unwrap_or(1));
        state.rest_until = Some(Instant::now() + rest);
        state.task = Task::None;
        state.agent_id = None;
        self.promises.end(uid);
        self.occupy(uid);
        self.pods.sort_in(uid);
    }

    /// A Pod found no place: it rests, and is told why.
    fn rest(&mut self, now: Instant, pod: &PendingPod, report: &Report) {
        let Some(state) = self.pods.by_uid.get_mut(&pod.uid) else { return };
        let patient = report.waits_for_offer() && now < state.waiting_since + TELL_NO_OFFER_AFTER;
        if patient {
            state.rest_until = Some(now + NO_OFFER_AFTER);
            return;
        }
        let rest = state.retry.failed();
        state.rest_until = Some(now + Duration::from_secs(u64::try_from(rest).unwrap_or(1)));
        let message = report.to_string();
        if state.told.as_deref() != Some(message.as_str()) {
            self.tell_waiting(&pod.uid, message);
        }
    }

    /// Tells people why a Pod waits: in an Event, and in its conditions if it has no node yet.
    pub(crate) fn tell_waiting(&mut self, uid: &str, message: String) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        state.told = Some(message.clone());
        let bound = state.row.node.is_some();
        let key = Key::of(state.row.header());
        self.events.record(EventRecord {
            about: Target::of(served("", "pods"), state.row.header()),
            warning: true,
            reason: if bound { "FailedLaunch" } else { "FailedScheduling" },
            message: message.clone(),
            component: shim_core::scheduler::NAME,
        });
        if bound {
            return;
        }
        let registry = self.registry.clone();
        self.jobs.start(async move {
            writes::note_unschedulable(&registry, &key, &message).await;
            Done::Nothing
        });
    }
}

/// Writes bindings side by side: they share the store's group commits.
async fn bind_all(registry: &Registry, launched: Vec<(Arc<Pod>, Launched)>) -> Vec<Bound> {
    let each = launched.into_iter().map(|(row, launch)| async move {
        let result = writes::bind(registry, &row, &launch).await;
        Bound { uid: launch.uid, node: launch.node, result, first_word: launch.first_word }
    });
    let bound = futures::future::join_all(each).await;
    // What is written next begins with what was written here: the caches should have it.
    let revisions = bound.iter().filter_map(|b| b.result.as_ref().ok()).map(|binding| binding.revision);
    if let Some(newest) = revisions.max() {
        let _ = registry.wait_for(newest).await;
    }
    bound
}

/// What becomes of the offers of an ACCEPT that cannot be made.
fn declined(call: Call) -> Option<Call> {
    match call {
        Call::Accept { offer_ids, .. } => {
            Some(Call::Decline { offer_ids, filters: Filters { refuse: REFUSE_UNFIT } })
        }
        _ => None,
    }
}

/// Amounts as the kernel counts them: memory and storage in MiB, rounded up to what it can express.
fn kernel_resources(charge: &Amounts) -> Resources {
    let mib = |bytes: i64| {
        let thousandths = (i128::from(bytes) * 1000 + (1 << 20) - 1) >> 20;
        Scalar(i64::try_from(thousandths).unwrap_or(i64::MAX))
    };
    let mut all = vec![
        Resource::scalar("cpus", Scalar(charge.cpu_milli)),
        Resource::scalar("mem", mib(charge.memory)),
        Resource::scalar("disk", mib(charge.ephemeral)),
    ];
    for (name, amount) in &charge.others {
        let name = match &**name {
            "catamaran.dev/gpu" => "gpus",
            other => other.strip_prefix("catamaran.dev/").unwrap_or(other),
        };
        all.push(Resource::scalar(name, Scalar::from_units(*amount)));
    }
    all.into_iter().filter(|r| !r.value.is_zero()).collect()
}

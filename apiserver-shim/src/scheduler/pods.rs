//! Pods as the scheduler framework keeps them: which wait, which have a task, which are to be killed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_model::{
    executor::ExecutorInfo,
    ids::{AgentId, ExecutorId, FrameworkId, TaskId},
    scheduler::Call,
    task::TaskStatus,
};
use shim_core::rows::{Key, Pod};
use shim_core::scheduler::{PendingPod, Retry};

use super::Runner;
use crate::storage::object::Object;
use crate::storage::pod_views::PodViews;
use crate::storage::watch_cache::{ChangeKind, Delivery, Watcher};

/// How long after a kill without effect it is sent again.
const KILL_AGAIN: Duration = Duration::from_secs(15);
/// How long after a question about a task without an answer it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is known of a Pod's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// There is none: a Pod without a node waits for one; a Pod with a node must be launched there.
    None,
    /// It is bound, and the kernel has been asked whether it has a task.
    Asked,
    /// A launch is on its way to the kernel.
    Promised,
    /// The kernel accepted the launch, and the binding is being written.
    Binding,
    /// The kernel knows it.
    Known,
}

/// One Pod.
#[derive(Debug)]
pub(crate) struct PodState {
    pub row: Arc<Pod>,
    pub task: Task,
    /// Where the task is, if it is known.
    pub agent_id: Option<AgentId>,
    /// The node that it occupies in `Machines`.
    pub occupies: Option<Box<str>>,
    pub retry: Retry,
    pub rest_until: Option<Instant>,
    pub waiting_since: Instant,
    /// The reason that was told last.
    pub told: Option<String>,
    /// Updates that came while its binding or what was said before was being written: they wait for that.
    pub deferred: Vec<Arc<TaskStatus>>,
    /// An update is being stored, which the next waits for: the older word could be the last to be written.
    pub settling: bool,
    killed: Option<(Instant, i64)>,
    asked_at: Option<Instant>,
}

impl PodState {
    /// Whether it needs a launch.
    pub fn needs_launch(&self) -> bool {
        self.task == Task::None && !self.row.phase.is_terminal() && self.row.deletion.is_none() && {
            self.row.node.is_some() || self.row.wants_node()
        }
    }
}

/// All Pods.
#[derive(Debug)]
pub(crate) struct PodBook {
    pub rows: PodViews,
    pub by_uid: HashMap<Box<str>, PodState>,
    /// Those that need a launch.
    pub waiting: HashSet<Box<str>>,
    /// Where Pods of a controller are: node and count.
    siblings: BTreeMap<Box<str>, BTreeMap<Box<str>, u32>>,
    roles_waiting: BTreeSet<Arc<str>>,
    room_was_made: bool,
}

impl PodBook {
    pub fn new(rows: PodViews) -> Self {
        PodBook {
            rows,
            by_uid: HashMap::new(),
            waiting: HashSet::new(),
            siblings: BTreeMap::new(),
            roles_waiting: BTreeSet::new(),
            room_was_made: false,
        }
    }

    /// Puts a Pod into the set of those that need a launch, or takes it out.
    pub fn sort_in(&mut self, uid: &str) {
        let needs = self.by_uid.get(uid).is_some_and(PodState::needs_launch);
        if needs {
            self.waiting.insert(uid.into());
        } else {
            self.waiting.remove(uid);
        }
    }

    /// Roles that have a Pod which needs a launch and does not rest. Filled by [`Runner::count_demand`].
    pub fn demand(&self) -> &BTreeSet<Arc<str>> {
        &self.roles_waiting
    }

    /// How many Pods of a controller are on a node.
    pub fn siblings(&self, owner: &str, node: &str) -> u32 {
        self.siblings.get(owner).and_then(|nodes| nodes.get(node)).copied().unwrap_or(0)
    }

    pub fn note_sibling(&mut self, row: &Pod, node: &str, here: bool) {
        let Some(owner) = row.controller_uid() else { return };
        let nodes = self.siblings.entry(owner.into()).or_default();
        let count = nodes.entry(node.into()).or_default();
        *count = if here { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            nodes.remove(node);
            if nodes.is_empty() {
                self.siblings.remove(owner);
            }
        }
    }
}

impl Runner {
    /// The next batch of a watcher; a watcher that lags begins anew.
    pub(crate) fn next_deliveries(
        &mut self,
        which: fn(&mut super::Watches) -> &mut Watcher,
        plural: &'static str,
    ) -> Option<Vec<Delivery>> {
        match which(&mut self.watch).poll(super::DELIVERIES_MAX) {
            Ok(batch) if batch.deliveries.is_empty() => None,
            Ok(batch) => Some(batch.deliveries),
            Err(_) => {
                let resource = shim_core::controllers::served("", plural);
                let from = crate::storage::watch_cache::WatchFrom::Start;
                let fresh =
                    self.registry.watch(resource, from, crate::storage::selection::Selection::everything());
                *which(&mut self.watch) = fresh.ok()?;
                if plural == "pods" {
                    self.forget_gone_pods();
                }
                Some(Vec::new())
            }
        }
    }

    /// After a lag: Pods that went unseen.
    fn forget_gone_pods(&mut self) {
        let cache = self.registry.cache(shim_core::controllers::served("", "pods"));
        let gone = |row: &Pod| {
            let header = row.header();
            cache.get(&header.namespace, &header.name).is_none_or(|o| o.header().uid != header.uid)
        };
        let uids: Vec<Box<str>> =
            self.pods.by_uid.iter().filter(|(_, p)| gone(&p.row)).map(|(uid, _)| uid.clone()).collect();
        uids.iter().for_each(|uid| self.pod_gone(uid));
    }

    pub(crate) fn drain_pods(&mut self) {
        while let Some(deliveries) = self.next_deliveries(|w| &mut w.pods, "pods") {
            for delivery in deliveries {
                if delivery.kind == ChangeKind::Deleted {
                    self.pod_gone(&delivery.object.header().uid);
                    self.pods.rows.forget(&delivery.object.header().uid);
                } else {
                    self.pod_changed(&delivery.object);
                }
            }
        }
    }

    /// Finds the roles in which Pods wait.
    pub(crate) fn count_demand(&mut self, now: Instant) {
        let mut waiting = BTreeSet::new();
        for uid in &self.pods.waiting {
            let Some(pod) = self.pods.by_uid.get(uid) else { continue };
            if pod.rest_until.is_none_or(|until| until <= now) {
                let namespace = &pod.row.header().namespace;
                waiting.insert(self.roles.of(namespace));
            }
        }
        self.pods.roles_waiting = waiting;
    }

    fn pod_changed(&mut self, object: &Object) {
        let row = self.pods.rows.of(object);
        let uid: Box<str> = row.uid().into();
        let Some(state) = self.pods.by_uid.get_mut(&uid) else {
            return self.pod_came(uid, row);
        };
        if row.revision < state.row.revision {
            return;
        }
        let before = std::mem::replace(&mut state.row, row.clone());
        if row.node.is_some() && before.node.is_none() || row.phase.is_terminal() {
            self.promises.end(&uid);
        }
        // Bound without a task of ours: by somebody else, so that it may have one that we do not know of yet, or its
        // launch came to nothing and it is deleted before the next. What the kernel answers ends it then.
        let unsure = row.node.is_some()
            && state.task == Task::None
            && !row.phase.is_terminal()
            && (before.node.is_none() || row.deletion.is_some());
        if unsure {
            state.task = Task::Asked;
        }
        self.occupy(&uid);
        self.pods.sort_in(&uid);
        if unsure {
            self.ask(&uid);
        }
        let spec_changed = before.header().generation != row.header().generation
            || before.header().labels != row.header().labels;
        if spec_changed && row.node.is_some() && row.deletion.is_none() {
            self.tell_executor(&uid, object);
        }
        self.kill_if_deleted(&uid);
    }

    fn pod_came(&mut self, uid: Box<str>, row: Arc<Pod>) {
        let task = match row.node.is_some() && !row.phase.is_terminal() {
            true => Task::Asked,
            false => Task::None,
        };
        let state = PodState {
            row,
            task,
            agent_id: None,
            occupies: None,
            retry: Retry::default(),
            rest_until: None,
            waiting_since: Instant::now(),
            told: None,
            deferred: Vec::new(),
            settling: false,
            killed: None,
            asked_at: None,
        };
        self.pods.by_uid.insert(uid.clone(), state);
        self.occupy(&uid);
        self.pods.sort_in(&uid);
        if task == Task::None {
            self.await_promise(&uid);
        }
        if self.pods.by_uid.get(&uid).is_some_and(|pod| pod.task == Task::Asked) {
            self.ask(&uid);
        }
        self.kill_if_deleted(&uid);
    }

    /// Brings what the Pod occupies in line with its row.
    pub(crate) fn occupy(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let row = state.row.clone();
        // A promise occupies its node before the binding is written.
        let promised = match state.task {
            Task::Promised | Task::Binding => state.occupies.clone(),
            Task::Asked if self.promises.agent_of(uid).is_some() => state.occupies.clone(),
            _ => None,
        };
        let wanted = if row.phase.is_terminal() { None } else { row.node.clone().or(promised) };
        let before = std::mem::replace(&mut state.occupies, wanted.clone());
        if before == wanted {
            return;
        }
        if let Some(node) = before {
            self.machines.vacate(&node, &row);
            self.pods.note_sibling(&row, &node, false);
            self.room_was_made();
        }
        if let Some(node) = wanted {
            self.machines.occupy(&node, &row);
            self.pods.note_sibling(&row, &node, true);
        }
    }

    /// Something ended or grew: Pods that rest may fit now.
    pub(crate) fn room_was_made(&mut self) {
        self.pods.room_was_made = true;
    }

    /// Wakes Pods that rest, if something has changed for them.
    pub(crate) fn wake_resting(&mut self) {
        if !std::mem::take(&mut self.pods.room_was_made) {
            return;
        }
        for uid in &self.pods.waiting {
            if let Some(pod) = self.pods.by_uid.get_mut(uid) {
                pod.rest_until = None;
            }
        }
    }

    fn pod_gone(&mut self, uid: &str) {
        let Some(mut state) = self.pods.by_uid.remove(uid) else { return };
        self.promises.end(uid);
        self.pods.waiting.remove(uid);
        if let Some(node) = state.occupies.take() {
            self.machines.vacate(&node, &state.row);
            self.pods.note_sibling(&state.row, &node, false);
            self.room_was_made();
        }
        if matches!(state.task, Task::Known | Task::Promised | Task::Binding)
            && !state.row.phase.is_terminal()
        {
            // Removed by force, or its node told of its end through the update that removed it: then this does nothing.
            self.kill(uid, state.agent_id, Some(0));
        }
    }

    /// Kills the task of a Pod that is being deleted, once for each shortening of its grace.
    pub(crate) fn kill_if_deleted(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        if state.row.deletion.is_none() || state.task != Task::Known || state.row.phase.is_terminal() {
            return;
        }
        let grace = state.row.header().deletion_grace_period_seconds.unwrap_or(30);
        if state.killed.is_some_and(|(_, sent)| sent <= grace) {
            return;
        }
        state.killed = Some((Instant::now(), grace));
        let agent = state.agent_id.clone();
        self.kill(uid, agent, Some(grace));
    }

    pub(crate) fn kill(&mut self, uid: &str, agent_id: Option<AgentId>, grace_seconds: Option<i64>) {
        let grace = grace_seconds.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0)));
        self.call(Call::Kill { task_id: TaskId::from(uid), agent_id, grace });
    }

    pub(crate) fn repeat_kills(&mut self, now: Instant) {
        let again: Vec<Box<str>> = self
            .pods
            .by_uid
            .iter()
            .filter(|(_, p)| {
                let patience =
                    |grace: i64| KILL_AGAIN + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
                p.killed.is_some_and(|(at, grace)| now >= at + patience(grace))
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in again {
            if let Some(state) = self.pods.by_uid.get_mut(&uid) {
                state.killed = None;
            }
            self.kill_if_deleted(&uid);
        }
    }

    /// The kernel has the Pod's task, nobody here knows where: it is asked, and what waited for a binding counts now.
    pub(crate) fn ask_where(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        state.task = Task::Asked;
        self.promises.end(uid);
        self.occupy(uid);
        self.pods.sort_in(uid);
        self.ask(uid);
        self.take_deferred(uid);
    }

    /// Asks the kernel what it knows of a Pod's task.
    pub(crate) fn ask(&mut self, uid: &str) {
        let Some(question) = self.question(uid) else { return };
        self.call(Call::Reconcile { tasks: vec![question] });
    }

    fn question(&mut self, uid: &str) -> Option<(TaskId, Option<AgentId>)> {
        self.framework_id.as_ref()?;
        let state = self.pods.by_uid.get_mut(uid)?;
        state.asked_at = Some(Instant::now());
        let agent =
            state.agent_id.clone().or_else(|| self.nodes.agent_of(state.row.node.as_deref()?).cloned());
        Some((TaskId::from(uid), agent))
    }

    /// After a subscription: asks for everything that the kernel has, and for every Pod that is bound.
    pub(crate) fn reconcile_everything(&mut self) {
        self.call(Call::Reconcile { tasks: Vec::new() });
        let bound: Vec<Box<str>> = self
            .pods
            .by_uid
            .iter_mut()
            .filter(|(_, p)| (p.row.node.is_some() || p.task != Task::None) && !p.row.phase.is_terminal())
            .map(|(uid, p)| {
                p.task = Task::Asked;
                // What nobody has acknowledged comes again.
                p.deferred.clear();
                uid.clone()
            })
            .collect();
        bound.iter().for_each(|uid| self.pods.sort_in(uid));
        let questions: Vec<_> = bound.iter().filter_map(|uid| self.question(uid)).collect();
        if !questions.is_empty() {
            self.call(Call::Reconcile { tasks: questions });
        }
    }

    /// Asks again for what was not answered.
    pub(crate) fn repeat_questions(&mut self, now: Instant) {
        let again: Vec<Box<str>> = self
            .pods
            .by_uid
            .iter()
            .filter(|(_, p)| p.task == Task::Asked && p.asked_at.is_none_or(|at| now >= at + ASK_AGAIN))
            .map(|(uid, _)| uid.clone())
            .collect();
        let questions: Vec<_> = again.iter().filter_map(|uid| self.question(uid)).collect();
        if !questions.is_empty() {
            self.call(Call::Reconcile { tasks: questions });
        }
    }

    /// Sends the Pod as it is now to the executor that runs it.
    fn tell_executor(&mut self, uid: &str, object: &Object) {
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        let agent = state.agent_id.clone();
        let agent = agent.or_else(|| self.nodes.agent_of(state.row.node.as_deref()?).cloned());
        let Some(agent_id) = agent else { return };
        let mut data = Vec::with_capacity(object.bytes().len() + 10);
        data.extend_from_slice(b"{\"pod\":");
        data.extend_from_slice(object.bytes());
        data.push(b'}');
        let executor_id = ExecutorId::from(EXECUTOR_ID);
        self.call(Call::Message { agent_id, executor_id, data: data.into() });
    }

    /// The Pods to decide about, in order.
    pub(crate) fn pending(&self, now: Instant) -> Vec<PendingPod> {
        let mut pending: Vec<PendingPod> = self
            .pods
            .waiting
            .iter()
            .filter_map(|uid| Some((uid, self.pods.by_uid.get(uid)?)))
            .filter(|(_, pod)| pod.rest_until.is_none_or(|until| until <= now))
            .map(|(uid, pod)| PendingPod {
                key: Key::of(pod.row.header()),
                uid: uid.clone(),
                shape: pod.row.shape.clone(),
                role: self.roles.of(&pod.row.header().namespace),
                owner: pod.row.controller_uid().map(Arc::from),
                bound_to: pod.row.node.clone(),
                created: pod.row.created,
            })
            .collect();
        shim_core::scheduler::in_order(&mut pending);
        pending
    }
}

/// The executor that carries the Pods of an agent.
pub(crate) const EXECUTOR_ID: &str = "kubelet";

/// Its description: nothing in it depends on configuration, so that an upgrade is no other executor.
///
/// It is whole, so that the kernel has nothing to fill in and all tasks of a cycle share it: which framework it belongs to,
/// and in which role its share is allocated.
pub(crate) fn executor_info(framework_id: Option<&FrameworkId>, role: &str) -> ExecutorInfo {
    use super::node_projection::{EXECUTOR_CPU_MILLI, EXECUTOR_MEM_MIB};
    use kernel_model::{
        executor::{CommandInfo, ExecutorKind, RESPAWN_LABEL},
        labels::Labels,
        resources::{Resource, Resources, Scalar},
        roles::Role,
    };
    let resources: Resources = [
        Resource::scalar("cpus", Scalar(EXECUTOR_CPU_MILLI)),
        Resource::scalar("mem", Scalar::from_units(EXECUTOR_MEM_MIB)),
    ]
    .into_iter()
    .collect();
    let resources = match Role::parse(role) {
        Ok(role) => resources.into_allocated_to(&role),
        Err(_) => resources,
    };
    ExecutorInfo {
        kind: ExecutorKind::Custom,
        executor_id: ExecutorId::from(EXECUTOR_ID),
        framework_id: framework_id.cloned(),
        command: Some(CommandInfo {
            shell: true,
            value: Some("exec \"$CATAMARAN_BINARY\" executor".to_owned()),
            ..CommandInfo::default()
        }),
        resources,
        name: "kubelet".to_owned(),
        source: "kubernetes".to_owned(),
        data: bytes::Bytes::new(),
        shutdown_grace: None,
        labels: Labels::default().with(RESPAWN_LABEL, "true"),
        extra: bytes::Bytes::new(),
    }
}

//! Status updates. What the kernel reports of a task is stored in its Pod and then acknowledged. Writes of one Pod
//! are sequential.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    ids::AgentId,
    scheduler::Call,
    task::{TaskState, TaskStatus},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{PodEdit, SchedulerMachine, Send, StatusWrite, Write, WriteFailure};
use crate::rows::Key;
use crate::scheduler::{
    LaunchRefusal, Observation, ObservedTaskState, Step, TaskPhase, TaskView, observe, resolve_task_status,
};

/// Updates buffered for a Pod that is being written. The kernel sends the next update only after an acknowledgement,
/// so the others are answers to reconciliation. Updates that exceed the limit are sent again.
const DEFERRED_MAX: usize = 8;

/// The payload of an executor in `TaskStatus.data`.
#[derive(Deserialize)]
struct FromNode<'a> {
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    endpoint: Option<Cow<'a, str>>,
    #[serde(default, rename = "diskPressure")]
    disk_pressure: bool,
}

/// A write of a Pod in progress.
#[derive(Debug)]
pub(super) enum InflightWrite {
    Binding {
        node: Box<str>,
        /// The update whose status is part of the write.
        first_status: Option<Arc<TaskStatus>>,
    },
    Status {
        acknowledgement: Option<Call>,
        /// The node that the write binds the Pod to.
        binds: Option<Box<str>>,
        /// Whether the write removes the Pod.
        removes: bool,
        /// The phase of the task after the write.
        then: Option<TaskPhase>,
    },
}

impl InflightWrite {
    /// Whether the write stores the end of the Pod's task.
    pub fn ends_the_task(&self) -> bool {
        matches!(self, InflightWrite::Status { then: Some(TaskPhase::Ended), .. })
    }

    /// Clears buffered updates; a new subscription gets unacknowledged ones again.
    pub fn forget_updates(&mut self) {
        match self {
            InflightWrite::Binding { first_status, .. } => *first_status = None,
            InflightWrite::Status { then, .. } => *then = None,
        }
    }
}

impl SchedulerMachine {
    pub(super) fn take_update(&mut self, status: Arc<TaskStatus>) {
        let uid: Box<str> = status.task_id.as_str().into();
        self.settle_unwanted(&status);
        let Some(state) = self.pods.by_uid.get(&uid) else {
            // All Pods with tasks were seen before the subscription began, so this one was deleted.
            if observe(&status).state() == Some(ObservedTaskState::Alive) {
                self.kill_unwanted(&uid, status.agent_id.clone());
            }
            return self.acknowledge(&status);
        };
        let observation = observe(&status);
        if state.phase.is_launching() && observation == Observation::State(ObservedTaskState::Unknown) {
            // The answer to a reconciliation request from before the launch.
            return;
        }
        if self.inflight.contains_key(&uid) {
            return self.defer(&uid, status);
        }
        let elsewhere = status.agent_id.is_some() && status.agent_id != state.agent_id;
        match (state.phase, observation) {
            // No task is known and none is reported: nothing to do.
            (TaskPhase::Unscheduled | TaskPhase::Intended, _) if !observation.may_have_run() => {
                self.acknowledge(&status);
            }
            (TaskPhase::Intended, Observation::State(observed)) => {
                // Reconciliation was answered too early: do not send the launch.
                self.ask_about(&uid);
                self.resolve(&uid, &status, observed);
            }
            (TaskPhase::Launched, _) if elsewhere => {
                // A report about an earlier launch, which that agent may repeat at any time.
                self.acknowledge(&status);
            }
            (TaskPhase::Launched, Observation::State(ObservedTaskState::NeverStarted))
            | (TaskPhase::Launched, Observation::Refused(LaunchRefusal::InvalidOffers)) => {
                self.resolve(&uid, &status, ObservedTaskState::NeverStarted);
            }
            (TaskPhase::Launched, Observation::State(_)) => self.defer(&uid, status),
            (TaskPhase::Ended, Observation::Refused(_)) => self.acknowledge(&status),
            (_, Observation::Refused(refusal)) => self.launch_refused(&uid, &status, refusal),
            (_, Observation::State(observed)) => self.resolve(&uid, &status, observed),
        }
    }

    /// Handles a refused launch of a task that may exist: reconciliation was answered too early, or the ID is in use
    /// for that reason. Only a new answer shows whether the launch itself was invalid.
    fn launch_refused(&mut self, uid: &str, status: &TaskStatus, refusal: LaunchRefusal) {
        if let Some(state) = self.pods.by_uid.get_mut(uid)
            && refusal == LaunchRefusal::InvalidTask
        {
            state.refused = Some(status.message.as_deref().unwrap_or_default().into());
        }
        self.ask_about(uid);
        self.acknowledge(status);
        self.take_deferred(uid);
    }

    /// Decides about a Pod and its task, and starts the resulting steps.
    fn resolve(&mut self, uid: &str, status: &TaskStatus, mut observed: ObservedTaskState) {
        let node = status.agent_id.as_ref().and_then(|id| self.nodes.node_of(id)).map(Box::<str>::from);
        let from_node = self.read_data(uid, &status.data, node.as_deref());
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let mut message = status.message.as_deref().unwrap_or_default();
        let refused = state.refused.take();
        if let (ObservedTaskState::Unknown, Some(refused)) = (observed, &refused) {
            observed = ObservedTaskState::Invalid;
            message = refused;
        }
        let view = state.view();
        let task = TaskView { observed, node: node.as_deref(), has_status: from_node.is_some() };
        let is_here = view.node.is_none() || node.is_none() || view.node == node.as_deref();
        let steps = resolve_task_status(task, Some(view));
        let bound_here = view.node.is_some() && is_here;
        if let Some(agent_id) = &status.agent_id
            && is_here
            && state.phase != TaskPhase::Unscheduled
        {
            state.agent_id = Some(agent_id.clone());
        }
        if from_node.is_some() {
            state.unconfirmed = false;
        }
        let confirm = bound_here && observed == ObservedTaskState::Alive;
        let binds = steps.contains(&Step::Bind).then(|| node.clone()).flatten();
        state.started |= is_here && from_node.is_some() && may_show_start(status.state);
        let then = match observed {
            // The agent may return without the task, so reconciliation stays open.
            ObservedTaskState::Unreachable => Some(TaskPhase::Requested),
            ObservedTaskState::Alive if bound_here || binds.is_some() => Some(TaskPhase::Known),
            ObservedTaskState::Alive => None,
            _ if !is_here => None,
            _ => Some(TaskPhase::Ended),
        };
        let edits = edits(&steps, binds.as_deref(), from_node, message);
        let remove = steps.contains(&Step::Remove);
        let writes = !edits.is_empty() || remove;
        if steps.iter().any(|step| matches!(step, Step::Relaunch | Step::Forget)) {
            self.launch_failed(uid);
            self.take_deferred(uid);
        } else if !writes || (bound_here && !observed.is_terminal()) {
            self.enter(uid, then);
        }
        if steps.contains(&Step::Kill) {
            self.kill_task(uid, status.agent_id.clone());
        }
        if confirm {
            self.confirm_status(uid);
        }
        if !is_here && observed.is_terminal() {
            self.ended_elsewhere(uid, status);
        }
        if !writes {
            return self.acknowledge(status);
        }
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        let write = StatusWrite { key: Key::of(state.row.header()), uid: uid.into(), edits, remove };
        let acknowledgement = acknowledgement(status);
        let inflight = InflightWrite::Status { acknowledgement, binds, removes: remove, then };
        self.start_write(uid.into(), inflight);
        self.out.persist.push(Write::Status(Box::new(write)));
    }

    /// The task of a launch has ended whose Pod was meanwhile bound to another node; from now on that node's agent
    /// counts.
    fn ended_elsewhere(&mut self, uid: &str, status: &TaskStatus) {
        let intended = self.journal.agent_of(uid);
        if intended.is_some() && intended == status.agent_id.as_ref().map(AgentId::as_str) {
            self.journal.clear_intent(uid);
            self.ask(uid);
        }
    }

    /// Enters the phase that follows from an update or from its write.
    fn enter(&mut self, uid: &str, then: Option<TaskPhase>) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let Some(next) = then else { return };
        // A kill lasts until the task has ended, and an end is final.
        let stays = matches!(state.phase, TaskPhase::Ending | TaskPhase::Ended) && next == TaskPhase::Known;
        if !stays {
            if !state.phase.may_become(next) {
                // The update answers a request that has not been sent yet.
                state.set_phase(TaskPhase::Requested);
            }
            state.set_phase(next);
        }
        self.occupy(uid);
        self.sort_in(uid);
        self.kill_if_deleted(uid);
    }

    fn kill_task(&mut self, uid: &str, agent_id: Option<AgentId>) {
        let graceful = self
            .pods
            .by_uid
            .get(uid)
            .is_some_and(|state| state.row.deletion.is_some() && state.phase.has_task());
        if graceful {
            // Sends the kill with the Pod's grace period, and only once.
            self.kill_if_deleted(uid);
        } else {
            self.kill_unwanted(uid, agent_id);
        }
    }

    /// Starts a write. Only one per Pod: otherwise an older status could be written last.
    pub(super) fn start_write(&mut self, uid: Box<str>, write: InflightWrite) {
        debug_assert!(!self.inflight.contains_key(&uid), "two writes of {uid} at once");
        self.inflight.insert(uid, write);
    }

    pub(super) fn end_write(&mut self, uid: &str) -> Option<InflightWrite> {
        self.inflight.remove(uid)
    }

    pub(super) fn status_written(&mut self, uid: &str, result: Result<(), WriteFailure>) {
        let Some(InflightWrite::Status { acknowledgement, binds, removes, then }) = self.end_write(uid)
        else {
            return;
        };
        let refused = matches!(result, Err(WriteFailure::Refused(_)));
        match result {
            Err(WriteFailure::Unavailable) => {
                // The update is not acknowledged and will be sent again. Other updates are requested by
                // reconciliation.
                self.ask_about(uid);
            }
            result => {
                if let Some(call) = acknowledgement {
                    self.call(call);
                }
                if refused {
                    self.binding_refused(uid);
                } else {
                    if let (Some(state), Some(node), Ok(())) = (self.pods.by_uid.get_mut(uid), binds, result)
                        && state.row.node.is_none()
                    {
                        state.bound_to = Some(node);
                        self.journal.clear_intent(uid);
                    }
                    self.enter(uid, then);
                }
            }
        }
        self.take_deferred(uid);
        if !removes {
            self.remove_if_ended(uid);
        }
    }

    /// Removes a Pod that was deleted while the end of its task was being written.
    pub(super) fn remove_if_ended(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        let due = state.phase == TaskPhase::Ended && state.row.deletion.is_some();
        if !due || self.inflight.contains_key(uid) {
            return;
        }
        let key = Key::of(state.row.header());
        let write = StatusWrite { key, uid: uid.into(), edits: Vec::new(), remove: true };
        self.start_write(
            uid.into(),
            InflightWrite::Status { acknowledgement: None, binds: None, removes: true, then: None },
        );
        self.out.persist.push(Write::Status(Box::new(write)));
    }

    /// Buffers an update until the Pod's write in progress has finished.
    ///
    /// An update that reports a start is acknowledged at once, so that the kernel can send the next: each update
    /// carries the full status and replaces the one before, and after a crash the intent leads to reconciliation. The
    /// binding is then written with the newest status.
    fn defer(&mut self, uid: &str, mut status: Arc<TaskStatus>) {
        let Some(state) = self.pods.by_uid.get(uid) else { return };
        if state.deferred.len() >= DEFERRED_MAX {
            return;
        }
        if status.state == TaskState::Starting && status.uuid.is_some() && state.phase.is_launching() {
            self.acknowledge(&status);
            Arc::make_mut(&mut status).uuid = None;
        }
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        if !status.data.is_empty() {
            state.deferred.retain(|earlier| earlier.state != TaskState::Starting || earlier.uuid.is_some());
        }
        state.deferred.push(status);
    }

    /// Processes the updates that waited for a write.
    pub(super) fn take_deferred(&mut self, uid: &str) {
        let deferred = self.pods.by_uid.get_mut(uid).map(|state| std::mem::take(&mut state.deferred));
        deferred.into_iter().flatten().for_each(|status| self.take_update(status));
    }

    /// Takes the node's first status of a launched Pod, so that it is written together with the binding. This saves
    /// one or two writes and watch events per Pod. Updates other than a start are left for later.
    pub(super) fn take_first_status(&mut self, uid: &str, node: &str) -> Option<(Arc<TaskStatus>, Bytes)> {
        let first = self.pods.by_uid.get(uid)?.deferred.first()?.clone();
        if !matches!(first.state, TaskState::Starting | TaskState::Running) {
            return None;
        }
        let status = self.read_data(uid, &first.data, Some(node))?;
        self.pods.by_uid.get_mut(uid)?.deferred.remove(0);
        Some((first, status))
    }

    fn read_data(&mut self, uid: &str, data: &Bytes, node: Option<&str>) -> Option<Bytes> {
        if data.is_empty() {
            return None;
        }
        let Ok(from_node) = serde_json::from_slice::<FromNode<'_>>(data) else {
            self.out.send.push(Send::UnreadableStatus { uid: uid.into() });
            return None;
        };
        if let (Some(node), Some(endpoint)) = (node, from_node.endpoint) {
            self.endpoint_reported(node, &endpoint);
            self.disk_pressure_reported(node, from_node.disk_pressure);
        }
        let status = from_node.status.map(RawValue::get).filter(|status| status.starts_with('{'))?;
        Some(data.slice_ref(status.as_bytes()))
    }

    pub(super) fn acknowledge(&mut self, status: &TaskStatus) {
        if let Some(call) = acknowledgement(status) {
            self.call(call);
        }
    }
}

fn acknowledgement(status: &TaskStatus) -> Option<Call> {
    let (uuid, agent_id) = (status.uuid?, status.agent_id.clone()?);
    Some(Call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid })
}

/// Whether a status of a task in this state may show that containers were started.
fn may_show_start(state: TaskState) -> bool {
    !matches!(state, TaskState::Staging | TaskState::Starting)
}

fn edits(steps: &[Step], binds: Option<&str>, mut from_node: Option<Bytes>, message: &str) -> Vec<PodEdit> {
    let mut edit = |step: &Step| match step {
        Step::Bind => binds.map(|node| PodEdit::Bind { node: node.into() }),
        Step::WriteStatus => from_node.take().map(PodEdit::MergeStatus),
        Step::End { succeeded, reason } => {
            Some(PodEdit::End { succeeded: *succeeded, reason: (*reason).into(), message: message.into() })
        }
        Step::Remove | Step::Relaunch | Step::Forget | Step::Kill => None,
    };
    steps.iter().filter_map(&mut edit).collect()
}

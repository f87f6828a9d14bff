//! Status updates: what the kernel says of a task becomes what the store says of its Pod, and is acknowledged after that.
//! What concerns one Pod is written one after the other.

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

/// Updates kept for a Pod of which something is being written. The kernel sends the next only after an acknowledgement;
/// beside that there are answers to our own questions. What does not fit comes again, or is asked for again.
const DEFERRED_MAX: usize = 8;

/// What the executor sends in `TaskStatus.data`.
#[derive(Deserialize)]
struct FromNode<'a> {
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    endpoint: Option<Cow<'a, str>>,
}

/// A write of a Pod that is under way.
#[derive(Debug)]
pub(super) enum InflightWrite {
    Binding {
        node: Box<str>,
        /// The update whose status is written with it.
        first_status: Option<Arc<TaskStatus>>,
    },
    Status {
        acknowledgement: Option<Call>,
        /// The node that it binds the Pod to.
        binds: Option<Box<str>>,
        /// Whether it removes the Pod.
        removes: bool,
        /// The task's phase once it is written.
        then: Option<TaskPhase>,
    },
}

impl InflightWrite {
    /// What was not acknowledged comes again with a new subscription.
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
        let Some(state) = self.pods.by_uid.get(&uid) else {
            // The Pods of all tasks were seen before the subscription began: this one is gone.
            if observe(&status).state() == Some(ObservedTaskState::Alive) {
                self.kill(&uid, status.agent_id.clone(), 0);
            }
            return self.acknowledge(&status);
        };
        let observation = observe(&status);
        if state.phase.is_launching() && observation == Observation::State(ObservedTaskState::Unknown) {
            // The answer to a question from before the launch.
            return;
        }
        if self.inflight.contains_key(&uid) {
            return self.defer(&uid, status);
        }
        let elsewhere = status.agent_id.is_some() && status.agent_id != state.agent_id;
        match (state.phase, observation) {
            // Nothing is known of a task, and nothing is: no news.
            (TaskPhase::Unscheduled | TaskPhase::Intended, _) if !observation.may_have_run() => {
                self.acknowledge(&status);
            }
            (TaskPhase::Intended, Observation::State(observed)) => {
                // A question was answered too early. The launch does not leave.
                self.ask_about(&uid);
                self.resolve(&uid, &status, observed);
            }
            (TaskPhase::Launched, _) if elsewhere => {
                // News of an earlier launch, which that agent may repeat at any time.
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

    /// The master refused a launch of a task that may be there all the same: a question was answered too early, or the ID
    /// is taken for that reason. Only an answer of now decides whether the launch itself is at fault.
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

    /// Decides about a Pod and its task, and starts what follows.
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
        let binds = steps.contains(&Step::Bind).then(|| node.clone()).flatten();
        state.started |= is_here && from_node.is_some() && may_show_start(status.state);
        let then = match observed {
            // It may come back without the task: the question stays open.
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

    /// The task of a launch that was overtaken by a binding to another node is over: that node's agent counts now.
    fn ended_elsewhere(&mut self, uid: &str, status: &TaskStatus) {
        let intended = self.journal.agent_of(uid);
        if intended.is_some() && intended == status.agent_id.as_ref().map(AgentId::as_str) {
            self.journal.clear_intent(uid);
            self.ask(uid);
        }
    }

    /// The phase that follows from an update or from its write.
    fn enter(&mut self, uid: &str, then: Option<TaskPhase>) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let Some(next) = then else { return };
        // A kill is under way as long as the task is, and an end is final.
        let stays = matches!(state.phase, TaskPhase::Ending | TaskPhase::Ended) && next == TaskPhase::Known;
        if !stays {
            if !state.phase.may_become(next) {
                // The update answers a question that was not asked yet.
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
            // With its grace, and only once.
            self.kill_if_deleted(uid);
        } else {
            self.kill(uid, agent_id, 0);
        }
    }

    /// One write a Pod: the older status could be the last to be written.
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
                // It is not acknowledged and comes again. Where no update comes again by itself, the question brings it.
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

    /// Keeps an update until what is being written of its Pod is in the store.
    ///
    /// The kernel may go on after a start: each update carries the full status, so the next one replaces it, and after a
    /// crash the intent brings the question up. The binding is then written with the newest.
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

    /// Takes the updates that waited for a write.
    pub(super) fn take_deferred(&mut self, uid: &str) {
        let deferred = self.pods.by_uid.get_mut(uid).map(|state| std::mem::take(&mut state.deferred));
        deferred.into_iter().flatten().for_each(|status| self.take_update(status));
    }

    /// What the node reported first of a launched Pod, to go into the write that binds it: one or two writes and watch
    /// events less for every Pod. Anything but a start is left to be dealt with after the binding.
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

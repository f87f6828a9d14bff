//! Kernel first, then bind: a launch that the kernel accepted, and has not refused since, is bound. Under load a
//! binding waits briefly for the node's first status, so that both are one write.

use std::time::Duration;

use kernel_model::{task::TaskState, time::Time};

use super::launching::Launched;
use super::status_updates::InflightWrite;
use super::{BindOutcome, BindWrite, CallOutcome, SchedulerMachine, Send, Write, WriteFailure};
use crate::controllers::{EventRecord, EventSource, Target, served};
use crate::rows::Pod;
use crate::scheduler::{Scheduler, TaskPhase, with_status};

/// Up to this number bindings are written immediately; waiting would gain nothing.
const BINDINGS_FEW: usize = 8;
/// Interval at which waiting bindings are checked for a sufficient first status.
const BINDINGS_EVERY: Duration = Duration::from_millis(4);
/// How long a binding waits for the node's first status. Under load, simulated nodes need this long for their two
/// updates. It is about the duration of a store sync, and less than a container needs to start.
const FIRST_STATUS_WAIT_MAX: Duration = Duration::from_millis(20);

/// An answered launch whose binding is not being written yet.
#[derive(Debug)]
pub(super) struct WaitingBinding {
    /// When the wait for the node's status ends.
    until: Time,
    /// The launch that the Pod is part of.
    launch: u64,
    pod: Launched,
    outcome: CallOutcome,
}

impl SchedulerMachine {
    /// Handles answered launches: binds them immediately if they are few, else together with the nodes' first
    /// statuses.
    pub(super) fn await_bindings(&mut self, launch: u64, launched: Vec<(Launched, CallOutcome)>) {
        let few = self.bindings.len() + launched.len() < BINDINGS_FEW;
        let until = if few { self.now } else { self.now + FIRST_STATUS_WAIT_MAX };
        let waiting =
            launched.into_iter().map(|(pod, outcome)| WaitingBinding { until, launch, pod, outcome });
        self.bindings.extend(waiting);
        if few {
            self.bindings_due = Some(self.now);
        } else {
            self.bindings_due.get_or_insert(self.now + BINDINGS_EVERY);
        }
        self.write_due_bindings();
    }

    /// Whether waiting for a status of the launched Pod may still pay off.
    fn awaits_first_status(&self, waiting: &WaitingBinding) -> bool {
        waiting.outcome == CallOutcome::Accepted
            && !waiting.pod.was_bound
            && self.is_in_launch(&waiting.pod.uid, waiting.launch)
            && self.pods.by_uid.get(&waiting.pod.uid).is_some_and(|state| {
                state.deferred.first().is_none_or(|first| first.state == TaskState::Starting)
            })
    }

    pub(super) fn write_due_bindings(&mut self) {
        if self.bindings_due.is_none_or(|due| self.now < due) {
            return;
        }
        self.bindings_due = None;
        for waiting in std::mem::take(&mut self.bindings) {
            if self.now < waiting.until && self.awaits_first_status(&waiting) {
                self.bindings.push(waiting);
                self.bindings_due = Some(self.now + BINDINGS_EVERY);
            } else {
                self.launch_known(waiting);
            }
        }
    }

    /// Handles the outcome of a Pod's launch.
    fn launch_known(&mut self, WaitingBinding { launch, pod, outcome, .. }: WaitingBinding) {
        let Some(state) = self.pods.by_uid.get_mut(&pod.uid) else {
            // Deleted meanwhile. The kill that was sent then may have arrived before the launch.
            return self.kill_unwanted(&pod.uid, Some(pod.agent_id));
        };
        if state.launch != Some(launch) || state.phase != TaskPhase::Launched {
            // It was refused meanwhile, or a new subscription is reconciling it.
            return;
        }
        match outcome {
            CallOutcome::Refused => self.launch_failed(&pod.uid),
            // The intent stays open until the kernel reports the task.
            CallOutcome::Unanswered => self.ask_about(&pod.uid),
            CallOutcome::Accepted if pod.was_bound => {
                state.set_phase(TaskPhase::Bound);
                self.kill_if_deleted(&pod.uid);
            }
            CallOutcome::Accepted => return self.write_binding(pod),
        }
        self.take_deferred(&pod.uid);
    }

    fn write_binding(&mut self, pod: Launched) {
        let first = self.take_first_status(&pod.uid, &pod.node);
        let Some(state) = self.pods.by_uid.get_mut(&pod.uid) else { return };
        state.set_phase(TaskPhase::Binding);
        // Not the newest one: if the Pod has changed since the launch, the write must not replace it.
        let row = pod.row;
        let merged = first.as_ref().and_then(|(_, status)| with_status(&pod.bound, status));
        let first_status = match (&merged, first) {
            (Some(_), Some((update, _))) => Some(update),
            (_, first) => {
                // To be processed after the binding.
                state.deferred.splice(0..0, first.map(|(update, _)| update));
                None
            }
        };
        let write = BindWrite {
            event: scheduled(&self.scheduler, &row, &pod.node),
            pod: row,
            with_status: merged.is_some(),
            bound: merged.unwrap_or(pod.bound),
            node: pod.node.clone(),
        };
        self.start_write(pod.uid, InflightWrite::Binding { node: pod.node, first_status });
        self.out.persist.push(Write::Bind(Box::new(write)));
    }

    pub(super) fn binding_written(&mut self, uid: &str, result: Result<BindOutcome, WriteFailure>) {
        let Some(InflightWrite::Binding { node, first_status }) = self.end_write(uid) else { return };
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let with_status = result.as_ref().is_ok_and(|outcome| outcome.with_status);
        let acknowledged = match first_status {
            Some(update) if with_status => {
                state.started |= update.state == TaskState::Running;
                Some(update)
            }
            update => {
                state.deferred.splice(0..0, update);
                None
            }
        };
        match result {
            Ok(BindOutcome { with_event, .. }) => {
                if state.row.node.is_none() {
                    state.bound_to = Some(node.clone());
                }
                if state.phase == TaskPhase::Binding {
                    state.set_phase(TaskPhase::Bound);
                }
                state.reported_reason = None;
                self.queue.remove(uid);
                if !with_event {
                    let event = scheduled(&self.scheduler, &state.row, &node);
                    self.out.send.push(Send::Report(event));
                }
                self.journal.clear_intent(uid);
                if let Some(update) = acknowledged {
                    self.acknowledge(&update);
                }
                self.occupy(uid);
                self.kill_if_deleted(uid);
            }
            // The intent stays open, because the kernel runs the task. Its answer triggers the binding again.
            Err(WriteFailure::Unavailable) => state.set_phase(TaskPhase::Requested),
            Err(WriteFailure::Gone | WriteFailure::Refused(_)) => self.binding_refused(uid),
        }
        self.take_deferred(uid);
    }

    /// The Pod cannot be bound to the node where its task runs: the task must end before the Pod is launched
    /// elsewhere.
    pub(super) fn binding_refused(&mut self, uid: &str) {
        let Some(state) = self.pods.by_uid.get_mut(uid) else { return };
        let agent = state.agent_id.take();
        state.set_phase(TaskPhase::Requested);
        self.kill_unwanted(uid, agent);
        self.occupy(uid);
        self.sort_in(uid);
    }
}

/// The Event for a binding.
fn scheduled(scheduler: &Scheduler, row: &Pod, node: &str) -> EventRecord {
    let about = Target::of(served("", "pods"), row.header());
    let message = format!("Successfully assigned {} to {node}", about.key);
    let source = event_source(scheduler, row);
    EventRecord { about, warning: false, reason: "Scheduled", message, source }
}

/// The source of an Event about a Pod: its profile. A Pod that a client has bound may have none.
pub(super) fn event_source(scheduler: &Scheduler, row: &Pod) -> EventSource {
    let own = row.scheduler_name.as_ref().filter(|name| scheduler.profiles().find(name).is_some());
    EventSource::Scheduler(own.cloned())
}

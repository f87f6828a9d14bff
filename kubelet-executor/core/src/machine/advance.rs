//! Walks from the sandbox over the init containers to the main ones.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    PodMachine, Sandbox,
    container::{ContainerState, Operation},
    ending::{DEADLINE_MESSAGE, DEADLINE_REASON, EndCause},
};
use crate::{
    action::{Action, EventRecord},
    spec::{self, Role},
    time::after,
};

impl PodMachine {
    /// Requests the next action for whatever differs from its desired state.
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.final_status.is_some() {
            return;
        }
        if self.ending.is_none() {
            self.check_completion(now, actions);
        }
        if self.ending.is_some() {
            return self.advance_ending(now, actions);
        }
        match &self.sandbox {
            Sandbox::None => {
                if self.sandbox_retry_at.is_none_or(|at| at <= now) {
                    self.sandbox = Sandbox::Starting;
                    self.sandbox_retry_at = None;
                    actions.push(Action::StartSandbox { attempt: self.next_sandbox_attempt });
                    self.next_sandbox_attempt += 1;
                }
            }
            Sandbox::Starting | Sandbox::Removing(_) => {}
            Sandbox::Up(sandbox) => {
                let id = sandbox.id.clone();
                if sandbox.ready {
                    if self.restarting_all
                        || self.containers.iter().any(|state| state.restarts_all(&self.pod))
                    {
                        self.restarting_all = self.remove_all(now, actions);
                    }
                    self.advance_ephemeral(&id, now, actions);
                    if !self.restarting_all {
                        self.advance_containers(&id, now, actions);
                        self.advance_resize(now, actions);
                    }
                } else {
                    self.replace_sandbox(id, actions);
                }
            }
        }
    }

    /// Replaces a sandbox whose namespaces are gone (the machine was rebooted), with its containers.
    fn replace_sandbox(&mut self, id: String, actions: &mut Vec<Action>) {
        let mut starting = false;
        for state in &mut self.containers {
            state.cancel_start(actions);
            starting |= state.operation == Operation::Starting;
        }
        if !starting {
            actions.push(Action::RecordEvent(EventRecord {
                container: None,
                warning: false,
                reason: "SandboxChanged",
                message: "Pod sandbox changed, it will be killed and re-created.".to_owned(),
            }));
            actions.push(Action::RemoveSandbox { id: id.clone() });
            self.sandbox = Sandbox::Removing(id);
        }
    }

    /// Stops and removes all containers, so that they start over. Returns whether one still runs.
    fn remove_all(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let mut busy = false;
        let starts_over = |state: &&mut ContainerState| state.role != Role::Ephemeral;
        for state in self.containers.iter_mut().rev().filter(starts_over) {
            state.cancel_start(actions);
            if state.operation == Operation::None {
                state.stop(Duration::ZERO, "killing".to_owned(), now, actions);
            }
            busy |= state.is_running() || state.operation != Operation::None;
        }
        if busy {
            return true;
        }
        // The containers that caused this are removed last: after a crash in between they cause it again.
        let pod = self.pod.clone();
        let mut order: Vec<_> = self.containers.iter_mut().rev().filter(starts_over).collect();
        order.sort_by_key(|state| state.restarts_all(&pod));
        for state in order {
            for instance in [&state.last, &state.current].into_iter().flatten() {
                if self.removal_requested.insert(instance.id.clone()) {
                    actions.push(Action::RemoveContainer { id: instance.id.clone() });
                }
            }
            state.start_over(now);
        }
        self.initialized = false;
        false
    }

    /// Starts ephemeral containers one after the other, whatever the init containers do. None is started twice, as upstream.
    fn advance_ephemeral(&mut self, sandbox_id: &str, now: Timestamp, actions: &mut Vec<Action>) {
        let pod = self.pod.clone();
        let ephemeral = self.containers.iter_mut().filter(|state| state.role == Role::Ephemeral);
        for state in ephemeral.filter(|state| !state.has_run()) {
            state.start_when_due(&pod, sandbox_id, now, actions);
            if state.operation == Operation::Starting {
                return;
            }
        }
    }

    fn advance_containers(&mut self, sandbox_id: &str, now: Timestamp, actions: &mut Vec<Action>) {
        let pod = self.pod.clone();
        for state in &mut self.containers {
            match state.role {
                // See `advance_ephemeral`.
                Role::Ephemeral => {}
                Role::Init if self.initialized => {}
                Role::Init => {
                    if state.operation == Operation::None && state.exit().is_some_and(|exit| exit.code == 0) {
                        continue;
                    }
                    state.start_when_due(&pod, sandbox_id, now, actions);
                    return;
                }
                Role::Sidecar => {
                    state.start_when_due(&pod, sandbox_id, now, actions);
                    let up = state.is_running() && state.probes.started();
                    if !self.initialized && !up {
                        return;
                    }
                }
                Role::Main => {
                    self.initialized = true;
                    if state.is_over(&pod) {
                        continue;
                    }
                    if state.is_running() {
                        let changed = spec::container(&pod, &state.name).is_some_and(|container| {
                            state.current.as_ref().is_some_and(|c| c.hash != spec::container_hash(&container))
                        });
                        if changed && state.operation == Operation::None {
                            state.replace = true;
                            let why =
                                format!("Container {} definition changed, will be restarted", state.name);
                            state.stop(spec::grace(&pod), why, now, actions);
                        }
                        continue;
                    }
                    state.start_when_due(&pod, sandbox_id, now, actions);
                }
            }
        }
    }

    /// When `activeDeadlineSeconds` is over.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let seconds = spec::spec(&self.pod).active_deadline_seconds?;
        let length = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Some(after(self.accepted_at, length))
    }

    fn check_completion(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let pod = &self.pod;
        let failed_init = !self.initialized
            && self.containers.iter().any(|state| {
                state.role == Role::Init
                    && state.is_over(pod)
                    && state.exit().is_some_and(|exit| exit.code != 0)
            });
        let mut mains = self.containers.iter().filter(|state| state.role == Role::Main).peekable();
        let completed = mains.peek().is_some() && mains.all(|state| state.is_over(pod));
        let grace_ends = after(now, spec::grace(&self.pod));
        if failed_init || completed {
            self.end(EndCause::Completed, grace_ends);
        } else if self.deadline().is_some_and(|deadline| deadline <= now) {
            let message = DEADLINE_MESSAGE.to_owned();
            actions.push(Action::RecordEvent(EventRecord {
                container: None,
                warning: false,
                reason: DEADLINE_REASON,
                message,
            }));
            self.end(EndCause::DeadlineExceeded, grace_ends);
        }
    }
}

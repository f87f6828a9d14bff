//! Terminates the Pod: stops containers (sidecars last), decides and persists the outcome, removes the sandbox.

use std::time::Duration;

use jiff::Timestamp;

use super::{PodMachine, Sandbox, container::Operation};
use crate::{
    action::{Action, EventRecord, FinalStatus, PodOutcome},
    spec::Role,
    status,
    time::{after, since},
};

/// The reason in the status and in the Event of a Pod that exceeded its deadline.
pub(super) const DEADLINE_REASON: &str = "DeadlineExceeded";
pub(super) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// The reason in the status and in the Event of an evicted Pod.
const EVICTED_REASON: &str = "Evicted";
/// The grace period of an eviction, as upstream.
const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// A termination in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub cause: EndCause,
    /// When containers that still run are killed.
    pub deadline: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndCause {
    Completed,
    DeadlineExceeded,
    /// With the message of the status.
    Evicted {
        message: String,
        disruption: bool,
    },
    Killed,
}

impl EndCause {
    /// Reason and message of the status, if the node ends the Pod.
    fn explanation(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::DeadlineExceeded => Some((DEADLINE_REASON, DEADLINE_MESSAGE)),
            Self::Evicted { message, .. } => Some((EVICTED_REASON, message)),
            Self::Completed | Self::Killed => None,
        }
    }
}

impl PodMachine {
    /// Fails the Pod because of what it uses, or because of the state of the node.
    pub(super) fn evict(
        &mut self,
        now: Timestamp,
        message: String,
        disruption: bool,
        actions: &mut Vec<Action>,
    ) {
        if self.ending.is_some() {
            return;
        }
        actions.push(Action::RecordEvent(EventRecord {
            container: None,
            warning: true,
            reason: EVICTED_REASON,
            message: message.clone(),
        }));
        self.end(EndCause::Evicted { message, disruption }, after(now, EVICTION_GRACE));
    }

    /// Begins the termination or shortens it.
    pub(super) fn end(&mut self, cause: EndCause, deadline: Timestamp) {
        match &mut self.ending {
            None => self.ending = Some(Ending { cause, deadline }),
            Some(ending) => {
                ending.deadline = ending.deadline.min(deadline);
                if cause == EndCause::Killed && self.final_status.is_none() {
                    ending.cause = cause;
                }
            }
        }
    }

    pub(super) fn advance_ending(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(ending) = self.ending.clone() else { return };
        let grace = since(ending.deadline, now);
        for state in &mut self.containers {
            state.cancel_start(actions);
        }
        let busy =
            |state: &super::ContainerState| state.is_running() || state.operation == Operation::Starting;
        let others_run = self.containers.iter().any(|state| state.role != Role::Sidecar && busy(state));
        for state in self.containers.iter_mut().rev() {
            // Sidecars are stopped after the others; at the deadline everything is stopped.
            if state.role == Role::Sidecar && others_run && ending.deadline > now {
                continue;
            }
            let shorter = match &state.operation {
                Operation::Stopping { deadline, .. } => ending.deadline < *deadline,
                Operation::None => true,
                Operation::Starting => false,
            };
            if shorter {
                state.stop(grace, format!("Stopping container {}", state.name), now, actions);
            }
        }
    }

    /// Decides the outcome once nothing runs and no operation is in progress, and removes the sandbox.
    pub(super) fn finish(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> Option<FinalStatus> {
        let ending = self.ending.clone()?;
        let mut decided = None;
        if self.final_status.is_none() {
            let quiet = self.sandbox != Sandbox::Starting
                && self
                    .containers
                    .iter()
                    .all(|state| !state.is_running() && state.operation == Operation::None);
            if !quiet {
                return None;
            }
            let final_status = self.decide_outcome(ending.cause, now);
            decided = Some(final_status.clone());
            self.final_status = Some(final_status);
        }
        match &self.sandbox {
            Sandbox::Up(sandbox) => {
                let id = sandbox.id.clone();
                actions.push(Action::RemoveSandbox { id: id.clone() });
                self.sandbox = Sandbox::Removing(id);
            }
            Sandbox::None => self.gone = true,
            Sandbox::Starting | Sandbox::Removing(_) => {}
        }
        decided
    }

    fn decide_outcome(&mut self, cause: EndCause, now: Timestamp) -> FinalStatus {
        let succeeded = self.initialized
            && self
                .containers
                .iter()
                .filter(|state| state.role == Role::Main)
                .all(|state| state.exit().is_some_and(|exit| exit.code == 0));
        status::record_transitions(self, now);
        let mut status = status::of(self);
        let explanation = cause.explanation();
        status.phase = Some(if succeeded && explanation.is_none() { "Succeeded" } else { "Failed" }.into());
        if let Some((reason, message)) = explanation {
            status.reason = Some(reason.to_owned());
            status.message = Some(message.to_owned());
        }
        status::end_conditions(&mut status, now);
        if let EndCause::Evicted { message, disruption: true } = &cause {
            status::add_disruption(&mut status, message, now);
        }
        let outcome = match cause {
            EndCause::Killed => PodOutcome::Killed,
            EndCause::Completed if succeeded => PodOutcome::Finished,
            EndCause::Completed | EndCause::DeadlineExceeded | EndCause::Evicted { .. } => PodOutcome::Failed,
        };
        FinalStatus { outcome, status }
    }
}

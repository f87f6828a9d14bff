//! The Pod's end: stop what runs, sidecars last; decide and persist how it ended; remove what is left.

use jiff::Timestamp;

use super::{PodMachine, Sandbox, slot::Op};
use crate::{
    action::{Action, Final, Outcome},
    spec::Role,
    status,
    time::since,
};

/// Why a Pod ended that was active for too long, in its status and in the Event.
pub(super) const DEADLINE_REASON: &str = "DeadlineExceeded";
pub(super) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// An end under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub cause: Cause,
    /// When whatever still runs is killed.
    pub deadline: Timestamp,
}

/// Why the Pod ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Completed,
    DeadlineExceeded,
    Killed,
}

impl PodMachine {
    /// Begins the end, or shortens it.
    pub(super) fn end(&mut self, cause: Cause, deadline: Timestamp) {
        match &mut self.ending {
            None => self.ending = Some(Ending { cause, deadline }),
            Some(ending) => {
                ending.deadline = ending.deadline.min(deadline);
                if cause == Cause::Killed && self.finale.is_none() {
                    ending.cause = cause;
                }
            }
        }
    }

    pub(super) fn advance_ending(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(ending) = self.ending.clone() else { return };
        let grace = since(ending.deadline, now);
        for slot in &mut self.slots {
            slot.cancel_start(actions);
        }
        let busy = |slot: &super::Slot| slot.is_running() || slot.op == Op::Starting;
        let others_run = self.slots.iter().any(|slot| slot.role != Role::Sidecar && busy(slot));
        for slot in self.slots.iter_mut().rev() {
            // Sidecars serve the others to the last; at the deadline nothing is spared.
            if slot.role == Role::Sidecar && others_run && ending.deadline > now {
                continue;
            }
            let shorter = match &slot.op {
                Op::Stopping { deadline, .. } => ending.deadline < *deadline,
                Op::None => true,
                Op::Starting => false,
            };
            if shorter {
                slot.stop(grace, format!("Stopping container {}", slot.name), now, actions);
            }
        }
    }

    /// Once nothing runs and nothing is under way: how it ended, and the removal of what is left.
    pub(super) fn conclude(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> Option<Final> {
        let ending = self.ending.clone()?;
        let mut decided = None;
        if self.finale.is_none() {
            let quiet = self.sandbox != Sandbox::Starting
                && self.slots.iter().all(|slot| !slot.is_running() && slot.op == Op::None);
            if !quiet {
                return None;
            }
            let finale = self.judge(ending.cause, now);
            decided = Some(finale.clone());
            self.finale = Some(finale);
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

    fn judge(&mut self, cause: Cause, now: Timestamp) -> Final {
        let succeeded = self.initialized
            && self
                .slots
                .iter()
                .filter(|slot| slot.role == Role::Main)
                .all(|slot| slot.exit().is_some_and(|exit| exit.code == 0));
        status::note_transitions(self, now);
        let mut status = status::of(self);
        status.phase =
            Some(if succeeded && cause != Cause::DeadlineExceeded { "Succeeded" } else { "Failed" }.into());
        if cause == Cause::DeadlineExceeded {
            status.reason = Some(DEADLINE_REASON.to_owned());
            status.message = Some(DEADLINE_MESSAGE.to_owned());
        }
        status::settle_conditions(&mut status, now);
        let outcome = match cause {
            Cause::Killed => Outcome::Killed,
            Cause::Completed if succeeded => Outcome::Finished,
            Cause::Completed | Cause::DeadlineExceeded => Outcome::Failed,
        };
        Final { outcome, status }
    }
}

//! The walk from the sandbox over init containers to main ones.

use jiff::Timestamp;

use super::{
    PodMachine, Sandbox,
    ending::{Cause, DEADLINE_MESSAGE, DEADLINE_REASON},
    slot::Op,
};
use crate::{
    action::{Action, Told},
    spec::{self, RestartPolicy, Role},
    time::after,
};

impl PodMachine {
    /// Asks for the next step of whatever is not where it should be.
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.finale.is_some() {
            return;
        }
        if self.ending.is_none() {
            self.look_for_the_end(now, actions);
        }
        if self.ending.is_some() {
            return self.advance_ending(now, actions);
        }
        match &self.sandbox {
            Sandbox::None => {
                if self.sandbox_not_before.is_none_or(|at| at <= now) {
                    self.sandbox = Sandbox::Starting;
                    self.sandbox_not_before = None;
                    actions.push(Action::StartSandbox { attempt: self.next_sandbox_attempt });
                    self.next_sandbox_attempt += 1;
                }
            }
            Sandbox::Starting | Sandbox::Removing(_) => {}
            Sandbox::Up(sandbox) => {
                let id = sandbox.id.clone();
                if sandbox.ready {
                    self.advance_containers(&id, now, actions);
                } else {
                    self.replace_sandbox(id, actions);
                }
            }
        }
    }

    /// A sandbox whose namespaces are gone (the machine was restarted): it and what lies in it is replaced.
    fn replace_sandbox(&mut self, id: String, actions: &mut Vec<Action>) {
        let mut starting = false;
        for slot in &mut self.slots {
            slot.cancel_start(actions);
            starting |= slot.op == Op::Starting;
        }
        if !starting {
            actions.push(Action::Tell(Told {
                container: None,
                warning: false,
                reason: "SandboxChanged",
                message: "Pod sandbox changed, it will be killed and re-created.".to_owned(),
            }));
            actions.push(Action::RemoveSandbox { id: id.clone() });
            self.sandbox = Sandbox::Removing(id);
        }
    }

    fn advance_containers(&mut self, sandbox_id: &str, now: Timestamp, actions: &mut Vec<Action>) {
        let policy = spec::restart_policy(&self.pod);
        let pod = self.pod.clone();
        for slot in &mut self.slots {
            match slot.role {
                Role::Init if self.initialized => {}
                Role::Init => {
                    if slot.op == Op::None && slot.exit().is_some_and(|exit| exit.code == 0) {
                        continue;
                    }
                    slot.start_when_due(&pod, sandbox_id, now, actions);
                    return;
                }
                Role::Sidecar => {
                    slot.start_when_due(&pod, sandbox_id, now, actions);
                    let up = slot.is_running() && slot.probes.started();
                    if !self.initialized && !up {
                        return;
                    }
                }
                Role::Main => {
                    self.initialized = true;
                    if slot.is_over(policy) {
                        continue;
                    }
                    if slot.is_running() {
                        let changed = spec::container(&pod, &slot.name).is_some_and(|container| {
                            slot.current.as_ref().is_some_and(|c| c.hash != spec::container_hash(container))
                        });
                        if changed && slot.op == Op::None {
                            slot.replace = true;
                            let why =
                                format!("Container {} definition changed, will be restarted", slot.name);
                            slot.stop(spec::grace(&pod), why, now, actions);
                        }
                        continue;
                    }
                    slot.start_when_due(&pod, sandbox_id, now, actions);
                }
            }
        }
    }

    /// When the Pod has been active for as long as it may.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let seconds = spec::spec(&self.pod).active_deadline_seconds?;
        let length = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Some(after(self.accepted_at, length))
    }

    fn look_for_the_end(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let policy = spec::restart_policy(&self.pod);
        let failed_init = !self.initialized
            && policy == RestartPolicy::Never
            && self.slots.iter().any(|slot| {
                slot.role == Role::Init
                    && slot.is_over(policy)
                    && slot.exit().is_some_and(|exit| exit.code != 0)
            });
        let mut mains = self.slots.iter().filter(|slot| slot.role == Role::Main).peekable();
        let completed = mains.peek().is_some() && mains.all(|slot| slot.is_over(policy));
        let grace_ends = after(now, spec::grace(&self.pod));
        if failed_init || completed {
            self.end(Cause::Completed, grace_ends);
        } else if self.deadline().is_some_and(|deadline| deadline <= now) {
            let message = DEADLINE_MESSAGE.to_owned();
            actions.push(Action::Tell(Told {
                container: None,
                warning: false,
                reason: DEADLINE_REASON,
                message,
            }));
            self.end(Cause::DeadlineExceeded, grace_ends);
        }
    }
}

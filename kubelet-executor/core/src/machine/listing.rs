//! Handles a listing of the runtime: adoption, exits, leftovers.

use jiff::Timestamp;

use super::{
    PodMachine, Sandbox,
    container::{ContainerState, Operation, lost_exit},
};
use crate::{
    action::Action,
    observed::{ObservedContainer, ObservedPod, ObservedSandbox, RunState},
    spec::{self, Role},
};

impl PodMachine {
    pub(super) fn take_listing(&mut self, now: Timestamp, seen: ObservedPod, actions: &mut Vec<Action>) {
        let first = !self.adopted;
        self.take_sandboxes(now, seen.at, seen.sandboxes, actions);
        let mut containers = seen.containers;
        containers.sort_by_key(|container| std::cmp::Reverse(container.attempt));
        let sandbox_id = self.sandbox().map(|sandbox| sandbox.id.clone());
        let pod = self.pod.clone();
        // A container that ended with its sandbox did not fail; it starts in the next sandbox without a delay.
        let restarting = self.ending.is_none() && self.sandbox().is_none_or(|sandbox| sandbox.ready);
        for state in &mut self.containers {
            // Instances of an earlier sandbox are removed with it. That of an ephemeral container counts: it is the only one.
            let any_sandbox = state.role == Role::Ephemeral;
            let mine: Vec<ObservedContainer> = containers
                .iter()
                .filter(|c| c.name == state.name)
                .filter(|c| any_sandbox || Some(&c.sandbox_id) == sandbox_id.as_ref())
                .filter(|c| !self.removal_requested.contains(&c.id))
                .cloned()
                .collect();
            let highest = containers.iter().filter(|c| c.name == state.name).map(|c| c.attempt + 1).max();
            state.next_attempt = state.next_attempt.max(highest.unwrap_or(0));
            if let Some(attempt) = seen.logged.get(&state.name) {
                state.take_logged(*attempt);
            }
            if state.operation == Operation::Starting || (!first && seen.at < state.settled_at) {
                continue;
            }
            let view = View { now, at: seen.at, first, restarting, pod: &pod };
            take_instances(state, mine, &view, &mut self.removal_requested, actions);
            if first && state.role == Role::Ephemeral {
                state.mark_lost_if_logged(now);
            }
        }
        if first {
            self.adopted = true;
            self.initialized =
                self.containers.iter().any(|state| state.role == Role::Main && state.current.is_some());
        }
    }

    fn take_sandboxes(
        &mut self,
        now: Timestamp,
        at: Timestamp,
        mut sandboxes: Vec<ObservedSandbox>,
        actions: &mut Vec<Action>,
    ) {
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.attempt));
        if let Some(newest) = sandboxes.first() {
            self.next_sandbox_attempt = self.next_sandbox_attempt.max(newest.attempt + 1);
        }
        let current = match &self.sandbox {
            Sandbox::Starting | Sandbox::Removing(_) => return,
            _ if at < self.sandbox_settled_at => return,
            Sandbox::Up(up) => {
                let id = up.id.clone();
                match sandboxes.iter().find(|sandbox| sandbox.id == id) {
                    Some(same) => Some(same.clone()),
                    None => {
                        // Removed by somebody else; handled like a removal of our own.
                        self.sandbox = Sandbox::Removing(id.clone());
                        self.sandbox_removed(now, &id);
                        None
                    }
                }
            }
            Sandbox::None => {
                let adopted =
                    sandboxes.iter().find(|sandbox| !self.removal_requested.contains(&sandbox.id)).cloned();
                if let Some(adopted) = &adopted
                    && adopted.created_at < self.accepted_at
                {
                    self.accepted_at = adopted.created_at;
                }
                adopted
            }
        };
        for other in &sandboxes {
            if current.as_ref().is_none_or(|current| current.id != other.id)
                && self.removal_requested.insert(other.id.clone())
            {
                actions.push(Action::RemoveSandbox { id: other.id.clone() });
            }
        }
        if let Some(current) = current {
            self.sandbox_failure = None;
            self.sandbox = Sandbox::Up(current);
        }
    }
}

/// The context of [`take_instances`].
struct View<'a> {
    now: Timestamp,
    at: Timestamp,
    first: bool,
    restarting: bool,
    pod: &'a k8s_openapi::api::core::v1::Pod,
}

/// Handles the instances of one container, newest first.
fn take_instances(
    state: &mut ContainerState,
    instances: Vec<ObservedContainer>,
    view: &View<'_>,
    removal_requested: &mut std::collections::BTreeSet<String>,
    actions: &mut Vec<Action>,
) {
    let mut request_removal = |id: &str, actions: &mut Vec<Action>| {
        if removal_requested.insert(id.to_owned()) {
            actions.push(Action::RemoveContainer { id: id.to_owned() });
        }
    };
    let mut begun = Vec::with_capacity(instances.len());
    for instance in instances {
        // Created and never started: the start was interrupted in between, and nobody can continue it.
        if instance.state == RunState::Created {
            request_removal(&instance.id, actions);
        } else {
            begun.push(instance);
        }
    }
    let mut begun = begun.into_iter();
    let Some(newest) = begun.next() else {
        if state.is_running() {
            let exit = lost_exit(view.now);
            if let Some(current) = &mut state.current {
                current.state = RunState::Exited(exit);
            }
            state.ended(view.pod, view.restarting, actions);
        }
        return;
    };
    let previous = begun.next();
    for older in begun {
        request_removal(&older.id, actions);
    }
    let same = state.current.as_ref().is_some_and(|current| current.id == newest.id);
    if same {
        take_same(state, newest, view, actions);
    } else if state.current.as_ref().is_none_or(|current| current.attempt < newest.attempt) {
        let running = newest.is_running();
        state.adopt(newest, spec::container(view.pod, &state.name).as_deref(), view.now);
        if view.first && view.restarting {
            state.restore_backoff();
        }
        if !running {
            state.ended(view.pod, view.restarting, actions);
        }
    }
    if state.last.is_none() {
        state.last = previous;
    }
}

fn take_same(
    state: &mut ContainerState,
    newest: ObservedContainer,
    view: &View<'_>,
    actions: &mut Vec<Action>,
) {
    let was_running = state.is_running();
    let runs = newest.is_running();
    // Listings repeat what was read first; an update of the limits returns newer values.
    let applied = state.current.as_ref().and_then(|current| current.applied).or(newest.applied);
    state.current = Some(ObservedContainer { applied, ..newest });
    if was_running && !runs {
        state.ended(view.pod, view.restarting, actions);
    }
    if let Operation::Stopping { returned_at: Some(returned_at), .. } = state.operation
        && runs
        && view.at > returned_at
    {
        // The stop returned and the container still runs: request it again.
        state.operation = Operation::None;
    }
}

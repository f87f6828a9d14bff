//! Taking in what the runtime shows: adoption, exits, leftovers.

use jiff::Timestamp;

use super::{
    PodMachine, Sandbox,
    slot::{Op, Slot, vanished},
};
use crate::{
    action::Action,
    seen::{ContainerSeen, RunState, SandboxSeen, Seen},
    spec::{self, Role},
};

impl PodMachine {
    pub(super) fn take_listing(&mut self, now: Timestamp, seen: Seen, actions: &mut Vec<Action>) {
        let first = !self.adopted;
        self.take_sandboxes(now, seen.at, seen.sandboxes, actions);
        let mut containers = seen.containers;
        containers.sort_by_key(|container| std::cmp::Reverse(container.attempt));
        let sandbox_id = self.sandbox().map(|sandbox| sandbox.id.clone());
        let pod = self.pod.clone();
        // What ended with its sandbox did not fail: it starts in the next one without a pause.
        let restarting = self.ending.is_none() && self.sandbox().is_none_or(|sandbox| sandbox.ready);
        for slot in &mut self.slots {
            // Instances of an earlier sandbox go away with it.
            let mine: Vec<ContainerSeen> = containers
                .iter()
                .filter(|c| c.name == slot.name && Some(&c.sandbox_id) == sandbox_id.as_ref())
                .cloned()
                .collect();
            let highest = containers.iter().filter(|c| c.name == slot.name).map(|c| c.attempt + 1).max();
            slot.next_attempt = slot.next_attempt.max(highest.unwrap_or(0));
            if slot.op == Op::Starting || (!first && seen.at < slot.settled_at) {
                continue;
            }
            let view = View { now, at: seen.at, first, restarting, pod: &pod };
            take_instances(slot, mine, &view, &mut self.discarded, actions);
        }
        if first {
            self.adopted = true;
            self.initialized =
                self.slots.iter().any(|slot| slot.role == Role::Main && slot.current.is_some());
        }
    }

    fn take_sandboxes(
        &mut self,
        now: Timestamp,
        at: Timestamp,
        mut sandboxes: Vec<SandboxSeen>,
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
                        // Somebody removed it behind our back: as if we had.
                        self.sandbox = Sandbox::Removing(id.clone());
                        self.sandbox_removed(now, &id);
                        None
                    }
                }
            }
            Sandbox::None => {
                let adopted = sandboxes.iter().find(|sandbox| !self.discarded.contains(&sandbox.id)).cloned();
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
                && self.discarded.insert(other.id.clone())
            {
                actions.push(Action::RemoveSandbox { id: other.id.clone() });
            }
        }
        if let Some(current) = current {
            self.sandbox_trouble = None;
            self.sandbox = Sandbox::Up(current);
        }
    }
}

/// What [`take_instances`] needs to know beside the instances.
struct View<'a> {
    now: Timestamp,
    at: Timestamp,
    first: bool,
    restarting: bool,
    pod: &'a k8s_openapi::api::core::v1::Pod,
}

/// Takes in one container's instances, newest first.
fn take_instances(
    slot: &mut Slot,
    instances: Vec<ContainerSeen>,
    view: &View<'_>,
    discarded: &mut std::collections::BTreeSet<String>,
    actions: &mut Vec<Action>,
) {
    let mut discard = |id: &str, actions: &mut Vec<Action>| {
        if discarded.insert(id.to_owned()) {
            actions.push(Action::RemoveContainer { id: id.to_owned() });
        }
    };
    let mut begun = Vec::with_capacity(instances.len());
    for instance in instances {
        // Made and never started: a start that broke off in between. It cannot be started by whoever comes later.
        if instance.state == RunState::Created {
            discard(&instance.id, actions);
        } else {
            begun.push(instance);
        }
    }
    let mut begun = begun.into_iter();
    let Some(newest) = begun.next() else {
        if slot.is_running() {
            let exit = vanished(view.now);
            if let Some(current) = &mut slot.current {
                current.state = RunState::Exited(exit);
            }
            slot.ended(view.pod, view.restarting, actions);
        }
        return;
    };
    let previous = begun.next();
    for older in begun {
        discard(&older.id, actions);
    }
    let same = slot.current.as_ref().is_some_and(|current| current.id == newest.id);
    if same {
        take_same(slot, newest, view, actions);
    } else if slot.current.as_ref().is_none_or(|current| current.attempt < newest.attempt) {
        let running = newest.is_running();
        slot.adopt(newest, spec::container(view.pod, &slot.name), view.now);
        if view.first && view.restarting {
            slot.recall_crashes();
        }
        if !running {
            slot.ended(view.pod, view.restarting, actions);
        }
    }
    if slot.last.is_none() {
        slot.last = previous;
    }
}

fn take_same(slot: &mut Slot, newest: ContainerSeen, view: &View<'_>, actions: &mut Vec<Action>) {
    let was_running = slot.is_running();
    let runs = newest.is_running();
    slot.current = Some(newest);
    if was_running && !runs {
        slot.ended(view.pod, view.restarting, actions);
    }
    if let Op::Stopping { returned_at: Some(returned_at), .. } = slot.op
        && runs
        && view.at > returned_at
    {
        // The stop came back and the container runs on: it is asked for again.
        slot.op = Op::None;
    }
}

//! What must hold of a Pod's machine and what the runtime shows of it, checked by code that did not plan it.

use std::collections::BTreeMap;

use crate::{
    machine::PodMachine,
    seen::{ContainerSeen, SandboxSeen},
};

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The invariant's number in ARCHITECTURE.md.
    pub invariant: &'static str,
    /// What was found.
    pub message: String,
}

/// Checks a machine against what the runtime holds of its Pod.
pub fn audit(machine: &PodMachine, sandboxes: &[SandboxSeen], containers: &[ContainerSeen]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |invariant, message| notes.push(Note { invariant, message });
    let mut running: BTreeMap<&str, usize> = BTreeMap::new();
    for container in containers.iter().filter(|container| container.is_running()) {
        *running.entry(&container.name).or_default() += 1;
    }
    for (name, count) in running {
        if count > 1 {
            note("INV-40", format!("{count} instances of container {name} run at once"));
        }
    }
    let ready = sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    if ready > 1 {
        note("INV-41", format!("{ready} sandboxes stand at once"));
    }
    if machine.outcome().is_some() {
        for container in containers.iter().filter(|container| container.is_running()) {
            note("INV-42", format!("the pod is over and container {} runs", container.name));
        }
        if ready > 0 {
            note("INV-42", "the pod is over and its sandbox stands".to_owned());
        }
    }
    let status = machine.status();
    let phase = status.phase.as_deref().unwrap_or_default();
    let over = matches!(phase, "Succeeded" | "Failed");
    let all_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if over && all_ready {
        note("INV-43", format!("the phase is {phase} and the pod is ready"));
    }
    if all_ready && status.container_statuses.iter().flatten().any(|container| !container.ready) {
        note("INV-43", "the pod is ready and a container is not".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;

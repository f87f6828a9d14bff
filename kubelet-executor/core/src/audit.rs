//! The invariants of a Pod, checked against the runtime's listing by code that did not make the decisions.

use std::collections::BTreeMap;

use crate::{
    machine::PodMachine,
    observed::{ObservedContainer, ObservedSandbox},
};

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Violation {
    /// Its number in ARCHITECTURE.md.
    pub invariant: &'static str,
    pub message: String,
}

/// Checks a state machine against the runtime's sandboxes and containers of its Pod.
pub fn audit(
    machine: &PodMachine,
    sandboxes: &[ObservedSandbox],
    containers: &[ObservedContainer],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |invariant, message| violations.push(Violation { invariant, message });
    let mut running: BTreeMap<&str, usize> = BTreeMap::new();
    for container in containers.iter().filter(|container| container.is_running()) {
        *running.entry(&container.name).or_default() += 1;
    }
    for (name, count) in running {
        if count > 1 {
            report("INV-40", format!("{count} instances of container {name} run at once"));
        }
    }
    let ready = sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    if ready > 1 {
        report("INV-41", format!("{ready} sandboxes are ready at once"));
    }
    if machine.outcome().is_some() {
        for container in containers.iter().filter(|container| container.is_running()) {
            report("INV-42", format!("the pod has ended and container {} runs", container.name));
        }
        if ready > 0 {
            report("INV-42", "the pod has ended and its sandbox is ready".to_owned());
        }
    }
    let status = machine.status();
    let phase = status.phase.as_deref().unwrap_or_default();
    let over = matches!(phase, "Succeeded" | "Failed");
    let all_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if over && all_ready {
        report("INV-43", format!("the phase is {phase} and the pod is ready"));
    }
    if all_ready && status.container_statuses.iter().flatten().any(|container| !container.ready) {
        report("INV-43", "the pod is ready and a container is not".to_owned());
    }
    violations
}

#[cfg(test)]
mod tests;

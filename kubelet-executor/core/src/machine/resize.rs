//! In-place resize: the resources of running containers follow the Pod's spec.
//!
//! A changed spec is desired first. The shell checks whether the node has room ([`Action::CheckResize`]); then the
//! resources are allocated, and each container's cgroup is updated, or the container is restarted if its resize policy
//! says so. Status shows what the cgroups have.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{PodMachine, container::Operation};
use crate::{
    action::{Action, EventRecord, ResizeRefusal},
    resources::CgroupLimits,
    spec::{self, Role},
    time::after,
};

/// Pause before a refused or failed resize is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The state of a Pod's resize.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodResize {
    /// The version of the Pod whose resources are not allocated yet.
    pub desired: Option<Arc<Pod>>,
    /// Why not, since when.
    pub pending: Option<(ResizeRefusal, Timestamp)>,
    check_at: Option<Timestamp>,
    /// The resources are allocated, and a container does not have them yet.
    pub in_progress: Option<InProgress>,
}

/// A resize that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InProgress {
    /// The generation of the Pod that asked for it.
    pub generation: Option<i64>,
    /// When its resources were allocated.
    pub since: Timestamp,
    /// Why the latest update of a container failed.
    pub error: Option<String>,
}

/// What a restarted executor must know of a resize that was not complete: the cgroups tell what is left to do, but not since
/// when, nor why it waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnfinishedResize {
    /// Why the resources of the desired version are not allocated, since when.
    pub pending: Option<(ResizeRefusal, Timestamp)>,
    /// The resize to the allocated version.
    pub in_progress: Option<InProgress>,
}

/// The resize of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ContainerResize {
    updating: bool,
    retry_at: Option<Timestamp>,
}

impl PodMachine {
    /// The part of a resize that is recorded for a restarted executor.
    pub fn unfinished_resize(&self) -> UnfinishedResize {
        let PodResize { pending, in_progress, .. } = self.resize.clone();
        UnfinishedResize { pending, in_progress }
    }

    /// Continues with what [`Self::unfinished_resize`] was before a restart. If it was pending, the update to the desired
    /// version must follow, which leads to another check.
    pub fn resume_resize(&mut self, unfinished: UnfinishedResize) {
        let UnfinishedResize { pending, in_progress } = unfinished;
        self.resize = PodResize { pending, in_progress, ..PodResize::default() };
    }

    /// Takes a new version of the Pod. Its resources stay the allocated ones until they are checked.
    pub(super) fn take_pod(&mut self, pod: Arc<Pod>, actions: &mut Vec<Action>) {
        let mut allocated = (*pod).clone();
        let changed = copy_resources(&self.pod, &mut allocated);
        self.pod = if changed { Arc::new(allocated) } else { pod.clone() };
        self.resize.check_at = None;
        if changed {
            self.resize.desired = Some(pod.clone());
            actions.push(Action::CheckResize { pod });
        } else {
            self.resize.desired = None;
            self.resize.pending = None;
        }
    }

    /// Handles the answer of the shell.
    pub(super) fn resize_checked(
        &mut self,
        now: Timestamp,
        pod: Arc<Pod>,
        verdict: Result<(), ResizeRefusal>,
        actions: &mut Vec<Action>,
    ) {
        // An older version was checked; the check of the newer one is on its way.
        if !self.resize.desired.as_ref().is_some_and(|desired| Arc::ptr_eq(desired, &pod)) {
            return;
        }
        let generation = pod.metadata.generation;
        match verdict {
            Ok(()) => {
                let text = summary("Pod resize started", &pod, None);
                actions.push(event(false, "ResizeStarted", text));
                self.pod = pod;
                for state in &mut self.containers {
                    state.resize.retry_at = None;
                }
                self.resize = PodResize {
                    in_progress: Some(InProgress { generation, since: now, error: None }),
                    ..PodResize::default()
                };
            }
            Err(refusal) => {
                self.resize.check_at = Some(after(now, RETRY));
                let since = match &self.resize.pending {
                    Some((before, since)) if *before == refusal => *since,
                    Some((before, since)) if before.reason() == refusal.reason() => *since,
                    _ => {
                        let prefix = format!("Pod resize {}", refusal.reason());
                        let text = summary(&prefix, &pod, Some(refusal.message()));
                        actions.push(event(true, refusal.event_reason(), text));
                        now
                    }
                };
                self.resize.pending = Some((refusal, since));
            }
        }
    }

    /// Handles the result of [`Action::UpdateContainer`].
    pub(super) fn container_updated(
        &mut self,
        now: Timestamp,
        id: &str,
        result: Result<Option<CgroupLimits>, String>,
        actions: &mut Vec<Action>,
    ) {
        let pod = self.pod.clone();
        let mut states = self.containers.iter_mut();
        let Some(state) = states.find(|state| state.current.as_ref().is_some_and(|c| c.id == id)) else {
            return;
        };
        let retry_at = Some(after(now, RETRY));
        state.resize = ContainerResize { updating: false, retry_at };
        match result {
            Ok(applied) => {
                let wanted = spec::container(&pod, &state.name).map(|c| CgroupLimits::wanted(&pod, &c));
                if let (Some(current), Some(wanted)) = (&mut state.current, wanted) {
                    // The runtime has its own conversion of shares to the weights of cgroup v2.
                    let cpu_weight = wanted.cpu_weight;
                    current.applied = applied.map(|applied| CgroupLimits { cpu_weight, ..applied });
                    // If the kernel has other values than it was given, the update is repeated after a while.
                    let done = current.applied.is_none_or(|applied| applied.satisfies(&wanted));
                    state.resize.retry_at = retry_at.filter(|_| !done);
                }
            }
            Err(message) => {
                let Some(in_progress) = &mut self.resize.in_progress else { return };
                if in_progress.error.as_ref() != Some(&message) {
                    let text = summary("Pod resize error", &pod, Some(&message));
                    actions.push(event(true, "ResizeError", text));
                    in_progress.error = Some(message);
                }
            }
        }
    }

    /// Requests the next action of a resize.
    pub(super) fn advance_resize(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if let Some(pod) = self.resize.desired.clone()
            && self.resize.check_at.is_some_and(|at| at <= now)
        {
            self.resize.check_at = None;
            actions.push(Action::CheckResize { pod });
        }
        let pod = self.pod.clone();
        let mut complete = true;
        for state in self.containers.iter_mut().filter(|state| state.role != Role::Ephemeral) {
            let Some(container) = spec::container(&pod, &state.name) else { continue };
            let wanted = CgroupLimits::wanted(&pod, &container);
            let applied = state.current.as_ref().filter(|c| c.is_running()).and_then(|c| c.applied);
            let Some(applied) = applied.filter(|applied| !applied.satisfies(&wanted)) else {
                complete &= state.operation == Operation::None || state.role == Role::Init;
                continue;
            };
            complete = false;
            if state.operation != Operation::None || state.resize.updating {
                continue;
            }
            if restart_required(&container, &applied, &wanted) {
                state.replace = true;
                let why = format!("Container {} resize requires restart, will be restarted", state.name);
                state.stop(spec::grace(&pod), why, now, actions);
            } else if state.resize.retry_at.is_none_or(|at| at <= now)
                && let Some(current) = &state.current
            {
                state.resize.updating = true;
                actions.push(Action::UpdateContainer { name: state.name.clone(), id: current.id.clone() });
            }
        }
        if complete && self.resize.in_progress.take().is_some() {
            actions.push(event(false, "ResizeCompleted", summary("Pod resize completed", &pod, None)));
        }
    }

    /// When [`Self::advance_resize`] has something to retry.
    pub(super) fn resize_wakes_at(&self) -> Option<Timestamp> {
        let containers = self.containers.iter().filter_map(|state| state.resize.retry_at);
        self.resize.check_at.into_iter().chain(containers).min()
    }
}

/// Gives the containers the resources of those with the same name in another version of the Pod. Returns whether any
/// had others.
fn copy_resources(from: &Pod, to: &mut Pod) -> bool {
    let mut changed = false;
    let Some(spec) = &mut to.spec else { return false };
    let lists = [Some(&mut spec.containers), spec.init_containers.as_mut()];
    for container in lists.into_iter().flatten().flatten() {
        if let Some(old) = spec::container(from, &container.name)
            && old.resources != container.resources
        {
            container.resources.clone_from(&old.resources);
            changed = true;
        }
    }
    changed
}

/// Whether the resize policy of a changed resource restarts the container.
fn restart_required(container: &Container, applied: &CgroupLimits, wanted: &CgroupLimits) -> bool {
    let changed = |resource: &str| match resource {
        "cpu" => !applied.satisfies_cpu(wanted),
        "memory" => !applied.satisfies_memory(wanted),
        _ => false,
    };
    let policies = container.resize_policy.iter().flatten();
    policies.filter(|policy| policy.restart_policy == "RestartContainer").any(|p| changed(&p.resource_name))
}

fn event(warning: bool, reason: &'static str, message: String) -> Action {
    Action::RecordEvent(EventRecord { container: None, warning, reason, message })
}

/// An Event's message with the Pod's resources as JSON, as upstream writes it.
fn summary(prefix: &str, pod: &Pod, error: Option<&str>) -> String {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let list = |containers: &[Container]| {
        let one = |container: &Container| {
            let resources = container.resources.clone().unwrap_or_default();
            let resources = serde_json::to_string(&resources).expect("resources have only string keys");
            format!("{{\"name\":{},\"resources\":{resources}}}", json(&container.name))
        };
        containers.iter().map(one).collect::<Vec<_>>().join(",")
    };
    let spec = spec::spec(pod);
    let init = spec.init_containers.as_deref().filter(|init| !init.is_empty());
    let init = init.map(|init| format!("\"initContainers\":[{}],", list(init))).unwrap_or_default();
    let error = error.map(|error| format!(",\"error\":{}", json(error))).unwrap_or_default();
    let generation = pod.metadata.generation.unwrap_or(0);
    format!(
        "{prefix}: {{{init}\"containers\":[{}],\"generation\":{generation}{error}}}",
        list(&spec.containers)
    )
}

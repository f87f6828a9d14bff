//! Builds the Pod's status: phase, conditions, container states, addresses.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        self, Container, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, PodCondition, PodIP, PodStatus, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::{
    machine::{PodMachine, Sandbox, container::ContainerState},
    observed::{ObservedContainer, RunState},
    resources,
    spec::{self, Role},
    time::whole_seconds,
};

/// The scheme of container ids, which names the runtime.
const RUNTIME_SCHEME: &str = "containerd://";

/// The conditions that the node owns. Those that every Pod has come first, in upstream's order.
const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "AllContainersRestarting"];

/// The node's conditions of a Pod with a resize.
const RESIZE: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// The current status of a Pod.
pub(crate) fn of(machine: &PodMachine) -> PodStatus {
    let pod = machine.pod();
    let host_network = spec::spec(pod).host_network.unwrap_or(false);
    let mut ips = machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
    if host_network && machine.sandbox().is_some() && ips.is_empty() {
        ips.push(machine.host_ip.clone());
    }
    // Init containers are in the order in which they run, the others are sorted by name.
    let (mut inits, mut mains, mut ephemeral) = (Vec::new(), Vec::new(), Vec::new());
    for state in &machine.containers {
        let Some(container) = spec::container(pod, &state.name) else { continue };
        let list = match state.role {
            Role::Init | Role::Sidecar => &mut inits,
            Role::Main => &mut mains,
            Role::Ephemeral => &mut ephemeral,
        };
        list.push(container_status(machine, state, &container));
    }
    for list in [&mut mains, &mut ephemeral] {
        list.sort_by(|a: &ContainerStatus, b| a.name.cmp(&b.name));
    }
    let statuses = |list: Vec<ContainerStatus>| (!list.is_empty()).then_some(list);
    PodStatus {
        phase: Some(phase(machine).to_owned()),
        conditions: Some(conditions(machine)),
        observed_generation: pod.metadata.generation,
        host_ip: Some(machine.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: machine.host_ip.clone() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(time(machine.accepted_at)),
        init_container_statuses: statuses(inits),
        container_statuses: statuses(mains),
        ephemeral_container_statuses: statuses(ephemeral),
        qos_class: Some(resources::qos_class(pod).as_str().to_owned()),
        ..Default::default()
    }
}

/// The phase before the outcome is decided.
fn phase(machine: &PodMachine) -> &'static str {
    let pod = machine.pod();
    let mut mains = machine.containers.iter().filter(|state| state.role == Role::Main);
    if is_pending(machine) {
        return "Pending";
    }
    if mains.clone().all(|state| state.is_over(pod)) {
        let succeeded = mains.all(|state| state.exit().is_some_and(|exit| exit.code == 0));
        // Sidecars are still being stopped; upstream reports the final phase only afterwards.
        let settled = machine.containers.iter().all(|state| !state.is_running());
        return match (settled, succeeded) {
            (false, _) => "Running",
            (true, true) => "Succeeded",
            (true, false) => "Failed",
        };
    }
    "Running"
}

/// Whether a container has not run yet, or an init container still runs. A Pod whose containers start over, in a new
/// sandbox for instance, is not pending again while they wait.
fn is_pending(machine: &PodMachine) -> bool {
    let never_ran = |state: &ContainerState| state.current.is_none() && state.last.is_none();
    machine.containers.iter().any(|state| match state.role {
        Role::Main => never_ran(state),
        Role::Ephemeral => false,
        _ if machine.initialized => false,
        Role::Init => never_ran(state) || state.is_running(),
        Role::Sidecar => never_ran(state) || (state.is_running() && !state.probes.started()),
    })
}

fn container_status(machine: &PodMachine, state: &ContainerState, container: &Container) -> ContainerStatus {
    let current = state.current.as_ref();
    let started = current.is_some_and(|c| c.is_running()) && state.probes.started();
    let ready = match state.role {
        Role::Init => state.exit().is_some_and(|exit| exit.code == 0),
        Role::Sidecar | Role::Main => is_ready(machine, state),
        // Nothing waits for it, so the kubelet does not say.
        Role::Ephemeral => false,
    };
    // A container in back-off shows its exit as its last state.
    let shown_as_last = match (&state.waiting, current) {
        (Some(_), Some(current)) if current.exit().is_some() => Some(current),
        _ => state.last.as_ref(),
    };
    ContainerStatus {
        name: state.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: current.map(|c| c.image_id.clone()).unwrap_or_default(),
        container_id: current.and_then(container_id),
        ready,
        started: (state.role != Role::Ephemeral).then_some(started),
        restart_count: i32::try_from(state.restarts).unwrap_or(i32::MAX),
        state: Some(api_state(machine, state)),
        last_state: Some(shown_as_last.map(terminated_state).unwrap_or_default()),
        resources: current.and_then(|current| match current.applied.filter(|_| current.is_running()) {
            Some(applied) => resources::actual(machine.pod(), container, &applied),
            None => container.resources.clone(),
        }),
        allocated_resources: current.and_then(|_| container.resources.as_ref()?.requests.clone()),
        volume_mounts: current.and_then(|_| volume_mounts(container)),
        ..Default::default()
    }
}

fn container_id(seen: &ObservedContainer) -> Option<String> {
    (!seen.id.is_empty()).then(|| format!("{RUNTIME_SCHEME}{}", seen.id))
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let shown = mounts.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount.read_only.filter(|read_only| *read_only).map(|_| "Disabled".to_owned()),
        ..Default::default()
    });
    Some(shown.collect())
}

fn is_ready(machine: &PodMachine, state: &ContainerState) -> bool {
    let sandbox_ready = matches!(&machine.sandbox, Sandbox::Up(sandbox) if sandbox.ready);
    sandbox_ready && state.is_running() && state.probes.ready()
}

fn api_state(machine: &PodMachine, state: &ContainerState) -> v1::ContainerState {
    if let Some(waiting) = &state.waiting {
        return waiting_state(waiting.reason, Some(waiting.message.clone()));
    }
    match &state.current {
        Some(current) => match &current.state {
            RunState::Running => v1::ContainerState {
                running: Some(ContainerStateRunning { started_at: current.started_at.map(time) }),
                ..Default::default()
            },
            RunState::Exited(_) => terminated_state(current),
            RunState::Created => waiting_state(before_start(machine), None),
        },
        None => {
            let message = machine.sandbox_failure.as_ref().map(|failure| failure.message.clone());
            waiting_state(before_start(machine), message)
        }
    }
}

/// Why a container that has not been started yet waits. For all containers of Pods with init containers it is the same,
/// as upstream, so that `kubectl get pods` shows `Init:0/2`.
fn before_start(machine: &PodMachine) -> &'static str {
    let is_init = |state: &ContainerState| matches!(state.role, Role::Init | Role::Sidecar);
    let has_init_containers = machine.containers.iter().any(is_init);
    if has_init_containers { "PodInitializing" } else { "ContainerCreating" }
}

fn init_done(state: &ContainerState) -> bool {
    match state.role {
        Role::Init => state.exit().is_some_and(|exit| exit.code == 0),
        Role::Sidecar => state.is_running() && state.probes.started(),
        Role::Main | Role::Ephemeral => true,
    }
}

fn waiting_state(reason: &str, message: Option<String>) -> v1::ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    v1::ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn terminated_state(seen: &ObservedContainer) -> v1::ContainerState {
    let Some(exit) = seen.exit() else { return v1::ContainerState::default() };
    let reason = match exit.reason.as_str() {
        "" if exit.code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    let terminated = ContainerStateTerminated {
        exit_code: exit.code,
        reason: Some(reason.to_owned()),
        message: exit.message.clone(),
        started_at: Some(time(seen.started_at.unwrap_or(seen.created_at))),
        finished_at: Some(time(exit.finished_at)),
        container_id: container_id(seen),
        ..Default::default()
    };
    v1::ContainerState { terminated: Some(terminated), ..Default::default() }
}

/// A condition that the node owns.
struct Condition {
    name: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Condition {
    /// A condition whose reason and message explain why it does not hold.
    fn unless(name: &'static str, reason: Option<&'static str>, failure: Option<String>) -> Self {
        let holds = failure.is_none();
        Self {
            name,
            holds,
            reason: reason.filter(|_| !holds),
            message: failure.filter(|text| !text.is_empty()),
        }
    }
}

fn owned_conditions(machine: &PodMachine) -> Vec<Condition> {
    let sandbox_up = matches!(&machine.sandbox, Sandbox::Up(sandbox) if sandbox.ready);
    let unready: Vec<&str> = machine
        .containers
        .iter()
        .filter(|state| matches!(state.role, Role::Sidecar | Role::Main) && !is_ready(machine, state))
        .map(|state| state.name.as_str())
        .collect();
    // A Pod that has been initialized stays so, also when its containers start over.
    let was_initialized =
        machine.initialized || machine.transitions.get(OWNED[1]).is_some_and(|(held, _)| *held);
    let uninitialized: Vec<&str> = machine
        .containers
        .iter()
        .filter(|state| !was_initialized && !init_done(state))
        .map(|state| state.name.as_str())
        .collect();
    let list =
        |what: &str, names: &[&str]| (!names.is_empty()).then(|| format!("{what}: [{}]", names.join(" ")));
    let unready = list("containers with unready status", &unready);
    let not_ready_reason = if unready.is_none() { "ReadinessGatesNotReady" } else { "ContainersNotReady" };
    let mut conditions = vec![
        Condition::unless(OWNED[0], None, (!sandbox_up).then(String::new)),
        Condition::unless(
            OWNED[1],
            Some("ContainersNotInitialized"),
            list("containers with incomplete status", &uninitialized),
        ),
        Condition::unless(
            OWNED[2],
            Some(not_ready_reason),
            unready.clone().or_else(|| failing_gates(machine)),
        ),
        Condition::unless(OWNED[3], Some("ContainersNotReady"), unready),
    ];
    if spec::may_restart_all(machine.pod()) {
        let holds = machine.restarting_all;
        let message = || "container exited with restart policy rule".to_owned();
        conditions.push(Condition {
            name: OWNED[4],
            holds,
            reason: holds.then_some("RestartAllContainersStarted"),
            message: holds.then(message),
        });
    }
    conditions
}

/// The conditions of a resize; a Pod without one has none.
fn resize_conditions(machine: &PodMachine) -> Vec<PodCondition> {
    let condition =
        |name: &str, generation, since, reason: Option<&str>, message: Option<&str>| PodCondition {
            type_: name.to_owned(),
            status: "True".to_owned(),
            reason: reason.map(str::to_owned),
            message: message.map(str::to_owned),
            last_transition_time: Some(time(since)),
            observed_generation: generation,
            ..Default::default()
        };
    let resize = &machine.resize;
    let pending = resize.pending.as_ref().map(|(refusal, since)| {
        let generation = resize.desired.as_ref().and_then(|pod| pod.metadata.generation);
        let (reason, message) = (refusal.reason(), refusal.message());
        condition(RESIZE[0], generation, *since, Some(reason), Some(message))
    });
    let in_progress = resize.in_progress.as_ref().map(|resize| {
        let reason = resize.error.as_ref().map(|_| "Error");
        condition(RESIZE[1], resize.generation, resize.since, reason, resize.error.as_deref())
    });
    pending.into_iter().chain(in_progress).collect()
}

/// The message about the readiness gates that are not true.
fn failing_gates(machine: &PodMachine) -> Option<String> {
    let pod = machine.pod();
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let failing = |kind: &str| match conditions.iter().find(|condition| condition.type_ == kind) {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(format!(
            "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
            condition.status
        )),
        None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
    };
    let gates = spec::spec(pod).readiness_gates.iter().flatten();
    let messages: Vec<String> = gates.filter_map(|gate| failing(&gate.condition_type)).collect();
    (!messages.is_empty()).then(|| messages.join(", "))
}

/// Records when each condition last changed; called after every step.
pub(crate) fn record_transitions(machine: &mut PodMachine, now: Timestamp) {
    for condition in owned_conditions(machine) {
        match machine.transitions.get_mut(condition.name) {
            Some((held, _)) if *held == condition.holds => {}
            Some(entry) => *entry = (condition.holds, now),
            None => {
                machine.transitions.insert(condition.name.to_owned(), (condition.holds, now));
            }
        }
    }
}

fn conditions(machine: &PodMachine) -> Vec<PodCondition> {
    let pod = machine.pod();
    let mut conditions: Vec<PodCondition> = owned_conditions(machine)
        .into_iter()
        .map(|condition| {
            let since =
                machine.transitions.get(condition.name).map_or(machine.accepted_at, |(_, since)| *since);
            PodCondition {
                type_: condition.name.to_owned(),
                status: if condition.holds { "True" } else { "False" }.to_owned(),
                reason: condition.reason.map(str::to_owned),
                message: condition.message,
                last_transition_time: Some(time(since)),
                observed_generation: pod.metadata.generation,
                ..Default::default()
            }
        })
        .collect();
    let others = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.extend(resize_conditions(machine));
    let is_own = |kind: &str| OWNED.contains(&kind) || RESIZE.contains(&kind);
    let kept = others.iter().filter(|other| !is_own(&other.type_)).cloned();
    conditions.extend(kept.map(|mut other| {
        if other.type_ == "PodScheduled" {
            // The node confirms the scheduler's condition for its version of the Pod.
            other.observed_generation = pod.metadata.generation;
        }
        other
    }));
    if !conditions.iter().any(|condition| condition.type_ == "PodScheduled") {
        conditions.push(PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(time(machine.accepted_at)),
            observed_generation: pod.metadata.generation,
            ..Default::default()
        });
    }
    conditions
}

/// Says that the node has ended the Pod because of its own state, as upstream's kubelet.
pub(crate) fn add_disruption(status: &mut PodStatus, message: &str, now: Timestamp) {
    const TYPE: &str = "DisruptionTarget";
    let list = status.conditions.get_or_insert_default();
    list.retain(|condition| condition.type_ != TYPE);
    list.push(PodCondition {
        type_: TYPE.to_owned(),
        status: "True".to_owned(),
        reason: Some("TerminationByKubelet".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(time(now)),
        ..PodCondition::default()
    });
}

/// Sets the conditions of a Pod that has ended: nothing is ready.
pub(crate) fn end_conditions(status: &mut PodStatus, now: Timestamp) {
    let succeeded = status.phase.as_deref() == Some("Succeeded");
    if let Some(list) = &mut status.conditions {
        list.retain(|condition| !RESIZE.contains(&condition.type_.as_str()));
    }
    for condition in status.conditions.iter_mut().flatten() {
        let ready = matches!(condition.type_.as_str(), "Ready" | "ContainersReady");
        let up = condition.type_ == "PodReadyToStartContainers";
        let initialized = condition.type_ == "Initialized" && succeeded;
        let restarting = condition.type_ == OWNED[4];
        if ready || up || restarting {
            if condition.status == "True" {
                condition.last_transition_time = Some(time(now));
            }
            condition.status = "False".to_owned();
        }
        if ready || initialized || restarting {
            condition.reason = Some(if succeeded { "PodCompleted" } else { "PodFailed" }.to_owned());
            condition.message = None;
        }
    }
    for container in status.container_statuses.iter_mut().flatten() {
        container.ready = false;
        container.started = Some(false);
    }
}

/// Whether a stored status shows what the node has reported. Conditions of others are left out, and so are times of
/// conditions.
pub fn agrees(stored: &PodStatus, reported: &PodStatus) -> bool {
    let same_condition = |own: &PodCondition| {
        let mut conditions = stored.conditions.iter().flatten();
        conditions.any(|other| other.type_ == own.type_ && other.status == own.status)
    };
    let is_own = |condition: &&PodCondition| {
        OWNED.contains(&condition.type_.as_str()) || RESIZE.contains(&condition.type_.as_str())
    };
    stored.phase == reported.phase
        && stored.pod_ips == reported.pod_ips
        && stored.container_statuses == reported.container_statuses
        && stored.init_container_statuses == reported.init_container_statuses
        && stored.ephemeral_container_statuses == reported.ephemeral_container_statuses
        && reported.conditions.iter().flatten().filter(is_own).all(same_condition)
}

fn time(moment: Timestamp) -> Time {
    Time(whole_seconds(moment))
}

#[cfg(test)]
mod tests;

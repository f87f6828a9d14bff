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
    machine::{
        PodMachine, Sandbox,
        container::{ContainerState, Waiting},
    },
    observed::{ObservedContainer, RunState},
    resources,
    spec::{self, RestartPolicy, Role},
    time::whole_seconds,
};

/// The scheme of container ids, which names the runtime.
const RUNTIME_SCHEME: &str = "containerd://";

/// The conditions that the node owns, in upstream's order.
const OWNED: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// The current status of a Pod.
pub(crate) fn of(machine: &PodMachine) -> PodStatus {
    let pod = machine.pod();
    let host_network = spec::spec(pod).host_network.unwrap_or(false);
    let mut ips = machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
    if host_network && machine.sandbox().is_some() && ips.is_empty() {
        ips.push(machine.host_ip.clone());
    }
    let (inits, mains): (Vec<_>, Vec<_>) = machine
        .containers
        .iter()
        .filter_map(|state| Some((state, spec::container(pod, &state.name)?)))
        .map(|(state, container)| (state.role, container_status(machine, state, container)))
        .partition(|(role, _)| *role != Role::Main);
    let statuses = |list: Vec<(Role, ContainerStatus)>| {
        (!list.is_empty()).then(|| list.into_iter().map(|(_, status)| status).collect())
    };
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
        qos_class: Some(resources::qos_class(pod).as_str().to_owned()),
        ..Default::default()
    }
}

/// The phase before the outcome is decided.
fn phase(machine: &PodMachine) -> &'static str {
    let policy = spec::restart_policy(machine.pod());
    let mut mains = machine.containers.iter().filter(|state| state.role == Role::Main);
    let never_ran = |state: &ContainerState| state.current.is_none() && state.last.is_none();
    if !machine.initialized || mains.clone().any(never_ran) {
        return "Pending";
    }
    if policy != RestartPolicy::Always && mains.clone().all(|state| state.is_over(policy)) {
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

fn container_status(machine: &PodMachine, state: &ContainerState, container: &Container) -> ContainerStatus {
    let current = state.current.as_ref();
    let started = current.is_some_and(|c| c.is_running()) && state.probes.started();
    let ready = match state.role {
        Role::Init => state.exit().is_some_and(|exit| exit.code == 0),
        Role::Sidecar | Role::Main => is_ready(machine, state),
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
        container_id: current.map(|c| format!("{RUNTIME_SCHEME}{}", c.id)),
        ready,
        started: Some(started),
        restart_count: i32::try_from(state.restarts).unwrap_or(i32::MAX),
        state: Some(api_state(machine, state)),
        last_state: Some(shown_as_last.map(terminated_state).unwrap_or_default()),
        // The values that the instance was created with; only its image is mutable.
        resources: current.and_then(|_| container.resources.clone()),
        allocated_resources: current.and_then(|_| container.resources.as_ref()?.requests.clone()),
        volume_mounts: current.and_then(|_| volume_mounts(container)),
        ..Default::default()
    }
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
            RunState::Created => waiting_state("ContainerCreating", None),
        },
        None => {
            let inits_pending = !machine.initialized
                && machine.containers.iter().any(|other| other.role != Role::Main)
                && state.role == Role::Main;
            let later_init = state.role != Role::Main
                && machine
                    .containers
                    .iter()
                    .take_while(|other| other.name != state.name)
                    .any(|other| !init_done(other));
            let failure: Option<&Waiting> = machine.sandbox_failure.as_ref();
            if inits_pending || later_init {
                waiting_state("PodInitializing", None)
            } else {
                waiting_state("ContainerCreating", failure.map(|failure| failure.message.clone()))
            }
        }
    }
}

fn init_done(state: &ContainerState) -> bool {
    match state.role {
        Role::Init => state.exit().is_some_and(|exit| exit.code == 0),
        Role::Sidecar => state.is_running() && state.probes.started(),
        Role::Main => true,
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
        container_id: Some(format!("{RUNTIME_SCHEME}{}", seen.id)),
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

fn owned_conditions(machine: &PodMachine) -> Vec<Condition> {
    let sandbox_up = matches!(&machine.sandbox, Sandbox::Up(sandbox) if sandbox.ready);
    let unready: Vec<&str> = machine
        .containers
        .iter()
        .filter(|state| state.role != Role::Init && !is_ready(machine, state))
        .map(|state| state.name.as_str())
        .collect();
    let uninitialized: Vec<&str> = machine
        .containers
        .iter()
        .filter(|state| !machine.initialized && !init_done(state))
        .map(|state| state.name.as_str())
        .collect();
    let list =
        |what: &str, names: &[&str]| (!names.is_empty()).then(|| format!("{what}: [{}]", names.join(" ")));
    let gates = failing_gates(machine);
    let containers_ready = unready.is_empty();
    let unready_message = list("containers with unready status", &unready);
    vec![
        Condition { name: OWNED[0], holds: sandbox_up, reason: None, message: None },
        Condition {
            name: OWNED[1],
            holds: uninitialized.is_empty(),
            reason: Some("ContainersNotInitialized"),
            message: list("containers with incomplete status", &uninitialized),
        },
        Condition {
            name: OWNED[2],
            holds: containers_ready && gates.is_none(),
            reason: Some(if containers_ready { "ReadinessGatesNotReady" } else { "ContainersNotReady" }),
            message: unready_message.clone().or(gates),
        },
        Condition {
            name: OWNED[3],
            holds: containers_ready,
            reason: Some("ContainersNotReady"),
            message: unready_message,
        },
    ]
}

/// The message about the first readiness gate that is not true.
fn failing_gates(machine: &PodMachine) -> Option<String> {
    let pod = machine.pod();
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    spec::spec(pod).readiness_gates.iter().flatten().find_map(|gate| {
        let found = conditions.iter().find(|condition| condition.type_ == gate.condition_type);
        match found {
            Some(condition) if condition.status == "True" => None,
            Some(_) => {
                Some(format!("the status of pod readiness gate \"{}\" is not \"True\"", gate.condition_type))
            }
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist",
                gate.condition_type
            )),
        }
    })
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
                reason: (!condition.holds).then_some(condition.reason).flatten().map(str::to_owned),
                message: if condition.holds { None } else { condition.message },
                last_transition_time: Some(time(since)),
                observed_generation: pod.metadata.generation,
                ..Default::default()
            }
        })
        .collect();
    let others = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let kept = others.iter().filter(|other| !OWNED.contains(&other.type_.as_str())).cloned();
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

/// Sets the conditions of a Pod that has ended: nothing is ready.
pub(crate) fn end_conditions(status: &mut PodStatus, now: Timestamp) {
    let succeeded = status.phase.as_deref() == Some("Succeeded");
    for condition in status.conditions.iter_mut().flatten() {
        let ready = matches!(condition.type_.as_str(), "Ready" | "ContainersReady");
        let up = condition.type_ == "PodReadyToStartContainers";
        let initialized = condition.type_ == "Initialized" && succeeded;
        if ready || up {
            if condition.status == "True" {
                condition.last_transition_time = Some(time(now));
            }
            condition.status = "False".to_owned();
        }
        if ready || initialized {
            condition.reason = Some(if succeeded { "PodCompleted" } else { "PodFailed" }.to_owned());
            condition.message = None;
        }
    }
    for container in status.container_statuses.iter_mut().flatten() {
        container.ready = false;
        container.started = Some(false);
    }
}

fn time(moment: Timestamp) -> Time {
    Time(whole_seconds(moment))
}

#[cfg(test)]
mod tests;

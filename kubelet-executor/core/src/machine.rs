//! The state machine of one Pod.
//!
//! ```text
//!            Observed (adopt)                    all main containers over, Kill, deadline
//!  new ──────────────▶ sandbox ▶ init ▶ main ───────────────▶ ending ▶ (persist FinalStatus) ▶ sandbox removed ▶ gone
//! ```
//!
//! The machine keeps the last observed state of each container. After every event it walks from the sandbox over the
//! init containers to the main ones and requests the next action for whatever differs from its desired state. Nothing
//! is requested before the first listing: that listing is how a restarted executor adopts what runs.

mod advance;
pub(crate) mod container;
mod ending;
mod listing;
pub(crate) mod resize;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};

use crate::{
    action::{Action, Effects, Event, EventRecord, FinalStatus, PodOutcome},
    backoff::Backoff,
    observed::{ObservedContainer, ObservedSandbox},
    probe::{ProbeFailure, ProbeKind, ProbeVerdict},
    spec, status,
    time::after,
};
use container::{ContainerState, Operation, Waiting};
use ending::Ending;
use resize::PodResize;
pub use resize::{InProgress, UnfinishedResize};

/// The state machine of one Pod.
#[derive(Debug, Clone)]
pub struct PodMachine {
    pub(crate) pod: Arc<Pod>,
    pub(crate) host_ip: String,
    pub(crate) containers: Vec<ContainerState>,
    pub(crate) sandbox: Sandbox,
    pub(crate) sandbox_failure: Option<Waiting>,
    pub(crate) accepted_at: Timestamp,
    pub(crate) initialized: bool,
    /// A container's restart rule removes all containers, and some still run.
    pub(crate) restarting_all: bool,
    pub(crate) ending: Option<Ending>,
    pub(crate) final_status: Option<FinalStatus>,
    pub(crate) resize: PodResize,
    pub(crate) transitions: BTreeMap<String, (bool, Timestamp)>,
    adopted: bool,
    gone: bool,
    sandbox_backoff: Backoff,
    sandbox_retry_at: Option<Timestamp>,
    sandbox_settled_at: Timestamp,
    next_sandbox_attempt: u32,
    /// Ids whose removal has been requested, so that each is requested once.
    removal_requested: BTreeSet<String>,
}

/// The state of the Pod's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sandbox {
    None,
    Starting,
    Up(ObservedSandbox),
    Removing(String),
}

impl PodMachine {
    /// Creates the machine of a Pod that was launched at `now` on the node with the address `host_ip`.
    pub fn new(pod: Arc<Pod>, host_ip: &str, now: Timestamp) -> Self {
        let containers = spec::all_containers(&pod)
            .map(|(role, container)| ContainerState::new(role, &container.name))
            .collect();
        let mut machine = Self {
            pod,
            host_ip: host_ip.to_owned(),
            containers,
            sandbox: Sandbox::None,
            sandbox_failure: None,
            accepted_at: now,
            initialized: false,
            restarting_all: false,
            ending: None,
            final_status: None,
            resize: PodResize::default(),
            transitions: BTreeMap::new(),
            adopted: false,
            gone: false,
            sandbox_backoff: Backoff::default(),
            sandbox_retry_at: None,
            sandbox_settled_at: Timestamp::MIN,
            next_sandbox_attempt: 0,
            removal_requested: BTreeSet::new(),
        };
        status::record_transitions(&mut machine, now);
        machine
    }

    /// Handles an event and returns the effects. Total: every event is valid at any time.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Effects {
        let mut actions = Vec::new();
        if !self.gone {
            self.handle(now, event, &mut actions);
        }
        let mut persist = None;
        if self.adopted && !self.gone {
            self.advance(now, &mut actions);
            persist = self.finish(now, &mut actions);
            self.probe(now, &mut actions);
        }
        status::record_transitions(self, now);
        Effects { persist, after_persist: actions, wake_at: self.wake_at(now) }
    }

    /// The newest version of the Pod.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// The newest version of the Pod whose resources are not allocated yet.
    pub fn desired(&self) -> Option<&Arc<Pod>> {
        self.resize.desired.as_ref()
    }

    /// The status to report.
    pub fn status(&self) -> PodStatus {
        match &self.final_status {
            Some(final_status) => final_status.status.clone(),
            None => status::of(self),
        }
    }

    /// Whether the status rests on an observation: a listing, or the news that the runtime is unavailable.
    pub fn is_known(&self) -> bool {
        self.adopted || self.sandbox_failure.is_some()
    }

    /// Whether a listing has been handled.
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// The outcome of the Pod, once nothing of it is left.
    pub fn outcome(&self) -> Option<PodOutcome> {
        if self.gone { self.final_status.as_ref().map(|final_status| final_status.outcome) } else { None }
    }

    /// The current sandbox.
    pub fn sandbox(&self) -> Option<&ObservedSandbox> {
        match &self.sandbox {
            Sandbox::Up(sandbox) => Some(sandbox),
            _ => None,
        }
    }

    /// The id of a container's running instance.
    pub fn running(&self, name: &str) -> Option<&str> {
        let state = self.containers.iter().find(|state| state.name == name)?;
        state.current.as_ref().filter(|current| current.is_running()).map(|current| current.id.as_str())
    }

    /// The newest instance of each container that ever ran, running or not.
    pub fn instances(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter_map(|state| state.current.as_ref().or(state.last.as_ref()))
    }

    /// The id of the newest instance of a container, running or not.
    pub fn newest_instance(&self, name: &str) -> Option<&str> {
        self.instances().find(|instance| instance.name == name).map(|instance| instance.id.as_str())
    }

    /// Whether an action in progress will soon show in a listing; the shell lists more often then.
    pub fn expects_change(&self) -> bool {
        if self.gone {
            return false;
        }
        let ends_by_itself = |state: &ContainerState| {
            let container = spec::container(&self.pod, &state.name);
            container.is_some_and(|container| {
                spec::container_restart_policy(&self.pod, &container) != spec::RestartPolicy::Always
            })
        };
        !self.adopted
            || self.ending.is_some()
            || !matches!(self.sandbox, Sandbox::Up(_))
            || self.containers.iter().any(|state| {
                let running = state.current.as_ref().is_some_and(|current| current.is_running());
                state.operation != Operation::None
                    || (running && (state.role == spec::Role::Init || ends_by_itself(state)))
            })
    }

    fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Observed(seen) => self.take_listing(now, seen, actions),
            Event::Update(pod) => self.take_update(pod, actions),
            Event::Kill { grace } => self.end(ending::EndCause::Killed, after(now, grace)),
            Event::Evict { message, disruption } => self.evict(now, message, disruption, actions),
            Event::SandboxStarted(sandbox) => {
                self.sandbox_settled_at = now;
                self.sandbox_backoff.reset();
                self.sandbox_failure = None;
                self.sandbox = Sandbox::Up(sandbox);
            }
            Event::SandboxFailed { reason, message } => self.sandbox_failed(now, reason, message, actions),
            Event::SandboxRemoved { id } => self.sandbox_removed(now, &id),
            Event::ContainerStarted(seen) => {
                if let Some(state) = container::find(&mut self.containers, &seen.name) {
                    let started = spec::container(&self.pod, &seen.name);
                    state.started(seen, &self.pod, started.as_deref(), now);
                }
            }
            Event::ContainerFailed { name, failure, message, volume_image } => {
                let pod = self.pod.clone();
                if let Some(state) = container::find(&mut self.containers, &name) {
                    state.failed_volume_image = volume_image;
                    state.start_failed(&pod, failure, message, now, actions);
                }
            }
            Event::StopReturned { id } => {
                for state in &mut self.containers {
                    state.stop_returned(&id, now);
                }
            }
            Event::Probed { container_id, kind, result } => {
                self.probed(now, &container_id, kind, result, actions)
            }
            Event::ResizeChecked { pod, verdict } => self.resize_checked(now, pod, verdict, actions),
            Event::ContainerUpdated { id, result } => self.container_updated(now, &id, result, actions),
            Event::RuntimeUnavailable { message } => self.runtime_unavailable(now, message, actions),
            Event::Tick => {}
        }
    }

    /// Recorded once per message, and shown until a sandbox is ready.
    fn runtime_unavailable(&mut self, now: Timestamp, message: String, actions: &mut Vec<Action>) {
        let reason = "FailedCreatePodSandBox";
        if self.sandbox_failure.as_ref().is_some_and(|failure| failure.message == message) {
            return;
        }
        let record = EventRecord { container: None, warning: true, reason, message: message.clone() };
        actions.push(Action::RecordEvent(record));
        self.sandbox_failure = Some(Waiting { reason, message, since: now });
    }

    fn take_update(&mut self, pod: Arc<Pod>, actions: &mut Vec<Action>) {
        if pod.metadata.uid != self.pod.metadata.uid {
            return;
        }
        self.take_pod(pod, actions);
        let added = spec::all_containers(&self.pod).filter(|(role, container)| {
            *role == spec::Role::Ephemeral && self.containers.iter().all(|state| state.name != container.name)
        });
        let added: Vec<_> =
            added.map(|(role, container)| ContainerState::new(role, &container.name)).collect();
        self.containers.extend(added);
    }

    fn sandbox_failed(
        &mut self,
        now: Timestamp,
        reason: &'static str,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        if self.sandbox == Sandbox::Starting {
            self.sandbox = Sandbox::None;
        }
        self.sandbox_settled_at = now;
        let record = EventRecord { container: None, warning: true, reason, message: message.clone() };
        actions.push(Action::RecordEvent(record));
        self.sandbox_failure = Some(Waiting { reason, message, since: now });
        // Missing objects often appear soon: retry early at first, then as often as upstream does.
        let delay = self.sandbox_backoff.failed() / 10;
        self.sandbox_retry_at = Some(after(now, delay));
    }

    fn sandbox_removed(&mut self, now: Timestamp, id: &str) {
        self.removal_requested.remove(id);
        if self.sandbox != Sandbox::Removing(id.to_owned()) {
            return;
        }
        self.sandbox = Sandbox::None;
        self.sandbox_settled_at = now;
        self.initialized = false;
        self.restarting_all = false;
        for state in &mut self.containers {
            state.sandbox_removed(&self.pod, now);
        }
    }

    fn probe(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        for state in &mut self.containers {
            let Some(current) = &state.current else { continue };
            if !current.is_running() || state.operation != Operation::None {
                continue;
            }
            for kind in state.probes.take_due(now) {
                let (name, container_id) = (state.name.clone(), current.id.clone());
                actions.push(Action::RunProbe { name, container_id, kind });
            }
        }
    }

    fn probed(
        &mut self,
        now: Timestamp,
        container_id: &str,
        kind: ProbeKind,
        result: Result<(), ProbeFailure>,
        actions: &mut Vec<Action>,
    ) {
        let pod = self.pod.clone();
        let ending = self.ending.is_some();
        let probed = |state: &&mut ContainerState| {
            state.current.as_ref().is_some_and(|current| current.id == container_id)
        };
        let Some(state) = self.containers.iter_mut().find(probed) else { return };
        if !state.current.as_ref().is_some_and(|current| current.is_running()) || ending {
            return;
        }
        let verdict = state.probes.result(kind, result.is_ok(), now);
        if let Err(why) = result {
            actions.push(state.event(true, "Unhealthy", format!("{} probe {why}", kind.title())));
        }
        if verdict == ProbeVerdict::Kill
            && state.operation == Operation::None
            && let Some(container) = spec::container(&pod, &state.name)
        {
            let own = kind
                .of(&container)
                .and_then(|probe| u64::try_from(probe.termination_grace_period_seconds?).ok())
                .map(std::time::Duration::from_secs);
            let why = probe_failure(&pod, state.role, &container, kind);
            state.stop(own.unwrap_or_else(|| spec::grace(&pod)), why, now, actions);
        }
    }

    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.gone || !self.adopted {
            return None;
        }
        let sandbox = (self.sandbox == Sandbox::None).then_some(self.sandbox_retry_at).flatten();
        let states = self.containers.iter().filter_map(|state| state.wake_at());
        let ending = self.ending.is_none().then(|| self.deadline()).flatten();
        let resize = self.resize_wakes_at();
        states.chain(sandbox).chain(ending).chain(resize).filter(|at| *at > now).min()
    }
}

/// The message of the Event `Killing` after a failed probe.
fn probe_failure(pod: &Pod, role: spec::Role, container: &Container, kind: ProbeKind) -> String {
    let (name, probe) = (&container.name, kind.title().to_ascii_lowercase());
    let restarts = spec::container_restart_policy(pod, container) != spec::RestartPolicy::Never;
    match role {
        spec::Role::Init | spec::Role::Sidecar => format!("Init container {name} failed {probe} probe"),
        spec::Role::Main if restarts => format!("Container {name} failed {probe} probe, will be restarted"),
        spec::Role::Main | spec::Role::Ephemeral => format!("Container {name} failed {probe} probe"),
    }
}

#[cfg(test)]
pub(crate) mod tests;

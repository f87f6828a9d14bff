//! The state of one container: its observed instances, the operation in progress, the time of the next retry.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::{
    action::{Action, EventRecord, StartFailure},
    backoff::Backoff,
    machine::resize::ContainerResize,
    observed::{Exit, ObservedContainer, RunState},
    probe::Probes,
    resources::CgroupLimits,
    spec::{self, ExitDecision, Role},
    time::{after, since},
};

/// How long a failed pull is shown as `ErrImagePull` before it becomes `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// Pause before an interrupted start is retried.
const INTERRUPTED_PAUSE: Duration = Duration::from_secs(1);
/// The back-off of configuration errors is a fifth of the ordinary one: the missing object is often created soon.
const CONFIG_ERROR_DIVISOR: u32 = 5;

/// Reason and message of a container that was removed because all containers start over.
const RESTARTING_ALL: &str = "RestartingAllContainers";
const RESTARTING_ALL_MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// The state of one container of the Pod.
#[derive(Debug, Clone)]
pub(crate) struct ContainerState {
    pub name: String,
    pub role: Role,
    /// The newest instance.
    pub current: Option<ObservedContainer>,
    /// The instance before it.
    pub last: Option<ObservedContainer>,
    pub operation: Operation,
    pub restarts: u32,
    pub next_attempt: u32,
    /// The least restart count of the next instance: instances that are gone have left their logs.
    least_restarts: u32,
    pub waiting: Option<Waiting>,
    /// The image that the last start could not pull, if it is that of a volume.
    pub failed_volume_image: Option<String>,
    pub probes: Probes,
    /// The container is restarted regardless of the policy: its spec changed.
    pub replace: bool,
    pub retry_at: Option<Timestamp>,
    /// Listings that began before this time are ignored for this container.
    pub settled_at: Timestamp,
    pub resize: ContainerResize,
    cancelled: bool,
    crashes: Backoff,
    failures: Backoff,
}

/// The operation in progress for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    None,
    Starting,
    Stopping { deadline: Timestamp, returned_at: Option<Timestamp> },
}

/// Why something does not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub reason: &'static str,
    pub message: String,
    pub since: Timestamp,
}

pub(crate) fn find<'a>(states: &'a mut [ContainerState], name: &str) -> Option<&'a mut ContainerState> {
    states.iter_mut().find(|state| state.name == name)
}

impl ContainerState {
    pub fn new(role: Role, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            current: None,
            last: None,
            operation: Operation::None,
            restarts: 0,
            next_attempt: 0,
            least_restarts: 0,
            waiting: None,
            failed_volume_image: None,
            probes: Probes::default(),
            replace: false,
            retry_at: None,
            settled_at: Timestamp::MIN,
            resize: ContainerResize::default(),
            cancelled: false,
            crashes: Backoff::default(),
            failures: Backoff::default(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.is_running())
    }

    pub fn exit(&self) -> Option<&Exit> {
        self.current.as_ref().and_then(|current| current.exit())
    }

    /// What follows the end of the current instance; nothing while it runs.
    fn after_exit(&self, pod: &Pod) -> ExitDecision {
        let (Some(exit), Some(container)) = (self.exit(), spec::container(pod, &self.name)) else {
            return ExitDecision::Stay;
        };
        match (self.role, spec::after_exit(pod, &container, exit.code)) {
            (Role::Ephemeral, _) => ExitDecision::Stay,
            (_, ExitDecision::RestartAll) => ExitDecision::RestartAll,
            _ if self.replace => ExitDecision::Restart,
            (Role::Sidecar, _) => ExitDecision::Restart,
            (Role::Init, _) if exit.code == 0 => ExitDecision::Stay,
            (Role::Init | Role::Main, decision) => decision,
        }
    }

    /// Whether the end of the current instance restarts all containers.
    pub fn restarts_all(&self, pod: &Pod) -> bool {
        self.after_exit(pod) == ExitDecision::RestartAll
    }

    /// Whether it has ended and is not restarted.
    pub fn is_over(&self, pod: &Pod) -> bool {
        let ended = self.operation == Operation::None && self.exit().is_some();
        ended && self.after_exit(pod) == ExitDecision::Stay
    }

    /// Whether it has been started, now or earlier. Only its log may tell of it, if its sandbox was replaced.
    pub fn has_run(&self) -> bool {
        self.current.is_some() || self.last.is_some() || self.least_restarts > 0
    }

    /// Counts the instances that only their logs tell of, as upstream does when the runtime has none.
    pub fn take_logged(&mut self, attempt: u32) {
        if attempt >= self.next_attempt {
            self.next_attempt = attempt.saturating_add(1);
            self.least_restarts = self.next_attempt;
        }
    }

    /// Shows an ephemeral container of which only the log is left as ended: it is not started again.
    pub fn mark_lost_if_logged(&mut self, now: Timestamp) {
        if self.current.is_some() || self.least_restarts == 0 {
            return;
        }
        self.current = Some(ObservedContainer {
            id: String::new(),
            sandbox_id: String::new(),
            name: self.name.clone(),
            attempt: self.next_attempt.saturating_sub(1),
            restart_count: 0,
            hash: String::new(),
            image: String::new(),
            image_id: String::new(),
            state: RunState::Exited(lost_exit(now)),
            created_at: now,
            started_at: None,
            applied: None,
        });
    }

    /// Requests a start if no operation is in progress and the back-off is over.
    pub fn start_when_due(&mut self, pod: &Pod, sandbox_id: &str, now: Timestamp, actions: &mut Vec<Action>) {
        if self.operation != Operation::None || self.is_running() {
            return;
        }
        if self.retry_at.is_some_and(|at| at > now) {
            self.back_off_failed_pull(pod, now, actions);
            return;
        }
        let ran_before = self.current.is_some() || self.last.is_some();
        let restart_count = if ran_before { self.restarts + 1 } else { self.restarts };
        self.operation = Operation::Starting;
        self.cancelled = false;
        self.retry_at = None;
        if self.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff") {
            self.waiting = None;
        }
        actions.push(Action::StartContainer {
            name: self.name.clone(),
            sandbox_id: sandbox_id.to_owned(),
            attempt: self.next_attempt,
            restart_count: restart_count.max(self.least_restarts),
        });
        self.next_attempt += 1;
    }

    /// Turns `ErrImagePull` into `ImagePullBackOff` after a while.
    fn back_off_failed_pull(&mut self, pod: &Pod, now: Timestamp, actions: &mut Vec<Action>) {
        let image = self.failed_image(pod);
        let Some(waiting) = &mut self.waiting else { return };
        if waiting.reason == "ErrImagePull" && now >= after(waiting.since, PULL_ERROR_SHOWN) {
            let record = format!("Back-off pulling image \"{image}\"");
            waiting.message = format!("{record}: {}: {}", waiting.reason, waiting.message);
            waiting.reason = "ImagePullBackOff";
            let reason = waiting.reason;
            actions.push(self.image_event(false, "BackOff", record));
            actions.push(self.event(true, "Failed", format!("Error: {reason}")));
        }
    }

    pub fn started(
        &mut self,
        mut seen: ObservedContainer,
        pod: &Pod,
        container: Option<&Container>,
        now: Timestamp,
    ) {
        self.settled_at = now;
        if let (Some(applied), Some(container)) = (&mut seen.applied, container) {
            // The runtime has its own conversion of shares to the weights of cgroup v2.
            applied.cpu_weight = CgroupLimits::wanted(pod, container).cpu_weight;
        }
        self.adopt(seen, container, now);
    }

    /// Makes an instance the current one.
    pub fn adopt(&mut self, seen: ObservedContainer, container: Option<&Container>, now: Timestamp) {
        self.operation = Operation::None;
        self.waiting = None;
        self.replace = false;
        self.retry_at = None;
        self.resize = ContainerResize::default();
        self.failures.reset();
        self.restarts = seen.restart_count;
        self.next_attempt = self.next_attempt.max(seen.attempt + 1);
        if let Some(previous) = self.current.take() {
            self.last = Some(previous);
        }
        self.probes = match container {
            Some(container) if seen.is_running() => {
                Probes::new(container, seen.started_at.unwrap_or(seen.created_at), now)
            }
            _ => Probes::default(),
        };
        self.current = Some(seen);
    }

    pub fn start_failed(
        &mut self,
        pod: &Pod,
        failure: StartFailure,
        message: String,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        if self.operation != Operation::Starting {
            return;
        }
        self.operation = Operation::None;
        self.settled_at = now;
        let delay = match failure {
            StartFailure::Interrupted => {
                self.retry_at = Some(after(now, INTERRUPTED_PAUSE));
                return;
            }
            // The instance may exist and have ended already; the next listing shows it and counts the back-off.
            StartFailure::RunContainerError | StartFailure::PostStartHookError => INTERRUPTED_PAUSE,
            StartFailure::CreateContainerConfigError | StartFailure::CreateContainerError => {
                self.failures.failed() / CONFIG_ERROR_DIVISOR
            }
            StartFailure::ErrImagePull | StartFailure::ErrImageNeverPull | StartFailure::InvalidImageName => {
                self.failures.failed()
            }
        };
        let reason = failure.reason();
        actions.extend(self.start_failure_events(failure, &self.failed_image(pod), &message));
        self.waiting = Some(Waiting { reason, message, since: now });
        self.retry_at = Some(after(now, delay));
    }

    /// The Events of a failed start: about the image first, then about the container.
    fn start_failure_events(&self, failure: StartFailure, image: &str, message: &str) -> Vec<Action> {
        let reason = failure.reason();
        let of_image = match failure {
            StartFailure::ErrImagePull => ("Failed", format!("Failed to pull image \"{image}\": {message}")),
            StartFailure::ErrImageNeverPull => (reason, message.to_owned()),
            StartFailure::InvalidImageName => ("InspectFailed", message.to_owned()),
            // Recorded where it happened, and without the hook's output: that may be secret.
            StartFailure::PostStartHookError => return Vec::new(),
            _ => return vec![self.event(true, "Failed", format!("Error: {message}"))],
        };
        vec![
            self.image_event(true, of_image.0, of_image.1),
            self.event(true, "Failed", format!("Error: {reason}")),
        ]
    }

    /// Requests the stop of the running instance.
    pub fn stop(&mut self, grace: Duration, why: String, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(current) = self.current.as_ref().filter(|current| current.is_running()) else { return };
        let deadline = after(now, grace);
        let pre_stop = match &self.operation {
            Operation::None => true,
            // Shortens a stop in progress; a longer grace period changes nothing.
            Operation::Stopping { deadline: earlier, .. } if deadline < *earlier => false,
            Operation::Starting | Operation::Stopping { .. } => return,
        };
        actions.push(Action::StopContainer {
            name: self.name.clone(),
            id: current.id.clone(),
            grace,
            pre_stop,
            why,
        });
        self.operation = Operation::Stopping { deadline, returned_at: None };
    }

    pub fn stop_returned(&mut self, id: &str, now: Timestamp) {
        if self.current.as_ref().is_none_or(|current| current.id != id) {
            return;
        }
        if let Operation::Stopping { returned_at, .. } = &mut self.operation {
            *returned_at = Some(now);
        }
    }

    /// Cancels a start that still waits for its image.
    pub fn cancel_start(&mut self, actions: &mut Vec<Action>) {
        if self.operation == Operation::Starting && !self.cancelled {
            self.cancelled = true;
            actions.push(Action::CancelStart { name: self.name.clone() });
        }
    }

    /// Handles the observed end of the current instance.
    pub fn ended(&mut self, pod: &Pod, restarting: bool, actions: &mut Vec<Action>) {
        self.operation = Operation::None;
        self.probes = Probes::default();
        let Some(current) = &self.current else { return };
        let Some(exit) = current.exit() else { return };
        // When all containers start over, there is no back-off, as upstream.
        if !restarting || self.after_exit(pod) != ExitDecision::Restart {
            return;
        }
        let finished_at = exit.finished_at;
        let ran = since(finished_at, current.started_at.unwrap_or(finished_at));
        let delay = if self.replace { Duration::ZERO } else { self.crashes.restart(ran) };
        self.retry_at = Some(after(finished_at, delay));
        if delay.is_zero() {
            return;
        }
        let place = format!("failed container={} pod={}", self.name, spec::full_name(pod));
        let message = format!("back-off {} restarting {place}", go_duration(delay));
        self.waiting = Some(Waiting { reason: "CrashLoopBackOff", message, since: finished_at });
        let record =
            format!("Back-off restarting failed container {} in pod {}", self.name, spec::full_name(pod));
        actions.push(self.event(true, "BackOff", record));
    }

    /// Sets the back-off of an adopted instance: each of its restarts counts as a failure.
    pub fn restore_backoff(&mut self) {
        self.crashes = Backoff::after(self.restarts);
    }

    /// Handles the removal of the sandbox and of everything that ran in it.
    pub fn sandbox_removed(&mut self, pod: &Pod, now: Timestamp) {
        self.settled_at = now;
        self.operation = Operation::None;
        self.waiting = None;
        self.retry_at = None;
        self.probes = Probes::default();
        if let Some(current) = &mut self.current
            && current.exit().is_none()
        {
            current.state = RunState::Exited(lost_exit(now));
        }
        // An ephemeral container is not started again.
        if self.role == Role::Ephemeral || (self.role == Role::Main && self.is_over(pod)) {
            return;
        }
        if let Some(current) = self.current.take() {
            self.last = Some(current);
        }
    }

    /// Forgets an instance that has ended and been removed, so that the container starts over.
    pub fn start_over(&mut self, now: Timestamp) {
        self.settled_at = now;
        self.retry_at = None;
        let Some(mut removed) = self.current.take().or_else(|| self.last.take()) else { return };
        let finished_at = removed.exit().map_or(now, |exit| exit.finished_at);
        removed.state = RunState::Exited(Exit {
            code: 137,
            reason: RESTARTING_ALL.to_owned(),
            message: Some(RESTARTING_ALL_MESSAGE.to_owned()),
            finished_at,
        });
        self.last = Some(removed);
        let message = RESTARTING_ALL_MESSAGE.to_owned();
        self.waiting = Some(Waiting { reason: RESTARTING_ALL, message, since: now });
    }

    pub fn wake_at(&self) -> Option<Timestamp> {
        let start =
            if self.operation == Operation::None && !self.is_running() { self.retry_at } else { None };
        let shown = self
            .waiting
            .as_ref()
            .filter(|waiting| waiting.reason == "ErrImagePull")
            .map(|waiting| after(waiting.since, PULL_ERROR_SHOWN));
        let probes =
            if self.is_running() && self.operation == Operation::None { self.probes.next_at() } else { None };
        [start, shown, probes].into_iter().flatten().min()
    }

    /// The image that could not be pulled.
    fn failed_image(&self, pod: &Pod) -> String {
        let own = || spec::container(pod, &self.name).and_then(|container| container.image.clone());
        self.failed_volume_image.clone().or_else(own).unwrap_or_default()
    }

    /// An Event about an image: the image of a volume is the Pod's.
    fn image_event(&self, warning: bool, reason: &'static str, message: String) -> Action {
        let container = self.failed_volume_image.is_none().then(|| self.name.clone());
        Action::RecordEvent(EventRecord { container, warning, reason, message })
    }

    pub fn event(&self, warning: bool, reason: &'static str, message: String) -> Action {
        Action::RecordEvent(EventRecord { container: Some(self.name.clone()), warning, reason, message })
    }
}

/// The exit of an instance that has disappeared from the runtime.
pub(crate) fn lost_exit(now: Timestamp) -> Exit {
    Exit {
        code: 137,
        reason: "ContainerStatusUnknown".to_owned(),
        message: Some("The container could not be located when the pod was looked at".to_owned()),
        finished_at: now,
    }
}

/// Formats whole seconds as Go does: `1m20s`.
fn go_duration(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

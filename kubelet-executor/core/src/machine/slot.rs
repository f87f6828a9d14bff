//! One container's place in the Pod's machine: what was last seen of it, what is under way, when to try again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::{
    action::{Action, StartFailure, Told},
    backoff::Backoff,
    probe::Probes,
    seen::{ContainerSeen, Exit, RunState},
    spec::{self, RestartPolicy, Role},
    time::{after, since},
};

/// How long a failed pull is shown as such before it is shown as waiting for the next try.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// Pause before a start that was interrupted is tried again.
const INTERRUPTED_PAUSE: Duration = Duration::from_secs(1);
/// Back-off of configuration errors is a fifth of the ordinary one: what is missing is often about to be created.
const CONFIG_ERROR_DIVISOR: u32 = 5;

/// See the file's head.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub name: String,
    pub role: Role,
    /// The newest instance.
    pub current: Option<ContainerSeen>,
    /// The one before it.
    pub last: Option<ContainerSeen>,
    pub op: Op,
    pub restarts: u32,
    pub next_attempt: u32,
    pub waiting: Option<Waiting>,
    pub probes: Probes,
    /// Its end leads to a new start whatever the policy: its spec changed.
    pub replace: bool,
    pub not_before: Option<Timestamp>,
    /// Listings begun before this moment say nothing about the slot.
    pub settled_at: Timestamp,
    cancelled: bool,
    crashes: Backoff,
    failures: Backoff,
}

/// What is under way for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
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

pub(crate) fn find<'a>(slots: &'a mut [Slot], name: &str) -> Option<&'a mut Slot> {
    slots.iter_mut().find(|slot| slot.name == name)
}

impl Slot {
    pub fn new(role: Role, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            current: None,
            last: None,
            op: Op::None,
            restarts: 0,
            next_attempt: 0,
            waiting: None,
            probes: Probes::default(),
            replace: false,
            not_before: None,
            settled_at: Timestamp::MIN,
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

    /// Whether an end of this container is not the end of it.
    pub fn will_restart(&self, policy: RestartPolicy) -> bool {
        let failed = self.exit().is_none_or(|exit| exit.code != 0);
        match self.role {
            _ if self.replace => true,
            Role::Sidecar => true,
            Role::Init => failed && policy != RestartPolicy::Never,
            Role::Main => match policy {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => failed,
                RestartPolicy::Never => false,
            },
        }
    }

    /// Whether it ended and will not run again.
    pub fn is_over(&self, policy: RestartPolicy) -> bool {
        self.op == Op::None && self.exit().is_some() && !self.will_restart(policy)
    }

    /// Asks for a start if nothing is under way and the time has come.
    pub fn start_when_due(&mut self, pod: &Pod, sandbox_id: &str, now: Timestamp, actions: &mut Vec<Action>) {
        if self.op != Op::None || self.is_running() {
            return;
        }
        if self.not_before.is_some_and(|at| at > now) {
            self.settle_pull_error(pod, now, actions);
            return;
        }
        let ran_before = self.current.is_some() || self.last.is_some();
        self.op = Op::Starting;
        self.cancelled = false;
        self.not_before = None;
        if self.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff") {
            self.waiting = None;
        }
        actions.push(Action::StartContainer {
            name: self.name.clone(),
            sandbox_id: sandbox_id.to_owned(),
            attempt: self.next_attempt,
            restart_count: if ran_before { self.restarts + 1 } else { self.restarts },
        });
        self.next_attempt += 1;
    }

    /// A failed pull turns into waiting for the next one.
    fn settle_pull_error(&mut self, pod: &Pod, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(waiting) = &mut self.waiting else { return };
        if waiting.reason == "ErrImagePull" && now >= after(waiting.since, PULL_ERROR_SHOWN) {
            let told = format!("Back-off pulling image \"{}\"", image_of(pod, &self.name));
            waiting.message = format!("{told}: {}: {}", waiting.reason, waiting.message);
            waiting.reason = "ImagePullBackOff";
            let reason = waiting.reason;
            actions.push(self.tell(false, "BackOff", told));
            actions.push(self.tell(true, "Failed", format!("Error: {reason}")));
        }
    }

    /// The instance runs.
    pub fn started(&mut self, seen: ContainerSeen, container: Option<&Container>, now: Timestamp) {
        self.settled_at = now;
        self.adopt(seen, container, now);
    }

    /// Takes an instance as the current one.
    pub fn adopt(&mut self, seen: ContainerSeen, container: Option<&Container>, now: Timestamp) {
        self.op = Op::None;
        self.waiting = None;
        self.replace = false;
        self.not_before = None;
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

    /// The start failed.
    pub fn start_failed(
        &mut self,
        pod: &Pod,
        failure: StartFailure,
        message: String,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        if self.op != Op::Starting {
            return;
        }
        self.op = Op::None;
        self.settled_at = now;
        let delay = match failure {
            StartFailure::Interrupted => {
                self.not_before = Some(after(now, INTERRUPTED_PAUSE));
                return;
            }
            // The instance may exist and be over already; the next listing shows it and counts the back-off.
            StartFailure::RunContainerError | StartFailure::PostStartHookError => INTERRUPTED_PAUSE,
            StartFailure::CreateContainerConfigError | StartFailure::CreateContainerError => {
                self.failures.failed() / CONFIG_ERROR_DIVISOR
            }
            StartFailure::ErrImagePull | StartFailure::ErrImageNeverPull | StartFailure::InvalidImageName => {
                self.failures.failed()
            }
        };
        let reason = failure.reason();
        actions.extend(self.told_of(failure, &image_of(pod, &self.name), &message));
        self.waiting = Some(Waiting { reason, message, since: now });
        self.not_before = Some(after(now, delay));
    }

    /// What people are told of a failed start: of the image first, then of the container.
    fn told_of(&self, failure: StartFailure, image: &str, message: &str) -> Vec<Action> {
        let reason = failure.reason();
        let of_image = match failure {
            StartFailure::ErrImagePull => ("Failed", format!("Failed to pull image \"{image}\": {message}")),
            StartFailure::ErrImageNeverPull => (reason, message.to_owned()),
            StartFailure::InvalidImageName => ("InspectFailed", message.to_owned()),
            // Told where it happened, and without the hook's words: they may be somebody's secret.
            StartFailure::PostStartHookError => return Vec::new(),
            _ => return vec![self.tell(true, "Failed", format!("Error: {message}"))],
        };
        vec![self.tell(true, of_image.0, of_image.1), self.tell(true, "Failed", format!("Error: {reason}"))]
    }

    /// Asks for the end of the running instance.
    pub fn stop(&mut self, grace: Duration, why: String, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(current) = self.current.as_ref().filter(|current| current.is_running()) else { return };
        let deadline = after(now, grace);
        let pre_stop = match &self.op {
            Op::None => true,
            // Shortens what is under way; a longer grace changes nothing.
            Op::Stopping { deadline: earlier, .. } if deadline < *earlier => false,
            Op::Starting | Op::Stopping { .. } => return,
        };
        actions.push(Action::StopContainer {
            name: self.name.clone(),
            id: current.id.clone(),
            grace,
            pre_stop,
            why,
        });
        self.op = Op::Stopping { deadline, returned_at: None };
    }

    pub fn stop_returned(&mut self, id: &str, now: Timestamp) {
        if self.current.as_ref().is_none_or(|current| current.id != id) {
            return;
        }
        if let Op::Stopping { returned_at, .. } = &mut self.op {
            *returned_at = Some(now);
        }
    }

    /// Gives up a start that still waits for its image.
    pub fn cancel_start(&mut self, actions: &mut Vec<Action>) {
        if self.op == Op::Starting && !self.cancelled {
            self.cancelled = true;
            actions.push(Action::CancelStart { name: self.name.clone() });
        }
    }

    /// The current instance is seen to be over.
    pub fn ended(&mut self, pod: &Pod, restarting: bool, actions: &mut Vec<Action>) {
        self.op = Op::None;
        self.probes = Probes::default();
        let Some(current) = &self.current else { return };
        let Some(exit) = current.exit() else { return };
        if !restarting || !self.will_restart(spec::restart_policy(pod)) {
            return;
        }
        let finished_at = exit.finished_at;
        let ran = since(finished_at, current.started_at.unwrap_or(finished_at));
        let delay = if self.replace { Duration::ZERO } else { self.crashes.restart(ran) };
        self.not_before = Some(after(finished_at, delay));
        if delay.is_zero() {
            return;
        }
        let place = format!("failed container={} pod={}", self.name, spec::full_name(pod));
        let message = format!("back-off {} restarting {place}", go_duration(delay));
        self.waiting = Some(Waiting { reason: "CrashLoopBackOff", message, since: finished_at });
        let told =
            format!("Back-off restarting failed container {} in pod {}", self.name, spec::full_name(pod));
        actions.push(self.tell(true, "BackOff", told));
    }

    /// An instance found at adoption: as often as it was restarted, it had failed.
    pub fn recall_crashes(&mut self) {
        self.crashes = Backoff::after(self.restarts);
    }

    /// Its sandbox went away, and with it what ran there.
    pub fn sandbox_removed(&mut self, policy: RestartPolicy, now: Timestamp) {
        self.settled_at = now;
        self.op = Op::None;
        self.waiting = None;
        self.not_before = None;
        self.probes = Probes::default();
        if let Some(current) = &mut self.current
            && current.exit().is_none()
        {
            current.state = RunState::Exited(vanished(now));
        }
        if self.role == Role::Main && self.is_over(policy) {
            return;
        }
        if let Some(current) = self.current.take() {
            self.last = Some(current);
        }
    }

    pub fn wake_at(&self) -> Option<Timestamp> {
        let start = if self.op == Op::None && !self.is_running() { self.not_before } else { None };
        let shown = self
            .waiting
            .as_ref()
            .filter(|waiting| waiting.reason == "ErrImagePull")
            .map(|waiting| after(waiting.since, PULL_ERROR_SHOWN));
        let probes = if self.is_running() && self.op == Op::None { self.probes.next_at() } else { None };
        [start, shown, probes].into_iter().flatten().min()
    }

    pub fn tell(&self, warning: bool, reason: &'static str, message: String) -> Action {
        Action::Tell(Told { container: Some(self.name.clone()), warning, reason, message })
    }
}

fn image_of(pod: &Pod, container: &str) -> String {
    spec::container(pod, container).and_then(|container| container.image.clone()).unwrap_or_default()
}

/// The exit of something that is simply not there any more.
pub(crate) fn vanished(now: Timestamp) -> Exit {
    Exit {
        code: 137,
        reason: "ContainerStatusUnknown".to_owned(),
        message: Some("The container could not be located when the pod was looked at".to_owned()),
        finished_at: now,
    }
}

/// `1m20s`, as Go prints whole seconds.
fn go_duration(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

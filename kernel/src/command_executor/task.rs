//! The life cycle of a command task: launch, kill, exit, and updates until the last one is acknowledged.

use std::{
    process::{ExitCode, ExitStatus},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use kernel_model::{
    executor::{Call, Event},
    framework::FrameworkCapability,
    ids::{TaskId, UpdateId},
    task::{Reason, Source, TaskInfo, TaskState, TaskStatus},
    time::Time,
};
use kernel_wire::{Invalid, extra, prost::Message as _, v1};

use super::{
    Settings,
    agent_client::AgentClient,
    command::{Running, TaskUser, describe},
    health::{Health, HealthChange},
    probe::{Probe, ProbeResult},
};

/// The default time between SIGTERM and SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// How long to wait for the acknowledgement of the last update.
const LAST_ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(60);

/// The longest sleep before the deadlines are read again.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Messages of the other threads to the main thread.
pub(super) enum Message {
    /// An event from the agent.
    Agent(Event),
    /// The agent did not come back in time, or refuses this executor.
    Abandoned,
    /// The command exited.
    Exited(ExitStatus),
    /// A result of the health check.
    Health(ProbeResult),
    /// A result of the check.
    Check(ProbeResult),
}

/// What SUBSCRIBE reports to the agent; shared with the subscribing thread.
#[derive(Default)]
struct Unacknowledged {
    /// A received task without an acknowledged update.
    unacknowledged_task: Option<TaskId>,
    unacknowledged: Vec<TaskStatus>,
}

/// The main thread's state.
pub(super) struct CommandTask {
    settings: Settings,
    client: AgentClient,
    messages: SyncSender<Message>,
    pending: Arc<Mutex<Unacknowledged>>,
    can_kill_slowly: bool,
    /// The user of tasks that name none.
    framework_user: String,
    task: Option<TaskInfo>,
    running: Option<Running>,
    /// When SIGKILL follows SIGTERM.
    kill_at: Option<Instant>,
    killed: bool,
    health: Option<Health>,
    /// The latest results of health check and check.
    healthy: Option<bool>,
    checked: Option<ProbeResult>,
    /// The end of the task's maximum run time.
    complete_by: Option<Instant>,
    overtime: bool,
    /// When to exit, even with unacknowledged updates.
    leave_at: Option<Instant>,
    terminal: Option<UpdateId>,
}

impl CommandTask {
    pub(super) fn new(settings: Settings, client: AgentClient, messages: SyncSender<Message>) -> Self {
        Self {
            settings,
            client,
            messages,
            pending: Arc::default(),
            can_kill_slowly: false,
            framework_user: String::new(),
            task: None,
            running: None,
            kill_at: None,
            killed: false,
            health: None,
            healthy: None,
            checked: None,
            complete_by: None,
            overtime: false,
            leave_at: None,
            terminal: None,
        }
    }

    pub(super) fn run(mut self, inbox: &Receiver<Message>) -> ExitCode {
        let (settings, pending, messages) =
            (self.settings.clone(), self.pending.clone(), self.messages.clone());
        thread::spawn(move || stay_subscribed(&settings, &pending, &messages));
        loop {
            match inbox.recv_timeout(self.until_deadline()) {
                Ok(Message::Agent(event)) => self.event(event),
                Ok(Message::Abandoned) => self.shut_down(),
                Ok(Message::Exited(status)) => self.exited(status),
                Ok(Message::Health(result)) => self.health_result(result),
                Ok(Message::Check(result)) => self.check_result(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return ExitCode::FAILURE,
            }
            self.deadlines();
            let over = self.terminal.is_some_and(|uuid| !self.waits_for(uuid));
            if over || self.leave_at.is_some_and(|at| at <= Instant::now()) {
                return ExitCode::SUCCESS;
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        let deadlines = [self.kill_at, self.complete_by, self.leave_at];
        let next = deadlines.into_iter().flatten().min();
        next.map_or(SLEEP_MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    fn deadlines(&mut self) {
        let now = Instant::now();
        if self.complete_by.is_some_and(|at| at <= now) {
            self.complete_by = None;
            self.overtime = true;
            self.kill(None);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            if let Some(running) = &self.running {
                running.kill();
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Subscribed { framework, .. } => {
                self.can_kill_slowly = framework.can(FrameworkCapability::TaskKillingState);
                self.framework_user.clone_from(&framework.user);
                self.send_again();
            }
            Event::Launch { task } => self.launch(*task),
            Event::LaunchGroup { tasks } => {
                for task in tasks {
                    self.refuse(task.task_id, "the command executor runs no task groups");
                }
            }
            Event::Kill { task_id, grace } => {
                if self.task.as_ref().is_some_and(|task| task.task_id == task_id) {
                    self.killed |= self.running.is_some();
                    self.kill(grace);
                }
            }
            Event::Acknowledged { uuid, .. } => {
                let mut pending = self.pending();
                pending.unacknowledged.retain(|status| status.uuid != Some(uuid));
                pending.unacknowledged_task = None;
            }
            Event::Error { message } => {
                eprintln!("the agent reports an error: {message}");
                self.shut_down();
            }
            Event::Shutdown => self.shut_down(),
            Event::Message { .. } | Event::TaskResized { .. } | Event::Heartbeat => {}
        }
    }

    fn launch(&mut self, task: TaskInfo) {
        if let Some(own) = &self.task {
            if own.task_id != task.task_id {
                self.refuse(task.task_id, "the command executor runs one task only");
            }
            return;
        }
        self.pending().unacknowledged_task = Some(task.task_id.clone());
        self.task = Some(task.clone());
        self.update(self.status(TaskState::Starting));
        let Some(command) = &task.command else {
            return self.finish(TaskState::Failed, None, "the task has no command".to_owned());
        };
        let info: v1::TaskInfo = match extra::decode(&task.extra) {
            Ok(info) => info,
            Err(Invalid(why)) => return self.finish(TaskState::Failed, None, format!("the task {why}")),
        };
        let user = match TaskUser::of(command, &self.framework_user) {
            Ok(user) => user,
            Err(error) => return self.finish(TaskState::Failed, None, error.to_string()),
        };
        match Running::start(command, &user, self.messages.clone()) {
            Ok(running) => {
                self.running = Some(running);
                self.complete_by = task.max_completion_time.map(|length| Instant::now() + length);
                self.watch(info, command.environment.clone(), &user);
                self.update(self.status(TaskState::Running));
            }
            Err(error) => {
                self.finish(TaskState::Failed, None, format!("Command could not be started: {error}"));
            }
        }
    }

    /// Starts the task's health check and check, which are in the fields that the kernel does not interpret.
    fn watch(&mut self, info: v1::TaskInfo, environment: Vec<(String, String)>, user: &TaskUser) {
        if let Some(check) = info.health_check
            && let Some(probe) = Probe::of_health(&check)
        {
            self.health = Some(Health::new(&check, Instant::now()));
            let messages = self.messages.clone();
            probe.watch(environment.clone(), user.clone(), move |seen| {
                messages.send(Message::Health(seen)).is_ok()
            });
        }
        if let Some(check) = info.check
            && let Some(probe) = Probe::of_check(&check)
        {
            self.checked = ProbeResult::pending_result(&check);
            let messages = self.messages.clone();
            probe.watch(environment, user.clone(), move |seen| messages.send(Message::Check(seen)).is_ok());
        }
    }

    fn health_result(&mut self, result: ProbeResult) {
        let (Some(health), Some(_)) = (&mut self.health, &self.running) else { return };
        let change = health.record(result.is_good(), Instant::now());
        if change == HealthChange::None || self.killed {
            return;
        }
        self.healthy = Some(change == HealthChange::Healthy);
        let reason = Some(Reason::TaskHealthCheckStatusUpdated);
        self.update(TaskStatus { reason, ..self.status(TaskState::Running) });
        if change == HealthChange::GiveUp {
            self.killed = true;
            self.kill(None);
        }
    }

    fn check_result(&mut self, result: ProbeResult) {
        if self.running.is_none() || self.killed || self.checked == Some(result) {
            return;
        }
        self.checked = Some(result);
        let reason = Some(Reason::TaskCheckStatusUpdated);
        self.update(TaskStatus { reason, ..self.status(TaskState::Running) });
    }

    fn refuse(&mut self, task_id: TaskId, why: &str) {
        let status = TaskStatus::new(task_id, TaskState::Failed, Source::Executor, now());
        self.update(TaskStatus { message: Some(why.to_owned()), ..status });
    }

    /// Sends SIGTERM now and SIGKILL later. A repetition can only shorten the wait.
    fn kill(&mut self, grace: Option<Duration>) {
        let Some(running) = &self.running else { return };
        let own = self.task.as_ref().and_then(|task| task.kill_grace);
        let at = Instant::now() + grace.or(own).unwrap_or(KILL_GRACE);
        if let Some(earlier) = self.kill_at {
            self.kill_at = Some(earlier.min(at));
            return;
        }
        self.kill_at = Some(at);
        running.terminate();
        if self.can_kill_slowly {
            self.update(self.status(TaskState::Killing));
        }
    }

    fn shut_down(&mut self) {
        let leave_at = Instant::now() + self.settings.shutdown_grace;
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
        if self.running.is_some() {
            self.killed = true;
            // One second is left for the last update.
            self.kill(Some(self.settings.shutdown_grace.saturating_sub(Duration::from_secs(1))));
        } else if self.task.is_none() {
            self.leave_at = Some(Instant::now());
        }
    }

    fn exited(&mut self, status: ExitStatus) {
        // Processes that the command left in its group are killed.
        if let Some(running) = self.running.take() {
            running.kill();
        }
        (self.kill_at, self.complete_by) = (None, None);
        let message = describe(status);
        if self.overtime && !self.killed {
            return self.finish(TaskState::Failed, Some(Reason::MaxCompletionTimeReached), message);
        }
        let state = match (self.killed, status.success()) {
            (true, _) => TaskState::Killed,
            (false, true) => TaskState::Finished,
            (false, false) => TaskState::Failed,
        };
        self.finish(state, None, message);
    }

    fn finish(&mut self, state: TaskState, reason: Option<Reason>, message: String) {
        let status = TaskStatus { reason, message: Some(message), ..self.status(state) };
        self.terminal = self.update(status);
        let leave_at = Instant::now() + LAST_ACKNOWLEDGEMENT_MAX.max(self.recovery_wait());
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
    }

    /// How long a disconnected agent may take to come back for the last update.
    fn recovery_wait(&self) -> Duration {
        if self.settings.checkpoint { self.settings.recovery_timeout } else { Duration::ZERO }
    }

    fn status(&self, state: TaskState) -> TaskStatus {
        let task_id = self.task.as_ref().map(|task| task.task_id.clone());
        let task_id = task_id.unwrap_or_else(|| self.settings.executor_id.as_str().into());
        // A kill because of bad health reports that.
        let healthy = self.healthy.filter(|healthy| !state.is_terminal() || (!healthy && self.killed));
        TaskStatus {
            healthy,
            extra: self.check_status(),
            ..TaskStatus::new(task_id, state, Source::Executor, now())
        }
    }

    /// The check's latest result, in the fields of a status that the kernel does not interpret.
    fn check_status(&self) -> Bytes {
        let Some(checked) = self.checked else { return Bytes::new() };
        let status = v1::TaskStatus { check_status: Some(checked.to_wire()), ..Default::default() };
        status.encode_to_vec().into()
    }

    /// Stores an update until it is acknowledged, and sends it; a subscription resends what was lost.
    fn update(&mut self, mut status: TaskStatus) -> Option<UpdateId> {
        status.uuid = Some(UpdateId(*uuid::Uuid::new_v4().as_bytes()));
        self.pending().unacknowledged.push(status.clone());
        let uuid = status.uuid;
        if let Err(error) = self.client.call(Call::Update { status: status.into() }) {
            eprintln!("sending an update failed, it is resent: {error}");
        }
        uuid
    }

    /// Resends updates that were made during the subscription; the agent only acknowledges duplicates.
    fn send_again(&mut self) {
        let waiting = self.pending().unacknowledged.clone();
        for status in waiting {
            if self.client.call(Call::Update { status: status.into() }).is_err() {
                return;
            }
        }
    }

    fn waits_for(&self, uuid: UpdateId) -> bool {
        self.pending().unacknowledged.iter().any(|status| status.uuid == Some(uuid))
    }

    fn pending(&self) -> MutexGuard<'_, Unacknowledged> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribes again whenever the stream breaks, until the recovery timeout.
fn stay_subscribed(settings: &Settings, pending: &Mutex<Unacknowledged>, messages: &SyncSender<Message>) {
    let mut lost_at = Instant::now();
    loop {
        let call = {
            let pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            Call::Subscribe {
                unacknowledged_tasks: pending.unacknowledged_task.iter().cloned().collect(),
                unacknowledged_updates: pending.unacknowledged.clone(),
            }
        };
        match AgentClient::new(settings.clone()).and_then(|client| client.subscribe(call)) {
            Ok(mut events) => {
                while let Ok(event) = events.next() {
                    if messages.send(Message::Agent(event)).is_err() {
                        return;
                    }
                }
                lost_at = Instant::now();
            }
            Err(error) => eprintln!("subscribing failed: {error}"),
        }
        if !settings.checkpoint || lost_at.elapsed() > settings.recovery_timeout {
            let _ = messages.send(Message::Abandoned);
            return;
        }
        thread::sleep(pause(settings.backoff_max));
    }
}

/// A random part of the longest back-off, so that executors do not come back all at once.
fn pause(limit: Duration) -> Duration {
    let jitter = uuid::Uuid::new_v4().as_bytes()[0];
    (limit / 8).mul_f64(f64::from(jitter) / 64.0).min(limit).max(Duration::from_millis(50))
}

fn now() -> Time {
    Time(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

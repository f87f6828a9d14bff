//! The life of one command task: launched, perhaps killed, ended, and told of until the agent has taken it over.

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
use kernel_wire::{prost::Message as _, v1};

use super::{
    Settings,
    agent_client::AgentClient,
    command::{Running, describe},
    health::{Health, News},
    probe::{Outcome, Probe},
};

/// How long a command has between SIGTERM and SIGKILL, unless its task says.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// How long the last update may wait for its acknowledgement.
const LAST_ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(60);

/// The longest sleep without looking at the clock.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What the threads tell the main one.
pub(super) enum Message {
    /// The agent says something.
    Agent(Event),
    /// The agent is gone for good, or does not want this executor.
    Abandoned,
    /// The command ended.
    Exited(ExitStatus),
    /// The health check was made.
    Health(Outcome),
    /// The check was made.
    Check(Outcome),
}

/// What a subscription tells the agent: shared with the thread that subscribes.
#[derive(Default)]
struct Memory {
    /// Received, and no update of it acknowledged.
    unacknowledged_task: Option<TaskId>,
    unacknowledged: Vec<TaskStatus>,
}

/// The main thread's state.
pub(super) struct Life {
    settings: Settings,
    client: AgentClient,
    messages: SyncSender<Message>,
    memory: Arc<Mutex<Memory>>,
    can_kill_slowly: bool,
    task: Option<TaskInfo>,
    running: Option<Running>,
    /// When SIGTERM gives way to SIGKILL.
    kill_at: Option<Instant>,
    killed: bool,
    health: Option<Health>,
    /// What health check and check have told last.
    healthy: Option<bool>,
    checked: Option<Outcome>,
    /// When the task has run for as long as it may.
    complete_by: Option<Instant>,
    overtime: bool,
    /// When to end, whatever is still unacknowledged.
    leave_at: Option<Instant>,
    terminal: Option<UpdateId>,
}

impl Life {
    pub(super) fn new(settings: Settings, client: AgentClient, messages: SyncSender<Message>) -> Self {
        Self {
            settings,
            client,
            messages,
            memory: Arc::default(),
            can_kill_slowly: false,
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
        let (settings, memory, messages) =
            (self.settings.clone(), self.memory.clone(), self.messages.clone());
        thread::spawn(move || stay_subscribed(&settings, &memory, &messages));
        loop {
            match inbox.recv_timeout(self.until_deadline()) {
                Ok(Message::Agent(event)) => self.event(event),
                Ok(Message::Abandoned) => self.shut_down(),
                Ok(Message::Exited(status)) => self.exited(status),
                Ok(Message::Health(outcome)) => self.health_seen(outcome),
                Ok(Message::Check(outcome)) => self.check_seen(outcome),
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
                let mut memory = self.memory();
                memory.unacknowledged.retain(|status| status.uuid != Some(uuid));
                memory.unacknowledged_task = None;
            }
            Event::Error { message } => {
                eprintln!("the agent reports an error: {message}");
                self.shut_down();
            }
            Event::Shutdown => self.shut_down(),
            Event::Message { .. } | Event::Heartbeat => {}
        }
    }

    fn launch(&mut self, task: TaskInfo) {
        if let Some(own) = &self.task {
            if own.task_id != task.task_id {
                self.refuse(task.task_id, "the command executor runs one task only");
            }
            return;
        }
        self.memory().unacknowledged_task = Some(task.task_id.clone());
        self.task = Some(task.clone());
        self.update(self.status(TaskState::Starting));
        let Some(command) = &task.command else {
            return self.finish(TaskState::Failed, None, "the task has no command".to_owned());
        };
        match Running::start(command, self.messages.clone()) {
            Ok(running) => {
                self.running = Some(running);
                self.complete_by = task.max_completion_time.map(|length| Instant::now() + length);
                self.watch(&task);
                self.update(self.status(TaskState::Running));
            }
            Err(error) => {
                self.finish(TaskState::Failed, None, format!("Command could not be started: {error}"));
            }
        }
    }

    /// Starts to look at the task as it asks for: that is in the part of its message that the kernel only carries.
    fn watch(&mut self, task: &TaskInfo) {
        let asked = v1::TaskInfo::decode(task.extra.clone()).unwrap_or_default();
        let environment = task.command.as_ref().map(|c| c.environment.clone()).unwrap_or_default();
        if let Some(check) = asked.health_check
            && let Some(probe) = Probe::of_health(&check)
        {
            self.health = Some(Health::new(&check, Instant::now()));
            let messages = self.messages.clone();
            probe.watch(environment.clone(), move |seen| messages.send(Message::Health(seen)).is_ok());
        }
        if let Some(check) = asked.check
            && let Some(probe) = Probe::of_check(&check)
        {
            self.checked = Outcome::nothing_yet(&check);
            let messages = self.messages.clone();
            probe.watch(environment, move |seen| messages.send(Message::Check(seen)).is_ok());
        }
    }

    fn health_seen(&mut self, outcome: Outcome) {
        let (Some(health), Some(_)) = (&mut self.health, &self.running) else { return };
        let news = health.see(outcome.is_good(), Instant::now());
        if news == News::None || self.killed {
            return;
        }
        self.healthy = Some(news == News::Healthy);
        let reason = Some(Reason::TaskHealthCheckStatusUpdated);
        self.update(TaskStatus { reason, ..self.status(TaskState::Running) });
        if news == News::Hopeless {
            self.killed = true;
            self.kill(None);
        }
    }

    fn check_seen(&mut self, outcome: Outcome) {
        if self.running.is_none() || self.killed || self.checked == Some(outcome) {
            return;
        }
        self.checked = Some(outcome);
        let reason = Some(Reason::TaskCheckStatusUpdated);
        self.update(TaskStatus { reason, ..self.status(TaskState::Running) });
    }

    fn refuse(&mut self, task_id: TaskId, why: &str) {
        let status = TaskStatus::new(task_id, TaskState::Failed, Source::Executor, now());
        self.update(TaskStatus { message: Some(why.to_owned()), ..status });
    }

    /// SIGTERM now, SIGKILL later; a repetition can only shorten the wait.
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
            // A second is left for the news.
            self.kill(Some(self.settings.shutdown_grace.saturating_sub(Duration::from_secs(1))));
        } else if self.task.is_none() {
            self.leave_at = Some(Instant::now());
        }
    }

    fn exited(&mut self, status: ExitStatus) {
        // What the command left behind in its group ends with it.
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
        let leave_at = Instant::now() + LAST_ACKNOWLEDGEMENT_MAX.max(self.patience());
        self.leave_at = Some(self.leave_at.map_or(leave_at, |earlier| earlier.min(leave_at)));
    }

    /// An agent that is down takes the last update when it is back.
    fn patience(&self) -> Duration {
        if self.settings.checkpoint { self.settings.recovery_timeout } else { Duration::ZERO }
    }

    fn status(&self, state: TaskState) -> TaskStatus {
        let task_id = self.task.as_ref().map(|task| task.task_id.clone());
        let task_id = task_id.unwrap_or_else(|| self.settings.executor_id.as_str().into());
        // An end by our own hand for the sake of health says so.
        let healthy = self.healthy.filter(|healthy| !state.is_terminal() || (!healthy && self.killed));
        TaskStatus {
            healthy,
            extra: self.check_status(),
            ..TaskStatus::new(task_id, state, Source::Executor, now())
        }
    }

    /// The check's last result, in the part of a status that the kernel only carries.
    fn check_status(&self) -> Bytes {
        let Some(checked) = self.checked else { return Bytes::new() };
        let status = v1::TaskStatus { check_status: Some(checked.to_wire()), ..Default::default() };
        status.encode_to_vec().into()
    }

    /// Remembers an update until it is acknowledged, and sends it; a subscription repeats what did not get through.
    fn update(&mut self, mut status: TaskStatus) -> Option<UpdateId> {
        status.uuid = Some(UpdateId(*uuid::Uuid::new_v4().as_bytes()));
        self.memory().unacknowledged.push(status.clone());
        let uuid = status.uuid;
        if let Err(error) = self.client.call(Call::Update { status: status.into() }) {
            eprintln!("an update has to wait: {error}");
        }
        uuid
    }

    /// Updates that were made while the subscription was under way; duplicates are only acknowledged.
    fn send_again(&mut self) {
        let waiting = self.memory().unacknowledged.clone();
        for status in waiting {
            if self.client.call(Call::Update { status: status.into() }).is_err() {
                return;
            }
        }
    }

    fn waits_for(&self, uuid: UpdateId) -> bool {
        self.memory().unacknowledged.iter().any(|status| status.uuid == Some(uuid))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subscribes again whenever the stream breaks, as long as the agent may come back.
fn stay_subscribed(settings: &Settings, memory: &Mutex<Memory>, messages: &SyncSender<Message>) {
    let client = AgentClient::new(settings.clone());
    let mut lost_at = Instant::now();
    loop {
        let call = {
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            Call::Subscribe {
                unacknowledged_tasks: memory.unacknowledged_task.iter().cloned().collect(),
                unacknowledged_updates: memory.unacknowledged.clone(),
            }
        };
        match client.subscribe(call) {
            Ok(mut events) => {
                while let Ok(event) = events.next() {
                    if messages.send(Message::Agent(event)).is_err() {
                        return;
                    }
                }
                lost_at = Instant::now();
            }
            Err(error) => eprintln!("no subscription: {error}"),
        }
        if !settings.checkpoint || lost_at.elapsed() > settings.recovery_timeout {
            let _ = messages.send(Message::Abandoned);
            return;
        }
        thread::sleep(pause(settings.backoff_max));
    }
}

/// Some part of the longest wait, different for each executor, so that not all of them come back at once.
fn pause(limit: Duration) -> Duration {
    let luck = uuid::Uuid::new_v4().as_bytes()[0];
    (limit / 8).mul_f64(f64::from(luck) / 64.0).min(limit).max(Duration::from_millis(50))
}

fn now() -> Time {
    Time(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

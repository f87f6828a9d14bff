//! The main thread of a built-in executor: feeds the state machine with what the other threads send, and does what it says.

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kernel_core::builtin_executor::{Action, BuiltinExecutor, Event};
use kernel_model::{
    executor::{Call, Event as AgentEvent},
    ids::TaskId,
    time::Time,
};

use super::{Settings, agent_client::AgentClient, containers::Containers, launch::Started};

/// The longest sleep before the deadlines are read again.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Messages of the other threads to the main thread.
pub(super) enum Message {
    /// The process of a task runs. The other threads know it from here on.
    Started(TaskId, Box<Started>),
    /// For the state machine as it is.
    Event(Event),
}

/// The state machine; the subscribing thread reads what is not acknowledged.
type Machine = Arc<Mutex<BuiltinExecutor>>;

/// Runs until the last update is acknowledged, or nobody can take it any more.
pub(super) fn run(
    settings: &Settings,
    client: &AgentClient,
    mut containers: Containers,
    (messages, inbox): (SyncSender<Message>, Receiver<Message>),
) -> ExitCode {
    let machine: Machine = Arc::new(Mutex::new(BuiltinExecutor::new(settings.of_machine())));
    let (theirs, shared) = (settings.clone(), machine.clone());
    thread::spawn(move || stay_subscribed(&theirs, &shared, &messages));
    let mut actions = Vec::new();
    loop {
        let deadline = lock(&machine).deadline();
        let wait = deadline.map_or(SLEEP_MAX, |at| at.since(now()).min(SLEEP_MAX));
        let event = match inbox.recv_timeout(wait) {
            Ok(Message::Started(task_id, started)) => containers.add(task_id, *started),
            Ok(Message::Event(event)) => event,
            Err(RecvTimeoutError::Timeout) => Event::Wake,
            Err(RecvTimeoutError::Disconnected) => return ExitCode::FAILURE,
        };
        if let Event::Agent(AgentEvent::Subscribed { container_id, .. }) = &event {
            containers.set_parent(container_id);
        }
        if let Event::Exited { task_id, .. } | Event::Failed { task_id, .. } = &event {
            containers.remove(task_id);
        }
        lock(&machine).step(now(), event, &mut actions);
        for action in actions.drain(..) {
            perform(action, client, &mut containers);
        }
        if lock(&machine).is_over(now()) {
            return ExitCode::SUCCESS;
        }
    }
}

fn perform(action: Action, client: &AgentClient, containers: &mut Containers) {
    match action {
        Action::Start { task, framework_user } => containers.start(*task, &framework_user),
        Action::Terminate(task_id) => containers.terminate(&task_id),
        Action::Kill(task_id) => containers.kill(&task_id),
        Action::Update(status) => {
            if let Err(error) = client.call(Call::Update { status }) {
                eprintln!("sending an update failed, it is resent: {error}");
            }
        }
        Action::Log(line) => eprintln!("{line}"),
    }
}

/// Subscribes again whenever the stream breaks, until the recovery timeout.
fn stay_subscribed(settings: &Settings, machine: &Machine, messages: &SyncSender<Message>) {
    let mut lost_at = Instant::now();
    loop {
        let (unacknowledged_tasks, unacknowledged_updates) = lock(machine).unacknowledged();
        let call = Call::Subscribe { unacknowledged_tasks, unacknowledged_updates };
        match AgentClient::new(settings.clone()).and_then(|client| client.subscribe(call)) {
            Ok(mut events) => {
                while let Ok(event) = events.next() {
                    if messages.send(Message::Event(Event::Agent(event))).is_err() {
                        return;
                    }
                }
                lost_at = Instant::now();
            }
            Err(error) => eprintln!("subscribing failed: {error}"),
        }
        if !settings.checkpoint || lost_at.elapsed() > settings.recovery_timeout {
            let _ = messages.send(Message::Event(Event::Abandoned));
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

fn lock(machine: &Machine) -> MutexGuard<'_, BuiltinExecutor> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Time {
    Time(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

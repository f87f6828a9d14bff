//! A running driver: the state machine behind a lock, a thread for the network and a thread for callbacks.
//!
//! The lock is held for a step alone, and never while a callback runs: a framework calls its driver from inside callbacks.
//! Effects are handed to the threads within the step's lock, so their order is that of the steps.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, ThreadId},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kernel_model::time::Time;
use libmesos_core::{
    machine::{Callback as _, Effect, Event, Machine, Status},
    master::{self, Master},
};
use tokio::sync::{Notify, mpsc as async_mpsc, watch};

use crate::network::{self, Command, Target};

/// `stop()` waits no longer than this for what is still to be sent. The state machines themselves give up after five seconds; the
/// rest is for a machine without free processors.
const STOP_MAX: Duration = Duration::from_secs(8);

/// The longest file that may name a master.
const MASTER_FILE_BYTES_MAX: u64 = 4096;

/// The framework's side: runs callbacks, on one thread of its own.
pub(crate) trait Handler<C>: Send + 'static {
    /// Runs one callback; the error is the exception that it threw.
    fn call(&mut self, callback: C) -> Result<(), String>;
}

/// Finds out what to connect to, when the driver starts.
type Resolve = Box<dyn FnOnce() -> Result<Target, String> + Send>;

/// A thread of the driver cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread of the driver: {0}")]
pub(crate) struct StartError(#[from] std::io::Error);

/// What the threads share.
pub(crate) struct Shared<M: Machine> {
    machine: Mutex<Running<M>>,
    /// Notified after each step.
    changed: Condvar,
    /// Notified when a callback has returned, and records may be read again.
    room: Notify,
    clock: Clock,
    /// Kills the process group.
    kill_group: fn(),
}

struct Running<M: Machine> {
    core: M,
    network: Option<async_mpsc::Sender<Command>>,
    /// The sender is dropped when no callback will follow, which ends the thread.
    callbacks: Option<mpsc::SyncSender<M::Callback>>,
    callback_thread: Option<ThreadId>,
    deadline: watch::Sender<Option<Time>>,
}

/// Wall clock time that does not jump: the time of creation, and what a monotonic clock has measured since.
struct Clock {
    start: Time,
    since: Instant,
}

impl Clock {
    fn new() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Time(u64::try_from(start.as_nanos()).unwrap_or_default()), since: Instant::now() }
    }

    fn now(&self) -> Time {
        self.start + self.since.elapsed()
    }
}

/// A driver of a framework or an executor.
pub(crate) struct Driver<M: Machine> {
    shared: Arc<Shared<M>>,
    resolve: Mutex<Option<Resolve>>,
}

impl<M: Machine> Driver<M> {
    /// A driver that is not started. Whom it connects to is found out when it is.
    pub(crate) fn new(core: M, resolve: impl FnOnce() -> Result<Target, String> + Send + 'static) -> Self {
        Self::with_kill(core, resolve, kill_group)
    }

    /// The same with another way to kill the process group.
    fn with_kill(
        core: M,
        resolve: impl FnOnce() -> Result<Target, String> + Send + 'static,
        kill_group: fn(),
    ) -> Self {
        let machine = Running {
            core,
            network: None,
            callbacks: None,
            callback_thread: None,
            deadline: watch::Sender::new(None),
        };
        let shared = Shared {
            machine: Mutex::new(machine),
            changed: Condvar::new(),
            room: Notify::new(),
            clock: Clock::new(),
            kill_group,
        };
        Driver { shared: Arc::new(shared), resolve: Mutex::new(Some(Box::new(resolve))) }
    }

    /// `start()`: the threads run from here until the driver has stopped or aborted.
    pub(crate) fn start(&self, handler: impl Handler<M::Callback>) -> Result<Status, StartError> {
        let resolve = self.resolve.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(resolve) = resolve else { return Ok(self.status()) };
        self.start_callbacks(handler)?;
        let target = match resolve() {
            Ok(target) => target,
            Err(message) => {
                self.shared.step(Event::StartFailed(message));
                return Ok(self.status());
            }
        };
        let deadline = self.shared.lock().deadline.subscribe();
        match network::start(self.shared.clone(), target, deadline) {
            Ok(commands) => {
                self.shared.lock().network = Some(commands);
                self.shared.step(Event::Start);
            }
            Err(error) => self.shared.step(Event::StartFailed(StartError(error).to_string())),
        }
        Ok(self.status())
    }

    fn start_callbacks(&self, handler: impl Handler<M::Callback>) -> Result<(), StartError> {
        // One callback is in progress at a time.
        let (sender, receiver) = mpsc::sync_channel(1);
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("mesos-callbacks".to_owned());
        let thread = thread.spawn(move || run_callbacks(&shared, handler, &receiver))?;
        let mut machine = self.shared.lock();
        machine.callbacks = Some(sender);
        machine.callback_thread = Some(thread.thread().id());
        Ok(())
    }

    /// The current status.
    pub(crate) fn status(&self) -> Status {
        self.shared.lock().core.status()
    }

    /// `stop(failover)`: returns when everything is sent that was to be sent, or given up.
    pub(crate) fn stop(&self, failover: bool) -> Status {
        let was = self.status();
        self.shared.step(Event::Stop { failover });
        if was == Status::Running {
            self.shared.wait(Some(STOP_MAX), M::is_closed);
        }
        // As the Java library's driver: an aborted one says so once more.
        if was == Status::Aborted { was } else { self.status() }
    }

    /// `abort()`.
    pub(crate) fn abort(&self) -> Status {
        self.shared.step(Event::Abort);
        self.status()
    }

    /// `join()`: returns when the driver has stopped or aborted. From inside a callback it does not wait for that callback.
    pub(crate) fn join(&self) -> Status {
        let inside = self.shared.lock().callback_thread == Some(thread::current().id());
        self.shared.wait(None, |core| match core.status() {
            Status::NotStarted => true,
            Status::Running => false,
            Status::Aborted | Status::Stopped => inside || core.is_finished(),
        });
        self.status()
    }

    /// Any other method.
    pub(crate) fn request(&self, request: M::Request) -> Status {
        self.shared.step(Event::Request(request));
        self.status()
    }

    /// Waits until a condition holds, for no longer than `stop()` would.
    pub(crate) fn wait_until(&self, condition: impl Fn(&M) -> bool) {
        self.shared.wait(Some(STOP_MAX), condition);
    }
}

impl<M: Machine> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, Running<M>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an event to the state machine and its effects to the threads.
    pub(crate) fn step(&self, event: Event<M::Request>) {
        let mut machine = self.lock();
        let effects = machine.core.step(self.clock.now(), event);
        for effect in effects {
            match effect {
                Effect::KillGroup { after } => kill_later(self.kill_group, after),
                effect => machine.dispatch(effect),
            }
        }
        if machine.core.is_idle() {
            machine.callbacks = None;
        }
        let deadline = machine.core.next_deadline();
        machine.deadline.send_if_modified(|current| std::mem::replace(current, deadline) != deadline);
        drop(machine);
        self.changed.notify_all();
    }

    /// Waits until a further record may be read.
    pub(crate) async fn room(&self) {
        while !self.lock().core.accepts_records() {
            self.room.notified().await;
        }
    }

    /// The time until a deadline.
    pub(crate) fn until(&self, deadline: Time) -> Duration {
        deadline.since(self.clock.now())
    }

    /// Waits until a condition holds, or for a time.
    fn wait(&self, longest: Option<Duration>, condition: impl Fn(&M) -> bool) {
        let machine = self.lock();
        let unless = |machine: &mut Running<M>| !condition(&machine.core);
        match longest {
            Some(longest) => {
                drop(self.changed.wait_timeout_while(machine, longest, unless));
            }
            None => drop(self.changed.wait_while(machine, unless)),
        }
    }
}

impl<M: Machine> Running<M> {
    fn dispatch(&mut self, effect: Effect<M::Callback>) {
        let command = match effect {
            Effect::Callback(callback) => {
                if let Some(callbacks) = &self.callbacks {
                    // The thread ends only after this sender is dropped.
                    let _ = callbacks.try_send(callback);
                }
                return;
            }
            Effect::Log(line) => return tracing::warn!("{line}"),
            Effect::Connect { stream, to, body } => Command::Connect { stream, to, body },
            Effect::Reach { stream, to } => Command::Reach { stream, to },
            Effect::Disconnect { stream } => Command::Disconnect { stream },
            Effect::Call { call, to, stream_id, body } => Command::Call { call, to, stream_id, body },
            Effect::Detect => Command::Detect,
            Effect::Closed => Command::Close,
            // The lock's holder has carried it out.
            Effect::KillGroup { .. } => return,
        };
        if let Some(network) = &self.network {
            // Refused only if the thread has ended, which it does when it is closed.
            let _ = network.try_send(command);
        }
    }
}

/// Kills the process group after a time, on a thread of its own that nothing holds up.
fn kill_later(kill_group: fn(), after: Duration) {
    let thread = thread::Builder::new().name("mesos-shutdown".to_owned());
    let spawned = thread.spawn(move || {
        thread::sleep(after);
        tracing::warn!("The executor has not ended within {after:?}: killing its process group");
        kill_group();
    });
    if let Err(error) = spawned {
        // The agent kills it later.
        tracing::error!("Cannot start a thread for the end of the executor: {error}");
    }
}

fn kill_group() {
    if let Err(error) = rustix::process::kill_current_process_group(rustix::process::Signal::KILL) {
        tracing::error!("Cannot kill the process group: {error}");
    }
}

fn run_callbacks<M: Machine>(
    shared: &Shared<M>,
    mut handler: impl Handler<M::Callback>,
    callbacks: &mpsc::Receiver<M::Callback>,
) {
    while let Ok(callback) = callbacks.recv() {
        let method = callback.method();
        let outcome = catch_unwind(AssertUnwindSafe(|| handler.call(callback)));
        let thrown = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(thrown)) => Some(thrown),
            Err(_) => Some("the native library panicked".to_owned()),
        };
        if let Some(thrown) = &thrown {
            tracing::error!("{method} threw {thrown}");
        }
        shared.step(Event::CallbackReturned { thrown });
        shared.room.notify_one();
    }
}

/// Parses the name of a master; that in a file is read now.
pub(crate) fn find_master(name: &str) -> Result<Master, String> {
    let parsed = master::parse(name).map_err(|error| error.to_string())?;
    let Master::File(path) = parsed else { return Ok(parsed) };
    let content = read_small_file(&path)
        .map_err(|error| format!("Failed to read the master from '{path}': {error}"))?;
    match master::parse(content.trim()).map_err(|error| error.to_string())? {
        Master::File(_) => Err(format!("The file '{path}' names another file")),
        other => Ok(other),
    }
}

/// Only regular files: reading a pipe could wait forever.
fn read_small_file(path: &str) -> std::io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > MASTER_FILE_BYTES_MAX {
        return Err(std::io::Error::other("not a small regular file"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod executor_tests;
#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod tests;

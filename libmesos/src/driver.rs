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
    master::{self, Master},
    scheduler::{self, Callback, Config, Effect, Event, Status},
};
use tokio::sync::{Notify, mpsc as async_mpsc, watch};

use crate::network::{self, Command, Target};

/// `stop()` waits no longer than this for what is still to be sent. The state machine itself gives up after five seconds; the
/// rest is for a machine without free processors.
const STOP_MAX: Duration = Duration::from_secs(8);

/// The longest file that may name a master.
const MASTER_FILE_BYTES_MAX: u64 = 4096;

/// A principal with its secret.
#[derive(Debug, Clone)]
pub(crate) struct Credential {
    pub(crate) principal: String,
    pub(crate) secret: String,
}

/// What a driver is created with.
#[derive(Debug)]
pub(crate) struct Options {
    /// The name of the master, as the framework gives it.
    pub(crate) master: String,
    pub(crate) credential: Option<Credential>,
    pub(crate) config: Config,
}

/// The framework's side: runs callbacks, on one thread of its own.
pub(crate) trait Handler: Send + 'static {
    /// Runs one callback; the error is the exception that it threw.
    fn call(&mut self, callback: Callback) -> Result<(), String>;
}

/// A thread of the driver cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread of the driver: {0}")]
pub(crate) struct StartError(#[from] std::io::Error);

/// What the threads share.
pub(crate) struct Shared {
    machine: Mutex<Machine>,
    /// Notified after each step.
    changed: Condvar,
    /// Notified when a callback has returned, and records may be read again.
    room: Notify,
    clock: Clock,
}

struct Machine {
    core: scheduler::Driver,
    network: Option<async_mpsc::Sender<Command>>,
    /// The sender is dropped when no callback will follow, which ends the thread.
    callbacks: Option<mpsc::SyncSender<Callback>>,
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

/// A driver of a framework.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    options: Mutex<Option<(String, Option<Credential>)>>,
}

impl Driver {
    /// A driver that is not started.
    pub(crate) fn new(options: Options) -> Self {
        let machine = Machine {
            core: scheduler::Driver::new(options.config),
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
        };
        Driver { shared: Arc::new(shared), options: Mutex::new(Some((options.master, options.credential))) }
    }

    /// `start()`: the threads run from here until the driver has stopped or aborted.
    pub(crate) fn start(&self, handler: impl Handler) -> Result<Status, StartError> {
        let options = self.options.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((master, credential)) = options else { return Ok(self.status()) };
        self.start_callbacks(handler)?;
        let target = match resolve(&master) {
            Ok(master) => Target { master, credential },
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

    fn start_callbacks(&self, handler: impl Handler) -> Result<(), StartError> {
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
            self.shared.wait(Some(STOP_MAX), scheduler::Driver::is_closed);
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
    pub(crate) fn request(&self, request: scheduler::Request) -> Status {
        self.shared.step(Event::Request(request));
        self.status()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an event to the state machine and its effects to the threads.
    pub(crate) fn step(&self, event: Event) {
        let mut machine = self.lock();
        let effects = machine.core.step(self.clock.now(), event);
        for effect in effects {
            machine.dispatch(effect);
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
    fn wait(&self, longest: Option<Duration>, condition: impl Fn(&scheduler::Driver) -> bool) {
        let machine = self.lock();
        let unless = |machine: &mut Machine| !condition(&machine.core);
        match longest {
            Some(longest) => {
                drop(self.changed.wait_timeout_while(machine, longest, unless));
            }
            None => drop(self.changed.wait_while(machine, unless)),
        }
    }
}

impl Machine {
    fn dispatch(&mut self, effect: Effect) {
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
            Effect::Disconnect { stream } => Command::Disconnect { stream },
            Effect::Call { call, to, stream_id, body } => Command::Call { call, to, stream_id, body },
            Effect::Detect => Command::Detect,
            Effect::Closed => Command::Close,
        };
        if let Some(network) = &self.network {
            // Refused only if the thread has ended, which it does when it is closed.
            let _ = network.try_send(command);
        }
    }
}

fn run_callbacks(shared: &Shared, mut handler: impl Handler, callbacks: &mpsc::Receiver<Callback>) {
    while let Ok(callback) = callbacks.recv() {
        let method = callback.method();
        let outcome = catch_unwind(AssertUnwindSafe(|| handler.call(callback)));
        let thrown = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(thrown)) => Some(thrown),
            Err(_) => Some("the native library panicked".to_owned()),
        };
        if let Some(thrown) = &thrown {
            tracing::error!("Scheduler.{method} threw {thrown}");
        }
        shared.step(Event::CallbackReturned { thrown });
        shared.room.notify_one();
    }
}

/// Parses the name of a master; that in a file is read now.
fn resolve(name: &str) -> Result<Master, String> {
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
mod fake_master;
#[cfg(test)]
mod tests;

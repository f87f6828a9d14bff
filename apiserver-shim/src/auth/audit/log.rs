//! The audit log: one JSON event per line, written to a file or to standard output by a dedicated thread.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use prometheus::{IntCounter, IntCounterVec, Opts};
use tokio::sync::{mpsc, oneshot};

use super::policy::Policy;
use super::rotation::{LogFile, Rotation};
use crate::metrics::{self, Registry, constant};

/// Queue capacity: the size of upstream's batch buffer, about 20 MiB at 2 KiB per event.
const QUEUE_BOUND: usize = 10_000;

/// What happens when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AuditMode {
    /// Requests wait for queue space, so no event is lost while the process runs. Upstream's default for log files.
    #[default]
    Blocking,
    /// Requests never wait: events are dropped and counted.
    Batch,
}

/// Options of the audit log.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The policy that selects what is recorded.
    pub policy: Policy,
    /// The file to append to; `-` is standard output.
    pub path: PathBuf,
    /// What happens when the queue is full.
    pub mode: AuditMode,
    /// When the file is replaced by a new one.
    pub rotation: Rotation,
}

/// A running log. The writer thread ends when the last reference is dropped and the queue is empty.
#[derive(Debug)]
pub struct AuditLog {
    pub(super) policy: Policy,
    mode: AuditMode,
    queue: mpsc::Sender<Item>,
    events: IntCounter,
    errors: IntCounterVec,
    /// Events dropped because the queue was full, as counted by upstream's plugin `buffered`.
    dropped: IntCounter,
}

#[derive(Debug)]
enum Item {
    Line(String),
    Flush(oneshot::Sender<()>),
}

/// A place in the queue that was waited for.
pub(super) struct Reserved {
    permit: mpsc::OwnedPermit<Item>,
    events: IntCounter,
}

impl Reserved {
    pub(super) fn send(self, line: String) {
        self.events.inc();
        self.permit.send(Item::Line(line));
    }
}

impl AuditLog {
    /// Opens the file and starts the writer thread.
    pub fn start(options: AuditOptions) -> io::Result<Arc<AuditLog>> {
        let out = Output::open(&options.path, options.rotation)?;
        let (queue, items) = mpsc::channel(QUEUE_BOUND);
        let events = constant(IntCounter::new(
            "apiserver_audit_event_total",
            "Counter of audit events generated and sent to the audit backend.",
        ));
        let errors = Opts::new(
            "apiserver_audit_error_total",
            "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
        );
        let errors = constant(IntCounterVec::new(errors, &["plugin"]));
        let (dropped, failed) = (errors.with_label_values(&["buffered"]), errors.with_label_values(&["log"]));
        std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || write_all(items, out, &failed))?;
        let AuditOptions { policy, mode, .. } = options;
        Ok(Arc::new(AuditLog { policy, mode, queue, events, errors, dropped }))
    }

    /// Registers the metrics of the log.
    pub fn register_metrics(&self, registry: &Registry) {
        metrics::register(registry, self.events.clone());
        metrics::register(registry, self.errors.clone());
    }

    /// Queues an event; waits for queue space in blocking mode.
    pub(super) async fn write(&self, line: String) {
        self.events.inc();
        match self.mode {
            // A send fails only if the writer has ended, and it ends after the last sender.
            AuditMode::Blocking => drop(self.queue.send(Item::Line(line)).await),
            AuditMode::Batch => self.queue_now(line),
        }
    }

    /// Reserves queue space in blocking mode, for an event that is completed where code cannot wait.
    pub(super) async fn reserve(&self) -> Option<Reserved> {
        match self.mode {
            AuditMode::Blocking => {
                let place = self.queue.clone().reserve_owned().await.ok();
                place.map(|permit| Reserved { permit, events: self.events.clone() })
            }
            AuditMode::Batch => None,
        }
    }

    /// Queues an event without waiting. In blocking mode with a full queue, a task waits in place of the caller.
    pub(super) fn write_now(&self, line: String) {
        self.events.inc();
        self.queue_now(line);
    }

    fn queue_now(&self, line: String) {
        let Err(mpsc::error::TrySendError::Full(item)) = self.queue.try_send(Item::Line(line)) else {
            return;
        };
        match (self.mode, tokio::runtime::Handle::try_current()) {
            (AuditMode::Blocking, Ok(runtime)) => {
                let queue = self.queue.clone();
                runtime.spawn(async move { drop(queue.send(item).await) });
            }
            _ => {
                self.dropped.inc();
                if self.dropped.get() == 1 {
                    tracing::error!("audit events are dropped: the audit log cannot keep up");
                }
            }
        }
    }

    /// Waits until everything queued before is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

/// Where the events go.
enum Output {
    Standard(BufWriter<io::Stdout>),
    File(LogFile),
}

impl Output {
    fn open(path: &Path, rotation: Rotation) -> io::Result<Output> {
        Ok(match path == Path::new("-") {
            true => Output::Standard(BufWriter::new(io::stdout())),
            false => Output::File(LogFile::open(path, rotation)?),
        })
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Output::Standard(out) => out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")),
            Output::File(file) => file.line(line, SystemTime::now()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Standard(out) => out.flush(),
            Output::File(file) => file.flush(),
        }
    }

    fn is_flushed(&self) -> bool {
        match self {
            Output::Standard(out) => out.buffer().is_empty(),
            Output::File(file) => file.is_flushed(),
        }
    }
}

fn write_all(mut items: mpsc::Receiver<Item>, mut out: Output, failed: &IntCounter) {
    let mut failing = false;
    // The events that may be in the buffer.
    let mut unsynced = 0;
    let mut next = items.blocking_recv();
    while let Some(item) = next {
        let written = match item {
            Item::Line(line) => {
                unsynced += 1;
                out.line(&line)
            }
            Item::Flush(done) => {
                let flushed = out.flush();
                let _ = done.send(());
                flushed
            }
        };
        // Write all queued events before flushing.
        let (more, flushed) = match items.try_recv() {
            Ok(item) => (Some(item), Ok(())),
            Err(_) => {
                let flushed = out.flush();
                (items.blocking_recv(), flushed)
            }
        };
        match written.and(flushed) {
            Ok(()) => {
                failing = false;
                if out.is_flushed() {
                    unsynced = 0;
                }
            }
            Err(error) => {
                failed.inc_by(std::mem::take(&mut unsynced));
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the audit log cannot be written");
                }
            }
        }
        next = more;
    }
}

//! The committer thread: the only writer of the log and of the published index. After a failed write it opens the log again.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::log::{Failure, Log};
use super::metrics::CommitMetrics;
use super::room::{LowRoom, Room};
use crate::memory::Published;
use crate::mvcc::{Draft, Index};
use crate::{Error, Txn, TxnOutcome};

/// Most queued transactions; further writers wait. Two full groups: one being synced, and the next.
pub(super) const QUEUE_MAX: usize = 2 * GROUP_MAX;

/// Most transactions per sync. 512 Pods of 2 KiB are 1 MiB, which takes a disk about as long as the sync itself; larger
/// groups would only add latency.
const GROUP_MAX: usize = 512;

/// From this many transactions on, a group waits [`GATHER`] for more before it is synced.
const GATHER_FROM: usize = 8;

/// A sync costs about as much CPU as fifty writes, and takes a disk about this long. With many writers, twice the
/// writers in half the syncs is cheaper for each. Few writers never wait.
const GATHER: Duration = Duration::from_micros(1500);

/// How often a log that failed is opened again. Reading the state takes tens of milliseconds.
pub(super) const REOPEN_EVERY: Duration = Duration::from_millis(500);

/// How often queued writes are refused while the log is closed. New ones do not enter the queue then.
const QUEUE_LOOK: Duration = Duration::from_millis(10);

/// A transaction and the sender of its outcome.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) txn: Txn,
    pub(super) answer: oneshot::Sender<Result<TxnOutcome, Error>>,
}

/// A sync that clients notice: a thousand times one on a disk of a machine with nothing else to do.
const SLOW_SYNC: Duration = Duration::from_millis(250);

/// How often slow syncs are logged while they last.
const SLOW_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// Whether the store takes writes. Shared by the committer and the store's callers.
#[derive(Debug)]
pub(super) struct WriteState {
    /// Why all writes are refused.
    suspended: Mutex<Option<Error>>,
    room: Box<dyn Room>,
}

impl WriteState {
    pub(super) fn new(room: impl Room + 'static) -> WriteState {
        WriteState { suspended: Mutex::new(None), room: Box::new(room) }
    }

    /// An error while all writes are refused.
    pub(super) fn accepts_writes(&self) -> Result<(), Error> {
        self.lock().clone().map_or(Ok(()), Err)
    }

    /// An error while new keys are refused.
    pub(super) fn accepts_new_keys(&self) -> Result<(), Error> {
        self.room.check().map_err(|LowRoom { free, needed }| Error::NoSpace {
            reason: format!("{free} bytes are free on the store's file system, {needed} are needed"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.suspended.lock().expect("invariant: no panic under the state's lock")
    }
}

/// The thread's state.
pub(super) struct Committer {
    published: Arc<Published>,
    state: Arc<WriteState>,
    log: Box<dyn Log>,
    metrics: CommitMetrics,
    /// When a slow sync was last logged.
    slow_logged_at: Option<Instant>,
}

impl Committer {
    pub(super) fn new(
        published: Arc<Published>,
        state: Arc<WriteState>,
        log: Box<dyn Log>,
        metrics: CommitMetrics,
    ) -> Committer {
        Committer { published, state, log, metrics, slow_logged_at: None }
    }

    /// Commits groups until every sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            if (GATHER_FROM..GROUP_MAX).contains(&group.len()) {
                std::thread::sleep(GATHER);
                while group.len() < GROUP_MAX
                    && let Ok(request) = queue.try_recv()
                {
                    group.push(request);
                }
            }
            if let Some(failed) = self.commit(&mut group) {
                self.recover(failed, &mut queue);
            }
        }
    }

    /// Evaluates, syncs, publishes, acknowledges, in this order, so that no reader sees a write that a crash can undo.
    /// Returns the draft if it could not be made durable.
    fn commit(&mut self, group: &mut Vec<Request>) -> Option<Draft> {
        let room = self.state.accepts_new_keys();
        let (draft, outcomes) = self.published.read(|index| {
            let mut draft = Draft::on(index);
            let outcomes: Vec<_> = group
                .drain(..)
                .map(|Request { txn, answer }| {
                    let outcome = match &room {
                        Err(full) if draft.creates(index, &txn) => Err(full.clone()),
                        _ => Ok(draft.evaluate(index, txn)),
                    };
                    (answer, outcome)
                })
                .collect();
            (draft, outcomes)
        });
        if !draft.is_empty() {
            let start = Instant::now();
            let appended = self.log.append(&draft);
            let took = start.elapsed();
            self.metrics.fsyncs.observe(took.as_secs_f64());
            self.log_if_slow(took, outcomes.len());
            self.metrics.transactions.inc_by(outcomes.len() as u64);
            if let Err(failure) = appended {
                self.suspend(&failure);
                let error = Error::Suspended { reason: failure.reason };
                // Conflicts too: they may have been evaluated against writes that are now undone.
                outcomes.into_iter().for_each(|(answer, _)| refuse(answer, &error));
                return Some(draft);
            }
            self.published.publish(draft);
        }
        for (answer, outcome) in outcomes {
            // The writer may have gone.
            let _ = answer.send(outcome);
        }
        None
    }

    /// Logs a slow sync, at most once in a while.
    fn log_if_slow(&mut self, took: Duration, transactions: usize) {
        let recently = self.slow_logged_at.is_some_and(|at| at.elapsed() < SLOW_LOGGED_EVERY);
        if took >= SLOW_SYNC && !recently {
            self.slow_logged_at = Some(Instant::now());
            tracing::info!(ms = took.as_millis() as u64, transactions, "slow sync of the store's disk");
        }
    }

    /// Refuses all writes from now on. Those that a full disk refuses have no effect, unlike the one that failed.
    fn suspend(&self, failure: &Failure) {
        let reason = failure.reason.clone();
        tracing::error!(
            reason,
            "a write could not be made durable: the store takes no writes until its log is open again"
        );
        *self.state.lock() = Some(match failure.is_full {
            true => Error::NoSpace { reason },
            false => Error::Suspended { reason },
        });
    }

    /// Refuses writes until the log has been opened again and has the published state, or until the store is dropped.
    ///
    /// The failed draft may be on disk. Then its writers have been told that its outcome is unknown; it is written once more,
    /// since a sync that failed says nothing about what the kernel still has in its cache, and published.
    fn recover(&mut self, failed: Draft, queue: &mut mpsc::Receiver<Request>) {
        let mut logged = None;
        loop {
            if self.refuse_for(REOPEN_EVERY, queue) {
                return;
            }
            // Releases the reserve, without which a full disk would stay full.
            let room = self.state.accepts_new_keys();
            match self.reopen(&failed) {
                Ok(None) => break,
                Ok(Some(())) => {
                    self.published.publish(failed);
                    break;
                }
                Err(reason) if logged.as_ref() != Some(&reason) => {
                    tracing::warn!(reason, ?room, "the store's log cannot be opened again yet");
                    logged = Some(reason);
                }
                Err(_) => {}
            }
        }
        *self.state.lock() = None;
        tracing::warn!("the store takes writes again");
    }

    /// Opens the log again; `Some` if the failed draft was on disk, and is durable now.
    fn reopen(&mut self, failed: &Draft) -> Result<Option<()>, String> {
        let (kvs, revision) = self.log.reopen().map_err(|error| error.to_string())?;
        let found = Index::load(kvs, revision);
        if self.published.read(|index| index.has_state_of(&found, None)) {
            return Ok(None);
        }
        if self.published.read(|index| index.has_state_of(&found, Some(failed))) {
            return self.log.append(failed).map(Some).map_err(|failure| failure.reason);
        }
        Err(format!(
            "the state on disk, of revision {revision}, is not the one in memory; restart the server"
        ))
    }

    /// Refuses what is queued for this long; `true` if the store is dropped.
    fn refuse_for(&self, length: Duration, queue: &mut mpsc::Receiver<Request>) -> bool {
        let end = Instant::now() + length;
        loop {
            match queue.try_recv() {
                Ok(request) => {
                    let reason = self.state.lock().clone().expect("invariant: the store is suspended");
                    refuse(request.answer, &reason);
                }
                Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) if Instant::now() >= end => return false,
                Err(TryRecvError::Empty) => std::thread::sleep(QUEUE_LOOK),
            }
        }
    }
}

fn refuse(answer: oneshot::Sender<Result<TxnOutcome, Error>>, reason: &Error) {
    let _ = answer.send(Err(reason.clone()));
}

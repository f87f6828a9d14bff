//! The committer thread: the only writer of the log and of the published index.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::log::Log;
use super::metrics::CommitMetrics;
use crate::memory::Published;
use crate::mvcc::Draft;
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

/// A transaction and the sender of its outcome.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) txn: Txn,
    pub(super) answer: oneshot::Sender<Result<TxnOutcome, Error>>,
}

/// The thread's state.
pub(super) struct Committer {
    published: Arc<Published>,
    poison: Arc<OnceLock<Error>>,
    log: Box<dyn Log>,
    metrics: CommitMetrics,
}

impl Committer {
    pub(super) fn new(
        published: Arc<Published>,
        poison: Arc<OnceLock<Error>>,
        log: Box<dyn Log>,
        metrics: CommitMetrics,
    ) -> Committer {
        Committer { published, poison, log, metrics }
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
            self.commit(&mut group);
        }
    }

    /// Evaluates, syncs, publishes, acknowledges, in this order, so that no reader sees a write that a crash can undo.
    fn commit(&mut self, group: &mut Vec<Request>) {
        if let Some(reason) = self.poison.get() {
            for request in group.drain(..) {
                refuse(request.answer, reason);
            }
            return;
        }
        let (draft, outcomes) = self.published.read(|index| {
            let mut draft = Draft::on(index);
            let outcomes: Vec<_> =
                group.drain(..).map(|request| (request.answer, draft.evaluate(index, request.txn))).collect();
            (draft, outcomes)
        });
        if !draft.is_empty() {
            let start = Instant::now();
            let appended = self.log.append(&draft);
            self.metrics.fsyncs.observe(start.elapsed().as_secs_f64());
            self.metrics.transactions.inc_by(outcomes.len() as u64);
            if let Err(reason) = appended {
                let reason = self.poisoned(reason);
                // Conflicts too: they may have been evaluated against writes that are now undone.
                outcomes.into_iter().for_each(|(answer, _)| refuse(answer, &reason));
                return;
            }
            self.published.publish(draft);
        }
        for (answer, outcome) in outcomes {
            // The writer may have gone.
            let _ = answer.send(Ok(outcome));
        }
    }

    fn poisoned(&self, reason: String) -> Error {
        tracing::error!(reason, "a write could not be made durable: the store takes no further writes");
        self.poison.get_or_init(|| Error::Poisoned { reason }).clone()
    }
}

fn refuse(answer: oneshot::Sender<Result<TxnOutcome, Error>>, reason: &Error) {
    let _ = answer.send(Err(reason.clone()));
}

//! Watches: the stream of a reader, and the hub that feeds the watches of the memory and embedded backends.
//!
//! A batch is built once per transaction and shared. A reader that exceeds its queue is dropped instead of waited for,
//! so that no watcher slows a writer down.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::mpsc;

use crate::{Error, Event, Revision, WatchBatch};

/// Most queued batches per watcher. A burst of 10,000 writes must not drop a reader that is only not scheduled for a
/// moment; an entry is three words, so a full queue is 400 KiB.
pub const WATCH_QUEUE_BATCHES_MAX: usize = 16_384;

/// Changes the batches of a watch.
pub(crate) type MapBatch = Box<dyn Fn(WatchBatch) -> WatchBatch + Send + Sync>;

/// An open watch: a stream of batches that ends after an error. See [`crate::Store::watch`].
pub struct Watch {
    backlog: VecDeque<WatchBatch>,
    queue: mpsc::Receiver<WatchBatch>,
    ending: Arc<OnceLock<Error>>,
    ended: bool,
    map: Option<MapBatch>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Watch {
    /// The same watch with changed batches.
    pub(crate) fn mapped(self, map: MapBatch) -> Watch {
        Watch { map: Some(map), ..self }
    }

    fn deliver(&self, batch: WatchBatch) -> WatchBatch {
        match &self.map {
            Some(map) => map(batch),
            None => batch,
        }
    }

    /// The next batch; `None` after the error that ended the watch.
    pub async fn next_batch(&mut self) -> Option<Result<WatchBatch, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Watch {
    type Item = Result<WatchBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = self.backlog.pop_front() {
            if self.backlog.is_empty() {
                self.backlog = VecDeque::new();
            }
            return Poll::Ready(Some(Ok(self.deliver(batch))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.queue.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(batch)) => Poll::Ready(Some(Ok(self.deliver(batch)))),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(Some(Err(self.ending.get().cloned().unwrap_or(Error::Closed))))
            }
        }
    }
}

/// The sending half of a watch. Dropping it ends the watch with [`Error::Closed`], unless another reason was set.
#[derive(Debug)]
pub(crate) struct Feed {
    queue: mpsc::Sender<WatchBatch>,
    ending: Arc<OnceLock<Error>>,
}

impl Feed {
    /// Creates a feed and its watch, which delivers the backlog first.
    pub(crate) fn new(backlog: VecDeque<WatchBatch>, queue_max: usize) -> (Feed, Watch) {
        let (sender, receiver) = mpsc::channel(queue_max);
        let ending = Arc::new(OnceLock::new());
        let feed = Feed { queue: sender, ending: Arc::clone(&ending) };
        (feed, Watch { backlog, queue: receiver, ending, ended: false, map: None })
    }

    /// Sends a batch, waiting for room. `false` if the reader is gone.
    pub(crate) async fn send(&self, batch: WatchBatch) -> bool {
        self.queue.send(batch).await.is_ok()
    }

    /// Waits until the reader is gone.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Ends the watch with an error.
    pub(crate) fn end(self, reason: Error) {
        // Only this half sets the reason, and it is consumed here.
        let _ = self.ending.set(reason);
    }

    /// Sends a batch without waiting; returns false if the reader is gone or too slow.
    fn offer(&self, batch: WatchBatch) -> bool {
        match self.queue.try_send(batch) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                let _ = self.ending.set(Error::WatcherTooSlow);
                false
            }
        }
    }
}

/// Restricts a batch to a prefix; shares the batch if all of it matches.
pub(crate) fn restrict(batch: &WatchBatch, prefix: &str) -> Option<WatchBatch> {
    let inside = |event: &&Event| event.key().as_str().starts_with(prefix);
    let count = batch.events.iter().filter(inside).count();
    if count == 0 {
        return None;
    }
    if count == batch.events.len() {
        return Some(batch.clone());
    }
    let events = batch.events.iter().filter(inside).cloned().collect();
    Some(WatchBatch { revision: batch.revision, events })
}

/// The open watches of a store that publishes its own batches.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    watchers: Mutex<Watchers>,
}

/// The watchers, guarded by the hub's lock. The lock is held while a draft is applied and its batches are delivered, so
/// that a new watcher finds each batch either in its backlog or in its queue.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    open: Vec<Watcher>,
    /// Remove closed watches when there are this many.
    sweep_at: usize,
}

#[derive(Debug)]
struct Watcher {
    prefix: Box<str>,
    after: Revision,
    feed: Feed,
}

impl Hub {
    /// Runs `body` with the hub's lock.
    pub(crate) fn with<T>(&self, body: impl FnOnce(&mut Watchers) -> T) -> T {
        body(&mut self.watchers.lock().expect("invariant: no panic under the hub's lock"))
    }
}

impl Watchers {
    /// Adds a watch that delivers the backlog and then everything published after `after`.
    pub(crate) fn add(&mut self, prefix: &str, after: Revision, backlog: VecDeque<WatchBatch>) -> Watch {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|watcher| !watcher.feed.queue.is_closed());
            self.sweep_at = (self.open.len() * 2).max(16);
        }
        let (feed, watch) = Feed::new(backlog, WATCH_QUEUE_BATCHES_MAX);
        self.open.push(Watcher { prefix: prefix.into(), after, feed });
        watch
    }

    /// Delivers new batches to the watchers whose prefix they match.
    pub(crate) fn publish(&mut self, batches: &[WatchBatch]) {
        self.open.retain(|watcher| {
            let new = batches.iter().filter(|batch| batch.revision > watcher.after);
            !watcher.feed.queue.is_closed()
                && new
                    .filter_map(|batch| restrict(batch, &watcher.prefix))
                    .all(|batch| watcher.feed.offer(batch))
        });
    }

    /// Delivers a progress notification to every watcher.
    pub(crate) fn publish_progress(&mut self, revision: Revision) {
        let mark = WatchBatch { revision, events: Arc::from([]) };
        self.open.retain(|watcher| watcher.after >= revision || watcher.feed.offer(mark.clone()));
    }
}

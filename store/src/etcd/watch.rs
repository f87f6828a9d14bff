//! A watch on etcd that survives the loss of its connection: a task per watch opens it anew from the
//! last revision that it handed on.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchClient, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::watch as latest;

use super::signed;
use super::translate::{Namespace, revision_of, unsigned};
use crate::watch::Feed;
use crate::{Error, Event, Revision, Watch, WatchBatch};

/// Batches that wait for a reader before etcd is left to keep them: a few, since etcd keeps them anyway.
const QUEUE_BATCHES_MAX: usize = 256;

/// Pause before a lost watch is opened again; doubled up to the second one.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// etcd leaves a request for progress unanswered while a watch is catching up: ask again so often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// Opens watches and asks them for progress.
pub(super) struct Opener {
    client: WatchClient,
    namespace: Namespace,
    /// The newest revision that somebody wants every watch to have reached.
    wanted: latest::Sender<Revision>,
}

impl Opener {
    pub(super) fn new(client: WatchClient, namespace: Namespace) -> Opener {
        Opener { client, namespace, wanted: latest::Sender::new(Revision::ZERO) }
    }

    /// Opens a watch from the first change after `after`.
    pub(super) fn open(&self, prefix: &str, after: Revision) -> Watch {
        let (feed, watch) = Feed::new(Default::default(), QUEUE_BATCHES_MAX);
        let mut task = Task {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            prefix: prefix.to_owned(),
            reached: after,
            asked_for: *self.wanted.borrow(),
            wanted: self.wanted.subscribe(),
        };
        tokio::spawn(async move {
            let ending = tokio::select! {
                ending = task.run(&feed) => ending,
                () = feed.closed() => None,
            };
            if let Some(reason) = ending {
                feed.end(reason);
            }
        });
        watch
    }

    /// Makes every watch tell when it has reached this revision.
    pub(super) fn request_progress(&self, revision: Revision) {
        self.wanted.send_if_modified(|wanted| {
            let later = revision > *wanted;
            *wanted = revision.max(*wanted);
            later
        });
    }
}

/// One open watch.
struct Task {
    client: WatchClient,
    namespace: Namespace,
    prefix: String,
    /// Everything up to here has been handed on.
    reached: Revision,
    /// What was wanted before this watch was opened, or has been told since.
    asked_for: Revision,
    wanted: latest::Receiver<Revision>,
}

/// Why a connection's part of a watch came to its end.
enum Break {
    /// Open it again.
    Retry(String),
    /// Tell the reader and stop.
    End(Error),
    /// The store or the reader is gone.
    Gone,
}

impl Task {
    /// Runs until the reader, the store or the history is gone.
    async fn run(&mut self, feed: &Feed) -> Option<Error> {
        let mut pause = RETRY_PAUSE;
        loop {
            let reached = self.reached;
            match self.follow(feed).await {
                Break::End(reason) => return Some(reason),
                Break::Gone => return None,
                Break::Retry(reason) => {
                    tracing::debug!(prefix = self.prefix, reason, "opening the watch on etcd again");
                    if self.reached > reached {
                        pause = RETRY_PAUSE;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Follows one connection as far as it goes.
    async fn follow(&mut self, feed: &Feed) -> Break {
        let options = WatchOptions::new()
            .with_range(self.namespace.end(&self.prefix))
            .with_start_revision(signed(self.reached.next()))
            .with_prev_key();
        let opened = self.client.watch(self.namespace.full(&self.prefix), Some(options)).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return Break::Retry(error.to_string()),
        };
        loop {
            let asking = *self.wanted.borrow_and_update() > self.asked_for;
            tokio::select! {
                message = stream.message() => {
                    let ended = match message {
                        Ok(Some(response)) => self.hand_on(response, feed).await.err(),
                        Ok(None) => Some(Break::Retry("etcd ended the stream".to_owned())),
                        Err(error) => Some(Break::Retry(error.to_string())),
                    };
                    if let Some(ended) = ended {
                        return ended;
                    }
                }
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return Break::Gone;
                    }
                    if let Err(error) = self.ask(&mut stream).await {
                        return error;
                    }
                }
                () = tokio::time::sleep(PROGRESS_PAUSE), if asking => {
                    if let Err(error) = self.ask(&mut stream).await {
                        return error;
                    }
                }
            }
        }
    }

    async fn ask(&self, stream: &mut WatchStream) -> Result<(), Break> {
        stream.request_progress().await.map_err(|error| Break::Retry(error.to_string()))
    }

    /// Hands on what one message of etcd says.
    async fn hand_on(&mut self, response: WatchResponse, feed: &Feed) -> Result<(), Break> {
        if response.compact_revision() > 0 {
            let floor = unsigned(response.compact_revision());
            return Err(Break::End(Error::Compacted { requested: self.reached, floor }));
        }
        if response.canceled() {
            return Err(Break::Retry(response.cancel_reason().to_owned()));
        }
        if response.created() {
            return Ok(());
        }
        if response.events().is_empty() {
            return self.progress(revision_of(response.header()), feed).await;
        }
        let mut events: Vec<Event> = Vec::new();
        for event in response.events() {
            let event = self.event(event).map_err(Break::End)?;
            if events.last().is_some_and(|last| last.revision() != event.revision()) {
                self.send(std::mem::take(&mut events), feed).await?;
            }
            events.push(event);
        }
        self.send(events, feed).await
    }

    async fn send(&mut self, events: Vec<Event>, feed: &Feed) -> Result<(), Break> {
        let Some(revision) = events.last().map(Event::revision) else { return Ok(()) };
        self.deliver(WatchBatch { revision, events: events.into() }, feed).await
    }

    async fn progress(&mut self, revision: Revision, feed: &Feed) -> Result<(), Break> {
        if revision <= self.reached {
            self.asked_for = self.asked_for.max(revision);
            return Ok(());
        }
        self.deliver(WatchBatch { revision, events: Arc::from([]) }, feed).await
    }

    async fn deliver(&mut self, batch: WatchBatch, feed: &Feed) -> Result<(), Break> {
        let revision = batch.revision;
        if !feed.send(batch).await {
            return Err(Break::Gone);
        }
        self.reached = self.reached.max(revision);
        self.asked_for = self.asked_for.max(revision);
        Ok(())
    }

    fn event(&self, event: &etcd_client::Event) -> Result<Event, Error> {
        let missing = || Error::Damaged { reason: "etcd sent an event without its key".to_owned() };
        let kv = event.kv().ok_or_else(missing)?;
        let revision = unsigned(kv.mod_revision());
        let prev = event.prev_kv().map(|prev| self.namespace.key_value(prev.clone())).transpose()?;
        // What a key held before can be gone although the event itself is not: then the reader
        // must list anew like after any compaction.
        let gone = Error::Compacted { requested: self.reached, floor: revision };
        match event.event_type() {
            EventType::Put if prev.is_none() && kv.version() > 1 => Err(gone),
            EventType::Put => Ok(Event::Put { kv: self.namespace.key_value(kv.clone())?, prev }),
            EventType::Delete => {
                Ok(Event::Delete { key: self.namespace.key(kv.key())?, prev: prev.ok_or(gone)?, revision })
            }
        }
    }
}

//! A watch on etcd that survives the loss of its connection: a task per watch opens it anew from the
//! last revision that it handed on.
//!
//! Each watch follows all keys of the cluster and hands on those under its prefix: so it sees every
//! progress mark (see `EtcdStore::request_progress`) in its place among the events.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchClient, WatchOptions, WatchResponse};
use tokio::sync::watch as latest;

use super::signed;
use super::translate::{Namespace, unsigned};
use crate::watch::Feed;
use crate::{Error, Event, Revision, Watch, WatchBatch};

/// Batches that wait for a reader before etcd is left to keep them: a few, since etcd keeps them anyway.
const QUEUE_BATCHES_MAX: usize = 256;

/// Pause before a lost watch is opened again; doubled up to the second one.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Opens watches and ends them with the store.
pub(super) struct Opener {
    client: WatchClient,
    namespace: Namespace,
    /// Dropped with the store, which every watch notices.
    life: latest::Sender<()>,
}

impl Opener {
    pub(super) fn new(client: WatchClient, namespace: Namespace) -> Opener {
        Opener { client, namespace, life: latest::Sender::new(()) }
    }

    /// Opens a watch from the first change after `after`.
    pub(super) fn open(&self, prefix: &str, after: Revision) -> Watch {
        let (feed, watch) = Feed::new(Default::default(), QUEUE_BATCHES_MAX);
        let mut task = Task {
            client: self.client.clone(),
            full_prefix: self.namespace.full(prefix),
            namespace: self.namespace.clone(),
            reached: after,
        };
        let mut life = self.life.subscribe();
        tokio::spawn(async move {
            let ending = tokio::select! {
                ending = task.run(&feed) => ending,
                () = feed.closed() => None,
                // Nothing is ever sent: this is the end of the store.
                _ = life.changed() => None,
            };
            if let Some(reason) = ending {
                feed.end(reason);
            }
        });
        watch
    }
}

/// One open watch.
struct Task {
    client: WatchClient,
    namespace: Namespace,
    /// The watch's prefix as etcd has it.
    full_prefix: Vec<u8>,
    /// Everything up to here has been handed on.
    reached: Revision,
}

/// Why a connection's part of a watch came to its end.
enum Break {
    /// Open it again.
    Retry(String),
    /// Tell the reader and stop.
    End(Error),
    /// The reader is gone.
    Gone,
}

/// What one revision changed, as far as it has been read.
#[derive(Default)]
struct Gathered {
    revision: Revision,
    events: Vec<Event>,
    is_mark: bool,
}

impl Task {
    /// Runs until the reader or the history is gone.
    async fn run(&mut self, feed: &Feed) -> Option<Error> {
        let mut pause = RETRY_PAUSE;
        loop {
            let reached = self.reached;
            match self.follow(feed).await {
                Break::End(reason) => return Some(reason),
                Break::Gone => return None,
                Break::Retry(reason) => {
                    tracing::debug!(reason, "opening the watch on etcd again");
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
            .with_range(self.namespace.end(""))
            .with_start_revision(signed(self.reached.next()))
            .with_prev_key();
        let opened = self.client.watch(self.namespace.full(""), Some(options)).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return Break::Retry(error.to_string()),
        };
        loop {
            let handed_on = match stream.message().await {
                Ok(Some(response)) => self.hand_on(response, feed).await,
                Ok(None) => Err(Break::Retry("etcd ended the stream".to_owned())),
                Err(error) => Err(Break::Retry(error.to_string())),
            };
            if let Err(end) = handed_on {
                return end;
            }
        }
    }

    /// Hands on what one message of etcd says. A message may hold several revisions, all of them whole.
    async fn hand_on(&mut self, response: WatchResponse, feed: &Feed) -> Result<(), Break> {
        if response.compact_revision() > 0 {
            let floor = unsigned(response.compact_revision());
            return Err(Break::End(Error::Compacted { requested: self.reached, floor }));
        }
        if response.canceled() {
            return Err(Break::Retry(response.cancel_reason().to_owned()));
        }
        let mut gathered = Gathered::default();
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = unsigned(kv.mod_revision());
            if revision != gathered.revision {
                self.deliver(std::mem::take(&mut gathered), feed).await?;
                gathered.revision = revision;
            }
            if kv.key().starts_with(&self.full_prefix) && kv.key() != self.namespace.mark() {
                gathered.events.push(self.event(event, kv).map_err(Break::End)?);
            } else {
                gathered.is_mark |= kv.key() == self.namespace.mark();
            }
        }
        self.deliver(gathered, feed).await
    }

    async fn deliver(&mut self, gathered: Gathered, feed: &Feed) -> Result<(), Break> {
        let Gathered { revision, events, is_mark } = gathered;
        let batch = WatchBatch { revision, events: Arc::from(events) };
        if (!batch.is_progress() || is_mark) && !feed.send(batch).await {
            return Err(Break::Gone);
        }
        self.reached = self.reached.max(revision);
        Ok(())
    }

    fn event(&self, event: &etcd_client::Event, kv: &etcd_client::KeyValue) -> Result<Event, Error> {
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

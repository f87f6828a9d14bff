//! A watch on etcd that survives the loss of its connection: a task per watch reopens it after the last revision that it
//! delivered.
//!
//! Each watch follows all keys of the cluster and delivers those under its prefix. So it sees every write of the progress
//! key (see `EtcdStore::request_progress`) in order among the events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::watch as latest;

use super::client::Client;
use super::proto::event::EventType;
use super::proto::watch_request::RequestUnion;
use super::proto::{Event as EtcdEvent, KeyValue, WatchCreateRequest, WatchRequest, WatchResponse};
use super::signed;
use super::translate::{Namespace, unsigned};
use crate::watch::Feed;
use crate::{Error, Event, Revision, Watch, WatchBatch};

/// Batches buffered for a slow reader. A full buffer stops reading from etcd, which keeps the history anyway.
const QUEUE_BATCHES_MAX: usize = 256;

/// The back-off before a lost watch is reopened; it doubles up to the maximum.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Opens watches, which end when the store is dropped.
pub(super) struct Opener {
    client: Client,
    namespace: Namespace,
    /// Dropped with the store: every watch waits for it.
    store_alive: latest::Sender<()>,
}

impl Opener {
    pub(super) fn new(client: Client, namespace: Namespace) -> Opener {
        Opener { client, namespace, store_alive: latest::Sender::new(()) }
    }

    /// Opens a watch of the changes after `after`.
    pub(super) fn open(&self, prefix: &str, after: Revision) -> Watch {
        let (feed, watch) = Feed::new(Default::default(), QUEUE_BATCHES_MAX);
        let mut task = WatchTask {
            client: self.client.clone(),
            full_prefix: self.namespace.full(prefix),
            namespace: self.namespace.clone(),
            reached: after,
        };
        let mut store_alive = self.store_alive.subscribe();
        tokio::spawn(async move {
            let ending = tokio::select! {
                ending = task.run(&feed) => ending,
                () = feed.closed() => None,
                // Nothing is ever sent: `changed` returns when the sender is dropped.
                _ = store_alive.changed() => None,
            };
            if let Some(reason) = ending {
                feed.end(reason);
            }
        });
        watch
    }
}

/// The state of one watch.
struct WatchTask {
    client: Client,
    namespace: Namespace,
    /// The watch's prefix in etcd.
    full_prefix: Bytes,
    /// Everything up to this revision has been delivered.
    reached: Revision,
}

/// Why following a connection stopped.
enum Stopped {
    /// The connection failed: reopen the watch.
    Retry(String),
    /// The watch cannot continue: report the error to the reader.
    End(Error),
    /// The reader dropped the watch.
    ReaderGone,
}

/// The events of one revision, read so far.
#[derive(Default)]
struct PendingBatch {
    revision: Revision,
    events: Vec<Event>,
    has_progress_key: bool,
}

impl WatchTask {
    /// Runs until the reader is gone, or the history that it needs is compacted.
    async fn run(&mut self, feed: &Feed) -> Option<Error> {
        let mut pause = RETRY_PAUSE;
        loop {
            let reached = self.reached;
            match self.follow(feed).await {
                Stopped::End(reason) => return Some(reason),
                Stopped::ReaderGone => return None,
                Stopped::Retry(reason) => {
                    tracing::debug!(reason, "reopening the watch on etcd");
                    if self.reached > reached {
                        pause = RETRY_PAUSE;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Follows one connection until it fails.
    async fn follow(&mut self, feed: &Feed) -> Stopped {
        let create = WatchCreateRequest {
            key: self.namespace.full(""),
            range_end: self.namespace.end(""),
            start_revision: signed(self.reached.next()),
            prev_kv: true,
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The request stream stays open: etcd cancels the watch when it ends.
        let requests = stream::once(async { request }).chain(stream::pending());
        let mut responses = match self.client.watch().watch(requests).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Stopped::Retry(status.message().to_owned()),
        };
        loop {
            let delivered = match responses.message().await {
                Ok(Some(response)) => self.deliver_response(response, feed).await,
                Ok(None) => Err(Stopped::Retry("etcd ended the stream".to_owned())),
                Err(status) => Err(Stopped::Retry(status.message().to_owned())),
            };
            if let Err(stopped) = delivered {
                return stopped;
            }
        }
    }

    /// Delivers the events of one response. A response may hold several revisions, each of them whole.
    async fn deliver_response(&mut self, response: WatchResponse, feed: &Feed) -> Result<(), Stopped> {
        if response.compact_revision > 0 {
            let floor = unsigned(response.compact_revision);
            return Err(Stopped::End(Error::Compacted { requested: self.reached, floor }));
        }
        if response.canceled {
            return Err(Stopped::Retry(response.cancel_reason));
        }
        let progress_key = self.namespace.progress_key();
        let mut batch = PendingBatch::default();
        for event in response.events {
            let EtcdEvent { r#type, kv: Some(kv), prev_kv } = event else { continue };
            let revision = unsigned(kv.mod_revision);
            if revision != batch.revision {
                self.deliver(std::mem::take(&mut batch), feed).await?;
                batch.revision = revision;
            }
            if kv.key == progress_key {
                batch.has_progress_key = true;
            } else if kv.key.starts_with(&self.full_prefix) {
                batch.events.push(self.event(r#type, kv, prev_kv).map_err(Stopped::End)?);
            }
        }
        self.deliver(batch, feed).await
    }

    async fn deliver(&mut self, batch: PendingBatch, feed: &Feed) -> Result<(), Stopped> {
        let PendingBatch { revision, events, has_progress_key } = batch;
        let batch = WatchBatch { revision, events: Arc::from(events) };
        if (!batch.is_progress() || has_progress_key) && !feed.send(batch).await {
            return Err(Stopped::ReaderGone);
        }
        self.reached = self.reached.max(revision);
        Ok(())
    }

    fn event(&self, kind: i32, kv: KeyValue, prev: Option<KeyValue>) -> Result<Event, Error> {
        let revision = unsigned(kv.mod_revision);
        let prev = prev.map(|prev| self.namespace.key_value(prev)).transpose()?;
        // The previous value can be compacted although the event is not: the reader must then list again, as after any
        // compaction.
        let compacted = Error::Compacted { requested: self.reached, floor: revision };
        match EventType::try_from(kind) {
            Ok(EventType::Put) if prev.is_none() && kv.version > 1 => Err(compacted),
            Ok(EventType::Put) => Ok(Event::Put { kv: self.namespace.key_value(kv)?, prev }),
            Ok(EventType::Delete) => {
                let key = self.namespace.key(&kv.key)?;
                Ok(Event::Delete { key, prev: prev.ok_or(compacted)?, revision })
            }
            Err(_) => Err(Error::Damaged { reason: format!("etcd sent an event of unknown type {kind}") }),
        }
    }
}

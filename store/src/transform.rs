//! A store that keeps values in another form than its callers see, such as encrypted.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus::core::Collector;
use tokio::sync::watch;

use crate::model::Unreadable;
use crate::{
    Error, Event, GetResult, Key, KeyValue, ListRequest, Listing, Op, Revision, Store, Txn, TxnOutcome,
    Watch, WatchBatch,
};

/// How values are kept. It may change while the store is open.
pub trait ValueTransformer: Send + Sync + 'static {
    /// The kept form of a value.
    ///
    /// # Errors
    /// The value cannot be kept; nothing is written then.
    fn encode(&self, key: &str, value: Bytes) -> Result<Bytes, String>;

    /// The value of a kept form.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn decode(&self, key: &str, kept: Bytes) -> Result<Bytes, String>;

    /// Whether [`Self::encode`] would keep the value in another form, with another key for example.
    fn is_stale(&self, key: &str, kept: &Bytes) -> bool;

    /// Counts the changes of the transformer.
    fn generations(&self) -> watch::Receiver<u64>;

    /// Its metrics.
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        Vec::new()
    }
}

/// A store whose values are transformed. A value that cannot be read is returned as it is kept, with the reason
/// ([`KeyValue::unreadable`]).
pub struct TransformedStore {
    inner: Arc<dyn Store>,
    transformer: Arc<dyn ValueTransformer>,
}

impl TransformedStore {
    /// Transforms the values of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, transformer: Arc<dyn ValueTransformer>) -> TransformedStore {
        TransformedStore { inner, transformer }
    }
}

fn read(transformer: &dyn ValueTransformer, kv: KeyValue) -> KeyValue {
    match transformer.decode(kv.key.as_str(), kv.value.clone()) {
        Ok(value) => KeyValue { value, ..kv },
        Err(reason) => KeyValue { unreadable: Some(Arc::new(Unreadable { reason })), ..kv },
    }
}

fn read_event(transformer: &dyn ValueTransformer, event: &Event) -> Event {
    let read = |kv: &KeyValue| read(transformer, kv.clone());
    match event {
        Event::Put { kv, prev } => Event::Put { kv: read(kv), prev: prev.as_ref().map(read) },
        Event::Delete { key, prev, revision } => {
            Event::Delete { key: key.clone(), prev: read(prev), revision: *revision }
        }
    }
}

#[async_trait]
impl Store for TransformedStore {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.inner.current_revision().await
    }

    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        let found = self.inner.get(key).await?;
        Ok(GetResult { kv: found.kv.map(|kv| read(&*self.transformer, kv)), ..found })
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        let page = self.inner.list(request).await?;
        Ok(Listing { kvs: page.kvs.into_iter().map(|kv| read(&*self.transformer, kv)).collect(), ..page })
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnOutcome, Error> {
        for op in &mut txn.ops {
            if let Op::Put { key, value } = op {
                let kept = self.transformer.encode(key.as_str(), std::mem::take(value));
                *value = kept.map_err(|reason| Error::Transformation { reason })?;
            }
        }
        Ok(match self.inner.txn(txn).await? {
            TxnOutcome::Conflict { current, revision } => {
                let read =
                    |(key, kv): (Key, Option<KeyValue>)| (key, kv.map(|kv| read(&*self.transformer, kv)));
                TxnOutcome::Conflict { current: current.into_iter().map(read).collect(), revision }
            }
            committed => committed,
        })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let transformer = Arc::clone(&self.transformer);
        let watch = self.inner.watch(prefix, after).await?;
        Ok(watch.mapped(Box::new(move |batch: WatchBatch| WatchBatch {
            revision: batch.revision,
            events: batch.events.iter().map(|event| read_event(&*transformer, event)).collect(),
        })))
    }

    async fn request_progress(&self) -> Result<(), Error> {
        self.inner.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    fn writable(&self) -> Result<(), Error> {
        self.inner.writable()
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let mut all = self.inner.collectors();
        all.extend(self.transformer.collectors());
        all
    }

    async fn is_stale(&self, key: &Key) -> Result<bool, Error> {
        let kept = self.inner.get(key).await?.kv;
        Ok(kept.is_some_and(|kv| self.transformer.is_stale(key.as_str(), &kv.value)))
    }

    fn transformations(&self) -> Option<watch::Receiver<u64>> {
        Some(self.transformer.generations())
    }
}

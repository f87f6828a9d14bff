//! What a store with transformed values does beside the guarantees of all stores.

use std::sync::Arc;

use bytes::Bytes;
use store::{Event, Key, ListRequest, MemoryStore, Revision, Store, TransformedStore, ValueTransformer};
use tokio::sync::watch;

/// Keeps values reversed, and if wanted behind a mark; values without the mark cannot be read then.
pub struct Reversed {
    mark: &'static [u8],
    generation: watch::Sender<u64>,
}

impl Default for Reversed {
    fn default() -> Self {
        Reversed { mark: b"", generation: watch::Sender::new(0) }
    }
}

impl ValueTransformer for Reversed {
    fn encode(&self, key: &str, value: Bytes) -> Result<Bytes, String> {
        if key.ends_with("refused") {
            return Err("not this key".to_owned());
        }
        Ok(self.mark.iter().copied().chain(value.iter().rev().copied()).collect())
    }

    fn decode(&self, _key: &str, kept: Bytes) -> Result<Bytes, String> {
        match kept.strip_prefix(self.mark) {
            Some(reversed) => Ok(reversed.iter().rev().copied().collect()),
            None => Err("no mark".to_owned()),
        }
    }

    fn is_stale(&self, _key: &str, kept: &Bytes) -> bool {
        !kept.starts_with(self.mark)
    }

    fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

#[tokio::test]
async fn values_are_kept_in_another_form() {
    let inner = Arc::new(MemoryStore::new());
    let marked = Reversed { mark: b"r", ..Reversed::default() };
    let store = TransformedStore::new(inner.clone(), Arc::new(marked));
    let (one, old) = (Key::new("/one"), Key::new("/old"));
    store.put(one.clone(), "abc".into()).await.unwrap();
    assert_eq!(inner.get(&one).await.unwrap().kv.unwrap().value, "rcba");
    inner.put(old.clone(), "old".into()).await.unwrap();
    let listing = store.list(ListRequest::prefix("/")).await.unwrap();
    let shown = |at: usize| {
        let kv = &listing.kvs[at];
        (kv.value.clone(), kv.unreadable.as_ref().map(|unreadable| unreadable.reason.clone()))
    };
    assert_eq!(shown(0), ("old".into(), Some("no mark".to_owned())));
    assert_eq!(shown(1), ("abc".into(), None));
    assert!(store.is_stale(&old).await.unwrap() && !store.is_stale(&one).await.unwrap());
    let refused = store.put(Key::new("/refused"), "x".into()).await.unwrap_err();
    assert_eq!(refused.to_string(), "not this key");
    let mut watch = store.watch("/", Revision::FIRST).await.unwrap();
    let batch = watch.next_batch().await.unwrap().unwrap();
    let Event::Put { kv, .. } = &batch.events[0] else { panic!("it is a write") };
    assert_eq!(kv.value, "abc");
}

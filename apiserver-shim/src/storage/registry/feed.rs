//! Follows the store: a single watch over all keys feeds every cache, so one revision describes the progress of all
//! of them. Keys of the Mesos master are ignored; their revisions count as progress.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use shim_core::definition::ResourceDefinition;
use store::{Event, KeyValue, ListRequest, Revision, Store};

use super::{Inner, parse};
use crate::storage::catalog::{ParsedListing, ResourceStore};
use crate::storage::object::Object;
use crate::storage::watch_cache::Written;

/// The key prefix of API objects.
pub(super) const PREFIX: &str = "/registry/";
/// Batches applied under one lock before watchers are notified; bounds how long readers wait for the lock.
const BATCHES_MAX: usize = 256;
/// Delay before the store is retried after an error.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often expired changes are dropped from the windows.
const EXPIRE_EVERY: Duration = Duration::from_secs(30);
/// Objects per page of the initial listing; bounds the memory of one page.
const PAGE: usize = 10_000;

/// Lists all keys and values below the prefix at one revision.
pub(super) async fn read_all(store: &dyn Store, prefix: &str) -> Result<(Vec<KeyValue>, u64), store::Error> {
    let mut all = Vec::new();
    let mut request = ListRequest { prefix: prefix.into(), limit: PAGE, ..ListRequest::default() };
    loop {
        let page = store.list(request.clone()).await?;
        request.at = Some(page.revision);
        request.start_after = page.kvs.last().map(|kv| kv.key.clone());
        all.extend(page.kvs);
        if !page.more {
            return Ok((all, page.revision.0));
        }
    }
}

/// Parses the objects of one resource from a listing that is sorted by key.
pub(super) fn parse_prefix(
    definition: &Arc<ResourceDefinition>,
    prefix: &str,
    listing: &[KeyValue],
) -> ParsedListing {
    let from = listing.partition_point(|kv| kv.key.as_str() < prefix);
    let mut parsed = ParsedListing::default();
    for kv in listing[from..].iter().take_while(|kv| kv.key.as_str().starts_with(prefix)) {
        let key = kv.key.as_str()[prefix.len()..].to_owned();
        match parse(definition, kv, None) {
            Ok(object) => parsed.objects.push((key, object)),
            Err(reason) => drop(parsed.unreadable.insert(key, reason)),
        }
    }
    parsed
}

/// Why the store is followed no longer.
enum Interruption {
    /// The registry was dropped.
    Dropped,
    /// The watch ended.
    Store(store::Error),
    /// What could not be read may be readable now.
    Transformed,
}

impl From<store::Error> for Interruption {
    fn from(error: store::Error) -> Self {
        Interruption::Store(error)
    }
}

/// Runs until the registry is dropped.
pub(super) async fn follow(inner: Weak<Inner>, mut revision: u64) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let store = strong.store.clone();
        drop(strong);
        match follow_once(&inner, &*store, &mut revision).await {
            Interruption::Dropped | Interruption::Store(store::Error::Closed) => return,
            Interruption::Store(error @ (store::Error::Compacted { .. } | store::Error::WatcherTooSlow)) => {
                tracing::warn!(%error, "watch caches fell behind the store; listing again");
            }
            Interruption::Store(error) => {
                tracing::warn!(%error, "watch on the store failed");
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
            Interruption::Transformed => tracing::info!("reading again what could not be read"),
        }
        while let Err(error) = reset(&inner, &*store, &mut revision).await {
            tracing::warn!(%error, "failed to list the store");
            tokio::time::sleep(RETRY_AFTER).await;
            if inner.strong_count() == 0 {
                return;
            }
        }
    }
}

/// Applies the changes of the store until it must be listed or watched again.
async fn follow_once(inner: &Weak<Inner>, store: &dyn Store, revision: &mut u64) -> Interruption {
    match follow_watch(inner, store, revision).await {
        Ok(never) => match never {},
        Err(interruption) => interruption,
    }
}

async fn follow_watch(
    inner: &Weak<Inner>,
    store: &dyn Store,
    revision: &mut u64,
) -> Result<Infallible, Interruption> {
    let mut watch = store.watch("", Revision(*revision)).await?;
    let mut transformations = store.transformations();
    let mut expire = tokio::time::interval(EXPIRE_EVERY);
    loop {
        let first = tokio::select! {
            batch = watch.next_batch() => batch,
            _ = expire.tick() => {
                let inner = inner.upgrade().ok_or(Interruption::Dropped)?;
                let (now, latest) = (Instant::now(), *inner.progress.borrow());
                inner.routes.load().stores.iter().for_each(|s| s.cache().expire(now));
                inner.ages.lock().unwrap_or_else(PoisonError::into_inner).note(now, latest);
                continue;
            }
            () = changed(&mut transformations) => {
                let inner = inner.upgrade().ok_or(Interruption::Dropped)?;
                if inner.routes.load().stores.iter().any(|store| !store.unreadable().all().is_empty()) {
                    return Err(Interruption::Transformed);
                }
                continue;
            }
        };
        let mut batches = vec![first.unwrap_or(Err(store::Error::Closed))?];
        // Take batches that are already available, so that watchers are notified once for all of them.
        let mut failed = None;
        while batches.len() < BATCHES_MAX {
            match futures::FutureExt::now_or_never(watch.next_batch()) {
                Some(Some(Ok(batch))) => batches.push(batch),
                Some(Some(Err(error))) => {
                    failed = Some(error);
                    break;
                }
                Some(None) | None => break,
            }
        }
        let inner = inner.upgrade().ok_or(Interruption::Dropped)?;
        let newest = batches.last().map_or(*revision, |b| b.revision.0).max(*revision);
        inner.take(batches.iter().flat_map(|b| b.events.iter()));
        *revision = newest;
        inner.progress.send_replace(newest);
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
}

/// Waits until the store's values are read in another way.
async fn changed(transformations: &mut Option<tokio::sync::watch::Receiver<u64>>) {
    if let Some(receiver) = transformations
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn reset(inner: &Weak<Inner>, store: &dyn Store, revision: &mut u64) -> Result<(), store::Error> {
    let (listing, at) = read_all(store, PREFIX).await?;
    let Some(inner) = inner.upgrade() else { return Ok(()) };
    for store in &inner.routes.load().stores {
        if store.is_opening() {
            store.lose_events();
            continue;
        }
        let mut parsed = parse_prefix(store.definition(), store.prefix(), &listing);
        // What cannot be read now, and could be read earlier, has not been deleted.
        let older =
            parsed.unreadable.keys().filter_map(|key| Some((key.clone(), store.cache().get_by_key(key)?)));
        let older: Vec<_> = older.collect();
        parsed.objects.extend(older);
        store.cache().reset(parsed.objects, at);
        store.unreadable().replace(parsed.unreadable);
    }
    inner.inflight.clear();
    *revision = at;
    inner.progress.send_replace(at);
    Ok(())
}

impl Inner {
    /// Applies events to their caches in order. One look-up of the key's prefix finds the store; while a resource is being
    /// replaced, its old and its new store are fed.
    fn take<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let routes = self.routes.load();
        let mut sorted: Vec<Vec<(String, Written)>> = routes.stores.iter().map(|_| Vec::new()).collect();
        for event in events {
            let Some((prefix, rest)) = split(event.key().as_str()) else { continue };
            for at in [routes.find(prefix), routes.successor(prefix)].into_iter().flatten() {
                let store = &routes.stores[at];
                if store.absorbs(event) {
                    continue;
                }
                let written = match event {
                    Event::Put { kv, prev } => match self.read(store, rest, kv, prev.is_some()) {
                        Ok(object) => Written::Put(object),
                        Err(reason) => {
                            store.unreadable().insert(rest, reason);
                            continue;
                        }
                    },
                    Event::Delete { revision, .. } => Written::Removed { revision: revision.0 },
                };
                store.unreadable().remove(rest);
                sorted[at].push((rest.to_owned(), written));
            }
        }
        for (store, changes) in routes.stores.iter().zip(sorted).filter(|(_, changes)| !changes.is_empty()) {
            store.cache().apply(changes, Instant::now());
        }
    }

    /// The arrived object: from the in-flight writes if this process wrote it, else parsed.
    fn read(
        &self,
        store: &ResourceStore,
        key: &str,
        kv: &KeyValue,
        older: bool,
    ) -> Result<Arc<Object>, String> {
        let not_object = || "not an object".to_owned();
        let older = if older { store.cache().get_by_key(key) } else { None };
        match (self.inflight.take(kv), &older) {
            (Some(written), None) => {
                Object::new(written, store.definition(), kv.mod_revision.0).ok_or_else(not_object)
            }
            (Some(written), Some(older)) => {
                let shared = written.sharing(older.stored());
                Object::new(shared, store.definition(), kv.mod_revision.0).ok_or_else(not_object)
            }
            (None, older) => parse(store.definition(), kv, older.as_deref()),
        }
    }
}

/// Splits `/registry/<group>/<plural>/<rest>` before the rest.
fn split(key: &str) -> Option<(&str, &str)> {
    let below = key.strip_prefix(PREFIX)?;
    let group = below.find('/')?;
    let plural = below[group + 1..].find('/')?;
    Some(key.split_at(PREFIX.len() + group + 1 + plural + 1))
}

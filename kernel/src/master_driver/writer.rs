//! Writes the master's registry. A store that takes no writes (a full disk, an unreachable etcd) does not end the master:
//! what it refuses is kept and written later, and the master goes on.
//!
//! A crash meanwhile loses what was not written, which is as safe as a crash just before: an agent without a record is
//! readmitted when it registers again, an agent without its mark becomes unreachable after the next start's timeout, and a
//! framework without its end may subscribe again. Changes by operators have nobody who would repeat them, so
//! [`RegistryWriter::writable`] refuses them as long as they could not be made durable.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kernel_core::master::Op;
use store::{Error, Store, TXN_BYTES_MAX, TXN_OPS_MAX};
use tokio::{task::JoinHandle, time::Instant};

use super::Counters;
use crate::registry_store::{self, Changes};

/// Attempts of a write before the master goes on without it: some 350 ms, in which a store recovers from a lost connection.
const TRIES_MAX: u32 = 4;

/// The pause after the first failed attempt; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause between later attempts: an embedded store opens its log again every 500 ms, and an operator who has
/// made room expects an answer soon.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The result of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Durable,
    /// The store takes no writes now, with the reason. What was to be written is kept.
    Deferred(String),
}

/// Writes changes in the order of the steps that made them.
pub(super) struct RegistryWriter {
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    /// What the store has not taken yet. A newer change of a key replaces an older one, so this is never more than the
    /// registry.
    unwritten: Changes,
    /// Why; empty if everything is written.
    reason: String,
    pause: Duration,
    retry_at: Instant,
    /// The attempt in progress, and what it writes.
    attempt: Option<(Changes, JoinHandle<Result<(), Error>>)>,
    /// When it began.
    begun: Instant,
}

impl RegistryWriter {
    pub(super) fn new(store: Arc<dyn Store>, counters: Arc<Counters>) -> Self {
        Self {
            store,
            counters,
            unwritten: Changes::new(),
            reason: String::new(),
            pause: PAUSE_MIN,
            retry_at: Instant::now(),
            attempt: None,
            begun: Instant::now(),
        }
    }

    fn stored(&self, took: Duration, part: &Changes) {
        let lengths = part.iter().map(|(key, value)| (key, value.as_ref().map(bytes::Bytes::len)));
        self.counters.registrar.stored(took, lengths);
    }

    /// Why a change could not be made durable now.
    pub(super) fn writable(&self) -> Result<(), String> {
        match self.unwritten.is_empty() {
            true => self.store.writable().map_err(|error| error.to_string()),
            false => Err(self.reason.clone()),
        }
    }

    /// Writes what [`transactions`] made of several steps. The error is [`Error::Closed`].
    pub(super) async fn write(&mut self, parts: Vec<Changes>) -> Result<Written, Error> {
        if parts.is_empty() {
            return Ok(Written::Durable);
        }
        let mut parts = parts.into_iter();
        if self.unwritten.is_empty() {
            let failed = loop {
                let Some(part) = parts.next() else { return Ok(Written::Durable) };
                if let Some(error) = self.try_write(&part).await? {
                    self.unwritten.extend(part);
                    break error;
                }
            };
            tracing::error!(%failed, "the registry takes no writes: the master goes on and writes later");
            self.reason = failed.to_string();
            (self.pause, self.retry_at) = (PAUSE_MIN, Instant::now() + PAUSE_MIN);
        }
        parts.for_each(|part| self.unwritten.extend(part));
        self.counters.registrar.queued(self.unwritten.len());
        Ok(Written::Deferred(self.reason.clone()))
    }

    /// Writes with a few attempts; returns why the store takes nothing.
    async fn try_write(&self, part: &Changes) -> Result<Option<Error>, Error> {
        let mut pause = PAUSE_MIN;
        for attempt in 1.. {
            let begun = Instant::now();
            match commit(&*self.store, part).await {
                Ok(()) => {
                    self.stored(begun.elapsed(), part);
                    break;
                }
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) if attempt == TRIES_MAX || matches!(error, Error::NoSpace { .. }) => {
                    return Ok(Some(error));
                }
                Err(error) => tracing::warn!(%error, attempt, "writing the registry failed, retrying"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(None)
    }

    /// Waits until it is time to write what was deferred, and writes a part of it. Pending while there is nothing. The
    /// future may be dropped: the attempt goes on, and the next call awaits it. The error is [`Error::Closed`].
    pub(super) async fn retried(&mut self) -> Result<(), Error> {
        if self.unwritten.is_empty() {
            return std::future::pending().await;
        }
        if self.attempt.is_none() {
            tokio::time::sleep_until(self.retry_at).await;
            let part = split(self.unwritten.clone()).next().unwrap_or_default();
            let (store, writing) = (self.store.clone(), part.clone());
            self.begun = Instant::now();
            self.attempt = Some((part, tokio::spawn(async move { commit(&*store, &writing).await })));
        }
        let Some((_, attempt)) = &mut self.attempt else { return Ok(()) };
        let outcome = attempt.await.unwrap_or(Err(Error::Closed));
        let (part, _) = self.attempt.take().expect("invariant: awaited just now");
        match outcome {
            Ok(()) => {
                // What changed meanwhile is still to be written.
                self.unwritten.retain(|key, value| part.get(key) != Some(value));
                self.stored(self.begun.elapsed(), &part);
                self.counters.registrar.queued(self.unwritten.len());
                (self.pause, self.retry_at) = (PAUSE_MIN, Instant::now());
                if self.unwritten.is_empty() {
                    self.reason.clear();
                    tracing::info!("the registry takes writes again, and has everything");
                }
            }
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => {
                self.reason = error.to_string();
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.retry_at = Instant::now() + self.pause;
            }
        }
        Ok(())
    }
}

/// Commits changes that fit a transaction. A record that the store can never take is left out: a master that starts again
/// does not know it, which is better than no master. The limits on names and sizes of clients are below the store's.
async fn commit(store: &dyn Store, part: &Changes) -> Result<(), Error> {
    let error = match store.txn(registry_store::transaction(part)).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if !is_refusal(&error) {
        return Err(error);
    }
    for (key, value) in part {
        let single = BTreeMap::from([(key.clone(), value.clone())]);
        match store.txn(registry_store::transaction(&single)).await {
            Ok(_) => {}
            Err(error) if is_refusal(&error) => {
                let key: String = key.chars().take(KEY_CHARS_LOGGED).collect();
                tracing::error!(key, %error, "the store cannot take a record of the registry");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How much of a refused key is logged: enough to recognise it.
const KEY_CHARS_LOGGED: usize = 200;

/// Whether the store refuses the transaction itself, now and always.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::InvalidTxn { .. } | Error::TooLarge { .. })
}

/// The changes of steps, packed for [`RegistryWriter::write`].
pub(super) fn transactions<'a>(steps: impl Iterator<Item = &'a [Op]>) -> Vec<Changes> {
    pack(steps.map(registry_store::changes))
}

/// Packs the changes of steps into transactions. Those of one step stay together if they fit one, because recovery may
/// rely on them together.
fn pack(steps: impl Iterator<Item = Changes>) -> Vec<Changes> {
    let mut parts: Vec<Changes> = Vec::new();
    for step in steps.filter(|step| !step.is_empty()) {
        match parts.last_mut() {
            Some(last) if fits(last, &step) => last.extend(step),
            _ => parts.extend(split(step)),
        }
    }
    parts
}

fn fits(part: &Changes, more: &Changes) -> bool {
    part.len() + more.len() <= TXN_OPS_MAX && bytes(part) + bytes(more) <= TXN_BYTES_MAX
}

fn bytes(changes: &Changes) -> usize {
    changes.iter().map(size).sum()
}

fn size((key, value): (&String, &Option<bytes::Bytes>)) -> usize {
    key.len() + value.as_ref().map_or(0, bytes::Bytes::len)
}

/// Splits changes into transactions, the last keys first: the mark of a gone agent is written before its record is deleted.
fn split(mut changes: Changes) -> impl Iterator<Item = Changes> {
    std::iter::from_fn(move || {
        let mut part = Changes::new();
        let mut total = 0;
        while let Some((key, value)) = changes.pop_last() {
            let more = size((&key, &value));
            if !part.is_empty() && (part.len() == TXN_OPS_MAX || total + more > TXN_BYTES_MAX) {
                changes.insert(key, value);
                break;
            }
            total += more;
            part.insert(key, value);
        }
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(keys: std::ops::Range<usize>) -> Changes {
        keys.map(|n| (format!("/k/{n:05}"), Some(bytes::Bytes::from_static(b"v")))).collect()
    }

    #[test]
    fn steps_share_transactions_and_are_split_only_if_they_must_be() {
        let sizes = |steps: Vec<Changes>| -> Vec<usize> {
            pack(steps.into_iter()).iter().map(Changes::len).collect()
        };
        assert_eq!(sizes(vec![changes(0..3), changes(3..5)]), [5]);
        assert_eq!(sizes(vec![changes(0..100), changes(100..200)]), [100, 100]);
        assert_eq!(sizes(vec![changes(0..300)]), [128, 128, 44]);
        assert_eq!(sizes(vec![Changes::new()]), [0; 0]);
    }

    #[test]
    fn a_transaction_stays_below_the_limit_of_bytes() {
        let large = |n: usize| (format!("/k/{n}"), Some(bytes::Bytes::from(vec![0; TXN_BYTES_MAX / 3])));
        let parts = pack(std::iter::once((0..7).map(large).collect()));
        assert!(parts.iter().all(|part| bytes(part) <= TXN_BYTES_MAX), "{}", parts.len());
        assert_eq!(parts.iter().map(Changes::len).sum::<usize>(), 7);
    }

    #[test]
    fn the_mark_of_a_gone_agent_is_written_before_its_record_is_deleted() {
        let mut all: Changes = (0..200).map(|n| (format!("agents/{n:03}"), None)).collect();
        all.insert("gone/000".to_owned(), Some(bytes::Bytes::new()));
        assert!(split(all).next().expect("a part").contains_key("gone/000"));
    }
}

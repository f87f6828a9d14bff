//! The etcd backend, which lets several servers share one store: etcd keeps the revisions, the history and the durability.
//! This module converts requests and responses; `watch` holds the reconnecting watch, `compaction` the periodic compaction,
//! `client` the gRPC client.

mod client;
mod compaction;
mod proto;
mod translate;
mod watch;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tonic::{Response, Status};

use crate::contract::validate;
use crate::{Error, GetResult, Key, ListRequest, Listing, Revision, Store, Txn, TxnOutcome, Watch};

use client::Client;
use proto::{CompactionRequest, PutRequest, RangeRequest, RangeResponse};
use translate::{Namespace, failed, revision_of};

/// The deadline of a request, after which the store counts as unavailable: upstream's API server uses the same.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The deadline of the first contact, and of each connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most keys in one response; a longer listing is read in several pages at one revision. With 2 KiB objects a page is about
/// a megabyte, and 100,000 keys take 200 round trips.
const PAGE_KEYS_MAX: usize = 500;

/// Most bytes in one response: a page of objects of the largest size (1.5 MiB), with some room.
const RESPONSE_BYTES_MAX: usize = PAGE_KEYS_MAX * 2 * 1024 * 1024;

/// etcd's endpoints, and the prefix of the keys that this store uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    endpoints: Vec<String>,
    key_prefix: String,
}

impl EtcdConfig {
    /// The default of the key prefix.
    pub const DEFAULT_KEY_PREFIX: &str = "/catamaran";

    /// Takes a comma-separated list of `http://host:port`. In etcd every key begins with `key_prefix` and a colon, so that
    /// several clusters can share one etcd; callers do not see the prefix.
    ///
    /// # Errors
    /// [`Error::Configuration`] for an endpoint that is not plain HTTP, and for a key prefix that does not begin with a
    /// slash, ends with one or contains a colon.
    pub fn new(endpoints: &str, key_prefix: &str) -> Result<EtcdConfig, Error> {
        let invalid = |reason: String| Err(Error::Configuration { reason });
        let endpoints: Vec<String> = endpoints.split(',').map(|one| one.trim().to_owned()).collect();
        for endpoint in &endpoints {
            if endpoint.starts_with("https://") {
                return invalid(format!("{endpoint}: TLS to etcd is not supported yet"));
            }
            if endpoint.strip_prefix("http://").is_none_or(str::is_empty) {
                return invalid(format!("{endpoint:?} is not an etcd endpoint (http://host:port)"));
            }
        }
        if !key_prefix.starts_with('/') || key_prefix.ends_with('/') || key_prefix.contains(':') {
            let rule = "must begin with a slash, not end with one and contain no colon";
            return invalid(format!("key prefix {key_prefix:?} {rule}"));
        }
        Ok(EtcdConfig { endpoints, key_prefix: key_prefix.to_owned() })
    }
}

/// A store in etcd.
pub struct EtcdStore {
    client: Client,
    watches: watch::Opener,
    namespace: Namespace,
    compaction: JoinHandle<()>,
}

impl EtcdStore {
    /// Connects to etcd, and starts to compact it every five minutes unless another server does.
    ///
    /// # Errors
    /// [`Error::Configuration`], and [`Error::Unavailable`] if no endpoint answers in time.
    pub async fn open(config: EtcdConfig) -> Result<EtcdStore, Error> {
        let client = Client::new(&config.endpoints)
            .map_err(|error| Error::Configuration { reason: error.to_string() })?;
        let namespace = Namespace::new(&config.key_prefix);
        first_contact(&client, &config.endpoints).await?;
        Ok(EtcdStore {
            compaction: tokio::spawn(compaction::run(client.clone())),
            watches: watch::Opener::new(client.clone(), namespace.clone()),
            client,
            namespace,
        })
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        call(self.client.kv().range(request)).await
    }

    /// A range read that returns no keys: it yields the current revision and checks that `at` is still in the history.
    async fn probe(&self, at: Revision) -> Result<Revision, Error> {
        let request = RangeRequest {
            key: self.namespace.full(""),
            revision: signed(at),
            count_only: true,
            ..Default::default()
        };
        self.range(request).await.map(|response| revision_of(response.header.as_ref()))
    }

    /// Like `probe`, but fills in the revisions of the error.
    async fn check_history(&self, at: Revision) -> Result<Revision, Error> {
        match at {
            Revision::ZERO => Err(Error::Compacted { requested: at, floor: Revision::FIRST }),
            at => match self.probe(at).await {
                Err(refusal) => Err(self.explain(refusal, at).await),
                current => current,
            },
        }
    }

    /// Fills in the revisions that etcd leaves out when it refuses one.
    async fn explain(&self, refusal: Error, requested: Revision) -> Error {
        match refusal {
            Error::Compacted { .. } => match self.probe(Revision::ZERO).await {
                Ok(current) => Error::Compacted { requested, floor: current },
                Err(error) => error,
            },
            Error::FutureRevision { .. } => match self.probe(Revision::ZERO).await {
                Ok(current) => Error::FutureRevision { requested, current },
                Err(error) => error,
            },
            other => other,
        }
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.compaction.abort();
    }
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn current_revision(&self) -> Result<Revision, Error> {
        self.probe(Revision::ZERO).await
    }

    async fn get(&self, key: &Key) -> Result<GetResult, Error> {
        let request = RangeRequest { key: self.namespace.full(key.as_str()), ..Default::default() };
        let mut response = self.range(request).await?;
        let revision = revision_of(response.header.as_ref());
        let found = response.kvs.pop();
        Ok(GetResult { kv: found.map(|kv| self.namespace.key_value(kv)).transpose()?, revision })
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, Error> {
        if request.at == Some(Revision::ZERO) {
            return Err(Error::Compacted { requested: Revision::ZERO, floor: Revision::FIRST });
        }
        let mut at = request.at;
        let mut from = self.namespace.start(&request);
        let end = self.namespace.end(&request.prefix);
        let mut kvs: Vec<crate::KeyValue> = Vec::new();
        loop {
            let wanted = match request.limit {
                0 => PAGE_KEYS_MAX,
                limit => (limit - kvs.len()).min(PAGE_KEYS_MAX),
            };
            let page = RangeRequest {
                key: from,
                range_end: end.clone(),
                limit: wanted as i64,
                revision: at.map_or(0, signed),
                ..Default::default()
            };
            let response = match self.range(page).await {
                Ok(response) => response,
                Err(refusal) => {
                    // Only a read at a given revision can be refused for its revision.
                    return Err(self.explain(refusal, at.unwrap_or(Revision::ZERO)).await);
                }
            };
            let revision = *at.get_or_insert(revision_of(response.header.as_ref()));
            let remaining = (response.count.max(0) as u64).saturating_sub(response.kvs.len() as u64);
            for kv in response.kvs {
                kvs.push(self.namespace.key_value(kv)?);
            }
            if remaining == 0 || kvs.len() == request.limit {
                return Ok(Listing { kvs, revision, more: remaining > 0, remaining });
            }
            let Some(last) = kvs.last() else {
                let reason = "etcd counted keys in a range and returned none".to_owned();
                return Err(Error::Damaged { reason });
            };
            from = self.namespace.after(&last.key);
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        validate(&txn)?;
        let compared = txn.compares.iter().map(|compare| compare.key.clone()).collect();
        let response = call(self.client.kv().txn(self.namespace.txn(txn))).await?;
        self.namespace.outcome(response, compared)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        match self.check_history(after).await {
            Ok(_) | Err(Error::FutureRevision { .. }) => Ok(self.watches.open(prefix, after)),
            Err(error) => Err(error),
        }
    }

    async fn request_progress(&self) -> Result<(), Error> {
        // etcd's own progress notifications can overtake events before 3.4.25 and 3.5.8 (etcd issue 15220), and Debian's
        // etcd is older. The event of a written key cannot.
        let request = PutRequest { key: self.namespace.progress_key(), value: Bytes::new() };
        call(self.client.kv().put(request)).await.map(drop)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        if revision == Revision::ZERO {
            return Ok(());
        }
        let request = CompactionRequest { revision: signed(revision) };
        match call(self.client.kv().compact(request)).await {
            Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
            Err(refusal) => Err(self.explain(refusal, revision).await),
        }
    }
}

/// Awaits a response of etcd, for [`REQUEST_TIMEOUT`] at most.
async fn call<T>(response: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, response).await {
        Ok(response) => response.map(Response::into_inner).map_err(|status| failed(&status)),
        Err(_) => Err(Error::Unavailable { reason: format!("no response within {REQUEST_TIMEOUT:?}") }),
    }
}

/// Reads any key, because the client connects at the first request.
async fn first_contact(client: &Client, endpoints: &[String]) -> Result<(), Error> {
    let request = RangeRequest { key: Bytes::from_static(b"/"), count_only: true, ..Default::default() };
    let reason = match tokio::time::timeout(CONNECT_TIMEOUT, call(client.kv().range(request))).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(Error::Unavailable { reason })) => reason,
        Ok(Err(other)) => other.to_string(),
        Err(_) => format!("no response within {CONNECT_TIMEOUT:?}"),
    };
    Err(Error::Unavailable { reason: format!("etcd at {}: {reason}", endpoints.join(", ")) })
}

/// etcd's revisions are signed. Every revision of this store came from there, so it fits.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

//! The etcd backend: etcd keeps the revisions, the history and the durability, so that several
//! servers can share one store. What is here is translation; the reconnecting watch is in `watch`,
//! the periodic compaction in `compaction`.

mod compaction;
mod translate;
mod watch;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, CompactionOptions, ConnectOptions, GetOptions, KvClient};
use tokio::task::JoinHandle;

use crate::contract::validate;
use crate::{Error, GetResult, Key, ListRequest, Listing, Revision, Store, Txn, TxnOutcome, Watch};

use translate::{Namespace, failed, revision_of};

/// How long a request may take before the store counts as unavailable: as long as upstream's API
/// server allows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first contact may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most keys in one answer; longer listings are read in several at one revision. Large enough to
/// make round trips few, small enough that 2 KiB objects stay near a megabyte.
const PAGE_KEYS_MAX: usize = 500;

/// Most bytes in one answer: a page of objects of the largest size, with room.
const ANSWER_BYTES_MAX: usize = PAGE_KEYS_MAX * 2 * 1024 * 1024;

/// Where etcd is and which part of it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    endpoints: Vec<String>,
    key_prefix: String,
}

impl EtcdConfig {
    /// The key prefix if none is given.
    pub const DEFAULT_KEY_PREFIX: &str = "/catamaran";

    /// Takes a comma-separated list of `http://host:port`. Every key is kept in etcd under
    /// `key_prefix` and a colon, so that several clusters can share one etcd; callers never see them.
    ///
    /// # Errors
    /// [`Error::Configuration`] for an endpoint that is not plain HTTP and for a key prefix that
    /// does not begin with a slash, ends with one or contains a colon.
    pub fn new(endpoints: &str, key_prefix: &str) -> Result<EtcdConfig, Error> {
        let invalid = |reason: String| Err(Error::Configuration { reason });
        let endpoints: Vec<String> = endpoints.split(',').map(|one| one.trim().to_owned()).collect();
        for endpoint in &endpoints {
            if endpoint.starts_with("https://") {
                return invalid(format!("{endpoint}: TLS to etcd is not supported yet"));
            }
            if endpoint.strip_prefix("http://").is_none_or(str::is_empty) {
                return invalid(format!("{endpoint:?} is no etcd endpoint (http://host:port)"));
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
    kv: KvClient,
    watches: watch::Opener,
    namespace: Namespace,
    compaction: JoinHandle<()>,
}

impl EtcdStore {
    /// Connects to etcd and begins to compact it every five minutes (unless somebody else does).
    ///
    /// # Errors
    /// [`Error::Configuration`] and, if no endpoint answers in time, [`Error::Unavailable`].
    pub async fn open(config: EtcdConfig) -> Result<EtcdStore, Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10))
            .with_require_leader(true);
        let connected = Client::connect(&config.endpoints, Some(options)).await;
        let client = connected.map_err(|error| Error::Configuration { reason: error.to_string() })?;
        let kv = client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let watch_client = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let namespace = Namespace::new(&config.key_prefix);
        first_contact(kv.clone(), &config.endpoints).await?;
        Ok(EtcdStore {
            compaction: tokio::spawn(compaction::run(kv.clone())),
            watches: watch::Opener::new(watch_client, namespace.clone()),
            kv,
            namespace,
        })
    }

    /// A range read without keys: asks for a revision and whether `at` is still in the history.
    async fn probe(&self, at: Revision) -> Result<Revision, Error> {
        let options = GetOptions::new().with_count_only().with_revision(signed(at));
        let mut kv = self.kv.clone();
        let answer = within(kv.get(self.namespace.full(""), Some(options))).await;
        answer.map(|answer| revision_of(answer.header()))
    }

    /// Like `probe`, with the typed refusal of what is not in the history.
    async fn check_history(&self, at: Revision) -> Result<Revision, Error> {
        match at {
            Revision::ZERO => Err(Error::Compacted { requested: at, floor: Revision::FIRST }),
            at => match self.probe(at).await {
                Err(refusal) => Err(self.explain(refusal, at).await),
                current => current,
            },
        }
    }

    /// Fills in what etcd does not say when it refuses a revision.
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
        let mut kv = self.kv.clone();
        let mut answer = within(kv.get(self.namespace.full(key.as_str()), None)).await?;
        let revision = revision_of(answer.header());
        let found = answer.take_kvs().pop();
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
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(wanted as i64)
                .with_revision(at.map_or(0, signed));
            let mut client = self.kv.clone();
            let mut answer = match within(client.get(from, Some(options))).await {
                Ok(answer) => answer,
                Err(refusal) => return Err(self.explain(refusal, at.unwrap_or_default()).await),
            };
            let revision = *at.get_or_insert(revision_of(answer.header()));
            let page = answer.take_kvs();
            let remaining = (answer.count().max(0) as u64).saturating_sub(page.len() as u64);
            for kv in page {
                kvs.push(self.namespace.key_value(kv)?);
            }
            if remaining == 0 || kvs.len() == request.limit {
                return Ok(Listing { kvs, revision, more: remaining > 0, remaining });
            }
            let last = kvs.last().expect("etcd says more only after a key");
            from = self.namespace.after(&last.key);
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        validate(&txn)?;
        let compares = txn.compares.iter().map(|compare| compare.key.clone()).collect();
        let request = self.namespace.txn(txn);
        let mut kv = self.kv.clone();
        let answer = within(kv.txn(request)).await?;
        self.namespace.outcome(answer, compares)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        match self.check_history(after).await {
            Ok(_) | Err(Error::FutureRevision { .. }) => Ok(self.watches.open(prefix, after)),
            Err(error) => Err(error),
        }
    }

    async fn request_progress(&self) -> Result<(), Error> {
        // etcd's own progress marks can overtake events before 3.4.25 and 3.5.8 (its issue 15220),
        // and Debian's is older. A written key cannot: it is an event like any other.
        let mut kv = self.kv.clone();
        within(kv.put(self.namespace.mark(), "", None)).await.map(drop)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        if revision == Revision::ZERO {
            return Ok(());
        }
        let mut kv = self.kv.clone();
        match within(kv.compact(signed(revision), Some(CompactionOptions::new()))).await {
            Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
            Err(refusal) => Err(self.explain(refusal, revision).await),
        }
    }
}

/// Awaits an answer of etcd, for so long.
async fn within<T>(answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(Error::Unavailable { reason: format!("no answer within {REQUEST_TIMEOUT:?}") }),
    }
}

/// Any read: the client itself connects only when it is used.
async fn first_contact(mut kv: KvClient, endpoints: &[String]) -> Result<(), Error> {
    let reason = match tokio::time::timeout(CONNECT_TIMEOUT, kv.get("/", None)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => match failed(error) {
            Error::Unavailable { reason } => reason,
            other => other.to_string(),
        },
        Err(_) => format!("no answer within {CONNECT_TIMEOUT:?}"),
    };
    Err(Error::Unavailable { reason: format!("etcd at {}: {reason}", endpoints.join(", ")) })
}

/// etcd's revisions are signed; ours come from there and fit.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

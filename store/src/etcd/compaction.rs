//! Keeps etcd's history bounded: every five minutes what is older than five minutes is forgotten.
//!
//! The same agreement as upstream's API servers: whoever first moves a counter at a well-known key
//! compacts in this round, all others see that it was done. The key is upstream's, so that servers of
//! both kinds on one etcd agree too.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, KvClient, Txn, TxnOp, TxnOpResponse};

use super::translate::revision_of;
use super::{signed, within};
use crate::{Error, Revision};

/// Upstream's interval.
const INTERVAL: Duration = Duration::from_secs(300);

const AGREEMENT_KEY: &str = "compact_rev_key";

/// Compacts until the task is aborted.
pub(super) async fn run(kv: KvClient) {
    let mut round = Round { kv, version: 0, last_seen: Revision::ZERO };
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = round.finish().await {
            tracing::warn!(%error, "etcd could not be compacted, trying again later");
        }
    }
}

/// What is known from the round before.
struct Round {
    kv: KvClient,
    /// The agreement key's version then.
    version: i64,
    /// etcd's revision then: what is older may go now.
    last_seen: Revision,
}

impl Round {
    async fn finish(&mut self) -> Result<(), Error> {
        let txn = Txn::new()
            .when([Compare::version(AGREEMENT_KEY, CompareOp::Equal, self.version)])
            .and_then([TxnOp::put(AGREEMENT_KEY, self.last_seen.to_string(), None)])
            .or_else([TxnOp::get(AGREEMENT_KEY, None)]);
        let answer = within(self.kv.txn(txn)).await?;
        let compact_to = std::mem::replace(&mut self.last_seen, revision_of(answer.header()));
        if !answer.succeeded() {
            // Somebody else did it in this round; take part again from the counter's state.
            if let Some(TxnOpResponse::Get(found)) = answer.op_responses().first() {
                self.version = found.kvs().first().map_or(0, etcd_client::KeyValue::version);
            }
            return Ok(());
        }
        self.version += 1;
        if compact_to == Revision::ZERO {
            return Ok(());
        }
        match within(self.kv.compact(signed(compact_to), None)).await {
            Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

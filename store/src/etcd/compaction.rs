//! Compacts etcd's history: every five minutes, everything older than five minutes.
//!
//! The protocol is that of upstream's API servers: the server that first increments the version of a well-known key compacts in this
//! round, and the others see that it was done. The key is upstream's, so that servers of both kinds can share an etcd.

use std::time::Duration;

use bytes::Bytes;

use super::client::Client;
use super::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use super::proto::{
    CompactionRequest, Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
    response_op::Response,
};
use super::translate::revision_of;
use super::{call, signed};
use crate::{Error, Revision};

/// Upstream's interval (`--etcd-compaction-interval`).
const INTERVAL: Duration = Duration::from_secs(300);

const COMPACTION_KEY: &str = "compact_rev_key";

/// Compacts until the task is aborted.
pub(super) async fn run(client: Client) {
    let mut compactor = Compactor { client, version: 0, last_revision: Revision::ZERO };
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = compactor.compact_once().await {
            tracing::warn!(%error, "compacting etcd failed; retrying in the next interval");
        }
    }
}

/// What the previous round learned.
struct Compactor {
    client: Client,
    /// The version of the compaction key.
    version: i64,
    /// etcd's revision: everything older can be compacted now.
    last_revision: Revision,
}

impl Compactor {
    async fn compact_once(&mut self) -> Result<(), Error> {
        let key = Bytes::from_static(COMPACTION_KEY.as_bytes());
        let unchanged = Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Version as i32,
            key: key.clone(),
            target_union: Some(TargetUnion::Version(self.version)),
        };
        let put = PutRequest { key: key.clone(), value: self.last_revision.to_string().into() };
        let read = RangeRequest { key, ..Default::default() };
        let txn = TxnRequest {
            compare: vec![unchanged],
            success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
            failure: vec![RequestOp { request: Some(Request::RequestRange(read)) }],
        };
        let response = call(self.client.kv().txn(txn)).await?;
        let compact_to = std::mem::replace(&mut self.last_revision, revision_of(response.header.as_ref()));
        if !response.succeeded {
            // Another server compacted in this round: continue from its version of the key.
            if let Some(Response::ResponseRange(found)) =
                response.responses.into_iter().next().and_then(|one| one.response)
            {
                self.version = found.kvs.first().map_or(0, |kv| kv.version);
            }
            return Ok(());
        }
        self.version += 1;
        if compact_to == Revision::ZERO {
            return Ok(());
        }
        match call(self.client.kv().compact(CompactionRequest { revision: signed(compact_to) })).await {
            Ok(_) | Err(Error::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

//! Conversion between the store's values and etcd's: key prefix, transactions, errors.

use bytes::Bytes;
use tonic::{Code, Status};

use super::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use super::proto::{
    Compare as EtcdCompare, DeleteRangeRequest, KeyValue as EtcdKeyValue, PutRequest, RangeRequest,
    RequestOp, ResponseHeader, TxnRequest, TxnResponse, request_op::Request, response_op::Response,
};
use super::signed;
use crate::{Compare, Condition, Error, Key, KeyValue, ListRequest, Op, Revision, Txn, TxnOutcome};

/// The key that [`crate::Store::request_progress`] writes. It sorts before every key of a caller; listings and watches hide
/// it.
const PROGRESS_KEY: &str = "\0mark";

/// etcd's messages for a refused revision. Both come with `OUT_OF_RANGE` and no other detail: etcd's Go client tells them
/// apart by the message too.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE_REVISION: &str = "etcdserver: mvcc: required revision is a future revision";

/// The range of etcd's keys that belongs to this store.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    key_prefix: String,
}

impl Namespace {
    /// The keys under a cluster's prefix. The colon, which no prefix contains, keeps the keys of `/one2` out of `/one`.
    pub(super) fn new(key_prefix: &str) -> Namespace {
        Namespace { key_prefix: format!("{key_prefix}:") }
    }

    /// The key in etcd.
    pub(super) fn full(&self, key: &str) -> Bytes {
        [self.key_prefix.as_bytes(), key.as_bytes()].concat().into()
    }

    /// The key in etcd that [`crate::Store::request_progress`] writes.
    pub(super) fn progress_key(&self) -> Bytes {
        self.full(PROGRESS_KEY)
    }

    /// The first key in etcd after this one.
    pub(super) fn after(&self, key: &Key) -> Bytes {
        [self.key_prefix.as_bytes(), key.as_str().as_bytes(), b"\0"].concat().into()
    }

    /// Where a listing begins (inclusive).
    pub(super) fn start(&self, request: &ListRequest) -> Bytes {
        match &request.start_after {
            Some(key) if key.as_str() >= request.prefix.as_str() => self.after(key),
            _ if request.prefix.is_empty() => self.after(&Key::new(PROGRESS_KEY)),
            _ => self.full(&request.prefix),
        }
    }

    /// Where the keys with this prefix end (exclusive).
    pub(super) fn end(&self, prefix: &str) -> Bytes {
        let mut end = [self.key_prefix.as_bytes(), prefix.as_bytes()].concat();
        // The last byte of UTF-8 is never 0xff.
        *end.last_mut().expect("invariant: the key prefix is not empty") += 1;
        end.into()
    }

    /// The store's key for one of etcd's.
    pub(super) fn key(&self, full: &[u8]) -> Result<Key, Error> {
        let own = full.strip_prefix(self.key_prefix.as_bytes()).and_then(|own| std::str::from_utf8(own).ok());
        own.map(Key::new).ok_or_else(|| Error::Damaged {
            reason: format!("etcd returned a key outside the prefix: {:?}", String::from_utf8_lossy(full)),
        })
    }

    pub(super) fn key_value(&self, kv: EtcdKeyValue) -> Result<KeyValue, Error> {
        Ok(KeyValue {
            key: self.key(&kv.key)?,
            create_revision: unsigned(kv.create_revision),
            mod_revision: unsigned(kv.mod_revision),
            version: kv.version.max(0) as u64,
            value: kv.value,
            unreadable: None,
        })
    }

    /// The transaction as etcd takes it. On a conflict it reads the compared keys.
    pub(super) fn txn(&self, txn: Txn) -> TxnRequest {
        let read = |compare: &Compare| {
            let key = self.full(compare.key.as_str());
            Request::RequestRange(RangeRequest { key, ..Default::default() })
        };
        let op = |request: Request| RequestOp { request: Some(request) };
        TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            failure: txn.compares.iter().map(read).map(op).collect(),
            success: txn.ops.into_iter().map(|one| op(self.op(one))).collect(),
        }
    }

    fn compare(&self, compare: &Compare) -> EtcdCompare {
        let (target, result, operand) = match compare.condition {
            Condition::Absent => {
                (CompareTarget::Create, CompareResult::Equal, TargetUnion::CreateRevision(0))
            }
            Condition::Exists => {
                (CompareTarget::Create, CompareResult::Greater, TargetUnion::CreateRevision(0))
            }
            Condition::ModRevision(revision) => {
                (CompareTarget::Mod, CompareResult::Equal, TargetUnion::ModRevision(signed(revision)))
            }
        };
        EtcdCompare {
            result: result as i32,
            target: target as i32,
            key: self.full(compare.key.as_str()),
            target_union: Some(operand),
        }
    }

    fn op(&self, op: Op) -> Request {
        match op {
            Op::Put { key, value } => Request::RequestPut(PutRequest { key: self.full(key.as_str()), value }),
            Op::Delete { key } => Request::RequestDeleteRange(DeleteRangeRequest {
                key: self.full(key.as_str()),
                range_end: Bytes::new(),
            }),
        }
    }

    /// The outcome of [`Namespace::txn`]; `compared` are the keys of its comparisons, in order.
    pub(super) fn outcome(&self, response: TxnResponse, compared: Vec<Key>) -> Result<TxnOutcome, Error> {
        let revision = revision_of(response.header.as_ref());
        if response.succeeded {
            return Ok(TxnOutcome::Committed { revision });
        }
        let mut current = Vec::with_capacity(compared.len());
        for (key, op) in compared.into_iter().zip(response.responses) {
            let Some(Response::ResponseRange(mut found)) = op.response else {
                return Err(Error::Damaged {
                    reason: "etcd answered a range read with another op".to_owned(),
                });
            };
            let kv = found.kvs.pop().map(|kv| self.key_value(kv)).transpose()?;
            current.push((key, kv));
        }
        Ok(TxnOutcome::Conflict { current, revision })
    }
}

/// The store's revision at the time of the response.
pub(super) fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    unsigned(header.map_or(0, |header| header.revision))
}

pub(super) fn unsigned(revision: i64) -> Revision {
    Revision(revision.max(0) as u64)
}

/// Converts etcd's error. For a refused revision, the revisions stay zero: the caller fills them in.
pub(super) fn failed(status: &Status) -> Error {
    match (status.code(), status.message()) {
        (Code::OutOfRange, COMPACTED) => {
            Error::Compacted { requested: Revision::ZERO, floor: Revision::ZERO }
        }
        (Code::OutOfRange, FUTURE_REVISION) => {
            Error::FutureRevision { requested: Revision::ZERO, current: Revision::ZERO }
        }
        _ => Error::Unavailable { reason: reason(status) },
    }
}

/// The message, with the transport's cause where the connection failed.
fn reason(status: &Status) -> String {
    let mut reason = status.message().to_owned();
    let mut cause = std::error::Error::source(status).and_then(std::error::Error::source);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    reason
}

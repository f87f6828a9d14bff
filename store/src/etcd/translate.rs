//! Between our values and etcd's: keys under the cluster's prefix, transactions, errors.

use bytes::Bytes;
use etcd_client::{
    Compare as EtcdCompare, CompareOp, ResponseHeader, Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::signed;
use crate::{Compare, Condition, Error, Key, KeyValue, ListRequest, Op, Revision, Txn, TxnOutcome};

/// What is written to make watches tell how far they are. It sorts before every key of a caller and
/// is hidden from listings and watches.
const MARK: &str = "\0mark";

/// The part of etcd's keys that is ours.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    key_prefix: String,
}

impl Namespace {
    /// The keys under a cluster's prefix. The colon, which no prefix contains, keeps `/one` from
    /// holding the keys of `/one2`.
    pub(super) fn new(key_prefix: &str) -> Namespace {
        Namespace { key_prefix: format!("{key_prefix}:") }
    }

    /// The key as etcd has it.
    pub(super) fn full(&self, key: &str) -> Vec<u8> {
        [self.key_prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// The key that marks progress.
    pub(super) fn mark(&self) -> Vec<u8> {
        self.full(MARK)
    }

    /// The first key, as etcd has it, that comes after this one.
    pub(super) fn after(&self, key: &Key) -> Vec<u8> {
        [self.key_prefix.as_bytes(), key.as_str().as_bytes(), b"\0"].concat()
    }

    /// Where a listing begins (inclusive).
    pub(super) fn start(&self, request: &ListRequest) -> Vec<u8> {
        match &request.start_after {
            Some(key) if key.as_str() >= request.prefix.as_str() => self.after(key),
            _ if request.prefix.is_empty() => self.after(&Key::new(MARK)),
            _ => self.full(&request.prefix),
        }
    }

    /// Where the keys with this prefix end (exclusive).
    pub(super) fn end(&self, prefix: &str) -> Vec<u8> {
        let mut end = self.full(prefix);
        // The last byte of UTF-8 is never 0xff, and the key prefix is not empty.
        *end.last_mut().expect("the key prefix is not empty") += 1;
        end
    }

    /// Our key of one of etcd's.
    pub(super) fn key(&self, full: &[u8]) -> Result<Key, Error> {
        let own = full.strip_prefix(self.key_prefix.as_bytes()).and_then(|own| std::str::from_utf8(own).ok());
        own.map(Key::new).ok_or_else(|| Error::Damaged {
            reason: format!("etcd has a key that is not ours: {:?}", String::from_utf8_lossy(full)),
        })
    }

    /// Our value of one of etcd's; the bytes are moved, not copied.
    pub(super) fn key_value(&self, kv: etcd_client::KeyValue) -> Result<KeyValue, Error> {
        Ok(KeyValue {
            key: self.key(kv.key())?,
            create_revision: unsigned(kv.create_revision()),
            mod_revision: unsigned(kv.mod_revision()),
            version: kv.version().max(0) as u64,
            value: Bytes::from(kv.into_key_value().1),
        })
    }

    /// The transaction in etcd's words. In case of a conflict it reads the compared keys.
    pub(super) fn txn(&self, txn: Txn) -> EtcdTxn {
        let reads: Vec<TxnOp> =
            txn.compares.iter().map(|compare| TxnOp::get(self.full(compare.key.as_str()), None)).collect();
        let compares: Vec<EtcdCompare> = txn.compares.iter().map(|compare| self.compare(compare)).collect();
        let ops: Vec<TxnOp> = txn.ops.into_iter().map(|op| self.op(op)).collect();
        EtcdTxn::new().when(compares).and_then(ops).or_else(reads)
    }

    fn compare(&self, compare: &Compare) -> EtcdCompare {
        let key = self.full(compare.key.as_str());
        match compare.condition {
            Condition::Absent => EtcdCompare::create_revision(key, CompareOp::Equal, 0),
            Condition::Exists => EtcdCompare::create_revision(key, CompareOp::Greater, 0),
            Condition::ModRevision(revision) => {
                EtcdCompare::mod_revision(key, CompareOp::Equal, signed(revision))
            }
        }
    }

    fn op(&self, op: Op) -> TxnOp {
        match op {
            Op::Put { key, value } => TxnOp::put(self.full(key.as_str()), value, None),
            Op::Delete { key } => TxnOp::delete(self.full(key.as_str()), None),
        }
    }

    /// What etcd's answer to [`Namespace::txn`] says; `compared` are the keys of its comparisons.
    pub(super) fn outcome(&self, answer: TxnResponse, compared: Vec<Key>) -> Result<TxnOutcome, Error> {
        let revision = revision_of(answer.header());
        if answer.succeeded() {
            return Ok(TxnOutcome::Committed { revision });
        }
        let mut current = Vec::with_capacity(compared.len());
        for (key, response) in compared.into_iter().zip(answer.op_responses()) {
            let TxnOpResponse::Get(mut found) = response else {
                return Err(Error::Damaged { reason: "etcd answered a read with something else".to_owned() });
            };
            let kv = found.take_kvs().pop().map(|kv| self.key_value(kv)).transpose()?;
            current.push((key, kv));
        }
        Ok(TxnOutcome::Conflict { current, revision })
    }
}

/// The store's revision when etcd answered.
pub(super) fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    unsigned(header.map_or(0, ResponseHeader::revision))
}

pub(super) fn unsigned(revision: i64) -> Revision {
    Revision(revision.max(0) as u64)
}

/// What etcd's error means here. For a refused revision, which one it was is left at zero.
pub(super) fn failed(error: etcd_client::Error) -> Error {
    let etcd_client::Error::GRpcStatus(status) = &error else {
        return Error::Unavailable { reason: error.to_string() };
    };
    let message = status.message();
    if message.contains("required revision has been compacted") {
        Error::Compacted { requested: Revision::ZERO, floor: Revision::ZERO }
    } else if message.contains("required revision is a future revision") {
        Error::FutureRevision { requested: Revision::ZERO, current: Revision::ZERO }
    } else {
        Error::Unavailable { reason: message.to_owned() }
    }
}

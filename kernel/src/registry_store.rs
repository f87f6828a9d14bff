//! The master's registry in the store: one key per record, under `/kernel/registry/`.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use kernel_core::master::{Op, Record, RecordKey, Registry};
use kernel_model::time::Time;
use kernel_wire::{
    Invalid, executor, link_proto as proto, operation, operator, prost::Message, quota, record,
    resources::Format, v1::quota::QuotaConfig,
};
use store::{Key, ListRequest, Store, Txn};

use crate::http::metrics::RegistrarMetrics;

const PREFIX: &str = "/kernel/registry/";

/// Records per read.
const PAGE: usize = 1000;

/// A registry that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RegistryError {
    #[error("the registry cannot be read: {0}")]
    Store(#[from] store::Error),
    /// A record does not decode.
    #[error("record {key} of the registry is damaged: {reason}")]
    Damaged { key: String, reason: String },
}

/// Loads the registry.
pub(crate) async fn load(store: &dyn Store, metrics: &RegistrarMetrics) -> Result<Registry, RegistryError> {
    let begun = Instant::now();
    let (mut records, mut lengths) = (Vec::new(), Vec::new());
    let mut request = ListRequest { limit: PAGE, ..ListRequest::prefix(PREFIX) };
    loop {
        let listing = store.list(request.clone()).await?;
        for item in &listing.kvs {
            let damaged = |reason: Invalid| RegistryError::Damaged {
                key: item.key.to_string(),
                reason: reason.to_string(),
            };
            lengths.push((item.key.to_string(), item.value.len()));
            records.push(decode(item.key.as_str(), &item.value).map_err(damaged)?);
        }
        match listing.kvs.last() {
            Some(last) if listing.more => {
                request.start_after = Some(last.key.clone());
                request.at = Some(listing.revision);
            }
            _ => {
                metrics.fetched(begun.elapsed(), lengths);
                return Ok(Registry::from_records(records));
            }
        }
    }
}

/// Values by key; `None` deletes. The newest change of a key wins.
pub(crate) type Changes = BTreeMap<String, Option<Bytes>>;

/// The changes of the store's keys for operations.
pub(crate) fn changes(ops: &[Op]) -> Changes {
    let change = |op: &Op| match op {
        Op::Put(record) => (path(&record.key()), Some(encode(record))),
        Op::Delete(key) => (path(key), None),
    };
    ops.iter().map(change).collect()
}

/// One transaction for changes.
pub(crate) fn transaction(changes: &Changes) -> Txn {
    changes.iter().fold(Txn::new(), |txn, (path, value)| match value {
        Some(value) => txn.put(Key::from(path.as_str()), value.clone()),
        None => txn.delete(Key::from(path.as_str())),
    })
}

fn path(key: &RecordKey) -> String {
    match key {
        RecordKey::Agent(id) => format!("{PREFIX}agents/{id}"),
        RecordKey::GoneAgent(id) => format!("{PREFIX}gone/{id}"),
        RecordKey::Weight(role) => format!("{PREFIX}weights/{role}"),
        RecordKey::Quota(role) => format!("{PREFIX}quotas/{role}"),
        RecordKey::EndedFramework(id) => format!("{PREFIX}ended/{id}"),
        RecordKey::AbsentFramework(id) => format!("{PREFIX}absent/{id}"),
        RecordKey::PendingOperation(agent_id, uuid) => {
            format!("{PREFIX}operations/{agent_id}/{:032x}", u128::from_be_bytes(uuid.0))
        }
    }
}

fn encode(record: &Record) -> Bytes {
    let bytes = match record {
        Record::Agent { info, activation, unreachable_since } => proto::AgentRecord {
            agent: record::agent_to_record(info),
            deactivated: Some(!activation.is_active()),
            unreachable_since: unreachable_since.map(|t| t.0),
            drain_info: activation.drain().map(operator::drain_to_wire),
            drain_since: activation.drain().map(|drain| drain.since.0),
        }
        .encode_to_vec(),
        Record::GoneAgent { since, .. } | Record::EndedFramework { since, .. } => {
            proto::EndRecord { since: Some(since.0) }.encode_to_vec()
        }
        Record::AbsentFramework { until, .. } => {
            proto::AbsenceRecord { until: Some(until.0) }.encode_to_vec()
        }
        Record::PendingOperation { agent_id, count, operation } => proto::PendingOperationRecord {
            agent_id: executor::agent_id_to_wire(agent_id),
            count: *count,
            operation: operation::to_wire(operation, None, Format::FULL),
        }
        .encode_to_vec(),
        Record::Quota { role, quota } => quota::config_to_wire(role, quota).encode_to_vec(),
        Record::Weight { weight, .. } => proto::WeightRecord { weight: *weight }.encode_to_vec(),
    };
    bytes.into()
}

fn decode(path: &str, value: &Bytes) -> Result<Record, Invalid> {
    let parse = |e: kernel_wire::prost::DecodeError| Invalid(e.to_string());
    let name = path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
    let (family, name) = name.ok_or_else(|| Invalid("the key names no record".to_owned()))?;
    let since = |record: proto::EndRecord| {
        record.since.map(Time).ok_or_else(|| Invalid("the record has no time".to_owned()))
    };
    Ok(match family {
        "agents" => {
            let record = proto::AgentRecord::decode(value.clone()).map_err(parse)?;
            let since = Time(record.drain_since.unwrap_or_default());
            let drain = record.drain_info.map(|info| operator::drain_from_wire(info, since)).transpose()?;
            Record::Agent {
                info: record::agent_from_record(record.agent)?.into(),
                activation: operator::activation_from_wire(record.deactivated, drain),
                unreachable_since: record.unreachable_since.map(Time),
            }
        }
        "gone" => {
            let record = proto::EndRecord::decode(value.clone()).map_err(parse)?;
            Record::GoneAgent { agent_id: name.into(), since: since(record)? }
        }
        "ended" => {
            let record = proto::EndRecord::decode(value.clone()).map_err(parse)?;
            Record::EndedFramework { framework_id: name.into(), since: since(record)? }
        }
        "absent" => {
            let record = proto::AbsenceRecord::decode(value.clone()).map_err(parse)?;
            let until = record.until.ok_or_else(|| Invalid("the record has no time".to_owned()))?;
            Record::AbsentFramework { framework_id: name.into(), until: Time(until) }
        }
        "operations" => {
            let record = proto::PendingOperationRecord::decode(value.clone()).map_err(parse)?;
            Record::PendingOperation {
                agent_id: record.agent_id.value.into(),
                count: record.count,
                operation: operation::from_wire(record.operation)?.into(),
            }
        }
        "weights" => {
            let record = proto::WeightRecord::decode(value.clone()).map_err(parse)?;
            Record::Weight { role: kernel_wire::resources::role(name)?, weight: record.weight }
        }
        "quotas" => {
            let config = QuotaConfig::decode(value.clone()).map_err(parse)?;
            let (role, quota) = quota::config_from_wire(config)?;
            Record::Quota { role, quota }
        }
        other => return Err(Invalid(format!("unknown family '{other}'"))),
    })
}

#[cfg(test)]
mod tests {
    use kernel_model::{
        operation::{OfferOperation, OperationUuid},
        resources::ConversionKind,
        scheduler::OperationState,
    };

    use super::*;

    #[test]
    fn a_pending_operation_is_read_as_it_is_written() {
        let operation = OfferOperation {
            uuid: OperationUuid([7; 16]),
            framework_id: "f".into(),
            id: "op".into(),
            kind: ConversionKind::Reserve,
            resources: "cpus:1".parse().unwrap(),
            state: OperationState::Pending,
            message: String::new(),
            status: None,
        };
        let record = Record::PendingOperation { agent_id: "s".into(), count: 3, operation: operation.into() };
        let path = path(&record.key());
        assert_eq!(path, format!("{PREFIX}operations/s/{}", "07".repeat(16)));
        assert_eq!(decode(&path, &encode(&record)).unwrap(), record);
    }

    #[test]
    fn an_absent_framework_is_read_as_it_is_written() {
        let record = Record::AbsentFramework { framework_id: "f".into(), until: Time(7) };
        let path = path(&record.key());
        assert_eq!(path, format!("{PREFIX}absent/f"));
        assert_eq!(decode(&path, &encode(&record)).unwrap(), record);
        assert_eq!(decode(&path, &Bytes::new()).unwrap_err().0, "the record has no time");
    }
}

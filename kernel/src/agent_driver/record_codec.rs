//! Encodes checkpoint records: a tag and fields, with values encoded by `kernel-wire`.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kernel_core::agent::Record;
use kernel_model::{ids::UpdateId, operation::OperationUuid, time::Time};
use kernel_wire::{operation, record as noun};

/// A record that does not decode.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record is too short")]
    Short,
    #[error("a record has the unknown tag {0}")]
    Tag(u8),
    #[error("a record has no valid text")]
    Text,
    #[error("a record's value: {0}")]
    Noun(#[from] kernel_wire::Invalid),
}

/// Encodes a record.
pub(crate) fn encode(record: &Record, to: &mut BytesMut) {
    match record {
        Record::Identity { agent_id } => {
            to.put_u8(1);
            put(to, agent_id.as_str().as_bytes());
        }
        Record::Framework { info } => {
            to.put_u8(2);
            put(to, &noun::encode_framework(info));
        }
        Record::FrameworkRemoved { framework_id } => {
            to.put_u8(3);
            put(to, framework_id.as_str().as_bytes());
        }
        Record::Executor { framework_id, executor, container_id, at } => {
            to.put_u8(4);
            put(to, framework_id.as_str().as_bytes());
            put(to, &noun::encode_executor(executor));
            put(to, container_id.as_str().as_bytes());
            to.put_u64(at.0);
        }
        Record::ExecutorRemoved { framework_id, executor_id } => {
            to.put_u8(5);
            put_key(to, framework_id.as_str(), executor_id.as_str());
        }
        Record::Task { framework_id, executor_id, task, launch, grouped, at } => {
            to.put_u8(6);
            put(to, framework_id.as_str().as_bytes());
            put(to, executor_id.as_str().as_bytes());
            put(to, &noun::encode_task_info(task));
            to.put_u64(*launch);
            to.put_u8(u8::from(*grouped));
            to.put_u64(at.0);
        }
        Record::Kill { framework_id, task_id, grace } => {
            to.put_u8(7);
            put(to, framework_id.as_str().as_bytes());
            put(to, task_id.as_str().as_bytes());
            let grace = grace.map(|grace| u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX - 1));
            to.put_u64(grace.unwrap_or(u64::MAX));
        }
        Record::Update { framework_id, status } => {
            to.put_u8(8);
            put(to, framework_id.as_str().as_bytes());
            put(to, &noun::encode_status(status));
        }
        Record::UpdateDone { framework_id, task_id, uuid } => {
            to.put_u8(9);
            put(to, framework_id.as_str().as_bytes());
            put(to, task_id.as_str().as_bytes());
            to.put_slice(&uuid.0);
        }
        Record::TaskRemoved { framework_id, task_id } => {
            to.put_u8(10);
            put_key(to, framework_id.as_str(), task_id.as_str());
        }
        Record::Resources { resources, applied } => {
            to.put_u8(12);
            put(to, &operation::encode_checkpoint(resources, applied));
        }
        Record::Operation { operation: one } => {
            to.put_u8(13);
            put(to, &operation::encode(one));
        }
        Record::OperationDone { uuid } => {
            to.put_u8(14);
            to.put_slice(&uuid.0);
        }
    }
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode(mut from: Bytes) -> Result<Record, RecordError> {
    let from = &mut from;
    let tag = from.try_get_u8().map_err(|_| RecordError::Short)?;
    Ok(match tag {
        1 => Record::Identity { agent_id: text(from)?.into() },
        2 => Record::Framework { info: noun::decode_framework(&take(from)?)?.into() },
        3 => Record::FrameworkRemoved { framework_id: text(from)?.into() },
        4 => Record::Executor {
            framework_id: text(from)?.into(),
            executor: noun::decode_executor(&take(from)?)?.into(),
            container_id: text(from)?.into(),
            at: Time(number(from)?),
        },
        5 => Record::ExecutorRemoved { framework_id: text(from)?.into(), executor_id: text(from)?.into() },
        6 => Record::Task {
            framework_id: text(from)?.into(),
            executor_id: text(from)?.into(),
            task: noun::decode_task_info(&take(from)?)?.into(),
            launch: number(from)?,
            grouped: from.try_get_u8().map_err(|_| RecordError::Short)? != 0,
            at: Time(number(from)?),
        },
        7 => Record::Kill {
            framework_id: text(from)?.into(),
            task_id: text(from)?.into(),
            grace: Some(number(from)?).filter(|grace| *grace != u64::MAX).map(Duration::from_nanos),
        },
        8 => Record::Update {
            framework_id: text(from)?.into(),
            status: noun::decode_status(&take(from)?)?.into(),
        },
        9 => {
            let (framework_id, task_id) = (text(from)?.into(), text(from)?.into());
            Record::UpdateDone { framework_id, task_id, uuid: UpdateId(uuid(from)?) }
        }
        10 => Record::TaskRemoved { framework_id: text(from)?.into(), task_id: text(from)?.into() },
        // Of versions that did not count operations.
        11 => Record::Resources {
            resources: noun::decode_resources(&take(from)?)?,
            applied: Default::default(),
        },
        12 => {
            let (resources, applied) = operation::decode_checkpoint(&take(from)?)?;
            Record::Resources { resources, applied }
        }
        13 => Record::Operation { operation: operation::decode(&take(from)?)?.into() },
        14 => Record::OperationDone { uuid: OperationUuid(uuid(from)?) },
        other => return Err(RecordError::Tag(other)),
    })
}

fn put_key(to: &mut BytesMut, framework_id: &str, id: &str) {
    put(to, framework_id.as_bytes());
    put(to, id.as_bytes());
}

fn put(to: &mut BytesMut, bytes: &[u8]) {
    to.put_u32(u32::try_from(bytes.len()).expect("invariant: a value is far below 4 GiB"));
    to.put_slice(bytes);
}

fn take(from: &mut Bytes) -> Result<Bytes, RecordError> {
    let length = from.try_get_u32().map_err(|_| RecordError::Short)? as usize;
    if from.len() < length { Err(RecordError::Short) } else { Ok(from.split_to(length)) }
}

fn text(from: &mut Bytes) -> Result<String, RecordError> {
    String::from_utf8(take(from)?.to_vec()).map_err(|_| RecordError::Text)
}

fn uuid(from: &mut Bytes) -> Result<[u8; 16], RecordError> {
    let mut uuid = [0; 16];
    from.try_copy_to_slice(&mut uuid).map_err(|_| RecordError::Short)?;
    Ok(uuid)
}

fn number(from: &mut Bytes) -> Result<u64, RecordError> {
    from.try_get_u64().map_err(|_| RecordError::Short)
}

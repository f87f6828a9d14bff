//! Converts offer operations, and what operations have changed on an agent, from and to their messages.

use bytes::Bytes;
use kernel_model::{
    ids::AgentId,
    operation::{AppliedOperations, OfferOperation, OperationUuid},
    resources::{ConversionKind, Resources, VolumeId},
    scheduler::OperationState,
};
use prost::Message as _;

use crate::{
    Invalid,
    executor::agent_id_to_wire,
    framework, link_proto as link,
    resources::{self, Format},
    scheduler_call::operation_id_to_wire,
    task,
    v1::{
        self,
        offer::{Operation as Info, operation},
    },
};

/// The message of an operation of an ACCEPT.
pub(crate) fn info_to_wire(kind: ConversionKind, resources: &Resources, format: Format) -> Info {
    let all = resources::to_wire(resources, format);
    let mut to = Info::default();
    let kind = match kind {
        ConversionKind::Reserve => {
            to.reserve = Some(operation::Reserve { resources: all, ..Default::default() });
            operation::Type::Reserve
        }
        ConversionKind::Unreserve => {
            to.unreserve = Some(operation::Unreserve { resources: all });
            operation::Type::Unreserve
        }
        ConversionKind::Create => {
            to.create = Some(operation::Create { volumes: all });
            operation::Type::Create
        }
        ConversionKind::Destroy => {
            to.destroy = Some(operation::Destroy { volumes: all });
            operation::Type::Destroy
        }
    };
    to.r#type = Some(kind as i32);
    to
}

/// What an operation of an ACCEPT converts, and how; `None` for other operations.
pub(crate) fn parts(info: Info) -> Option<(ConversionKind, Vec<v1::Resource>)> {
    Some(match info.r#type() {
        operation::Type::Reserve => (ConversionKind::Reserve, info.reserve.unwrap_or_default().resources),
        operation::Type::Unreserve => {
            (ConversionKind::Unreserve, info.unreserve.unwrap_or_default().resources)
        }
        operation::Type::Create => (ConversionKind::Create, info.create.unwrap_or_default().volumes),
        operation::Type::Destroy => (ConversionKind::Destroy, info.destroy.unwrap_or_default().volumes),
        _ => return None,
    })
}

/// Encodes an operation on an agent.
pub fn to_wire(from: &OfferOperation, agent_id: Option<&AgentId>, format: Format) -> v1::Operation {
    let status = v1::OperationStatus {
        operation_id: Some(operation_id_to_wire(&from.id)),
        state: from.state as i32,
        uuid: from.status.map(|uuid| v1::Uuid { value: task::uuid_to_wire(uuid) }),
        agent_id: agent_id.map(agent_id_to_wire),
        message: (!from.message.is_empty()).then(|| from.message.clone()),
        ..Default::default()
    };
    let info = info_to_wire(from.kind, &from.resources, format);
    v1::Operation {
        framework_id: Some(framework::id_to_wire(&from.framework_id)),
        agent_id: agent_id.map(agent_id_to_wire),
        info: Info { id: Some(operation_id_to_wire(&from.id)), ..info },
        statuses: if from.state == OperationState::Pending { Vec::new() } else { vec![status.clone()] },
        latest_status: status,
        uuid: v1::Uuid { value: Bytes::copy_from_slice(&from.uuid.0) },
    }
}

/// Decodes an operation of one of our components.
pub fn from_wire(from: v1::Operation) -> Result<OfferOperation, Invalid> {
    let absent = |what: &str| Invalid::new(format!("an operation without {what}"));
    let status = from.latest_status.uuid.and_then(|uuid| task::uuid_from_wire(&uuid.value));
    let id = from.info.id.clone().ok_or_else(|| absent("an id"))?;
    let (kind, resources) = parts(from.info).ok_or_else(|| absent("a known type"))?;
    let uuid = from.uuid.value.as_ref().try_into().map_err(|_| Invalid::new("Not a valid UUID"))?;
    Ok(OfferOperation {
        uuid: OperationUuid(uuid),
        framework_id: from.framework_id.ok_or_else(|| absent("a framework"))?.value.into(),
        id: id.value.into(),
        kind,
        resources: resources::from_wire(resources)?,
        state: state_from_wire(from.latest_status.state)?,
        message: from.latest_status.message.unwrap_or_default(),
        status,
    })
}

pub(crate) fn state_from_wire(number: i32) -> Result<OperationState, Invalid> {
    use v1::OperationState as Wire;
    Ok(match Wire::try_from(number) {
        Ok(Wire::OperationUnsupported) => OperationState::Unsupported,
        Ok(Wire::OperationPending) => OperationState::Pending,
        Ok(Wire::OperationFinished) => OperationState::Finished,
        Ok(Wire::OperationFailed) => OperationState::Failed,
        Ok(Wire::OperationError) => OperationState::Error,
        Ok(Wire::OperationDropped) => OperationState::Dropped,
        Ok(Wire::OperationUnreachable) => OperationState::Unreachable,
        Ok(Wire::OperationGoneByOperator) => OperationState::GoneByOperator,
        Ok(Wire::OperationRecovering) => OperationState::Recovering,
        Ok(Wire::OperationUnknown) => OperationState::Unknown,
        Err(_) => return Err(Invalid::new(format!("unknown operation state {number}"))),
    })
}

/// Encodes what operations have changed.
pub(crate) fn applied_to_wire(from: &AppliedOperations) -> link::AppliedOperations {
    let volume = |(id, created): (&VolumeId, &u64)| link::applied_operations::Volume {
        role: id.role.to_string(),
        id: id.id.clone(),
        created: *created,
    };
    link::AppliedOperations { count: Some(from.count), volumes: from.volumes.iter().map(volume).collect() }
}

/// Decodes what operations have changed; nothing if it is absent.
pub(crate) fn applied_from_wire(from: Option<link::AppliedOperations>) -> Result<AppliedOperations, Invalid> {
    let from = from.unwrap_or_default();
    let volume = |volume: link::applied_operations::Volume| {
        Ok((VolumeId { role: resources::role(&volume.role)?, id: volume.id }, volume.created))
    };
    let volumes = from.volumes.into_iter().map(volume).collect::<Result<_, Invalid>>()?;
    Ok(AppliedOperations { count: from.count.unwrap_or(0), volumes })
}

/// Encodes an operation for a checkpoint.
pub fn encode(from: &OfferOperation) -> Bytes {
    to_wire(from, None, Format::FULL).encode_to_vec().into()
}

/// Decodes an operation of a checkpoint.
pub fn decode(bytes: &Bytes) -> Result<OfferOperation, Invalid> {
    from_wire(v1::Operation::decode(bytes.clone()).map_err(|error| Invalid::new(error.to_string()))?)
}

/// Encodes checkpointed resources.
pub fn encode_checkpoint(resources: &Resources, applied: &AppliedOperations) -> Bytes {
    let message = checkpoint_to_wire(resources, applied);
    message.encode_to_vec().into()
}

/// Decodes checkpointed resources.
pub fn decode_checkpoint(bytes: &Bytes) -> Result<(Resources, AppliedOperations), Invalid> {
    let message = link::Checkpoint::decode(bytes.clone()).map_err(|error| Invalid::new(error.to_string()))?;
    checkpoint_from_wire(message)
}

pub(crate) fn checkpoint_to_wire(resources: &Resources, applied: &AppliedOperations) -> link::Checkpoint {
    let resources = resources::to_wire(resources, Format::FULL);
    link::Checkpoint { resources, applied: Some(applied_to_wire(applied)) }
}

pub(crate) fn checkpoint_from_wire(
    from: link::Checkpoint,
) -> Result<(Resources, AppliedOperations), Invalid> {
    Ok((resources::from_wire(from.resources)?, applied_from_wire(from.applied)?))
}

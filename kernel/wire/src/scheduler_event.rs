//! Converts scheduler events from and to `mesos.v1.scheduler.Event`, in the framework's format.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kernel_model::{
    ids::{AgentId, ExecutorId, OperationId},
    scheduler::{ErrorReason, Event},
};

use crate::{
    Invalid,
    codec::{self, ContentType},
    executor::{agent_id_to_wire, executor_id_to_wire},
    framework::id_to_wire,
    offer, offers_event,
    resources::Format,
    scheduler_call::operation_id_to_wire,
    task,
    v1::{
        self,
        scheduler::{Event as WireEvent, event},
    },
};

/// The bytes of an event.
pub fn encode(content: ContentType, from: &Event, format: Format) -> Bytes {
    match (content, from) {
        (ContentType::Protobuf, Event::Offers { offers }) => offers_event::encode(offers, format).into(),
        _ => codec::encode(content, &to_wire(from, format)),
    }
}

/// Encodes an event.
pub fn to_wire(from: &Event, format: Format) -> WireEvent {
    let mut to = WireEvent::default();
    let kind = match from {
        Event::Subscribed { framework_id, heartbeat_interval, master } => {
            to.subscribed = Some(event::Subscribed {
                framework_id: id_to_wire(framework_id),
                heartbeat_interval_seconds: Some(heartbeat_interval.as_secs_f64()),
                master_info: Some(offer::master_to_wire(master)),
            });
            event::Type::Subscribed
        }
        Event::Offers { offers } => {
            to.offers =
                Some(event::Offers { offers: offers.iter().map(|o| offer::to_wire(o, format)).collect() });
            event::Type::Offers
        }
        Event::Rescind { offer_id } => {
            to.rescind =
                Some(event::Rescind { offer_id: v1::OfferId { value: offer_id.as_str().to_owned() } });
            event::Type::Rescind
        }
        Event::InverseOffers { offers } => {
            let inverse_offers =
                offers.iter().map(|inverse| offer::inverse_to_wire(inverse, format)).collect();
            to.inverse_offers = Some(event::InverseOffers { inverse_offers });
            event::Type::InverseOffers
        }
        Event::Update { status } => {
            to.update = Some(event::Update { status: task::status_to_wire(status) });
            event::Type::Update
        }
        Event::UpdateOperationStatus { uuid, operation_id, state, message, agent_id } => {
            to.update_operation_status = Some(event::UpdateOperationStatus {
                status: v1::OperationStatus {
                    operation_id: Some(operation_id_to_wire(operation_id)),
                    state: *state as i32,
                    message: (!message.is_empty()).then(|| message.clone()),
                    uuid: uuid.map(|uuid| v1::Uuid { value: task::uuid_to_wire(uuid) }),
                    agent_id: agent_id.as_ref().map(agent_id_to_wire),
                    ..Default::default()
                },
            });
            event::Type::UpdateOperationStatus
        }
        Event::Message { agent_id, executor_id, data } => {
            to.message = Some(event::Message {
                agent_id: agent_id_to_wire(agent_id),
                executor_id: executor_id_to_wire(executor_id),
                data: data.clone(),
            });
            event::Type::Message
        }
        Event::Failure { agent_id, executor_id, status } => {
            to.failure = Some(event::Failure {
                agent_id: agent_id.as_ref().map(agent_id_to_wire),
                executor_id: executor_id.as_ref().map(executor_id_to_wire),
                status: *status,
            });
            event::Type::Failure
        }
        Event::Error { message, .. } => {
            to.error = Some(event::Error { message: message.clone() });
            event::Type::Error
        }
        Event::Heartbeat => event::Type::Heartbeat,
    };
    to.r#type = Some(kind as i32);
    to
}

/// Decodes an event; `None` for types that our drivers do not read (inverse offers, unknown types).
pub fn from_wire(from: WireEvent) -> Result<Option<Event>, Invalid> {
    let kind = from.r#type.and_then(|n| event::Type::try_from(n).ok()).unwrap_or_default();
    Ok(Some(match kind {
        event::Type::Subscribed => {
            let subscribed = present(from.subscribed)?;
            let seconds = subscribed.heartbeat_interval_seconds.unwrap_or(15.0);
            Event::Subscribed {
                framework_id: subscribed.framework_id.value.into(),
                heartbeat_interval: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(15)),
                master: offer::master_from_wire(present(subscribed.master_info)?).into(),
            }
        }
        event::Type::Offers => {
            let offers = present(from.offers)?.offers.into_iter().map(offer::from_wire);
            Event::Offers { offers: offers.map(|offer| offer.map(Arc::new)).collect::<Result<_, _>>()? }
        }
        event::Type::Rescind => Event::Rescind { offer_id: present(from.rescind)?.offer_id.value.into() },
        event::Type::Update => {
            Event::Update { status: task::status_from_wire(present(from.update)?.status)?.into() }
        }
        event::Type::UpdateOperationStatus => {
            let status = present(from.update_operation_status)?.status;
            Event::UpdateOperationStatus {
                uuid: status.uuid.and_then(|uuid| task::uuid_from_wire(&uuid.value)),
                operation_id: OperationId::from(present(status.operation_id)?.value),
                state: crate::operation::state_from_wire(status.state)?,
                message: status.message.unwrap_or_default(),
                agent_id: status.agent_id.map(|id| AgentId::from(id.value)),
            }
        }
        event::Type::Message => {
            let message = present(from.message)?;
            Event::Message {
                agent_id: message.agent_id.value.into(),
                executor_id: message.executor_id.value.into(),
                data: message.data,
            }
        }
        event::Type::Failure => {
            let failure = present(from.failure)?;
            Event::Failure {
                agent_id: failure.agent_id.map(|id| AgentId::from(id.value)),
                executor_id: failure.executor_id.map(|id| ExecutorId::from(id.value)),
                status: failure.status,
            }
        }
        event::Type::Error => {
            Event::Error { reason: ErrorReason::Other, message: present(from.error)?.message }
        }
        event::Type::Heartbeat => Event::Heartbeat,
        event::Type::Unknown | event::Type::InverseOffers | event::Type::RescindInverseOffer => {
            return Ok(None);
        }
    }))
}

fn present<T>(part: Option<T>) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid::new("an event without the part that its type names"))
}

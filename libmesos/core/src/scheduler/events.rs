//! The master's events.

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Callback, Driver, Effect, Phase, Status};
use crate::wire::{self, event};

impl Driver {
    pub(super) fn record(&mut self, now: Time, stream: u64, record: Bytes, effects: &mut Vec<Effect>) {
        if self.status != Status::Running || self.current_stream() != Some(stream) {
            return;
        }
        let Ok(event) = wire::Event::decode(record) else {
            return self.stream_lost(now, "an event that does not decode".to_owned(), effects);
        };
        if let Phase::Subscribed(subscription) = &mut self.phase {
            subscription.deadline = now + subscription.silence_max;
        }
        match (event.r#type.unwrap_or_default(), event) {
            (event::SUBSCRIBED, wire::Event { subscribed: Some(subscribed), .. }) => {
                self.subscribed(now, subscribed, effects);
            }
            (event::ERROR, wire::Event { error: Some(error), .. }) => self.fail(now, error.message, effects),
            (kind, event) => {
                // Before SUBSCRIBED there is nothing that the framework could be told.
                if let Phase::Subscribed(_) = self.phase {
                    self.callbacks.extend(callback(kind, event));
                }
            }
        }
    }
}

/// The callback of an event; none for heartbeats and for what the Java library has no callback for (inverse offers, statuses of
/// operations).
fn callback(kind: i32, event: wire::Event) -> Option<Callback> {
    match kind {
        event::OFFERS => event.offers.map(|offers| Callback::ResourceOffers { offers: offers.offers }),
        event::RESCIND => event.rescind.map(|rescind| Callback::OfferRescinded { offer: rescind.offer_id }),
        event::UPDATE => event.update.map(|update| Callback::StatusUpdate { status: update.status }),
        event::MESSAGE => event.message.map(|message| Callback::FrameworkMessage {
            executor: message.executor_id,
            agent: message.agent_id,
            data: message.data,
        }),
        event::FAILURE => match event.failure? {
            wire::Failure { executor_id: Some(executor), agent_id, status } => Some(Callback::ExecutorLost {
                executor,
                agent: agent_id.unwrap_or_default(),
                status: status.unwrap_or_default(),
            }),
            wire::Failure { agent_id: Some(agent), .. } => Some(Callback::AgentLost { agent }),
            wire::Failure { .. } => None,
        },
        _ => None,
    }
}

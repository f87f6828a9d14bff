//! The agent's events.

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Callback, Driver, Effect, Phase, Status};
use crate::wire::executor::{self as wire, Task, event};

impl Driver {
    pub(super) fn record(&mut self, now: Time, stream: u64, record: Bytes, effects: &mut Vec<Effect>) {
        if self.status != Status::Running || self.current_stream() != Some(stream) {
            return;
        }
        let Ok(event) = wire::Event::decode(record) else {
            return self.stream_lost(now, "an event that does not decode".to_owned(), effects);
        };
        match (event.r#type.unwrap_or_default(), event) {
            (event::SUBSCRIBED, wire::Event { subscribed: Some(subscribed), .. }) => {
                self.subscribed(subscribed);
            }
            // These may come before SUBSCRIBED: acknowledgements of what SUBSCRIBE has carried, and orders to an executor that
            // the agent does not want any more.
            (event::ACKNOWLEDGED, wire::Event { acknowledged: Some(acknowledged), .. }) => {
                self.acknowledged(&acknowledged);
            }
            (event::ERROR, wire::Event { error: Some(error), .. }) => self.fail(now, error.message, effects),
            (event::SHUTDOWN, _) => self.shut_down(effects),
            (kind, event) => {
                if let Phase::Subscribed { .. } = self.phase
                    && !self.shutting_down
                {
                    self.work(kind, event, effects);
                }
            }
        }
    }

    fn acknowledged(&mut self, acknowledged: &wire::Acknowledged) {
        // The agent acknowledges in order, so the update is among the first.
        let Some(index) = self.updates.iter().position(|update| update.uuid == acknowledged.uuid) else {
            return;
        };
        self.update_bytes -= self.updates.remove(index).map_or(0, |update| update.status.len());
        self.tasks.remove(&acknowledged.task_id.value);
    }

    /// Launches, kills and messages; nothing for heartbeats and for what the Java library has no callback for.
    fn work(&mut self, kind: i32, event: wire::Event, effects: &mut Vec<Effect>) {
        match (kind, event) {
            (event::LAUNCH, wire::Event { launch: Some(launch), .. }) => self.launch(launch.task, effects),
            // An executor of the Java library has no groups: it gets their tasks one by one.
            (event::LAUNCH_GROUP, wire::Event { launch_group: Some(group), .. }) => {
                for task in group.task_group.tasks {
                    self.launch(task, effects);
                }
            }
            (event::KILL, wire::Event { kill: Some(kill), .. }) => {
                self.callbacks.push_back(Callback::KillTask { task: kill.task_id });
            }
            (event::MESSAGE, wire::Event { message: Some(message), .. }) => {
                self.callbacks.push_back(Callback::FrameworkMessage { data: message.data });
            }
            _ => {}
        }
    }

    fn launch(&mut self, task: Bytes, effects: &mut Vec<Effect>) {
        let Ok(known) = Task::decode(task.clone()) else {
            return effects.push(Effect::Log("A task that does not decode is not launched".to_owned()));
        };
        let id = known.task_id.value.clone();
        if self.tasks.contains_key(&id) {
            return effects.push(Effect::Log(format!("The task '{id}' has been launched already")));
        }
        self.tasks.insert(id, known);
        self.callbacks.push_back(Callback::LaunchTask { task });
    }
}

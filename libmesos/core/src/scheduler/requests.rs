//! The framework's requests.

use std::collections::BTreeSet;

use bytes::Bytes;
use kernel_model::time::Time;
use prost::Message;

use super::{Driver, Effect, Framework, Phase, Request};
use crate::wire::{self, LaunchedTask, call, status};

impl Driver {
    /// Sends a request as a call. Without a subscription, launches are lost and everything else is dropped, as the Java driver
    /// does; suppressed roles and the changed framework are kept for the next subscription.
    pub(super) fn request(&mut self, now: Time, request: Request, effects: &mut Vec<Effect>) {
        let subscribed = matches!(self.phase, Phase::Subscribed(_));
        match request {
            Request::Accept { offers, operations, filters } => {
                let launches = launched_tasks(&operations);
                if !subscribed {
                    let reason = status::REASON_MASTER_DISCONNECTED;
                    return self.lose_tasks(now, launches, "Master disconnected", reason);
                }
                let accept = wire::Accept { offer_ids: offers, operations, filters };
                let call =
                    wire::Call { r#type: Some(call::ACCEPT), accept: Some(accept), ..Default::default() };
                self.enqueue(now, call, launches, effects);
            }
            Request::Acknowledge { status } => self.acknowledge(now, status, effects),
            Request::UpdateFramework { framework, suppressed_roles, constraints } => {
                self.update_framework(now, framework, suppressed_roles, constraints, effects);
            }
            other => {
                self.remember_roles(&other);
                if subscribed && let Some(call) = plain_call(other) {
                    self.enqueue(now, call, Vec::new(), effects);
                }
            }
        }
    }

    /// Acknowledges an update that has a uuid; the driver's own updates have none.
    pub(super) fn acknowledge(&mut self, now: Time, status: Bytes, effects: &mut Vec<Effect>) {
        let Phase::Subscribed(_) = self.phase else { return };
        let Ok(status) = wire::TaskStatus::decode(status) else { return };
        let (Some(uuid), Some(agent_id)) = (status.uuid.filter(|uuid| !uuid.is_empty()), status.agent_id)
        else {
            return;
        };
        let acknowledge = wire::Acknowledge { agent_id, task_id: status.task_id, uuid };
        let call = wire::Call {
            r#type: Some(call::ACKNOWLEDGE),
            acknowledge: Some(acknowledge),
            ..Default::default()
        };
        self.enqueue(now, call, Vec::new(), effects);
    }

    fn remember_roles(&mut self, request: &Request) {
        match request {
            Request::Revive(None) => self.suppressed.clear(),
            Request::Revive(Some(roles)) => self.suppressed.retain(|role| !roles.contains(role)),
            Request::Suppress(None) => self.suppressed = self.framework.roles.clone(),
            Request::Suppress(Some(roles)) => self.suppressed.extend(roles.iter().cloned()),
            _ => {}
        }
    }

    fn update_framework(
        &mut self,
        now: Time,
        framework: Bytes,
        suppressed_roles: Vec<String>,
        constraints: Option<Bytes>,
        effects: &mut Vec<Effect>,
    ) {
        let update = Framework::new(framework);
        let Some(id) = self.framework.id.clone().filter(|_| self.registered) else {
            let message = "MesosSchedulerDriver::updateFramework() must not be called prior to registration \
                           with the master";
            return self.fail(now, message.to_owned(), effects);
        };
        if update.id.as_ref() != Some(&id) {
            let message = format!(
                "The 'FrameworkInfo.id' provided to MesosSchedulerDriver::updateFramework() ({}) must be equal to \
                 the value known to the MesosSchedulerDriver ({id})",
                update.id.unwrap_or_default()
            );
            return self.fail(now, message, effects);
        }
        self.framework = update;
        self.suppressed = BTreeSet::from_iter(suppressed_roles);
        self.constraints = constraints;
        match self.phase {
            Phase::Subscribed(_) => self.send_update_framework(now, effects),
            _ => self.update_pending = true,
        }
    }

    pub(super) fn send_update_framework(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let call = wire::Call {
            r#type: Some(call::UPDATE_FRAMEWORK),
            update_framework: Some(self.subscription_content()),
            ..Default::default()
        };
        self.enqueue(now, call, Vec::new(), effects);
    }
}

/// The call of a request that has no other consequence.
fn plain_call(request: Request) -> Option<wire::Call> {
    let empty = wire::Call::default();
    Some(match request {
        Request::Decline { offer, filters } => wire::Call {
            r#type: Some(call::DECLINE),
            decline: Some(wire::Decline { offer_ids: vec![offer], filters }),
            ..empty
        },
        Request::Kill { task } => {
            wire::Call { r#type: Some(call::KILL), kill: Some(wire::Kill { task_id: task }), ..empty }
        }
        Request::Message { executor, agent, data } => wire::Call {
            r#type: Some(call::MESSAGE),
            message: Some(wire::FrameworkMessage { agent_id: agent, executor_id: executor, data }),
            ..empty
        },
        Request::Reconcile { statuses } => {
            let tasks = statuses
                .into_iter()
                .filter_map(|status| wire::TaskStatus::decode(status).ok())
                .map(|status| wire::ReconcileTask { task_id: status.task_id, agent_id: status.agent_id })
                .collect();
            wire::Call { r#type: Some(call::RECONCILE), reconcile: Some(wire::Reconcile { tasks }), ..empty }
        }
        Request::Revive(roles) => wire::Call {
            r#type: Some(call::REVIVE),
            revive: Some(wire::Roles { roles: roles.unwrap_or_default() }),
            ..empty
        },
        Request::Suppress(roles) => wire::Call {
            r#type: Some(call::SUPPRESS),
            suppress: Some(wire::Roles { roles: roles.unwrap_or_default() }),
            ..empty
        },
        Request::Resources(requests) => {
            wire::Call { r#type: Some(call::REQUEST), request: Some(wire::Requests { requests }), ..empty }
        }
        Request::Accept { .. } | Request::Acknowledge { .. } | Request::UpdateFramework { .. } => {
            return None;
        }
    })
}

fn launched_tasks(operations: &[Bytes]) -> Vec<LaunchedTask> {
    let mut tasks = Vec::new();
    for operation in operations {
        let Ok(operation) = wire::Operation::decode(operation.clone()) else { continue };
        tasks.extend(operation.launch.into_iter().flat_map(|launch| launch.tasks));
        let group = operation.launch_group.and_then(|group| group.task_group);
        tasks.extend(group.into_iter().flat_map(|group| group.tasks));
    }
    tasks
}

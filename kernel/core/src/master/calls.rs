//! Scheduler calls: authorisation, and the small calls.

use kernel_model::{
    agent::{AgentState, ToAgent},
    caller::Caller,
    ids::{AgentId, FrameworkId, OfferId, StreamId, TaskId, UpdateId},
    roles::Role,
    scheduler::Call,
};
use std::{collections::BTreeSet, time::Duration};

use super::{
    Master,
    counts::call_name,
    effect::{Answer, Effect, Refusal},
    state::FrameworkState,
    subscribe::principal_mismatch,
};
use crate::effect::RequestId;

impl Master {
    pub(super) fn scheduler_call(
        &mut self,
        request: RequestId,
        id: FrameworkId,
        stream: Option<StreamId>,
        caller: &Caller,
        call: Call,
    ) {
        if let Err(refusal) = self.check_caller(&id, stream, caller) {
            match call {
                Call::Acknowledge { .. } => self.counts.acknowledgements.count(false),
                Call::Message { .. } => self.counts.framework_messages.count(false),
                _ => {}
            }
            return self.reply(request, Err(refusal));
        }
        self.count_call(&id, call_name(&call));
        if let Call::UpdateFramework { framework, suppressed_roles, preferences } = call {
            let result = self.update_framework(&id, *framework, suppressed_roles, preferences);
            return self.reply(request, result);
        }
        if let Call::Hold(hold) = call {
            let result = self.hold(&id, caller, *hold);
            return self.reply(request, result);
        }
        self.reply(request, Ok(Answer::Accepted));
        match call {
            Call::Teardown => self.end_framework(&id),
            Call::Accept { offer_ids, operations, filters } => {
                self.note_answer(&id, &offer_ids);
                self.accept(&id, &offer_ids, operations, filters);
            }
            Call::Decline { offer_ids, filters } => {
                self.note_answer(&id, &offer_ids);
                self.decline(&id, &offer_ids, filters);
            }
            Call::Revive { roles } => self.revive(&id, &roles),
            Call::Suppress { roles } => self.suppress(&id, &roles),
            Call::Kill { task_id, agent_id, grace } => self.kill(&id, task_id, agent_id, grace),
            Call::Shutdown { executor_id, agent_id } => {
                self.send_to_agent(&agent_id, ToAgent::ShutdownExecutor { framework_id: id, executor_id });
            }
            Call::Acknowledge { agent_id, task_id, uuid } => self.acknowledge(&id, &agent_id, task_id, uuid),
            Call::Reconcile { tasks } => self.reconcile(&id, tasks),
            Call::Message { agent_id, executor_id, data } => {
                let connected = self.agents.get(&agent_id).is_some_and(|agent| agent.link.is_some());
                self.counts.framework_messages.count(connected);
                self.send_to_agent(&agent_id, ToAgent::Message { framework_id: id, executor_id, data });
            }
            Call::AcceptInverseOffers { offer_ids } => self.take_inverse_offers(&id, "accept", &offer_ids),
            Call::DeclineInverseOffers { offer_ids } => self.take_inverse_offers(&id, "decline", &offer_ids),
            Call::AcknowledgeOperationStatus { agent_id, operation_id, uuid } => {
                self.acknowledge_operation(&id, &agent_id, &operation_id, uuid);
            }
            Call::ReconcileOperations { operations } => self.reconcile_operations(&id, operations),
            // The allocator is driven by demand through roles; as in Mesos it does not use requests.
            Call::Request => {}
            Call::Dropped { message, .. } => self.effect(Effect::Dropped { framework_id: id, message }),
            Call::Demand { roles } => self.set_demand(&id, roles),
            Call::ReleaseHold { agent_id, id } => self.release_hold(&agent_id, &id),
            Call::UpdateFramework { .. } | Call::Hold(_) => unreachable!("invariant: answered above"),
        }
    }

    fn check_caller(
        &self,
        id: &FrameworkId,
        stream: Option<StreamId>,
        caller: &Caller,
    ) -> Result<(), Refusal> {
        let Some(framework) = self.frameworks.get(id) else {
            return Err(Refusal::Invalid("Framework cannot be found".to_owned()));
        };
        let stranger = match caller {
            Caller::InProcess => None,
            Caller::Principal(who) => {
                (framework.info.principal.as_ref() != Some(who)).then_some(who.as_str())
            }
            // A client without credentials must not use the rights of a subscription that has some.
            Caller::Anonymous => framework.caller.as_ref().is_some_and(|of| of != caller).then_some(""),
        };
        if let Some(who) = stranger {
            let claimed = framework.info.principal.as_deref().unwrap_or_default();
            return Err(Refusal::Invalid(principal_mismatch(who, claimed)));
        }
        let FrameworkState::Connected(current) = &framework.state else {
            return Err(Refusal::Forbidden("Framework is not subscribed".to_owned()));
        };
        match stream {
            None => Err(Refusal::Invalid(
                "All non-subscribe calls should include the 'Mesos-Stream-Id' header".to_owned(),
            )),
            Some(stream) if stream != *current => Err(Refusal::Invalid(format!(
                "The stream ID '{stream}' included in this request didn't match the stream ID currently \
                 associated with framework ID {id}"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Answers to inverse offers. Mesos drops unknown ids with this message.
    fn take_inverse_offers(&mut self, id: &FrameworkId, verb: &str, offer_ids: &[OfferId]) {
        for offer_id in offer_ids {
            let accepted = verb == "accept";
            if self.inverse_offer_answered(id, offer_id, accepted)
                || self.drain_answered(id, offer_id, accepted)
            {
                continue;
            }
            let message = format!("Ignoring {verb} of inverse offer {offer_id} since it is no longer valid");
            self.effect(Effect::Dropped { framework_id: id.clone(), message });
        }
    }

    /// The named roles, or all if none is named; `None` if the framework is not subscribed in one of them.
    fn named_roles(&self, id: &FrameworkId, named: &[Role]) -> Option<Vec<Role>> {
        let roles = &self.frameworks.get(id)?.info.roles;
        if named.is_empty() {
            return Some(roles.clone());
        }
        let roles: BTreeSet<&Role> = roles.iter().collect();
        named.iter().all(|role| roles.contains(role)).then(|| named.to_vec())
    }

    fn revive(&mut self, id: &FrameworkId, named: &[Role]) {
        let Some(roles) = self.named_roles(id, named) else { return };
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        for role in roles {
            framework.suppressed_roles.remove(&role);
            if let Some(client) = framework.clients.get(&role) {
                self.allocator.answered(self.now, *client);
                self.allocator.clear_filters(*client);
                self.allocator.set_client_active(*client, true);
            }
        }
    }

    fn suppress(&mut self, id: &FrameworkId, named: &[Role]) {
        let Some(roles) = self.named_roles(id, named) else { return };
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        for role in roles {
            if let Some(client) = framework.clients.get(&role) {
                self.allocator.set_client_active(*client, false);
            }
            framework.suppressed_roles.insert(role);
        }
    }

    fn kill(
        &mut self,
        id: &FrameworkId,
        task_id: TaskId,
        agent_id: Option<AgentId>,
        grace: Option<Duration>,
    ) {
        let task = self.frameworks.get(id).and_then(|f| f.tasks.get(&task_id));
        let Some(task) = task else {
            return self.reconcile_one(id, task_id, agent_id);
        };
        let on = task.info.agent_id.clone();
        if agent_id.is_some_and(|named| named != on) {
            return;
        }
        match self.agents.get_mut(&on) {
            Some(agent) if agent.state == AgentState::Connected => {
                self.send_to_agent(&on, ToAgent::KillTask { framework_id: id.clone(), task_id, grace });
            }
            Some(agent) => {
                agent.pending_kills.insert((id.clone(), task_id), grace);
            }
            None => {}
        }
    }

    fn acknowledge(&mut self, id: &FrameworkId, agent_id: &AgentId, task_id: TaskId, uuid: UpdateId) {
        // A disconnected agent would lose the acknowledgement; it resends the update later.
        let link = self.agents.get(agent_id).and_then(|agent| agent.link);
        self.counts.acknowledgements.count(link.is_some());
        let Some(link) = link else { return };
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if let Some(task) = framework.tasks.get(&task_id)
            && task.info.agent_id == *agent_id
            && let Some((state, known)) = task.unacknowledged
            && known == Some(uuid)
            && state.is_terminal()
        {
            self.complete_task(id, &task_id);
        }
        let message = ToAgent::Acknowledge { framework_id: id.clone(), task_id, uuid };
        self.effect(Effect::ToAgent { link, message });
    }

    /// Moves a terminated task to the completed ones.
    pub(super) fn complete_task(&mut self, framework_id: &FrameworkId, task_id: &TaskId) {
        if let Some(task) = self.remove_task(framework_id, task_id)
            && let Some(framework) = self.frameworks.get_mut(framework_id)
        {
            framework.remember_completed(task);
        }
    }
}

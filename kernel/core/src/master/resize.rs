//! Tasks that hold other amounts than at their launch: Pods that are resized in place. The ledger follows, so nothing that a task
//! has been given is offered, and what it gives up is.

use std::sync::Arc;

use kernel_model::{
    agent::ToAgent,
    caller::Caller,
    ids::{AgentId, FrameworkId, TaskId},
    resources::Resources,
    task::TaskInfo,
};

use super::Master;

impl Master {
    /// An executor asks for other amounts of a task. What it gives up is released in any case. More is granted only to the
    /// scheduler of this process, because it is beyond any offer: it is taken from what is free, and from outstanding offers of
    /// the agent, which are rescinded.
    pub(super) fn resize_task(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        amounts: &Resources,
    ) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let may_grow = framework.caller == Some(Caller::InProcess);
        let Some(task) = framework.tasks.get(task_id) else { return };
        if task.info.agent_id != *agent_id || task.state.is_terminal() {
            return;
        }
        let held = task.info.resources.clone();
        let role = held.allocation_roles().first().map(|role| (*role).clone());
        let wanted = held.with_amounts(amounts, role.as_ref());
        let (less, more) = (held.saturating_sub(&wanted), wanted.saturating_sub(&held));
        self.release(agent_id, framework_id, &less);
        let mut resources = held.saturating_sub(&less);
        let within_quota = role.as_ref().is_some_and(|role| {
            let client = self.client_of(framework_id, role);
            client.is_some_and(|client| self.allocator.quota_allows(client, &more.unallocated()))
        });
        if !more.is_empty() && may_grow && within_quota && self.make_room(agent_id, &more.unallocated()) {
            self.add_recovered(agent_id, framework_id, &more);
            resources += &more;
        }
        self.set_task_resources(framework_id, task_id, resources.clone());
        let (framework_id, task_id) = (framework_id.clone(), task_id.clone());
        self.send_to_agent(agent_id, ToAgent::TaskResized { framework_id, task_id, resources });
    }

    /// Whether the agent has room, after its newest offers are rescinded as far as necessary.
    pub(super) fn make_room(&mut self, agent_id: &AgentId, needed: &Resources) -> bool {
        let Some(agent) = self.agents.get(agent_id) else { return false };
        let slot = agent.slot;
        let has_room =
            |master: &Self| master.allocator.available(slot).is_some_and(|free| free.contains(needed));
        let mut possible = agent.offered.unallocated();
        if let Some(free) = self.allocator.available(slot) {
            possible += free;
        }
        if !possible.contains(needed) {
            return false;
        }
        let newest_first: Vec<u64> = agent.offers.iter().rev().copied().collect();
        for number in newest_first {
            if has_room(self) {
                break;
            }
            self.withdraw_offer(number, true);
        }
        has_room(self)
    }

    /// An agent that registers again reports what a task holds there. If that is less than here, the answer to a request was
    /// lost, or the request.
    pub(super) fn follow_reported_resources(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        reported: &Resources,
    ) {
        let framework = self.frameworks.get(framework_id);
        let Some(task) = framework.and_then(|framework| framework.tasks.get(task_id)) else { return };
        let held = task.info.resources.clone();
        if held == *reported || task.state.is_terminal() || !held.contains(reported) {
            return;
        }
        self.release(agent_id, framework_id, &held.saturating_sub(reported));
        self.set_task_resources(framework_id, task_id, reported.clone());
    }

    fn set_task_resources(&mut self, framework_id: &FrameworkId, task_id: &TaskId, resources: Resources) {
        let framework = self.frameworks.get_mut(framework_id);
        if let Some(task) = framework.and_then(|framework| framework.tasks.get_mut(task_id)) {
            task.info = Arc::new(TaskInfo { resources, ..TaskInfo::clone(&task.info) });
        }
    }
}

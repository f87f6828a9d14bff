//! Resource accounting of tasks and executors. All charges and releases of an agent's resources go through this file,
//! so that the agents and the allocator agree (INV-08).

use std::sync::Arc;

use kernel_model::{
    executor::ExecutorInfo,
    ids::{AgentId, ExecutorId, FrameworkId, TaskId},
    resources::Resources,
    roles::Role,
    task::Task,
};

use super::Master;
use crate::allocator::{AgentSlot, ClientSlot};

impl Master {
    /// The allocator's client of a framework in a role. Adds it if it is new: recovered resources can be in roles that
    /// the framework has left.
    pub(super) fn client_of(&mut self, framework_id: &FrameworkId, role: &Role) -> Option<ClientSlot> {
        let framework = self.frameworks.get_mut(framework_id)?;
        if let Some(client) = framework.clients.get(role) {
            return Some(*client);
        }
        let client = self.allocator.add_client(framework_id, role, Default::default());
        framework.clients.insert(role.clone(), client);
        Some(client)
    }

    /// Adds resources to the agent's allocation. The allocator charged them with the offer.
    pub(super) fn add_allocated(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        resources: &Resources,
    ) {
        if resources.is_empty() {
            return;
        }
        if let Some(agent) = self.agents.get_mut(agent_id) {
            *agent.allocated.entry(framework_id.clone()).or_default() += resources;
            self.changed_agents.insert(agent_id.clone());
        }
    }

    /// Adds resources that were found in use at re-registration, and charges the allocator.
    pub(super) fn add_recovered(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        resources: &Resources,
    ) {
        self.add_allocated(agent_id, framework_id, resources);
        let Some(slot) = self.agents.get(agent_id).map(|a| a.slot) else { return };
        for role in resources.allocation_roles() {
            if let Some(client) = self.client_of(framework_id, role) {
                self.allocator.charge(slot, client, &resources.allocated_in(role));
            }
        }
    }

    /// Releases used resources.
    pub(super) fn release(&mut self, agent_id: &AgentId, framework_id: &FrameworkId, resources: &Resources) {
        if resources.is_empty() {
            return;
        }
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        let slot = agent.slot;
        if let Some(held) = agent.allocated.get_mut(framework_id) {
            held.remove_all(resources);
            if held.is_empty() {
                agent.allocated.remove(framework_id);
            }
        }
        self.changed_agents.insert(agent_id.clone());
        self.recover(slot, framework_id, resources);
    }

    /// Returns offered or used resources to the allocator.
    pub(super) fn recover(&mut self, slot: AgentSlot, framework_id: &FrameworkId, resources: &Resources) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        for role in resources.allocation_roles() {
            let Some(&client) = framework.clients.get(role) else { continue };
            self.allocator.recover(slot, client, &resources.allocated_in(role));
            if self.allocator.is_idle(client) && !framework.info.roles.contains(role) {
                framework.clients.remove(role);
                self.allocator.remove_client(client);
            }
        }
    }

    /// Removes a task from its framework and agent, and releases its resources.
    pub(super) fn remove_task(&mut self, framework_id: &FrameworkId, task_id: &TaskId) -> Option<Task> {
        let task = self.frameworks.get_mut(framework_id)?.tasks.remove(task_id)?;
        let agent_id = task.info.agent_id.clone();
        if let Some(agent) = self.agents.get_mut(&agent_id)
            && let Some(tasks) = agent.tasks.get_mut(framework_id)
        {
            tasks.remove(task_id);
            if tasks.is_empty() {
                agent.tasks.remove(framework_id);
            }
            self.drains.ended_on(&agent_id);
        }
        if !task.state.is_terminal() {
            self.release(&agent_id, framework_id, &task.info.resources);
        }
        Some(task)
    }

    /// Removes an executor from its agent, and releases its resources.
    pub(super) fn remove_executor(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) -> Option<Arc<ExecutorInfo>> {
        let key = (framework_id.clone(), executor_id.clone());
        let executor = self.agents.get_mut(agent_id)?.executors.remove(&key)?;
        self.release(agent_id, framework_id, &executor.resources);
        Some(executor)
    }

    /// Releases everything that a framework holds on an agent, and removes its tasks and executors from the agent. The
    /// framework's own table keeps the tasks.
    pub(super) fn release_framework_on(&mut self, agent_id: &AgentId, framework_id: &FrameworkId) {
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        agent.tasks.remove(framework_id);
        agent.executors.retain(|(framework, _), _| framework != framework_id);
        agent.pending_kills.retain(|(framework, _), _| framework != framework_id);
        let held = agent.allocated.get(framework_id).cloned().unwrap_or_default();
        self.drains.ended_on(agent_id);
        self.release(agent_id, framework_id, &held);
    }
}

//! Logs what happens to the cluster: agents and frameworks that join and leave, and frameworks that are refused, once each at
//! level `info`. What happens to tasks is `task_trace`.

use std::collections::HashMap;

use kernel_model::{
    agent::{AgentSnapshot, AgentState},
    ids::AgentId,
    operator, scheduler,
};
use tracing::info;

/// The last logged state of each agent.
#[derive(Default)]
pub(super) struct ClusterLog {
    agents: HashMap<AgentId, AgentState>,
}

impl ClusterLog {
    /// Logs what is new in an event.
    pub(super) fn record(&mut self, event: &operator::Event) {
        match event {
            operator::Event::AgentAdded { agent } | operator::Event::AgentUpdated { agent } => {
                self.agent(agent)
            }
            operator::Event::AgentRemoved { agent_id } => {
                if self.agents.remove(agent_id).is_some_and(|state| state != AgentState::Gone) {
                    info!(%agent_id, "agent removed");
                }
            }
            operator::Event::FrameworkAdded { framework } => {
                let (name, principal) = (&*framework.name, framework.principal.as_deref());
                info!(
                    framework_id = framework.id.as_ref().map(|id| id.as_str()),
                    name, principal, "framework subscribed"
                );
            }
            operator::Event::FrameworkRemoved { framework } => {
                let name = &*framework.name;
                info!(framework_id = framework.id.as_ref().map(|id| id.as_str()), name, "framework removed");
            }
            operator::Event::FrameworkUpdated { .. }
            | operator::Event::TaskAdded { .. }
            | operator::Event::TaskUpdated { .. } => {}
        }
    }

    /// Most changes of an agent are those of what it runs.
    fn agent(&mut self, agent: &AgentSnapshot) {
        let Some(agent_id) = agent.info.id.clone() else { return };
        if self.agents.get(&agent_id) == Some(&agent.state) {
            return;
        }
        let (host, address) = (&*agent.info.hostname, format!("{}:{}", agent.info.ip, agent.info.port));
        let again = agent.reregistered_at.is_some();
        match agent.state {
            AgentState::Connected => {
                info!(%agent_id, host, address, again, resources = %agent.total, "agent registered");
            }
            AgentState::Disconnected => info!(%agent_id, host, "agent disconnected"),
            AgentState::Stopping => info!(%agent_id, host, "agent is being stopped"),
            AgentState::Unreachable => info!(%agent_id, host, "agent unreachable"),
            AgentState::Gone => info!(%agent_id, host, "agent marked gone"),
            AgentState::Recovered | AgentState::Removed => {}
        }
        self.agents.insert(agent_id, agent.state);
    }
}

/// Logs that a stream ends with an error, as that of a refused framework.
pub(super) fn record_refusal(event: &scheduler::Event) {
    if let scheduler::Event::Error { reason, message } = event {
        info!(?reason, message, "framework refused");
    }
}

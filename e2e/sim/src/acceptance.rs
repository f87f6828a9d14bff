//! What frameworks are told of tasks whose ACCEPT was answered, whichever process crashes afterwards: each ends in a state that
//! its framework hears, and none is reported as lost while it runs, or starts after it was reported as lost.

use kernel_model::{
    ids::{AgentId, TaskId},
    scheduler,
    task::{Reason, TaskState, TaskStatus},
    time::Time,
};

use crate::{framework::Kind, world::World};

/// A task whose launch the master has answered with success.
#[derive(Debug)]
pub(crate) struct AcceptedTask {
    framework: usize,
    agent: AgentId,
    at: Time,
    /// The state that its framework heard last.
    told: Option<TaskState>,
    /// The loss that a master sent to the framework.
    lost: Option<TaskState>,
}

/// The states of tasks that do not run and never will. A task of a framework without checkpointing may be TASK_LOST while its
/// agent is away and its process runs.
fn is_loss(state: TaskState) -> bool {
    matches!(state, TaskState::Dropped | TaskState::Gone | TaskState::GoneByOperator | TaskState::Unknown)
}

impl World {
    pub(crate) fn note_accepted(&mut self, framework: usize, tasks: &[(TaskId, AgentId)]) {
        for (id, agent) in tasks {
            let task = AcceptedTask { framework, agent: agent.clone(), at: self.now, told: None, lost: None };
            self.accepted_tasks.insert(id.clone(), task);
        }
    }

    /// The master sends a framework an event.
    pub(crate) fn check_told_loss(&mut self, event: &scheduler::Event) {
        let scheduler::Event::Update { status } = event else { return };
        // Refused offers say nothing of an earlier launch under the same id.
        if !is_loss(status.state) || status.reason == Some(Reason::InvalidOffers) {
            return;
        }
        let Some(task) = self.accepted_tasks.get(&status.task_id) else { return };
        let of_this_launch = status.agent_id.as_ref() == Some(&task.agent) && status.timestamp >= task.at;
        if !of_this_launch || !self.frameworks[task.framework].checkpoint {
            return;
        }
        if self.runs_on(&task.agent, &status.task_id) {
            self.fail(format!("{} runs and is reported as {:?}", status.task_id, status.state));
        }
        let task = self.accepted_tasks.get_mut(&status.task_id).expect("looked up above");
        task.lost = Some(status.state);
    }

    fn runs_on(&self, agent: &AgentId, task: &TaskId) -> bool {
        self.nodes.iter().filter(|node| node.ids.contains(agent)).any(|node| node.runs(task))
    }

    /// A task starts on a node.
    pub(crate) fn check_not_lost(&mut self, id: &TaskId, node: usize) {
        let Some(AcceptedTask { agent, lost: Some(state), .. }) = self.accepted_tasks.get(id) else { return };
        if self.nodes[node].ids.contains(agent) {
            self.fail(format!("{id} starts on node {node} after it was reported as {state:?}"));
        }
    }

    /// A framework hears of a task.
    pub(crate) fn note_told(&mut self, index: usize, status: &TaskStatus) {
        let checkpoint = self.frameworks[index].checkpoint;
        if let Some(task) = self.accepted_tasks.get_mut(&status.task_id).filter(|t| t.framework == index) {
            // Without checkpointing, a task that was reported lost with its agent may come back and be ended, and no more is said
            // of it if the agent restarts meanwhile.
            let over = task
                .told
                .is_some_and(|state| state.is_terminal() || is_loss(state) || state == TaskState::Lost);
            // And a late answer about an unreachable agent says nothing of the end that was told before.
            if !over || (checkpoint && status.state != TaskState::Unreachable) {
                task.told = Some(status.state);
            }
        }
    }

    /// At rest: the framework has heard the end of each accepted task. The Kubernetes scheduler does not ask for the task of a
    /// Pod that was deleted before it was bound; that no such task is left is checked with the other leftovers.
    pub(crate) fn check_told_ends(&self, failures: &mut Vec<String>) {
        for (id, task) in &self.accepted_tasks {
            let ended = |state: TaskState| state.is_terminal() || is_loss(state) || state == TaskState::Lost;
            let framework = &self.frameworks[task.framework];
            let exists = || framework.scheduler.api.rows().any(|pod| pod.uid() == id.as_str());
            let is_asked_for = framework.kind != Kind::Kubernetes || exists();
            if is_asked_for && !task.told.is_some_and(ended) {
                failures.push(format!("framework {} was last told {:?} of {id}", task.framework, task.told));
            }
        }
    }
}

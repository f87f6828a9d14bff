//! Log events at level `debug` by which one task can be followed through master and agent: `task_id` is a Pod's UID.
//! `CATAMARAN_LOG=kernel::task_trace=debug` turns on these events alone.

use kernel_model::{
    agent::{ToAgent, ToMaster},
    executor, scheduler,
};
use tracing::{Level, debug, enabled};

/// What the master sends to an agent.
pub(crate) fn to_agent(message: &ToAgent) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    match message {
        ToAgent::RunTask { launch, .. } => {
            for task in launch.tasks() {
                debug!(task_id = %task.task_id, agent_id = %task.agent_id, "master sends the task to its agent");
            }
        }
        ToAgent::KillTask { task_id, .. } => debug!(%task_id, "master asks the agent to kill the task"),
        ToAgent::Acknowledge { task_id, .. } => debug!(%task_id, "master forwards an acknowledgement"),
        _ => {}
    }
}

/// What the master sends to a framework.
pub(crate) fn to_scheduler(event: &scheduler::Event) {
    if let scheduler::Event::Update { status } = event {
        debug!(task_id = %status.task_id, state = ?status.state, "master sends a status update to the framework");
    }
}

/// What an agent sends to the master.
pub(crate) fn to_master(message: &ToMaster) {
    if let ToMaster::Update { status, .. } = message {
        debug!(task_id = %status.task_id, state = ?status.state, "agent sends a status update to the master");
    }
}

/// What an agent sends to an executor.
pub(crate) fn to_executor(event: &executor::Event) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    match event {
        executor::Event::Launch { task } => debug!(task_id = %task.task_id, "agent launches the task"),
        executor::Event::LaunchGroup { tasks } => {
            tasks.iter().for_each(|task| debug!(task_id = %task.task_id, "agent launches the task"));
        }
        executor::Event::Kill { task_id, .. } => debug!(%task_id, "agent asks the executor to kill the task"),
        _ => {}
    }
}

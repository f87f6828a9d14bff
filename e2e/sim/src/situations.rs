//! Counts rare situations. A named seed asserts that its situation occurs, because any change of the simulator's random
//! draws changes what a seed shows.

use std::collections::BTreeMap;

use kernel_model::{
    ids::{AgentId, TaskId},
    scheduler::{Call, Operation},
    task::{TaskState, TaskStatus},
    time::Time,
};
use shim_core::rows::Pod;

use crate::{framework::Kind, world::World};

/// A situation in which a defect was found once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Situation {
    /// The end of an earlier launch is reported when the Pod has been launched again.
    LossOfEarlierLaunch,
    /// An agent reports a Pod that has been launched on another machine since.
    StatusFromElsewhere,
    /// Master and scheduler die before the binding of a launched Pod is written, and the machine that it was launched on
    /// stays away longer than the next master waits for it.
    BlackoutBeforeBinding,
    /// A scheduler subscribes and reads launch intents that the same process has written.
    IntentReadByItsWriter,
    /// A client binds a Pod to another node while the agent that took its launch is away.
    BoundElsewhereWhileAgentIsAway,
    /// A Pod is reported as running while the write of its start is under way.
    RunningBeforeStartIsStored,
    /// A task was killed for a guarantee.
    TaskPreempted,
    /// A task finds the data of an earlier one in its volume.
    VolumeUsedAgain,
    /// An operator sets a quota that the master must not forget.
    QuotaSet,
    /// An agent is drained.
    AgentDrained,
    /// The driver of the Java library tells its framework that a task is lost which it could not launch.
    LostByDriver,
}

/// How often each situation has occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situations(BTreeMap<Situation, u64>);

impl Situations {
    /// How often a situation has occurred.
    pub fn of(&self, situation: Situation) -> u64 {
        self.0.get(&situation).copied().unwrap_or(0)
    }

    /// The situations that have occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Situation, u64)> {
        self.0.iter().map(|(situation, count)| (*situation, *count))
    }

    pub(crate) fn count(&mut self, situation: Situation) {
        *self.0.entry(situation).or_default() += 1;
    }
}

/// The last launch of a Pod that the master accepted.
#[derive(Debug)]
pub(crate) struct LastLaunch {
    agent: AgentId,
    at: Time,
    count: u32,
}

/// The tasks that a call launches, and where.
pub(crate) fn launched_tasks(call: &Call) -> Vec<(TaskId, AgentId)> {
    let Call::Accept { operations, .. } = call else { return Vec::new() };
    let tasks = operations.iter().flat_map(|operation| match operation {
        Operation::Launch { tasks } | Operation::LaunchGroup { tasks, .. } => tasks.as_slice(),
        Operation::Convert { .. }
        | Operation::Malformed { .. }
        | Operation::Invalid { .. }
        | Operation::Unsupported { .. } => &[],
    });
    tasks.map(|task| (task.task_id.clone(), task.agent_id.clone())).collect()
}

impl World {
    /// The master has accepted launches of Pods.
    pub(crate) fn note_launches(&mut self, tasks: Vec<(TaskId, AgentId)>) {
        for (id, agent) in tasks {
            let count = self.launches.get(&id).map_or(0, |earlier| earlier.count) + 1;
            self.launches.insert(id, LastLaunch { agent, at: self.now, count });
        }
    }

    /// A framework receives a status update of a Pod.
    pub(crate) fn note_status(&mut self, index: usize, status: &TaskStatus) {
        use TaskState::{Dropped, Gone, GoneByOperator, Lost, Unknown};
        let id = &status.task_id;
        let is_loss = matches!(status.state, Dropped | Gone | GoneByOperator | Lost | Unknown);
        let relaunched = |launch: &LastLaunch| launch.count > 1 && status.timestamp < launch.at;
        if is_loss && self.launches.get(id).is_some_and(relaunched) {
            self.situations.count(Situation::LossOfEarlierLaunch);
        }
        if let (Some(agent), Some(launch)) = (&status.agent_id, self.launches.get(id)) {
            let mut nodes = self.nodes.iter().filter(|node| node.ids.contains(&launch.agent));
            if launch.count > 1 && nodes.all(|node| !node.ids.contains(agent)) {
                self.situations.count(Situation::StatusFromElsewhere);
            }
        }
        let starts = &self.frameworks[index].scheduler.starts_in_flight;
        let in_flight = starts.get(id.as_str()).is_some_and(|count| *count > 0);
        if status.state == TaskState::Running && in_flight {
            self.situations.count(Situation::RunningBeforeStartIsStored);
        }
    }

    /// Master and scheduler are about to crash, and this machine to be cut off for `length` milliseconds.
    pub(crate) fn note_blackout(&mut self, framework: usize, node: usize, length: u64) {
        let framework = &self.frameworks[framework];
        let waits = self.control.master.as_ref().map(|master| master.config().agent_reregister_timeout);
        let too_long = waits.is_some_and(|waits| u128::from(length) > waits.as_millis());
        let launched_here = |pod: &Pod| {
            let launch = self.launches.get(pod.uid());
            pod.node.is_none() && launch.is_some_and(|launch| self.nodes[node].ids.contains(&launch.agent))
        };
        if framework.kind == Kind::Kubernetes && too_long && framework.scheduler.api.rows().any(launched_here)
        {
            self.situations.count(Situation::BlackoutBeforeBinding);
        }
    }

    /// A client has bound a Pod.
    pub(crate) fn note_binding_elsewhere(&mut self, id: &TaskId, bound_to: &str) {
        let Some(launch) = self.launches.get(id) else { return };
        let away = |node: &crate::node::Node| {
            node.ids.contains(&launch.agent)
                && (node.isolated || node.agent.is_none())
                && format!("node{}", node.index) != bound_to
        };
        if self.nodes.iter().any(away) {
            self.situations.count(Situation::BoundElsewhereWhileAgentIsAway);
        }
    }
}

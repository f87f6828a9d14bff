//! The order of status updates: a framework hears those of a task as its executor has made them, and none that the agent has
//! confirmed is missing before a later one.

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{
    ids::{TaskId, UpdateId},
    task::TaskStatus,
};

use crate::world::World;

/// The updates of executors.
#[derive(Default)]
pub(crate) struct UpdateOrder {
    /// By task and machine, in order.
    made: BTreeMap<(TaskId, usize), Vec<UpdateId>>,
    /// Those that the agent has confirmed to the executor.
    confirmed: BTreeSet<UpdateId>,
    /// How many of a task's updates the framework has heard, or skipped.
    heard: BTreeMap<(TaskId, usize), usize>,
}

impl UpdateOrder {
    /// The agent has confirmed an update to its executor.
    pub(crate) fn confirm(&mut self, uuid: UpdateId) {
        self.confirmed.insert(uuid);
    }
}

impl World {
    pub(crate) fn note_made(&mut self, node: usize, status: &TaskStatus) {
        if let Some(uuid) = status.uuid {
            self.order.made.entry((status.task_id.clone(), node)).or_default().push(uuid);
        }
    }

    /// A framework hears of a task.
    pub(crate) fn check_order(&mut self, framework: usize, status: &TaskStatus) {
        let (Some(uuid), Some(agent)) = (status.uuid, &status.agent_id) else { return };
        let Some(node) = self.nodes.iter().position(|node| node.ids.contains(agent)) else { return };
        let key = (status.task_id.clone(), node);
        let Some(made) = self.order.made.get(&key) else { return };
        let Some(at) = made.iter().position(|other| *other == uuid) else { return };
        let heard = self.order.heard.get(&key).copied().unwrap_or_default();
        if at < heard {
            // Repeated, or skipped before.
            let last = at + 1 == heard;
            if !last && self.frameworks[framework].checkpoint {
                self.fail(format!("update {at} of {} is heard after update {}", key.0, heard - 1));
            }
            return;
        }
        let missing = made[heard..at].iter().any(|other| self.order.confirmed.contains(other));
        if missing && self.frameworks[framework].checkpoint {
            self.fail(format!("update {at} of {} is heard, and not all from {heard} on", key.0));
        }
        self.order.heard.insert(key, at + 1);
    }
}

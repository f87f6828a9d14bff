//! Tasks that are to hold other amounts than at their launch: Pods that are resized in place. What a task gives up it no longer
//! holds at once; what it wants more of it holds when the master has granted it, so the agent never has more on record than the
//! master.

use std::sync::Arc;

use kernel_model::{
    agent::ToMaster,
    executor::Event as ExecutorEvent,
    ids::{FrameworkId, TaskId},
    resources::Resources,
    task::TaskInfo,
};

use super::{Agent, Effects, Record, subscription::ExecutorKey};

impl Agent {
    /// An executor asks for other amounts of one of its tasks.
    pub(super) fn resize_task(
        &mut self,
        key: &ExecutorKey,
        task_id: &TaskId,
        amounts: &Resources,
        out: &mut Effects,
    ) {
        let registered = self.is_registered();
        let framework = self.frameworks.get_mut(&key.0);
        let Some(entry) = framework
            .and_then(|framework| framework.tasks.get_mut(task_id))
            .filter(|entry| entry.executor_id == key.1 && !entry.task.state.is_terminal())
        else {
            return;
        };
        let held = entry.task.info.resources.clone();
        let role = held.allocation_roles().first().map(|role| (*role).clone());
        let wanted = held.with_amounts(amounts, role.as_ref());
        if !registered {
            entry.resize = None;
            return self.tell_resized(&key.0, task_id, out);
        }
        entry.resize = Some(wanted.clone());
        let given_up = held.saturating_sub(&wanted);
        if !given_up.is_empty() {
            self.set_task_resources(&key.0, task_id, held.saturating_sub(&given_up), out);
        }
        let (framework_id, task_id, amounts) = (key.0.clone(), task_id.clone(), amounts.clone());
        out.send_to_master(ToMaster::ResizeTask { framework_id, task_id, amounts });
    }

    /// The master's answer. It is ignored unless it answers the latest request.
    pub(super) fn task_resized(
        &mut self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        resources: Resources,
        out: &mut Effects,
    ) {
        let framework = self.frameworks.get_mut(framework_id);
        let Some(entry) = framework
            .and_then(|framework| framework.tasks.get_mut(task_id))
            .filter(|entry| !entry.task.state.is_terminal())
        else {
            return;
        };
        if entry.resize.take_if(|wanted| *wanted == resources).is_some() {
            self.set_task_resources(framework_id, task_id, resources, out);
        }
        self.tell_resized(framework_id, task_id, out);
    }

    fn set_task_resources(
        &mut self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        resources: Resources,
        out: &mut Effects,
    ) {
        let framework = self.frameworks.get_mut(framework_id);
        let Some(framework) = framework else { return };
        let Some(entry) = framework.tasks.get_mut(task_id) else { return };
        if entry.task.info.resources == resources {
            return;
        }
        entry.task.info = Arc::new(TaskInfo { resources, ..TaskInfo::clone(&entry.task.info) });
        if framework.info.checkpoint {
            out.persist(Record::Task {
                framework_id: framework_id.clone(),
                executor_id: entry.executor_id.clone(),
                task: entry.task.info.clone(),
                launch: entry.launch,
                grouped: entry.grouped,
                at: entry.task.launched_at,
            });
        }
        let executor_id = entry.executor_id.clone();
        self.limits_changed(framework_id, &executor_id, out);
    }

    /// Tells the executor what its task holds.
    fn tell_resized(&self, framework_id: &FrameworkId, task_id: &TaskId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(entry) = framework.tasks.get(task_id) else { return };
        let executor = framework.executors.get(&entry.executor_id);
        if let Some(connection) = executor.and_then(|executor| executor.connection) {
            let (task_id, resources) = (task_id.clone(), entry.task.info.resources.clone());
            out.send_to_executor(connection, ExecutorEvent::TaskResized { task_id, resources });
        }
    }
}

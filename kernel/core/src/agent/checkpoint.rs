//! The checkpoint: rebuilding the machine from records, and the shortest equivalent list of records.
//!
//! Only frameworks with `checkpoint` are in it. Containers of other frameworks that still run at a restart are
//! destroyed.

use std::{collections::BTreeSet, sync::Arc};

use kernel_model::{
    executor::{ExecutorInfo, ExecutorKind},
    ids::{ContainerId, ExecutorId, FrameworkId},
    task::{Reason, Source, Task, TaskState, TaskStatus},
    time::Time,
};

use super::{
    Agent, AgentTask, Config, Effect, Effects, Executor, ExecutorPhase, ExecutorView, Framework, Record,
    Timer, executors::TerminalState, status_updates::UpdateStream,
};

/// How many completed executors a compacted checkpoint keeps, the newest first: a page of each of a few frameworks. (The
/// agent keeps [`super::history::COMPLETED_EXECUTORS_MAX`] of each framework in memory.)
pub(super) const CHECKPOINTED_EXECUTORS_MAX: usize = 200;

/// How many of their completed tasks each of them keeps. With those of running executors that is some thousand records of
/// about a kilobyte.
pub(super) const CHECKPOINTED_TASKS_MAX: usize = 20;

pub(super) fn recover(
    config: Config,
    now: Time,
    records: Vec<Record>,
    live: &BTreeSet<ContainerId>,
    ended: Option<&BTreeSet<ContainerId>>,
) -> (Agent, Effects) {
    let mut agent = Agent::new(config);
    for record in records {
        agent.fold(record);
    }
    if agent.config.info.id.is_none() {
        // Nothing can be launched before the agent has an id: the checkpoint is damaged.
        agent.frameworks.clear();
        agent.streams.clear();
        agent.operations.clear();
    }
    let mut out = Effects::default();
    if agent.config.info.operations.count > 0 {
        agent.sync_volumes(&mut out);
    }
    let all: Vec<(FrameworkId, ExecutorId, ContainerId)> = agent
        .frameworks
        .iter()
        .flat_map(|(id, f)| {
            f.executors.values().map(|e| (id.clone(), e.info.executor_id.clone(), e.container_id.clone()))
        })
        .collect();
    for (framework_id, executor_id, container_id) in &all {
        if live.contains(container_id) {
            agent.await_reregistration(now, framework_id, executor_id);
        } else if ended.is_some_and(|ended| !ended.contains(container_id)) {
            agent.restart_executor(now, framework_id, executor_id, &mut out);
        } else {
            agent.executor_did_not_return(now, framework_id, executor_id, &mut out);
        }
    }
    for container_id in live.iter().filter(|id| !all.iter().any(|(_, _, known)| known == *id)) {
        out.push(Effect::Destroy { container_id: container_id.clone() });
    }
    agent.drop_orphans(now, &mut out);
    (agent, out)
}

impl Agent {
    fn fold(&mut self, record: Record) {
        match record {
            Record::Identity { agent_id } => self.config.info.id = Some(agent_id),
            Record::Resources { resources, applied } => self.set_checkpointed(&resources, applied),
            Record::Operation { operation } => self.add_operation(*operation),
            Record::OperationDone { uuid } => self.forget_operation(uuid),
            Record::Framework { info } => self.fold_framework(info),
            Record::FrameworkRemoved { framework_id } => {
                self.forget_framework(&framework_id);
                self.streams.retain(|(of, _), _| *of != framework_id);
            }
            Record::Executor { framework_id, executor, container_id, at } => {
                self.fold_executor(&framework_id, executor, container_id, at);
            }
            Record::ExecutorRemoved { framework_id, executor_id } => {
                if let Some(framework) = self.frameworks.get_mut(&framework_id)
                    && let Some(executor) = framework.executors.remove(&executor_id)
                {
                    framework.remember_executor(*executor);
                }
            }
            Record::Task { framework_id, executor_id, task, launch, grouped, at } => {
                let Some(framework) = self.frameworks.get_mut(&framework_id) else { return };
                if let Some(entry) = framework.tasks.get_mut(&task.task_id) {
                    // It was resized.
                    entry.task.info = task;
                    return;
                }
                let executor = framework.executors.get(&executor_id);
                let command = executor.is_none_or(|executor| executor.info.kind == ExecutorKind::Command);
                let shown = (!command).then(|| executor_id.clone());
                let mut entry = AgentTask::new(framework_id, executor_id, shown, task, launch, grouped, at);
                // Delivery is not recorded: assume that the task reached the executor.
                entry.delivered = true;
                framework.tasks.insert(entry.task.info.task_id.clone(), entry);
                self.next_launch = self.next_launch.max(launch + 1);
            }
            Record::Kill { framework_id, task_id, grace } => {
                let framework = self.frameworks.get_mut(&framework_id);
                if let Some(entry) = framework.and_then(|f| f.tasks.get_mut(&task_id)) {
                    entry.kill = Some(grace);
                }
            }
            Record::Update { framework_id, status } => self.fold_update(framework_id, status),
            Record::UpdateDone { framework_id, task_id, uuid } => {
                if let Some(stream) = self.streams.get_mut(&(framework_id, task_id)) {
                    stream.done(uuid);
                }
            }
            Record::TaskRemoved { framework_id, task_id } => {
                if let Some(framework) = self.frameworks.get_mut(&framework_id)
                    && let Some(entry) = framework.tasks.remove(&task_id)
                {
                    framework.remember_task(*entry);
                }
                self.streams.remove(&(framework_id, task_id));
            }
        }
    }

    fn fold_executor(
        &mut self,
        framework_id: &FrameworkId,
        info: Arc<ExecutorInfo>,
        container_id: ContainerId,
        started_at: Time,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let executor = Executor {
            info,
            container_id,
            phase: ExecutorPhase::Returning,
            connection: None,
            subscribed: false,
            received_task: true,
            failures: 0,
            started_at,
            terminal_state: None,
            completed_tasks: Default::default(),
        };
        framework.executors.insert(executor.info.executor_id.clone(), Box::new(executor));
    }

    fn fold_framework(&mut self, info: Arc<kernel_model::framework::FrameworkInfo>) {
        let Some(id) = info.id.clone() else { return };
        match self.frameworks.get_mut(&id) {
            Some(framework) => framework.info = info,
            None => {
                let mut framework = Framework::new(info);
                framework.completed_executors = self.recall_executors(&id);
                self.frameworks.insert(id, framework);
            }
        }
    }

    fn fold_update(&mut self, framework_id: FrameworkId, status: Arc<TaskStatus>) {
        if status.uuid.is_none() {
            return;
        }
        let key = (framework_id, status.task_id.clone());
        let stream = self.streams.entry(key.clone()).or_insert_with(|| UpdateStream::new(true));
        if stream.push(status.clone())
            && let Some(entry) = self.frameworks.get_mut(&key.0).and_then(|f| f.tasks.get_mut(&key.1))
        {
            entry.apply(&status);
        }
    }

    /// The executor still runs: it has some time to subscribe again.
    fn await_reregistration(&mut self, now: Time, framework_id: &FrameworkId, executor_id: &ExecutorId) {
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: listed by the caller");
        let executor = framework.executors.get_mut(executor_id).expect("invariant: listed by the caller");
        let key = (framework_id.clone(), executor_id.clone());
        self.containers.insert(executor.container_id.clone(), key.clone());
        let deadline = now + self.config.executor_reregistration_timeout;
        self.timers.arm(Timer::Executor(key.0, key.1), deadline);
    }

    /// The agent died between writing the executor down and starting it: it is started now, as if nothing had been.
    fn restart_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: listed by the caller");
        let executor = framework.executors.get_mut(executor_id).expect("invariant: listed by the caller");
        // A respawned executor may have run before, and its tasks with it.
        if !executor.info.respawns() {
            executor.received_task = false;
            for entry in framework.tasks.values_mut().filter(|entry| entry.executor_id == *executor_id) {
                entry.delivered = false;
            }
        }
        self.respawn(now, framework_id, executor_id, out);
    }

    /// The executor terminated while the agent was down, or the machine rebooted.
    fn executor_did_not_return(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        if self.frameworks[framework_id].executors[executor_id].info.respawns() {
            return self.wait_to_respawn(now, framework_id, executor_id);
        }
        let terminal_state = TerminalState::failed(
            Reason::ExecutorTerminated,
            "Executor terminated while the agent was not running",
        );
        self.remove_executor(now, framework_id, executor_id, 0, Some(terminal_state), out);
    }

    /// Drops tasks without an executor and streams of removed frameworks. A crash cannot leave them, but a damaged
    /// checkpoint can.
    fn drop_orphans(&mut self, now: Time, out: &mut Effects) {
        let orphans: Vec<_> = self.orphans();
        for task in orphans.into_iter().filter(|task| !task.state.is_terminal()) {
            let framework = &self.frameworks[&task.framework_id];
            let status = TaskStatus {
                reason: Some(Reason::AgentRestarted),
                message: Some("Task launched during agent restart".to_owned()),
                ..TaskStatus::new(
                    task.info.task_id.clone(),
                    framework.state_for(TaskState::Dropped),
                    Source::Agent,
                    now,
                )
            };
            self.report(now, &(task.framework_id, task.info.task_id.clone()), status.into(), out);
        }
        let idle: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework_id in idle {
            self.remove_framework_if_idle(&framework_id, out);
        }
    }

    /// The shortest list of records that rebuilds this machine: the beginning of a compacted log.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.config.info.id.clone().map(|agent_id| Record::Identity { agent_id }));
        let mut resources = self.config.info.resources.checkpointed();
        resources += &self.unmet;
        if self.config.info.operations.count > 0 || !resources.is_empty() {
            records.push(Record::Resources { resources, applied: self.config.info.operations.clone() });
        }
        records.extend(self.operations().map(|op| Record::Operation { operation: op.clone().into() }));
        let mut left = CHECKPOINTED_EXECUTORS_MAX;
        let mut completed = Vec::new();
        for (framework_id, framework) in self.frameworks.iter().filter(|(_, f)| f.info.checkpoint) {
            let newest = newest(framework.completed_executors.iter(), &mut left);
            completed.push((framework_id, newest));
        }
        self.push_completed_frameworks(left, &mut records);
        for (framework_id, framework) in self.frameworks.iter().filter(|(_, f)| f.info.checkpoint) {
            records.push(Record::Framework { info: framework.info.clone() });
            let ended = completed.iter().find(|(id, _)| *id == framework_id);
            for executor in ended.into_iter().flat_map(|(_, executors)| executors) {
                push_completed_executor(framework_id, executor, &mut records);
            }
            for executor in framework.executors.values() {
                records.push(Record::Executor {
                    framework_id: framework_id.clone(),
                    executor: executor.info.clone(),
                    container_id: executor.container_id.clone(),
                    at: executor.started_at,
                });
            }
            for entry in framework.tasks.values() {
                self.push_task_records(framework_id, entry, &mut records);
            }
            // Of executors that run, and may not have another run.
            for executor in framework.executors.values().filter(|executor| !executor.info.respawns()) {
                let id = &executor.info.executor_id;
                push_completed_tasks(framework_id, id, executor.completed_tasks.iter(), &mut records);
            }
        }
        // Queued updates, including those of tasks that are not here (any more).
        for ((framework_id, _), stream) in self.streams.iter().filter(|(_, stream)| stream.checkpoint) {
            let queued = stream.queue.iter().cloned();
            records
                .extend(queued.map(|status| Record::Update { framework_id: framework_id.clone(), status }));
        }
        records
    }

    fn push_task_records(&self, framework_id: &FrameworkId, entry: &AgentTask, records: &mut Vec<Record>) {
        let task_id = entry.task.info.task_id.clone();
        records.push(Record::Task {
            framework_id: framework_id.clone(),
            executor_id: entry.executor_id.clone(),
            task: entry.task.info.clone(),
            launch: entry.launch,
            grouped: entry.grouped,
            at: entry.task.launched_at,
        });
        if let Some(grace) = entry.kill {
            let (framework_id, task_id) = (framework_id.clone(), task_id.clone());
            records.push(Record::Kill { framework_id, task_id, grace });
        }
        // Acknowledged states are part of the task's history and determine its current state.
        let stream = self.streams.get(&(framework_id.clone(), task_id.clone()));
        let waits = |uuid| stream.is_some_and(|s| s.queue.iter().any(|status| status.uuid == uuid));
        let done = entry.task.statuses.iter().filter(|status| !waits(status.uuid));
        done.for_each(|status| push_done(framework_id, status, records));
    }

    /// The newest completed frameworks, with at most this many executors.
    fn push_completed_frameworks(&self, mut left: usize, records: &mut Vec<Record>) {
        let mut kept = Vec::new();
        for framework in self.completed_frameworks.iter().rev().filter(|f| f.info.checkpoint) {
            kept.push((framework, newest(framework.completed_executors.iter(), &mut left)));
        }
        for (framework, executors) in kept.into_iter().rev() {
            let Some(framework_id) = framework.info.id.clone().filter(|_| !executors.is_empty()) else {
                continue;
            };
            records.push(Record::Framework { info: framework.info.clone() });
            executors.iter().for_each(|executor| push_completed_executor(&framework_id, executor, records));
            records.push(Record::FrameworkRemoved { framework_id });
        }
    }
}

/// The last items, as many as are left, which becomes less.
fn newest<'a, T>(items: impl ExactSizeIterator<Item = &'a T>, left: &mut usize) -> Vec<&'a T> {
    let count = items.len().min(*left);
    *left -= count;
    let surplus = items.len() - count;
    items.skip(surplus).collect()
}

/// What has ended is recorded as what happened, so that reading it needs no rules of its own.
fn push_completed_executor(framework_id: &FrameworkId, executor: &ExecutorView, records: &mut Vec<Record>) {
    let executor_id = executor.info.executor_id.clone();
    records.push(Record::Executor {
        framework_id: framework_id.clone(),
        executor: executor.info.clone(),
        container_id: executor.container_id.clone(),
        at: Time::default(),
    });
    push_completed_tasks(framework_id, &executor_id, executor.completed_tasks.iter(), records);
    records.push(Record::ExecutorRemoved { framework_id: framework_id.clone(), executor_id });
}

fn push_completed_tasks<'a>(
    framework_id: &FrameworkId,
    executor_id: &ExecutorId,
    tasks: impl ExactSizeIterator<Item = &'a Task>,
    records: &mut Vec<Record>,
) {
    for task in newest(tasks, &mut { CHECKPOINTED_TASKS_MAX }) {
        records.push(Record::Task {
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            task: task.info.clone(),
            launch: 0,
            grouped: false,
            at: task.launched_at,
        });
        task.statuses.iter().for_each(|status| push_done(framework_id, status, records));
        let task_id = task.info.task_id.clone();
        records.push(Record::TaskRemoved { framework_id: framework_id.clone(), task_id });
    }
}

/// A status that was acknowledged.
fn push_done(framework_id: &FrameworkId, status: &Arc<TaskStatus>, records: &mut Vec<Record>) {
    let Some(uuid) = status.uuid else { return };
    let (framework_id, task_id) = (framework_id.clone(), status.task_id.clone());
    records.push(Record::Update { framework_id: framework_id.clone(), status: status.clone() });
    records.push(Record::UpdateDone { framework_id, task_id, uuid });
}

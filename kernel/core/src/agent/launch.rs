//! Launches of tasks and task groups on their executors.

use std::sync::Arc;

use bytes::Bytes;
use kernel_model::{
    agent::Launch,
    executor::{Event as ExecutorEvent, ExecutorInfo, ExecutorKind},
    framework::FrameworkInfo,
    ids::{ExecutorId, FrameworkId, TaskId},
    labels::Labels,
    resources::{Resource, Resources, Scalar},
    task::{Reason, Source, Task, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use super::{Agent, AgentTask, Effect, Effects, Executor, ExecutorPhase, Framework, Record, Start, Timer};

/// How many characters of the command the built-in executor's name shows.
const COMMAND_SHOWN_MAX: usize = 12;

/// Why a launch is refused.
struct LaunchRefusal {
    reason: Reason,
    message: String,
}

impl Agent {
    pub(super) fn run_task(
        &mut self,
        now: Time,
        info: Arc<FrameworkInfo>,
        executor: Option<Arc<ExecutorInfo>>,
        launch: Launch,
        launch_executor: bool,
        out: &mut Effects,
    ) {
        let Some(framework_id) = info.id.clone().filter(|_| self.config.info.id.is_some()) else { return };
        self.admit_framework(&framework_id, info, out);
        let known = |task: &TaskInfo| self.has_task(&framework_id, &task.task_id);
        // A repeated launch has no effect.
        if launch.tasks().is_empty() || launch.tasks().iter().any(known) {
            return;
        }
        let executor = executor_for(&framework_id, executor, &launch);
        match self.launch_refusal(&framework_id, &executor, &launch, launch_executor) {
            Some(why) => self.drop_launch(now, &framework_id, launch.tasks(), why, out),
            None => self.take_launch(now, &framework_id, executor, launch, out),
        }
    }

    /// Whether the agent has this task already, or an unacknowledged update of it.
    fn has_task(&self, framework_id: &FrameworkId, task_id: &TaskId) -> bool {
        self.frameworks.get(framework_id).is_some_and(|f| f.tasks.contains_key(task_id))
            || self.streams.contains_key(&(framework_id.clone(), task_id.clone()))
    }

    fn admit_framework(&mut self, id: &FrameworkId, info: Arc<FrameworkInfo>, out: &mut Effects) {
        match self.frameworks.get_mut(id) {
            None => {
                if info.checkpoint {
                    out.persist(Record::Framework { info: info.clone() });
                }
                let mut framework = Framework::new(info);
                framework.completed_executors = self.recall_executors(id);
                self.frameworks.insert(id.clone(), framework);
            }
            Some(framework) if framework.info != info => {
                let checkpoint = framework.info.checkpoint;
                framework.info = with_checkpoint(info, checkpoint);
                if checkpoint {
                    out.persist(Record::Framework { info: framework.info.clone() });
                }
            }
            Some(_) => {}
        }
    }

    fn launch_refusal(
        &self,
        framework_id: &FrameworkId,
        executor: &ExecutorInfo,
        launch: &Launch,
        launch_executor: bool,
    ) -> Option<LaunchRefusal> {
        let ended = |message: &str| {
            Some(LaunchRefusal { reason: Reason::ExecutorTerminated, message: message.to_owned() })
        };
        let invalid = |message| Some(LaunchRefusal { reason: Reason::TaskInvalid, message });
        let framework = &self.frameworks[framework_id];
        if self.stopping.is_some() {
            return ended("The agent is stopping");
        }
        if framework.shutting_down {
            return ended("The framework is being shut down");
        }
        match framework.executors.get(&executor.executor_id) {
            Some(_) if executor.kind == ExecutorKind::Command => {
                invalid("An executor of this id is already running".to_owned())
            }
            Some(running) if running.phase == (ExecutorPhase::Terminating { respawn: false }) => {
                ended("The executor is terminating")
            }
            None if !launch_executor => ended("The executor is not running any more"),
            _ => {
                let path = self.clashing_path(framework_id, executor, launch.tasks())?;
                invalid(format!("Another persistent volume is mounted at '{path}' in the executor's sandbox"))
            }
        }
    }

    fn drop_launch(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        tasks: &[TaskInfo],
        why: LaunchRefusal,
        out: &mut Effects,
    ) {
        let state = self.frameworks[framework_id].state_for(TaskState::Dropped);
        for task in tasks {
            let status = TaskStatus {
                reason: Some(why.reason),
                message: Some(why.message.clone()),
                ..TaskStatus::new(task.task_id.clone(), state, Source::Agent, now)
            };
            self.report(now, &(framework_id.clone(), task.task_id.clone()), status.into(), out);
        }
        self.remove_framework_if_idle(framework_id, out);
    }

    fn take_launch(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor: Arc<ExecutorInfo>,
        launch: Launch,
        out: &mut Effects,
    ) {
        let executor_id = executor.executor_id.clone();
        let order = self.next_launch;
        self.next_launch += 1;
        let grouped = matches!(launch, Launch::Group(_));
        let is_new = !self.frameworks[framework_id].executors.contains_key(&executor_id);
        if is_new {
            self.add_executor(now, framework_id, executor, out);
        }
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: the framework was admitted");
        let command = framework.executors[&executor_id].info.kind == ExecutorKind::Command;
        let tasks = match launch {
            Launch::Task(task) => vec![*task],
            Launch::Group(tasks) => tasks,
        };
        for mut info in tasks {
            info.executor = None;
            let info = Arc::new(info);
            if framework.info.checkpoint {
                out.persist(Record::Task {
                    framework_id: framework_id.clone(),
                    executor_id: executor_id.clone(),
                    task: info.clone(),
                    launch: order,
                    grouped,
                    at: now,
                });
            }
            let shown = (!command).then(|| executor_id.clone());
            let entry =
                AgentTask::new(framework_id.clone(), executor_id.clone(), shown, info, order, grouped, now);
            framework.tasks.insert(entry.task.info.task_id.clone(), entry);
        }
        if is_new {
            self.start_executor(now, framework_id, &executor_id, out);
        } else {
            self.limits_changed(framework_id, &executor_id, out);
            self.link_volumes(framework_id, &executor_id, out);
            self.deliver(framework_id, &executor_id, out);
        }
    }

    fn add_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        info: Arc<ExecutorInfo>,
        out: &mut Effects,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("invariant: the framework was admitted");
        let executor = Executor {
            container_id: self.id_generator.container_id(),
            info,
            phase: ExecutorPhase::Starting,
            connection: None,
            subscribed: false,
            received_task: false,
            failures: 0,
            started_at: now,
            terminal_state: None,
            completed_tasks: Default::default(),
        };
        if framework.info.checkpoint {
            out.persist(Record::Executor {
                framework_id: framework_id.clone(),
                executor: executor.info.clone(),
                container_id: executor.container_id.clone(),
                at: now,
            });
        }
        framework.executors.insert(executor.info.executor_id.clone(), Box::new(executor));
    }

    /// Starts the executor's current container.
    pub(super) fn start_executor(
        &mut self,
        now: Time,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let agent_id = self.config.info.id.clone().expect("invariant: an agent with tasks has an id");
        let framework = &self.frameworks[framework_id];
        let executor = &framework.executors[executor_id];
        let container_id = executor.container_id.clone();
        let command = executor.info.kind == ExecutorKind::Command;
        let task = framework.tasks_of(executor_id).next().filter(|_| command);
        out.push(Effect::Start(Box::new(Start {
            container_id: container_id.clone(),
            framework: framework.info.clone(),
            executor: executor.info.clone(),
            agent_id,
            task: task.map(|entry| entry.task.info.clone()),
            limits: framework.limits(executor_id),
            volumes: self.volumes(framework_id, executor_id),
        })));
        let key = (framework_id.clone(), executor_id.clone());
        self.containers.insert(container_id, key.clone());
        self.timers.arm(Timer::Executor(key.0, key.1), now + self.config.executor_registration_timeout);
    }

    /// Delivers pending launches to a subscribed executor, in order.
    pub(super) fn deliver(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(executor) = framework.executors.get_mut(executor_id) else { return };
        let (ExecutorPhase::Running, Some(connection)) = (executor.phase, executor.connection) else {
            return;
        };
        let info = (executor.info.kind != ExecutorKind::Command).then(|| executor.info.clone());
        let to_deliver =
            |entry: &AgentTask| TaskInfo { executor: info.clone(), ..TaskInfo::clone(&entry.task.info) };
        let mut waiting: Vec<&mut Box<AgentTask>> = framework
            .tasks
            .values_mut()
            .filter(|entry| entry.executor_id == *executor_id && !entry.delivered)
            .filter(|entry| !entry.task.state.is_terminal())
            .collect();
        waiting.sort_by_key(|entry| entry.launch);
        executor.received_task |= !waiting.is_empty();
        let mut rest = waiting.into_iter().peekable();
        while let Some(entry) = rest.next() {
            entry.delivered = true;
            let mut tasks = vec![to_deliver(entry)];
            let mut kills = vec![(entry.task.info.task_id.clone(), entry.kill)];
            while let Some(next) = rest.next_if(|next| next.launch == entry.launch) {
                next.delivered = true;
                tasks.push(to_deliver(next));
                kills.push((next.task.info.task_id.clone(), next.kill));
            }
            let event = match tasks.pop() {
                Some(task) if !entry.grouped => ExecutorEvent::Launch { task: Box::new(task) },
                last => ExecutorEvent::LaunchGroup { tasks: tasks.into_iter().chain(last).collect() },
            };
            out.send_to_executor(connection, event);
            for (task_id, kill) in kills {
                if let Some(grace) = kill {
                    out.send_to_executor(connection, ExecutorEvent::Kill { task_id, grace });
                }
            }
        }
    }

    /// Links the volumes of new tasks in the sandbox of their executor, if it runs.
    fn link_volumes(&self, framework_id: &FrameworkId, executor_id: &ExecutorId, out: &mut Effects) {
        let volumes = self.volumes(framework_id, executor_id);
        let executor = &self.frameworks[framework_id].executors[executor_id];
        if !volumes.is_empty() && executor.phase != ExecutorPhase::Waiting {
            out.push(Effect::LinkVolumes { container_id: executor.container_id.clone(), volumes });
        }
    }

    /// Updates the limits of an executor's container.
    pub(super) fn limits_changed(
        &self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(executor) = framework.executors.get(executor_id) else { return };
        if executor.phase == ExecutorPhase::Waiting || executor.info.kind == ExecutorKind::Command {
            return;
        }
        let container_id = executor.container_id.clone();
        out.push(Effect::SetLimits { container_id, limits: framework.limits(executor_id) });
    }
}

impl AgentTask {
    pub(super) fn new(
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        shown: Option<ExecutorId>,
        info: Arc<TaskInfo>,
        launch: u64,
        grouped: bool,
        now: Time,
    ) -> Box<Self> {
        let task = Task {
            framework_id,
            info,
            executor_id: shown,
            state: TaskState::Staging,
            unacknowledged: None,
            statuses: Vec::new(),
            launched_at: now,
        };
        Box::new(Self {
            task,
            executor_id,
            launch,
            grouped,
            delivered: false,
            kill: None,
            resize: None,
            evicted_at: None,
        })
    }
}

/// The executor of a launch: the named one, or the built-in one for a command task.
fn executor_for(
    framework_id: &FrameworkId,
    executor: Option<Arc<ExecutorInfo>>,
    launch: &Launch,
) -> Arc<ExecutorInfo> {
    let first = &launch.tasks()[0];
    let named = executor.or_else(|| first.executor.clone());
    let mut executor = named.unwrap_or_else(|| Arc::new(command_executor(first)));
    if executor.framework_id.as_ref() != Some(framework_id) {
        Arc::make_mut(&mut executor).framework_id = Some(framework_id.clone());
    }
    executor
}

/// The framework's new info with the original `checkpoint`: half a checkpoint would be worse than none.
pub(super) fn with_checkpoint(mut info: Arc<FrameworkInfo>, checkpoint: bool) -> Arc<FrameworkInfo> {
    if info.checkpoint != checkpoint {
        Arc::make_mut(&mut info).checkpoint = checkpoint;
    }
    info
}

/// The built-in executor's description for a task, named as in Mesos.
fn command_executor(task: &TaskInfo) -> ExecutorInfo {
    let id = task.task_id.as_str();
    let line = task.command.as_ref().and_then(|command| command.value.as_deref()).unwrap_or_default();
    let mut shown: String = line.chars().take(COMMAND_SHOWN_MAX).collect();
    if shown.len() < line.len() {
        shown.push_str("...");
    }
    let mut resources = Resources::default();
    resources.add(Resource::scalar("cpus", Scalar(100)));
    resources.add(Resource::scalar("mem", Scalar::from_units(32)));
    ExecutorInfo {
        kind: ExecutorKind::Command,
        executor_id: ExecutorId::new(id),
        framework_id: None,
        command: None,
        resources,
        name: format!("Command Executor (Task: {id}) (Command: sh -c '{shown}')"),
        source: id.to_owned(),
        data: Bytes::new(),
        shutdown_grace: task.kill_grace.map(|grace| grace + std::time::Duration::from_secs(2)),
        labels: Labels::default(),
        image: None,
        extra: Bytes::new(),
    }
}

//! The agent as a pure state machine: it runs the tasks that the master launches on one machine.
//!
//! [`Agent::step`] is the only entry point. It takes the time and one [`Event`], and returns the records to persist and
//! the effects that may follow ([`Effects`]). Sockets, processes, files and clocks belong to the shell
//! (`kernel::agent_driver`); the simulator drives the same machine with fakes. After a crash, [`Agent::recover`]
//! rebuilds the machine from its records.

mod checkpoint;
mod effect;
mod event;
mod executors;
mod history;
mod kill;
mod launch;
mod link;
mod operations;
mod oversubscription;
mod resize;
mod status_updates;
mod stop;
mod subscription;
mod timers;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kernel_model::{
    agent::{AgentInfo, ToAgent},
    executor::ExecutorInfo,
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId},
    operation::OperationUuid,
    oversubscription::Oversubscription,
    resources::{Resources, Scalar, Value},
    task::{Task, TaskState},
    time::Time,
};

pub use effect::{Effect, Effects, Limits, LinkedVolume, Record, Refusal, Start};
pub use event::{ConnectionId, Event, Limitation};

pub use crate::effect::RequestId;
pub use stop::{STOP_MARGIN, StopProgress};
pub use view::{Counts, ExecutorView, ExecutorViewPhase, FrameworkView};

use crate::id_generator::IdGenerator;
use link::LinkState;
use status_updates::{TaskKey, UpdateStream};
use timers::{Timer, Timers};

/// The agent's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent's description; the machine fills in the id.
    pub info: AgentInfo,
    /// The seed of container and update ids. Must differ between starts of the same agent.
    pub seed: u64,
    /// The back-off after the first unanswered registration; it doubles up to [`REGISTRATION_BACKOFF_MAX`].
    pub registration_backoff: Duration,
    /// How long a started executor has to subscribe.
    pub executor_registration_timeout: Duration,
    /// How long a running executor has to subscribe again after a restart of the agent.
    pub executor_reregistration_timeout: Duration,
    /// The time between SHUTDOWN and a forced kill, unless `ExecutorInfo` sets its own.
    pub executor_shutdown_grace: Duration,
    /// The longest grace period when the agent is stopped; without one, tasks and executors have their own.
    pub stop_grace_max: Option<Duration>,
    /// What is offered beyond the machine's resources.
    pub oversubscription: Oversubscription,
}

impl Config {
    /// Mesos' defaults.
    pub fn new(info: AgentInfo, seed: u64) -> Self {
        Self {
            info,
            seed,
            registration_backoff: Duration::from_secs(1),
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace: Duration::from_secs(5),
            stop_grace_max: None,
            oversubscription: Oversubscription::default(),
        }
    }
}

/// The longest back-off between registrations (Mesos' `REGISTER_RETRY_INTERVAL_MAX`).
pub const REGISTRATION_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The agent's state.
pub struct Agent {
    config: Config,
    /// The machine's resources without the reservations of operations.
    detected: Resources,
    /// What operations have made and the machine has no room for any more.
    unmet: Resources,
    link: LinkState,
    /// Boxed: a B-tree node has room for eleven values, and most agents have one framework.
    frameworks: BTreeMap<FrameworkId, Box<Framework>>,
    /// The executor of each container.
    containers: BTreeMap<ContainerId, (FrameworkId, ExecutorId)>,
    streams: BTreeMap<TaskKey, UpdateStream>,
    /// Operations whose status is not acknowledged.
    operations: BTreeMap<OperationUuid, operations::ReportedOperation>,
    /// Volumes whose directories are being made, and the operations that made them.
    making: operations::Making,
    completed_frameworks: VecDeque<FrameworkView>,
    counts: Counts,
    timers: Timers,
    id_generator: IdGenerator,
    next_launch: u64,
    stopping: Option<stop::Stopping>,
    oversubscribed: oversubscription::Oversubscribed,
    /// Why the container runtime starts no containers.
    runtime_failure: Option<String>,
}

/// A framework with executors, tasks or updates on this agent.
struct Framework {
    info: Arc<FrameworkInfo>,
    executors: BTreeMap<ExecutorId, Box<Executor>>,
    tasks: BTreeMap<TaskId, Box<AgentTask>>,
    /// Executors that have terminated, oldest first.
    completed_executors: VecDeque<ExecutorView>,
    /// The master terminated it: only the ends of its executors are awaited.
    shutting_down: bool,
}

/// A task, until its terminal update is acknowledged.
struct AgentTask {
    /// Without the info of its executor, which is stored once for all its tasks.
    task: Task,
    /// Its executor. For command tasks `task.executor_id` is not set.
    executor_id: ExecutorId,
    /// Launch number, ascending in order of arrival; tasks of one group share it.
    launch: u64,
    grouped: bool,
    /// Whether LAUNCH may have reached the executor.
    delivered: bool,
    /// A requested kill, with its grace period.
    kill: Option<Option<Duration>>,
    /// The resources that the master was asked for.
    resize: Option<Resources>,
    /// When its executor was last told to evict it.
    evicted_at: Option<Time>,
}

/// An executor, over all its runs.
struct Executor {
    info: Arc<ExecutorInfo>,
    container_id: ContainerId,
    phase: ExecutorPhase,
    connection: Option<ConnectionId>,
    /// Whether it has subscribed in this run, or is known to run since before the agent's restart.
    subscribed: bool,
    /// Whether any task was ever delivered to it.
    received_task: bool,
    /// Consecutive runs shorter than [`executors::SOUND_RUN`].
    failures: u32,
    started_at: Time,
    /// The state of its unfinished tasks when it terminates, if not the default.
    terminal_state: Option<executors::TerminalState>,
    /// Tasks whose terminal update was acknowledged, oldest first.
    completed_tasks: VecDeque<Task>,
}

/// The phase of an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExecutorPhase {
    /// Started, not subscribed yet.
    Starting,
    /// It survived a restart of the agent and has not subscribed again.
    Returning,
    Running,
    /// SHUTDOWN was sent, or its container is being destroyed.
    Terminating {
        /// Whether another run follows.
        respawn: bool,
    },
    /// Its run ended; the next one starts when its timer fires.
    Waiting,
}

impl Agent {
    /// A new agent without an id.
    pub fn new(config: Config) -> Self {
        Self {
            id_generator: IdGenerator::new(config.seed),
            detected: config.info.resources.clone(),
            unmet: Resources::new(),
            oversubscribed: oversubscription::Oversubscribed::new(&config.oversubscription),
            runtime_failure: None,
            config,
            link: LinkState::Down,
            frameworks: BTreeMap::new(),
            containers: BTreeMap::new(),
            streams: BTreeMap::new(),
            operations: BTreeMap::new(),
            making: operations::Making::default(),
            completed_frameworks: VecDeque::new(),
            counts: Counts::default(),
            timers: Timers::default(),
            next_launch: 0,
            stopping: None,
        }
    }

    /// Recovers an agent from its records, after a crash or an orderly stop. `live` are the containers that still run;
    /// any other container may have run and ended.
    pub fn recover(
        config: Config,
        now: Time,
        records: Vec<Record>,
        live: &BTreeSet<ContainerId>,
    ) -> (Self, Effects) {
        checkpoint::recover(config, now, records, live, None)
    }

    /// Like [`Agent::recover`], for a runtime that knows which containers ended. A container that is neither live nor
    /// ended never ran, and its executor is started now.
    pub fn recover_with_ended(
        config: Config,
        now: Time,
        records: Vec<Record>,
        live: &BTreeSet<ContainerId>,
        ended: &BTreeSet<ContainerId>,
    ) -> (Self, Effects) {
        checkpoint::recover(config, now, records, live, Some(ended))
    }

    /// Handles one event.
    pub fn step(&mut self, now: Time, event: Event) -> Effects {
        let mut out = Effects::default();
        match event {
            Event::LinkUp => self.link_up(now, &mut out),
            Event::LinkDown => self.link_down(),
            Event::FromMaster(message) => self.handle_master_message(now, message, &mut out),
            Event::Subscribe {
                request,
                connection,
                framework_id,
                executor_id,
                unacknowledged_tasks,
                unacknowledged_updates,
            } => {
                let key = (framework_id, executor_id);
                let unacknowledged = (unacknowledged_tasks, unacknowledged_updates);
                self.subscribe(now, request, connection, key, unacknowledged, &mut out);
            }
            Event::Call { request, framework_id, executor_id, call } => {
                self.executor_call(now, request, (framework_id, executor_id), call, &mut out);
            }
            Event::Disconnected { framework_id, executor_id, connection } => {
                self.executor_disconnected(&framework_id, &executor_id, connection);
            }
            Event::StartFailed { container_id, message } => {
                self.start_failed(now, &container_id, message, &mut out);
            }
            Event::Exited { container_id, status, limitation } => {
                self.container_exited(now, &container_id, status, limitation, &mut out);
            }
            Event::VolumesSynced { failed } => self.volumes_synced(now, &failed, &mut out),
            Event::ContainerRuntime { failure } => {
                if self.runtime_failure != failure {
                    self.runtime_failure = failure;
                    self.send_runtime_failure(&mut out);
                }
            }
            Event::Sampled(sample) => self.sampled(now, &sample, &mut out),
            Event::Stop => self.stop(now, &mut out),
            Event::Tick => {}
        }
        self.run_due_timers(now, &mut out);
        out
    }

    /// Reservations and volumes that the machine has no room for any more: it is smaller than when they were made.
    pub fn unmet_resources(&self) -> &Resources {
        &self.unmet
    }

    /// When an [`Event::Tick`] is due, if no other event comes before.
    pub fn next_deadline(&self) -> Option<Time> {
        [self.timers.next(), self.silence_deadline()].into_iter().flatten().min()
    }

    /// The agent's description, with its id once it has one.
    pub fn info(&self) -> &AgentInfo {
        &self.config.info
    }

    /// The agent's id, once registered.
    pub fn id(&self) -> Option<&AgentId> {
        self.config.info.id.as_ref()
    }

    /// Whether it is registered on the current link.
    pub fn is_registered(&self) -> bool {
        matches!(self.link, LinkState::Registered { .. })
    }

    fn handle_master_message(&mut self, now: Time, message: ToAgent, out: &mut Effects) {
        self.master_heard(now);
        match message {
            ToAgent::Registered { agent_id, ping_interval, ping_timeouts } => {
                self.registered(now, agent_id, ping_interval * ping_timeouts, Vec::new(), out);
            }
            ToAgent::Reregistered { agent_id, ping_interval, ping_timeouts, unknown_here } => {
                self.registered(now, agent_id, ping_interval * ping_timeouts, unknown_here, out);
            }
            ToAgent::RunTask { framework, executor, launch, launch_executor } => {
                self.run_task(now, framework, executor, launch, launch_executor, out);
            }
            ToAgent::KillTask { framework_id, task_id, grace } => {
                self.kill_task(now, &framework_id, &task_id, grace, out);
            }
            ToAgent::Acknowledge { framework_id, task_id, uuid } => {
                self.acknowledge(now, (framework_id, task_id), uuid, out);
            }
            ToAgent::UpdateFramework { framework } => self.update_framework(now, framework, out),
            ToAgent::ShutdownFramework { framework_id } => self.end_framework(now, &framework_id, out),
            ToAgent::ShutdownExecutor { framework_id, executor_id } => {
                self.end_executor(now, &framework_id, &executor_id, None, out);
            }
            ToAgent::Message { framework_id, executor_id, data } => {
                self.message_to_executor(&framework_id, &executor_id, data, out);
            }
            ToAgent::TaskResized { framework_id, task_id, resources } => {
                self.task_resized(&framework_id, &task_id, resources, out);
            }
            ToAgent::CheckpointResources { resources, applied, operations } => {
                self.checkpoint_resources(now, resources, applied, operations, out);
            }
            ToAgent::AcknowledgeOperation { operation, status } => {
                self.acknowledge_operation(operation, status, out);
            }
            ToAgent::Ping => out.send_to_master(kernel_model::agent::ToMaster::Pong),
            ToAgent::Shutdown { message } => self.rejected_by_master(now, message, out),
        }
    }

    fn run_due_timers(&mut self, now: Time, out: &mut Effects) {
        self.disconnect_silent_master(now, out);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Register => self.register_again(now, out),
                Timer::Executor(framework_id, executor_id) => {
                    self.executor_timer(now, &framework_id, &executor_id, out);
                }
                Timer::Update(key) => self.send_head(now, &key, true, out),
                Timer::Operation(uuid) => self.send_operation(now, uuid, true, out),
                Timer::Stop => self.stop_overdue(now, out),
            }
        }
    }
}

impl Framework {
    fn new(info: Arc<FrameworkInfo>) -> Box<Self> {
        Box::new(Self {
            info,
            executors: BTreeMap::new(),
            tasks: BTreeMap::new(),
            completed_executors: VecDeque::new(),
            shutting_down: false,
        })
    }

    /// The given state for PARTITION_AWARE frameworks, TASK_LOST for others.
    fn state_for(&self, state: TaskState) -> TaskState {
        if self.info.can(FrameworkCapability::PartitionAware) { state } else { TaskState::Lost }
    }

    fn tasks_of(&self, executor_id: &ExecutorId) -> impl Iterator<Item = &AgentTask> {
        self.tasks.values().map(|entry| &**entry).filter(move |entry| entry.executor_id == *executor_id)
    }

    fn unfinished_tasks_of(&self, executor_id: &ExecutorId) -> Vec<TaskId> {
        self.tasks_of(executor_id)
            .filter(|entry| !entry.task.state.is_terminal())
            .map(|entry| entry.task.info.task_id.clone())
            .collect()
    }

    /// The limits of an executor and its unfinished tasks together.
    fn limits(&self, executor_id: &ExecutorId) -> Limits {
        let mut limits = Limits::default();
        if let Some(executor) = self.executors.get(executor_id) {
            limits.add(&executor.info.resources);
        }
        for entry in self.tasks_of(executor_id).filter(|entry| !entry.task.state.is_terminal()) {
            limits.add(&entry.task.info.resources);
        }
        limits
    }
}

impl Limits {
    /// Those of a container with these resources.
    pub fn of(resources: &Resources) -> Self {
        let mut limits = Self::default();
        limits.add(resources);
        limits
    }

    fn add(&mut self, resources: &Resources) {
        for resource in resources.iter() {
            let Value::Scalar(amount) = &resource.value else { continue };
            match &*resource.name {
                "cpus" if resource.revocable => self.revocable_cpus += *amount,
                "cpus" => self.cpus += *amount,
                "mem" => self.mem_mib += *amount,
                _ => {}
            }
        }
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.cpus == Scalar::ZERO && self.mem_mib == Scalar::ZERO
    }
}

//! The agent as a pure machine: what one computer does about the tasks that the master sends it.
//!
//! [`Agent::step`] is the only entrance. It takes the time and one [`Event`] and returns what has to be written down
//! before anybody may see its consequences, and the consequences ([`Effects`]). Sockets, processes, files and clocks are
//! the shell's (`kernel::agent_driver`); the simulator drives the same machine with fakes. What has been written can be
//! given to [`Agent::recover`] after a crash, and the machine carries on.

mod checkpoint;
mod effect;
mod event;
mod executors;
mod fresh;
mod kill;
mod launch;
mod link;
mod status_updates;
mod stop;
mod subscription;
mod timers;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kernel_model::{
    agent::{AgentInfo, ToAgent},
    executor::ExecutorInfo,
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId},
    resources::{Resources, Scalar, Value},
    task::{Task, TaskState},
    time::Time,
};

pub use effect::{Effect, Effects, Limits, Record, Refusal, Start};
pub use event::{ConnectionId, Event};

pub use crate::effect::RequestId;
pub use view::{ExecutorView, FrameworkView};

use fresh::Fresh;
use link::Link;
use status_updates::{Stream, TaskKey};
use timers::{Timer, Timers};

/// What an operator may set of an agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who it is; the id is filled in by the machine.
    pub info: AgentInfo,
    /// Where fresh container and update ids come from. Must differ from start to start of the same agent.
    pub seed: u64,
    /// The wait after the first unanswered registration; doubles up to [`REGISTRATION_BACKOFF_MAX`].
    pub registration_backoff: Duration,
    /// How long a started executor may take to subscribe.
    pub executor_registration_timeout: Duration,
    /// How long a living executor may take to come back after a restart of the agent.
    pub executor_reregistration_timeout: Duration,
    /// How long an executor may take to end after SHUTDOWN, unless its own info says.
    pub executor_shutdown_grace: Duration,
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
        }
    }
}

/// The longest wait between two registrations (Mesos' `REGISTER_RETRY_INTERVAL_MAX`).
pub const REGISTRATION_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A machine's agent.
pub struct Agent {
    config: Config,
    link: Link,
    /// Values are boxed: a node of the map has room for eleven, and most agents have one.
    frameworks: BTreeMap<FrameworkId, Box<Framework>>,
    /// Which executor a container is the run of.
    containers: BTreeMap<ContainerId, (FrameworkId, ExecutorId)>,
    streams: BTreeMap<TaskKey, Stream>,
    timers: Timers,
    fresh: Fresh,
    next_launch: u64,
    stopping: Option<stop::Stopping>,
}

/// A framework that has something on this agent.
struct Framework {
    info: Arc<FrameworkInfo>,
    executors: BTreeMap<ExecutorId, Box<Executor>>,
    tasks: BTreeMap<TaskId, Box<Entry>>,
    /// The master ended it; only its executors' ends are awaited.
    ending: bool,
}

/// A task that the agent answers for, until its terminal update is acknowledged.
struct Entry {
    /// Without its executor's info, which is kept once for all tasks of the executor.
    task: Task,
    /// On which executor; `task.executor_id` is empty for command tasks.
    executor_id: ExecutorId,
    /// Ascends in the order of arrival; tasks of one group share it.
    launch: u64,
    grouped: bool,
    /// Whether the executor may have been told of it.
    delivered: bool,
    /// A kill that was asked for, with its grace.
    kill: Option<Option<Duration>>,
}

/// An executor, over all of its runs.
struct Executor {
    info: Arc<ExecutorInfo>,
    container_id: ContainerId,
    phase: Phase,
    connection: Option<ConnectionId>,
    /// It has subscribed in this run, or is known to run since before the agent's restart.
    subscribed: bool,
    /// Whether any task was ever delivered to it.
    served: bool,
    /// Runs that ended soon, in a row.
    failures: u32,
    started_at: Time,
    /// What becomes of its tasks at its end, if not the usual.
    verdict: Option<executors::Verdict>,
}

/// Where an executor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Started, not subscribed yet.
    Starting,
    /// It lived through a restart of the agent and has not subscribed again yet.
    Returning,
    /// Subscribed.
    Running,
    /// Told to end, or being destroyed.
    Ending {
        /// Only this run ends; the executor is started again.
        respawn: bool,
    },
    /// Its run ended; it will be started again when its timer fires.
    Waiting,
}

impl Agent {
    /// A new agent that knows nothing and has no id.
    pub fn new(config: Config) -> Self {
        Self {
            fresh: Fresh::new(config.seed),
            config,
            link: Link::Down,
            frameworks: BTreeMap::new(),
            containers: BTreeMap::new(),
            streams: BTreeMap::new(),
            timers: Timers::default(),
            next_launch: 0,
            stopping: None,
        }
    }

    /// An agent as its records say, after a crash or an orderly stop. `live` are the containers that still run; any other
    /// one may have run and ended.
    pub fn recover(
        config: Config,
        now: Time,
        records: Vec<Record>,
        live: &BTreeSet<ContainerId>,
    ) -> (Self, Effects) {
        checkpoint::recover(config, now, records, live, None)
    }

    /// The same for a runtime that knows which containers ran and ended: one that is neither alive nor among them never
    /// ran, and its executor is started now.
    pub fn recover_knowing(
        config: Config,
        now: Time,
        records: Vec<Record>,
        live: &BTreeSet<ContainerId>,
        ended: &BTreeSet<ContainerId>,
    ) -> (Self, Effects) {
        checkpoint::recover(config, now, records, live, Some(ended))
    }

    /// Takes one event.
    pub fn step(&mut self, now: Time, event: Event) -> Effects {
        let mut out = Effects::default();
        match event {
            Event::LinkUp => self.link_up(now, &mut out),
            Event::LinkDown => self.link_down(),
            Event::FromMaster(message) => self.master_said(now, message, &mut out),
            Event::Subscribe {
                request,
                connection,
                framework_id,
                executor_id,
                unacknowledged_tasks,
                unacknowledged_updates,
            } => {
                let who = (framework_id, executor_id);
                let said = (unacknowledged_tasks, unacknowledged_updates);
                self.subscribe(now, request, connection, who, said, &mut out);
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
            Event::Stop => self.stop(now, &mut out),
            Event::Tick => {}
        }
        self.fire_timers(now, &mut out);
        out
    }

    /// When the machine wants its next [`Event::Tick`], if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        [self.timers.next(), self.silent_at()].into_iter().flatten().min()
    }

    /// The agent's description, with its id once it has one.
    pub fn info(&self) -> &AgentInfo {
        &self.config.info
    }

    /// Its id, once the master gave one.
    pub fn id(&self) -> Option<&AgentId> {
        self.config.info.id.as_ref()
    }

    /// Whether a master has admitted it on the present link.
    pub fn is_registered(&self) -> bool {
        matches!(self.link, Link::Registered { .. })
    }

    fn master_said(&mut self, now: Time, message: ToAgent, out: &mut Effects) {
        self.master_spoke(now);
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
            ToAgent::Ping => out.tell_master(kernel_model::agent::ToMaster::Pong),
            ToAgent::Shutdown { message } => self.refused(now, message, out),
        }
    }

    fn fire_timers(&mut self, now: Time, out: &mut Effects) {
        self.drop_silent_master(now, out);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Register => self.register_again(now, out),
                Timer::Executor(framework_id, executor_id) => {
                    self.executor_timer(now, &framework_id, &executor_id, out);
                }
                Timer::Update(key) => self.send_head(now, &key, true, out),
                Timer::Stop => self.stop_overdue(now, out),
            }
        }
    }
}

impl Framework {
    fn new(info: Arc<FrameworkInfo>) -> Box<Self> {
        Box::new(Self { info, executors: BTreeMap::new(), tasks: BTreeMap::new(), ending: false })
    }

    /// `state` for frameworks that know of partitions, LOST for the others.
    fn state_for(&self, state: TaskState) -> TaskState {
        if self.info.can(FrameworkCapability::PartitionAware) { state } else { TaskState::Lost }
    }

    fn tasks_of(&self, executor_id: &ExecutorId) -> impl Iterator<Item = &Entry> {
        self.tasks.values().map(|entry| &**entry).filter(move |entry| entry.executor_id == *executor_id)
    }

    fn unfinished_tasks_of(&self, executor_id: &ExecutorId) -> Vec<TaskId> {
        self.tasks_of(executor_id)
            .filter(|entry| !entry.task.state.is_terminal())
            .map(|entry| entry.task.info.task_id.clone())
            .collect()
    }

    /// What the executor and its unfinished tasks may use together.
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
    fn add(&mut self, resources: &Resources) {
        for resource in resources.iter() {
            let Value::Scalar(amount) = &resource.value else { continue };
            match &*resource.name {
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

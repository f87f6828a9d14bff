//! Drives one agent, and logs its inputs and effects, one line each.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use bytes::Bytes;
use kernel_model::{
    agent::{AgentInfo, Launch, ToAgent, ToMaster},
    executor::{Call, CommandInfo, Event as ExecutorEvent, ExecutorInfo, ExecutorKind, RESPAWN_LABEL},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId},
    labels::Labels,
    oversubscription::Sample,
    resources::{Resource, Resources, Scalar},
    task::{Source, Task, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use crate::agent::{Agent, Config, ConnectionId, Effect, Effects, Event, Record, RequestId};

pub struct Script {
    pub agent: Agent,
    now: Time,
    pub respawning: bool,
    pub kill_grace: Option<Duration>,
    containers: Vec<ContainerId>,
    made_here: Vec<UpdateId>,
    records: Vec<Record>,
    log: String,
    starts: u64,
}

pub fn framework(checkpoint: bool) -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: "test".into(),
        id: Some("F".into()),
        failover_timeout: Duration::from_secs(60),
        checkpoint,
        roles: Vec::new(),
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: BTreeSet::from([FrameworkCapability::PartitionAware]),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

pub fn executor(id: &str, respawns: bool) -> ExecutorInfo {
    let labels = Labels::default();
    ExecutorInfo {
        kind: ExecutorKind::Custom,
        executor_id: id.into(),
        framework_id: None,
        command: Some(CommandInfo { shell: true, value: Some("run".into()), ..CommandInfo::default() }),
        resources: "cpus:0.1;mem:32".parse().unwrap(),
        name: id.into(),
        source: String::new(),
        data: Bytes::new(),
        shutdown_grace: None,
        image: None,
        labels: if respawns { labels.with(RESPAWN_LABEL, "true") } else { labels },
        extra: Bytes::new(),
    }
}

pub fn task(id: &str) -> TaskInfo {
    TaskInfo {
        name: id.into(),
        task_id: id.into(),
        agent_id: "A0".into(),
        resources: "cpus:1;mem:64".parse().unwrap(),
        zero_resources: Vec::new(),
        executor: None,
        command: None,
        kill_grace: None,
        max_completion_time: None,
        image: None,
        data: Bytes::new(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

pub fn config(seed: u64) -> Config {
    let info = AgentInfo {
        id: None,
        hostname: "host".into(),
        ip: "127.0.0.1".into(),
        port: 5051,
        resources: Resources::default(),
        attributes: Vec::new(),
        runs_images: false,
        operations: Default::default(),
    };
    Config::new(info, seed)
}

impl Script {
    pub fn new() -> Self {
        Self {
            agent: Agent::new(config(0)),
            now: Time(1_000_000_000_000),
            respawning: false,
            kill_grace: None,
            containers: Vec::new(),
            made_here: Vec::new(),
            records: Vec::new(),
            log: String::new(),
            starts: 0,
        }
    }

    pub fn registered_agent() -> Self {
        Self::registered_with_config(config(0))
    }

    pub fn registered_with_config(config: Config) -> Self {
        let mut script = Self { agent: Agent::new(config), ..Self::new() };
        script.link_up();
        script.registered();
        script.log.clear();
        script
    }

    pub fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    pub(super) fn step(&mut self, line: &str, event: Event) {
        writeln!(self.log, "> {line}").unwrap();
        let effects = self.agent.step(self.now, event);
        self.add_line(effects);
        // At every point, the compacted checkpoint is equivalent to the whole log.
        let compact = self.agent.records();
        let (again, _) = Agent::recover(config(9), self.now, compact.clone(), &self.living(&self.containers));
        assert_eq!(again.records(), compact, "after {line}");
    }

    fn living(&self, which: &[ContainerId]) -> BTreeSet<ContainerId> {
        which.iter().cloned().collect()
    }

    fn add_line(&mut self, effects: Effects) {
        for record in &effects.persist {
            let line = self.record(record);
            writeln!(self.log, "persist {line}").unwrap();
        }
        self.records.extend(effects.persist);
        for effect in effects.after_persist {
            let line = self.effect(effect);
            writeln!(self.log, "{line}").unwrap();
        }
    }

    fn container(&mut self, id: &ContainerId) -> String {
        let known = self.containers.iter().position(|known| known == id);
        let index = known.unwrap_or_else(|| {
            self.containers.push(id.clone());
            self.containers.len() - 1
        });
        format!("c{index}")
    }

    fn uuid(&mut self, id: UpdateId) -> String {
        if id.0[..15] == [0; 15] {
            return format!("#{}", id.0[15]);
        }
        let known = self.made_here.iter().position(|known| *known == id);
        let index = known.unwrap_or_else(|| {
            self.made_here.push(id);
            self.made_here.len() - 1
        });
        format!("#a{index}")
    }

    fn status(&mut self, status: &TaskStatus) -> String {
        let uuid = self.uuid(status.uuid.unwrap());
        format!("{} {:?} {uuid}", status.task_id, status.state)
    }

    fn record(&mut self, record: &Record) -> String {
        match record {
            Record::Resources { resources, applied } => format!("Resources {resources} ({})", applied.count),
            Record::Operation { operation } => format!("Operation {}", operation.id),
            Record::OperationDone { .. } => "OperationDone".to_owned(),
            Record::Identity { agent_id } => format!("Identity {agent_id}"),
            Record::Framework { info } => format!("Framework {}", info.id.as_ref().unwrap()),
            Record::FrameworkRemoved { framework_id } => format!("FrameworkRemoved {framework_id}"),
            Record::Executor { executor, container_id, .. } => {
                format!("Executor {} {}", executor.executor_id, self.container(container_id))
            }
            Record::ExecutorRemoved { executor_id, .. } => format!("ExecutorRemoved {executor_id}"),
            Record::Task { task, .. } => format!("Task {}", task.task_id),
            Record::Kill { task_id, .. } => format!("Kill {task_id}"),
            Record::Update { status, .. } => format!("Update {}", self.status(status)),
            Record::UpdateDone { task_id, uuid, .. } => format!("UpdateDone {task_id} {}", self.uuid(*uuid)),
            Record::TaskRemoved { task_id, .. } => format!("TaskRemoved {task_id}"),
        }
    }

    fn effect(&mut self, effect: Effect) -> String {
        match effect {
            Effect::ToMaster(message) => format!("master: {}", self.show_to_master(message)),
            Effect::DropLink => "drop link".into(),
            Effect::Start(start) => format!(
                "start {} {} cpus {} mem {}",
                start.executor.executor_id,
                self.container(&start.container_id),
                start.limits.cpus,
                start.limits.mem_mib
            ),
            Effect::SetLimits { container_id, limits } => {
                format!(
                    "limits {} cpus {} mem {}",
                    self.container(&container_id),
                    limits.cpus,
                    limits.mem_mib
                )
            }
            Effect::SyncVolumes { volumes, .. } => format!("volumes {}", volumes.len()),
            Effect::LinkVolumes { container_id, volumes } => {
                format!("link {} volumes in {}", volumes.len(), self.container(&container_id))
            }
            Effect::Terminate { container_id } => format!("terminate {}", self.container(&container_id)),
            Effect::Destroy { container_id } => format!("destroy {}", self.container(&container_id)),
            Effect::ToExecutor { connection, event } => {
                format!("{} <- {}", connection.0, self.show_to_executor(event))
            }
            Effect::Close { connection } => format!("close {}", connection.0),
            Effect::Reply { result, .. } => match result {
                Ok(()) => "reply ok".into(),
                Err(refusal) => format!("reply {refusal}"),
            },
            Effect::Stopped { message } => match message {
                None => "stopped".into(),
                Some(message) => format!("stopped: {message}"),
            },
        }
    }

    fn show_to_master(&mut self, message: ToMaster) -> String {
        match message {
            ToMaster::Register { .. } => "Register".into(),
            ToMaster::Reregister { executors, tasks, .. } => {
                let executors: Vec<_> = executors.iter().map(|e| e.executor_id.to_string()).collect();
                let tasks: Vec<_> = tasks.iter().map(|task| self.task(task)).collect();
                format!("Reregister executors=[{}] tasks=[{}]", executors.join(", "), tasks.join(", "))
            }
            ToMaster::Update { status, latest_state, .. } => {
                let reason = status.reason.map(|reason| format!(" {reason:?}")).unwrap_or_default();
                format!("Update {}{reason} latest {latest_state:?}", self.status(&status))
            }
            ToMaster::ExitedExecutor { executor_id, status, .. } => {
                format!("ExitedExecutor {executor_id} {status}")
            }
            ToMaster::Message { executor_id, .. } => format!("Message from {executor_id}"),
            ToMaster::ResizeTask { task_id, amounts, .. } => format!("ResizeTask {task_id} {amounts}"),
            ToMaster::OperationStatus { operation } => format!("OperationStatus {}", operation.id),
            ToMaster::VolumesFailed { volumes } => format!("VolumesFailed {}", volumes.len()),
            ToMaster::Oversubscribed { resources } => format!("Oversubscribed {resources}"),
            ToMaster::ContainerRuntime { failure } => format!("ContainerRuntime {failure:?}"),
            ToMaster::Pong => "Pong".into(),
            ToMaster::Stopping => "Stopping".into(),
            ToMaster::Unregister => "Unregister".into(),
        }
    }

    fn task(&mut self, task: &Task) -> String {
        let waiting = match task.unacknowledged {
            Some((state, Some(uuid))) => format!(" unacknowledged {state:?} {}", self.uuid(uuid)),
            _ => String::new(),
        };
        format!("{} {:?}{waiting}", task.info.task_id, task.state)
    }

    fn show_to_executor(&mut self, event: ExecutorEvent) -> String {
        match event {
            ExecutorEvent::Subscribed { container_id, .. } => {
                format!("Subscribed {}", self.container(&container_id))
            }
            ExecutorEvent::Launch { task } => format!("Launch {}", task.task_id),
            ExecutorEvent::LaunchGroup { tasks } => {
                let ids: Vec<_> = tasks.iter().map(|task| task.task_id.as_str()).collect();
                format!("LaunchGroup {}", ids.join(" "))
            }
            ExecutorEvent::Kill { task_id, grace } => {
                let grace = grace.map(|grace| format!(" {grace:?}")).unwrap_or_default();
                format!("Kill {task_id}{grace}")
            }
            ExecutorEvent::Acknowledged { task_id, uuid } => {
                format!("Acknowledged {task_id} {}", self.uuid(uuid))
            }
            ExecutorEvent::Message { .. } => "Message".into(),
            ExecutorEvent::Error { message } => format!("Error {message}"),
            ExecutorEvent::Shutdown => "Shutdown".into(),
            ExecutorEvent::Heartbeat => "Heartbeat".into(),
            ExecutorEvent::Evict { task_id, message } => format!("Evict {task_id} {message}"),
            ExecutorEvent::TaskResized { task_id, resources } => format!("TaskResized {task_id} {resources}"),
        }
    }

    pub fn link_up(&mut self) {
        self.step("link up", Event::LinkUp);
    }

    pub fn link_down(&mut self) {
        self.step("link down", Event::LinkDown);
    }

    pub fn tick_after(&mut self, seconds: f64) {
        self.now = self.now + Duration::from_secs_f64(seconds);
        self.step("tick", Event::Tick);
    }

    fn registered_with(&mut self, line: &str, message: ToAgent) {
        self.step(line, Event::FromMaster(message));
    }

    pub fn registered(&mut self) {
        let ping_interval = Duration::from_secs(15);
        self.registered_with(
            "registered",
            ToAgent::Registered { agent_id: "A0".into(), ping_interval, ping_timeouts: 5 },
        );
    }

    pub fn reregistered(&mut self, unknown: &[&str]) {
        let message = ToAgent::Reregistered {
            agent_id: AgentId::from("A0"),
            ping_interval: Duration::from_secs(15),
            ping_timeouts: 5,
            unknown_here: unknown.iter().map(|id| ("F".into(), TaskId::from(*id))).collect(),
        };
        self.registered_with("reregistered", message);
    }

    pub fn ping(&mut self) {
        self.registered_with("ping", ToAgent::Ping);
    }

    pub fn run_command(&mut self, id: &str) {
        let command = CommandInfo { shell: true, value: Some("true".into()), ..CommandInfo::default() };
        let launch = Launch::Task(TaskInfo { command: Some(command), ..task(id) }.into());
        let framework = framework(true).into();
        let message = ToAgent::RunTask { framework, executor: None, launch, launch_executor: true };
        self.registered_with(&format!("run {id}"), message);
    }

    pub fn run_on(&mut self, on: &str, id: &str, launch_executor: bool) {
        let executor = Some(executor(on, self.respawning).into());
        let launch = Launch::Task(TaskInfo { kill_grace: self.kill_grace, ..task(id) }.into());
        let message =
            ToAgent::RunTask { framework: framework(true).into(), executor, launch, launch_executor };
        self.registered_with(&format!("run {id} on {on}"), message);
    }

    /// A task on revocable CPUs.
    pub fn run_revocable(&mut self, on: &str, id: &str) {
        let executor = Some(executor(on, self.respawning).into());
        let cpus = Resource { revocable: true, ..Resource::scalar("cpus", Scalar::from_units(1)) };
        let mem = Resource::scalar("mem", Scalar::from_units(64));
        let task = TaskInfo { resources: [cpus, mem].into_iter().collect(), ..task(id) };
        let (framework, launch) = (framework(true).into(), Launch::Task(task.into()));
        let message = ToAgent::RunTask { framework, executor, launch, launch_executor: true };
        self.registered_with(&format!("run {id} on {on}, revocable"), message);
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// A measurement of the load averages, after some seconds.
    pub fn sample(&mut self, seconds: u64, load: f64) {
        self.wait(seconds);
        let sample = Sample { load: Some([load, load]), ..Sample::default() };
        self.step(&format!("load {load}"), Event::Sampled(sample.into()));
    }

    pub fn run_group(&mut self, on: &str, ids: &[&str]) {
        let executor = Some(executor(on, self.respawning).into());
        let launch = Launch::Group(ids.iter().map(|id| task(id)).collect());
        let message =
            ToAgent::RunTask { framework: framework(true).into(), executor, launch, launch_executor: true };
        self.registered_with(&format!("run group {} on {on}", ids.join(" ")), message);
    }

    pub fn kill(&mut self, id: &str, grace: Option<u64>) {
        let grace = grace.map(Duration::from_secs);
        self.registered_with(
            &format!("kill {id}"),
            ToAgent::KillTask { framework_id: "F".into(), task_id: id.into(), grace },
        );
    }

    pub fn ack(&mut self, id: &str, uuid: u8) {
        let uuid = number(uuid);
        let message = ToAgent::Acknowledge { framework_id: "F".into(), task_id: id.into(), uuid };
        self.registered_with(&format!("ack {id} #{}", uuid.0[15]), message);
    }

    pub fn end_executor(&mut self, id: &str) {
        let message = ToAgent::ShutdownExecutor { framework_id: "F".into(), executor_id: id.into() };
        self.registered_with(&format!("end executor {id}"), message);
    }

    pub fn end_framework(&mut self) {
        self.registered_with("end framework", ToAgent::ShutdownFramework { framework_id: "F".into() });
    }

    pub fn limit_stop(&mut self, longest: Duration) {
        self.agent.config.stop_grace_max = Some(longest);
    }

    pub fn stop(&mut self) {
        self.step("stop", Event::Stop);
    }

    pub fn subscribe(&mut self, id: &str, connection: u64) {
        let event = Event::Subscribe {
            request: RequestId(0),
            connection: ConnectionId(connection),
            framework_id: FrameworkId::from("F"),
            executor_id: ExecutorId::from(id),
            unacknowledged_tasks: Vec::new(),
            unacknowledged_updates: Vec::new(),
        };
        self.step(&format!("subscribe {id} as {connection}"), event);
    }

    pub fn resize(&mut self, executor: &str, id: &str, amounts: &str) {
        let (framework_id, executor_id) = ("F".into(), executor.into());
        let call = Call::ResizeTask { task_id: id.into(), amounts: amounts.parse().unwrap() };
        let event = Event::Call { request: RequestId(0), framework_id, executor_id, call };
        self.step(&format!("resize {id} to {amounts}"), event);
    }

    pub fn task_resized(&mut self, id: &str, resources: &str) {
        let (task_id, resources) = (id.into(), resources.parse().unwrap());
        let message = ToAgent::TaskResized { framework_id: "F".into(), task_id, resources };
        self.registered_with(&format!("task {id} resized"), message);
    }

    pub fn update(&mut self, executor: &str, id: &str, state: TaskState, uuid: u8) {
        let status = TaskStatus {
            uuid: Some(number(uuid)),
            ..TaskStatus::new(id.into(), state, Source::Executor, self.now)
        };
        let event = Event::Call {
            request: RequestId(0),
            framework_id: "F".into(),
            executor_id: executor.into(),
            call: Call::Update { status: status.into() },
        };
        self.step(&format!("update {id} {state:?} #{uuid}"), event);
    }

    /// The n-th started container terminates.
    pub fn exit(&mut self, container: usize, status: i32) {
        let container_id = self.containers[container].clone();
        self.step(&format!("exit c{container}"), Event::Exited { container_id, status, limitation: None });
    }

    /// Replaces the records by the shortest list.
    pub fn compact(&mut self) {
        self.records = self.agent.records();
    }

    /// A crash with a runtime that knows which containers terminated.
    pub fn crash_with_ended(&mut self, living: &[usize], ended: &[usize]) {
        writeln!(self.log, "> crash, living containers {living:?}, ended {ended:?}").unwrap();
        let pick = |which: &[usize]| which.iter().map(|index| self.containers[*index].clone()).collect();
        self.starts += 1;
        let config = config(1000 * self.starts);
        let (agent, effects) =
            Agent::recover_with_ended(config, self.now, self.records.clone(), &pick(living), &pick(ended));
        self.agent = agent;
        self.add_line(effects);
    }

    /// The agent crashes and recovers from its records; the containers with these numbers still run.
    pub fn crash(&mut self, living: &[usize]) {
        writeln!(self.log, "> crash, living containers {living:?}").unwrap();
        let living: Vec<_> = living.iter().map(|index| self.containers[*index].clone()).collect();
        self.starts += 1;
        let config = config(1000 * self.starts);
        let (agent, effects) =
            Agent::recover(config, self.now, self.records.clone(), &living.into_iter().collect());
        self.agent = agent;
        self.add_line(effects);
    }
}

pub fn number(number: u8) -> UpdateId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    UpdateId(bytes)
}

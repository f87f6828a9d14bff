//! A master with scripted peers, and a log of its effects.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use kernel_model::{
    agent::{AgentInfo, Launch, ToAgent, ToMaster},
    caller::Caller,
    executor::{CommandInfo, ExecutorInfo, ExecutorKind},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, FrameworkId, StreamId, TaskId, UpdateId},
    labels::Labels,
    offer::Filters,
    operator,
    roles::Role,
    scheduler::{Call, Event as ToScheduler, MasterInfo, Operation, Subscribe},
    task::{Reason, Source, Task, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use crate::{
    audit::audit,
    effect::{LinkId, RequestId},
    master::*,
};

pub(crate) struct Cluster {
    pub(crate) master: Master,
    pub(crate) now: Time,
    log: String,
    next: u64,
    /// Whether operator events are logged.
    pub(crate) operators: bool,
}

pub(crate) fn config(id: &str) -> MasterConfig {
    MasterConfig::new(MasterInfo {
        id: id.into(),
        hostname: "localhost".into(),
        ip: "127.0.0.1".into(),
        port: 5050,
        version: "1.11.0".into(),
    })
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with(config("m"), Registry::default())
    }

    pub(crate) fn with(config: MasterConfig, registry: Registry) -> Self {
        Self {
            master: Master::new(config, registry),
            now: Time(1_000_000_000_000),
            log: String::new(),
            next: 0,
            operators: false,
        }
    }

    /// A new master with the same registry; streams and links are closed.
    pub(crate) fn restart(&mut self, id: &str) {
        let registry = Registry::from_records(self.master.registry().iter().cloned());
        self.master = Master::new(config(id), registry);
    }

    pub(crate) fn step(&mut self, event: Event) {
        let effects = self.master.step(self.now, event);
        for op in &effects.persist {
            match op {
                Op::Put(record) => self.line(format!("put {:?}", record.key())),
                Op::Delete(key) => self.line(format!("delete {key:?}")),
            }
        }
        for effect in &effects.after_persist {
            self.log_effect(effect);
        }
        let notes = audit(&self.master);
        assert!(notes.is_empty(), "{notes:#?}\n{}", self.log);
    }

    pub(crate) fn line(&mut self, line: String) {
        writeln!(self.log, "{line}").unwrap();
    }

    /// The log since the last call.
    pub(crate) fn log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }

    /// Advances the time, deadline by deadline.
    pub(crate) fn advance(&mut self, length: Duration) {
        let end = self.now + length;
        while let Some(at) = self.master.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step(Event::Tick);
        }
        self.now = end;
    }

    pub(crate) fn connect(&mut self, link: u64, message: ToMaster) {
        self.step(Event::AgentConnected { link: LinkId(link) });
        self.send_message(link, message);
    }

    pub(crate) fn send_message(&mut self, link: u64, message: ToMaster) {
        self.step(Event::AgentMessage { link: LinkId(link), message });
    }

    pub(crate) fn disconnect(&mut self, link: u64) {
        self.step(Event::AgentDisconnected { link: LinkId(link) });
    }

    /// An agent `h<link>` registers on a link.
    pub(crate) fn agent(&mut self, link: u64, resources: &str) {
        self.connect(link, ToMaster::Register { info: agent_info(link, resources).into() });
    }

    pub(crate) fn subscribe(&mut self, stream: &str, framework: FrameworkInfo) {
        let subscribe =
            Subscribe { framework, suppressed_roles: Default::default(), preferences: Default::default() };
        let request = self.request();
        let (stream, caller) = (StreamId::from(stream), Caller::InProcess);
        self.step(Event::Subscribe { request, stream, caller, subscribe: subscribe.into() });
    }

    pub(crate) fn call(&mut self, framework: &str, stream: &str, call: Call) {
        let request = self.request();
        let (framework_id, stream) = (FrameworkId::from(framework), Some(StreamId::from(stream)));
        self.step(Event::SchedulerCall { request, framework_id, stream, caller: Caller::InProcess, call });
    }

    pub(crate) fn operator(&mut self, call: OperatorCall) {
        let request = self.request();
        self.step(Event::Operator { request, call });
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    pub(crate) fn accept(&mut self, framework: &str, stream: &str, offer: u64, operations: Vec<Operation>) {
        let offer_ids = vec![format!("m-O{offer}").into()];
        self.call(framework, stream, Call::Accept { offer_ids, operations, filters: Filters::default() });
    }

    pub(crate) fn decline(&mut self, framework: &str, stream: &str, offer: u64, seconds: f64) {
        let filters = Filters { refuse: Duration::from_secs_f64(seconds) };
        let offer_ids = vec![format!("m-O{offer}").into()];
        self.call(framework, stream, Call::Decline { offer_ids, filters });
    }

    /// The agent of a link reports a state; the uuid repeats the number of the state.
    pub(crate) fn update(&mut self, link: u64, framework: &str, task: &str, state: TaskState) {
        let status = TaskStatus {
            uuid: Some(UpdateId([state as u8; 16])),
            ..TaskStatus::new(task.into(), state, Source::Executor, self.now)
        };
        let framework_id = framework.into();
        self.send_message(
            link,
            ToMaster::Update { framework_id, status: status.into(), latest_state: state },
        );
    }

    pub(crate) fn acknowledge(
        &mut self,
        framework: &str,
        stream: &str,
        agent: &str,
        task: &str,
        state: TaskState,
    ) {
        let call = Call::Acknowledge {
            agent_id: agent.into(),
            task_id: task.into(),
            uuid: UpdateId([state as u8; 16]),
        };
        self.call(framework, stream, call);
    }

    fn log_effect(&mut self, effect: &Effect) {
        let line = match effect {
            Effect::Reply { result: Ok(answer), .. } => format!("reply {answer:?}"),
            Effect::Reply { result: Err(refusal), .. } => {
                let text = format!("{refusal:?}");
                format!("reply {}: {refusal}", text.split('(').next().unwrap())
            }
            Effect::ToScheduler { stream, event } => format!("{stream} <- {}", show_event(event)),
            Effect::CloseStream { stream } => format!("{stream} closed"),
            Effect::ToAgent { link, message: ToAgent::Ping } => format!("l{} <- Ping", link.0),
            Effect::ToAgent { link, message } => format!("l{} <- {}", link.0, show_message(message)),
            Effect::CloseLink { link } => format!("l{} closed", link.0),
            Effect::Operator(event) if self.operators => format!("operators <- {}", show_operator(event)),
            Effect::Operator(_) => return,
            Effect::Dropped { framework_id, message } => format!("dropped {framework_id}: {message}"),
        };
        self.line(line);
    }
}

pub(crate) fn agent_info(number: u64, resources: &str) -> AgentInfo {
    AgentInfo {
        id: None,
        hostname: format!("h{number}"),
        ip: "127.0.0.1".into(),
        port: 5051,
        resources: resources.parse().unwrap(),
        attributes: Vec::new(),
        runs_images: false,
        operations: Default::default(),
    }
}

/// A framework with all capabilities.
pub(crate) fn framework(name: &str, roles: &[&str]) -> FrameworkInfo {
    use FrameworkCapability::*;
    FrameworkInfo {
        user: "root".into(),
        name: name.into(),
        id: None,
        failover_timeout: Duration::from_secs(100),
        checkpoint: true,
        roles: roles.iter().map(|r| Role::parse(r).unwrap()).collect(),
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: [PartitionAware, MultiRole, TaskKillingState, ReservationRefinement].into(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

pub(crate) fn task(id: &str, agent: &str, resources: &str) -> TaskInfo {
    TaskInfo {
        name: id.into(),
        task_id: id.into(),
        agent_id: agent.into(),
        resources: resources.parse().unwrap(),
        zero_resources: Vec::new(),
        executor: None,
        command: Some(CommandInfo { shell: true, value: Some("true".into()), ..Default::default() }),
        kill_grace: None,
        max_completion_time: None,
        image: None,
        data: Bytes::new(),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

pub(crate) fn executor(id: &str, resources: &str) -> ExecutorInfo {
    ExecutorInfo {
        kind: ExecutorKind::Custom,
        executor_id: id.into(),
        framework_id: None,
        command: Some(CommandInfo { shell: true, value: Some("exec".into()), ..Default::default() }),
        resources: resources.parse().unwrap(),
        name: String::new(),
        source: String::new(),
        data: Bytes::new(),
        shutdown_grace: None,
        image: None,
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

pub(crate) fn on_executor(mut task: TaskInfo, executor: ExecutorInfo) -> TaskInfo {
    task.command = None;
    task.executor = Some(executor.into());
    task
}

/// A task as an agent reports it.
pub(crate) fn running(framework: &str, id: &str, agent: &str, resources: &str) -> Task {
    let role = Role::any();
    let mut info = task(id, agent, resources);
    info.resources = info.resources.allocated_to(&role);
    Task {
        framework_id: framework.into(),
        info: info.into(),
        executor_id: None,
        state: TaskState::Running,
        unacknowledged: None,
        statuses: Vec::new(),
        launched_at: Time::default(),
    }
}

fn show_status(status: &TaskStatus) -> String {
    let mut text = format!("{} {:?} by {:?}", status.task_id, status.state, status.source);
    if let Some(reason) = status.reason {
        write!(text, " {}", show_reason(reason)).unwrap();
    }
    if let Some(message) = &status.message {
        write!(text, " '{message}'").unwrap();
    }
    if status.uuid.is_some() {
        text.push_str(" (to acknowledge)");
    }
    text
}

fn show_reason(reason: Reason) -> String {
    format!("{reason:?}")
}

fn show_event(event: &ToScheduler) -> String {
    match event {
        ToScheduler::Subscribed { framework_id, .. } => format!("Subscribed {framework_id}"),
        ToScheduler::Offers { offers } => {
            let show = |o: &std::sync::Arc<kernel_model::offer::Offer>| {
                format!("{} of {} for {}: {}", o.id, o.agent_id, o.role, o.resources.unallocated())
            };
            format!("Offers [{}]", offers.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        ToScheduler::Update { status } => format!("Update {}", show_status(status)),
        ToScheduler::UpdateOperationStatus { uuid, operation_id, state, message, .. } => {
            let note = if uuid.is_some() { " (to acknowledge)" } else { "" };
            format!("UpdateOperationStatus {operation_id} {state:?} '{message}'{note}")
        }
        other => format!("{other:?}"),
    }
}

fn show_message(message: &ToAgent) -> String {
    match message {
        ToAgent::CheckpointResources { resources, operations, .. } => {
            let ids: Vec<&str> = operations.iter().map(|one| one.id.as_str()).collect();
            let note = if ids.is_empty() { String::new() } else { format!(" for {}", ids.join(", ")) };
            format!("CheckpointResources {resources}{note}")
        }
        ToAgent::AcknowledgeOperation { .. } => "AcknowledgeOperation".to_owned(),
        ToAgent::Registered { agent_id, .. } => format!("Registered {agent_id}"),
        ToAgent::Reregistered { agent_id, unknown_here, .. } => {
            let unknown: Vec<&TaskId> = unknown_here.iter().map(|(_, t)| t).collect();
            format!("Reregistered {agent_id} unknown {unknown:?}")
        }
        ToAgent::RunTask { launch, launch_executor, executor, .. } => {
            let kind = if matches!(launch, Launch::Group(_)) { "group" } else { "task" };
            let tasks: Vec<&str> = launch.tasks().iter().map(|t| t.task_id.as_str()).collect();
            let executor = executor.as_ref().map_or("command", |e| e.executor_id.as_str());
            let new = if *launch_executor { "new" } else { "running" };
            format!("RunTask {kind} {} on {new} {executor}", tasks.join(" "))
        }
        ToAgent::TaskResized { task_id, resources, .. } => format!("TaskResized {task_id} {resources}"),
        ToAgent::UpdateFramework { framework } => format!("UpdateFramework {}", framework.name),
        other => format!("{other:?}"),
    }
}

fn show_operator(event: &operator::Event) -> String {
    use operator::Event::*;
    match event {
        AgentAdded { agent } | AgentUpdated { agent } => {
            let kind = if matches!(event, AgentAdded { .. }) { "added" } else { "updated" };
            let id: &AgentId = agent.info.id.as_ref().unwrap();
            format!("agent {kind} {id} {:?}", agent.state)
        }
        AgentRemoved { agent_id } => format!("agent removed {agent_id}"),
        FrameworkAdded { framework } => format!("framework added {}", framework.name),
        FrameworkUpdated { framework } => format!("framework updated {}", framework.name),
        FrameworkRemoved { framework } => format!("framework removed {}", framework.name),
        TaskAdded { task } => format!("task added {}", task.info.task_id),
        TaskUpdated { status, latest, .. } => format!("task updated {} {latest:?}", status.task_id),
    }
}

//! Executors as processes: they accept launches, simulate work, and repeat reports until they are acknowledged.
//!
//! Three kinds: the built-in executor of a command task, which ends with its task; a custom one, whose tasks end with it; and
//! one that is respawned and whose tasks (Pods) keep running without it until its next run adopts them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kernel_core::{
    agent::{ConnectionId, Event as AgentEvent, Start},
    effect::RequestId,
};
use kernel_model::{
    executor::{Call, Event},
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId},
    resources::{Resource, Scalar},
    task::{Source, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use crate::{
    node::Pod,
    world::{Action, World},
};

/// Resizes of a Pod: enough that a granted one is followed by another.
const RESIZES_MAX: u64 = 3;

/// A message of an executor.
#[derive(Debug)]
pub(crate) enum Said {
    Subscribe,
    Update(TaskStatus),
    /// A Pod is to have this many thousandths of a CPU.
    Resize(TaskId, i64),
}

/// A process in a container.
pub(crate) struct Process {
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    pub(crate) respawns: bool,
    pub(crate) is_command: bool,
    pub(crate) connection: Option<ConnectionId>,
    /// Whether each task has ended.
    pub(crate) tasks: BTreeMap<TaskId, bool>,
    unacknowledged: Vec<TaskStatus>,
    ending: bool,
    last_in: Time,
    last_out: Time,
}

impl Process {
    pub(crate) fn new(start: &Start) -> Self {
        Self {
            framework_id: start.framework.id.clone().expect("frameworks on agents have ids"),
            executor_id: start.executor.executor_id.clone(),
            respawns: start.executor.respawns(),
            is_command: start.task.is_some(),
            connection: None,
            tasks: BTreeMap::new(),
            unacknowledged: Vec::new(),
            ending: false,
            last_in: Time::default(),
            last_out: Time::default(),
        }
    }
}

impl World {
    pub(crate) fn executor_dials(&mut self, node: usize, container: &ContainerId) {
        let here = &self.nodes[node];
        if here.containers.get(container).is_none_or(|process| process.connection.is_some() || process.ending)
        {
            return;
        }
        if here.agent.is_none() {
            let wait = self.random.millis(100, 900);
            return self.after(wait, Action::ExecutorDials(node, container.clone()));
        }
        self.say(node, container, Said::Subscribe);
    }

    fn say(&mut self, node: usize, container: &ContainerId, said: Said) {
        let delay = self.random.millis(0, 5);
        let (now, life) = (self.now, self.nodes[node].life);
        let Some(process) = self.nodes[node].containers.get_mut(container) else { return };
        let at = (now + delay).max(Time(process.last_out.0 + 1));
        process.last_out = at;
        self.at(at, Action::ExecutorSays { node, life, container: container.clone(), said });
    }

    /// The process has lost its connection and reconnects.
    pub(crate) fn lose_connection(&mut self, node: usize, container: &ContainerId) {
        if let Some(process) = self.nodes[node].containers.get_mut(container) {
            process.connection = None;
            let wait = self.random.millis(20, 600);
            self.after(wait, Action::ExecutorDials(node, container.clone()));
        }
    }

    pub(crate) fn executor_is_heard(&mut self, node: usize, life: u64, container: &ContainerId, said: Said) {
        if self.nodes[node].life != life || self.nodes[node].agent.is_none() {
            return self.lose_connection(node, container);
        }
        let (connection, request) = {
            let here = &mut self.nodes[node];
            (ConnectionId(here.number()), RequestId(here.number()))
        };
        let here = &mut self.nodes[node];
        let Some(process) = here.containers.get_mut(container) else { return };
        let (framework_id, executor_id) = (process.framework_id.clone(), process.executor_id.clone());
        let event = match said {
            Said::Subscribe if process.connection.is_some() => return,
            Said::Subscribe => {
                process.connection = Some(connection);
                here.subscriptions.insert(request, container.clone());
                AgentEvent::Subscribe {
                    request,
                    connection,
                    framework_id,
                    executor_id,
                    unacknowledged_tasks: process.tasks.keys().cloned().collect(),
                    unacknowledged_updates: process.unacknowledged.clone(),
                }
            }
            Said::Resize(task_id, cpu_milli) => {
                let amounts = [Resource::scalar("cpus", Scalar(cpu_milli))].into_iter().collect();
                let call = Call::ResizeTask { task_id, amounts };
                AgentEvent::Call { request, framework_id, executor_id, call }
            }
            Said::Update(status) => {
                let call = Call::Update { status: status.into() };
                AgentEvent::Call { request, framework_id, executor_id, call }
            }
        };
        self.agent_step(node, event);
    }

    pub(crate) fn send_to_executor(&mut self, node: usize, connection: ConnectionId, event: Event) {
        let Some(container) = self.container_of(node, connection) else { return };
        let delay = self.random.millis(0, 5);
        let now = self.now;
        let process = self.nodes[node].containers.get_mut(&container).expect("found just now");
        let at = (now + delay).max(Time(process.last_in.0 + 1));
        process.last_in = at;
        self.at(at, Action::ToExecutor { node, container, connection, event: Box::new(event) });
    }

    pub(crate) fn executor_hears(
        &mut self,
        node: usize,
        container: &ContainerId,
        connection: ConnectionId,
        event: Event,
    ) {
        let Some(process) = self.nodes[node].containers.get_mut(container) else { return };
        // Messages sent before a connection broke may have been received.
        if process.connection.is_some_and(|now| now != connection) {
            return;
        }
        match event {
            Event::Launch { task } => self.launch(node, container, *task),
            Event::LaunchGroup { tasks } => {
                tasks.into_iter().for_each(|task| self.launch(node, container, task));
            }
            Event::Kill { task_id, grace } => self.kill(node, container, task_id, grace),
            Event::Evict { task_id, .. } => self.kill(node, container, task_id, None),
            Event::Acknowledged { task_id, uuid } => self.acknowledged(node, container, &task_id, uuid),
            Event::Shutdown => self.shut_down(node, container),
            Event::Subscribed { .. }
            | Event::Message { .. }
            | Event::TaskResized { .. }
            | Event::Heartbeat => {}
            Event::Error { message } => self.fail(format!("an executor is told: {message}")),
        }
    }

    fn launch(&mut self, node: usize, container: &ContainerId, task: TaskInfo) {
        let process =
            self.nodes[node].containers.get_mut(container).expect("invariant: looked up by the caller");
        let id = task.task_id.clone();
        if process.ending || process.tasks.contains_key(&id) {
            return;
        }
        process.tasks.insert(id.clone(), false);
        if process.respawns {
            return self.launch_pod(node, container, &task);
        }
        self.count_start(&id, node);
        self.check_volume(node, &task);
        if self.random.permille(300) {
            self.report(node, container, &id, TaskState::Starting);
        }
        self.report(node, container, &id, TaskState::Running);
        if id.as_str().starts_with("hog") {
            return;
        }
        let length = self.random.millis(100, 12_000);
        let container = container.clone();
        self.after(length, Action::TaskEnds { node, container, task: id, killed: false });
    }

    fn launch_pod(&mut self, node: usize, container: &ContainerId, task: &TaskInfo) {
        let id = &task.task_id;
        let outcome = self.nodes[node].pods.get(id).map(|pod| pod.outcome);
        let state = outcome.flatten().unwrap_or(TaskState::Running);
        if outcome.is_none() {
            self.count_start(id, node);
            if self.random.permille(500) {
                self.report(node, container, id, TaskState::Starting);
            }
            self.nodes[node].pods.insert(id.clone(), Pod { outcome: None });
            self.plan_resizes(node, container, id);
            let boot = self.nodes[node].boot;
            if task.name.starts_with("job") {
                let length = self.random.millis(100, 15_000);
                self.after(length, Action::PodEnds { node, boot, task: id.clone(), killed: false });
            }
        }
        self.report(node, container, id, state);
    }

    /// Some Pods are resized while they run, up and down.
    fn plan_resizes(&mut self, node: usize, container: &ContainerId, id: &TaskId) {
        for _ in 0..self.resizes.below(RESIZES_MAX + 1) {
            let (delay, cpu_milli) = (self.resizes.millis(1, 10_000), 100 * (1 + self.resizes.below(20)));
            let (container, task) = (container.clone(), id.clone());
            self.after(delay, Action::ResizePod { node, container, task, cpu_milli: cpu_milli as i64 });
        }
    }

    pub(crate) fn resize_pod(&mut self, node: usize, container: &ContainerId, task: TaskId, cpu_milli: i64) {
        if self.nodes[node].containers.get(container).is_some_and(|process| process.connection.is_some()) {
            self.say(node, container, Said::Resize(task, cpu_milli));
        }
    }

    /// Checks that no task runs twice: once per boot of a machine, and on one machine only.
    fn count_start(&mut self, id: &TaskId, node: usize) {
        let boot = self.nodes[node].boot;
        self.note(format_args!("task {id} starts on node {node}"));
        let count = self.starts.entry((id.clone(), node, boot)).or_default();
        *count += 1;
        if *count > 1 {
            self.fail(format!("task {id} is started twice on node {node}"));
        }
        self.check_not_lost(id, node);
        if self.nodes.iter().any(|other| other.index != node && other.runs(id)) {
            self.fail(format!("task {id} starts on node {node} and runs elsewhere"));
        }
    }

    fn report(&mut self, node: usize, container: &ContainerId, id: &TaskId, state: TaskState) {
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.random.number().to_be_bytes());
        uuid[8..].copy_from_slice(&self.random.number().to_be_bytes());
        let now = self.now;
        self.reports += 1;
        let data = data(state, self.reports);
        let process =
            self.nodes[node].containers.get_mut(container).expect("invariant: looked up by the caller");
        if state.is_terminal() {
            process.tasks.insert(id.clone(), true);
        }
        let status = TaskStatus {
            uuid: Some(UpdateId(uuid)),
            data,
            ..TaskStatus::new(id.clone(), state, Source::Executor, now)
        };
        process.unacknowledged.push(status.clone());
        self.note_made(node, &status);
        if self.variety.loose_calls && self.variety.random.permille(20) {
            self.say(node, container, Said::Update(status.clone()));
        }
        self.say(node, container, Said::Update(status));
    }

    fn kill(&mut self, node: usize, container: &ContainerId, task: TaskId, grace: Option<Duration>) {
        let process = &self.nodes[node].containers[container];
        if process.tasks.get(&task) != Some(&false) {
            return;
        }
        let grace = grace.unwrap_or(Duration::from_secs(3)).as_millis() as u64;
        let length = self.random.millis(10, grace.max(11));
        let action = if process.respawns {
            Action::PodEnds { node, boot: self.nodes[node].boot, task: task.clone(), killed: true }
        } else {
            let (container, task) = (container.clone(), task.clone());
            Action::TaskEnds { node, container, task, killed: true }
        };
        self.after(length, action);
        if self.random.permille(500) {
            self.report(node, container, &task, TaskState::Killing);
        }
    }

    pub(crate) fn task_ends(&mut self, node: usize, container: &ContainerId, task: &TaskId, killed: bool) {
        let Some(process) = self.nodes[node].containers.get(container) else { return };
        if process.tasks.get(task) == Some(&false) {
            let state = self.outcome(killed);
            self.report(node, container, task, state);
        }
    }

    fn outcome(&mut self, killed: bool) -> TaskState {
        match killed {
            true => TaskState::Killed,
            false if self.random.permille(100) => TaskState::Failed,
            false => TaskState::Finished,
        }
    }

    pub(crate) fn pod_ends(&mut self, node: usize, boot: u32, task: &TaskId, killed: bool) {
        let state = self.outcome(killed);
        let here = &mut self.nodes[node];
        let Some(pod) = here.pods.get_mut(task).filter(|pod| here.boot == boot && pod.outcome.is_none())
        else {
            return;
        };
        pod.outcome = Some(state);
        let watching = here.containers.iter().find(|(_, p)| p.respawns && p.tasks.get(task) == Some(&false));
        if let Some(container) = watching.map(|(id, _)| id.clone()) {
            self.report(node, &container, task, state);
        }
    }

    fn acknowledged(&mut self, node: usize, container: &ContainerId, task: &TaskId, uuid: UpdateId) {
        let here = &mut self.nodes[node];
        let process = here.containers.get_mut(container).expect("invariant: looked up by the caller");
        let Some(at) = process.unacknowledged.iter().position(|s| s.uuid == Some(uuid)) else { return };
        let status = process.unacknowledged.remove(at);
        self.order.confirm(uuid);
        if !status.state.is_terminal() {
            return;
        }
        // The agent has persisted it, so the framework will receive it.
        self.confirmed_ends.insert(task.clone(), status.state);
        if process.respawns {
            here.pods.remove(task);
        }
        if process.is_command {
            process.ending = true;
            let delay = self.random.millis(1, 50);
            self.after(delay, Action::Die(node, container.clone(), 0));
        }
    }

    fn shut_down(&mut self, node: usize, container: &ContainerId) {
        let process =
            self.nodes[node].containers.get_mut(container).expect("invariant: looked up by the caller");
        if std::mem::replace(&mut process.ending, true) {
            return;
        }
        let of_its_own = !process.respawns;
        let running: Vec<TaskId> = process
            .tasks
            .iter()
            .filter(|(_, ended)| of_its_own && !**ended)
            .map(|(id, _)| id.clone())
            .collect();
        for task in running {
            self.report(node, container, &task, TaskState::Killed);
        }
        let delay = self.random.millis(20, 300);
        self.after(delay, Action::Die(node, container.clone(), 0));
    }
}

/// The Pod's status as its node reports it. Its number orders the statuses.
fn data(state: TaskState, number: u64) -> Bytes {
    let (phase, reason) = match state {
        TaskState::Running | TaskState::Killing => ("Running", ""),
        TaskState::Finished => ("Succeeded", ""),
        TaskState::Killed => ("Failed", r#""reason":"TaskKilled","#),
        TaskState::Failed => ("Failed", r#""reason":"Error","#),
        _ => ("Pending", ""),
    };
    format!(r#"{{"status":{{"phase":"{phase}",{reason}"number":{number}}}}}"#).into()
}

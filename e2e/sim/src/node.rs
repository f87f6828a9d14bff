//! A machine: the agent's process, its disk, and the containers that outlive it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kernel_core::{
    agent::{Agent, Config, ConnectionId, Effect, Event, Record, Start},
    effect::{LinkId, RequestId},
};
use kernel_model::{
    agent::AgentInfo,
    ids::{AgentId, ContainerId, TaskId},
    resources::VolumeId,
    task::TaskState,
    time::Time,
};

use crate::{
    executor::Process,
    ledger::Directory,
    variety::{Clock, WRONG_MAX},
    world::{Action, World},
};

/// The resources of every machine.
pub(crate) const RESOURCES: &str = "cpus:4;mem:1024;disk:1000;ports:[31000-31009]";

/// One machine.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) agent: Option<Agent>,
    /// Every ID that its agent had.
    pub(crate) ids: BTreeSet<AgentId>,
    /// Number of starts of the agent.
    pub(crate) life: u64,
    /// Number of starts of the machine.
    pub(crate) boot: u32,
    disk: Vec<Record>,
    pub(crate) link: Option<LinkId>,
    /// Cut off from the master.
    pub(crate) isolated: bool,
    /// Messages in one direction are lost until then.
    pub(crate) half_isolated_until: Time,
    pub(crate) clock: Clock,
    /// The directories of persistent volumes.
    pub(crate) directories: BTreeMap<VolumeId, Directory>,
    pub(crate) containers: BTreeMap<ContainerId, Process>,
    /// Containers that were destroyed before they were started.
    doomed: BTreeSet<ContainerId>,
    /// The Pods. They outlive the executors, as the containers of a container runtime do.
    pub(crate) pods: BTreeMap<TaskId, Pod>,
    pub(crate) next: u64,
    /// Subscriptions that await an answer.
    pub(crate) subscriptions: BTreeMap<RequestId, ContainerId>,
}

/// A pod on a machine.
pub(crate) struct Pod {
    pub(crate) outcome: Option<TaskState>,
}

impl Node {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            agent: None,
            ids: BTreeSet::new(),
            life: 0,
            boot: 0,
            disk: Vec::new(),
            link: None,
            isolated: false,
            half_isolated_until: Time::default(),
            clock: Clock::default(),
            directories: BTreeMap::new(),
            containers: BTreeMap::new(),
            doomed: BTreeSet::new(),
            pods: BTreeMap::new(),
            next: 0,
            subscriptions: BTreeMap::new(),
        }
    }

    /// When the agent's next timer is due, by the world's clock.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        Some(self.clock.when(self.agent.as_ref()?.next_deadline()?))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether a task runs here.
    pub(crate) fn runs(&self, id: &TaskId) -> bool {
        self.pods.get(id).is_some_and(|pod| pod.outcome.is_none())
            || self.containers.values().any(|p| !p.respawns && p.tasks.get(id) == Some(&false))
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, index: usize) {
        let seed = self.random.number();
        if self.nodes[index].agent.is_some() {
            return;
        }
        if self.variety.clocks {
            self.nodes[index].clock = Clock::wrong(&mut self.variety.random, WRONG_MAX);
        }
        let node = &mut self.nodes[index];
        let now = node.clock.read(self.now);
        node.life += 1;
        let info = AgentInfo {
            id: None,
            hostname: format!("node{index}"),
            ip: "127.0.0.1".into(),
            port: 5051,
            resources: RESOURCES.parse().expect("a valid text"),
            attributes: Vec::new(),
            runs_images: false,
            operations: Default::default(),
        };
        let live: BTreeSet<ContainerId> = node.containers.keys().cloned().collect();
        let (agent, effects) = Agent::recover(Config::new(info, seed), now, node.disk.clone(), &live);
        node.agent = Some(agent);
        self.note(format_args!("agent {index} starts with {} live containers", live.len()));
        self.agent_effects(index, effects);
        self.dial_later(index);
    }

    /// The agent's process crashes; its containers keep running.
    pub(crate) fn crash_agent(&mut self, index: usize, back_after_ms: (u64, u64)) {
        let node = &mut self.nodes[index];
        if node.agent.take().is_none() {
            return;
        }
        node.subscriptions.clear();
        let link = node.link.take();
        let containers: Vec<ContainerId> = node.containers.keys().cloned().collect();
        self.note(format_args!("agent {index} crashes"));
        if let Some(id) = link {
            self.links.get_mut(&id).expect("held by its node").at_agent = false;
            let delay = self.random.millis(0, 300);
            self.after(delay, Action::MasterNotices(id));
        }
        for container in containers {
            self.lose_connection(index, &container);
        }
        let wait = self.random.millis(back_after_ms.0, back_after_ms.1);
        self.after(wait, Action::StartAgent(index));
    }

    /// The machine reboots: all processes end, the disk stays.
    pub(crate) fn reboot(&mut self, index: usize) {
        self.note(format_args!("node {index} reboots"));
        let node = &mut self.nodes[index];
        node.containers.clear();
        node.doomed.clear();
        node.boot += 1;
        node.pods.retain(|_, pod| pod.outcome.is_some());
        if node.agent.is_none() {
            return;
        }
        self.crash_agent(index, (500, 9000));
    }

    /// One step of an agent; it may crash as the master may.
    pub(crate) fn agent_step(&mut self, index: usize, event: Event) {
        let now = self.nodes[index].clock.read(self.now);
        let Some(agent) = &mut self.nodes[index].agent else { return };
        let effects = agent.step(now, event);
        let id = agent.id().cloned();
        self.nodes[index].ids.extend(id);
        self.agent_effects(index, effects);
    }

    fn agent_effects(&mut self, index: usize, effects: kernel_core::agent::Effects) {
        let writes = !effects.persist.is_empty();
        let hit = self.faults_enabled && self.random.permille(if writes { 8 } else { 1 });
        let before = hit && self.random.permille(500);
        if !before {
            let id = self.nodes[index].agent.as_ref().and_then(|agent| agent.id().cloned());
            if let Some(id) = id {
                self.agent_has_written(&id, &effects.persist);
            }
            self.nodes[index].disk.extend(effects.persist);
        }
        if hit {
            self.faults += 1;
            let moment = if before { "before its write" } else { "after its write" };
            self.note(format_args!("agent {index} is hit {moment}"));
            return self.crash_agent(index, (100, 8000));
        }
        if writes && self.random.permille(100) {
            let node = &mut self.nodes[index];
            node.disk = node.agent.as_ref().expect("it made a step").records();
        }
        for effect in effects.after_persist {
            self.act_for_agent(index, effect);
        }
    }

    fn act_for_agent(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::ToMaster(message) => self.send_to_master(index, message),
            Effect::DropLink => {
                let Some(id) = self.nodes[index].link.take() else { return };
                self.note(format_args!("agent {index} drops link {}", id.0));
                self.links.get_mut(&id).expect("held by its node").at_agent = false;
                let delay = self.random.millis(0, 300);
                self.after(delay, Action::MasterNotices(id));
                self.dial_later(index);
            }
            Effect::Start(start) => {
                let life = self.nodes[index].life;
                let delay = self.random.millis(5, 60);
                self.after(delay, Action::Start { node: index, life, start });
            }
            Effect::SetLimits { .. } | Effect::LinkVolumes { .. } => {}
            Effect::SyncVolumes { volumes, .. } => {
                self.sync_volumes(index, &volumes);
                let life = self.nodes[index].life;
                self.after(Duration::from_millis(1), Action::VolumesSynced { node: index, life });
            }
            Effect::Terminate { container_id } | Effect::Destroy { container_id } => {
                if !self.nodes[index].containers.contains_key(&container_id) {
                    self.nodes[index].doomed.insert(container_id.clone());
                }
                let delay = self.random.millis(1, 30);
                self.after(delay, Action::Die(index, container_id, 9));
            }
            Effect::ToExecutor { connection, event } => self.send_to_executor(index, connection, event),
            Effect::Close { connection } => {
                if let Some(container) = self.container_of(index, connection) {
                    self.lose_connection(index, &container);
                }
            }
            Effect::Reply { request, result } => {
                let asked = self.nodes[index].subscriptions.remove(&request);
                if let (Some(container), Err(refusal)) = (asked, result) {
                    self.note(format_args!("executor {container} on node {index} is refused: {refusal}"));
                    self.container_dies(index, &container, 0);
                }
            }
            Effect::Stopped { message: None } => {
                self.note(format_args!("agent {index} has stopped"));
                self.crash_agent(index, (500, 6000));
            }
            Effect::Stopped { message } => self.fail(format!("agent {index} stopped: {message:?}")),
        }
    }

    pub(crate) fn container_of(&self, index: usize, connection: ConnectionId) -> Option<ContainerId> {
        let containers = &self.nodes[index].containers;
        let held = containers.iter().find(|(_, process)| process.connection == Some(connection));
        held.map(|(id, _)| id.clone())
    }

    pub(crate) fn start_container(&mut self, index: usize, life: u64, start: Start) {
        let node = &mut self.nodes[index];
        // The process that should start it has ended.
        if node.life != life || node.agent.is_none() {
            return;
        }
        let id = start.container_id.clone();
        if node.doomed.remove(&id) {
            return self.agent_step(index, Event::Exited { container_id: id, status: 9, limitation: None });
        }
        if self.faults_enabled && self.random.permille(10) {
            self.note(format_args!("container {id} of node {index} does not start"));
            let message = "injected fault".to_owned();
            return self.agent_step(index, Event::StartFailed { container_id: id, message });
        }
        self.note(format_args!("node {index} starts {} in {id}", start.executor.executor_id));
        self.nodes[index].containers.insert(id.clone(), Process::new(&start));
        let delay = self.random.millis(5, 200);
        self.after(delay, Action::ExecutorDials(index, id));
    }

    /// A container's process ends, with all tasks that run inside it.
    pub(crate) fn container_dies(&mut self, index: usize, id: &ContainerId, status: i32) {
        let known = self.nodes[index].containers.remove(id).is_some();
        if known {
            self.note(format_args!("container {id} of node {index} ends with {status}"));
        }
        let delay = self.random.millis(0, 50);
        self.after(delay, Action::Exited(index, id.clone(), status));
    }

    pub(crate) fn agent_hears_of_end(&mut self, index: usize, id: ContainerId, status: i32) {
        self.agent_step(index, Event::Exited { container_id: id, status, limitation: None });
    }
}

//! Frameworks. One is the Kubernetes scheduler (`scheduler`), the others are scripted. One of those records its intent before
//! it accepts an offer, and relaunches a task under the same ID if the kernel reports that it was never launched. The others
//! use a new ID for each task, with command or custom executors.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use kernel_model::{
    executor::{CommandInfo, ExecutorInfo, ExecutorKind, RESPAWN_LABEL},
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{AgentId, FrameworkId, StreamId, TaskId, UpdateId},
    labels::Labels,
    offer::{Filters, Offer},
    resources::Resources,
    roles::Role,
    scheduler::{Call, ErrorReason, Event, Operation},
    task::{Reason, TaskInfo, TaskState, TaskStatus},
    time::Time,
};

use crate::{
    java::Java,
    random::Random,
    scheduler::{Scheduler, to_machine},
    situations::Situation,
    storage::Storage,
    variety::Variety,
    world::World,
};

/// How a framework runs its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records its intent before it accepts.
    Pods,
    /// The Kubernetes scheduler; see `scheduler`.
    Kubernetes,
    Command,
    Custom,
    /// Fills the cluster with tasks that do not end by themselves.
    Hog,
    /// Persistent volumes; see `storage`.
    Volumes,
    /// On the driver of the Java library; see `java`.
    Java,
}

/// A framework: its process and its durable state.
pub(crate) struct Framework {
    pub(crate) kind: Kind,
    pub(crate) alive: bool,
    /// Number of starts of the process.
    pub(crate) life: u64,
    pub(crate) checkpoint: bool,
    pub(crate) roles: Vec<Role>,
    pub(crate) id: Option<FrameworkId>,
    pub(crate) stream: Option<StreamId>,
    pub(crate) subscribed: bool,
    pub(crate) streams: u64,
    pub(crate) last_call: Time,
    pub(crate) items: BTreeMap<TaskId, Item>,
    next_item: u64,
    pub(crate) revived: Time,
    /// Whether it is subscribed to the operator stream.
    pub(crate) watches_cluster: bool,
    pub(crate) scheduler: Scheduler,
    pub(crate) storage: Storage,
    pub(crate) java: Java,
    /// Its calls do not arrive before.
    pub(crate) calls_held: Time,
}

/// A task that a framework wants.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) state: ItemState,
    pub(crate) role: Role,
    /// The agent that it was launched on.
    pub(crate) agent: Option<AgentId>,
    /// An executor has reported it.
    seen: bool,
    /// The age at which it is killed; `None` if it ends by itself.
    pub(crate) kill_after: Option<Duration>,
    pub(crate) since: Time,
    pub(crate) asked: Time,
    /// The latest processed update; it may be delivered again.
    pub(crate) latest: Option<UpdateId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemState {
    Pending,
    /// Accepted, as far as the framework knows.
    Intended,
    Running,
    Done(TaskState),
}

pub(crate) const WAKE: Duration = Duration::from_secs(3);
/// How long a hog lives unless it is preempted: beyond the check of guarantees.
const HOG_LIFE: Duration = Duration::from_secs(600);
/// Tasks of the framework that fills the cluster: more than there is room for.
const HOGS: usize = 18;

impl Framework {
    /// The frameworks of one run.
    pub(crate) fn cast(random: &mut Random) -> Vec<Framework> {
        let role = |name: &str| Role::parse(name).expect("a valid role");
        let pods = if random.permille(500) { Kind::Pods } else { Kind::Kubernetes };
        let mut all = vec![
            Framework::new(pods, true, vec![role("k8s/a"), role("k8s/b")]),
            Framework::new(Kind::Command, random.permille(800), vec![Role::any()]),
        ];
        if random.permille(500) {
            all.push(Framework::new(Kind::Custom, random.permille(800), vec![role("batch")]));
        }
        all
    }

    fn new(kind: Kind, checkpoint: bool, roles: Vec<Role>) -> Self {
        Self {
            kind,
            alive: false,
            life: 0,
            checkpoint,
            roles,
            id: None,
            stream: None,
            subscribed: false,
            streams: 0,
            last_call: Time::default(),
            items: BTreeMap::new(),
            next_item: 0,
            revived: Time::default(),
            watches_cluster: false,
            scheduler: Scheduler::default(),
            storage: Storage::default(),
            java: Java::default(),
            calls_held: Time::default(),
        }
    }

    /// The frameworks that half of the runs have beside these.
    pub(crate) fn also(variety: &mut Variety) -> Vec<Framework> {
        let role = |name: &str| vec![Role::parse(name).expect("a valid role")];
        let mut all = Vec::new();
        if variety.on && variety.random.permille(600) {
            all.push(Framework::new(Kind::Volumes, true, role("store")));
        }
        if variety.on && variety.random.permille(600) {
            all.push(Framework::new(Kind::Java, variety.random.permille(800), role("java")));
        }
        if variety.preemption {
            all.push(Framework::new(Kind::Hog, true, role("hog")));
        }
        all
    }

    /// The time of the next timer of its state machine.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match self.kind {
            Kind::Java => self.java.next_deadline(),
            _ => self.scheduler.next_deadline(),
        }
    }

    /// Adds a task.
    fn want(&mut self, random: &mut Random, now: Time, role: Role) -> (TaskId, Role) {
        let service = self.has_pods() && random.permille(500);
        let prefix = match self.kind {
            Kind::Pods | Kind::Kubernetes if service => "service",
            Kind::Pods | Kind::Kubernetes => "job",
            Kind::Command => "command",
            Kind::Custom => "custom",
            Kind::Hog => "hog",
            Kind::Volumes => "stored",
            Kind::Java => "java",
        };
        let id = TaskId::new(format!("{prefix}-{}", self.next_item));
        self.next_item += 1;
        let item = Item {
            state: ItemState::Pending,
            role,
            agent: None,
            seen: false,
            kill_after: match self.kind {
                Kind::Hog => Some(HOG_LIFE),
                _ => (service || random.permille(100)).then(|| random.millis(1000, 30_000)),
            },
            since: now,
            asked: Time::default(),
            latest: None,
        };
        let role = item.role.clone();
        self.items.insert(id.clone(), item);
        (id, role)
    }

    /// Whether the tasks outlive their executor.
    pub(crate) fn has_pods(&self) -> bool {
        matches!(self.kind, Kind::Pods | Kind::Kubernetes)
    }

    pub(crate) fn info(&self, index: usize) -> FrameworkInfo {
        use FrameworkCapability::*;
        FrameworkInfo {
            user: "root".into(),
            name: format!("framework{index}"),
            id: self.id.clone(),
            failover_timeout: Duration::from_secs(1_000_000),
            checkpoint: self.checkpoint,
            roles: self.roles.clone(),
            hostname: String::new(),
            principal: None,
            webui_url: String::new(),
            capabilities: [MultiRole, PartitionAware, TaskKillingState, ReservationRefinement].into(),
            labels: Labels::default(),
            extra: Bytes::new(),
        }
    }

    pub(crate) fn executor(&self) -> Option<ExecutorInfo> {
        let (id, resources, labels) = match self.kind {
            Kind::Command | Kind::Hog | Kind::Volumes | Kind::Java => return None,
            Kind::Pods | Kind::Kubernetes => {
                ("kubelet", "cpus:0.1;mem:64", Labels::default().with(RESPAWN_LABEL, "true"))
            }
            Kind::Custom => ("custom", "cpus:0.1;mem:32;disk:1", Labels::default()),
        };
        Some(ExecutorInfo {
            kind: ExecutorKind::Custom,
            executor_id: id.into(),
            framework_id: None,
            command: Some(CommandInfo { shell: true, value: Some("exec".into()), ..Default::default() }),
            resources: resources.parse().expect("a valid text"),
            name: String::new(),
            source: String::new(),
            data: Bytes::new(),
            shutdown_grace: None,
            image: None,
            labels,
            extra: Bytes::new(),
        })
    }

    pub(crate) fn task(&self, id: &TaskId, agent: &AgentId) -> TaskInfo {
        let command = CommandInfo { shell: true, value: Some("work".into()), ..Default::default() };
        TaskInfo {
            name: id.to_string(),
            task_id: id.clone(),
            agent_id: agent.clone(),
            resources: needs(),
            zero_resources: Vec::new(),
            executor: self.executor().map(Arc::new),
            command: self.executor().is_none().then_some(command),
            kill_grace: Some(Duration::from_secs(1)),
            max_completion_time: None,
            image: None,
            data: Bytes::from_static(b"the task as its executor needs it"),
            labels: Labels::default(),
            extra: Bytes::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.items.values().all(|item| matches!(item.state, ItemState::Done(_)))
    }
}

/// The resources of every task.
pub(crate) fn needs() -> Resources {
    "cpus:0.7;mem:32".parse().expect("a valid text")
}

impl World {
    /// Adds the work of a framework that fills the cluster.
    pub(crate) fn fill_cluster(&mut self) {
        if let Some(index) = self.frameworks.iter().position(|framework| framework.kind == Kind::Hog) {
            (0..HOGS).for_each(|_| self.want(index));
        }
    }

    /// Adds a task to a framework; for Kubernetes, a Pod.
    pub(crate) fn want(&mut self, index: usize) {
        let roles = &self.frameworks[index].roles;
        let role = roles[self.random.index(roles.len())].clone();
        self.want_in(index, &role);
    }

    /// The same in one of its roles.
    pub(crate) fn want_in(&mut self, index: usize, role: &Role) {
        let (now, seconds) = (self.now, self.seconds());
        let (id, role) = self.frameworks[index].want(&mut self.random, now, role.clone());
        if self.frameworks[index].kind == Kind::Kubernetes {
            let namespace = role.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            self.frameworks[index].scheduler.api.create_pod(id.as_str(), &namespace, seconds);
            self.store_changed(index);
        }
    }

    pub(crate) fn framework_hears(&mut self, index: usize, stream: &StreamId, event: Event) {
        if self.frameworks[index].stream.as_ref() != Some(stream) {
            return;
        }
        if self.frameworks[index].kind == Kind::Java {
            return self.driver_hears(index, &event);
        }
        if let Event::Update { status } = &event {
            self.note_heard(index, status);
        }
        if self.frameworks[index].watches_cluster
            && let Some(event) = to_machine(event.clone())
        {
            return self.scheduler_step(index, event);
        }
        match event {
            Event::Subscribed { framework_id, .. } => {
                self.note(format_args!("framework {index} is subscribed as {framework_id}"));
                let framework = &mut self.frameworks[index];
                framework.id = Some(framework_id.clone());
                framework.subscribed = true;
                match framework.kind {
                    Kind::Kubernetes => self.scheduler_subscribed(index, framework_id),
                    _ => self.ask_about_all(index),
                }
            }
            Event::Offers { offers } => {
                offers.iter().for_each(|offer| self.answer_offer(index, offer));
            }
            Event::Update { status } => self.status_arrives(index, Arc::unwrap_or_clone(status)),
            Event::Error { reason, message } => {
                self.note(format_args!("framework {index} is told: {message}"));
                if reason != ErrorReason::FailedOver {
                    self.fail(format!("framework {index} is refused: {message}"));
                }
            }
            Event::UpdateOperationStatus { uuid, operation_id, state, agent_id, .. } => {
                self.operation_status_arrives(index, operation_id, state, agent_id, uuid);
            }
            Event::Rescind { .. }
            | Event::InverseOffers { .. }
            | Event::Failure { .. }
            | Event::Message { .. }
            | Event::Heartbeat => {}
        }
    }

    /// A framework hears of a task.
    pub(crate) fn note_heard(&mut self, index: usize, status: &TaskStatus) {
        self.note(format_args!(
            "framework {index} hears of {}: {:?} by {:?} {:?}",
            status.task_id, status.state, status.source, status.reason
        ));
        self.note_told(index, status);
        self.check_order(index, status);
        match status.reason {
            Some(Reason::ContainerPreempted) => self.situations.count(Situation::TaskPreempted),
            Some(Reason::MasterDisconnected) => self.situations.count(Situation::LostByDriver),
            _ => {}
        }
        if self.frameworks[index].has_pods() {
            self.note_status(index, status);
        }
    }

    pub(crate) fn ask_about_all(&mut self, index: usize) {
        let now = self.now;
        let open = |item: &&mut Item| matches!(item.state, ItemState::Intended | ItemState::Running);
        let mut tasks = Vec::new();
        for (id, item) in &mut self.frameworks[index].items {
            if let Some(item) = Some(item).filter(open) {
                item.asked = now;
                tasks.push((id.clone(), item.agent.clone()));
            }
        }
        if !tasks.is_empty() {
            self.send_call(index, Call::Reconcile { tasks }, None);
        }
    }

    pub(crate) fn answer_offer(&mut self, index: usize, offer: &Offer) {
        if self.frameworks[index].kind == Kind::Volumes {
            return self.answer_offer_of_volumes(index, offer);
        }
        let framework = &self.frameworks[index];
        let mut executor = framework.executor().filter(|e| !offer.executor_ids.contains(&e.executor_id));
        let mut left = offer.resources.unallocated();
        let mut tasks = Vec::new();
        for (id, item) in &framework.items {
            if item.state != ItemState::Pending || item.role != offer.role {
                continue;
            }
            let mut needed = needs();
            if let Some(executor) = &executor {
                needed += &executor.resources;
            }
            let Some(rest) = left.checked_sub(&needed) else { break };
            left = rest;
            executor = None;
            tasks.push(framework.task(id, &offer.agent_id));
        }
        let refuse = if tasks.is_empty() { 60_000 } else { self.random.below(4) * 1000 };
        let filters = Filters { refuse: Duration::from_millis(refuse) };
        let offer_ids = vec![offer.id.clone()];
        if tasks.is_empty() {
            self.send_call(index, Call::Decline { offer_ids, filters }, None);
            return;
        }
        let ids: Vec<&str> = tasks.iter().map(|t| t.task_id.as_str()).collect();
        self.note(format_args!("framework {index} launches {} on {}", ids.join(" "), offer.agent_id));
        // Persist the intent before sending, so that recovery knows which tasks to reconcile.
        for task in &tasks {
            let item = self.frameworks[index].items.get_mut(&task.task_id).expect("made of its items");
            item.state = ItemState::Intended;
            item.agent = Some(offer.agent_id.clone());
            (item.since, item.asked) = (self.now, self.now);
        }
        let grouped = self.frameworks[index].kind == Kind::Custom && self.random.permille(500);
        let operation = match self.frameworks[index].executor() {
            Some(executor) if grouped => Operation::LaunchGroup { executor, tasks },
            _ => Operation::Launch { tasks },
        };
        self.send_call(index, Call::Accept { offer_ids, operations: vec![operation], filters }, None);
    }

    fn status_arrives(&mut self, index: usize, status: TaskStatus) {
        let known = self.frameworks[index].items.get(&status.task_id).and_then(|item| item.agent.clone());
        let agent = status.agent_id.clone();
        self.apply(index, &status);
        if let (Some(uuid), Some(agent_id)) = (status.uuid, agent.or(known)) {
            self.send_call(index, Call::Acknowledge { agent_id, task_id: status.task_id, uuid }, None);
        }
    }

    pub(crate) fn apply(&mut self, index: usize, status: &TaskStatus) {
        use TaskState::*;
        let now = self.now;
        let framework = &mut self.frameworks[index];
        let pods = framework.kind == Kind::Pods;
        let mut another = false;
        let Some(item) = framework.items.get_mut(&status.task_id) else { return };
        if matches!(item.state, ItemState::Done(_)) || (status.uuid.is_some() && item.latest == status.uuid) {
            return;
        }
        // A status of an earlier launch on another machine, which may be repeated at any time.
        if item.agent.is_some() && status.agent_id.is_some() && item.agent != status.agent_id {
            return;
        }
        item.latest = status.uuid.or(item.latest);
        if status.reason == Some(Reason::InvalidOffers) && self.variety.loose_calls {
            // The call may have arrived twice, and the first may have launched it.
            if item.state == ItemState::Intended {
                (item.agent, item.asked) = (None, now);
            }
            return;
        }
        match status.state {
            Staging | Starting | Running | Killing => {
                // A Pod that is pending again may still be in flight from an earlier launch.
                item.state = ItemState::Running;
                item.seen |= status.state != Staging;
                if let Some(agent) = &status.agent_id {
                    item.agent = Some(agent.clone());
                }
            }
            Unreachable => {}
            Finished | Failed | Killed => item.state = ItemState::Done(status.state),
            // Usually a duplicate: the master has the task, and the framework does not know where. It reconciles.
            Error if item.state == ItemState::Intended => {
                (item.agent, item.asked) = (None, now);
            }
            Error => {}
            Dropped | Lost | Gone | GoneByOperator | Unknown => {
                if pods && !item.seen {
                    // It was never launched: the same Pod may be launched again, on any agent.
                    item.state = ItemState::Pending;
                    item.agent = None;
                } else {
                    item.state = ItemState::Done(status.state);
                    another = item.kill_after.is_none();
                }
            }
        }
        if another {
            self.want(index);
        }
    }
}

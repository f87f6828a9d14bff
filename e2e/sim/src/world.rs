//! The clock, the queue of future actions, and the event log.

use std::{collections::BTreeMap, fmt, fmt::Write, time::Duration};

use kernel_core::{agent, effect::LinkId, master};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    ids::{ContainerId, StreamId, TaskId},
    operator, scheduler,
    time::Time,
};

use shim_core::scheduler::machine;

use crate::{
    Options, Report,
    acceptance::AcceptedTask,
    control::Control,
    executor::Said,
    faults::Fault,
    framework::{Framework, Kind},
    java::JavaAction,
    ledger::{GUARANTEED_AFTER, Ledger},
    network::{Link, Stream},
    node::Node,
    operators::{Change, Operators},
    order::UpdateOrder,
    random::Random,
    situations::{LastLaunch, Situations},
    variety::Variety,
};

/// More events than a correct cluster needs; more are a failure, because something loops.
const EVENTS_MAX: u64 = 60_000;

/// A future action.
#[derive(Debug)]
pub(crate) enum Action {
    ToMaster(LinkId, ToMaster),
    ToAgent(LinkId, ToAgent),
    /// An end of a link notices that it is cut.
    MasterNotices(LinkId),
    AgentNotices(LinkId),
    /// An agent connects to the master, if it was not restarted meanwhile.
    Dial(usize, u64),
    Subscribe {
        framework: usize,
        life: u64,
    },
    Call {
        framework: usize,
        stream: StreamId,
        call: scheduler::Call,
        /// The launch that the call belongs to, and its index there.
        launch: Option<(u64, usize)>,
    },
    ToFramework(StreamId, Box<scheduler::Event>),
    MasterNoticesStream(StreamId),
    FrameworkNotices(StreamId),
    /// A call was refused.
    Refused {
        framework: usize,
        stream: StreamId,
    },
    /// An event for the scheduler's process, unless it was restarted meanwhile; `watch` is the number of the store watch that
    /// delivers it.
    ToScheduler {
        framework: usize,
        life: u64,
        watch: Option<u64>,
        event: Box<machine::Event>,
    },
    ClusterEvent {
        framework: usize,
        stream: StreamId,
        event: Box<operator::Event>,
    },
    /// A write of the scheduler reaches the store.
    StoreWrite {
        framework: usize,
        life: u64,
        write: Box<machine::Write>,
    },
    Wake {
        framework: usize,
        life: u64,
    },
    VolumesSynced {
        node: usize,
        life: u64,
    },
    Start {
        node: usize,
        life: u64,
        start: Box<agent::Start>,
    },
    /// A container's process dies; the agent notices later.
    Die(usize, ContainerId, i32),
    Exited(usize, ContainerId, i32),
    ExecutorDials(usize, ContainerId),
    /// From an executor's process to the agent, unless the agent was restarted meanwhile.
    ExecutorSays {
        node: usize,
        life: u64,
        container: ContainerId,
        said: Said,
    },
    ToExecutor {
        node: usize,
        container: ContainerId,
        connection: agent::ConnectionId,
        event: Box<kernel_model::executor::Event>,
    },
    /// A task's work is done, or its grace period is over.
    TaskEnds {
        node: usize,
        container: ContainerId,
        task: TaskId,
        killed: bool,
    },
    ResizePod {
        node: usize,
        container: ContainerId,
        task: TaskId,
        cpu_milli: i64,
    },
    PodEnds {
        node: usize,
        boot: u32,
        task: TaskId,
        killed: bool,
    },
    Fault(Fault),
    /// An operator changes something.
    Operate(Change),
    /// Operators see whether what they want after the last fault is in force.
    Tidy,
    CheckGuarantee,
    WantGuaranteed,
    /// The driver of a framework on the Java library.
    Java {
        framework: usize,
        life: u64,
        what: Box<JavaAction>,
    },
    /// The HTTP server sends a heartbeat.
    Heartbeat(StreamId),
    StartMaster,
    StartAgent(usize),
    StartFramework(usize),
}

/// The state of the simulation.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) now: Time,
    pub(crate) random: Random,
    /// A separate generator for blackouts, so that they do not change what other draws return.
    pub(crate) blackouts: Random,
    /// The same for stops of agents.
    pub(crate) stops: Random,
    /// A separate generator for resizes.
    pub(crate) resizes: Random,
    pub(crate) variety: Variety,
    pub(crate) operators: Operators,
    pub(crate) ledger: Ledger,
    pub(crate) order: UpdateOrder,
    queue: BTreeMap<(Time, u64), Action>,
    sequence: u64,
    pub(crate) control: Control,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) frameworks: Vec<Framework>,
    /// Whether faults still happen.
    pub(crate) faults_enabled: bool,
    pub(crate) faults: u64,
    pub(crate) starts: BTreeMap<(TaskId, usize, u32), u32>,
    /// Number of statuses that executors have reported.
    pub(crate) reports: u64,
    /// Ends that an agent has confirmed to an executor as durable.
    pub(crate) confirmed_ends: BTreeMap<TaskId, kernel_model::task::TaskState>,
    /// Tasks whose ACCEPT was answered.
    pub(crate) accepted_tasks: BTreeMap<TaskId, AcceptedTask>,
    pub(crate) failures: Vec<String>,
    pub(crate) situations: Situations,
    /// The last launches of Pods, by task ID.
    pub(crate) launches: BTreeMap<TaskId, LastLaunch>,
    events: u64,
    hash: u64,
    log: String,
    line: String,
}

/// The time at which the cluster starts.
const BEGIN: Time = Time(1_800_000_000_000_000_000);

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let mut world = Self {
            seed,
            options: options.clone(),
            now: BEGIN,
            random: Random::new(seed),
            blackouts: Random::new(!seed),
            stops: Random::new(seed.rotate_left(32) ^ 0x5709),
            resizes: Random::new(seed.rotate_left(32)),
            variety: Variety::of(seed),
            operators: Operators::default(),
            ledger: Ledger::default(),
            order: UpdateOrder::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            control: Control::default(),
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            nodes: (0..options.nodes).map(Node::new).collect(),
            frameworks: Vec::new(),
            faults_enabled: true,
            faults: 0,
            starts: BTreeMap::new(),
            reports: 0,
            confirmed_ends: BTreeMap::new(),
            accepted_tasks: BTreeMap::new(),
            failures: Vec::new(),
            situations: Situations::default(),
            launches: BTreeMap::new(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            log: String::new(),
            line: String::new(),
        };
        world.frameworks = Framework::cast(&mut world.random);
        world.frameworks.extend(Framework::also(&mut world.variety));
        for index in 0..world.frameworks.len() {
            for _ in 0..1 + world.random.index(options.work) {
                world.want(index);
            }
        }
        world.fill_cluster();
        world.set_clocks();
        world.after(Duration::ZERO, Action::StartMaster);
        for node in 0..options.nodes {
            let delay = world.random.millis(0, 500);
            world.after(delay, Action::StartAgent(node));
        }
        for framework in 0..world.frameworks.len() {
            let delay = world.random.millis(0, 2000);
            world.after(delay, Action::StartFramework(framework));
        }
        world.plan_faults();
        world.plan_changes();
        world
    }

    /// Queues an action.
    pub(crate) fn after(&mut self, delay: Duration, action: Action) {
        self.at(self.now + delay, action);
    }

    pub(crate) fn at(&mut self, time: Time, action: Action) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), action);
    }

    /// Adds a line to the event log. It is always hashed, and kept if the options ask for it.
    pub(crate) fn note(&mut self, line: fmt::Arguments<'_>) {
        let elapsed = self.now.since(BEGIN).as_micros();
        self.line.clear();
        writeln!(self.line, "{:>5}.{:06} {line}", elapsed / 1_000_000, elapsed % 1_000_000)
            .expect("a string takes every write");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.options.log {
            self.log.push_str(&self.line);
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.note(format_args!("FAILURE {what}"));
        self.failures.push(what);
    }

    pub(crate) fn play(mut self) -> Report {
        let calm = BEGIN + self.options.faults;
        let end = calm + self.options.converge_within;
        while self.failures.is_empty() {
            let Some(time) = self.next_time() else {
                self.fail("nothing is left to happen, and the work is not done".to_owned());
                break;
            };
            if time >= calm && self.faults_enabled {
                self.now = calm;
                self.calm_down();
                self.operators_settle();
                self.after(GUARANTEED_AFTER, Action::CheckGuarantee);
                continue;
            }
            if time > end || self.events > EVENTS_MAX {
                self.fail(format!("no rest after {} events: {}", self.events, self.unfinished()));
                break;
            }
            self.now = time.max(self.now);
            self.events += 1;
            self.next();
            if !self.faults_enabled && self.is_at_rest() {
                self.check_rest();
                break;
            }
        }
        Report {
            seed: self.seed,
            events: self.events,
            faults: self.faults,
            elapsed: self.now.since(BEGIN),
            hash: self.hash,
            log: self.log,
            failures: self.failures,
            situations: self.situations,
        }
    }

    fn next_time(&self) -> Option<Time> {
        let queued = self.queue.first_key_value().map(|((time, _), _)| *time);
        let master = self.control.next_deadline();
        let agents = self.nodes.iter().filter_map(Node::next_deadline);
        let schedulers = self.frameworks.iter().filter_map(Framework::next_deadline);
        agents.chain(schedulers).chain(queued).chain(master).min()
    }

    /// Carries out the earliest action: due deadlines of the state machines before queued actions of the same time.
    fn next(&mut self) {
        let now = self.now;
        if self.control.next_deadline().is_some_and(|at| at <= now) {
            return self.master_step(master::Event::Tick);
        }
        let due = |node: &Node| node.next_deadline().is_some_and(|at| at <= now);
        if let Some(node) = self.nodes.iter().position(due) {
            return self.agent_step(node, agent::Event::Tick);
        }
        let due = |framework: &Framework| framework.next_deadline().is_some_and(|at| at <= now);
        if let Some(index) = self.frameworks.iter().position(due) {
            return match self.frameworks[index].kind {
                Kind::Java => self.driver_step(index, libmesos_core::scheduler::Event::Tick),
                _ => self.wake_scheduler(index),
            };
        }
        if let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= now
        {
            let action = entry.remove();
            self.happen(action);
        }
    }

    fn happen(&mut self, action: Action) {
        match action {
            Action::ToMaster(link, message) => self.deliver_to_master(link, message),
            Action::ToAgent(link, message) => self.deliver_to_agent(link, message),
            Action::MasterNotices(link) => self.master_notices(link),
            Action::AgentNotices(link) => self.agent_notices(link),
            Action::Dial(node, life) => self.dial(node, life),
            Action::Subscribe { framework, life } => self.subscribe(framework, life),
            Action::Call { framework, stream, call, launch } => {
                self.call_arrives(framework, stream, call, launch);
            }
            Action::ToFramework(stream, event) => self.deliver_to_framework(&stream, *event),
            Action::MasterNoticesStream(stream) => self.master_notices_stream(&stream),
            Action::FrameworkNotices(stream) => self.framework_notices(&stream),
            Action::Refused { framework, stream } => self.call_refused(framework, &stream),
            Action::ToScheduler { framework, life, watch, event } => {
                self.deliver_to_scheduler(framework, life, watch, *event);
            }
            Action::ClusterEvent { framework, stream, event } => {
                if self.frameworks[framework].stream.as_ref() == Some(&stream) {
                    self.scheduler_step(framework, machine::Event::Cluster(*event));
                }
            }
            Action::StoreWrite { framework, life, write } => self.store_write(framework, life, &write),
            Action::Wake { framework, life } => self.wake(framework, life),
            Action::VolumesSynced { node, life } => {
                if self.nodes[node].life == life {
                    self.agent_step(node, agent::Event::VolumesSynced { failed: Default::default() });
                }
            }
            Action::Start { node, life, start } => self.start_container(node, life, *start),
            Action::Die(node, container, status) => self.container_dies(node, &container, status),
            Action::Exited(node, container, status) => self.agent_hears_of_end(node, container, status),
            Action::ExecutorDials(node, container) => self.executor_dials(node, &container),
            Action::ExecutorSays { node, life, container, said } => {
                self.executor_is_heard(node, life, &container, said);
            }
            Action::ToExecutor { node, container, connection, event } => {
                self.executor_hears(node, &container, connection, *event);
            }
            Action::TaskEnds { node, container, task, killed } => {
                self.task_ends(node, &container, &task, killed);
            }
            Action::ResizePod { node, container, task, cpu_milli } => {
                self.resize_pod(node, &container, task, cpu_milli);
            }
            Action::PodEnds { node, boot, task, killed } => self.pod_ends(node, boot, &task, killed),
            Action::Fault(fault) => self.inject(fault),
            Action::Operate(change) => self.operate(change),
            Action::Tidy => self.tidy(),
            Action::CheckGuarantee => self.check_guarantee(),
            Action::WantGuaranteed => self.want_guaranteed(),
            Action::Java { framework, life, what } => self.java_acts(framework, life, *what),
            Action::Heartbeat(stream) => self.heartbeat(stream),
            Action::StartMaster => self.start_master(),
            Action::StartAgent(node) => self.start_agent(node),
            Action::StartFramework(framework) => self.start_framework(framework),
        }
    }
}

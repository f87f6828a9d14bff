//! What the master remembers of agents and frameworks. Read by the doors through `&Master`; written by the master only.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kernel_model::{
    agent::{AgentInfo, AgentSnapshot, AgentState},
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, ExecutorId, FrameworkId, StreamId, TaskId},
    offer_wishes::OfferWishes,
    resources::Resources,
    roles::Role,
    scheduler::MasterInfo,
    task::Task,
    time::Time,
};

use crate::{
    allocator::{AgentSlot, ClientSlot, CompiledWishes},
    effect::LinkId,
    shelf::Shelf,
};

/// How a master behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterConfig {
    /// What frameworks are told of it. Its id must be fresh for each start: ids of agents, frameworks and offers begin
    /// with it.
    pub info: MasterInfo,
    /// How often it asks each agent for a sign of life.
    pub ping_interval: Duration,
    /// How many unanswered pings in a row make an agent unreachable.
    pub ping_timeouts: u32,
    /// How long an agent may stay away after a cut link, or after a restart of the master.
    pub agent_reregister_timeout: Duration,
    /// How long an offer may stay unanswered; `None` is for ever.
    pub offer_timeout: Option<Duration>,
    /// The shortest time for which a declined agent is not offered again to the same framework and role: what stands in
    /// for Mesos' allocation interval, and keeps a framework that refuses for zero seconds from spinning.
    pub shortest_refusal: Duration,
    /// Whether frameworks without GPU_RESOURCES are kept from agents with GPUs.
    pub filter_gpu_agents: bool,
}

impl MasterConfig {
    /// The defaults of Mesos.
    pub fn new(info: MasterInfo) -> Self {
        Self {
            info,
            ping_interval: Duration::from_secs(15),
            ping_timeouts: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            offer_timeout: None,
            shortest_refusal: Duration::from_secs(1),
            filter_gpu_agents: true,
        }
    }
}

/// An agent, as the master knows it.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its description, id included.
    pub info: Arc<AgentInfo>,
    /// Where it stands: `Connected` or `Disconnected`; the others are [`AbsentAgent`]s.
    pub state: AgentState,
    /// Its link, exactly where it is connected.
    pub link: Option<LinkId>,
    /// Whether an operator keeps offers from it.
    pub deactivated: bool,
    /// First registration with this master.
    pub registered_at: Time,
    /// Latest re-registration with this master.
    pub reregistered_at: Option<Time>,
    /// The tasks on it, framework by framework: they live in [`Framework::tasks`].
    pub tasks: BTreeMap<FrameworkId, BTreeSet<TaskId>>,
    /// The custom executors on it.
    pub executors: BTreeMap<(FrameworkId, ExecutorId), Arc<ExecutorInfo>>,
    /// What tasks and executors hold, framework by framework.
    pub allocated: BTreeMap<FrameworkId, Resources>,
    /// What outstanding offers hold.
    pub offered: Resources,
    /// Its place in the allocator.
    pub(crate) slot: AgentSlot,
    /// Numbers of the outstanding offers.
    pub(crate) offers: BTreeSet<u64>,
    /// Kills that came while it was disconnected.
    pub(crate) pending_kills: BTreeMap<(FrameworkId, TaskId), Option<Duration>>,
    /// Pings without a sign of life after them.
    pub(crate) missed_pings: u32,
    /// Grows with every change of the link, so that timers of an earlier life do nothing.
    pub(crate) epoch: u64,
}

impl Agent {
    /// Whether it may be offered.
    pub fn is_active(&self) -> bool {
        self.state == AgentState::Connected && !self.deactivated
    }

    /// The agent for operators and projections.
    pub fn snapshot(&self) -> AgentSnapshot {
        AgentSnapshot {
            info: self.info.clone(),
            state: self.state,
            registered_at: self.registered_at,
            reregistered_at: self.reregistered_at,
            total: self.info.resources.clone(),
            allocated: self.allocated.iter().map(|(f, r)| (f.clone(), r.clone())).collect(),
            offered: self.offered.clone(),
        }
    }
}

/// An agent of the registry that is not there: recovered and not back yet, or unreachable.
#[derive(Debug, Clone, PartialEq)]
pub struct AbsentAgent {
    /// Its description, id included.
    pub info: Arc<AgentInfo>,
    /// Whether an operator keeps offers from it.
    pub deactivated: bool,
    /// Since when it is unreachable; `None` where it is only recovered.
    pub unreachable_since: Option<Time>,
}

impl AbsentAgent {
    /// The agent for operators and projections.
    pub fn snapshot(&self) -> AgentSnapshot {
        let state = match self.unreachable_since {
            Some(_) => AgentState::Unreachable,
            None => AgentState::Recovered,
        };
        AgentSnapshot {
            info: self.info.clone(),
            state,
            registered_at: Time::default(),
            reregistered_at: None,
            total: self.info.resources.clone(),
            allocated: Vec::new(),
            offered: Resources::new(),
        }
    }
}

/// Where a framework stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameworkState {
    /// Known from agents only; it has not subscribed with this master.
    Recovered,
    /// Subscribed on this stream.
    Connected(StreamId),
    /// Its stream ended; it may come back.
    Disconnected,
    /// Torn down, or away for too long.
    Completed,
}

/// A framework, as the master knows it.
#[derive(Debug, Clone)]
pub struct Framework {
    /// Its id.
    pub id: FrameworkId,
    /// Its description, id included.
    pub info: Arc<FrameworkInfo>,
    /// Where it stands.
    pub state: FrameworkState,
    /// First subscription with this master.
    pub registered_at: Time,
    /// Latest subscription.
    pub reregistered_at: Option<Time>,
    /// Its end, or its disconnection.
    pub unregistered_at: Option<Time>,
    /// Tasks that run, or ended without the framework's acknowledgement.
    pub tasks: Shelf<TaskId, Task>,
    /// Tasks on unreachable agents, oldest first.
    pub unreachable_tasks: VecDeque<Arc<Task>>,
    /// Tasks that ended, oldest first.
    pub completed_tasks: VecDeque<Arc<Task>>,
    /// Roles that want no offers now.
    pub suppressed_roles: BTreeSet<Role>,
    /// Which offers it wants.
    pub wishes: OfferWishes,
    /// The same, ready for the allocator.
    pub(crate) compiled: CompiledWishes,
    /// Its places in the allocator: the roles that it is in, or still holds something in.
    pub(crate) clients: BTreeMap<Role, ClientSlot>,
    /// Numbers of its outstanding offers.
    pub(crate) offers: BTreeSet<u64>,
    /// Grows with every subscription, so that timers of an earlier one do nothing.
    pub(crate) epoch: u64,
}

impl Framework {
    /// The stream on which it listens.
    pub fn stream(&self) -> Option<&StreamId> {
        match &self.state {
            FrameworkState::Connected(stream) => Some(stream),
            _ => None,
        }
    }
}

/// A role, for operators.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleView {
    /// Which.
    pub role: Role,
    /// 1 unless set.
    pub weight: f64,
    /// Frameworks that are subscribed in it.
    pub frameworks: Vec<FrameworkId>,
    /// What they hold in it, offers included.
    pub resources: Resources,
}

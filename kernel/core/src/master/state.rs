//! The master's tables. Others read them through `&Master`; only the master writes them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kernel_model::{
    agent::{Activation, AgentInfo, AgentSnapshot, AgentState},
    caller::{Caller, IN_PROCESS_PRINCIPAL},
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, ExecutorId, FrameworkId, StreamId, TaskId},
    offer_preferences::OfferPreferences,
    operation::{OfferOperation, OperationUuid},
    quota::{Quantities, Quota},
    resources::Resources,
    roles::Role,
    scheduler::MasterInfo,
    task::Task,
    time::Time,
};

use super::{counts::FrameworkCounts, run_as::RunAsPolicy};
use crate::{
    allocator::{AgentSlot, ClientSlot, CompiledPreferences},
    effect::LinkId,
    snapshot_map::SnapshotMap,
};

/// The master's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterConfig {
    /// The description for frameworks. The id must be new for each start: ids of agents, frameworks and offers begin
    /// with it.
    pub info: MasterInfo,
    /// The interval of pings to each agent.
    pub ping_interval: Duration,
    /// How many consecutive unanswered pings make an agent unreachable.
    pub ping_timeouts: u32,
    /// How long an agent has to re-register after a disconnection, or after a restart of the master.
    pub agent_reregister_timeout: Duration,
    /// How long an offer stays valid; `None` means forever.
    pub offer_timeout: Option<Duration>,
    /// The minimum time before declined resources are offered again to the same framework and role. It replaces Mesos'
    /// allocation interval: a framework that declines for zero seconds does not spin.
    pub shortest_refusal: Duration,
    /// Whether agents with GPUs are offered only to frameworks with GPU_RESOURCES.
    pub filter_gpu_agents: bool,
    /// How long a role with demand may miss what is guaranteed to it until tasks of others end for it; `None` means that none do.
    pub preempt_after: Option<Duration>,
    /// The users that frameworks may run tasks as.
    pub run_as: RunAsPolicy,
}

impl MasterConfig {
    /// Mesos' defaults.
    pub fn new(info: MasterInfo) -> Self {
        Self {
            info,
            ping_interval: Duration::from_secs(15),
            ping_timeouts: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            offer_timeout: None,
            shortest_refusal: Duration::from_secs(1),
            filter_gpu_agents: true,
            preempt_after: None,
            run_as: RunAsPolicy::default(),
        }
    }
}

/// A registered agent.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Agent {
    pub id: AgentId,
    /// The description, with the id.
    pub info: Arc<AgentInfo>,
    /// `Connected` or `Disconnected`; agents in other states are [`AbsentAgent`]s.
    pub state: AgentState,
    /// Set exactly if the agent is connected.
    pub link: Option<LinkId>,
    /// Whether operators let it take new work.
    pub activation: Activation,
    /// Whether it is being stopped on its machine.
    pub stopping: bool,
    /// Registration with this master.
    pub registered_at: Time,
    /// Latest re-registration with this master.
    pub reregistered_at: Option<Time>,
    /// The ids of its tasks by framework; the tasks are in [`Framework::tasks`].
    pub tasks: BTreeMap<FrameworkId, BTreeSet<TaskId>>,
    /// The executors, without the agent's built-in ones.
    pub executors: BTreeMap<(FrameworkId, ExecutorId), Arc<ExecutorInfo>>,
    /// Resources of tasks and executors by framework.
    pub allocated: BTreeMap<FrameworkId, Resources>,
    /// Resources of outstanding offers.
    pub offered: Resources,
    /// What was in use on it, and is not counted as such since it disconnected: it may report that it still is.
    pub(crate) unconfirmed: Resources,
    /// What is oversubscribed, allocated or not.
    pub revocable: Resources,
    /// Why it cannot start containers of images now.
    pub runtime_failure: Option<String>,
    /// Its index in the allocator.
    pub(crate) slot: AgentSlot,
    pub(crate) offers: BTreeSet<u64>,
    /// New persistent volumes whose directories could not be made, and that still hold disk.
    pub(crate) failed_volumes: Resources,
    /// Operations with an id whose end is not acknowledged.
    pub operations: BTreeMap<OperationUuid, OfferOperation>,
    /// Kills to send when it is connected again.
    pub(crate) pending_kills: BTreeMap<(FrameworkId, TaskId), Option<Duration>>,
    /// Pings since the last message.
    pub(crate) missed_pings: u32,
    /// Incremented when the link changes, so that older timers have no effect.
    pub(crate) epoch: u64,
}

impl Agent {
    /// Whether its resources may be offered.
    pub fn is_active(&self) -> bool {
        self.state == AgentState::Connected && self.activation.is_active() && !self.stopping
    }

    /// The state for the operator API and projections.
    pub fn snapshot(&self) -> AgentSnapshot {
        AgentSnapshot {
            info: self.info.clone(),
            state: match self.state {
                AgentState::Connected if self.stopping => AgentState::Stopping,
                state => state,
            },
            activation: self.activation.clone(),
            registered_at: self.registered_at,
            reregistered_at: self.reregistered_at,
            total: self.total(),
            allocated: self.allocated.iter().map(|(f, r)| (f.clone(), r.clone())).collect(),
            offered: self.offered.clone(),
        }
    }
}

/// An agent of the registry that is not registered: recovered, or unreachable.
#[derive(Debug, Clone, PartialEq)]
pub struct AbsentAgent {
    /// The description, with the id.
    pub info: Arc<AgentInfo>,
    /// Whether operators let it take new work.
    pub activation: Activation,
    /// When it became unreachable; `None` if it is recovered.
    pub unreachable_since: Option<Time>,
    /// Operations that it had not confirmed when it became unreachable; they are sent again when it is back.
    pub(crate) operations: Vec<OfferOperation>,
}

impl AbsentAgent {
    /// The state for the operator API and projections.
    pub fn snapshot(&self) -> AgentSnapshot {
        let state = match self.unreachable_since {
            Some(_) => AgentState::Unreachable,
            None => AgentState::Recovered,
        };
        AgentSnapshot {
            info: self.info.clone(),
            state,
            activation: self.activation.clone(),
            registered_at: Time::default(),
            reregistered_at: None,
            total: self.info.resources.clone(),
            allocated: Vec::new(),
            offered: Resources::new(),
        }
    }
}

/// The state of a framework.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameworkState {
    /// Known from agents only; it has not subscribed with this master, and may within its failover timeout.
    Recovered,
    /// Subscribed, on this stream.
    Connected(StreamId),
    /// Its stream ended; it may subscribe again within its failover timeout.
    Disconnected,
    /// Torn down, or its failover timeout expired.
    Completed,
}

/// A framework.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Framework {
    pub id: FrameworkId,
    /// The description, with the id.
    pub info: Arc<FrameworkInfo>,
    pub state: FrameworkState,
    /// The caller of the latest subscription; `None` if it has not subscribed with this master.
    pub(crate) caller: Option<Caller>,
    /// First subscription with this master.
    pub registered_at: Time,
    pub reregistered_at: Option<Time>,
    /// When it ended or disconnected.
    pub unregistered_at: Option<Time>,
    /// Tasks that are not terminal, or terminal and unacknowledged.
    pub tasks: SnapshotMap<TaskId, Task>,
    /// Tasks on unreachable agents, oldest first.
    pub unreachable_tasks: VecDeque<Arc<Task>>,
    /// Completed tasks, oldest first.
    pub completed_tasks: VecDeque<Arc<Task>>,
    pub suppressed_roles: BTreeSet<Role>,
    pub preferences: OfferPreferences,
    /// The preferences, compiled for the allocator.
    pub(crate) compiled: CompiledPreferences,
    /// Its clients in the allocator: the roles that it is subscribed in, or still holds resources in.
    pub(crate) clients: BTreeMap<Role, ClientSlot>,
    pub(crate) offers: BTreeSet<u64>,
    pub counts: Arc<FrameworkCounts>,
    /// Incremented by every subscription, so that older timers have no effect.
    pub(crate) epoch: u64,
}

impl Framework {
    /// Whether its scheduler is in this process, or will be when it subscribes again: it knows more about its tasks than the kernel.
    pub fn is_in_process(&self) -> bool {
        self.info.principal.as_deref() == Some(IN_PROCESS_PRINCIPAL)
    }

    /// The stream, if it is connected.
    pub fn stream(&self) -> Option<&StreamId> {
        match &self.state {
            FrameworkState::Connected(stream) => Some(stream),
            _ => None,
        }
    }
}

/// A role, for the operator API.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct RoleView {
    pub role: Role,
    /// 1 by default.
    pub weight: f64,
    pub quota: Quota,
    /// The subscribed frameworks.
    pub frameworks: Vec<FrameworkId>,
    /// The resources of their tasks and executors in this role and below it.
    pub allocated: Resources,
    /// The resources offered to them in this role and below it.
    pub offered: Resources,
    /// The resources that are reserved for this role and below it.
    pub reserved: Resources,
}

impl RoleView {
    /// What the role's quota counts as consumed: what is held beside reservations, and all that is reserved.
    pub fn consumed(&self) -> Quantities {
        let mut consumed = Quantities::of(&self.allocated, |r| r.reservations.is_empty() && !r.revocable);
        consumed.add_all(&Quantities::of(&self.reserved, |r| !r.revocable));
        consumed
    }
}

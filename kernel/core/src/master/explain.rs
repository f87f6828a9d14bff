//! Why a framework, a role or a task waits. Everything here is read from the tables; nothing is decided. A snapshot cannot tell:
//! it has no allocator.

use kernel_model::{
    caller::Caller,
    ids::{AgentId, FrameworkId, TaskId},
    quota::Quantities,
    resources::Resources,
    roles::Role,
    task::TaskState,
    time::Time,
};

use super::{Framework, FrameworkState, Master, RoleView, guarantees::Stuck};
use crate::allocator::{ClientSlot, WaitReason};

/// How many frameworks in roles one answer has. Each is compared with every agent, on the thread that serves all.
const CLIENTS_MAX: usize = 100;

/// A framework in one role.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientWait {
    /// The framework.
    pub framework: FrameworkId,
    /// Its name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The part of the cluster that it holds in the role, offers included: the largest over all resources.
    pub dominant_share: f64,
    /// Outstanding offers.
    pub offers: usize,
    /// Why it is offered nothing more. Empty if it may get an offer any moment.
    pub reasons: Vec<WaitCause>,
}

/// Why a framework is offered nothing in a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitCause {
    /// It is not connected.
    Disconnected,
    /// It has not subscribed since the master started.
    Recovered,
    /// It suppressed the role.
    Suppressed,
    /// It is not subscribed in the role any more, and only holds resources there.
    Unsubscribed,
    /// Tasks of others end for what is guaranteed to the role.
    Preempting(u32),
    /// Something is missing to the role's guarantee since so many seconds; tasks of others end for it in so many if it does not become
    /// free before.
    GuaranteeUnmet {
        /// Since when, in seconds.
        since: u32,
        /// How long it waits yet, in seconds.
        begins_in: u32,
    },
    /// Something is missing to the role's guarantee, and no task of others may end for it.
    NothingToPreempt,
    /// What is missing to the role's guarantee is free, in parts on several agents.
    Fragmented,
    /// What the allocator says.
    Allocation(WaitReason),
}

impl WaitCause {
    /// A stable name for programs.
    pub fn code(self) -> &'static str {
        match self {
            WaitCause::Disconnected => "DISCONNECTED",
            WaitCause::Recovered => "RECOVERED",
            WaitCause::Suppressed => "SUPPRESSED",
            WaitCause::Unsubscribed => "UNSUBSCRIBED",
            WaitCause::Preempting(_) => "PREEMPTING",
            WaitCause::GuaranteeUnmet { .. } => "GUARANTEE_UNMET",
            WaitCause::NothingToPreempt => "NOTHING_TO_PREEMPT",
            WaitCause::Fragmented => "FRAGMENTED",
            WaitCause::Allocation(reason) => reason.code(),
        }
    }

    /// The number of agents that it is about.
    pub fn agents(self) -> Option<u32> {
        match self {
            WaitCause::Allocation(reason) => reason.agents(),
            _ => None,
        }
    }
}

impl std::fmt::Display for WaitCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaitCause::Disconnected => f.write_str("the framework is disconnected"),
            WaitCause::Recovered => f.write_str("the framework has not subscribed since the master started"),
            WaitCause::Suppressed => f.write_str("the framework suppressed offers for the role"),
            WaitCause::Unsubscribed => f.write_str("the framework is not subscribed in the role any more"),
            WaitCause::Preempting(count) => {
                write!(f, "{count} task(s) of others end for what is guaranteed to the role")
            }
            WaitCause::GuaranteeUnmet { since, begins_in } => write!(
                f,
                "the role has had less than is guaranteed to it for {since} s; unless what is missing becomes free, tasks of \
                 others end for it in {begins_in} s"
            ),
            WaitCause::NothingToPreempt => f.write_str(
                "less is free than is guaranteed to the role, and no task of others may end for it: they have no more than is \
                 guaranteed to them, or their disruption was declined",
            ),
            WaitCause::Fragmented => f.write_str(
                "what is missing to the role's guarantee is free, in parts on several agents, and none of them has what a task \
                 needs at once",
            ),
            WaitCause::Allocation(reason) => reason.fmt(f),
        }
    }
}

/// A role and who shares it.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleWait {
    /// Weight and resources.
    pub view: RoleView,
    /// The part of the cluster that the role and those below it hold, offers included: the largest over all resources.
    pub dominant_share: f64,
    /// The frameworks in the role and below it, at most a hundred.
    pub clients: Vec<ClientWait>,
    /// How many more there are.
    pub omitted: usize,
}

/// A task and what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskWait {
    /// The task.
    pub task: TaskId,
    /// Its framework.
    pub framework: FrameworkId,
    /// The name of its framework.
    pub name: String,
    /// Where it is.
    pub agent: AgentId,
    /// The agent's host name, if the agent is known.
    pub hostname: Option<String>,
    /// Its latest state.
    pub state: TaskState,
    /// What it waits for; `None` if for nothing.
    pub cause: Option<TaskCause>,
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskCause {
    /// The agent or the executor has not said that it starts.
    Launch,
    /// The agent is disconnected.
    AgentDisconnected,
    /// The agent is unreachable since then; it has not re-registered since the master started if there is no time.
    AgentUnreachable(Option<Time>),
    /// The end of its processes, which were told to end.
    Kill,
    /// The framework's acknowledgement of a status update; the task's resources are free if the state is final.
    Acknowledgement(TaskState),
}

impl TaskCause {
    /// A stable name for programs.
    pub fn code(self) -> &'static str {
        match self {
            TaskCause::Launch => "LAUNCH",
            TaskCause::AgentDisconnected => "AGENT_DISCONNECTED",
            TaskCause::AgentUnreachable(_) => "AGENT_UNREACHABLE",
            TaskCause::Kill => "KILL",
            TaskCause::Acknowledgement(_) => "ACKNOWLEDGEMENT",
        }
    }
}

impl std::fmt::Display for TaskCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TaskCause::Launch => "the agent has not reported that the task starts",
            TaskCause::AgentDisconnected => "the agent is disconnected",
            TaskCause::AgentUnreachable(Some(_)) => "the agent is unreachable",
            TaskCause::AgentUnreachable(None) => {
                "the agent has not registered again since the master started"
            }
            TaskCause::Kill => "the task was told to end and has not ended",
            TaskCause::Acknowledgement(_) => "the framework has not acknowledged the latest status update",
        })
    }
}

/// A framework in a role, and the allocator's client for it.
type Client<'a> = (&'a Framework, &'a Role, ClientSlot);

fn clients_of(framework: &Framework) -> impl Iterator<Item = Client<'_>> {
    framework.clients.iter().map(move |(role, client)| (framework, role, *client))
}

impl Master {
    /// Why frameworks with this id or name wait, role by role; at most a hundred.
    pub fn explain_framework(&self, name: &str) -> Vec<ClientWait> {
        let named = |framework: &&Framework| framework.id.as_str() == name || framework.info.name == name;
        let clients = self.frameworks().filter(named).flat_map(clients_of);
        clients.take(CLIENTS_MAX).map(|client| self.explain_client(client)).collect()
    }

    /// Why a framework is offered nothing in a role. Empty if nothing is in the way, or for a role that it is not in.
    pub fn explain_role_of(&self, id: &FrameworkId, role: &Role) -> Vec<WaitCause> {
        let client = self.framework(id).and_then(|f| clients_of(f).find(|(_, of, _)| *of == role));
        client.map_or_else(Vec::new, |client| self.explain_client(client).reasons)
    }

    /// How a role stands and why its frameworks wait. `None` for a role without frameworks, weight and reservations.
    pub fn explain_role(&self, name: &str) -> Option<RoleWait> {
        let within = |role: &Role| role.lineage().any(|ancestor| ancestor == name);
        let all = || self.frameworks().flat_map(clients_of).filter(|(_, role, _)| within(role));
        let clients: Vec<ClientWait> =
            all().take(CLIENTS_MAX).map(|client| self.explain_client(client)).collect();
        let omitted = all().count() - clients.len();
        let known = self.roles().into_iter().find(|view| view.role.as_str() == name);
        let view = match known {
            Some(view) => view,
            // A parent of roles.
            None if !clients.is_empty() => self.view_of_parent(Role::parse(name).ok()?),
            None => return None,
        };
        let mut held = view.allocated.clone();
        held += &view.offered;
        Some(RoleWait { dominant_share: self.share_of(&held), view, clients, omitted })
    }

    /// What tasks with this id wait for; those that have ended are forgotten.
    pub fn explain_task(&self, id: &str) -> Vec<TaskWait> {
        let mut found = Vec::new();
        for framework in self.frameworks() {
            let present = framework.tasks.values();
            let tasks = present.chain(framework.unreachable_tasks.iter().map(|task| &**task));
            for task in tasks.filter(|task| task.info.task_id.as_str() == id) {
                let agent = &task.info.agent_id;
                let present = self.agent(agent).map(|agent| &agent.info);
                let absent =
                    || self.absent_agents().find(|a| a.info.id.as_ref() == Some(agent)).map(|a| &a.info);
                found.push(TaskWait {
                    task: task.info.task_id.clone(),
                    framework: framework.id.clone(),
                    name: framework.info.name.clone(),
                    agent: agent.clone(),
                    hostname: present.or_else(absent).map(|info| info.hostname.clone()),
                    state: task.state,
                    cause: self.cause_of(agent, task),
                });
            }
        }
        found
    }

    fn explain_client(&self, (framework, role, client): Client<'_>) -> ClientWait {
        let cause = match &framework.state {
            FrameworkState::Disconnected => Some(WaitCause::Disconnected),
            FrameworkState::Recovered => Some(WaitCause::Recovered),
            _ if framework.suppressed_roles.contains(role) => Some(WaitCause::Suppressed),
            _ if !framework.info.roles.contains(role) => Some(WaitCause::Unsubscribed),
            FrameworkState::Connected(_) | FrameworkState::Completed => None,
        };
        let (wanted, nothing) = (self.guarantees.wanted_by(&framework.id, role), Quantities::default());
        let of_allocator = match cause {
            None => self.allocator().explain(self.now, client, wanted),
            // The scheduler of Pods suppresses a role whose Pods fit nowhere, and says what they lack.
            Some(WaitCause::Suppressed) => {
                let says = framework.caller == Some(Caller::InProcess);
                let wanted = wanted.or(says.then_some(&nothing));
                self.allocator().explain_quotas(self.now, client, wanted)
            }
            Some(_) => Vec::new(),
        };
        let of_guarantees = match cause {
            None | Some(WaitCause::Suppressed) => self.causes_of_guarantees(role),
            Some(_) => Vec::new(),
        };
        let of_allocator = of_allocator.into_iter().map(WaitCause::Allocation);
        let reasons = cause.into_iter().chain(of_guarantees).chain(of_allocator).collect();
        ClientWait {
            framework: framework.id.clone(),
            name: framework.info.name.clone(),
            role: role.clone(),
            dominant_share: self.allocator().dominant_share(client),
            offers: self.offers(Some(&framework.id)).filter(|offer| offer.role == *role).count(),
            reasons,
        }
    }

    fn causes_of_guarantees(&self, role: &Role) -> Vec<WaitCause> {
        let (victims, stuck) = self.preemption_for(role);
        let preempting = (victims > 0).then_some(WaitCause::Preempting(victims));
        let stuck = stuck.map(|why| match why {
            Stuck::NothingToPreempt => WaitCause::NothingToPreempt,
            Stuck::Fragmented => WaitCause::Fragmented,
        });
        let unmet = self.unmet_guarantee_of(role).map(|(since, begins)| {
            let seconds = |from: Time, to: Time| (to.0.saturating_sub(from.0) / 1_000_000_000) as u32;
            let (since, begins_in) = (seconds(since, self.now), seconds(self.now, begins));
            WaitCause::GuaranteeUnmet { since, begins_in }
        });
        preempting.into_iter().chain(stuck).chain(unmet).collect()
    }

    /// A role that has nothing but roles below it.
    fn view_of_parent(&self, role: Role) -> RoleView {
        let below = |view: &RoleView| {
            let mut lineage: Vec<&str> = view.role.lineage().collect();
            lineage.retain(|name| *name == role.as_str());
            !lineage.is_empty()
        };
        let (mut allocated, mut offered, mut reserved) = Default::default();
        // Views of children include what is below them, so only the highest count.
        let children: Vec<RoleView> = self.roles().into_iter().filter(below).collect();
        let is_top = |view: &&RoleView| {
            !children.iter().any(|other| other.role != view.role && view.role.is_within(&other.role))
        };
        for view in children.iter().filter(is_top) {
            allocated += &view.allocated;
            offered += &view.offered;
            reserved += &view.reserved;
        }
        let quota = self.quota_of(&role).cloned().unwrap_or_default();
        let (weight, frameworks) = (self.weight_of(&role), Vec::new());
        RoleView { role, weight, quota, frameworks, allocated, offered, reserved }
    }

    /// The largest part of a resource of the cluster that is held.
    fn share_of(&self, held: &Resources) -> f64 {
        let mut total = Resources::new();
        self.agents().for_each(|agent| total += &agent.total());
        let part = |name: &str| {
            let all = total.scalar(name).0;
            if all == 0 { 0.0 } else { held.scalar(name).0 as f64 / all as f64 }
        };
        held.scalars().map(|(name, _)| part(name)).fold(0.0, f64::max)
    }

    fn cause_of(&self, agent: &AgentId, task: &kernel_model::task::Task) -> Option<TaskCause> {
        let Some(present) = self.agent(agent) else {
            let absent = self.absent_agents().find(|absent| absent.info.id.as_ref() == Some(agent));
            return absent.map(|absent| TaskCause::AgentUnreachable(absent.unreachable_since));
        };
        if let Some((state, _)) = task.unacknowledged.as_ref().filter(|(state, _)| state.is_terminal()) {
            return Some(TaskCause::Acknowledgement(*state));
        }
        if present.link.is_none() {
            return Some(TaskCause::AgentDisconnected);
        }
        match task.state {
            TaskState::Staging | TaskState::Starting => Some(TaskCause::Launch),
            TaskState::Killing => Some(TaskCause::Kill),
            _ => None,
        }
    }
}

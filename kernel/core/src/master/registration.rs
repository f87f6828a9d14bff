//! Registration and re-registration of agents, and adoption of their tasks and executors.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kernel_model::{
    agent::{Activation, AgentInfo, AgentState, ToAgent},
    executor::ExecutorInfo,
    framework::FrameworkInfo,
    ids::{AgentId, FrameworkId, TaskId},
    operation::OfferOperation,
    operator,
    resources::Resources,
    scheduler,
    task::{Reason, Task, TaskInfo, TaskState},
};

use super::{
    AgentLink, Master,
    accept::{lost_state, without_executor_data},
    effect::{Effect, Op, Record, RecordKey},
    state::{Agent, FrameworkState},
    timers::Timer,
};
use crate::effect::LinkId;

/// What an agent reports when it re-registers.
pub(super) struct Reregistration {
    pub(super) info: Arc<AgentInfo>,
    pub(super) frameworks: Vec<Arc<FrameworkInfo>>,
    pub(super) executors: Vec<Arc<ExecutorInfo>>,
    pub(super) tasks: Vec<Task>,
    pub(super) operations: Vec<OfferOperation>,
}

impl Master {
    pub(super) fn register(&mut self, link: LinkId, mut info: AgentInfo) {
        if let Some(known) = self.links.get(&link).and_then(|link| link.agent.clone()) {
            // A retry: the first answer is under way, and repeating it does no harm.
            let message = self.registered(&known);
            return self.send_to_agent(&known, message);
        }
        self.replace_agents_at(&info);
        let id = AgentId::new(format!("{}-S{}", self.config.info.id, self.next_agent));
        self.next_agent += 1;
        info.id = Some(id.clone());
        info.resources = info.resources.unallocated();
        let info = Arc::new(info);
        self.persist(Op::Put(Record::Agent {
            info: info.clone(),
            activation: Activation::Active,
            unreachable_since: None,
        }));
        self.insert_agent(id.clone(), info, link, Activation::Active);
        let message = self.registered(&id);
        self.send_to_agent(&id, message);
        self.agent_added(&id);
        self.start_pings(&id);
    }

    fn registered(&self, id: &AgentId) -> ToAgent {
        ToAgent::Registered {
            agent_id: id.clone(),
            ping_interval: self.config.ping_interval,
            ping_timeouts: self.config.ping_timeouts,
        }
    }

    /// An agent without an id registered at the address of a known one: the known agent lost its state, and everything
    /// it ran.
    fn replace_agents_at(&mut self, info: &AgentInfo) {
        let same = |other: &AgentInfo| {
            other.hostname == info.hostname && other.ip == info.ip && other.port == info.port
        };
        let present: Vec<AgentId> =
            self.agents.values().filter(|a| same(&a.info)).map(|a| a.id.clone()).collect();
        for id in present {
            self.counts.replaced_agents += 1;
            self.remove_agent(&id, "a new agent registered at the same address");
        }
        let absent: Vec<AgentId> =
            self.absent.iter().filter(|(_, a)| same(&a.info)).map(|(id, _)| id.clone()).collect();
        for id in absent {
            self.forget_absent(&id);
        }
    }

    fn insert_agent(&mut self, id: AgentId, info: Arc<AgentInfo>, link: LinkId, activation: Activation) {
        let slot = self.allocator.add_agent(&info.resources, activation.is_active());
        self.allocator.set_agent_properties(slot, &info);
        self.agents_by_slot.insert(slot, (id.clone(), self.agents.len()));
        self.links.insert(link, AgentLink { agent: Some(id.clone()), message_since_ping: false });
        let agent = Agent {
            id: id.clone(),
            info,
            state: AgentState::Connected,
            link: Some(link),
            activation,
            stopping: false,
            registered_at: self.now,
            reregistered_at: None,
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
            allocated: BTreeMap::new(),
            offered: Default::default(),
            unconfirmed: Default::default(),
            revocable: Default::default(),
            slot,
            offers: BTreeSet::new(),
            failed_volumes: Default::default(),
            runtime_failure: None,
            operations: BTreeMap::new(),
            pending_kills: BTreeMap::new(),
            missed_pings: 0,
            epoch: 0,
        };
        self.agents.insert(id, agent);
    }

    fn agent_added(&mut self, id: &AgentId) {
        if let Some(agent) = self.agents.get(id) {
            let snapshot = agent.snapshot();
            self.changed_agents.remove(id);
            self.operator_event(operator::Event::AgentAdded { agent: snapshot });
        }
    }

    pub(super) fn reregister(&mut self, link: LinkId, mut report: Reregistration) {
        let Some(id) = report.info.id.clone() else {
            return self.refuse_agent(link, "Re-registration without an agent ID");
        };
        if self.registry.get(&RecordKey::GoneAgent(id.clone())).is_some() {
            return self.refuse_agent(link, "Agent has been marked gone");
        }
        if self.agents.get(&id).is_some_and(|agent| agent.link == Some(link)) {
            // A retry: the report may be older than what came over this link since.
            return self.send_reregistered(&id, Vec::new());
        }
        let resources = report.info.resources.unallocated();
        Arc::make_mut(&mut report.info).resources = resources;
        let heard = report.info.operations.count;
        let stale = self.renew_resources(&id, &mut report.info);
        let operations = std::mem::take(&mut report.operations);
        let mut outdated = Vec::new();
        for framework in std::mem::take(&mut report.frameworks) {
            outdated.extend(self.recover_framework(framework));
        }
        if self.agents.contains_key(&id) {
            self.reregister_known(&id, link, report);
        } else {
            self.readmit_agent(&id, link, report, heard);
        }
        self.adopt_operations(&id, operations, stale);
        // The agent says what there is more, if there is.
        self.oversubscribed(&id, &Default::default());
        self.send_pending(&id, outdated);
        self.resume_drain(&id);
        self.start_pings(&id);
    }

    fn refuse_agent(&mut self, link: LinkId, message: &str) {
        self.links.remove(&link);
        self.effect(Effect::ToAgent { link, message: ToAgent::Shutdown { message: message.to_owned() } });
        self.effect(Effect::CloseLink { link });
    }

    /// Adds a framework that only agents know, until it subscribes again or its failover timeout has passed, which began when a master
    /// missed it first. It gets at least the time that agents get to re-register: with a timeout of 0 it could not know yet that the
    /// master restarted. Returns the current info of a subscribed framework if the agent's copy is outdated.
    fn recover_framework(&mut self, info: Arc<FrameworkInfo>) -> Option<Arc<FrameworkInfo>> {
        let id = info.id.clone()?;
        if let Some(known) = self.frameworks.get(&id) {
            return (known.stream().is_some() && known.info != info).then(|| known.info.clone());
        }
        if self.registry.get(&RecordKey::EndedFramework(id.clone())).is_none() {
            let until = match self.registry.get(&RecordKey::AbsentFramework(id.clone())) {
                Some(Record::AbsentFramework { until, .. }) => *until,
                _ => {
                    let until = self.now + info.failover_timeout;
                    self.persist(Op::Put(Record::AbsentFramework { framework_id: id.clone(), until }));
                    until
                }
            };
            let ends = until.max(self.now + self.config.agent_reregister_timeout);
            self.insert_framework(info, FrameworkState::Recovered);
            self.refresh_clients(&id);
            // A new framework's epoch.
            self.timers.set(ends, Timer::FrameworkFailover { framework: id, epoch: 0 });
        }
        None
    }

    /// The agent was disconnected, or its old link is dead and nobody noticed.
    fn reregister_known(&mut self, id: &AgentId, link: LinkId, report: Reregistration) {
        let agent = self.agents.get_mut(id).expect("invariant: looked up by the caller");
        let old = agent.link.replace(link);
        agent.state = AgentState::Connected;
        agent.stopping = false;
        agent.epoch += 1;
        agent.reregistered_at = Some(self.now);
        agent.unconfirmed = Resources::new();
        let (slot, activation) = (agent.slot, agent.activation.clone());
        if agent.info != report.info {
            agent.info = report.info.clone();
            let total = agent.total();
            self.allocator.set_total(slot, &total);
            self.allocator.set_agent_properties(slot, &report.info);
            self.persist(Op::Put(Record::Agent {
                info: report.info.clone(),
                activation: activation.clone(),
                unreachable_since: None,
            }));
        }
        self.links.insert(link, AgentLink { agent: Some(id.clone()), message_since_ping: false });
        if let Some(old) = old.filter(|old| *old != link) {
            self.links.remove(&old);
            self.effect(Effect::CloseLink { link: old });
            // Messages in flight on the old link are lost, launches included.
            self.withdraw_agent_offers(id);
        }
        self.allocator.set_agent_active(slot, activation.is_active());
        self.changed_agents.insert(id.clone());
        let unknown_here = self.remove_unreported(id, &report);
        self.send_reregistered(id, unknown_here);
        self.adopt(id, report, false);
    }

    pub(super) fn send_reregistered(&mut self, id: &AgentId, unknown_here: Vec<(FrameworkId, TaskId)>) {
        let message = ToAgent::Reregistered {
            agent_id: id.clone(),
            ping_interval: self.config.ping_interval,
            ping_timeouts: self.config.ping_timeouts,
            unknown_here,
        };
        self.send_to_agent(id, message);
    }

    /// Tasks that the agent did not report: terminal ones are completed, and the agent is asked about the others.
    /// Executors that it did not report have terminated.
    fn remove_unreported(&mut self, id: &AgentId, report: &Reregistration) -> Vec<(FrameworkId, TaskId)> {
        let agent = self.agents.get(id).expect("invariant: looked up by the caller");
        let reported: BTreeSet<(&FrameworkId, &TaskId)> =
            report.tasks.iter().map(|t| (&t.framework_id, &t.info.task_id)).collect();
        let missing: Vec<(FrameworkId, TaskId)> = agent
            .tasks
            .iter()
            .flat_map(|(framework, tasks)| tasks.iter().map(move |task| (framework, task)))
            .filter(|key| !reported.contains(key))
            .map(|(framework, task)| (framework.clone(), task.clone()))
            .collect();
        let running: BTreeSet<_> = report
            .executors
            .iter()
            .filter_map(|e| Some((e.framework_id.clone()?, e.executor_id.clone())))
            .collect();
        let over: Vec<_> = agent.executors.keys().filter(|key| !running.contains(key)).cloned().collect();
        for (framework, executor) in over {
            self.remove_executor(id, &framework, &executor);
        }
        let mut unknown = Vec::new();
        for (framework, task) in missing {
            let ended = self
                .frameworks
                .get(&framework)
                .and_then(|f| f.tasks.get(&task))
                .is_some_and(|t| t.state.is_terminal());
            if ended {
                self.complete_task(&framework, &task);
            } else {
                unknown.push((framework, task));
            }
        }
        unknown
    }

    /// The agent was recovered, unreachable, or is not in the registry. It has heard of so many operations.
    fn readmit_agent(&mut self, id: &AgentId, link: LinkId, report: Reregistration, heard: u64) {
        let absent = self.absent.remove(id);
        let activation = absent.as_ref().map(|a| a.activation.clone()).unwrap_or_default();
        let was_recovered = absent.as_ref().is_some_and(|a| a.unreachable_since.is_none());
        let record = Record::Agent {
            info: report.info.clone(),
            activation: activation.clone(),
            unreachable_since: None,
        };
        if self.registry.get(&record.key()) != Some(&record) {
            self.persist(Op::Put(record));
        }
        self.insert_agent(id.clone(), report.info.clone(), link, activation);
        let now = self.now;
        if let Some(agent) = self.agents.get_mut(id) {
            agent.reregistered_at = Some(now);
        }
        self.resume_operations(id, absent.map(|absent| absent.operations).unwrap_or_default(), heard);
        self.send_reregistered(id, Vec::new());
        self.agent_added(id);
        self.adopt(id, report, !was_recovered);
        self.complete_unreported_tasks(id);
    }

    /// Adopts the reported executors and tasks. `announce` tells frameworks that their tasks are reachable again.
    fn adopt(&mut self, id: &AgentId, report: Reregistration, announce: bool) {
        let mut ended = BTreeSet::new();
        for executor in report.executors {
            let Some(framework_id) = executor.framework_id.clone() else { continue };
            if self.frameworks.contains_key(&framework_id) {
                self.adopt_executor(id, framework_id, executor);
            } else {
                ended.insert(framework_id);
            }
        }
        for task in report.tasks {
            let framework_id = task.framework_id.clone();
            if self.frameworks.contains_key(&framework_id) {
                self.adopt_task(id, task, announce);
            } else {
                ended.insert(framework_id);
            }
        }
        for framework_id in ended {
            self.send_to_agent(id, ToAgent::ShutdownFramework { framework_id });
        }
    }

    fn adopt_executor(&mut self, id: &AgentId, framework_id: FrameworkId, executor: Arc<ExecutorInfo>) {
        let agent = self.agents.get_mut(id).expect("invariant: inserted by the caller");
        let key = (framework_id.clone(), executor.executor_id.clone());
        if agent.executors.contains_key(&key) {
            return;
        }
        let resources = executor.resources.clone();
        agent.executors.insert(key, executor);
        self.add_recovered(id, &framework_id, &resources);
    }

    fn adopt_task(&mut self, id: &AgentId, mut task: Task, announce: bool) {
        let framework_id = task.framework_id.clone();
        let task_id = task.info.task_id.clone();
        let framework = self.frameworks.get_mut(&framework_id).expect("invariant: looked up by the caller");
        framework.unreachable_tasks.retain(|t| t.info.task_id != task_id);
        if let Some(known) = framework.tasks.get_mut(&task_id) {
            if known.info.agent_id != *id {
                // The task id was reused while this agent was away: the later task stands.
                return self.send_to_agent(id, ToAgent::KillTask { framework_id, task_id, grace: None });
            }
            known.unacknowledged = task.unacknowledged.or(known.unacknowledged);
            if known.state.is_terminal() {
                return;
            }
            known.state = task.state;
            if task.state.is_terminal() {
                let resources = known.info.resources.clone();
                self.release(id, &framework_id, &resources);
                return;
            }
            self.follow_reported_resources(id, &framework_id, &task_id, &task.info.resources);
            return;
        }
        let over = framework
            .completed_tasks
            .iter()
            .any(|t| t.info.task_id == task_id && t.info.agent_id == *id && t.state.is_terminal());
        if over && task.state.is_terminal() {
            // Acknowledged already, but the agent does not know: it will resend the update.
            return;
        }
        if over {
            // The task was declared lost when its agent disconnected, and that stands. It is accounted for until it has
            // terminated.
            let kill = ToAgent::KillTask {
                framework_id: framework_id.clone(),
                task_id: task_id.clone(),
                grace: None,
            };
            self.send_to_agent(id, kill);
        }
        let framework = self.frameworks.get_mut(&framework_id).expect("invariant: looked up above");
        task.info = Arc::new(TaskInfo { agent_id: id.clone(), ..without_executor_data(&task.info) });
        let resources = task.info.resources.clone();
        let holds = !task.state.is_terminal();
        framework.tasks.insert(task_id.clone(), task.clone());
        let agent = self.agents.get_mut(id).expect("invariant: inserted by the caller");
        agent.tasks.entry(framework_id.clone()).or_default().insert(task_id);
        if holds {
            self.add_recovered(id, &framework_id, &resources);
        }
        if announce && !over {
            let state = task.unacknowledged.map_or(task.state, |(state, _)| state);
            let status = self.status_of(&task, state, Reason::AgentReregistered);
            self.send_to_framework(&framework_id, scheduler::Event::Update { status: status.into() });
        }
        self.operator_event(operator::Event::TaskAdded { task });
    }

    /// Tasks that were unreachable with this agent and did not return with it are gone. Mesos tells frameworks only
    /// when they reconcile; the status sent here is the same.
    fn complete_unreported_tasks(&mut self, id: &AgentId) {
        let mut over = Vec::new();
        for framework in self.frameworks.values_mut() {
            let (lost, kept) = std::mem::take(&mut framework.unreachable_tasks)
                .into_iter()
                .partition(|t| t.info.agent_id == *id);
            framework.unreachable_tasks = kept;
            let lost: VecDeque<Arc<Task>> = lost;
            over.extend(lost.into_iter().map(|task| (framework.id.clone(), Arc::unwrap_or_clone(task))));
        }
        for (framework_id, mut task) in over {
            let framework = &self.frameworks[&framework_id];
            let state = lost_state(&framework.info, TaskState::Gone);
            let mut status = self.status_of(&task, state, Reason::Reconciliation);
            status.message = Some("Reconciliation: Task is unknown to the agent".to_owned());
            let status = Arc::new(status);
            task.state = state;
            task.statuses.push(status.clone());
            if let Some(framework) = self.frameworks.get_mut(&framework_id) {
                framework.remember_completed(task);
            }
            self.send_to_framework(&framework_id, scheduler::Event::Update { status });
        }
    }

    /// Sends what could not be sent while the agent was disconnected.
    fn send_pending(&mut self, id: &AgentId, outdated: Vec<Arc<FrameworkInfo>>) {
        for framework in outdated {
            self.send_to_agent(id, ToAgent::UpdateFramework { framework });
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        for ((framework_id, task_id), grace) in std::mem::take(&mut agent.pending_kills) {
            let runs = self.frameworks.get(&framework_id).and_then(|f| f.tasks.get(&task_id)).is_some();
            if runs {
                self.send_to_agent(id, ToAgent::KillTask { framework_id, task_id, grace });
            }
        }
    }

    fn start_pings(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.missed_pings = 1;
        let timer = Timer::Ping { agent: id.clone(), epoch: agent.epoch };
        self.timers.set(self.now + self.config.ping_interval, timer);
        self.send_to_agent(id, ToAgent::Ping);
    }
}

//! The master as a pure state machine: it owns the state of all agents, frameworks, offers and tasks.
//!
//! [`Master::step`] is the only entry point and the table of contents. Each concern has a file in `master/`:
//! subscription (`subscribe`) and termination (`frameworks`) of frameworks, their calls (`calls`, `accept`,
//! `validation`, `reconcile`), registration (`registration`) and loss (`liveness`) of agents, their status updates
//! (`updates`), resource accounting (`ledger`, `offers`), operator calls (`operator`, `activation`) and reads (`view`, `explain`, `snapshot`).

mod accept;
mod activation;
mod calls;
mod counts;
mod effect;
mod event;
mod explain;
mod frameworks;
mod guarantees;
mod holds;
mod ledger;
mod liveness;
mod offers;
mod operations;
mod operator;
mod oversubscription;
mod quota;
mod reconcile;
mod registration;
mod registry;
mod reservations;
mod resize;
mod role_reports;
mod run_as;
mod snapshot;
mod state;
mod subscribe;
mod timers;
mod updates;
mod validation;
mod view;
mod volumes;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kernel_model::{
    agent::{ToAgent, ToMaster},
    ids::{AgentId, FrameworkId, OperationId, StreamId},
    operation::OperationUuid,
    operator as operator_events,
    time::Time,
};

pub use counts::{Counts, FrameworkCounts, Judged, PreemptionCounts};
pub use effect::{Answer, Effect, Effects, Op, Record, RecordKey, Refusal};
pub use event::{Event, OperatorCall};
pub use explain::{ClientWait, RoleWait, TaskCause, TaskWait, WaitCause};
pub(crate) use quota::consumption;
pub use registry::Registry;
pub use run_as::{Entity, RunAsPolicy, RunAsRule};
pub use snapshot::Snapshot;
pub use state::{AbsentAgent, Agent, Framework, FrameworkState, MasterConfig, RoleView};
pub use subscribe::HEARTBEAT_INTERVAL;

use crate::{
    allocator::{AgentSlot, Allocator, Policy},
    effect::{LinkId, RequestId},
    id_generator::IdGenerator,
    snapshot_map::SnapshotMap,
};
use activation::Drains;
use guarantees::Guarantees;
use offers::OutstandingOffer;
use registration::Reregistration;
use timers::{Timer, Timers};

/// The effects of a usual step: an ACCEPT with one task, and the offer of the remainder, make five.
const EFFECTS_USUAL: usize = 6;

/// A connection with an agent.
#[derive(Debug, Default)]
struct AgentLink {
    /// `None` until the agent registers.
    agent: Option<AgentId>,
    /// Whether a message came since the last ping.
    message_since_ping: bool,
}

/// The master's state.
#[derive(Debug)]
pub struct Master {
    config: MasterConfig,
    offer_prefix: String,
    registry: Registry,
    agents: SnapshotMap<AgentId, Agent>,
    /// The id of each slot's agent, and where it was last found in `agents`.
    agents_by_slot: BTreeMap<AgentSlot, (AgentId, usize)>,
    absent: SnapshotMap<AgentId, AbsentAgent>,
    links: BTreeMap<LinkId, AgentLink>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    streams: BTreeMap<StreamId, FrameworkId>,
    completed: VecDeque<Arc<Framework>>,
    offers: SnapshotMap<u64, OutstandingOffer>,
    allocator: Allocator,
    timers: Timers,
    next_agent: u64,
    next_framework: u64,
    next_offer: u64,
    next_inverse_offer: u64,
    id_generator: IdGenerator,
    /// The operations of frameworks whose end is not acknowledged; they are in [`Agent::operations`].
    operations: BTreeMap<(FrameworkId, OperationId), (AgentId, OperationUuid)>,
    /// Whether the first step was taken: it starts the re-registration timeout of recovered agents.
    started: bool,
    gc_scheduled: bool,
    /// After a start with quotas: how many agents must be registered before offers are made. Until then it is not known what
    /// roles consume.
    quota_recovery: Option<usize>,
    guarantees: Guarantees,
    drains: Drains,
    now: Time,
    counts: Counts,
    /// Agents that changed in the current step.
    changed_agents: BTreeSet<AgentId>,
    /// The effects of the current step so far.
    out: Effects,
}

impl Master {
    /// A master with the state of the registry.
    pub fn new(config: MasterConfig, registry: Registry) -> Self {
        let policy = policy(&config);
        let master_name = config.info.id.clone();
        let absent = registry.iter().filter_map(|record| match record {
            Record::Agent { info, activation, unreachable_since } => {
                let id = info.id.clone()?;
                let (info, activation) = (info.clone(), activation.clone());
                let unreachable_since = *unreachable_since;
                let operations =
                    operations::recorded(&registry, &id).map(|(_, operation)| operation).collect();
                Some((id, AbsentAgent { info, activation, unreachable_since, operations }))
            }
            _ => None,
        });
        let mut master = Self {
            absent: absent.collect(),
            offer_prefix: format!("{}-O", config.info.id),
            config,
            registry,
            agents: SnapshotMap::default(),
            agents_by_slot: BTreeMap::new(),
            links: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            streams: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: SnapshotMap::default(),
            allocator: Allocator::new(policy),
            timers: Timers::default(),
            next_agent: 0,
            next_framework: 0,
            next_offer: 0,
            next_inverse_offer: 0,
            id_generator: IdGenerator::named(master_name.as_str()),
            operations: BTreeMap::new(),
            started: false,
            gc_scheduled: false,
            quota_recovery: None,
            guarantees: Guarantees::default(),
            drains: Drains::default(),
            now: Time::default(),
            counts: Counts::default(),
            changed_agents: BTreeSet::new(),
            out: Effects::default(),
        };
        master.restore_weights();
        master.restore_quotas();
        master
    }

    /// Handles one event, and makes the offers that it allows. Total: every message of a peer is handled, if only by ignoring it.
    pub fn step(&mut self, now: Time, event: Event) -> Effects {
        self.receive(now, event);
        self.settle()
    }

    /// [`Master::step`] without new offers: [`Master::settle`] makes them for several events together. So frameworks get fewer
    /// and larger OFFERS events, and a round is paid for once.
    pub fn step_unsettled(&mut self, now: Time, event: Event) -> Effects {
        self.receive(now, event);
        std::mem::take(&mut self.out)
    }

    /// Makes the offers that the events since the last call allow.
    pub fn settle(&mut self) -> Effects {
        self.make_offers();
        self.watch_guarantees();
        self.report_changed_agents();
        std::mem::take(&mut self.out)
    }

    fn receive(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now);
        self.start();
        match event {
            Event::Subscribe { request, stream, caller, subscribe } => {
                self.subscribe(request, stream, caller, *subscribe);
            }
            Event::SchedulerCall { request, framework_id, stream, caller, call } => {
                self.scheduler_call(request, framework_id, stream, &caller, call);
            }
            Event::SchedulerClosed { stream } => self.scheduler_closed(&stream),
            Event::AgentConnected { link } => {
                self.links.insert(link, AgentLink::default());
            }
            Event::AgentMessage { link, message } => self.agent_message(link, message),
            Event::AgentDisconnected { link } => self.link_down(link),
            Event::Operator { request, call } => {
                let result = self.operator_call(call);
                self.reply(request, result);
            }
            Event::Tick => {}
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            self.timer_due(timer);
        }
        self.finish_drains();
    }

    /// When an [`Event::Tick`] is due, if no other event comes before.
    pub fn next_deadline(&self) -> Option<Time> {
        if !self.started && !self.absent.is_empty() {
            return Some(Time::default());
        }
        [self.timers.next_deadline(), self.allocator.next_deadline()].into_iter().flatten().min()
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) && !self.absent.is_empty() {
            self.timers.set(self.now + self.config.agent_reregister_timeout, Timer::AgentRecovery);
            self.await_agents_for_quotas();
        }
    }

    fn agent_message(&mut self, link: LinkId, message: ToMaster) {
        match message {
            ToMaster::Register { info } if self.links.contains_key(&link) => {
                return self.register(link, *info);
            }
            ToMaster::Reregister { info, frameworks, executors, tasks, operations }
                if self.links.contains_key(&link) =>
            {
                let report = Reregistration { info, frameworks, executors, tasks, operations };
                return self.reregister(link, report);
            }
            _ => {}
        }
        // Every other message needs a registered agent.
        let Some(sender) = self.links.get_mut(&link) else { return };
        let Some(id) = sender.agent.clone() else { return };
        sender.message_since_ping = true;
        match message {
            ToMaster::Update { framework_id, status, latest_state } => {
                self.status_update(&id, framework_id, status, latest_state);
            }
            ToMaster::ExitedExecutor { framework_id, executor_id, status } => {
                self.executor_exited(&id, &framework_id, executor_id, status);
            }
            ToMaster::Message { framework_id, executor_id, data } => {
                let event = kernel_model::scheduler::Event::Message { agent_id: id, executor_id, data };
                let connected = self.frameworks.get(&framework_id).is_some_and(|f| f.stream().is_some());
                self.counts.executor_messages.count(connected);
                self.send_to_framework(&framework_id, event);
            }
            ToMaster::ResizeTask { framework_id, task_id, amounts } => {
                self.resize_task(&id, &framework_id, &task_id, &amounts);
            }
            ToMaster::Oversubscribed { resources } => {
                self.counts.estimates += 1;
                self.oversubscribed(&id, &resources);
            }
            ToMaster::ContainerRuntime { failure } => {
                if let Some(agent) = self.agents.get_mut(&id) {
                    agent.runtime_failure = failure;
                }
            }
            ToMaster::VolumesFailed { volumes } => self.volumes_failed(&id, &volumes),
            ToMaster::OperationStatus { operation } => self.operation_status(&id, *operation),
            ToMaster::Stopping => self.agent_stops(&id),
            ToMaster::Unregister => {
                self.counts.unregistered_agents += 1;
                self.remove_agent(&id, "the agent unregistered");
            }
            ToMaster::Pong | ToMaster::Register { .. } | ToMaster::Reregister { .. } => {}
        }
    }

    fn timer_due(&mut self, timer: Timer) {
        match timer {
            Timer::Ping { agent, epoch } => self.ping_due(&agent, epoch),
            Timer::AgentReregister { agent, epoch } => self.reregistration_timed_out(&agent, epoch),
            Timer::AgentRecovery => self.recovery_timed_out(),
            Timer::Guarantees => self.check_guarantees(),
            Timer::Drains => self.drains_due(),
            Timer::QuotaRecovery => self.quota_recovery = None,
            Timer::FrameworkFailover { framework, epoch } => self.failover_timed_out(&framework, epoch),
            Timer::OfferExpiry { number } => self.offer_expired(number),
            Timer::RegistryGc => self.gc_registry(),
        }
    }

    fn report_changed_agents(&mut self) {
        self.follow_failed_volumes();
        for id in std::mem::take(&mut self.changed_agents) {
            if let Some(agent) = self.agents.get(&id) {
                let agent = agent.snapshot();
                self.operator_event(operator_events::Event::AgentUpdated { agent });
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        if self.out.after_persist.is_empty() {
            self.out.after_persist.reserve(EFFECTS_USUAL);
        }
        self.out.after_persist.push(effect);
    }

    fn reply(&mut self, request: RequestId, result: Result<Answer, Refusal>) {
        self.effect(Effect::Reply { request, result });
    }

    fn operator_event(&mut self, event: operator_events::Event) {
        self.effect(Effect::Operator(event));
    }

    /// Sends to an agent if its link is up; otherwise the message is lost.
    fn send_to_agent(&mut self, id: &AgentId, message: ToAgent) {
        if let Some(link) = self.agents.get(id).and_then(|a| a.link) {
            self.effect(Effect::ToAgent { link, message });
        }
    }

    fn persist(&mut self, op: Op) {
        self.registry.apply(&op);
        self.out.persist.push(op);
    }

    fn policy(&self) -> Policy {
        policy(&self.config)
    }
}

fn policy(config: &MasterConfig) -> Policy {
    Policy { filter_gpu_agents: config.filter_gpu_agents, shortest_refusal: config.shortest_refusal }
}

//! The master: one ledger of all machines, frameworks and tasks, as one pure machine.
//!
//! [`Master::step`] is the one entrance and the table of contents. Everything that it decides lies in `master/`, one file
//! a matter: how frameworks come (`subscribe`) and go (`frameworks`), what they may say (`calls`, `accept`, `validation`,
//! `reconcile`), how agents come (`registration`) and go (`liveness`), what they report (`updates`), who holds what
//! (`ledger`, `offers`), what operators change (`operator`) and see (`view`).

mod accept;
mod calls;
mod effect;
mod event;
mod frameworks;
mod ledger;
mod liveness;
mod offers;
mod operator;
mod picture;
mod reconcile;
mod registration;
mod registry;
mod state;
mod subscribe;
mod timers;
mod updates;
mod validation;
mod view;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kernel_model::{
    agent::{ToAgent, ToMaster},
    ids::{AgentId, FrameworkId, StreamId},
    operator as operator_events,
    time::Time,
};

pub use effect::{Answer, Effect, Effects, Op, Record, RecordKey, Refusal};
pub use event::{Event, OperatorCall};
pub use picture::Picture;
pub use registry::Registry;
pub use state::{AbsentAgent, Agent, Framework, FrameworkState, MasterConfig, RoleView};
pub use subscribe::HEARTBEAT_INTERVAL;

use crate::{
    allocator::{AgentSlot, Allocator, Policy},
    effect::{LinkId, RequestId},
    shelf::Shelf,
};
use offers::Outstanding;
use registration::Report;
use timers::{Timer, Timers};

/// Effects of a usual step: an ACCEPT with a task and the offer of what is left make five.
const EFFECTS_USUAL: usize = 6;

/// A connection with an agent.
#[derive(Debug, Default)]
struct Link {
    /// `None` until it registers.
    agent: Option<AgentId>,
    /// Whether it said something since the last ping.
    heard: bool,
}

/// The master.
#[derive(Debug)]
pub struct Master {
    config: MasterConfig,
    offer_prefix: String,
    registry: Registry,
    agents: Shelf<AgentId, Agent>,
    agents_by_slot: BTreeMap<AgentSlot, AgentId>,
    absent: Shelf<AgentId, AbsentAgent>,
    links: BTreeMap<LinkId, Link>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    streams: BTreeMap<StreamId, FrameworkId>,
    completed: VecDeque<Arc<Framework>>,
    offers: Shelf<u64, Outstanding>,
    allocator: Allocator,
    timers: Timers,
    next_agent: u64,
    next_framework: u64,
    next_offer: u64,
    /// Whether the first step has come, which is when the time of recovered agents begins.
    started: bool,
    collection_planned: bool,
    /// The time of the current step.
    now: Time,
    /// Agents whose books changed in the current step.
    dirty_agents: BTreeSet<AgentId>,
    /// What the current step asks for so far.
    out: Effects,
}

impl Master {
    /// A master that knows what the registry says.
    pub fn new(config: MasterConfig, registry: Registry) -> Self {
        let policy = policy(&config);
        let absent = registry.iter().filter_map(|record| match record {
            Record::Agent { info, deactivated, unreachable_since } => {
                let id = info.id.clone()?;
                let (info, deactivated) = (info.clone(), *deactivated);
                Some((id, AbsentAgent { info, deactivated, unreachable_since: *unreachable_since }))
            }
            _ => None,
        });
        let mut master = Self {
            absent: absent.collect(),
            offer_prefix: format!("{}-O", config.info.id),
            config,
            registry,
            agents: Shelf::default(),
            agents_by_slot: BTreeMap::new(),
            links: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            streams: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: Shelf::default(),
            allocator: Allocator::new(policy),
            timers: Timers::default(),
            next_agent: 0,
            next_framework: 0,
            next_offer: 0,
            started: false,
            collection_planned: false,
            now: Time::default(),
            dirty_agents: BTreeSet::new(),
            out: Effects::default(),
        };
        master.recall_weights();
        master
    }

    /// The one entrance. Total: whatever a peer may send has an answer, if only silence.
    pub fn step(&mut self, now: Time, event: Event) -> Effects {
        self.now = self.now.max(now);
        self.start();
        match event {
            Event::Subscribe { request, stream, principal, subscribe } => {
                self.subscribe(request, stream, principal, *subscribe);
            }
            Event::SchedulerCall { request, framework_id, stream, principal, call } => {
                self.scheduler_call(request, framework_id, stream, principal, call);
            }
            Event::SchedulerClosed { stream } => self.scheduler_closed(&stream),
            Event::AgentConnected { link } => {
                self.links.insert(link, Link::default());
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
        self.make_offers();
        self.report_dirty_agents();
        std::mem::take(&mut self.out)
    }

    /// When a [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        if !self.started && !self.absent.is_empty() {
            return Some(Time::default());
        }
        [self.timers.next_deadline(), self.allocator.next_deadline()].into_iter().flatten().min()
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) && !self.absent.is_empty() {
            self.timers.set(self.now + self.config.agent_reregister_timeout, Timer::AgentRecovery);
        }
    }

    fn agent_message(&mut self, link: LinkId, message: ToMaster) {
        match message {
            ToMaster::Register { info } if self.links.contains_key(&link) => {
                return self.register(link, *info);
            }
            ToMaster::Reregister { info, frameworks, executors, tasks } if self.links.contains_key(&link) => {
                return self.reregister(link, Report { info, frameworks, executors, tasks });
            }
            _ => {}
        }
        // Anything else needs an agent that this link belongs to.
        let Some(speaker) = self.links.get_mut(&link) else { return };
        let Some(id) = speaker.agent.clone() else { return };
        speaker.heard = true;
        match message {
            ToMaster::Update { framework_id, status, latest_state } => {
                self.status_update(&id, framework_id, status, latest_state);
            }
            ToMaster::ExitedExecutor { framework_id, executor_id, status } => {
                self.executor_exited(&id, &framework_id, executor_id, status);
            }
            ToMaster::Message { framework_id, executor_id, data } => {
                let event = kernel_model::scheduler::Event::Message { agent_id: id, executor_id, data };
                self.tell_framework(&framework_id, event);
            }
            ToMaster::Unregister => self.remove_agent(&id, "the agent unregistered"),
            ToMaster::Pong | ToMaster::Register { .. } | ToMaster::Reregister { .. } => {}
        }
    }

    fn timer_due(&mut self, timer: Timer) {
        match timer {
            Timer::Ping { agent, epoch } => self.ping_due(&agent, epoch),
            Timer::AgentReregister { agent, epoch } => self.reregistration_timed_out(&agent, epoch),
            Timer::AgentRecovery => self.recovery_timed_out(),
            Timer::FrameworkFailover { framework, epoch } => self.failover_timed_out(&framework, epoch),
            Timer::OfferExpiry { number } => self.offer_expired(number),
            Timer::RegistryCollection => self.collect_registry(),
        }
    }

    fn report_dirty_agents(&mut self) {
        for id in std::mem::take(&mut self.dirty_agents) {
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

    /// Sends to an agent if its link is up; what cannot be sent is lost.
    fn tell_agent(&mut self, id: &AgentId, message: ToAgent) {
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

    /// For tests that break an invariant on purpose.
    #[cfg(test)]
    pub(crate) fn tables_mut(
        &mut self,
    ) -> (&mut Shelf<AgentId, Agent>, &mut BTreeMap<FrameworkId, Framework>) {
        (&mut self.agents, &mut self.frameworks)
    }
}

fn policy(config: &MasterConfig) -> Policy {
    Policy { filter_gpu_agents: config.filter_gpu_agents, shortest_refusal: config.shortest_refusal }
}

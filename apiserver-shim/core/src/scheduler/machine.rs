//! The scheduler as a state machine: pending Pods become demand, demand revives roles, roles bring offers, offers and Pods
//! go through a scheduling cycle, decisions become launches, and launches that the kernel accepted become bindings. Status
//! updates go into the store and are acknowledged once they are there. See `docs/decisions/0010`.
//!
//! [`SchedulerMachine::step`] is total and synchronous: time is an argument, and calls, writes and their outcomes are
//! values. `apiserver-shim` drives it against a store and a kernel, `sim` against models of both with crashes in between.
//!
//! Read in this order: `event`, `effect`, `pods` (what is known of a Pod), `launching` (cycle, intent, ACCEPT),
//! `binding_cycle` (from an accepted launch to a binding), `status_updates`, `subscription` (recovery).

mod binding_cycle;
mod effect;
mod event;
mod framework;
mod launching;
mod node_cache;
pub mod node_projection;
mod offer_cache;
mod pod_changes;
mod pods;
mod questions;
mod rejecting;
mod role_cache;
mod status_updates;
mod subscription;
mod waiting;

use std::collections::BTreeMap;
use std::time::Duration;

use kernel_model::{ids::FrameworkId, roles::Role, scheduler::Call, time::Time};

pub use effect::{BindWrite, Effects, IntentWrite, NodeWrite, PodEdit, Send, StatusWrite, Write};
pub use event::{BindOutcome, CallOutcome, Event, NodeOutcome, Subscribed, WriteFailure};
pub use framework::{EXECUTOR_ID, framework_info};

use super::{
    ClusterEvent, EventSet, LaunchJournal, NodeInfos, QueueLengths, Scheduler, SchedulerConfiguration,
    SchedulerStats, SchedulingQueue, TaskPhase,
};
use crate::rows::Seconds;
use binding_cycle::WaitingBinding;
use launching::PendingLaunch;
use node_cache::NodeCache;
use offer_cache::OfferCache;
use pods::PodCache;
use role_cache::RoleCache;
use status_updates::InflightWrite;

/// How often timers without a moment of their own are looked at while some may be running: back-offs, roles whose last
/// Pod has gone, Nodes to write.
const TICK: Duration = Duration::from_millis(100);
/// How often every Pod is looked at: kills to repeat, questions without an answer.
const SLOW_TICK: Duration = Duration::from_secs(1);

/// The machine. Its state can be lost at any time: the next subscription reads the journal, asks the kernel, and goes on.
#[derive(Debug)]
pub struct SchedulerMachine {
    now: Time,
    framework_id: Option<FrameworkId>,
    pods: PodCache,
    node_infos: NodeInfos,
    queue: SchedulingQueue,
    scheduler: Scheduler,
    nodes: NodeCache,
    offers: OfferCache,
    roles: RoleCache,
    journal: LaunchJournal,
    /// Launches whose intent is being written, by record.
    intended: BTreeMap<u64, PendingLaunch>,
    /// Launches that were sent and not answered, by number.
    launched: BTreeMap<u64, PendingLaunch>,
    next_launch: u64,
    /// Accepted launches that are to be bound.
    bindings: Vec<WaitingBinding>,
    /// When they are to be looked through.
    bindings_due: Option<Time>,
    /// Bindings and statuses that are being written: one a Pod at most, so that an older status never overwrites a newer.
    inflight: BTreeMap<Box<str>, InflightWrite>,
    ticked: Time,
    ticked_slowly: Time,
    out: Effects,
}

impl Default for SchedulerMachine {
    fn default() -> Self {
        SchedulerMachine::new(SchedulerConfiguration::default())
    }
}

impl SchedulerMachine {
    /// A machine that knows nothing yet.
    pub fn new(configuration: SchedulerConfiguration) -> Self {
        SchedulerMachine {
            now: Time::default(),
            framework_id: None,
            pods: PodCache::default(),
            node_infos: NodeInfos::default(),
            queue: SchedulingQueue::new(configuration.backoff),
            scheduler: Scheduler::new(configuration.profiles),
            nodes: NodeCache::default(),
            offers: OfferCache::default(),
            roles: RoleCache::default(),
            journal: LaunchJournal::default(),
            intended: BTreeMap::new(),
            launched: BTreeMap::new(),
            next_launch: 0,
            bindings: Vec::new(),
            bindings_due: None,
            inflight: BTreeMap::new(),
            ticked: Time::default(),
            ticked_slowly: Time::default(),
            out: Effects::default(),
        }
    }

    /// Takes one event. `now` never goes back.
    pub fn step(&mut self, now: Time, event: Event) -> Effects {
        self.now = self.now.max(now);
        match event {
            Event::Subscribed(subscribed) => self.subscribed(*subscribed),
            Event::Unsubscribed => self.unsubscribed(),
            Event::Pod(row) => self.pod_changed(row),
            Event::PodGone(uid) => self.pod_gone(&uid),
            Event::Node(node) => self.node_changed(node),
            Event::NodeGone(name) => self.node_gone(&name),
            Event::Namespace { name, role } => self.roles.put(&name, role),
            Event::NamespaceGone(name) => self.roles.remove(&name),
            Event::Offers(offers) => offers.iter().for_each(|offer| self.offer_came(offer)),
            Event::Rescind(id) => self.offers.remove(&id),
            Event::Update(status) => self.take_update(status),
            Event::Cluster(event) => self.take_cluster_event(event),
            Event::IntentWritten { number, written } => self.intent_written(number, written),
            Event::IntentsRemoved { numbers, removed } => {
                if !removed {
                    self.journal.not_removed(numbers);
                }
            }
            Event::LaunchAnswered { launch, outcomes } => self.launch_answered(launch, &outcomes),
            Event::Bound { uid, result } => self.binding_written(&uid, result),
            Event::StatusWritten { uid, result } => self.status_written(&uid, result),
            Event::NodeWritten { name, outcome } => self.node_written(name, outcome),
            Event::Tick => self.tick(),
            Event::Cycle => self.cycle(),
        }
        std::mem::take(&mut self.out)
    }

    /// When it wants a [`Event::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.framework_id.as_ref()?;
        let lengths = self.queue.lengths();
        let timers =
            lengths.active + lengths.backoff > 0 || self.roles.is_lingering() || self.nodes.is_dirty();
        let tick = self.ticked + if timers { TICK } else { SLOW_TICK };
        Some(self.bindings_due.map_or(tick, |due| due.min(tick)))
    }

    /// The roles to subscribe in, all suppressed.
    pub fn roles(&self) -> Vec<Role> {
        self.roles.all()
    }

    /// How far the task of a Pod is.
    pub fn phase_of(&self, uid: &str) -> Option<TaskPhase> {
        self.pods.by_uid.get(uid).map(|pod| pod.phase)
    }

    /// The Pods that it knows, by UID: what became of some while nobody watched is to be told as [`Event::PodGone`].
    pub fn pods(&self) -> impl Iterator<Item = (&str, &crate::rows::Pod)> {
        self.pods.by_uid.iter().map(|(uid, pod)| (&**uid, &*pod.row))
    }

    /// How many Pods wait, and for what.
    pub fn queue_lengths(&self) -> QueueLengths {
        self.queue.lengths()
    }

    /// The names of the profiles, in the order of their indices.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.scheduler.profiles().names()
    }

    /// What the scheduling cycles have done so far.
    pub fn scheduler_stats(&self) -> &SchedulerStats {
        self.scheduler.stats()
    }

    /// Something has happened on a node: Pods that it may help are tried again.
    fn node_event(&mut self, kinds: EventSet, node: &str, role: Option<&str>) {
        if !self.queue.has_refused() {
            return;
        }
        let event = ClusterEvent { kinds, node: self.node_infos.get(node), role };
        self.queue.on_event(self.scheduler.profiles(), self.now, &event);
    }

    fn tick(&mut self) {
        self.write_due_bindings();
        if self.now < self.ticked + TICK {
            return;
        }
        self.ticked = self.now;
        self.end_linger();
        self.write_nodes();
        if self.now >= self.ticked_slowly + SLOW_TICK {
            self.ticked_slowly = self.now;
            self.repeat_kills();
            self.repeat_questions();
            self.report_held_pods();
            self.remove_spent_intents();
        }
    }

    /// Makes a call, after all those before it; what comes of it comes as events. Without a subscription there is nobody
    /// to call: the next one asks about everything.
    fn call(&mut self, call: Call) {
        if self.framework_id.is_some() {
            self.out.send.push(Send::Call(call));
        }
    }

    fn seconds(&self) -> Seconds {
        i64::try_from(self.now.0 / 1_000_000_000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;

//! The scheduler as a state machine. Pending Pods are demand, demand revives roles, and roles bring offers. Offers
//! and Pods go through a scheduling cycle, whose decisions become launches; launches that the kernel accepts become
//! bindings. Status updates are stored and then acknowledged. See `docs/decisions/0010`.
//!
//! [`SchedulerMachine::step`] is total and synchronous: time is an argument, and calls, writes and their outcomes are
//! values. `apiserver-shim` drives it against a store and a kernel; `sim` drives it against models of both and
//! crashes it in between.
//!
//! Reading order: `event`, `effect`, `pods` (the state of a Pod), `launching` (cycle, intent, ACCEPT),
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
mod preempting;
mod questions;
mod reclaiming;
mod rejecting;
mod role_cache;
mod status_updates;
mod subscription;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel_model::{ids::FrameworkId, resources::Resources, roles::Role, scheduler::Call, time::Time};

pub use effect::{
    BindWrite, Effects, EvictWrite, IntentWrite, NodeWrite, PodEdit, PreemptWrite, Send, StatusWrite, Write,
};
pub use event::{BindOutcome, CallOutcome, Event, NodeOutcome, Subscribed, WriteFailure};
pub use framework::{EXECUTOR_ID, framework_info};

use super::{
    ClusterEvent, EventSet, LaunchJournal, NodeInfos, QueueLengths, Scheduler, SchedulerConfiguration,
    SchedulerStats, SchedulingQueue, TaskPhase, volumes::VolumeCache,
};
use crate::rows::{DisruptionBudget, Seconds};
use binding_cycle::WaitingBinding;
use launching::PendingLaunch;
use node_cache::NodeCache;
use offer_cache::OfferCache;
use pods::PodCache;
use preempting::{PendingPreemption, WrittenNomination};
use questions::{DueReconciliation, UnwantedTasks};
use role_cache::RoleCache;
use status_updates::InflightWrite;

/// Interval of timers without a deadline of their own, while any is active: back-offs, idle roles, Nodes to write.
const TICK: Duration = Duration::from_millis(100);
/// Interval of the scan over all Pods: kills to repeat, and unanswered reconciliations.
const SLOW_TICK: Duration = Duration::from_secs(1);

/// The state machine. Its state may be lost at any time: the next subscription recovers it from the journal, the
/// store and the kernel.
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
    volumes: VolumeCache,
    /// PodDisruptionBudgets by namespace and name.
    budgets: BTreeMap<Box<str>, BTreeMap<Box<str>, Arc<DisruptionBudget>>>,
    /// Preemptions whose victims are not evicted yet, by the UID of the Pod that they are for.
    preempting: BTreeMap<Box<str>, PendingPreemption>,
    /// Nominations that were written, by UID.
    nominated: BTreeMap<Box<str>, WrittenNomination>,
    /// What the kernel was told that Pods need, by role.
    told_demand: Vec<(Role, Resources)>,
    journal: LaunchJournal,
    /// Launches whose intent is being written, by record number.
    intended: BTreeMap<u64, PendingLaunch>,
    /// Launches that were sent and not answered, by launch number.
    launched: BTreeMap<u64, PendingLaunch>,
    next_launch: u64,
    /// Accepted launches whose binding is still to be written.
    bindings: Vec<WaitingBinding>,
    /// When they are checked next.
    bindings_due: Option<Time>,
    /// Bindings and statuses being written. At most one per Pod, so that an older status never overwrites a newer
    /// one.
    inflight: BTreeMap<Box<str>, InflightWrite>,
    /// Killed tasks that no Pod accounts for.
    unwanted: UnwantedTasks,
    /// Set when agents have joined.
    reconcile_all: Option<DueReconciliation>,
    ticked: Time,
    ticked_slowly: Time,
    preempted: PreemptedPods,
    out: Effects,
}

/// The Pods that were evicted for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PreemptedPods {
    /// For Pods of higher priority.
    pub for_priority: u64,
    /// For what is guaranteed to a role.
    pub for_guarantees: u64,
}

impl Default for SchedulerMachine {
    fn default() -> Self {
        SchedulerMachine::new(SchedulerConfiguration::default())
    }
}

impl SchedulerMachine {
    /// Creates a machine without state.
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
            volumes: VolumeCache::default(),
            budgets: BTreeMap::new(),
            preempting: BTreeMap::new(),
            nominated: BTreeMap::new(),
            told_demand: Vec::new(),
            journal: LaunchJournal::default(),
            intended: BTreeMap::new(),
            launched: BTreeMap::new(),
            next_launch: 0,
            bindings: Vec::new(),
            bindings_due: None,
            inflight: BTreeMap::new(),
            unwanted: UnwantedTasks::new(),
            reconcile_all: None,
            ticked: Time::default(),
            ticked_slowly: Time::default(),
            preempted: PreemptedPods::default(),
            out: Effects::default(),
        }
    }

    /// Processes one event. `now` must not decrease.
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
            Event::VolumeClaim { namespace, name, claim } => {
                self.volumes.put_claim(&namespace, &name, claim);
                self.volumes_changed(Some(&name));
            }
            Event::Volume { name, volume } => {
                self.volumes.put_volume(&name, volume);
                self.volumes_changed(None);
            }
            Event::StorageClass { name, class } => {
                self.volumes.put_class(&name, class);
                self.volumes_changed(None);
            }
            Event::NodeNotSelected { namespace, claims } => {
                // The Pod tries again after its back-off, which an event would end.
                claims.iter().for_each(|claim| self.volumes.select(&namespace, claim, None));
            }
            Event::Budget { namespace, name, budget } => self.put_budget(namespace, name, budget),
            Event::BudgetsLost => self.budgets.clear(),
            Event::VolumesLost => self.volumes = VolumeCache::default(),
            Event::Offers(offers) => offers.iter().for_each(|offer| self.offer_came(offer)),
            Event::Rescind(id) => self.offers.remove(&id),
            Event::InverseOffers(offers) => self.inverse_offers_came(&offers),
            Event::Evicted { uid, offer, evicted } => self.evicted(&uid, offer, evicted),
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
            Event::HoldAnswered { uid, outcome } => self.hold_answered(&uid, outcome),
            Event::Explained { role, notes } => self.roles.explained(&role, notes),
            Event::Tick => self.tick(),
            Event::Cycle => self.cycle(),
        }
        std::mem::take(&mut self.out)
    }

    /// The latest time of the next [`Event::Tick`].
    pub fn next_deadline(&self) -> Option<Time> {
        self.framework_id.as_ref()?;
        let lengths = self.queue.lengths();
        let timers =
            lengths.active + lengths.backoff > 0 || self.roles.is_lingering() || self.nodes.is_dirty();
        let tick = self.ticked + if timers { TICK } else { SLOW_TICK };
        Some(self.bindings_due.map_or(tick, |due| due.min(tick)))
    }

    /// The roles to subscribe with, all suppressed.
    pub fn roles(&self) -> Vec<Role> {
        self.roles.all()
    }

    /// The phase of a Pod's task.
    pub fn phase_of(&self, uid: &str) -> Option<TaskPhase> {
        self.pods.by_uid.get(uid).map(|pod| pod.phase)
    }

    /// The known Pods by UID. After a lag the driver sends [`Event::PodGone`] for those that no longer exist.
    pub fn pods(&self) -> impl Iterator<Item = (&str, &crate::rows::Pod)> {
        self.pods.by_uid.iter().map(|(uid, pod)| (&**uid, &*pod.row))
    }

    /// The number of Pods in each part of the queue.
    pub fn queue_lengths(&self) -> QueueLengths {
        self.queue.lengths()
    }

    /// The names of the profiles, in the order of their indices.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.scheduler.profiles().names()
    }

    /// The Pods that were evicted for others so far.
    pub fn preempted_pods(&self) -> PreemptedPods {
        self.preempted
    }

    /// What the scheduling cycles have done so far.
    pub fn scheduler_stats(&self) -> &SchedulerStats {
        self.scheduler.stats()
    }

    /// Handles an event on a node: requeues Pods that it may help.
    fn node_event(&mut self, kinds: EventSet, node: &str, role: Option<&str>) {
        if !self.queue.has_refused() {
            return;
        }
        let event = ClusterEvent { kinds, node: self.node_infos.get(node), role, claim: None };
        self.queue.on_event(self.scheduler.profiles(), self.now, &event);
    }

    /// Handles a change of a claim, or of volumes or storage classes: requeues Pods that it may help.
    fn volumes_changed(&mut self, claim: Option<&str>) {
        let event = ClusterEvent { kinds: EventSet::VOLUMES, claim, ..ClusterEvent::default() };
        self.queue.on_event(self.scheduler.profiles(), self.now, &event);
    }

    fn put_budget(&mut self, namespace: Box<str>, name: Box<str>, budget: Option<Arc<DisruptionBudget>>) {
        let budgets = self.budgets.entry(namespace.clone()).or_default();
        match budget {
            Some(budget) => drop(budgets.insert(name, budget)),
            None => drop(budgets.remove(&name)),
        }
        if budgets.is_empty() {
            self.budgets.remove(&namespace);
        }
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
            self.look_for_unwanted();
            self.tell_demand();
            self.report_held_pods();
            self.report_all_late();
            self.remove_spent_intents();
        }
    }

    /// Sends a call after all earlier ones; its result arrives as an event. Without a subscription the call is
    /// dropped, because the next subscription reconciles everything.
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

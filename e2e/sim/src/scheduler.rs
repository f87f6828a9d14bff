//! The Kubernetes scheduler: the state machine of `shim_core` in a process that crashes. Writes to its store complete late,
//! fail, or conflict, and answers of the kernel are lost. It can crash between any write and the effects that depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kernel_model::{
    ids::{AgentId, FrameworkId, TaskId},
    operator, scheduler,
    task::TaskState,
    time::Time,
};
use serde_json::Value;
use shim_core::scheduler::machine::{
    CallOutcome, Effects, Event, NodeOutcome, PodEdit, SchedulerMachine, Send, Subscribed, Write,
    WriteFailure,
};
use shim_model::access;

use crate::{
    api_server::ApiServer,
    framework::{ItemState, Kind},
    situations::Situation,
    world::{Action, World},
};

/// Delay from an event to the scheduling cycle, so that events in quick succession share one.
const CYCLE_AFTER: Duration = Duration::from_millis(5);
/// Delay of the kernel's answer why there are no offers.
const EXPLAINED_AFTER: Duration = Duration::from_millis(5);
/// Writes that are not carried out, and writes that are carried out without an answer, per thousand.
const LOST_WRITES: u64 = 30;
const UNANSWERED_WRITES: u64 = 15;
/// Launches without an answer although they arrived, per thousand.
const UNANSWERED_LAUNCHES: u64 = 40;
/// Steps with a write during which the process crashes, per thousand.
const CRASHES: u64 = 6;

/// A scheduler's process and the store beside it.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// The store, which survives crashes.
    pub(crate) api: ApiServer,
    /// The state machine; `None` while the process is down.
    pub(crate) machine: Option<SchedulerMachine>,
    /// The number of the current watch; events of earlier ones are dropped.
    watch: u64,
    /// The store's revision when the process crashed, by its life.
    crashed_at: BTreeMap<u64, u64>,
    last_change: Time,
    last_cluster_event: Time,
    cycle_at: Option<Time>,
    /// Launches in flight, with the outcome of each call that is known.
    launches: BTreeMap<u64, Vec<Option<CallOutcome>>>,
    /// Journal records that this process has written.
    written_intents: BTreeSet<u64>,
    /// Writes in flight of statuses with phase `Pending`, by UID.
    pub(crate) starts_in_flight: BTreeMap<Box<str>, u32>,
    /// Notes of the audit that may be transient, and since when they hold.
    pub(crate) standing: BTreeMap<shim_core::audit::Note, Time>,
}

impl Scheduler {
    /// The time of its next timer or scheduling cycle.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let deadline = self.machine.as_ref().and_then(SchedulerMachine::next_deadline);
        [deadline, self.cycle_at].into_iter().flatten().min()
    }

    /// The process crashes in this life.
    pub(crate) fn crash(&mut self, life: u64) {
        self.machine = None;
        self.crashed_at.insert(life, self.api.revision());
        self.cycle_at = None;
        self.launches.clear();
        self.written_intents.clear();
        self.watch += 1;
    }
}

impl World {
    /// The process starts and lists all objects.
    pub(crate) fn start_scheduler(&mut self, index: usize) {
        self.frameworks[index].scheduler.machine = Some(SchedulerMachine::default());
        self.list_for_scheduler(index);
    }

    /// Delivers all objects of the store to the state machine.
    fn list_for_scheduler(&mut self, index: usize) {
        let scheduler = &mut self.frameworks[index].scheduler;
        scheduler.watch += 1;
        let events = scheduler.api.list();
        drop(scheduler.api.take_changes());
        let Some(machine) = &scheduler.machine else { return };
        let known: Vec<Box<str>> = machine.pods().map(|(uid, _)| uid.into()).collect();
        let gone = known.into_iter().filter(|uid| self.frameworks[index].scheduler.api.row(uid).is_none());
        let gone: Vec<Event> = gone.map(Event::PodGone).collect();
        for event in events.into_iter().chain(gone) {
            self.scheduler_step(index, event);
        }
    }

    /// Handles SUBSCRIBED: first the objects and the journal are read.
    pub(crate) fn scheduler_subscribed(&mut self, index: usize, framework_id: FrameworkId) {
        let Some(master) = &self.control.master else { return };
        let agents = master.agent_snapshots();
        self.list_for_scheduler(index);
        let framework = &mut self.frameworks[index];
        framework.watches_cluster = true;
        let scheduler = &mut framework.scheduler;
        scheduler.last_cluster_event = self.now;
        scheduler.launches.clear();
        let journal: Vec<_> = scheduler.api.journal.values().cloned().collect();
        if journal.iter().any(|record| scheduler.written_intents.contains(&record.number)) {
            self.situations.count(Situation::IntentReadByItsWriter);
        }
        let roles = framework.roles.clone();
        let subscribed = Subscribed { framework_id, roles, agents, journal };
        self.scheduler_step(index, Event::Subscribed(Box::new(subscribed)));
    }

    /// Delivers an event of the kernel's operator stream to the subscribed schedulers.
    pub(crate) fn tell_schedulers(&mut self, event: &operator::Event) {
        if matches!(event, operator::Event::TaskAdded { .. } | operator::Event::TaskUpdated { .. }) {
            // Updates of tasks are delivered in each framework's own stream.
            return;
        }
        for index in 0..self.frameworks.len() {
            let framework = &self.frameworks[index];
            let Some(stream) = framework.stream.clone().filter(|_| framework.watches_cluster) else {
                continue;
            };
            let at = self.arrival(framework.scheduler.last_cluster_event);
            self.frameworks[index].scheduler.last_cluster_event = at;
            let event = Box::new(event.clone());
            self.at(at, Action::ClusterEvent { framework: index, stream, event });
        }
    }

    /// A timer of the machine, or a scheduling cycle.
    pub(crate) fn wake_scheduler(&mut self, index: usize) {
        let now = self.now;
        let scheduler = &mut self.frameworks[index].scheduler;
        if scheduler.cycle_at.is_some_and(|at| at <= now) {
            scheduler.cycle_at = None;
            return self.scheduler_step(index, Event::Cycle);
        }
        self.scheduler_step(index, Event::Tick);
        self.frameworks[index].scheduler.cycle_at = Some(now);
    }

    pub(crate) fn scheduler_step(&mut self, index: usize, event: Event) {
        let now = self.now;
        let is_cycle = matches!(event, Event::Cycle | Event::Tick);
        let scheduler = &mut self.frameworks[index].scheduler;
        let Some(machine) = &mut scheduler.machine else { return };
        let Effects { persist, send } = machine.step(now, event);
        if !is_cycle {
            scheduler.cycle_at.get_or_insert(now + CYCLE_AFTER);
        }
        if self.faults_enabled && !persist.is_empty() && self.random.permille(CRASHES) {
            // The writes of this step may be in flight; its other effects are lost.
            self.faults += 1;
            self.note(format_args!("the scheduler {index} is hit at a write"));
            self.start_writes(index, persist);
            return self.crash_framework(index);
        }
        self.start_writes(index, persist);
        for effect in send {
            self.scheduler_sends(index, effect);
        }
    }

    fn scheduler_sends(&mut self, index: usize, effect: Send) {
        match effect {
            Send::Call(call) => {
                self.send_call(index, call, None);
            }
            Send::Launch { launch, calls } => {
                let outcomes = vec![None; calls.len()];
                self.frameworks[index].scheduler.launches.insert(launch, outcomes);
                for (at, call) in calls.into_iter().enumerate() {
                    if !self.send_call(index, call, Some((launch, at))) {
                        self.launch_call_answered(index, (launch, at), CallOutcome::Refused);
                    }
                }
            }
            Send::Hold { uid, call } => {
                let sent = self.send_call(index, call, None);
                let outcome = if sent { CallOutcome::Accepted } else { CallOutcome::Refused };
                let life = self.frameworks[index].life;
                let event = Box::new(Event::HoldAnswered { uid, outcome });
                let delay = self.random.millis(1, 60);
                self.after(delay, Action::ToScheduler { framework: index, life, watch: None, event });
            }
            Send::Explain { role } => {
                // Only the text of a condition depends on what the kernel would say.
                let life = self.frameworks[index].life;
                let event = Box::new(Event::Explained { role, notes: Vec::new() });
                self.after(
                    EXPLAINED_AFTER,
                    Action::ToScheduler { framework: index, life, watch: None, event },
                );
            }
            Send::UnreadableStatus { uid } => self.fail(format!("the status of {uid} cannot be read")),
            Send::Report(_) | Send::Endpoint { .. } => {}
        }
    }

    /// Handles the outcome of one call of a launch.
    pub(crate) fn launch_call_answered(
        &mut self,
        index: usize,
        (launch, at): (u64, usize),
        outcome: CallOutcome,
    ) {
        let life = self.frameworks[index].life;
        let lost = self.faults_enabled && self.random.permille(UNANSWERED_LAUNCHES);
        let outcome = if lost { CallOutcome::Unanswered } else { outcome };
        let launches = &mut self.frameworks[index].scheduler.launches;
        let Some(outcomes) = launches.get_mut(&launch) else { return };
        outcomes[at] = Some(outcome);
        if outcomes.iter().any(Option::is_none) {
            return;
        }
        let outcomes: Vec<CallOutcome> = launches.remove(&launch).into_iter().flatten().flatten().collect();
        let delay = self.random.millis(1, 60);
        let event = Box::new(Event::LaunchAnswered { launch, outcomes });
        self.after(delay, Action::ToScheduler { framework: index, life, watch: None, event });
    }

    fn start_writes(&mut self, index: usize, writes: Vec<Write>) {
        let life = self.frameworks[index].life;
        for write in writes {
            if let Some(uid) = start_of(&write) {
                *self.frameworks[index].scheduler.starts_in_flight.entry(uid).or_default() += 1;
            }
            let slow = if self.random.permille(30) { 3_000 } else { 30 };
            let delay = self.random.millis(0, slow);
            self.after(delay, Action::StoreWrite { framework: index, life, write: Box::new(write) });
        }
    }

    /// A write reaches the store, also if its process has crashed since.
    pub(crate) fn store_write(&mut self, index: usize, life: u64, write: &Write) {
        let now = self.seconds();
        if let Some(uid) = start_of(write)
            && let Some(count) = self.frameworks[index].scheduler.starts_in_flight.get_mut(&uid)
        {
            *count = count.saturating_sub(1);
        }
        let lost = self.faults_enabled && self.random.permille(LOST_WRITES);
        let of_the_dead =
            self.frameworks[index].life != life || self.frameworks[index].scheduler.machine.is_none();
        if of_the_dead && (self.random.permille(500) || self.is_outdated(index, life, write)) {
            return;
        }
        let events = match lost {
            true => failed(write),
            false => self.frameworks[index].scheduler.api.write(write, now),
        };
        if let (Write::Intent(intent), false, false) = (write, lost, of_the_dead) {
            self.frameworks[index].scheduler.written_intents.insert(intent.record.number);
        }
        self.store_changed(index);
        let unanswered = self.faults_enabled && self.random.permille(UNANSWERED_WRITES);
        let events = if unanswered { failed(write) } else { events };
        self.note(format_args!("store: {} lost {lost} unanswered {unanswered}", brief(write)));
        for event in events {
            let delay = self.random.millis(0, 12);
            let action = Action::ToScheduler { framework: index, life, watch: None, event: Box::new(event) };
            self.after(delay, action);
        }
        self.audit_api_server(index);
    }

    /// Whether the Pod of a write has changed since the writing process crashed. Each write requires the revision that its process
    /// has read, and only a living one reads again.
    fn is_outdated(&self, index: usize, life: u64, write: &Write) -> bool {
        let scheduler = &self.frameworks[index].scheduler;
        let uid = match write {
            Write::Bind(write) => write.pod.uid(),
            Write::Status(write) => &write.uid,
            Write::Condition { key, .. } => &key.name,
            Write::Evict(write) => &write.uid,
            Write::Preempt(write) => &write.uid,
            Write::Intent(_) | Write::RemoveIntents(_) | Write::SelectNode { .. } | Write::Node(_) => {
                return false;
            }
        };
        let read = scheduler.crashed_at.get(&life).copied().unwrap_or_default();
        scheduler.api.row(uid).is_some_and(|row| row.revision > read)
    }

    /// Delivers changes to the watch, and ended Pods to the framework's items.
    pub(crate) fn store_changed(&mut self, index: usize) {
        let life = self.frameworks[index].life;
        let scheduler = &mut self.frameworks[index].scheduler;
        let watch = Some(scheduler.watch);
        let (changes, ended) = (scheduler.api.take_changes(), scheduler.api.take_ended());
        let went_back = scheduler.api.take_went_back();
        went_back.into_iter().for_each(|what| self.fail(what));
        for event in changes {
            let at = self.arrival(self.frameworks[index].scheduler.last_change);
            self.frameworks[index].scheduler.last_change = at;
            let action = Action::ToScheduler { framework: index, life, watch, event: Box::new(event) };
            self.at(at, action);
        }
        for (uid, status) in ended {
            self.pod_ended(index, &uid, &status);
        }
    }

    pub(crate) fn deliver_to_scheduler(&mut self, index: usize, life: u64, watch: Option<u64>, event: Event) {
        let framework = &self.frameworks[index];
        let stale = watch.is_some_and(|watch| watch != framework.scheduler.watch);
        if framework.life == life && framework.alive && !stale {
            self.scheduler_step(index, event);
        }
    }

    /// Handles a Pod whose end is stored or that was removed.
    fn pod_ended(&mut self, index: usize, uid: &str, status: &Value) {
        let id = TaskId::from(uid);
        let removed = self.frameworks[index].scheduler.api.row(uid).is_none();
        let confirmed = self.confirmed_ends.get(&id).copied();
        let reason = access::text(status, &["reason"]);
        let state = match (access::text(status, &["phase"]), reason) {
            ("Succeeded", _) => TaskState::Finished,
            ("Failed", "NodeLost") => TaskState::Lost,
            ("Failed", "TaskKilled") => TaskState::Killed,
            ("Failed", "TaskInvalid") => {
                return self.fail(format!("pod {uid} failed as invalid: {status}"));
            }
            ("Failed", _) => TaskState::Failed,
            // Removed on a client's request; the store does not show how it ended.
            _ if removed => confirmed.unwrap_or(TaskState::Killed),
            _ => return,
        };
        let framework = &mut self.frameworks[index];
        let Some(item) = framework.items.get_mut(&id) else { return };
        if matches!(item.state, ItemState::Done(_)) {
            return;
        }
        item.state = ItemState::Done(state);
        // Its controller creates another Pod.
        if state == TaskState::Lost && item.kill_after.is_none() {
            self.want(index);
        }
    }

    /// Clients of the API: they delete Pods, and bind some by hand.
    pub(crate) fn clients_act(&mut self, index: usize) {
        let (now, seconds) = (self.now, self.seconds());
        let due: Vec<TaskId> = self.frameworks[index]
            .items
            .iter()
            .filter(|(_, item)| !matches!(item.state, ItemState::Done(_)))
            .filter(|(_, item)| item.kill_after.is_some_and(|age| now.since(item.since) >= age))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.frameworks[index].scheduler.api.delete_pod(id.as_str(), seconds);
        }
        if self.faults_enabled && self.random.permille(40) {
            self.bind_some_pod(index);
        }
        self.store_changed(index);
    }

    fn bind_some_pod(&mut self, index: usize) {
        let seconds = self.seconds();
        let nodes = self.frameworks[index].scheduler.api.node_names();
        let open: Vec<TaskId> = self.frameworks[index]
            .items
            .iter()
            .filter(|(_, item)| !matches!(item.state, ItemState::Done(_)))
            .map(|(id, _)| id.clone())
            .collect();
        if nodes.is_empty() || open.is_empty() {
            return;
        }
        let (id, node) = (&open[self.random.index(open.len())], &nodes[self.random.index(nodes.len())]);
        if self.frameworks[index].scheduler.api.bind_by_hand(id.as_str(), node, seconds) {
            self.note(format_args!("a client binds {id} to {node}"));
            self.note_binding_elsewhere(id, node);
        }
    }

    pub(crate) fn seconds(&self) -> i64 {
        i64::try_from(self.now.0 / 1_000_000_000).expect("the clock is of this age")
    }

    /// The agent that a launch goes to, for faults that follow it.
    pub(crate) fn launches_pods(&self, index: usize, agent: Option<AgentId>) -> Option<AgentId> {
        agent.filter(|_| self.frameworks[index].kind == Kind::Kubernetes)
    }
}

/// The events for a write without an answer of the store.
fn failed(write: &Write) -> Vec<Event> {
    match write {
        Write::Intent(write) => vec![
            Event::IntentsRemoved { numbers: write.remove.clone(), removed: false },
            Event::IntentWritten { number: write.record.number, written: false },
        ],
        Write::RemoveIntents(numbers) => {
            vec![Event::IntentsRemoved { numbers: numbers.clone(), removed: false }]
        }
        Write::Bind(write) => {
            vec![Event::Bound { uid: write.pod.uid().into(), result: Err(WriteFailure::Unavailable) }]
        }
        Write::Status(write) => {
            vec![Event::StatusWritten { uid: write.uid.clone(), result: Err(WriteFailure::Unavailable) }]
        }
        Write::Condition { .. } => Vec::new(),
        Write::Preempt(write) => {
            vec![Event::Evicted { uid: write.uid.clone(), offer: None, evicted: false }]
        }
        Write::Evict(write) => {
            let (uid, offer) = (write.uid.clone(), Some((write.offer_id.clone(), write.why)));
            vec![Event::Evicted { uid, offer, evicted: false }]
        }
        Write::SelectNode { namespace, claims, .. } => {
            vec![Event::NodeNotSelected { namespace: namespace.clone(), claims: claims.clone() }]
        }
        Write::Node(write) => {
            vec![Event::NodeWritten { name: write.name().into(), outcome: NodeOutcome::Failed }]
        }
    }
}

/// The Pod whose start a write stores.
fn start_of(write: &Write) -> Option<Box<str>> {
    let Write::Status(write) = write else { return None };
    let says_pending = |edit: &PodEdit| match edit {
        PodEdit::MergeStatus(status) => status.windows(9).any(|part| part == b"\"Pending\""),
        _ => false,
    };
    write.edits.iter().any(says_pending).then(|| write.uid.clone())
}

fn brief(write: &Write) -> String {
    match write {
        Write::Intent(write) => format!("intent {:?}", write.record.agents),
        Write::RemoveIntents(numbers) => format!("remove intents {numbers:?}"),
        Write::Bind(write) => format!("bind {} to {}", write.pod.uid(), write.node),
        Write::Status(write) => format!("{} {:?} remove {}", write.uid, write.edits, write.remove),
        Write::Preempt(write) => format!("preempt {}", write.key),
        Write::Evict(write) => format!("evict {}", write.key),
        Write::Condition { key, message, .. } => format!("condition of {key}: {message:?}"),
        Write::SelectNode { claims, node, .. } => format!("node {node} for claims {claims:?}"),
        Write::Node(write) => format!("node {}", write.name()),
    }
}

/// Converts a kernel event for the state machine.
pub(crate) fn to_machine(event: scheduler::Event) -> Option<Event> {
    match event {
        scheduler::Event::Offers { offers } => Some(Event::Offers(offers)),
        scheduler::Event::Rescind { offer_id } => Some(Event::Rescind(offer_id)),
        scheduler::Event::InverseOffers { offers } => Some(Event::InverseOffers(offers)),
        scheduler::Event::Update { status } => Some(Event::Update(status)),
        _ => None,
    }
}

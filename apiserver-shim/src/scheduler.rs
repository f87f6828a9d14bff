//! Drives the scheduler machine (`shim_core::scheduler::machine`) against the store and the kernel. Inputs become
//! events; the machine's effects are executed; and their outcomes become events again.
//!
//! No scheduling decisions are made here. This module batches: events are taken in batches, calls to the kernel are
//! sent together, writes run concurrently and share the store's group commits, and scheduling cycles are paced by
//! their cost.

mod caller;
mod configuration;
mod feeds;
mod jobs;
mod journal;
pub mod kernel_client;
mod metrics;
mod writes;

pub use configuration::{ConfigurationFileError, read_configuration};
pub use journal::LAUNCH_JOURNAL_PREFIX;
pub use shim_core::scheduler::SchedulerConfiguration;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kernel_model::{
    operator,
    scheduler::{Call, Event as KernelEvent, Operation},
    time::Time,
};
use shim_core::scheduler::machine::{
    BindWrite, CallOutcome, Effects, Event, SchedulerMachine, Send, StatusWrite, Subscribed, Write,
};
use tokio::sync::{Semaphore, mpsc};

use crate::controllers::EventRecorder;
use crate::metrics::Registry;
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::Pipeline;
use crate::scheduler::kernel_client::{KernelClient, SubscribeError};
use crate::storage::pod_cidrs::PodCidrs;
use crate::storage::pod_views::PodViews;
use caller::Caller;
use feeds::Watches;
use jobs::Jobs;
use metrics::SchedulerMetrics;

/// Kernel events processed before other inputs are polled.
const EVENTS_MAX: usize = 1024;
/// Concurrent status writes, which share the store's group commits. At most one per Pod waits.
const STATUS_WRITES_MAX: usize = 256;
/// Minimum interval between scheduling cycles.
const CYCLE_EVERY: Duration = Duration::from_millis(5);
/// Maximum interval that the cost of cycles can cause.
const CYCLE_EVERY_MAX: Duration = Duration::from_millis(100);
/// Cycles use at most 1/40 of the time, because each cycle counts the demand and visits every pending Pod.
const CYCLE_SHARE: u32 = 40;
/// Delay before the first attempt to resubscribe; doubles up to [`RESUBSCRIBE_MAX`].
const RESUBSCRIBE_FIRST: Duration = Duration::from_millis(50);
/// Maximum delay between attempts to subscribe.
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(5);

/// Options of the scheduler.
pub struct SchedulerOptions {
    /// Reads objects and writes bindings, statuses and Nodes.
    pub pipeline: Pipeline,
    /// The kernel client.
    pub client: KernelClient,
    /// The addresses of the executors, updated from task statuses.
    pub node_endpoints: NodeEndpoints,
    /// Pod CIDRs of Nodes.
    pub pod_cidrs: PodCidrs,
    /// Typed views of Pods, shared with the controllers.
    pub pod_views: PodViews,
    /// Records Events.
    pub events: EventRecorder,
    /// Profiles and back-off durations.
    pub configuration: SchedulerConfiguration,
    /// The registry for the scheduler's metrics.
    pub metrics: Registry,
}

/// A monotonic wall clock: read once, then advanced by the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    wall: Duration,
    read: Instant,
}

impl Clock {
    fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { wall, read: Instant::now() }
    }

    fn now(&self) -> Time {
        Time(0) + (self.wall + self.read.elapsed())
    }
}

/// The driver: one task that owns the machine.
struct Driver {
    machine: SchedulerMachine,
    metrics: SchedulerMetrics,
    clock: Clock,
    options: SchedulerOptions,
    jobs: Jobs,
    /// See [`STATUS_WRITES_MAX`].
    status_permits: Arc<Semaphore>,
    /// Sends calls to the kernel while subscribed.
    caller: Option<Caller>,
    watches: Watches,
    /// Whether the kernel has ended the subscription.
    ended: bool,
    last_cycle: Option<Instant>,
    /// The present interval between cycles, derived from the cost of the last one.
    cycle_every: Duration,
    /// When the next cycle is due, if it was requested too soon after the last one.
    next_cycle: Option<Instant>,
    /// Calls collected in this iteration; sent at its end.
    calls: Vec<Call>,
    statuses: Vec<StatusWrite>,
    bindings: Vec<BindWrite>,
}

/// The event streams of one subscription.
struct Streams {
    events: mpsc::Receiver<KernelEvent>,
    cluster: mpsc::Receiver<operator::Event>,
}

/// Runs the scheduler until the task is aborted.
pub async fn run(mut options: SchedulerOptions) {
    let watches = Watches::start(options.pipeline.registry());
    let machine = SchedulerMachine::new(std::mem::take(&mut options.configuration));
    let mut driver = Driver {
        metrics: SchedulerMetrics::new(&options.metrics, &machine),
        machine,
        clock: Clock::start(),
        options,
        jobs: Jobs::default(),
        status_permits: Arc::new(Semaphore::new(STATUS_WRITES_MAX)),
        caller: None,
        watches,
        ended: false,
        last_cycle: None,
        cycle_every: CYCLE_EVERY,
        next_cycle: None,
        calls: Vec::new(),
        statuses: Vec::new(),
        bindings: Vec::new(),
    };
    driver.drain_watches();
    let mut pause = RESUBSCRIBE_FIRST;
    loop {
        match driver.subscribe().await {
            Ok(streams) => {
                pause = RESUBSCRIBE_FIRST;
                driver.serve(streams).await;
                tracing::warn!("the subscription to the kernel ended");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "failed to subscribe to the kernel");
                pause = (pause * 2).min(RESUBSCRIBE_MAX);
            }
        }
        driver.wait_unsubscribed(pause).await;
    }
}

impl Driver {
    async fn subscribe(&mut self) -> Result<Streams, SubscribeError> {
        self.drain_watches();
        let client = self.options.client.clone();
        let roles = self.machine.roles();
        let session = client.subscribe(&roles).await?;
        let (agents, cluster) = client.driver().watch_cluster().await?;
        let (journal, revision) = journal::read(self.options.pipeline.registry().store()).await?;
        // The machine must see Pods that a previous scheduler launched before it sees their tasks; otherwise they
        // would count as deleted.
        self.options.pipeline.registry().wait_for(revision).await.map_err(SubscribeError::Caches)?;
        self.drain_watches();
        let framework_id = session.framework_id;
        if !journal.is_empty() {
            tracing::info!(records = journal.len(), "reconciling launches of the previous scheduler");
        }
        self.caller = Some(Caller::start(client, framework_id.clone()));
        self.ended = false;
        let subscribed = Subscribed { framework_id, roles, agents, journal };
        self.step(Event::Subscribed(Box::new(subscribed)));
        self.flush();
        Ok(Streams { events: session.events, cluster })
    }

    /// Processes changes of the store while there is no subscription.
    async fn wait_unsubscribed(&mut self, pause: Duration) {
        self.step(Event::Unsubscribed);
        self.caller = None;
        tokio::time::sleep(pause).await;
        self.drain_watches();
        while let Some(events) = self.jobs.try_next() {
            events.into_iter().for_each(|event| self.step(event));
        }
        self.metrics.queues(&self.machine);
        self.flush();
    }

    async fn serve(&mut self, mut streams: Streams) {
        loop {
            let deadline = self.machine.next_deadline().map(|at| Instant::now() + at.since(self.clock.now()));
            tokio::select! {
                biased;
                event = streams.events.recv() => match event {
                    Some(event) => {
                        self.take_event(event);
                        self.drain_events(&mut streams.events);
                    }
                    None => return,
                },
                event = streams.cluster.recv() => match event {
                    Some(event) => self.take_cluster(event, &mut streams.cluster),
                    None => return,
                },
                Some(outcomes) = self.jobs.next(), if !self.jobs.is_empty() => {
                    // Process kernel events that precede the job's outcome first: a refused launch must not be bound.
                    // The written objects are in the caches by now.
                    self.drain_events(&mut streams.events);
                    self.drain_watches();
                    outcomes.into_iter().for_each(|event| self.step(event));
                }
                () = self.watches.changed() => {}
                () = sleep_until(self.next_cycle), if self.next_cycle.is_some() => self.next_cycle = None,
                () = sleep_until(deadline), if deadline.is_some() => {}
            }
            self.drain_watches();
            if self.ended {
                return;
            }
            self.advance();
        }
    }

    fn drain_events(&mut self, events: &mut mpsc::Receiver<KernelEvent>) {
        for _ in 0..EVENTS_MAX {
            match events.try_recv() {
                Ok(event) => self.take_event(event),
                Err(_) => return,
            }
        }
    }

    fn take_cluster(&mut self, first: operator::Event, events: &mut mpsc::Receiver<operator::Event>) {
        self.step(Event::Cluster(first));
        for _ in 0..EVENTS_MAX {
            match events.try_recv() {
                Ok(event) => self.step(Event::Cluster(event)),
                Err(_) => return,
            }
        }
    }

    fn take_event(&mut self, event: KernelEvent) {
        match event {
            KernelEvent::Offers { offers } => self.step(Event::Offers(offers)),
            KernelEvent::InverseOffers { offers } => self.step(Event::InverseOffers(offers)),
            KernelEvent::Rescind { offer_id } => self.step(Event::Rescind(offer_id)),
            KernelEvent::Update { status } => self.step(Event::Update(status)),
            KernelEvent::Error { message, .. } => {
                tracing::warn!(%message, "the kernel ended the subscription");
                self.ended = true;
            }
            // Failures of executors and agents are also reported per task.
            KernelEvent::Failure { .. }
            | KernelEvent::Message { .. }
            | KernelEvent::UpdateOperationStatus { .. }
            | KernelEvent::Heartbeat
            | KernelEvent::Subscribed { .. } => {}
        }
    }

    /// Runs a due cycle and due timers, and sends the calls of this iteration.
    fn advance(&mut self) {
        let now = Instant::now();
        // A cycle visits every pending Pod, so requests shortly after a cycle share the next one.
        match self.last_cycle.map(|at| at + self.cycle_every).filter(|due| now < *due) {
            Some(due) => self.next_cycle = Some(due),
            None => {
                self.last_cycle = Some(now);
                self.step(Event::Cycle);
                let duration = now.elapsed();
                self.metrics.cycle(&self.machine, duration);
                self.cycle_every = (duration * CYCLE_SHARE).clamp(CYCLE_EVERY, CYCLE_EVERY_MAX);
            }
        }
        if self.machine.next_deadline().is_some_and(|at| at <= self.clock.now()) {
            self.step(Event::Tick);
        }
        self.metrics.queues(&self.machine);
        self.flush();
    }

    fn step(&mut self, event: Event) {
        let Effects { persist, send } = self.machine.step(self.clock.now(), event);
        persist.into_iter().for_each(|write| self.write(write));
        send.into_iter().for_each(|send| self.send(send));
    }

    fn write(&mut self, write: Write) {
        let pipeline = self.options.pipeline.clone();
        match write {
            Write::Bind(write) => self.bindings.push(*write),
            Write::Status(write) => self.statuses.push(*write),
            Write::Intent(write) => {
                self.jobs.start(async move { journal::record(pipeline.registry(), write).await })
            }
            Write::RemoveIntents(numbers) => {
                self.jobs.start(async move { journal::remove(pipeline.registry(), numbers).await });
            }
            Write::Condition { key, message, offers, nominated } => self.jobs.start(async move {
                writes::set_unschedulable(&pipeline, &key, message.as_deref(), &offers, &nominated).await;
                Vec::new()
            }),
            Write::Evict(write) => {
                let events = self.options.events.clone();
                self.jobs.start(async move {
                    let evicted = writes::evict(&pipeline, &write).await;
                    if evicted {
                        events.record(write.event);
                    }
                    vec![Event::Evicted { uid: write.uid, offer: Some((write.offer_id, write.why)), evicted }]
                });
            }
            Write::Preempt(write) => {
                let events = self.options.events.clone();
                self.jobs.start(async move {
                    let evicted = writes::preempt(&pipeline, &write).await;
                    if evicted {
                        events.record(write.event);
                    }
                    vec![Event::Evicted { uid: write.uid, offer: None, evicted }]
                });
            }
            Write::SelectNode { namespace, claims, node } => {
                self.jobs.start(async move {
                    let selected = writes::select_node(&pipeline, &namespace, &claims, &node).await;
                    selected.err().map(|_| Event::NodeNotSelected { namespace, claims }).into_iter().collect()
                });
            }
            Write::Node(write) => {
                let pod_cidrs = self.options.pod_cidrs.clone();
                self.jobs.start(async move { writes::node(&pipeline, &pod_cidrs, write).await });
            }
        }
    }

    fn send(&mut self, send: Send) {
        match send {
            Send::Call(call) => self.calls.push(call),
            Send::Launch { launch, calls } => self.launch(launch, calls),
            Send::Hold { uid, call } => {
                self.send_calls();
                let Some(caller) = &self.caller else { return };
                let outcomes = caller.call_all(vec![call]);
                self.jobs.start(async move {
                    let outcome = outcomes.await.ok().and_then(|all| all.first().copied());
                    vec![Event::HoldAnswered { uid, outcome: outcome.unwrap_or(CallOutcome::Unanswered) }]
                });
            }
            Send::Explain { role } => {
                if let Some(caller) = self.caller.clone() {
                    self.jobs.start(async move {
                        let notes = caller.explain(&role).await;
                        vec![Event::Explained { role, notes }]
                    });
                }
            }
            Send::Report(note) => self.options.events.record(note),
            Send::UnreadableStatus { uid } => {
                tracing::warn!(uid = &*uid, "invalid status from an executor");
            }
            Send::Endpoint { node, address: Some(address) } => {
                self.options.node_endpoints.set(&node, &address);
            }
            Send::Endpoint { node, address: None } => self.options.node_endpoints.remove(&node),
        }
    }

    fn launch(&mut self, launch: u64, calls: Vec<Call>) {
        self.send_calls();
        let Some(caller) = &self.caller else { return };
        trace_launches(&calls);
        let outcomes = caller.call_all(calls);
        self.jobs.start(async move {
            let outcomes = outcomes.await.unwrap_or_default();
            vec![Event::LaunchAnswered { launch, outcomes }]
        });
    }

    fn send_calls(&mut self) {
        let calls = std::mem::take(&mut self.calls);
        if let Some(caller) = self.caller.as_ref().filter(|_| !calls.is_empty()) {
            caller.call(calls);
        }
    }

    /// Sends the calls of this iteration.
    fn flush(&mut self) {
        self.send_calls();
        let pipeline = &self.options.pipeline;
        self.jobs.bind(pipeline, std::mem::take(&mut self.bindings));
        self.jobs.write_statuses(pipeline, &self.status_permits, std::mem::take(&mut self.statuses));
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// The current Unix time in seconds.
pub(crate) fn now_seconds() -> i64 {
    crate::storage::registry::now().seconds()
}

/// Logs each launch at level `debug`. The kernel logs the later steps with the Pod's UID as `task_id`.
fn trace_launches(calls: &[Call]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for call in calls {
        let Call::Accept { operations, .. } = call else { continue };
        for operation in operations {
            let Operation::Launch { tasks } = operation else { continue };
            for task in tasks {
                tracing::debug!(pod_uid = %task.task_id, agent_id = %task.agent_id, "scheduler launches the pod");
            }
        }
    }
}

//! Runs the scheduler framework: pending Pods become demand, demand revives roles, roles bring offers, offers and Pods go
//! through a cycle (`shim-core`), decisions become launches, and launches that the kernel accepted become bindings. Status
//! updates flow back into the store and are acknowledged once they are there. See `docs/decisions/0005`.
//!
//! One task owns the state; calls to the kernel and writes to the store run beside it as jobs and report back. The state
//! can be lost at any time: the next subscription reconciles tasks with Pods and goes on.

mod caller;
mod jobs;
pub mod kernel_client;
mod machines;
mod node_projection;
mod nodes;
mod offers;
mod placing;
mod pods;
mod promises;
mod rejecting;
mod roles;
mod updates;
mod writes;

pub use node_projection::{NODE_NAME_ATTRIBUTE, POD_CIDR_ATTRIBUTE, RUNTIME_ATTRIBUTE};
pub use promises::PROMISES_PREFIX;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_model::{
    agent::AgentSnapshot,
    ids::FrameworkId,
    operator,
    scheduler::{Call, Event},
};
use shim_core::controllers::served;
use shim_core::scheduler::PromiseBook;
use tokio::sync::{Semaphore, mpsc};

use crate::controllers::EventRecorder;
use crate::node_endpoints::NodeEndpoints;
use crate::scheduler::kernel_client::KernelClient;
use crate::storage::pod_cidrs::PodCidrs;
use crate::storage::pod_views::PodViews;
use crate::storage::registry::Registry;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchFrom, Watcher};
use caller::Caller;
use jobs::{Jobs, Launched};
use machines::Machines;
use nodes::NodeBook;
use offers::OfferBook;
use pods::PodBook;
use roles::RoleBook;
use updates::Settling;

/// Changes read from one watcher at once.
const DELIVERIES_MAX: usize = 1024;
/// Kernel events taken at once before anything else has a turn.
const EVENTS_MAX: usize = 1024;
/// Updates being stored at once: they share the store's group commits. Those that wait are one a task at most, for the
/// kernel sends the next only after an acknowledgement.
const SETTLING_MAX: usize = 256;
/// How often what has no signal of its own is looked at: rests and lingering that end, Nodes to write.
const TICK: Duration = Duration::from_millis(100);
/// How often every Pod is looked at: kills to repeat, questions without an answer.
const SLOW_TICK: Duration = Duration::from_secs(1);
/// The least time between two rounds of demand and placing.
const ROUND_EVERY: Duration = Duration::from_millis(5);
/// The longest that rounds are put off because they take long.
const ROUND_EVERY_MAX: Duration = Duration::from_millis(100);
/// Rounds take at most one part in so many of the time: each counts the demand and looks at every waiting Pod.
const ROUND_SHARE: u32 = 40;
/// The first wait before a lost subscription is made again; doubles up to [`RESUBSCRIBE_MAX`].
const RESUBSCRIBE_FIRST: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to subscribe.
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(5);

/// What the scheduler framework needs.
pub struct SchedulerOptions {
    /// The objects.
    pub registry: Registry,
    /// The kernel.
    pub client: KernelClient,
    /// Where executors can be reached.
    pub node_endpoints: NodeEndpoints,
    /// Pod CIDRs of Nodes.
    pub pod_cidrs: PodCidrs,
    /// Shared rows of Pods.
    pub pod_views: PodViews,
    /// Where to tell people.
    pub events: EventRecorder,
}

/// The one task.
pub(crate) struct Runner {
    pub(crate) registry: Registry,
    pub(crate) client: KernelClient,
    pub(crate) node_endpoints: NodeEndpoints,
    pub(crate) pod_cidrs: PodCidrs,
    pub(crate) events: EventRecorder,
    pub(crate) framework_id: Option<FrameworkId>,
    pub(crate) pods: PodBook,
    pub(crate) machines: Machines,
    pub(crate) nodes: NodeBook,
    pub(crate) offers: OfferBook,
    pub(crate) roles: RoleBook,
    pub(crate) promises: PromiseBook,
    pub(crate) jobs: Jobs,
    last_round: Option<Instant>,
    /// The time between two rounds, by what the last one took.
    round_every: Duration,
    /// When a round is due that came too soon after the last.
    next_round: Option<Instant>,
    /// Updates being stored at once; see [`SETTLING_MAX`].
    pub(crate) settling: Arc<Semaphore>,
    /// Updates that came since the last job was started.
    pub(crate) to_settle: Vec<Settling>,
    /// Acknowledgements that were not sent yet.
    pub(crate) acknowledgements: Vec<Call>,
    /// Launches that were sent and whose bindings are not being written yet; each waits for its node's word until then.
    pub(crate) bindings: Vec<(Instant, Launched)>,
    /// When they are to be looked through.
    pub(crate) bindings_due: Option<Instant>,
    /// The way to the kernel while there is a subscription.
    pub(crate) caller: Option<Caller>,
    watch: Watches,
}

pub(crate) struct Watches {
    pods: Watcher,
    nodes: Watcher,
    namespaces: Watcher,
}

/// The streams of one subscription.
struct Streams {
    events: mpsc::Receiver<Event>,
    cluster: mpsc::Receiver<operator::Event>,
}

/// Runs the scheduler framework until the task is aborted.
pub async fn run(options: SchedulerOptions) {
    let registry = options.registry.clone();
    let watch = |plural| {
        registry
            .watch(served("", plural), WatchFrom::Start, Selection::everything())
            .unwrap_or_else(|_| panic!("invariant: a watch from the start never lags"))
    };
    let watch = Watches { pods: watch("pods"), nodes: watch("nodes"), namespaces: watch("namespaces") };
    let mut runner = Runner {
        registry: options.registry,
        client: options.client,
        node_endpoints: options.node_endpoints,
        pod_cidrs: options.pod_cidrs,
        events: options.events,
        framework_id: None,
        pods: PodBook::new(options.pod_views),
        machines: Machines::default(),
        nodes: NodeBook::default(),
        offers: OfferBook::default(),
        roles: RoleBook::default(),
        promises: PromiseBook::default(),
        jobs: Jobs::default(),
        last_round: None,
        round_every: ROUND_EVERY,
        next_round: None,
        settling: Arc::new(Semaphore::new(SETTLING_MAX)),
        to_settle: Vec::new(),
        acknowledgements: Vec::new(),
        bindings: Vec::new(),
        bindings_due: None,
        caller: None,
        watch,
    };
    runner.drain_watches();
    let mut pause = RESUBSCRIBE_FIRST;
    loop {
        match runner.subscribe().await {
            Ok(streams) => {
                pause = RESUBSCRIBE_FIRST;
                runner.serve(streams).await;
                tracing::warn!("the subscription to the kernel ended");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "no subscription to the kernel");
                pause = (pause * 2).min(RESUBSCRIBE_MAX);
            }
        }
        runner.wait_unsubscribed(pause).await;
    }
}

impl Runner {
    async fn subscribe(&mut self) -> Result<Streams, crate::scheduler::kernel_client::SubscribeError> {
        self.drain_watches();
        let roles = self.roles.all();
        let session = self.client.subscribe(&roles).await?;
        let (agents, cluster) = self.client.driver().watch_cluster().await?;
        self.caller = Some(Caller::start(self.client.clone(), session.framework_id.clone()));
        self.framework_id = Some(session.framework_id);
        self.offers.clear();
        self.machines.rankings.clear();
        self.roles.subscribed(&roles);
        self.take_agents(agents);
        self.read_promises().await?;
        self.reconcile_everything();
        Ok(Streams { events: session.events, cluster })
    }

    /// Keeps up with the store while there is no kernel to talk to.
    async fn wait_unsubscribed(&mut self, pause: Duration) {
        self.framework_id = None;
        self.caller = None;
        self.offers.clear();
        tokio::time::sleep(pause).await;
        self.drain_watches();
        while let Some(done) = self.jobs.try_next() {
            // The next subscription asks for everything else.
            if let jobs::Done::Settled(all) = done {
                all.iter().for_each(|(uid, _)| self.no_longer_settling(uid));
            }
        }
    }

    fn take_agents(&mut self, agents: Vec<AgentSnapshot>) {
        self.nodes.forget_agents();
        for agent in agents {
            self.agent_changed(agent);
        }
    }

    async fn serve(&mut self, mut streams: Streams) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut slow_tick = tokio::time::interval(SLOW_TICK);
        slow_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = streams.events.recv() => match event {
                    Some(event) => self.take_events(event, &mut streams.events),
                    None => return,
                },
                event = streams.cluster.recv() => match event {
                    Some(event) => self.take_cluster(event, &mut streams.cluster),
                    None => return,
                },
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => {
                    // What the kernel said before the job was done comes first: a refused launch is not bound.
                    self.drain_events(&mut streams.events);
                    self.finish(done);
                }
                () = self.watch.pods.changed() => {}
                () = self.watch.nodes.changed() => {}
                () = self.watch.namespaces.changed() => {}
                () = sleep_until(self.next_round), if self.next_round.is_some() => self.next_round = None,
                () = sleep_until(self.bindings_due), if self.bindings_due.is_some() => {}
                _ = tick.tick() => self.end_linger(Instant::now()),
                _ = slow_tick.tick() => self.tick(),
            }
            self.drain_watches();
            if self.offers.ended() {
                return;
            }
            self.advance();
        }
    }

    fn take_events(&mut self, first: Event, events: &mut mpsc::Receiver<Event>) {
        self.take_event(first);
        self.drain_events(events);
    }

    fn drain_events(&mut self, events: &mut mpsc::Receiver<Event>) {
        for _ in 0..EVENTS_MAX {
            match events.try_recv() {
                Ok(event) => self.take_event(event),
                Err(_) => return,
            }
        }
    }

    fn take_cluster(&mut self, first: operator::Event, events: &mut mpsc::Receiver<operator::Event>) {
        self.take_cluster_event(first);
        for _ in 0..EVENTS_MAX {
            match events.try_recv() {
                Ok(event) => self.take_cluster_event(event),
                Err(_) => return,
            }
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Offers { offers } => offers.iter().for_each(|offer| self.offers.put(offer)),
            Event::Rescind { offer_id } => self.offers.remove(&offer_id),
            Event::Update { status } => self.take_update(status),
            Event::Error { message } => {
                tracing::warn!(%message, "the kernel ended the subscription");
                self.offers.end();
            }
            // Failures of executors and agents are told task by task as well.
            Event::Failure { .. }
            | Event::Message { .. }
            | Event::UpdateOperationStatus { .. }
            | Event::Heartbeat
            | Event::Subscribed { .. } => {}
        }
    }

    fn drain_watches(&mut self) {
        self.drain_namespaces();
        self.drain_nodes();
        self.drain_pods();
    }

    /// Everything that the state as it is now calls for.
    fn advance(&mut self) {
        let now = Instant::now();
        // Rounds look at every waiting Pod: what comes shortly after one shares the next.
        match self.last_round.map(|at| at + self.round_every).filter(|due| now < *due) {
            Some(due) => self.next_round = Some(due),
            None => {
                self.last_round = Some(now);
                self.wake_resting();
                self.count_demand(now);
                self.follow_roles(now);
                self.note_offers();
                self.place(now);
                self.round_every = (now.elapsed() * ROUND_SHARE).clamp(ROUND_EVERY, ROUND_EVERY_MAX);
            }
        }
        self.write_bindings(now);
        self.settle_queued();
        self.send_acknowledgements();
        self.write_nodes(now);
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.repeat_kills(now);
        self.repeat_questions(now);
        self.tell_of_promises(now);
        self.remove_spent_promises();
    }

    /// Makes a call, after all those before it; what comes of it comes as events.
    pub(crate) fn call(&mut self, call: Call) {
        if let Some(caller) = &self.caller {
            caller.call(call);
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// The present second.
pub(crate) fn now_seconds() -> i64 {
    crate::storage::registry::now().seconds()
}

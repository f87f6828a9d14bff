//! Hollow agents: simulated machines for load tests, in this process. Each runs the real agent state machine with a
//! runtime that starts no processes; its executors accept every task, and report it as real ones do.
//!
//! One task drives all of them, without a queue, timer and checkpoint for each: a few KiB per agent.

mod agent;
mod fake_executor;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kernel_core::{
    agent::{Effect, Event},
    effect::LinkId,
};
use kernel_model::{
    agent::{AgentInfo, ToAgent, ToMaster},
    resources::{Attribute, Resources},
    task::{TaskInfo, TaskState},
    time::Time,
};
use tokio::sync::mpsc;

use crate::{
    clock::Clock,
    master_driver::{LinkHandle, MasterQueue, Stopped},
    server::MasterHandle,
};
use agent::HollowAgent;

/// Queued messages of the master for all hollow agents: the launches of ten full test clusters.
const MESSAGE_QUEUE_BOUND: usize = 256 * 1024;

/// Messages handled per batch.
const BATCH_MAX: usize = 512;

/// The longest sleep before the deadlines are read again.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Returns the `data` of the statuses that a simulated executor sends for a task, one per state. The kernel does not
/// interpret tasks; the caller does.
pub type StatusData = Arc<dyn Fn(&AgentInfo, &TaskInfo, &[TaskState]) -> Vec<Bytes> + Send + Sync>;

/// The options of hollow agents.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct HollowOptions {
    /// Agent `i` is called `<prefix><i>`, with five digits.
    pub hostname_prefix: String,
    /// The resources of each agent.
    pub resources: Resources,
    /// The attributes of each agent, besides `catamaran.dev/hollow:true`.
    pub attributes: Vec<Attribute>,
    pub status_data: StatusData,
}

impl HollowOptions {
    /// Agents with 32 CPUs and 128 GiB, whose statuses carry no data.
    pub fn new() -> Self {
        let resources = "cpus:32;mem:131072;disk:1000000;ports:[31000-32000]";
        Self {
            hostname_prefix: "hollow-".to_owned(),
            resources: resources.parse().expect("invariant: a constant that parses"),
            attributes: Vec::new(),
            status_data: Arc::new(|_, _, states| vec![Bytes::new(); states.len()]),
        }
    }
}

impl Default for HollowOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Running hollow agents; dropping the handle stops them like a crash.
pub struct HollowHandle {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for HollowHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts `count` hollow agents of a master in this process.
pub fn start(count: u32, master: &MasterHandle, options: HollowOptions) -> HollowHandle {
    let queue = master.queue().clone();
    let task = tokio::spawn(async move {
        // They stop with the master.
        let _ = HollowAgents::new(count, queue, options).run().await;
    });
    HollowHandle { task }
}

/// All hollow agents and their shared state.
struct HollowAgents {
    queue: MasterQueue,
    clock: Clock,
    all: Vec<HollowAgent>,
    links: BTreeMap<LinkId, (usize, LinkHandle)>,
    sender: mpsc::Sender<(LinkId, ToAgent)>,
    messages: mpsc::Receiver<(LinkId, ToAgent)>,
    /// When an agent needs a tick. Outdated entries stay until they are due.
    deadlines: BinaryHeap<Reverse<(Time, usize)>>,
    /// The messages of the current step; kept to reuse the allocation.
    outgoing: Vec<ToMaster>,
}

impl HollowAgents {
    fn new(count: u32, queue: MasterQueue, options: HollowOptions) -> Self {
        let (sender, messages) = mpsc::channel(MESSAGE_QUEUE_BOUND);
        let options = Arc::new(options);
        let all = (0..count).map(|index| HollowAgent::new(index, options.clone())).collect();
        let (clock, links, deadlines) = (Clock::start(), BTreeMap::new(), BinaryHeap::new());
        Self { queue, clock, all, links, sender, messages, deadlines, outgoing: Vec::new() }
    }

    async fn run(mut self) -> Result<(), Stopped> {
        for index in 0..self.all.len() {
            self.connect(index).await?;
            // Let the master and its other clients run in between.
            if index % BATCH_MAX == 0 {
                tokio::task::yield_now().await;
            }
        }
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let wait = self.until_deadline();
            tokio::select! {
                count = self.messages.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return Ok(()) },
                () = tokio::time::sleep(wait) => {}
            }
            for (link, message) in batch.drain(..) {
                if let Some((index, _)) = self.links.get(&link) {
                    let index = *index;
                    self.step(index, Event::FromMaster(message)).await?;
                }
            }
            self.tick().await?;
        }
    }

    fn until_deadline(&self) -> Duration {
        let next = self.deadlines.peek().map(|Reverse((at, _))| at.since(self.clock.now()));
        next.unwrap_or(SLEEP_MAX).clamp(Duration::from_millis(1), SLEEP_MAX)
    }

    async fn tick(&mut self) -> Result<(), Stopped> {
        let now = self.clock.now();
        while let Some(Reverse((at, index))) = self.deadlines.peek().copied() {
            if at > now {
                return Ok(());
            }
            self.deadlines.pop();
            if self.all[index].next_tick == Some(at) {
                self.all[index].next_tick = None;
                self.step(index, Event::Tick).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, index: usize) -> Result<(), Stopped> {
        let handle = self.queue.shared_link_up(self.sender.clone()).await?;
        let link = handle.id();
        self.links.insert(link, (index, handle));
        self.all[index].link = Some(link);
        Box::pin(self.step(index, Event::LinkUp)).await
    }

    /// Steps one agent with everything that follows inside it, and sends its messages.
    async fn step(&mut self, index: usize, event: Event) -> Result<(), Stopped> {
        let now = self.clock.now();
        let agent = &mut self.all[index];
        let keeps_link = agent.step(now, event, &mut self.outgoing);
        // An outdated entry stays in the heap: it is ignored when it is due, which is cheap.
        if let Some(at) = agent.agent.next_deadline()
            && agent.next_tick.is_none_or(|next_tick| at < next_tick)
        {
            agent.next_tick = Some(at);
            self.deadlines.push(Reverse((at, index)));
        }
        if let Some((_, handle)) = self.all[index].link.and_then(|link| self.links.get(&link)) {
            for message in self.outgoing.drain(..) {
                handle.send(message).await?;
            }
        }
        self.outgoing.clear();
        if keeps_link {
            return Ok(());
        }
        if let Some(link) = self.all[index].link.take() {
            self.links.remove(&link);
        }
        Box::pin(self.connect(index)).await
    }
}

/// The message to the master, if the effect is one.
fn to_master(effect: Effect) -> Option<ToMaster> {
    match effect {
        Effect::ToMaster(message) => Some(message),
        _ => None,
    }
}

//! Hollow agents: as many simulated machines as a load test wants, in this process. Each runs the real agent machine over
//! a runtime that starts nothing; its executors take every task, and report it as real ones do.
//!
//! One task carries all of them: no queue, no timer and no checkpoint each, a few KiB in all.

mod fake_executor;
mod machine;
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
use machine::Machine;

/// Messages of the master that may wait for all hollow agents together: the launches of ten full test clusters.
const MESSAGE_QUEUE_BOUND: usize = 256 * 1024;

/// Messages taken at once.
const BATCH_MAX: usize = 512;

/// The longest sleep without looking at deadlines.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The `data` of the statuses that a simulated executor sends for a task, one for each of these states. The kernel does not
/// know what tasks are; whoever starts hollow agents does.
pub type StatusData = Arc<dyn Fn(&AgentInfo, &TaskInfo, &[TaskState]) -> Vec<Bytes> + Send + Sync>;

/// What hollow machines look like.
#[derive(Clone)]
pub struct HollowOptions {
    /// Machine `i` is called `<prefix><i>`, with five digits.
    pub hostname_prefix: String,
    /// What each has.
    pub resources: Resources,
    /// What distinguishes each, besides `catamaran.dev/hollow:true`.
    pub attributes: Vec<Attribute>,
    /// See [`StatusData`].
    pub status_data: StatusData,
}

impl HollowOptions {
    /// Machines of 32 CPUs and 128 GiB whose statuses carry no data.
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

/// Running hollow agents; dropping it ends them at once, as a power cut would.
pub struct HollowHandle {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for HollowHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts `count` hollow agents that belong to a master in this process.
pub fn start(count: u32, master: &MasterHandle, options: HollowOptions) -> HollowHandle {
    let queue = master.queue().clone();
    let task = tokio::spawn(async move {
        // The master's end ends them.
        let _ = Machines::new(count, queue, options).run().await;
    });
    HollowHandle { task }
}

/// All machines, and what they share.
struct Machines {
    queue: MasterQueue,
    clock: Clock,
    all: Vec<Machine>,
    links: BTreeMap<LinkId, (usize, LinkHandle)>,
    outlet: mpsc::Sender<(LinkId, ToAgent)>,
    messages: mpsc::Receiver<(LinkId, ToAgent)>,
    /// When a machine wants a tick; entries of earlier wishes stay until they come up.
    deadlines: BinaryHeap<Reverse<(Time, usize)>>,
    /// What the machine that is stepped has to say; empty between steps, and kept for its room.
    said: Vec<ToMaster>,
}

impl Machines {
    fn new(count: u32, queue: MasterQueue, options: HollowOptions) -> Self {
        let (outlet, messages) = mpsc::channel(MESSAGE_QUEUE_BOUND);
        let options = Arc::new(options);
        let all = (0..count).map(|index| Machine::new(index, options.clone())).collect();
        let (clock, links, deadlines) = (Clock::start(), BTreeMap::new(), BinaryHeap::new());
        Self { queue, clock, all, links, outlet, messages, deadlines, said: Vec::new() }
    }

    async fn run(mut self) -> Result<(), Stopped> {
        for index in 0..self.all.len() {
            self.connect(index).await?;
            // The master works through registrations as they come; its other clients come in between.
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
            if self.all[index].planned == Some(at) {
                self.all[index].planned = None;
                self.step(index, Event::Tick).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, index: usize) -> Result<(), Stopped> {
        let handle = self.queue.shared_link_up(self.outlet.clone()).await?;
        let link = handle.id();
        self.links.insert(link, (index, handle));
        self.all[index].link = Some(link);
        Box::pin(self.step(index, Event::LinkUp)).await
    }

    /// Steps one machine and everything within it that follows, and sends what it has to say.
    async fn step(&mut self, index: usize, event: Event) -> Result<(), Stopped> {
        let now = self.clock.now();
        let machine = &mut self.all[index];
        let keeps_link = machine.step(now, event, &mut self.said);
        // An earlier wish stays in the heap: it finds itself outdated, or early, and is cheap.
        if let Some(at) = machine.agent.next_deadline()
            && machine.planned.is_none_or(|planned| at < planned)
        {
            machine.planned = Some(at);
            self.deadlines.push(Reverse((at, index)));
        }
        if let Some((_, handle)) = self.all[index].link.and_then(|link| self.links.get(&link)) {
            for message in self.said.drain(..) {
                handle.say(message).await?;
            }
        }
        self.said.clear();
        if keeps_link {
            return Ok(());
        }
        if let Some(link) = self.all[index].link.take() {
            self.links.remove(&link);
        }
        Box::pin(self.connect(index)).await
    }
}

/// What a machine has to say.
fn to_master(effect: Effect) -> Option<ToMaster> {
    match effect {
        Effect::ToMaster(message) => Some(message),
        _ => None,
    }
}

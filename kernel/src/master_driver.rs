//! The task that owns the master: takes commands from its queue, steps the machine, makes its writes durable, and only then
//! lets anything out. Several commands share one write.

mod outlets;
mod queue;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kernel_core::effect::RequestId;
use kernel_core::master::{Answer, Effect, Event, Master, Op, Refusal};
use kernel_model::{ids::FrameworkId, scheduler::Call};
use store::Store;
use tokio::sync::{mpsc, watch};

pub(crate) use outlets::Counters;
use outlets::Outlets;
pub(crate) use queue::{Command, Fault, LinkHandle, MasterQueue, Stopped, StreamHandle, Wanted};
use queue::{OperatorOutlet, RepliesSender};

use crate::{clock::Clock, registry_store};

/// Commands that one write is shared by: enough to amortise a disk's flush, few enough that no one waits long.
const BATCH_COMMANDS_MAX: usize = 256;

/// Writes after which a batch ends: a step adds a few, and a store's transaction holds 128.
const BATCH_OPS_MAX: usize = 64;

/// Tries to write before the master gives up, some ten seconds in all.
const WRITE_TRIES_MAX: u32 = 8;

/// The shortest sleep before a deadline: what a timer can tell apart.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The longest sleep without looking at the deadline.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What is left of a batch once its writes are durable.
enum Then {
    Effect(Effect),
    /// Tells a caller in this process what became of its calls.
    Answer(RepliesSender, Vec<Result<Answer, Refusal>>),
    Read(Box<dyn FnOnce(&Master) + Send>),
    /// A look, and every operator event after it: none of those that what was seen holds already.
    Watch(OperatorOutlet, Box<dyn FnOnce(&Master) + Send>),
}

/// What has been stepped and not yet carried out.
#[derive(Default)]
struct Batch {
    commands: usize,
    ops: Vec<Op>,
    then: Vec<Then>,
    /// A read must see the master as it is: nothing more is stepped before it.
    sealed: bool,
}

impl Batch {
    /// Forgets what was carried out.
    fn begin_anew(&mut self) {
        self.commands = 0;
        self.ops.clear();
        self.then.clear();
        self.sealed = false;
    }
}

/// The driver; [`MasterDriver::run`] is its life.
pub(crate) struct MasterDriver {
    master: Master,
    clock: Clock,
    store: Arc<dyn Store>,
    commands: mpsc::Receiver<Command>,
    outlets: Outlets,
    /// Events that carrying out effects has caused.
    backlog: VecDeque<Event>,
    next_request: u64,
    stop: watch::Receiver<bool>,
}

impl MasterDriver {
    pub(crate) fn new(
        master: Master,
        clock: Clock,
        store: Arc<dyn Store>,
        commands: mpsc::Receiver<Command>,
        counters: Arc<Counters>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            master,
            clock,
            store,
            commands,
            outlets: Outlets::new(counters),
            backlog: VecDeque::new(),
            next_request: 0,
            stop,
        }
    }

    /// Runs until it is told to stop, all doors are gone, or the store takes no writes.
    pub(crate) async fn run(mut self) -> Result<(), store::Error> {
        // Kept from one batch to the next: a full one is large, and asking for that memory anew each time is dear.
        let mut batch = Batch::default();
        loop {
            if self.backlog.is_empty() {
                let until_deadline = self.until_deadline();
                let first = tokio::select! {
                    command = self.commands.recv() => match command {
                        Some(command) => Some(command),
                        None => return Ok(()),
                    },
                    () = tokio::time::sleep(until_deadline) => None,
                    _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
                };
                if let Some(command) = first {
                    self.take(command, &mut batch);
                }
            }
            self.fill(&mut batch);
            if let Err(error) = self.persist(&batch.ops).await {
                tracing::error!(%error, "the master stops: its registry takes no writes");
                return Err(error);
            }
            for then in batch.then.drain(..) {
                match then {
                    Then::Effect(effect) => self.outlets.carry_out(effect, &mut self.backlog),
                    Then::Answer(replies, answers) => self.outlets.answer(replies, answers),
                    Then::Read(read) => read(&self.master),
                    Then::Watch(outlet, read) => {
                        read(&self.master);
                        self.outlets.watch(outlet);
                    }
                }
            }
            batch.begin_anew();
        }
    }

    fn until_deadline(&self) -> Duration {
        match self.master.next_deadline() {
            Some(deadline) => deadline.since(self.clock.now()).clamp(SLEEP_MIN, SLEEP_MAX),
            None => SLEEP_MAX,
        }
    }

    /// Takes what waits, up to the bounds of a batch, and then lets time pass.
    fn fill(&mut self, batch: &mut Batch) {
        while let Some(event) = self.backlog.pop_front() {
            self.step(event, batch);
        }
        while !batch.sealed && batch.commands < BATCH_COMMANDS_MAX && batch.ops.len() < BATCH_OPS_MAX {
            let Ok(command) = self.commands.try_recv() else { break };
            self.take(command, batch);
        }
        if !batch.sealed && self.master.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.step(Event::Tick, batch);
        }
    }

    fn step(&mut self, event: Event, batch: &mut Batch) {
        batch.commands += 1;
        let effects = self.master.step(self.clock.now(), event);
        batch.ops.extend(effects.persist);
        batch.then.extend(effects.after_persist.into_iter().map(Then::Effect));
    }

    fn take(&mut self, command: Command, batch: &mut Batch) {
        let event = match command {
            Command::Subscribe { stream, principal, subscribe, outlet, reply } => {
                let request = self.request(reply);
                self.outlets.open_stream(stream.clone(), outlet);
                Event::Subscribe { request, stream, principal, subscribe }
            }
            Command::Call { framework_id, stream, principal, call, reply } => {
                let request = self.request(reply);
                Event::SchedulerCall { request, framework_id, stream, principal, call }
            }
            Command::Calls { framework_id, calls, replies } => {
                return self.take_calls(&framework_id, calls, replies, batch);
            }
            Command::SchedulerClosed { stream } => {
                if !self.outlets.drop_stream(&stream) {
                    return;
                }
                Event::SchedulerClosed { stream }
            }
            Command::LinkUp { link, outlet } => {
                self.outlets.open_link(link, outlet);
                Event::AgentConnected { link }
            }
            Command::LinkMessage { link, message } => {
                if !self.outlets.has_link(link) {
                    return;
                }
                Event::AgentMessage { link, message }
            }
            Command::LinkDown { link } => {
                if !self.outlets.drop_link(link) {
                    return;
                }
                Event::AgentDisconnected { link }
            }
            Command::Operator { call, reply } => Event::Operator { request: self.request(reply), call },
            Command::Read(read) => {
                batch.then.push(Then::Read(read));
                batch.sealed = true;
                return;
            }
            Command::Watch { outlet, snapshot } => {
                batch.then.push(Then::Watch(outlet, snapshot));
                batch.sealed = true;
                return;
            }
        };
        self.step(event, batch);
    }

    /// Steps calls that came together. Their answers are picked out of the effects: one message takes them all back.
    fn take_calls(&mut self, id: &FrameworkId, calls: Vec<Call>, replies: RepliesSender, batch: &mut Batch) {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            self.next_request += 1;
            let request = RequestId(self.next_request);
            let stream = self.master.framework(id).and_then(|f| f.stream().cloned());
            let framework_id = id.clone();
            let from = batch.then.len();
            self.step(Event::SchedulerCall { request, framework_id, stream, principal: None, call }, batch);
            let answer = |then: &mut Then| match then {
                Then::Effect(Effect::Reply { request: of, .. }) => *of == request,
                _ => false,
            };
            for then in batch.then.extract_if(from.., answer) {
                if let Then::Effect(Effect::Reply { result, .. }) = then {
                    answers.push(result);
                }
            }
        }
        batch.then.push(Then::Answer(replies, answers));
    }

    fn request(&mut self, reply: queue::ReplySender) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.outlets.expect_reply(request, reply);
        request
    }

    /// Writes are idempotent, so one whose outcome is unknown is tried again.
    async fn persist(&self, ops: &[Op]) -> Result<(), store::Error> {
        if ops.is_empty() {
            return Ok(());
        }
        let txn = registry_store::transaction(ops);
        let mut pause = Duration::from_millis(50);
        for attempt in 1.. {
            match self.store.txn(txn.clone()).await {
                Ok(_) => break,
                Err(store::Error::Unavailable { reason }) if attempt < WRITE_TRIES_MAX => {
                    tracing::warn!(%reason, attempt, "the registry could not be written, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

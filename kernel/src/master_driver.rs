//! The task that owns the master's state machine: it takes commands from its queue, steps the machine, persists its
//! writes, and only then carries out its effects. Several commands share one write (group commit). While the store takes no
//! writes, effects do not wait for it; see [`writer`].

mod cluster_log;
mod event_queue;
mod outbound;
mod queue;
mod writer;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kernel_core::effect::RequestId;
use kernel_core::master::{Answer, Effect, Event, Master, Op, Refusal};
use kernel_model::{caller::Caller, ids::FrameworkId, scheduler::Call};
use store::Store;
use tokio::sync::{mpsc, watch};

pub(crate) use outbound::Counters;
use outbound::OutboundQueues;
pub(crate) use queue::{CallError, Command, EventFilter, LinkHandle, MasterQueue, Stopped, StreamHandle};
use queue::{OperatorQueue, RepliesSender};
use writer::{RegistryWriter, Written};

use crate::clock::Clock;

/// Commands per write: enough to amortise an fsync, few enough that none waits long.
const BATCH_COMMANDS_MAX: usize = 256;

/// Operations after which a batch ends: a step adds a few, and a store transaction takes 128. A step with more makes several
/// transactions.
const BATCH_OPS_MAX: usize = 64;

/// The shortest sleep before a deadline: tokio's timer resolution.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The longest sleep before the deadline is read again.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What to do once the batch's writes are durable.
enum AfterPersist {
    Effect(Effect),
    /// Returns the results of several calls to a caller in this process.
    Answer(RepliesSender, Vec<Result<Answer, Refusal>>),
    Read(Box<dyn FnOnce(&Master) + Send>),
    /// A read, followed by every later operator event.
    Watch(OperatorQueue, Box<dyn FnOnce(&Master) + Send>),
}

/// Effects that were not carried out yet.
#[derive(Default)]
struct Batch {
    commands: usize,
    ops: Vec<Op>,
    /// Where the operations of each step end.
    step_ends: Vec<usize>,
    /// Requests whose answer says that a change is durable.
    durable: Vec<RequestId>,
    then: Vec<AfterPersist>,
    /// There were steps since offers were made.
    unsettled: bool,
    /// The batch ends with a read: it must not see the effects of later steps.
    sealed: bool,
}

impl Batch {
    fn begin_anew(&mut self) {
        self.commands = 0;
        self.ops.clear();
        self.step_ends.clear();
        self.durable.clear();
        self.then.clear();
        self.sealed = false;
    }

    /// The operations of each step.
    fn steps(&self) -> impl Iterator<Item = &[Op]> {
        let starts = std::iter::once(0).chain(self.step_ends.iter().copied());
        starts.zip(&self.step_ends).map(|(from, to)| &self.ops[from..*to])
    }

    /// Turns the answers that depend on a write into refusals.
    fn refuse_durable(&mut self, why: &str) {
        for then in &mut self.then {
            if let AfterPersist::Effect(Effect::Reply { request, result }) = then
                && result.is_ok()
                && self.durable.contains(request)
            {
                *result = Err(unwritable(why));
            }
        }
    }
}

fn unwritable(why: &str) -> Refusal {
    Refusal::Unavailable(format!("The registry cannot be written: {why}"))
}

/// The driver; see [`MasterDriver::run`].
pub(crate) struct MasterDriver {
    master: Master,
    clock: Clock,
    writer: RegistryWriter,
    commands: mpsc::Receiver<Command>,
    outbound: OutboundQueues,
    /// Events caused by carrying out effects.
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
            writer: RegistryWriter::new(store, Arc::clone(&counters)),
            commands,
            outbound: OutboundQueues::new(counters),
            backlog: VecDeque::new(),
            next_request: 0,
            stop,
        }
    }

    /// Runs until it is told to stop, all queue handles are dropped, or the store is closed.
    pub(crate) async fn run(mut self) -> Result<(), store::Error> {
        // Reused across batches to avoid reallocating.
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
                    retried = self.writer.retried() => match retried {
                        Ok(()) => None,
                        Err(error) => return Err(closed(error)),
                    },
                    _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
                };
                if let Some(command) = first {
                    self.take(command, &mut batch);
                }
            }
            self.fill(&mut batch);
            let transactions = writer::transactions(batch.steps());
            match self.writer.write(transactions).await {
                Ok(Written::Durable) => {}
                Ok(Written::Deferred(why)) => batch.refuse_durable(&why),
                Err(error) => return Err(closed(error)),
            }
            for then in batch.then.drain(..) {
                match then {
                    AfterPersist::Effect(effect) => self.outbound.carry_out(effect, &mut self.backlog),
                    AfterPersist::Answer(replies, answers) => self.outbound.answer(replies, answers),
                    AfterPersist::Read(read) => read(&self.master),
                    AfterPersist::Watch(sender, read) => {
                        read(&self.master);
                        self.outbound.watch(sender);
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

    /// Takes queued commands, up to the bounds of a batch, and then a tick if it is due.
    fn fill(&mut self, batch: &mut Batch) {
        while batch.ops.len() < BATCH_OPS_MAX
            && let Some(event) = self.backlog.pop_front()
        {
            self.step(event, batch);
        }
        while !batch.sealed && batch.commands < BATCH_COMMANDS_MAX && batch.ops.len() < BATCH_OPS_MAX {
            let Ok(command) = self.commands.try_recv() else { break };
            self.take(command, batch);
        }
        self.settle(batch);
        if !batch.sealed && self.master.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.step(Event::Tick, batch);
            self.settle(batch);
        }
    }

    fn step(&mut self, event: Event, batch: &mut Batch) {
        batch.commands += 1;
        batch.unsettled = true;
        let effects = self.master.step_unsettled(self.clock.now(), event);
        Self::add(effects, batch);
    }

    /// Makes the offers of several steps together.
    fn settle(&mut self, batch: &mut Batch) {
        if std::mem::take(&mut batch.unsettled) {
            let effects = self.master.settle();
            Self::add(effects, batch);
        }
    }

    fn add(effects: kernel_core::master::Effects, batch: &mut Batch) {
        if !effects.persist.is_empty() {
            batch.ops.extend(effects.persist);
            batch.step_ends.push(batch.ops.len());
        }
        batch.then.extend(effects.after_persist.into_iter().map(AfterPersist::Effect));
    }

    fn take(&mut self, command: Command, batch: &mut Batch) {
        let event = match command {
            Command::Subscribe { stream, caller, subscribe, sender, reply } => {
                let request = self.request(reply);
                self.outbound.open_stream(stream.clone(), sender);
                Event::Subscribe { request, stream, caller, subscribe }
            }
            Command::Call { framework_id, stream, caller, call, reply } => {
                let request = self.request(reply);
                Event::SchedulerCall { request, framework_id, stream, caller, call }
            }
            Command::Calls { framework_id, calls, replies } => {
                return self.take_calls(&framework_id, calls, replies, batch);
            }
            Command::SchedulerClosed { stream } => {
                if !self.outbound.drop_stream(&stream) {
                    return;
                }
                Event::SchedulerClosed { stream }
            }
            Command::LinkUp { link, sender } => {
                self.outbound.open_link(link, sender);
                Event::AgentConnected { link }
            }
            Command::LinkMessage { link, message } => {
                if !self.outbound.has_link(link) {
                    return;
                }
                Event::AgentMessage { link, message }
            }
            Command::LinkDown { link } => {
                if !self.outbound.drop_link(link) {
                    return;
                }
                Event::AgentDisconnected { link }
            }
            Command::Operator { call, reply } => {
                let is_kept = call.is_kept_in_registry();
                if is_kept && let Err(why) = self.writer.writable() {
                    let _ = reply.send(Err(unwritable(&why)));
                    return;
                }
                let request = self.request(reply);
                if is_kept {
                    batch.durable.push(request);
                }
                Event::Operator { request, call }
            }
            Command::Read(read) => {
                self.settle(batch);
                batch.then.push(AfterPersist::Read(read));
                batch.sealed = true;
                return;
            }
            Command::Watch { sender, snapshot } => {
                self.settle(batch);
                batch.then.push(AfterPersist::Watch(sender, snapshot));
                batch.sealed = true;
                return;
            }
        };
        self.step(event, batch);
    }

    /// Steps several calls. Their results are taken out of the effects, to be returned in one message.
    fn take_calls(&mut self, id: &FrameworkId, calls: Vec<Call>, replies: RepliesSender, batch: &mut Batch) {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            self.next_request += 1;
            let request = RequestId(self.next_request);
            let stream = self.master.framework(id).and_then(|f| f.stream().cloned());
            let framework_id = id.clone();
            let from = batch.then.len();
            let caller = Caller::InProcess;
            self.step(Event::SchedulerCall { request, framework_id, stream, caller, call }, batch);
            let answer = |then: &mut AfterPersist| match then {
                AfterPersist::Effect(Effect::Reply { request: of, .. }) => *of == request,
                _ => false,
            };
            for then in batch.then.extract_if(from.., answer) {
                if let AfterPersist::Effect(Effect::Reply { result, .. }) = then {
                    answers.push(result);
                }
            }
        }
        batch.then.push(AfterPersist::Answer(replies, answers));
    }

    fn request(&mut self, reply: queue::ReplySender) -> RequestId {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.outbound.add_reply(request, reply);
        request
    }
}

fn closed(error: store::Error) -> store::Error {
    tracing::error!(%error, "the master stops: its registry is closed");
    error
}

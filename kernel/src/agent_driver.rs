//! The task that owns the agent machine: takes inputs from its queue, steps the machine, makes its records durable, and
//! only then lets anything out. Several inputs share one write.

pub(crate) mod checkpoint_log;
mod queue;
mod record_codec;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use kernel_core::agent::{Agent, ConnectionId, Effect, Effects, Event, RequestId};
use kernel_model::{
    agent::ToMaster,
    executor::Event as ExecutorEvent,
    ids::{ContainerId, ExecutorId, FrameworkId},
};
use tokio::sync::{mpsc, oneshot};

pub(crate) use queue::{AgentQueue, ExecutorStream, Gone, Subscription};
use queue::{Input, Reply};

use crate::{
    clock::Clock,
    runtime::{Outcome, ProcessRuntime},
};
use checkpoint_log::CheckpointLog;

/// Inputs that share one write: enough to amortise a disk's flush, few enough that no one waits long.
const BATCH_INPUTS_MAX: usize = 256;

/// The shortest sleep before a deadline: what a timer can tell apart.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The longest sleep without looking at the deadline.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How long the link to the master may take no message before it is given up.
const MASTER_WAIT_MAX: Duration = Duration::from_secs(5);

/// How an agent ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As it was asked to.
    Stopped,
    /// The master does not want it.
    Refused(String),
    /// It cannot go on.
    Failed(String),
}

/// An executor's open event stream.
struct Stream {
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    outlet: mpsc::Sender<ExecutorEvent>,
}

/// The link as the driver holds it; dropping it ends the link.
struct Link {
    to_master: mpsc::Sender<ToMaster>,
    _held: oneshot::Sender<()>,
}

/// What has been stepped and not yet carried out.
#[derive(Default)]
struct Batch {
    effects: Effects,
    reads: Vec<queue::Look>,
    /// Containers whose end is in the effects.
    ended: Vec<ContainerId>,
}

/// The driver; [`AgentDriver::run`] is its life.
pub(crate) struct AgentDriver {
    agent: Agent,
    clock: Clock,
    /// Away only while a write is under way.
    log: Option<CheckpointLog>,
    runtime: ProcessRuntime,
    inputs: mpsc::Receiver<Input>,
    link: Option<Link>,
    streams: BTreeMap<ConnectionId, Stream>,
    replies: BTreeMap<RequestId, Reply>,
    next_number: u64,
    /// Streams whose reader is gone or does not keep up.
    broken: Vec<ConnectionId>,
    end: Option<End>,
}

impl AgentDriver {
    pub(crate) fn new(
        agent: Agent,
        clock: Clock,
        log: CheckpointLog,
        runtime: ProcessRuntime,
        inputs: mpsc::Receiver<Input>,
    ) -> Self {
        Self {
            agent,
            clock,
            log: Some(log),
            runtime,
            inputs,
            link: None,
            streams: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_number: 1,
            broken: Vec::new(),
            end: None,
        }
    }

    /// Runs until the agent has ended. `effects` are those of its recovery, `ended` the containers that ended before it.
    pub(crate) async fn run(
        mut self,
        effects: Effects,
        ended: Vec<ContainerId>,
        mut outcomes: mpsc::Receiver<Outcome>,
    ) -> End {
        let mut batch = Batch { effects, reads: Vec::new(), ended };
        loop {
            if let Err(error) = self.finish(std::mem::take(&mut batch)).await {
                tracing::error!(%error, "the agent stops: its checkpoint takes no writes");
                return End::Failed(format!("the agent cannot write its checkpoint: {error}"));
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            for connection in std::mem::take(&mut self.broken) {
                self.take(Input::StreamClosed { connection }, &mut batch);
            }
            let wait = self.until_deadline();
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input, &mut batch),
                    None => return End::Stopped,
                },
                Some(outcome) = outcomes.recv() => self.outcome(outcome, &mut batch),
                () = tokio::time::sleep(wait) => {}
            }
            for _ in 1..BATCH_INPUTS_MAX {
                if let Ok(outcome) = outcomes.try_recv() {
                    self.outcome(outcome, &mut batch);
                } else if let Ok(input) = self.inputs.try_recv() {
                    self.take(input, &mut batch);
                } else {
                    break;
                }
            }
            if self.agent.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
                self.step(Event::Tick, &mut batch);
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        match self.agent.next_deadline() {
            Some(deadline) => deadline.since(self.clock.now()).clamp(SLEEP_MIN, SLEEP_MAX),
            None => SLEEP_MAX,
        }
    }

    fn step(&mut self, event: Event, batch: &mut Batch) {
        let effects = self.agent.step(self.clock.now(), event);
        batch.effects.persist.extend(effects.persist);
        batch.effects.after_persist.extend(effects.after_persist);
    }

    fn outcome(&mut self, outcome: Outcome, batch: &mut Batch) {
        let event = match outcome {
            Outcome::StartFailed { container_id, message } => {
                batch.ended.push(container_id.clone());
                Event::StartFailed { container_id, message }
            }
            Outcome::Exited { container_id, status, limitation } => {
                batch.ended.push(container_id.clone());
                Event::Exited { container_id, status, limitation }
            }
        };
        self.step(event, batch);
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn take(&mut self, input: Input, batch: &mut Batch) {
        let event = match input {
            Input::Event(event) => event,
            Input::LinkUp { to_master, held } => {
                self.link = Some(Link { to_master, _held: held });
                Event::LinkUp
            }
            Input::Leave => {
                self.end.get_or_insert(End::Stopped);
                return;
            }
            Input::LinkDown => {
                self.link = None;
                Event::LinkDown
            }
            Input::Subscribe { subscription, outlet, reply } => {
                let (request, connection) = (RequestId(self.number()), ConnectionId(self.number()));
                self.replies.insert(request, Reply::Subscribed(connection, reply));
                let Subscription { framework_id, executor_id, unacknowledged_tasks, unacknowledged_updates } =
                    subscription;
                let (framework, executor) = (framework_id.clone(), executor_id.clone());
                self.streams
                    .insert(connection, Stream { framework_id: framework, executor_id: executor, outlet });
                Event::Subscribe {
                    request,
                    connection,
                    framework_id,
                    executor_id,
                    unacknowledged_tasks,
                    unacknowledged_updates,
                }
            }
            Input::Call { framework_id, executor_id, call, reply } => {
                let request = RequestId(self.number());
                self.replies.insert(request, Reply::Called(reply));
                Event::Call { request, framework_id, executor_id, call }
            }
            Input::StreamClosed { connection } => {
                let Some(stream) = self.streams.remove(&connection) else { return };
                let Stream { framework_id, executor_id, .. } = stream;
                Event::Disconnected { framework_id, executor_id, connection }
            }
            Input::Read(read) => return batch.reads.push(read),
        };
        self.step(event, batch);
    }

    /// Makes a batch durable and carries it out.
    async fn finish(&mut self, batch: Batch) -> Result<(), checkpoint_log::LogError> {
        self.persist(batch.effects.persist).await?;
        self.runtime.forget(batch.ended);
        for effect in batch.effects.after_persist {
            match effect {
                Effect::ToMaster(message) => self.tell_master(message).await,
                effect => self.carry_out(effect),
            }
        }
        for read in batch.reads {
            read(&self.agent);
        }
        Ok(())
    }

    async fn persist(
        &mut self,
        records: Vec<kernel_core::agent::Record>,
    ) -> Result<(), checkpoint_log::LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut log = self.log.take().expect("the log is away only while a write is under way");
        // The compacted form holds all that this batch did as well.
        let snapshot = log.wants_compaction().then(|| self.agent.records());
        let write = move || {
            let result = match snapshot {
                Some(all) => log.rewrite(&all),
                None => log.append(&records),
            };
            (log, result)
        };
        let (log, result) =
            tokio::task::spawn_blocking(write).await.map_err(checkpoint_log::LogError::panicked)?;
        self.log = Some(log);
        result
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToMaster(_) => {}
            Effect::DropLink => {
                tracing::warn!("the master is silent: dialling again");
                self.link = None;
            }
            Effect::Start(start) => {
                tracing::info!(
                    framework = start.framework.id.as_ref().map(|id| id.as_str()),
                    executor = %start.executor.executor_id,
                    container = %start.container_id,
                    "starting executor"
                );
                self.runtime.start(start);
            }
            Effect::SetLimits { container_id, limits } => self.runtime.set_limits(&container_id, limits),
            Effect::Terminate { container_id } => self.runtime.terminate(&container_id),
            Effect::Destroy { container_id } => self.runtime.destroy(&container_id),
            Effect::ToExecutor { connection, event } => {
                let stream = self.streams.get(&connection);
                // An executor that does not keep up loses its stream and has to subscribe again.
                if stream.is_some_and(|stream| stream.outlet.try_send(event).is_err()) {
                    tracing::warn!(connection = connection.0, "executor does not read its events");
                    self.broken.push(connection);
                }
            }
            Effect::Close { connection } => {
                self.streams.remove(&connection);
            }
            Effect::Reply { request, result } => match self.replies.remove(&request) {
                Some(Reply::Subscribed(connection, reply)) => {
                    if result.is_err() {
                        self.streams.remove(&connection);
                    }
                    if reply.send(result.map(|()| connection)).is_err() {
                        self.broken.push(connection);
                    }
                }
                Some(Reply::Called(reply)) => {
                    let _ = reply.send(result);
                }
                None => {}
            },
            Effect::Stopped { message: None } => self.end = Some(End::Stopped),
            Effect::Stopped { message: Some(message) } => self.end = Some(End::Refused(message)),
        }
    }

    /// The master's side never waits for an agent, so that this wait cannot become a circle.
    async fn tell_master(&mut self, message: ToMaster) {
        let Some(link) = &self.link else { return };
        let sent = match link.to_master.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(message)) => {
                link.to_master.send_timeout(message, MASTER_WAIT_MAX).await.is_ok()
            }
        };
        if !sent {
            tracing::warn!("the link to the master takes nothing more: dialling again");
            self.link = None;
        }
    }
}

//! The task that owns the agent's state machine: it takes inputs from its queue, steps the machine, persists its
//! records, and only then carries out its effects. Several inputs share one write (group commit).

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

pub(crate) use queue::{AgentQueue, AgentStopped, ExecutorStream, Subscription};
use queue::{Input, Reply};

use crate::{
    clock::Clock,
    runtime::{ContainerEvent, Runtime},
    task_trace,
};
use checkpoint_log::CheckpointLog;

/// Inputs per write: enough to amortise an fsync, few enough that none waits long.
const BATCH_INPUTS_MAX: usize = 256;

/// The shortest sleep before a deadline: tokio's timer resolution.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// The longest sleep before the deadline is read again.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How long the link to the master may block before it is dropped.
const MASTER_WAIT_MAX: Duration = Duration::from_secs(5);

/// How an agent stopped.
#[derive(Debug)]
pub(crate) enum AgentExit {
    /// As requested.
    Stopped,
    /// The master refused it.
    Refused(String),
    /// It failed.
    Failed(String),
}

struct ExecutorConnection {
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    sender: mpsc::Sender<ExecutorEvent>,
}

/// The driver's end of the link; dropping it closes the link.
struct MasterLink {
    to_master: mpsc::Sender<ToMaster>,
    _guard: oneshot::Sender<()>,
}

/// Effects that were not carried out yet.
#[derive(Default)]
struct Batch {
    effects: Effects,
    reads: Vec<queue::ReadFn>,
    /// Containers whose termination is among the effects.
    ended: Vec<ContainerId>,
}

/// The driver; see [`AgentDriver::run`].
pub(crate) struct AgentDriver {
    agent: Agent,
    clock: Clock,
    /// `None` only during a write.
    log: Option<CheckpointLog>,
    runtime: Runtime,
    inputs: mpsc::Receiver<Input>,
    link: Option<MasterLink>,
    streams: BTreeMap<ConnectionId, ExecutorConnection>,
    replies: BTreeMap<RequestId, Reply>,
    next_number: u64,
    /// Streams whose reader is gone or too slow.
    broken: Vec<ConnectionId>,
    end: Option<AgentExit>,
    /// The outcomes of effects, for the next step.
    answers: Vec<Event>,
}

impl AgentDriver {
    pub(crate) fn new(
        agent: Agent,
        clock: Clock,
        log: CheckpointLog,
        runtime: Runtime,
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
            answers: Vec::new(),
        }
    }

    /// Runs until the agent stops. `effects` are those of the recovery, `ended` the containers that terminated before
    /// it.
    pub(crate) async fn run(
        mut self,
        effects: Effects,
        ended: Vec<ContainerId>,
        mut container_events: mpsc::Receiver<ContainerEvent>,
    ) -> AgentExit {
        let mut batch = Batch { effects, reads: Vec::new(), ended };
        loop {
            if let Err(error) = self.finish(std::mem::take(&mut batch)).await {
                tracing::error!(%error, "the agent stops: its checkpoint takes no writes");
                return AgentExit::Failed(format!("the agent cannot write its checkpoint: {error}"));
            }
            if let Some(end) = self.end.take() {
                return end;
            }
            for connection in std::mem::take(&mut self.broken) {
                self.take(Input::StreamClosed { connection }, &mut batch);
            }
            if !self.answers.is_empty() {
                for event in std::mem::take(&mut self.answers) {
                    self.step(event, &mut batch);
                }
                continue;
            }
            let wait = self.until_deadline();
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input, &mut batch),
                    None => return AgentExit::Stopped,
                },
                Some(container_event) = container_events.recv() => self.container_event(container_event, &mut batch),
                () = tokio::time::sleep(wait) => {}
            }
            for _ in 1..BATCH_INPUTS_MAX {
                if let Ok(container_event) = container_events.try_recv() {
                    self.container_event(container_event, &mut batch);
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

    fn container_event(&mut self, container_event: ContainerEvent, batch: &mut Batch) {
        let event = match container_event {
            ContainerEvent::StartFailed { container_id, message } => {
                batch.ended.push(container_id.clone());
                Event::StartFailed { container_id, message }
            }
            ContainerEvent::Exited { container_id, status, limitation } => {
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
            Input::LinkUp { to_master, guard } => {
                self.link = Some(MasterLink { to_master, _guard: guard });
                Event::LinkUp
            }
            Input::Leave => {
                self.end.get_or_insert(AgentExit::Stopped);
                return;
            }
            Input::LinkDown => {
                self.link = None;
                Event::LinkDown
            }
            Input::Subscribe { subscription, sender, reply } => {
                let (request, connection) = (RequestId(self.number()), ConnectionId(self.number()));
                self.replies.insert(request, Reply::Subscribed(connection, reply));
                let Subscription { framework_id, executor_id, unacknowledged_tasks, unacknowledged_updates } =
                    subscription;
                let (framework, executor) = (framework_id.clone(), executor_id.clone());
                self.streams.insert(
                    connection,
                    ExecutorConnection { framework_id: framework, executor_id: executor, sender },
                );
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
                let ExecutorConnection { framework_id, executor_id, .. } = stream;
                Event::Disconnected { framework_id, executor_id, connection }
            }
            Input::Read(read) => return batch.reads.push(read),
        };
        self.step(event, batch);
    }

    /// Persists a batch and carries out its effects.
    async fn finish(&mut self, batch: Batch) -> Result<(), checkpoint_log::LogError> {
        self.persist(batch.effects.persist).await?;
        self.runtime.forget(batch.ended);
        for effect in batch.effects.after_persist {
            match effect {
                Effect::ToMaster(message) => self.send_to_master(message).await,
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
        let mut log = self.log.take().expect("invariant: the log is taken only during a write");
        // The compacted log includes the records of this batch.
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
            Effect::SyncVolumes { agent_id, volumes } => {
                let failed = self.runtime.sync_volumes(&agent_id, &volumes);
                // The last of a batch is about all volumes that the steps before it made.
                self.answers = vec![Event::VolumesSynced { failed }];
            }
            Effect::LinkVolumes { container_id, volumes } => {
                self.runtime.link_volumes(&container_id, volumes);
            }
            Effect::SetLimits { container_id, limits } => self.runtime.set_limits(&container_id, limits),
            Effect::Terminate { container_id } => self.runtime.terminate(&container_id),
            Effect::Destroy { container_id } => self.runtime.destroy(&container_id),
            Effect::ToExecutor { connection, event } => {
                task_trace::to_executor(&event);
                // A slow executor loses its stream and has to subscribe again. One that has left is no fault.
                if !self.broken.contains(&connection)
                    && let Some(Err(error)) =
                        self.streams.get(&connection).map(|stream| stream.sender.try_send(event))
                {
                    if let mpsc::error::TrySendError::Full(_) = error {
                        tracing::warn!(connection = connection.0, "executor does not read its events");
                    }
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
            Effect::Stopped { message: None } => self.end = Some(AgentExit::Stopped),
            Effect::Stopped { message: Some(message) } => self.end = Some(AgentExit::Refused(message)),
        }
    }

    /// The master's side never waits for an agent, so this wait cannot deadlock.
    async fn send_to_master(&mut self, message: ToMaster) {
        let Some(link) = &self.link else { return };
        task_trace::to_master(&message);
        let sent = match link.to_master.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(message)) => {
                link.to_master.send_timeout(message, MASTER_WAIT_MAX).await.is_ok()
            }
        };
        if !sent {
            tracing::warn!("the link to the master is blocked: dialling again");
            self.link = None;
        }
    }
}

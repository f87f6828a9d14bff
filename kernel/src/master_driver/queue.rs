//! The queue of the master's task: commands, and a handle that the servers clone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use kernel_core::{
    effect::LinkId,
    master::{Answer, Master, OperatorCall, Refusal},
};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    caller::Caller,
    ids::{FrameworkId, StreamId},
    operator,
    scheduler::{self, Subscribe},
};
use kernel_wire::{
    Invalid,
    extra::{check_call, check_framework},
};
use tokio::sync::{mpsc, oneshot};

use super::event_queue::{self, EventReceiver, EventSender};

/// Queued commands. Servers wait when the queue is full, and with them their clients.
pub(crate) const COMMAND_QUEUE_BOUND: usize = 4096;

/// Queued events per scheduler before its stream is closed: an implicit reconciliation of 100,000 tasks fits.
pub(crate) const SCHEDULER_QUEUE_BOUND: usize = 128 * 1024;

/// Queued messages per agent before its link is closed: the launches of some seconds.
pub(crate) const AGENT_QUEUE_BOUND: usize = 16 * 1024;

/// Messages of frameworks to executors from this size on are sent only to agents that read.
const LARGE_MESSAGE_BYTES: usize = 64 << 10;

/// Messages that may wait for an agent when a large one is sent to it.
const LARGE_MESSAGES_MAX: usize = 16;

/// Queued events per operator stream before it is closed.
pub(crate) const OPERATOR_QUEUE_BOUND: usize = 64 * 1024;

/// The reply to a call.
pub(crate) type ReplySender = oneshot::Sender<Result<Answer, Refusal>>;

/// The replies to several calls, in order.
pub(crate) type RepliesSender = oneshot::Sender<Vec<Result<Answer, Refusal>>>;

/// A command for the master's task.
pub(crate) enum Command {
    Subscribe {
        stream: StreamId,
        caller: Caller,
        subscribe: Box<Subscribe>,
        sender: EventSender,
        reply: ReplySender,
    },
    Call {
        framework_id: FrameworkId,
        stream: Option<StreamId>,
        caller: Caller,
        call: scheduler::Call,
        reply: ReplySender,
    },
    /// Several calls of a scheduler in this process, on its current stream.
    Calls {
        framework_id: FrameworkId,
        calls: Vec<scheduler::Call>,
        replies: RepliesSender,
    },
    SchedulerClosed {
        stream: StreamId,
    },
    LinkUp {
        link: LinkId,
        sender: LinkQueue,
    },
    /// A message from an agent.
    LinkMessage {
        link: LinkId,
        message: ToMaster,
    },
    LinkDown {
        link: LinkId,
    },
    Operator {
        call: OperatorCall,
        reply: ReplySender,
    },
    /// A read of the master's state, which never sees anything that is not durable.
    Read(Box<dyn FnOnce(&Master) + Send>),
    /// A read, followed by every later operator event.
    Watch {
        sender: OperatorQueue,
        snapshot: Box<dyn FnOnce(&Master) + Send>,
    },
}

/// The queue to an agent.
pub(crate) enum LinkQueue {
    /// A separate queue, which ends when the master closes the link.
    Own(mpsc::Sender<ToAgent>),
    /// One queue for many hollow agents, because thousands of queues would use more memory than the agents. Its reader
    /// is not told of a closed link; the agent notices the missing pings.
    Shared(mpsc::Sender<(LinkId, ToAgent)>),
}

impl LinkQueue {
    /// Whether a message that a framework can send as often as it likes must be dropped: then the queue is kept for others, because a
    /// full one ends the link. All of them may be lost on a link: the agent repeats what is not acknowledged, and frameworks repeat kills.
    pub(super) fn drops(&self, message: &ToAgent) -> bool {
        let waiting = match self {
            LinkQueue::Own(sender) => sender.max_capacity() - sender.capacity(),
            LinkQueue::Shared(sender) => sender.max_capacity() - sender.capacity(),
        };
        match message {
            ToAgent::Message { data, .. } if data.len() > LARGE_MESSAGE_BYTES => waiting > LARGE_MESSAGES_MAX,
            ToAgent::Message { .. }
            | ToAgent::ShutdownExecutor { .. }
            | ToAgent::Acknowledge { .. }
            | ToAgent::AcknowledgeOperation { .. }
            | ToAgent::KillTask { .. } => waiting > AGENT_QUEUE_BOUND / 2,
            _ => false,
        }
    }

    /// Sends; returns whether the queue had room.
    pub(super) fn try_send(&self, link: LinkId, message: ToAgent) -> bool {
        match self {
            LinkQueue::Own(sender) => sender.try_send(message).is_ok(),
            LinkQueue::Shared(sender) => sender.try_send((link, message)).is_ok(),
        }
    }
}

/// The queue to an operator stream.
pub(crate) struct OperatorQueue {
    pub(super) events: mpsc::Sender<operator::Event>,
    pub(super) filter: EventFilter,
}

/// Which events a watcher receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventFilter {
    All,
    /// Events of agents and frameworks. Most events are of tasks, which frameworks receive on their own stream.
    Cluster,
}

impl OperatorQueue {
    /// Sends the event if the filter selects it.
    pub(super) fn try_send(
        &self,
        event: &operator::Event,
    ) -> Result<(), mpsc::error::TrySendError<operator::Event>> {
        let of_task =
            matches!(event, operator::Event::TaskAdded { .. } | operator::Event::TaskUpdated { .. });
        match self.filter {
            EventFilter::Cluster if of_task => Ok(()),
            _ => self.events.try_send(event.clone()),
        }
    }
}

/// The master has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master is not running")]
pub(crate) struct Stopped;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A scheduler's stream; dropping it tells the master that the scheduler disconnected.
pub(crate) struct StreamHandle {
    pub(crate) id: StreamId,
    pub(crate) events: EventReceiver,
    queue: MasterQueue,
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.queue.close_later(Command::SchedulerClosed { stream: self.id.clone() });
    }
}

/// A handle on the queue.
#[derive(Clone)]
pub(crate) struct MasterQueue {
    commands: mpsc::Sender<Command>,
    next_link: Arc<AtomicU64>,
}

impl MasterQueue {
    /// A queue and its receiver.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE_BOUND);
        (Self { commands, next_link: Arc::new(AtomicU64::new(1)) }, receiver)
    }

    /// How many commands wait.
    pub(crate) fn queued(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Sends from `drop`, which cannot wait.
    fn close_later(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.commands.clone();
            runtime.spawn(async move { commands.send(command).await });
        }
    }

    /// Subscribes a client; the stream may have only an ERROR.
    pub(crate) async fn subscribe(
        &self,
        caller: Caller,
        subscribe: Subscribe,
    ) -> Result<StreamHandle, CallError> {
        let (sender, events) = event_queue::bounded();
        let (reply, answer) = oneshot::channel();
        let id = StreamId::from(uuid::Uuid::new_v4().to_string());
        let subscribe = subscribe.into();
        self.send(Command::Subscribe { stream: id.clone(), caller, subscribe, sender, reply }).await?;
        let handle = StreamHandle { id, events, queue: self.clone() };
        answer.await.map_err(|_| Stopped)??;
        Ok(handle)
    }

    /// Subscribes a scheduler in this process. Its disconnection is noticed with the next event for it.
    pub(crate) async fn subscribe_in_process(
        &self,
        subscribe: Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, CallError> {
        check_framework(&subscribe.framework).map_err(|Invalid(why)| Refusal::Invalid(why))?;
        let (sender, events) = mpsc::channel(SCHEDULER_QUEUE_BOUND);
        let sender = EventSender::in_process(sender);
        let (reply, answer) = oneshot::channel();
        let stream = StreamId::from(uuid::Uuid::new_v4().to_string());
        let subscribe = subscribe.into();
        let caller = Caller::InProcess;
        self.send(Command::Subscribe { stream, caller, subscribe, sender, reply }).await?;
        answer.await.map_err(|_| Stopped)??;
        Ok(events)
    }

    pub(crate) async fn call(
        &self,
        caller: Caller,
        framework_id: FrameworkId,
        stream: Option<StreamId>,
        call: scheduler::Call,
    ) -> Result<Answer, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Call { framework_id, stream, caller, call, reply }).await?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// Several calls of a scheduler in this process, dozens at most. Values that do not decode are refused here, because
    /// the master's conversions rely on it.
    pub(crate) async fn call_current(
        &self,
        framework_id: FrameworkId,
        mut calls: Vec<scheduler::Call>,
    ) -> Result<Vec<Result<Answer, Refusal>>, Stopped> {
        let refusal = |Invalid(why)| Refusal::Invalid(why);
        let refusals: Vec<Option<Refusal>> =
            calls.iter_mut().map(|call| check_call(call).err().map(refusal)).collect();
        let checked = calls.into_iter().zip(&refusals);
        let calls = checked.filter_map(|(call, refusal)| refusal.is_none().then_some(call)).collect();
        let (replies, answers) = oneshot::channel();
        self.send(Command::Calls { framework_id, calls, replies }).await?;
        let mut answers = answers.await.map_err(|_| Stopped)?.into_iter();
        let answer = |refusal: Option<Refusal>| match refusal {
            Some(refusal) => Err(refusal),
            None => answers.next().expect("invariant: the master answers every call"),
        };
        Ok(refusals.into_iter().map(answer).collect())
    }

    pub(crate) async fn operator(&self, call: OperatorCall) -> Result<Answer, CallError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Operator { call, reply }).await?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// Reads the master's state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Master) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |master: &Master| {
            let _ = reply.send(read(master));
        });
        self.send(Command::Read(read)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Reads a snapshot of the master's state on another thread, for reads that take long.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Master) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let snapshot = self.read(Master::snapshot).await?;
        tokio::task::spawn_blocking(move || read(&snapshot)).await.map_err(|_| Stopped)
    }

    /// Reads the master's state and opens a stream of the later events that the filter selects.
    pub(crate) async fn watch<T: Send + 'static>(
        &self,
        filter: EventFilter,
        read: impl FnOnce(&Master) -> T + Send + 'static,
    ) -> Result<(T, mpsc::Receiver<operator::Event>), Stopped> {
        let (sender, events) = mpsc::channel(OPERATOR_QUEUE_BOUND);
        let (reply, answer) = oneshot::channel();
        let snapshot = Box::new(move |master: &Master| {
            let _ = reply.send(read(master));
        });
        let sender = OperatorQueue { events: sender, filter };
        self.send(Command::Watch { sender, snapshot }).await?;
        Ok((answer.await.map_err(|_| Stopped)?, events))
    }

    /// Announces an agent's link. The receiver gets the master's messages and ends when the master closes the link.
    pub(crate) async fn link_up(&self) -> Result<(LinkHandle, mpsc::Receiver<ToAgent>), Stopped> {
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let (sender, messages) = mpsc::channel(AGENT_QUEUE_BOUND);
        self.send(Command::LinkUp { link, sender: LinkQueue::Own(sender) }).await?;
        Ok((LinkHandle { link, queue: self.clone() }, messages))
    }

    /// Announces a link with a shared queue; see [`LinkQueue::Shared`].
    pub(crate) async fn shared_link_up(
        &self,
        sender: mpsc::Sender<(LinkId, ToAgent)>,
    ) -> Result<LinkHandle, Stopped> {
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        self.send(Command::LinkUp { link, sender: LinkQueue::Shared(sender) }).await?;
        Ok(LinkHandle { link, queue: self.clone() })
    }
}

/// An agent's link; dropping it tells the master that the link is down.
pub(crate) struct LinkHandle {
    link: LinkId,
    queue: MasterQueue,
}

impl LinkHandle {
    pub(crate) fn id(&self) -> LinkId {
        self.link
    }

    /// Sends a message of the agent to the master.
    pub(crate) async fn send(&self, message: ToMaster) -> Result<(), Stopped> {
        self.queue.send(Command::LinkMessage { link: self.link, message }).await
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.queue.close_later(Command::LinkDown { link: self.link });
    }
}

//! The way into the master's task: commands, and a handle that every door clones.

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
    ids::{FrameworkId, StreamId},
    operator,
    scheduler::{self, Subscribe},
};
use tokio::sync::{mpsc, oneshot};

/// Commands that wait for the master. Doors wait when it is full, and with them their clients.
pub(crate) const COMMAND_QUEUE_BOUND: usize = 4096;

/// Events that a scheduler may lag behind before its stream is closed: an implicit reconciliation of 100,000 tasks fits.
pub(crate) const SCHEDULER_QUEUE_BOUND: usize = 128 * 1024;

/// Messages that an agent may lag behind before its link is closed: launches of some seconds.
pub(crate) const AGENT_QUEUE_BOUND: usize = 16 * 1024;

/// Events that an operator stream may lag behind before it is closed.
pub(crate) const OPERATOR_QUEUE_BOUND: usize = 64 * 1024;

/// How a question is answered.
pub(crate) type ReplySender = oneshot::Sender<Result<Answer, Refusal>>;

/// How several questions are answered, in their order.
pub(crate) type RepliesSender = oneshot::Sender<Vec<Result<Answer, Refusal>>>;

/// What a door asks.
pub(crate) enum Command {
    /// A scheduler subscribes.
    Subscribe {
        stream: StreamId,
        principal: Option<String>,
        subscribe: Box<Subscribe>,
        outlet: mpsc::Sender<scheduler::Event>,
        reply: ReplySender,
    },
    /// A scheduler calls.
    Call {
        framework_id: FrameworkId,
        stream: Option<StreamId>,
        principal: Option<String>,
        call: scheduler::Call,
        reply: ReplySender,
    },
    /// A scheduler in this process calls, some times in a row: on whichever stream it has.
    Calls { framework_id: FrameworkId, calls: Vec<scheduler::Call>, replies: RepliesSender },
    /// A scheduler's stream ended.
    SchedulerClosed { stream: StreamId },
    /// An agent's link is up.
    LinkUp { link: LinkId, outlet: LinkOutlet },
    /// An agent speaks.
    LinkMessage { link: LinkId, message: ToMaster },
    /// An agent's link is down.
    LinkDown { link: LinkId },
    /// An operator changes something.
    Operator { call: OperatorCall, reply: ReplySender },
    /// A look at the master, never at anything that is not durable yet.
    Read(Box<dyn FnOnce(&Master) + Send>),
    /// A look, and every operator event after it.
    Watch { outlet: OperatorOutlet, snapshot: Box<dyn FnOnce(&Master) + Send> },
}

/// The way out to an agent.
pub(crate) enum LinkOutlet {
    /// A queue of its own, which ends when the master closes the link.
    Own(mpsc::Sender<ToAgent>),
    /// One queue for many simulated agents, because thousands of queues weigh more than the agents. Its reader is not told
    /// of a closed link; the agent notices the silence.
    Shared(mpsc::Sender<(LinkId, ToAgent)>),
}

impl LinkOutlet {
    /// Whether the reader could take it.
    pub(super) fn try_send(&self, link: LinkId, message: ToAgent) -> bool {
        match self {
            LinkOutlet::Own(outlet) => outlet.try_send(message).is_ok(),
            LinkOutlet::Shared(outlet) => outlet.try_send((link, message)).is_ok(),
        }
    }
}

/// The way out to an operator.
pub(crate) struct OperatorOutlet {
    pub(super) events: mpsc::Sender<operator::Event>,
    pub(super) wanted: Wanted,
}

/// What a watcher wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Everything.
    All,
    /// Agents and frameworks. Most events are of tasks, and who runs them hears of them otherwise.
    Cluster,
}

impl OperatorOutlet {
    /// Sends what is wanted.
    pub(super) fn try_send(
        &self,
        event: &operator::Event,
    ) -> Result<(), mpsc::error::TrySendError<operator::Event>> {
        let of_task =
            matches!(event, operator::Event::TaskAdded { .. } | operator::Event::TaskUpdated { .. });
        match self.wanted {
            Wanted::Cluster if of_task => Ok(()),
            _ => self.events.try_send(event.clone()),
        }
    }
}

/// The master's task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master is not running")]
pub(crate) struct Stopped;

/// Why a question got no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The master says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody is there.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A scheduler's stream; dropping it tells the master that the scheduler is gone.
pub(crate) struct StreamHandle {
    pub(crate) id: StreamId,
    pub(crate) events: mpsc::Receiver<scheduler::Event>,
    queue: MasterQueue,
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.queue.close_later(Command::SchedulerClosed { stream: self.id.clone() });
    }
}

/// The way in.
#[derive(Clone)]
pub(crate) struct MasterQueue {
    commands: mpsc::Sender<Command>,
    next_link: Arc<AtomicU64>,
}

impl MasterQueue {
    /// The queue and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE_BOUND);
        (Self { commands, next_link: Arc::new(AtomicU64::new(1)) }, receiver)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// Sends from where nothing can wait.
    fn close_later(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.commands.clone();
            runtime.spawn(async move { commands.send(command).await });
        }
    }

    /// Opens a stream; it may hold nothing but an ERROR.
    pub(crate) async fn subscribe(&self, subscribe: Subscribe) -> Result<StreamHandle, Fault> {
        let (outlet, events) = mpsc::channel(SCHEDULER_QUEUE_BOUND);
        let (reply, answer) = oneshot::channel();
        let id = StreamId::from(uuid::Uuid::new_v4().to_string());
        let subscribe = subscribe.into();
        self.send(Command::Subscribe { stream: id.clone(), principal: None, subscribe, outlet, reply })
            .await?;
        let handle = StreamHandle { id, events, queue: self.clone() };
        answer.await.map_err(|_| Stopped)??;
        Ok(handle)
    }

    /// Opens a stream for a scheduler in this process. That it left is noticed with the next event that is for it.
    pub(crate) async fn subscribe_in_process(
        &self,
        subscribe: Subscribe,
    ) -> Result<mpsc::Receiver<scheduler::Event>, Fault> {
        let (outlet, events) = mpsc::channel(SCHEDULER_QUEUE_BOUND);
        let (reply, answer) = oneshot::channel();
        let stream = StreamId::from(uuid::Uuid::new_v4().to_string());
        let subscribe = subscribe.into();
        self.send(Command::Subscribe { stream, principal: None, subscribe, outlet, reply }).await?;
        answer.await.map_err(|_| Stopped)??;
        Ok(events)
    }

    /// Any other call of a scheduler.
    pub(crate) async fn call(
        &self,
        framework_id: FrameworkId,
        stream: Option<StreamId>,
        call: scheduler::Call,
    ) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Call { framework_id, stream, principal: None, call, reply }).await?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// Calls of a scheduler in this process, some dozens at most.
    pub(crate) async fn call_current(
        &self,
        framework_id: FrameworkId,
        calls: Vec<scheduler::Call>,
    ) -> Result<Vec<Result<Answer, Refusal>>, Stopped> {
        let (replies, answers) = oneshot::channel();
        self.send(Command::Calls { framework_id, calls, replies }).await?;
        answers.await.map_err(|_| Stopped)
    }

    /// A change by an operator.
    pub(crate) async fn operator(&self, call: OperatorCall) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Operator { call, reply }).await?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// A look at the master.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Master) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |master: &Master| {
            let _ = reply.send(look(master));
        });
        self.send(Command::Read(read)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// A long look, at a picture: the master goes on meanwhile, and so does this thread's other work.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Master) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let picture = self.read(Master::picture).await?;
        tokio::task::spawn_blocking(move || look(&picture)).await.map_err(|_| Stopped)
    }

    /// A look, and every wanted operator event after it.
    pub(crate) async fn watch<T: Send + 'static>(
        &self,
        wanted: Wanted,
        look: impl FnOnce(&Master) -> T + Send + 'static,
    ) -> Result<(T, mpsc::Receiver<operator::Event>), Stopped> {
        let (sender, events) = mpsc::channel(OPERATOR_QUEUE_BOUND);
        let (reply, answer) = oneshot::channel();
        let snapshot = Box::new(move |master: &Master| {
            let _ = reply.send(look(master));
        });
        let outlet = OperatorOutlet { events: sender, wanted };
        self.send(Command::Watch { outlet, snapshot }).await?;
        Ok((answer.await.map_err(|_| Stopped)?, events))
    }

    /// Announces an agent's link; what the master says comes out of the receiver, which ends when the master closes it.
    pub(crate) async fn link_up(&self) -> Result<(LinkHandle, mpsc::Receiver<ToAgent>), Stopped> {
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let (outlet, messages) = mpsc::channel(AGENT_QUEUE_BOUND);
        self.send(Command::LinkUp { link, outlet: LinkOutlet::Own(outlet) }).await?;
        Ok((LinkHandle { link, queue: self.clone() }, messages))
    }

    /// Announces one of many links that share a queue; see [`LinkOutlet::Shared`].
    pub(crate) async fn shared_link_up(
        &self,
        outlet: mpsc::Sender<(LinkId, ToAgent)>,
    ) -> Result<LinkHandle, Stopped> {
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        self.send(Command::LinkUp { link, outlet: LinkOutlet::Shared(outlet) }).await?;
        Ok(LinkHandle { link, queue: self.clone() })
    }
}

/// An agent's link; dropping it tells the master that the link is down.
pub(crate) struct LinkHandle {
    link: LinkId,
    queue: MasterQueue,
}

impl LinkHandle {
    /// Its number.
    pub(crate) fn id(&self) -> LinkId {
        self.link
    }

    /// What the agent says.
    pub(crate) async fn say(&self, message: ToMaster) -> Result<(), Stopped> {
        self.queue.send(Command::LinkMessage { link: self.link, message }).await
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.queue.close_later(Command::LinkDown { link: self.link });
    }
}

//! The queue of the agent's task: inputs, and a handle that the servers clone.

use kernel_core::agent::{Agent, ConnectionId, Event, Refusal};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    executor::{Call, Event as ExecutorEvent},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::TaskStatus,
};
use tokio::sync::{mpsc, oneshot};

/// Queued inputs. Servers wait when the queue is full, and with them their clients.
const INPUT_QUEUE_BOUND: usize = 1024;

/// Queued events per executor before its stream is closed: several times the launches of a full machine.
pub(crate) const EXECUTOR_QUEUE_BOUND: usize = 4096;

/// A read of the agent's state.
pub(crate) type ReadFn = Box<dyn FnOnce(&Agent) + Send>;

/// The agent has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is not running")]
pub(crate) struct AgentStopped;

/// The parameters of an executor's SUBSCRIBE.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) framework_id: FrameworkId,
    pub(crate) executor_id: ExecutorId,
    pub(crate) unacknowledged_tasks: Vec<TaskId>,
    pub(crate) unacknowledged_updates: Vec<TaskStatus>,
}

/// An input of the agent's task.
pub(crate) enum Input {
    Event(Event),
    LinkUp {
        to_master: mpsc::Sender<ToMaster>,
        guard: oneshot::Sender<()>,
    },
    LinkDown,
    /// Stop without effects on executors.
    Leave,
    Subscribe {
        subscription: Subscription,
        sender: mpsc::Sender<ExecutorEvent>,
        reply: oneshot::Sender<Result<ConnectionId, Refusal>>,
    },
    StreamClosed {
        connection: ConnectionId,
    },
    Call {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: Call,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A read of the agent's state, which never sees anything that is not durable.
    Read(ReadFn),
}

/// A pending reply.
pub(super) enum Reply {
    Subscribed(ConnectionId, oneshot::Sender<Result<ConnectionId, Refusal>>),
    Called(oneshot::Sender<Result<(), Refusal>>),
}

/// An executor's event stream; dropping it tells the agent that the executor disconnected.
pub(crate) struct ExecutorStream {
    pub(crate) events: mpsc::Receiver<ExecutorEvent>,
    connection: ConnectionId,
    queue: AgentQueue,
}

impl Drop for ExecutorStream {
    fn drop(&mut self) {
        let (queue, connection) = (self.queue.clone(), self.connection);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { queue.send(Input::StreamClosed { connection }).await });
        }
    }
}

/// A handle on the queue.
#[derive(Clone)]
pub(crate) struct AgentQueue {
    inputs: mpsc::Sender<Input>,
}

impl AgentQueue {
    /// A queue and its receiver.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, receiver) = mpsc::channel(INPUT_QUEUE_BOUND);
        (Self { inputs }, receiver)
    }

    async fn send(&self, input: Input) -> Result<(), AgentStopped> {
        self.inputs.send(input).await.map_err(|_| AgentStopped)
    }

    pub(crate) async fn event(&self, event: Event) -> Result<(), AgentStopped> {
        self.send(Input::Event(event)).await
    }

    pub(crate) async fn leave(&self) -> Result<(), AgentStopped> {
        self.send(Input::Leave).await
    }

    pub(crate) async fn master_message(&self, message: ToAgent) -> Result<(), AgentStopped> {
        self.event(Event::FromMaster(message)).await
    }

    /// Announces a link; the receiver resolves when the driver drops the link.
    pub(crate) async fn link_up(
        &self,
        to_master: mpsc::Sender<ToMaster>,
    ) -> Result<oneshot::Receiver<()>, AgentStopped> {
        let (guard, given_up) = oneshot::channel();
        self.send(Input::LinkUp { to_master, guard }).await?;
        Ok(given_up)
    }

    pub(crate) async fn link_down(&self) -> Result<(), AgentStopped> {
        self.send(Input::LinkDown).await
    }

    pub(crate) async fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<Result<ExecutorStream, Refusal>, AgentStopped> {
        let (sender, events) = mpsc::channel(EXECUTOR_QUEUE_BOUND);
        let (reply, answer) = oneshot::channel();
        self.send(Input::Subscribe { subscription, sender, reply }).await?;
        let answer = answer.await.map_err(|_| AgentStopped)?;
        Ok(answer.map(|connection| ExecutorStream { events, connection, queue: self.clone() }))
    }

    pub(crate) async fn call(
        &self,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: Call,
    ) -> Result<Result<(), Refusal>, AgentStopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Call { framework_id, executor_id, call, reply }).await?;
        answer.await.map_err(|_| AgentStopped)
    }

    /// Reads the agent's state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Agent) -> T + Send + 'static,
    ) -> Result<T, AgentStopped> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |agent: &Agent| {
            let _ = reply.send(read(agent));
        });
        self.send(Input::Read(read)).await?;
        answer.await.map_err(|_| AgentStopped)
    }
}

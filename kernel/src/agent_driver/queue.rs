//! The way into the agent's task: inputs, and a handle that every door clones.

use kernel_core::agent::{Agent, ConnectionId, Event, Refusal};
use kernel_model::{
    agent::{ToAgent, ToMaster},
    executor::{Call, Event as ExecutorEvent},
    ids::{ExecutorId, FrameworkId, TaskId},
    task::TaskStatus,
};
use tokio::sync::{mpsc, oneshot};

/// Inputs that wait for the agent. Doors wait when it is full, and with them their clients.
const INPUT_QUEUE_BOUND: usize = 1024;

/// Events that an executor may lag behind before its stream is closed: the launches of a full machine, several times.
pub(crate) const EXECUTOR_QUEUE_BOUND: usize = 4096;

/// A question to the agent, which answers it by itself.
pub(crate) type Look = Box<dyn FnOnce(&Agent) + Send>;

/// The agent's task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is not running")]
pub(crate) struct Gone;

/// Who subscribes, and what it remembers.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) framework_id: FrameworkId,
    pub(crate) executor_id: ExecutorId,
    pub(crate) unacknowledged_tasks: Vec<TaskId>,
    pub(crate) unacknowledged_updates: Vec<TaskStatus>,
}

/// What a door says.
pub(crate) enum Input {
    Event(Event),
    LinkUp {
        to_master: mpsc::Sender<ToMaster>,
        held: oneshot::Sender<()>,
    },
    LinkDown,
    /// Finish what is begun, and end without a word to anybody.
    Leave,
    Subscribe {
        subscription: Subscription,
        outlet: mpsc::Sender<ExecutorEvent>,
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
    /// A look at the agent, never at anything that is not durable yet.
    Read(Look),
}

/// Who waits for an answer.
pub(super) enum Reply {
    Subscribed(ConnectionId, oneshot::Sender<Result<ConnectionId, Refusal>>),
    Called(oneshot::Sender<Result<(), Refusal>>),
}

/// An executor's event stream; dropping it tells the agent that the executor hung up.
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

/// The way in.
#[derive(Clone)]
pub(crate) struct AgentQueue {
    inputs: mpsc::Sender<Input>,
}

impl AgentQueue {
    /// The queue and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Input>) {
        let (inputs, receiver) = mpsc::channel(INPUT_QUEUE_BOUND);
        (Self { inputs }, receiver)
    }

    async fn send(&self, input: Input) -> Result<(), Gone> {
        self.inputs.send(input).await.map_err(|_| Gone)
    }

    pub(crate) async fn event(&self, event: Event) -> Result<(), Gone> {
        self.send(Input::Event(event)).await
    }

    pub(crate) async fn leave(&self) -> Result<(), Gone> {
        self.send(Input::Leave).await
    }

    pub(crate) async fn master_said(&self, message: ToAgent) -> Result<(), Gone> {
        self.event(Event::FromMaster(message)).await
    }

    /// Announces a link; what comes back resolves when the driver gives it up.
    pub(crate) async fn link_up(
        &self,
        to_master: mpsc::Sender<ToMaster>,
    ) -> Result<oneshot::Receiver<()>, Gone> {
        let (held, given_up) = oneshot::channel();
        self.send(Input::LinkUp { to_master, held }).await?;
        Ok(given_up)
    }

    pub(crate) async fn link_down(&self) -> Result<(), Gone> {
        self.send(Input::LinkDown).await
    }

    /// Opens an executor's stream.
    pub(crate) async fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Result<Result<ExecutorStream, Refusal>, Gone> {
        let (outlet, events) = mpsc::channel(EXECUTOR_QUEUE_BOUND);
        let (reply, answer) = oneshot::channel();
        self.send(Input::Subscribe { subscription, outlet, reply }).await?;
        let answer = answer.await.map_err(|_| Gone)?;
        Ok(answer.map(|connection| ExecutorStream { events, connection, queue: self.clone() }))
    }

    /// Any other call of an executor.
    pub(crate) async fn call(
        &self,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: Call,
    ) -> Result<Result<(), Refusal>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Call { framework_id, executor_id, call, reply }).await?;
        answer.await.map_err(|_| Gone)
    }

    /// A look at the agent.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Agent) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |agent: &Agent| {
            let _ = reply.send(look(agent));
        });
        self.send(Input::Read(read)).await?;
        answer.await.map_err(|_| Gone)
    }
}

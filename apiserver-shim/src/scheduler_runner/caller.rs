//! Calls to the kernel in the order in which they were decided: a role must be known before it is revived, a suppression
//! must not be overtaken by the decline that follows it.

use kernel::driver::DriverError;
use kernel_model::{ids::FrameworkId, scheduler::Call};
use tokio::sync::{mpsc, oneshot};

use super::jobs::Taken;
use crate::kernel_client::KernelClient;

/// Calls that wait. A burst of launches on every agent of a large cluster fits; what does not fit is dropped, and made
/// good by what repeats (kills, questions, pending Pods).
const QUEUE_BOUND: usize = 16 * 1024;
/// Calls of one batch in flight at once, so that the kernel can take them together.
const AT_ONCE_MAX: usize = 64;

enum Item {
    One(Call),
    /// Calls among which there is no order; answers what became of each.
    All(Vec<Call>, oneshot::Sender<Vec<Taken>>),
}

/// The queue of one subscription.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    items: mpsc::Sender<Item>,
}

impl Caller {
    /// A queue whose calls are made as this framework.
    pub fn start(client: KernelClient, framework_id: FrameworkId) -> Caller {
        let (items, queue) = mpsc::channel(QUEUE_BOUND);
        tokio::spawn(work(client, framework_id, queue));
        Caller { items }
    }

    /// Queues a call.
    pub fn call(&self, call: Call) {
        if self.items.try_send(Item::One(call)).is_err() {
            tracing::warn!("call to the kernel dropped: too many wait");
        }
    }

    /// Queues calls; the answer says which were taken. No answer: nobody knows.
    pub fn call_all(&self, calls: Vec<Call>) -> oneshot::Receiver<Vec<Taken>> {
        let (answer, taken) = oneshot::channel();
        if self.items.try_send(Item::All(calls, answer)).is_err() {
            tracing::warn!("calls to the kernel dropped: too many wait");
        }
        taken
    }
}

async fn work(client: KernelClient, framework_id: FrameworkId, mut queue: mpsc::Receiver<Item>) {
    while let Some(item) = queue.recv().await {
        match item {
            Item::One(call) => {
                taken(&client, &framework_id, call).await;
            }
            Item::All(calls, answer) => {
                let mut results = Vec::with_capacity(calls.len());
                let mut calls = calls.into_iter().peekable();
                while calls.peek().is_some() {
                    let flying =
                        calls.by_ref().take(AT_ONCE_MAX).map(|call| taken(&client, &framework_id, call));
                    results.extend(futures::future::join_all(flying).await);
                }
                // Nobody waits for it when the subscription is over.
                let _ = answer.send(results);
            }
        }
    }
}

async fn taken(client: &KernelClient, framework_id: &FrameworkId, call: Call) -> Taken {
    match client.call(framework_id, call).await {
        Ok(()) => Taken::Yes,
        Err(error) => {
            tracing::debug!(%error, "call not taken");
            match error {
                DriverError::Refused(_) => Taken::No,
                DriverError::Unreachable(_) => Taken::Unsure,
            }
        }
    }
}

//! Calls to the kernel in the order in which they were decided: a role must be known before it is revived, a suppression
//! must not be overtaken by the decline that follows it.

use kernel::driver::DriverError;
use kernel_model::{ids::FrameworkId, scheduler::Call};
use tokio::sync::{mpsc, oneshot};

use super::jobs::Taken;
use crate::scheduler::kernel_client::KernelClient;

/// Calls that wait. A burst of launches on every agent of a large cluster fits; what does not fit is dropped, and made
/// good by what repeats (kills, questions, pending Pods).
const QUEUE_BOUND: usize = 16 * 1024;
/// Calls that the kernel is asked to take together: few enough that its other clients come in between.
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
    let mut items = Vec::with_capacity(AT_ONCE_MAX);
    while queue.recv_many(&mut items, AT_ONCE_MAX).await > 0 {
        let mut single = Vec::new();
        for item in items.drain(..) {
            match item {
                Item::One(call) => single.push(call),
                Item::All(calls, answer) => {
                    taken(&client, &framework_id, std::mem::take(&mut single)).await;
                    // Nobody waits for it when the subscription is over.
                    let _ = answer.send(taken(&client, &framework_id, calls).await);
                }
            }
        }
        taken(&client, &framework_id, single).await;
    }
}

async fn taken(client: &KernelClient, framework_id: &FrameworkId, calls: Vec<Call>) -> Vec<Taken> {
    let mut results = Vec::with_capacity(calls.len());
    let mut calls = calls.into_iter().peekable();
    while calls.peek().is_some() {
        let together = calls.by_ref().take(AT_ONCE_MAX).collect();
        results.extend(client.call_all(framework_id, together).await.into_iter().map(
            |result| match result {
                Ok(()) => Taken::Yes,
                Err(error) => {
                    tracing::debug!(%error, "call not taken");
                    match error {
                        DriverError::Refused(_) => Taken::No,
                        DriverError::Unreachable(_) => Taken::Unsure,
                    }
                }
            },
        ));
    }
    results
}

//! Calls to the kernel in the order in which they were decided: a role must be known before it is revived, a suppression
//! must not be overtaken by the decline that follows it.

use kernel::driver::DriverError;
use kernel_model::{ids::FrameworkId, scheduler::Call};
use shim_core::scheduler::machine::CallOutcome;
use tokio::sync::{mpsc, oneshot};

use crate::scheduler::kernel_client::KernelClient;

/// Batches that wait. A burst of launches on every agent of a large cluster fits; what does not fit is dropped, and made
/// good by what repeats (kills, questions, pending Pods).
const QUEUE_BOUND: usize = 16 * 1024;
/// Calls that the kernel is asked to take together: few enough that its other clients come in between.
const AT_ONCE_MAX: usize = 64;

/// Calls, and who wants to know what became of them.
type Batch = (Vec<Call>, Option<oneshot::Sender<Vec<CallOutcome>>>);

/// The queue of one subscription.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    batches: mpsc::Sender<Batch>,
}

impl Caller {
    /// A queue whose calls are made as this framework.
    pub fn start(client: KernelClient, framework_id: FrameworkId) -> Caller {
        let (batches, queue) = mpsc::channel(QUEUE_BOUND);
        tokio::spawn(work(client, framework_id, queue));
        Caller { batches }
    }

    /// Queues calls.
    pub fn call(&self, calls: Vec<Call>) {
        if self.batches.try_send((calls, None)).is_err() {
            tracing::warn!("calls to the kernel dropped: too many wait");
        }
    }

    /// Queues calls; the answer says what became of each. No answer: nobody knows.
    pub fn call_all(&self, calls: Vec<Call>) -> oneshot::Receiver<Vec<CallOutcome>> {
        let (answer, outcomes) = oneshot::channel();
        if self.batches.try_send((calls, Some(answer))).is_err() {
            tracing::warn!("calls to the kernel dropped: too many wait");
        }
        outcomes
    }
}

async fn work(client: KernelClient, framework_id: FrameworkId, mut queue: mpsc::Receiver<Batch>) {
    while let Some((mut calls, mut answer)) = queue.recv().await {
        // Batches that nobody asks about travel together.
        while answer.is_none()
            && calls.len() < AT_ONCE_MAX
            && let Ok((more, wanted)) = queue.try_recv()
        {
            if wanted.is_some() {
                outcomes(&client, &framework_id, std::mem::replace(&mut calls, more)).await;
            } else {
                calls.extend(more);
            }
            answer = wanted;
        }
        let outcomes = outcomes(&client, &framework_id, calls).await;
        if let Some(answer) = answer {
            // Nobody waits for it when the subscription is over.
            let _ = answer.send(outcomes);
        }
    }
}

async fn outcomes(client: &KernelClient, framework_id: &FrameworkId, calls: Vec<Call>) -> Vec<CallOutcome> {
    let mut outcomes = Vec::with_capacity(calls.len());
    let mut calls = calls.into_iter().peekable();
    while calls.peek().is_some() {
        let together = calls.by_ref().take(AT_ONCE_MAX).collect();
        outcomes.extend(client.call_all(framework_id, together).await.into_iter().map(
            |result| match result {
                Ok(()) => CallOutcome::Accepted,
                Err(error) => {
                    tracing::debug!(%error, "call not taken");
                    match error {
                        DriverError::Refused(_) => CallOutcome::Refused,
                        DriverError::Unreachable(_) => CallOutcome::Unanswered,
                    }
                }
            },
        ));
    }
    outcomes
}

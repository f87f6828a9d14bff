//! Sends calls to the kernel in order: a role must be added before it is revived, and a suppression must not overtake
//! the decline before it.

use std::sync::Arc;

use kernel::driver::{DriverError, SchedulerDriver};
use kernel_model::{ids::FrameworkId, roles::Role, scheduler::Call, wait::WaitNote};
use shim_core::scheduler::machine::CallOutcome;
use tokio::sync::{mpsc, oneshot};

use crate::scheduler::kernel_client::KernelClient;

/// Capacity of the queue, in batches. A burst of launches on all agents of a large cluster fits. Calls that exceed it
/// are dropped and repeated later (kills, reconciliation, pending Pods).
const QUEUE_BOUND: usize = 16 * 1024;
/// Calls sent to the kernel together; few enough that its other clients are served in between.
const AT_ONCE_MAX: usize = 64;

/// A batch of calls, and the receiver of their outcomes, if any.
type Batch = (Vec<Call>, Option<oneshot::Sender<Vec<CallOutcome>>>);

/// The outbound queue of one subscription.
#[derive(Clone)]
pub(super) struct Caller {
    batches: mpsc::Sender<Batch>,
    driver: Arc<dyn SchedulerDriver>,
    framework_id: FrameworkId,
}

impl Caller {
    /// Starts a queue that sends calls as this framework.
    pub fn start(client: KernelClient, framework_id: FrameworkId) -> Caller {
        let (batches, queue) = mpsc::channel(QUEUE_BOUND);
        let (driver, id) = (client.driver().clone(), framework_id.clone());
        tokio::spawn(work(client, framework_id, queue));
        Caller { batches, driver, framework_id: id }
    }

    /// Asks why there are no offers in a role. A kernel that does not answer says nothing.
    pub async fn explain(&self, role: &Role) -> Vec<WaitNote> {
        self.driver.explain(&self.framework_id, role).await.unwrap_or_default()
    }

    /// Queues calls without waiting for outcomes.
    pub fn call(&self, calls: Vec<Call>) {
        if self.batches.try_send((calls, None)).is_err() {
            tracing::warn!("outbound queue is full; dropping calls to the kernel");
        }
    }

    /// Queues calls; the receiver gets their outcomes. A closed channel means that the outcomes are unknown.
    pub fn call_all(&self, calls: Vec<Call>) -> oneshot::Receiver<Vec<CallOutcome>> {
        let (answer, outcomes) = oneshot::channel();
        if self.batches.try_send((calls, Some(answer))).is_err() {
            tracing::warn!("outbound queue is full; dropping calls to the kernel");
        }
        outcomes
    }
}

async fn work(client: KernelClient, framework_id: FrameworkId, mut queue: mpsc::Receiver<Batch>) {
    while let Some((mut calls, mut answer)) = queue.recv().await {
        // Batches without a receiver are sent together.
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
            // Nobody receives it after the subscription has ended.
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
                    tracing::debug!(%error, "call refused");
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

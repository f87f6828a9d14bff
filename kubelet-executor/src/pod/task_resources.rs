//! What the kernel has on record for the node's tasks: a Pod that is resized in place grows only when the master has taken the
//! difference from what it offers, and gives back what it no longer requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use executor_core::{action::ResizeRefusal, resources::Requests};
use kernel_model::{
    executor::Call,
    ids::TaskId,
    resources::{Resource, Resources, Scalar},
};
use tokio::sync::oneshot;

use crate::agent::AgentLink;

/// How long the master has to answer; it takes milliseconds, or the machine is cut off.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Requests to the agent, and who waits for their answers.
pub(crate) struct TaskResources {
    link: Arc<dyn AgentLink>,
    /// By task ID. A Pod has one request at a time; a newer one replaces it.
    waiting: Mutex<BTreeMap<String, oneshot::Sender<Resources>>>,
}

impl TaskResources {
    pub fn new(link: Arc<dyn AgentLink>) -> Self {
        Self { link, waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, oneshot::Sender<Resources>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent tells what a task holds.
    pub fn resized(&self, task_id: &TaskId, resources: Resources) {
        if let Some(waiting) = self.waiting().remove(task_id.as_str()) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(resources);
        }
    }

    /// Makes a Pod's task hold these requests.
    pub async fn hold(&self, uid: &str, requests: Requests) -> Result<(), ResizeRefusal> {
        let amounts = amounts(requests);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(uid.to_owned(), sender);
        let call = Call::ResizeTask { task_id: TaskId::from(uid), amounts: amounts.clone() };
        if let Err(error) = self.link.send(call).await {
            self.waiting().remove(uid);
            return Err(ResizeRefusal::Deferred(format!("the agent does not answer: {error}")));
        }
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(Ok(held)) if amounts.scalars().all(|(name, amount)| held.scalar(name) >= amount) => Ok(()),
            Ok(Ok(held)) => Err(ResizeRefusal::Deferred(format!(
                "Node didn't have enough resource: requested: {amounts}, available to the pod beside all frameworks: {held}"
            ))),
            Ok(Err(_)) | Err(_) => Err(ResizeRefusal::Deferred("the master does not answer".to_owned())),
        }
    }
}

/// The resources of a task with these requests, as the scheduler counts them; thousandths of CPUs and MiB, rounded up.
fn amounts(requests: Requests) -> Resources {
    let milli = |amount: i128| Scalar(i64::try_from(amount).unwrap_or(i64::MAX));
    let mem = requests.memory_bytes.saturating_mul(1000).div_euclid(1 << 20);
    let rest = i128::from(requests.memory_bytes.saturating_mul(1000).rem_euclid(1 << 20) > 0);
    [Resource::scalar("cpus", milli(requests.cpu_milli)), Resource::scalar("mem", milli(mem + rest))]
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use kernel_model::executor::Event;

    use super::*;
    use crate::agent::fake::FakeAgent;

    #[test]
    fn requests_as_resources() {
        let text = |cpu_milli, memory_bytes| amounts(Requests { cpu_milli, memory_bytes }).to_string();
        assert_eq!(text(1500, 64 << 20), "cpus:1.5; mem:64");
        assert_eq!(text(0, (64 << 20) + 1), "mem:64.001");
    }

    #[tokio::test]
    async fn a_pod_grows_when_the_master_grants_it() {
        let agent = Arc::new(FakeAgent::default());
        let mut events = agent.subscribe(Call::Heartbeat).await.unwrap();
        let tasks = Arc::new(TaskResources::new(agent.clone()));
        let told = tasks.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::TaskResized { task_id, resources } = event {
                    told.resized(&task_id, resources);
                }
            }
        });
        let wanted = Requests { cpu_milli: 500, memory_bytes: 64 << 20 };
        assert_eq!(tasks.hold("u", wanted).await, Ok(()));
        agent.set_refusing_resizes(true);
        assert!(matches!(tasks.hold("u", wanted).await, Err(ResizeRefusal::Deferred(_))));
    }
}

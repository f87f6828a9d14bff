//! Status updates: what the kernel says of a task becomes what the store says of its Pod, and is acknowledged after that.

use bytes::Bytes;
use kernel_model::{
    ids::TaskId,
    scheduler::Call,
    task::{Reason, Source, TaskState, TaskStatus},
};
use serde::Deserialize;
use serde_json::Value;
use shim_core::rows::Key;
use shim_core::scheduler::{Known, PodView, Step, TaskView, settle};
use shim_model::status::Status;

use super::jobs::Done;
use super::pods::Task;
use super::{Runner, writes};
use crate::kernel_client::KernelClient;
use crate::registry::Registry;

/// What the executor says in `TaskStatus.data`.
#[derive(Deserialize)]
struct FromNode {
    #[serde(default)]
    status: Option<Value>,
    #[serde(default)]
    endpoint: Option<String>,
}

/// Updates kept for a Pod whose binding is being written. The kernel sends the next only after an acknowledgement; beside
/// that there are answers to our own questions.
const DEFERRED_MAX: usize = 8;

/// The kernel's state of a task in the words of the promises table.
fn known(status: &TaskStatus) -> Known {
    let by_master = status.source == Source::Master;
    match status.state {
        TaskState::Staging | TaskState::Starting | TaskState::Running | TaskState::Killing => Known::Alive,
        TaskState::Unreachable => Known::Unreachable,
        TaskState::Finished => Known::Finished,
        TaskState::Failed => Known::Failed,
        TaskState::Killed => Known::Killed,
        TaskState::Error if is_known_already(status) => Known::Alive,
        TaskState::Error => Known::Invalid,
        TaskState::Unknown => Known::Unknown,
        // Answers to our questions: the kernel has no such task.
        TaskState::Gone | TaskState::Lost if status.reason == Some(Reason::Reconciliation) => Known::Unknown,
        TaskState::Dropped => Known::NeverStarted,
        TaskState::Lost if by_master && status.reason == Some(Reason::InvalidOffers) => Known::NeverStarted,
        TaskState::Lost | TaskState::Gone | TaskState::GoneByOperator => Known::Gone,
    }
}

/// The kernel has this task already: a launch of before a crash, of which the binding was not written, was taken after all.
fn is_duplicate_launch(status: &TaskStatus) -> bool {
    status.state == TaskState::Error
        && status.source == Source::Master
        && status.message.as_deref().is_some_and(|text| text.starts_with("Task has duplicate ID"))
}

/// Whether a launch was refused because the kernel has the task: a question was answered too early, and nothing is wrong.
fn is_known_already(status: &TaskStatus) -> bool {
    let message = status.message.as_deref().unwrap_or("");
    message.contains("duplicate ID") || message.contains("ID of an unreachable task")
}

/// What a job needs to carry out the steps of one update.
struct Work {
    registry: Registry,
    key: Key,
    uid: Box<str>,
    node: Option<Box<str>>,
    from_node: Option<Value>,
    message: String,
    steps: Vec<Step>,
}

impl Runner {
    /// Takes an update.
    pub(crate) fn take_update(&mut self, status: TaskStatus) {
        let uid = status.task_id.as_str().to_owned();
        if is_duplicate_launch(&status) {
            return self.ask_where(&uid);
        }
        let node = status.agent_id.as_ref().and_then(|id| self.nodes.node_of(id)).map(Box::<str>::from);
        let from_node = self.read_data(&status.data, node.as_deref());
        let known = known(&status);
        // A refusal ends the promise; anything else waits until the binding is written, which it would race with.
        let refusal = matches!(known, Known::Invalid | Known::NeverStarted | Known::Unknown);
        if let Some(pod) = self.pods.by_uid.get_mut(uid.as_str())
            && (pod.task == Task::Binding || (pod.task == Task::Promised && !refusal))
            && pod.deferred.len() < DEFERRED_MAX
        {
            pod.deferred.push(status);
            return;
        }
        let task = TaskView { known, node: node.as_deref(), has_status: from_node.is_some() };
        let pod = self.pods.by_uid.get(uid.as_str());
        let view = pod.map(|p| PodView {
            node: p.row.node.as_deref(),
            ended: p.row.phase.is_terminal(),
            started: p.row.phase != shim_core::rows::Phase::Pending,
            deleting: p.row.deletion.is_some(),
        });
        if view.is_none() && known == Known::Alive && self.exists(&uid) {
            // Not seen yet; the question that its arrival asks brings this again.
            return self.acknowledge(&status);
        }
        let steps = settle(task, view);
        self.note_task(&uid, &status, known);
        let key = self.pods.by_uid.get(uid.as_str()).map(|p| Key::of(p.row.header()));
        let mut to_store = Vec::new();
        for step in steps {
            match step {
                Step::Kill => self.kill_task(&uid, &status),
                Step::Relaunch | Step::Forget => self.unpromise(&uid),
                other => to_store.push(other),
            }
        }
        match key {
            Some(key) if !to_store.is_empty() => {
                let message = status.message.clone().unwrap_or_default();
                let (registry, uid) = (self.registry.clone(), uid.into_boxed_str());
                let work = Work { registry, key, uid, node, from_node, message, steps: to_store };
                self.start_settling(work, &status);
            }
            _ => self.acknowledge(&status),
        }
    }

    fn read_data(&self, data: &Bytes, node: Option<&str>) -> Option<Value> {
        if data.is_empty() {
            return None;
        }
        let said: FromNode = match serde_json::from_slice(data) {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(%error, "an executor's status cannot be read");
                return None;
            }
        };
        if let (Some(node), Some(endpoint)) = (node, &said.endpoint) {
            self.node_endpoints.set(node, endpoint);
        }
        said.status.filter(Value::is_object)
    }

    /// Whether the cache has the Pod of a task although it has not come by here.
    fn exists(&self, uid: &str) -> bool {
        let pods = self.registry.cache(shim_core::controllers::served("", "pods"));
        // A look at every Pod: tasks without one are rare, they are what is left of Pods removed by force.
        pods.view().iter(None).any(|o| o.header().uid == uid)
    }

    /// Remembers where the task is and that the kernel knows it, or that there is none any more.
    fn note_task(&mut self, uid: &str, status: &TaskStatus, known: Known) {
        let Some(pod) = self.pods.by_uid.get_mut(uid) else { return };
        if let Some(agent_id) = &status.agent_id {
            pod.agent_id = Some(agent_id.clone());
        }
        // What starts an ended one again says so after this.
        // Of one on an unreachable machine, which may come back without it, the question stays open.
        pod.task = if known == Known::Unreachable { Task::Asked } else { Task::Known };
        self.pods.sort_in(uid);
        if !known.is_terminal() {
            self.kill_if_deleted(uid);
        }
    }

    fn kill_task(&mut self, uid: &str, status: &TaskStatus) {
        let deleting = self.pods.by_uid.get(uid).is_some_and(|p| p.row.deletion.is_some());
        if deleting {
            // With its grace, and only once.
            self.kill_if_deleted(uid);
        } else {
            self.kill(uid, status.agent_id.clone(), Some(0));
        }
    }

    fn start_settling(&mut self, work: Work, status: &TaskStatus) {
        let acknowledgement = acknowledgement(status);
        let Some(framework_id) = self.framework_id.clone() else { return };
        let client: KernelClient = self.client.clone();
        let uid = work.uid.clone();
        let settling = self.settling.clone();
        self.jobs.start(async move {
            let _turn = settling.acquire_owned().await.expect("invariant: nobody closes the semaphore");
            let result = carry_out(&work).await;
            if result.is_ok()
                && let Some(call) = acknowledgement
                && let Err(error) = client.call(&framework_id, call).await
            {
                tracing::debug!(%error, "acknowledgement not taken: the update comes again");
            }
            Done::Settled { uid, result }
        });
    }

    pub(crate) fn settled(&mut self, uid: &str, result: Result<(), Status>) {
        if let Err(status) = result {
            tracing::warn!(%status, uid, "update not stored: it is not acknowledged and comes again");
            if let Some(pod) = self.pods.by_uid.get_mut(uid) {
                // Where no update comes again by itself, the question brings it.
                pod.task = Task::Asked;
            }
        }
    }

    fn acknowledge(&mut self, status: &TaskStatus) {
        if let Some(call) = acknowledgement(status) {
            self.call(call);
        }
    }
}

fn acknowledgement(status: &TaskStatus) -> Option<Call> {
    let (uuid, agent_id) = (status.uuid?, status.agent_id.clone()?);
    Some(Call::Acknowledge { agent_id, task_id: TaskId::from(status.task_id.as_str()), uuid })
}

async fn carry_out(work: &Work) -> Result<(), Status> {
    let Work { registry, key, uid, .. } = work;
    for step in &work.steps {
        match step {
            Step::Bind => {
                if let Some(node) = &work.node {
                    writes::bind_found(registry, key, uid, node).await?;
                }
            }
            Step::WriteStatus => {
                if let Some(status) = &work.from_node {
                    writes::write_status(registry, key, uid, status).await?;
                }
            }
            Step::End { succeeded, reason } => {
                writes::end(registry, key, uid, *succeeded, reason, &work.message).await?;
            }
            Step::Remove => writes::remove(registry, key, uid).await?,
            Step::Relaunch | Step::Forget | Step::Kill => {}
        }
    }
    Ok(())
}

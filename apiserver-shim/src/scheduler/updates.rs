//! Status updates: what the kernel says of a task becomes what the store says of its Pod, and is acknowledged after that.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use kernel_model::{
    ids::FrameworkId,
    scheduler::Call,
    task::{Reason, Source, TaskState, TaskStatus},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use shim_core::rows::Key;
use shim_core::scheduler::{Known, PodView, Step, TaskView, settle};
use shim_model::status::Status;

use super::jobs::{Done, Launched};
use super::pods::Task;
use super::{Runner, writes};
use crate::scheduler::kernel_client::KernelClient;
use crate::storage::registry::Registry;

/// What the executor says in `TaskStatus.data`.
#[derive(Deserialize)]
struct FromNode<'a> {
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    endpoint: Option<Cow<'a, str>>,
}

/// Updates kept for a Pod of which something is being written. The kernel sends the next only after an acknowledgement; beside
/// that there are answers to our own questions.
const DEFERRED_MAX: usize = 8;
/// Updates stored by one job: they share the store's group commits, and one wait for the caches.
const SETTLED_TOGETHER_MAX: usize = 64;

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
    /// The status that the node tells, encoded.
    from_node: Option<Bytes>,
    message: String,
    steps: Vec<Step>,
}

/// An update that is to be stored, and the call that says so to the kernel.
pub(crate) struct Settling {
    work: Work,
    acknowledgement: Option<Call>,
}

impl Runner {
    /// Takes an update.
    pub(crate) fn take_update(&mut self, status: Arc<TaskStatus>) {
        let uid = status.task_id.as_str().to_owned();
        if is_duplicate_launch(&status) {
            return self.ask_where(&uid);
        }
        let known = known(&status);
        // A refusal ends the promise; anything else waits until the binding is written, which it would race with. That the
        // kernel does not know a task is no refusal: it may be the answer to a question from before the promise.
        let refusal = matches!(known, Known::Invalid | Known::NeverStarted);
        if let Some(pod) = self.pods.by_uid.get_mut(uid.as_str())
            && pod.deferred.len() < DEFERRED_MAX
        {
            if pod.task == Task::Binding || (pod.task == Task::Promised && !refusal) {
                return self.defer(&uid, status);
            }
            if pod.settling {
                return pod.deferred.push(status);
            }
        }
        let node = status.agent_id.as_ref().and_then(|id| self.nodes.node_of(id)).map(Box::<str>::from);
        let from_node = self.read_data(&status.data, node.as_deref());
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
                if let Some(pod) = self.pods.by_uid.get_mut(&uid) {
                    pod.settling = true;
                }
                let work = Work { registry, key, uid, node, from_node, message, steps: to_store };
                self.to_settle.push(Settling { work, acknowledgement: acknowledgement(&status) });
            }
            _ => self.acknowledge(&status),
        }
    }

    /// Keeps an update until its Pod's binding is written.
    ///
    /// Of a start the kernel may tell more at once: each word of a node on a Pod is whole, so that what comes next stands
    /// for it, and after a crash the promise brings the question up. The binding is then written with the newest.
    fn defer(&mut self, uid: &str, mut status: Arc<TaskStatus>) {
        if status.state == TaskState::Starting && status.uuid.is_some() {
            self.acknowledge(&status);
            Arc::make_mut(&mut status).uuid = None;
        }
        let Some(pod) = self.pods.by_uid.get_mut(uid) else { return };
        if !status.data.is_empty() {
            pod.deferred.retain(|earlier| earlier.state != TaskState::Starting || earlier.uuid.is_some());
        }
        pod.deferred.push(status);
    }

    fn read_data(&self, data: &Bytes, node: Option<&str>) -> Option<Bytes> {
        if data.is_empty() {
            return None;
        }
        let said: FromNode<'_> = match serde_json::from_slice(data) {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(%error, "an executor's status cannot be read");
                return None;
            }
        };
        if let (Some(node), Some(endpoint)) = (node, &said.endpoint) {
            self.node_endpoints.set(node, endpoint);
        }
        let status = said.status.map(RawValue::get).filter(|status| status.starts_with('{'))?;
        Some(data.slice_ref(status.as_bytes()))
    }

    /// What the node has said of a Pod goes into the write that binds it: one or two writes and events less for every Pod.
    /// Anything but a start is left to be dealt with after the binding.
    pub(crate) fn take_first_word(&mut self, launch: &mut Launched) {
        let Some(first) = self.pods.by_uid.get(&launch.uid).and_then(|pod| pod.deferred.first()) else {
            return;
        };
        if !matches!(first.state, TaskState::Starting | TaskState::Running) {
            return;
        }
        let Some(status) = self.read_data(&first.data, Some(&launch.node)) else { return };
        let Some(with_status) = writes::with_status(&launch.pod, &status) else { return };
        launch.with_status = Some(with_status);
        launch.first_word = self.pods.by_uid.get_mut(&launch.uid).map(|pod| pod.deferred.remove(0));
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

    /// Stores what has come, many updates in one job.
    pub(crate) fn settle_queued(&mut self) {
        let Some(framework_id) = self.framework_id.clone() else {
            // They come again with the next subscription.
            let dropped = std::mem::take(&mut self.to_settle);
            return dropped.iter().for_each(|settling| self.no_longer_settling(&settling.work.uid));
        };
        let mut queued = std::mem::take(&mut self.to_settle).into_iter().peekable();
        while queued.peek().is_some() {
            let together: Vec<Settling> = queued.by_ref().take(SETTLED_TOGETHER_MAX).collect();
            let client: KernelClient = self.client.clone();
            let (settling, framework_id) = (self.settling.clone(), framework_id.clone());
            self.jobs.start(async move {
                let turns = u32::try_from(together.len()).unwrap_or(u32::MAX);
                let _turn =
                    settling.acquire_many_owned(turns).await.expect("invariant: nobody closes the semaphore");
                let results = store_all(&together).await;
                let calls = together.iter().zip(&results).filter(|(_, result)| result.is_ok());
                let calls = calls.filter_map(|(settling, _)| settling.acknowledgement.clone());
                acknowledge_all(&client, &framework_id, calls.collect()).await;
                let uids = together.into_iter().map(|settling| settling.work.uid);
                Done::Settled(uids.zip(results).collect())
            });
        }
    }

    pub(crate) fn no_longer_settling(&mut self, uid: &str) {
        if let Some(pod) = self.pods.by_uid.get_mut(uid) {
            pod.settling = false;
        }
    }

    pub(crate) fn settled(&mut self, uid: &str, result: Result<(), Status>) {
        self.no_longer_settling(uid);
        if let Err(status) = result {
            tracing::warn!(%status, uid, "update not stored: it is not acknowledged and comes again");
            if let Some(pod) = self.pods.by_uid.get_mut(uid) {
                // Where no update comes again by itself, the question brings it.
                pod.task = Task::Asked;
            }
        }
        self.take_deferred(uid);
    }

    pub(crate) fn acknowledge(&mut self, status: &TaskStatus) {
        self.acknowledgements.extend(acknowledgement(status));
    }

    /// Sends the acknowledgements that have come together.
    pub(crate) fn send_acknowledgements(&mut self) {
        if self.acknowledgements.is_empty() {
            return;
        }
        let calls = std::mem::take(&mut self.acknowledgements);
        if let Some(caller) = &self.caller {
            // What is not taken comes again, and is acknowledged again.
            drop(caller.call_all(calls));
        }
    }
}

fn acknowledgement(status: &TaskStatus) -> Option<Call> {
    let (uuid, agent_id) = (status.uuid?, status.agent_id.clone()?);
    Some(Call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid })
}

async fn acknowledge_all(client: &KernelClient, framework_id: &FrameworkId, calls: Vec<Call>) {
    for error in client.call_all(framework_id, calls).await.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "acknowledgement not taken: the update comes again");
    }
}

/// Stores updates side by side, and waits until the caches have them: what comes next is compared with these.
async fn store_all(all: &[Settling]) -> Vec<Result<(), Status>> {
    let written = join_all(all.iter().map(|settling| carry_out(&settling.work))).await;
    let newest = written.iter().filter_map(|result| result.as_ref().ok()).max();
    if let (Some(newest), Some(first)) = (newest, all.first()) {
        let _ = first.work.registry.wait_for(*newest).await;
    }
    written.into_iter().map(|result| result.map(drop)).collect()
}

/// Carries out the steps of one update; the last revision that it is known to have written, 0 for none.
async fn carry_out(work: &Work) -> Result<u64, Status> {
    let Work { registry, key, uid, .. } = work;
    let mut revision = 0;
    for step in &work.steps {
        match step {
            Step::Bind => {
                if let Some(node) = &work.node {
                    writes::bind_found(registry, key, uid, node).await?;
                }
            }
            Step::WriteStatus => {
                if let Some(status) = &work.from_node {
                    revision = writes::write_status(registry, key, uid, status).await?;
                }
            }
            Step::End { succeeded, reason } => {
                writes::end(registry, key, uid, *succeeded, reason, &work.message).await?;
            }
            Step::Remove => writes::remove(registry, key, uid).await?,
            Step::Relaunch | Step::Forget | Step::Kill => {}
        }
    }
    Ok(revision)
}

//! The loop between the agent and the Pods: launches tasks, reports status updates, ends the executor.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use executor_core::{Event as PodEvent, PodOutcome, spec, status};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kernel_model::{
    executor::{Call, Event},
    ids::UpdateId,
    task::{TaskInfo, TaskState},
    time::Time,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{pods::Pods, stopping::StoppingNode};
use crate::{
    agent::{
        AgentLink, LinkError,
        updates::{StatusUpdate, Updates},
    },
    pod::{
        context::NodeContext,
        worker::{self, PodHandle, PodReport},
    },
};

/// Queued reports of workers.
const REPORTS_MAX: usize = 1024;
/// Queued calls to the agent.
const CALLS_MAX: usize = 1024;
/// Pause between two SUBSCRIBE calls.
const RESUBSCRIBE: Duration = Duration::from_millis(500);
/// Consecutive refusals after which the executor gives up.
const REFUSALS_MAX: u32 = 10;
/// Grace period after SHUTDOWN; the agent kills the executor soon afterwards.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// How much longer than the Pods' grace periods a node stop waits for the runtime and for operations in progress. The rest of
/// the stop has to fit into what the agent grants in addition (25 s).
const STOP_CALLS_MAX: Duration = Duration::from_secs(5);

/// Why the executor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExitReason {
    /// It was told to stop the node; all Pods were stopped and start again with the node.
    Stopped,
    /// The agent sent SHUTDOWN.
    Shutdown,
    /// There is no agent for it any more. Containers keep running for the next executor to adopt.
    Abandoned(String),
}

/// The loop's state.
pub(crate) struct Node {
    pub context: Arc<NodeContext>,
    pub pods: Arc<Pods>,
    pub link: Arc<dyn AgentLink>,
    /// `ip:port` of the node's server.
    pub endpoint: String,
    pub recovery_timeout: Duration,
    reports: (mpsc::Sender<PodReport>, mpsc::Receiver<PodReport>),
    updates: Updates,
    /// Tasks that have been running: they do not return to TASK_STARTING.
    running: BTreeSet<String>,
    shutting_down: bool,
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Node {
    pub fn new(
        context: Arc<NodeContext>,
        pods: Arc<Pods>,
        link: Arc<dyn AgentLink>,
        endpoint: String,
        recovery_timeout: Duration,
    ) -> Self {
        Self {
            context,
            pods,
            link,
            endpoint,
            recovery_timeout,
            reports: mpsc::channel(REPORTS_MAX),
            updates: Updates::default(),
            running: BTreeSet::new(),
            shutting_down: false,
        }
    }

    /// Runs until the executor ends.
    pub async fn run(mut self, stop: CancellationToken) -> ExitReason {
        let (calls, waiting) = mpsc::channel(CALLS_MAX);
        tokio::spawn(send_calls(self.link.clone(), waiting));
        let mut events: Option<mpsc::Receiver<Event>> = None;
        let mut lost_at = Instant::now();
        let mut refusals = 0;
        let mut resubscribe_at = tokio::time::Instant::now();
        let mut disk_pressure = self.context.disk_pressure.subscribe();
        loop {
            self.flush(&calls);
            if self.shutting_down && self.updates.is_empty() && self.pods.uids().is_empty() {
                return ExitReason::Shutdown;
            }
            let update_at = self.updates.next_at().filter(|_| events.is_some());
            tokio::select! {
                () = stop.cancelled() => {
                    // Reports are no longer read, so no worker may block on the queue.
                    self.reports.1.close();
                    self.stop_pods().await;
                    return ExitReason::Stopped;
                }
                Some(report) = self.reports.1.recv() => self.report(report),
                Ok(()) = disk_pressure.changed() => self.report_pressure(),
                event = next_event(&mut events), if events.is_some() => match event {
                    Some(Event::Error { message }) => return ExitReason::Abandoned(message),
                    Some(event) => self.take(event),
                    None => {
                        tracing::info!("lost the agent; resubscribing");
                        events = None;
                        lost_at = Instant::now();
                        resubscribe_at = tokio::time::Instant::now() + RESUBSCRIBE;
                    }
                },
                () = tokio::time::sleep_until(resubscribe_at), if events.is_none() => {
                    match self.subscribe().await {
                        Ok(receiver) => {
                            refusals = 0;
                            events = Some(receiver);
                        }
                        Err(LinkError::Refused(why)) => {
                            refusals += 1;
                            if refusals >= REFUSALS_MAX {
                                return ExitReason::Abandoned(why);
                            }
                        }
                        Err(LinkError::Unavailable(why)) => {
                            tracing::debug!(why, "the agent does not answer");
                            refusals = 0;
                            if lost_at.elapsed() > self.recovery_timeout {
                                return ExitReason::Abandoned("the agent did not come back in time".to_owned());
                            }
                        }
                    }
                    resubscribe_at = tokio::time::Instant::now() + RESUBSCRIBE;
                }
                () = sleep_until(update_at), if update_at.is_some() => {}
            }
        }
    }

    async fn subscribe(&mut self) -> Result<mpsc::Receiver<Event>, LinkError> {
        let (unacknowledged_tasks, unacknowledged_updates) = self.updates.unacknowledged();
        self.link.subscribe(Call::Subscribe { unacknowledged_tasks, unacknowledged_updates }).await
    }

    /// Queues due updates for the sending task. What does not fit is due again later.
    fn flush(&mut self, calls: &mpsc::Sender<Call>) {
        let fresh = || UpdateId(*uuid::Uuid::new_v4().as_bytes());
        for status in self.updates.due(now(), fresh) {
            let _ = calls.try_send(Call::Update { status: status.into() });
        }
    }

    /// Reports a changed disk pressure with the status of some Pod.
    fn report_pressure(&mut self) {
        let view = self.pods.views().into_iter().find(|view| view.adopted);
        if let Some(view) = view {
            let uid = view.pod.metadata.uid.clone().unwrap_or_default();
            self.report(PodReport { uid, status: view.status, outcome: None });
        }
    }

    fn report(&mut self, report: PodReport) {
        let phase = report.status.phase.as_deref();
        let state = match report.outcome {
            Some(PodOutcome::Finished) => TaskState::Finished,
            Some(PodOutcome::Failed) => TaskState::Failed,
            Some(PodOutcome::Killed) => TaskState::Killed,
            None if phase == Some("Pending") && !self.running.contains(&report.uid) => TaskState::Starting,
            None => TaskState::Running,
        };
        if state == TaskState::Running {
            self.running.insert(report.uid.clone());
        }
        if report.outcome.is_some() {
            self.pods.remove(&report.uid);
            self.running.remove(&report.uid);
        }
        let mut data = json!({ "status": report.status, "endpoint": self.endpoint });
        for condition in data["status"]["conditions"].as_array_mut().into_iter().flatten() {
            // Upstream prints this field even if it is null; k8s-openapi omits it.
            if let Some(condition) = condition.as_object_mut() {
                condition.entry("lastProbeTime").or_insert(Value::Null);
            }
        }
        if *self.context.disk_pressure.borrow() {
            data["diskPressure"] = Value::Bool(true);
        }
        let data = data.to_string();
        let message = report.status.message.clone();
        self.updates.enqueue(&report.uid, StatusUpdate { state, message, data: data.into() });
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Subscribed { agent, executor, .. } => {
                self.context.subscribed(&agent, &executor);
                self.pods.state().subscribed_since = Some(Instant::now());
                tracing::info!("subscribed to the agent");
            }
            Event::Launch { task } => self.launch(*task),
            Event::LaunchGroup { tasks } => tasks.into_iter().for_each(|task| self.launch(task)),
            Event::Kill { task_id, grace } => self.kill(task_id.as_str(), grace),
            Event::Acknowledged { task_id, uuid } => {
                self.updates.acknowledged(task_id.as_str(), uuid);
            }
            Event::TaskResized { task_id, resources } => {
                self.context.task_resources.resized(&task_id, resources);
            }
            Event::Evict { task_id, message } => {
                if let Some(events) = self.pods.sender(task_id.as_str()) {
                    tracing::info!(pod_uid = task_id.as_str(), message, "evicting a pod");
                    forward(events, PodEvent::Evict { message, disruption: true });
                }
            }
            Event::Message { data } => self.message(&data),
            Event::Shutdown => {
                tracing::info!("the agent shuts this executor down");
                self.shutting_down = true;
                for uid in self.pods.uids() {
                    self.kill(&uid, Some(SHUTDOWN_GRACE));
                }
            }
            Event::Heartbeat | Event::Error { .. } => {}
        }
    }

    /// Launches a Pod, once: a known task is ignored.
    fn launch(&mut self, task: TaskInfo) {
        let uid = task.task_id.as_str().to_owned();
        if self.pods.sender(&uid).is_some() || self.context.stopping.is_cancelled() {
            return;
        }
        let pod: Pod = match serde_json::from_slice(&task.data) {
            Ok(pod) => pod,
            Err(error) => {
                let message = Some(format!("the task's data does not decode as a Pod: {error}"));
                let update = StatusUpdate { state: TaskState::Failed, message, data: Default::default() };
                return self.updates.enqueue(&uid, update);
            }
        };
        if pod.metadata.uid.as_deref() != Some(&uid) || !has_safe_names(&pod) {
            let message = Some("the task's data is a Pod with an invalid name or another UID".to_owned());
            let update = StatusUpdate { state: TaskState::Failed, message, data: Default::default() };
            return self.updates.enqueue(&uid, update);
        }
        tracing::info!(pod_uid = uid, pod = %spec::full_name(&pod), "pod launched");
        let handle = worker::start(self.context.clone(), Arc::new(pod), self.reports.0.clone());
        self.pods.insert(uid, handle);
        self.context.relist.notify_one();
    }

    fn kill(&mut self, uid: &str, grace: Option<Duration>) {
        let Some(events) = self.pods.sender(uid) else {
            // Only this executor can report the task's end, so it does even though the Pod is not here.
            let message = Some("the pod is not on this node".to_owned());
            let update = StatusUpdate { state: TaskState::Killed, message, data: Default::default() };
            return self.updates.enqueue(uid, update);
        };
        let view = self.pods.state().by_uid.get(uid).map(|(_, handle)| handle.view());
        let own = view.map_or(spec::DEFAULT_GRACE, |view| spec::grace(&view.pod));
        forward(events, PodEvent::Kill { grace: grace.unwrap_or(own) });
    }

    /// Handles a message from the scheduler: a new version of a Pod, or what is stored of one.
    fn message(&mut self, data: &[u8]) {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Message {
            Pod(Box<Pod>),
            Stored(Box<Pod>),
        }
        match serde_json::from_slice::<Message>(data) {
            Ok(Message::Pod(pod)) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                if let Some(events) = self.pods.sender(&uid) {
                    forward(events, PodEvent::Update(Arc::new(*pod)));
                }
            }
            Ok(Message::Stored(pod)) => self.confirm(&pod),
            Err(error) => tracing::warn!(%error, "cannot decode a message from the scheduler"),
        }
    }

    /// Reports a Pod again whose stored status is not its own: the store was restored from a backup.
    fn confirm(&mut self, stored: &Pod) {
        let uid = stored.metadata.uid.clone().unwrap_or_default();
        let view = self.pods.state().by_uid.get(&uid).map(|(_, handle)| handle.view());
        let Some(view) = view.filter(|view| view.adopted) else { return };
        if stored.metadata.generation > view.pod.metadata.generation
            && let Some(events) = self.pods.sender(&uid)
        {
            // The message with this version was lost.
            forward(events, PodEvent::Update(Arc::new(stored.clone())));
        }
        let status = stored.status.clone().unwrap_or_default();
        if !status::agrees(&status, &view.status) {
            tracing::info!(pod_uid = uid, "the stored status is not the pod's; reporting it again");
            self.report(PodReport { uid, status: view.status, outcome: None });
        }
    }

    /// Stops every Pod without reporting an end: each starts again with the node.
    async fn stop_pods(&self) {
        let config = &self.context.config;
        let _ = self.context.stop_grace_max.set(config.stop_grace_max());
        self.context.stopping.cancel();
        let handles = self.pods.take_all();
        let grace = |handle: &PodHandle| handle.with_view(|view| self.context.stop_grace(&view.pod));
        let longest = handles.iter().map(grace).max().unwrap_or_default();
        let deadline = tokio::time::Instant::now() + longest + STOP_CALLS_MAX;
        let mut progress = StoppingNode::new(longest);
        let name = |pod: &Pod| {
            let metadata = &pod.metadata;
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
        };
        progress.pods = handles.iter().map(|handle| handle.with_view(|view| name(&view.pod))).collect();
        tracing::info!(pods = progress.pods.len(), longest_grace = ?longest, "the node stops");
        let ends = handles.into_iter().zip(progress.pods.clone()).map(|(handle, name)| async move {
            let _ = handle.done.await;
            name
        });
        let mut ends: futures::stream::FuturesUnordered<_> = ends.collect();
        loop {
            progress.write(config);
            match tokio::time::timeout_at(deadline, ends.next()).await {
                Ok(Some(ended)) => progress.pods.retain(|name| *name != ended),
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!(pods = ?progress.pods, "pods did not stop in time and are killed");
                    break;
                }
            }
        }
    }
}

/// Sends an event to a worker without waiting: the worker may be waiting for this loop.
fn forward(events: mpsc::Sender<PodEvent>, event: PodEvent) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        tokio::spawn(async move {
            let _ = events.send(event).await;
        });
    }
}

/// Names become directory names, so they must not contain path syntax.
fn has_safe_names(pod: &Pod) -> bool {
    let metadata = &pod.metadata;
    [&metadata.name, &metadata.namespace, &metadata.uid].into_iter().all(|text| {
        text.as_deref().is_some_and(|text| {
            !text.is_empty()
                && text.len() <= 253
                && !text.starts_with('.')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        })
    })
}

async fn next_event(events: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => None,
    }
}

async fn sleep_until(moment: Option<Time>) {
    if let Some(moment) = moment {
        tokio::time::sleep(moment.since(now())).await;
    }
}

/// Sends calls in order. A failed update is retried until it is acknowledged.
async fn send_calls(link: Arc<dyn AgentLink>, mut waiting: mpsc::Receiver<Call>) {
    while let Some(call) = waiting.recv().await {
        if let Err(error) = link.send(call).await {
            tracing::debug!(%error, "call to the agent failed");
        }
    }
}

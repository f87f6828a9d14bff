//! The executor as a whole: tasks from the agent to Pods, Pods' reports to the agent, and its own end.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use executor_core::{Event as PodEvent, Outcome, spec};
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

use super::pods::Pods;
use crate::{
    agent::{
        AgentLink, LinkError,
        updates::{News, Updates},
    },
    pod::{
        shared::Shared,
        worker::{self, Report},
    },
};

/// Reports that wait for the loop below.
const REPORTS_MAX: usize = 1024;
/// Calls that wait for the agent's door.
const CALLS_MAX: usize = 1024;
/// Between two tries to subscribe.
const RESUBSCRIBE: Duration = Duration::from_millis(500);
/// Refusals in a row after which there is no agent for us any more.
const REFUSALS_MAX: u32 = 10;
/// What SHUTDOWN leaves Pods, at most; the agent kills us soon after.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// How long the end of all Pods, and of what their tasks are in the middle of, is waited for when the node stops: the
/// longest grace (20 s) and some for the runtime. What comes after it has to fit into the agent's patience (40 s).
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(25);

/// Why the executor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was told to stop the node: all is stopped, to start again with the node.
    Stopped,
    /// The agent ended it and its Pods.
    Shutdown,
    /// There is no agent for it any more. Containers run on, for the next executor to adopt.
    Abandoned(String),
}

/// The loop between agent and Pods.
pub(crate) struct Node {
    pub shared: Arc<Shared>,
    pub pods: Arc<Pods>,
    pub link: Arc<dyn AgentLink>,
    /// `ip:port` of our door.
    pub endpoint: String,
    pub recovery_timeout: Duration,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    updates: Updates,
    /// Tasks that have been running: they do not go back to starting.
    running: BTreeSet<String>,
    shutting_down: bool,
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Node {
    pub fn new(
        shared: Arc<Shared>,
        pods: Arc<Pods>,
        link: Arc<dyn AgentLink>,
        endpoint: String,
        recovery_timeout: Duration,
    ) -> Self {
        Self {
            shared,
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

    /// Runs to the executor's end.
    pub async fn run(mut self, stop: CancellationToken) -> End {
        let (calls, waiting) = mpsc::channel(CALLS_MAX);
        tokio::spawn(send_calls(self.link.clone(), waiting));
        let mut events: Option<mpsc::Receiver<Event>> = None;
        let mut lost_at = Instant::now();
        let mut refusals = 0;
        let mut resubscribe_at = tokio::time::Instant::now();
        loop {
            self.flush(&calls);
            if self.shutting_down && self.updates.is_empty() && self.pods.uids().is_empty() {
                return End::Shutdown;
            }
            let update_at = self.updates.next_at().filter(|_| events.is_some());
            tokio::select! {
                () = stop.cancelled() => {
                    // Nobody reads reports any more, so nobody may wait for a place among them.
                    self.reports.1.close();
                    self.stop_pods().await;
                    return End::Stopped;
                }
                Some(report) = self.reports.1.recv() => self.report(report),
                event = next_event(&mut events), if events.is_some() => match event {
                    Some(Event::Error { message }) => return End::Abandoned(message),
                    Some(event) => self.take(event),
                    None => {
                        tracing::info!("the agent is gone; trying to come back to it");
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
                                return End::Abandoned(why);
                            }
                        }
                        Err(LinkError::Away(why)) => {
                            tracing::debug!(why, "the agent is away");
                            refusals = 0;
                            if lost_at.elapsed() > self.recovery_timeout {
                                return End::Abandoned("the agent did not come back in time".to_owned());
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

    /// Hands due updates to the task that sends them; what does not fit comes again.
    fn flush(&mut self, calls: &mpsc::Sender<Call>) {
        let fresh = || UpdateId(*uuid::Uuid::new_v4().as_bytes());
        for status in self.updates.due(now(), fresh) {
            let _ = calls.try_send(Call::Update { status: status.into() });
        }
    }

    fn report(&mut self, report: Report) {
        let phase = report.status.phase.as_deref();
        let state = match report.outcome {
            Some(Outcome::Finished) => TaskState::Finished,
            Some(Outcome::Failed) => TaskState::Failed,
            Some(Outcome::Killed) => TaskState::Killed,
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
            // Upstream's types print this field even where it is empty, and ours leave it out.
            if let Some(condition) = condition.as_object_mut() {
                condition.entry("lastProbeTime").or_insert(Value::Null);
            }
        }
        let data = data.to_string();
        let message = report.status.message.clone();
        self.updates.tell(&report.uid, News { state, message, data: data.into() });
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Subscribed { .. } => {
                self.pods.state().subscribed_since = Some(Instant::now());
                tracing::info!("subscribed to the agent");
            }
            Event::Launch { task } => self.launch(*task),
            Event::LaunchGroup { tasks } => tasks.into_iter().for_each(|task| self.launch(task)),
            Event::Kill { task_id, grace } => self.kill(task_id.as_str(), grace),
            Event::Acknowledged { task_id, uuid } => {
                self.updates.acknowledged(task_id.as_str(), uuid);
            }
            Event::Message { data } => self.message(&data),
            Event::Shutdown => {
                tracing::info!("the agent ends this executor and its pods");
                self.shutting_down = true;
                for uid in self.pods.uids() {
                    self.kill(&uid, Some(SHUTDOWN_GRACE));
                }
            }
            Event::Heartbeat | Event::Error { .. } => {}
        }
    }

    /// Starts a Pod, once: a task that is known here stays as it is.
    fn launch(&mut self, task: TaskInfo) {
        let uid = task.task_id.as_str().to_owned();
        if self.pods.sender(&uid).is_some() || self.shared.stopping.is_cancelled() {
            return;
        }
        let pod: Pod = match serde_json::from_slice(&task.data) {
            Ok(pod) => pod,
            Err(error) => {
                let message = Some(format!("the task's data is no Pod: {error}"));
                let news = News { state: TaskState::Failed, message, data: Default::default() };
                return self.updates.tell(&uid, news);
            }
        };
        if pod.metadata.uid.as_deref() != Some(&uid) || !plain(&pod) {
            let message = Some("the task's data is a Pod without a proper name, or another one".to_owned());
            let news = News { state: TaskState::Failed, message, data: Default::default() };
            return self.updates.tell(&uid, news);
        }
        tracing::info!(pod_uid = uid, pod = %spec::full_name(&pod), "pod launched");
        let handle = worker::start(self.shared.clone(), Arc::new(pod), self.reports.0.clone());
        self.pods.insert(uid, handle);
        self.shared.look_now.notify_one();
    }

    fn kill(&mut self, uid: &str, grace: Option<Duration>) {
        let Some(events) = self.pods.sender(uid) else {
            // Nothing of it is here, and nobody else could ever say so.
            let message = Some("the pod is not on this node".to_owned());
            let news = News { state: TaskState::Killed, message, data: Default::default() };
            return self.updates.tell(uid, news);
        };
        let view = self.pods.state().by_uid.get(uid).map(|(_, handle)| handle.view());
        let own = view.map_or(spec::DEFAULT_GRACE, |view| spec::grace(&view.pod));
        hand_on(events, PodEvent::Kill { grace: grace.unwrap_or(own) });
    }

    /// News of a Pod from the facade.
    fn message(&mut self, data: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Message {
            pod: Pod,
        }
        match serde_json::from_slice::<Message>(data) {
            Ok(Message { pod }) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                if let Some(events) = self.pods.sender(&uid) {
                    hand_on(events, PodEvent::Update(Arc::new(pod)));
                }
            }
            Err(error) => tracing::warn!(%error, "a message from the scheduler is not understood"),
        }
    }

    /// Stops every Pod without reporting it ended: each starts again with the node.
    async fn stop_pods(&self) {
        self.shared.stopping.cancel();
        let handles = self.pods.take_all();
        let all = futures::future::join_all(handles.into_iter().map(|handle| handle.done));
        if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
            tracing::warn!("some pods did not stop in time; they are killed");
        }
    }
}

/// Hands an event to a Pod's task without waiting for it: the task may be waiting for this loop.
fn hand_on(events: mpsc::Sender<PodEvent>, event: PodEvent) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        tokio::spawn(async move {
            let _ = events.send(event).await;
        });
    }
}

/// Names become directories: nothing in them may lead elsewhere.
fn plain(pod: &Pod) -> bool {
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

/// Sends calls in order. An update that fails is not lost: it comes again until it is acknowledged.
async fn send_calls(link: Arc<dyn AgentLink>, mut waiting: mpsc::Receiver<Call>) {
    while let Some(call) = waiting.recv().await {
        if let Err(error) = link.send(call).await {
            tracing::debug!(%error, "a call did not reach the agent");
        }
    }
}

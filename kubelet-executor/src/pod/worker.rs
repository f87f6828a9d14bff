//! The worker of one Pod: feeds events to its state machine, performs actions, reports statuses.

mod actions;
mod node_stop;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use executor_core::{
    Event, PodMachine, PodOutcome,
    action::{EventRecord, FinalStatus},
    admission,
    machine::UnfinishedResize,
    observed::{ObservedPod, ObservedSandbox},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{paths::PodPaths, record, sandbox};
use crate::{
    pod::{context::NodeContext, logs, volumes},
    runtime::containerd::RuntimeState,
};

/// Queued events. A Pod has few containers, each with at most one action in progress.
const QUEUE_MAX: usize = 64;
/// How often volumes with content from the API are refreshed.
const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// A runtime that is unavailable for longer is shown in the Pod's status.
const UNAVAILABLE_GRACE: Duration = Duration::from_secs(5);
/// The longest sleep without a deadline.
const IDLE: Duration = Duration::from_secs(3600);

/// A worker's report.
#[derive(Debug)]
pub(crate) struct PodReport {
    pub uid: String,
    pub status: PodStatus,
    /// Set in the last report: nothing of the Pod is left.
    pub outcome: Option<PodOutcome>,
}

/// A snapshot of the Pod for other tasks.
#[derive(Debug, Clone)]
pub(crate) struct PodView {
    pub pod: Arc<Pod>,
    pub status: PodStatus,
    pub sandbox: Option<ObservedSandbox>,
    /// Ids of running instances by container name.
    pub running: BTreeMap<String, String>,
    /// Whether what runs is known.
    pub adopted: bool,
}

impl PodView {
    pub fn is_of(&self, namespace: &str, name: &str) -> bool {
        let metadata = &self.pod.metadata;
        metadata.namespace.as_deref() == Some(namespace) && metadata.name.as_deref() == Some(name)
    }
}

/// A handle to a worker.
#[derive(Debug)]
pub(crate) struct PodHandle {
    pub events: mpsc::Sender<Event>,
    pub expects_change: Arc<AtomicBool>,
    view: Arc<Mutex<PodView>>,
    pub done: JoinHandle<()>,
}

impl PodHandle {
    pub fn view(&self) -> PodView {
        self.with_view(PodView::clone)
    }

    /// Reads the view without copying it.
    pub fn with_view<T>(&self, read: impl FnOnce(&PodView) -> T) -> T {
        read(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts the worker of a Pod.
pub(crate) fn start(context: Arc<NodeContext>, pod: Arc<Pod>, reports: mpsc::Sender<PodReport>) -> PodHandle {
    let (events, inbox) = mpsc::channel(QUEUE_MAX);
    let paths = PodPaths::of(&context.config, &pod);
    let (pod, unfinished_resize) = match record::read_pod(&paths.newest(), &pod) {
        Ok(None) => (pod, UnfinishedResize::default()),
        Ok(Some(newest)) => {
            // Its resources are compared with the allocated ones again.
            let _ = events.try_send(Event::Update(newest.desired));
            (newest.allocated, newest.unfinished)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot read the newest version of a pod; starting with the launched one");
            (pod, UnfinishedResize::default())
        }
    };
    context.ledger.set(pod.metadata.uid.as_deref().unwrap_or_default(), &pod);
    let mut machine = PodMachine::new(pod.clone(), &context.host_ip, Timestamp::now());
    machine.resume_resize(unfinished_resize);
    let view = PodView {
        pod: pod.clone(),
        status: machine.status(),
        sandbox: None,
        running: BTreeMap::new(),
        adopted: false,
    };
    let view = Arc::new(Mutex::new(view));
    let expects_change = Arc::new(AtomicBool::new(true));
    let worker = Worker {
        paths,
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        context,
        machine,
        events: events.clone(),
        reports,
        view: view.clone(),
        expects_change: expects_change.clone(),
        starts: BTreeMap::new(),
        work: TaskTracker::new(),
        reported: None,
        launched_at: Instant::now(),
    };
    // At level error, so that lines of every level tell which Pod they are about.
    let span = tracing::error_span!("pod", pod_uid = worker.uid, pod = %spec::full_name(&pod));
    let done = tokio::spawn(worker.run(inbox).instrument(span));
    PodHandle { events, expects_change, view, done }
}

struct Worker {
    context: Arc<NodeContext>,
    machine: PodMachine,
    paths: PodPaths,
    uid: String,
    events: mpsc::Sender<Event>,
    reports: mpsc::Sender<PodReport>,
    view: Arc<Mutex<PodView>>,
    expects_change: Arc<AtomicBool>,
    /// Starts in progress, for cancellation.
    starts: BTreeMap<String, CancellationToken>,
    /// Actions in progress. The runtime does not list half-created resources, so actions are awaited, not aborted.
    work: TaskTracker,
    reported: Option<PodStatus>,
    launched_at: Instant,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        match record::read(&self.paths.record()) {
            Ok(None) => {}
            Ok(Some(final_status)) => return self.finish_recorded(final_status, inbox).await,
            Err(error) => {
                tracing::error!(%error, "cannot read the pod's final status");
                return self.finish_recorded(unknown_end(&error), inbox).await;
            }
        }
        if let Err(rejection) = admission::admit(self.machine.pod(), &self.context.capabilities) {
            return self.reject(rejection, inbox).await;
        }
        let mut runtime_state = self.context.runtime_state.clone();
        runtime_state.mark_changed();
        let mut report_unavailable_at: Option<Timestamp> = None;
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stopping = self.context.stopping.clone();
        let mut wake_at = None;
        loop {
            let event = tokio::select! {
                // First: nothing new is started once the node stops.
                biased;
                () = stopping.cancelled() => return self.stop_with_node(inbox).await,
                Some(event) = inbox.recv() => event,
                () = sleep_until(wake_at) => Event::Tick,
                Ok(()) = runtime_state.changed() => {
                    // A short unavailability, such as a restart of the runtime, is not reported.
                    let unavailable = *runtime_state.borrow_and_update() != RuntimeState::Ready;
                    report_unavailable_at = unavailable.then(|| executor_core::time::after(Timestamp::now(), UNAVAILABLE_GRACE));
                    continue;
                }
                () = sleep_until(report_unavailable_at), if report_unavailable_at.is_some() => {
                    report_unavailable_at = None;
                    match &*runtime_state.borrow() {
                        RuntimeState::Ready => continue,
                        RuntimeState::Unavailable(message) => Event::RuntimeUnavailable { message: message.clone() },
                    }
                }
                _ = refresh.tick() => {
                    self.refresh_volumes();
                    continue;
                }
            };
            let updated = matches!(event, Event::Update(_));
            let event = self.complete_first(event);
            let before = self.newest();
            let effects = self.machine.step(Timestamp::now(), event);
            self.record_newest(&before);
            if updated {
                self.refresh_volumes();
            }
            if let Some(final_status) = effects.persist {
                self.persist(final_status).await;
            }
            for action in effects.after_persist {
                self.perform(action);
            }
            wake_at = effects.wake_at;
            self.publish().await;
            if let Some(outcome) = self.machine.outcome() {
                return self.finish(outcome, self.machine.status()).await;
            }
        }
    }

    /// Adds to the first listing what only files tell: the attempts that have left a log, and the containers of before
    /// the last node stop, as if the runtime still listed them. What the runtime does list is newer.
    fn complete_first(&self, event: Event) -> Event {
        match event {
            Event::Observed(mut seen) if !self.machine.is_adopted() => {
                seen.logged = logs::newest_attempts(&self.paths.logs, self.machine.pod());
                if seen.sandboxes.is_empty() {
                    self.restore_interrupted(&mut seen);
                }
                Event::Observed(seen)
            }
            other => other,
        }
    }

    fn restore_interrupted(&self, seen: &mut ObservedPod) {
        match record::read_interrupted(&self.paths.interrupted()) {
            Ok(Some(restored)) => {
                seen.sandboxes.push(restored.sandbox);
                seen.containers = restored.containers;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "restart counts start over");
            }
        }
    }

    fn newest(&self) -> record::NewestPod {
        let allocated = self.machine.pod().clone();
        let desired = self.machine.desired().unwrap_or(&allocated).clone();
        record::NewestPod { allocated, desired, unfinished: self.machine.unfinished_resize() }
    }

    /// Records a changed version of the Pod, for a restarted executor.
    fn record_newest(&self, before: &record::NewestPod) {
        let now = self.newest();
        let same = Arc::ptr_eq(&now.allocated, &before.allocated)
            && Arc::ptr_eq(&now.desired, &before.desired)
            && now.unfinished == before.unfinished;
        if same {
            return;
        }
        if let Err(error) = record::write_pod(&self.paths.newest(), &now) {
            tracing::warn!(%error, "cannot record the newest version of a pod");
        }
    }

    /// Updates the view, and reports a changed status.
    async fn publish(&mut self) {
        let status = self.machine.status();
        self.expects_change.store(self.machine.expects_change(), Ordering::Relaxed);
        let running = spec::all_containers(self.machine.pod())
            .filter_map(|(_, container)| {
                let id = self.machine.running(&container.name)?;
                Some((container.name.clone(), id.to_owned()))
            })
            .collect();
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = PodView {
            pod: self.machine.pod().clone(),
            status: status.clone(),
            sandbox: self.machine.sandbox().cloned(),
            running,
            adopted: self.machine.is_adopted(),
        };
        // Nothing is known before the first listing: an adopted Pod must not look like a new one.
        if self.reported.as_ref() == Some(&status) || !self.machine.is_known() {
            return;
        }
        let phase = |status: &PodStatus| status.phase.clone().unwrap_or_default();
        if self.reported.as_ref().is_some_and(|last| phase(last) == "Pending") && phase(&status) == "Running"
        {
            self.context.metrics.pod_start_duration.observe(self.launched_at.elapsed().as_secs_f64());
        }
        self.reported = Some(status.clone());
        let report = PodReport { uid: self.uid.clone(), status, outcome: None };
        let _ = self.reports.send(report).await;
    }

    async fn persist(&self, final_status: FinalStatus) {
        let path = self.paths.record();
        let written = tokio::task::spawn_blocking(move || record::write(&path, &final_status)).await;
        if let Ok(Err(error)) | Err(error) = written.map_err(std::io::Error::other) {
            // There is no better option: keeping the containers would not make the disk writable.
            tracing::error!(%error, "cannot persist the pod's final status");
        }
    }

    async fn finish(&self, outcome: PodOutcome, status: PodStatus) {
        self.context.ledger.remove(&self.uid);
        sandbox::clean_up(&self.context, self.machine.pod()).await;
        let report = PodReport { uid: self.uid.clone(), status, outcome: Some(outcome) };
        let _ = self.reports.send(report).await;
    }

    /// Fails a Pod that the node does not accept.
    async fn reject(self, rejection: admission::Rejection, inbox: mpsc::Receiver<Event>) {
        let pod = self.machine.pod().clone();
        let (reason, message) = (rejection.reason, rejection.message.clone());
        let event = EventRecord { container: None, warning: true, reason, message };
        self.context.recorder.record(&pod, event);
        let status = rejection.status(&pod);
        self.finish_recorded(FinalStatus { outcome: PodOutcome::Failed, status }, inbox).await;
    }

    /// Handles a Pod whose end was decided before a crash: removes what is left and reports the end.
    async fn finish_recorded(self, final_status: FinalStatus, mut inbox: mpsc::Receiver<Event>) {
        let stopping = self.context.stopping.clone();
        let seen: ObservedPod = loop {
            let event = tokio::select! {
                // No more listings: the teardown removes what is left, and the record stays.
                () = stopping.cancelled() => return,
                event = inbox.recv() => event,
            };
            match event {
                Some(Event::Observed(seen)) => break seen,
                Some(_) => {}
                None => return,
            }
        };
        for leftover in seen.sandboxes {
            sandbox::remove(&self.context, &leftover.id).await;
        }
        self.finish(final_status.outcome, final_status.status).await;
    }

    fn refresh_volumes(&self) {
        let pod = self.machine.pod().clone();
        let Some(up) = self.machine.sandbox() else { return };
        if !volumes::follows_api(&pod) {
            return;
        }
        let (context, paths, ips) = (self.context.clone(), self.paths.clone(), up.ips.clone());
        let refresh = async move {
            let node = context.node(ips);
            let builder = volumes::VolumeBuilder { api: &*context.api, node: &node };
            if let Err(error) = builder.build_all(&pod, &paths).await {
                tracing::debug!(%error, "cannot refresh volumes");
            }
        };
        self.work.spawn(refresh.in_current_span());
    }
}

/// The end of a Pod whose record exists and cannot be read: it must not run again, and how it ended is unknown.
fn unknown_end(error: &std::io::Error) -> FinalStatus {
    let status = PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some("UnreadableRecord".to_owned()),
        message: Some(format!(
            "The pod has ended, and the record of its final status cannot be read: {error}"
        )),
        ..Default::default()
    };
    FinalStatus { outcome: PodOutcome::Failed, status }
}

async fn sleep_until(moment: Option<Timestamp>) {
    let length = match moment {
        Some(moment) => executor_core::time::since(moment, Timestamp::now()).min(IDLE),
        None => IDLE,
    };
    tokio::time::sleep(length).await;
}

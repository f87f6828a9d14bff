//! The worker of one Pod: feeds events to its state machine, performs actions, reports statuses.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use executor_core::{
    Action, Event, PodMachine, PodOutcome,
    action::{FinalStatus, StartFailure},
    observed::{ObservedContainer, ObservedPod, ObservedSandbox},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{containers, hooks, paths::PodPaths, record, sandbox};
use crate::{
    pod::{context::NodeContext, volumes},
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
/// The longest grace period when the whole node stops.
const NODE_STOP_GRACE_MAX: Duration = Duration::from_secs(20);

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
    let machine = PodMachine::new(pod.clone(), &context.config.node_ip, Timestamp::now());
    let view =
        PodView { pod: pod.clone(), status: machine.status(), sandbox: None, running: BTreeMap::new() };
    let view = Arc::new(Mutex::new(view));
    let expects_change = Arc::new(AtomicBool::new(true));
    let worker = Worker {
        paths: PodPaths::of(&context.config, &pod),
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
            if matches!(event, Event::Update(_)) {
                self.refresh_volumes();
            }
            let event = self.restore_interrupted(event);
            let effects = self.machine.step(Timestamp::now(), event);
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

    /// Adds the containers of before the last node stop to the first listing, as if the runtime still listed them.
    /// What the runtime does list is newer.
    fn restore_interrupted(&self, event: Event) -> Event {
        match event {
            Event::Observed(mut seen) if !self.machine.is_adopted() && seen.sandboxes.is_empty() => {
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
                Event::Observed(seen)
            }
            other => other,
        }
    }

    /// Writes the record that [`Self::restore_interrupted`] reads. Called when everything has stopped and nothing is
    /// removed yet.
    async fn write_interrupted(&self, sandbox: Option<ObservedSandbox>, late: Vec<ObservedContainer>) {
        let mut instances: BTreeMap<String, ObservedContainer> =
            self.machine.instances().chain(&late).map(|seen| (seen.name.clone(), seen.clone())).collect();
        for seen in instances.values_mut().filter(|seen| seen.exit().is_none()) {
            match self.context.runtime.container_status(&seen.id).await {
                Ok(status) => *seen = containers::observe_container(status, &seen.sandbox_id),
                Err(error) => tracing::debug!(id = seen.id, %error, "cannot read a container's exit"),
            }
            seen.mark_lost(Timestamp::now());
        }
        // Without a sandbox of this run, the record of an earlier stop is still valid.
        let (Some(mut sandbox), false) = (sandbox, instances.is_empty()) else { return };
        // The Pod's start time is that of its first sandbox: start time and deadline continue.
        if let Some(began) = self.machine.status().start_time {
            sandbox.created_at = sandbox.created_at.min(began.0);
        }
        let interrupted = record::Interrupted { sandbox, containers: instances.into_values().collect() };
        if let Err(error) = record::write_interrupted(&self.paths.interrupted(), &interrupted) {
            tracing::warn!(%error, "cannot write the record of an interrupted pod");
        }
    }

    /// Updates the view, and reports a changed status.
    async fn publish(&mut self) {
        let status = self.machine.status();
        self.expects_change.store(self.machine.expects_change(), Ordering::Relaxed);
        let running = spec::containers(self.machine.pod())
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
        sandbox::clean_up(&self.context, self.machine.pod()).await;
        let report = PodReport { uid: self.uid.clone(), status, outcome: Some(outcome) };
        let _ = self.reports.send(report).await;
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

    /// Stops the Pod with its node: containers get their grace period, nothing is reported, and the Pod starts again
    /// with the node. Actions in progress are awaited, and their results removed.
    async fn stop_with_node(self, mut inbox: mpsc::Receiver<Event>) {
        for cancel in self.starts.values() {
            cancel.cancel();
        }
        let pod = self.machine.pod().clone();
        let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let mut sandboxes: BTreeMap<String, ObservedSandbox> =
            self.machine.sandbox().map(|up| (up.id.clone(), up.clone())).into_iter().collect();
        let running: Vec<(String, String)> = spec::containers(&pod)
            .filter_map(|(_, c)| Some((c.name.clone(), self.machine.running(&c.name)?.to_owned())))
            .collect();
        self.work.close();
        let late = async {
            let mut late: Vec<ObservedContainer> = Vec::new();
            let mut take = |event: Event| match event {
                Event::SandboxStarted(made) => {
                    sandboxes.insert(made.id.clone(), made);
                }
                Event::ContainerStarted(started) => late.push(started),
                _ => {}
            };
            loop {
                // Keep reading, so that no action blocks on the queue.
                tokio::select! {
                    () = self.work.wait() => break,
                    Some(event) = inbox.recv() => take(event),
                }
            }
            while let Ok(event) = inbox.try_recv() {
                take(event);
            }
            let named = late.iter().map(|started| (started.name.clone(), started.id.clone())).collect();
            self.stop_containers(&pod, &ips, named).await;
            late
        };
        let ((), late) = tokio::join!(self.stop_containers(&pod, &ips, running), late);
        let newest = sandboxes.values().max_by_key(|sandbox| sandbox.attempt).cloned();
        self.write_interrupted(newest, late).await;
        for id in sandboxes.keys() {
            sandbox::remove(&self.context, id).await;
        }
        sandbox::clean_up(&self.context, &pod).await;
    }

    /// Stops containers (name and id), each within the Pod's grace period or the limit of a node stop.
    async fn stop_containers(&self, pod: &Pod, ips: &[String], containers: Vec<(String, String)>) {
        let grace = spec::grace(pod).min(NODE_STOP_GRACE_MAX);
        let stops = containers
            .iter()
            .map(|(name, id)| containers::stop(&self.context, pod, ips, name, id, grace, true));
        futures::future::join_all(stops).await;
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

    /// Starts an action; its result arrives as an event.
    fn perform(&mut self, action: Action) {
        let (context, pod, events) = (self.context.clone(), self.machine.pod().clone(), self.events.clone());
        match action {
            Action::RecordEvent(event) => self.context.recorder.record(&pod, event),
            Action::StartSandbox { attempt } => self.spawn(async move {
                let event = match sandbox::start(&context, &pod, attempt).await {
                    Ok(sandbox) => Event::SandboxStarted(sandbox),
                    Err((reason, message)) => Event::SandboxFailed { reason, message },
                };
                let _ = events.send(event).await;
            }),
            Action::RemoveSandbox { id } => self.spawn(async move {
                sandbox::remove(&context, &id).await;
                let _ = events.send(Event::SandboxRemoved { id }).await;
            }),
            Action::StartContainer { name, sandbox_id, attempt, restart_count } => {
                self.start_container(name, sandbox_id, attempt, restart_count);
            }
            Action::CancelStart { name } => {
                if let Some(cancel) = self.starts.get(&name) {
                    cancel.cancel();
                }
            }
            Action::StopContainer { name, id, grace, pre_stop, why } => {
                let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                if pre_stop {
                    let event = executor_core::action::EventRecord {
                        container: Some(name.clone()),
                        warning: false,
                        reason: "Killing",
                        message: why,
                    };
                    self.context.recorder.record(&pod, event);
                }
                self.spawn(async move {
                    containers::stop(&context, &pod, &ips, &name, &id, grace, pre_stop).await;
                    let _ = events.send(Event::StopReturned { id }).await;
                });
            }
            Action::RemoveContainer { id } => self.spawn(async move {
                if let Err(error) = context.runtime.remove(&id).await {
                    tracing::debug!(id, %error, "cannot remove container; it is removed with its sandbox");
                }
            }),
            Action::RunProbe { name, container_id, kind } => {
                let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                tokio::spawn(async move {
                    let Some(container) = spec::container(&pod, &name) else { return };
                    let ip = hooks::address(&context, &pod, &ips);
                    let target =
                        hooks::Target { context: &context, container, container_id: &container_id, ip };
                    let result = hooks::probe(&target, kind).await;
                    let _ = events.send(Event::Probed { container_id, kind, result }).await;
                });
            }
        }
    }

    fn start_container(&mut self, name: String, sandbox_id: String, attempt: u32, restart_count: u32) {
        let events = self.events.clone();
        let Some(up) = self.machine.sandbox().filter(|sandbox| sandbox.id == sandbox_id).cloned() else {
            return;
        };
        let cancel = CancellationToken::new();
        self.starts.insert(name.clone(), cancel.clone());
        // A node stop removes containers; their logs tell the attempt numbers.
        let (attempt, restart_count) = match crate::pod::logs::newest_attempt(&self.paths.logs.join(&name)) {
            Some(newest) if newest >= attempt => (newest + 1, restart_count.max(newest + 1)),
            _ => (attempt, restart_count),
        };
        let start = containers::Start {
            context: self.context.clone(),
            pod: self.machine.pod().clone(),
            sandbox: up,
            name: name.clone(),
            attempt,
            restart_count,
            cancel,
        };
        self.spawn(async move {
            let event = match start.run().await {
                Ok(seen) => Event::ContainerStarted(seen),
                Err((failure, message)) => {
                    let unavailable = *start.context.runtime_state.borrow() != RuntimeState::Ready;
                    let failure = if unavailable { StartFailure::Interrupted } else { failure };
                    Event::ContainerFailed { name, failure, message }
                }
            };
            let _ = events.send(event).await;
        });
    }

    /// Spawns an action and triggers a listing when it is done.
    fn spawn(&self, action: impl Future<Output = ()> + Send + 'static) {
        let context = self.context.clone();
        let action = async move {
            action.await;
            context.relist.notify_one();
        };
        self.work.spawn(action.in_current_span());
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

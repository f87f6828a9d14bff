//! The task that drives one Pod's machine: events in, actions out, statuses reported.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use executor_core::{
    Action, Event, Outcome, PodMachine,
    action::{Final, StartFailure},
    seen::{ContainerSeen, SandboxSeen, Seen},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{containers, hooks, places::Places, record, sandbox};
use crate::{
    pod::{shared::Shared, volumes},
    runtime::containerd::Standing,
};

/// Events that wait for a Pod's machine. A Pod has few containers, each with at most one action under way.
const QUEUE_MAX: usize = 64;
/// How often volumes that follow the API are brought up to date.
const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// A runtime that is away for longer is shown in the Pod's status.
const AWAY_PATIENCE: Duration = Duration::from_secs(5);
/// The longest sleep of a Pod that waits for nothing.
const IDLE: Duration = Duration::from_secs(3600);
/// What a Pod's containers get of their grace when the whole node stops.
const NODE_STOP_GRACE_MAX: Duration = Duration::from_secs(20);

/// What a Pod reports about itself.
#[derive(Debug)]
pub(crate) struct Report {
    pub uid: String,
    pub status: PodStatus,
    /// Set once, with the last report: nothing of the Pod is left.
    pub outcome: Option<Outcome>,
}

/// What others may know of a Pod without asking its task.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub pod: Arc<Pod>,
    pub status: PodStatus,
    pub sandbox: Option<SandboxSeen>,
    /// Running instances by container.
    pub running: BTreeMap<String, String>,
}

impl View {
    pub fn is_of(&self, namespace: &str, name: &str) -> bool {
        let metadata = &self.pod.metadata;
        metadata.namespace.as_deref() == Some(namespace) && metadata.name.as_deref() == Some(name)
    }
}

/// A handle on a Pod's task.
#[derive(Debug)]
pub(crate) struct Handle {
    pub events: mpsc::Sender<Event>,
    pub expects_change: Arc<AtomicBool>,
    view: Arc<Mutex<View>>,
    pub done: JoinHandle<()>,
}

impl Handle {
    pub fn view(&self) -> View {
        self.look(View::clone)
    }

    /// Asks something of the view without copying it.
    pub fn look<T>(&self, ask: impl FnOnce(&View) -> T) -> T {
        ask(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts the task of a Pod.
pub(crate) fn start(shared: Arc<Shared>, pod: Arc<Pod>, reports: mpsc::Sender<Report>) -> Handle {
    let (events, inbox) = mpsc::channel(QUEUE_MAX);
    let machine = PodMachine::new(pod.clone(), &shared.config.node_ip, Timestamp::now());
    let view = View { pod: pod.clone(), status: machine.status(), sandbox: None, running: BTreeMap::new() };
    let view = Arc::new(Mutex::new(view));
    let expects_change = Arc::new(AtomicBool::new(true));
    let worker = Worker {
        places: Places::of(&shared.config, &pod),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        shared,
        machine,
        events: events.clone(),
        reports,
        view: view.clone(),
        expects_change: expects_change.clone(),
        starts: BTreeMap::new(),
        work: TaskTracker::new(),
        reported: None,
    };
    // At level error, so that lines of every level tell which Pod they are about.
    let span = tracing::error_span!("pod", pod_uid = worker.uid, pod = %spec::full_name(&pod));
    let done = tokio::spawn(worker.run(inbox).instrument(span));
    Handle { events, expects_change, view, done }
}

struct Worker {
    shared: Arc<Shared>,
    machine: PodMachine,
    places: Places,
    uid: String,
    events: mpsc::Sender<Event>,
    reports: mpsc::Sender<Report>,
    view: Arc<Mutex<View>>,
    expects_change: Arc<AtomicBool>,
    /// Starts under way, to be called off.
    starts: BTreeMap<String, CancellationToken>,
    /// Actions under way: what the runtime is in the middle of shows in no listing, and is not to be cut off.
    work: TaskTracker,
    reported: Option<PodStatus>,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        if let Some(finale) = record::read(&self.places.record()) {
            return self.finish_recorded(finale, inbox).await;
        }
        let mut standing = self.shared.standing.clone();
        standing.mark_changed();
        let mut away_at: Option<Timestamp> = None;
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stopping = self.shared.stopping.clone();
        let mut wake_at = None;
        loop {
            let event = tokio::select! {
                // First of all: once the node stops, nothing new is begun.
                biased;
                () = stopping.cancelled() => return self.stop_with_node(inbox).await,
                Some(event) = inbox.recv() => event,
                () = sleep_until(wake_at) => Event::Tick,
                Ok(()) = standing.changed() => {
                    // A runtime that is merely starting is no news.
                    let away = *standing.borrow_and_update() != Standing::Ready;
                    away_at = away.then(|| executor_core::time::after(Timestamp::now(), AWAY_PATIENCE));
                    continue;
                }
                () = sleep_until(away_at), if away_at.is_some() => {
                    away_at = None;
                    match &*standing.borrow() {
                        Standing::Ready => continue,
                        Standing::Away(message) => Event::RuntimeAway { message: message.clone() },
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
            let event = self.recalling(event);
            let effects = self.machine.step(Timestamp::now(), event);
            if let Some(finale) = effects.persist {
                self.persist(finale).await;
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

    /// Puts into the first listing what the node's last stop removed: like a machine that was restarted, whose runtime still
    /// lists what had run. Where the runtime lists anything of the Pod, that is newer.
    fn recalling(&self, event: Event) -> Event {
        match event {
            Event::Seen(mut seen) if !self.machine.is_adopted() && seen.sandboxes.is_empty() => {
                if let Some(recalled) = record::read_interrupted(&self.places.interrupted()) {
                    seen.sandboxes.push(recalled.sandbox);
                    seen.containers = recalled.containers;
                }
                Event::Seen(seen)
            }
            other => other,
        }
    }

    /// Writes down what [`Self::recalling`] reads. To be called when everything has stopped and nothing was removed yet.
    async fn write_interrupted(&self, sandbox: Option<SandboxSeen>, late: Vec<ContainerSeen>) {
        let mut instances: BTreeMap<String, ContainerSeen> =
            self.machine.instances().chain(&late).map(|seen| (seen.name.clone(), seen.clone())).collect();
        for seen in instances.values_mut().filter(|seen| seen.exit().is_none()) {
            match self.shared.runtime.container_status(&seen.id).await {
                Ok(status) => *seen = containers::container_seen(status, &seen.sandbox_id),
                Err(error) => tracing::debug!(id = seen.id, %error, "how a container ended is not known"),
            }
            seen.lose(Timestamp::now());
        }
        // Without a sandbox of this run, what an earlier stop wrote down still holds.
        let (Some(mut sandbox), false) = (sandbox, instances.is_empty()) else { return };
        // The Pod is as old as its first sandbox: its start time and its deadline go on.
        if let Some(began) = self.machine.status().start_time {
            sandbox.created_at = sandbox.created_at.min(began.0);
        }
        let interrupted = record::Interrupted { sandbox, containers: instances.into_values().collect() };
        if let Err(error) = record::write_interrupted(&self.places.interrupted(), &interrupted) {
            tracing::warn!(%error, "the record of the pod's restarts cannot be written");
        }
    }

    /// Tells others how the Pod stands, and the agent if it is news.
    async fn publish(&mut self) {
        let status = self.machine.status();
        self.expects_change.store(self.machine.expects_change(), Ordering::Relaxed);
        let running = spec::containers(self.machine.pod())
            .filter_map(|(_, container)| {
                let id = self.machine.running(&container.name)?;
                Some((container.name.clone(), id.to_owned()))
            })
            .collect();
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = View {
            pod: self.machine.pod().clone(),
            status: status.clone(),
            sandbox: self.machine.sandbox().cloned(),
            running,
        };
        // Before the first listing nothing is known: an adopted Pod must not seem to start anew.
        if self.reported.as_ref() == Some(&status) || !self.machine.is_known() {
            return;
        }
        self.reported = Some(status.clone());
        let report = Report { uid: self.uid.clone(), status, outcome: None };
        let _ = self.reports.send(report).await;
    }

    async fn persist(&self, finale: Final) {
        let path = self.places.record();
        let written = tokio::task::spawn_blocking(move || record::write(&path, &finale)).await;
        if let Ok(Err(error)) | Err(error) = written.map_err(std::io::Error::other) {
            // Nothing better can be done: keeping the containers would not make the disk writable.
            tracing::error!(%error, "the record of the pod's end cannot be written");
        }
    }

    async fn finish(&self, outcome: Outcome, status: PodStatus) {
        sandbox::clean_up(&self.shared, self.machine.pod()).await;
        let report = Report { uid: self.uid.clone(), status, outcome: Some(outcome) };
        let _ = self.reports.send(report).await;
    }

    /// A Pod whose end was decided before a crash: what is left of it is removed, and its end reported.
    async fn finish_recorded(self, finale: Final, mut inbox: mpsc::Receiver<Event>) {
        let stopping = self.shared.stopping.clone();
        let seen: Seen = loop {
            let event = tokio::select! {
                // Nothing is listed any more. The sweep removes what there is, and the record stays.
                () = stopping.cancelled() => return,
                event = inbox.recv() => event,
            };
            match event {
                Some(Event::Seen(seen)) => break seen,
                Some(_) => {}
                None => return,
            }
        };
        for leftover in seen.sandboxes {
            sandbox::remove(&self.shared, &leftover.id).await;
        }
        self.finish(finale.outcome, finale.status).await;
    }

    /// The node stops: containers end within their grace, nothing is reported, the Pod starts again with the node. What is
    /// under way is not cut off but waited for, and taken down with the rest.
    async fn stop_with_node(self, mut inbox: mpsc::Receiver<Event>) {
        for cancel in self.starts.values() {
            cancel.cancel();
        }
        let pod = self.machine.pod().clone();
        let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let mut sandboxes: BTreeMap<String, SandboxSeen> =
            self.machine.sandbox().map(|up| (up.id.clone(), up.clone())).into_iter().collect();
        let running: Vec<(String, String)> = spec::containers(&pod)
            .filter_map(|(_, c)| Some((c.name.clone(), self.machine.running(&c.name)?.to_owned())))
            .collect();
        self.work.close();
        let late = async {
            let mut late: Vec<ContainerSeen> = Vec::new();
            let mut take = |event: Event| match event {
                Event::SandboxStarted(made) => {
                    sandboxes.insert(made.id.clone(), made);
                }
                Event::ContainerStarted(started) => late.push(started),
                _ => {}
            };
            loop {
                // Read all the while, so that no action waits for a place in the queue.
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
            sandbox::remove(&self.shared, id).await;
        }
        sandbox::clean_up(&self.shared, &pod).await;
    }

    /// Stops containers, given by name and id, each within the Pod's grace or what a stopping node leaves of it.
    async fn stop_containers(&self, pod: &Pod, ips: &[String], containers: Vec<(String, String)>) {
        let grace = spec::grace(pod).min(NODE_STOP_GRACE_MAX);
        let stops = containers
            .iter()
            .map(|(name, id)| containers::stop(&self.shared, pod, ips, name, id, grace, true));
        futures::future::join_all(stops).await;
    }

    fn refresh_volumes(&self) {
        let pod = self.machine.pod().clone();
        let Some(up) = self.machine.sandbox() else { return };
        if !volumes::follows_api(&pod) {
            return;
        }
        let (shared, places, ips) = (self.shared.clone(), self.places.clone(), up.ips.clone());
        let refresh = async move {
            let node = shared.node(ips);
            let maker = volumes::Maker { api: &*shared.api, node: &node };
            if let Err(error) = maker.make_all(&pod, &places).await {
                tracing::debug!(%error, "volumes not refreshed");
            }
        };
        self.work.spawn(refresh.in_current_span());
    }

    /// Begins an action; its end comes back as an event.
    fn perform(&mut self, action: Action) {
        let (shared, pod, events) = (self.shared.clone(), self.machine.pod().clone(), self.events.clone());
        match action {
            Action::Tell(told) => self.shared.recorder.tell(&pod, told),
            Action::StartSandbox { attempt } => self.spawn(async move {
                let event = match sandbox::start(&shared, &pod, attempt).await {
                    Ok(sandbox) => Event::SandboxStarted(sandbox),
                    Err((reason, message)) => Event::SandboxFailed { reason, message },
                };
                let _ = events.send(event).await;
            }),
            Action::RemoveSandbox { id } => self.spawn(async move {
                sandbox::remove(&shared, &id).await;
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
                    let told = executor_core::action::Told {
                        container: Some(name.clone()),
                        warning: false,
                        reason: "Killing",
                        message: why,
                    };
                    self.shared.recorder.tell(&pod, told);
                }
                self.spawn(async move {
                    containers::stop(&shared, &pod, &ips, &name, &id, grace, pre_stop).await;
                    let _ = events.send(Event::StopReturned { id }).await;
                });
            }
            Action::RemoveContainer { id } => self.spawn(async move {
                if let Err(error) = shared.runtime.remove(&id).await {
                    tracing::debug!(id, %error, "container not removed; it goes with its sandbox");
                }
            }),
            Action::RunProbe { name, container_id, kind } => {
                let ips = self.machine.sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
                tokio::spawn(async move {
                    let Some(container) = spec::container(&pod, &name) else { return };
                    let ip = hooks::address(&shared, &pod, &ips);
                    let target =
                        hooks::Target { shared: &shared, container, container_id: &container_id, ip };
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
        // A node that was stopped took its containers with it; their logs tell that they were.
        let (attempt, restart_count) = match crate::pod::logs::newest_attempt(&self.places.logs.join(&name)) {
            Some(newest) if newest >= attempt => (newest + 1, restart_count.max(newest + 1)),
            _ => (attempt, restart_count),
        };
        let start = containers::Start {
            shared: self.shared.clone(),
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
                    let away = *start.shared.standing.borrow() != Standing::Ready;
                    let failure = if away { StartFailure::Interrupted } else { failure };
                    Event::ContainerFailed { name, failure, message }
                }
            };
            let _ = events.send(event).await;
        });
    }

    /// Runs an action beside the machine; when it is over, a listing shows what it did.
    fn spawn(&self, action: impl Future<Output = ()> + Send + 'static) {
        let shared = self.shared.clone();
        let action = async move {
            action.await;
            shared.look_now.notify_one();
        };
        self.work.spawn(action.in_current_span());
    }
}

async fn sleep_until(moment: Option<Timestamp>) {
    let length = match moment {
        Some(moment) => executor_core::time::since(moment, Timestamp::now()).min(IDLE),
        None => IDLE,
    };
    tokio::time::sleep(length).await;
}

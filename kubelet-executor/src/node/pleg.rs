//! The Pod lifecycle event generator (PLEG): lists the runtime for all Pods and sends each worker its changes.
//!
//! The CRI of containerd 1.6 has no event stream, so the runtime is polled: once a second while no change is
//! expected, ten times a second at first while one is, and at once after an action.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cri::v1;
use executor_core::{
    Event,
    observed::{ObservedContainer, ObservedPod, ObservedSandbox},
};
use jiff::Timestamp;

use crate::{
    node::pods::Pods,
    pod::{
        containers::observe_container,
        context::NodeContext,
        sandbox::{self, observe_sandbox},
    },
    runtime::labels,
};

/// Period while no change is expected.
const RELIST_PERIOD: Duration = Duration::from_secs(1);
/// Period right after a change.
const RELIST_PERIOD_MIN: Duration = Duration::from_millis(100);
/// Minimum gap between two listings, whatever triggers them.
const RELIST_GAP_MIN: Duration = Duration::from_millis(25);
/// Period after a failed listing.
const RETRY_PERIOD: Duration = Duration::from_millis(500);
/// A sandbox without a task is removed after this time, which is long enough for an agent to launch its tasks again.
const ORPHAN_AFTER: Duration = Duration::from_secs(60);

type Fingerprint = Vec<(String, i32)>;

pub(crate) struct Pleg {
    context: Arc<NodeContext>,
    pods: Arc<Pods>,
    sandboxes: BTreeMap<String, (i32, ObservedSandbox)>,
    containers: BTreeMap<String, (i32, ObservedContainer)>,
    delivered: BTreeMap<String, Fingerprint>,
    orphans: BTreeMap<String, Instant>,
    period: Duration,
    /// Start of the last listing.
    listed_at: Option<Instant>,
}

#[derive(Default)]
struct Group {
    sandboxes: Vec<v1::PodSandbox>,
    containers: Vec<v1::Container>,
}

impl Pleg {
    pub fn new(context: Arc<NodeContext>, pods: Arc<Pods>) -> Self {
        Self {
            context,
            pods,
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            delivered: BTreeMap::new(),
            orphans: BTreeMap::new(),
            period: RELIST_PERIOD_MIN,
            listed_at: None,
        }
    }

    /// Runs until the node stops.
    pub async fn run(mut self) {
        while !self.context.stopping.is_cancelled() {
            let begun = Instant::now();
            let wait = match self.relist().await {
                Ok(true) => self.period,
                Ok(false) => RELIST_PERIOD,
                Err(error) => {
                    if !error.is_unavailable() {
                        tracing::warn!(%error, "cannot list the runtime");
                    }
                    RETRY_PERIOD
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.context.relist.notified() => {
                    tokio::time::sleep(RELIST_GAP_MIN.saturating_sub(begun.elapsed())).await;
                }
            }
        }
    }

    /// Lists once; returns whether a Pod expects a change.
    async fn relist(&mut self) -> Result<bool, cri::Error> {
        if *self.context.runtime_state.borrow() != crate::runtime::containerd::RuntimeState::Ready {
            return Err(cri::Error {
                operation: "List",
                kind: cri::ErrorKind::Unavailable,
                message: "the runtime is not ready".to_owned(),
            });
        }
        let metrics = self.context.metrics.clone();
        let begun = Instant::now();
        if let Some(last) = self.listed_at.replace(begun) {
            metrics.pleg_relist_interval.observe((begun - last).as_secs_f64());
        }
        let result = self.list().await;
        metrics.pleg_relist_duration.observe(begun.elapsed().as_secs_f64());
        result
    }

    /// Lists the runtime and sends each worker what has changed.
    async fn list(&mut self) -> Result<bool, cri::Error> {
        let at = Timestamp::now();
        let (sandboxes, containers) = self.context.runtime.list(&self.context.own_labels()).await?;
        self.context.metrics.pleg_last_seen.set(at.as_second() as f64);
        self.context.metrics.observe_listing(running_pods(&sandboxes), &containers);
        let known: BTreeSet<String> =
            sandboxes.iter().map(|s| s.id.clone()).chain(containers.iter().map(|c| c.id.clone())).collect();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let uid =
            |labels: &BTreeMap<String, String>| labels.get(labels::POD_UID).cloned().unwrap_or_default();
        for sandbox in sandboxes {
            groups.entry(uid(&sandbox.labels)).or_default().sandboxes.push(sandbox);
        }
        for container in containers {
            groups.entry(uid(&container.labels)).or_default().containers.push(container);
        }
        let (mut expected, mut changed) = (false, false);
        let tracked = self.pods.listeners();
        for listener in &tracked {
            let expects = listener.expects_change.load(Ordering::Relaxed);
            expected |= expects;
            let group = groups.remove(&listener.uid).unwrap_or_default();
            let print = fingerprint(&group);
            let changed_now = self.delivered.get(&listener.serial_key()) != Some(&print);
            changed |= changed_now;
            if !changed_now && !expects {
                continue;
            }
            let observed = match self.observe(at, group).await {
                Ok(observed) => observed,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    // One Pod that the runtime cannot describe must not hide the others.
                    tracing::warn!(pod_uid = %listener.uid, %error, "cannot read a pod's status from the runtime");
                    continue;
                }
            };
            if listener.events.try_send(Event::Observed(observed)).is_ok() {
                self.delivered.insert(listener.serial_key(), print);
            }
        }
        let live: BTreeSet<String> = tracked.iter().map(|listener| listener.serial_key()).collect();
        self.delivered.retain(|key, _| live.contains(key));
        self.sandboxes.retain(|id, _| known.contains(id));
        self.containers.retain(|id, _| known.contains(id));
        self.remove_orphans(groups);
        // Poll fast after a change, then back off while the expected change does not come.
        self.period = if changed { RELIST_PERIOD_MIN } else { (self.period * 5 / 4).min(RELIST_PERIOD) };
        Ok(expected)
    }

    /// Reads the status of what has changed in one Pod.
    async fn observe(&mut self, at: Timestamp, group: Group) -> Result<ObservedPod, cri::Error> {
        let mut observed =
            ObservedPod { at, sandboxes: Vec::new(), containers: Vec::new(), logged: BTreeMap::new() };
        for sandbox in group.sandboxes {
            let known = self.sandboxes.get(&sandbox.id).filter(|(state, _)| *state == sandbox.state);
            let sandbox_now = match known {
                Some((_, known)) => known.clone(),
                None => match self.context.runtime.sandbox_status(&sandbox.id).await {
                    Ok(status) => observe_sandbox(status),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
            };
            self.sandboxes.insert(sandbox.id, (sandbox.state, sandbox_now.clone()));
            observed.sandboxes.push(sandbox_now);
        }
        for container in group.containers {
            let known = self.containers.get(&container.id).filter(|(state, _)| *state == container.state);
            let container_now = match known {
                Some((_, known)) => known.clone(),
                None => match self.context.runtime.container_status(&container.id).await {
                    Ok(status) => observe_container(status, &container.pod_sandbox_id),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
            };
            self.containers.insert(container.id, (container.state, container_now.clone()));
            observed.containers.push(container_now);
        }
        Ok(observed)
    }

    /// Removes sandboxes without a task, once the agent has had time to launch its tasks again.
    fn remove_orphans(&mut self, groups: BTreeMap<String, Group>) {
        let subscribed = self.pods.subscribed_since().is_some_and(|since| since.elapsed() >= ORPHAN_AFTER);
        let mut orphans = BTreeMap::new();
        for (uid, group) in groups {
            let since = self.orphans.get(&uid).copied().unwrap_or_else(Instant::now);
            if subscribed && since.elapsed() >= ORPHAN_AFTER {
                tracing::warn!(pod_uid = %uid, "removing a pod without a task");
                let (context, ids) = (self.context.clone(), group.sandboxes.into_iter().map(|s| s.id));
                let ids: Vec<String> = ids.collect();
                tokio::spawn(async move {
                    for id in ids {
                        sandbox::remove(&context, &id).await;
                    }
                });
            } else {
                orphans.insert(uid, since);
            }
        }
        self.orphans = orphans;
    }
}

/// The number of Pods with a ready sandbox.
fn running_pods(sandboxes: &[v1::PodSandbox]) -> usize {
    let ready = sandboxes.iter().filter(|sandbox| sandbox.state == v1::PodSandboxState::SandboxReady as i32);
    ready.filter_map(|sandbox| sandbox.labels.get(labels::POD_UID)).collect::<BTreeSet<_>>().len()
}

fn fingerprint(group: &Group) -> Fingerprint {
    let sandboxes = group.sandboxes.iter().map(|sandbox| (sandbox.id.clone(), sandbox.state));
    let containers = group.containers.iter().map(|container| (container.id.clone(), container.state));
    let mut print: Fingerprint = sandboxes.chain(containers).collect();
    print.sort();
    print
}

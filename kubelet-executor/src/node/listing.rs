//! Looking at the runtime: one listing for all Pods, handed to those for whom it is news.
//!
//! The interface of containerd 1.6 has no events, so it is asked: once a second while nothing is expected, ten times a
//! second at first while something is, at once after an action.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cri::v1;
use executor_core::{
    Event,
    seen::{ContainerSeen, SandboxSeen, Seen},
};
use jiff::Timestamp;

use crate::{
    node::pods::Pods,
    pod::{
        containers::container_seen,
        sandbox::{self, sandbox_seen},
        shared::Shared,
    },
    runtime::labels,
};

/// Between two listings while nothing is expected.
const CALM: Duration = Duration::from_secs(1);
/// Between two listings right after a change.
const EAGER: Duration = Duration::from_millis(100);
/// Between two listings at least, whatever asks for them.
const GAP_MIN: Duration = Duration::from_millis(25);
/// After a failed listing.
const FAILED: Duration = Duration::from_millis(500);
/// A sandbox of ours that no task stands for is removed after this time: long enough for an agent to hand its tasks out.
const ORPHAN_AFTER: Duration = Duration::from_secs(60);

type Fingerprint = Vec<(String, i32)>;

pub(crate) struct Listing {
    shared: Arc<Shared>,
    pods: Arc<Pods>,
    sandboxes: BTreeMap<String, (i32, SandboxSeen)>,
    containers: BTreeMap<String, (i32, ContainerSeen)>,
    delivered: BTreeMap<String, Fingerprint>,
    orphans: BTreeMap<String, Instant>,
    pace: Duration,
}

#[derive(Default)]
struct Group {
    sandboxes: Vec<v1::PodSandbox>,
    containers: Vec<v1::Container>,
}

impl Listing {
    pub fn new(shared: Arc<Shared>, pods: Arc<Pods>) -> Self {
        Self {
            shared,
            pods,
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            delivered: BTreeMap::new(),
            orphans: BTreeMap::new(),
            pace: EAGER,
        }
    }

    /// Looks until the node stops.
    pub async fn run(mut self) {
        while !self.shared.stopping.is_cancelled() {
            let begun = Instant::now();
            let wait = match self.look().await {
                Ok(true) => self.pace,
                Ok(false) => CALM,
                Err(error) => {
                    if !error.is_unavailable() {
                        tracing::warn!(%error, "the runtime does not list");
                    }
                    FAILED
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.look_now.notified() => {
                    tokio::time::sleep(GAP_MIN.saturating_sub(begun.elapsed())).await;
                }
            }
        }
    }

    /// One look; answers whether somebody expects a change.
    async fn look(&mut self) -> Result<bool, cri::Error> {
        if *self.shared.standing.borrow() != crate::runtime::containerd::Standing::Ready {
            return Err(cri::Error {
                operation: "List",
                kind: cri::ErrorKind::Unavailable,
                message: "the runtime is not ready".to_owned(),
            });
        }
        let at = Timestamp::now();
        let (sandboxes, containers) = self.shared.runtime.list(&self.shared.own_labels()).await?;
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
            let news = self.delivered.get(&listener.serial_key()) != Some(&print);
            changed |= news;
            if !news && !expects {
                continue;
            }
            let seen = match self.seen(at, group).await {
                Ok(seen) => seen,
                Err(error) if error.is_unavailable() => return Err(error),
                Err(error) => {
                    // One Pod that the runtime cannot describe must not hide the others.
                    tracing::warn!(pod_uid = %listener.uid, %error, "the runtime does not describe a pod");
                    continue;
                }
            };
            if listener.events.try_send(Event::Seen(seen)).is_ok() {
                self.delivered.insert(listener.serial_key(), print);
            }
        }
        let live: BTreeSet<String> = tracked.iter().map(|listener| listener.serial_key()).collect();
        self.delivered.retain(|key, _| live.contains(key));
        self.sandboxes.retain(|id, _| known.contains(id));
        self.containers.retain(|id, _| known.contains(id));
        self.remove_orphans(groups);
        // Eager after a change, slower and slower while what is expected does not come.
        self.pace = if changed { EAGER } else { (self.pace * 5 / 4).min(CALM) };
        Ok(expected)
    }

    async fn seen(&mut self, at: Timestamp, group: Group) -> Result<Seen, cri::Error> {
        let mut seen = Seen { at, sandboxes: Vec::new(), containers: Vec::new() };
        for sandbox in group.sandboxes {
            let known = self.sandboxes.get(&sandbox.id).filter(|(state, _)| *state == sandbox.state);
            let sandbox_now = match known {
                Some((_, known)) => known.clone(),
                None => match self.shared.runtime.sandbox_status(&sandbox.id).await {
                    Ok(status) => sandbox_seen(status),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
            };
            self.sandboxes.insert(sandbox.id, (sandbox.state, sandbox_now.clone()));
            seen.sandboxes.push(sandbox_now);
        }
        for container in group.containers {
            let known = self.containers.get(&container.id).filter(|(state, _)| *state == container.state);
            let container_now = match known {
                Some((_, known)) => known.clone(),
                None => match self.shared.runtime.container_status(&container.id).await {
                    Ok(status) => container_seen(status, &container.pod_sandbox_id),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
            };
            self.containers.insert(container.id, (container.state, container_now.clone()));
            seen.containers.push(container_now);
        }
        Ok(seen)
    }

    /// Sandboxes that no task stands for: removed when the agent had time to hand its tasks out.
    fn remove_orphans(&mut self, groups: BTreeMap<String, Group>) {
        let subscribed = self.pods.subscribed_since().is_some_and(|since| since.elapsed() >= ORPHAN_AFTER);
        let mut orphans = BTreeMap::new();
        for (uid, group) in groups {
            let since = self.orphans.get(&uid).copied().unwrap_or_else(Instant::now);
            if subscribed && since.elapsed() >= ORPHAN_AFTER {
                tracing::warn!(pod_uid = %uid, "the pod has no task any more and is removed");
                let (shared, ids) = (self.shared.clone(), group.sandboxes.into_iter().map(|s| s.id));
                let ids: Vec<String> = ids.collect();
                tokio::spawn(async move {
                    for id in ids {
                        sandbox::remove(&shared, &id).await;
                    }
                });
            } else {
                orphans.insert(uid, since);
            }
        }
        self.orphans = orphans;
    }
}

fn fingerprint(group: &Group) -> Fingerprint {
    let sandboxes = group.sandboxes.iter().map(|sandbox| (sandbox.id.clone(), sandbox.state));
    let containers = group.containers.iter().map(|container| (container.id.clone(), container.state));
    let mut print: Fingerprint = sandboxes.chain(containers).collect();
    print.sort();
    print
}

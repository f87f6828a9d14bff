//! Teardown of a node: removes sandboxes through the runtime, stops the private containerd, and removes leftovers
//! without it.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::{
    config::Config,
    machine::{cgroups, lock, virtual_addresses},
    node::{
        leftovers::{self, OrphanedResource},
        stopping::StoppingNode,
    },
    pod::{paths::PodPaths, volumes},
    runtime::{Runtime, containerd, labels},
    task_container,
};

/// Pause between two listings.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How long a stop waits for the runtime to remove sandboxes.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(8);
/// How long an executor that outlived its agent may take to stop the node in addition to the grace periods of its Pods, as from
/// the agent.
const EXECUTOR_MARGIN: Duration = Duration::from_secs(25);

/// Stops everything of this node that runs without an agent: after a crash, or if the executor was killed during a
/// stop. Returns what could not be removed. Takes milliseconds if nothing runs. Once `kill` is set, Pods get no grace period.
pub async fn teardown_node(config: &Config, kill: &AtomicBool) -> Vec<OrphanedResource> {
    if !config.root_dir.is_dir() {
        return Vec::new();
    }
    let waits = |asked: Duration| {
        let in_time = || StoppingNode::read(config).is_some_and(|stop| stop.overdue() < EXECUTOR_MARGIN);
        !kill.load(Ordering::Relaxed) && (asked < EXECUTOR_MARGIN || in_time())
    };
    let lock = match lock::take_over(&config.root_dir, waits).await {
        Ok(Some(lock)) => lock,
        Ok(None) => return leftovers::find(config),
        Err(error) => {
            tracing::warn!(%error, "cannot take the node's lock");
            return leftovers::find(config);
        }
    };
    let socket = match &config.cri_endpoint {
        Some(endpoint) => PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint)),
        None => containerd::Paths::of(config).socket,
    };
    let left = match cri::Client::new(&socket) {
        Ok(client) => teardown(config, &client, false).await,
        Err(error) => {
            tracing::warn!(%error, "cannot connect to the runtime");
            leftovers::remove(config).await;
            leftovers::find(config)
        }
    };
    drop(lock);
    left
}

/// Removes what is left in the runtime and on the machine. `given` is a runtime without a process of ours.
pub(crate) async fn teardown(config: &Config, runtime: &dyn Runtime, given: bool) -> Vec<OrphanedResource> {
    let private = config.cri_endpoint.is_none();
    StoppingNode::remove(config);
    let is_running = || given || !private || containerd::runs(config);
    if tokio::time::timeout(SWEEP_TIMEOUT, sweep(config, runtime, is_running)).await.is_err() {
        tracing::warn!("the runtime did not remove all sandboxes in time");
    }
    for entry in std::fs::read_dir(config.volumes_dir()).into_iter().flatten().flatten() {
        let paths = PodPaths { logs: PathBuf::new(), volumes: entry.path() };
        // The files stay: Pods start again with the node.
        if let Err(error) = volumes::unmount(&paths) {
            tracing::warn!(%error, "cannot unmount volumes");
        }
    }
    if private {
        containerd::stop(config).await;
        leftovers::remove(config).await;
    } else {
        cgroups::remove(&cgroups::node_group(&config.tag()));
        if !given {
            virtual_addresses::remove(config).await;
        }
    }
    if given { Vec::new() } else { leftovers::find(config) }
}

/// Removes sandboxes until none is listed or the runtime is gone; failed removals are retried.
async fn sweep(config: &Config, runtime: &dyn Runtime, is_running: impl Fn() -> bool) {
    let listed = |label: &str| {
        let own = [(label.to_owned(), config.tag())];
        async move { Ok::<_, cri::Error>(runtime.list(&own).await?.0) }
    };
    while is_running() {
        let of_both = async {
            let mut sandboxes = listed(labels::NODE_TAG).await?;
            sandboxes.extend(listed(task_container::labels::NODE).await?);
            Ok::<_, cri::Error>(sandboxes)
        };
        match of_both.await {
            Ok(sandboxes) if sandboxes.is_empty() => return,
            Ok(sandboxes) => {
                let remove = |id: String| async move {
                    if let Err(error) = runtime.remove_sandbox(&id).await {
                        tracing::info!(%error, sandbox = id, "cannot remove sandbox yet");
                    }
                };
                futures::future::join_all(sandboxes.into_iter().map(|sandbox| remove(sandbox.id))).await;
            }
            Err(error) => tracing::info!(%error, "cannot list the runtime yet"),
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

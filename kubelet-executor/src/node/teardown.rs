//! From a stop back to a clean machine: what workers left is removed through the runtime, the private containerd ends, and
//! what is there all the same is taken away by hand.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::Config,
    machine::{cgroups, lock},
    node::leftovers::{self, Remnant},
    pod::{places::Places, volumes},
    runtime::{Runtime, containerd, labels},
};

/// Between two looks at what is left.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How long a stop waits for the runtime to remove what workers left.
const SWEEP_PATIENCE: Duration = Duration::from_secs(8);
/// How long an executor that outlived its agent has to stop the node: what the agent would give it.
const EXECUTOR_PATIENCE: Duration = Duration::from_secs(40);

/// Ends all of this node's that runs on the machine without an agent: after a crash of whoever started it, or where its
/// executor was killed in the middle of a stop. Answers what could not be removed. Where nothing runs it is a matter of
/// milliseconds.
pub async fn clear_node(config: &Config) -> Vec<Remnant> {
    if !config.root_dir.is_dir() {
        return Vec::new();
    }
    let lock = match lock::take_over(&config.root_dir, EXECUTOR_PATIENCE).await {
        Ok(Some(lock)) => lock,
        Ok(None) => return leftovers::find(config),
        Err(error) => {
            tracing::warn!(%error, "the node's lock cannot be taken");
            return leftovers::find(config);
        }
    };
    let socket = match &config.cri_endpoint {
        Some(endpoint) => PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint)),
        None => containerd::Paths::of(config).socket,
    };
    let left = match cri::Client::new(&socket) {
        Ok(client) => clear(config, &client, false).await,
        Err(error) => {
            tracing::warn!(%error, "the runtime cannot be asked to remove anything");
            leftovers::remove(config).await;
            leftovers::find(config)
        }
    };
    drop(lock);
    left
}

/// Removes whatever of ours is left on a runtime and on the machine. `given` is a runtime that has no process of ours.
pub(crate) async fn clear(config: &Config, runtime: &dyn Runtime, given: bool) -> Vec<Remnant> {
    let private = config.cri_endpoint.is_none();
    let there = || given || !private || containerd::runs(config);
    if tokio::time::timeout(SWEEP_PATIENCE, sweep(config, runtime, there)).await.is_err() {
        tracing::warn!("the runtime did not remove everything in time");
    }
    for entry in std::fs::read_dir(config.volumes_dir()).into_iter().flatten().flatten() {
        let places = Places { logs: PathBuf::new(), volumes: entry.path() };
        if let Err(error) = volumes::remove(&places) {
            tracing::warn!(%error, "volumes not removed");
        }
    }
    if private {
        containerd::stop(config).await;
        leftovers::remove(config).await;
    } else {
        cgroups::remove(&cgroups::node_group(&config.tag()));
    }
    if given { Vec::new() } else { leftovers::find(config) }
}

/// Removes sandboxes until none is listed, or nobody is there to list them: what refuses the first time goes the next.
async fn sweep(config: &Config, runtime: &dyn Runtime, there: impl Fn() -> bool) {
    let own = [(labels::NODE_TAG.to_owned(), config.tag())];
    while there() {
        match runtime.list(&own).await {
            Ok((sandboxes, _)) if sandboxes.is_empty() => return,
            Ok((sandboxes, _)) => {
                let remove = |id: String| async move {
                    if let Err(error) = runtime.remove_sandbox(&id).await {
                        tracing::info!(%error, sandbox = id, "not removed yet");
                    }
                };
                futures::future::join_all(sandboxes.into_iter().map(|sandbox| remove(sandbox.id))).await;
            }
            Err(error) => tracing::info!(%error, "the runtime lists nothing yet"),
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

//! Making and removing a Pod's sandbox, with its volumes and its control group.

use std::time::Duration;

use cri::v1;
use executor_core::seen::SandboxSeen;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{places::Places, sandbox_config::sandbox_config};
use crate::{
    machine::cgroups,
    pod::{shared::Shared, volumes},
    runtime::containerd::Standing,
};

/// How long a sandbox's start waits for a runtime that is away before it is reported.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between tries to remove what the runtime would not remove.
const REMOVE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why there is no sandbox: reason and sentence.
pub(crate) type Failure = (&'static str, String);

/// The configuration that a Pod's sandbox was, or is to be, made with.
pub(crate) fn config_of(shared: &Shared, pod: &Pod, attempt: u32) -> v1::PodSandboxConfig {
    let group = cgroups::pod_group(&shared.tag, pod);
    sandbox_config(&shared.config, pod, attempt, &group, &shared.resolver)
}

/// Makes volumes and sandbox.
pub(crate) async fn start(shared: &Shared, pod: &Pod, attempt: u32) -> Result<SandboxSeen, Failure> {
    let places = Places::of(&shared.config, pod);
    tokio::select! {
        // Before the runtime has begun nothing is lost by giving up; afterwards its answer is waited for.
        biased;
        () = shared.stopping.cancelled() => return Err(stopping()),
        prepared = prepare(shared, pod, &places) => prepared?,
    }
    let failed = |what: String| ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {what}"));
    std::fs::create_dir_all(&places.logs).map_err(|e| failed(format!("making the log directory: {e}")))?;
    cgroups::prepare(&shared.tag, pod);
    let config = config_of(shared, pod, attempt);
    if shared.stopping.is_cancelled() {
        return Err(stopping());
    }
    let id = shared.runtime.run_sandbox(config).await.map_err(|e| failed(e.message))?;
    let seen = shared.runtime.sandbox_status(&id).await.map(sandbox_seen).map_err(|e| failed(e.message))?;
    volumes::mounts::write_hosts(pod, &seen.ips, &places)
        .map_err(|e| failed(format!("writing hosts: {e}")))?;
    Ok(seen)
}

fn stopping() -> Failure {
    ("NodeStopping", "the node is being stopped".to_owned())
}

/// What needs the API, and a runtime that answers.
async fn prepare(shared: &Shared, pod: &Pod, places: &Places) -> Result<(), Failure> {
    await_runtime(shared).await.map_err(|message| ("FailedCreatePodSandBox", message))?;
    let node = shared.node(Vec::new());
    let maker = volumes::Maker { api: &*shared.api, node: &node };
    maker.make_all(pod, places).await.map_err(|error| ("FailedMount", error.to_string()))
}

async fn await_runtime(shared: &Shared) -> Result<(), String> {
    let mut standing = shared.standing.clone();
    let ready = standing.wait_for(|standing| *standing == Standing::Ready);
    if matches!(tokio::time::timeout(RUNTIME_PATIENCE, ready).await, Ok(Ok(_))) {
        return Ok(());
    }
    match &*shared.standing.borrow() {
        Standing::Ready => Ok(()),
        Standing::Away(why) => Err(why.clone()),
    }
}

/// A sandbox as the core sees it.
pub(crate) fn sandbox_seen(status: v1::PodSandboxStatus) -> SandboxSeen {
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    SandboxSeen {
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        created_at: Timestamp::from_nanosecond(status.created_at.into()).unwrap_or_default(),
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
        id: status.id,
    }
}

/// Stops and removes a sandbox, however often that takes.
pub(crate) async fn remove(shared: &Shared, id: &str) {
    let mut pause = REMOVE_PAUSE.0;
    while let Err(error) = shared.runtime.remove_sandbox(id).await {
        if !error.is_unavailable() {
            tracing::warn!(id, %error, "sandbox not removed; once more");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REMOVE_PAUSE.1);
    }
}

/// Removes what a Pod had on the machine beside its containers, but its logs.
pub(crate) async fn clean_up(shared: &Shared, pod: &Pod) {
    let places = Places::of(&shared.config, pod);
    let group = cgroups::pod_group(&shared.tag, pod);
    let cleaned = tokio::task::spawn_blocking(move || {
        cgroups::remove(&group);
        volumes::remove(&places)
    });
    match cleaned.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "volumes not removed"),
        Err(error) => tracing::warn!(%error, "clean-up broke off"),
    }
}

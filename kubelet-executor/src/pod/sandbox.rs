//! Creates and removes a Pod's sandbox, with its volumes and cgroup.

use std::time::Duration;

use cri::v1;
use executor_core::{admission, hostname, observed::ObservedSandbox, spec};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{paths::PodPaths, sandbox_config::sandbox_config};
use crate::{
    api::Api,
    machine::cgroups,
    pod::{context::NodeContext, volumes},
    runtime::containerd::RuntimeState,
};

/// How long a sandbox start waits for an unavailable runtime before it fails.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause between two removal attempts.
const REMOVE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Reason and message of a failed start.
pub(crate) type Failure = (&'static str, String);

/// The CRI configuration of a Pod's sandbox.
pub(crate) fn config_of(context: &NodeContext, pod: &Pod, attempt: u32) -> v1::PodSandboxConfig {
    let group = cgroups::pod_group(&context.tag, pod);
    sandbox_config(&context.config, pod, attempt, &group, &context.resolver)
}

/// Sets up the volumes and starts the sandbox.
pub(crate) async fn start(
    context: &NodeContext,
    pod: &Pod,
    attempt: u32,
) -> Result<ObservedSandbox, Failure> {
    let paths = PodPaths::of(&context.config, pod);
    let handler = tokio::select! {
        // Until the runtime call begins, cancelling is safe; afterwards its result is awaited.
        biased;
        () = context.stopping.cancelled() => return Err(stopping()),
        prepared = prepare(context, pod, &paths) => prepared?,
    };
    hostname::kernel_hostname(pod).map_err(|error| failed(error.to_string()))?;
    admission::user_namespace_refusal(pod, &handler).map_or(Ok(()), |why| Err(failed(why)))?;
    std::fs::create_dir_all(&paths.logs).map_err(|e| failed(format!("making the log directory: {e}")))?;
    cgroups::prepare(&context.tag, pod);
    let config = config_of(context, pod, attempt);
    if context.stopping.is_cancelled() {
        return Err(stopping());
    }
    context.metrics.started_pods.inc();
    let id = context.runtime.run_sandbox(config, &handler).await.map_err(|e| {
        context.metrics.started_pods_errors.inc();
        failed(e.message)
    })?;
    let seen =
        context.runtime.sandbox_status(&id).await.map(observe_sandbox).map_err(|e| failed(e.message))?;
    volumes::mounts::write_hosts(pod, &seen.ips, &paths)
        .map_err(|e| failed(format!("writing hosts: {e}")))?;
    Ok(seen)
}

fn stopping() -> Failure {
    ("NodeStopping", "the node is stopping".to_owned())
}

fn failed(why: String) -> Failure {
    ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"))
}

/// The steps that need the API and a ready runtime: makes the volumes and finds the Pod's runtime handler.
async fn prepare(context: &NodeContext, pod: &Pod, paths: &PodPaths) -> Result<String, Failure> {
    wait_for_runtime(context).await.map_err(|message| ("FailedCreatePodSandBox", message))?;
    let node = context.node(Vec::new());
    let builder = volumes::VolumeBuilder { api: &*context.api, node: &node };
    builder.build_all(pod, paths).await.map_err(|error| ("FailedMount", error.to_string()))?;
    runtime_handler(&*context.api, pod).await.map_err(failed)
}

/// The handler of the Pod's RuntimeClass; empty, which is the runtime's default, without a class.
async fn runtime_handler(api: &dyn Api, pod: &Pod) -> Result<String, String> {
    let Some(name) = spec::spec(pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    match api.runtime_class(name).await {
        Ok(Some(class)) => Ok(class.handler),
        Ok(None) => Err(format!("runtimeclass.node.k8s.io {name:?} not found")),
        Err(error) => Err(format!("failed to lookup RuntimeClass {name}: {error}")),
    }
}

async fn wait_for_runtime(context: &NodeContext) -> Result<(), String> {
    let mut runtime_state = context.runtime_state.clone();
    let ready = runtime_state.wait_for(|runtime_state| *runtime_state == RuntimeState::Ready);
    if matches!(tokio::time::timeout(RUNTIME_TIMEOUT, ready).await, Ok(Ok(_))) {
        return Ok(());
    }
    match &*context.runtime_state.borrow() {
        RuntimeState::Ready => Ok(()),
        RuntimeState::Unavailable(why) => Err(why.clone()),
    }
}

/// Converts a CRI status.
pub(crate) fn observe_sandbox(status: v1::PodSandboxStatus) -> ObservedSandbox {
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    ObservedSandbox {
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        created_at: Timestamp::from_nanosecond(status.created_at.into()).unwrap_or_default(),
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
        id: status.id,
    }
}

/// Stops and removes a sandbox; retries until it succeeds.
pub(crate) async fn remove(context: &NodeContext, id: &str) {
    let mut pause = REMOVE_PAUSE.0;
    while let Err(error) = context.runtime.remove_sandbox(id).await {
        if !error.is_unavailable() {
            tracing::warn!(id, %error, "cannot remove sandbox; retrying");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REMOVE_PAUSE.1);
    }
}

/// Removes a Pod's volumes and cgroup; its logs stay.
pub(crate) async fn clean_up(context: &NodeContext, pod: &Pod) {
    clear(context, pod, volumes::remove).await;
}

/// Removes what a Pod must not leave on a machine whose node stops. The files of its volumes stay: the Pod starts again
/// with the node.
pub(crate) async fn suspend(context: &NodeContext, pod: &Pod) {
    clear(context, pod, volumes::unmount).await;
}

async fn clear(context: &NodeContext, pod: &Pod, volumes: fn(&PodPaths) -> std::io::Result<()>) {
    let paths = PodPaths::of(&context.config, pod);
    let group = cgroups::pod_group(&context.tag, pod);
    volumes::images::remove(context, &paths).await;
    let cleaned = tokio::task::spawn_blocking(move || {
        cgroups::remove(&group);
        volumes(&paths)
    });
    match cleaned.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot remove volumes"),
        Err(error) => tracing::warn!(%error, "clean-up panicked"),
    }
}

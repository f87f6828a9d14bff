//! Starting and stopping containers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cri::v1;
use executor_core::{
    action::{StartFailure, Told},
    env,
    seen::{ContainerSeen, Exit, RunState, SandboxSeen},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use super::{
    container_config::{Ingredients, container_config},
    hooks,
    places::Places,
    sandbox,
};
use crate::{
    pod::{image_pull, shared::Shared, volumes},
    runtime::labels,
};

/// The longest last word that is taken from a container.
const TERMINATION_MESSAGE_BYTES_MAX: u64 = 4096;
/// A post-start hook may take this long.
const POST_START_MAX: Duration = Duration::from_secs(600);
/// What remains of the grace for the process itself when its pre-stop hook used it up.
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);

/// One start of one container.
pub(crate) struct Start {
    pub shared: Arc<Shared>,
    pub pod: Arc<Pod>,
    pub sandbox: SandboxSeen,
    pub name: String,
    pub attempt: u32,
    pub restart_count: u32,
    pub cancel: CancellationToken,
}

type Failed = (StartFailure, String);

impl Start {
    /// From image to post-start hook.
    pub async fn run(&self) -> Result<ContainerSeen, Failed> {
        let container = spec::container(&self.pod, &self.name);
        let container = container.ok_or_else(|| config_error(format!("no container {}", self.name)))?;
        if self.shared.stopping.is_cancelled() {
            return Err(interrupted());
        }
        let sandbox_config = sandbox::config_of(&self.shared, &self.pod, self.sandbox.attempt);
        let ingredients = async {
            let image = image_pull::ensure(self, container, &sandbox_config).await?;
            refuse_root(&self.pod, container, &image)?;
            self.ingredients(container, image.id).await
        };
        let ingredients = tokio::select! {
            ingredients = ingredients => ingredients?,
            () = self.cancel.cancelled() => return Err(interrupted()),
        };
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let config = container_config(&self.shared.config, &self.pod, container, ingredients);
        let places = Places::of(&self.shared.config, &self.pod);
        std::fs::create_dir_all(places.logs.join(&self.name))
            .map_err(|e| (StartFailure::CreateContainerError, format!("making the log directory: {e}")))?;
        let runtime = &self.shared.runtime;
        let failed = |failure| move |error: cri::Error| (failure, error.message);
        let id = runtime
            .create(&self.sandbox.id, config, sandbox_config)
            .await
            .map_err(failed(StartFailure::CreateContainerError))?;
        self.tell(false, "Created", "Container created".to_owned());
        if self.shared.stopping.is_cancelled() {
            // Made and never started: it goes with its sandbox.
            return Err(interrupted());
        }
        runtime.start(&id).await.map_err(failed(StartFailure::RunContainerError))?;
        self.tell(false, "Started", "Container started".to_owned());
        tokio::select! {
            hooked = self.post_start(container, &id) => hooked?,
            // A hook may take minutes. The container is stopped with its grace, like those whose hook is over.
            () = self.shared.stopping.cancelled() => {}
        }
        let status = runtime.container_status(&id).await.map_err(failed(StartFailure::RunContainerError))?;
        Ok(container_seen(status, &self.sandbox.id))
    }

    pub fn tell(&self, warning: bool, reason: &'static str, message: String) {
        let told = Told { container: Some(self.name.clone()), warning, reason, message };
        self.shared.recorder.tell(&self.pod, told);
    }

    async fn ingredients(&self, container: &Container, image_ref: String) -> Result<Ingredients, Failed> {
        let places = Places::of(&self.shared.config, &self.pod);
        let env = self.environment(container).await?;
        let mounts = volumes::mounts::mounts(&self.pod, container, self.attempt, &env, &places)
            .map_err(|error| config_error(error.to_string()))?;
        Ok(Ingredients {
            image_ref,
            attempt: self.attempt,
            restart_count: self.restart_count,
            env,
            mounts,
            memory_bytes: self.shared.machine.memory_bytes,
            cgroup_v2: self.shared.machine.cgroup_v2,
        })
    }

    async fn environment(&self, container: &Container) -> Result<Vec<(String, String)>, Failed> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or("default");
        let (config_maps, secrets) = env::references(container);
        let mut sources = env::Sources::default();
        for name in config_maps {
            let found = self.shared.api.config_map(namespace, &name).await;
            if let Some(found) = found.map_err(|e| config_error(e.to_string()))? {
                sources.config_maps.insert(name, found);
            }
        }
        for name in secrets {
            let found = self.shared.api.secret(namespace, &name).await;
            if let Some(found) = found.map_err(|e| config_error(e.to_string()))? {
                sources.secrets.insert(name, found);
            }
        }
        // Services are a convenience: a container does not wait for them.
        let services = self.shared.api.services().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "services not read");
            Vec::new()
        });
        let links = spec::spec(&self.pod).enable_service_links.unwrap_or(true);
        let services = env::service_variables(&services, namespace, links);
        let node = self.shared.node(self.sandbox.ips.clone());
        let built = env::build(&self.pod, container, &sources, &services, &node);
        built.map_err(|error| config_error(error.to_string()))
    }

    async fn post_start(&self, container: &Container, id: &str) -> Result<(), Failed> {
        let Some(handler) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref())
        else {
            return Ok(());
        };
        let ip = hooks::address(&self.shared, &self.pod, &self.sandbox.ips);
        let target = hooks::Target { shared: &self.shared, container, container_id: id, ip };
        if let Err(why) = hooks::hook(&target, handler, POST_START_MAX).await {
            // What the hook said may be secret: Events are read by many.
            self.tell(true, "FailedPostStartHook", "PostStartHook failed".to_owned());
            self.tell(false, "Killing", "FailedPostStartHook".to_owned());
            let grace = spec::grace(&self.pod);
            if let Err(error) = self.shared.runtime.stop(id, grace).await {
                tracing::warn!(%error, "container not stopped after its failed hook");
            }
            return Err((StartFailure::PostStartHookError, why));
        }
        Ok(())
    }
}

fn interrupted() -> Failed {
    (StartFailure::Interrupted, "called off".to_owned())
}

fn config_error(message: String) -> Failed {
    (StartFailure::CreateContainerConfigError, message)
}

/// A Pod that must not run as root does not run as whoever the image says, if that is root.
fn refuse_root(pod: &Pod, container: &Container, image: &v1::Image) -> Result<(), Failed> {
    let of_pod = spec::spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let must = own.and_then(|c| c.run_as_non_root).or(of_pod.and_then(|c| c.run_as_non_root)) == Some(true);
    if !must {
        return Ok(());
    }
    let said = own.and_then(|c| c.run_as_user).or(of_pod.and_then(|c| c.run_as_user));
    let why = match (said, &image.uid) {
        (Some(0), _) => "container's runAsUser breaks non-root policy",
        (Some(_), _) => return Ok(()),
        (None, Some(uid)) if uid.value != 0 => return Ok(()),
        (None, _) if !image.username.is_empty() => {
            "container has runAsNonRoot and image has non-numeric user, cannot verify user is non-root"
        }
        (None, _) => "container has runAsNonRoot and image will run as root",
    };
    Err(config_error(why.to_owned()))
}

/// Runs the pre-stop hook and stops the container; the hook's time is part of the grace.
pub(crate) async fn stop(
    shared: &Shared,
    pod: &Pod,
    sandbox_ips: &[String],
    name: &str,
    id: &str,
    grace: Duration,
    pre_stop: bool,
) {
    let begun = Instant::now();
    let container = spec::container(pod, name);
    let handler = container.and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
    let mut left = grace;
    if let (true, Some(container), Some(handler), false) = (pre_stop, container, handler, grace.is_zero()) {
        let ip = hooks::address(shared, pod, sandbox_ips);
        let target = hooks::Target { shared, container, container_id: id, ip };
        if let Err(why) = hooks::hook(&target, handler, grace).await {
            tracing::info!(name, why, "pre-stop hook failed");
        }
        left = grace.saturating_sub(begun.elapsed()).max(GRACE_AFTER_HOOK);
    }
    if let Err(error) = shared.runtime.stop(id, left).await {
        tracing::warn!(name, id, %error, "container not stopped");
    }
}

/// A container as the core sees it, its last word read.
pub(crate) fn container_seen(status: v1::ContainerStatus, sandbox_id: &str) -> ContainerSeen {
    let moment = |ns: i64| Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let state = match v1::ContainerState::try_from(status.state) {
        Ok(v1::ContainerState::ContainerCreated) => RunState::Created,
        Ok(v1::ContainerState::ContainerRunning) => RunState::Running,
        _ => RunState::Exited(Exit {
            code: status.exit_code,
            reason: status.reason.clone(),
            message: last_word(&status),
            finished_at: moment(status.finished_at),
        }),
    };
    let image = status.image.clone().unwrap_or_default();
    ContainerSeen {
        sandbox_id: sandbox_id.to_owned(),
        name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
        attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        restart_count: annotation(labels::RESTART_COUNT).parse().unwrap_or(0),
        hash: annotation(labels::HASH),
        image: image.image,
        image_id: status.image_ref.clone(),
        state,
        created_at: moment(status.created_at),
        started_at: (status.started_at > 0).then(|| moment(status.started_at)),
        id: status.id,
    }
}

/// The termination message: the file, or the end of the log where the container failed without one.
fn last_word(status: &v1::ContainerStatus) -> Option<String> {
    use std::io::Read;
    let path = status.annotations.get(labels::TERMINATION_PATH)?;
    let mount = status.mounts.iter().find(|mount| mount.container_path == *path);
    let mut text = String::new();
    if let Some(file) = mount.and_then(|mount| std::fs::File::open(&mount.host_path).ok()) {
        let mut bytes = Vec::new();
        let _ = file.take(TERMINATION_MESSAGE_BYTES_MAX).read_to_end(&mut bytes);
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let fall_back =
        status.annotations.get(labels::TERMINATION_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    if text.is_empty() && fall_back && status.exit_code != 0 {
        text = crate::pod::logs::last_lines(std::path::Path::new(&status.log_path));
    }
    if text.is_empty() && !status.message.is_empty() {
        text = status.message.clone();
    }
    (!text.is_empty()).then_some(text)
}

//! Starting and stopping containers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cri::v1;
use executor_core::{
    action::{EventRecord, StartFailure},
    env,
    observed::{Exit, ObservedContainer, ObservedSandbox, RunState},
    resources::{self, CgroupLimits},
    spec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use super::{
    container_config::{ContainerConfigInputs, container_config},
    hooks::{self, HookFailure},
    paths::PodPaths,
    sandbox,
};
use crate::{
    machine::cgroups,
    pod::{context::NodeContext, image_pull, volumes},
    runtime::labels,
};

/// Upstream's limit of a termination message.
const TERMINATION_MESSAGE_BYTES_MAX: u64 = 4096;
/// Time limit of a post-start hook.
const POST_START_MAX: Duration = Duration::from_secs(600);
/// Minimum grace period of the process after a slow pre-stop hook.
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);

pub(crate) struct Start {
    pub context: Arc<NodeContext>,
    pub pod: Arc<Pod>,
    pub sandbox: ObservedSandbox,
    pub target: Option<NamespaceTarget>,
    pub name: String,
    pub attempt: u32,
    pub restart_count: u32,
    pub cancel: CancellationToken,
}

/// The container whose process namespace an ephemeral container joins.
pub(crate) struct NamespaceTarget {
    pub name: String,
    /// Its newest instance; `None` if it has not been started.
    pub id: Option<String>,
}

/// Why a step of a start failed: the reason that kubectl shows, and the message.
type Problem = (StartFailure, String);

/// A failed start.
pub(crate) struct Failed {
    pub failure: StartFailure,
    pub message: String,
    /// The image of a volume that is not there. `None` if it is about the container's own image, or about none.
    pub volume_image: Option<String>,
}

impl From<Problem> for Failed {
    fn from((failure, message): Problem) -> Self {
        Self { failure, message, volume_image: None }
    }
}

impl Failed {
    /// The failure is about the image of a volume.
    pub fn of_volume(self, image: &str) -> Self {
        Self { volume_image: Some(image.to_owned()), ..self }
    }
}

impl Start {
    /// Runs the start and counts it.
    pub async fn run(&self) -> Result<ObservedContainer, Failed> {
        if self.context.stopping.is_cancelled() {
            return Err(interrupted().into());
        }
        let container_type = match spec::role(&self.pod, &self.name) {
            Some(spec::Role::Init | spec::Role::Sidecar) => "init_container",
            Some(spec::Role::Ephemeral) => "ephemeral_container",
            Some(spec::Role::Main) | None => "container",
        };
        let metrics = &self.context.metrics;
        metrics.started_containers.with_label_values(&[container_type]).inc();
        let result = self.start().await;
        if let Err(Failed { failure, .. }) = &result
            && *failure != StartFailure::Interrupted
        {
            metrics.started_containers_errors.with_label_values(&[container_type, failure.reason()]).inc();
        }
        result
    }

    /// Image volumes, image, container, post-start hook.
    async fn start(&self) -> Result<ObservedContainer, Failed> {
        let container = spec::container(&self.pod, &self.name);
        let container = container.ok_or_else(|| config_error(format!("no container {}", self.name)))?;
        let container = &*container;
        let sandbox_config = sandbox::config_of(&self.context, &self.pod, self.sandbox.attempt);
        let inputs = async {
            let volumes = volumes::images::ensure(self, container, &sandbox_config).await?;
            let wanted = image_pull::Wanted {
                image: container.image.as_deref().unwrap_or_default(),
                policy: container.image_pull_policy.as_deref(),
                of_volume: false,
            };
            let image = image_pull::ensure(self, &wanted, &sandbox_config).await?;
            verify_run_as_non_root(&self.pod, container, &image)?;
            Ok::<_, Failed>(self.inputs(container, image.id, &volumes).await?)
        };
        let inputs = tokio::select! {
            inputs = inputs => inputs?,
            () = self.cancel.cancelled() => return Err(interrupted().into()),
        };
        if self.cancel.is_cancelled() {
            return Err(interrupted().into());
        }
        let config = container_config(&self.context.config, &self.pod, container, inputs);
        let paths = PodPaths::of(&self.context.config, &self.pod);
        std::fs::create_dir_all(paths.logs.join(&self.name))
            .map_err(|e| (StartFailure::CreateContainerError, format!("making the log directory: {e}")))?;
        let runtime = &self.context.runtime;
        let failed = |failure| move |error: cri::Error| (failure, error.message);
        let id = runtime
            .create(&self.sandbox.id, config, sandbox_config)
            .await
            .map_err(failed(StartFailure::CreateContainerError))?;
        self.record(false, "Created", "Container created".to_owned());
        if self.context.stopping.is_cancelled() {
            // Created and never started: removed with its sandbox.
            return Err(interrupted().into());
        }
        runtime.start(&id).await.map_err(failed(StartFailure::RunContainerError))?;
        self.record(false, "Started", "Container started".to_owned());
        tokio::select! {
            hooked = self.post_start(container, &id) => hooked?,
            // A hook may take minutes. The container is stopped with its grace period like any other.
            () = self.context.stopping.cancelled() => {}
        }
        let status = runtime.container_status(&id).await.map_err(failed(StartFailure::RunContainerError))?;
        Ok(observe_container(status, &self.sandbox.id))
    }

    pub fn record(&self, warning: bool, reason: &'static str, message: String) {
        let event = EventRecord { container: Some(self.name.clone()), warning, reason, message };
        self.context.recorder.record(&self.pod, event);
    }

    async fn inputs(
        &self,
        container: &Container,
        image_ref: String,
        image_volumes: &volumes::images::ImageRoots,
    ) -> Result<ContainerConfigInputs, Problem> {
        let paths = PodPaths::of(&self.context.config, &self.pod);
        let target_id = self.target_id()?;
        let env = self.environment(container).await?;
        let inputs = volumes::mounts::MountInputs { env: &env, paths: &paths, image_volumes };
        let mounts = volumes::mounts::mounts(&self.pod, container, self.attempt, &inputs).map_err(
            |error| match error {
                volumes::mounts::MountError::Image(_) => {
                    (StartFailure::CreateContainerError, error.to_string())
                }
                _ => config_error(error.to_string()),
            },
        )?;
        Ok(ContainerConfigInputs {
            image_ref,
            attempt: self.attempt,
            restart_count: self.restart_count,
            target_id,
            env,
            mounts,
            memory_bytes: self.context.capacity.memory_bytes,
            cgroup_v2: self.context.capacity.cgroup_v2,
        })
    }

    /// The instance of the target; a target that has not been started is an error, and the start is tried again.
    fn target_id(&self) -> Result<Option<String>, Problem> {
        let Some(target) = &self.target else { return Ok(None) };
        let missing = || config_error(format!("unable to find target container {}", target.name));
        target.id.clone().map(Some).ok_or_else(missing)
    }

    async fn environment(&self, container: &Container) -> Result<Vec<(String, String)>, Problem> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or("default");
        let (config_maps, secrets) = env::references(container);
        let mut sources = env::Sources::default();
        for name in config_maps {
            let found = self.context.api.config_map(namespace, &name).await;
            if let Some(found) = found.map_err(|e| config_error(e.to_string()))? {
                sources.config_maps.insert(name, found);
            }
        }
        for name in secrets {
            let found = self.context.api.secret(namespace, &name).await;
            if let Some(found) = found.map_err(|e| config_error(e.to_string()))? {
                sources.secrets.insert(name, found);
            }
        }
        // Service variables are best effort: a container does not wait for them.
        let services = self.context.api.services(namespace).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot list services");
            Vec::new()
        });
        let links = spec::spec(&self.pod).enable_service_links.unwrap_or(true);
        let host_network = spec::spec(&self.pod).host_network == Some(true);
        let api_server = env::ApiServer::seen_by_pod(&self.context.config.api_server, host_network);
        let services = env::service_variables(&services, namespace, links, &api_server);
        let node = self.context.node(self.sandbox.ips.clone());
        let built = env::build(&self.pod, container, &sources, &services, &node);
        built.map_err(|error| config_error(error.to_string()))
    }

    async fn post_start(&self, container: &Container, id: &str) -> Result<(), Problem> {
        let Some(handler) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref())
        else {
            return Ok(());
        };
        let ip = hooks::address(&self.context, &self.pod, &self.sandbox.ips);
        let target = hooks::Target { context: &self.context, container, container_id: id, ip };
        let message = match hooks::hook(&target, &self.pod, handler, POST_START_MAX).await {
            Ok(()) => return Ok(()),
            Err(HookFailure::Failed(message)) => message,
            Err(HookFailure::TimedOut) => format!("hook timed out after {POST_START_MAX:?}"),
        };
        // The hook's output may be secret, and many can read Events.
        self.record(true, "FailedPostStartHook", "PostStartHook failed".to_owned());
        self.record(false, "Killing", "FailedPostStartHook".to_owned());
        let grace = spec::grace(&self.pod);
        stop(&self.context, &self.pod, &self.sandbox.ips, &self.name, id, grace, true).await;
        Err((StartFailure::PostStartHookError, message))
    }
}

fn interrupted() -> Problem {
    (StartFailure::Interrupted, "cancelled".to_owned())
}

fn config_error(message: String) -> Problem {
    (StartFailure::CreateContainerConfigError, message)
}

/// Refuses a container with `runAsNonRoot` whose image runs as root.
fn verify_run_as_non_root(pod: &Pod, container: &Container, image: &v1::Image) -> Result<(), Problem> {
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

/// Runs the pre-stop hook and stops the container; the hook's time counts against the grace period.
pub(crate) async fn stop(
    context: &NodeContext,
    pod: &Arc<Pod>,
    sandbox_ips: &[String],
    name: &str,
    id: &str,
    grace: Duration,
    pre_stop: bool,
) {
    let begun = Instant::now();
    let container = spec::container(pod, name);
    let container = container.as_deref();
    let handler = container.and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
    let mut left = grace;
    if let (true, Some(container), Some(handler), false) = (pre_stop, container, handler, grace.is_zero()) {
        let ip = hooks::address(context, pod, sandbox_ips);
        let target = hooks::Target { context, container, container_id: id, ip };
        match hooks::hook(&target, pod, handler, grace).await {
            Ok(()) => {}
            Err(HookFailure::Failed(why)) => {
                tracing::info!(name, why, "pre-stop hook failed");
                // The hook's output may be secret, and many can read Events.
                let event = EventRecord {
                    container: Some(name.to_owned()),
                    warning: true,
                    reason: "FailedPreStopHook",
                    message: "PreStopHook failed".to_owned(),
                };
                context.recorder.record(pod, event);
            }
            Err(HookFailure::TimedOut) => tracing::info!(name, "pre-stop hook not completed in grace period"),
        }
        left = grace.saturating_sub(begun.elapsed()).max(GRACE_AFTER_HOOK);
    }
    if let Err(error) = context.runtime.stop(id, left).await {
        tracing::warn!(name, id, %error, "cannot stop container");
    }
}

/// Gives a running container the resources in the Pod's spec; returns what its cgroup has then.
pub(crate) async fn update(
    context: &NodeContext,
    pod: &Pod,
    name: &str,
    id: &str,
) -> Result<Option<CgroupLimits>, String> {
    let container = spec::container(pod, name).ok_or_else(|| format!("no container {name}"))?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let limits = resources::limits(pod, &container, context.capacity.memory_bytes);
    let before = cgroups::container_limits(&context.tag, uid, id).map_or(0, |limits| limits.memory_bytes);
    let lower = limits.memory_bytes > 0 && (before == 0 || limits.memory_bytes < before);
    let usage = cgroups::container_memory(&context.tag, uid, id).unwrap_or(0);
    if lower && usage >= limits.memory_bytes {
        return Err(format!(
            "cannot decrease memory limits: attempting to set container \"{name}\" memory limit ({}) below current usage \
             ({usage})",
            limits.memory_bytes
        ));
    }
    cgroups::prepare(&context.tag, pod);
    let or_none = |limit: i64| if limit > 0 { limit } else { -1 };
    let resources = v1::LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD_US,
        cpu_quota: or_none(limits.cpu_quota_us),
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: or_none(limits.memory_bytes),
        // As at the start: no swap beyond the memory limit.
        memory_swap_limit_in_bytes: or_none(limits.memory_bytes),
        ..Default::default()
    };
    if context.runtime.update(id, resources.clone()).await.is_err() {
        // Without swap accounting, the kernel refuses a limit of swap.
        let without_swap = v1::LinuxContainerResources { memory_swap_limit_in_bytes: 0, ..resources };
        context.runtime.update(id, without_swap).await.map_err(|error| error.message)?;
    }
    Ok(cgroups::container_limits(&context.tag, uid, id))
}

/// Converts a CRI status, and reads the termination message.
pub(crate) fn observe_container(status: v1::ContainerStatus, sandbox_id: &str) -> ObservedContainer {
    let moment = |ns: i64| Timestamp::from_nanosecond(ns.into()).unwrap_or_default();
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let state = match v1::ContainerState::try_from(status.state) {
        Ok(v1::ContainerState::ContainerCreated) => RunState::Created,
        Ok(v1::ContainerState::ContainerRunning) => RunState::Running,
        _ => RunState::Exited(Exit {
            code: status.exit_code,
            reason: status.reason.clone(),
            message: termination_message(&status),
            finished_at: moment(status.finished_at),
        }),
    };
    let image = status.image.clone().unwrap_or_default();
    let label = |key: &str| status.labels.get(key).map(String::as_str).unwrap_or_default();
    let applied = (state == RunState::Running)
        .then(|| cgroups::container_limits(label(labels::NODE_TAG), label(labels::POD_UID), &status.id));
    ObservedContainer {
        applied: applied.flatten(),
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

/// The termination message: the file, or the end of the log if the policy says so.
fn termination_message(status: &v1::ContainerStatus) -> Option<String> {
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

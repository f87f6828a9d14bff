//! The containers of a node's framework tasks, as its agent deals with them.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use cri::v1;
use kernel_model::container_usage::ContainerUsage;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::watch, task::JoinHandle};

use super::{Files, Limits, TaskContainer, cri_config, group, labels, recorded, socket};
use crate::{
    config::Config,
    machine::cgroups,
    runtime::{
        Runtime,
        containerd::{self, RuntimeState},
    },
};

/// How long a launch waits for the runtime: its start takes a second, and may import images.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a runtime may take to say its version.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the removal of a container may take before it is left to the next start of the agent.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const REMOVE_INTERVAL: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub struct TaskContainers {
    /// The node's configuration file, which is written again when the node gets its addresses.
    config_file: PathBuf,
    keeper: tokio::sync::Mutex<Option<Keeper>>,
    /// Once the node stops.
    closed: std::sync::atomic::AtomicBool,
}

/// Keeps the private containerd running. The executor of Pods has one too: whichever comes first starts it.
#[derive(Debug)]
struct Keeper {
    task: JoinHandle<()>,
    state: watch::Receiver<RuntimeState>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TaskContainers {
    /// Those of the node with this configuration file.
    pub fn new(config_file: PathBuf) -> Self {
        Self { config_file, keeper: Default::default(), closed: Default::default() }
    }

    fn config(&self) -> Result<Config, String> {
        Config::from_file(&self.config_file).map_err(|error| format!("the node's configuration: {error}"))
    }

    /// Why a runtime that is not the agent's does not answer. The agent's own is started when it is needed.
    pub async fn unavailable(&self) -> Option<String> {
        // Without a configuration there is nothing to ask yet.
        let config = self.config().ok().filter(|config| config.cri_endpoint.is_some())?;
        answers(&config).await.err()
    }

    /// Waits until the runtime answers; starts it if nobody has, and keeps it running from then on.
    pub async fn ready(&self) -> Result<(), String> {
        let config = self.config()?;
        if config.cri_endpoint.is_some() {
            return answers(&config).await;
        }
        let client = cri::Client::new(&socket(&config)).map_err(|error| error.message)?;
        if self.closed.load(std::sync::atomic::Ordering::Relaxed) {
            return Err("the node is stopping".to_owned());
        }
        let mut state = {
            let mut keeper = self.keeper.lock().await;
            let start = || {
                let starting = RuntimeState::Unavailable("the container runtime is starting".to_owned());
                let (sender, state) = watch::channel(starting);
                let task = tokio::spawn(containerd::supervise(Arc::new(config), sender, client));
                Keeper { task, state }
            };
            keeper.get_or_insert_with(start).state.clone()
        };
        let ready =
            tokio::time::timeout(READY_TIMEOUT, state.wait_for(|state| *state == RuntimeState::Ready));
        if matches!(ready.await, Ok(Ok(_))) {
            return Ok(());
        }
        match &*state.borrow() {
            RuntimeState::Ready => Ok(()),
            RuntimeState::Unavailable(why) => Err(why.clone()),
        }
    }

    /// Starts no runtime any more: the node stops.
    pub fn close(&self) {
        self.closed.store(true, std::sync::atomic::Ordering::Relaxed);
        // A launch that waits holds it, and is destroyed with the stop.
        if let Ok(mut keeper) = self.keeper.try_lock() {
            *keeper = None;
        }
    }

    /// Writes the files of a container, for its runner.
    pub fn prepare(&self, container: &TaskContainer) -> io::Result<()> {
        let config = self.config().map_err(io::Error::other)?;
        let files = Files::of(&config, &container.id);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&files.directory)?;
        files.write(&files.container(), &serde_json::to_string(container)?)
    }

    /// The file that is there once the container runs, and the one that says why it was not started.
    pub fn files(&self, id: &str) -> io::Result<(PathBuf, PathBuf)> {
        let files = Files::of(&self.config().map_err(io::Error::other)?, id);
        Ok((files.running(), files.failed()))
    }

    /// Why a container was not started.
    pub fn failure(&self, id: &str) -> Option<String> {
        fs::read_to_string(Files::of(&self.config().ok()?, id).failed()).ok()
    }

    /// The limits of a container of which a process was killed for memory.
    pub fn exceeded(&self, id: &str) -> Option<Limits> {
        let files = Files::of(&self.config().ok()?, id);
        if files.exceeded().exists() { files.read().ok()?.limits } else { None }
    }

    /// The containers that were prepared and not removed.
    pub fn recorded(&self) -> Vec<String> {
        self.config().map(|config| recorded(&config)).unwrap_or_default()
    }

    /// The usage of a container.
    pub fn usage(&self, id: &str) -> Option<ContainerUsage> {
        let config = self.config().ok()?;
        Files::of(&config, id).directory.is_dir().then(|| cgroups::usage(&group(&config, id))).flatten()
    }

    /// The CPU seconds of the node's Pods whose CPUs are revocable.
    pub fn revocable_pods_cpu_seconds(&self) -> Option<f64> {
        cgroups::revocable_cpu_seconds(&self.config().ok()?.tag())
    }

    /// Changes the limits of a running container. Its memory limit is only raised: lowering it below what is in use would end the
    /// container.
    pub async fn set_limits(&self, id: &str, limits: Limits) {
        let Ok(config) = self.config() else { return };
        if !Files::of(&config, id).directory.is_dir() {
            return;
        }
        if let Err(error) = update(&config, id, limits).await {
            tracing::warn!(container = id, %error, "cannot set the limits of a container");
        }
    }

    /// Kills what is left of a container, and removes it. Succeeds if there is none.
    pub async fn remove(&self, id: &str) {
        let Ok(config) = self.config() else { return };
        let files = Files::of(&config, id);
        if !files.directory.is_dir() {
            return;
        }
        let group = group(&config, id);
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        kill(&group);
        while let Err(error) = remove_sandboxes(&config, id).await {
            if Instant::now() >= deadline {
                tracing::warn!(container = id, %error, "a container is removed later");
                return;
            }
            tokio::time::sleep(REMOVE_INTERVAL).await;
        }
        while !cgroups::existing(&group).is_empty() && Instant::now() < deadline {
            kill(&group);
            cgroups::remove(&group);
            tokio::time::sleep(REMOVE_INTERVAL).await;
        }
        if let Err(error) = fs::remove_dir_all(&files.directory) {
            tracing::warn!(container = id, %error, "cannot remove the files of a container");
        }
    }
}

/// Whether the runtime answers.
async fn answers(config: &Config) -> Result<(), String> {
    let client = cri::Client::new(&socket(config)).map_err(|error| error.message)?;
    let version = tokio::time::timeout(ANSWER_TIMEOUT, client.version(v1::VersionRequest::default())).await;
    let why = match version {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not answer within {} s", ANSWER_TIMEOUT.as_secs()),
    };
    Err(format!("container runtime is not ready: {why}"))
}

/// Kills the processes of a cgroup.
fn kill(group: &str) {
    for pid in cgroups::processes(group).into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
    {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Removes the sandboxes of a container. Without a runtime there is nothing to remove them from, and they end with the node.
async fn remove_sandboxes(config: &Config, id: &str) -> Result<(), cri::Error> {
    if config.cri_endpoint.is_none() && !containerd::runs(config) {
        return Ok(());
    }
    let client = cri::Client::new(&socket(config))?;
    let (sandboxes, _) = client.list(&[(labels::CONTAINER.to_owned(), id.to_owned())]).await?;
    for sandbox in sandboxes {
        client.remove_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

async fn update(config: &Config, id: &str, limits: Limits) -> Result<(), cri::Error> {
    let client = cri::Client::new(&socket(config))?;
    let (_, containers) = client.list(&[(labels::CONTAINER.to_owned(), id.to_owned())]).await?;
    let Some(container) =
        containers.into_iter().find(|c| c.state == v1::ContainerState::ContainerRunning as i32)
    else {
        // It starts with the limits that it was prepared with; the next change corrects them.
        return Ok(());
    };
    let present = cgroups::memory_limit(&format!("{}/{}", group(config, id), container.id)).unwrap_or(0);
    let memory_bytes = if limits.memory_bytes > present { limits.memory_bytes } else { 0 };
    client.update(&container.id, cri_config::resources(Limits { memory_bytes, ..limits })).await
}

//! The container runtime of this machine as the agent sees it: containers of images for tasks of frameworks, beside those of Pods.

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use async_trait::async_trait;
use kernel::images::{
    ContainerCommands, ContainerFailure, ContainerLimits, ContainerProgram, ImageContainerConfig,
    ImageRuntime, RunningContainer, SANDBOX_DIRECTORY, WorkingDirectory,
};
use kernel_model::{container::ContainerNetwork, container_usage::ContainerUsage, ids::ContainerId};
use kubelet_executor::{
    CONFIG_ENV, Config,
    task_container::{self, Directory, Limits, Mount, Port, Program, TaskContainer, TaskContainers, User},
};

use crate::{logging, runtime};

/// `catamaran task-container`.
#[derive(Debug, clap::Subcommand)]
pub enum TaskContainerVerb {
    /// Run a prepared container until its end
    Run { id: String },
    /// Run a command in a running container
    Exec {
        id: String,
        /// How many seconds the command may take
        timeout: u64,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Runs the process that stands for a container, or a command in one. Its exit code is that of the container or command.
pub fn run(verb: TaskContainerVerb) -> anyhow::Result<ExitCode> {
    let config = Config::from_environment()?;
    let mut code = 0;
    runtime::block_on(async {
        code = match verb {
            TaskContainerVerb::Run { id } => task_container::run(&config, &id).await,
            TaskContainerVerb::Exec { id, timeout, command } => {
                task_container::exec(&config, &id, Duration::from_secs(timeout), &command).await
            }
        };
        Ok(())
    })?;
    Ok(ExitCode::from(code))
}

/// See the module.
#[derive(Debug)]
pub struct TaskImages {
    containers: TaskContainers,
    config_file: PathBuf,
    binary: PathBuf,
}

impl TaskImages {
    /// The runtime of the node with this configuration file. `binary` is this program.
    pub fn new(config_file: PathBuf, binary: PathBuf) -> Self {
        Self { containers: TaskContainers::new(config_file.clone()), config_file, binary }
    }
}

#[async_trait]
impl ImageRuntime for TaskImages {
    async fn ready(&self) -> Result<(), String> {
        self.containers.ready().await
    }

    async fn unavailable(&self) -> Option<String> {
        self.containers.unavailable().await
    }

    fn prepare(&self, container: &ImageContainerConfig) -> io::Result<ContainerCommands> {
        self.containers.prepare(&converted(container))?;
        let id = container.container_id.as_str();
        let (running, failed) = self.containers.files(id)?;
        let verb = |verb: &str| {
            let words = [&self.binary.display().to_string(), "task-container", verb, id];
            words.map(str::to_owned).to_vec()
        };
        let config = (CONFIG_ENV.to_owned(), self.config_file.display().to_string());
        Ok(ContainerCommands {
            run: verb("run"),
            running,
            failed,
            exec: verb("exec"),
            environment: std::iter::once(config).chain(logging::environment()).collect(),
        })
    }

    fn running(&self, container_id: &ContainerId) -> Option<RunningContainer> {
        let (running, _) = self.containers.files(container_id.as_str()).ok()?;
        RunningContainer::parse(&std::fs::read_to_string(running).ok()?)
    }

    fn failure(&self, container_id: &ContainerId) -> Option<ContainerFailure> {
        let id = container_id.as_str();
        let exceeded =
            || self.containers.exceeded(id).map(|limits| ContainerFailure::MemoryExceeded(back(limits)));
        self.containers.failure(id).map(ContainerFailure::NotStarted).or_else(exceeded)
    }

    async fn set_limits(&self, container_id: &ContainerId, limits: ContainerLimits) {
        self.containers.set_limits(container_id.as_str(), converted_limits(limits)).await;
    }

    fn usage(&self, container_id: &ContainerId) -> Option<ContainerUsage> {
        self.containers.usage(container_id.as_str())
    }

    fn revocable_pods_cpu_seconds(&self) -> Option<f64> {
        self.containers.revocable_pods_cpu_seconds()
    }

    fn recorded(&self) -> Vec<ContainerId> {
        self.containers.recorded().into_iter().map(ContainerId::from).collect()
    }

    async fn remove(&self, container_id: &ContainerId) {
        self.containers.remove(container_id.as_str()).await;
    }

    fn close(&self) {
        self.containers.close();
    }
}

fn converted_limits(limits: ContainerLimits) -> Limits {
    Limits { cpu_shares: limits.cpu_shares, memory_bytes: limits.memory_bytes }
}

fn back(limits: Limits) -> ContainerLimits {
    ContainerLimits { cpu_shares: limits.cpu_shares, memory_bytes: limits.memory_bytes }
}

fn converted(from: &ImageContainerConfig) -> TaskContainer {
    TaskContainer {
        id: from.container_id.to_string(),
        image: from.image.clone(),
        force_pull: from.force_pull,
        program: match from.program.clone() {
            ContainerProgram::Own(words) => Program::Own(words),
            ContainerProgram::Entrypoint(arguments) => Program::Entrypoint(arguments),
            ContainerProgram::Image(arguments) => Program::Image(arguments),
        },
        environment: from.environment.clone(),
        directory: match from.directory.clone() {
            WorkingDirectory::Image => Directory::Image,
            WorkingDirectory::ImageOrSandbox => Directory::ImageOrSandbox,
            WorkingDirectory::Path(path) => Directory::Path(path),
        },
        user: from.user.clone().map(|user| User { uid: user.uid, gid: user.gid, groups: user.groups }),
        sandbox: Mount {
            host_path: from.sandbox.clone(),
            container_path: SANDBOX_DIRECTORY.into(),
            read_only: false,
        },
        mounts: from
            .mounts
            .iter()
            .cloned()
            .map(|mount| Mount {
                host_path: mount.host_path,
                container_path: mount.container_path,
                read_only: mount.read_only,
            })
            .collect(),
        ports: match &from.network {
            ContainerNetwork::Host => None,
            ContainerNetwork::Bridge(mappings) => Some(
                mappings
                    .iter()
                    .map(|mapping| Port {
                        host_port: mapping.host_port,
                        container_port: mapping.container_port,
                        udp: mapping.udp,
                    })
                    .collect(),
            ),
        },
        read_only: from.read_only,
        limits: from.limits.map(converted_limits),
    }
}

//! Starts one task as a process. A task of the command executor has the executor's sandbox, where the agent has fetched its
//! files. A task of a group has a sandbox of its own below it, `containers/ID`, to which `tasks/TASK` points, as in Mesos.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Duration,
};

use bytes::Bytes;
use kernel_core::builtin_executor::{Event, health::HealthPolicy};
use kernel_model::{
    executor::{CommandInfo, ExecutorKind, Uri},
    ids::ContainerId,
    resources::VolumeMount,
    task::TaskInfo,
};
use kernel_wire::{extra, prost::Message as _, supported, v1};
use tokio_util::sync::CancellationToken;

use super::{
    command::{self, Running, TaskUser, describe, in_own_group},
    main_loop::Message,
    probe::{Probe, ProbeContext, ProbeResult, seconds},
};
use crate::{
    images::{ContainerCommands, RunningContainer},
    runtime::{
        fetch::fetch,
        launch::{LaunchError, refuse_secrets},
        process::Process,
        sandbox::Sandbox,
    },
};

/// How often a container that is being started is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A task whose process has been started.
pub(super) struct Started {
    pub(super) running: Running,
    pub(super) health: Option<HealthPolicy>,
    /// The fields of its statuses that the kernel does not interpret.
    pub(super) extra: Bytes,
}

/// A task to start, and what its thread needs for it.
pub(super) struct Launch {
    pub(super) kind: ExecutorKind,
    pub(super) task: TaskInfo,
    pub(super) framework_user: String,
    /// The executor's container.
    pub(super) parent: Option<ContainerId>,
    pub(super) executor_sandbox: PathBuf,
    pub(super) messages: SyncSender<Message>,
    /// How to run the task in the container of its image.
    pub(super) container: Option<ContainerCommands>,
    /// Stops the preparation.
    pub(super) stop: CancellationToken,
}

/// A container inside the executor's.
struct Nested {
    sandbox: Sandbox,
    status: v1::ContainerStatus,
}

impl Launch {
    /// Starts the task, and waits for its end. Sends what becomes of it.
    pub(super) fn run(self) {
        let task_id = self.task.task_id.clone();
        let send = |message| self.messages.send(message).is_ok();
        let (mut child, started, probes) = match self.start() {
            Ok(started) => started,
            Err(error) => {
                let is_container = matches!(error, LaunchError::NotStarted(_));
                let message = match error {
                    LaunchError::Spawn(error) => format!("Command could not be started: {error}"),
                    error => error.to_string(),
                };
                send(Message::Event(Event::NotStarted { task_id, is_container, message }));
                return;
            }
        };
        if send(Message::Started(task_id.clone(), Box::new(started))) {
            probes.watch(&self);
            let ended = child.wait();
            let succeeded = ended.as_ref().is_ok_and(|status| status.success());
            let message = ended.map_or_else(|error| error.to_string(), describe);
            send(Message::Event(Event::Exited { task_id, succeeded, message }));
        }
    }

    fn start(&self) -> Result<(Child, Started, Probes), LaunchError> {
        let info: v1::TaskInfo = extra::decode(&self.task.extra)?;
        let command = self.task.command.as_ref().ok_or(LaunchError::NoCommand)?;
        if let Some(container) = &self.container {
            return self.start_in_image(container, &info);
        }
        let user = TaskUser::of(command, &self.framework_user)?;
        let nested = match self.kind {
            ExecutorKind::Default => Some(self.prepare(command, &user, &info)?),
            ExecutorKind::Command | ExecutorKind::Custom => None,
        };
        let mut process = command::program(command)?;
        process.stdin(Stdio::null());
        let mut directory = None;
        let mut environment = Vec::new();
        if let Some(nested) = &nested {
            let output = |name| nested.sandbox.create_output(name, user.credentials());
            process
                .stdout(output("stdout").map_err(LaunchError::Sandbox)?)
                .stderr(output("stderr").map_err(LaunchError::Sandbox)?);
            let path = nested.sandbox.path().display().to_string();
            environment
                .extend(["MESOS_SANDBOX", "MESOS_DIRECTORY"].map(|name| (name.to_owned(), path.clone())));
            directory = Some(Arc::new(File::from(nested.sandbox.directory().try_clone()?)));
        }
        environment.extend(command.environment.iter().cloned());
        let context = ProbeContext { environment, user, directory, ..ProbeContext::default() };
        if self.stop.is_cancelled() {
            return Err(LaunchError::Destroyed);
        }
        let (child, running) = Running::start(context.apply(in_own_group(&mut process)), &context.user)?;
        let probes = Probes::of(&info, context, nested.map(|nested| nested.status));
        let health = info.health_check.as_ref().filter(|_| probes.health.is_some()).map(policy);
        let extra = probes.status(probes.check.as_ref().map(|(_, result)| *result));
        Ok((child, Started { running, health, extra }, probes))
    }

    /// Starts the process that stands for the task's container, and waits until that runs.
    fn start_in_image(
        &self,
        container: &ContainerCommands,
        info: &v1::TaskInfo,
    ) -> Result<(Child, Started, Probes), LaunchError> {
        let mut context = ProbeContext { container: Some(container.clone()), ..ProbeContext::default() };
        let [program, arguments @ ..] = container.run.as_slice() else { return Err(LaunchError::NoCommand) };
        let mut process = std::process::Command::new(program);
        process.args(arguments).stdin(Stdio::null());
        let (mut child, running) = Running::start(context.apply(in_own_group(&mut process)), &context.user)?;
        let Some(contained) = self.wait_until_running(container, &mut child, &running)? else {
            let why = fs::read_to_string(&container.failed).unwrap_or_default();
            let why = if why.is_empty() { "The container could not be started".to_owned() } else { why };
            return Err(LaunchError::NotStarted(why));
        };
        let running = running.of_container(Process::find(contained.pid));
        context.address = contained.address.as_ref().and_then(|address| address.parse().ok());
        let address = contained.address.map(|address| v1::ContainerStatus {
            network_infos: vec![v1::NetworkInfo {
                ip_addresses: vec![v1::network_info::IpAddress {
                    ip_address: Some(address),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        });
        let probes = Probes::of(info, context, address);
        let health = info.health_check.as_ref().filter(|_| probes.health.is_some()).map(policy);
        let extra = probes.status(probes.check.as_ref().map(|(_, result)| *result));
        Ok((child, Started { running, health, extra }, probes))
    }

    /// The container; `None` if its process ended before it ran.
    fn wait_until_running(
        &self,
        container: &ContainerCommands,
        child: &mut Child,
        running: &Running,
    ) -> Result<Option<RunningContainer>, LaunchError> {
        let mut is_stopped = false;
        loop {
            let line = fs::read_to_string(&container.running).unwrap_or_default();
            if let Some(found) = RunningContainer::parse(&line) {
                return Ok(Some(found));
            }
            if child.try_wait()?.is_some() {
                // It may have started and ended since.
                let line = fs::read_to_string(&container.running).unwrap_or_default();
                return Ok(RunningContainer::parse(&line));
            }
            if self.stop.is_cancelled() && !std::mem::replace(&mut is_stopped, true) {
                // It ends when the call to the runtime that is in progress has returned.
                running.terminate();
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Makes the sandbox of a task of a group, with its files.
    fn prepare(
        &self,
        command: &CommandInfo,
        user: &TaskUser,
        info: &v1::TaskInfo,
    ) -> Result<Nested, LaunchError> {
        refuse_secrets(command)?;
        let shared = info.container.as_ref().map(supported::shared_volumes).transpose()?.unwrap_or_default();
        let container_id = ContainerId::new(uuid::Uuid::new_v4().to_string());
        let parent = Sandbox::open(&self.executor_sandbox).map_err(LaunchError::Sandbox)?;
        let nested = parent.create_nested(&container_id, &self.task.task_id, user.credentials());
        let sandbox = nested.map_err(LaunchError::Sandbox)?;
        for volume in shared {
            let [inside, of_parent] = [&volume.container_path, &volume.path].map(Path::new);
            let linked = parent.share(of_parent, &sandbox, inside, user.credentials());
            linked.map_err(|error| LaunchError::Volume(volume.container_path.clone(), error))?;
        }
        let mounts =
            self.task.resources.iter().filter_map(|resource| resource.disk.as_ref()?.volume.as_ref());
        for VolumeMount { container_path, .. } in mounts {
            let linked = parent.pass_volume(&sandbox, Path::new(container_path));
            linked.map_err(|error| LaunchError::Volume(container_path.clone(), error))?;
        }
        self.fetch(&command.uris, &sandbox, user)?;
        let wire = |id: &ContainerId, parent| v1::ContainerId { value: id.as_str().to_owned(), parent };
        let parent = self.parent.as_ref().map(|parent| Box::new(wire(parent, None)));
        let status =
            v1::ContainerStatus { container_id: Some(wire(&container_id, parent)), ..Default::default() };
        Ok(Nested { sandbox, status })
    }

    fn fetch(&self, uris: &[Uri], sandbox: &Sandbox, user: &TaskUser) -> Result<(), LaunchError> {
        if uris.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let _runtime = runtime.enter();
        let fetch = || fetch(uris, sandbox, &self.stop).map_err(LaunchError::Fetch);
        match user.credentials() {
            // So that nothing is fetched that the user may not read.
            Some(credentials) => credentials.run(fetch),
            None => fetch(),
        }
    }
}

/// The probes of a task, which are in the fields that the kernel does not interpret.
struct Probes {
    health: Option<Probe>,
    /// With the result that stands for none yet.
    check: Option<(Probe, ProbeResult)>,
    context: ProbeContext,
    /// The container inside the executor's, in the form of statuses.
    container: Option<v1::ContainerStatus>,
}

impl Probes {
    fn of(info: &v1::TaskInfo, context: ProbeContext, container: Option<v1::ContainerStatus>) -> Self {
        let check = info.check.as_ref();
        Self {
            health: info.health_check.as_ref().and_then(Probe::of_health),
            check: check.and_then(|check| Probe::of_check(check).zip(ProbeResult::pending_result(check))),
            context,
            container,
        }
    }

    /// The part of a status that the kernel does not interpret.
    fn status(&self, checked: Option<ProbeResult>) -> Bytes {
        let status = v1::TaskStatus {
            check_status: checked.map(ProbeResult::to_wire),
            container_status: self.container.clone(),
            ..Default::default()
        };
        status.encode_to_vec().into()
    }

    /// Starts to probe.
    fn watch(mut self, launch: &Launch) {
        let task_id = &launch.task.task_id;
        if let Some(probe) = self.health.take() {
            let (messages, task_id) = (launch.messages.clone(), task_id.clone());
            probe.watch(self.context.clone(), move |result| {
                let event = Event::Health { task_id: task_id.clone(), good: result.is_good() };
                messages.send(Message::Event(event)).is_ok()
            });
        }
        if let Some((probe, _)) = self.check.take() {
            let (messages, task_id) = (launch.messages.clone(), task_id.clone());
            probe.watch(self.context.clone(), move |result| {
                let event = Event::Check { task_id: task_id.clone(), extra: self.status(Some(result)) };
                messages.send(Message::Event(event)).is_ok()
            });
        }
    }
}

fn policy(check: &v1::HealthCheck) -> HealthPolicy {
    HealthPolicy { failures_max: check.consecutive_failures(), grace: seconds(check.grace_period_seconds()) }
}

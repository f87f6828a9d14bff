//! Starts one task, as a process or as a container of an image. A task of the command executor has the executor's sandbox, where the agent has fetched its
//! files. A task of a group has a sandbox of its own below it, `containers/ID`, to which `tasks/TASK` points, as in Mesos.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Duration,
};

use bytes::Bytes;
use kernel_core::builtin_executor::{Event, health::HealthPolicy};
use kernel_model::{
    container_path::ContainerPath,
    executor::{CommandInfo, ExecutorKind, Uri},
    ids::{ContainerId, TaskId},
    resources::VolumeMount,
    task::TaskInfo,
};
use kernel_wire::{container_path, extra, prost::Message as _, supported, v1};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    command::{self, RunningGroup, TaskUser, describe, in_own_group},
    main_loop::Message,
    nested::{Ended, NestedContainer},
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

/// What is signalled to end a task.
pub(super) enum Running {
    Group(RunningGroup),
    Nested(Arc<NestedContainer>),
}

impl Running {
    /// Asks the task to end.
    pub(super) fn terminate(&self) {
        match self {
            Self::Group(group) => group.terminate(),
            Self::Nested(container) => container.kill(Signal::TERM),
        }
    }

    /// Ends the task.
    pub(super) fn kill(&self) {
        match self {
            Self::Group(group) => group.kill(),
            Self::Nested(container) => container.kill(Signal::KILL),
        }
    }

    /// Kills what is left of the task, which has ended.
    pub(super) fn clean_up(&self) {
        match self {
            Self::Group(group) => group.kill(),
            // Nothing is left of it.
            Self::Nested(_) => {}
        }
    }
}

/// What is waited for.
enum Waited {
    Child(Child),
    Nested(Arc<NestedContainer>),
}

/// A task to start, and what its thread needs for it.
pub(super) struct Launch {
    pub(super) settings: Settings,
    pub(super) task: TaskInfo,
    pub(super) framework_user: String,
    /// The executor's container.
    pub(super) parent: Option<ContainerId>,
    pub(super) messages: SyncSender<Message>,
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
        let (waited, started, probes) = match self.start() {
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
            let container = probes.container.clone();
            probes.watch(&self);
            send(Message::Event(match waited {
                Waited::Child(mut child) => {
                    let ended = child.wait();
                    let succeeded = ended.as_ref().is_ok_and(|status| status.success());
                    let message = ended.map_or_else(|error| error.to_string(), describe);
                    Event::Exited { task_id, succeeded, message }
                }
                Waited::Nested(nested) => end_of(nested.wait(), task_id, container),
            }));
        }
    }

    fn start(&self) -> Result<(Waited, Started, Probes), LaunchError> {
        let info: v1::TaskInfo = extra::decode(&self.task.extra)?;
        let command = self.task.command.as_ref().ok_or(LaunchError::NoCommand)?;
        if let Some(container) = &self.settings.container {
            return self.start_in_image(container, &info);
        }
        let user = TaskUser::of(command, &self.framework_user)?;
        let kind = self.settings.kind;
        if let (ExecutorKind::Default, Some(container)) = (kind, &info.container)
            && supported::check_of_group(container)?.is_some()
        {
            return self.start_nested(container, &info, &user);
        }
        let nested = match kind {
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
        let (child, running) = RunningGroup::start(context.apply(in_own_group(&mut process)), &context.user)?;
        let probes = Probes::of(&info, context, nested.map(|nested| nested.status));
        Ok(started(Waited::Child(child), Running::Group(running), &info, probes))
    }

    /// Has the agent start the container of the task's image below the executor's.
    fn start_nested(
        &self,
        container: &v1::ContainerInfo,
        info: &v1::TaskInfo,
        user: &TaskUser,
    ) -> Result<(Waited, Started, Probes), LaunchError> {
        let parent = self.parent.clone().ok_or(LaunchError::Destroyed)?;
        let id = ContainerId::new(uuid::Uuid::new_v4().to_string());
        let sandbox = Sandbox::open(&self.settings.sandbox);
        let sandbox = sandbox.and_then(|own| own.create_nested(&id, &self.task.task_id, user.credentials()));
        sandbox.map_err(LaunchError::Sandbox)?;
        let path = ContainerPath::root(parent).child(id);
        let status =
            v1::ContainerStatus { container_id: Some(container_path::to_wire(&path)), ..Default::default() };
        let nested = NestedContainer::new(self.settings.clone(), path);
        nested.launch(&self.task, container.clone(), &self.stop)?;
        let context = ProbeContext { nested: Some(nested.clone()), ..ProbeContext::default() };
        let probes = Probes::of(info, context, Some(status));
        Ok(started(Waited::Nested(nested.clone()), Running::Nested(nested), info, probes))
    }

    /// Starts the process that stands for the task's container, and waits until that runs.
    fn start_in_image(
        &self,
        container: &ContainerCommands,
        info: &v1::TaskInfo,
    ) -> Result<(Waited, Started, Probes), LaunchError> {
        let mut context = ProbeContext { container: Some(container.clone()), ..ProbeContext::default() };
        let [program, arguments @ ..] = container.run.as_slice() else { return Err(LaunchError::NoCommand) };
        let mut process = std::process::Command::new(program);
        process.args(arguments).stdin(Stdio::null());
        let (mut child, running) =
            RunningGroup::start(context.apply(in_own_group(&mut process)), &context.user)?;
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
        Ok(started(Waited::Child(child), Running::Group(running), info, probes))
    }

    /// The container; `None` if its process ended before it ran.
    fn wait_until_running(
        &self,
        container: &ContainerCommands,
        child: &mut Child,
        running: &RunningGroup,
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
        let parent = Sandbox::open(&self.settings.sandbox).map_err(LaunchError::Sandbox)?;
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

fn started(
    waited: Waited,
    running: Running,
    info: &v1::TaskInfo,
    probes: Probes,
) -> (Waited, Started, Probes) {
    let health = info.health_check.as_ref().filter(|_| probes.health.is_some()).map(policy);
    let extra = probes.status(probes.check.as_ref().map(|(_, result)| *result));
    (waited, Started { running, health, extra }, probes)
}

/// What the state machine has to know of the end of a container.
fn end_of(ended: Ended, task_id: TaskId, container_status: Option<v1::ContainerStatus>) -> Event {
    let Ended { succeeded, message, found } = ended;
    match found {
        None => Event::Exited { task_id, succeeded, message },
        Some((reason, limitation)) => {
            let status = v1::TaskStatus { container_status, limitation, ..Default::default() };
            Event::Failed { task_id, reason, message, extra: status.encode_to_vec().into() }
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

//! Launches a container: creates the sandbox and the command line, and starts a process that execs only after the agent
//! has recorded its pid.
//!
//! The process waits for a line on its standard input. If the agent crashes before the pid is recorded, the process
//! reads end-of-file and exits.

use std::{io, os::fd::AsRawFd, path::Path, process::Stdio};

use kernel_core::agent::Start;
use kernel_model::executor::{CommandInfo, ExecutorKind};
use kernel_wire::{
    Invalid, extra,
    supported::{self, Refused},
    v1,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

use super::{
    FetchCounts, RuntimeOptions,
    containerizer::{ImageUse, Surroundings},
    credentials::{self, Credentials},
    environment::environment,
    fetch::{FetchError, fetch},
    image,
    process::Process,
    sandbox::{Paths, Sandbox},
    volumes::{self, VolumeError},
};
use crate::access::executor_tokens::TOKEN_VARIABLE;

/// Waits for the line, then execs the program in a new session.
const GATE: &str = "read -r _ || exit 111; exec </dev/null; exec /usr/bin/setsid \"$@\"";

/// The same without setsid: the process has its own process group.
const GATE_WITHOUT_SESSION: &str = "read -r _ || exit 111; exec </dev/null; exec \"$@\"";

/// The environment variable that tells the command executor how to run its task in a container of an image.
pub(crate) const CONTAINER_VARIABLE: &str = "CATAMARAN_CONTAINER";

/// An executor that was not started. The texts are the messages of its tasks' statuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("ids of framework or executor cannot name a directory")]
    Ids,
    #[error("cannot create the sandbox: {0}")]
    Sandbox(io::Error),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("user '{0}' does not exist on this machine")]
    User(String),
    #[error("user '{0}' is root by another name: give 'root'")]
    RootByAnotherName(String),
    #[error("cannot look up user '{0}': {1}")]
    UserLookup(String, io::Error),
    #[error("{0}")]
    PersistentVolume(#[from] VolumeError),
    #[error("cannot share volume '{0}': {1}")]
    Volume(String, io::Error),
    #[error("cannot mount '{0}': {1}")]
    HostVolume(String, io::Error),
    #[error("this agent has no container runtime")]
    NoImages,
    #[error("{0}")]
    ContainerRuntime(String),
    #[error("{0}")]
    NotStarted(String),
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("{0}")]
    Unlimited(String),
    #[error("the launch is invalid: {0}")]
    Invalid(String),
    #[error("the executor has no command")]
    NoCommand,
    #[error("cannot start the executor: {0}")]
    Spawn(#[from] io::Error),
    #[error("the executor was destroyed while it was being started")]
    Destroyed,
    #[error("preparing the executor failed unexpectedly")]
    Panicked,
}

impl From<Invalid> for LaunchError {
    fn from(Invalid(why): Invalid) -> Self {
        Self::Invalid(why)
    }
}

/// A sandbox, and the command to run in it.
pub(crate) struct Prepared {
    pub(crate) sandbox: Sandbox,
    pub(crate) plan: LaunchPlan,
    pub(crate) image: Option<ImageUse>,
    pub(crate) surroundings: Surroundings,
}

/// The command to run.
pub(crate) struct LaunchPlan {
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// The owner of the sandbox; `None` is the agent's user.
    pub(super) owner: Option<Credentials>,
    /// The user of the process.
    pub(super) user: Option<Credentials>,
    /// The first process of the container of an image that the process enters.
    pub(super) enters: Option<Process>,
}

/// Prepares everything that needs no process, until `stop` is cancelled. Blocks.
pub(crate) fn prepare(
    options: &RuntimeOptions,
    paths: &Paths,
    fetches: &FetchCounts,
    start: &Start,
    stop: &CancellationToken,
) -> Result<Prepared, LaunchError> {
    refuse_unsupported(start)?;
    let framework_id = start.framework.id.as_ref().ok_or(LaunchError::Ids)?;
    let runs =
        paths.runs(&start.agent_id, framework_id, &start.executor.executor_id).ok_or(LaunchError::Ids)?;
    let own = start.executor.command.as_ref();
    let command = start.task.as_ref().and_then(|task| task.command.as_ref()).or(own);
    let owner = credentials::of_launch(command, start)?;
    let sandbox =
        Sandbox::create(&runs, &start.container_id, owner.as_ref()).map_err(LaunchError::Sandbox)?;
    volumes::link(paths, &sandbox, &start.volumes)?;
    if let Some(command) = command.filter(|command| !command.uris.is_empty()) {
        let fetch = || fetch(&command.uris, &sandbox, stop).map_err(LaunchError::Fetch);
        let fetched = match &owner {
            // So that nothing is fetched that the user may not read.
            Some(owner) => owner.run(fetch),
            None => fetch(),
        };
        fetches.count(fetched.is_ok());
        fetched?;
    }
    let token = options.tokens.issue(framework_id, &start.executor.executor_id, &start.container_id)?;
    let mut plan = LaunchPlan {
        environment: environment(options, start, sandbox.path(), token.clone()),
        // The built-in executors switch to the user themselves, when they start a command.
        user: owner.clone().filter(|_| start.executor.kind == ExecutorKind::Custom),
        arguments: Vec::new(),
        owner,
        enters: None,
    };
    let image = match image::of_launch(start)? {
        Some((image, command)) => {
            let owner = plan.owner.as_ref();
            let parts = image::Parts { limited: options.limit, paths, sandbox: &sandbox, owner, above: None };
            let config = Box::new(image::of_start(start, image, command, &parts, (options, token))?);
            Some(match start.executor.kind {
                ExecutorKind::Custom => ImageUse::Inside(config),
                ExecutorKind::Command | ExecutorKind::Default => ImageUse::Beside(config),
            })
        }
        None => None,
    };
    if !matches!(image, Some(ImageUse::Inside(_))) {
        plan.arguments = arguments(options, start)?;
    }
    let surroundings = surroundings(start, command, &plan, &sandbox, image.is_some());
    Ok(Prepared { sandbox, plan, image, surroundings })
}

/// What a session below the container inherits: as in Mesos the variables of the container, with those of a command task.
fn surroundings(
    start: &Start,
    command: Option<&CommandInfo>,
    plan: &LaunchPlan,
    sandbox: &Sandbox,
    in_image: bool,
) -> Surroundings {
    let variables = plan.environment.iter().filter(|(name, _)| name != TOKEN_VARIABLE);
    let of_task = start.task.as_ref().and(command).map(|command| command.environment.as_slice());
    let user = command.and_then(|command| command.user.as_deref()).unwrap_or(&start.framework.user);
    Surroundings {
        user: user.to_owned(),
        environment: variables.chain(of_task.unwrap_or_default()).cloned().collect(),
        directory: sandbox.path().to_owned(),
        in_image,
    }
}

/// Refuses features that are not supported, instead of ignoring them. They are in the fields that the kernel does not
/// interpret.
fn refuse_unsupported(start: &Start) -> Result<(), LaunchError> {
    let executor: v1::ExecutorInfo = extra::decode(&start.executor.extra)?;
    let task = start.task.as_ref().map(|task| extra::decode::<v1::TaskInfo>(&task.extra)).transpose()?;
    for container in [executor.container, task.and_then(|task| task.container)].into_iter().flatten() {
        supported::check_outermost(&container)?;
    }
    let commands = [start.executor.command.as_ref(), start.task.as_ref().and_then(|t| t.command.as_ref())];
    commands.into_iter().flatten().try_for_each(refuse_secrets)
}

/// Refuses a command with secrets, which are what is left of its environment in the fields that the kernel does not interpret.
pub(crate) fn refuse_secrets(command: &CommandInfo) -> Result<(), LaunchError> {
    Ok(supported::check_command(&extra::decode(&command.extra)?)?)
}

fn arguments(options: &RuntimeOptions, start: &Start) -> Result<Vec<String>, LaunchError> {
    match start.executor.kind {
        ExecutorKind::Default => {
            Ok(vec![options.binary.display().to_string(), "default-executor".to_owned()])
        }
        ExecutorKind::Command => {
            Ok(vec![options.binary.display().to_string(), "command-executor".to_owned()])
        }
        ExecutorKind::Custom => {
            let command = start.executor.command.as_ref().ok_or(LaunchError::NoCommand)?;
            command_line(command).ok_or(LaunchError::NoCommand)
        }
    }
}

/// The program and its arguments. A separate `argv[0]` of a command without a shell is not supported.
pub(crate) fn command_line(command: &CommandInfo) -> Option<Vec<String>> {
    if command.shell {
        let line = command.value.clone()?;
        return Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line]);
    }
    let program = command.value.clone().or_else(|| command.arguments.first().cloned())?;
    let rest = command.arguments.iter().skip(1).cloned();
    Some(std::iter::once(program).chain(rest).collect())
}

/// A process that waits for permission to exec.
pub(crate) struct PendingExec {
    child: Child,
}

/// Starts the process; it waits until [`PendingExec::open`].
pub(crate) fn spawn(sandbox: &Sandbox, plan: LaunchPlan) -> Result<PendingExec, LaunchError> {
    let create = |name: &str| sandbox.create_output(name, plan.owner.as_ref()).map_err(LaunchError::Sandbox);
    let (output, errors) = (create("stdout")?, create("stderr")?);
    let has_setsid = Path::new("/usr/bin/setsid").exists();
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(if has_setsid { GATE } else { GATE_WITHOUT_SESSION })
        .arg("gate")
        .args(&plan.arguments)
        .env_clear()
        .envs(plan.environment)
        // By its descriptor: the user need not be able to traverse the directories above.
        .current_dir(format!("/proc/self/fd/{}", sandbox.directory().as_raw_fd()))
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(false);
    if !has_setsid {
        command.process_group(0);
    }
    let child = match &plan.user {
        Some(user) => user.run(|| command.spawn())?,
        None => command.spawn()?,
    };
    Ok(PendingExec { child })
}

impl PendingExec {
    pub(crate) fn process(&self) -> Result<Process, LaunchError> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let gone = || LaunchError::Spawn(io::Error::other("the process ended at once"));
        pid.and_then(Process::find).ok_or_else(gone)
    }

    /// Lets the process exec its program.
    pub(crate) async fn open(mut self) -> Result<Child, LaunchError> {
        if let Some(mut gate) = self.child.stdin.take() {
            gate.write_all(b"go\n").await?;
        }
        Ok(self.child)
    }
}

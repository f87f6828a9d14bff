//! The command: a process group of its own, and the message of its exit.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
};

use kernel_model::executor::CommandInfo;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    access::executor_tokens::TOKEN_VARIABLE,
    runtime::{
        credentials::{self, Credentials},
        launch::{LaunchError, command_line},
        process::Process,
    },
};

/// The user of a task's processes.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskUser(Option<Credentials>);

impl TaskUser {
    /// The user that a command names, or the framework's.
    pub(super) fn of(command: &CommandInfo, framework_user: &str) -> Result<Self, LaunchError> {
        credentials::of_user(command.user.as_deref().unwrap_or(framework_user)).map(Self)
    }

    /// The credentials to switch to, if any.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.0.as_ref()
    }

    /// Starts a process as this user, without the executor's token.
    pub(super) fn spawn(&self, process: &mut Command) -> io::Result<Child> {
        process.env_remove(TOKEN_VARIABLE);
        match &self.0 {
            Some(credentials) => credentials.run(|| process.spawn()),
            None => process.spawn(),
        }
    }
}

/// The process group of a task.
pub(super) struct RunningGroup {
    group: Pid,
    /// The first process of the container of an image that the process group stands for.
    contained: Option<Process>,
}

impl RunningGroup {
    /// Starts a program as a user.
    pub(super) fn start(process: &mut Command, user: &TaskUser) -> io::Result<(Child, Self)> {
        let child = user.spawn(process)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = pid.ok_or_else(|| io::Error::other("the process has no number"))?;
        Ok((child, Self { group, contained: None }))
    }

    /// The process stands for a container with this first process.
    pub(super) fn of_container(self, contained: Option<Process>) -> Self {
        Self { contained, ..self }
    }

    /// Sends SIGTERM to the process group.
    pub(super) fn terminate(&self) {
        let _ = kill_process_group(self.group, Signal::TERM);
    }

    /// Sends SIGKILL to the process group, or to the container that it stands for: its end is that of the container.
    pub(super) fn kill(&self) {
        match self.contained.filter(Process::is_alive) {
            Some(contained) => contained.kill(),
            None => drop(kill_process_group(self.group, Signal::KILL)),
        }
    }
}

pub(super) fn program(command: &CommandInfo) -> io::Result<Command> {
    let empty = || io::Error::new(io::ErrorKind::InvalidInput, "the command is empty");
    if command.shell {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command.value.as_deref().ok_or_else(empty)?);
        return Ok(shell);
    }
    let named = command.value.as_deref().or(command.arguments.first().map(String::as_str));
    let mut program = Command::new(named.ok_or_else(empty)?);
    if let [first, rest @ ..] = command.arguments.as_slice() {
        program.arg0(first).args(rest);
    }
    Ok(program)
}

/// The words of a command: its program and the program's arguments.
pub(super) fn words(command: &CommandInfo) -> io::Result<Vec<String>> {
    let empty = || io::Error::new(io::ErrorKind::InvalidInput, "the command is empty");
    command_line(command).ok_or_else(empty)
}

/// Makes the process the leader of a new group.
pub(super) fn in_own_group(process: &mut Command) -> &mut Command {
    process.process_group(0)
}

/// The message of a command's exit, as in Mesos.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("Command exited with status {code}"),
        (None, Some(signal)) => format!("Command terminated with signal {}", signal_name(signal)),
        (None, None) => "Command ended in an unknown way".to_owned(),
    }
}

/// A signal's name as in the C library's `strsignal`.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        11 => "Segmentation fault",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        other => return format!("Unknown signal {other}"),
    };
    name.to_owned()
}

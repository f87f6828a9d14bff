//! The process that stands for a container below another: it starts the container's program, waits for it, has its input and
//! output, and outlives the agent, which reads from the container's directory how it ended.
//!
//! ```text
//!  agent ── starts ──▶ `supervise DIR`: records itself, listens, has the terminal or pipes, writes how it ended
//!                        └─ starts ──▶ `enter DIR`: joins the cgroups, leads a session, switches the user, execs the program
//!  agent ── attaches ─▶ DIR/streams, a socket with the frames of [`frames`]
//! ```
//!
//! A session in the container of an image joins the namespaces of that container's first process ([`within`]).
//!
//! Both keep the agent's user until `enter` switches it, and have none of the framework's variables until it execs the program.

pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod frames;
mod readers;
mod streams;
mod terminal;
mod within;

use std::{
    io::{self, Write},
    os::unix::{
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::setsid;

use crate::runtime::{
    cgroups::kill_below,
    containerizer::Streams,
    environment::PATH,
    process::{Process, boot_id, kill_session},
};
use config::Config;
use files::Files;
use streams::Switchboard;

/// How long processes may take to terminate after SIGKILL.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// The pause before it is looked again whether processes have terminated.
const DEATH_POLL: Duration = Duration::from_millis(5);

/// The exit code of a program that could not be started, as Mesos' containerizer has it.
const NOT_STARTED: u8 = 1;

/// Runs a container until its end. Its standard input is a socket of the agent's, which is told of the start; the container's
/// output goes to its own.
pub fn supervise(directory: &Path) -> ExitCode {
    let Err(error) = try_to_supervise(directory) else { return ExitCode::SUCCESS };
    // The agent reads why; an agent that is gone removes what did not start.
    let _ = Files::new(directory.to_owned()).write(files::FAILED, &error.to_string());
    ExitCode::FAILURE
}

fn try_to_supervise(directory: &Path) -> io::Result<()> {
    let files = Files::new(directory.to_owned());
    let config = Config::read(&files)?;
    // Signals to the agent's session are not for it. It may lead one already.
    let _ = setsid();
    let own = i32::try_from(std::process::id()).ok().and_then(Process::find);
    files.write_process(files::SUPERVISOR, own.ok_or(io::ErrorKind::NotFound)?, &boot_id())?;
    let mut command = Command::new(&config.binary);
    command.arg(ENTER_VERB[0]).arg(ENTER_VERB[1]).arg(directory).env_clear().env("PATH", PATH);
    let switchboard = match config.streams {
        Streams::Files => {
            command.stdin(Stdio::null());
            None
        }
        Streams::Attachable { terminal, is_session } => {
            Some(Switchboard::prepare(&files, &mut command, terminal, is_session, config.user.as_ref())?)
        }
    };
    let mut child = command.spawn()?;
    // The terminal or the pipes' ends are the child's now.
    drop(command);
    let process = i32::try_from(child.id()).ok().and_then(Process::find).ok_or(io::ErrorKind::NotFound)?;
    let told = files.write_process(files::RUNNING, process, &boot_id()).and_then(|()| tell_agent());
    if let Err(error) = told {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    let status = match switchboard {
        Some(switchboard) => {
            let running = switchboard.start(&mut child)?;
            let status = wait(&mut child, process, &config)?;
            running.finish(ExitStatus::from_raw(status).signal().is_some());
            status
        }
        None => wait(&mut child, process, &config)?,
    };
    files.write(files::ENDED, &status.to_string())
}

/// The words that make this program run [`enter`].
const ENTER_VERB: [&str; 2] = ["nested-container", "enter"];

/// Tells the agent that the container's program is about to run.
fn tell_agent() -> io::Result<()> {
    let mut agent = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    agent.write_all(b"\n")
}

/// Waits for the first process, and kills what it has left.
fn wait(child: &mut Child, process: Process, config: &Config) -> io::Result<i32> {
    let status = child.wait()?.into_raw();
    let deadline = Instant::now() + DEATH_MAX;
    while kill_session(process) + config.cgroups.iter().map(|cgroup| kill_below(cgroup)).sum::<usize>() > 0
        && Instant::now() < deadline
    {
        std::thread::sleep(DEATH_POLL);
    }
    Ok(status)
}

/// Becomes the program of a container. Returns only if that fails.
pub fn enter(directory: &Path) -> ExitCode {
    let error = match try_to_enter(directory) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("Failed to execute command: {error}");
    ExitCode::from(NOT_STARTED)
}

fn try_to_enter(directory: &Path) -> io::Result<std::convert::Infallible> {
    let config = Config::read(&Files::new(directory.to_owned()))?;
    for cgroup in &config.cgroups {
        // 0 is the process that writes.
        std::fs::write(cgroup.join("cgroup.procs"), "0").map_err(|error| {
            let why = format!("the cgroup {} cannot be entered: {error}", cgroup.display());
            io::Error::new(error.kind(), why)
        })?;
    }
    setsid()?;
    if let Streams::Attachable { terminal: Some(_), .. } = config.streams {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    if let Some(first) = config.enters {
        return within::run(first, &config);
    }
    if let Some(user) = &config.user {
        user.switch()?;
    }
    let [program, arguments @ ..] = config.arguments.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
    };
    Err(Command::new(program).args(arguments).env_clear().envs(config.environment).exec())
}

//! One process of a cluster under test: the binary with its arguments, an optional command prefix, and a log file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::{cluster::binary, program::wait_for};

/// The binary with SIGHUP at its default: below `nohup`, as some runners of tests are, a process ignores it.
pub fn binary_command() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(binary());
    command
}

/// How long a debug build on a busy machine may take until its ready line.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// How long a stop may take, the Pods' grace periods included.
const STOP_DEADLINE: Duration = Duration::from_secs(90);

/// A process of the cluster.
pub struct Member {
    name: String,
    arguments: Vec<String>,
    /// Command prefix, as `ip netns exec NAME`.
    starter: Vec<String>,
    log: PathBuf,
    process: Option<Child>,
}

impl Member {
    /// A member that does not run yet.
    pub fn new(name: &str, directory: &Path, arguments: Vec<String>, starter: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            arguments,
            starter,
            log: directory.join(format!("{name}.log")),
            process: None,
        }
    }

    /// The name in the test.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its complete output.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last 40 lines of its output.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- {}\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// Its process id; `None` if it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Adds arguments for the next start.
    pub fn add_arguments(&mut self, extra: &[&str]) {
        self.arguments.extend(extra.iter().map(|argument| (*argument).to_owned()));
    }

    /// Starts it (again) and waits for the ready line of this start.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let before = self.log().len();
        self.spawn()?;
        self.wait_until_ready(before)
    }

    /// Starts it (again) and waits for its first line of output only; from then on it handles signals.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        let before = self.log().len();
        self.spawn()?;
        wait_for("its first output", READY_DEADLINE, || Ok((self.log().len() > before).then_some(())))
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = match self.starter.split_first() {
            None => binary_command(),
            Some((starter, arguments)) => {
                let mut command = Command::new(starter);
                let ours = binary_command();
                command.args(arguments).arg(ours.get_program()).args(ours.get_args());
                command
            }
        };
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("could not start {}", self.name))?;
        self.process = Some(process);
        Ok(())
    }

    fn wait_until_ready(&mut self, before: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let said = self.log().split_off(before);
            if said.lines().any(|line| line.starts_with("ready: ")) {
                return Ok(());
            }
            let process = self.process.as_mut().expect("invariant: `spawn` has set the process");
            if let Some(status) = process.try_wait()? {
                bail!("{} ended with {status} before it was ready:\n{said}", self.name);
            }
            if start.elapsed() > READY_DEADLINE {
                bail!("{}: no ready line after {READY_DEADLINE:?}:\n{said}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it with SIGINT; it must exit with success.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.stop_by(Signal::INT, &[])
    }

    /// Stops it with a signal, sent again after each pause; it must exit with success.
    pub fn stop_by(&mut self, signal: Signal, again_after: &[Duration]) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        send(process.id(), signal);
        for pause in again_after {
            std::thread::sleep(*pause);
            if process.try_wait()?.is_none() {
                send(process.id(), signal);
            }
        }
        let status = wait_for(&format!("{} to stop", self.name), STOP_DEADLINE, || Ok(process.try_wait()?));
        if status.is_err() {
            process.kill()?;
            process.wait()?;
        }
        let status = status.with_context(|| self.tail())?;
        if !status.success() {
            bail!("after {signal:?} {} ended with {status}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

/// Sends a signal to a process that may have ended.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended in the meantime.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

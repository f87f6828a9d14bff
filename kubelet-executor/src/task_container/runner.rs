//! The process that stands for one container: starts it, copies its output, passes signals on, ends with its exit code.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use cri::v1;
use executor_core::image_name;
use rustix::{
    fs::{Gid, Uid, chown},
    process::{Pid, Signal, kill_process},
};
use tokio_util::sync::CancellationToken;

use super::{Files, TaskContainer, cri_config, described, output::Output, repeated::Repeated, socket};
use crate::{config::Config, pod::sandbox_config::Resolver, runtime::Runtime, stop_signals::stop_signals};

/// The exit code if the container was not started, or its exit code is not known; as of `docker run`.
const NOT_RUN: u8 = 125;
/// How often the log and the first process are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long an ended container may take to say its exit code: a runtime that is being restarted answers in seconds.
const EXIT_TIMEOUT: Duration = Duration::from_secs(40);
/// Pause between two questions for it.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
enum RunnerError {
    #[error("the container's file: {0}")]
    Files(#[source] io::Error),
    #[error("another process runs this container")]
    Twice,
    #[error("invalid image name '{0}': {1}")]
    ImageName(String, String),
    #[error("Failed to pull image '{0}': {1}")]
    Pull(String, String),
    #[error("Failed to create the container: {0}")]
    Create(String),
    #[error("Failed to start the container: {0}")]
    Start(String),
    #[error("The container was stopped before it was started")]
    Stopped,
    #[error("cannot install signal handlers: {0}")]
    Signals(#[source] io::Error),
}

/// Runs the container of this id, which was prepared, until it ends. Returns its exit code.
pub async fn run(config: &Config, id: &str) -> u8 {
    let files = Files::of(config, id);
    match run_locked(config, &files).await {
        Ok(code) => code,
        Err(error) => {
            // Whoever waits for the container reads it there; the task's user, in the task's output.
            if let Err(unwritten) = files.write(&files.failed(), &error.to_string()) {
                tracing::warn!(%unwritten, "cannot write why a container was not started");
            }
            tracing::error!("{error}");
            NOT_RUN
        }
    }
}

async fn run_locked(config: &Config, files: &Files) -> Result<u8, RunnerError> {
    let _lock = files.lock().map_err(RunnerError::Files)?.ok_or(RunnerError::Twice)?;
    let container = files.read().map_err(RunnerError::Files)?;
    let stop = stop_signals().map_err(RunnerError::Signals)?;
    let client = cri::Client::new(&socket(config)).map_err(|error| RunnerError::Create(error.message))?;
    let runner = Runner { config, files, container, client };
    let started = runner.start(&stop).await?;
    Ok(runner.watch(started, &stop).await)
}

struct Runner<'a> {
    config: &'a Config,
    files: &'a Files,
    container: TaskContainer,
    client: cri::Client,
}

/// A container that was started.
struct Started {
    id: String,
    first: Option<FirstProcess>,
}

impl Runner<'_> {
    async fn start(&self, stop: &CancellationToken) -> Result<Started, RunnerError> {
        let resolver = Resolver::of_machine();
        let sandbox_config = cri_config::sandbox(self.config, &self.container, &resolver);
        let image = tokio::select! {
            image = self.image(&sandbox_config, stop) => image?,
            () = stop.cancelled() => return Err(RunnerError::Stopped),
        };
        let repeated = Repeated::new(&self.client, stop);
        let own = repeated.call(|| described::image_config(&self.client, &image.id)).await;
        let own = own.map_err(|error| RunnerError::Create(error.message))?;
        let container_config = cri_config::container(self.config, &self.container, &image.id, &own);
        // Calls that create something are waited for: the runtime would go on without the caller.
        let created = repeated.create(&self.container.id, &sandbox_config, &container_config).await;
        let (sandbox, id) = created.map_err(|error| RunnerError::Create(error.message))?;
        if self.container.user.is_none()
            && let Ok(Some(uid)) = repeated.call(|| described::user(&self.client, &id)).await
        {
            self.give_sandbox(uid);
        }
        if stop.is_cancelled() {
            return Err(RunnerError::Stopped);
        }
        repeated.start(&id).await.map_err(|error| RunnerError::Start(error.message))?;
        let first = repeated.call(|| described::pid(&self.client, &id)).await;
        let first = first.ok().flatten().and_then(FirstProcess::find);
        self.tell(&sandbox, first).await;
        Ok(Started { id, first })
    }

    /// The image, which is pulled if it is not on the node.
    async fn image(
        &self,
        sandbox: &v1::PodSandboxConfig,
        stop: &CancellationToken,
    ) -> Result<v1::Image, RunnerError> {
        let name = &self.container.image;
        image_name::parse(name).map_err(|why| RunnerError::ImageName(name.clone(), why))?;
        let failed = |error: cri::Error| RunnerError::Pull(name.clone(), error.message);
        let repeated = Repeated::new(&self.client, stop);
        let present = repeated.call(|| self.client.image(name)).await.map_err(failed)?;
        // Images that were built on this machine have no registry.
        let is_pulled = self.container.force_pull && !name.starts_with("localhost/catamaran/");
        if let Some(present) = present.filter(|_| !is_pulled) {
            return Ok(present);
        }
        // A pull can take longer than the runtime may be away.
        let repeated = Repeated::new(&self.client, stop);
        repeated.call(|| self.client.pull(name, None, sandbox.clone())).await.map_err(failed)?;
        let repeated = Repeated::new(&self.client, stop);
        let pulled = repeated.call(|| self.client.image(name)).await.map_err(failed)?;
        pulled.ok_or_else(|| RunnerError::Pull(name.clone(), "the pulled image does not exist".to_owned()))
    }

    /// Gives the sandbox, and its directories that are mounted elsewhere, to the image's user, who could write nothing there
    /// otherwise.
    fn give_sandbox(&self, uid: u32) {
        let sandbox = &self.container.sandbox.host_path;
        let within = self.container.mounts.iter().map(|mount| &mount.host_path);
        for path in std::iter::once(sandbox).chain(within.filter(|path| path.starts_with(sandbox))) {
            // The container has not run, so nobody has put a link there.
            if let Err(error) = chown(path, Some(Uid::from_raw(uid)), None::<Gid>) {
                tracing::warn!(%error, uid, path = %path.display(), "a directory is not the container's");
            }
        }
    }

    /// Says that the container runs.
    async fn tell(&self, sandbox: &str, first: Option<FirstProcess>) {
        let mut address = String::new();
        if self.container.ports.is_some()
            && let Ok(status) = self.client.sandbox_status(sandbox).await
        {
            address = status.network.unwrap_or_default().ip;
        }
        let pid = first.map_or(0, |first| first.pid);
        if let Err(error) = self.files.write(&self.files.running(), &format!("{pid} {address}\n")) {
            tracing::error!(%error, "cannot write that the container runs");
        }
    }

    /// Waits for the end and returns the exit code.
    async fn watch(&self, started: Started, stop: &CancellationToken) -> u8 {
        let mut output = Output::new(self.files.directory.join(Files::LOG));
        let mut is_told = false;
        while self.runs(&started).await {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stop.cancelled(), if !is_told => {
                    is_told = true;
                    self.terminate(&started).await;
                }
            }
            self.copy(&mut output, &started.id).await;
        }
        let status = self.exit_status(&started.id).await;
        self.copy(&mut output, &started.id).await;
        let Some(status) = status else {
            tracing::error!("the runtime does not say how the container ended");
            return NOT_RUN;
        };
        if status.reason == "OOMKilled"
            && let Err(error) = self.files.write(&self.files.exceeded(), "")
        {
            tracing::error!(%error, "cannot write that the container exceeded its memory");
        }
        u8::try_from(status.exit_code).unwrap_or(u8::MAX)
    }

    async fn runs(&self, started: &Started) -> bool {
        match started.first {
            Some(first) => first.is_alive(),
            // Its end is not known to the runtime yet, or the runtime does not say.
            None => match Runtime::container_status(&self.client, &started.id).await {
                Ok(status) => status.state == v1::ContainerState::ContainerRunning as i32,
                Err(error) => error.is_unavailable(),
            },
        }
    }

    /// Sends SIGTERM to the container's first process, without the runtime, which may be away.
    async fn terminate(&self, started: &Started) {
        match started.first {
            Some(first) => first.signal(Signal::TERM),
            None => {
                // Whoever wants it to end sooner kills it.
                let stopped = self.client.stop(&started.id, EXIT_TIMEOUT).await;
                if let Err(error) = stopped {
                    tracing::warn!(%error, "cannot stop the container");
                }
            }
        }
    }

    async fn copy(&self, output: &mut Output, id: &str) {
        let (mut out, mut errors) = (io::stdout(), io::stderr());
        let mut copied = output.copy(&mut out, &mut errors);
        if copied.is_ok() && output.is_large() {
            copied = output.move_aside();
            if copied.is_ok() {
                match self.client.reopen_log(id).await {
                    Ok(()) => copied = output.discard_old(&mut out, &mut errors),
                    // It has ended.
                    Err(_) => output.move_back(),
                }
            }
        }
        if let Err(error) = copied {
            tracing::error!(%error, "cannot copy the container's output");
        }
    }

    /// The status of an ended container, once the runtime has it.
    async fn exit_status(&self, id: &str) -> Option<v1::ContainerStatus> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while Instant::now() < deadline {
            match Runtime::container_status(&self.client, id).await {
                Ok(status) if status.state == v1::ContainerState::ContainerExited as i32 => {
                    return Some(status);
                }
                Err(error) if error.is_not_found() => return None,
                Ok(_) | Err(_) => tokio::time::sleep(EXIT_POLL_INTERVAL).await,
            }
        }
        None
    }
}

/// The first process of a container on the machine, unique since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FirstProcess {
    pid: i32,
    /// In ticks since boot.
    started: u64,
}

impl FirstProcess {
    fn find(pid: i32) -> Option<Self> {
        Some(Self { pid, started: start_of(pid)? })
    }

    fn is_alive(self) -> bool {
        start_of(self.pid) == Some(self.started)
    }

    fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// When a process was started; `None` if there is none, or one that has ended.
fn start_of(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name in parentheses can contain anything; the fields follow the last parenthesis.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let process = FirstProcess::find(own).unwrap();
        assert!(process.is_alive());
        assert!(!FirstProcess { started: process.started + 1, ..process }.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let ended = FirstProcess::find(pid);
        child.wait().unwrap();
        assert!(!ended.is_some_and(FirstProcess::is_alive));
    }
}

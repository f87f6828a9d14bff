//! The directory of a container below another, which the agent and the container's supervisor share.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use crate::runtime::process::Process;

/// What the supervisor is to do.
pub(crate) const CONFIG: &str = "config";
/// The supervisor itself.
pub(crate) const SUPERVISOR: &str = "supervisor";
/// The container's first process.
pub(crate) const RUNNING: &str = "running";
/// Why there is none.
pub(crate) const FAILED: &str = "failed";
/// The status that the first process has ended with, in decimal.
pub(crate) const ENDED: &str = "ended";
/// How the container has ended, by the agent.
pub(crate) const TERMINATION: &str = "termination";
/// The socket.
const STREAMS: &str = "streams";
/// The directory of the containers below.
pub(crate) const CONTAINERS: &str = "containers";

/// The files of a container.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.directory.join(name))
    }

    /// Removes what is left of an earlier container, but not of those below it.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for name in [CONFIG, SUPERVISOR, RUNNING, FAILED, ENDED, TERMINATION, STREAMS] {
            match fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Writes a file in one step. The directory must exist.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let temporary = self.directory.join(format!(".{name}"));
        fs::write(&temporary, text)?;
        fs::rename(&temporary, self.directory.join(name))
    }

    pub(crate) fn write_process(&self, name: &str, process: Process, boot: &str) -> io::Result<()> {
        let note = json!({ "pid": process.pid, "started": process.started, "boot": boot });
        self.write(name, &note.to_string())
    }

    /// A recorded process, unless it was of an earlier boot.
    pub(crate) fn process(&self, name: &str, boot: &str) -> Option<Process> {
        let note: Value = serde_json::from_str(&self.read(name).ok()?).ok()?;
        if note["boot"].as_str()? == boot { Process::of_json(&note) } else { None }
    }

    /// The path of the socket, which is short however long that of the directory is, as addresses of sockets must be. It is good
    /// while the returned descriptor is open.
    pub(crate) fn socket(&self) -> io::Result<(PathBuf, OwnedFd)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty())?;
        Ok((format!("/proc/self/fd/{}/{STREAMS}", directory.as_raw_fd()).into(), directory))
    }
}

//! The file `running.json`: what the process that has locked a data directory serves, for the verbs that ask it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use shim_pki::directory;

use super::DataDirectory;

/// What a process serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningProcess {
    /// `up`, `server` or `agent`.
    pub verb: String,
    pub version: String,
    pub pid: u32,
    /// Seconds since 1970.
    pub started_at: u64,
    /// Base URL of the Kubernetes API.
    pub api: Option<String>,
    pub kubeconfig: Option<PathBuf>,
    /// Address of the Mesos master that clients of this machine use.
    pub master: Option<String>,
    /// Address of the agent's Mesos API.
    pub agent: Option<SocketAddr>,
    /// The name of the Node.
    pub node: Option<String>,
    /// The file with the credentials of the Mesos APIs.
    pub credentials: PathBuf,
}

impl RunningProcess {
    /// A process of this verb that serves nothing yet.
    pub fn new(verb: &str, credentials: &Path) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let credentials = std::path::absolute(credentials).unwrap_or_else(|_| credentials.to_owned());
        Self {
            verb: verb.to_owned(),
            version: crate::build::VERSION.clone(),
            pid: std::process::id(),
            started_at: since.as_secs(),
            api: None,
            kubeconfig: None,
            master: None,
            agent: None,
            node: None,
            credentials,
        }
    }

    /// Writes the file, which is valid for as long as the directory is locked.
    pub fn write(&self, data: &DataDirectory) -> anyhow::Result<()> {
        let Self { verb, version, pid, api, master, agent, node, .. } = self;
        let (api, master, node) = (api.as_deref(), master.as_deref(), node.as_deref());
        let agent = agent.map(|address| address.to_string());
        tracing::info!(verb, version, pid, api, master, agent, node, data_dir = %data.path().display(), "catamaran started");
        let text = serde_json::to_string_pretty(self)?;
        Ok(directory::write_private(&file(data.path()), &format!("{text}\n"))?)
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("running.json")
}

/// Whether a process has locked the data directory.
pub fn is_locked(data: &Path) -> bool {
    let lock = std::fs::File::options().read(true).write(true).open(data.join("lock"));
    match lock {
        // Shared, so that two that look do not see each other. The lock is released with the file.
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockShared).is_err(),
        // That of another user; what follows says that it cannot be read.
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// The process that runs in a data directory; `None` if none does.
pub fn of(data: &Path) -> anyhow::Result<Option<RunningProcess>> {
    if !is_locked(data) {
        return Ok(None);
    }
    let path = file(data);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // It has not come so far yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// The data directory that a verb means: the given one, or the first default one in which something runs, or that exists.
pub fn choose(given: Option<&Path>) -> PathBuf {
    const DEFAULTS: [&str; 2] = ["/var/lib/catamaran", "/var/lib/catamaran-agent"];
    let defaults = || DEFAULTS.iter().map(Path::new);
    let chosen = given
        .or_else(|| defaults().find(|path| is_locked(path)))
        .or_else(|| defaults().find(|path| path.join("format").exists()))
        .unwrap_or(Path::new(DEFAULTS[0]));
    std::path::absolute(chosen).unwrap_or_else(|_| chosen.to_owned())
}

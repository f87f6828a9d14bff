//! A container: its first process, and the record that lets a later agent recognise it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kernel_core::agent::LinkedVolume;
use kernel_model::ids::ContainerId;
use tokio_util::sync::CancellationToken;

use super::{
    process::{Process, boot_id},
    sandbox::Paths,
};

/// A container: one run of an executor.
#[derive(Debug)]
pub(crate) struct Container {
    /// `None` while it is being started.
    process: Option<Process>,
    sandbox: Option<PathBuf>,
    keeps_children: bool,
    /// Cancelled once it is to be destroyed.
    destroyed: CancellationToken,
    /// Whether its process was, or is about to be, allowed to exec: it may have run.
    opened: bool,
    /// To be linked in its sandbox when that exists.
    volumes: Vec<LinkedVolume>,
}

impl Container {
    pub(crate) fn new(keeps_children: bool) -> Self {
        let destroyed = CancellationToken::new();
        Self { process: None, sandbox: None, keeps_children, destroyed, opened: false, volumes: Vec::new() }
    }

    pub(crate) fn started(&mut self, process: Process, sandbox: PathBuf) {
        self.process = Some(process);
        self.sandbox = Some(sandbox);
    }

    /// Its sandbox, once its process waits there.
    pub(crate) fn sandbox(&self) -> Option<&Path> {
        self.sandbox.as_deref()
    }

    pub(crate) fn link_later(&mut self, volumes: Vec<LinkedVolume>) {
        self.volumes = volumes;
    }

    pub(crate) fn take_volumes(&mut self) -> Vec<LinkedVolume> {
        std::mem::take(&mut self.volumes)
    }

    pub(crate) fn process(&self) -> Option<Process> {
        self.process
    }

    /// Whether its children survive it, as for respawned executors.
    pub(crate) fn keeps_children(&self) -> bool {
        self.keeps_children
    }

    pub(crate) fn open(&mut self) {
        self.opened = true;
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.opened
    }

    /// Ends its start, if that is in progress.
    pub(crate) fn destroy(&self) {
        self.destroyed.cancel();
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.is_cancelled()
    }

    /// Is cancelled by [`Container::destroy`].
    pub(crate) fn destruction(&self) -> CancellationToken {
        self.destroyed.clone()
    }
}

/// Records a started container. Its process does not exec before this is done, so no unknown process can run. The
/// record is not synced: if the machine crashes, the process is lost too.
pub(crate) fn record(paths: &Paths, container_id: &ContainerId, container: &Container) -> io::Result<()> {
    let Some(process) = container.process else { return Ok(()) };
    let dir = paths.containers();
    fs::create_dir_all(&dir)?;
    let note = serde_json::json!({
        "boot": boot_id(),
        "pid": process.pid,
        "started": process.started,
        "keeps_children": container.keeps_children,
        "opened": container.opened,
        "sandbox": container.sandbox,
    });
    let temporary = dir.join(format!(".{container_id}"));
    fs::write(&temporary, note.to_string())?;
    fs::rename(&temporary, dir.join(container_id.as_str()))
}

/// Removes the record of a container.
pub(crate) fn forget(paths: &Paths, container_id: &ContainerId) {
    let _ = fs::remove_file(paths.containers().join(container_id.as_str()));
}

/// The recorded containers. Those of an earlier boot have no process.
pub(crate) fn recorded(paths: &Paths) -> Vec<(ContainerId, Container)> {
    let Ok(entries) = fs::read_dir(paths.containers()) else { return Vec::new() };
    let boot = boot_id();
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') {
            let _ = fs::remove_file(&path);
            continue;
        }
        let unreadable = || Container { opened: true, ..Container::new(true) };
        all.push((ContainerId::from(name), read(&path, &boot).unwrap_or_else(unreadable)));
    }
    all
}

fn read(path: &Path, boot: &str) -> Option<Container> {
    let note: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let pid = i32::try_from(note["pid"].as_i64()?).ok()?;
    let process = Process { pid, started: note["started"].as_u64()? };
    let mut container = Container::new(note["keeps_children"].as_bool()?);
    container.opened = note["opened"].as_bool()?;
    if note["boot"].as_str()? == boot {
        container.started(process, note["sandbox"].as_str()?.into());
    }
    Some(container)
}

//! A running container: its first process, and the record of an outermost one that lets a later agent recognise it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kernel_model::ids::ContainerId;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    cgroups::MemoryExceeded,
    containerizer::{Status, Surroundings, Termination},
    process::{Process, boot_id},
    sandbox::Paths,
};

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(super) process: Process,
    pub(super) sandbox: PathBuf,
    /// Whether its children survive it, as those of respawned executors.
    pub(super) keeps_children: bool,
    /// Whether its process was, or is about to be, allowed to exec: it may have run.
    pub(super) opened: bool,
    pub(super) surroundings: Surroundings,
    /// The process that waits for the first one and has its input and output, of a container below another.
    pub(super) supervisor: Option<Supervisor>,
    /// The memory limit that the container above was killed for.
    pub(super) exceeded_above: Option<MemoryExceeded>,
    /// Set when no process of it is left.
    pub(super) ended: watch::Sender<Option<Termination>>,
}

/// See [`Container::supervisor`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Supervisor {
    pub(super) process: Process,
    pub(super) is_attachable: bool,
}

/// What is recorded of an outermost container.
pub(super) struct Recorded {
    /// `None` if it was of an earlier boot of the machine, or is not known.
    pub(super) container: Option<Container>,
    pub(super) opened: bool,
}

impl Container {
    pub(super) fn new(process: Process, sandbox: &Path, surroundings: Surroundings) -> Self {
        Self {
            process,
            sandbox: sandbox.to_owned(),
            keeps_children: false,
            opened: false,
            surroundings,
            supervisor: None,
            exceeded_above: None,
            ended: watch::Sender::new(None),
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            process: self.process,
            sandbox: self.sandbox.clone(),
            keeps_children: self.keeps_children,
            is_supervised: self.supervisor.is_some(),
            surroundings: self.surroundings.clone(),
        }
    }
}

/// Records a started container. Its process does not exec before this is done, so no unknown process can run. The
/// record is not synced: if the machine crashes, the process is lost too.
pub(super) fn record(paths: &Paths, container_id: &ContainerId, container: &Container) -> io::Result<()> {
    let dir = paths.containers();
    fs::create_dir_all(&dir)?;
    let note = json!({
        "boot": boot_id(),
        "pid": container.process.pid,
        "started": container.process.started,
        "keeps_children": container.keeps_children,
        "opened": container.opened,
        "sandbox": container.sandbox,
        "surroundings": container.surroundings.to_json(),
    });
    let temporary = dir.join(format!(".{container_id}"));
    fs::write(&temporary, note.to_string())?;
    fs::rename(&temporary, dir.join(container_id.as_str()))
}

/// Removes the record of a container.
pub(crate) fn forget(paths: &Paths, container_id: &ContainerId) {
    let _ = fs::remove_file(paths.containers().join(container_id.as_str()));
}

/// The recorded containers.
pub(super) fn recorded(paths: &Paths) -> Vec<(ContainerId, Recorded)> {
    let Ok(entries) = fs::read_dir(paths.containers()) else { return Vec::new() };
    let boot = boot_id();
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') {
            let _ = fs::remove_file(&path);
            continue;
        }
        let unreadable = || Recorded { container: None, opened: true };
        all.push((ContainerId::from(name), read(&path, &boot).unwrap_or_else(unreadable)));
    }
    all
}

fn read(path: &Path, boot: &str) -> Option<Recorded> {
    let note: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let process = Process::of_json(&note)?;
    let opened = note["opened"].as_bool()?;
    let keeps_children = note["keeps_children"].as_bool()?;
    if note["boot"].as_str()? != boot {
        return Some(Recorded { container: None, opened });
    }
    // Earlier versions recorded no surroundings.
    let surroundings = Surroundings::of_json(&note["surroundings"]).unwrap_or_default();
    let container = Container::new(process, Path::new(note["sandbox"].as_str()?), surroundings);
    Some(Recorded { container: Some(Container { keeps_children, opened, ..container }), opened })
}

impl Surroundings {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "user": self.user,
            "environment": self.environment,
            "directory": self.directory,
            "in_image": self.in_image,
        })
    }

    pub(crate) fn of_json(value: &Value) -> Option<Self> {
        Some(Self {
            user: value["user"].as_str()?.to_owned(),
            environment: pairs(&value["environment"])?,
            directory: value["directory"].as_str()?.into(),
            in_image: value["in_image"].as_bool()?,
        })
    }
}

/// Pairs of texts, as variables are recorded.
pub(crate) fn pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array()?.iter().map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
}

//! Paths below an agent's work directory: sandboxes in Mesos' layout, and the runtime's records.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use kernel_model::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, is_legal};

/// How long the sandbox of a terminated executor is kept (Mesos' `--gc_delay`).
pub(crate) const SANDBOX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Clone)]
pub(crate) struct Paths {
    work_dir: PathBuf,
}

impl Paths {
    pub(crate) fn new(work_dir: PathBuf) -> Self {
        Self { work_dir }
    }

    /// The directory of an executor's runs; `None` for ids that cannot name a directory.
    pub(crate) fn runs(
        &self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) -> Option<PathBuf> {
        let parts = [agent_id.as_str(), framework_id.as_str(), executor_id.as_str()];
        if !parts.into_iter().all(is_legal) {
            return None;
        }
        let [agent, framework, executor] = parts;
        let below = ["slaves", agent, "frameworks", framework, "executors", executor, "runs"];
        Some(self.work_dir.join(below.iter().collect::<PathBuf>()))
    }

    /// The directory with one record per container.
    pub(crate) fn containers(&self) -> PathBuf {
        self.work_dir.join("meta").join("containers")
    }

    pub(crate) fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Removes the sandboxes of old runs.
    pub(crate) fn collect_garbage(&self, now: SystemTime, is_live: impl Fn(&str) -> bool) {
        for runs in self.all_runs() {
            for run in entries(&runs).filter(|run| run.is_dir() && !run.is_symlink()) {
                let name = run.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let modified = run.metadata().and_then(|metadata| metadata.modified());
                let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
                if !is_live(name) && age.is_some_and(|age| age > SANDBOX_AGE_MAX) {
                    let _ = fs::remove_dir_all(&run);
                }
            }
        }
    }

    fn all_runs(&self) -> Vec<PathBuf> {
        let mut level = vec![self.work_dir.join("slaves")];
        for below in ["frameworks", "executors", "runs"] {
            level = level.iter().flat_map(|dir| entries(dir)).map(|entry| entry.join(below)).collect();
        }
        level
    }
}

/// Creates the sandbox of a run, and points `latest` to it.
pub(crate) fn create(runs: &Path, container_id: &ContainerId) -> io::Result<PathBuf> {
    let sandbox = runs.join(container_id.as_str());
    fs::create_dir_all(&sandbox)?;
    let latest = runs.join("latest");
    let temporary = runs.join(format!(".latest-{container_id}"));
    symlink(&sandbox, &temporary)?;
    fs::rename(&temporary, &latest)?;
    Ok(sandbox)
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

//! Cgroups of containers: CPU weight and memory limit as set by Mesos' isolators, on cgroup v1 and v2.
//!
//! If cgroups cannot be written, one warning says so, and containers run without limits.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use kernel_core::agent::Limits;
use kernel_model::{ids::ContainerId, resources::Scalar, task::Reason};

/// The parent of our cgroups, below the root of each hierarchy.
const PARENT: &str = "catamaran";

/// CPU shares per CPU (Mesos' `CPU_SHARES_PER_CPU`).
const SHARES_PER_CPU: i64 = 1024;

/// Linux' minimum of CPU shares.
const SHARES_MIN: i64 = 2;

/// The minimum of a memory limit (Mesos' `MIN_MEMORY`).
const MEMORY_MIB_MIN: i64 = 32;

/// An empty cgroup of this age is abandoned.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// The cgroup version of this machine.
#[derive(Debug, Clone)]
pub(crate) enum Cgroups {
    /// One hierarchy per controller. `cpuacct` may be missing.
    V1 { cpu: PathBuf, memory: PathBuf, cpuacct: Option<PathBuf> },
    /// The unified hierarchy.
    V2 { root: PathBuf },
}

/// The resource usage of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) memory_bytes: u64,
}

/// Removes the parent cgroups that a killed agent has left, unless something still runs in them.
pub(crate) fn remove_empty_parents() {
    let root = Path::new("/sys/fs/cgroup");
    for controller in ["", "cpu", "memory", "cpuacct"] {
        // Most of them do not exist.
        let _ = fs::remove_dir(root.join(controller).join(PARENT));
    }
}

impl Cgroups {
    /// Detects a writable cgroup hierarchy, and logs which.
    pub(crate) fn detect() -> Option<Self> {
        match Self::detect_below(Path::new("/sys/fs/cgroup")) {
            Ok(found) => {
                tracing::info!(layout = found.name(), "tasks run in cgroups");
                Some(found)
            }
            Err(error) => {
                tracing::warn!(%error, "cgroups cannot be written: tasks run without limits");
                None
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Cgroups::V1 { .. } => "v1",
            Cgroups::V2 { .. } => "v2",
        }
    }

    fn detect_below(root: &Path) -> io::Result<Self> {
        if let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) {
            let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
            if !has("cpu") || !has("memory") {
                return Err(io::Error::other("the controllers cpu and memory are not there"));
            }
            let found = Cgroups::V2 { root: root.join(PARENT) };
            found.open()?;
            return Ok(found);
        }
        let accounting = root.join("cpuacct");
        let found = Cgroups::V1 {
            cpu: root.join("cpu").join(PARENT),
            memory: root.join("memory").join(PARENT),
            cpuacct: accounting.join("cpuacct.usage").exists().then(|| accounting.join(PARENT)),
        };
        found.open()?;
        Ok(found)
    }

    /// Creates the parent cgroup. Repeated before each container, because another agent of this machine may have
    /// removed it.
    fn open(&self) -> io::Result<()> {
        for root in self.roots().into_iter().filter(|root| !root.is_dir()) {
            fs::create_dir_all(root)?;
        }
        let Cgroups::V2 { root } = self else { return Ok(()) };
        for directory in root.parent().into_iter().chain([root.as_path()]) {
            let enabled = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
            let has = |name: &str| enabled.split_whitespace().any(|controller| controller == name);
            if !has("cpu") || !has("memory") {
                fs::write(directory.join("cgroup.subtree_control"), "+cpu +memory")?;
            }
        }
        Ok(())
    }

    /// Removes the parent cgroup, unless it is in use by running containers or another agent.
    pub(crate) fn close(&self) {
        for root in self.roots() {
            if let Err(error) = fs::remove_dir(root) {
                tracing::debug!(cgroup = %root.display(), %error, "cgroup not removed");
            }
        }
    }

    fn roots(&self) -> Vec<&PathBuf> {
        match self {
            Cgroups::V1 { cpu, memory, cpuacct } => [cpu, memory].into_iter().chain(cpuacct).collect(),
            Cgroups::V2 { root } => vec![root],
        }
    }

    fn directories(&self, container_id: &ContainerId) -> Vec<PathBuf> {
        self.roots().into_iter().map(|root| root.join(container_id.as_str())).collect()
    }

    /// Creates a container's cgroups and moves its first process into them. On failure it runs without limits.
    pub(crate) fn create(&self, container_id: &ContainerId, pid: i32, limits: Limits) {
        if let Err(error) = self.open() {
            tracing::warn!(%error, "the parent cgroup cannot be created");
        }
        for directory in self.directories(container_id) {
            let made = fs::create_dir_all(&directory);
            let entered = made.and_then(|()| fs::write(directory.join("cgroup.procs"), pid.to_string()));
            if let Err(error) = entered {
                tracing::warn!(cgroup = %directory.display(), %error, "container runs outside of a cgroup");
            }
        }
        self.limit(container_id, limits);
    }

    /// Sets the limits of a container.
    pub(crate) fn limit(&self, container_id: &ContainerId, limits: Limits) {
        let shares = (limits.cpus.0 * SHARES_PER_CPU / 1000).max(SHARES_MIN);
        let memory_bytes = limits.mem_mib.max(Scalar::from_units(MEMORY_MIB_MIN)).0 * 1024 * 1024 / 1000;
        let limited = limits.mem_mib > Scalar::ZERO;
        let id = container_id.as_str();
        let result = match self {
            Cgroups::V1 { cpu, memory, .. } => fs::write(cpu.join(id).join("cpu.shares"), shares.to_string())
                .and_then(|()| {
                    let bytes = if limited { memory_bytes } else { -1 };
                    fs::write(memory.join(id).join("memory.limit_in_bytes"), bytes.to_string())
                }),
            Cgroups::V2 { root } => {
                // Linux' mapping of shares (2…262144) to weights (1…10000).
                let weight = 1 + (shares.min(262_144) - 2) * 9999 / 262_142;
                fs::write(root.join(id).join("cpu.weight"), weight.to_string()).and_then(|()| {
                    let bytes = if limited { memory_bytes.to_string() } else { "max".to_owned() };
                    fs::write(root.join(id).join("memory.max"), bytes)
                })
            }
        };
        if let Err(error) = result {
            tracing::warn!(container = %container_id, %error, "cannot set the limits of a container");
        }
    }

    /// Kills every process in a container's cgroups; returns how many there were.
    pub(crate) fn kill(&self, container_id: &ContainerId) -> usize {
        let mut killed = 0;
        for directory in self.directories(container_id) {
            let Ok(pids) = fs::read_to_string(directory.join("cgroup.procs")) else { continue };
            for pid in pids.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                killed += 1;
            }
        }
        killed
    }

    /// Kills remaining processes and removes the cgroups.
    pub(crate) fn remove(&self, container_id: &ContainerId, deadline: Instant) {
        for directory in self.directories(container_id) {
            while let Err(error) = fs::remove_dir(&directory) {
                if error.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if Instant::now() >= deadline {
                    tracing::warn!(cgroup = %directory.display(), %error, "cannot remove a cgroup");
                    break;
                }
                self.kill(container_id);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Removes abandoned cgroups of agents that never came back: those without processes that are not new.
    pub(crate) fn sweep(&self, now: SystemTime) {
        for path in
            self.roots().into_iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path())
        {
            let made = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
            let age = made.and_then(|made| now.duration_since(made).ok()).unwrap_or_default();
            if path.is_dir() && age > ABANDONED_AFTER {
                // Linux refuses to remove a cgroup with processes.
                let _ = fs::remove_dir(&path);
            }
        }
    }

    /// Whether the OOM killer killed a process of the container, and the message for that.
    pub(crate) fn memory_exceeded(&self, container_id: &ContainerId) -> Option<(Reason, String)> {
        let id = container_id.as_str();
        let (events, limit) = match self {
            Cgroups::V1 { memory, .. } => {
                (memory.join(id).join("memory.oom_control"), memory.join(id).join("memory.limit_in_bytes"))
            }
            Cgroups::V2 { root } => (root.join(id).join("memory.events"), root.join(id).join("memory.max")),
        };
        let events = fs::read_to_string(events).ok()?;
        let kills: u64 =
            events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())?;
        let limit: u64 = fs::read_to_string(limit).ok()?.trim().parse().unwrap_or(0);
        let message = format!("Memory limit exceeded: the container may use {} MB", limit / (1024 * 1024));
        (kills > 0).then_some((Reason::ContainerLimitationMemory, message))
    }

    /// The resource usage of a container.
    pub(crate) fn usage(&self, container_id: &ContainerId) -> Option<Usage> {
        let id = container_id.as_str();
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        match self {
            Cgroups::V1 { memory, cpuacct, .. } => Some(Usage {
                cpu_seconds: cpuacct
                    .as_ref()
                    .and_then(|root| number(root.join(id).join("cpuacct.usage")))
                    .map_or(0.0, |nanos| nanos as f64 / 1e9),
                memory_bytes: number(memory.join(id).join("memory.usage_in_bytes"))?,
            }),
            Cgroups::V2 { root } => {
                let cpu = fs::read_to_string(root.join(id).join("cpu.stat")).ok()?;
                let used = cpu.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
                Some(Usage {
                    cpu_seconds: used.unwrap_or(0) as f64 / 1e6,
                    memory_bytes: number(root.join(id).join("memory.current"))?,
                })
            }
        }
    }
}

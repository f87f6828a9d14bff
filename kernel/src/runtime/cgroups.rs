//! Cgroups of containers: CPU weight and memory limit as set by Mesos' isolators, on cgroup v1 and v2.
//!
//! As in Mesos, the memory limit of a running container is only raised: lowering it below what is in use would end the
//! container.
//!
//! If cgroups cannot be written, one warning says so, and containers run without limits.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use kernel_core::agent::Limits;
use kernel_model::{
    container_path::ContainerPath, container_usage::ContainerUsage, ids::ContainerId, resources::Scalar,
};
use serde_json::{Value, json};

/// The parent of our cgroups, below the root of each hierarchy.
const PARENT: &str = "catamaran";

/// Starts the names of cgroups of containers below others, so that they are none of the kernel's own files.
const BELOW: &str = "below:";

/// CPU shares per CPU (Mesos' `CPU_SHARES_PER_CPU`).
const SHARES_PER_CPU: i64 = 1024;

/// CPU shares per revocable CPU (Mesos' `CPU_SHARES_PER_CPU_REVOCABLE`): they get what others leave.
const SHARES_PER_REVOCABLE_CPU: i64 = 10;

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

/// A container of which the OOM killer has killed a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryExceeded {
    limit_bytes: Option<u64>,
    /// The most that was in use; old kernels of cgroup v2 do not say.
    peak_bytes: Option<u64>,
    /// `memory.stat`; empty if nobody has read it.
    statistics: String,
}

impl MemoryExceeded {
    /// For a container of which no more than its limit is known.
    pub(super) fn of_limit(bytes: i64) -> Self {
        Self { limit_bytes: u64::try_from(bytes).ok(), peak_bytes: None, statistics: String::new() }
    }

    /// As it is recorded.
    pub(super) fn to_json(&self) -> Value {
        json!({ "limit": self.limit_bytes, "peak": self.peak_bytes, "statistics": self.statistics })
    }

    /// Reads the record.
    pub(super) fn of_json(value: &Value) -> Option<Self> {
        Some(Self {
            limit_bytes: value["limit"].as_u64(),
            peak_bytes: value["peak"].as_u64(),
            statistics: value["statistics"].as_str()?.to_owned(),
        })
    }

    /// Mesos' message.
    pub(crate) fn message(&self) -> String {
        let mut text = "Memory limit exceeded: ".to_owned();
        if let Some(bytes) = self.limit_bytes {
            text += &format!("Requested: {} ", bytes_text(bytes));
        }
        if let Some(bytes) = self.peak_bytes {
            text += &format!("Maximum Used: {}\n", bytes_text(bytes));
        }
        match self.statistics.as_str() {
            "" => text.trim_end().to_owned(),
            statistics => text + &format!("\nMEMORY STATISTICS: \n{statistics}\n"),
        }
    }

    /// The memory that was in use.
    pub(crate) fn memory(&self) -> Scalar {
        let bytes = self.peak_bytes.or(self.limit_bytes).unwrap_or(0);
        Scalar::from_f64(bytes as f64 / f64::from(1 << 20))
    }
}

/// The CPU shares of a container.
pub(crate) fn cpu_shares(limits: Limits) -> i64 {
    let revocable = limits.revocable_cpus.0 * SHARES_PER_REVOCABLE_CPU;
    ((limits.cpus.0 * SHARES_PER_CPU + revocable) / 1000).max(SHARES_MIN)
}

/// The memory limit of a container.
pub(crate) fn memory_bytes(limits: Limits) -> i64 {
    limits.mem_mib.max(Scalar::from_units(MEMORY_MIB_MIN)).0 * 1024 * 1024 / 1000
}

fn report(container_id: &ContainerId, written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!(container = %container_id, %error, "cannot set the limits of a container");
    }
}

/// A number of bytes in the largest unit that divides it, as Mesos prints it.
fn bytes_text(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut amount = bytes;
    let mut unit = 0;
    while amount > 0 && amount.is_multiple_of(1024) && unit + 1 < units.len() {
        amount /= 1024;
        unit += 1;
    }
    format!("{amount}{}", units[unit])
}

/// Removes the parent cgroups that a killed agent has left, unless something still runs in them.
pub(crate) fn remove_empty_parents() {
    let root = Path::new("/sys/fs/cgroup");
    for controller in ["", "cpu", "memory", "cpuacct"] {
        // Most of them do not exist.
        let _ = fs::remove_dir(root.join(controller).join(PARENT));
    }
}

/// A cgroup and all below it, innermost first.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.flat_map(|entry| tree(&entry.path())).chain(std::iter::once(directory.to_owned())).collect()
}

/// Kills every process in a cgroup and in those below; returns how many there were.
pub(crate) fn kill_below(directory: &Path) -> usize {
    let mut killed = 0;
    for directory in tree(directory) {
        let Ok(pids) = fs::read_to_string(directory.join("cgroup.procs")) else { continue };
        for pid in pids.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += 1;
        }
    }
    killed
}

/// Removes a cgroup and all below it. Succeeds if there is none.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for directory in tree(directory) {
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Kills what is left in cgroups and in those below, and removes them. Blocks.
pub(crate) fn remove_all(directories: &[PathBuf], deadline: Instant) {
    for directory in directories {
        while let Err(error) = remove_tree(directory) {
            if Instant::now() >= deadline {
                tracing::warn!(cgroup = %directory.display(), %error, "cannot remove a cgroup");
                break;
            }
            for directory in directories {
                kill_below(directory);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Creates a cgroup that must not be there. False if it is one of those just made.
fn create_new(directory: &Path, is_nested: bool, made: &[PathBuf]) -> io::Result<bool> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    let number = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let own = number(directory);
            if made.iter().any(|other| number(other) == own) {
                return Ok(false);
            }
            // Within a container of this agent, an earlier one with this path may have left it.
            if is_nested && remove_tree(directory).and_then(|()| fs::create_dir(directory)).is_ok() {
                return Ok(true);
            }
            // Mesos' text.
            Err(io::Error::other(format!("The cgroup at '{}' already exists", directory.display())))
        }
        created => created.map(|()| true),
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

    /// The cgroups of a container. Those of a container below another are in the other's.
    fn directories(&self, path: &ContainerPath) -> Vec<PathBuf> {
        let own = |root: &PathBuf| {
            let mut parts = path.parts();
            let outermost = parts.next().map(ContainerId::as_str).unwrap_or_default();
            parts.fold(root.join(outermost), |above, part| above.join(format!("{BELOW}{part}")))
        };
        self.roots().into_iter().map(own).collect()
    }

    /// Creates the cgroups of a container whose first process enters them itself. One below another has no limits of its own.
    /// The path is a client's: what is there already is the kernel's, or another container's. If it fails, nothing is left.
    pub(crate) fn create_below(
        &self,
        path: &ContainerPath,
        limits: Option<Limits>,
    ) -> io::Result<Vec<PathBuf>> {
        self.open()?;
        let mut made = Vec::new();
        for directory in self.directories(path) {
            match create_new(&directory, path.is_nested(), &made) {
                Ok(true) => made.push(directory),
                // Controllers can share a hierarchy.
                Ok(false) => {}
                Err(error) => {
                    made.iter().for_each(|directory| drop(fs::remove_dir(directory)));
                    return Err(error);
                }
            }
        }
        if let Some(limits) = limits.filter(|_| !path.is_nested()) {
            self.set(path.root_id(), limits);
        }
        Ok(made)
    }

    /// Why a container with these limits is not started, in Mesos' words: one without an amount would have no limit.
    pub(crate) fn refusal(limits: Limits) -> Option<String> {
        let missing = [
            (limits.cpus + limits.revocable_cpus, "Failed to update subsystem 'cpu': No cpus resource given"),
            (limits.mem_mib, "Failed to update subsystem 'memory': No memory resource given"),
        ];
        let missing: Vec<&str> =
            missing.into_iter().filter(|(amount, _)| *amount <= Scalar::ZERO).map(|(_, why)| why).collect();
        (!missing.is_empty()).then(|| format!("Failed to update subsystems: {}", missing.join("; ")))
    }

    /// Creates a container's cgroups and moves its first process into them. On failure it runs without limits.
    pub(crate) fn create(&self, container_id: &ContainerId, pid: i32, limits: Limits) {
        if let Err(error) = self.open() {
            tracing::warn!(%error, "the parent cgroup cannot be created");
        }
        for directory in self.directories(&container_id.into()) {
            let made = fs::create_dir_all(&directory);
            let entered = made.and_then(|()| fs::write(directory.join("cgroup.procs"), pid.to_string()));
            if let Err(error) = entered {
                tracing::warn!(cgroup = %directory.display(), %error, "container runs outside of a cgroup");
            }
        }
        self.set(container_id, limits);
    }

    fn set(&self, container_id: &ContainerId, limits: Limits) {
        let memory = memory_bytes(limits);
        report(
            container_id,
            self.write_cpus(container_id, limits).and_then(|()| self.write_memory(container_id, memory)),
        );
    }

    /// Changes the limits of a running container. Without an amount of memory its limit stays.
    pub(crate) fn limit(&self, container_id: &ContainerId, limits: Limits) {
        report(container_id, self.write_cpus(container_id, limits));
        let (file, memory) = (self.memory_limit_file(container_id), memory_bytes(limits));
        // "max" is no number.
        let present = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i64>().ok());
        if limits.mem_mib > Scalar::ZERO && present.is_some_and(|present| present < memory) {
            report(container_id, self.write_memory(container_id, memory));
        }
    }

    fn write_cpus(&self, container_id: &ContainerId, limits: Limits) -> io::Result<()> {
        let shares = cpu_shares(limits);
        let id = container_id.as_str();
        match self {
            Cgroups::V1 { cpu, .. } => fs::write(cpu.join(id).join("cpu.shares"), shares.to_string()),
            Cgroups::V2 { root } => {
                // Linux' mapping of shares (2…262144) to weights (1…10000).
                let weight = 1 + (shares.min(262_144) - 2) * 9999 / 262_142;
                fs::write(root.join(id).join("cpu.weight"), weight.to_string())
            }
        }
    }

    fn memory_limit_file(&self, container_id: &ContainerId) -> PathBuf {
        match self {
            Cgroups::V1 { memory, .. } => memory.join(container_id.as_str()).join("memory.limit_in_bytes"),
            Cgroups::V2 { root } => root.join(container_id.as_str()).join("memory.max"),
        }
    }

    fn write_memory(&self, container_id: &ContainerId, bytes: i64) -> io::Result<()> {
        fs::write(self.memory_limit_file(container_id), bytes.to_string())?;
        if let Cgroups::V2 { root } = self {
            // Like Mesos, end the whole container. Linux before 4.19 does not have this file.
            let _ = fs::write(root.join(container_id.as_str()).join("memory.oom.group"), "1");
        }
        Ok(())
    }

    /// Kills every process in a container's cgroups and in those below; returns how many there were.
    pub(crate) fn kill(&self, path: &ContainerPath) -> usize {
        self.directories(path).iter().map(|directory| kill_below(directory)).sum()
    }

    /// Kills remaining processes and removes the cgroups.
    pub(crate) fn remove(&self, path: &ContainerPath, deadline: Instant) {
        remove_all(&self.directories(path), deadline);
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

    /// What the kernel says about memory, if its OOM killer has killed a process of the container. The limit of a container
    /// below another is that of the outermost.
    pub(crate) fn memory_exceeded(&self, path: &ContainerPath) -> Option<MemoryExceeded> {
        let [events, limit, peak] = match self {
            Cgroups::V1 { .. } => {
                ["memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"]
            }
            Cgroups::V2 { .. } => ["memory.events", "memory.max", "memory.peak"],
        };
        let (own, outermost) = (self.memory(path), self.memory(&path.root_id().into()));
        let events = fs::read_to_string(own.join(events)).ok()?;
        let kills: u64 =
            events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())?;
        if kills == 0 {
            return None;
        }
        let read = |name: &str| fs::read_to_string(outermost.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let statistics = read("memory.stat").unwrap_or_default();
        Some(MemoryExceeded { limit_bytes: number(limit), peak_bytes: number(peak), statistics })
    }

    /// The cgroup with a container's memory.
    fn memory(&self, path: &ContainerPath) -> PathBuf {
        let directories = self.directories(path);
        let memory = match self {
            Cgroups::V1 { .. } => 1,
            Cgroups::V2 { .. } => 0,
        };
        directories.into_iter().nth(memory).unwrap_or_default()
    }

    /// The resource usage of a container.
    pub(crate) fn usage(&self, path: &ContainerPath) -> Option<ContainerUsage> {
        let directories = self.directories(path);
        ContainerUsage::of_cgroups(|file| {
            directories.iter().find_map(|directory| fs::read_to_string(directory.join(file)).ok())
        })
    }
}

#[cfg(test)]
mod tests;

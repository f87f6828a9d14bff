//! Cgroups of containers: CPU weight and memory limit as set by Mesos' isolators, on cgroup v1 and v2.
//!
//! As in Mesos, the memory limit of a running container is only raised: lowering it below what is in use would end the
//! container.
//!
//! If cgroups cannot be written, one warning says so, and containers run without limits.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use kernel_core::agent::Limits;
use kernel_model::{ids::ContainerId, resources::Scalar};

/// The parent of our cgroups, below the root of each hierarchy.
const PARENT: &str = "catamaran";

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

/// The resource usage of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) memory_bytes: u64,
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
        for directory in self.directories(container_id) {
            let made = fs::create_dir_all(&directory);
            let entered = made.and_then(|()| fs::write(directory.join("cgroup.procs"), pid.to_string()));
            if let Err(error) = entered {
                tracing::warn!(cgroup = %directory.display(), %error, "container runs outside of a cgroup");
            }
        }
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

    /// What the kernel says about memory, if its OOM killer has killed a process of the container.
    pub(crate) fn memory_exceeded(&self, container_id: &ContainerId) -> Option<MemoryExceeded> {
        let id = container_id.as_str();
        let (directory, [events, limit, peak]) = match self {
            Cgroups::V1 { memory, .. } => (
                memory.join(id),
                ["memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"],
            ),
            Cgroups::V2 { root } => (root.join(id), ["memory.events", "memory.max", "memory.peak"]),
        };
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let events = read(events)?;
        let kills: u64 =
            events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())?;
        if kills == 0 {
            return None;
        }
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let statistics = read("memory.stat").unwrap_or_default();
        Some(MemoryExceeded { limit_bytes: number(limit), peak_bytes: number(peak), statistics })
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

#[cfg(test)]
mod tests {
    use kernel_core::agent::Limits;
    use kernel_model::resources::Scalar;

    use super::{Cgroups, MemoryExceeded, bytes_text};

    fn limits(cpus: i64, mem: i64) -> Limits {
        Limits {
            cpus: Scalar::from_units(cpus),
            mem_mib: Scalar::from_units(mem),
            revocable_cpus: Scalar::ZERO,
        }
    }

    #[test]
    fn a_container_without_an_amount_is_refused_as_in_mesos() {
        assert_eq!(Cgroups::refusal(limits(1, 1)), None);
        let why = |cpus, mem| Cgroups::refusal(limits(cpus, mem)).unwrap();
        let memory =
            "Failed to update subsystems: Failed to update subsystem 'memory': No memory resource given";
        assert_eq!(why(1, 0), memory);
        let both = "Failed to update subsystems: Failed to update subsystem 'cpu': No cpus resource given; \
                    Failed to update subsystem 'memory': No memory resource given";
        assert_eq!(why(0, 0), both);
    }

    #[test]
    fn revocable_cpus_have_a_low_weight() {
        let root = tempfile::tempdir().unwrap();
        let container = root.path().join("c");
        std::fs::create_dir(&container).unwrap();
        let cgroups =
            Cgroups::V1 { cpu: root.path().to_owned(), memory: root.path().to_owned(), cpuacct: None };
        for (cpus, revocable, shares) in [(2, 0, "2048"), (0, 2, "20"), (1, 2, "1044"), (0, 0, "2")] {
            let revocable_cpus = Scalar::from_units(revocable);
            cgroups.limit(&"c".into(), Limits { revocable_cpus, ..limits(cpus, 64) });
            assert_eq!(std::fs::read_to_string(container.join("cpu.shares")).unwrap(), shares);
        }
    }

    #[test]
    fn the_memory_limit_of_a_running_container_only_rises() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("c")).unwrap();
        let cgroups = Cgroups::V2 { root: root.path().to_owned() };
        let limit = || std::fs::read_to_string(root.path().join("c/memory.max")).unwrap();
        cgroups.create(&"c".into(), 1, limits(1, 64));
        assert_eq!(limit(), (64 << 20).to_string());
        for (mem, expected) in [(128, 128), (96, 128), (0, 128), (160, 160)] {
            cgroups.limit(&"c".into(), limits(1, mem));
            assert_eq!(limit(), (expected << 20).to_string(), "after {mem} MiB");
        }
    }

    #[test]
    fn the_message_of_an_exceeded_limit_is_that_of_mesos() {
        for (bytes, text) in
            [(0, "0B"), (1, "1B"), (1536, "1536B"), (64 << 10, "64KB"), (32 << 20, "32MB"), (3 << 30, "3GB")]
        {
            assert_eq!(bytes_text(bytes), text);
        }
        let root = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::V2 { root: root.path().to_owned() };
        let container = root.path().join("c");
        std::fs::create_dir(&container).unwrap();
        let write = |name: &str, text: &str| std::fs::write(container.join(name), text).unwrap();
        write("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n");
        assert_eq!(cgroups.memory_exceeded(&"c".into()), None);
        write("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n");
        write("memory.max", "67108864\n");
        write("memory.stat", "anon 5\n");
        let exceeded = cgroups.memory_exceeded(&"c".into()).unwrap();
        assert_eq!(
            exceeded.message(),
            "Memory limit exceeded: Requested: 64MB \nMEMORY STATISTICS: \nanon 5\n\n"
        );
        let exceeded = MemoryExceeded { peak_bytes: Some(65 << 20), ..exceeded };
        let text =
            "Memory limit exceeded: Requested: 64MB Maximum Used: 65MB\n\nMEMORY STATISTICS: \nanon 5\n\n";
        assert_eq!((exceeded.message().as_str(), exceeded.memory().0), (text, 65_000));
    }
}

//! What a container uses, read from the files of its cgroups. The files are read by the shells.

use std::ops::Add;

/// The clock ticks of a second in `cpuacct.stat`: `USER_HZ` of Linux' ABI.
const TICKS: f64 = 100.0;

/// The usage of a container.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ContainerUsage {
    /// CPU seconds, those in the kernel included.
    pub cpu_seconds: f64,
    /// CPU seconds in the kernel.
    pub cpu_system_seconds: f64,
    /// All memory that is charged to the container, the page cache included.
    pub memory_bytes: u64,
    /// Of these, memory that no file backs: Mesos' `mem_rss_bytes`.
    pub anonymous_bytes: u64,
    /// Of these, the page cache.
    pub file_bytes: u64,
    /// Of the page cache, files that were not used lately: memory that can be taken back.
    pub inactive_file_bytes: u64,
}

impl ContainerUsage {
    /// The usage of the container whose cgroups have the files that `read` reads; those of cgroup v1 are in several directories.
    /// `None` without an amount of memory.
    pub fn of_cgroups(read: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |text: String| text.trim().parse::<u64>().ok();
        let memory = read("memory.stat").unwrap_or_default();
        let of_memory = |name: &str| field(&memory, name).unwrap_or_default();
        if let Some(memory_bytes) = read("memory.current").and_then(number) {
            let cpu = read("cpu.stat").unwrap_or_default();
            let seconds = |name: &str| field(&cpu, name).unwrap_or_default() as f64 / 1e6;
            return Some(Self {
                cpu_seconds: seconds("usage_usec"),
                cpu_system_seconds: seconds("system_usec"),
                memory_bytes,
                anonymous_bytes: of_memory("anon"),
                file_bytes: of_memory("file"),
                inactive_file_bytes: of_memory("inactive_file"),
            });
        }
        let system = field(&read("cpuacct.stat").unwrap_or_default(), "system").unwrap_or_default();
        Some(Self {
            cpu_seconds: read("cpuacct.usage").and_then(number).unwrap_or_default() as f64 / 1e9,
            cpu_system_seconds: system as f64 / TICKS,
            memory_bytes: read("memory.usage_in_bytes").and_then(number)?,
            anonymous_bytes: of_memory("total_rss"),
            file_bytes: of_memory("total_cache"),
            inactive_file_bytes: of_memory("total_inactive_file"),
        })
    }

    /// CPU seconds outside of the kernel. Those in the kernel are counted in ticks, so they may be more than all.
    pub fn cpu_user_seconds(&self) -> f64 {
        (self.cpu_seconds - self.cpu_system_seconds).max(0.0)
    }
}

impl Add for ContainerUsage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            cpu_system_seconds: self.cpu_system_seconds + other.cpu_system_seconds,
            memory_bytes: self.memory_bytes + other.memory_bytes,
            anonymous_bytes: self.anonymous_bytes + other.anonymous_bytes,
            file_bytes: self.file_bytes + other.file_bytes,
            inactive_file_bytes: self.inactive_file_bytes + other.inactive_file_bytes,
        }
    }
}

/// The number behind a name, in a file with a name and a number in each line.
fn field(text: &str, name: &str) -> Option<u64> {
    let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(files: &[(&str, &str)]) -> Option<ContainerUsage> {
        let text =
            |name: &str| files.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned());
        ContainerUsage::of_cgroups(text)
    }

    #[test]
    fn both_versions_of_cgroups_tell_the_same() {
        let expected = ContainerUsage {
            cpu_seconds: 3.5,
            cpu_system_seconds: 1.25,
            memory_bytes: 900,
            anonymous_bytes: 600,
            file_bytes: 250,
            inactive_file_bytes: 150,
        };
        let first = [
            ("cpuacct.usage", "3500000000\n"),
            ("cpuacct.stat", "user 225\nsystem 125\n"),
            ("memory.usage_in_bytes", "900\n"),
            (
                "memory.stat",
                "cache 1\nrss 2\nrss_huge 3\ntotal_cache 250\ntotal_rss 600\ntotal_rss_huge 4\ninactive_file 1\ntotal_inactive_file 150\n",
            ),
        ];
        let second = [
            ("cpu.stat", "usage_usec 3500000\nuser_usec 2250000\nsystem_usec 1250000\n"),
            ("memory.current", "900\n"),
            ("memory.stat", "anon 600\nfile 250\nfile_mapped 7\ninactive_file 150\n"),
        ];
        assert_eq!(usage(&first), Some(expected));
        assert_eq!(usage(&second), Some(expected));
        assert_eq!(expected.cpu_user_seconds(), 2.25);
        assert_eq!((expected + expected).file_bytes, 500);
    }

    #[test]
    fn what_cannot_be_read_is_zero_or_unknown() {
        let memory = ContainerUsage { memory_bytes: 1, ..Default::default() };
        assert_eq!(usage(&[("memory.usage_in_bytes", "1")]), Some(memory));
        assert_eq!(usage(&[("cpuacct.usage", "1")]), None);
        let ahead = usage(&[("memory.usage_in_bytes", "1"), ("cpuacct.stat", "user 0\nsystem 1\n")]);
        assert_eq!(ahead.map(|usage| usage.cpu_user_seconds()), Some(0.0));
    }
}

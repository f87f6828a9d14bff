//! Detection of this machine's name and resources.

use std::{fs, path::Path};

use kernel_model::resources::{ParseError, Ranges, Resource, Resources, Scalar};

/// Mesos' default port range for tasks.
const PORTS: (u64, u64) = (31_000, 32_000);

pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The resources of the flag, completed with detected ones.
pub(super) fn resources(flag: Option<&str>, work_dir: &Path) -> Result<Resources, ParseError> {
    let mut resources: Resources = flag.unwrap_or_default().parse()?;
    let named: Vec<_> = resources.iter().map(|resource| resource.name.clone()).collect();
    for resource in detect_resources(work_dir).iter() {
        if !named.contains(&resource.name) {
            resources.add(resource.clone());
        }
    }
    Ok(resources)
}

/// Detects CPUs, memory, disk below `work_dir` and ports, by Mesos' rules: memory and disk keep a reserve for the
/// system.
pub fn detect_resources(work_dir: &Path) -> Resources {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut resources = Resources::default();
    resources.add(Resource::scalar("cpus", Scalar::from_units(i64::try_from(cpus).unwrap_or(1))));
    resources.add(Resource::scalar("mem", Scalar::from_units(without_reserve(memory_mib(), 1024))));
    resources
        .add(Resource::scalar("disk", Scalar::from_units(without_reserve(disk_mib(work_dir), 5 * 1024))));
    resources.add(Resource::ranges("ports", Ranges::new([PORTS])));
    resources
}

/// Subtracts `reserve`, or half of the total if the reserve is larger.
fn without_reserve(total: i64, reserve: i64) -> i64 {
    if total < 2 * reserve { total / 2 } else { total - reserve }
}

fn memory_mib() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    total.and_then(|kib| kib.trim().parse::<i64>().ok()).map_or(2 * 1024, |kib| kib / 1024)
}

fn disk_mib(work_dir: &Path) -> i64 {
    let Ok(stat) = rustix::fs::statvfs(work_dir) else { return 20 * 1024 };
    i64::try_from(stat.f_blocks.saturating_mul(stat.f_frsize) / (1024 * 1024)).unwrap_or(i64::MAX / 1000)
}

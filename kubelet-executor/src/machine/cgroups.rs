//! Cgroups: one per node, one per QoS class, one per Pod.
//!
//! ```text
//! /catamaran-<tag>/[burstable|besteffort|revocable]/pod<uid>/<container>
//! ```
//!
//! The Pods in `revocable` share among them the least weight that there is, whatever each of them requests.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use executor_core::resources::{self, CPU_PERIOD_US, CgroupLimits, CpuWeight, QosClass};
use k8s_openapi::api::core::v1::Pod;
use kernel_model::container_usage::ContainerUsage;

const ROOT: &str = "/sys/fs/cgroup";

/// The group of Pods whose CPUs are revocable.
const REVOCABLE: &str = "/revocable";

/// The cgroup version of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy per controller.
    V1,
    /// A single hierarchy.
    V2,
}

impl Version {
    /// Detects the host's version. A v2 hierarchy beside v1 controllers counts as v1, since limits work there.
    pub fn of_machine() -> Self {
        if Path::new(ROOT).join("cgroup.controllers").exists() { Self::V2 } else { Self::V1 }
    }
}

/// The root directories of all hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    match Version::of_machine() {
        Version::V2 => vec![PathBuf::from(ROOT)],
        Version::V1 => {
            let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
        }
    }
}

/// The node's cgroup.
pub(crate) fn node_group(tag: &str) -> String {
    format!("/catamaran-{tag}")
}

/// The Pod's cgroup.
pub(crate) fn pod_group(tag: &str, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let class = match resources::qos_class(pod) {
        _ if resources::is_revocable(pod) => REVOCABLE,
        QosClass::Guaranteed => "",
        QosClass::Burstable => "/burstable",
        QosClass::BestEffort => "/besteffort",
    };
    format!("{}{class}/pod{uid}", node_group(tag))
}

/// Creates a Pod's cgroup and sets its CPU weight. Failures are tolerated: containers have their own limits.
pub(crate) fn prepare(tag: &str, pod: &Pod) {
    let group = pod_group(tag, pod);
    let weigh = || -> io::Result<()> {
        if resources::is_revocable(pod) {
            set_shares(&format!("{}{REVOCABLE}", node_group(tag)), resources::CPU_SHARES_MIN)?;
        }
        set_shares(&group, resources::pod_cpu_shares(pod))
    };
    if let Err(error) = weigh() {
        tracing::debug!(%group, %error, "cannot set a pod's CPU weight");
    }
    let (cpu_quota_us, memory_bytes) = resources::pod_limits(pod);
    if let Err(error) = limit(&group, cpu_quota_us, memory_bytes) {
        tracing::warn!(%group, %error, "cannot limit a pod as a whole");
    }
}

/// Creates a cgroup and sets its CPU weight.
fn set_shares(group: &str, shares: i64) -> io::Result<()> {
    match Version::of_machine() {
        Version::V1 => {
            for controller in ["cpu", "cpu,cpuacct"] {
                let top = Path::new(ROOT).join(controller);
                if top.join("cpu.shares").exists() {
                    let dir = join(&top, group);
                    fs::create_dir_all(&dir)?;
                    fs::write(dir.join("cpu.shares"), shares.to_string())?;
                }
            }
            Ok(())
        }
        Version::V2 => {
            let top = Path::new(ROOT);
            let dir = join(top, group);
            fs::create_dir_all(&dir)?;
            delegate(top, group)?;
            fs::write(dir.join("cpu.weight"), resources::cgroup_weight(shares).to_string())
        }
    }
}

/// Limits a cgroup; zero means unlimited.
fn limit(group: &str, cpu_quota_us: i64, memory_bytes: i64) -> io::Result<()> {
    let write = |hierarchy: &str, file: &str, value: String| -> io::Result<()> {
        let dir = join(&Path::new(ROOT).join(hierarchy), group);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(file), value)
    };
    let v2 = matches!(Version::of_machine(), Version::V2);
    if cpu_quota_us > 0 && v2 {
        write("", "cpu.max", format!("{cpu_quota_us} {}", resources::CPU_PERIOD_US))?;
    } else if cpu_quota_us > 0 {
        write("cpu", "cpu.cfs_quota_us", cpu_quota_us.to_string())?;
    }
    if memory_bytes > 0 {
        let (hierarchy, file) = if v2 { ("", "memory.max") } else { ("memory", "memory.limit_in_bytes") };
        write(hierarchy, file, memory_bytes.to_string())?;
    }
    Ok(())
}

/// The directories of a container's cgroup, one per hierarchy.
fn of_container(tag: &str, pod_uid: &str, id: &str) -> Vec<PathBuf> {
    let classes = ["", "/burstable", "/besteffort", REVOCABLE].into_iter();
    let groups = classes.map(|class| format!("{}{class}/pod{pod_uid}/{id}", node_group(tag)));
    groups.map(|group| existing(&group)).find(|dirs| !dirs.is_empty()).unwrap_or_default()
}

/// A file of a container's cgroup, in whichever hierarchy has it.
fn read(dirs: &[PathBuf], file: &str) -> Option<String> {
    dirs.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok()).map(|text| text.trim().to_owned())
}

/// What the cgroup of a container has; `None` if it does not exist.
pub(crate) fn container_limits(tag: &str, pod_uid: &str, id: &str) -> Option<CgroupLimits> {
    let dirs = of_container(tag, pod_uid, id);
    let number = |file: &str| read(&dirs, file)?.parse::<i64>().ok();
    let per_period = |quota: i64, period: i64| quota.max(0) * CPU_PERIOD_US / period.max(1);
    match Version::of_machine() {
        Version::V2 => {
            let max = read(&dirs, "cpu.max")?;
            let (quota, period) = max.split_once(' ')?;
            Some(CgroupLimits {
                cpu_weight: CpuWeight::Weight(number("cpu.weight")?),
                cpu_quota_us: per_period(quota.parse().unwrap_or(0), period.parse().ok()?),
                memory_bytes: read(&dirs, "memory.max")?.parse().unwrap_or(0),
            })
        }
        Version::V1 => Some(CgroupLimits {
            cpu_weight: CpuWeight::Shares(number("cpu.shares")?),
            cpu_quota_us: per_period(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?),
            // Without a limit it is the largest number of pages.
            memory_bytes: number("memory.limit_in_bytes").filter(|bytes| *bytes < i64::MAX / 2).unwrap_or(0),
        }),
    }
}

/// The memory that a container uses.
pub(crate) fn container_memory(tag: &str, pod_uid: &str, id: &str) -> Option<i64> {
    let dirs = of_container(tag, pod_uid, id);
    let usage = read(&dirs, "memory.current").or_else(|| read(&dirs, "memory.usage_in_bytes"));
    usage?.parse().ok()
}

/// The memory limit of a cgroup.
pub(crate) fn memory_limit(group: &str) -> Option<i64> {
    let dirs = existing(group);
    let limit = read(&dirs, "memory.max").or_else(|| read(&dirs, "memory.limit_in_bytes"));
    limit?.parse().ok()
}

/// The usage of a cgroup and its descendants.
pub(crate) fn usage(group: &str) -> Option<ContainerUsage> {
    let dirs = existing(group);
    ContainerUsage::of_cgroups(|file| read(&dirs, file))
}

/// The CPU seconds of the node's Pods whose CPUs are revocable: none as long as there was none. A group counts what its former
/// members used, so this does not fall when a Pod ends.
pub(crate) fn revocable_cpu_seconds(tag: &str) -> Option<f64> {
    let group = format!("{}{REVOCABLE}", node_group(tag));
    if existing(&group).is_empty() {
        return Some(0.0);
    }
    usage(&group).map(|usage| usage.cpu_seconds)
}

/// Enables controllers for a cgroup, level by level.
fn delegate(top: &Path, group: &str) -> io::Result<()> {
    let mut dir = top.to_owned();
    for part in group.trim_start_matches('/').split('/') {
        for controller in ["+cpu", "+memory", "+pids"] {
            let _ = fs::write(dir.join("cgroup.subtree_control"), controller);
        }
        dir.push(part);
    }
    Ok(())
}

fn join(top: &Path, group: &str) -> PathBuf {
    top.join(group.trim_start_matches('/'))
}

/// The directories of a cgroup that exist, one per hierarchy.
pub(crate) fn existing(group: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|top| join(&top, group)).filter(|dir| dir.is_dir()).collect()
}

/// The processes in a cgroup and its descendants, in any hierarchy.
pub(crate) fn processes(group: &str) -> BTreeSet<u32> {
    let mut pids = BTreeSet::new();
    let mut dirs = existing(group);
    while let Some(dir) = dirs.pop() {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()).filter(|pid| *pid > 0));
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    pids
}

/// Removes a cgroup and its descendants in every hierarchy. Cgroups with processes remain.
pub(crate) fn remove(group: &str) {
    for top in hierarchies() {
        let dir = join(&top, group);
        if dir.is_dir() {
            remove_tree(&dir);
        }
    }
}

fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(dir) {
        tracing::debug!(group = %dir.display(), %error, "cannot remove cgroup");
    }
}

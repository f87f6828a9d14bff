//! Processes of a private containerd: itself, its shims and tools by their arguments, containers by their cgroup.

use std::{collections::BTreeSet, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::OrphanScan;
use crate::{config::Config, machine::cgroups};

/// How long to wait for killed processes.
const LOOKS_MAX: u32 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The file name of a process's program.
pub(super) fn program(pid: u32) -> Option<String> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next().filter(|first| !first.is_empty())?;
    let name = first.rsplit(|byte| *byte == b'/').next().unwrap_or(first);
    Some(String::from_utf8_lossy(name).into_owned())
}

/// containerd, its shims and tools with an argument that names our directory or socket.
pub(super) fn of_runtime(scan: &OrphanScan) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_of_runtime(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(), scan))
        .collect()
}

/// Whether a command line (NUL-terminated arguments) belongs to our runtime. The program counts as well: somebody may
/// just read our files.
pub(super) fn is_of_runtime(command: &[u8], scan: &OrphanScan) -> bool {
    let mut arguments = command.split(|byte| *byte == 0);
    let program =
        arguments.next().and_then(|first| first.rsplit(|byte| *byte == b'/').next()).unwrap_or_default();
    let ours = [b"containerd".as_slice(), b"runc", b"ctr"].contains(&program)
        || program.starts_with(b"containerd-shim");
    ours && arguments.any(|argument| {
        let argument = Path::new(std::str::from_utf8(argument).unwrap_or_default());
        argument == scan.socket || argument == scan.config || argument.starts_with(&scan.state)
    })
}

/// Processes in the node's cgroups.
pub(super) fn of_containers(config: &Config) -> BTreeSet<u32> {
    let mut pids = cgroups::processes(&cgroups::node_group(&config.tag()));
    pids.remove(&std::process::id());
    pids
}

/// Kills all processes, containers first, since a living shim reaps its own. Returns their number.
pub(super) async fn kill_all(config: &Config, scan: &OrphanScan) -> usize {
    let contained = kill(|| of_containers(config)).await;
    contained + kill(|| of_runtime(scan)).await
}

async fn kill(find: impl Fn() -> BTreeSet<u32>) -> usize {
    let mut killed = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        // Zombies have no command line, and wait for another parent.
        let alive: BTreeSet<u32> = find().into_iter().filter(|pid| program(*pid).is_some()).collect();
        if alive.is_empty() {
            break;
        }
        for pid in alive.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        killed.extend(alive);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    killed.len()
}

//! Processes of a private containerd: itself, its shims and helpers by their arguments, containers by their control group.

use std::{collections::BTreeSet, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::Traces;
use crate::{config::Config, machine::cgroups};

/// How long killed processes are waited for, a look at a time.
const LOOKS_MAX: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The file name of a process's program.
pub(super) fn program(pid: u32) -> Option<String> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = command.split(|byte| *byte == 0).next().filter(|first| !first.is_empty())?;
    let name = first.rsplit(|byte| *byte == b'/').next().unwrap_or(first);
    Some(String::from_utf8_lossy(name).into_owned())
}

/// containerd, shims, and the tools that they call, where an argument leads to our directory or socket.
pub(super) fn of_runtime(traces: &Traces) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        is_of_runtime(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(), traces)
    })
    .collect()
}

/// Whether a command line (as the kernel gives it, a zero byte after each argument) is of our runtime. The program counts
/// too: somebody may just look at our files.
pub(super) fn is_of_runtime(command: &[u8], traces: &Traces) -> bool {
    let mut arguments = command.split(|byte| *byte == 0);
    let program =
        arguments.next().and_then(|first| first.rsplit(|byte| *byte == b'/').next()).unwrap_or_default();
    let ours = [b"containerd".as_slice(), b"runc", b"ctr"].contains(&program)
        || program.starts_with(b"containerd-shim");
    ours && arguments.any(|argument| {
        let argument = Path::new(std::str::from_utf8(argument).unwrap_or_default());
        argument == traces.socket || argument == traces.config || argument.starts_with(&traces.state)
    })
}

/// Processes of containers, in all of the node's groups.
pub(super) fn of_containers(config: &Config) -> BTreeSet<u32> {
    let mut pids = cgroups::processes(&cgroups::node_group(&config.tag()));
    pids.remove(&std::process::id());
    pids
}

/// Kills all, containers first: a shim that lives reaps its own. Answers how many there were.
pub(super) async fn kill_all(config: &Config, traces: &Traces) -> usize {
    let contained = kill(|| of_containers(config)).await;
    contained + kill(|| of_runtime(traces)).await
}

async fn kill(find: impl Fn() -> BTreeSet<u32>) -> usize {
    let mut killed = BTreeSet::new();
    for _ in 0..LOOKS_MAX {
        // Zombies have no command line any more, and wait for somebody else.
        let alive: BTreeSet<u32> = find().into_iter().filter(|pid| program(*pid).is_some()).collect();
        if alive.is_empty() {
            break;
        }
        for pid in alive.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        killed.extend(alive);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    killed.len()
}

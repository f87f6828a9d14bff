//! Processes by pid and start time: a pid alone may have been reused.

use std::{fs, io, os::fd::OwnedFd, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;

/// The polling interval for processes that cannot be waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A process, unique since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// The start time in ticks since boot.
    pub(crate) started: u64,
}

/// The fields of `/proc/<pid>/stat`.
struct Stat {
    state: u8,
    group: i32,
    session: i32,
    started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.started })
    }

    /// As it is recorded.
    pub(crate) fn of_json(value: &serde_json::Value) -> Option<Self> {
        Some(Self { pid: i32::try_from(value["pid"].as_i64()?).ok()?, started: value["started"].as_u64()? })
    }

    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && !matches!(stat.state, b'Z' | b'X'))
    }

    /// Sends SIGKILL to this process only.
    pub(crate) fn kill(&self) {
        let _ = self.signal(Signal::KILL);
    }

    /// Sends a signal to this process only. One that has ended ignores it.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            Some(pid) => match kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
                Err(error) => Err(error.into()),
            },
            None => Ok(()),
        }
    }

    /// Waits for a process to terminate that need not be a child.
    pub(crate) async fn wait(&self) {
        // Deprecated because the descriptor of some types may change or close, which cannot happen to an owned one; the
        // replacement is unsafe.
        #[allow(deprecated)]
        let watched = self.open().and_then(|fd| AsyncFd::new(fd).ok());
        if let Some(end) = watched {
            let _ = end.readable().await;
            return;
        }
        while self.is_alive() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let fd = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // Checked after opening the descriptor, which therefore cannot be of another process.
        self.is_alive().then_some(fd)
    }
}

/// Kills every process of the session, or group, that a process leads or led; returns how many there were. Linux does
/// not reuse the id while the session has processes.
pub(crate) fn kill_session(leader: Process) -> usize {
    let Some(number) = Pid::from_raw(leader.pid) else { return 0 };
    if Process::find(leader.pid).is_some_and(|now| now != leader) {
        return 0;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let belongs = |stat: Stat| stat.session == leader.pid || stat.group == leader.pid;
    let lives = |stat: &Stat| !matches!(stat.state, b'Z' | b'X');
    let members: Vec<i32> = pids.filter(|pid| stat(*pid).filter(lives).is_some_and(belongs)).collect();
    if members.is_empty() {
        return 0;
    }
    let _ = kill_process_group(number, Signal::KILL);
    for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    members.len()
}

/// The boot id of the machine.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses can contain anything; the fields follow the last parenthesis.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, group, session, started })
}

//! One executor per node directory: a file lock that ends with its process and names it.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Polling interval.
const EVERY: Duration = Duration::from_millis(100);

fn open(root: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(root)?;
    File::options().create(true).truncate(false).read(true).write(true).open(root.join("executor.lock"))
}

/// Takes the lock if it is free, and writes this process's pid into it.
fn try_take(file: &mut File) -> std::io::Result<bool> {
    match flock(&*file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.write_all(std::process::id().to_string().as_bytes())?;
    Ok(true)
}

/// Waits for the lock. `None` if `stop` is cancelled meanwhile.
pub(crate) async fn wait(root: &Path, stop: &CancellationToken) -> std::io::Result<Option<File>> {
    let mut file = open(root)?;
    let mut event = false;
    while !try_take(&mut file)? {
        if !std::mem::replace(&mut event, true) {
            tracing::warn!(root = %root.display(), "another executor holds this directory; waiting for it to exit");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    Ok(Some(file))
}

/// Takes the lock over: terminates its holder with SIGTERM, and with SIGKILL once `waits`, which gets the time since then, says
/// no. `None` if neither helps.
pub(crate) async fn take_over(
    root: &Path,
    waits: impl Fn(Duration) -> bool,
) -> std::io::Result<Option<File>> {
    /// After SIGKILL.
    const DEATH: Duration = Duration::from_secs(2);
    let mut file = open(root)?;
    for signal in [Signal::TERM, Signal::KILL] {
        let began = tokio::time::Instant::now();
        let goes_on = |asked: Duration| if signal == Signal::TERM { waits(asked) } else { asked < DEATH };
        let mut event = None;
        while goes_on(began.elapsed()) {
            if try_take(&mut file)? {
                return Ok(Some(file));
            }
            // Read each time: the holder may have taken the lock just now, and not have written its pid yet.
            let holder = holder(root);
            if holder != event
                && let Some(pid) = holder
            {
                tracing::info!(pid, ?signal, "terminating an executor that outlived its agent");
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
                event = holder;
            }
            tokio::time::sleep(EVERY / 4).await;
        }
    }
    Ok(None)
}

/// Whether the node's executor runs, and with it the container runtime, unless that is one of others.
pub fn executor_runs(config: &Config) -> bool {
    holder(&config.root_dir).is_some()
}

/// The pid in the lock file, if it still is an executor: pids are reused.
fn holder(root: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(root.join("executor.lock")).ok()?.read_to_string(&mut text).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    command.split(|byte| *byte == 0).any(|argument| argument == b"executor").then_some(pid)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[tokio::test]
    async fn one_process_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let first = wait(dir.path(), &stop).await.unwrap().unwrap();
        assert_eq!(holder(dir.path()), None, "a test process is not an executor");
        assert!(take_over(dir.path(), |asked| asked < EVERY).await.unwrap().is_none());
        drop(first);
        let second = take_over(dir.path(), |asked| asked < EVERY).await.unwrap().unwrap();
        stop.cancel();
        assert!(wait(dir.path(), &stop).await.unwrap().is_none());
        drop(second);
    }
}

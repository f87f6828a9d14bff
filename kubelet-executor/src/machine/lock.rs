//! One executor a directory: a lock that goes with its process, however that ends, and that names it.

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

/// How often a directory that another executor has is tried again.
const EVERY: Duration = Duration::from_millis(100);

fn open(root: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(root)?;
    File::options().create(true).truncate(false).read(true).write(true).open(root.join("executor.lock"))
}

/// Takes the lock if nobody has it, and writes down who has it now.
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

/// Takes the lock; a successor waits for the end of whoever has it. `None` if it was told to stop meanwhile.
pub(crate) async fn wait(root: &Path, stop: &CancellationToken) -> std::io::Result<Option<File>> {
    let mut file = open(root)?;
    let mut told = false;
    while !try_take(&mut file)? {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(root = %root.display(), "another executor has this directory; waiting for its end");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    Ok(Some(file))
}

/// Takes the lock from whoever has it: asks it to stop the node, and kills it when `patience` is over. `None` where neither
/// helps.
pub(crate) async fn take_over(root: &Path, patience: Duration) -> std::io::Result<Option<File>> {
    /// After SIGKILL.
    const DEATH: Duration = Duration::from_secs(2);
    let mut file = open(root)?;
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, DEATH)] {
        let deadline = tokio::time::Instant::now() + patience;
        let mut told = None;
        while tokio::time::Instant::now() < deadline {
            if try_take(&mut file)? {
                return Ok(Some(file));
            }
            // Asked each time: it may have just taken the lock, and not said so yet.
            let holder = holder(root);
            if holder != told
                && let Some(pid) = holder
            {
                tracing::info!(
                    pid,
                    ?signal,
                    "an executor without its agent has this node; it is told to end"
                );
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
                told = holder;
            }
            tokio::time::sleep(EVERY / 4).await;
        }
    }
    Ok(None)
}

/// The process that wrote itself down, if it still is an executor: the number may be somebody else's by now.
fn holder(root: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(root.join("executor.lock")).ok()?.read_to_string(&mut text).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    command.split(|byte| *byte == 0).any(|argument| argument == b"executor").then_some(pid)
}

#[cfg(test)]
mod tests {
    //! Tests of the lock.

    use super::*;

    #[tokio::test]
    async fn one_has_it_and_the_next_waits() {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let first = wait(dir.path(), &stop).await.unwrap().unwrap();
        assert_eq!(holder(dir.path()), None, "a test is no executor, and is not killed");
        assert!(take_over(dir.path(), Duration::from_millis(1)).await.unwrap().is_none());
        drop(first);
        let second = take_over(dir.path(), Duration::from_millis(1)).await.unwrap().unwrap();
        stop.cancel();
        assert!(wait(dir.path(), &stop).await.unwrap().is_none());
        drop(second);
    }
}

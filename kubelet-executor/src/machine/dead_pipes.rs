//! Pipes to commands in containers that have ended.
//!
//! A shim of containerd keeps both ends of the pipe to a command's standard input open. When the command ends without
//! reading all of its input, the shim's write blocks forever, and containerd, which waits for its copy of the input,
//! does not report the exit code. Reading the rest of such a pipe lets both go on. Nobody else could: only a pipe that no
//! other process has open for reading is read here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rustix::{fs::OFlags, io::ioctl_fionread};

/// How often the pipes are looked at while a command with input runs.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Size of a pipe's buffer.
const PIPE_BYTES: usize = 64 << 10;

/// Reads the dead pipes of a sandbox's shim; runs until it is dropped.
pub(crate) async fn drain(sandbox_id: String) {
    let Some(shim) = blocking(move || shim_of(&sandbox_id)).await.flatten() else { return };
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let drained = blocking(move || dead_pipes(shim).iter_mut().map(read_all).sum::<usize>()).await;
        if let Some(bytes) = drained.filter(|bytes| *bytes > 0) {
            tracing::debug!(bytes, shim, "discarded input of a command that has ended");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The shim of a sandbox: `containerd-shim-runc-v2 -namespace … -id <sandbox> …`.
fn shim_of(sandbox_id: &str) -> Option<u32> {
    pids().find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = command.split(|byte| *byte == 0);
        let program = arguments.next().and_then(|program| program.rsplit(|byte| *byte == b'/').next());
        program.is_some_and(|program| program.starts_with(b"containerd-shim"))
            && arguments.any(|argument| argument == sandbox_id.as_bytes())
    })
}

/// An end of a pipe that a process has open.
struct PipeEnd {
    descriptor: String,
    inode: String,
    reads: bool,
}

fn pipe_ends(pid: u32) -> Vec<PipeEnd> {
    let dir = format!("/proc/{pid}/fd");
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let end = |descriptor: String| {
        let target = std::fs::read_link(Path::new(&dir).join(&descriptor)).ok()?;
        let inode = target.to_str()?.strip_prefix("pipe:[")?.strip_suffix(']')?.to_owned();
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        let reads = flags & OFlags::RWMODE.bits() != OFlags::WRONLY.bits();
        Some(PipeEnd { descriptor, inode, reads })
    };
    entries.filter_map(|entry| end(entry.file_name().into_string().ok()?)).collect()
}

/// Opens the pipes with unread bytes that only this process has open for reading, and which it writes to itself.
fn dead_pipes(pid: u32) -> Vec<File> {
    let ends = pipe_ends(pid);
    let written: BTreeSet<&str> =
        ends.iter().filter(|end| !end.reads).map(|end| end.inode.as_str()).collect();
    let mut pipes: BTreeMap<&str, File> = BTreeMap::new();
    for end in ends.iter().filter(|end| end.reads && written.contains(end.inode.as_str())) {
        let path = format!("/proc/{pid}/fd/{}", end.descriptor);
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let Ok(pipe) = OpenOptions::new().read(true).custom_flags(nonblocking).open(path) else { continue };
        // The shim copies only after it has started the command, so a pipe with bytes has had a reader.
        if ioctl_fionread(&pipe).is_ok_and(|bytes| bytes > 0) {
            pipes.insert(&end.inode, pipe);
        }
    }
    if pipes.is_empty() {
        return Vec::new();
    }
    let own = std::process::id();
    for other in pids().filter(|other| *other != pid && *other != own) {
        for end in pipe_ends(other).iter().filter(|end| end.reads) {
            pipes.remove(end.inode.as_str());
        }
    }
    pipes.into_values().collect()
}

/// Reads what is in a pipe.
fn read_all(pipe: &mut File) -> usize {
    let mut buffer = vec![0; PIPE_BYTES];
    let mut total = 0;
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return total,
            Ok(bytes) => total += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return total,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    /// This process plays the shim: it has both ends of a pipe, whose reader ends.
    #[test]
    fn only_pipes_without_another_reader_are_read() {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(b"unread").unwrap();
        let own = std::process::id();
        let inode = |end: &PipeEnd| format!("pipe:[{}]", end.inode);
        let ours = std::fs::read_link(format!("/proc/{own}/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read)));
        let ours = ours.unwrap().to_str().unwrap().to_owned();
        let ends: Vec<bool> =
            pipe_ends(own).iter().filter(|end| inode(end) == ours).map(|end| end.reads).collect();
        assert_eq!(ends.iter().filter(|reads| **reads).count(), 1, "{ends:?}");
        let mut reader = Command::new("sleep");
        let mut reader = reader.arg("1000").stdin(Stdio::from(read.try_clone().unwrap())).spawn().unwrap();
        let bytes = || {
            dead_pipes(own).iter().filter_map(|pipe| ioctl_fionread(pipe).ok()).filter(|n| *n == 6).count()
        };
        assert_eq!(bytes(), 0, "the command may still read it");
        reader.kill().unwrap();
        reader.wait().unwrap();
        assert_eq!(bytes(), 1);
        let total: usize = dead_pipes(own).iter_mut().map(read_all).sum();
        assert!(total >= 6);
        assert_eq!(bytes(), 0);
    }
}

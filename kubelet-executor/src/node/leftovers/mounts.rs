//! Mounts below the node's directories, including network namespaces.

use std::{
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount};

/// An unmount may uncover another mount.
const PASSES_MAX: u32 = 8;

/// Mount points strictly below the directories, in mount order.
pub(super) fn below(directories: &[PathBuf]) -> Vec<PathBuf> {
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    points(&text).filter(|point| is_below(point, directories)).collect()
}

fn is_below(point: &Path, directories: &[PathBuf]) -> bool {
    directories.iter().any(|directory| point != directory && point.starts_with(directory))
}

/// The mount points of a `mountinfo` file: its fifth field, with octal escapes decoded.
pub(super) fn points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines.filter_map(|line| Some(unescaped(line.split(|byte| *byte == b' ').nth(4)?)))
}

fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// Unmounts everything below the directories, newest first.
pub(super) fn remove_below(directories: &[PathBuf]) {
    for _ in 0..PASSES_MAX {
        let left = below(directories);
        if left.is_empty() {
            return;
        }
        for point in left.iter().rev() {
            detach(point);
        }
    }
}

/// Removes network namespaces by their files.
pub(super) fn remove_namespaces(files: &[PathBuf]) {
    for file in files {
        detach(file);
        let _ = std::fs::remove_file(file);
    }
}

/// Unmounts lazily, so that an open file does not block it.
fn detach(point: &Path) {
    if let Err(error) = unmount(point, UnmountFlags::DETACH)
        && !matches!(error, rustix::io::Errno::NOENT | rustix::io::Errno::INVAL)
    {
        tracing::warn!(point = %point.display(), %error, "cannot unmount");
    }
}

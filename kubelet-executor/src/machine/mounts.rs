//! Mounts below the node's directories, including network namespaces and views of images.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use cri::snapshots::Mount;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
};

/// An unmount may uncover another mount.
const PASSES_MAX: u32 = 8;

/// Mount points strictly below the directories, in mount order.
pub(crate) fn below(directories: &[PathBuf]) -> Vec<PathBuf> {
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    points(&text).filter(|point| is_below(point, directories)).collect()
}

fn is_below(point: &Path, directories: &[PathBuf]) -> bool {
    directories.iter().any(|directory| point != directory && point.starts_with(directory))
}

/// The mount points of a `mountinfo` file: its fifth field, with octal escapes decoded.
pub(crate) fn points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
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
pub(crate) fn remove_below(directories: &[PathBuf]) {
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
pub(crate) fn remove_namespaces(files: &[PathBuf]) {
    for file in files {
        detach(file);
        let _ = std::fs::remove_file(file);
    }
}

/// Whether something is mounted at exactly this path.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    points(&text).any(|point| point == path)
}

/// Unmounts whatever is mounted at a path, lazily; a symbolic link is not followed.
pub(crate) fn detach_all(path: &Path) -> io::Result<()> {
    for _ in 0..PASSES_MAX {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Mounts the view of a snapshot read-only, and on the machine without devices, set-user-id and executable files. Of these
/// flags, the mount that the runtime makes of it for a container keeps the first.
pub(crate) fn mount_view(view: &[Mount], target: &Path) -> io::Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for part in view {
        if part.options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind")) {
            mount(&*part.source, target, "", MountFlags::BIND | MountFlags::REC, None)?;
            mount_remount(target, MountFlags::BIND | flags, c"")?;
            continue;
        }
        let (data, _directories) = view_options(&part.options)?;
        mount(&*part.source, target, &*part.r#type, flags, Some(data.as_c_str()))?;
    }
    Ok(())
}

/// The options for the file system, without those that are flags. The layers are named by open directories: the kernel takes
/// one page of options, and the paths of an image's layers can be longer.
fn view_options(options: &[String]) -> io::Result<(CString, Vec<OwnedFd>)> {
    let mut directories = Vec::new();
    let mut words = Vec::with_capacity(options.len());
    for option in options.iter().filter(|option| !matches!(option.as_str(), "ro" | "rw")) {
        let Some(layers) = option.strip_prefix("lowerdir=") else {
            words.push(option.clone());
            continue;
        };
        let mut names = Vec::new();
        for layer in layers.split(':') {
            let directory =
                rustix::fs::open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            names.push(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            directories.push(directory);
        }
        words.push(format!("lowerdir={}", names.join(":")));
    }
    Ok((CString::new(words.join(","))?, directories))
}

/// Unmounts lazily, so that an open file does not block it.
fn detach(point: &Path) {
    if let Err(error) = unmount(point, UnmountFlags::DETACH)
        && !matches!(error, Errno::NOENT | Errno::INVAL)
    {
        tracing::warn!(point = %point.display(), %error, "cannot unmount");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_by_open_directories() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path.display().to_string()
        };
        let options =
            ["ro".to_owned(), "index=off".to_owned(), format!("lowerdir={}:{}", layer("a"), layer("b"))];
        let (data, directories) = view_options(&options).unwrap();
        let fds: Vec<String> =
            directories.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
        assert_eq!(data.to_str().unwrap(), format!("index=off,lowerdir={}", fds.join(":")));
        assert!(view_options(&["lowerdir=/missing".to_owned()]).is_err());
        assert!(!is_mount_point(dir.path()) && is_mount_point(Path::new("/proc")));
        detach_all(dir.path()).unwrap();
    }
}

//! Writes the entries of an archive into a sandbox, relative to its open directory and without following links: a path that
//! leads through a link is an error.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, linkat, symlinkat,
        unlinkat,
    },
    io::Errno,
};

use tokio_util::sync::CancellationToken;

use super::Interruptible;
use crate::runtime::sandbox::{Sandbox, open_beneath};

/// The kind of an entry, with what belongs to it.
enum Entry<'a> {
    File(&'a mut dyn Read),
    Directory,
    Symlink(PathBuf),
    /// The path of the other name, in the archive.
    HardLink(PathBuf),
}

/// The mode and modification time of an entry.
#[derive(Clone, Copy)]
struct Attributes {
    mode: Option<u32>,
    /// Seconds since 1970.
    modified: Option<i64>,
}

struct Unpacker<'a> {
    sandbox: &'a Sandbox,
    /// Directories get their attributes last: one without write permission must take its entries first.
    directories: Vec<(PathBuf, Attributes)>,
}

pub(super) fn untar(archive: impl Read, sandbox: &Sandbox) -> io::Result<()> {
    let mut unpacker = Unpacker { sandbox, directories: Vec::new() };
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().ok());
        let modified = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
        let path = entry.path()?.into_owned();
        let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "a link without a target");
        let content = match kind {
            tar::EntryType::Directory => Entry::Directory,
            tar::EntryType::Symlink => Entry::Symlink(link.ok_or_else(missing)?),
            tar::EntryType::Link => Entry::HardLink(link.ok_or_else(missing)?),
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                Entry::File(&mut entry)
            }
            // Devices and pipes.
            _ => continue,
        };
        unpacker.add(&path, content, Attributes { mode, modified })?;
    }
    unpacker.finish()
}

pub(super) fn unzip(
    archive: impl Read + Seek,
    sandbox: &Sandbox,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(archive).map_err(io::Error::other)?;
    let mut unpacker = Unpacker { sandbox, directories: Vec::new() };
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(io::Error::other)?;
        let attributes = Attributes { mode: entry.unix_mode(), modified: None };
        let path = PathBuf::from(entry.name().map_err(io::Error::other)?.into_owned());
        let mut interruptible;
        let content = if entry.is_dir() {
            Entry::Directory
        } else if entry.is_symlink() {
            let mut target = String::new();
            entry.read_to_string(&mut target)?;
            Entry::Symlink(target.into())
        } else {
            interruptible = Interruptible { inner: &mut entry, stop };
            Entry::File(&mut interruptible)
        };
        unpacker.add(&path, content, attributes)?;
    }
    unpacker.finish()
}

impl Unpacker<'_> {
    fn add(&mut self, path: &Path, entry: Entry<'_>, attributes: Attributes) -> io::Result<()> {
        // Entries outside the sandbox are left out, as GNU tar does.
        let Some(path) = inside(path).filter(|path| path.as_os_str() != "") else { return Ok(()) };
        if let Entry::Directory = entry {
            self.sandbox.create_directory(&path)?;
            self.directories.push((path, attributes));
            return Ok(());
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.sandbox.create_directory(path.parent().unwrap_or(Path::new("")))?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match entry {
            Entry::File(content) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let mut file = open_beneath(&parent, Path::new(name), flags)?;
                io::copy(content, &mut file)?;
                attributes.apply(&file)
            }
            Entry::Symlink(target) => Ok(symlinkat(target, &parent, name)?),
            Entry::HardLink(target) => {
                let outside = || io::Error::new(io::ErrorKind::InvalidData, "a hard link that leads outside");
                let target = inside(&target).ok_or_else(outside)?;
                let other = target.file_name().ok_or_else(outside)?;
                let from = self.sandbox.open_directory(target.parent().unwrap_or(Path::new("")))?;
                Ok(linkat(&from, other, &parent, name, AtFlags::empty())?)
            }
            Entry::Directory => unreachable!("invariant: returned above"),
        }
    }

    fn finish(self) -> io::Result<()> {
        for (path, attributes) in self.directories.into_iter().rev() {
            attributes.apply(&self.sandbox.open_directory(&path)?)?;
        }
        Ok(())
    }
}

impl Attributes {
    fn apply(self, file: &File) -> io::Result<()> {
        if let Some(mode) = self.mode {
            fchmod(file, Mode::from_raw_mode(mode & 0o7777))?;
        }
        if let Some(tv_sec) = self.modified {
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            futimens(file, &Timestamps { last_access, last_modification: Timespec { tv_sec, tv_nsec: 0 } })?;
        }
        Ok(())
    }
}

/// The path relative to the sandbox; `None` if it leads outside.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => inside.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => return None,
        }
    }
    Some(inside)
}

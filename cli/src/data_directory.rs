//! The data directory: locked by one process at a time, and refused if a newer version has written it.

pub mod elsewhere;
pub mod running;

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// The layout version that this binary writes. There is no older one yet to migrate from.
const FORMAT: u32 = 1;

/// Mode of the data directory: users of tasks pass through to their sandboxes, and list nothing.
const MODE: u32 = 0o711;
/// The subdirectories that only this process' user may enter.
const PRIVATE: [&str; 3] = ["node", "pki", "store"];
/// Attempts to lock the directory: a verb that looks whether something runs in it has the lock for microseconds.
const LOCK_TRIES_MAX: u32 = 10;
/// The pause between attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A data directory that this process has locked.
pub struct DataDirectory {
    path: PathBuf,
    /// Held until the process ends.
    _lock: File,
}

impl DataDirectory {
    /// Checks the layout version, then creates and locks the directory.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let format = path.join("format");
        if let Ok(text) = fs::read_to_string(&format) {
            let version: u32 = text
                .trim()
                .parse()
                .with_context(|| format!("{} holds no version number", format.display()))?;
            if version > FORMAT {
                bail!(
                    "{} was written by a newer catamaran (format {version}, this version supports {FORMAT}); use that version or another --data-dir",
                    path.display()
                );
            }
        }
        let lock = Self::lock(path)?;
        protect(path).with_context(|| format!("cannot protect {}", path.display()))?;
        if !format.exists() {
            fs::write(&format, format!("{FORMAT}\n"))
                .with_context(|| format!("cannot write {}", format.display()))?;
        }
        let path = fs::canonicalize(path).with_context(|| format!("cannot resolve {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    fn lock(path: &Path) -> anyhow::Result<File> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let file = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("cannot open {}", file.display()))?;
        for _ in 0..LOCK_TRIES_MAX {
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(lock);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        bail!("{} is in use by another catamaran; stop it, or use another --data-dir", path.display());
    }

    /// The directory, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Opens the way to the sandboxes in `agent`, whose private parts the agent protects, and closes the other subdirectories.
/// Files in the directory itself are written with modes of their own.
fn protect(path: &Path) -> std::io::Result<()> {
    for name in PRIVATE {
        match fs::DirBuilder::new().mode(0o700).create(path.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o700))?,
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
}

#[cfg(test)]
mod tests;

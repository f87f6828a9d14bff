//! The data directory: locked by one process at a time, and refused if a newer version has written it.

use std::{
    fs::{self, File},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// The layout version that this binary writes. There is no older one yet to migrate from.
const FORMAT: u32 = 1;

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
        if !format.exists() {
            fs::write(&format, format!("{FORMAT}\n"))
                .with_context(|| format!("cannot write {}", format.display()))?;
        }
        let path = fs::canonicalize(path).with_context(|| format!("cannot resolve {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    fn lock(path: &Path) -> anyhow::Result<File> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot protect {}", path.display()))?;
        let file = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("cannot open {}", file.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("{} is in use by another catamaran; stop it, or use another --data-dir", path.display());
        }
        Ok(lock)
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

#[cfg(test)]
mod tests;

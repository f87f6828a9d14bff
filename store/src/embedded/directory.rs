//! The data directory: its lock and its format version, both checked before any data is read or written.
//!
//! ```text
//! DIR/format   the format version, one line
//! DIR/lock     locked by the process that has the store open
//! DIR/tree/    fjall's files
//! DIR/reserve  room for deletions, see [`super::room`]
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// The format version that this program writes. It reads all older versions too.
pub const DATA_FORMAT_VERSION: u32 = 1;

/// The folder of fjall's files.
pub(super) const TREE: &str = "tree";

const FORMAT_WORD: &str = "catamaran-store";

/// A data directory that is locked as long as the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process between fork and exec still has it open.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, path = %self.path.display(), "unlocking the data directory failed");
        }
    }
}

impl Directory {
    /// Creates the directory if need be, locks it and checks its format.
    pub(super) fn open(path: &Path) -> Result<Directory, Error> {
        fs::create_dir_all(path).map_err(|error| unusable(path, &error))?;
        let format = read_format(path)?;
        let lock = File::create(path.join("lock")).map_err(|error| unusable(path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::DirectoryInUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(unusable(path, &error)),
        }
        if format.is_none() {
            write_format(path).map_err(|error| unusable(path, &error))?;
        }
        Ok(Directory { path: path.to_owned(), lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Directory { path: path.to_owned(), reason: error.to_string() }
}

/// The directory's format version; `None` if it holds no store yet.
fn read_format(path: &Path) -> Result<Option<u32>, Error> {
    let text = match fs::read_to_string(path.join("format")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match path.join(TREE).exists() {
                true => {
                    Err(Error::Damaged { reason: format!("{} has data but no format file", path.display()) })
                }
                false => Ok(None),
            };
        }
        Err(error) => return Err(unusable(path, &error)),
    };
    let found =
        text.strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim().parse().ok()).ok_or_else(|| {
            Error::Damaged { reason: format!("{} does not name a format", path.join("format").display()) }
        })?;
    if found > DATA_FORMAT_VERSION {
        return Err(Error::NewerFormat { path: path.to_owned(), found, supported: DATA_FORMAT_VERSION });
    }
    Ok(Some(found))
}

/// Writes the version atomically: a crash leaves either no file or a complete one.
fn write_format(path: &Path) -> std::io::Result<()> {
    let temporary = path.join("format.new");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT_WORD} {DATA_FORMAT_VERSION}")?;
    file.sync_all()?;
    fs::rename(&temporary, path.join("format"))?;
    File::open(path)?.sync_all()
}

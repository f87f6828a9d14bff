//! The room on the file system of the data directory, and a reserve of it for deletions.
//!
//! The reserve is a file of allocated, unused bytes. While it is there, a full file system still has room: the file is removed
//! when the rest is used up, so that objects can be deleted. It is allocated again when there is room for it.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The largest reserve: the size of fjall's journals, which are written before anything is freed by compaction.
const RESERVE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The part of a small file system that is reserved at most.
const RESERVE_SHARE: u64 = 16;
/// The part of the reserve's size that must be free beside it, for what is written between two checks.
const MARGIN_SHARE: u64 = 4;

/// Whether there is room. A trait so that tests can fill the disk.
pub(super) trait Room: fmt::Debug + Send + Sync {
    /// # Errors
    /// [`LowRoom`] if new keys must be refused.
    fn check(&self) -> Result<(), LowRoom>;
}

/// The reserve of a data directory.
#[derive(Debug)]
pub(super) struct Reserve {
    directory: PathBuf,
    bytes: u64,
    /// Whether the file is allocated.
    held: Mutex<bool>,
}

/// Too little room for new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LowRoom {
    /// Free bytes of the file system.
    pub(super) free: u64,
    /// How many bytes must be free.
    pub(super) needed: u64,
}

impl Reserve {
    /// Allocates the reserve below this directory, if there is room.
    pub(super) fn open(directory: &Path) -> std::io::Result<Reserve> {
        let total = statvfs(directory).map(|fs| fs.f_blocks.saturating_mul(fs.f_frsize))?;
        let reserve = Reserve {
            directory: directory.to_owned(),
            bytes: RESERVE_BYTES_MAX.min(total / RESERVE_SHARE),
            held: Mutex::new(false),
        };
        // A file of an earlier run may have another size.
        reserve.release()?;
        let _ = reserve.check();
        Ok(reserve)
    }

    fn free(&self) -> std::io::Result<u64> {
        Ok(statvfs(&self.directory).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))?)
    }

    fn file(&self) -> PathBuf {
        self.directory.join("reserve")
    }

    fn allocate(&self) -> std::io::Result<()> {
        let file = File::create(self.file())?;
        fallocate(&file, FallocateFlags::empty(), 0, self.bytes).inspect_err(|_| {
            // A part of the reserve would only take room away.
            let _ = self.release();
        })?;
        Ok(())
    }

    fn release(&self) -> std::io::Result<()> {
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Room for Reserve {
    /// Allocates the reserve if there is room for it, and releases it if nothing else is left.
    fn check(&self) -> Result<(), LowRoom> {
        let mut held = self.held.lock().expect("invariant: no panic under the reserve's lock");
        let margin = self.bytes / MARGIN_SHARE;
        let Ok(free) = self.free() else { return Ok(()) };
        match *held {
            true if free >= margin => Ok(()),
            true => {
                *held = self.release().is_err();
                Err(LowRoom { free, needed: margin })
            }
            false if free >= self.bytes + margin => {
                *held = self.allocate().is_ok();
                Ok(())
            }
            false => Err(LowRoom { free, needed: self.bytes + margin }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_released_only_when_the_rest_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(directory.path()).unwrap();
        assert_eq!(fs::metadata(reserve.file()).unwrap().len(), reserve.bytes, "there is room for it");
        assert_eq!(reserve.check(), Ok(()));

        // A reserve that no file system holds.
        let free = reserve.free().unwrap();
        let large = Reserve { bytes: free * MARGIN_SHARE * 2, held: Mutex::new(true), ..reserve };
        let low = large.check().unwrap_err();
        assert!(low.free < low.needed, "{low:?}");
        assert!(!large.file().exists(), "the reserve is released for deletions");
        large.check().unwrap_err();
    }
}

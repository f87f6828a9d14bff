//! The file of the audit log: when it is full, it is renamed to `NAME-TIME.EXT`, and old files are removed by number and age. Names
//! and defaults are upstream's.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shim_model::time::Instant;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The length of `2026-01-02T15-04-05`.
const SECONDS_LENGTH: usize = 19;

/// When the file is replaced, and which old ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The largest size of the file, in bytes; 0: it is never replaced.
    pub bytes_max: u64,
    /// The number of old files; 0: any.
    pub files_max: usize,
    /// How many days old files stay; 0: for ever.
    pub days_max: u32,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { bytes_max: 100 << 20, files_max: 100, days_max: 366 }
    }
}

/// The file that is being written.
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    out: BufWriter<File>,
    size: u64,
}

impl LogFile {
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<LogFile> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(LogFile { path: path.to_owned(), rotation, out: BufWriter::new(file), size })
    }

    /// Writes a line, to a new file if this one is full.
    pub fn line(&mut self, line: &str, now: SystemTime) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        let full = self.rotation.bytes_max > 0 && self.size + length > self.rotation.bytes_max;
        if full && self.size > 0 {
            self.rotate(now)?;
        }
        self.size += length;
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Whether everything is in the file.
    pub fn is_flushed(&self) -> bool {
        self.out.buffer().is_empty()
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        self.out.flush()?;
        match std::fs::rename(&self.path, self.old_name(now)) {
            // An earlier rotation could not open its new file.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.out = BufWriter::new(open(&self.path)?);
        self.size = 0;
        if let Err(error) = self.remove_old(now) {
            tracing::warn!(%error, path = %self.path.display(), "old audit logs cannot be removed");
        }
        Ok(())
    }

    /// The parts of the name before and after the time.
    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = match self.path.extension() {
            None => String::new(),
            some => format!(".{}", text(some)),
        };
        (format!("{}-", text(self.path.file_stem())), extension)
    }

    fn old_name(&self, now: SystemTime) -> PathBuf {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = Instant::from_seconds(i64::try_from(since.as_secs()).unwrap_or(0)).to_rfc3339();
        let time = seconds.trim_end_matches('Z').replace(':', "-");
        let (before, after) = self.parts();
        self.path.with_file_name(format!("{before}{time}.{:03}{after}", since.subsec_millis()))
    }

    /// Removes the files that are too many or too old. Other files of the directory have other names.
    fn remove_old(&self, now: SystemTime) -> io::Result<()> {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let (before, after) = self.parts();
        let mut old: Vec<(String, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&after));
            if let Some(time) = time.filter(|time| seconds_of(time).is_some()) {
                old.push((time.to_owned(), entry.path()));
            }
        }
        // The newest first: the names begin with the time.
        old.sort_unstable_by(|a, b| b.cmp(a));
        let Rotation { files_max, days_max, .. } = self.rotation;
        let oldest = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(DAY * days_max);
        let oldest = i64::try_from(oldest.as_secs()).unwrap_or(0);
        for (at, (time, path)) in old.iter().enumerate() {
            let too_many = files_max > 0 && at >= files_max;
            let too_old = days_max > 0 && seconds_of(time).is_some_and(|written| written < oldest);
            if too_many || too_old {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The time in the name of an old file.
fn seconds_of(time: &str) -> Option<i64> {
    let (date, clock) = time.get(..SECONDS_LENGTH)?.split_once('T')?;
    let parsed = Instant::parse(&format!("{date}T{}Z", clock.replace('-', ":")))?;
    Some(parsed.seconds())
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    // Objects in the log may contain secrets.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_full_file_is_renamed_and_old_ones_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(directory.path().join("audit-other.log"), "").unwrap();
        let rotation = Rotation { bytes_max: 10, files_max: 2, days_max: 1 };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut log = LogFile::open(&path, rotation).unwrap();
        for second in 0..4 {
            log.line("1234567", at(second)).unwrap();
        }
        log.flush().unwrap();
        assert!(log.is_flushed());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1234567\n");
        assert_eq!(
            files(directory.path()),
            [
                "audit-1970-01-01T00-00-02.000.log",
                "audit-1970-01-01T00-00-03.000.log",
                "audit-other.log",
                "audit.log"
            ]
        );
        // A line that is longer than a file is written to one of its own.
        log.line("12345678901234567890", at(3 * 24 * 3600)).unwrap();
        assert_eq!(
            files(directory.path()),
            ["audit-1970-01-04T00-00-00.000.log", "audit-other.log", "audit.log"]
        );
    }

    #[test]
    fn the_size_of_an_existing_file_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        std::fs::write(&path, "0123456789").unwrap();
        let rotation = Rotation { bytes_max: 12, ..Rotation::default() };
        LogFile::open(&path, rotation).unwrap().line("abc", UNIX_EPOCH).unwrap();
        assert_eq!(files(directory.path()), ["audit", "audit-1970-01-01T00-00-00.000"]);
        let never = Rotation { bytes_max: 0, ..rotation };
        let mut log = LogFile::open(&path, never).unwrap();
        (0..100).for_each(|_| log.line("abc", UNIX_EPOCH).unwrap());
        assert_eq!(files(directory.path()).len(), 2);
    }
}

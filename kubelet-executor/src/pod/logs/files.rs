//! Finds a container's log files.

use std::path::{Path, PathBuf};

use crate::config::Config;

/// The newest log directory of a deleted Pod, by namespace and name.
pub(crate) fn newest_of(config: &Config, namespace: &str, pod: &str) -> Option<PathBuf> {
    let prefix = format!("{namespace}_{pod}_");
    let entries = std::fs::read_dir(config.pods_dir()).ok()?.flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok())
        .map(|entry| entry.path())
}

/// The attempts with a log, ascending.
pub(crate) fn attempts(dir: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut attempts: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    attempts.sort_unstable();
    attempts
}

/// The rotated files of an attempt, oldest first.
pub(crate) fn rotated(dir: &Path, attempt: u32) -> Vec<PathBuf> {
    let prefix = format!("{attempt}.log.");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// The live file of an attempt.
pub(crate) fn live(dir: &Path, attempt: u32) -> PathBuf {
    dir.join(format!("{attempt}.log"))
}

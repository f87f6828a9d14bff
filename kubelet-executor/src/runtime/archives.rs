//! The directory of image archives: each one that is new or changed is imported, when the runtime has
//! started and whenever its process is looked at.

use std::{
    collections::BTreeSet,
    fs::{Metadata, ReadDir},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::images;

/// A file that was changed more recently may still be written.
const SETTLED_AFTER: Duration = Duration::from_millis(800);

/// The archives of a directory, and which of them the runtime has.
pub(crate) struct Archives {
    dir: PathBuf,
    socket: PathBuf,
    /// Where the imported ones are recorded: beside the runtime's images, so that both are removed together.
    record: PathBuf,
    /// Those of the directory's files that were imported, each with its length and time of change.
    imported: BTreeSet<String>,
    /// Those that are broken and not tried again before they change.
    broken: BTreeSet<String>,
}

impl Archives {
    pub fn open(dir: PathBuf, socket: PathBuf, record: PathBuf) -> Self {
        let text = std::fs::read_to_string(&record).unwrap_or_default();
        let imported = text.lines().map(str::to_owned).collect();
        Self { dir, socket, record, imported, broken: BTreeSet::new() }
    }

    /// Imports what is new or changed. Without anything new, this is one `stat` for each archive.
    pub async fn import_new(&mut self) {
        let settled_before = SystemTime::now() - SETTLED_AFTER;
        let candidates = self.candidates(settled_before);
        self.import(candidates).await;
    }

    /// The same at the start of the runtime, before the first Pod: also what was written just now.
    pub async fn import_all(&mut self) {
        let candidates = self.candidates(SystemTime::now() + SETTLED_AFTER);
        self.import(candidates).await;
    }

    async fn import(&mut self, candidates: Vec<(PathBuf, String)>) {
        for (path, version) in candidates {
            let archive = path.display();
            match images::import(&self.socket, &path).await {
                Ok(names) => {
                    tracing::info!(%archive, images = ?names, "image archive imported");
                    self.imported.insert(version);
                    self.write_record();
                }
                // A broken archive must not keep the node from running everything else.
                Err(error) => {
                    tracing::warn!(%archive, error = %Chain(&error), "cannot import image archive");
                    self.broken.insert(version);
                }
            }
        }
    }

    /// Archives that are neither imported nor broken, and not written after this time, with their versions, ordered by path.
    /// Versions without a file are forgotten, so that there are never more than files.
    fn candidates(&mut self, settled_before: SystemTime) -> Vec<(PathBuf, String)> {
        // A directory that cannot be read says nothing about its files.
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let mut present = BTreeSet::new();
        let mut found = Vec::new();
        for path in archives(entries) {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let version = version(&path, &metadata);
            let is_new = !self.imported.contains(&version) && !self.broken.contains(&version);
            if is_new && is_settled(&metadata, settled_before) {
                found.push((path, version.clone()));
            }
            present.insert(version);
        }
        self.broken.retain(|version| present.contains(version));
        let before = self.imported.len();
        self.imported.retain(|version| present.contains(version));
        if self.imported.len() < before {
            self.write_record();
        }
        found
    }

    fn write_record(&self) {
        let lines = self.imported.iter().fold(String::new(), |text, version| text + version + "\n");
        if let Err(error) = std::fs::write(&self.record, lines) {
            tracing::warn!(%error, "cannot write the record of imported images");
        }
    }
}

/// The archives of a directory, ordered by path; none if it cannot be read.
pub(super) fn of_directory(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).map(archives).unwrap_or_default()
}

fn archives(entries: ReadDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_archive(path)).collect();
    paths.sort();
    paths
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let named =
        !name.starts_with('.') && [".tar", ".tar.gz", ".tgz"].iter().any(|suffix| name.ends_with(suffix));
    named && path.is_file()
}

fn version(path: &Path, metadata: &Metadata) -> String {
    let changed = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{} {} {name}", metadata.len(), changed.unwrap_or_default().as_nanos())
}

fn is_settled(metadata: &Metadata, settled_before: SystemTime) -> bool {
    metadata.modified().is_ok_and(|changed| changed <= settled_before)
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source())
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_changed_archives_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join(".imported");
        let open = || Archives::open(dir.path().to_owned(), PathBuf::new(), record.clone());
        let mut archives = open();
        let later = || SystemTime::now() + Duration::from_secs(5);
        let names = |archives: &mut Archives, now| -> Vec<String> {
            let found = archives.candidates(now).into_iter();
            found.map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        for name in ["a.tar", "b.tar.gz", "c.tgz", ".hidden.tar", "note.txt"] {
            std::fs::write(dir.path().join(name), "1").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.tar")).unwrap();
        let earlier = SystemTime::now() - Duration::from_secs(5);
        assert_eq!(names(&mut archives, earlier), [""; 0], "they may still be written");
        assert_eq!(names(&mut archives, later()), ["a.tar", "b.tar.gz", "c.tgz"]);
        let found = archives.candidates(later());
        archives.imported.extend(found.into_iter().map(|(_, version)| version));
        archives.write_record();
        assert_eq!(names(&mut open(), later()), [""; 0], "after a restart");
        std::fs::write(dir.path().join("a.tar"), "changed").unwrap();
        archives = open();
        assert_eq!(names(&mut archives, later()), ["a.tar"]);
        // What is recorded of files that have changed or are gone is forgotten.
        assert_eq!(archives.imported.len(), 2);
        std::fs::remove_file(dir.path().join("b.tar.gz")).unwrap();
        let gone = String::from("1 0 gone.tar");
        archives.broken.insert(gone);
        assert_eq!(names(&mut archives, later()), ["a.tar"]);
        assert_eq!((archives.imported.len(), archives.broken.len()), (1, 0));
        assert_eq!(std::fs::read_to_string(&record).unwrap().lines().count(), 1);
        // Without the runtime's images, there is no record either.
        std::fs::remove_file(&record).unwrap();
        assert_eq!(names(&mut open(), later()), ["a.tar", "c.tgz"]);
    }
}

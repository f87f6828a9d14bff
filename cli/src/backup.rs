//! `catamaran backup` and `catamaran restore`: the store, the cluster's keys and the credentials of a server in one file.
//!
//! The file is a tar archive of the data directory's own files and of `pki/`, with a snapshot of the store at one revision. A
//! machine's Pods, tasks and images are no part of it.

pub mod snapshot;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde_json::json;
use store::{EmbeddedStore, ListRequest, Store};

use crate::{
    arguments::verbs::{BackupArguments, RestoreArguments},
    control,
    data_directory::{DataDirectory, elsewhere, running},
    output, runtime,
};

/// The snapshot of the store in the archive.
const SNAPSHOT: &str = "store.snapshot";
/// The file that names the layout version; written last, so that half a restore is none.
const FORMAT: &str = "format";
/// Files of a running process, which mean nothing to another one.
const OWN: [&str; 3] = ["lock", "running.json", "control.sock"];
/// The longest file in an archive beside the snapshot: keys, certificates, credentials.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// `catamaran backup`.
pub fn back_up(arguments: &BackupArguments) -> anyhow::Result<()> {
    let data = running::choose(arguments.data_dir.as_deref());
    ensure!(
        data.join(FORMAT).exists() && data.join("pki").is_dir(),
        "there is no server's data in {}; name it with --data-dir{}",
        data.display(),
        elsewhere::hint(&data)
    );
    let mut result = None;
    runtime::block_on(async {
        result = Some(snapshot_of(&data).await?);
        Ok(())
    })?;
    let snapshot = result.context("the store was not read")?;
    // Also a check: what cannot be read now cannot be restored.
    let read = snapshot::read(&snapshot)?;
    let archive = archive_of(&data, &snapshot)?;
    if arguments.file == Path::new("-") {
        let mut stdout = io::stdout();
        stdout.write_all(&archive).and_then(|()| stdout.flush()).context("cannot write the backup")?;
        return Ok(());
    }
    write_new(&arguments.file, &archive)?;
    let (file, keys, revision) = (arguments.file.display().to_string(), read.kvs.len(), read.revision.0);
    arguments.output.print(
        || {
            format!(
                "{file}: {} with {keys} keys at revision {revision}\nIt contains the cluster's private keys: store it as you \
                 would store them.",
                output::bytes(archive.len() as u64)
            )
        },
        || json!({"file": file, "bytes": archive.len(), "keys": keys, "revision": revision}),
    );
    Ok(())
}

/// A snapshot of the store: of the running server, or read here if none runs.
async fn snapshot_of(data: &Path) -> anyhow::Result<Bytes> {
    if running::is_locked(data) {
        return control::snapshot_of_running(data).await.map(Bytes::from);
    }
    let directory = DataDirectory::open(data)?;
    let is_empty = fs::read_dir(directory.join("store"))?.next().is_none();
    ensure!(
        !is_empty,
        "{} has no embedded store: start the server, or back up the etcd that has its objects",
        data.display()
    );
    let store = EmbeddedStore::open(&directory.join("store"))?;
    let listing = store.list(ListRequest::prefix("")).await?;
    let mut bytes = Vec::new();
    snapshot::write_head(&mut bytes, listing.revision, listing.kvs.len());
    listing.kvs.iter().for_each(|kv| snapshot::write_entry(&mut bytes, kv));
    Ok(bytes.into())
}

fn archive_of(data: &Path, snapshot: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, name, content)
    };
    for directory in ["", "pki"] {
        let path = data.join(directory);
        let mut entries = fs::read_dir(&path)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .with_context(|| format!("cannot read {}", path.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if OWN.contains(&name.as_str())
                || !entry.metadata().is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX)
            {
                continue;
            }
            let read = || -> io::Result<(u32, Vec<u8>)> {
                Ok((entry.metadata()?.permissions().mode() & 0o777, fs::read(entry.path())?))
            };
            let (mode, content) =
                read().with_context(|| format!("cannot read {}", entry.path().display()))?;
            let name = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            add(&name, mode, &content)?;
        }
    }
    add(SNAPSHOT, 0o600, snapshot)?;
    archive.into_inner().context("cannot write the backup")
}

/// Writes a file that only this user can read, whole or not at all.
fn write_new(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let write = || {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// `catamaran restore`.
pub fn restore(arguments: &RestoreArguments) -> anyhow::Result<()> {
    let data = std::path::absolute(&arguments.data_dir)?;
    if data.exists() {
        let mut entries = fs::read_dir(&data).with_context(|| format!("cannot read {}", data.display()))?;
        if entries.next().is_some() {
            bail!("{} is not empty: a backup is restored into an empty data directory only", data.display());
        }
    }
    let archive: Box<dyn Read> = match arguments.file == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(
            File::open(&arguments.file)
                .with_context(|| format!("cannot read {}", arguments.file.display()))?,
        ),
    };
    let files = read_archive(archive).context("this is no backup of a server")?;
    let snapshot = files.iter().find(|file| file.path == Path::new(SNAPSHOT));
    let snapshot = snapshot.context("the backup has no snapshot of the store")?;
    let snapshot = snapshot::read(&snapshot.content)?;
    let format =
        files.iter().find(|file| file.path == Path::new(FORMAT)).context("the backup has no format")?;
    for file in files.iter().filter(|file| file.path != Path::new(SNAPSHOT) && file.path != Path::new(FORMAT))
    {
        file.write_below(&data)?;
    }
    EmbeddedStore::restore(&data.join("store"), &snapshot.kvs, snapshot.revision)?;
    format.write_below(&data)?;
    // Checks the format, and sets the modes of the directories.
    drop(DataDirectory::open(&data)?);
    let (keys, revision) = (snapshot.kvs.len(), snapshot.revision.0);
    arguments.output.print(
        || {
            format!(
                "restored {keys} keys at revision {revision}; start the server with --data-dir {}",
                data.display()
            )
        },
        || json!({"dataDir": data, "keys": keys, "revision": revision}),
    );
    Ok(())
}

/// A file of a backup.
struct ArchivedFile {
    path: PathBuf,
    mode: u32,
    content: Bytes,
}

impl ArchivedFile {
    fn write_below(&self, data: &Path) -> anyhow::Result<()> {
        let path = data.join(&self.path);
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = File::options().write(true).create_new(true).mode(self.mode).open(&path)?;
            file.write_all(&self.content)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Reads a whole backup before anything is written.
fn read_archive(archive: impl Read) -> anyhow::Result<Vec<ArchivedFile>> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let harmless = path.components().all(|part| matches!(part, Component::Normal(_)));
        let known = path.components().count() == 1 || path.parent() == Some(Path::new("pki"));
        ensure!(
            harmless && known && entry.header().entry_type().is_file(),
            "unexpected entry {}",
            path.display()
        );
        let mode = entry.header().mode()? & 0o777;
        let longest = if path == Path::new(SNAPSHOT) { u64::MAX } else { FILE_BYTES_MAX };
        ensure!(entry.size() <= longest, "entry {} is too long", path.display());
        let mut content = Vec::new();
        let expected = entry.size();
        entry.take(expected).read_to_end(&mut content)?;
        ensure!(content.len() as u64 == expected, "the archive is cut short");
        files.push(ArchivedFile { path, mode, content: content.into() });
    }
    Ok(files)
}

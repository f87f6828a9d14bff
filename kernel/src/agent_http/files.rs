//! Access to sandboxes over HTTP: listing, reading and downloading their files, and no other file of the machine.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hyper::StatusCode;
use kernel_model::ids::is_legal;
use kernel_wire::v1::{
    self,
    agent::{Response, call, response},
};

use super::{Handlers, agent_stopped};
use crate::http::{Answer, negotiate::text};

/// Most bytes per read (upstream: 16 pages).
pub(super) const READ_MAX: u64 = 64 * 1024;

/// Most bytes per download, which is held in memory.
const DOWNLOAD_MAX: u64 = 64 << 20;

/// An entry of a directory.
pub(super) struct DirectoryEntry {
    pub(super) path: String,
    pub(super) metadata: fs::Metadata,
}

/// A part of a file.
pub(super) struct FileRange {
    pub(super) size: u64,
    pub(super) data: Vec<u8>,
}

/// Resolves a client's path: a real path, or a virtual one `/frameworks/<id>/executors/<id>/runs/<id|latest>/…`.
async fn resolve(handlers: &Handlers, requested: &str) -> Result<PathBuf, Answer> {
    let agent_id = handlers.queue.read(|agent| agent.id().cloned()).await.map_err(|_| agent_stopped())?;
    let slaves = handlers.runtime.paths().work_dir().join("slaves");
    let requested = requested.to_owned();
    let read = move || -> Option<PathBuf> {
        let root = fs::canonicalize(&slaves).ok()?;
        let virtual_path = requested.trim_start_matches('/').starts_with("frameworks/");
        let path = match (virtual_path, agent_id) {
            (true, Some(agent_id)) if is_legal(agent_id.as_str()) => {
                root.join(agent_id.as_str()).join(requested.trim_start_matches('/'))
            }
            _ => PathBuf::from(&requested),
        };
        // Symbolic links and dots are resolved before the check.
        let real = fs::canonicalize(path).ok()?;
        real.starts_with(&root).then_some(real)
    };
    let found = tokio::task::spawn_blocking(read).await.ok().flatten();
    found.ok_or_else(|| text(StatusCode::NOT_FOUND, "Failed to find the requested path"))
}

/// The entries of a directory, ordered by name.
pub(super) async fn browse(handlers: &Handlers, requested: &str) -> Result<Vec<DirectoryEntry>, Answer> {
    let path = resolve(handlers, requested).await?;
    let shown = requested.trim_end_matches('/').to_owned();
    let list = move || {
        let mut entries: Vec<DirectoryEntry> = fs::read_dir(&path)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let path = format!("{shown}/{}", name.to_string_lossy());
                Some(DirectoryEntry { path, metadata: fs::metadata(entry.path()).ok()? })
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Some(entries)
    };
    let listed = tokio::task::spawn_blocking(list).await.ok().flatten();
    listed.ok_or_else(|| text(StatusCode::BAD_REQUEST, "The path is not a directory"))
}

/// A part of a file of at most `length` bytes.
pub(super) async fn range(
    handlers: &Handlers,
    requested: &str,
    offset: u64,
    length: u64,
) -> Result<FileRange, Answer> {
    let path = resolve(handlers, requested).await?;
    let read = move || read_range(&path, offset, length);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(Some(range))) => Ok(range),
        Ok(Ok(None)) => Err(text(StatusCode::BAD_REQUEST, "Cannot read from a directory")),
        _ => Err(text(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read")),
    }
}

fn read_range(path: &Path, offset: u64, length: u64) -> std::io::Result<Option<FileRange>> {
    let mut file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut data = Vec::new();
    if length > 0 && offset < metadata.len() {
        file.seek(SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut data)?;
    }
    Ok(Some(FileRange { size: metadata.len(), data }))
}

pub(super) async fn download(handlers: &Handlers, requested: &str) -> Result<Bytes, Answer> {
    let range = range(handlers, requested, 0, DOWNLOAD_MAX).await?;
    if range.size > DOWNLOAD_MAX {
        let sentence = format!("The file is longer than {DOWNLOAD_MAX} bytes; read it in parts");
        return Err(text(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(range.data.into())
}

/// LIST_FILES.
pub(super) async fn list(handlers: &Handlers, requested: &str) -> Result<Response, Answer> {
    let entries = browse(handlers, requested).await?;
    let info = |entry: &DirectoryEntry| v1::FileInfo {
        path: entry.path.clone(),
        nlink: i32::try_from(entry.metadata.nlink()).ok(),
        size: Some(entry.metadata.len()),
        mtime: Some(v1::TimeInfo { nanoseconds: entry.metadata.mtime().saturating_mul(1_000_000_000) }),
        mode: Some(entry.metadata.mode()),
        uid: Some(entry.metadata.uid().to_string()),
        gid: Some(entry.metadata.gid().to_string()),
    };
    Ok(Response {
        r#type: Some(response::Type::ListFiles as i32),
        list_files: Some(response::ListFiles { file_infos: entries.iter().map(info).collect() }),
        ..Default::default()
    })
}

/// READ_FILE.
pub(super) async fn read(handlers: &Handlers, requested: &call::ReadFile) -> Result<Response, Answer> {
    let length = requested.length.unwrap_or(READ_MAX).min(DOWNLOAD_MAX);
    let range = range(handlers, &requested.path, requested.offset, length).await?;
    Ok(Response {
        r#type: Some(response::Type::ReadFile as i32),
        read_file: Some(response::ReadFile { size: range.size, data: range.data.into() }),
        ..Default::default()
    })
}

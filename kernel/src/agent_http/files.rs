//! Sandboxes through HTTP: listing, reading and downloading what lies in them, and nothing else of the machine.

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

use super::{Door, gone};
use crate::http::{Answer, negotiate::text};

/// The most that one read returns (upstream: 16 pages).
pub(super) const READ_MAX: u64 = 64 * 1024;

/// The most that one download returns: it is held in memory.
const DOWNLOAD_MAX: u64 = 64 << 20;

/// One entry of a directory.
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) metadata: fs::Metadata,
}

/// A part of a file.
pub(super) struct Part {
    pub(super) size: u64,
    pub(super) data: Vec<u8>,
}

/// Finds what a client names: the real path, or the virtual one `/frameworks/<id>/executors/<id>/runs/<id|latest>/…`.
async fn resolve(door: &Door, wanted: &str) -> Result<PathBuf, Answer> {
    let agent_id = door.queue.read(|agent| agent.id().cloned()).await.map_err(|_| gone())?;
    let slaves = door.runtime.paths().work_dir().join("slaves");
    let wanted = wanted.to_owned();
    let look = move || -> Option<PathBuf> {
        let root = fs::canonicalize(&slaves).ok()?;
        let virtual_path = wanted.trim_start_matches('/').starts_with("frameworks/");
        let path = match (virtual_path, agent_id) {
            (true, Some(agent_id)) if is_legal(agent_id.as_str()) => {
                root.join(agent_id.as_str()).join(wanted.trim_start_matches('/'))
            }
            _ => PathBuf::from(&wanted),
        };
        // Links and dots are followed first: what counts is where the path leads.
        let real = fs::canonicalize(path).ok()?;
        real.starts_with(&root).then_some(real)
    };
    let found = tokio::task::spawn_blocking(look).await.ok().flatten();
    found.ok_or_else(|| text(StatusCode::NOT_FOUND, "Failed to find the requested path"))
}

/// The entries of a directory, by name.
pub(super) async fn browse(door: &Door, wanted: &str) -> Result<Vec<Entry>, Answer> {
    let path = resolve(door, wanted).await?;
    let shown = wanted.trim_end_matches('/').to_owned();
    let list = move || {
        let mut entries: Vec<Entry> = fs::read_dir(&path)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let path = format!("{shown}/{}", name.to_string_lossy());
                Some(Entry { path, metadata: fs::metadata(entry.path()).ok()? })
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Some(entries)
    };
    let listed = tokio::task::spawn_blocking(list).await.ok().flatten();
    listed.ok_or_else(|| text(StatusCode::BAD_REQUEST, "The path is not a directory"))
}

/// A part of a file, `length` bytes at most.
pub(super) async fn part(door: &Door, wanted: &str, offset: u64, length: u64) -> Result<Part, Answer> {
    let path = resolve(door, wanted).await?;
    let read = move || read_part(&path, offset, length);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(Some(part))) => Ok(part),
        Ok(Ok(None)) => Err(text(StatusCode::BAD_REQUEST, "Cannot read from a directory")),
        _ => Err(text(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read")),
    }
}

fn read_part(path: &Path, offset: u64, length: u64) -> std::io::Result<Option<Part>> {
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
    Ok(Some(Part { size: metadata.len(), data }))
}

/// A whole file.
pub(super) async fn download(door: &Door, wanted: &str) -> Result<Bytes, Answer> {
    let part = part(door, wanted, 0, DOWNLOAD_MAX).await?;
    if part.size > DOWNLOAD_MAX {
        let sentence = format!("The file is longer than {DOWNLOAD_MAX} bytes; read it in parts");
        return Err(text(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    }
    Ok(part.data.into())
}

/// LIST_FILES.
pub(super) async fn list(door: &Door, wanted: &str) -> Result<Response, Answer> {
    let entries = browse(door, wanted).await?;
    let info = |entry: &Entry| v1::FileInfo {
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
pub(super) async fn read(door: &Door, wanted: &call::ReadFile) -> Result<Response, Answer> {
    let length = wanted.length.unwrap_or(READ_MAX).min(DOWNLOAD_MAX);
    let part = part(door, &wanted.path, wanted.offset, length).await?;
    Ok(Response {
        r#type: Some(response::Type::ReadFile as i32),
        read_file: Some(response::ReadFile { size: part.size, data: part.data.into() }),
        ..Default::default()
    })
}

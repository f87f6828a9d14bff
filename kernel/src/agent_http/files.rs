//! Access to sandboxes over HTTP: listing, reading and downloading their files, and no other file of the machine. Named
//! pipes, sockets and devices are refused without being opened.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Frame, SizeHint},
};
use kernel_model::ids::{AgentId, is_legal};
use kernel_wire::v1::{
    self,
    agent::{Response as WireResponse, call, response},
};
use rustix::fs::OFlags;

use super::{Handlers, agent_stopped, file_pool::FilePool};
use crate::{
    http::{Answer, negotiate::text},
    runtime::sandbox::open_beneath,
};

/// Most bytes per read (upstream: 16 pages).
pub(super) const READ_MAX: u64 = 64 * 1024;

/// Most entries of a directory that are listed: they are sorted in memory.
const ENTRIES_MAX: usize = 100_000;

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

/// Why a file is not served.
enum FileError {
    NotFound,
    /// With the sentence for the client.
    Refused(&'static str),
    Unreadable(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<FileError> for Answer {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotFound => text(StatusCode::NOT_FOUND, "Failed to find the requested path"),
            FileError::Refused(why) => text(StatusCode::BAD_REQUEST, why),
            FileError::Unreadable(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("Failed to open file: {error}.\n"))
            }
        }
    }
}

/// A client's path and what it is relative to.
struct RequestedPath {
    /// The directory of all sandboxes.
    slaves: PathBuf,
    agent_id: Option<AgentId>,
    /// A real path, or a virtual one `/frameworks/<id>/executors/<id>/runs/<id|latest>/…`.
    path: String,
}

impl RequestedPath {
    async fn of(handlers: &Handlers, path: &str) -> Result<Self, Answer> {
        let agent_id = handlers.queue.read(|agent| agent.id().cloned()).await.map_err(|_| agent_stopped())?;
        let slaves = handlers.runtime.paths().work_dir().join("slaves");
        Ok(Self { slaves, agent_id, path: path.to_owned() })
    }

    /// Finds the file without opening it. Blocks.
    fn find(&self) -> Result<(File, fs::Metadata), FileError> {
        let root = fs::canonicalize(&self.slaves).map_err(|_| FileError::NotFound)?;
        let virtual_path = self.path.trim_start_matches('/');
        let path = match (virtual_path.starts_with("frameworks/"), &self.agent_id) {
            (true, Some(agent_id)) if is_legal(agent_id.as_str()) => {
                root.join(agent_id.as_str()).join(virtual_path)
            }
            _ => PathBuf::from(&self.path),
        };
        // Links are resolved first and not followed afterwards: a task may change them meanwhile.
        let real = fs::canonicalize(path).map_err(|_| FileError::NotFound)?;
        let relative = real.strip_prefix(&root).map_err(|_| FileError::NotFound)?;
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let directory = File::open(&root)?;
        let file = open_beneath(&directory, relative, OFlags::PATH)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// Opens a regular file. Blocks.
    fn open(&self, on_directory: &'static str) -> Result<(File, u64), FileError> {
        let (file, metadata) = self.find()?;
        if metadata.is_dir() {
            return Err(FileError::Refused(on_directory));
        }
        if !metadata.is_file() {
            return Err(FileError::Refused("Cannot read a file that is not a regular file.\n"));
        }
        Ok((reopen(&file)?, metadata.len()))
    }
}

/// Opens for reading what was opened as a path only.
fn reopen(file: &File) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The entries of a directory, ordered by name. A file has none, as in Mesos.
pub(super) async fn browse(handlers: &Handlers, requested: &str) -> Result<Vec<DirectoryEntry>, Answer> {
    let path = RequestedPath::of(handlers, requested).await?;
    let shown = requested.trim_end_matches('/').to_owned();
    handlers.files.run(move || list_entries(&path, &shown)).await?.map_err(Answer::from)
}

fn list_entries(path: &RequestedPath, shown: &str) -> Result<Vec<DirectoryEntry>, FileError> {
    let (file, metadata) = path.find()?;
    let mut entries = Vec::new();
    if !metadata.is_dir() {
        return Ok(entries);
    }
    for entry in fs::read_dir(format!("/proc/self/fd/{}", file.as_raw_fd()))?.flatten() {
        if entries.len() == ENTRIES_MAX {
            return Err(FileError::Refused("The directory has too many entries to be listed.\n"));
        }
        // Like stat(2), which follows links; Mesos leaves out those that lead nowhere.
        if let Ok(metadata) = fs::metadata(entry.path()) {
            let path = format!("{shown}/{}", entry.file_name().to_string_lossy());
            entries.push(DirectoryEntry { path, metadata });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// A part of a file of at most `length` bytes.
pub(super) async fn range(
    handlers: &Handlers,
    requested: &str,
    offset: u64,
    length: u64,
) -> Result<FileRange, Answer> {
    let path = RequestedPath::of(handlers, requested).await?;
    let read = move || -> Result<FileRange, FileError> {
        let (file, size) = path.open("Cannot read a directory.\n")?;
        let length = length.min(READ_MAX).min(size.saturating_sub(offset));
        Ok(FileRange { size, data: read_part(&file, offset, length)? })
    };
    handlers.files.run(read).await?.map_err(Answer::from)
}

/// Reads up to `length` bytes; less at the end of the file.
fn read_part(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// A whole file, read part by part as the client takes it.
pub(super) async fn download(handlers: &Handlers, requested: &str) -> Result<Answer, Answer> {
    let path = RequestedPath::of(handlers, requested).await?;
    let open = move || path.open("Cannot download a directory.\n");
    let (file, size) = handlers.files.run(open).await?.map_err(Answer::from)?;
    let body = Download { file: Arc::new(file), at: 0, size, pool: handlers.files.clone(), part: None };
    Ok(Response::new(body.boxed_unsync()))
}

type Part = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// The body of a download. A file that becomes shorter ends it early, which breaks the connection off.
struct Download {
    file: Arc<File>,
    at: u64,
    size: u64,
    pool: FilePool,
    part: Option<Part>,
}

impl Download {
    fn next_part(&self) -> Part {
        let (pool, file, at) = (self.pool.clone(), self.file.clone(), self.at);
        let length = READ_MAX.min(self.size - self.at);
        Box::pin(async move {
            let data = pool.run(move || read_part(&file, at, length)).await.ok()?.ok()?;
            (!data.is_empty()).then(|| data.into())
        })
    }
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if hyper::body::Body::is_end_stream(&*self) {
            return Poll::Ready(None);
        }
        let mut part = self.part.take().unwrap_or_else(|| self.next_part());
        match part.as_mut().poll(cx) {
            Poll::Pending => {
                self.part = Some(part);
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(data)) => {
                self.at += data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.at)
    }
}

/// LIST_FILES.
pub(super) async fn list(handlers: &Handlers, requested: &str) -> Result<WireResponse, Answer> {
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
    Ok(WireResponse {
        r#type: Some(response::Type::ListFiles as i32),
        list_files: Some(response::ListFiles { file_infos: entries.iter().map(info).collect() }),
        ..Default::default()
    })
}

/// READ_FILE.
pub(super) async fn read(handlers: &Handlers, requested: &call::ReadFile) -> Result<WireResponse, Answer> {
    let length = requested.length.unwrap_or(READ_MAX);
    let range = range(handlers, &requested.path, requested.offset, length).await?;
    Ok(WireResponse {
        r#type: Some(response::Type::ReadFile as i32),
        read_file: Some(response::ReadFile { size: range.size, data: range.data.into() }),
        ..Default::default()
    })
}

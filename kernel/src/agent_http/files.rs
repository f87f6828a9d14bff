//! Access to sandboxes over HTTP: listing, reading and downloading their files, and no other file of the machine. Named
//! pipes, sockets and devices are refused without being opened.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Component, Path, PathBuf},
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

use super::{Handlers, agent_stopped, file_pages::OwnerNames, file_pool::FilePool};
use crate::{
    http::{
        Answer,
        negotiate::{not_found, text},
    },
    runtime::sandbox::open_beneath,
};

/// Most bytes per read (upstream: 16 pages).
pub(super) const READ_MAX: u64 = 64 * 1024;

/// Most entries of a directory that are listed: they are sorted in memory.
const ENTRIES_MAX: usize = 100_000;

/// A part of a file.
pub(super) struct FileRange {
    pub(super) size: u64,
    pub(super) data: Vec<u8>,
}

/// Why a file is not served.
enum FileError {
    NotFound,
    /// With the sentence for the client.
    Refused(String),
    Unreadable(PathBuf, io::Error),
}

impl FileError {
    fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Unreadable(path.to_owned(), error)
    }
}

impl From<FileError> for Answer {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotFound => text(StatusCode::NOT_FOUND, ""),
            FileError::Refused(why) => text(StatusCode::BAD_REQUEST, why),
            FileError::Unreadable(path, error) => {
                let why = format!("Failed to open file at '{}': {}.\n", path.display(), strerror(&error));
                text(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
        }
    }
}

/// The system's text for an error, without its number.
fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

/// A client's path below a sandbox.
struct RequestedPath {
    /// The directory of all sandboxes.
    slaves: PathBuf,
    /// The directory of the executor's runs, relative to `slaves`. It is the same for all forms of a path.
    runs: Arc<str>,
    /// The name of a run: the id of its container, or `latest`.
    run: String,
    /// The path below the sandbox.
    rest: PathBuf,
}

impl RequestedPath {
    /// Reads a real path, or a virtual one `/frameworks/<id>/executors/<id>/runs/<id|latest>/…`. Other paths lead nowhere.
    async fn of(handlers: &Handlers, path: &str) -> Result<Self, Answer> {
        let agent_id = handlers.queue.read(|agent| agent.id().cloned()).await.map_err(|_| agent_stopped())?;
        let slaves = handlers.runtime.paths().work_dir().join("slaves");
        Self::parse(slaves, agent_id.as_ref(), path).ok_or_else(|| FileError::NotFound.into())
    }

    fn parse(slaves: PathBuf, agent_id: Option<&AgentId>, path: &str) -> Option<Self> {
        let canonical = fs::canonicalize(&slaves).ok()?;
        let path = Path::new(path);
        let below = path.strip_prefix(&slaves).or_else(|_| path.strip_prefix(&canonical));
        let below = match below {
            Ok(below) => below.to_owned(),
            Err(_) => Path::new(agent_id?.as_str()).join(path.strip_prefix("/").unwrap_or(path)),
        };
        let mut parts = below.components();
        let mut next = || match parts.next() {
            Some(Component::Normal(part)) => part.to_str().filter(|part| is_legal(part)),
            _ => None,
        };
        let mut runs = next()?.to_owned();
        for folder in ["frameworks", "executors"] {
            let (name, id) = (next()?, next()?);
            if name != folder {
                return None;
            }
            runs += &format!("/{folder}/{id}");
        }
        if next()? != "runs" {
            return None;
        }
        let run = next()?.to_owned();
        let rest = parts.as_path().to_owned();
        Some(Self { slaves: canonical, runs: (runs + "/runs").into(), run, rest })
    }

    /// Finds the file without opening it. Blocks.
    fn find(&self) -> Result<FoundFile, FileError> {
        let sandbox = fs::canonicalize(self.slaves.join(&*self.runs).join(&self.run));
        let sandbox = sandbox.map_err(|_| FileError::NotFound)?;
        sandbox.strip_prefix(&self.slaves).map_err(|_| FileError::NotFound)?;
        // Links are resolved first and not followed afterwards: a task may change them meanwhile.
        let path = sandbox.join(&self.rest);
        let real = fs::canonicalize(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileError::NotFound,
            _ => {
                let why = strerror(&error);
                let path = path.display();
                FileError::Refused(format!("Failed to determine canonical path of '{path}': {why}.\n"))
            }
        })?;
        let relative = real
            .strip_prefix(&sandbox)
            .map_err(|_| FileError::Refused(format!("'{}' is inaccessible.\n", path.display())))?;
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let directory = File::open(&sandbox).map_err(FileError::unreadable(&sandbox))?;
        let file = open_beneath(&directory, relative, OFlags::PATH).map_err(FileError::unreadable(&real))?;
        let metadata = file.metadata().map_err(FileError::unreadable(&real))?;
        Ok(FoundFile { file, metadata, path: real })
    }

    /// Opens a regular file. Blocks.
    fn open(&self, on_directory: &'static str) -> Result<FoundFile, FileError> {
        let found = self.find()?;
        if found.metadata.is_dir() {
            return Err(FileError::Refused(on_directory.to_owned()));
        }
        if !found.metadata.is_file() {
            return Err(FileError::Refused("Cannot read a file that is not a regular file.\n".to_owned()));
        }
        let file = reopen(&found.file).map_err(FileError::unreadable(&found.path))?;
        Ok(FoundFile { file, ..found })
    }
}

/// A file of a sandbox.
struct FoundFile {
    file: File,
    metadata: fs::Metadata,
    /// Its real path.
    path: PathBuf,
}

/// Opens for reading what was opened as a path only.
fn reopen(file: &File) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The entries of a directory, ordered by name. A file has none, as in Mesos.
pub(super) async fn browse(handlers: &Handlers, requested: &str) -> Result<Vec<v1::FileInfo>, Answer> {
    let path = RequestedPath::of(handlers, requested).await?;
    let shown = requested.trim_end_matches('/').to_owned();
    let executor = path.runs.clone();
    handlers.files.run(&executor, move || list_entries(&path, &shown)).await?.map_err(Answer::from)
}

fn list_entries(path: &RequestedPath, shown: &str) -> Result<Vec<v1::FileInfo>, FileError> {
    let FoundFile { file, metadata, path } = path.find()?;
    let mut entries = Vec::new();
    if !metadata.is_dir() {
        return Ok(entries);
    }
    let mut owners = OwnerNames::default();
    let listed = fs::read_dir(format!("/proc/self/fd/{}", file.as_raw_fd()));
    for entry in listed.map_err(FileError::unreadable(&path))?.flatten() {
        if entries.len() == ENTRIES_MAX {
            return Err(FileError::Refused("The directory has too many entries to be listed.\n".to_owned()));
        }
        // Like stat(2), which follows links; Mesos leaves out those that lead nowhere.
        if let Ok(metadata) = fs::metadata(entry.path()) {
            let path = format!("{shown}/{}", entry.file_name().to_string_lossy());
            entries.push(owners.describe(path, &metadata));
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
    let executor = path.runs.clone();
    let read = move || -> Result<FileRange, FileError> {
        let found = path.open("Cannot read a directory.\n")?;
        let size = found.metadata.len();
        let length = length.min(READ_MAX).min(size.saturating_sub(offset));
        let data = read_part(&found.file, offset, length).map_err(FileError::unreadable(&found.path))?;
        Ok(FileRange { size, data })
    };
    handlers.files.run(&executor, read).await?.map_err(Answer::from)
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

/// A whole file, read part by part as the client takes it, and its name.
pub(super) async fn download(handlers: &Handlers, requested: &str) -> Result<(Answer, String), Answer> {
    let path = RequestedPath::of(handlers, requested).await.map_err(|_| not_found())?;
    let executor = path.runs.clone();
    let open = move || path.open("Cannot download a directory.\n");
    let opened = handlers.files.run(&executor, open).await?;
    let FoundFile { file, metadata, path } = opened.map_err(|error| match error {
        FileError::NotFound => not_found(),
        error => error.into(),
    })?;
    let (file, pool) = (Arc::new(file), handlers.files.clone());
    let body = Download { file, at: 0, size: metadata.len(), executor, pool, part: None };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((Response::new(body.boxed_unsync()), name))
}

type Part = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// The body of a download. A file that becomes shorter ends it early, which breaks the connection off.
struct Download {
    file: Arc<File>,
    at: u64,
    size: u64,
    /// The executor; see [`FilePool`].
    executor: Arc<str>,
    pool: FilePool,
    part: Option<Part>,
}

impl Download {
    fn next_part(&self) -> Part {
        let (pool, file, at) = (self.pool.clone(), self.file.clone(), self.at);
        let executor = self.executor.clone();
        let length = READ_MAX.min(self.size - self.at);
        Box::pin(async move {
            let data = pool.run(&executor, move || read_part(&file, at, length)).await.ok()?.ok()?;
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
    Ok(WireResponse {
        r#type: Some(response::Type::ListFiles as i32),
        list_files: Some(response::ListFiles { file_infos: browse(handlers, requested).await? }),
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

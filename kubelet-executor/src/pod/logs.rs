//! Container logs on disk.
//!
//! The runtime writes `<pod's directory>/<container>/<attempt>.log`; rotation renames it to
//! `<attempt>.log.<timestamp>`.

pub(crate) mod files;
pub(crate) mod reader;
mod records;

use std::path::Path;

use executor_core::log_render::RenderOptions;

/// How much of the log a termination message includes, as upstream.
const LAST_LINES: u64 = 80;
const LAST_BYTES: usize = 2048;

/// Which part of a log a client requests.
#[derive(Debug, Default, Clone)]
pub(crate) struct LogOptions {
    pub follow: bool,
    /// The log of the instance that ended last, not that of the current one.
    pub previous: bool,
    pub tail_lines: Option<u64>,
    pub render: RenderOptions,
}

/// The newest attempt of a container with a log in this directory.
pub(crate) fn newest_attempt(dir: &Path) -> Option<u32> {
    files::attempts(dir).last().copied()
}

/// The end of a log, for a container without a termination message.
pub(crate) fn last_lines(path: &Path) -> String {
    let options = LogOptions { tail_lines: Some(LAST_LINES), ..Default::default() };
    let bytes = reader::read_file(path, &options).unwrap_or_default();
    let start = bytes.len().saturating_sub(LAST_BYTES);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

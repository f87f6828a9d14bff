//! The fetcher: brings a command's URIs into its sandbox before the command starts, as Mesos' fetcher does. Local files are
//! copied, [`download`] gets the others, [`archive`] unpacks what Mesos recognises by its name.

mod archive;
mod download;
mod unpack;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use kernel_model::{executor::Uri, ids::is_legal};
use tokio_util::sync::CancellationToken;

use super::sandbox::{Sandbox, regular};

/// Why a URI could not be fetched. The texts end up in a task's status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(
        "failed to fetch '{0}': only absolute paths, file://, http://, https://, ftp:// and ftps:// can be fetched"
    )]
    Scheme(String),
    #[error("failed to fetch '{0}': {1}")]
    Download(String, download::DownloadError),
    #[error("failed to fetch '{0}': '{1}' is not a file name")]
    Name(String, String),
    #[error("failed to fetch '{0}': {1}")]
    Copy(String, io::Error),
    #[error("failed to extract '{0}': {1}")]
    Extract(String, io::Error),
}

/// Fetches all URIs in order, and unpacks those that ask for it, until `stop` is cancelled. The files belong to the calling
/// thread's user. Blocks; must run in a thread that has entered a runtime.
pub(crate) fn fetch(uris: &[Uri], sandbox: &Sandbox, stop: &CancellationToken) -> Result<(), FetchError> {
    uris.iter().try_for_each(|uri| fetch_one(uri, sandbox, stop))
}

fn fetch_one(uri: &Uri, sandbox: &Sandbox, stop: &CancellationToken) -> Result<(), FetchError> {
    let local = local_path(&uri.value);
    if local.is_none() && !download::is_supported(&uri.value) {
        return Err(FetchError::Scheme(uri.value.clone()));
    }
    let name = uri.output_file.clone().unwrap_or_else(|| base_name(&uri.value).to_owned());
    // An output file may lie in a directory of the sandbox, never outside.
    if !name.split('/').all(is_legal) {
        return Err(FetchError::Name(uri.value.clone(), name));
    }
    let failed = |error| FetchError::Copy(uri.value.clone(), error);
    let mut to = sandbox.create_file(Path::new(&name)).map_err(failed)?;
    match local {
        Some(from) => copy(&from, &mut to, stop).map_err(failed)?,
        None => download::download(&uri.value, &mut to, stop)
            .map_err(|error| FetchError::Download(uri.value.clone(), error))?,
    }
    if uri.executable {
        let mut permissions = to.metadata().map_err(failed)?.permissions();
        permissions.set_mode(permissions.mode() | 0o111);
        return to.set_permissions(permissions).map_err(failed);
    }
    if !uri.extract {
        return Ok(());
    }
    let extracted = to.rewind().and_then(|()| archive::extract(to, &name, sandbox, stop));
    extracted.map_err(|error| FetchError::Extract(uri.value.clone(), error))
}

/// Copies a local file with its mode.
fn copy(from: &Path, to: &mut File, stop: &CancellationToken) -> io::Result<()> {
    // Opening a named pipe without O_NONBLOCK waits for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut from = regular(OpenOptions::new().read(true).custom_flags(flags).open(from)?)?;
    copy_until(stop, &mut from, to)?;
    to.set_permissions(fs::Permissions::from_mode(from.metadata()?.permissions().mode() & 0o777))
}

/// Copies everything, unless `stop` is cancelled before.
fn copy_until(stop: &CancellationToken, from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut from = Interruptible { inner: from, stop };
    io::copy(&mut from, to).map(drop)
}

/// A reader that fails once `stop` is cancelled.
struct Interruptible<'a, R> {
    inner: R,
    stop: &'a CancellationToken,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stop.is_cancelled() {
            true => Err(io::Error::other("cancelled")),
            false => self.inner.read(buffer),
        }
    }
}

fn local_path(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    path.starts_with('/').then(|| path.into())
}

/// The last segment of a path, without the query of a URL.
fn base_name(uri: &str) -> &str {
    let path = match download::is_supported(uri) {
        true => uri.split(['?', '#']).next().unwrap_or_default(),
        false => uri,
    };
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;

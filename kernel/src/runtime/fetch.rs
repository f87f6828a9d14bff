//! Fetching a command's URIs into its sandbox: files of this machine, and downloads, which `curl` makes.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kernel_model::{executor::Uri, ids::is_legal};

/// Why something could not be fetched. The texts end up in a task's status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(
        "failed to fetch '{0}': only absolute paths, file://, http://, https:// and ftp:// can be fetched"
    )]
    Scheme(String),
    #[error("failed to fetch '{0}': {1}")]
    Download(String, String),
    #[error("failed to fetch '{0}': '{1}' is no file name")]
    Name(String, String),
    #[error("failed to fetch '{0}': {1}")]
    Copy(String, std::io::Error),
    #[error("failed to extract '{0}': {1}")]
    Extract(String, String),
}

/// Copies, and unpacks where asked to.
pub(crate) fn fetch(uris: &[Uri], sandbox: &Path) -> Result<(), FetchError> {
    uris.iter().try_for_each(|uri| fetch_one(uri, sandbox))
}

fn fetch_one(uri: &Uri, sandbox: &Path) -> Result<(), FetchError> {
    let local = local_path(&uri.value);
    if local.is_none() && !is_download(&uri.value) {
        return Err(FetchError::Scheme(uri.value.clone()));
    }
    let name = uri.output_file.clone().unwrap_or_else(|| base_name(&uri.value).to_owned());
    // An output file may lie in a directory of the sandbox, never outside.
    if !name.split('/').all(is_legal) {
        return Err(FetchError::Name(uri.value.clone(), name));
    }
    let to = sandbox.join(&name);
    let failed = |error| FetchError::Copy(uri.value.clone(), error);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match local {
        Some(from) => drop(fs::copy(&from, &to).map_err(failed)?),
        None => download(&uri.value, &to)?,
    }
    if uri.executable {
        let mut permissions = fs::metadata(&to).map_err(failed)?.permissions();
        permissions.set_mode(permissions.mode() | 0o111);
        return fs::set_permissions(&to, permissions).map_err(failed);
    }
    if uri.extract { extract(&uri.value, &to, sandbox) } else { Ok(()) }
}

fn local_path(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    path.starts_with('/').then(|| path.into())
}

fn is_download(uri: &str) -> bool {
    ["http://", "https://", "ftp://", "ftps://"].iter().any(|scheme| uri.starts_with(scheme))
}

/// The last part of a path, without the query of a URL.
fn base_name(uri: &str) -> &str {
    let path = match is_download(uri) {
        true => uri.split(['?', '#']).next().unwrap_or_default(),
        false => uri,
    };
    path.rsplit('/').next().unwrap_or_default()
}

/// A download that stalls for a minute (Mesos' `--fetcher_stall_timeout`) has failed.
fn download(uri: &str, to: &Path) -> Result<(), FetchError> {
    let failed = |why: String| FetchError::Download(uri.to_owned(), why);
    let output = Command::new("curl")
        .args(["--fail", "--location", "--silent", "--show-error", "--max-redirs", "10"])
        .args(["--proto", "=http,https,ftp,ftps", "--connect-timeout", "20"])
        .args(["--speed-limit", "1", "--speed-time", "60", "--output"])
        .arg(to)
        .args(["--url", uri])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed("the program curl is not on this machine".to_owned()),
            _ => failed(error.to_string()),
        })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// Unpacks what Mesos' fetcher recognises by its name; anything else stays as it is.
fn extract(uri: &str, archive: &Path, sandbox: &Path) -> Result<(), FetchError> {
    const TARS: [&str; 9] =
        [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lzma"];
    let name = archive.to_string_lossy();
    let mut command = if TARS.iter().any(|end| name.ends_with(end)) {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(sandbox).arg("-xf").arg(archive);
        tar
    } else if name.ends_with(".zip") {
        let mut unzip = Command::new("unzip");
        unzip.arg("-oq").arg("-d").arg(sandbox).arg(archive);
        unzip
    } else {
        return Ok(());
    };
    let failed = |why: String| FetchError::Extract(uri.to_owned(), why);
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

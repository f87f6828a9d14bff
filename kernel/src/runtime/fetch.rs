//! Fetching a command's URIs into its sandbox: files of this machine; downloads are a later piece of work.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use kernel_model::{executor::Uri, ids::is_legal};

/// Why something could not be fetched. The texts end up in a task's status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("failed to fetch '{0}': only absolute paths and file:// URIs can be fetched")]
    Scheme(String),
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
    let from = local_path(&uri.value).ok_or_else(|| FetchError::Scheme(uri.value.clone()))?;
    let base = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = uri.output_file.clone().unwrap_or(base);
    // An output file may lie in a directory of the sandbox, never outside.
    if !name.split('/').all(is_legal) {
        return Err(FetchError::Name(uri.value.clone(), name));
    }
    let to = sandbox.join(&name);
    let failed = |error| FetchError::Copy(uri.value.clone(), error);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::copy(&from, &to).map_err(failed)?;
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

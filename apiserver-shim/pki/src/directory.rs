//! The PKI's files in `<data-dir>/pki/`: created at the first start, read at later ones. The only module of this crate
//! that accesses the file system.

mod join_tokens;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::authority::service_account_key;
use crate::{CertificateAuthority, PkiError, kubeconfig};

pub use join_tokens::JoinTokens;

/// Random bytes of a join token's secret.
const SECRET_BYTES: usize = 16;
/// Mode of private keys: readable by the owner only.
const MODE_PRIVATE: u32 = 0o600;
/// Mode of certificates.
const MODE_PUBLIC: u32 = 0o644;

/// The keys of a cluster.
pub struct Pki {
    /// Directory of the files.
    pub directory: PathBuf,
    /// The certificate authority.
    pub authority: CertificateAuthority,
    /// Signs only the certificate with which the API server forwards requests to aggregated API servers: what it names in
    /// headers is believed.
    pub front_proxy: CertificateAuthority,
    /// Key for service account tokens: P-256, PKCS#8 PEM.
    pub service_account_key: String,
    /// The tokens with which machines join.
    pub join_tokens: JoinTokens,
}

impl Pki {
    /// Opens the PKI of a data directory, or creates it.
    pub fn open_or_create(data_dir: &Path, now: SystemTime) -> Result<Self, PkiError> {
        let directory = data_dir.join("pki");
        create_directory(&directory)?;
        let authority = open_authority(&directory, "ca", || CertificateAuthority::create(now))?;
        let front_proxy = open_authority(&directory, "front-proxy-ca", || {
            CertificateAuthority::create_named("front-proxy-ca", now)
        })?;
        let service_account_key = match read(&directory.join("sa.key"))? {
            Some(key) => key,
            None => {
                let key = service_account_key()?;
                write(&directory.join("sa.key"), &key, MODE_PRIVATE)?;
                key
            }
        };
        let join_tokens = JoinTokens::new(data_dir, authority.certificate())?;
        Ok(Pki { directory, authority, front_proxy, service_account_key, join_tokens })
    }
}

/// Adds a cluster's entries, as [`kubeconfig::render`] writes them, to the kubeconfig at `path`, and returns the name of its
/// context. `mode` is the mode of a new file; `None` keeps that of an existing one, and is 0600 for a new one.
pub fn merge_kubeconfig(path: &Path, rendered: &str, mode: Option<u32>) -> Result<String, PkiError> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|e| file(parent, e))?;
    }
    // A link stays a link to the file that its owner keeps elsewhere.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let present = std::fs::metadata(path).ok().map(|of| of.permissions().mode() & 0o7777);
    let existing = read(path)?.unwrap_or_default();
    let merged = kubeconfig::merge(&existing, rendered).map_err(|error| malformed(path, error))?;
    if existing != merged.text || mode.is_some_and(|mode| Some(mode) != present) {
        write(path, &merged.text, mode.or(present).unwrap_or(MODE_PRIVATE))?;
    }
    Ok(merged.context)
}

/// Removes the entries of the cluster with this certificate authority from the kubeconfig at `path`, which need not exist, and
/// returns the names of the contexts that it had.
pub fn remove_from_kubeconfig(path: &Path, authority_pem: &str) -> Result<Vec<String>, PkiError> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(existing) = read(path)? else { return Ok(Vec::new()) };
    let removed = kubeconfig::remove(&existing, authority_pem).map_err(|error| malformed(path, error))?;
    if !removed.contexts.is_empty() {
        let present = std::fs::metadata(path).map_err(|e| file(path, e))?.permissions().mode() & 0o7777;
        write(path, &removed.text, present)?;
    }
    Ok(removed.contexts)
}

fn malformed(path: &Path, error: PkiError) -> PkiError {
    PkiError::Kubeconfig { path: path.to_owned(), source: Box::new(error) }
}

/// Writes a private file (a node's key) atomically.
pub fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, MODE_PRIVATE)
}

/// Writes a public file (a certificate) atomically.
pub fn write_public(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, MODE_PUBLIC)
}

/// Opens the authority in `NAME.crt` and `NAME.key`, or creates it.
fn open_authority(
    directory: &Path,
    name: &str,
    create: impl FnOnce() -> Result<CertificateAuthority, PkiError>,
) -> Result<CertificateAuthority, PkiError> {
    let file_of = |extension: &str| directory.join(format!("{name}.{extension}"));
    let (certificate_path, key_path) = (file_of("crt"), file_of("key"));
    // The certificate is written last, so its key exists if it does.
    match (read(&certificate_path)?, read(&key_path)?) {
        (Some(certificate), Some(key)) => CertificateAuthority::load(certificate, key),
        (Some(_), None) => Err(file(&key_path, ErrorKind::NotFound.into())),
        (None, _) => {
            let authority = create()?;
            write(&key_path, authority.key(), MODE_PRIVATE)?;
            write(&certificate_path, authority.certificate(), MODE_PUBLIC)?;
            Ok(authority)
        }
    }
}

fn create_directory(path: &Path) -> Result<(), PkiError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| file(path, e))
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(file(path, e)),
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let result = (|| {
        let _ = std::fs::remove_file(&temporary);
        let mut f = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // The mode at creation is less what the umask forbids.
        f.set_permissions(std::fs::Permissions::from_mode(mode))?;
        f.write_all(text.as_bytes())?;
        f.sync_all()?;
        std::fs::rename(&temporary, path)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()
    })();
    result.map_err(|e| file(path, e))
}

/// A random secret in hexadecimal.
pub fn random_secret() -> Result<String, PkiError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0u8; SECRET_BYTES];
    std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).map_err(|e| file(path, e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

fn file(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::File { path: path.to_owned(), source }
}

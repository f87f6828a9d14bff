//! Downloads over HTTP, HTTPS and FTP.

use std::{fs::File, io, io::Write, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header};
use suppaftp::{FtpError, FtpStream, types::FileType};
use transport::{
    client::{Client, ClientError, ClientOptions},
    tls::{self, TlsError},
};

/// Schemes that can be downloaded.
const SCHEMES: [&str; 3] = ["http://", "https://", "ftp://"];

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A download that makes no progress for this long has failed (Mesos' `--fetcher_stall_timeout`).
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// FTP's port.
const FTP_PORT: u16 = 21;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("not a valid URL: {0}")]
    Url(String),
    #[error("no trusted certificate authorities: {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Http(#[from] ClientError),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("no data for {}s", STALL_TIMEOUT.as_secs())]
    Stalled,
    #[error("the download broke off: {0}")]
    Body(hyper::Error),
    #[error("FTP: {0}")]
    Ftp(#[from] FtpError),
    #[error("cannot write the file: {0}")]
    Write(#[from] io::Error),
}

/// Whether `uri` has a scheme that can be downloaded.
pub(super) fn is_supported(uri: &str) -> bool {
    SCHEMES.iter().any(|scheme| uri.starts_with(scheme))
}

/// Downloads into a file. Blocks.
pub(super) fn download(uri: &str, to: &Path) -> Result<(), DownloadError> {
    let parsed: Uri = uri.parse().map_err(|_| DownloadError::Url(uri.to_owned()))?;
    match parsed.scheme_str() {
        Some("ftp") => over_ftp(&parsed, to),
        _ => tokio::runtime::Handle::current().block_on(over_http(parsed, to)),
    }
}

async fn over_http(uri: Uri, to: &Path) -> Result<(), DownloadError> {
    let tls = tls::public_client_config()?;
    let client = Client::new(ClientOptions {
        connect_timeout: CONNECT_TIMEOUT,
        response_timeout: STALL_TIMEOUT,
        ..ClientOptions::with_tls(tls)
    });
    let mut body = open(&client, uri).await?.into_body();
    let mut file = File::create(to)?;
    loop {
        match tokio::time::timeout(STALL_TIMEOUT, body.frame()).await {
            Err(_) => return Err(DownloadError::Stalled),
            Ok(None) => return Ok(file.flush()?),
            Ok(Some(frame)) => {
                if let Ok(data) = frame.map_err(DownloadError::Body)?.into_data() {
                    file.write_all(&data)?;
                }
            }
        }
    }
}

/// The response that redirects lead to.
async fn open(client: &Client, mut uri: Uri) -> Result<Response<Incoming>, DownloadError> {
    for _ in 0..=REDIRECTS_MAX {
        let request = Request::get(&uri)
            .header(header::USER_AGENT, concat!("catamaran/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*")
            .body(Full::<Bytes>::default())
            .map_err(|_| DownloadError::Url(uri.to_string()))?;
        let response = client.send(request).await?;
        let location = response.headers().get(header::LOCATION);
        match (response.status(), location) {
            (status, _) if status.is_success() => return Ok(response),
            (status, Some(location)) if status.is_redirection() => {
                uri = redirect(&uri, location.to_str().unwrap_or_default())?;
            }
            (status, _) => return Err(DownloadError::Status(status)),
        }
    }
    Err(DownloadError::Redirects)
}

/// Resolves a `Location` against the URI that it came from (RFC 9110, section 10.2.2). Only HTTP and HTTPS are followed.
fn redirect(from: &Uri, location: &str) -> Result<Uri, DownloadError> {
    let invalid = || DownloadError::Url(location.to_owned());
    let location: Uri = location.parse().map_err(|_| invalid())?;
    let parts = location.clone().into_parts();
    let path = parts.path_and_query.ok_or_else(invalid)?;
    let scheme = parts.scheme.or_else(|| from.scheme().cloned()).ok_or_else(invalid)?;
    if !matches!(scheme.as_str(), "http" | "https") || !path.as_str().starts_with('/') {
        return Err(invalid());
    }
    let authority = parts.authority.or_else(|| from.authority().cloned()).ok_or_else(invalid)?;
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().map_err(|_| invalid())
}

fn over_ftp(uri: &Uri, to: &Path) -> Result<(), DownloadError> {
    let invalid = || DownloadError::Url(uri.to_string());
    let authority = uri.authority().ok_or_else(invalid)?;
    let (user, password) = match authority.as_str().rsplit_once('@') {
        Some((login, _)) => login.split_once(':').unwrap_or((login, "")),
        None => ("anonymous", "anonymous@"),
    };
    let host = authority.host().trim_matches(['[', ']']);
    let address = (host, authority.port_u16().unwrap_or(FTP_PORT));
    let address = std::net::ToSocketAddrs::to_socket_addrs(&address)?.next().ok_or_else(invalid)?;
    let mut ftp = FtpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    ftp.get_ref().set_read_timeout(Some(STALL_TIMEOUT))?;
    ftp.login(user, password)?;
    ftp.transfer_type(FileType::Binary)?;
    let mut file = File::create(to)?;
    let mut data = ftp.retr_as_stream(uri.path().trim_start_matches('/'))?;
    io::copy(&mut data, &mut file)?;
    Ok(data.finish()?)
}

//! Downloads over HTTP, HTTPS, FTP and implicit FTPS.

use std::{
    fs::File,
    io::{self, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header};
use rustls::ClientConfig;
use suppaftp::{
    FtpError, FtpResult, FtpStream, ImplFtpStream, RustlsConnector, RustlsFtpStream, Status, TlsConnector,
    TlsStream, types::FileType,
};
use tokio_util::sync::CancellationToken;
use transport::{
    client::{Client, ClientError, ClientOptions},
    tls::{self, TlsError},
};

/// Schemes that can be downloaded.
const SCHEMES: [&str; 4] = ["http://", "https://", "ftp://", "ftps://"];

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A download that makes no progress for this long has failed (Mesos' `--fetcher_stall_timeout`).
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// FTP's port.
const FTP_PORT: u16 = 21;

/// The port of implicit FTPS.
const FTPS_PORT: u16 = 990;

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
    #[error("cancelled")]
    Cancelled,
    #[error("cannot write the file: {0}")]
    Write(#[from] io::Error),
}

/// Whether `uri` has a scheme that can be downloaded.
pub(super) fn is_supported(uri: &str) -> bool {
    SCHEMES.iter().any(|scheme| uri.starts_with(scheme))
}

/// Downloads into a file, until `stop` is cancelled. Blocks.
pub(super) fn download(uri: &str, to: &mut File, stop: &CancellationToken) -> Result<(), DownloadError> {
    let parsed: Uri = uri.parse().map_err(|_| DownloadError::Url(uri.to_owned()))?;
    match parsed.scheme_str() {
        Some("ftp") => over_ftp(&parsed, to, stop),
        Some("ftps") => over_ftps(&parsed, to, ftps_client_config()?, stop),
        _ => tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                downloaded = over_http(parsed, to) => downloaded,
                () = stop.cancelled() => Err(DownloadError::Cancelled),
            }
        }),
    }
}

async fn over_http(uri: Uri, to: &mut File) -> Result<(), DownloadError> {
    let tls = tls::public_client_config()?;
    let client = Client::new(ClientOptions {
        connect_timeout: CONNECT_TIMEOUT,
        response_timeout: STALL_TIMEOUT,
        ..ClientOptions::with_tls(tls)
    });
    let mut body = open(&client, uri).await?.into_body();
    loop {
        match tokio::time::timeout(STALL_TIMEOUT, body.frame()).await {
            Err(_) => return Err(DownloadError::Stalled),
            Ok(None) => return Ok(to.flush()?),
            Ok(Some(frame)) => {
                if let Ok(data) = frame.map_err(DownloadError::Body)?.into_data() {
                    to.write_all(&data)?;
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
                let location = location.to_str().unwrap_or_default();
                let next = transport::redirect::resolve(&uri, location);
                uri = next.ok_or_else(|| DownloadError::Url(location.to_owned()))?;
            }
            (status, _) => return Err(DownloadError::Status(status)),
        }
    }
    Err(DownloadError::Redirects)
}

/// A server of FTP, the login and the path, from a URL.
struct FtpSource<'a> {
    host: &'a str,
    address: SocketAddr,
    user: &'a str,
    password: &'a str,
    path: &'a str,
}

impl<'a> FtpSource<'a> {
    fn of(uri: &'a Uri, default_port: u16) -> Result<Self, DownloadError> {
        let invalid = || DownloadError::Url(uri.to_string());
        let authority = uri.authority().ok_or_else(invalid)?;
        let (user, password) = match authority.as_str().rsplit_once('@') {
            Some((login, _)) => login.split_once(':').unwrap_or((login, "")),
            None => ("anonymous", "anonymous@"),
        };
        let host = authority.host().trim_matches(['[', ']']);
        let mut addresses = (host, authority.port_u16().unwrap_or(default_port)).to_socket_addrs()?;
        let address = addresses.next().ok_or_else(invalid)?;
        Ok(FtpSource { host, address, user, password, path: uri.path().trim_start_matches('/') })
    }
}

fn over_ftp(uri: &Uri, to: &mut File, stop: &CancellationToken) -> Result<(), DownloadError> {
    let source = FtpSource::of(uri, FTP_PORT)?;
    let mut ftp = FtpStream::connect_timeout(source.address, CONNECT_TIMEOUT)?;
    ftp.get_ref().set_read_timeout(Some(STALL_TIMEOUT))?;
    ftp.login(source.user, source.password)?;
    retrieve(ftp, source.path, to, stop)
}

/// `ftps://` is implicit FTPS, as in curl: TLS from the first byte on. Control and data connections are both encrypted.
fn over_ftps(
    uri: &Uri,
    to: &mut File,
    tls: Arc<ClientConfig>,
    stop: &CancellationToken,
) -> Result<(), DownloadError> {
    let source = FtpSource::of(uri, FTPS_PORT)?;
    let connector = StallLimited(RustlsConnector::from(tls));
    let mut ftp = RustlsFtpStream::connect_secure_implicit(source.address, connector, source.host)?;
    ftp.login(source.user, source.password)?;
    // RFC 4217, section 9: without these, data connections are not encrypted.
    ftp.custom_command("PBSZ 0", &[Status::CommandOk])?;
    ftp.custom_command("PROT P", &[Status::CommandOk])?;
    retrieve(ftp, source.path, to, stop)
}

/// The trusted certificate authorities of this machine. No ALPN: FTP servers may refuse HTTP's protocols.
fn ftps_client_config() -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::clone(&*tls::public_client_config()?);
    config.alpn_protocols.clear();
    Ok(Arc::new(config))
}

fn retrieve<T: TlsStream>(
    ftp: ImplFtpStream<T>,
    path: &str,
    to: &mut File,
    stop: &CancellationToken,
) -> Result<(), DownloadError> {
    let mut ftp = ftp.passive_stream_builder(|address| {
        let stream =
            TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(FtpError::ConnectionError)?;
        stream.set_read_timeout(Some(STALL_TIMEOUT)).map_err(FtpError::ConnectionError)?;
        Ok(stream)
    });
    // The server's own address is used even if its reply names another one, as in curl.
    ftp.set_passive_nat_workaround(true);
    ftp.transfer_type(FileType::Binary)?;
    let mut data = ftp.retr_as_stream(path)?;
    // A server that sends nothing more is noticed after STALL_TIMEOUT; nobody waits for this thread then.
    super::copy_until(stop, &mut data, to)?;
    Ok(data.finish()?)
}

/// Connects TLS over a socket whose reads end after [`STALL_TIMEOUT`].
#[derive(Debug)]
struct StallLimited(RustlsConnector);

impl TlsConnector for StallLimited {
    type Stream = <RustlsConnector as TlsConnector>::Stream;

    fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Self::Stream> {
        stream.set_read_timeout(Some(STALL_TIMEOUT)).map_err(FtpError::ConnectionError)?;
        self.0.connect(domain, stream)
    }
}

#[cfg(test)]
mod tests;

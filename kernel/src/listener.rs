//! One port for all clients: the first byte tells TLS (agents) from plain HTTP (frameworks, operators). The number of
//! connections is bounded, the first request has a deadline, and a connection whose peer reads nothing for a minute is
//! closed.

mod guarded;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;

use crate::http::{Handlers, Peer};
use guarded::Guarded;

/// Open connections: each costs some 10 KiB while idle.
const CONNECTIONS_MAX: usize = 16 * 1024;

/// How long a connection has until its first complete request, TLS handshake included. Idle connections are kept
/// afterwards: upstream's client library takes a closed connection for a lost master.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// TCP_USER_TIMEOUT: a peer that vanished is noticed four heartbeats later.
const UNACKNOWLEDGED_MAX_MS: u32 = 60_000;

const TLS_HANDSHAKE: u8 = 0x16;

/// The pause after an accept failed for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `stop` is set.
pub(crate) async fn run(
    listener: TcpListener,
    handlers: Arc<Handlers>,
    tls: Option<Arc<rustls::ServerConfig>>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tls = tls.map(TlsAcceptor::from);
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (handlers, tls, mut stop) = (handlers.clone(), tls.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                served = connection(tcp, address, handlers, tls) => {
                    if let Err(error) = served {
                        tracing::debug!(%address, %error, "a connection ended");
                    }
                }
                _ = stop.wait_for(|stop| *stop) => {}
            }
            drop(permit);
        });
    }
}

async fn connection(
    tcp: TcpStream,
    address: SocketAddr,
    handlers: Arc<Handlers>,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&tcp, true)?;
    sockopt::set_tcp_user_timeout(&tcp, UNACKNOWLEDGED_MAX_MS)?;
    let deadline = tokio::time::Instant::now() + FIRST_REQUEST_TIMEOUT;
    let mut first = [0u8; 1];
    let read = tokio::time::timeout_at(deadline, tcp.peek(&mut first)).await??;
    if read == 0 {
        return Ok(());
    }
    let peer = Peer { address, tls: false, certificate: None };
    match tls.filter(|_| first[0] == TLS_HANDSHAKE) {
        None => serve(tcp, peer, handlers, deadline).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout_at(deadline, acceptor.accept(tcp)).await??;
            let certificates = stream.get_ref().1.peer_certificates();
            let certificate = certificates.and_then(|c| c.first()).map(|c| Arc::from(c.as_ref()));
            serve(stream, Peer { tls: true, certificate, ..peer }, handlers, deadline).await
        }
    }
}

async fn serve<S>(
    stream: S,
    peer: Peer,
    handlers: Arc<Handlers>,
    deadline: tokio::time::Instant,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let greeted = Arc::new(AtomicBool::new(false));
    let seen = greeted.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let (handlers, peer) = (handlers.clone(), peer.clone());
        async move { Ok::<_, Infallible>(handlers.serve(peer, request).await) }
    });
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(Guarded::new(stream)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = tokio::time::sleep_until(deadline) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None if greeted.load(Ordering::Relaxed) => connection.await,
        None => return Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    ended.map_err(io::Error::other)
}

//! A server and clients over loopback: serving, limits and shutdown.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicUsize;

use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::client::{Client, ClientOptions};
use crate::tls::{ALPN_HTTP, ClientCertificate, client_config, server_config};

/// A certificate authority and a pair of certificate and key for 127.0.0.1, PEM.
struct Keys {
    authority: String,
    certificate: String,
    key: String,
}

fn keys() -> Keys {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&parameters, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    Keys { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A running server whose responses describe the client's connection.
struct Running {
    port: u16,
    stop: CancellationToken,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

async fn start(tls: Tls, options: ServerOptions) -> Running {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, accepted) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let count = accepted.clone();
    let make_service = move |peer: &Peer| {
        count.fetch_add(1, Ordering::SeqCst);
        let peer = peer.clone();
        Ok(service_fn(move |request: Request<Incoming>| {
            let text = format!(
                "tls={} certificate={} {:?}",
                peer.tls,
                peer.certificate.is_some(),
                request.version()
            );
            async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)))) }
        }))
    };
    let task = tokio::spawn(serve(listener, tls, options, make_service, stop.clone()));
    Running { port, stop, accepted, task }
}

async fn get(client: &Client, url: &str) -> String {
    let response = client.send(Request::get(url).body(Full::default()).unwrap()).await.unwrap();
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn one_port_serves_plain_http_and_tls() {
    let Keys { authority, certificate, key } = keys();
    let config =
        server_config(&certificate, &key, &authority, ClientCertificate::Optional, ALPN_HTTP).unwrap();
    let mut options = ServerOptions::new("test", 8);
    options.http2 = Some(Http2 { ping_every: Duration::from_secs(30), streams_max: 10 });
    let server = start(Tls::Detected(config), options).await;
    let plain = Client::new(ClientOptions::default());
    let url = format!("http://127.0.0.1:{}/", server.port);
    assert_eq!(get(&plain, &url).await, "tls=false certificate=false HTTP/1.1");
    let url = format!("https://127.0.0.1:{}/", server.port);
    let anonymous = client_config(&authority, None, ALPN_HTTP).unwrap();
    assert_eq!(
        get(&Client::new(ClientOptions::with_tls(anonymous)), &url).await,
        "tls=true certificate=false HTTP/2.0"
    );
    let known = client_config(&authority, Some((&certificate, &key)), &["http/1.1"]).unwrap();
    assert_eq!(
        get(&Client::new(ClientOptions::with_tls(known)), &url).await,
        "tls=true certificate=true HTTP/1.1"
    );
}

#[tokio::test]
async fn clients_reuse_connections() {
    let server = start(Tls::Plain, ServerOptions::new("test", 8)).await;
    let client = Client::new(ClientOptions::default());
    let url = format!("http://127.0.0.1:{}/", server.port);
    for _ in 0..3 {
        get(&client, &url).await;
    }
    assert_eq!(server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn heads_are_as_large_as_the_limits_say() {
    let Keys { authority, certificate, key } = keys();
    let config =
        server_config(&certificate, &key, &authority, ClientCertificate::Optional, ALPN_HTTP).unwrap();
    let options = ServerOptions {
        http2: Some(Http2 { ping_every: Duration::from_secs(30), streams_max: 10 }),
        head: Some(HeadLimits { bytes_max: 64 << 10, headers_max: 300 }),
        ..ServerOptions::new("test", 8)
    };
    let server = start(Tls::Detected(config), options).await;
    let plain = Client::new(ClientOptions::default());
    let encrypted = Client::new(ClientOptions::with_tls(client_config(&authority, None, ALPN_HTTP).unwrap()));
    let (http1, http2) =
        (format!("http://127.0.0.1:{}/", server.port), format!("https://127.0.0.1:{}/", server.port));
    for (client, url, headers, bytes, status) in [
        (&plain, &http1, 250, 20 << 10, 200),
        (&plain, &http1, 400, 100, 431),
        (&plain, &http1, 1, 80 << 10, 431),
        (&encrypted, &http2, 250, 20 << 10, 200),
        (&encrypted, &http2, 1, 80 << 10, 431),
    ] {
        let mut request = Request::get(url).header("token", "x".repeat(bytes));
        for group in 0..headers {
            request = request.header("group", group);
        }
        let response = client.send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{url} with {headers} headers and one of {bytes} bytes");
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let options =
        ServerOptions { first_request_timeout: Duration::from_millis(50), ..ServerOptions::new("test", 8) };
    let server = start(Tls::Plain, options).await;
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    // Returns at the end of the stream and not before.
    assert_eq!(silent.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_keeps_its_connection_open() {
    let options =
        ServerOptions { first_request_timeout: Duration::from_millis(50), ..ServerOptions::new("test", 8) };
    let server = start(Tls::Plain, options).await;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    for pause in [Duration::ZERO, Duration::from_millis(150)] {
        tokio::time::sleep(pause).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        let mut rest = vec![0; 4096];
        assert!(client.read(&mut rest).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let server = start(Tls::Plain, ServerOptions::new("test", 1)).await;
    let first = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    let client = Client::new(ClientOptions::default());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let waiting = tokio::spawn(async move { get(&client, &url).await });
    while server.accepted.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap().starts_with("tls=false"));
}

#[tokio::test]
async fn a_stop_closes_idle_connections() {
    let server = start(Tls::Plain, ServerOptions::new("test", 8)).await;
    let mut idle = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    while server.accepted.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    server.task.await.unwrap();
    assert_eq!(idle.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_refused_in_words() {
    let Keys { authority, certificate, key } = keys();
    let config =
        server_config(&certificate, &key, &authority, ClientCertificate::Optional, ALPN_HTTP).unwrap();
    let tls = Tls::Required(Arc::new(move || Ok(config.clone())));
    let server = start(tls, ServerOptions::new("test", 8)).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /api HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "OPTIONS * HTTP/1.1\r\n\r\n",
    ] {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(
            answer,
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        );
    }
    let known = client_config(&authority, None, &["http/1.1"]).unwrap();
    let url = format!("https://127.0.0.1:{}/", server.port);
    assert_eq!(
        get(&Client::new(ClientOptions::with_tls(known)), &url).await,
        "tls=true certificate=false HTTP/1.1"
    );
}

#[tokio::test]
async fn clients_without_credentials_leave_room_for_others() {
    let unauthenticated = UnauthenticatedLimits { all: 3, of_address: 2, deadline: Duration::from_secs(60) };
    let options = ServerOptions { unauthenticated: Some(unauthenticated), ..ServerOptions::new("test", 4) };
    let server = start(Tls::Plain, options).await;
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, server.port));
    // Silent ones displace each other: the oldest ends.
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(connect().await.unwrap());
    }
    for oldest in silent.drain(..4) {
        let mut oldest = oldest;
        let end = oldest.read(&mut [0]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    // A client that was answered is not displaced.
    let mut known = connect().await.unwrap();
    known.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(known.read(&mut answer).await.unwrap() > 0);
    for _ in 0..6 {
        silent.push(connect().await.unwrap());
    }
    for oldest in silent.drain(..silent.len() - 2) {
        let mut oldest = oldest;
        let end = oldest.read(&mut [0]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    known.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(known.read(&mut answer).await.unwrap() > 0);
}

#[tokio::test]
async fn a_client_that_stays_unknown_is_disconnected() {
    let unauthenticated =
        UnauthenticatedLimits { all: 3, of_address: 2, deadline: Duration::from_millis(50) };
    let options = ServerOptions { unauthenticated: Some(unauthenticated), ..ServerOptions::new("test", 4) };
    let server = start(Tls::Plain, options).await;
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    assert_eq!(silent.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

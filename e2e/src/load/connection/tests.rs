//! Tests of the client against a small server: both protocols, whole responses, lines split anywhere, 429.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

type Body = BoxBody<Bytes, Infallible>;

/// `/lines` streams chunks that split lines, `/busy` answers 429 twice, any other path returns itself.
fn answer(path: &str, asked: &AtomicUsize) -> Response<Body> {
    let whole = |text: String| BoxBody::new(Full::new(Bytes::from(text)));
    match path {
        "/lines" => {
            let chunks = ["on", "e\ntwo\nthr", "ee\n", "rest"].map(|text| Ok(Frame::data(Bytes::from(text))));
            Response::new(BoxBody::new(StreamBody::new(stream::iter(chunks))))
        }
        "/busy" if asked.fetch_add(1, Ordering::Relaxed) < 2 => {
            let mut busy = Response::new(whole(String::new()));
            *busy.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            busy
        }
        _ => Response::new(whole(path.to_owned())),
    }
}

/// A server on loopback with these ALPN protocols.
async fn serve(protocols: &[&[u8]]) -> Access {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(request.uri().path(), &asked);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                // The client closes the connection when its test ends.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let name = ServerName::try_from("localhost").unwrap();
    Access { authority, name, tls: Arc::new(client), token: None }
}

async fn check(protocols: &[&[u8]], shares: bool) {
    let access = serve(protocols).await;
    let mut connection = Connection::open(&access).await.unwrap();
    assert_eq!(connection.share().is_some(), shares);
    assert_eq!(connection.expect(Method::GET, "/a", Bytes::new()).await.unwrap(), "/a");
    assert_eq!(connection.expect(Method::POST, "/busy", "{}".into()).await.unwrap(), "/busy");
    let answer = connection.start(Method::GET, "/lines", Bytes::new()).await.unwrap();
    let (mut lines, mut seen) = (Lines::of(answer).unwrap(), Vec::new());
    while lines.next(|line| seen.push(String::from_utf8(line.to_vec()).unwrap())).await.unwrap() {}
    assert_eq!(seen, ["one", "two", "three"]);
}

#[tokio::test]
async fn http_2_is_shared() {
    check(&[b"h2", b"http/1.1"], true).await;
}

#[tokio::test]
async fn http_1_is_not() {
    check(&[b"http/1.1"], false).await;
}

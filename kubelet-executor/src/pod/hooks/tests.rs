//! HTTP probes against local servers.

use http::Response;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// `/ok` succeeds, `/here` and `/away` redirect, `/round` redirects to itself; everything else is 404.
fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, location) = match request.uri().path() {
        "/ok" => (200, ""),
        "/here" => (302, "/ok"),
        "/lost" => (302, "/missing"),
        "/away" => (301, "http://192.0.2.1:1/missing"),
        "/round" => (302, "/round"),
        _ => (404, ""),
    };
    let head = Response::builder().status(status).header("location", location);
    head.body(Full::new(Bytes::new())).unwrap()
}

async fn server(tls: Option<Arc<rustls::ServerConfig>>) -> i32 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let service =
                    service_fn(|request| async move { Ok::<_, std::convert::Infallible>(answer(&request)) });
                let http = hyper::server::conn::http1::Builder::new();
                let Some(tls) = tls else {
                    return http.serve_connection(TokioIo::new(stream), service).await.unwrap_or(());
                };
                let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap();
                http.serve_connection(TokioIo::new(stream), service).await.unwrap_or(());
            });
        }
    });
    port.into()
}

async fn get(port: i32, scheme: &str, path: &str) -> Result<(), String> {
    let action = HTTPGetAction {
        port: IntOrString::Int(port),
        scheme: Some(scheme.to_owned()),
        path: Some(path.to_owned()),
        ..Default::default()
    };
    http_get(&Container::default(), "127.0.0.1", &action).await
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_server() {
    let port = server(None).await;
    assert_eq!(get(port, "HTTP", "/ok").await, Ok(()));
    assert_eq!(get(port, "HTTP", "/here").await, Ok(()));
    assert_eq!(get(port, "HTTP", "/away").await, Ok(()), "somebody answers");
    let lost = Err("HTTP probe failed with statuscode: 404".to_owned());
    assert_eq!(get(port, "HTTP", "/lost").await, lost);
    assert_eq!(get(port, "HTTP", "/round").await, Err("stopped after 10 redirects".to_owned()));
}

#[tokio::test]
async fn a_tls_probe_accepts_any_certificate() {
    let signed = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let port = server(Some(Arc::new(config))).await;
    assert_eq!(get(port, "HTTPS", "/ok").await, Ok(()));
    assert_eq!(get(port, "HTTPS", "/no").await, Err("HTTP probe failed with statuscode: 404".to_owned()));
}

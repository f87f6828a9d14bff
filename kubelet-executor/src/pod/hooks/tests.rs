//! HTTP probes against local servers.

use std::convert::Infallible;

use http::Response;
use hyper::{body::Incoming, service::service_fn};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use transport::{
    server::{Peer, ServerOptions, Tls, serve},
    tls::{ALPN_HTTP1, ClientCertificate, server_config},
};

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

async fn server(tls: Tls) -> i32 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let make_service =
        |_: &Peer| Ok(service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) }));
    let options = ServerOptions::new("test", 8);
    tokio::spawn(serve(listener, tls, options, make_service, CancellationToken::new()));
    port.into()
}

async fn get(port: i32, scheme: &str, path: &str) -> Result<(), String> {
    let action = HTTPGetAction {
        port: IntOrString::Int(port),
        scheme: Some(scheme.to_owned()),
        path: Some(path.to_owned()),
        ..Default::default()
    };
    http_probe(&Container::default(), "127.0.0.1", &action).await
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_server() {
    let port = server(Tls::Plain).await;
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
    let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let config = server_config(&certificate, &key, &certificate, ClientCertificate::Optional, ALPN_HTTP1);
    let config = config.unwrap();
    let port = server(Tls::Required(Arc::new(move || Ok(config.clone())))).await;
    assert_eq!(get(port, "HTTPS", "/ok").await, Ok(()));
    assert_eq!(get(port, "HTTPS", "/no").await, Err("HTTP probe failed with statuscode: 404".to_owned()));
}

#[test]
fn a_probe_names_what_cannot_be_resolved() {
    let container: Container = serde_json::from_value(
        serde_json::json!({ "name": "c", "ports": [{ "name": "http", "containerPort": 8080 }] }),
    )
    .unwrap();
    let named = |name: &str| port(&container, &IntOrString::String(name.to_owned()));
    assert_eq!(named("http"), Ok(8080));
    assert_eq!(named("81"), Ok(81));
    assert_eq!(named("htp"), Err("strconv.Atoi: parsing \"htp\": invalid syntax".to_owned()));
    assert_eq!(port(&container, &IntOrString::Int(70_000)), Err("invalid port number: 70000".to_owned()));
}

#[test]
fn what_a_command_says_is_a_failure_and_what_the_runtime_says_an_error() {
    let late = || "late".to_owned();
    let exited = |code, stdout: &str| ExecFailure::Exited {
        command: "x".to_owned(),
        code,
        stdout: stdout.to_owned(),
        stderr: String::new(),
    };
    let runtime = |kind| {
        let message = "no such file".to_owned();
        ExecFailure::Runtime(cri::Error { operation: "ExecSync", kind, message })
    };
    let table = [
        (exited(3, "hi\n"), "failed: hi\n"),
        (exited(3, ""), "failed: "),
        (runtime(cri::ErrorKind::Other), "errored and resulted in unknown state: no such file"),
        (runtime(cri::ErrorKind::DeadlineExceeded), "failed: late"),
    ];
    for (failure, expected) in table {
        assert_eq!(failure.of_probe(late).to_string(), expected);
    }
}

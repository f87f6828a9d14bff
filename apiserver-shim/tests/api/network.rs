//! The HTTPS server: TLS, HTTP/1.1 and HTTP/2, oversized bodies, and streams to a node.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiserver_shim::auth::audit::{AuditMode, AuditOptions, Policy, Rotation};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use shim_pki::ServerNames;
use shim_pki::authority::node_request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use transport::tls::{ALPN_HTTP1, ClientCertificate, client_config, server_config};

use crate::harness::Server;

async fn connect(server: &Server) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let admin = server.pki.authority.issue_admin(SystemTime::now()).unwrap();
    let identity = Some((admin.certificate.as_str(), admin.key.as_str()));
    let config = client_config(server.pki.authority.certificate(), identity, ALPN_HTTP1).unwrap();
    let tcp = tokio::net::TcpStream::connect(server.handle.local_addr()).await.unwrap();
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

#[tokio::test]
async fn client_certificates_authenticate_and_large_bodies_are_refused() {
    let server = Server::start().await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(&server).await)).await.unwrap();
    tokio::spawn(connection);
    let list =
        http::Request::get("/api/v1/secrets").header("Host", "x").body(Full::new(Bytes::new())).unwrap();
    let answer = sender.send_request(list).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    let large = http::Request::post("/api/v1/namespaces/default/configmaps")
        .header("Host", "x")
        .body(Full::new(Bytes::from(vec![b' '; (3 << 20) + 1])))
        .unwrap();
    assert_eq!(sender.send_request(large).await.unwrap().status(), 413);
}

#[tokio::test]
async fn garbage_on_one_connection_does_not_affect_others() {
    let server = Server::start().await;
    let mut tcp = tokio::net::TcpStream::connect(server.handle.local_addr()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut tls = connect(&server).await;
    tls.write_all(b"\x00\xffnot http at all\r\n\r\n").await.unwrap();
    let mut left = Vec::new();
    // Closing the connection and responding with 400 are both fine.
    let _ = tls.read_to_end(&mut left).await;
    assert!(server.ask("GET /readyz", "").await.starts_with("200 "));
}

#[tokio::test]
async fn the_in_process_client_is_a_kube_client() {
    use k8s_openapi::api::core::v1::Namespace;
    let server = Server::start().await;
    let api: kube::Api<Namespace> =
        kube::Api::all(kube::Client::new(server.handle.service("test"), "default"));
    let all = api.list(&kube::api::ListParams::default()).await.unwrap();
    assert!(all.items.iter().any(|n| n.metadata.name.as_deref() == Some("kube-system")));
}

/// A fake executor server that answers logs and echoes after an upgrade.
async fn fake_node(server: &Server) -> String {
    let authority = &server.pki.authority;
    let request = node_request("n1").unwrap();
    let names = ServerNames { dns: vec![], addresses: vec![[127, 0, 0, 1].into()] };
    let certificate = authority.sign_node(&request.csr, "n1", &names, SystemTime::now()).unwrap();
    let must = ClientCertificate::Required;
    let tls = server_config(&certificate, &request.key, authority.certificate(), must, ALPN_HTTP1).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = TlsAcceptor::from(Arc::clone(&tls));
            tokio::spawn(async move {
                let stream = tls.accept(tcp).await.unwrap();
                let service = hyper::service::service_fn(answer);
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    address.to_string()
}

async fn answer(
    mut request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().to_string();
    if path.starts_with("/containerLogs") {
        return Ok(http::Response::new(Full::new(Bytes::from(format!("log of {path}\n")))));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes.reverse();
        stream.write_all(&bytes).await.unwrap();
    });
    let response =
        http::Response::builder().status(101).header("Connection", "Upgrade").header("Upgrade", "SPDY/3.1");
    Ok(response.body(Full::new(Bytes::new())).unwrap())
}

/// The upgraded connection of an exec.
async fn exec(server: &Server, path: &str) -> TokioIo<hyper::upgrade::Upgraded> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(server).await)).await.unwrap();
    tokio::spawn(async move { connection.with_upgrades().await });
    let request = http::Request::post(path)
        .header("Host", "x")
        .header("Connection", "Upgrade")
        .header("Upgrade", "SPDY/3.1")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap())
}

#[tokio::test]
async fn an_exec_is_audited_until_its_connection_ends() {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("audit.log");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                  - {level: Metadata, resources: [{group: \"\", resources: [pods/exec]}]}";
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let audit =
        AuditOptions { policy, path: path.clone(), mode: AuditMode::Blocking, rotation: Rotation::default() };
    let server = Server::start_with(Some(audit)).await;
    let stages = async || -> Vec<String> {
        server.service().api().audit.as_ref().unwrap().flush().await;
        let events = std::fs::read_to_string(&path).unwrap();
        let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        events.lines().map(|line| event(line)["stage"].as_str().unwrap().to_owned()).collect()
    };
    let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}"#;
    assert!(server.ask("POST /api/v1/namespaces/default/pods", pod).await.starts_with("201 "));
    server.handle.node_endpoints().set("n1", &fake_node(&server).await);
    let stream = exec(&server, "/api/v1/namespaces/default/pods/p/exec?command=sh&stdin=true").await;
    assert_eq!(stages().await, ["ResponseStarted"]);
    drop(stream);
    let complete = async {
        while stages().await != ["ResponseStarted", "ResponseComplete"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), complete).await.unwrap();
}

#[tokio::test]
async fn logs_and_exec_reach_the_node() {
    let server = Server::start().await;
    const P: &str = "/api/v1/namespaces/default/pods";
    let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}"#;
    assert!(server.ask(&format!("POST {P}"), pod).await.starts_with("201 "));
    let away = server.ask(&format!("GET {P}/p/log"), "").await;
    assert!(away.starts_with("503 ") && away.contains("has not reported an address"), "{away}");
    server.handle.node_endpoints().set("n1", &fake_node(&server).await);
    let log = server.ask(&format!("GET {P}/p/log?tailLines=3"), "").await;
    assert_eq!(log, "200 log of /containerLogs/default/p/c?tailLines=3");
    assert!(
        server
            .ask(&format!("GET {P}/p/log?container=z"), "")
            .await
            .contains("container z is not valid for pod p")
    );

    let mut stream = exec(&server, &format!("{P}/p/exec?command=sh&stdin=true&stdout=true")).await;
    stream.write_all(b"abcde").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"edcba");
}

#[tokio::test]
async fn a_browser_watches_over_a_websocket() {
    use futures::StreamExt;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let server = Server::start().await;
    let uri = "wss://localhost/api/v1/namespaces/default/configmaps?watch=1";
    let asked = uri.into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(asked, connect(&server).await).await.unwrap();
    server.ask("POST /api/v1/namespaces/default/configmaps", r#"{"metadata":{"name":"w"}}"#).await;
    let event = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(event.starts_with("{\"type\":\"ADDED\"") && event.contains("\"name\":\"w\""), "{event}");
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn a_log_comes_over_a_websocket() {
    use futures::StreamExt;
    use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};
    let server = Server::start().await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"i"}]}}"#;
    assert!(server.ask("POST /api/v1/namespaces/default/pods", pod).await.starts_with("201 "));
    server.handle.node_endpoints().set("n1", &fake_node(&server).await);
    let open = async |protocol: Option<&str>| {
        let uri = "wss://localhost/api/v1/namespaces/default/pods/p/log";
        let mut asked = uri.into_client_request().unwrap();
        if let Some(protocol) = protocol {
            asked.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        tokio_tungstenite::client_async(asked, connect(&server).await).await
    };
    let log = "log of /containerLogs/default/p/c\n";
    for (protocol, chosen, first, second) in [
        (None, None, Message::binary(""), Message::binary(log)),
        (Some("x, binary.k8s.io"), Some("binary.k8s.io"), Message::binary(""), Message::binary(log)),
        (
            Some("base64.binary.k8s.io"),
            Some("base64.binary.k8s.io"),
            Message::text(""),
            Message::text("bG9nIG9mIC9jb250YWluZXJMb2dzL2RlZmF1bHQvcC9jCg=="),
        ),
    ] {
        let (mut socket, answer) = open(protocol).await.unwrap();
        let header = answer.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(header, chosen);
        assert_eq!(socket.next().await.unwrap().unwrap(), first);
        assert_eq!(socket.next().await.unwrap().unwrap(), second);
        assert!(socket.next().await.unwrap().unwrap().is_close(), "the log has ended");
    }
    let refused = open(Some("v4.channel.k8s.io")).await.unwrap_err();
    let tungstenite::Error::Http(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.status(), 400);
}

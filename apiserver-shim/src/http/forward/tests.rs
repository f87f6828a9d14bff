//! Requests and their answers are passed on while they arrive.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use tokio::sync::mpsc;

use super::*;
use crate::http::subresources::proxy_client;

#[test]
fn redirects_of_a_backend_lead_through_the_proxy() {
    let onward = Onward {
        uri: String::new(),
        authority: "10.0.0.1:80".to_owned(),
        prefix: "/api/v1/namespaces/n/services/s/proxy".to_owned(),
    };
    let table = [
        ("/login?next=%2F#top", "/api/v1/namespaces/n/services/s/proxy/login?next=%2F#top"),
        ("/", "/api/v1/namespaces/n/services/s/proxy/"),
        ("http://10.0.0.1:80/a/", "/api/v1/namespaces/n/services/s/proxy/a/"),
        ("https://api:6443/a", "/api/v1/namespaces/n/services/s/proxy/a"),
        ("https://example.org/a", "https://example.org/a"),
        ("//example.org/a", "//example.org/a"),
        ("sibling", "sibling"),
        ("/api/v1/namespaces/n/services/s/proxy/a", "/api/v1/namespaces/n/services/s/proxy/a"),
    ];
    for (location, expected) in table {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static(location));
        onward.rewrite_location(&mut headers, Some("api:6443"));
        assert_eq!(headers[LOCATION], expected);
    }
}

/// A backend that answers each request with its own body and a header, and counts its connections.
async fn echo() -> (String, mpsc::Receiver<()>) {
    let (connected, connections) = mpsc::channel(8);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            connected.send(()).await.unwrap();
            let answer = service_fn(|request: http::Request<Incoming>| async move {
                let mut response = http::Response::new(
                    http_body_util::Empty::new().map_err(|n: Infallible| match n {}).boxed(),
                );
                let headers = response.headers_mut();
                headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
                for name in ["authorization", "sec-websocket-protocol", "x-forwarded-uri"] {
                    if let Some(value) = request.headers().get(name) {
                        headers.insert(HeaderName::try_from(format!("got-{name}")).unwrap(), value.clone());
                    }
                }
                if let Some(kind) = request.headers().get(CONTENT_TYPE) {
                    headers.insert(CONTENT_TYPE, kind.clone());
                }
                *response.body_mut() = request.into_body().boxed();
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(tcp), answer).await;
            });
        }
    });
    (address, connections)
}

fn onward_to(address: &str) -> Onward {
    Onward { uri: format!("http://{address}/x"), authority: address.to_owned(), prefix: "/p".to_owned() }
}

#[tokio::test]
async fn bodies_are_streamed_in_both_directions_over_one_connection() {
    let (address, mut connections) = echo().await;
    let client = proxy_client();
    for _ in 0..2 {
        let (mut parts, body) = futures::channel::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
        let body = StreamBody::new(body).boxed_unsync();
        let request =
            http::Request::post("/p/x").header("authorization", "Bearer secret").body(body).unwrap();
        parts.send(Ok(Frame::data("one".into()))).await.unwrap();
        let response = onward_to(&address).send(&client, request, |_| {}).await.unwrap();
        assert_eq!(response.headers()["got-x-forwarded-uri"], "/p/x");
        assert!(!response.headers().contains_key("got-authorization"), "{response:?}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{response:?}");
        let mut answer = response.into_body().into_data_stream();
        assert_eq!(answer.next().await.unwrap().unwrap(), "one");
        // The request ends only after a part of the answer has arrived.
        parts.send(Ok(Frame::data("two".into()))).await.unwrap();
        drop(parts);
        assert_eq!(answer.next().await.unwrap().unwrap(), "two");
        assert!(answer.next().await.is_none());
    }
    connections.recv().await.unwrap();
    assert!(connections.try_recv().is_err(), "the connection is used again");
}

#[tokio::test]
async fn a_body_of_any_size_is_passed_on_and_tokens_are_not() {
    let (address, _connections) = echo().await;
    let whole = Bytes::from(vec![7; 4 << 20]);
    let request = http::Request::post("/p/x")
        .header("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, chat")
        .body(crate::http::body::full(whole.clone()))
        .unwrap();
    let response = onward_to(&address).send(&proxy_client(), request, |_| {}).await.unwrap();
    assert_eq!(response.headers()["got-sec-websocket-protocol"], "chat");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), whole);
}

#[tokio::test]
async fn links_of_pages_lead_through_the_proxy() {
    let (address, _connections) = echo().await;
    let page = |body: Bytes, kind: &'static str| {
        let request = http::Request::post("/p/x").header("host", "api:6443").header(CONTENT_TYPE, kind);
        let (request, address) = (request.body(crate::http::body::full(body)).unwrap(), address.clone());
        async move {
            let response = onward_to(&address).send(&proxy_client(), request, |_| {}).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        }
    };
    let links = r#"<a href="/x"></a><a href="http://api:6443/y"></a><a href="http://example.org/z"></a>"#;
    let rewritten = page(links.into(), "text/html; charset=utf-8").await;
    assert_eq!(rewritten, r#"<a href="/p/x"></a><a href="/p/y"></a><a href="http://example.org/z"></a>"#);
    assert_eq!(page(links.into(), "text/plain").await, links);
    let large = Bytes::from([links.as_bytes(), &vec![b' '; PAGE_MAX]].concat());
    assert_eq!(page(large.clone(), "text/html").await, large, "too large");
}

//! Requests against a local HTTP server that answers like an API server.

use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;

/// Method, path with query, and body of each request.
type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

fn answer(method: &Method, path: &str) -> (u16, Value) {
    match (method.as_str(), path.trim_end_matches('?')) {
        ("GET", "/api/v1/namespaces/ns/secrets/s") => (200, json!({ "data": { "k": "dg==" } })),
        ("GET", "/api/v1/namespaces/ns/configmaps/broken") => (200, json!({ "data": 1 })),
        ("GET", "/api/v1/namespaces/ns/services") => {
            (200, json!({ "metadata": {}, "items": [{ "metadata": { "name": "web" } }] }))
        }
        ("GET", "/api/v1/namespaces/default/services/kubernetes") => {
            (200, json!({ "metadata": { "name": "kubernetes" } }))
        }
        ("GET", path) if path.starts_with("/api/v1/pods?") => {
            (200, json!({ "metadata": {}, "items": [{ "metadata": { "uid": "u1" } }] }))
        }
        ("POST", "/api/v1/namespaces/ns/serviceaccounts/a/token") => (
            201,
            json!({ "metadata": {}, "spec": { "audiences": [] },
                "status": { "token": "t", "expirationTimestamp": "2026-01-01T00:00:00Z" } }),
        ),
        ("POST", "/api/v1/namespaces/ns/events") => (201, json!({ "metadata": {}, "involvedObject": {} })),
        ("GET", "/api/v1/namespaces/ns/secrets/forbidden") => (
            403,
            json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403 }),
        ),
        _ => (
            404,
            json!({ "kind": "Status", "status": "Failure", "message": "gone", "reason": "NotFound", "code": 404 }),
        ),
    }
}

async fn serve(requests: Requests, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let requests = requests.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let requests = requests.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let path = head.uri.path_and_query().unwrap().to_string();
                    let (code, value) = answer(&head.method, &path);
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    requests.lock().unwrap().push((head.method, path, body));
                    let response =
                        Response::builder().status(code).header("content-type", "application/json");
                    Ok::<_, std::convert::Infallible>(
                        response.body(Full::new(Bytes::from(value.to_string()))).unwrap(),
                    )
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn api() -> (KubeApi, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = json!({
        "node_name": "n", "node_ip": "127.0.0.1", "root_dir": "/nonexistent",
        "api_server": format!("http://{}", listener.local_addr().unwrap()),
        "ca_file": "", "cert_file": "", "key_file": "",
    });
    let requests = Requests::default();
    tokio::spawn(serve(requests.clone(), listener));
    (KubeApi::new(&Arc::new(serde_json::from_value(config).unwrap())).unwrap(), requests)
}

#[tokio::test]
async fn objects_are_read_and_errors_keep_their_code() {
    let (api, _) = api().await;
    let secret = api.secret("ns", "s").await.unwrap().unwrap();
    assert_eq!(secret.data.unwrap()["k"].0, b"v");
    assert!(api.secret("ns", "absent").await.unwrap().is_none());
    let refused = api.secret("ns", "forbidden").await.unwrap_err();
    assert!(matches!(&refused, ApiError::Refused { code: 403, message } if message == "no"), "{refused:?}");
    let broken = api.config_map("ns", "broken").await.unwrap_err();
    assert!(matches!(broken, ApiError::Unavailable(_)), "{broken:?}");
}

#[tokio::test]
async fn lists_are_small() {
    let (api, requests) = api().await;
    let names = |services: Vec<Service>| -> Vec<String> {
        services.into_iter().filter_map(|service| service.metadata.name).collect()
    };
    assert_eq!(names(api.services("ns").await.unwrap()), ["web", "kubernetes"]);
    assert_eq!(api.pod_uids("n").await.unwrap(), ["u1"]);
    let requests = requests.lock().unwrap();
    assert!(requests[2].1.contains("fieldSelector=spec.nodeName%3Dn"), "{}", requests[2].1);
}

#[tokio::test]
async fn tokens_and_events_are_posted() {
    let (api, requests) = api().await;
    let request = TokenRequest {
        namespace: "ns".to_owned(),
        account: "a".to_owned(),
        audience: None,
        expiration_seconds: 600,
        pod: ("p".to_owned(), "u".to_owned()),
    };
    let token = api.token(&request).await.unwrap();
    assert_eq!((token.token.as_str(), token.expires_at.as_second()), ("t", 1_767_225_600));
    let mut event = Event { count: Some(2), ..Default::default() };
    event.metadata.name = Some("e".to_owned());
    event.metadata.namespace = Some("ns".to_owned());
    api.record(&event).await.unwrap();
    let requests = requests.lock().unwrap();
    assert_eq!(requests[0].2["spec"]["boundObjectRef"]["uid"], "u");
    let calls: Vec<&str> = requests.iter().map(|(method, _, _)| method.as_str()).collect();
    assert_eq!(calls, ["POST", "PATCH", "POST"], "an expired Event is created again");
}
